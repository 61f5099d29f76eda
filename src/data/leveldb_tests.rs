use super::*;
use std::fs;

/// `tests/data/leveldb`: see the note there.
fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/leveldb")
}

fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(sample()).unwrap() {
        let entry = entry.unwrap();
        fs::write(
            folder.path().join(entry.file_name()),
            fs::read(entry.path()).unwrap(),
        )
        .unwrap();
    }
    folder
}

fn read_all(folder: &Path) -> Result<Vec<(String, i32, Vec<u8>)>> {
    let mut database = Leveldb::open(folder)?;
    let mut records = Vec::new();
    let mut datum = Datum::default();
    for i in 0..database.count() {
        database.read(i, &mut datum)?;
        records.push((database.key(), datum.label(), datum.data().to_vec()));
    }
    Ok(records)
}

#[test]
fn tables_and_log_give_the_newest_of_each_key() {
    let mut wanted = Vec::new();
    for i in 0..44 {
        let (rewritten, deleted) = (i % 5 == 0 && i < 40, i % 7 == 0 || i == 1);
        if deleted && !rewritten && i < 40 {
            continue;
        }
        let value = if rewritten { 100 + i } else { i };
        wanted.push((format!("{i:08}_a"), value, vec![value as u8; 4]));
    }
    assert_eq!(read_all(&sample()).unwrap(), wanted);
    let mut database = Leveldb::open(&sample()).unwrap();
    let mut datum = Datum::default();
    for i in [5usize, 0, 30, 30, 2] {
        database.read(i as u64, &mut datum).unwrap();
        assert_eq!(
            (database.key(), datum.label()),
            (wanted[i].0.clone(), wanted[i].1)
        );
    }
    assert!(database.read(1000, &mut datum).is_err());
}

#[test]
fn the_folder_stays_as_it_is() {
    let folder = copy();
    let names = || {
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    let before = names();
    read_all(folder.path()).unwrap();
    assert_eq!(names(), before);
}

#[test]
fn missing_files_are_named() {
    for (name, wanted) in [
        ("CURRENT", "CURRENT is missing"),
        ("MANIFEST", "is missing: the database names it"),
        (".ldb", "is missing: the database names it"),
    ] {
        let folder = copy();
        for entry in fs::read_dir(folder.path()).unwrap().flatten() {
            if entry.file_name().to_str().unwrap().contains(name) {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        assert!(Leveldb::looks_like(folder.path()));
        let error = format!("{:#}", Leveldb::open(folder.path()).err().unwrap());
        assert!(error.contains(wanted), "{error}");
    }
    let folder = copy();
    fs::write(folder.path().join("CURRENT"), "MANIFEST-../x\n").unwrap();
    let error = format!("{:#}", Leveldb::open(folder.path()).err().unwrap());
    assert!(error.contains("must name a file MANIFEST-N"), "{error}");
}

#[test]
fn damaged_files_are_errors_and_never_panics() {
    for entry in fs::read_dir(sample()).unwrap().flatten() {
        let folder = copy();
        let path = folder.path().join(entry.file_name());
        let bytes = fs::read(entry.path()).unwrap();
        for cut in (0..bytes.len()).step_by(3) {
            fs::write(&path, &bytes[..cut]).unwrap();
            if let Ok(records) = read_all(folder.path()) {
                // Between two records, or without CURRENT's new line, a file is whole.
                let whole = path.ends_with("CURRENT") || !records.is_empty();
                assert!(whole, "{} cut at {cut}", path.display());
            }
        }
        for at in 0..bytes.len() {
            for value in [0, 0xff, bytes[at] ^ 0x10] {
                let mut odd = bytes.clone();
                odd[at] = value;
                fs::write(&path, &odd).unwrap();
                let _ = read_all(folder.path());
            }
        }
    }
}

#[test]
fn an_empty_database_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    assert!(!Leveldb::looks_like(folder.path()));
    fs::write(folder.path().join("CURRENT"), "MANIFEST-000002\n").unwrap();
    // LevelDB's first MANIFEST: the comparator's name and three numbers.
    let mut edit = b"\x01\x1aleveldb.BytewiseComparator".to_vec();
    edit.extend([2, 3, 3, 4, 4, 0]);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&[1]), &edit);
    let masked = crc.rotate_right(15).wrapping_add(0xa282_ead8);
    let mut log = masked.to_le_bytes().to_vec();
    log.extend([edit.len() as u8, 0, 1]);
    log.extend(&edit);
    fs::write(folder.path().join("MANIFEST-000002"), &log).unwrap();
    let error = Leveldb::open(folder.path()).err().unwrap().to_string();
    assert!(error.ends_with("the log 000003.log is missing, which holds its records"));
    fs::write(folder.path().join("000003.log"), "").unwrap();
    let error = Leveldb::open(folder.path()).err().unwrap().to_string();
    assert!(error.ends_with("is an empty database: it has no records"));
}
