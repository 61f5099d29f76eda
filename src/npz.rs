//! NumPy's .npz files: named arrays in a zip archive, one .npy each.
//!
//! The zip crate and a .npy reader of our own, because the readers at hand (ndarray-npy, npyz) allocate or multiply
//! what a header claims before they look at what is there, and want one element type known beforehand.
//! Here every number becomes f32, and no more is allocated than the file holds.

mod npy;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::files;
use crate::tensor::{Tensor, View};

/// Arrays by name.
pub type Arrays = BTreeMap<String, Tensor>;

/// Whether the bytes start as a zip archive does.
pub fn looks_like(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06")
}

/// Reads all arrays of numbers (or truth values) of a file as float32 in C order; arrays of text are left
/// out.
///
/// # Errors
/// The file is no .npz, is damaged, or holds an array of another kind; the array is named.
pub fn read(path: &Path) -> Result<Arrays> {
    let file = File::open(path)
        .map_err(|e| anyhow!("cannot read {}: {}", path.display(), files::reason(&e)))?;
    let mut zip = ZipArchive::new(BufReader::new(file))
        .map_err(|e| anyhow!("{}: expected a .npz file: {e}", path.display()))?;
    let mut arrays = Arrays::new();
    for i in 0..zip.len() {
        let array = read_entry(&mut zip, i);
        let Some((name, tensor)) = array.with_context(|| path.display().to_string())? else {
            continue;
        };
        if arrays.contains_key(&name) {
            bail!("{}: array {name:?} is there twice", path.display());
        }
        arrays.insert(name, tensor);
    }
    Ok(arrays)
}

/// The name and numbers of an entry; `None` for text.
fn read_entry(zip: &mut ZipArchive<BufReader<File>>, i: usize) -> Result<Option<(String, Tensor)>> {
    let mut entry = zip.by_index(i).map_err(|e| anyhow!("entry {i}: {e}"))?;
    let file_name = entry.name().to_owned();
    let Some(name) = file_name.strip_suffix(".npy") else {
        bail!("expected arrays (.npy) only, found {file_name:?}: not a .npz file?");
    };
    let tensor = read_array(&mut entry).with_context(|| format!("array {name:?}"))?;
    Ok(tensor.map(|tensor| (name.to_owned(), tensor)))
}

/// Whether the bytes start as a .npy file does.
pub fn looks_like_npy(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x93NUMPY")
}

/// Decodes a .npy file of numbers (or truth values) as float32 in C order.
///
/// # Errors
/// It is no .npy file, is damaged, or holds text.
pub fn read_npy(bytes: &[u8]) -> Result<Tensor> {
    let mut rest = bytes;
    read_array(&mut rest)?.context("expected numbers, found text")
}

fn read_array(entry: &mut impl Read) -> Result<Option<Tensor>> {
    let header = npy::Header::read(entry)?;
    let Some(kind) = header.kind()? else {
        return Ok(None);
    };
    let expected = header.bytes(kind)?;
    // The file's and the numbers made of them; a few bytes can unpack to any number.
    let what = || format!("an array of shape {:?}", header.shape);
    crate::memory::require(2 * expected as u128, what, "read a smaller array")?;
    // One byte more than expected, so that a longer array shows.
    let mut bytes = Vec::new();
    entry
        .take((expected as u64).saturating_add(1))
        .read_to_end(&mut bytes)
        .context("damaged")?;
    ensure!(
        bytes.len() == expected,
        "expected {expected} bytes for shape {:?}, found {}",
        header.shape,
        match bytes.len() > expected {
            true => "more".to_owned(),
            false => format!("{}: truncated", bytes.len()),
        }
    );
    header.tensor(kind, &bytes).map(Some)
}

/// Writes arrays to a file, whole or not at all, uncompressed as `numpy.savez` does. The same arrays make the
/// same bytes.
///
/// # Errors
/// The file cannot be written, or two arrays have the same name.
pub fn write<'a>(
    path: &Path,
    arrays: impl IntoIterator<Item = (impl AsRef<str>, View<'a>)>,
) -> Result<()> {
    files::write_atomic(path, |out| {
        let mut zip = ZipWriter::new_stream(out);
        for (name, view) in arrays {
            let name = name.as_ref();
            let options = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Stored)
                .last_modified_time(zip::DateTime::default())
                .large_file(view.data.len() > (1 << 29));
            zip.start_file(format!("{name}.npy"), options)
                .with_context(|| format!("array {name:?}"))?;
            zip.write_all(&npy::header(&view.shape))?;
            let mut buffer = Vec::with_capacity(1 << 16);
            for part in view.data.chunks(1 << 14) {
                buffer.clear();
                buffer.extend(part.iter().flat_map(|x| x.to_le_bytes()));
                zip.write_all(&buffer)?;
            }
        }
        zip.finish()?.into_inner().flush()?;
        Ok(())
    })
}

