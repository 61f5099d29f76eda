//! MNIST's files: a magic number, sizes, and a byte a pixel or label, all big-endian; as they are, or as they are
//! downloaded, compressed by gzip.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use flate2::read::MultiGzDecoder;

use crate::files::reason;

/// What files of pictures and of labels begin with.
const PICTURES: u32 = 2051;
const LABELS: u32 = 2049;
/// Bytes of the largest file; a broken header may promise any size.
const LARGEST: u64 = 1 << 36;

/// Pictures and their labels.
pub struct Idx {
    /// Height of a picture.
    pub rows: usize,
    /// Width of a picture.
    pub columns: usize,
    /// A byte a pixel, picture after picture.
    pub pixels: Vec<u8>,
    /// A byte a label.
    pub labels: Vec<u8>,
}

impl Idx {
    /// Reads a file of pictures and the file of their labels.
    ///
    /// # Errors
    /// One of them cannot be read, is of another kind or cut, or their counts differ.
    pub fn read(pictures: &Path, labels: &Path) -> Result<Self> {
        let ([count, rows, columns], pixels) = open(pictures, PICTURES)?;
        let ([label_count], labels_read) = open(labels, LABELS)?;
        ensure!(
            count == label_count,
            "{} has {count} pictures, but {} {label_count} labels; expected as many",
            pictures.display(),
            labels.display()
        );
        ensure!(count > 0, "{} has no pictures", pictures.display());
        Ok(Self {
            rows,
            columns,
            pixels,
            labels: labels_read,
        })
    }

    /// The number of pictures.
    pub fn count(&self) -> usize {
        self.labels.len()
    }

    /// The pixels of a picture.
    pub fn picture(&self, i: usize) -> &[u8] {
        let size = self.rows * self.columns;
        &self.pixels[i * size..(i + 1) * size]
    }

    /// The label of a picture: Caffe reads a signed byte.
    pub fn label(&self, i: usize) -> i32 {
        i32::from(self.labels[i] as i8)
    }
}

/// The sizes and the bytes of a file; beside a file that is not there one that ends in `.gz` is taken.
fn open<const N: usize>(path: &Path, magic: u32) -> Result<([usize; N], Vec<u8>)> {
    let compressed = PathBuf::from(format!("{}.gz", path.display()));
    let path = if !path.exists() && compressed.exists() {
        &compressed
    } else {
        path
    };
    let shown = path.display();
    let file =
        File::open(path).map_err(|e| anyhow!("Unable to open file {shown}: {}", reason(&e)))?;
    ensure!(
        !path.is_dir(),
        "Unable to open file {shown}: it is a folder"
    );
    let mut file = BufReader::new(file);
    let mut start = Vec::new();
    let failed = |e: std::io::Error| anyhow!("cannot read {shown}: {}", reason(&e));
    file.by_ref()
        .take(2)
        .read_to_end(&mut start)
        .map_err(failed)?;
    let whole = std::io::Cursor::new(start.clone()).chain(file);
    if start == [0x1f, 0x8b] {
        parse(MultiGzDecoder::new(whole), magic)
    } else {
        parse(whole, magic)
    }
    .with_context(|| shown.to_string())
}

fn parse<const N: usize>(mut file: impl Read, magic: u32) -> Result<([usize; N], Vec<u8>)> {
    let kind = |magic: u32| match magic {
        PICTURES => " (pictures)",
        LABELS => " (labels)",
        _ => "",
    };
    let mut number = || {
        let mut bytes = [0; 4];
        file.read_exact(&mut bytes)
            .map_err(|_| anyhow!("truncated: it ends in its header"))?;
        Ok::<u32, anyhow::Error>(u32::from_be_bytes(bytes))
    };
    let found = number()?;
    if found != magic {
        let swapped = !kind(found).is_empty();
        bail!(
            "expected MNIST's magic number {magic}{}, found {found}{}{}",
            kind(magic),
            kind(found),
            if swapped {
                "; give pictures first, then labels"
            } else {
                ""
            }
        );
    }
    let mut sizes = [0; N];
    for size in &mut sizes {
        *size = number()? as usize;
    }
    let bytes = sizes.iter().try_fold(1u64, |n, s| n.checked_mul(*s as u64));
    let bytes = bytes
        .filter(|n| *n <= LARGEST)
        .context("its header says sizes that no file has")?;
    ensure!(
        sizes[1..].iter().all(|s| *s > 0),
        "its pictures have the size {sizes:?} (count, rows, columns)"
    );
    let mut data = Vec::new();
    file.take(bytes + 1)
        .read_to_end(&mut data)
        .map_err(|e| anyhow!("cannot be read: {}", reason(&e)))?;
    ensure!(
        data.len() as u64 >= bytes,
        "truncated: expected {bytes} bytes behind the header, found {}",
        data.len()
    );
    // Caffe does not look behind the end.
    data.truncate(bytes as usize);
    Ok((sizes, data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    fn file(magic: u32, sizes: &[u32], bytes: &[u8]) -> Vec<u8> {
        let numbers = [magic].into_iter().chain(sizes.iter().copied());
        numbers
            .flat_map(u32::to_be_bytes)
            .chain(bytes.iter().copied())
            .collect()
    }

    #[test]
    fn plain_and_compressed_files_are_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (pictures, labels) = (dir.path().join("p"), dir.path().join("l"));
        let bytes = file(PICTURES, &[2, 1, 3], &[1, 2, 3, 4, 5, 6]);
        fs::write(&pictures, &bytes).unwrap();
        fs::write(&labels, file(LABELS, &[2], &[9, 200])).unwrap();
        for _ in 0..2 {
            let idx = Idx::read(&pictures, &labels).unwrap();
            assert_eq!((idx.count(), idx.rows, idx.columns), (2, 1, 3));
            assert_eq!(idx.picture(1), [4, 5, 6]);
            assert_eq!((idx.label(0), idx.label(1)), (9, -56));
            let mut gzip =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            gzip.write_all(&bytes).unwrap();
            fs::write(dir.path().join("p.gz"), gzip.finish().unwrap()).unwrap();
            let _ = fs::remove_file(&pictures);
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (pictures, labels) = (dir.path().join("p"), dir.path().join("l"));
        let error = || format!("{:#}", Idx::read(&pictures, &labels).err().unwrap());
        assert!(error().starts_with("Unable to open file "), "{}", error());
        fs::write(&labels, file(LABELS, &[1], &[0])).unwrap();
        for (bytes, wanted) in [
            (
                file(LABELS, &[1], &[0]),
                "found 2049 (labels); give pictures first",
            ),
            (file(7, &[], &[]), "number 2051 (pictures), found 7"),
            (vec![0, 0], "it ends in its header"),
            (
                file(PICTURES, &[1, 2, 2], &[1, 2, 3]),
                "expected 4 bytes behind the header, found 3",
            ),
            (
                file(PICTURES, &[u32::MAX; 3], &[]),
                "sizes that no file has",
            ),
            (file(PICTURES, &[1, 0, 2], &[]), "have the size [1, 0, 2]"),
            (file(PICTURES, &[2, 1, 1], &[1, 2]), "has 2 pictures, but"),
            (vec![0x1f, 0x8b, 9, 9], "it ends in its header"),
        ] {
            fs::write(&pictures, bytes).unwrap();
            assert!(error().contains(wanted), "{}", error());
        }
    }
}
