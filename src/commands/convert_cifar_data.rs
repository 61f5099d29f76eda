//! `dsd convert_cifar_data`: CIFAR-10's binary files to a training and a test database, as the program of
//! Caffe's example makes them.

use super::records::fill;
use crate::cli::{self, Backend};
use crate::proto::caffe::Datum;
use crate::{files, info, warn};
use anyhow::{Result, anyhow, ensure};
use std::path::Path;
use std::process::ExitCode;

/// Height and width.
const SIDE: i32 = 32;
/// Bytes of a picture: planes of red, green and blue.
const PICTURE: usize = 3072;
/// Records of a file of CIFAR-10.
const BATCH: usize = 10_000;
/// Files of training data.
const TRAIN: usize = 5;

/// Runs the command; the exit code is 0, or 130 where SIGINT stopped it.
pub fn run(args: &cli::ConvertCifar) -> Result<ExitCode> {
    let kind = match args.backend {
        Backend::Lmdb => "lmdb",
        Backend::Leveldb => "leveldb",
    };
    let target = |name: &str| args.output.join(format!("cifar10_{name}_{kind}"));
    // All of it is looked at before the work begins.
    let mut train = Vec::new();
    for i in 1..=TRAIN {
        let path = args.input.join(format!("data_batch_{i}.bin"));
        train.push(read(&path, &format!("train file #{i}"))?);
    }
    let test = read(&args.input.join("test_batch.bin"), "test file")?;
    for name in ["train", "test"] {
        ensure!(
            target(name).symlink_metadata().is_err(),
            "{} exists already; nothing is overwritten: remove it or give another folder",
            target(name).display()
        );
    }
    info!("Writing Training data");
    let mut told = 0;
    let mut places = train
        .iter()
        .enumerate()
        .flat_map(|(batch, file)| (0..file.len() / (1 + PICTURE)).map(move |i| (batch, i)));
    let count = train.iter().map(|file| file.len() / (1 + PICTURE)).sum();
    let done = fill(&target("train"), args.backend.into(), count, |_| {
        let (batch, i) = places
            .next()
            .ok_or_else(|| anyhow!("the records are all written"))?;
        if told <= batch {
            told = batch + 1;
            info!("Training Batch {told}");
        }
        Ok((format!("{:05}", batch * BATCH + i), datum(&train[batch], i)))
    })?;
    if !done {
        return Ok(ExitCode::from(130));
    }
    info!("Writing Testing data");
    let count = test.len() / (1 + PICTURE);
    let done = fill(&target("test"), args.backend.into(), count, |i| {
        Ok((format!("{i:05}"), datum(&test, i)))
    })?;
    Ok(if done {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(130)
    })
}

/// The bytes of a file of records.
fn read(path: &Path, what: &str) -> Result<Vec<u8>> {
    let bytes = files::read(path).map_err(|e| anyhow!("Unable to open {what}: {e}"))?;
    let (shown, record) = (path.display(), 1 + PICTURE);
    let (count, rest) = (bytes.len() / record, bytes.len() % record);
    ensure!(
        rest == 0 && count > 0,
        "{shown}: expected records of {record} bytes (a label and 3 x 32 x 32 pixels), found {} bytes, {rest} more \
         than {count} records; copy it again",
        bytes.len()
    );
    ensure!(
        count <= BATCH,
        "{shown}: expected at most {BATCH} records, as in CIFAR-10's files, found {count}"
    );
    if count < BATCH {
        warn!("{shown} holds {count} pictures, where CIFAR-10's files hold {BATCH}");
    }
    Ok(bytes)
}

fn datum(file: &[u8], i: usize) -> Datum {
    let record = &file[i * (1 + PICTURE)..(i + 1) * (1 + PICTURE)];
    Datum {
        channels: Some(3),
        height: Some(SIDE),
        width: Some(SIDE),
        data: Some(record[1..].to_vec()),
        // Caffe reads a signed byte.
        label: Some(i32::from(record[0] as i8)),
        ..Datum::default()
    }
}
