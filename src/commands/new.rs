//! `dsd new`: makes the files of a net from a few numbers.

use crate::cli;
use crate::models;
use crate::phase::Phase;
use crate::squeezenet::Design;
use crate::{files, info};
use anyhow::{Context, Result, bail};

/// Writes train_val, deploy and a solver a phase into the folder `--out`.
pub fn run(args: &cli::New) -> Result<()> {
    let cli::Family::Squeezenet(given) = &args.family;
    let design = Design {
        base: given.base,
        incr: given.incr,
        freq: given.freq,
        pct3x3: given.pct3x3,
        sr: given.sr,
        bypass: given.bypass == cli::Bypass::Simple,
    };
    let folder = &given.out;
    let name = folder
        .file_name()
        .context("--out needs the name of a folder")?
        .to_string_lossy()
        .to_string();
    if folder.join("train_val.prototxt").exists() {
        bail!(
            "{} holds a net already; give another --out",
            folder.display()
        );
    }
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
    for phase in [Phase::Dense, Phase::Sparse, Phase::Redense] {
        let text = parent
            .solver_text(phase)?
            .replace("\"squeezenet_v1.0\"", &format!("\"{name}\""));
        texts.push((format!("solver_{phase}.prototxt"), text));
    }
    let fresh = !folder.exists();
    std::fs::create_dir_all(folder)
        .map_err(|e| anyhow::anyhow!("cannot make {}: {}", folder.display(), files::reason(&e)))?;
    for (file, text) in &texts {
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
