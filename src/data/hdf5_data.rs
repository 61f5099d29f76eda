//! Caffe's HDF5Data layer: batches of rows from HDF5 files, one dataset a top, with any number of axes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::batch::Rows;
use super::decoders::Decoders;
use super::{Options, Source, check_batch, expect_arrays};
use crate::files;
use crate::hdf5::{self, File};
use crate::memory;
use crate::proto::caffe::LayerParameter;
use crate::random::Random;
use crate::tensor::{Shape, Tensor};

/// Row `i` of the run is row `i` of the files one after the other, beginning again at their end. Shuffled,
/// every round has another order of the files, and of the rows in each.
pub struct Hdf5Data {
    files: Vec<Listed>,
    tops: Vec<String>,
    /// Of a batch.
    shapes: Vec<Shape>,
    batch: usize,
    /// Rows of all files.
    rows: u64,
    shuffle: Option<Random>,
    /// The order of the files in the round that was read last.
    round: Option<(u64, Vec<usize>)>,
    /// The file that was read last, as Caffe keeps one in memory.
    loaded: Option<Loaded>,
}

struct Listed {
    path: PathBuf,
    rows: u64,
}

struct Loaded {
    file: usize,
    arrays: Vec<Tensor>,
    /// The order of its rows in a round.
    order: Option<(u64, Vec<usize>)>,
}

impl Hdf5Data {
    /// Opens the files of a layer of type HDF5Data. The first one tells the shapes.
    pub fn open(param: &LayerParameter, options: &Options) -> Result<Self> {
        let p = param.hdf5_data_param.clone().unwrap_or_default();
        ensure!(
            param.transform_param.is_none(),
            "HDF5Data does not transform its data; take transform_param away"
        );
        ensure!(!param.top.is_empty(), "expected at least 1 top, found 0");
        let batch = p.batch_size() as usize;
        ensure!(
            batch > 0,
            "hdf5_data_param has no batch_size, or 0; expected at least 1"
        );
        let source = match &options.source {
            Some(path) => path.into(),
            None if p.source().is_empty() => {
                bail!("hdf5_data_param has no source; name a text file that lists .h5 files")
            }
            None => (options.resolve)(p.source()),
        };
        let mut files = Vec::new();
        let mut shapes: Vec<Shape> = Vec::new();
        for path in listed(&source, options.resolve)? {
            let found = shapes_in(&path, &param.top)?;
            let rows = found[0].dim(0);
            if shapes.is_empty() {
                shapes = found;
            } else if let Some(k) =
                (0..found.len()).find(|&k| found[k].with_rows(0) != shapes[k].with_rows(0))
            {
                bail!(
                    "{}: '{}' has shape {}, which does not go with {} in the first file",
                    path.display(),
                    param.top[k],
                    found[k],
                    shapes[k]
                );
            }
            let rows = rows as u64;
            files.push(Listed { path, rows });
        }
        ensure!(
            !files.is_empty(),
            "{} lists no HDF5 files; expected one path a line",
            source.display()
        );
        let shapes: Vec<Shape> = shapes.iter().map(|s| s.with_rows(batch)).collect();
        for shape in &shapes {
            check_batch(batch, &shape.dims()[1..], "rows")?;
        }
        let rows = files.iter().map(|f| f.rows).sum();
        Ok(Self {
            files,
            tops: param.top.clone(),
            shapes,
            batch,
            rows,
            shuffle: p.shuffle().then(|| options.shuffle(param.name())),
            round: None,
            loaded: None,
        })
    }

    /// The file and the row in it of row `number` of the run, once the file is loaded.
    fn locate(&mut self, number: u64) -> Result<usize> {
        let (round, mut row) = (number / self.rows, number % self.rows);
        if self.round.as_ref().is_none_or(|r| r.0 != round) {
            let order = match self.shuffle {
                Some(random) => shuffled(random.branch(round).branch(u64::MAX), self.files.len())?,
                None => (0..self.files.len()).collect(),
            };
            self.round = Some((round, order));
        }
        let order = self.round.as_ref().map(|r| &r.1[..]).unwrap_or_default();
        let mut file = 0;
        for &f in order {
            file = f;
            if row < self.files[f].rows {
                break;
            }
            row -= self.files[f].rows;
        }
        if self.loaded.as_ref().is_none_or(|l| l.file != file) {
            // The old arrays go before the new ones come.
            self.loaded = None;
            self.loaded = Some(self.load_file(file)?);
        }
        let row = row as usize;
        let Some((random, loaded)) = self.shuffle.zip(self.loaded.as_mut()) else {
            return Ok(row);
        };
        if loaded.order.as_ref().is_none_or(|o| o.0 != round) {
            let rows = self.files[file].rows as usize;
            let order = shuffled(random.branch(round).branch(file as u64), rows)?;
            loaded.order = Some((round, order));
        }
        Ok(loaded.order.as_ref().map_or(row, |o| o.1[row]))
    }

