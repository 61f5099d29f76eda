//! The command line: arguments only. What they mean is resolved in `commands`.
//!
//! Flags that Caffe has keep Caffe's names, and every flag may be spelt in gflags' way, so that a Caffe
//! script runs with only the program's name changed.

mod classify;
mod compress;
mod convert;
mod convert_text;
mod detect;
mod draw;
mod examples;
mod experiment;
mod flagfile;
mod gflags;
mod glog;
mod new;
mod numbers;
mod parse_log;
mod plot_training_log;
mod pycaffe;
mod report;
mod sensitivity;
pub mod shell;
mod status;
mod tool;
mod train;
mod upgrade;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, value_parser};

use crate::layers::Mode;
pub use classify::Classify;
pub use compress::{Compress, CompressedFormat, Decompress, Pack};
pub use convert::{Backend, ComputeImageMean, ConvertImageset, ExtractFeatures, FeatureStore};
pub use convert_text::ConvertText;
pub use detect::{CropMode, Detect};
pub use draw::{Direction, Draw, DrawPhase};
pub use examples::{ConvertCifar, ConvertMnist, ConvertMnistSiamese, ResizeAndCrop};
pub use experiment::{Compare, Experiment};
pub use glog::Glog;
pub use new::{Bypass, Family, Made, New, Squeezenet};
pub use numbers::Numbers;
pub use parse_log::ParseLog;
pub use plot_training_log::{Plot, PlotTrainingLog};
pub use pycaffe::Pycaffe;
pub use report::{Report, Watch};
pub use sensitivity::Sensitivity;
pub use shell::{Completions, Man};
pub use status::Status;
pub use train::{Effect, Phases, Train, TrainArgs};
pub use upgrade::Upgrade;

/// Caffe's tools on a CPU, with Dense-Sparse-Dense training
#[derive(Debug, Parser)]
#[command(
    name = "dsd",
    version,
    propagate_version = true,
    args_override_self = true
)]
#[command(arg_required_else_help = true, after_help = EXAMPLES)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
    /// The program's name, as it was called.
    #[arg(skip)]
    pub program: String,
    /// What of the command line the user should know.
    #[arg(skip)]
    pub notes: Vec<String>,
}

/// What `dsd` alone says.
const FIRST_STEPS: &str = "\
dsd reads and trains Caffe's nets on a CPU, with Dense-Sparse-Dense training. First steps:

  dsd train                          train a small net on built-in digits, dense, sparse, redense (seconds)
  dsd report dsd_run --out r.html    a page of that run to look at: curves, weights, mistakes
  dsd train --solver solver.prototxt --out run     a net of your own, from a solver of Caffe

dsd --help lists all commands, dsd COMMAND --help says what one takes.
";

const EXAMPLES: &str = "\
Examples:
  dsd train                                   dense, sparse, redense on the built-in digits
  dsd train --solver solver.prototxt          as `caffe train`
  dsd test --model net.prototxt --weights w.caffemodel --iterations 100
  dsd inspect w.caffemodel
  dsd report run --out r.html                 a page to look at: curves, weights, mistakes

Flags may be written as in Caffe's scripts: -flag v, -flag=v, --flag v, --flag=v.";

