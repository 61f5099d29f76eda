//! Sources without files: Caffe's DummyData (arrays made by fillers) and MemoryData (arrays that a
//! program gives; here `dsd run` does).

use anyhow::{Context, Result, bail, ensure};

use super::batch::Rows;
use super::decoders::Decoders;
use super::{Options, Source, check_batch, expect_arrays};
use crate::filler::fill;
use crate::proto::caffe::{DummyDataParameter, FillerParameter, LayerParameter};
use crate::random::Random;
use crate::tensor::Shape;

/// Arrays by fillers: those of `constant` ones are the same in every batch, others differ from batch to
/// batch and top to top.
pub struct DummyData {
    tops: Vec<(Shape, FillerParameter)>,
    random: Random,
}

impl DummyData {
    /// The arrays of a layer of type DummyData.
    pub fn open(param: &LayerParameter, options: &Options) -> Result<Self> {
        let p = param.dummy_data_param.clone().unwrap_or_default();
        let tops = param.top.len();
        ensure!(tops > 0, "it needs at least one top");
        let fillers = p.data_filler.len();
        ensure!(
            fillers <= 1 || fillers == tops,
            "give data_filler once, or once for each of the {tops} tops (found {fillers})"
        );
        let filler = |i: usize| {
            let own = p.data_filler.get(if fillers == 1 { 0 } else { i });
            // Caffe's default is constant 0, which is the message's own.
            own.cloned().unwrap_or_default()
        };
        let made = (0..tops).map(|i| Ok((shape(&p, i, tops)?, filler(i))));
        let layer = Self {
            tops: made.collect::<Result<_>>()?,
            random: options.random(param.name()),
        };
        for (i, (shape, filler)) in layer.tops.iter().enumerate() {
            // Tells what is wrong with a filler before the run starts.
            fill(filler, shape, layer.random).with_context(|| format!("data_filler of top {i}"))?;
        }
        Ok(layer)
    }
}

/// The shape of top `i`: by `shape`, or by the old fields, each given once or once a top.
fn shape(p: &DummyDataParameter, i: usize, tops: usize) -> Result<Shape> {
    let given = |name: &str, n: usize| {
        ensure!(
            n == 1 || n == tops,
            "give {name} once, or once for each of the {tops} tops (found {n})"
        );
        Ok(if n == 1 { 0 } else { i })
    };
    let old = [
        ("num", &p.num),
        ("channels", &p.channels),
        ("height", &p.height),
        ("width", &p.width),
    ];
    let dims: Vec<usize> = if old.iter().any(|(_, v)| !v.is_empty()) {
        ensure!(
            p.shape.is_empty(),
            "dummy_data_param has both shape and num, channels, height, width; keep one kind"
        );
        old.iter()
            .map(|(name, v)| Ok(v[given(name, v.len())?] as usize))
            .collect::<Result<_>>()?
    } else {
        let dims = &p.shape[given("shape", p.shape.len())?].dim;
        let sizes: Option<Vec<usize>> = dims.iter().map(|&d| usize::try_from(d).ok()).collect();
        sizes.with_context(|| format!("shape {dims:?} has a negative size"))?
    };
    checked(dims)
}

/// A shape whose numbers fit into memory.
fn checked(dims: Vec<usize>) -> Result<Shape> {
    let (rows, sample) = dims.split_first().unwrap_or((&1, &[]));
    check_batch(*rows, sample, "samples")?;
    Ok(Shape::new(dims))
}

impl Source for DummyData {
    fn shapes(&self) -> Vec<Shape> {
        self.tops.iter().map(|(shape, _)| shape.clone()).collect()
    }

    fn load(&mut self, index: u64, out: &mut [Rows], _decoders: &Decoders) -> Result<()> {
        expect_arrays(self.tops.len(), out.len())?;
        for (i, ((shape, filler), out)) in self.tops.iter().zip(out).enumerate() {
            let random = self.random.branch(index).branch(i as u64);
            let numbers = fill(filler, shape, random)?;
            out.floats(shape)?.data.copy_from_slice(&numbers);
        }
        Ok(())
    }
}

/// The arrays of a MemoryData layer when nobody gives them: zeros.
pub struct MemoryData {
    shapes: [Shape; 2],
}

impl MemoryData {
    /// The arrays of a layer of type MemoryData.
    pub fn open(param: &LayerParameter, options: &Options) -> Result<Self> {
        let p = param.memory_data_param.unwrap_or_default();
        if param.top.len() != 2 {
            bail!(
                "expected 2 tops (data and label), found {}",
                param.top.len()
            );
        }
        let dims = [p.batch_size(), p.channels(), p.height(), p.width()];
        ensure!(
            dims.iter().all(|d| *d > 0),
            "memory_data_param needs batch_size, channels, height and width, each at least 1; found {}, \
             {}, {} and {}",
            dims[0],
            dims[1],
            dims[2],
            dims[3]
        );
        let dims = dims.map(|d| d as usize);
        let shapes = [checked(dims.to_vec())?, Shape::new([dims[0]])];
        (options.warn)(&format!(
            "layer '{}' of type MemoryData gets its arrays from no program here, so it reads zeros; `dsd \
             run --inputs` can give them",
            param.name()
        ));
        Ok(Self { shapes })
    }
}

