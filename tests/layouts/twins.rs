//! Builds, runs and compares a net and its plain twin.

use anyhow::Result as Anyhow;
use dsd::layers::Mode;
use dsd::net::graph::{Graph, State};
use dsd::net::{Net, Options, Pass};
use dsd::proto::caffe::NetParameter;
use dsd::proto::text::parse;
use dsd::random::{Purpose, Random};
use dsd::tensor::{Shape, Tensor};
use std::collections::BTreeMap;

/// What a pass leaves: arrays by name.
pub type Arrays = BTreeMap<String, Tensor>;

/// A net's text, and blobs with the names by which its twin's are to be found.
#[derive(Clone, Copy)]
pub struct Written<'a> {
    pub text: &'a str,
    pub names: &'a [(&'a str, &'a str)],
}

/// Types that have no backward: no gradient is put on them.
const DEAD_ENDS: [&str; 3] = ["Accuracy", "ArgMax", "Threshold"];

fn is_dead_end(graph: &Graph, i: usize) -> bool {
    DEAD_ENDS.contains(&graph.nodes[i].param.r#type())
}

pub fn noise(seed: u64, shape: &Shape) -> Tensor {
    let random = Random::new(seed, Purpose::Layer, 0);
    let data = (0..shape.count() as u64).map(|i| 2.0 * random.unit(i) - 1.0);
    Tensor {
        data: data.collect(),
        shape: shape.clone(),
    }
}

/// The net of a text whose Input layers say their shapes.
pub fn build(text: &str, mode: Mode, plain: bool) -> Anyhow<Net> {
    let parsed = parse::<NetParameter>(text, "net")?;
    let graph = Graph::new(&parsed, &State::new(mode))?;
    let shapes: Vec<Shape> = graph
        .nodes
        .iter()
        .filter_map(|n| n.param.input_param.as_ref())
        .flat_map(|p| &p.shape)
        .map(|s| Shape::new(s.dim.iter().map(|&d| d as usize).collect::<Vec<_>>()))
        .collect();
    let backward = mode == Mode::Train;
    let targets = graph.outputs.iter().map(|&v| &graph.values[v]);
    let targets = targets.filter(|v| !is_dead_end(&graph, v.producer));
    let targets = targets.map(|v| v.name.clone());
    let options = Options {
        backward,
        force_backward: backward,
        gradient_targets: targets.collect(),
        plain,
        ..Default::default()
    };
    crate::common::compute_as_asked();
    Net::new(graph, &shapes, &options)
}

/// Runs a net on noise: its outputs, and of a training net the gradients of the inputs and parameters.
pub fn run(net: &Net, names: &[(&str, &str)]) -> Anyhow<Arrays> {
    let mut weights = net.fill(3)?;
    for (i, (p, w)) in (30..).zip(net.params().iter().zip(&mut weights)) {
        let statistic = !p.learnable && p.index > 0;
        let size = if statistic { 0.2 } else { 0.5 };
        let middle = if statistic { 1.0 } else { 0.0 };
        w.data = noise(i, &p.shape).data;
        w.data.iter_mut().for_each(|v| *v = size * *v + middle);
    }
    let graph = net.graph();
    let feed: Vec<Tensor> = net
        .inputs()
        .iter()
        .enumerate()
        .map(|(i, &v)| {
            let mut t = noise(90 + i as u64, net.shape(v));
            // Labels, rows and steps are small whole numbers.
            match &graph.values[v].name[..] {
                "label" | "rows" => {
                    t.data = (0..t.data.len()).map(|n| ((n * 2) % 3) as f32).collect()
                }
                "steps" => t.data = (0..t.data.len()).map(|n| f32::from(n > 4)).collect(),
                _ => {}
            }
            t
        })
        .collect();
    let backward = net.mode() == Mode::Train;
    let top_diffs: Vec<(usize, Tensor)> = match backward {
        true => (net.outputs().iter())
            .filter(|&&v| !net.data_decide_rows(v) && !is_dead_end(graph, graph.values[v].producer))
            .map(|&v| (v, noise(50, net.shape(v))))
            .collect(),
        false => Vec::new(),
    };
    let mut pass = Pass::new(1, 0);
    pass.top_diffs = &top_diffs;
    let mut grads = net.zero_gradients();
    let outputs = if backward {
        // Below a layer without backward there is nothing to be had.
        if !(0..graph.nodes.len()).any(|i| is_dead_end(graph, i)) {
            pass.wanted_diffs = vec![net.inputs()[0]];
        }
        net.forward_backward(&pass, &weights, &feed, &mut grads)?
    } else {
        net.forward(&pass, &weights, &feed)?
    };
    let mut arrays = Arrays::new();
    for (v, t) in outputs.values {
        let name = &graph.values[v].name;
        let renamed = names
            .iter()
            .find(|n| n.0 == name)
            .map_or(&name[..], |n| n.1);
        arrays.insert(renamed.to_string(), t);
    }
    for (_, t) in outputs.diffs {
        arrays.insert("gradient of the input".into(), t);
    }
    for (p, data) in net.params().iter().zip(grads).filter(|_| backward) {
        let shape = Shape::new([data.len()]);
        arrays.insert(format!("gradient of {}", p.label()), Tensor { shape, data });
    }
    Ok(arrays)
}

/// In what two sets of arrays differ, if they do; NaN equals NaN.
fn difference(got: &Arrays, want: &Arrays) -> Option<String> {
    let names = |a: &Arrays| a.keys().cloned().collect::<Vec<_>>().join(", ");
    if got.len() != want.len() || !got.keys().eq(want.keys()) {
        return Some(format!("there are {}, plain {}", names(got), names(want)));
    }
    // Sums that cancel (gradients in front of a BatchNorm) are as inexact as their terms.
    let largest = |t: &Tensor| {
        let finite = t.data.iter().filter(|v| v.is_finite());
        finite.fold(0.0f32, |m, v| m.max(v.abs()))
    };
    let floor = 0.5 + 1e-1 * want.values().map(largest).fold(0.0, f32::max);
    for (name, want) in want {
        let got = &got[name];
        if got.shape != want.shape {
            return Some(format!(
                "{name} has shape {}, plain {}",
                got.shape, want.shape
            ));
        }
        let scale = largest(want).max(floor);
        for (i, (g, w)) in got.data.iter().zip(&want.data).enumerate() {
            let same = g == w || g.is_nan() && w.is_nan() || (g - w).abs() <= 1e-4 * scale;
            if !same {
                return Some(format!("{name}[{i}] is {g}, plain {w}"));
            }
        }
    }
    None
}

/// Compares a net with its plain twin: whether they run, or else both refuse; an error where they differ.
pub fn compare(net: Written, plain: Written, mode: Mode) -> Result<bool, String> {
    let result = |w: Written, plain| build(w.text, mode, plain).and_then(|n| run(&n, w.names));
    match (result(net, false), result(plain, true)) {
        (Ok(got), Ok(want)) => match difference(&got, &want) {
            None => Ok(true),
            Some(d) => Err(format!("{mode:?}: {d}\n{}", net.text)),
        },
        (Err(_), Err(_)) => Ok(false),
        // What no layer can do in place, as Caffe.
        (Err(e), Ok(_)) if format!("{e:#}").contains("cannot work in place") => Ok(false),
        (Ok(_), Err(e)) => Err(format!("{mode:?}: only plain: {e:#}\n{}", plain.text)),
        (Err(e), Ok(_)) => Err(format!("{mode:?}: {e:#}\n{}", net.text)),
    }
}
