//! `dsd test`: scores weights, with Caffe's output.

use super::feed::Opener;
use super::nets::{self, Model};
use crate::cli;
use crate::info;
use crate::layers::Mode;
use crate::net::graph::Graph;
use crate::net::{Net, Options, Pass};
use crate::report::human::HumanBytes;
use crate::report::metrics::outputs as as_json;
use crate::report::number::G;
use crate::report::{output, progress};
use crate::solver::{DEFAULT_SEED, OpenData, Opened, announce};
use anyhow::Result;
use serde_json::json;
use std::time::Instant;

/// Runs the command.
pub fn run(args: &cli::Test, seed: Option<u64>) -> Result<()> {
    let seed = seed.unwrap_or(DEFAULT_SEED);
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
    let net = Net::new(graph, &shapes, &Options::default())?;
    announce::net(&net);
    let threads = rayon::current_num_threads();
    info!(
        "Memory required: {}",
        HumanBytes(net.workspace_bytes(threads) as u64)
    );
    let weights = nets::weights(&net, &args.weights, seed)?;
    info!("Running for {} iterations.", args.iterations);
    let bar = progress::bar("test", 0, args.iterations as u64);
    let started = Instant::now();
    // Sums in f32, as Caffe's: the published figures come out only so.
    let mut sums: Vec<(usize, f32)> = Vec::new();
    let mut loss = 0.0f32;
    for i in 0..args.iterations {
        let batch = batches.next_batch()?;
        let outputs = net.forward(&Pass::new(seed, i as u64), &weights, &batch)?;
        batches.recycle(batch);
        loss += outputs.loss;
        let mut k = 0;
        for &v in net.outputs() {
            let Some(value) = outputs.values.get(&v) else {
                continue;
            };
            for &x in &value.data {
                if i == 0 {
                    sums.push((v, x));
                } else {
                    sums[k].1 += x;
                }
                k += 1;
                info!("Batch {i}, {} = {}", net.graph().values[v].name, G(x));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let n = args.iterations as f32;
    info!("Loss: {}", G(loss / n));
    let mut means: Vec<(&str, f32)> = Vec::new();
    for (v, sum) in sums {
        let name = net.graph().values[v].name.as_str();
        let mean = sum / n;
        let weight = net.loss_weight(v);
        let note = crate::solver::loss_note(weight, mean);
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
