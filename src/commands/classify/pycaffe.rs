//! The job of pycaffe's `classify.py`, and the net of `detect.py`: pictures in pycaffe's arithmetic through a net.

use super::super::Settings;
use super::{Labels, as_json, input_of, print};
use crate::classify::pycaffe::{Picture, Transformer};
use crate::classify::{self, PictureNet, Scores};
use crate::cli;
use crate::layers::Mode;
use crate::net::graph::{Graph, State};
use crate::net::{Net, Pass, Weights};
use crate::proto::{binary, blob};
use crate::report::{nets, output, progress};
use crate::session::{Request, Session};
use crate::tensor::{Shape, Tensor};
use crate::{error, files, info, models, npz, warn};
use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;
use serde_json::json;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Crops of a picture that are averaged.
const CROPS: usize = 10;
/// The pictures' height and width before the crop, as `classify.py` has it.
const IMAGES_DIM: [usize; 2] = [256, 256];

/// Whether the arguments are `classify.py`'s.
pub fn asked(args: &cli::Classify) -> bool {
    output_file(args).is_some()
        || args.images.iter().any(|path| is_npy(path))
        || args.oversample
        || !args.images_dim.is_empty()
        || args.pycaffe.raw_scale.is_some()
        || args.pycaffe.channel_swap.is_some()
        || args.pycaffe.input_scale.is_some()
}

fn is_npy(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "npy")
}

/// `classify INPUT OUTPUT.npy`: where the predictions go.
fn output_file(args: &cli::Classify) -> Option<&Path> {
    let (last, inputs) = args.images.split_last()?;
    (!inputs.is_empty() && is_npy(last)).then_some(last.as_path())
}

/// A net and what it wants done to pictures.
pub struct Runner {
    net: Net,
    weights: Weights,
    /// Where the scores are.
    pub scores: Scores,
    /// From pictures to the net's input.
    pub transformer: Transformer,
    batch: usize,
    seed: u64,
}

impl Runner {
    /// The net of `session` for `batch` pictures at a time; `mean` is what is subtracted.
    ///
    /// # Errors
    /// The net or the weights cannot be read, or the settings do not fit the net's input.
    pub fn new(
        session: &Session,
        pictures: &cli::Pycaffe,
        mean: Option<&Tensor>,
        batch: usize,
    ) -> Result<Self> {
        let parsed = session.model.deploy()?;
        let net = PictureNet::new(&session.graph(&parsed)?)?;
        let input = input_of(&net).or_else(|| {
            let crop = net.source.transform_param.as_ref()?.crop_size() as usize;
            (crop > 0).then_some([3, crop, crop])
        });
        let input = input.with_context(|| {
            format!(
                "{}: expected an Input layer (a deploy net) or a crop_size, to know the size of the net's input",
                parsed.file
            )
        })?;
        let mut transformer = Transformer {
            input,
            channel_swap: pictures.order(input[0])?,
            raw_scale: Some(pictures.raw_scale.unwrap_or(255.0)),
            input_scale: pictures.input_scale,
            mean: None,
        };
        transformer.check()?;
        if let Some(mean) = mean {
            transformer.set_mean(mean)?;
        }
        let graph = Graph::new(&net.with_input(batch, input), &State::new(Mode::Test))?;
        let shapes = models::input_shapes(&graph)?;
        let net = Net::new(graph, &shapes, &session.options())?;
        let weights = session.weights(&net)?;
        Ok(Self {
            scores: Scores::find(&net)?,
            net,
            weights,
            transformer,
            batch,
            seed: session.request.seed,
        })
    }

    /// Height and width of the net's input.
    pub fn size(&self) -> [usize; 2] {
        [self.transformer.input[1], self.transformer.input[2]]
    }

