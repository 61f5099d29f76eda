//! `dsd test`: scores weights, with Caffe's output.

use super::Settings;
use super::feed::Opener;
use super::nets::{self, Model};
use crate::cli;
use crate::info;
use crate::layers::Mode;
use crate::net::carried::Carried;
use crate::net::graph::Graph;
use crate::net::sizes::Sizes;
use crate::net::{Net, Pass};
use crate::report::human::HumanBytes;
use crate::report::metrics::outputs as as_json;
use crate::report::number::G;
use crate::report::{self, output, progress};
use crate::solver::scores::Scores;
use crate::solver::{OpenData, Opened};
use anyhow::Result;
use serde_json::json;
use std::time::Instant;

/// Runs the command.
pub fn run(args: &cli::Test, settings: &Settings) -> Result<()> {
    let seed = settings.seed();
    info!("Use CPU.");
    let model = Model::find(args.model.as_deref(), &args.weights)?;
    let parsed = model.train_val()?;
    let graph = Graph::new(
        &parsed,
        &nets::state(&parsed.message, Mode::Test, &args.state),
    )?;
    let source = args.source.as_ref().map(|s| s.display().to_string());
    let opener = Opener {
        mode: Mode::Test,
        seed,
        source,
        folder: model.folder(),
    };
    let Opened {
        shapes,
        mut batches,
    } = opener.open(&graph, 0)?;
    let options = settings.options();
    let net = Net::new(graph, &shapes, &options)?;
    report::nets::built(&net);
    let threads = rayon::current_num_threads();
    info!(
        "Memory required: {}",
        HumanBytes(net.workspace_bytes(threads) as u64)
    );
    net.check_memory(threads)?;
    let weights = nets::weights(&net, &args.weights, seed)?;
    info!("Running for {} iterations.", args.iterations);
    let bar = progress::bar("test", 0, args.iterations as u64);
    let started = Instant::now();
    let mut scores = Scores::default();
    let mut loss = 0.0f32;
    let (mut carried, mut sizes) = (Carried::default(), Sizes::new(&options));
    for i in 0..args.iterations {
        let batch = batches.next_batch()?;
        let pass = Pass {
            carried: Some(&carried),
            ..Pass::new(seed, i as u64)
        };
        let fitting = sizes.fit(&net, &batch)?;
        let mut outputs = fitting.forward(&pass, &weights, &batch)?;
        carried.take(&mut outputs);
        batches.recycle(batch);
        loss += outputs.loss;
        for &v in net.outputs() {
            for &x in outputs.values.get(&v).iter().flat_map(|t| &t.data) {
                info!("Batch {i}, {} = {}", net.graph().values[v].name, G(x));
            }
        }
        scores.add(&net, &outputs);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let n = args.iterations as f32;
    info!("Loss: {}", G(loss / n));
    let mut means: Vec<(&str, f32)> = Vec::new();
    for note in scores.notes(&net) {
        info!("{note}");
    }
    for (v, mean) in scores.means() {
        let name = net.graph().values[v].name.as_str();
        let weight = net.loss_weight(v);
        let note = report::nets::loss_note(weight, mean);
        info!("{name} = {}{note}", G(mean));
        means.push((name, mean));
    }
    if args.json {
        let seconds = started.elapsed().as_secs_f64();
        let images = (args.iterations * net.batch()) as f64 / seconds;
        output::json(&json!({
            "outputs": as_json(means),
            "batches": args.iterations,
            "images_per_s": images,
        }))?;
    }
    Ok(())
}
