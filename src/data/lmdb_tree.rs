//! The records of an LMDB file in the order of their keys, read page by page. Nothing in the file is trusted: a page or a
//! record that lies is an error which names it, and the walk goes on behind it.
//!
//! The format (LMDB 0.9, 64-bit): a tree of pages. Each begins with its own number (8 bytes), 2 bytes of padding, its kind
//! (2) and where its free room begins and ends (2 and 2). The offsets of its nodes follow, 2 bytes each. A node is 8 bytes
//! and its key: in a branch the first 6 bytes are the number of the page below; in a leaf bytes 0 to 3 are the length of
//! the value, 4 and 5 its kind; bytes 6 and 7 are the length of the key. A value that is too long for its leaf lies in
//! pages of its own, behind one header, and the leaf has the number of the first.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail, ensure};

use super::lmdb_file::Summary;
use crate::files::reason;

/// The bytes before a page's offsets.
const HEADER: usize = 16;
/// The bytes before a node's key.
const NODE: usize = 8;

/// Kinds of pages.
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const OVERFLOW: u16 = 4;

/// Kinds of a leaf's values.
const BIG: u16 = 1;
const DATABASE: u16 = 2;
const DUPLICATES: u16 = 4;

/// Levels that no tree needs: with two nodes a page, LMDB stops there itself.
const DEEPEST: u16 = 32;

/// Values up to this length are read together with their header.
const AT_ONCE: usize = 1 << 20;

/// A page of the tree, and which of its nodes the walk is at.
struct Level {
    number: u64,
    bytes: Vec<u8>,
    at: usize,
}

/// What the walk is in.
enum Stretch {
    /// Before the first leaf.
    Start,
    /// The leaf `Walk::leaf`.
    Leaf,
    /// A page that cannot be read and stands for one record.
    Bad(String),
    /// Behind the last leaf.
    End,
}

/// A walk over the records.
pub struct Walk {
    path: PathBuf,
    file: File,
    summary: Summary,
    /// The branches from the root to the leaf.
    branches: Vec<Level>,
    leaf: Level,
    stretch: Stretch,
    /// The number of the stretch's first record, and how many it has.
    first: u64,
    count: u64,
    /// The last key of the leaves before.
    last_key: Vec<u8>,
    /// The value of a record that lies outside of its leaf.
    value: Vec<u8>,
}

/// What is wrong with a page.
type Fault = String;

impl Walk {
    /// A walk over the main database of a file.
    ///
    /// # Errors
    /// The file cannot be opened, or holds what Caffe's tools do not write: several values a key, or named databases.
    pub fn new(path: &Path, summary: Summary) -> Result<Self> {
        let shown = path.display();
        let file = File::open(path).map_err(|e| anyhow!("{shown}: {}", reason(&e)))?;
        ensure!(
            !summary.has_duplicates(),
            "{shown} keeps several values under a key (MDB_DUPSORT); Caffe's databases have one"
        );
        ensure!(
            (1..=DEEPEST).contains(&summary.depth) || summary.records == 0,
            "{shown} is broken: its tree has {} levels",
            summary.depth
        );
        // Each record has a node and an offset at least.
        let most = summary.bytes / (NODE as u64 + 2);
        ensure!(
            summary.records <= most,
            "{shown} is broken: it promises {} records, but has room for {most} at most",
            summary.records
        );
        let mut walk = Self {
            path: path.to_path_buf(),
            file,
            summary,
            branches: Vec::new(),
            leaf: Level::empty(),
            stretch: Stretch::Start,
            first: 0,
            count: 0,
            last_key: Vec::new(),
            value: Vec::new(),
        };
        walk.advance();
        if let Stretch::Leaf = walk.stretch
            && let Ok(node) = walk.leaf.node(0)
        {
            let name = node.key.escape_ascii();
            ensure!(
                node.kind & DATABASE == 0,
                "{shown} holds named databases ('{name}'), which Caffe does not know; copy its records into one without a name"
            );
        }
        Ok(walk)
    }

