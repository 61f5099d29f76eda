//! `--weights`: the fillers' values, and the files' over them.

use crate::net::{Net, Weights, zeros};
use crate::{info, report, warn, weights_file};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Weights by the fillers, then the files over them, in turn; says what went where.
pub fn fill(net: &Net, files: &[PathBuf], seed: u64) -> Result<Weights> {
    let (weights, given) = filled(net, files, seed)?;
    if files.is_empty() {
        warn!("No --weights: the net runs with the random ones of its fillers");
    }
    if let Some(text) = zeros::said(&net.zero_layers(&weights, &given)) {
        warn!("{text}");
    }
    Ok(weights)
}

/// [`fill`] for timing: weights that would be 0 because neither a filler nor a file gives them are noise. A
/// kernel that leaves zeros out would else have nothing to do.
pub fn fill_to_time(net: &Net, files: &[PathBuf], seed: u64) -> Result<Weights> {
    let (mut weights, given) = filled(net, files, seed)?;
    let names = net.noise_for_zeros(&mut weights, &given, seed)?;
    if !names.is_empty() {
        info!(
            "Weights that neither a filler nor a file gives are random numbers here: {}",
            zeros::listed(&names)
        );
    }
    if net.unit_statistics(&mut weights) {
        info!("BatchNorm's statistics that no file gives are a mean of 0 and a variance of 1 here");
    }
    Ok(weights)
}

/// Weights by the fillers and the files over them, and the layers that the files have.
fn filled(net: &Net, files: &[PathBuf], seed: u64) -> Result<(Weights, BTreeSet<String>)> {
    let mut weights = net.fill(seed).context("initial weights")?;
    let mut given = BTreeSet::new();
    for path in files {
        let stored = weights_file::read(path, net)?;
        stored.warn_of_bad();
        let plan = net.load(&mut weights, &stored)?;
        report::nets::loaded(&plan, &stored.file);
        given.extend(plan.loaded);
    }
    Ok((weights, given))
}
