//! What each layer takes in a compressed file.

use super::Part;
use crate::outln;
use crate::report::human::HumanBytes;
use crate::report::output;
use crate::report::table::{Align, Table};
use crate::weights_file::Stored;
use anyhow::{Result, ensure};
use indicatif::HumanCount;
use std::path::Path;

/// Prints the table of the layers, and the sum.
pub fn report(stored: &Stored, parts: &[Part], bytes: usize, out: &Path) -> Result<()> {
    let counted = |n: usize| HumanCount(n as u64).to_string();
    let mut table = Table::new([
        ("layer", Align::Left),
        ("weights", Align::Right),
        ("nonzero", Align::Right),
        ("density", Align::Right),
        ("bits", Align::Right),
        ("bytes", Align::Right),
        ("share", Align::Right),
    ]);
    let mut values = 0;
    for part in parts {
        let Some(layer) = stored.layer(&part.name) else {
            continue;
        };
        values += layer.blobs.iter().map(|b| b.data.len()).sum::<usize>();
        let weights = layer.blobs.first().map_or(&[][..], |b| &b.data);
        let nonzero = weights.iter().filter(|w| **w != 0.0).count();
        table.row([
            part.name.clone(),
            counted(weights.len()),
            counted(nonzero),
            format!("{:.4}", nonzero as f64 / weights.len().max(1) as f64),
            part.bits.map_or("float".to_string(), |b| b.to_string()),
            counted(part.bytes),
            format!("{:.1}%", 100.0 * part.bytes as f64 / bytes as f64),
        ]);
    }
    ensure!(
        !parts.is_empty(),
        "{}: it has no layer with weights",
        stored.file
    );
    output::text(format_args!("{table}"))?;
    let plain = 4 * values;
    outln!(
        "{} layer{}: {} bytes ({}) in float32, {} bytes ({}) in {}: {:.2} times smaller",
        parts.len(),
        if parts.len() == 1 { "" } else { "s" },
        counted(plain),
        HumanBytes(plain as u64),
        counted(bytes),
        HumanBytes(bytes as u64),
        out.display(),
        plain as f64 / bytes as f64
    )?;
    Ok(())
}
