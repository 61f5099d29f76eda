//! `dsd test`: scores weights, with Caffe's output.

use super::classify::score;
use super::model_folder::ModelFolder;
use super::{Settings, Usage};
use crate::classify::{Given, folders};
use crate::cli;
use crate::info;
use crate::net::graph::Node;
use crate::report::human::HumanBytes;
use crate::report::metrics::outputs as as_json;
use crate::report::number::G;
use crate::report::{self, output, progress};
use crate::session::{Open, Packed, Request, Rounds, Session};
use crate::solver::scores::Scores;
use anyhow::{Context, Result};
use serde_json::json;
use std::path::Path;
use std::time::Instant;

/// Batches, where nobody says how many.
const BATCHES: usize = 50;

/// The arguments, with what a folder stands for, and the number of batches.
fn resolved(args: &cli::Test) -> Result<(cli::Test, usize)> {
    let mut args = args.clone();
    let mut iterations = args.iterations;
    let said = args.model.is_some() || !args.weights.is_empty();
    if let Some(file) = args.folder.take_if(|f| !said && Packed::looks_like(f)) {
        args.weights = vec![file];
        args.folder = args.pictures.take();
    } else if let Some(folder) = args.folder.take_if(|_| !said) {
        let model = ModelFolder::expect(&folder)?;
        args.weights = vec![model.weights()?];
        args.model = Some(model.net()?);
        args.folder = args.pictures.take();
        if args.folder.is_some() {
            args.labels = args.labels.or_else(|| model.labels());
        }
        iterations = iterations.or(model.tests());
    }
    if let Some(more) = &args.pictures {
        let text = format!("{}: expected one folder beside --weights", more.display());
        return Err(Usage(text).into());
    }
    if args.weights.is_empty() {
        return Err(Usage("--model is given without --weights".into()).into());
    }
    Ok((args, iterations.unwrap_or(BATCHES)))
}

/// Runs the command.
pub fn run(args: &cli::Test, settings: &Settings) -> Result<()> {
    let (args, iterations) = &resolved(args)?;
    info!("Use CPU.");
    let iterations = *iterations;
    let session = Session::find(Request {
        source: args.source.as_deref(),
        precision: args.numbers.precision,
        ..settings.request(args.model.as_deref(), &args.weights, &args.state)
    })?;
    if let Some(folder) = folder_of_classes(args, &session)? {
        let asked = score::Asked {
            folder,
            labels: args.labels.as_deref(),
            ext: None,
            json: args.json,
            csv: args.csv.as_deref(),
        };
        return score::run(&session, &Given::default(), &asked);
    }
    let options = session.options();
    let opened = session.open(&options);
    let Open { net, batches } = match session.model.packed() {
        Some(packed) if args.source.is_none() => opened.with_context(|| {
            let shown = packed.file.display();
            format!("{shown} comes without its data: dsd test {shown} FOLDER scores a folder of classes, --source a database")
        }),
        _ => opened,
    }?;
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

/// The folder of classes that is to be scored picture by picture: FOLDER, or a `--source` that a database's layer could not
/// read; an ImageData layer reads such folders, and gives Caffe's lines.
fn folder_of_classes<'a>(args: &'a cli::Test, session: &Session) -> Result<Option<&'a Path>> {
    if let Some(folder) = &args.folder {
        return Ok(Some(folder));
    }
    if let Some(source) = args.source.as_deref().filter(|s| folders::is_classes(s)) {
        let graph = session.graph(&session.model.train_val()?)?;
        let lists = |n: &Node| n.param.r#type() == "ImageData";
        if !graph.nodes.iter().any(lists) {
            info!(
                "{} is a folder of classes: its pictures are scored one by one",
                source.display()
            );
            return Ok(Some(source));
        }
    }
    if args.labels.is_some() || args.csv.is_some() {
        let usage = "--labels and --csv are for a folder of classes: dsd test FOLDER --weights F";
        return Err(Usage(usage.into()).into());
    }
    Ok(None)
}
