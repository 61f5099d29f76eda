//! HDF5 files, as much of them as Caffe uses: arrays of numbers and strings at paths such as
//! `data/conv1/0`. Both crates behind this are pure Rust; nothing of the system is needed.

mod read;
mod write;

pub use read::File;
pub use write::Writer;

use std::path::Path;
use std::{fs, io};

use anyhow::{Result, anyhow};
use io::Read;

use crate::files;

/// How every HDF5 file begins.
const MAGIC: &[u8] = b"\x89HDF\r\n\x1a\n";

/// Whether a file is HDF5 by its first bytes.
pub fn is_hdf5(path: &Path) -> Result<bool> {
    let cannot = |e: io::Error| anyhow!("cannot read {}: {}", path.display(), files::reason(&e));
    let mut head = Vec::new();
    let file = fs::File::open(path).map_err(cannot)?;
    file.take(MAGIC.len() as u64)
        .read_to_end(&mut head)
        .map_err(cannot)?;
    Ok(looks_like(&head))
}

/// Whether some bytes are the beginning of an HDF5 file.
pub fn looks_like(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

#[cfg(test)]
mod tests;