    /// The net's outputs, one a picture.
    ///
    /// # Errors
    /// A picture has other channels than the net's input.
    pub fn run(&self, pictures: &[Picture]) -> Result<Vec<Vec<f32>>> {
        let [c, h, w] = self.transformer.input;
        let mut rows = Vec::new();
        for part in pictures.chunks(self.batch) {
            let mut feed = Tensor::zeros(Shape::new([self.batch, c, h, w]));
            let inputs = feed.data.par_chunks_mut(c * h * w).zip(part);
            let applied: Vec<Result<()>> = inputs
                .map(|(out, picture)| self.transformer.apply(picture, out))
                .collect();
            applied.into_iter().collect::<Result<()>>()?;
            let pass = Pass::new(self.seed, 0);
            let outputs = self.net.forward(&pass, &self.weights, &[feed])?;
            let Some(scores) = outputs.values.get(&self.scores.value) else {
                bail!("the net gave no scores");
            };
            let own = scores.data.chunks(self.scores.classes).take(part.len());
            rows.extend(own.map(<[f32]>::to_vec));
        }
        Ok(rows)
    }
}

/// The mean that a file has: .npy or .binaryproto; an empty name is none.
///
/// # Errors
/// The file cannot be read.
pub fn mean(file: Option<&Path>) -> Result<Option<Tensor>> {
    let Some(file) = file.filter(|f| !f.as_os_str().is_empty()) else {
        return Ok(None);
    };
    let bytes = files::read(file).context("cannot read the mean")?;
    if npz::looks_like_npy(&bytes) {
        let array = npz::read_npy(&bytes).with_context(|| file.display().to_string())?;
        return Ok(Some(array));
    }
    let blob = binary::read_blob(file).context("cannot read the mean")?;
    let read = || {
        anyhow::Ok(Tensor {
            shape: blob::shape(&blob)?.into(),
            data: blob::values(&blob)?.into_owned(),
        })
    };
    read().map(Some).with_context(|| file.display().to_string())
}

/// Runs the command.
pub fn run(args: &cli::Classify, settings: &Settings) -> Result<()> {
    let out = output_file(args);
    let inputs = &args.images[..args.images.len() - usize::from(out.is_some())];
    let sources = sources(args, inputs, out.is_some())?;
    let oversample = match out {
        Some(_) => !args.center_only,
        None => args.oversample && !args.center_only,
    };
    let mean = match &args.mean_value[..] {
        [] => mean(args.mean_file.as_deref())?,
        values => Some(Tensor {
            shape: Shape::new([values.len()]),
            data: values.to_vec(),
        }),
    };
    if mean.is_none() {
        warn!(
            "No mean is subtracted; classify.py's default is ilsvrc_2012_mean.npy: give it with --mean_file if the net \
             was trained with one"
        );
    }
    let session = Session::find(Request {
        precision: args.numbers.precision,
        ..settings.request(args.model.as_deref(), &args.weights, &args.state)
    })?;
    let batch = if oversample {
        CROPS
    } else {
        sources.len().clamp(1, super::classifier::BATCH)
    };
    let runner = Runner::new(&session, &args.pycaffe, mean.as_ref(), batch)?;
    let dims = images_dim(args, out.is_some() || oversample, runner.size())?;
    let labels = args.labels.as_deref().map(classify::labels).transpose()?;
    let labels = Labels::new(labels, args.labels.as_deref(), runner.scores.classes)?;
    nets::precision(&runner.net);
    info!("Classifying {} inputs.", sources.len());
    let start = Instant::now();
    let bar = progress::bar("classify", 0, sources.len() as u64);
    let gray = runner.transformer.input[0] == 1;
    let (mut rows, mut list, mut failed) = (Vec::new(), Vec::new(), 0);
    for (name, source) in &sources {
        let row = source
            .load(gray)
            .and_then(|picture| predict(&runner, &picture, dims, oversample));
        bar.inc(1);
        let best = match row {
            Ok(row) => {
                let probabilities = runner.scores.probabilities(&row);
                rows.push(row);
                Ok(classify::best(&probabilities, args.top))
            }
            // An array of predictions has a row for every picture.
            Err(e) if out.is_some() => return Err(e.context(name.display().to_string())),
            Err(e) => {
                error!("{e:#}");
                failed += 1;
                Err(e)
            }
        };
        match (out.is_some(), args.json, best) {
            (true, ..) => {}
            (false, true, best) => list.push(as_json(name, best, &labels)),
            (false, false, Ok(best)) => print(name, &best, &labels)?,
            (false, false, Err(_)) => {}
        }
    }
    bar.finish_and_clear();
    info!("Done in {:.2} s.", start.elapsed().as_secs_f64());
    if let Some(out) = out {
        info!("Saving results into {}", out.display());
        let shape = Shape::new([rows.len(), runner.scores.classes]);
        let data = rows.concat();
        npz::write_npy(out, &Tensor { shape, data })?;
    } else if args.json {
        output::json(&json!({
            "net": runner.net.name(),
            "precision": runner.net.precision(),
            "pictures": list,
        }))?;
    }
    ensure!(
        failed == 0,
        "{failed} of {} pictures could not be read",
        sources.len()
    );
    Ok(())
}

