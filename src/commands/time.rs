//! `dsd time`: times every layer, with Caffe's lines.

use super::feed::{Opener, Synthetic};
use super::nets::{self, Model};
use crate::cli;
use crate::info;
use crate::layers::Mode;
use crate::net::graph::Graph;
use crate::net::{Net, Options, Pass, Timer};
use crate::proto::NetParameter;
use crate::report::human::HumanBytes;
use crate::report::number::G;
use crate::report::{output, progress};
use crate::solver::{DEFAULT_SEED, OpenData};
use crate::tensor::Tensor;
use anyhow::Result;
use serde_json::json;
use std::time::Instant;

/// The times of one layer, iteration by iteration, in milliseconds.
#[derive(Clone, Debug, Default)]
struct Times {
    forward: Vec<f64>,
    backward: Vec<f64>,
}

/// Runs the command. In the TEST phase only forward is timed, on the net as `dsd test` runs it.
pub fn run(args: &cli::Time, seed: Option<u64>) -> Result<()> {
    let seed = seed.unwrap_or(DEFAULT_SEED);
    let mode: Mode = args.phase.into();
    let model = Model::find(args.model.as_deref(), &args.weights)?;
    let mut parsed = if mode == Mode::Train {
        model.train_val()?
    } else {
        model.deploy()?
    };
    if let Some(batch) = args.batch {
        set_batch(&mut parsed.message, batch);
    }
    let graph = Graph::new(&parsed, &nets::state(&parsed.message, mode, &args.state))?;
    let opened = match &model {
        Model::Builtin(builtin, family) => Synthetic {
            deploy: builtin.deploy(*family)?,
            seed,
        }
        .open(&graph, 0)?,
        Model::File(_) => Opener {
            mode,
            seed,
            source: None,
            folder: model.folder(),
        }
        .open(&graph, 0)?,
    };
    let mut batches = opened.batches;
    let options = Options {
        backward: mode == Mode::Train,
        ..Default::default()
    };
    let net = Net::new(graph, &opened.shapes, &options)?;
    let threads = rayon::current_num_threads();
    info!("Use CPU, {threads} threads.");
    info!(
        "Memory required: {}",
        HumanBytes(net.workspace_bytes(threads) as u64)
    );
    let weights = nets::weights(&net, &args.weights, seed)?;
    let timer = Timer::new(&net);
    let batch = batches.next_batch()?;
    let mut gradients = net.zero_gradients();
    let mut once = |batch: &[Tensor], i: u64, timer: Option<&Timer>| {
        let pass = Pass {
            timer,
            ..Pass::new(seed, i)
        };
        if options.backward {
            net.forward_backward(&pass, &weights, batch, &mut gradients)
        } else {
            net.forward(&pass, &weights, batch)
        }
    };
    info!(
        "Performing {}",
        if options.backward {
            "Forward and Backward"
        } else {
            "Forward"
        }
    );
    info!("Initial loss: {}", G(once(&batch, 0, None)?.loss));
    info!("*** Benchmark begins ***");
    info!("Testing for {} iterations.", args.iterations);
    let bar = progress::bar("time", 0, args.iterations as u64);
    let count = net.graph().nodes.len();
    let mut layers = vec![Times::default(); count];
    let mut whole = Times::default();
    let mut totals = Vec::new();
    for i in 0..args.iterations {
        let started = Instant::now();
        once(&batch, i as u64 + 1, Some(&timer))?;
        let ms = started.elapsed().as_secs_f64() * 1e3;
        totals.push(ms);
        // Groups run side by side: what the threads spent together is scaled to the time that passed.
        let spent: Vec<(f64, f64)> = (0..count).map(|k| timer.take(k)).collect();
        let sum: f64 = spent.iter().map(|(f, b)| f + b).sum();
        let scale = if sum > 0.0 { ms / sum } else { 0.0 };
        for (times, (f, b)) in layers.iter_mut().zip(&spent) {
            times.forward.push(f * scale);
            times.backward.push(b * scale);
        }
        whole
            .forward
            .push(spent.iter().map(|s| s.0).sum::<f64>() * scale);
        whole
            .backward
            .push(spent.iter().map(|s| s.1).sum::<f64>() * scale);
        info!("Iteration: {} forward-backward time: {} ms.", i + 1, G(ms));
        bar.inc(1);
    }
    bar.finish_and_clear();
    info!("Average time per layer: ");
    for (node, times) in net.graph().nodes.iter().zip(&layers) {
        info!(
            "{:>10}\tforward: {} ms.",
            node.name(),
            G(mean(&times.forward))
        );
        info!(
            "{:>10}\tbackward: {} ms.",
            node.name(),
            G(mean(&times.backward))
        );
    }
    info!("Average Forward pass: {} ms.", G(mean(&whole.forward)));
    info!("Average Backward pass: {} ms.", G(mean(&whole.backward)));
    info!("Average Forward-Backward: {} ms.", G(mean(&totals)));
    info!("Total Time: {} ms.", G(totals.iter().sum::<f64>()));
    info!("*** Benchmark ends ***");
    if args.json {
        let rows: Vec<_> = net
            .graph()
            .nodes
            .iter()
            .zip(&layers)
            .enumerate()
            .map(|(i, (node, t))| {
                json!({
                    "name": node.name(),
                    "forward_ms": median(&t.forward),
                    "backward_ms": median(&t.backward),
                    "kernel": net.kernel(i),
                })
            })
            .collect();
        output::json(&json!({
            "forward_ms": median(&whole.forward),
            "backward_ms": median(&whole.backward),
            "batch": net.batch(),
            "layers": rows,
        }))?;
    }
    Ok(())
}

/// Another batch size for every data and Input layer.
fn set_batch(net: &mut NetParameter, batch: usize) {
    for layer in &mut net.layer {
        if let Some(data) = &mut layer.data_param {
            data.batch_size = Some(batch as u32);
        }
        for shape in layer.input_param.iter_mut().flat_map(|p| &mut p.shape) {
            if let Some(first) = shape.dim.first_mut() {
                *first = batch as i64;
            }
        }
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => 0.5 * (sorted[n / 2 - 1] + sorted[n / 2]),
    }
}
