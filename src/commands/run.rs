//! `dsd run`: a net once on given arrays, its blobs and gradients to a file.

use super::Settings;
use crate::net::graph::{Graph, ValueId, is_source};
use crate::net::{Net, Options, Outputs, Pass};
use crate::npz::{self, Arrays};
use crate::proto::caffe::{BlobShape, InputParameter};
use crate::proto::{LayerParameter, NetParameter, Parsed};
use crate::report::nets;
use crate::session::{Opener, Request, Session};
use crate::solver::OpenData;
use crate::tensor::{Shape, Tensor, View};
use crate::{cli, info};
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};

/// Runs the command.
pub fn run(args: &cli::Run, settings: &Settings) -> Result<()> {
    let mut given = match &args.inputs {
        Some(path) => npz::read(path)?,
        None => Arrays::new(),
    };
    let top_diffs = match &args.gradients {
        Some(path) => npz::read(path)?,
        None => Arrays::new(),
    };
    let session = Session::find(Request {
        mode: args.phase.into(),
        precision: args.numbers.precision,
        ..settings.request(args.model.as_deref(), &args.weights, &args.state)
    })?;
    let mut parsed = session.model.deploy()?;
    feed_arrays(&mut parsed, &given);
    let graph = session.graph(&parsed)?;
    let feed = feed(&graph, &mut given, &session.opener())?;
    if let Some(name) = given.keys().next() {
        let inputs: Vec<&str> = input_names(&graph);
        bail!(
            "--inputs: array '{name}' is no input of the net; its inputs are {}",
            inputs.join(", ")
        );
    }
    let backward = args.gradients.is_some();
    let options = Options {
        backward,
        force_backward: backward,
        every_blob: true,
        gradient_targets: top_diffs.keys().cloned().collect(),
        ..session.options()
    };
    let shapes: Vec<Shape> = feed.iter().map(|t| t.shape.clone()).collect();
    let net = Net::new(graph, &shapes, &options)?;
    nets::precision(&net);
    net.check_memory(rayon::current_num_threads(), 0, true)?;
    let weights = session.weights(&net)?;
    let wanted = wanted(&net, &args.blobs)?;
    let mut diffs = Vec::new();
    for (name, array) in top_diffs {
        let v = net
            .graph()
            .value(&name)
            .with_context(|| format!("--gradients: the net has no blob '{name}'"))?;
        // What the data decide is compared when it is known.
        if array.data.len() != net.shape(v).count() && !net.data_decide_rows(v) {
            bail!(
                "--gradients: array '{name}' has shape {}, the blob has {}",
                array.shape,
                net.shape(v)
            );
        }
        diffs.push((v, array));
    }
    // As in Caffe, the gradient of a blob that layers rewrite in place is that of its first value.
    let first = |w: &(String, ValueId)| net.graph().values.iter().position(|v| v.name == w.0);
    let pass = Pass {
        wanted: wanted.iter().map(|w| w.1).collect(),
        wanted_diffs: wanted.iter().filter_map(first).collect(),
        top_diffs: &diffs,
        ..Pass::new(session.request.seed, 0)
    };
    let mut gradients = net.zero_gradients();
    let outputs = if backward {
        net.forward_backward(&pass, &weights, &feed, &mut gradients)?
    } else {
        net.forward(&pass, &weights, &feed)?
    };
    let arrays = results(&net, &wanted, &outputs, backward.then_some(&gradients[..]));
    npz::write(
        &args.outputs,
        arrays.iter().map(|(n, v)| (n.as_str(), v.clone())),
    )?;
    info!(
        "Wrote {} arrays to {}",
        arrays.len(),
        args.outputs.display()
    );
    Ok(())
}

