//! The built-in nets: the prototxt files of `models/`, compiled in, so that weights can be tested, and
//! the default run trained, without any other file.

pub mod published;

use crate::compress::net_file;
use crate::layers::Mode;
use crate::net::graph::{Graph, Node, State};
use crate::net::{Net, Options};
use crate::phase::Phase;
use crate::proto::{NetParameter, Parsed, SolverParameter, parse};
use crate::tensor::Shape;
use crate::{files, weights_file};
use anyhow::{Context, Error, Result, bail};
use std::path::Path;

/// A built-in net.
#[derive(Debug)]
pub struct Builtin {
    /// The folder in `models/`, which is the name for `--model`.
    pub name: &'static str,
    train_val: &'static str,
    deploy: &'static str,
    solvers: [&'static str; 3],
    /// The solver of the quantize phase, of the net that trains without any file.
    quantize: Option<&'static str>,
}

macro_rules! builtin {
    ($name:literal) => {
        builtin!($name, None)
    };
    ($name:literal, $quantize:expr) => {
        Builtin {
            name: $name,
            train_val: include_str!(concat!("../models/", $name, "/train_val.prototxt")),
            deploy: include_str!(concat!("../models/", $name, "/deploy.prototxt")),
            solvers: [
                include_str!(concat!("../models/", $name, "/solver_dense.prototxt")),
                include_str!(concat!("../models/", $name, "/solver_sparse.prototxt")),
                include_str!(concat!("../models/", $name, "/solver_redense.prototxt")),
            ],
            quantize: $quantize,
        }
    };
}

/// All of them.
pub static BUILTIN: [Builtin; 10] = [
    builtin!("squeezenet_v1.0"),
    builtin!("squeezenet_v1.1"),
    builtin!("squeezenet_bypass"),
    builtin!("alexnet"),
    builtin!("vgg16"),
    builtin!("googlenet"),
    builtin!("resnet18"),
    builtin!("resnet50"),
    builtin!("mobilenet_v1"),
    builtin!(
        "digits",
        Some(include_str!("../models/digits/solver_quantize.prototxt"))
    ),
];

/// The net of the default run.
pub const DEFAULT: &str = "digits";

/// How SqueezeNet's layers are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// As the DSD release: `fire2/conv1x1_1`, `conv_final`.
    Release,
    /// As the original: `fire2/squeeze1x1`, `conv10`.
    Original,
}

impl Family {
    fn rename(self, text: &str) -> String {
        match self {
            Self::Release => text.to_string(),
            Self::Original => text
                .replace("conv1x1_1", "squeeze1x1")
                .replace("conv1x1_2", "expand1x1")
                .replace("conv3x3_2", "expand3x3")
                .replace("conv_final", "conv10"),
        }
    }
}

/// The built-in net of that name.
pub fn find(name: &str) -> Option<&'static Builtin> {
    BUILTIN.iter().find(|b| b.name == name)
}

impl Builtin {
    /// The net with data layers.
    pub fn train_val(&self, family: Family) -> Result<Parsed<NetParameter>> {
        let file = format!("models/{}/train_val.prototxt", self.name);
        Ok(parse(&family.rename(self.train_val), &file)?)
    }

    /// The text of the net with data layers.
    pub fn train_val_text(&self) -> &'static str {
        self.train_val
    }

    /// The text of the net with Input layers.
    pub fn deploy_text(&self) -> &'static str {
        self.deploy
    }

    /// The net with Input layers.
    pub fn deploy(&self, family: Family) -> Result<Parsed<NetParameter>> {
        let file = format!("models/{}/deploy.prototxt", self.name);
        Ok(parse(&family.rename(self.deploy), &file)?)
    }

    /// The solver of a phase.
    pub fn solver(&self, phase: Phase) -> Result<Parsed<SolverParameter>> {
        let file = format!("models/{}/solver_{phase}.prototxt", self.name);
        Ok(parse(self.solver_text(phase)?, &file)?)
    }

    /// The text of the solver of a phase.
    pub fn solver_text(&self, phase: Phase) -> Result<&'static str> {
        let text = match phase {
            Phase::Dense => Some(self.solvers[0]),
            Phase::Sparse => Some(self.solvers[1]),
            Phase::Redense => Some(self.solvers[2]),
            Phase::Quantize => self.quantize,
        };
        text.with_context(|| {
            format!(
                "{} has no solver of the {phase} phase; give --solver",
                self.name
            )
        })
    }

    /// The deploy net, built: names and shapes of all parameters.
    pub fn skeleton(&self, family: Family) -> Result<Net> {
        let graph = Graph::new(&self.deploy(family)?, &State::new(Mode::Test))?;
        let shapes = input_shapes(&graph)?;
        Net::new(graph, &shapes, &Options::default())
    }
}

