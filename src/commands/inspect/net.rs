//! A net: its layers with shapes, parameters and multiply-accumulates.

use std::collections::HashSet;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::partial::{self, Partial};
use super::sources::{self, Hints};
use super::{Description, counted, dims, noted, things};
use crate::cli::{Inspect, InspectPhase, NetState};
use crate::layers::Mode;
use crate::net::graph::Graph;
use crate::net::{Net, Options};
use crate::proto::{NetParameter, Parsed};
use crate::report::human::HumanBytes;
use crate::report::table::{Align, Table};
use crate::session::{self, Model};

/// A net as far as it can be built.
pub enum Built {
    /// All shapes are known.
    Whole(Box<Net>),
    /// They are not all.
    Names(Box<Partial>),
}

impl Built {
    fn graph(&self) -> &Graph {
        match self {
            Self::Whole(net) => net.graph(),
            Self::Names(partial) => &partial.graph,
        }
    }
}

/// Builds a net in the TEST phase, else, if it has none, in the TRAIN phase; without its data if need be.
/// The strings tell what was assumed.
pub fn build(model: &Model) -> Result<(Built, Vec<String>)> {
    build_in(model, None, &NetState::default())
}

/// As [`build`], in a phase, level and stages of the user's choice.
fn build_in(model: &Model, mode: Option<Mode>, state: &NetState) -> Result<(Built, Vec<String>)> {
    let parsed = model.train_val()?;
    let (graph, mut notes) = graph(&parsed, mode, state)?;
    let folder = model.folder();
    let hints = Hints {
        net: &parsed.message,
        folder: if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            &folder
        },
        deploy: match model {
            Model::File(_) => None,
            Model::Packed(_) | Model::Builtin(..) => Some(model.deploy()?),
        },
    };
    let sources = sources::find(&graph, &hints)?;
    notes.extend(sources.notes);
    let foreign = graph.nodes.iter().any(|n| {
        // Without a type it is a mistake, not a fork's.
        !n.param.r#type().is_empty() && partial::is_foreign(n.param.r#type())
    });
    let built = match sources.shapes {
        Some(shapes) if !foreign => {
            Built::Whole(Box::new(Net::new(graph, &shapes, &Options::default())?))
        }
        _ => {
            let partial = Partial::new(graph, &sources.tops)?;
            notes.extend(partial.note());
            Built::Names(Box::new(partial))
        }
    };
    Ok((built, notes))
}

fn graph(
    parsed: &Parsed<NetParameter>,
    mode: Option<Mode>,
    state: &NetState,
) -> Result<(Graph, Vec<String>)> {
    let of = |mode| {
        let state = session::state(&parsed.message, mode, state);
        Graph::new(parsed, &state)
    };
    if let Some(mode) = mode {
        return Ok((of(mode)?, Vec::new()));
    }
    of(Mode::Test).map(|g| (g, Vec::new())).or_else(|e| {
        // What is wrong in both phases is told of the first.
        let Ok(train) = of(Mode::Train) else {
            return Err(e);
        };
        let note =
            format!("described in the TRAIN phase, for there is no net in the TEST phase: {e:#}");
        Ok((train, vec![note]))
    })
}

/// A layer's row.
struct Layer {
    name: String,
    kind: String,
    tops: Vec<String>,
    shapes: Vec<Option<Vec<usize>>>,
    params: Option<usize>,
    macs: Option<u64>,
}

/// Describes a net; `name` is what the user calls it.
pub fn describe(model: &Model, name: &str, args: &Inspect) -> Result<Description> {
    let mode = args.phase.map(|phase| match phase {
        InspectPhase::Train => Mode::Train,
        InspectPhase::Test => Mode::Test,
    });
    let (built, notes) = build_in(model, mode, &args.state)?;
    let layers = layers(&built);
    Ok(Description {
        text: text(name, &built, &layers, &notes),
        json: to_json(&built, &layers, &notes),
    })
}

