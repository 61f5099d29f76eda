//! Windows in pictures: the list of them, and how one is cut out with its surroundings, as `caffe.Detector` does it.

use super::pycaffe::{Picture, Transformer};
use crate::files::{self, encoding};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};

/// The columns of a list, and in which order a window has their numbers.
const COLUMNS: [&str; 4] = ["ymin", "xmin", "ymax", "xmax"];

/// Windows by picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Windows {
    /// The folder of the list.
    folder: PathBuf,
    /// The pictures in the order in which the list first names them, each with all its windows (ymin, xmin, ymax, xmax).
    pub pictures: Vec<(String, Vec<[i64; 4]>)>,
}

impl Windows {
    /// Reads a .csv whose first line names the columns filename, xmin, ymin, xmax and ymax, in any order.
    ///
    /// # Errors
    /// The file cannot be read, a column is missing, or a line has no whole numbers.
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        if path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("txt"))
        {
            bail!(
                "{shown}: a list of pictures alone is for selective search, which is not part of dsd; expected a .csv with \
                 the columns filename, xmin, ymin, xmax, ymax"
            );
        }
        let text = files::read_text(path)?;
        let mut lines = text
            .lines()
            .enumerate()
            .filter(|(_, l)| !l.trim().is_empty());
        let (_, head) = lines
            .next()
            .with_context(|| format!("{shown}: the file is empty"))?;
        let head = fields(head);
        let column = |name: &str| {
            let found = head.iter().position(|c| c == name);
            found.with_context(|| {
                format!("{shown}:1: expected the columns filename, xmin, ymin, xmax, ymax; '{name}' is missing")
            })
        };
        let of_name = column("filename")?;
        let mut of_number = [0; 4];
        for (k, name) in COLUMNS.into_iter().enumerate() {
            of_number[k] = column(name)?;
        }
        let mut windows = Self {
            folder: path.parent().unwrap_or(Path::new("")).to_path_buf(),
            pictures: Vec::new(),
        };
        for (i, line) in lines {
            let cells = fields(line);
            let number = |k: usize| -> Result<i64> {
                let cell = cells.get(of_number[k]).map_or("", String::as_str);
                let value: Option<f64> = cell.parse().ok().filter(|v: &f64| v.is_finite());
                // pandas makes a column with one 3.0 in it floats; Caffe cuts them down.
                value.map(|v| v as i64).with_context(|| {
                    format!(
                        "{shown}:{}: expected a number as {}, found '{cell}'",
                        i + 1,
                        COLUMNS[k]
                    )
                })
            };
            let window = [number(0)?, number(1)?, number(2)?, number(3)?];
            let name = cells.get(of_name).cloned().unwrap_or_default();
            ensure!(
                !name.is_empty(),
                "{shown}:{}: expected a filename, found none",
                i + 1
            );
            match windows.pictures.iter_mut().find(|(n, _)| *n == name) {
                Some((_, own)) => own.push(window),
                None => windows.pictures.push((name, vec![window])),
            }
        }
        ensure!(windows.count() > 0, "{shown}: it has no windows");
        Ok(windows)
    }

    /// The number of windows.
    pub fn count(&self) -> usize {
        self.pictures.iter().map(|(_, own)| own.len()).sum()
    }

    /// Where a picture is: from the working folder, else beside the list.
    pub fn path(&self, name: &str) -> PathBuf {
        files::resolve(name, &self.folder)
    }
}

/// The cells of a line, which may stand in quotes.
fn fields(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        let cell = cells.last_mut();
        match (c, cell) {
            ('"', Some(cell)) if quoted && rest.next_if_eq(&'"').is_some() => cell.push('"'),
            ('"', _) => quoted = !quoted,
            (',', _) if !quoted => cells.push(String::new()),
            (c, Some(cell)) => cell.push(c),
            (_, None) => {}
        }
    }
    cells.iter().map(|c| c.trim().to_string()).collect()
}

/// A cell of a .csv.
pub fn quoted(cell: &str) -> String {
    match cell.contains([',', '"', '\n']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => encoding::escaped(&encoding::bytes(cell)),
    }
}

/// The part of `picture` in the window, if there is any.
fn part(picture: &Picture, [top, left, bottom, right]: [i64; 4]) -> Result<Picture> {
    let clip = |v: i64, most: usize| usize::try_from(v).unwrap_or(0).min(most);
    let [height, width, _] = picture.dims;
    let (top, bottom) = (clip(top, height), clip(bottom, height));
    let (left, right) = (clip(left, width), clip(right, width));
    ensure!(
        top < bottom && left < right,
        "expected ymin < ymax and xmin < xmax inside the picture of {height} x {width}, found no pixel in it"
    );
    Ok(picture.crop([top, left], [bottom - top, right - left]))
}

