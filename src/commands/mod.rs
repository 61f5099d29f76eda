//! The subcommands: one file each, which resolves the arguments, calls the library and prints.

mod classify;
mod compress;
mod compute_image_mean;
mod convert_cifar_data;
mod convert_imageset;
mod convert_mnist_data;
mod decompress;
mod detect;
mod device_query;
mod draw;
mod export;
mod extract_features;
mod feed;
mod inspect;
mod nets;
mod new;
mod parse_log;
mod plot_training_log;
mod records;
mod resize_and_crop_images;
mod run;
mod run_folder;
mod sensitivity;
mod test;
mod time;
mod train;
mod upgrade;

use std::process::ExitCode;

use anyhow::{Error, Result};

use crate::cli::{Cli, Command, PhaseName, Train};
use crate::kernels::choice::UseSparse;
use crate::kernels::simd::Isa;
use crate::report::log;
use crate::warn;

/// Wrong usage that shows only when the arguments are looked at together with the files: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(
    /// What is wrong and what to write instead.
    pub String,
);

/// The exit code of a failed command: 2 for wrong usage, else 1.
pub fn exit_code(error: &Error) -> ExitCode {
    ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
}

/// Runs a command; the exit code is 0, or 130 where SIGINT stopped it.
///
/// # Errors
/// The work failed.
pub fn run(cli: Cli) -> Result<ExitCode> {
    // Else a misspelt DSD_ISA or DSD_SPARSE would be silently another one.
    Isa::asked().map_err(|error| Usage(error.to_string()))?;
    UseSparse::asked().map_err(|error| Usage(error.to_string()))?;
    let global = cli.global;
    let variable = |name: &str| std::env::var_os(name);
    log::configure(global.glog.settings(&cli.program, &variable));
    for note in &cli.notes {
        warn!("{note}");
    }
    // Caffe's default is `--gpu ""`.
    if global.gpu.is_some_and(|ids| !ids.is_empty()) {
        warn!("no GPU backend, running on CPU");
    }
    // gflags' own default for "none" is -1, as Caffe's random_seed.
    let seed = global.seed.and_then(|s| u64::try_from(s).ok());
    let phase = |args, phase| Train {
        phase: Some(phase),
        flow: None,
        args,
    };
    match cli.command {
        Command::Train(args) => return train::run(&args, seed),
        Command::Dense(args) => return train::run(&phase(args, PhaseName::Dense), seed),
        Command::Prune(args) => return train::run(&phase(args, PhaseName::Sparse), seed),
        Command::Redense(args) => return train::run(&phase(args, PhaseName::Redense), seed),
        Command::Quantize(args) => return train::run(&phase(args, PhaseName::Quantize), seed),
        Command::Sensitivity(args) => return sensitivity::run(&args, seed),
        Command::ConvertImageset(args) => return convert_imageset::run(&args, seed),
        Command::ConvertMnistData(args) => return convert_mnist_data::plain(&args),
        Command::ConvertMnistSiameseData(args) => return convert_mnist_data::siamese(&args, seed),
        Command::ConvertCifarData(args) => return convert_cifar_data::run(&args),
        Command::ResizeAndCropImages(args) => return resize_and_crop_images::run(&args),
        Command::ComputeImageMean(args) => compute_image_mean::run(&args)?,
        Command::ExtractFeatures(args) => extract_features::run(&args, seed)?,
        Command::UpgradeNetProtoText(args) => return upgrade::net_text(&args),
        Command::UpgradeNetProtoBinary(args) => return upgrade::net_binary(&args),
        Command::UpgradeSolverProtoText(args) => return upgrade::solver_text(&args),
        Command::Test(args) => test::run(&args, seed)?,
        Command::Time(args) => time::run(&args, seed)?,
        Command::Run(args) => run::run(&args, seed)?,
        Command::Classify(args) => classify::run(&args, seed)?,
        Command::Detect(args) => detect::run(&args, seed)?,
        Command::Draw(args) => draw::run(&args)?,
        Command::ParseLog(args) => parse_log::run(&args)?,
        Command::PlotTrainingLog(args) => plot_training_log::run(&args)?,
        Command::DeviceQuery => device_query::run()?,
        Command::Inspect(args) => inspect::run(&args)?,
        Command::Compress(args) => compress::run(&args)?,
        Command::Decompress(args) => decompress::run(&args)?,
        Command::Export(args) => export::run(&args)?,
        Command::New(args) => new::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}