    /// Key and value of record `number`; `None` behind the last. A page that cannot be read counts as one record.
    ///
    /// # Errors
    /// The record, or the page that has it, is broken; the ones behind it can still be read.
    pub fn find(&mut self, number: u64) -> Result<Option<(&[u8], &[u8])>> {
        if number < self.first {
            self.branches.clear();
            self.last_key.clear();
            self.stretch = Stretch::Start;
            (self.first, self.count) = (0, 0);
        }
        loop {
            match &self.stretch {
                Stretch::End => return Ok(None),
                Stretch::Start => {}
                _ if number - self.first >= self.count => {}
                Stretch::Bad(fault) => bail!("{} is broken: {fault}", self.path.display()),
                Stretch::Leaf => break,
            }
            self.advance();
        }
        let at = (number - self.first) as usize;
        let shown = self.path.display();
        let leaf = self.leaf.number;
        let node = (self.leaf.node(at))
            .map_err(|fault| anyhow!("{shown} is broken: page {leaf}: {fault}"))?;
        if node.kind & (DATABASE | DUPLICATES) != 0 {
            let name = node.key.escape_ascii();
            bail!("{shown}: under the key '{name}' is a database, not a record (page {leaf})");
        }
        if node.kind & BIG == 0 {
            return Ok(Some((node.key, node.value)));
        }
        let Ok(place) = <[u8; 8]>::try_from(node.value) else {
            let name = node.key.escape_ascii();
            bail!("{shown} is broken: page {leaf}: the value of '{name}' has no place");
        };
        let page = u64::from_le_bytes(place);
        let (file, summary) = (&self.file, &self.summary);
        read_outside(file, summary, page, node.length, &mut self.value).map_err(|fault| {
            let name = node.key.escape_ascii();
            anyhow!("{shown} is broken: the value of '{name}', page {page}: {fault}")
        })?;
        Ok(Some((
            node.key,
            &self.value[HEADER..HEADER + node.length as usize],
        )))
    }

    /// Goes to the next leaf, or to a page that cannot be read on the way there.
    fn advance(&mut self) {
        self.first += self.count;
        if let Stretch::Leaf = self.stretch
            && let Ok(last) = self.leaf.node(self.leaf.count() - 1)
        {
            self.last_key.clear();
            self.last_key.extend_from_slice(last.key);
        }
        let mut next = match self.stretch {
            Stretch::Start => Some(self.summary.root),
            Stretch::End => return,
            _ => self.sibling(),
        };
        self.count = 1;
        loop {
            let Some(number) = next else {
                (self.stretch, self.count) = (Stretch::End, 0);
                return;
            };
            let number = match number {
                n if n <= self.summary.last_page => n,
                n => {
                    self.stretch = Stretch::Bad(format!(
                        "a branch refers to page {n}, but {} is the last",
                        self.summary.last_page
                    ));
                    return;
                }
            };
            let is_leaf = self.branches.len() + 1 == usize::from(self.summary.depth);
            let mut level = if is_leaf {
                std::mem::replace(&mut self.leaf, Level::empty())
            } else {
                Level::empty()
            };
            let read = level.read(&self.file, &self.summary, number, is_leaf);
            if let Err(fault) = read.and_then(|()| self.check_order(&level, is_leaf)) {
                self.stretch = Stretch::Bad(format!("page {number}: {fault}"));
                return;
            }
            if is_leaf {
                self.count = level.count() as u64;
                self.leaf = level;
                self.stretch = Stretch::Leaf;
                return;
            }
            next = Some(level.child(0));
            self.branches.push(level);
        }
    }

    /// The page behind the one that the walk is at, on whatever level.
    fn sibling(&mut self) -> Option<u64> {
        while let Some(branch) = self.branches.last_mut() {
            branch.at += 1;
            if branch.at < branch.count() {
                return Some(branch.child(branch.at));
            }
            self.branches.pop();
        }
        None
    }

    /// Keys grow from leaf to leaf, so that a walk ends even where pages refer to each other in a ring.
    fn check_order(&self, level: &Level, is_leaf: bool) -> Result<(), Fault> {
        if !is_leaf || self.summary.has_other_order() || self.first == 0 {
            return Ok(());
        }
        let key = level.node(0)?.key;
        if key > self.last_key.as_slice() {
            return Ok(());
        }
        Err(format!(
            "its first key '{}' is not behind '{}', the last before it",
            key.escape_ascii(),
            self.last_key.escape_ascii()
        ))
    }
}

/// A node of a leaf.
struct Node<'a> {
    key: &'a [u8],
    kind: u16,
    /// The length of the value, wherever it lies.
    length: u64,
    /// The value, or its page's number.
    value: &'a [u8],
}

impl Level {
    fn empty() -> Self {
        Self {
            number: 0,
            bytes: Vec::new(),
            at: 0,
        }
    }

