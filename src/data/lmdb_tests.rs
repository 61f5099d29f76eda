use super::*;
use prost::Message;
use std::fs;

/// Writes an LMDB of the given records.
#[allow(unsafe_code)]
pub fn write(folder: &Path, records: &[(&str, Vec<u8>)]) {
    fs::create_dir_all(folder).unwrap();
    let mut options = EnvOpenOptions::new();
    options.map_size(1 << 24);
    // SAFETY: a folder of this test's own.
    let env = unsafe { options.open(folder) }.unwrap();
    let txn = env.write_txn().unwrap();
    env.create_databases_and_commit(txn, |creator, txn| {
        let database = creator.create_database::<Bytes, Bytes>(txn, None)?;
        for (key, value) in records {
            database.put(txn, key.as_bytes(), value)?;
        }
        Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(()))
    })
    .unwrap();
}

/// `n` records of 1 x 1 x 2 pixels: their number and its square, labelled with the number.
pub fn counted(n: usize) -> Vec<(String, Vec<u8>)> {
    let record = |i: usize| Datum {
        channels: Some(1),
        height: Some(1),
        width: Some(2),
        data: Some(vec![i as u8, (i * i) as u8]),
        label: Some(i as i32),
        ..Datum::default()
    };
    (0..n)
        .map(|i| (format!("{i:08}"), record(i).encode_to_vec()))
        .collect()
}

pub fn database(n: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let records = counted(n);
    let records: Vec<_> = records
        .iter()
        .map(|(k, v)| (k.as_str(), v.clone()))
        .collect();
    write(dir.path(), &records);
    dir
}

fn open(path: &Path) -> Result<Lmdb> {
    Lmdb::open(path)
}

fn error(path: &Path) -> String {
    format!("{:#}", open(path).err().unwrap())
}

fn label(lmdb: &mut Lmdb, number: u64) -> i32 {
    let mut datum = Datum::default();
    lmdb.read(number, &mut datum).unwrap();
    datum.label()
}

#[test]
fn any_order_gives_the_records_of_the_sequence() {
    let dir = database(300);
    for path in [dir.path().to_path_buf(), dir.path().join("data.mdb")] {
        let mut lmdb = open(&path).unwrap();
        assert_eq!(lmdb.count(), 300);
        for number in (0..300).chain([0, 0, 1, 5, 6, 4, 299, 299, 298, 0, 150]) {
            assert_eq!(label(&mut lmdb, number), number as i32);
            assert_eq!(lmdb.key(), format!("{number:08}"));
        }
        let mut fresh = open(&path).unwrap();
        assert_eq!(label(&mut fresh, 200), 200);
        assert_eq!(label(&mut fresh, 201), 201);
        let past = format!("{:#}", fresh.read(300, &mut Datum::default()).unwrap_err());
        assert!(past.contains("promises 300 records"), "{past}");
    }
}

#[test]
fn two_readers_share_a_database_and_it_opens_again_after_both() {
    let dir = database(3);
    let (mut a, mut b) = (open(dir.path()).unwrap(), open(dir.path()).unwrap());
    assert_eq!((label(&mut a, 0), label(&mut b, 2)), (0, 2));
    drop(a);
    assert_eq!(label(&mut b, 1), 1);
    drop(b);
    assert_eq!(label(&mut open(dir.path()).unwrap(), 1), 1);
}

/// What a file is and when it was written, for comparing.
fn state(folder: &Path) -> Vec<(std::ffi::OsString, Vec<u8>, std::time::SystemTime)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|f| {
            let f = f.unwrap();
            let modified = f.metadata().unwrap().modified().unwrap();
            (f.file_name(), fs::read(f.path()).unwrap(), modified)
        })
        .collect();
    files.sort();
    files
}

#[test]
fn nothing_is_written_with_a_lock_file_or_without() {
    let dir = database(3);
    let lock = dir.path().join("lock.mdb");
    for _ in 0..3 {
        let before = state(dir.path());
        assert_eq!(label(&mut open(dir.path()).unwrap(), 1), 1);
        assert_eq!(state(dir.path()), before);
        // With it as LMDB left it, as git keeps a file of no use, and without.
        if fs::read(&lock).is_ok_and(|l| !l.is_empty()) {
            fs::write(&lock, "").unwrap();
        } else {
            let _ = fs::remove_file(&lock);
        }
    }
    assert_eq!(state(dir.path()).len(), 1);
}

#[cfg(unix)]
#[test]
fn a_read_only_folder_can_be_read() {
    use std::os::unix::fs::PermissionsExt;
    let dir = database(3);
    for (path, mode) in [("data.mdb", 0o444), ("lock.mdb", 0o444), ("", 0o555)] {
        fs::set_permissions(dir.path().join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    let before = state(dir.path());
    assert_eq!(label(&mut open(dir.path()).unwrap(), 1), 1);
    assert_eq!(state(dir.path()), before);
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn what_is_no_database_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let shown = dir.path().display();
    assert_eq!(
        error(&dir.path().join("absent")),
        format!("{shown}/absent does not exist")
    );
    assert_eq!(
        error(dir.path()),
        format!("{shown} is not an LMDB database: it holds no file data.mdb")
    );

    let data = dir.path().join("data.mdb");
    fs::write(&data, b"").unwrap();
    assert_eq!(
        error(dir.path()),
        format!("{shown}/data.mdb is not an LMDB database: the file is empty")
    );
    fs::write(&data, b"short").unwrap();
    assert!(error(&data).ends_with("data.mdb is not an LMDB database: it is too short for one"));
    fs::write(&data, [b'x'; 9000]).unwrap();
    assert!(
        error(dir.path())
            .contains("data.mdb is not an LMDB database (expected the number 0xbeefc0de")
    );
    let text = dir.path().join("net.prototxt");
    fs::write(&text, b"name: 'x'").unwrap();
    assert!(
        error(&text)
            .ends_with("is a file; an LMDB database is a folder with a file data.mdb in it")
    );
}

#[test]
fn empty_and_truncated_databases_are_told() {
    let dir = database(0);
    assert!(error(dir.path()).ends_with("is an empty database: it has no records"));

    let dir = database(2000);
    let data = dir.path().join("data.mdb");
    let whole = fs::read(&data).unwrap();
    for length in [100, 4100, 8192, whole.len() / 2, whole.len() - 1] {
        fs::write(&data, &whole[..length]).unwrap();
        let error = error(dir.path());
        assert!(
            error.contains(if length == 100 {
                "too short"
            } else {
                "is truncated: "
            }),
            "{length}: {error}"
        );
    }
    fs::write(&data, &whole).unwrap();
    assert_eq!(open(dir.path()).unwrap().count(), 2000);
}

#[test]
fn a_record_that_is_no_datum_names_database_and_key() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        &[
            ("000_good", counted(1)[0].1.clone()),
            ("001_bad\n", vec![0xff; 9]),
        ],
    );
    let mut lmdb = open(dir.path()).unwrap();
    assert_eq!(label(&mut lmdb, 0), 0);
    for _ in 0..2 {
        let error = format!("{:#}", lmdb.read(1, &mut Datum::default()).unwrap_err());
        let wanted = format!(
            "record '001_bad\\n' of {}: it is not a Datum: ",
            dir.path().display()
        );
        assert!(error.starts_with(&wanted), "{error}");
    }
    assert_eq!(label(&mut lmdb, 0), 0);
}
