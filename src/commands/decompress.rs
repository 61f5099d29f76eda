//! `dsd decompress`: compressed weights back into a caffemodel.

use anyhow::Result;

use super::{Usage, nets};
use crate::weights_file::{self, Named};
use crate::{cli, files, info};

/// Runs the command.
pub fn run(args: &cli::Decompress) -> Result<()> {
    let out = args.out.display();
    let Some(format) = Named::of(&args.out) else {
        let text = format!(
            "--out {out}: expected a name that ends in .caffemodel, .caffemodel.h5 or .npz"
        );
        return Err(Usage(text).into());
    };
    let (stored, net) = nets::stored(args.model.as_deref(), &args.weights)?;
    let skeleton = match format {
        Named::Caffemodel => weights_file::skeleton(&files::read(&args.weights)?)?,
        Named::Hdf5 | Named::Npz => None,
    };
    // What the weights came from says more than the net, which knows nothing of forks.
    let written = match skeleton {
        Some(skeleton) => weights_file::write_skeleton(&args.out, &skeleton, &stored)?,
        None => false,
    };
    if !written {
        weights_file::write_named(&args.out, format, &stored, net.as_ref())?;
    }
    info!("Wrote {} layers to {out}", stored.layers.len());
    Ok(())
}