/// The commands.
#[derive(Debug, Subcommand)]
#[command(rename_all = "snake_case")]
pub enum Command {
    /// Train a net: one phase, or dense, sparse and redense in turn
    #[command(after_help = train::EXAMPLES)]
    Train(Train),
    /// Train arms x seeds, shared phases once, and say what they show
    #[command(after_help = experiment::EXAMPLES)]
    Experiment(Experiment),
    /// Put finished runs side by side
    #[command(after_help = experiment::COMPARE_EXAMPLES)]
    Compare(Compare),
    /// Train the dense phase: `train --phase dense`
    Dense(TrainArgs),
    /// Prune and retrain under the mask: `train --phase sparse`
    Prune(TrainArgs),
    /// Retrain with the pruned weights back from zero: `train --phase redense`
    Redense(TrainArgs),
    /// Let the weights of a layer share a few values and train these: `train --phase quantize`
    Quantize(TrainArgs),
    /// Score weights
    #[command(after_help = TEST_EXAMPLES)]
    Test(Test),
    /// Time every layer, forward and backward
    #[command(after_help = TIME_EXAMPLES)]
    Time(Time),
    /// Measure how much accuracy each layer's pruning costs, and propose densities
    #[command(after_help = sensitivity::EXAMPLES)]
    Sensitivity(Sensitivity),
    /// Run a net once on given arrays and save blobs
    #[command(after_help = RUN_EXAMPLES)]
    Run(Run),
    /// Label pictures
    #[command(after_help = classify::EXAMPLES)]
    Classify(Classify),
    /// Score windows in pictures
    #[command(after_help = detect::EXAMPLES)]
    Detect(Detect),
    /// Draw a net as a picture (SVG) or for graphviz (DOT)
    #[command(after_help = draw::EXAMPLES)]
    Draw(Draw),
    /// Turn the log of a training run into tables (CSV)
    #[command(after_help = parse_log::EXAMPLES)]
    ParseLog(ParseLog),
    /// Draw loss, scores and rate of runs and training logs as one picture (SVG)
    #[command(after_help = plot_training_log::PLOT_EXAMPLES)]
    Plot(Plot),
    /// Draw the curves of training logs as a picture (SVG), as Caffe's script
    #[command(name = "plot_training_log", after_help = plot_training_log::EXAMPLES)]
    PlotTrainingLog(PlotTrainingLog),
    /// Make a page to look at of finished or running runs (HTML, one file)
    #[command(after_help = report::EXAMPLES)]
    Report(Report),
    /// Show a run in the terminal while it goes on
    #[command(after_help = report::WATCH_EXAMPLES)]
    Watch(Watch),
    /// Say how runs stand: phase, iteration, loss, speed, time left, disk, and whether they are alive
    #[command(after_help = status::EXAMPLES)]
    Status(Status),
    /// Say what the processor is and what of it is used
    DeviceQuery,
    /// Describe a file: net, weights, solver state, database, compressed model
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect(Inspect),
    /// Compress weights: shared values, Huffman codes
    #[command(after_help = compress::COMPRESS_EXAMPLES)]
    Compress(Compress),
    /// Turn compressed weights back into a caffemodel
    #[command(after_help = compress::DECOMPRESS_EXAMPLES)]
    Decompress(Decompress),
    /// Write weights in another format (.npz)
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(Export),
    /// Make a database of pictures and labels
    #[command(name = "convert_imageset", after_help = convert::IMAGESET_EXAMPLES)]
    ConvertImageset(ConvertImageset),
    /// Make a database of MNIST's files
    #[command(name = "convert_mnist_data", after_help = examples::MNIST_EXAMPLES)]
    ConvertMnistData(ConvertMnist),
    /// Make a LevelDB of pairs of MNIST's pictures, for siamese nets
    #[command(name = "convert_mnist_siamese_data", after_help = examples::SIAMESE_EXAMPLES)]
    ConvertMnistSiameseData(ConvertMnistSiamese),
    /// Make the two databases of CIFAR-10's binary files
    #[command(name = "convert_cifar_data", after_help = examples::CIFAR_EXAMPLES)]
    ConvertCifarData(ConvertCifar),
    /// Make HDF5 files of a text's characters, to train a language model
    #[command(name = "convert_text", after_help = convert_text::EXAMPLES)]
    ConvertText(ConvertText),
    /// Resize pictures to a shorter side and cut out the centre square
    #[command(name = "resize_and_crop_images", after_help = examples::CROP_EXAMPLES)]
    ResizeAndCropImages(ResizeAndCrop),
    /// Compute the mean picture of a database
    #[command(name = "compute_image_mean", after_help = convert::MEAN_EXAMPLES)]
    ComputeImageMean(ComputeImageMean),
    /// Save blobs of a net that runs over its data
    #[command(name = "extract_features", after_help = convert::FEATURES_EXAMPLES)]
    ExtractFeatures(ExtractFeatures),
    /// Make a folder with a net for your pictures, or of a built-in net, or from a few numbers
    #[command(after_help = new::EXAMPLES)]
    New(New),
    /// Bring a net's text of an older Caffe (V0, V1) into today's form
    #[command(name = "upgrade_net_proto_text")]
    UpgradeNetProtoText(Upgrade),
    /// Bring a caffemodel of an older Caffe (V0, V1) into today's form
    #[command(name = "upgrade_net_proto_binary")]
    UpgradeNetProtoBinary(Upgrade),
    /// Bring a solver's text of an older Caffe into today's form
    #[command(name = "upgrade_solver_proto_text")]
    UpgradeSolverProtoText(Upgrade),
    /// Print what a shell needs to complete the command line
    #[command(after_help = shell::COMPLETIONS_EXAMPLES)]
    Completions(Completions),
    /// Print the manual's page, or write a page a command
    #[command(after_help = shell::MAN_EXAMPLES)]
    Man(Man),
}