    fn load_file(&self, file: usize) -> Result<Loaded> {
        let Listed { path, rows } = &self.files[file];
        let open = File::open(path)?;
        let mut arrays = Vec::new();
        for (name, batch) in self.tops.iter().zip(&self.shapes) {
            let array = open.tensor(name)?;
            ensure!(
                array.shape == batch.with_rows(*rows as usize),
                "{}: '{name}' has changed during the run",
                path.display()
            );
            arrays.push(array);
        }
        Ok(Loaded {
            file,
            arrays,
            order: None,
        })
    }
}

impl Source for Hdf5Data {
    fn shapes(&self) -> Vec<Shape> {
        self.shapes.clone()
    }

    fn load(&mut self, index: u64, out: &mut [Rows], _decoders: &Decoders) -> Result<()> {
        expect_arrays(self.shapes.len(), out.len())?;
        let shaped = out.iter_mut().zip(&self.shapes);
        let mut out: Vec<&mut Tensor> = shaped
            .map(|(out, shape)| out.floats(shape))
            .collect::<Result<_>>()?;
        let first = index.wrapping_mul(self.batch as u64);
        for i in 0..self.batch {
            let row = self.locate(first.wrapping_add(i as u64))?;
            let arrays = self.loaded.iter().flat_map(|l| &l.arrays);
            for (from, to) in arrays.zip(&mut out) {
                let n = to.shape.count_from(1);
                to.data[i * n..][..n].copy_from_slice(&from.data[row * n..][..n]);
            }
        }
        Ok(())
    }

    /// The arrays of its largest file.
    fn held_bytes(&self) -> u128 {
        let largest = self.files.iter().map(|f| u128::from(f.rows)).max();
        let row = |s: &Shape| memory::floats(s.count_from(1));
        largest.unwrap_or(0) * self.shapes.iter().map(row).sum::<u128>()
    }

    fn rest(&mut self) {
        self.loaded = None;
    }

    fn samples(&self) -> Option<u64> {
        Some(self.rows)
    }
}

/// The files that `source` lists, from the working folder, else from the list's, else from where `resolve`
/// finds them; or `source`, if it is such a file itself.
fn listed(source: &Path, resolve: &dyn Fn(&str) -> PathBuf) -> Result<Vec<PathBuf>> {
    if hdf5::is_hdf5(source)? {
        return Ok(vec![source.to_path_buf()]);
    }
    let text = files::read_text(source)?;
    let folder = source.parent().unwrap_or(Path::new(""));
    let names = text.lines().map(str::trim).filter(|l| !l.is_empty());
    let find = |name| match files::resolve(name, folder) {
        found if found.exists() => found,
        _ => resolve(name),
    };
    Ok(names.map(find).collect())
}

/// The shapes of the tops' datasets in a file, which have the same number of rows.
fn shapes_in(path: &Path, tops: &[String]) -> Result<Vec<Shape>> {
    let file = File::open(path)?;
    let mut shapes: Vec<Shape> = Vec::new();
    for top in tops {
        let shape = file.shape(top)?.with_context(|| {
            let names = file.list("").unwrap_or_default();
            format!(
                "{}: it has no dataset for top '{top}'; it has {}",
                path.display(),
                names.join(", ")
            )
        })?;
        ensure!(
            shape.axes() > 0 && shape.dim(0) > 0,
            "{}: '{top}' has no rows",
            path.display()
        );
        if let Some(first) = shapes.first().filter(|f| f.dim(0) != shape.dim(0)) {
            bail!(
                "{}: '{top}' has {} rows, but '{}' has {}",
                path.display(),
                shape.dim(0),
                tops[0],
                first.dim(0)
            );
        }
        shapes.push(shape);
    }
    Ok(shapes)
}

/// The numbers below `n` in random order (Fisher and Yates).
fn shuffled(random: Random, n: usize) -> Result<Vec<usize>> {
    let mut order: Vec<usize> = Vec::new();
    let what = || format!("the order of {n} shuffled rows");
    memory::reserve(&mut order, n, what, "take shuffle away")?;
    order.extend(0..n);
    for i in (1..n).rev() {
        order.swap(i, random.below(i as u64, i + 1));
    }
    Ok(order)
}

#[cfg(test)]
#[path = "hdf5_data_tests.rs"]
mod tests;