/// Writes one array as a .npy file, whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub fn write_npy(path: &Path, array: &Tensor) -> Result<()> {
    files::write_atomic(path, |out| {
        out.write_all(&npy::header(&array.shape))?;
        for x in &array.data {
            out.write_all(&x.to_le_bytes())?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Shape;

    fn tensor(dims: &[usize]) -> Tensor {
        let shape = Shape::from(dims);
        let data = (0..shape.count()).map(|i| i as f32 - 1.5).collect();
        Tensor { shape, data }
    }

    /// An archive with one array, made by hand.
    fn archive(path: &Path, header: &str, data: &[u8]) {
        let mut zip = ZipWriter::new(File::create(path).unwrap());
        zip.start_file("x.npy", SimpleFileOptions::default())
            .unwrap();
        zip.write_all(b"\x93NUMPY\x01\x00").unwrap();
        zip.write_all(&(header.len() as u16).to_le_bytes()).unwrap();
        zip.write_all(header.as_bytes()).unwrap();
        zip.write_all(data).unwrap();
        zip.finish().unwrap();
    }

    #[test]
    fn arrays_come_back_under_names_with_slashes_and_colons() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.npz");
        let arrays: Arrays = [
            ("fire2/conv1x1_1:0", &[2usize, 3, 1, 1][..]),
            ("../grad:blob", &[20_000]),
            ("scalar", &[]),
            ("empty", &[0, 4]),
        ]
        .into_iter()
        .map(|(name, dims)| (name.to_owned(), tensor(dims)))
        .collect();
        write(&path, arrays.iter().map(|(n, t)| (n, t.view()))).unwrap();
        assert_eq!(read(&path).unwrap(), arrays);
        let first = std::fs::read(&path).unwrap();
        assert!(looks_like(&first));
        write(&path, arrays.iter().map(|(n, t)| (n, t.view()))).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), first);
    }

    #[test]
    fn other_types_and_orders_become_float32_in_c_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npz");
        let long: Vec<u8> = [1i64, 2, 3, 4, 5, 6]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        archive(
            &path,
            "{'descr': '<i8', 'fortran_order': True, 'shape': (2, 3), }\n",
            &long,
        );
        let x = &read(&path).unwrap()["x"];
        assert_eq!(x.shape.dims(), [2, 3]);
        assert_eq!(x.data, [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
        let double: Vec<u8> = [0.5f64, -1e9]
            .iter()
            .flat_map(|x| x.to_be_bytes())
            .collect();
        archive(
            &path,
            "{'descr': '>f8', 'fortran_order': False, 'shape': (2,), }",
            &double,
        );
        assert_eq!(read(&path).unwrap()["x"].data, [0.5, -1e9]);
        archive(
            &path,
            "{'shape': (), 'fortran_order': False, 'descr': '|u1'}",
            &[200],
        );
        assert_eq!(read(&path).unwrap()["x"].data, [200.0]);
        archive(
            &path,
            "{'descr': '<U2', 'fortran_order': False, 'shape': (1,), }",
            &[0; 8],
        );
        assert!(read(&path).unwrap().is_empty());
    }

    #[test]
    fn a_bad_file_is_one_clear_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bad.npz");
        let error = |path: &Path| {
            let error = read(path).unwrap_err();
            let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
            chain.join(": ")
        };
        assert!(error(&path).starts_with("cannot read "));
        std::fs::write(&path, b"not a zip").unwrap();
        assert!(error(&path).contains("bad.npz: expected a .npz file"));
        let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
        for (header, data, says) in [
            (
                good,
                &[0u8; 7][..],
                "expected 8 bytes for shape [2], found 7: truncated",
            ),
            (good, &[0; 9], "found more"),
            (
                "{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }",
                &[0; 8],
                "found <c8",
            ),
            (
                "{'descr': '<f4', 'shape': (1,), }",
                &[0; 4],
                "fortran_order",
            ),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }",
                &[],
                "shape",
            ),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }",
                &[],
                "too large",
            ),
            (
                "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }",
                &[],
                "needs 14.6 TiB",
            ),
        ] {
            archive(&path, header, data);
            let text = error(&path);
            assert!(text.contains("bad.npz: array \"x\": "), "{text}");
            assert!(text.contains(says), "{text}");
        }
    }

    #[test]
    fn an_archive_damaged_anywhere_never_panics() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.npz");
        write(&path, [("a", tensor(&[3, 2]).view())]).unwrap();
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            for bad in [0, 0x7f, 0xff, good[at] ^ 1] {
                let mut bytes = good.clone();
                bytes[at] = bad;
                std::fs::write(&path, bytes).unwrap();
                let _ = read(&path);
            }
            std::fs::write(&path, &good[..at]).unwrap();
            assert!(read(&path).is_err());
        }
    }

    #[test]
    fn numpys_own_files_are_read() {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/goldens/sqtrain/sqtrain.npz");
        if !path.exists() {
            eprintln!("skipped: no {}", path.display());
            return;
        }
        let arrays = read(&path).unwrap();
        assert_eq!(arrays["loss"].data.len(), 6);
        assert_eq!(arrays["final/conv1/0"].shape.dims(), [96, 3, 7, 7]);
        assert!(!arrays.contains_key("param_names"));
    }
}
