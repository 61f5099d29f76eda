//! `dsd completions` and `dsd man`: what a shell and `man` want to know of the command line.

use crate::cli::shell::{completions, manual};
use crate::report::output;
use crate::{cli, files, info};
use anyhow::Result;

/// Prints the script for a shell.
pub fn complete(args: &cli::Completions) -> Result<()> {
    Ok(output::bytes(&completions(args.shell))?)
}

/// Prints the manual's page of the program, or writes all pages.
pub fn man(args: &cli::Man) -> Result<()> {
    let pages = manual()?;
    let Some(folder) = &args.out else {
        return Ok(output::bytes(&pages[0].1)?);
    };
    files::make_folder(folder)?;
    for (name, text) in &pages {
        files::write_atomic(&folder.join(name), |w| Ok(w.write_all(text)?))?;
    }
    info!("Wrote {} pages into {}", pages.len(), folder.display());
    Ok(())
}
