//! `dsd new PICTURES`: databases, a net, solvers and a flow for a set of pictures.

use super::databases::{self, Form, Written};
use super::look::{self, Found};
use super::stock::Stock;
use super::words::{self, Chosen};
use crate::commands::{Settings, train};
use crate::data::new_folder::NewFolder;
use crate::models::{self, Builtin, Family};
use crate::solver::signals::{Request, Signals};
use crate::starter::{Batches, Lengths, Pictures, Split, adapt, fire_net, shuffled, side, split};
use crate::weights_file::Named;
use crate::{cli, files, outln, warn, weights_file};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The folder, where none is named.
const OUT: &str = "my_net";

/// How often the dense phase sees a picture: of a net that starts from nothing, and of one that has learned.
const EPOCHS: [usize; 2] = [40, 4];

/// Iterations of the dense phase, at least: of such nets.
const LEAST: [usize; 2] = [300, 60];

/// The rate that such nets start with.
const FIRE_RATE: f64 = 0.1;
const BUILTIN_RATE: f64 = 0.004;
/// That of a net without BatchNorm that has learned: at 0.0001 SqueezeNet learns more slowly, at 0.001 nothing.
const FINETUNE_RATE: f64 = 0.00002;

/// Pictures of a training batch, at most: of the small net, and of a built-in one.
const BATCH: [usize; 2] = [64, 32];

/// Pictures of a test's batch, at most.
const TESTED: [usize; 2] = [100, 50];

