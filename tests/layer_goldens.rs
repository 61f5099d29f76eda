//! Every single-layer net of `../shared/goldens/layers` whose types exist: outputs and gradients must be
//! those that Caffe 1.0 computed. See the README there for the names of the arrays.

use anyhow::{Context, Result, ensure};
use dsd::layers::Mode;
use dsd::net::graph::{Graph, State};
use dsd::net::{Net, Options, Pass};
use dsd::npz;
use dsd::proto::caffe::NetParameter;
use dsd::proto::load_net;
use dsd::proto::text::Parsed;
use dsd::tensor::{Shape, Tensor};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Types that no layer here has yet: their cases are skipped.
fn unknown(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("unknown layer type")
}

fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/goldens/layers");
    if !folder.is_dir() {
        eprintln!("skipped: {} is absent", folder.display());
        return None;
    }
    Some(folder)
}

/// The L2 distance relative to the L2 norm of what is wanted.
fn compare(name: &str, got: &Tensor, want: &Tensor, tolerance: f64) -> Result<f64> {
    ensure!(
        got.shape == want.shape,
        "{name}: shape {} instead of {}",
        got.shape,
        want.shape
    );
    let norm = want
        .data
        .iter()
        .map(|v| f64::from(*v).powi(2))
        .sum::<f64>()
        .sqrt();
    let distance = got
        .data
        .iter()
        .zip(&want.data)
        .map(|(g, w)| f64::from(g - w).powi(2))
        .sum::<f64>()
        .sqrt();
    let close = distance <= tolerance * norm || distance <= 1e-7;
    ensure!(
        close,
        "{name}: off by {distance:e} of {norm:e}: {:?} instead of {:?}",
        got.data,
        want.data
    );
    Ok(if norm > 0.0 {
        distance / norm
    } else {
        distance
    })
}