/// What holds for every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "General options", rename_all = "snake_case")]
pub struct Global {
    /// Threads to work with [default: one a core that this process may use]; results are the same for any number
    #[arg(long, global = true, value_name = "N", value_parser = count(1024))]
    pub threads: Option<usize>,
    /// Seed of all randomness; overrides the solver's random_seed
    #[arg(long, global = true, value_name = "N")]
    pub seed: Option<i64>,
    /// Only warnings and errors on stderr, and no progress bar; log files and a run's own log stay whole
    #[arg(long, global = true)]
    pub quiet: bool,
    /// Where a data layer's database, list or folder has a record that cannot be read, warn and take the next good one in its
    /// place
    #[arg(long, global = true)]
    pub skip_bad_records: bool,
    /// Accepted for Caffe's scripts: there is no GPU backend, and the run is on the CPU
    #[arg(long, global = true, value_name = "IDS")]
    pub gpu: Option<String>,
    /// glog's flags.
    #[command(flatten)]
    pub glog: Glog,
}

/// Which layers of a net hold, besides those of the mode.
#[derive(Clone, Debug, Default, Args)]
#[command(rename_all = "snake_case")]
pub struct NetState {
    /// The net's level, for include and exclude rules; replaces that of the files
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub level: i32,
    /// The net's stages, for include and exclude rules
    #[arg(long, value_name = "A,B…", value_delimiter = ',')]
    pub stage: Vec<String>,
}

/// Arguments of `test`.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct Test {
    /// The folder of a model, as `dsd new` makes it, or of a run: its net and last weights; or a model in one file (.dsdz); or,
    /// with --weights, a folder with a folder of pictures for each class, to score as `classify --score` does
    #[arg(value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
    /// Behind a model: a folder of classes to score; all its pictures are taken
    #[arg(value_name = "PICTURES", conflicts_with = "source")]
    pub pictures: Option<PathBuf>,
    /// The net (prototxt or a built-in name) [default: the built-in net that fits the weights]
    #[arg(long, value_name = "F")]
    pub model: Option<PathBuf>,
    /// The weights: .caffemodel, .caffemodel.h5, .npz, .dsdz or Deep Compression .net
    #[arg(
        long,
        value_name = "F",
        value_delimiter = ',',
        required_unless_present = "folder"
    )]
    pub weights: Vec<PathBuf>,
    /// The number of batches [default: 50; of a model's folder as many as the tests of its training]
    #[arg(long, value_name = "N", value_parser = count(i32::MAX as usize))]
    pub iterations: Option<usize>,
    /// Another data source (database or list) for the data layers; a folder of classes that no ImageData layer reads is
    /// scored as FOLDER
    #[arg(long, value_name = "PATH")]
    pub source: Option<PathBuf>,
    /// The classes' names for a folder of classes, one a line [default: as for classify --score]
    #[arg(long, value_name = "F")]
    pub labels: Option<PathBuf>,
    /// For a folder of classes, write a row a picture: file, class, what the net says, and its probability
    #[arg(long, value_name = "F")]
    pub csv: Option<PathBuf>,
    /// Print the result as one JSON object on stdout
    #[arg(long)]
    pub json: bool,
    /// The numbers.
    #[command(flatten)]
    pub numbers: Numbers,
    /// Level and stages.
    #[command(flatten)]
    pub state: NetState,
}

