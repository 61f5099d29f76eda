//! `dsd decompress`: compressed weights back into a caffemodel.

use std::path::Path;

use anyhow::{Context, Result};

use super::{Usage, nets};
use crate::compress::container::{self, Part};
use crate::session::packed::{self, Packed};
use crate::weights_file::{self, Named};
use crate::{cli, files, info};

/// Runs the command.
pub fn run(args: &cli::Decompress) -> Result<()> {
    let out = args.out.display();
    if args.out.is_dir() || args.out.extension().is_none() {
        return unpack(args);
    }
    let Some(format) = Named::of(&args.out) else {
        let text = format!(
            "--out {out}: expected a name that ends in .caffemodel, .caffemodel.h5 or .npz, or a folder for all that a model in one file has"
        );
        return Err(Usage(text).into());
    };
    let layers = write(args, &args.out, format)?;
    info!("Wrote {layers} layers to {out}");
    Ok(())
}

/// Writes the weights to `out`, and gives the number of their layers.
fn write(args: &cli::Decompress, out: &Path, format: Named) -> Result<usize> {
    let (stored, net) = nets::stored(args.model.as_deref(), &args.weights)?;
    let skeleton = match format {
        Named::Caffemodel => weights_file::skeleton(&files::read(&args.weights)?)?,
        Named::Hdf5 | Named::Npz => None,
    };
    // What the weights came from says more than the net, which knows nothing of forks.
    let written = match skeleton {
        Some(skeleton) => weights_file::write_skeleton(out, &skeleton, &stored)?,
        None => false,
    };
    if !written {
        weights_file::write_named(out, format, &stored, net.as_ref())?;
    }
    Ok(stored.layers.len())
}

/// Writes the weights, the net and all else that a model in one file has into a folder.
fn unpack(args: &cli::Decompress) -> Result<()> {
    let out = args.out.display();
    let Some(packed) = Packed::at(&args.weights)? else {
        let text = format!(
            "--out {out}: a folder is for a .dsdz that is a model by itself, which {} is not; expected a name that ends in \
             .caffemodel, .caffemodel.h5 or .npz",
            args.weights.display()
        );
        return Err(Usage(text).into());
    };
    let parts = container::parts(&files::read(&packed.file)?)?;
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot make the folder {out}"))?;
    // A name of another program's may be a path; only the own ones are files.
    let known = |p: &&Part| packed::FILES.contains(&p.name.as_str());
    for part in parts.iter().filter(known) {
        files::write_atomic(
            &args.out.join(&part.name),
            |w| Ok(w.write_all(&part.bytes)?),
        )?;
        info!("Wrote {}", args.out.join(&part.name).display());
    }
    let weights = args.out.join("weights.caffemodel");
    let layers = write(args, &weights, Named::Caffemodel)?;
    info!("Wrote {layers} layers to {}", weights.display());
    Ok(())
}
