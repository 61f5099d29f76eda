//! The forms that weights take on their way into a file: how large each is, and how right the net is with it.

use super::Part;
use super::judge::{Judge, Measured};
use crate::compress::codebook::Codebook;
use crate::report::human::HumanBytes;
use crate::report::table::{Align, Table};
use crate::statistics::two_digits;
use crate::weights_file::{Stored, StoredLayer};
use indicatif::HumanCount;

/// Bytes of all values in float32.
pub fn plain_bytes(stored: &Stored) -> usize {
    let blobs = stored.layers.iter().flat_map(|l| &l.blobs);
    4 * blobs.map(|b| b.data.len()).sum::<usize>()
}

/// Bytes of numbers of shared values, with those values, and of the rest in float32: before they are coded.
pub fn shared_bytes(stored: &Stored) -> usize {
    let of = |layer: &StoredLayer| -> usize {
        let blob = |(k, n): (usize, usize)| match layer.codebook(k).map(Codebook::bits) {
            Some(bits) => (n * bits as usize).div_ceil(8) + (4 << bits),
            None => 4 * n,
        };
        let sizes = layer.blobs.iter().map(|b| b.data.len());
        sizes.enumerate().map(blob).sum()
    };
    stored.layers.iter().map(of).sum()
}

/// `6 bits`, or `4 to 6 bits`.
pub fn bits_told(parts: &[Part]) -> String {
    let bits = parts.iter().filter_map(|p| p.bits);
    match (bits.clone().min(), bits.max()) {
        (Some(a), Some(b)) if a != b => format!("{a} to {b} bits"),
        (Some(a), _) => format!("{a} bits"),
        _ => "none".into(),
    }
}

/// Form, bytes, accuracy, speed and memory; the first row is what the others are measured against.
pub fn table(rows: &[(String, usize, Measured)], judge: &Judge) -> Table {
    let mut table = Table::new([
        ("form", Align::Left),
        ("bytes", Align::Right),
        (&*judge.measure.name, Align::Right),
        ("points lost", Align::Right),
        ("ms a picture", Align::Right),
        ("memory of a run", Align::Right),
    ]);
    let dense = rows[0].2;
    for (form, bytes, measured) in rows {
        table.row([
            form.clone(),
            HumanCount(*bytes as u64).to_string(),
            format!("{:.4}", measured.accuracy),
            format!("{:.2}", two_digits(measured.lost(&dense))),
            format!("{:.3}", measured.ms),
            HumanBytes(judge.memory).to_string(),
        ]);
    }
    table
}
