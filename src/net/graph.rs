//! From the prototxt to a graph of layers: filters the layers by phase, level and stage, and resolves
//! blob names.
//!
//! Every write of a blob is a value of its own, also a write in place: `conv1` before and after its
//! ReLU are two values. So a blob that several layers read needs no Split layer, and an in-place layer
//! can never disturb another reader, just as if Caffe's automatic splits stood between them. Whether
//! two values share a buffer is the plan's business.

use crate::layers::Mode;
use crate::proto::caffe::{LayerParameter, NetParameter, NetState, NetStateRule, Phase};
use crate::proto::text::Parsed;
use anyhow::{Result, anyhow, bail};
use std::collections::BTreeMap;

/// Index of a value in [`Graph::values`].
pub type ValueId = usize;

/// What include and exclude rules are matched against.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// TRAIN or TEST.
    pub mode: Mode,
    /// For `min_level` and `max_level`.
    pub level: i32,
    /// For `stage` and `not_stage`.
    pub stages: Vec<String>,
}

impl State {
    /// The state of a plain run in `mode`.
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            level: 0,
            stages: Vec::new(),
        }
    }

    /// Takes over what `state` sets, as protobuf merges: scalars replace, lists append.
    pub fn merge(&mut self, state: &NetState) {
        if let Some(phase) = state.phase {
            self.mode = if phase == Phase::Train as i32 {
                Mode::Train
            } else {
                Mode::Test
            };
        }
        if let Some(level) = state.level {
            self.level = level;
        }
        self.stages.extend(state.stage.iter().cloned());
    }

    /// Whether `rule` holds: all that it names must fit; a rule that names nothing fits everything.
    pub fn meets(&self, rule: &NetStateRule) -> bool {
        let phase = match self.mode {
            Mode::Train => Phase::Train,
            Mode::Test => Phase::Test,
        } as i32;
        rule.phase.is_none_or(|p| p == phase)
            && rule.min_level.is_none_or(|l| self.level >= l)
            && rule.max_level.is_none_or(|l| self.level <= l)
            && rule.stage.iter().all(|s| self.stages.contains(s))
            && !rule.not_stage.iter().any(|s| self.stages.contains(s))
    }
}

/// A layer with its place in the graph.
#[derive(Clone, Debug)]
pub struct Node {
    /// What the prototxt says.
    pub param: LayerParameter,
    /// The line on which its block starts; 0 where the net came from no text.
    pub line: usize,
    /// What it reads.
    pub bottoms: Vec<ValueId>,
    /// What it writes.
    pub tops: Vec<ValueId>,
}

impl Node {
    /// The layer's name.
    pub fn name(&self) -> &str {
        self.param.name()
    }

    /// TRAIN or TEST: the layer's own phase, or that of its net.
    pub fn mode(&self, net: Mode) -> Mode {
        net.of(&self.param)
    }

    /// Whether it is fed from outside the net: a data or Input layer.
    pub fn is_source(&self) -> bool {
        is_source(self.param.r#type())
    }
}

/// Whether layers of this type bring numbers into a net.
pub fn is_source(layer_type: &str) -> bool {
    matches!(
        layer_type,
        "Input" | "Data" | "DummyData" | "ImageData" | "HDF5Data" | "MemoryData" | "WindowData"
    )
}

/// One write of a blob.
#[derive(Clone, Debug)]
pub struct Value {
    /// The blob's name.
    pub name: String,
    /// The node that writes it.
    pub producer: usize,
    /// The nodes that read it, with the index of the bottom.
    pub uses: Vec<(usize, usize)>,
    /// The value that it overwrites, if its layer works in place.
    pub overwrites: Option<ValueId>,
}

/// A net's layers for one state, in the order of the file.
#[derive(Clone, Debug)]
pub struct Graph {
    /// The net's name.
    pub name: String,
    /// The file, for messages.
    pub file: String,
    /// TRAIN or TEST.
    pub mode: Mode,
    /// Caffe's `force_backward`.
    pub force_backward: bool,
    /// The layers.
    pub nodes: Vec<Node>,
    /// The values.
    pub values: Vec<Value>,
    /// What no layer reads: the net's outputs, in the order of their names, as Caffe lists them.
    pub outputs: Vec<ValueId>,
}

/// The value that each blob's name stands for, so far.
type Latest = BTreeMap<String, ValueId>;

fn check_rules(layer: &LayerParameter) -> Result<(), String> {
    match layer.include.is_empty() || layer.exclude.is_empty() {
        true => Ok(()),
        false => Err("has both include and exclude rules; keep one kind".into()),
    }
}

fn check_propagate_down(layer: &LayerParameter) -> Result<(), String> {
    let (given, bottoms) = (layer.propagate_down.len(), layer.bottom.len());
    if given == 0 || given == bottoms {
        return Ok(());
    }
    Err(format!(
        "propagate_down is given {given} times for {bottoms} bottoms; give it once a bottom or not at all"
    ))
}

impl Graph {
    /// The values that the next node, `layer`, reads; `unknown` says what is wrong with a name.
    fn read(
        &mut self,
        layer: &LayerParameter,
        latest: &Latest,
        unknown: impl Fn(&Self, &str) -> String,
    ) -> Result<Vec<ValueId>, String> {
        let index = self.nodes.len();
        let mut bottoms = Vec::new();
        for (k, name) in layer.bottom.iter().enumerate() {
            let Some(&value) = latest.get(name) else {
                return Err(unknown(self, name));
            };
            self.values[value].uses.push((index, k));
            bottoms.push(value);
        }
        Ok(bottoms)
    }

