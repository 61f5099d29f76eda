//! What a `data.mdb` says of itself, and whether it is whole.
//!
//! Layout (LMDB's `MDB_meta`, 64-bit, the little-endian byte order): pages 0 and 1 are two generations of the
//! meta page; the one with the higher transaction number counts.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::files::reason;

const MAGIC: u32 = 0xbeef_c0de;
const VERSION: u32 = 1;
/// The bytes of a meta page that are read: its header (16) and what is known of its body.
const META: usize = 152;

/// What a whole `data.mdb` says of itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Summary {
    /// Bytes of the file.
    pub bytes: u64,
    /// Records in its main database.
    pub records: u64,
    /// Bytes of a page.
    pub page_size: u64,
    /// The number of the last page.
    pub last_page: u64,
    /// Levels of the main database's tree, and the page on top.
    pub depth: u16,
    pub root: u64,
    /// Of what kind the main database is.
    flags: u16,
}

/// A database's kinds: keys compared from their ends, several values a key, keys that are numbers.
const REVERSED: u16 = 2;
const DUPLICATES: u16 = 4;
const NUMBERS: u16 = 8;

impl Summary {
    /// Whether a key may have several values.
    pub fn has_duplicates(&self) -> bool {
        self.flags & DUPLICATES != 0
    }

    /// Whether keys are not in the order of their bytes.
    pub fn has_other_order(&self) -> bool {
        self.flags & (REVERSED | NUMBERS) != 0
    }
}

struct Meta {
    transaction: u64,
    summary: Summary,
}

/// Checks that `file` is an LMDB of the version we read and as long as it claims to be.
pub fn check(file: &Path) -> Result<Summary> {
    let shown = file.display();
    let mut input = File::open(file).map_err(|e| anyhow::anyhow!("{shown}: {}", reason(&e)))?;
    let bytes = input.metadata().with_context(|| shown.to_string())?.len();
    ensure!(
        bytes > 0,
        "{shown} is not an LMDB database: the file is empty"
    );

    let first = meta(&mut input, 0, file)?;
    let second = meta(&mut input, first.summary.page_size, file)?;
    let newer = if second.transaction > first.transaction {
        second
    } else {
        first
    };
    let summary = Summary {
        bytes,
        ..newer.summary
    };
    let last = summary.last_page;
    let wanted = (last.checked_add(1)).and_then(|n| n.checked_mul(summary.page_size));
    match wanted {
        Some(wanted) if wanted <= bytes => Ok(summary),
        Some(wanted) => bail!(
            "{shown} is truncated: expected at least {wanted} bytes, found {bytes}; copy or make it again"
        ),
        None => bail!("{shown} is broken: its last page is number {last}"),
    }
}

/// The meta page at `offset`.
fn meta(input: &mut File, offset: u64, file: &Path) -> Result<Meta> {
    let shown = file.display();
    let mut page = [0; META];
    let read = input
        .seek(SeekFrom::Start(offset))
        .and_then(|_| input.read_exact(&mut page));
    match read {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof && offset == 0 => {
            bail!("{shown} is not an LMDB database: it is too short for one")
        }
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
            bail!("{shown} is truncated: it ends inside its second page")
        }
        other => other.map_err(|e| anyhow::anyhow!("{shown}: {}", reason(&e)))?,
    }
    let u16_at = |at: usize| u16::from_le_bytes([0, 1].map(|i| page[at + i]));
    let u32_at = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| page[at + i]));
    let u64_at = |at: usize| u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|i| page[at + i]));
    let magic = u32_at(16);
    if magic.swap_bytes() == MAGIC {
        bail!(
            "{shown} is an LMDB database of a machine with the other byte order (big-endian); make it again here"
        );
    }
    ensure!(
        magic == MAGIC,
        "{shown} is not an LMDB database (expected the number {MAGIC:#x}, found {magic:#x})"
    );
    let version = u32_at(20);
    ensure!(
        version == VERSION,
        "{shown}: expected LMDB's format {VERSION}, found {version}"
    );
    let page_size = u64::from(u32_at(40));
    ensure!(
        page_size.is_power_of_two() && (256..=65536).contains(&page_size),
        "{shown} is broken, or of a 32-bit machine: its pages have {page_size} bytes"
    );
    Ok(Meta {
        transaction: u64_at(144),
        summary: Summary {
            bytes: 0,
            records: u64_at(120),
            page_size,
            last_page: u64_at(136),
            depth: u16_at(94),
            root: u64_at(128),
            flags: u16_at(92),
        },
    })
}