fn layers(built: &Built) -> Vec<Layer> {
    let graph = built.graph();
    let net = match built {
        Built::Whole(net) => Some(net),
        Built::Names(_) => None,
    };
    let shape = |v: usize| {
        let shape = match built {
            Built::Whole(net) => Some(net.shape(v)),
            Built::Names(partial) => partial.shapes[v].as_ref(),
        };
        shape.map(|s| s.dims().to_vec())
    };
    let known = |i: usize| match built {
        Built::Whole(_) => None,
        Built::Names(partial) => partial.counts[i],
    };
    // A shared parameter is counted where it is first used.
    let mut seen = HashSet::new();
    let nodes = graph.nodes.iter().enumerate();
    nodes
        .map(|(i, node)| Layer {
            name: node.name().to_string(),
            kind: node.param.r#type().to_string(),
            tops: node
                .tops
                .iter()
                .map(|&v| graph.values[v].name.clone())
                .collect(),
            shapes: node.tops.iter().map(|&v| shape(v)).collect(),
            params: known(i).map(|k| k.0).or(net.map(|net| {
                let own = net.layer_params(i).filter(|&id| seen.insert(id));
                own.map(|id| &net.params()[id])
                    .filter(|p| p.learnable)
                    .map(|p| p.shape.count())
                    .sum()
            })),
            macs: known(i).map(|k| k.1).or(net.map(|net| net.macs(i))),
        })
        .collect()
}

fn total(layers: &[Layer]) -> Option<(usize, u64)> {
    let params = layers.iter().map(|l| l.params).sum::<Option<usize>>()?;
    Some((params, layers.iter().map(|l| l.macs).sum::<Option<u64>>()?))
}

fn phase(graph: &Graph) -> &'static str {
    match graph.mode {
        Mode::Train => "TRAIN",
        Mode::Test => "TEST",
    }
}

/// Null where no shape is known, else a list with null for those that are not.
fn shapes(layer: &Layer) -> Value {
    match layer.shapes.iter().all(Option::is_none) && !layer.shapes.is_empty() {
        true => Value::Null,
        false => json!(layer.shapes),
    }
}

fn to_json(built: &Built, layers: &[Layer], notes: &[String]) -> Value {
    let rows: Vec<Value> = layers
        .iter()
        .map(|l| {
            json!({
                "name": l.name, "type": l.kind, "tops": l.tops, "shapes": shapes(l),
                "params": l.params, "macs": l.macs,
            })
        })
        .collect();
    let total = total(layers);
    json!({
        "kind": "net",
        "name": built.graph().name,
        "phase": phase(built.graph()),
        "params": total.map(|t| t.0),
        "macs": total.map(|t| t.1),
        "layers": rows,
        "notes": notes,
    })
}

fn text(name: &str, built: &Built, layers: &[Layer], notes: &[String]) -> String {
    let mut table = Table::new([
        ("layer", Align::Left),
        ("type", Align::Left),
        ("top", Align::Left),
        ("shape", Align::Left),
        ("params", Align::Right),
        ("MACs a sample", Align::Right),
    ]);
    // Where there is nothing to count, an empty cell reads better than a 0.
    let cell = |n: Option<u64>| n.filter(|&n| n > 0).map(|n| counted(n as usize));
    for l in layers {
        let shape = |k: usize| match l.shapes.get(k) {
            Some(Some(shape)) => dims(shape),
            Some(None) => "?".to_string(),
            None => String::new(),
        };
        table.row([
            l.name.clone(),
            l.kind.clone(),
            l.tops.first().cloned().unwrap_or_default(),
            if l.tops.is_empty() {
                String::new()
            } else {
                shape(0)
            },
            cell(l.params.map(|n| n as u64)).unwrap_or_default(),
            cell(l.macs).unwrap_or_default(),
        ]);
        for (k, top) in l.tops.iter().enumerate().skip(1) {
            table.row(["", "", top, &shape(k)]);
        }
    }
    let (graph, table) = (built.graph(), table.shown());
    let mut text = format!(
        "{name}: the net \"{}\", {} phase\n{table}",
        graph.name,
        phase(graph)
    );
    text += &things(layers.len(), "layer");
    if let Some((params, macs)) = total(layers) {
        let bytes = HumanBytes(4 * params as u64);
        let (params, macs) = (things(params, "parameter"), counted(macs as usize));
        text += &format!(", {params} ({bytes} in float32), {macs} multiply-accumulates a sample");
    }
    text + "\n" + &noted(notes)
}
