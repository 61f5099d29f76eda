//! `--control` and `--seeds`: the run as an experiment whose arms are its phases' results and, with `--control`, the same
//! schedule without a mask.

use crate::cli::{self, Train};
use crate::commands::run_folder::METRICS;
use crate::commands::{Settings, Usage, experiment};
use crate::experiment::{Arm, Experiment, Group, PhasePlan};
use crate::phase::Phase;
use crate::{files, flow, models};
use anyhow::{Context, Result, anyhow, bail};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use toml::{Table, Value};

/// Where an experiment goes that names no folder.
const OUT: &str = "dsd_control";

/// The name of the arm without a mask.
const CONTROL: &str = "control";

/// Whether the command is an experiment.
pub(super) fn asked(args: &Train) -> bool {
    args.control || args.seeds.is_some()
}

/// Runs it.
pub(super) fn run(args: &Train, settings: &Settings) -> Result<ExitCode> {
    let out = args.args.out.clone().unwrap_or_else(|| OUT.into());
    if out
        .join(crate::commands::run_folder::run_record::NAME)
        .exists()
    {
        return Err(Usage(format!(
            "{} holds a run without --control and --seeds; give another --out",
            out.display()
        ))
        .into());
    }
    refuse_others(args)?;
    let flow = args.flow.as_deref().map(flow::Flow::read).transpose()?;
    let seed = settings.seed.or(flow.as_ref().and_then(|f| f.seed));
    let mut experiment = of(args, seed, &out)?;
    if let Some(weights) = flow.and_then(|f| f.weights)
        && experiment.weights.is_empty()
    {
        experiment.weights = vec![weights];
    }
    experiment.check()?;
    if args.args.dry_run {
        experiment::print_plan(&experiment)?;
        return Ok(ExitCode::SUCCESS);
    }
    experiment::train(&experiment, &out, args.jobs, false, settings)
}

/// Refuses what a run of several processes does not take.
fn refuse_others(args: &Train) -> Result<()> {
    let a = &args.args;
    let given = [
        ("--snapshot", a.snapshot.is_some()),
        ("--find_lr", a.find_lr.is_some()),
        ("--metrics", a.metrics.is_some()),
        ("--tensorboard", a.tensorboard.is_some()),
        ("--level", a.state.level != 0),
    ];
    match given.iter().find(|g| g.1) {
        Some((flag, _)) => Err(Usage(format!(
            "{flag} is of one run; --control and --seeds train several, each in a folder with its own {}",
            METRICS
        ))
        .into()),
        None => Ok(()),
    }
}

/// The arms of a command line: what each phase leads to, and the control.
fn of(args: &Train, seed: Option<u64>, out: &Path) -> Result<Experiment> {
    let Phases {
        tables,
        folder,
        solver,
    } = phases(args, out)?;
    let mut phases = Vec::new();
    for (table, name) in tables.iter().zip(names(&tables)) {
        let mut table = table.clone();
        overrule(&mut table, args);
        let plan = PhasePlan::complete(&name, table, solver.as_deref(), &folder);
        phases.push(plan.with_context(|| format!("phase {name}"))?);
    }
    let seeds = args.seeds.unwrap_or(1);
    let whole = if args.flow.is_none() && phases.len() > 1 {
        "DSD"
    } else {
        "flow"
    };
    let mut arms: Vec<Arm> = (1..=phases.len())
        .map(|n| Arm {
            name: match n == phases.len() {
                true => whole.to_string(),
                false => phases[n - 1].name.clone(),
            },
            title: phases[n - 1].title(),
            phases: phases[..n].to_vec(),
            seeds,
        })
        .collect();
    let mut control = whole.to_string();
    if args.control {
        let phases: Vec<PhasePlan> = phases.iter().map(PhasePlan::without_mask).collect();
        if phases == arms[arms.len() - 1].phases {
            return Err(Usage(
                "--control runs the same schedule without a mask, but no phase of this run has one"
                    .into(),
            )
            .into());
        }
        control = CONTROL.to_string();
        arms.push(Arm {
            name: control.clone(),
            title: "the same rates and lengths, no mask".to_string(),
            phases,
            seeds,
        });
    }
    Ok(Experiment {
        title: "Training".to_string(),
        folder,
        metric: None,
        control,
        arms,
        groups: vec![Group {
            stage: args.args.state.stage.clone(),
            ..Group::whole()
        }],
        first_seed: seed.unwrap_or(1),
        weights: args.args.weights.clone(),
        source: args.args.source.clone(),
        keep: args.args.keep,
    })
}

/// The phases of a command line.
struct Phases {
    /// A flow's `[[phase]]` each.
    tables: Vec<Table>,
    /// What paths count from, after the working folder.
    folder: PathBuf,
    /// The solver of those that name none.
    solver: Option<PathBuf>,
}

