//! A solver: what it trains, how, and how long.

use std::path::Path;

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::{Description, counted, decimal, noted};
use crate::proto::caffe::solver_parameter::{SnapshotFormat, SolverMode};
use crate::proto::{self, SolverParameter};
use crate::report::number::G;
use crate::report::table::{Align, Table};
use crate::solver::config::Config;
use crate::solver::lr_policy::LrPolicy;

/// Describes the solver in the prototxt `path`.
pub fn describe(path: &Path) -> Result<Description> {
    let (parsed, mut notes) = proto::load_solver(path)?;
    let param = &parsed.message;
    let fields = fields(param);
    if let Err(e) = Config::read(path, 0, &[]) {
        // The file is named above already.
        let (text, head) = (format!("{e:#}"), format!("{}: ", parsed.file));
        let reason = text.trim_start_matches(head.as_str());
        notes.push(format!("cannot be run as it is: {reason}"));
    }
    let rates = rates(param);

    let mut table = Table::new([("field", Align::Left), ("value", Align::Left)]);
    for (name, value) in &fields {
        table.row([name.to_string(), shown(value)]);
    }
    if let Some(rates) = &rates {
        let shown = |(i, r): &(u64, f32)| format!("{} at {}", G(*r), counted(*i as usize));
        let shown: Vec<String> = rates.iter().map(shown).collect();
        table.row(["learning rate".to_string(), shown.join(", ")]);
    }
    let table = table.shown();
    let text = format!("{}: a solver\n{table}{}", path.display(), noted(&notes));

    let mut json = Map::new();
    json.insert("kind".into(), "solver".into());
    json.extend(fields.into_iter().map(|(n, v)| (n.to_string(), v)));
    let rates = rates.unwrap_or_default();
    let rates: Vec<Value> = rates.iter().map(|(i, r)| json!([i, decimal(*r)])).collect();
    json.insert("rates".into(), rates.into());
    json.insert("notes".into(), notes.into());
    Ok(Description {
        text,
        json: Value::Object(json),
    })
}

/// The fields that matter, as far as they are given.
fn fields(p: &SolverParameter) -> Vec<(&'static str, Value)> {
    let inline = |n: &proto::NetParameter| format!("(inline) {}", n.name()).trim().to_string();
    let text = |t: &Option<String>| t.clone().map(Value::from);
    let int = |n: Option<i32>| n.map(Value::from);
    let float = |x: Option<f32>| x.map(|x| Value::from(decimal(x)));
    let list = |l: Vec<Value>| (!l.is_empty()).then_some(Value::Array(l));
    let ints = |l: &[i32]| list(l.iter().map(|&n| n.into()).collect());
    let test_nets = p.test_net.iter().cloned();
    let test_nets = test_nets.chain(p.test_net_param.iter().map(inline));
    let all = [
        (
            "net",
            text(&p.net).or(p.net_param.as_ref().map(|n| inline(n).into())),
        ),
        (
            "train_net",
            text(&p.train_net).or(p.train_net_param.as_ref().map(|n| inline(n).into())),
        ),
        ("test_net", list(test_nets.map(Value::from).collect())),
        (
            "weights",
            list(p.weights.iter().cloned().map(Value::from).collect()),
        ),
        ("type", Some(p.r#type().into())),
        ("base_lr", float(p.base_lr)),
        ("lr_policy", text(&p.lr_policy)),
        ("gamma", float(p.gamma)),
        ("power", float(p.power)),
        ("stepsize", int(p.stepsize)),
        ("stepvalue", ints(&p.stepvalue)),
        ("warmup_iter", int(p.warmup_iter)),
        ("warmup_start_lr", float(p.warmup_start_lr)),
        ("rampup_interval", int(p.rampup_interval)),
        ("rampup_lr", float(p.rampup_lr)),
        ("min_lr", float(p.min_lr)),
        ("stageiter", ints(&p.stageiter)),
        (
            "stagelr",
            list(p.stagelr.iter().map(|&x| decimal(x).into()).collect()),
        ),
        ("max_iter", int(p.max_iter)),
        ("iter_size", int(p.iter_size)),
        ("momentum", float(p.momentum)),
        ("momentum2", float(p.momentum2)),
        ("rms_decay", float(p.rms_decay)),
        ("delta", float(p.delta)),
        ("weight_decay", float(p.weight_decay)),
        ("regularization_type", text(&p.regularization_type)),
        ("clip_gradients", float(p.clip_gradients)),
        ("test_iter", ints(&p.test_iter)),
        ("test_interval", int(p.test_interval)),
        ("display", int(p.display)),
        ("average_loss", int(p.average_loss)),
        ("snapshot", int(p.snapshot)),
        ("snapshot_prefix", text(&p.snapshot_prefix)),
        (
            "snapshot_format",
            p.snapshot_format.map(|_| match p.snapshot_format() {
                SnapshotFormat::Hdf5 => "HDF5".into(),
                SnapshotFormat::Binaryproto => "BINARYPROTO".into(),
            }),
        ),
        ("random_seed", p.random_seed.map(Value::from)),
        (
            "solver_mode",
            p.solver_mode.map(|_| match p.solver_mode() {
                SolverMode::Cpu => "CPU".into(),
                SolverMode::Gpu => "GPU".into(),
            }),
        ),
    ];
    all.into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// The learning rate along the run: a fixed one once, others at the quarters.
fn rates(param: &SolverParameter) -> Option<Vec<(u64, f32)>> {
    let policy = LrPolicy::new(param).ok()?;
    let end = u64::try_from(param.max_iter()).ok()?;
    let quarters: Vec<u64> = match param.lr_policy() {
        "fixed" if param.warmup_iter().max(param.rampup_interval()) <= 0 => vec![0],
        _ => (0..=4).map(|q| end * q / 4).collect(),
    };
    let mut rates: Vec<(u64, f32)> = quarters.into_iter().map(|i| (i, policy.rate(i))).collect();
    rates.dedup();
    Some(rates)
}