/// The shapes that the Input layers of `graph` state; it has no other source.
pub fn input_shapes(graph: &Graph) -> Result<Vec<Shape>> {
    let mut shapes = Vec::new();
    for (i, node) in graph
        .nodes
        .iter()
        .enumerate()
        .filter(|(_, n)| n.is_source())
    {
        shapes.extend(shapes_of_input(node).with_context(|| graph.place(i))?);
    }
    Ok(shapes)
}

/// The shapes that an Input layer states: one for each top, or one for all.
pub fn shapes_of_input(node: &Node) -> Result<Vec<Shape>> {
    let given = node
        .param
        .input_param
        .as_ref()
        .map(|p| &p.shape[..])
        .unwrap_or_default();
    if node.param.r#type() != "Input" || !(given.len() == 1 || given.len() == node.tops.len()) {
        bail!(
            "give input_param one shape, or one for each of the {} tops (found {})",
            node.tops.len(),
            given.len()
        );
    }
    let shape = |k: usize| {
        let dims = &given[k.min(given.len() - 1)].dim;
        let sizes: Option<Vec<usize>> = dims.iter().map(|&d| usize::try_from(d).ok()).collect();
        sizes
            .map(Shape::new)
            .with_context(|| format!("input shape {dims:?} has a negative size"))
    };
    (0..node.tops.len()).map(shape).collect()
}

/// The built-in net whose weights a Deep Compression file holds, if these bytes are one.
pub fn compressed(bytes: &[u8]) -> Result<Option<(&'static Builtin, Family)>> {
    for builtin in &BUILTIN {
        for family in [Family::Release, Family::Original] {
            let net = builtin.skeleton(family)?;
            if net_file::looks_like(bytes, &weights_file::net_layers(&net)) {
                return Ok(Some((builtin, family)));
            }
        }
    }
    Ok(None)
}

/// Where a Deep Compression file of a built-in net ends before its time.
fn cut(path: &Path, bytes: &[u8]) -> Option<Error> {
    let fits = |builtin: &&Builtin| {
        let net = builtin.skeleton(Family::Release);
        net.is_ok_and(|net| net_file::counts_fit(bytes, &weights_file::net_layers(&net)))
    };
    let builtin = BUILTIN.iter().find(fits)?;
    let layers = weights_file::net_layers(&builtin.skeleton(Family::Release).ok()?);
    let why = net_file::decode(bytes, &layers).err()?;
    let place = format!(
        "{}: a Deep Compression .net, by its counts of the built-in net {}",
        path.display(),
        builtin.name
    );
    Some(why.context(place))
}

/// The built-in net all of whose layers a weights file has, by name and shape; of several, the one that
/// leaves least of the file unused (a training net's weights hold its auxiliary classifiers too).
pub fn matching(path: &Path) -> Result<(&'static Builtin, Family)> {
    let bytes = files::read(path)?;
    if let Some(found) = compressed(&bytes)? {
        return Ok(found);
    }
    let stored = match weights_file::read_named(path, &bytes) {
        Ok(stored) => stored,
        Err(e) => return Err(cut(path, &bytes).unwrap_or(e)),
    };
    let mut best: Option<(usize, &'static Builtin, Family)> = None;
    for builtin in &BUILTIN {
        for family in [Family::Release, Family::Original] {
            if let Ok(plan) = builtin.skeleton(family)?.match_weights(&stored)
                && plan.missing.is_empty()
                && best.is_none_or(|(unused, ..)| plan.unused.len() < unused)
            {
                best = Some((plan.unused.len(), builtin, family));
            }
        }
    }
    if let Some((_, builtin, family)) = best {
        return Ok((builtin, family));
    }
    let names: Vec<&str> = BUILTIN.iter().map(|b| b.name).collect();
    bail!(
        "{}: its layers are those of no built-in net ({}); name the net with --model",
        path.display(),
        names.join(", ")
    )
}