/// The net's output for a picture, or the mean of those for its ten crops.
fn predict(
    runner: &Runner,
    picture: &Picture,
    dims: [usize; 2],
    oversample: bool,
) -> Result<Vec<f32>> {
    let resized = picture.resized(dims);
    if !oversample {
        let rows = runner.run(&[resized.centre(runner.size())?])?;
        return Ok(rows.concat());
    }
    let rows = runner.run(&resized.oversampled(runner.size())?)?;
    let mut mean = vec![0.0f32; runner.scores.classes];
    for row in &rows {
        mean.iter_mut().zip(row).for_each(|(m, v)| *m += v);
    }
    mean.iter_mut().for_each(|m| *m /= rows.len() as f32);
    Ok(mean)
}

/// Height and width to which pictures are resized before they are cropped.
fn images_dim(args: &cli::Classify, as_script: bool, net: [usize; 2]) -> Result<[usize; 2]> {
    match (args.images_dim[..].first_chunk(), args.resize) {
        (Some(&[h, w]), _) if args.images_dim.len() == 2 => Ok([h, w]),
        (None, Some(side)) => Ok([side; 2]),
        (None, None) if args.images_dim.is_empty() && as_script => Ok(IMAGES_DIM),
        (None, None) if args.images_dim.is_empty() => Ok(net),
        _ => bail!(
            "--images_dim: expected HEIGHT,WIDTH, found {} numbers",
            args.images_dim.len()
        ),
    }
}

/// A picture to classify.
enum Source {
    File(PathBuf),
    Array(Picture),
}

impl Source {
    fn load(&self, gray: bool) -> Result<Picture> {
        match self {
            Self::File(path) => Picture::load(path, gray),
            Self::Array(picture) => Ok(picture.clone()),
        }
    }
}

/// All pictures with their names.
fn sources(
    args: &cli::Classify,
    inputs: &[PathBuf],
    as_script: bool,
) -> Result<Vec<(PathBuf, Source)>> {
    let mut sources = Vec::new();
    for input in inputs {
        let ext = args.ext.as_deref().or(as_script.then_some("jpg"));
        if is_npy(input) {
            info!("Loading file: {}", input.display());
            let place = || input.display().to_string();
            let array = npz::read_npy(&files::read(input)?).with_context(place)?;
            let pictures = Picture::of_array(array).with_context(place)?;
            let count = pictures.len();
            let named = pictures.into_iter().enumerate().map(|(k, picture)| {
                let name = match count {
                    1 => place(),
                    _ => format!("{}[{k}]", place()),
                };
                (PathBuf::from(name), Source::Array(picture))
            });
            sources.extend(named);
        } else if let (true, Some(ext)) = (input.is_dir(), ext) {
            info!("Loading folder: {}", input.display());
            let found = in_folder(input, ext)?;
            for told in classify::left_out(std::slice::from_ref(input), &found) {
                warn!("{told} (--ext {ext})");
            }
            sources.extend(found.into_iter().map(|p| (p.clone(), Source::File(p))));
        } else {
            let found = classify::pictures(std::slice::from_ref(input))?;
            sources.extend(found.into_iter().map(|p| (p.clone(), Source::File(p))));
        }
    }
    Ok(sources)
}

/// The files right in a folder whose names end so, sorted.
fn in_folder(folder: &Path, ext: &str) -> Result<Vec<PathBuf>> {
    let failed = |e: std::io::Error| {
        anyhow::anyhow!("cannot read {}: {}", folder.display(), files::reason(&e))
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_file() && path.extension() == Some(OsStr::new(ext.trim_start_matches('.'))) {
            found.push(path);
        }
    }
    found.sort();
    ensure!(
        !found.is_empty(),
        "{}: no file in this folder ends in .{}; name the ending with --ext",
        folder.display(),
        ext.trim_start_matches('.')
    );
    Ok(found)
}