fn phases(args: &Train, out: &Path) -> Result<Phases> {
    let given = args.args.solver.clone();
    if let Some(path) = &args.flow {
        let text = files::read_text(path)?;
        let file: Table =
            toml::from_str(&text).map_err(|e| anyhow!("{}", flow::placed(&e, &text, path)))?;
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        let own = file.get("solver").and_then(Value::as_str);
        return Ok(Phases {
            tables: inherited(&file),
            solver: own.map(|s| files::resolve(s, &folder)).or(given),
            folder,
        });
    }
    let kinds = match args.phase {
        Some(cli::Phases::One(phase)) => vec![phase],
        None if given.is_some() => vec![Phase::Dense],
        Some(cli::Phases::Dsd) | None => vec![Phase::Dense, Phase::Sparse, Phase::Redense],
    };
    let table = |kind: Phase| -> Result<Table> {
        let mut table = Table::new();
        table.insert("kind".to_string(), Value::String(kind.to_string()));
        if given.is_none() {
            let solver = builtin(kind, out)?.display().to_string();
            table.insert("solver".to_string(), Value::String(solver));
        }
        Ok(table)
    };
    Ok(Phases {
        tables: kinds.into_iter().map(table).collect::<Result<_>>()?,
        folder: PathBuf::new(),
        solver: given,
    })
}

/// The phases of a flow's file, each with what holds for all of them.
fn inherited(file: &Table) -> Vec<Table> {
    let phases = file.get("phase").and_then(Value::as_array);
    let phase = |phase: &Value| {
        let mut table = phase.as_table().cloned().unwrap_or_default();
        let kind = table
            .get("kind")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let kind = kind.parse::<Phase>().unwrap_or_default();
        for (key, value) in file {
            // The solver of all phases is not a phase's own: its rates are shared out.
            let fits = match &**key {
                "sparsity" => kind == Phase::Sparse,
                "bits" => kind == Phase::Quantize,
                "scale_dropout" => kind.keeps_zeros(),
                "precision" => true,
                _ => false,
            };
            if fits && !table.contains_key(key) {
                table.insert(key.clone(), value.clone());
            }
        }
        table
    };
    phases.into_iter().flatten().map(phase).collect()
}

/// The phases' names: their kinds, numbered when one comes again.
fn names(tables: &[Table]) -> Vec<String> {
    let kinds = tables.iter().map(|t| t.get("kind").and_then(Value::as_str));
    let kinds: Vec<&str> = kinds.map(Option::unwrap_or_default).collect();
    let name = |(k, kind): (usize, &&str)| match kinds[..k].iter().filter(|b| *b == kind).count() {
        0 => kind.to_string(),
        n => format!("{kind}-{}", n + 1),
    };
    kinds.iter().enumerate().map(name).collect()
}

/// The command line's flags over a phase's own keys.
fn overrule(table: &mut Table, args: &Train) {
    let a = &args.args;
    let kind = table
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let kind = kind.parse::<Phase>().unwrap_or_default();
    let count = |n: u64| Value::Integer(i64::try_from(n).unwrap_or(i64::MAX));
    let text = |text: &String| Value::String(text.clone());
    let sparse = kind == Phase::Sparse;
    let flags = [
        ("max_iter", a.max_iter.map(|n| Value::Integer(n.into()))),
        ("sparsity", a.sparsity.as_ref().map(text).filter(|_| sparse)),
        (
            "schedule",
            a.schedule
                .map(|s| Value::String(s.to_string()))
                .filter(|_| sparse),
        ),
        ("prune_every", a.prune_every.map(count).filter(|_| sparse)),
        ("prune_until", a.prune_until.map(count).filter(|_| sparse)),
        (
            "bits",
            a.bits
                .as_ref()
                .map(text)
                .filter(|_| kind == Phase::Quantize),
        ),
        (
            "scale_dropout",
            (a.scale_dropout && kind.keeps_zeros()).then_some(Value::Boolean(true)),
        ),
        (
            "precision",
            a.precision.map(|p| Value::String(p.to_string())),
        ),
    ];
    for (key, value) in flags {
        if let Some(value) = value {
            table.insert(key.to_string(), value);
        }
    }
}

/// Writes the built-in net and its solver of a phase into the run's folder, where its runs find them.
fn builtin(phase: Phase, out: &Path) -> Result<PathBuf> {
    let builtin = models::find(models::DEFAULT).context("the built-in net is missing")?;
    let folder = out.join("net");
    files::make_folder(&folder)?;
    let write = |name: &str, text: &str| -> Result<PathBuf> {
        let path = folder.join(name);
        files::write_atomic(&path, |w| Ok(w.write_all(text.as_bytes())?))?;
        Ok(path)
    };
    write("train_val.prototxt", builtin.train_val_text())?;
    if phase == Phase::Quantize && builtin.solver_text(phase).is_err() {
        bail!("the built-in net has no quantize phase");
    }
    write(
        &format!("solver_{phase}.prototxt"),
        builtin.solver_text(phase)?,
    )
}
