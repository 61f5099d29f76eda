//! The subcommands: one file each, which resolves the arguments, calls the library and prints.

mod classify;
mod compare;
mod compress;
mod compute_image_mean;
mod convert_cifar_data;
mod convert_imageset;
mod convert_mnist_data;
mod convert_text;
mod curves;
mod decompress;
mod detect;
mod device_query;
mod draw;
mod experiment;
mod export;
mod extract_features;
mod inspect;
mod model_folder;
mod nets;
mod new;
mod parse_log;
mod plot;
mod plot_training_log;
mod records;
mod report;
mod resize_and_crop_images;
mod results;
mod run;
mod run_folder;
mod sensitivity;
mod settings;
mod shell;
mod status;
mod test;
mod time;
mod train;
mod upgrade;
mod watch;

use std::process::ExitCode;

use anyhow::{Error, Result};

use crate::cli::{Cli, Command, Phases, Train};
use crate::phase::Phase;
use crate::warn;
pub use settings::Settings;

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

/// Runs a command under `settings`, which hold already; the exit code is 0, or 130 where SIGINT stopped it.
///
/// # Errors
/// The work failed.
pub fn run(cli: Cli, settings: &Settings) -> Result<ExitCode> {
    for note in &cli.notes {
        warn!("{note}");
    }
    // Caffe's default is `--gpu ""`.
    if cli.global.gpu.is_some_and(|ids| !ids.is_empty()) {
        warn!("no GPU backend, running on CPU");
    }
    let seed = settings.seed;
    let phase = |args, phase| Train {
        folder: None,
        phase: Some(Phases::One(phase)),
        flow: None,
        control: false,
        seeds: None,
        jobs: None,
        args,
    };
    match cli.command {
        Command::Train(args) => return train::run(&args, settings),
        Command::Dense(args) => return train::run(&phase(args, Phase::Dense), settings),
        Command::Prune(args) => return train::run(&phase(args, Phase::Sparse), settings),
        Command::Redense(args) => return train::run(&phase(args, Phase::Redense), settings),
        Command::Quantize(args) => return train::run(&phase(args, Phase::Quantize), settings),
        Command::Experiment(args) => return experiment::run(&args, settings),
        Command::Sensitivity(args) => return sensitivity::run(&args, settings),
        Command::ConvertImageset(args) => return convert_imageset::run(&args, seed),
        Command::ConvertMnistData(args) => return convert_mnist_data::plain(&args),
        Command::ConvertMnistSiameseData(args) => return convert_mnist_data::siamese(&args, seed),
        Command::ConvertCifarData(args) => return convert_cifar_data::run(&args),
        Command::ResizeAndCropImages(args) => return resize_and_crop_images::run(&args),
        Command::ConvertText(args) => convert_text::run(&args)?,
        Command::ComputeImageMean(args) => compute_image_mean::run(&args)?,
        Command::ExtractFeatures(args) => extract_features::run(&args, settings)?,
        Command::Completions(args) => shell::complete(&args)?,
        Command::Man(args) => shell::man(&args)?,
        Command::UpgradeNetProtoText(args) => return upgrade::net_text(&args),
        Command::UpgradeNetProtoBinary(args) => return upgrade::net_binary(&args),
        Command::UpgradeSolverProtoText(args) => return upgrade::solver_text(&args),
        Command::Test(args) => test::run(&args, settings)?,
        Command::Time(args) => time::run(&args, settings)?,
        Command::Run(args) => run::run(&args, settings)?,
        Command::Classify(args) => classify::run(&args, settings)?,
        Command::Detect(args) => detect::run(&args, settings)?,
        Command::Draw(args) => draw::run(&args)?,
        Command::ParseLog(args) => parse_log::run(&args)?,
        Command::Plot(args) => plot::run(&args)?,
        Command::PlotTrainingLog(args) => plot_training_log::run(&args)?,
        Command::Report(args) => report::run(&args, settings)?,
        Command::Watch(args) => watch::run(&args)?,
        Command::Status(args) => status::run(&args)?,
        Command::DeviceQuery => device_query::run(settings)?,
        Command::Inspect(args) => inspect::run(&args)?,
        Command::Compare(args) => compare::run(&args)?,
        Command::Compress(args) => compress::run(&args, settings)?,
        Command::Decompress(args) => decompress::run(&args)?,
        Command::Export(args) => export::run(&args)?,
        Command::New(args) => return new::run(&args, settings),
    }
    Ok(ExitCode::SUCCESS)
}