/// Cuts a window (ymin, xmin, ymax, xmax) out. With `pad`, so many pixels at each side of the net's input show what
/// surrounds the window; what lies outside the picture is the mean.
///
/// # Errors
/// The window has no pixel in the picture, or the surroundings leave none for it.
pub fn crop(
    picture: &Picture,
    window: [i64; 4],
    pad: usize,
    transformer: &Transformer,
) -> Result<Picture> {
    if pad == 0 {
        return part(picture, window);
    }
    let [_, _, width] = transformer.input;
    ensure!(
        2 * pad < width,
        "--context_pad {pad}: expected less than half of the net's input, which is {width} wide"
    );
    let size = width as f64;
    let scale = size / (size - 2.0 * pad as f64);
    let [top, left, bottom, right] = window.map(|v| v as f64);
    let half = [(bottom - top + 1.0) / 2.0, (right - left + 1.0) / 2.0];
    let centre = [top + half[0], left + half[1]];
    let near = |k: usize| (centre[k] - scale * half[k]).round_ties_even();
    let far = |k: usize| (centre[k] + scale * half[k]).round_ties_even();
    let [height, columns, _] = picture.dims;
    let limits = [height as f64, columns as f64];
    let mut out = transformer.surroundings();
    let (mut place, mut extent, mut clipped) = ([0; 2], [0; 2], [0i64; 4]);
    for k in 0..2 {
        let (from, to) = (near(k), far(k));
        let zoom = size / (to - from + 1.0);
        let before = ((-from).max(0.0) * zoom).round_ties_even();
        let (from, to) = (from.clamp(0.0, limits[k]), to.clamp(0.0, limits[k]));
        let inside = ((to - from + 1.0) * zoom).round_ties_even();
        let room = (out.dims[k] as f64).min(size);
        let inside = inside.min(room - before).max(0.0);
        (place[k], extent[k]) = (before as usize, inside as usize);
        (clipped[k], clipped[k + 2]) = (from as i64, to as i64);
    }
    let own = part(picture, clipped)?;
    ensure!(
        extent[0] > 0 && extent[1] > 0,
        "the window has no pixel in the net's input"
    );
    let own = own.resized(extent);
    out.paste(&own, place);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_its_pictures_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.csv");
        let text = "filename, xmin, ymin, xmax, ymax\n\"a,b.png\",1,2,3.0,4\nc.png,5,6,7,8\n\"a,b.png\",0,0,9,9\n";
        std::fs::write(&path, text).unwrap();
        let windows = Windows::read(&path).unwrap();
        let wanted = [
            ("a,b.png".to_string(), vec![[2, 1, 4, 3], [0, 0, 9, 9]]),
            ("c.png".to_string(), vec![[6, 5, 8, 7]]),
        ];
        assert_eq!(windows.pictures, wanted);
        assert_eq!(windows.count(), 3);
        for (text, words) in [
            ("", "the file is empty"),
            ("filename,xmin,ymin,xmax\n", "'ymax' is missing"),
            ("filename,xmin,ymin,xmax,ymax\n", "it has no windows"),
            (
                "filename,xmin,ymin,xmax,ymax\na,1,2,x,4\n",
                "w.csv:2: expected a number as xmax, found 'x'",
            ),
            (
                "filename,xmin,ymin,xmax,ymax\n,1,2,3,4\n",
                "w.csv:2: expected a filename",
            ),
            ("filename,xmin,ymin,xmax,ymax\na,1\n", "found ''"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Windows::read(&path).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let error = Windows::read(Path::new("list.txt"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("selective search"), "{error}");
    }

    #[test]
    fn a_window_is_cut_out_with_what_surrounds_it() {
        let data = (0..64).map(|v| v as f32).collect();
        let picture = Picture {
            dims: [8, 8, 1],
            data,
        };
        let mut transformer = Transformer {
            input: [1, 4, 4],
            ..Transformer::default()
        };
        let plain = crop(&picture, [1, 2, 3, 4], 0, &transformer).unwrap();
        assert_eq!(
            (plain.dims, &plain.data[..]),
            ([2, 2, 1], &[10.0, 11.0, 18.0, 19.0][..])
        );
        // A pixel of context at each side of 4: the window's 2 rows (it counts them as 3) take half of the input.
        transformer
            .set_mean(&crate::tensor::Tensor {
                shape: [1].as_slice().into(),
                data: vec![-5.0],
            })
            .unwrap();
        let padded = crop(&picture, [0, 0, 1, 1], 1, &transformer).unwrap();
        assert_eq!(padded.dims, [4, 4, 1]);
        // Above and left of the picture is the mean.
        assert_eq!(padded.data[0], -5.0);
        assert!(padded.data[15] >= 0.0);
        for odd in [[3, 3, 3, 5], [9, 0, 12, 4], [-9, -9, -2, -2]] {
            assert!(crop(&picture, odd, 0, &transformer).is_err(), "{odd:?}");
        }
        assert!(crop(&picture, [0, 0, 4, 4], 2, &transformer).is_err());
        for odd in [
            [i64::MAX, 0, i64::MAX, 1],
            [i64::MIN, i64::MIN, i64::MAX, i64::MAX],
            [7, 7, 0, 0],
        ] {
            let _ = crop(&picture, odd, 1, &transformer);
        }
    }
}
