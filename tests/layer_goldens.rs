//! Every single-layer net of `../shared/goldens/layers` whose types exist: outputs and gradients must be
//! those that Caffe 1.0 computed. See the README there for the names of the arrays.

use anyhow::{Context, Result, ensure};
use dsd::layers::Mode;
use dsd::net::graph::{Graph, State};
use dsd::net::{Net, Options, Pass};
use dsd::npz;
use dsd::proto::load_net;
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
fn compare(name: &str, got: &Tensor, want: &Tensor) -> Result<()> {
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
    let close = distance <= 1e-5 * norm || distance <= 1e-7;
    ensure!(
        close,
        "{name}: off by {distance:e} of {norm:e}: {:?} instead of {:?}",
        got.data,
        want.data
    );
    Ok(())
}

/// Runs one case; the number of arrays compared.
fn check(prototxt: &Path, train: bool) -> Result<usize> {
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
        gradient_targets: part("topdiff/").map(|(k, _)| k).collect(),
    };
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
    let mut compared = 0;
    for (name, want) in part("out/") {
        let value = net
            .graph()
            .value(&name)
            .and_then(|v| outputs.values.get(&v));
        compare(
            &format!("out/{name}"),
            value.context("no such output")?,
            &want,
        )?;
        compared += 1;
    }
    for (name, want) in part("din/") {
        let input = net
            .inputs()
            .iter()
            .find(|&&v| named(v, net.graph()) == name);
        match input.and_then(|v| outputs.diffs.get(v)) {
            Some(got) => compare(&format!("din/{name}"), got, &want)?,
            // No gradient flows to labels: Caffe leaves zeros.
            None => ensure!(want.data.iter().all(|v| *v == 0.0), "din/{name} is missing"),
        }
        compared += 1;
    }
    for (param, grad) in net.params().iter().zip(&grads) {
        let name = format!("dparam/{}/{}", param.layer, param.index);
        if let Some(want) = arrays.get(&name) {
            compare(
                &name,
                &Tensor {
                    shape: param.shape.clone(),
                    data: grad.clone(),
                },
                want,
            )?;
            compared += 1;
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
                ensure!(compared > 0, "{name}: nothing was compared");
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
