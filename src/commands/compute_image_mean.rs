//! `dsd compute_image_mean`: the mean picture of a database, and of each channel.

use crate::cli;
use crate::data::{mean, records};
use crate::info;
use crate::proto::binary;
use crate::report::number::G;
use crate::report::progress;
use anyhow::Result;

/// Caffe tells after so many records.
const TOLD: u64 = 10_000;

/// Runs the command.
pub fn run(args: &cli::ComputeImageMean) -> Result<()> {
    let mut records = records::open(&args.input_db, args.backend.into())?;
    info!("Starting iteration");
    let bar = progress::bar("mean", 0, records.count());
    let mut told = 0;
    let mean = mean::mean(&mut *records, &mut |n| {
        bar.set_position(n);
        while told + TOLD <= n {
            told += TOLD;
            info!("Processed {told} files.");
        }
    })?;
    bar.finish_and_clear();
    if records.count() % TOLD != 0 {
        info!("Processed {} files.", records.count());
    }
    if let Some(path) = &args.output_file {
        info!("Write to {}", path.display());
        binary::write(path, &mean)?;
    }
    info!("Number of channels: {}", mean.channels());
    for (c, value) in mean::channel_means(&mean).into_iter().enumerate() {
        info!("mean_value channel [{c}]: {}", G(value));
    }
    Ok(())
}
