//! What makes a `.dsdz` a model in one file: its net, what is done to pictures, the classes' names, and the record.

use crate::classify::{self, Given};
use crate::cli::{self, NetState};
use crate::commands::classify::classifier::Classifier;
use crate::commands::model_folder::ModelFolder;
use crate::commands::run_folder::RunFolder;
use crate::commands::run_folder::run_record::{RunRecord, command_line};
use crate::commands::{Settings, Usage};
use crate::compress::container::{self, CAFFEMODEL, MEAN, Part};
use crate::data::class_list;
use crate::data::transform::read_mean;
use crate::proto::{self, blob};
use crate::session::packed::{LABELS, NET, PREPROCESSING, Preprocessing, RECORD};
use crate::session::{Model, Packed, Session};
use crate::{files, info, weights_file};
use anyhow::{Context, Result, ensure};
use prost::Message;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What the file shall hold beside its weights.
///
/// # Errors
/// What is asked for cannot be read, or does not fit the net.
pub fn parts(args: &cli::Compress, settings: &Settings) -> Result<Vec<Part>> {
    let bytes = files::read(args.weights())?;
    let own = weights_file::parts(&bytes)?;
    if args.weights_only {
        return Ok(own.into_iter().filter(|p| p.name == CAFFEMODEL).collect());
    }
    let has_net = own.iter().any(|p| p.name == NET);
    let pack = &args.pack;
    if args.model.is_none() && !pack.is_given() {
        return gone_on_with(own, args.weights());
    }
    let files = [args.weights().to_path_buf()];
    let state = NetState::default();
    let session = Session::find(settings.request(args.model.as_deref(), &files, &state))?;
    let mut parts: Vec<Part> = own.into_iter().filter(|p| p.name == CAFFEMODEL).collect();
    parts.push(part(
        NET,
        text(&session.model, args.model.as_deref(), &bytes)?,
    ));
    let given = Given {
        mean_file: pack.mean_file.clone(),
        mean_value: pack.mean_value.clone(),
        scale: pack.scale,
        ..Given::default()
    };
    match Classifier::open(&session, &given, 1) {
        Ok(classifier) => pictures(&session, &classifier, pack, &mut parts)?,
        // A net of other things than pictures is a model too.
        Err(why) if !pack.is_given() && !has_net => {
            info!("The file is not for dsd classify: {why:#}");
        }
        Err(why) => return Err(why),
    }
    let before = session.model.packed().and_then(|p| p.record.as_ref());
    parts.push(part(RECORD, record(before, args.weights())?));
    Ok(parts)
}

/// The parts of the file that the weights come from, with this program in the record.
fn gone_on_with(mut parts: Vec<Part>, weights: &Path) -> Result<Vec<Part>> {
    if let Some(packed) = Packed::at(weights)? {
        parts.retain(|p| p.name != RECORD);
        parts.push(part(RECORD, record(packed.record.as_ref(), weights)?));
    }
    Ok(parts)
}

fn part(name: &str, text: String) -> Part {
    Part {
        name: name.to_string(),
        bytes: text.into_bytes(),
    }
}

/// The net's prototxt as it stands in its file.
fn text(model: &Model, path: Option<&Path>, weights: &[u8]) -> Result<String> {
    Ok(match (model, path) {
        (Model::File(_), Some(path)) => files::read_text(path)?,
        (Model::Packed(_), path) => {
            let bytes = path.map(files::read).transpose()?;
            let bytes = bytes.as_deref().unwrap_or(weights);
            let net = container::parts(bytes)?.into_iter().find(|p| p.name == NET);
            String::from_utf8(net.context("its net is gone")?.bytes)?
        }
        (model, _) => proto::print(&model.train_val()?.message),
    })
}

/// Adds what `dsd classify` wants to know.
fn pictures(
    session: &Session,
    classifier: &Classifier,
    pack: &cli::Pack,
    parts: &mut Vec<Part>,
) -> Result<()> {
    let inner = session.model.packed();
    let own = inner.map(|p| p.given.clone()).unwrap_or_default();
    let given_mean = pack.mean_file.is_some() || !pack.mean_value.is_empty();
    let layers = classifier.source.transform_param.as_ref();
    let layers_mean = layers.and_then(|t| t.mean_file.as_deref());
    let layers_mean = layers_mean.map(|name| files::resolve(name, &session.model.folder()));
    let mean_file: Option<PathBuf> = match given_mean {
        true => pack.mean_file.clone(),
        false => own.mean_file.clone().or(layers_mean),
    };
    let preprocessing = Preprocessing {
        size: Some(classifier.preprocess.size),
        input: Some(classifier.preprocess.input),
        mean_value: match given_mean {
            true => pack.mean_value.clone(),
            false => own.mean_value,
        },
        mean_file: match given_mean {
            true => pack.mean_file.is_some(),
            false => own.mean_file.is_some(),
        },
        scale: pack.scale.or(own.scale),
    };
    if let Some(labels) = labels(session, classifier, pack)? {
        parts.push(part(LABELS, labels.join("\n") + "\n"));
    }
    parts.push(part(PREPROCESSING, serde_json::to_string(&preprocessing)?));
    if let Some(file) = mean_file {
        let ([c, h, w], values) = read_mean(&file)?;
        parts.push(Part {
            name: MEAN.to_string(),
            bytes: blob::owned(&[1, c, h, w], values).encode_to_vec(),
        });
    }
    Ok(())
}

/// The classes' names: those given, else those that the net's own data or its folder have.
fn labels(
    session: &Session,
    classifier: &Classifier,
    pack: &cli::Pack,
) -> Result<Option<Vec<String>>> {
    let classes = classifier.scores.classes;
    if let Some(file) = &pack.labels {
        let names = classify::labels(file)?;
        ensure!(
            names.len() == classes,
            Usage(format!(
                "{}: {} labels, but the net has {classes} classes",
                file.display(),
                names.len()
            ))
        );
        return Ok(Some(names));
    }
    if let Some(packed) = session.model.packed() {
        return Ok(packed.labels.clone());
    }
    let beside = class_list::of(&session.model.folder()).ok().flatten();
    Ok(beside.filter(|names| names.len() == classes))
}

/// How the weights came about: the run that they are of, if they lie in one, this program, and what was `before`.
fn record(before: Option<&Value>, weights: &Path) -> Result<String> {
    let run = weights.parent().and_then(Path::parent);
    let run = run.filter(|run| ModelFolder::at(run).is_some());
    let (started, phases) = match run {
        Some(run) => (
            RunRecord::read(run)?,
            RunFolder::new(run.to_path_buf()).records()?,
        ),
        None => (None, Vec::new()),
    };
    let text = serde_json::to_string_pretty(&json!({
        "version": env!("CARGO_PKG_VERSION"),
        "command": command_line(),
        "weights": weights,
        "run": started,
        "phases": phases,
        "before": before,
    }))?;
    Ok(text)
}
