//! `dsd extract_features`: blobs of a net that runs over its data, to databases or .npz files.

use super::{Settings, Usage};
use crate::cli::{self, FeatureStore};
use crate::data::writer::DatabaseWriter;
use crate::net::graph::ValueId;
use crate::net::{Net, Options};
use crate::npz;
use crate::proto::caffe::Datum;
use crate::proto::caffe::data_parameter::Db;
use crate::report::{nets, progress};
use crate::session::{Open, Request, Rounds, Session};
use crate::tensor::{Shape, Tensor};
use crate::{info, warn};
use anyhow::{Context, Result, bail, ensure};
use prost::Message;
use std::path::{Path, PathBuf};

/// Runs the command.
pub fn run(args: &cli::ExtractFeatures, settings: &Settings) -> Result<()> {
    check(args)?;
    let files = [args.weights.clone()];
    let session = Session::find(Request {
        source: args.source.as_deref(),
        precision: args.numbers.precision,
        ..settings.request(Some(&args.model), &files, &args.state)
    })?;
    let options = Options {
        every_blob: true,
        ..session.options()
    };
    let Open { net, batches } = session.open(&options)?;
    nets::precision(&net);
    let wanted = wanted(&net, &args.blobs)?;
    // Opened before the work begins: what cannot be written shows at once.
    let mut store = Store::open(args, &wanted, &net)?;
    net.check_memory(rayon::current_num_threads(), batches.queue_bytes(), true)?;
    let weights = session.weights(&net)?;
    info!("Extracting Features");
    let bar = progress::bar("extract", 0, args.batches as u64);
    let mut rounds = Rounds::new(&net, &options, &weights, batches, session.request.seed);
    for _ in 0..args.batches {
        let outputs = rounds.next(&wanted)?;
        for (k, v) in wanted.iter().enumerate() {
            let blob = outputs.values.get(v).with_context(|| {
                format!("the net's pass does not give the blob '{}'", args.blobs[k])
            })?;
            store.add(k, blob, &args.blobs[k])?;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    store.finish(args)?;
    info!("Successfully extracted the features!");
    Ok(())
}

fn check(args: &cli::ExtractFeatures) -> Result<()> {
    let (blobs, outs) = (args.blobs.len(), args.outs.len());
    let one_file = args.db_type == FeatureStore::Npz && outs == 1;
    if blobs != outs && !one_file {
        bail!(Usage(format!(
            "expected as many outputs as blobs (or one .npz for all), found {outs} for {blobs}"
        )));
    }
    let twice = |a: &PathBuf| args.outs.iter().filter(|b| *b == a).count() > 1;
    if let Some(out) = args.outs.iter().find(|a| twice(a)) {
        bail!(Usage(format!(
            "the output {} is named twice",
            out.display()
        )));
    }
    if args.device.as_deref() == Some("GPU") {
        warn!("no GPU backend, running on CPU");
    }
    Ok(())
}

fn wanted(net: &Net, blobs: &[String]) -> Result<Vec<ValueId>> {
    let graph = net.graph();
    let find = |name: &String| {
        graph.value(name).with_context(|| {
            let mut names: Vec<&str> = graph.values.iter().map(|v| v.name.as_str()).collect();
            names.dedup();
            format!("the net has no blob '{name}'; it has {}", names.join(", "))
        })
    };
    blobs.iter().map(find).collect()
}

/// Where features go.
enum Store {
    /// A database for each blob, with the number of its records.
    Databases(Vec<(DatabaseWriter, usize)>),
    /// An array for each blob: the batches one after the other.
    Npz(Vec<Tensor>),
}

impl Store {
    fn open(args: &cli::ExtractFeatures, wanted: &[ValueId], net: &Net) -> Result<Self> {
        let kind = match args.db_type {
            FeatureStore::Lmdb => Some(Db::Lmdb),
            FeatureStore::Leveldb => Some(Db::Leveldb),
            FeatureStore::Npz => None,
        };
        let Some(kind) = kind else {
            for path in args.outs.iter() {
                let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
                ensure!(
                    parent.unwrap_or(Path::new(".")).is_dir() && !path.is_dir(),
                    "cannot write {}: its folder does not exist, or it is one itself",
                    path.display()
                );
            }
            return Ok(Self::Npz(vec![Tensor::default(); wanted.len()]));
        };
        let mut writers = Vec::new();
        for ((path, name), v) in args.outs.iter().zip(args.blobs.iter()).zip(wanted) {
            let axes = net.shape(*v).axes();
            ensure!(
                axes <= 4,
                "the blob '{name}' has {axes} axes, but a Datum holds samples of at most 3; use npz"
            );
            info!("Opening dataset {}", path.display());
            writers.push((DatabaseWriter::create(path, kind)?, 0));
        }
        Ok(Self::Databases(writers))
    }

    /// Adds a batch of blob number `k`.
    fn add(&mut self, k: usize, blob: &Tensor, name: &str) -> Result<()> {
        match self {
            Self::Npz(arrays) => {
                let sample = |s: &Shape| s.dims().get(1..).unwrap_or_default().to_vec();
                let (first, now) = (&arrays[k].shape, &blob.shape);
                ensure!(
                    first.axes() == 0 || now.axes() == 0 || sample(first) == sample(now),
                    "the blob '{name}' has the shape {now} here and {first} before, which one array cannot hold; \
                     write an LMDB, whose records may differ in size"
                );
                arrays[k].data.extend_from_slice(&blob.data);
                let mut dims = blob.shape.dims().to_vec();
                // A scalar becomes a row of scalars.
                let rows = arrays[k].shape.dims().first().copied().unwrap_or(0);
                match dims.first_mut() {
                    Some(first) => *first += rows,
                    None => dims.push(rows + 1),
                }
                arrays[k].shape = Shape::new(dims);
            }
            Self::Databases(writers) => {
                let (writer, count) = &mut writers[k];
                let rows = blob.shape.dim(0);
                for row in blob
                    .data
                    .chunks_exact((blob.data.len() / rows.max(1)).max(1))
                {
                    let size = |axis| i32::try_from(blob.shape.dim(axis)).ok();
                    let datum = Datum {
                        channels: size(1),
                        height: size(2),
                        width: size(3),
                        float_data: row.to_vec(),
                        ..Datum::default()
                    };
                    writer.put(format!("{count:010}").as_bytes(), datum.encode_to_vec())?;
                    *count += 1;
                    if *count % 1000 == 0 {
                        told(*count, name);
                    }
                }
            }
        }
        Ok(())
    }

    fn finish(self, args: &cli::ExtractFeatures) -> Result<()> {
        match self {
            Self::Databases(writers) => {
                for ((writer, count), name) in writers.into_iter().zip(args.blobs.iter()) {
                    writer.finish()?;
                    told(count, name);
                }
            }
            Self::Npz(arrays) => {
                let named: Vec<_> = args.blobs.iter().zip(&arrays).collect();
                let per_file = if args.outs.len() == 1 { named.len() } else { 1 };
                for (path, part) in args.outs.iter().zip(named.chunks(per_file)) {
                    npz::write(path, part.iter().map(|(name, a)| (name, a.view())))?;
                }
                for (name, array) in named {
                    told(array.shape.dim(0), name);
                }
            }
        }
        Ok(())
    }
}

fn told(count: usize, name: &str) {
    info!("Extracted features of {count} query images for feature blob {name}");
}
