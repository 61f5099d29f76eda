//! `dsd detect`: scores of windows in pictures, as Caffe's python/detect.py gives them.

use super::classify::pycaffe::{Runner, mean};
use super::{Settings, Usage};
use crate::classify::pycaffe::Picture;
use crate::classify::windows::{self, Windows};
use crate::cli::{self, CropMode};
use crate::hdf5::Writer;
use crate::report::progress;
use crate::session::Session;
use crate::tensor::{Shape, Tensor};
use crate::{files, info, warn};
use anyhow::{Context, Result, bail};
use std::fmt::Write;
use std::time::Instant;

/// Windows that go through the net together.
const BATCH: usize = 10;

/// Runs the command.
pub fn run(args: &cli::Detect, settings: &Settings) -> Result<()> {
    if args.crop_mode == CropMode::SelectiveSearch {
        bail!(
            "--crop_mode selective_search: the search is a MATLAB program (selective_search_ijcv_with_python), which is \
             not part of dsd; make the windows with it and give them as a .csv with --crop_mode list"
        );
    }
    let end = |path: &std::path::Path| {
        let end = path.extension().unwrap_or_default().to_string_lossy();
        end.to_ascii_lowercase()
    };
    let as_csv = match end(&args.output).as_str() {
        "csv" => true,
        "h5" | "hdf5" => false,
        _ => {
            let text = format!(
                "{}: the name must end in .csv or .h5",
                args.output.display()
            );
            return Err(Usage(text).into());
        }
    };
    let start = Instant::now();
    info!("Loading input...");
    let windows = Windows::read(&args.input)?;
    let mean = by_channel(mean(args.mean_file.as_deref())?);
    if mean.is_none() {
        warn!(
            "No mean is subtracted; detect.py's default is ilsvrc_2012_mean.npy: give it with --mean_file if the net was \
             trained with one"
        );
    }
    let session =
        Session::find(settings.request(args.model.as_deref(), &args.weights, &args.state))?;
    let runner = Runner::new(&session, &args.pycaffe, mean.as_ref(), BATCH)?;
    let bar = progress::bar("windows", 0, windows.count() as u64);
    let gray = runner.transformer.input[0] == 1;
    let mut rows: Vec<(String, [i64; 4], Vec<f32>)> = Vec::new();
    for (name, own) in &windows.pictures {
        let path = windows.path(name);
        let picture = Picture::load(&path, gray)?;
        let crop = |window: &[i64; 4]| {
            windows::crop(&picture, *window, args.context_pad, &runner.transformer)
                .with_context(|| format!("{}: window {window:?}", path.display()))
        };
        for part in own.chunks(BATCH) {
            let crops: Vec<Picture> = part.iter().map(crop).collect::<Result<_>>()?;
            let scores = runner.run(&crops)?;
            let named = part.iter().zip(scores);
            rows.extend(named.map(|(window, scores)| (name.clone(), *window, scores)));
            bar.inc(part.len() as u64);
        }
    }
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    info!("Processed {} windows in {seconds:.3} s.", rows.len());
    match as_csv {
        true => write_csv(args, &rows)?,
        false => write_hdf5(args, &rows, runner.scores.classes)?,
    }
    info!("Saved to {}.", args.output.display());
    Ok(())
}

/// The mean of each channel, as `detect.py` takes it.
fn by_channel(mean: Option<Tensor>) -> Option<Tensor> {
    let mean = mean?;
    let dims = mean.shape.dims();
    let (&[c, h, w] | &[1, c, h, w]) = dims else {
        return Some(mean);
    };
    let area = (h * w).max(1);
    let average = |plane: &[f32]| {
        let sum: f64 = plane.iter().map(|v| f64::from(*v)).sum();
        (sum / area as f64) as f32
    };
    Some(Tensor {
        shape: Shape::new([c]),
        data: mean.data.chunks(area).map(average).collect(),
    })
}

fn write_csv(args: &cli::Detect, rows: &[(String, [i64; 4], Vec<f32>)]) -> Result<()> {
    let mut text = String::from("filename,ymin,xmin,ymax,xmax");
    let classes = rows.first().map_or(0, |(.., scores)| scores.len());
    for k in 0..classes {
        // Writing to a string cannot fail.
        let _ = write!(text, ",class{k}");
    }
    text.push('\n');
    for (name, window, scores) in rows {
        text += &windows::quoted(name);
        let numbers = window.iter().map(i64::to_string);
        for number in numbers.chain(scores.iter().map(f32::to_string)) {
            text.push(',');
            text += &number;
        }
        text.push('\n');
    }
    let bytes = files::encoding::bytes(&text);
    files::write_atomic(&args.output, |w| Ok(w.write_all(&bytes)?))
}

fn write_hdf5(
    args: &cli::Detect,
    rows: &[(String, [i64; 4], Vec<f32>)],
    classes: usize,
) -> Result<()> {
    let mut file = Writer::new();
    let names: Vec<&str> = rows.iter().map(|(name, ..)| name.as_str()).collect();
    file.texts("filename", &names)?;
    let corners = rows.iter().flat_map(|(_, window, _)| window);
    let corners: Vec<f32> = corners.map(|v| *v as f32).collect();
    file.floats("window", &[rows.len(), 4], &corners)?;
    let scores: Vec<f32> = rows.iter().flat_map(|(.., s)| s).copied().collect();
    file.floats("prediction", &[rows.len(), classes], &scores)?;
    file.save(&args.output)
}
