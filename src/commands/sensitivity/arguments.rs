//! What the arguments of `dsd sensitivity` ask for.

use super::super::Usage;
use crate::cli;
use crate::net::graph::Graph;
use crate::sensitivity::layers::Prunable;
use crate::sensitivity::record::Record;
use crate::solver::sparsity::wildcard;
use crate::warn;
use std::path::Path;

/// The densities to measure, from dense to sparse.
pub fn densities(args: &cli::Sensitivity) -> Result<Vec<f64>, Usage> {
    let mut densities = args.densities.clone();
    let within = |d: f64| d > 0.0 && d <= 1.0;
    if let Some(bad) = densities.iter().find(|d| !within(**d)) {
        return Err(Usage(format!(
            "--densities: {bad} must lie in (0, 1]: it is the fraction of a layer's weights that stay"
        )));
    }
    if let Some(bad) = args.suggest.filter(|d| !within(*d)) {
        return Err(Usage(format!(
            "--suggest: {bad} must lie in (0, 1]: it is the fraction of all weights that stay"
        )));
    }
    for name in ["svg", "sparsity"] {
        if args.out.extension().is_some_and(|e| e == name) {
            return Err(Usage(format!(
                "--out {}: the results are JSON; the picture (.svg) and the rules (.sparsity) take their name from \
                 it and need another end",
                args.out.display()
            )));
        }
    }
    densities.sort_by(|a, b| b.total_cmp(a));
    densities.dedup();
    Ok(densities)
}

/// Says so where sparsities would be chosen by the pictures that are kept for the report: what a choice has seen it no
/// longer judges fairly. `source` is what is read instead of the net's own data.
pub fn warn_of_test_set(graph: &Graph, source: Option<&Path>) {
    let own = graph.nodes.iter().find_map(|node| {
        let data = node.param.data_param.as_ref().map(|p| p.source());
        data.or_else(|| node.param.image_data_param.as_ref().map(|p| p.source()))
    });
    let Some(own) = own.filter(|own| !own.is_empty()) else {
        return;
    };
    if source.is_none_or(|s| s == Path::new(own)) {
        warn!(
            "the pictures are those of the net's own test, {own}: sparsities chosen by them look better there than they              are; choose by others, kept from training (--source), and report on these once"
        );
    }
}

/// The layers to measure, by index.
pub fn chosen(
    args: &cli::Sensitivity,
    layers: &[Prunable],
    net: &str,
) -> Result<Vec<usize>, Usage> {
    let names = || {
        let names: Vec<&str> = layers.iter().map(|l| l.name.as_str()).collect();
        names.join(", ")
    };
    if layers.is_empty() {
        return Err(Usage(format!(
            "{net}: no layer has weights that can be pruned"
        )));
    }
    let fits = |pattern: &String, layer: &Prunable| wildcard(pattern.trim(), &layer.name);
    let idle = |p: &&String| !layers.iter().any(|l| fits(p, l));
    if let Some(pattern) = args.layers.iter().find(idle) {
        return Err(Usage(format!(
            "--layers: '{pattern}' matches no layer that can be pruned; {net} has {}",
            names()
        )));
    }
    let wanted = |l: &Prunable| args.layers.is_empty() || args.layers.iter().any(|p| fits(p, l));
    Ok((0..layers.len()).filter(|&i| wanted(&layers[i])).collect())
}

/// How many weights of each layer stay at the smallest density that is to be measured, or that has been.
pub fn least(
    layers: &[Prunable],
    chosen: &[usize],
    densities: &[f64],
    record: Option<&Record>,
) -> Vec<usize> {
    let smallest = densities.last().copied().unwrap_or(1.0);
    let of = |(i, layer): (usize, &Prunable)| {
        let least = match chosen.contains(&i) {
            true => layer.alive_at(smallest),
            false => layer.alive(),
        };
        let before = record.and_then(|r| r.least(&layer.name));
        before.map_or(least, |before| least.min(before))
    };
    layers.iter().enumerate().map(of).collect()
}
