//! The solver and nets of a phase as files in its folder: what a run goes on with, and what new settings are compared with.

use crate::commands::run_folder::Record;
use crate::files;
use crate::proto::{self, LayerParameter, NetParameter, SolverParameter};
use crate::solver::config::Config;
use anyhow::Result;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The solver's copy.
const SOLVER: &str = "solver.prototxt";

/// A setting that differs: what it is, what it was, what it is now.
pub(super) type Change = (String, String, String);

/// Writes the copies to the folder of a phase; gives the path of each net's own file by the name of its copy. `solver` is
/// what the file says, without the command line's and the phase's changes.
pub(super) fn write(
    home: &Path,
    solver: &SolverParameter,
    config: &Config,
) -> Result<BTreeMap<String, String>> {
    let mut solver = solver.clone();
    let mut nets: Vec<(String, &proto::Parsed<NetParameter>)> = Vec::new();
    if solver.net.is_some() {
        solver.net = Some("net.prototxt".to_string());
        nets.push(("net.prototxt".to_string(), &config.train));
    } else if solver.train_net.is_some() {
        solver.train_net = Some("train_net.prototxt".to_string());
        nets.push(("train_net.prototxt".to_string(), &config.train));
    }
    let inline = solver.test_net_param.len();
    for (i, name) in solver.test_net.iter_mut().enumerate() {
        *name = format!("test_net_{i}.prototxt");
        if let Some(test) = config.tests.get(inline + i) {
            nets.push((name.clone(), &test.net));
        }
    }
    let write = |name: &str, text: String| {
        let path = home.join(name);
        if std::fs::read(&path).is_ok_and(|old| old == text.as_bytes()) {
            return Ok(());
        }
        files::write_atomic(&path, |w| Ok(w.write_all(text.as_bytes())?))
    };
    for (name, net) in &nets {
        write(name, proto::print(&net.message))?;
    }
    write(SOLVER, proto::print(&solver))?;
    let own = |(name, net): (String, &proto::Parsed<NetParameter>)| (name, net.file.clone());
    Ok(nets.into_iter().map(own).collect())
}

/// The configuration that the copies in a phase's folder hold, under the names of the files that they are copies of; `None`
/// if there are none.
pub(in crate::commands) fn read(
    home: &Path,
    record: &Record,
    level: i32,
    stages: &[String],
) -> Result<Option<Config>> {
    let path = home.join(SOLVER);
    if !path.is_file() {
        return Ok(None);
    }
    let (solver, _) = proto::load_solver(&path)?;
    let load = |name: &str| {
        let (mut net, _) = proto::load_net(&home.join(name))?;
        if let Some(own) = record.nets.get(name) {
            // Data that is looked up beside the net is beside its own file. Lines would be the copy's.
            net.file.clone_from(own);
            net.lines = Default::default();
        }
        Ok(net)
    };
    let own = PathBuf::from(&record.solver);
    let folder = own.parent().unwrap_or(Path::new("")).to_path_buf();
    let mut config = Config::new(solver, folder, &load, level, stages)?;
    config.file.clone_from(&record.solver);
    Ok(Some(config))
}

/// What of a solver may change while a phase goes on: its length, its rate, what is tested, shown and saved, and where the
/// files are.
fn may_change(field: &str) -> bool {
    const NAMES: [&str; 28] = [
        "net",
        "train_net",
        "test_net",
        "net_param",
        "train_net_param",
        "test_net_param",
        "test_state",
        "test_iter",
        "test_interval",
        "test_compute_loss",
        "test_initialization",
        "base_lr",
        "lr_policy",
        "gamma",
        "power",
        "stepsize",
        "stepvalue",
        "max_iter",
        "display",
        "average_loss",
        "debug_info",
        "snapshot",
        "snapshot_diff",
        "snapshot_format",
        "snapshot_after_train",
        "solver_mode",
        "device_id",
        "weights",
    ];
    NAMES.contains(&field)
        || field == "layer_wise_reduce"
        || field.contains("warmup")
        || field.starts_with("stage")
        || field.ends_with("_lr")
}

/// The differences that make it another phase: of the solver, of the net that is trained.
pub(super) fn changes(before: &Config, now: &Config) -> Vec<Change> {
    let (was, is) = (proto::by_field(&before.param), proto::by_field(&now.param));
    let mut changes: Vec<Change> = was
        .into_iter()
        .zip(is)
        .filter(|((name, was), (_, is))| was != is && !may_change(name))
        .map(|((name, was), (_, is))| (name, was, is))
        .collect();
    changes.extend(change_of_net(&before.train.message, &now.train.message));
    changes
}

/// The first difference of two nets. Where their data lies is none.
fn change_of_net(before: &NetParameter, now: &NetParameter) -> Option<Change> {
    for (was, is) in before.layer.iter().zip(&now.layer) {
        let (was_lines, is_lines) = (lines(was), lines(is));
        if was_lines == is_lines {
            continue;
        }
        let place = format!("the net's layer '{}'", was.name());
        if was.name() != is.name() {
            return Some((place, was.name().to_string(), format!("'{}'", is.name())));
        }
        let none = String::from("nothing");
        let length = was_lines.len().max(is_lines.len());
        let at = |lines: &[String], k: usize| lines.get(k).unwrap_or(&none).clone();
        let k = (0..length).find(|&k| at(&was_lines, k) != at(&is_lines, k))?;
        return Some((place, at(&was_lines, k), at(&is_lines, k)));
    }
    let (was, is) = (before.layer.len(), now.layer.len());
    let count = |n: usize| format!("{n} layers");
    (was != is).then(|| ("the net".to_string(), count(was), count(is)))
}

/// The printed lines of a layer without those that only say where a file lies.
fn lines(layer: &LayerParameter) -> Vec<String> {
    const PATHS: [&str; 3] = ["source:", "mean_file:", "root_folder:"];
    let text = proto::print(layer);
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|l| !PATHS.iter().any(|p| l.starts_with(p)));
    lines.map(str::to_string).collect()
}