impl Source for MemoryData {
    fn shapes(&self) -> Vec<Shape> {
        self.shapes.to_vec()
    }

    fn load(&mut self, _index: u64, out: &mut [Rows], _decoders: &Decoders) -> Result<()> {
        expect_arrays(self.shapes.len(), out.len())?;
        for (shape, out) in self.shapes.iter().zip(out) {
            out.floats(shape)?.data.fill(0.0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::Mode;
    use crate::proto::{NetParameter, parse};
    use crate::tensor::Tensor;
    use std::cell::RefCell;
    use std::path::PathBuf;

    fn open(text: &str) -> Result<(Box<dyn Source>, Vec<String>)> {
        let net = parse::<NetParameter>(&format!("layer {{ {text} }}"), "test").unwrap();
        let warned = RefCell::new(Vec::new());
        let source = crate::data::open(
            &net.message.layer[0],
            &Options {
                mode: Mode::Train,
                seed: 3,
                source: None,
                resolve: &|name: &str| PathBuf::from(name),
                skip_bad: false,
                warn: &|text| warned.borrow_mut().push(text.to_string()),
            },
        )?;
        Ok((source, warned.into_inner()))
    }

    fn read(source: &mut dyn Source, index: u64) -> Vec<Tensor> {
        let mut out: Vec<Tensor> = source.shapes().into_iter().map(Tensor::zeros).collect();
        source.read(index, &mut out).unwrap();
        out
    }

    fn error(text: &str) -> String {
        match open(text) {
            Ok(_) => panic!("{text} was accepted"),
            Err(e) => format!("{e:#}"),
        }
    }

    #[test]
    fn constants_stay_and_random_numbers_change() {
        let text = "name: 'd' type: 'DummyData' top: 'a' top: 'b' dummy_data_param { \
                    shape { dim: 2 dim: 3 } shape { dim: 4 } \
                    data_filler { value: 7 } data_filler { type: 'gaussian' } }";
        let (mut source, _) = open(text).unwrap();
        let (first, second) = (read(&mut *source, 0), read(&mut *source, 1));
        assert_eq!(first[0].data, [7.0; 6]);
        assert_eq!(first[0], second[0]);
        assert_ne!(first[1], second[1]);
        assert_eq!(read(&mut *source, 0), first);
    }

    #[test]
    fn old_sizes() {
        let text = "type: 'DummyData' top: 'a' top: 'b' dummy_data_param { num: 2 num: 5 channels: 3 \
                    height: 4 width: 1 }";
        let (mut source, _) = open(text).unwrap();
        let shapes = [Shape::new([2, 3, 4, 1]), Shape::new([5, 3, 4, 1])];
        assert_eq!(source.shapes(), shapes);
        assert_eq!(read(&mut *source, 0)[1].data, [0.0; 60]);
    }

    #[test]
    fn memory_data_reads_zeros_and_says_so() {
        let text = "name: 'm' type: 'MemoryData' top: 'x' top: 'l' memory_data_param { batch_size: 2 \
                    channels: 1 height: 3 width: 4 }";
        let (mut source, warned) = open(text).unwrap();
        assert_eq!(source.shapes(), [Shape::new([2, 1, 3, 4]), Shape::new([2])]);
        assert_eq!(read(&mut *source, 5)[0].data, [0.0; 24]);
        assert!(warned[0].contains("'m'"));
    }

    #[test]
    fn what_is_wrong_is_told() {
        let dummy = |text: &str| {
            error(&format!(
                "type: 'DummyData' top: 'a' top: 'b' top: 'c' dummy_data_param {{ {text} }}"
            ))
        };
        assert!(dummy("").contains("give shape once"));
        assert!(dummy("num: 1 channels: 1 height: 1").contains("give width once"));
        assert!(dummy("num: 1 shape { dim: 1 }").contains("both shape and num"));
        assert!(dummy("shape { dim: -1 }").contains("negative"));
        assert!(
            dummy("shape { dim: 1 } data_filler {} data_filler {}").contains("3 tops (found 2)")
        );
        assert!(dummy("shape { dim: 1 } data_filler { type: 'x' }").contains("unknown filler"));
        let huge = "shape { dim: 4294967296 dim: 4294967296 }";
        assert!(dummy(huge).contains("bytes"), "{}", dummy(huge));
        assert!(error("type: 'MemoryData' top: 'x' top: 'l'").contains("at least 1; found 0"));
        assert!(error("type: 'WindowData' top: 'x' top: 'l'").contains("not supported"));
    }
}