/// What the issue allows: sums of powers are less exact.
fn tolerance(parsed: &Parsed<NetParameter>) -> f64 {
    let loose = |t: &str| ["LRN", "MVN", "LSTM", "RNN"].contains(&t);
    let layers = &parsed.message.layer;
    if layers.iter().any(|l| loose(l.r#type())) {
        1e-4
    } else {
        1e-5
    }
}

/// Arrays that are not what Caffe computes in a net. HingeLoss leaves its margins in its bottom's gradient
/// for backward to find; the script that made the goldens cleared all gradients in between, so that
/// backward found zeros. The net of batchreindex is the only one without force_backward: Caffe ran no
/// backward at all.
const SPOILT: [(&str, &str); 2] = [("hinge_l1", "din/x"), ("batchreindex", "din/x")];

/// Runs one case; the relative distance of each array compared.
fn check(prototxt: &Path, train: bool) -> Result<Vec<f64>> {
    let arrays = npz::read(&prototxt.with_extension("npz"))?;
    let part = |kind: &'static str| {
        arrays
            .iter()
            .filter_map(move |(k, v)| Some((k.strip_prefix(kind)?.to_string(), v.clone())))
    };
    let (parsed, _) = load_net(prototxt)?;
    let mode = if train { Mode::Train } else { Mode::Test };
    let graph = Graph::new(&parsed, &State::new(mode))?;
    let inputs: BTreeMap<String, Tensor> = part("in/").collect();
    let named = |v: usize, graph: &Graph| graph.values[v].name.clone();
    let feed: Vec<Tensor> = graph
        .nodes
        .iter()
        .filter(|n| n.is_source())
        .flat_map(|n| &n.tops)
        .map(|&v| {
            inputs
                .get(&named(v, &graph))
                .cloned()
                .context("an input has no numbers")
        })
        .collect::<Result<_>>()?;
    let shapes: Vec<Shape> = feed.iter().map(|t| t.shape.clone()).collect();
    let top_diffs: Vec<(usize, Tensor)> = part("topdiff/")
        .map(|(k, v)| Ok((graph.value(&k).context("no such top")?, v)))
        .collect::<Result<_>>()?;
    let backward = !top_diffs.is_empty();
    let options = Options {
        backward,
        force_backward: true,
        every_blob: true,
        gradient_targets: part("topdiff/").map(|(k, _)| k).collect(),
        ..Default::default()
    };
    crate::common::compute_as_asked();
    let net = Net::new(graph, &shapes, &options)?;
    let mut weights = net.fill(1)?;
    for (param, weight) in net.params().iter().zip(&mut weights) {
        let name = format!("param/{}/{}", param.layer, param.index);
        let stored = arrays
            .get(&name)
            .with_context(|| format!("no array {name}"))?;
        ensure!(
            stored.shape == weight.shape,
            "{name}: shape {} instead of {}",
            weight.shape,
            stored.shape
        );
        *weight = stored.clone();
    }
    let mut pass = Pass::new(1, 0);
    pass.wanted = part("out/")
        .filter_map(|(k, _)| net.graph().value(&k))
        .collect();
    pass.wanted_diffs = net.inputs().to_vec();
    pass.top_diffs = &top_diffs;
    let mut grads = net.zero_gradients();
    let outputs = if backward {
        net.forward_backward(&pass, &weights, &feed, &mut grads)?
    } else {
        net.forward(&pass, &weights, &feed)?
    };
    let tolerance = tolerance(&parsed);
    let mut compared = Vec::new();
    for (name, want) in part("out/") {
        let value = net
            .graph()
            .value(&name)
            .and_then(|v| outputs.values.get(&v));
        compared.push(compare(
            &format!("out/{name}"),
            value.context("no such output")?,
            &want,
            tolerance,
        )?);
    }
    let case = prototxt.file_stem().and_then(|s| s.to_str()).unwrap_or("");
    for (name, want) in part("din/") {
        if SPOILT.contains(&(case, &format!("din/{name}"))) {
            continue;
        }
        let input = net
            .inputs()
            .iter()
            .find(|&&v| named(v, net.graph()) == name);
        match input.and_then(|v| outputs.diffs.get(v)) {
            Some(got) => {
                compared.push(compare(&format!("din/{name}"), got, &want, tolerance)?);
            }
            // No gradient flows to labels: Caffe leaves zeros.
            None => ensure!(want.data.iter().all(|v| *v == 0.0), "din/{name} is missing"),
        }
    }
    let tensor = |shape: &Shape, data: &[f32]| Tensor {
        shape: shape.clone(),
        data: data.to_vec(),
    };
    for (param, grad) in net.params().iter().zip(&grads) {
        let name = format!("dparam/{}/{}", param.layer, param.index);
        if let Some(want) = arrays.get(&name) {
            let got = tensor(&param.shape, grad);
            compared.push(compare(&name, &got, want, tolerance)?);
        }
    }
    for (id, values) in &outputs.updates {
        weights[*id].data.clone_from(values);
    }
    for (param, weight) in net.params().iter().zip(&weights) {
        let name = format!("param_after/{}/{}", param.layer, param.index);
        if let Some(want) = arrays.get(&name) {
            compared.push(compare(&name, weight, want, tolerance)?);
        }
    }
    Ok(compared)
}

#[test]
fn every_layer_computes_what_caffe_computes() -> Result<()> {
    let Some(folder) = folder() else {
        return Ok(());
    };
    let meta: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.join("meta.json"))?)?;
    let cases = meta.as_object().context("meta.json is not an object")?;
    let only = std::env::var("CASE").ok();
    let (mut passed, mut skipped, mut failed) = (0, Vec::new(), Vec::new());
    for (name, about) in cases
        .iter()
        .filter(|(name, _)| only.as_ref().is_none_or(|o| name.contains(o)))
    {
        let train = about["phase"] == "TRAIN";
        match check(&folder.join(format!("{name}.prototxt")), train) {
            Ok(compared) => {
                ensure!(!compared.is_empty(), "{name}: nothing was compared");
                let worst = compared.iter().copied().fold(0.0, f64::max);
                eprintln!("{name}: {worst:.1e}");
                passed += 1;
            }
            Err(e) if unknown(&e) => skipped.push(name.as_str()),
            Err(e) => failed.push(format!("{name}: {e:#}")),
        }
    }
    eprintln!(
        "{passed} cases passed; no such type yet: {}",
        skipped.join(" ")
    );
    ensure!(
        failed.is_empty(),
        "{} cases failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
    Ok(())
}
