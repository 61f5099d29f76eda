//! `dsd new squeezenet`: the files of a net from a few numbers; and those of a built-in net.

use crate::cli;
use crate::models::{self, Builtin};
use crate::phase::Phase;
use crate::squeezenet::Design;
use crate::{files, info};
use anyhow::{Context, Result, bail};
use std::path::Path;

/// Writes train_val, deploy and a solver a phase into the folder `--out`.
pub(super) fn run(given: &cli::Squeezenet) -> Result<()> {
    let design = Design {
        base: given.base,
        incr: given.incr,
        freq: given.freq,
        pct3x3: given.pct3x3,
        sr: given.sr,
        bypass: given.bypass == cli::Bypass::Simple,
    };
    let folder = &given.out;
    let name = name_of(folder)?;
    // All texts come first: what is wrong with the numbers shows before there is a folder.
    let mut texts = vec![
        (
            "train_val.prototxt".to_string(),
            design.prototxt(&name, true)?,
        ),
        (
            "deploy.prototxt".to_string(),
            design.prototxt(&name, false)?,
        ),
    ];
    let parent = models::find("squeezenet_v1.0").context("squeezenet_v1.0 is not built in")?;
    texts.extend(solvers(parent, &name)?);
    write(folder, &texts)
}

/// Writes the files of a built-in net into the folder `out`.
pub(super) fn write_builtin(net: &Builtin, out: &Path) -> Result<()> {
    let name = name_of(out)?;
    let mut texts = vec![
        (
            "train_val.prototxt".to_string(),
            net.train_val_text().to_string(),
        ),
        ("deploy.prototxt".to_string(), net.deploy_text().to_string()),
    ];
    texts.extend(solvers(net, &name)?);
    write(out, &texts)
}

/// The name of a folder, which its net gets.
pub(super) fn name_of(folder: &Path) -> Result<String> {
    let name = folder.file_name();
    let name = name.context("--out needs the name of a folder")?;
    Ok(name.to_string_lossy().to_string())
}

/// The solvers of a built-in net's phases for another name.
fn solvers(net: &Builtin, name: &str) -> Result<Vec<(String, String)>> {
    let one = |phase: Phase| {
        let own = format!("\"{}\"", net.name);
        let text = net
            .solver_text(phase)?
            .replace(&own, &format!("\"{name}\""));
        Ok((format!("solver_{phase}.prototxt"), text))
    };
    [Phase::Dense, Phase::Sparse, Phase::Redense]
        .into_iter()
        .map(one)
        .collect()
}

/// Writes the texts into a folder that holds no net yet.
fn write(folder: &Path, texts: &[(String, String)]) -> Result<()> {
    if folder.join("train_val.prototxt").exists() {
        bail!(
            "{} holds a net already; give another --out",
            folder.display()
        );
    }
    let fresh = !folder.exists();
    std::fs::create_dir_all(folder)
        .map_err(|e| anyhow::anyhow!("cannot make {}: {}", folder.display(), files::reason(&e)))?;
    for (file, text) in texts {
        let written =
            files::write_atomic(&folder.join(file), |w| Ok(w.write_all(text.as_bytes())?));
        if let Err(error) = written {
            if fresh {
                // Only an empty one goes.
                let _ = std::fs::remove_dir(folder);
            }
            return Err(error);
        }
    }
    info!(
        "Wrote train_val, deploy and three solvers to {}",
        folder.display()
    );
    Ok(())
}
