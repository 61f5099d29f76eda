//! `dsd test`: scores weights, with Caffe's output.

use super::Settings;
use super::model_folder::ModelFolder;
use crate::cli;
use crate::info;
use crate::report::human::HumanBytes;
use crate::report::metrics::outputs as as_json;
use crate::report::number::G;
use crate::report::{self, output, progress};
use crate::session::{Open, Request, Rounds, Session};
use crate::solver::scores::Scores;
use anyhow::Result;
use serde_json::json;
use std::time::Instant;

/// Batches, where nobody says how many.
const BATCHES: usize = 50;

/// The arguments, with what a folder stands for, and the number of batches.
fn resolved(args: &cli::Test) -> Result<(cli::Test, usize)> {
    let mut args = args.clone();
    let mut iterations = args.iterations;
    if let Some(folder) = args.folder.take() {
        let model = ModelFolder::expect(&folder)?;
        args.weights = vec![model.weights()?];
        args.model = Some(model.net()?);
        iterations = iterations.or(model.tests());
    }
    Ok((args, iterations.unwrap_or(BATCHES)))
}

/// Runs the command.
pub fn run(args: &cli::Test, settings: &Settings) -> Result<()> {
    info!("Use CPU.");
    let (args, iterations) = &resolved(args)?;
    let iterations = *iterations;
    let session = Session::find(Request {
        source: args.source.as_deref(),
        precision: args.numbers.precision,
        ..settings.request(args.model.as_deref(), &args.weights, &args.state)
    })?;
    let options = session.options();
    let Open { net, batches } = session.open(&options)?;
    report::nets::built(&net);
    report::nets::precision(&net);
    let threads = rayon::current_num_threads();
    info!(
        "Memory required: {}",
        HumanBytes(net.run_bytes(threads, batches.queue_bytes(), true) as u64)
    );
    net.check_memory(threads, batches.queue_bytes(), true)?;
    let weights = session.weights(&net)?;
    info!("Running for {} iterations.", iterations);
    let bar = progress::bar("test", 0, iterations as u64);
    let started = Instant::now();
    let mut scores = Scores::default();
    let mut loss = 0.0f32;
    let mut rounds = Rounds::new(&net, &options, &weights, batches, session.request.seed);
    for i in 0..iterations {
        let outputs = rounds.next(&[])?;
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
    let n = iterations as f32;
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
        let images = (iterations * net.batch()) as f64 / seconds;
        output::json(&json!({
            "outputs": as_json(means),
            "batches": iterations,
            "images_per_s": images,
            "precision": net.precision(),
        }))?;
    }
    Ok(())
}
