//! `dsd convert_mnist_data` and `convert_mnist_siamese_data`: MNIST's files to databases, as the programs of
//! Caffe's examples make them.

use super::records::fill;
use crate::cli;
use crate::data::idx::Idx;
use crate::info;
use crate::proto::caffe::{Datum, data_parameter::Db};
use crate::random::{Purpose, Random};
use crate::solver::DEFAULT_SEED;
use anyhow::{Context, Result};
use std::process::ExitCode;

/// The exit code of a run that a signal stopped.
const STOPPED: u8 = 130;

/// A record for each picture.
pub fn plain(args: &cli::ConvertMnist) -> Result<ExitCode> {
    let idx = read(&args.images, &args.labels)?;
    let record = |i: usize| {
        let datum = datum(&idx, 1, idx.picture(i).to_vec(), idx.label(i))?;
        Ok((format!("{i:08}"), datum))
    };
    let done = fill(&args.db, args.backend.into(), idx.count(), record)?;
    if !done {
        return Ok(ExitCode::from(STOPPED));
    }
    info!("Processed {} files.", idx.count());
    Ok(ExitCode::SUCCESS)
}

/// As many pairs as there are pictures, drawn at random; their label says whether both are of one class.
pub fn siamese(args: &cli::ConvertMnistSiamese, seed: Option<u64>) -> Result<ExitCode> {
    let idx = read(&args.images, &args.labels)?;
    let random = Random::new(seed.unwrap_or(DEFAULT_SEED), Purpose::Shuffle, 0);
    let record = |i: usize| {
        let draw = |k: u64| random.below(2 * i as u64 + k, idx.count());
        let [a, b] = [draw(0), draw(1)];
        let pixels = [idx.picture(a), idx.picture(b)].concat();
        let label = i32::from(idx.label(a) == idx.label(b));
        Ok((format!("{i:08}"), datum(&idx, 2, pixels, label)?))
    };
    let done = fill(&args.db, Db::Leveldb, idx.count(), record)?;
    if !done {
        return Ok(ExitCode::from(STOPPED));
    }
    info!("Wrote {} pairs to {}", idx.count(), args.db.display());
    Ok(ExitCode::SUCCESS)
}

fn read(images: &std::path::Path, labels: &std::path::Path) -> Result<Idx> {
    let idx = Idx::read(images, labels)?;
    info!("A total of {} items.", idx.count());
    info!("Rows: {} Cols: {}", idx.rows, idx.columns);
    Ok(idx)
}

fn datum(idx: &Idx, channels: i32, data: Vec<u8>, label: i32) -> Result<Datum> {
    let size = |n: usize| i32::try_from(n).context("its pictures are too large for a Datum");
    Ok(Datum {
        channels: Some(channels),
        height: Some(size(idx.rows)?),
        width: Some(size(idx.columns)?),
        data: Some(data),
        label: Some(label),
        ..Datum::default()
    })
}
