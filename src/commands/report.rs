//! `dsd report`: a page about one run, or several side by side.

mod answers;
mod compare;
mod curves;
mod gathered;
mod layers;
mod repeat;
mod sections;

use super::Settings;
use crate::page::Page;
use crate::report::human::HumanBytes;
use crate::{cli, files, info, warn};
use anyhow::Result;
use gathered::Gathered;

/// The size of a page beyond which it is said.
const LARGE: usize = 1_000_000;

/// Writes the page.
pub fn run(args: &cli::Report, settings: &Settings) -> Result<()> {
    let runs = Gathered::all(&args.runs)?;
    let mut page = Page::new(&title(&runs));
    sections::head(&mut page, &runs);
    sections::phases(&mut page, &runs);
    compare::differences(&mut page, &runs);
    curves::section(&mut page, &runs);
    layers::weights_section(&mut page, &runs);
    layers::densities(&mut page, &runs);
    answers::section(&mut page, &runs, args, settings);
    sections::speed(&mut page, &runs);
    repeat::section(&mut page, &runs);
    let html = page.finish();
    if html.len() > LARGE {
        warn!(
            "The page has {}; fewer runs make a smaller one",
            HumanBytes(html.len() as u64)
        );
    }
    files::write_atomic(&args.out, |w| Ok(w.write_all(html.as_bytes())?))?;
    info!(
        "Wrote {} ({})",
        args.out.display(),
        HumanBytes(html.len() as u64)
    );
    Ok(())
}

fn title(runs: &[Gathered]) -> String {
    match runs {
        [one] => format!("Run {}", one.name),
        _ => {
            let names: Vec<&str> = runs.iter().map(|r| &r.name[..]).collect();
            format!("Runs {}", names.join(", "))
        }
    }
}
