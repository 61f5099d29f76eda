//! `dsd new`: a folder that holds all that training needs: for pictures, for a built-in net, or for a design.

mod databases;
mod look;
mod pictures;
mod squeezenet;
mod stock;
mod words;

use super::{Settings, Usage};
use crate::{cli, models};
use anyhow::{Result, bail};
use std::path::Path;
use std::process::ExitCode;

/// Runs the command.
pub fn run(args: &cli::New, settings: &Settings) -> Result<ExitCode> {
    if let Some(cli::Family::Squeezenet(design)) = &args.family {
        return squeezenet::run(design).map(|()| ExitCode::SUCCESS);
    }
    let Some(what) = &args.made.what else {
        return Err(Usage("give pictures, or the name of a built-in net".into()).into());
    };
    if !what.exists() {
        let name = what.to_string_lossy();
        let Some(net) = models::find(&name) else {
            let names: Vec<&str> = models::BUILTIN.iter().map(|b| b.name).collect();
            bail!(
                "{name}: there is no such folder or list of pictures, and no built-in net of that name ({})",
                names.join(", ")
            );
        };
        let out = args.made.out.as_deref().unwrap_or(Path::new(net.name));
        return squeezenet::write_builtin(net, out).map(|()| ExitCode::SUCCESS);
    }
    pictures::run(what, &args.made, settings)
}