const TEST_EXAMPLES: &str = "\
Examples:
  dsd test --weights dsd_run/redense/digits_iter_300.caffemodel
  dsd test --model train_val.prototxt --weights w.caffemodel --source val_lmdb --iterations 1000 --json
  dsd test digits/ --weights dsd_run/redense/digits_iter_300.caffemodel --labels names.txt   digits/three/1.png …";

/// Arguments of `time`.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct Time {
    /// The net (prototxt or a built-in name)
    #[arg(long, value_name = "F", required_unless_present = "weights")]
    pub model: Option<PathBuf>,
    /// Weights; without any, the net's fillers make them
    #[arg(long, value_name = "F", value_delimiter = ',')]
    pub weights: Vec<PathBuf>,
    /// The number of times
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = count(i32::MAX as usize))]
    pub iterations: usize,
    /// Another batch size than the net's
    #[arg(long, value_name = "N", value_parser = count(i32::MAX as usize))]
    pub batch: Option<usize>,
    /// Which net: Caffe's TRAIN or TEST
    #[arg(long, value_enum, ignore_case = true, default_value = "train")]
    pub phase: ModeName,
    /// Print the result as one JSON object on stdout
    #[arg(long)]
    pub json: bool,
    /// Accepted and without effect
    #[arg(long, hide = true)]
    pub lock: bool,
    /// The numbers.
    #[command(flatten)]
    pub numbers: Numbers,
    /// Level and stages.
    #[command(flatten)]
    pub state: NetState,
}

const TIME_EXAMPLES: &str = "\
Examples:
  dsd time --model squeezenet_v1.0 --batch 1 --phase test
  dsd time --model deploy.prototxt --weights pruned.caffemodel --iterations 10 --json";

/// Arguments of `run`.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct Run {
    /// The net (prototxt or a built-in name)
    #[arg(long, value_name = "F", required_unless_present = "weights")]
    pub model: Option<PathBuf>,
    /// The weights; without any, the net's fillers make them
    #[arg(long, value_name = "F", value_delimiter = ',')]
    pub weights: Vec<PathBuf>,
    /// Arrays by blob name, for the input blobs or any that no layer above makes
    #[arg(long, value_name = "IN.npz")]
    pub inputs: Option<PathBuf>,
    /// The blobs to save [default: the net's outputs]
    #[arg(long, value_name = "A,B…", value_delimiter = ',')]
    pub blobs: Vec<String>,
    /// Where to save them
    #[arg(long, value_name = "OUT.npz")]
    pub outputs: PathBuf,
    /// Which net: Caffe's TRAIN or TEST
    #[arg(long, value_enum, ignore_case = true, default_value = "test")]
    pub phase: ModeName,
    /// Run backward too, from these gradients by blob name; saves grad:BLOB and grad:LAYER:K
    #[arg(long, value_name = "TOP.npz")]
    pub gradients: Option<PathBuf>,
    /// The numbers.
    #[command(flatten)]
    pub numbers: Numbers,
    /// Level and stages.
    #[command(flatten)]
    pub state: NetState,
}

const RUN_EXAMPLES: &str = "\
Examples:
  dsd run --model deploy.prototxt --weights w.caffemodel --inputs in.npz --outputs out.npz
  dsd run --model deploy.prototxt --weights w.npz --inputs in.npz --blobs conv1,prob --phase train \\
          --gradients top.npz --outputs out.npz";

/// Arguments of `inspect`.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct Inspect {
    /// The file (or folder of a database, or a built-in net's name)
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The net of a compressed model, which has no names of its own
    /// [default: the built-in net that fits]
    #[arg(long, value_name = "F")]
    pub model: Option<PathBuf>,
    /// The phase of a net to describe
    /// [default: test, or train if it has no test net]
    #[arg(long, value_name = "PHASE", value_enum, ignore_case = true)]
    pub phase: Option<InspectPhase>,
    /// The net's level and stages
    #[command(flatten)]
    pub state: NetState,
    /// Print the description as one JSON object on stdout
    #[arg(long)]
    pub json: bool,
}