    /// Reads page `number`, which is to be a branch or a leaf.
    fn read(
        &mut self,
        file: &File,
        summary: &Summary,
        number: u64,
        is_leaf: bool,
    ) -> Result<(), Fault> {
        let size = summary.page_size as usize;
        (self.number, self.at) = (number, 0);
        self.bytes.resize(size, 0);
        read_at(file, &mut self.bytes, number * summary.page_size)?;
        check_number(&self.bytes, number)?;
        let wanted = if is_leaf { LEAF } else { BRANCH };
        let kind = self.u16(10);
        if kind & (BRANCH | LEAF | OVERFLOW) != wanted {
            return Err(format!(
                "expected a {}, found a page of the kind {kind:#x}",
                if is_leaf { "leaf" } else { "branch" }
            ));
        }
        let (lower, upper) = (usize::from(self.u16(12)), usize::from(self.u16(14)));
        // 64 KiB do not fit into 16 bits; such a page's room ends at 0.
        let upper = if upper == 0 { size } else { upper };
        if lower < HEADER + 2 || lower % 2 != 0 || lower > upper || upper > size {
            return Err(format!("its room is from {lower} to {upper}"));
        }
        if !is_leaf {
            for k in 0..self.count() {
                self.start(k)?;
            }
        }
        Ok(())
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    /// How many nodes there are, of a page that has been read.
    fn count(&self) -> usize {
        (usize::from(self.u16(12)) - HEADER) / 2
    }

    /// Where node `k` starts.
    fn start(&self, k: usize) -> Result<usize, Fault> {
        let start = usize::from(self.u16(HEADER + 2 * k));
        let inside = start >= usize::from(self.u16(12)) && start + NODE <= self.bytes.len();
        match inside {
            true => Ok(start),
            false => Err(format!("its node {k} is at {start}, outside of it")),
        }
    }

    /// The page below node `k` of a branch, whose nodes have been looked at.
    fn child(&self, k: usize) -> u64 {
        let start = usize::from(self.u16(HEADER + 2 * k));
        (0..3).fold(0, |n, i| n | u64::from(self.u16(start + 2 * i)) << (16 * i))
    }

    /// Node `k` of a leaf.
    fn node(&self, k: usize) -> Result<Node<'_>, Fault> {
        let start = self.start(k)?;
        let length = u64::from(self.u16(start)) | u64::from(self.u16(start + 2)) << 16;
        let kind = self.u16(start + 4);
        let key = start + NODE;
        let value = key + usize::from(self.u16(start + 6));
        let held = if kind & BIG != 0 { 8 } else { length };
        let end = value as u64 + held;
        if end > self.bytes.len() as u64 {
            return Err(format!("its node {k} ends at {end}, outside of it"));
        }
        Ok(Node {
            key: &self.bytes[key..value],
            kind,
            length,
            value: &self.bytes[value..end as usize],
        })
    }
}

/// Reads a value of `length` bytes from pages of its own, behind its header.
fn read_outside(
    file: &File,
    summary: &Summary,
    page: u64,
    length: u64,
    into: &mut Vec<u8>,
) -> Result<(), Fault> {
    let end = (page.checked_mul(summary.page_size))
        .and_then(|start| start.checked_add(HEADER as u64 + length));
    let start = match end {
        Some(end) if end <= summary.bytes => page * summary.page_size,
        _ => {
            return Err(format!(
                "its {length} bytes are not within the file's {}",
                summary.bytes
            ));
        }
    };
    let whole = HEADER + length as usize;
    if whole > AT_ONCE {
        // A length that lies shows before there is room for it.
        into.resize(HEADER, 0);
        read_at(file, into, start)?;
        check_outside(into, summary, page, whole)?;
    }
    into.resize(whole, 0);
    read_at(file, into, start)?;
    check_outside(into, summary, page, whole)
}

/// Checks the header of a value's pages.
fn check_outside(bytes: &[u8], summary: &Summary, page: u64, whole: usize) -> Result<(), Fault> {
    check_number(bytes, page)?;
    let kind = u16::from_le_bytes([bytes[10], bytes[11]]);
    if kind & (BRANCH | LEAF | OVERFLOW) != OVERFLOW {
        return Err(format!(
            "expected a value, found a page of the kind {kind:#x}"
        ));
    }
    let pages = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
    if u64::from(pages) * summary.page_size < whole as u64 {
        return Err(format!("its {whole} bytes are more than {pages} pages"));
    }
    Ok(())
}

/// Each page says its own number.
fn check_number(bytes: &[u8], number: u64) -> Result<(), Fault> {
    let mut own = [0; 8];
    own.copy_from_slice(&bytes[..8]);
    match u64::from_le_bytes(own) {
        own if own == number => Ok(()),
        own => Err(format!("it says that it is page {own}")),
    }
}

/// Fills `bytes` from the file at `offset`, without moving a place that other readers share.
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> Result<(), Fault> {
    let read = exactly_at(file, bytes, offset);
    read.map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => {
            "the file ends before it; it has been cut off since it was opened".to_string()
        }
        _ => reason(&e),
    })
}

#[cfg(unix)]
fn exactly_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(not(unix))]
fn exactly_at(mut file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(bytes)
}
