//! `dsd decompress`: compressed weights back into a caffemodel.

use anyhow::Result;

use super::{Usage, nets};
use crate::weights_file::{self, Named};
use crate::{cli, info};

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
    weights_file::write_named(&args.out, format, &stored, net.as_ref())?;
    info!("Wrote {} layers to {out}", stored.layers.len());
    Ok(())
}