/// The phase of a net that `inspect` describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum InspectPhase {
    /// The training net
    Train,
    /// The test net
    Test,
}

const INSPECT_EXAMPLES: &str = "\
Examples:
  dsd inspect train_val.prototxt --phase train
  dsd inspect net_iter_1000.caffemodel --json
  dsd inspect squeezenet_deepcomp.net";

/// Arguments of `export`.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct Export {
    /// The net (prototxt or a built-in name) [default: the built-in net that fits, where one is needed]
    #[arg(long, value_name = "F")]
    pub model: Option<PathBuf>,
    /// The weights: .caffemodel, .caffemodel.h5, .npz, .dsdz or Deep Compression .net
    #[arg(long, value_name = "F", value_delimiter = ',', required = true)]
    pub weights: Vec<PathBuf>,
    /// The file to write; its name's end says the format: .npz (arrays LAYER:K)
    #[arg(long, value_name = "F")]
    pub out: PathBuf,
}

const EXPORT_EXAMPLES: &str = "\
Examples:
  dsd export --weights w.caffemodel --out w.npz
  dsd export --model squeezenet_v1.0 --weights squeezenet_deepcomp.net --out w.npz";

/// Caffe's phase of a net.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModeName {
    /// The training net
    Train,
    /// The test net
    Test,
}

impl From<ModeName> for Mode {
    fn from(name: ModeName) -> Self {
        match name {
            ModeName::Train => Mode::Train,
            ModeName::Test => Mode::Test,
        }
    }
}

/// A number from 1 to `most`.
fn count(most: usize) -> impl TypedValueParser<Value = usize> {
    value_parser!(u64)
        .range(1..=most as u64)
        .map(|n| usize::try_from(n).unwrap_or(usize::MAX))
}

/// Reads the command line, program name first. A usage error is printed and ends the process with code 2,
/// `--help` and `--version` with 0.
pub fn parse(args: impl Iterator<Item = OsString>) -> Cli {
    try_parse(args).unwrap_or_else(|error| error.exit())
}

/// Reads the command line, program name first.
///
/// # Errors
/// The usage is wrong, or help or the version is asked for.
pub fn try_parse(args: impl Iterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let mut definition = Cli::command();
    let spelling = gflags::Spelling::of(&definition);
    let args: Vec<OsString> = args.collect();
    let program = args.first().map_or("dsd".into(), |p| tool::name(p));
    let args = tool::with_command(args, |name| definition.find_subcommand(name).is_some());
    let mut flags = flagfile::Reader {
        known: &|name| spelling.knows(name),
        program: &program,
        variable: &|name| std::env::var_os(name),
        notes: Vec::new(),
    };
    let args = flags.expand(args);
    let mut notes = flags.notes;
    let args = args.map_err(|text| definition.error(ErrorKind::InvalidValue, text))?;
    let normal = spelling.normalise(args);
    let normal = normal.map_err(|(kind, text)| definition.error(kind, text))?;
    if normal.full_help {
        definition = with_all_flags(definition);
    } else if normal.words.len() <= 1 {
        definition = definition.override_help(FIRST_STEPS);
    }
    // Help and errors name the program that has all commands, however it was called.
    let words = std::iter::once("dsd".into()).chain(normal.words.into_iter().skip(1));
    let matches = definition.clone().try_get_matches_from(words)?;
    let mut cli = Cli::from_arg_matches(&matches).map_err(|e| e.format(&mut definition))?;
    notes.extend(normal.notes);
    (cli.program, cli.notes) = (program, notes);
    Ok(cli)
}

/// The definition with the flags of Caffe's programs in every help.
fn with_all_flags(definition: clap::Command) -> clap::Command {
    fn extended(command: clap::Command) -> clap::Command {
        let examples = command.get_after_help().map(ToString::to_string);
        let text = format!("{}\n\n{}", examples.unwrap_or_default(), gflags::listed());
        command.after_help(text.trim().to_owned())
    }
    extended(definition).mut_subcommands(extended)
}

#[cfg(test)]
mod tests;
