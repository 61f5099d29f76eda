use super::*;
use crate::random::Purpose;
use heed::types::Bytes;
use heed::{CommitOrAbort, EnvOpenOptions};
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
    made(counted(n))
}

/// A database of these records, in a folder of its own.
fn made(records: Vec<(String, Vec<u8>)>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
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

/// Random numbers, one after the other.
struct Random {
    of: crate::random::Random,
    drawn: u64,
}

impl Random {
    fn new(seed: u64) -> Self {
        let of = crate::random::Random::new(seed, Purpose::Layer, 0);
        Self { of, drawn: 0 }
    }

    fn below(&mut self, n: usize) -> usize {
        self.drawn += 1;
        self.of.below(self.drawn, n)
    }
}

/// Numbers that mislead whoever trusts them.
const ODD: [u64; 12] = [
    0,
    1,
    2,
    3,
    7,
    15,
    0x7fff,
    0x8000,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    u64::MAX,
];

/// One thing changed in a whole file.
fn damage(whole: &[u8], random: &mut Random) -> Vec<u8> {
    const PAGE: usize = 4096;
    let mut bytes = whole.to_vec();
    let pages = whole.len() / PAGE;
    let page = PAGE * random.below(pages);
    match random.below(7) {
        // Of a header or the offsets behind it, a bit.
        0 => bytes[page + random.below(64)] ^= 1 << random.below(8),
        // Of anything.
        1 => bytes[page + random.below(PAGE)] ^= 1 << random.below(8),
        // A number for another.
        2 => {
            let size = [2, 4, 8][random.below(3)];
            let room = if random.below(2) == 0 { 64 } else { PAGE - 8 };
            let at = page + random.below(room);
            let odd = ODD[random.below(ODD.len())].to_le_bytes();
            bytes[at..at + size].copy_from_slice(&odd[..size]);
        }
        // The number of a page where another may stand.
        3 => {
            let at = page + random.below(PAGE - 8);
            bytes[at] = random.below(pages) as u8;
        }
        // A page for another, with its number or with the other's.
        4 => {
            let from = PAGE * random.below(pages);
            let skip = 8 * random.below(2);
            bytes.copy_within(from + skip..from + PAGE, page + skip);
        }
        // The head of the file.
        5 => {
            let at = PAGE * random.below(2) + 40 + random.below(112);
            bytes[at] = random.below(256) as u8;
        }
        _ => bytes.truncate(random.below(whole.len())),
    }
    bytes
}

/// Reads all of it, in order and not; says how many records there were. Whatever is wrong is an error, and soon.
fn read_all(folder: &Path, random: &mut Random) -> (usize, usize) {
    let (mut good, mut bad) = (0, 0);
    let Ok(mut lmdb) = open(folder) else {
        return (0, 1);
    };
    let count = lmdb.count().min(4000);
    let mut datum = Datum::default();
    let some: Vec<u64> = (0..8)
        .map(|_| random.below(count as usize) as u64)
        .collect();
    for number in (0..count).chain(some) {
        match lmdb.read(number, &mut datum) {
            Ok(()) => good += 1,
            Err(_) => bad += 1,
        }
    }
    (good, bad)
}

/// Databases with small records in a tree of three levels, and with records that have pages of their own.
fn kinds() -> Vec<tempfile::TempDir> {
    // Long keys, so that few fit into a branch.
    let key = |i: usize| format!("{i:0>400}");
    let deep = counted(1500).into_iter().enumerate();
    let large = (0..40).map(|i| {
        let datum = Datum {
            channels: Some(3),
            height: Some(50),
            width: Some(50 + i as i32),
            data: Some(vec![i as u8; 150 * (50 + i)]),
            ..Datum::default()
        };
        (format!("{i:08}"), datum.encode_to_vec())
    });
    vec![
        database(700),
        made(deep.map(|(i, (_, v))| (key(i), v)).collect()),
        made(large.collect()),
    ]
}

/// `DSD_LMDB_MUTATIONS=5000 cargo test --lib damaged_databases`, as tests/soak/lmdb.sh does, tries more.
#[test]
fn damaged_databases_are_errors_and_never_more() {
    let asked = std::env::var("DSD_LMDB_MUTATIONS").ok();
    let times: u64 = asked.map_or(200, |n| n.parse().expect("DSD_LMDB_MUTATIONS is a number"));
    let mut wholes: Vec<Vec<u8>> = (kinds().iter())
        .map(|dir| fs::read(dir.path().join("data.mdb")).unwrap())
        .collect();
    assert!(check_depth(&wholes[1]) >= 3);
    let real = Path::new("../shared/data/imagenet250_lmdb/data.mdb");
    match fs::read(real) {
        Ok(bytes) => wholes.push(bytes),
        Err(_) => println!("skipped: {} is absent", real.display()),
    }
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data.mdb");
    let (mut good, mut bad, mut slowest) = (0, 0, std::time::Duration::ZERO);
    for number in 0..times {
        let mut random = Random::new(number);
        // The real one is large: every twentieth time.
        let which = match number % 20 {
            0 => wholes.len() - 1,
            _ => random.below(3),
        };
        fs::write(&data, damage(&wholes[which], &mut random)).unwrap();
        let clock = std::time::Instant::now();
        let (g, b) = read_all(dir.path(), &mut random);
        slowest = slowest.max(clock.elapsed());
        (good, bad) = (good + g, bad + b);
    }
    println!("{times} files: {good} records read, {bad} errors, {slowest:?} the slowest");
    assert!(good > 0 && bad > 0);
}

/// Levels of the tree of a file.
fn check_depth(bytes: &[u8]) -> u16 {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data.mdb");
    fs::write(&path, bytes).unwrap();
    check(&path).unwrap().depth
}

#[test]
fn a_page_that_lies_costs_its_own_records_and_no_others() {
    let dir = &kinds()[1];
    let data = dir.path().join("data.mdb");
    let whole = fs::read(&data).unwrap();
    // The first page that is a leaf of the tree and not of LMDB's list of free pages.
    let is_leaf = |page: &[u8]| page[10] == 2 && page[12] > 24;
    let leaf = 2 + whole[8192..].chunks(4096).position(is_leaf).unwrap();
    let mut bytes = whole.clone();
    bytes[4096 * leaf + 10] = 4;
    fs::write(&data, &bytes).unwrap();
    let mut lmdb = open(dir.path()).unwrap();
    let mut datum = Datum::default();
    let (mut labels, mut errors) = (Vec::new(), Vec::new());
    for number in 0..lmdb.count() {
        match lmdb.read(number, &mut datum) {
            Ok(()) => labels.push(datum.label()),
            Err(e) => errors.push(format!("{e:#}")),
        }
    }
    assert!(labels.len() >= 1480, "{}", labels.len());
    assert!(labels.is_sorted());
    let wanted = format!("page {leaf}: expected a leaf, found a page of the kind 0x4");
    assert!(errors[0].contains(&wanted), "{}", errors[0]);
    assert!(errors[1].contains("promises 1500 records"), "{}", errors[1]);
}

#[test]
fn a_file_that_is_cut_off_while_it_is_read_is_an_error() {
    let dir = &kinds()[2];
    let mut lmdb = open(dir.path()).unwrap();
    let mut datum = Datum::default();
    lmdb.read(0, &mut datum).unwrap();
    let file = fs::File::options()
        .write(true)
        .open(dir.path().join("data.mdb"));
    file.unwrap().set_len(16384).unwrap();
    let error = format!("{:#}", lmdb.read(30, &mut datum).unwrap_err());
    assert!(
        error.contains("it has been cut off since it was opened"),
        "{error}"
    );
}

#[test]
fn what_caffe_does_not_write_is_told() {
    use heed::DatabaseFlags;
    let made = |name: Option<&'static str>, flags: DatabaseFlags| {
        let dir = tempfile::tempdir().unwrap();
        let mut options = EnvOpenOptions::new();
        options.map_size(1 << 20).max_dbs(2);
        // SAFETY: a folder of this test's own.
        #[allow(unsafe_code)]
        let env = unsafe { options.open(dir.path()) }.unwrap();
        let txn = env.write_txn().unwrap();
        env.create_databases_and_commit(txn, |creator, txn| {
            let mut options = creator.database_options().types::<Bytes, Bytes>();
            options.flags(flags);
            if let Some(name) = name {
                options.name(name);
            }
            let database = options.create(txn)?;
            database.put(txn, b"a", b"1")?;
            database.put(txn, b"a", b"2")?;
            Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(()))
        })
        .unwrap();
        error(dir.path())
    };
    let text = made(None, DatabaseFlags::DUP_SORT);
    assert!(text.contains("several values under a key"), "{text}");
    let text = made(Some("train"), DatabaseFlags::empty());
    assert!(text.contains("named databases ('train')"), "{text}");
    // A big-endian machine's.
    let dir = database(1);
    let data = dir.path().join("data.mdb");
    let mut bytes = fs::read(&data).unwrap();
    bytes[16..20].reverse();
    fs::write(&data, bytes).unwrap();
    assert!(error(dir.path()).contains("other byte order"));
}