/// The net that is asked for.
enum Wanted {
    /// Made for the pictures.
    Fire,
    /// A built-in one, and the weights that it goes on from.
    Builtin(&'static Builtin, Family, Option<PathBuf>),
}

/// Runs the command.
pub(super) fn run(what: &Path, args: &cli::Made, settings: &Settings) -> Result<ExitCode> {
    let out = args.out.clone().unwrap_or_else(|| OUT.into());
    let name = super::squeezenet::name_of(&out)?;
    ensure!(
        name.chars()
            .all(|c| !c.is_whitespace() && c != '"' && c != '\\'),
        "--out {}: its name is also the net's; expected one without spaces and quotes",
        out.display()
    );
    let wanted = wanted(args)?;
    let found = Found::at(what, args.val.as_deref(), &out)?;
    let classes = found.train.names();
    ensure!(
        classes.len() > 1,
        "{}: one class, '{}'; expected a folder for each of at least two",
        found.train.source.display(),
        classes.first().map_or("", |c| c)
    );
    let signals = Signals::listen(Request::Stop, Request::Stop)?;
    let made = NewFolder::create(&out)?;
    let folder = made.path().to_path_buf();
    let Some(chosen) = make(
        &folder, &name, &found, &classes, &wanted, args, settings, &signals,
    )?
    else {
        drop(made);
        warn!("Stopped by a signal: nothing is made");
        return Ok(ExitCode::from(130));
    };
    made.finish()?;
    words::tell(&chosen, &found, &out)?;
    if args.train {
        outln!("")?;
        return train::folder(&out, settings);
    }
    Ok(ExitCode::SUCCESS)
}

fn wanted(args: &cli::Made) -> Result<Wanted> {
    if let Some(weights) = &args.finetune {
        let (net, family) = models::matching(weights)?;
        return Ok(Wanted::Builtin(net, family, Some(weights.clone())));
    }
    match args.net.as_deref() {
        None | Some("fire") => Ok(Wanted::Fire),
        Some(models::DEFAULT) => bail!(
            "--net {}: that net has its own pictures; expected fire or another built-in net",
            models::DEFAULT
        ),
        Some(name) => match models::find(name) {
            Some(net) => Ok(Wanted::Builtin(net, Family::Original, None)),
            None => {
                let names: Vec<&str> = models::BUILTIN.iter().map(|b| b.name).collect();
                bail!(
                    "--net {name}: expected fire, or a built-in net ({})",
                    names.join(", ")
                )
            }
        },
    }
}

/// Fills the folder; `None` if a signal stopped it.
fn make(
    folder: &Path,
    name: &str,
    found: &Found,
    classes: &[String],
    wanted: &Wanted,
    args: &cli::Made,
    settings: &Settings,
    signals: &Signals,
) -> Result<Option<Chosen>> {
    let all = &found.train;
    let sample = look::sample(all)?;
    let gray = sample.gray && matches!(wanted, Wanted::Fire);
    let channels = if gray { 1 } else { 3 };
    let size = match wanted {
        Wanted::Fire => args.size.unwrap_or_else(|| side(&sample.sizes)),
        // As Caffe's examples: the crop, and a border to move it in.
        Wanted::Builtin(net, ..) => args.size.unwrap_or(crop(net)? * 9 / 8),
    };
    ensure!(size >= 8, "--size {size}: expected at least 8");
    let moved = match wanted {
        Wanted::Fire => (size / 8).max(1),
        Wanted::Builtin(net, ..) => {
            let crop = crop(net)?;
            ensure!(
                size >= crop,
                "--size {size}: {} crops {crop} x {crop} out of its pictures; expected at least that",
                net.name
            );
            size - crop
        }
    };
    let seed = settings.seed.unwrap_or(crate::solver::DEFAULT_SEED);
    let parts = match &found.val {
        Some(_) => Split {
            train: shuffled(all.len(), seed),
            val: Vec::new(),
        },
        None => split(&all.labels, args.val_share, seed),
    };
    let form = Form::new(channels, size, all.len());
    let write = |part: &str, stock: &Stock, order: &[usize]| {
        let target = folder.join(database(name, part));
        databases::write(&target, part, (stock, order), &form, classes, signals)
    };
    let Some(train) = write("train", all, &parts.train)? else {
        return Ok(None);
    };
    let (val_stock, val_order) = match &found.val {
        Some(val) => (val, (0..val.len()).collect()),
        None => (all, parts.val.clone()),
    };
    ensure!(
        !val_order.is_empty(),
        "{}: every class has one picture; expected at least two of one, to validate with",
        all.source.display()
    );
    let Some(val) = write("val", val_stock, &val_order)? else {
        return Ok(None);
    };
    let mut test = None;
    if let Some(stock) = &found.test {
        let order: Vec<usize> = (0..stock.len()).collect();
        match write("test", stock, &order)? {
            Some(written) => test = Some(written),
            None => return Ok(None),
        }
    }
    let pictures = Pictures {
        train: database(name, "train"),
        val: database(name, "val"),
        size: [channels, size, size],
        mean: train.mean.clone(),
        mirror: !args.no_mirror && !sample.gray,
        classes: classes.len(),
    };
    let most = TESTED[usize::from(!matches!(wanted, Wanted::Fire))];
    let tests = Batches::of_test(val.count, most);
    let (lengths, net, weights) = nets(folder, name, &pictures, wanted, args, &train, tests)?;
    solvers(folder, name, &lengths, tests, weights.as_deref())?;
    text(folder, "classes.txt", &(classes.join("\n") + "\n"))?;
    list(folder, "train.txt", all, &parts.train)?;
    list(folder, "val.txt", val_stock, &val_order)?;
    Ok(Some(Chosen {
        net,
        pictures,
        lengths,
        tests,
        moved,
        train,
        val,
        test,
        sizes: sample.sizes,
        names: classes.to_vec(),
        weights,
    }))
}

/// The name of a part's database.
fn database(name: &str, part: &str) -> String {
    format!("{name}_{part}_lmdb")
}

/// The side of a built-in net's input.
fn crop(net: &Builtin) -> Result<usize> {
    let parsed = net.train_val(Family::Original)?;
    let crops = parsed.message.layer.iter();
    let crop = crops
        .filter_map(|l| l.transform_param.as_ref()?.crop_size)
        .next();
    let crop = crop.with_context(|| format!("{} reads no pictures of a crop_size", net.name))?;
    Ok(crop as usize)
}

/// Writes the net; its lengths, what it is, and the weights that it starts from.
fn nets(
    folder: &Path,
    name: &str,
    pictures: &Pictures,
    wanted: &Wanted,
    args: &cli::Made,
    train: &Written,
    tests: Batches,
) -> Result<(Lengths, String, Option<PathBuf>)> {
    match wanted {
        Wanted::Fire => {
            let epochs = args.epochs.unwrap_or(EPOCHS[0]);
            let lengths = Lengths::new(train.count, epochs, FIRE_RATE, [BATCH[0], LEAST[0]]);
            let sizes = [lengths.batch, tests.size, tests.pictures()];
            text(
                folder,
                "train_val.prototxt",
                &fire_net(name, pictures, Some(sizes)),
            )?;
            text(folder, "deploy.prototxt", &fire_net(name, pictures, None))?;
            Ok((lengths, "fire modules with BatchNorm".to_string(), None))
        }
        Wanted::Builtin(net, family, weights) => {
            let tuned = weights.is_some();
            let epochs = args.epochs.unwrap_or(EPOCHS[usize::from(tuned)]);
            let least = LEAST[usize::from(tuned)];
            let rate = if tuned { FINETUNE_RATE } else { BUILTIN_RATE };
            let lengths = Lengths::new(train.count, epochs, rate, [BATCH[1], least]);
            let sizes = [lengths.batch, tests.size, tests.pictures()];
            let [long, deploy] = [
                net.train_val(*family)?.message,
                net.deploy(*family)?.message,
            ];
            let made = adapt([&long, &deploy], name, pictures, sizes, crop(net)?)?;
            text(folder, "train_val.prototxt", &made.train_val)?;
            text(folder, "deploy.prototxt", &made.deploy)?;
            let Some(weights) = weights else {
                return Ok((lengths, net.name.to_string(), None));
            };
            // Beside the net, in a form that needs no other net to be read.
            let own = format!("{name}_start.caffemodel");
            let stored = weights_file::read(weights, &net.skeleton(*family)?)?;
            weights_file::write_named(&folder.join(&own), Named::Caffemodel, &stored, None)?;
            Ok((
                lengths,
                format!("{}, fine-tuned", net.name),
                Some(own.into()),
            ))
        }
    }
}

/// Writes the solver of each phase, and the flow of them.
fn solvers(
    folder: &Path,
    name: &str,
    lengths: &Lengths,
    tests: Batches,
    weights: Option<&Path>,
) -> Result<()> {
    let phases = ["dense", "sparse", "redense"];
    let mut flow =
        format!("# The phases that `dsd train {name}` runs, each with its own solver.\n");
    if let Some(weights) = weights {
        flow += &format!("weights = \"{}\"\n", weights.display());
    }
    for ((phase, n), rate) in phases.iter().zip(lengths.iterations).zip(lengths.rates) {
        let display = (n / 20).clamp(1, 100);
        let solver = format!(
            "# The {phase} phase.\nnet: \"train_val.prototxt\"\n\n# {} x {} pictures: every one of validation once.\n\
             test_iter: {}\ntest_interval: {}\ntest_initialization: false\n\ntype: \"SGD\"\nbase_lr: {rate}\n\
             lr_policy: \"poly\"  # power 1: straight down to 0 at max_iter\npower: 1\nmomentum: 0.9\nweight_decay: 0.0005\n\
             max_iter: {n}\n\ndisplay: {display}\naverage_loss: {display}\nsnapshot_prefix: \"{name}\"\nrandom_seed: 1\n\
             solver_mode: CPU\n",
            tests.count,
            tests.size,
            tests.count,
            (n / 5).max(1),
        );
        text(folder, &format!("solver_{phase}.prototxt"), &solver)?;
        flow += &format!("\n[[phase]]\nkind = \"{phase}\"\nsolver = \"solver_{phase}.prototxt\"\n");
        if *phase == "sparse" {
            flow += "sparsity = \"@dsd:0.5\"  # half of every layer but the first convolution\n";
        }
    }
    text(folder, "flow.toml", &flow)
}

/// Writes which pictures are in a part, as Caffe's list files.
fn list(folder: &Path, name: &str, stock: &Stock, order: &[usize]) -> Result<()> {
    let line = |i: &usize| format!("{} {}\n", stock.name(*i), stock.labels[*i]);
    text(folder, name, &order.iter().map(line).collect::<String>())
}

fn text(folder: &Path, name: &str, text: &str) -> Result<()> {
    files::write_atomic(&folder.join(name), |w| Ok(w.write_all(text.as_bytes())?))
}
