//! Databases made for a test.

use dsd::proto::Datum;
use heed::types::Bytes;
use heed::{CommitOrAbort, EnvOpenOptions};
use prost::Message;
use std::fs;
use std::path::Path;

/// Writes an LMDB of the given records.
#[allow(unsafe_code)]
pub fn write(folder: &Path, records: &[(String, Vec<u8>)]) {
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

/// `n` records of 1 x 4 x 4 pixels with the labels 0, 1, 2, 0 …, under keys as Caffe makes them.
pub fn pictures(n: usize) -> Vec<(String, Vec<u8>)> {
    let record = |i: usize| Datum {
        channels: Some(1),
        height: Some(4),
        width: Some(4),
        data: Some((0..16).map(|p| (31 * i + 17 * p) as u8).collect()),
        label: Some((i % 3) as i32),
        ..Datum::default()
    };
    let key = |i: usize| format!("{i:08}_p{i}.png");
    (0..n)
        .map(|i| (key(i), record(i).encode_to_vec()))
        .collect()
}

/// The bytes of record `i` of [`pictures`], changed.
pub fn change(records: &mut [(String, Vec<u8>)], i: usize, change: impl Fn(&mut Datum)) {
    let mut datum = Datum::decode(&records[i].1[..]).unwrap();
    change(&mut datum);
    records[i].1 = datum.encode_to_vec();
}