/// Lets the given arrays feed the net: an Input layer takes its array's shape, a bottom that no layer
/// makes gets an Input layer of its own.
fn feed_arrays(net: &mut Parsed<NetParameter>, given: &Arrays) {
    let shape_of = |t: &Tensor| BlobShape {
        dim: t.shape.dims().iter().map(|&d| d as i64).collect(),
    };
    let mut made: BTreeSet<String> = BTreeSet::new();
    for layer in &mut net.message.layer {
        made.extend(layer.top.iter().cloned());
        let known = layer.top.iter().all(|t| given.contains_key(t));
        if is_source(layer.r#type()) && known && !layer.top.is_empty() {
            let shape = layer.top.iter().map(|t| shape_of(&given[t])).collect();
            layer.r#type = Some("Input".into());
            layer.input_param = Some(InputParameter { shape });
        }
    }
    let bottoms: BTreeSet<&String> = net.message.layer.iter().flat_map(|l| &l.bottom).collect();
    let missing = bottoms
        .into_iter()
        .filter(|b| !made.contains(*b))
        .filter_map(|b| Some((b, given.get(b)?)));
    let inputs: Vec<LayerParameter> = missing
        .map(|(name, array)| LayerParameter {
            name: Some(name.clone()),
            r#type: Some("Input".into()),
            top: vec![name.clone()],
            input_param: Some(InputParameter {
                shape: vec![shape_of(array)],
            }),
            ..Default::default()
        })
        .collect();
    net.lines.insert_front(inputs.len());
    net.message.layer.splice(0..0, inputs);
}

/// The arrays of the net's inputs: those given, else what its data layers bring.
fn feed(graph: &Graph, given: &mut Arrays, opener: &Opener) -> Result<Vec<Tensor>> {
    let names = input_names(graph);
    let missing: Vec<&str> = names
        .iter()
        .copied()
        .filter(|n| !given.contains_key(*n))
        .collect();
    let from_data: BTreeMap<&str, Tensor> = if missing.is_empty() {
        BTreeMap::new()
    } else if graph.nodes.iter().any(|n| {
        n.param.r#type() == "Input" && n.param.top.iter().any(|t| missing.contains(&t.as_str()))
    }) {
        bail!("--inputs: no array for the net's input '{}'", missing[0]);
    } else {
        names
            .iter()
            .copied()
            .zip(opener.open(graph, 0)?.batches.next_batch()?)
            .collect()
    };
    let mut feed = Vec::new();
    for name in names {
        match given.remove(name).or_else(|| from_data.get(name).cloned()) {
            Some(array) => feed.push(array),
            None => bail!("no array for the net's input '{name}'"),
        }
    }
    Ok(feed)
}

fn input_names(graph: &Graph) -> Vec<&str> {
    let sources = graph.nodes.iter().filter(|n| n.is_source());
    sources
        .flat_map(|n| n.tops.iter().map(|&v| graph.values[v].name.as_str()))
        .collect()
}

fn wanted(net: &Net, blobs: &[String]) -> Result<Vec<(String, ValueId)>> {
    let graph = net.graph();
    if blobs.is_empty() {
        return Ok(net
            .outputs()
            .iter()
            .map(|&v| (graph.values[v].name.clone(), v))
            .collect());
    }
    let find = |name: &String| {
        let v = graph.value(name).with_context(|| {
            let mut names: Vec<&str> = graph.values.iter().map(|v| v.name.as_str()).collect();
            names.dedup();
            format!(
                "--blobs: the net has no blob '{name}'; it has {}",
                names.join(", ")
            )
        })?;
        Ok((name.clone(), v))
    };
    blobs.iter().map(find).collect()
}

fn results<'a>(
    net: &'a Net,
    wanted: &[(String, ValueId)],
    outputs: &'a Outputs,
    gradients: Option<&'a [Vec<f32>]>,
) -> Vec<(String, View<'a>)> {
    let mut arrays = Vec::new();
    for (name, v) in wanted {
        if let Some(t) = outputs.values.get(v) {
            arrays.push((name.clone(), t.view()));
        }
        let first = net.graph().values.iter().position(|v| v.name == *name);
        if let Some(t) = first
            .and_then(|f| outputs.diffs.get(&f))
            .filter(|_| gradients.is_some())
        {
            arrays.push((format!("grad:{name}"), t.view()));
        }
    }
    let gradients = gradients.unwrap_or_default();
    for (label, id, shape) in net.all_uses() {
        if let Some(g) = gradients.get(id).filter(|g| !g.is_empty()) {
            arrays.push((format!("grad:{label}"), View::planes(shape.clone(), g)));
        }
    }
    arrays
}
