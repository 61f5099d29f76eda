//! `dsd resize_and_crop_images`: pictures resized so that the shorter side has the wanted length, and the centre
//! square cut out, under the same names in another folder. The job of Caffe's script of that name.

use super::Usage;
use crate::classify::pictures;
use crate::cli;
use crate::data::datum::{Channels, decode_picture};
use crate::data::encode::{Format, TYPES, encode};
use crate::data::resize::resize;
use crate::report::progress;
use crate::solver::signals::{Request, Signals};
use crate::{error, files, info, warn};
use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Pictures for each thread between two looks for a signal.
const CHUNK: usize = 16;

/// Runs the command; the exit code is 0, or 130 where SIGINT stopped it.
pub fn run(args: &cli::ResizeAndCrop) -> Result<ExitCode> {
    if args.input.is_none() && args.input_folder.as_os_str().is_empty() {
        let text = "give --input_folder, a folder of pictures, or --input, a list of them";
        return Err(Usage(text.into()).into());
    }
    let names = names(args)?;
    fs::create_dir_all(&args.output_folder).map_err(|e| {
        let shown = args.output_folder.display();
        anyhow::anyhow!("cannot make the folder {shown}: {}", files::reason(&e))
    })?;
    let same = |a: &Path, b: &Path| {
        a.canonicalize()
            .ok()
            .zip(b.canonicalize().ok())
            .is_some_and(|(a, b)| a == b)
    };
    if same(&args.input_folder, &args.output_folder) {
        let text =
            "--output_folder is the input folder; the pictures would be overwritten: give another";
        return Err(Usage(text.into()).into());
    }
    info!("A total of {} images.", names.len());
    let signals = Signals::listen(Request::Stop, Request::Stop)?;
    let bar = progress::bar("resize", 0, names.len() as u64);
    let mut failed = 0;
    for chunk in names.chunks(CHUNK * rayon::current_num_threads()) {
        if signals.peek() == Request::Stop {
            warn!(
                "Stopped by a signal: the pictures so far are in {}",
                args.output_folder.display()
            );
            return Ok(ExitCode::from(130));
        }
        let done: Vec<Result<()>> = chunk.par_iter().map(|name| one(args, name)).collect();
        for (result, name) in done.into_iter().zip(chunk) {
            if let Err(e) = result {
                error!("{}: {e:#}", args.input_folder.join(name).display());
                failed += 1;
            }
        }
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    let done = names.len() - failed;
    if done == 0 {
        bail!("none of the {failed} pictures could be resized (see above)");
    }
    info!("Processed {done} files.");
    if failed > 0 {
        warn!(
            "{failed} of {} pictures are left out (see above)",
            names.len()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The pictures by their paths below the input folder.
fn names(args: &cli::ResizeAndCrop) -> Result<Vec<PathBuf>> {
    let folder = &args.input_folder;
    let Some(list) = &args.input else {
        ensure!(
            folder.is_dir(),
            "the input folder {} is no folder",
            folder.display()
        );
        let output = args.output_folder.canonicalize().ok();
        // Results of an earlier run may lie below the pictures.
        let own = |path: &PathBuf| {
            let path = path.canonicalize().ok();
            path.zip(output.as_ref())
                .is_some_and(|(p, o)| p.starts_with(o))
        };
        let all = pictures(std::slice::from_ref(folder))?;
        let below = all
            .iter()
            .filter(|p| !own(p))
            .filter_map(|p| p.strip_prefix(folder).ok());
        return Ok(below.map(Path::to_path_buf).collect());
    };
    let text = files::read_text(list)?;
    let prefix = folder.display().to_string();
    let mut names = Vec::new();
    for (i, line) in text.lines().enumerate() {
        // Caffe's script: the folder may stand in the list, and a label behind the path.
        let line = line
            .strip_prefix(&prefix)
            .filter(|_| !prefix.is_empty())
            .unwrap_or(line);
        let Some(name) = line.split_whitespace().next() else {
            continue;
        };
        let name = PathBuf::from(name.trim_start_matches('/'));
        let inside = name.components().all(|c| {
            matches!(
                c,
                std::path::Component::Normal(_) | std::path::Component::CurDir
            )
        });
        ensure!(
            inside,
            "{}:{}: expected a path below the input folder, found '{}'",
            list.display(),
            i + 1,
            name.display()
        );
        names.push(name);
    }
    ensure!(!names.is_empty(), "{} names no pictures", list.display());
    Ok(names)
}

/// Makes one picture.
fn one(args: &cli::ResizeAndCrop, name: &Path) -> Result<()> {
    let extension = name
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_string();
    let format = Format::of_extension(&extension)
        .with_context(|| format!("its name's ending is none that can be written ({TYPES})"))?;
    let file = fs::read(args.input_folder.join(name))
        .map_err(|e| anyhow::anyhow!("{}", files::reason(&e)))?;
    let mut planes = Vec::new();
    let dims = decode_picture(&file, Channels::Color, &mut planes)?;
    let (planes, dims) = centre(&planes, dims, args.output_side_length)?;
    let path = args.output_folder.join(name);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|e| {
            anyhow::anyhow!(
                "cannot make the folder {}: {}",
                folder.display(),
                files::reason(&e)
            )
        })?;
    }
    let file = encode(&planes, dims, format)?;
    files::write_atomic(&path, |w| Ok(w.write_all(&file)?))
}

/// The centre square of a picture whose shorter side is made `side` long, as Caffe's script does with OpenCV:
/// lengths and offsets are rounded down.
fn centre(planes: &[u8], [c, h, w]: [usize; 3], side: usize) -> Result<(Vec<u8>, [usize; 3])> {
    let (rows, columns) = if h > w {
        (side * h / w, side)
    } else {
        (side, side * w / h)
    };
    // A picture of one row of pixels would become a very long one.
    ensure!(
        rows.max(columns) <= 65_500,
        "{h} x {w} pixels would become {rows} x {columns} before the crop; at most 65500 a side"
    );
    let resized = resize(planes, [c, h, w], [rows, columns]);
    let (top, left) = ((rows - side) / 2, (columns - side) / 2);
    let mut out = Vec::with_capacity(c * side * side);
    for plane in resized.chunks_exact(rows * columns) {
        for row in plane.chunks_exact(columns).skip(top).take(side) {
            out.extend_from_slice(&row[left..left + side]);
        }
    }
    Ok((out, [c, side, side]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shorter_side_is_fitted_and_the_centre_kept() {
        // Two rows of six: the value is the column.
        let planes: Vec<u8> = (0..12).map(|i| i % 6).collect();
        let (out, dims) = centre(&planes, [1, 2, 6], 2).unwrap();
        assert_eq!((out, dims), (vec![2, 3, 2, 3], [1, 2, 2]));
        // Six rows of two.
        let planes: Vec<u8> = (0..12).map(|i| i / 2).collect();
        let (out, _) = centre(&planes, [1, 6, 2], 2).unwrap();
        assert_eq!(out, [2, 2, 3, 3]);
        let (out, dims) = centre(&planes, [1, 6, 2], 5).unwrap();
        assert_eq!((out.len(), dims), (25, [1, 5, 5]));
        assert!(centre(&[0; 400], [1, 1, 400], 256).is_err());
    }
}