    /// The values that the next node, `layer`, writes.
    fn write(
        &mut self,
        layer: &LayerParameter,
        latest: &mut Latest,
    ) -> Result<Vec<ValueId>, String> {
        let mut tops = Vec::new();
        for (k, name) in layer.top.iter().enumerate() {
            if layer.top[..k].contains(name) {
                return Err(format!(
                    "top '{name}' is named twice; every top needs a name of its own"
                ));
            }
            let before = latest.get(name).copied();
            if let Some(v) = before.filter(|_| layer.bottom.get(k) != Some(name)) {
                let first = &self.nodes[self.values[v].producer];
                return Err(format!(
                    "top '{name}' is already made by layer '{}' (line {}); only a layer that also \
                     reads '{name}' may write it again",
                    first.name(),
                    first.line
                ));
            }
            let id = self.add_value(name, before);
            latest.insert(name.clone(), id);
            tops.push(id);
        }
        if tops.is_empty() && layer.r#type().ends_with("Loss") {
            // Caffe gives a loss without a top one that nobody can name.
            tops.push(self.add_value("(automatic)", None));
        }
        Ok(tops)
    }

    fn add_value(&mut self, name: &str, overwrites: Option<ValueId>) -> ValueId {
        self.values.push(Value {
            name: name.to_string(),
            producer: self.nodes.len(),
            uses: Vec::new(),
            overwrites,
        });
        self.values.len() - 1
    }
}

impl Graph {
    /// The graph of `net` in `state` (into which the net's own `state` has been merged).
    pub fn new(net: &Parsed<NetParameter>, state: &State) -> Result<Self> {
        let message = &net.message;
        let mut graph = Graph {
            name: message.name().to_string(),
            file: net.file.clone(),
            mode: state.mode,
            force_backward: message.force_backward(),
            nodes: Vec::new(),
            values: Vec::new(),
            outputs: Vec::new(),
        };
        let mut latest = Latest::new();
        for (i, layer) in message.layer.iter().enumerate() {
            let line = net.lines.layer(i).unwrap_or(0);
            let at = |text: String| anyhow!("{}: {text}", place(&net.file, line, layer.name()));
            check_rules(layer).map_err(at)?;
            if !included(layer, state) {
                continue;
            }
            check_propagate_down(layer).map_err(at)?;
            let unknown = |graph: &Graph, name: &str| graph.unknown_bottom(name, message, state, i);
            let bottoms = graph.read(layer, &latest, unknown).map_err(at)?;
            let tops = graph.write(layer, &mut latest).map_err(at)?;
            graph.nodes.push(Node {
                param: layer.clone(),
                line,
                bottoms,
                tops,
            });
        }
        if graph.nodes.is_empty() {
            bail!(
                "{}: the net has no layer in the {} phase ({} layers in the file)",
                graph.file,
                if state.mode == Mode::Train {
                    "TRAIN"
                } else {
                    "TEST"
                },
                message.layer.len()
            );
        }
        graph.outputs = latest
            .into_values()
            .filter(|&v| graph.values[v].uses.is_empty())
            .collect();
        Ok(graph)
    }

    /// `file:line: layer 'name'`, the head of every message about node `i`.
    pub fn place(&self, i: usize) -> String {
        place(&self.file, self.nodes[i].line, self.nodes[i].name())
    }

    /// The last value of the blob named `name`.
    pub fn value(&self, name: &str) -> Option<ValueId> {
        self.values.iter().rposition(|v| v.name == name)
    }

    /// What is wrong with a bottom that no layer above makes.
    fn unknown_bottom(&self, name: &str, net: &NetParameter, state: &State, at: usize) -> String {
        let made = |l: &LayerParameter| l.top.iter().any(|t| t == name);
        // A layer in place makes what it reads.
        let first = |l: &LayerParameter| made(l) && !l.bottom.iter().any(|b| b == name);
        if let Some(l) = net.layer[at..]
            .iter()
            .find(|l| first(l) && included(l, state))
        {
            return format!(
                "bottom '{name}' is made only later, by layer '{}'; move that layer up",
                l.name()
            );
        }
        let left_out: Vec<String> = net
            .layer
            .iter()
            .filter(|l| first(l))
            .map(|l| format!("layer '{}'{}", l.name(), wanted(l)))
            .collect();
        if !left_out.is_empty() {
            return format!(
                "bottom '{name}' is made by {}, whose include/exclude rules leave it out of this phase",
                left_out.join(" or ")
            );
        }
        let near = self
            .values
            .iter()
            .map(|v| (strsim::jaro_winkler(&v.name, name), &v.name))
            .filter(|(score, _)| *score > 0.8)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        match near {
            Some((_, n)) => format!("unknown bottom '{name}'; did you mean '{n}'?"),
            None => format!("unknown bottom '{name}': no layer above has it as a top"),
        }
    }
}

/// Whether a layer's include and exclude rules keep it in `state`.
pub fn included(layer: &LayerParameter, state: &State) -> bool {
    if layer.include.is_empty() {
        !layer.exclude.iter().any(|r| state.meets(r))
    } else {
        layer.include.iter().any(|r| state.meets(r))
    }
}

/// In which stages a layer is kept, for one that is left out: ` (--stage train)`.
fn wanted(layer: &LayerParameter) -> String {
    let stages = layer.include.iter().filter(|r| !r.stage.is_empty());
    let stages: Vec<String> = stages.map(|r| r.stage.join(",")).collect();
    match stages.is_empty() {
        true => String::new(),
        false => format!(" (--stage {})", stages.join(" or ")),
    }
}

fn place(file: &str, line: usize, name: &str) -> String {
    match line {
        0 => format!("{file}: layer '{name}'"),
        _ => format!("{file}:{line}: layer '{name}'"),
    }
}
