//! The data of a net: its source layers joined into one stream of batches, read ahead.

use crate::data::Source;
use crate::data::about::About;
use crate::data::bad_records;
use crate::data::batch::Rows;
use crate::data::batches::Batches;
use crate::data::decoders::Decoders;
use crate::layers::Mode;
use crate::net::graph::{Graph, Node};
use crate::proto::{NetParameter, Parsed};
use crate::random::{Purpose, Random};
use crate::solver::{OpenData, Opened};
use crate::tensor::Shape;
use crate::{data, files, info, models, warn};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Opens the data that a net's own layers name.
#[derive(Clone, Debug)]
pub struct Opener {
    /// TRAIN or TEST.
    pub mode: Mode,
    /// The seed of crops and mirrors.
    pub seed: u64,
    /// `--source`: in place of what the data layers name.
    pub source: Option<String>,
    /// Where paths are looked up that exist neither from the working folder nor from the net's own:
    /// the solver's folder.
    pub folder: PathBuf,
}

impl OpenData for Opener {
    fn open(&self, graph: &Graph, first: u64) -> Result<Opened> {
        let mut parts: Vec<Box<dyn Source>> = Vec::new();
        let sources = graph
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, n)| n.is_source());
        for (i, node) in sources {
            parts.push(
                self.part(node, &graph.file)
                    .with_context(|| graph.place(i))?,
            );
        }
        opened(Joined { parts }, first)
    }
}

impl Opener {
    fn part(&self, node: &Node, net_file: &str) -> Result<Box<dyn Source>> {
        if node.param.r#type() == "Input" {
            let shapes = models::shapes_of_input(node)?;
            for shape in &shapes {
                let (rows, sample) = shape.dims().split_first().unwrap_or((&1, &[]));
                data::check_batch(*rows, sample, "samples")?;
            }
            return Ok(Box::new(Zeros { shapes }));
        }
        let options = data::Options {
            mode: self.mode,
            seed: self.seed,
            source: self.source.clone(),
            resolve: &|name| self.find(name, net_file),
            skip_bad: bad_records::left_out(),
            warn: &|text| warn!("{text}"),
        };
        data::open(&node.param, &options)
    }

    /// The file that a net's text names: from the working folder, else beside the net, else beside the
    /// solver; says so where it is not the first.
    fn find(&self, name: &str, net_file: &str) -> PathBuf {
        let beside_net = Path::new(net_file).parent().unwrap_or(Path::new(""));
        let mut found = files::resolve(name, beside_net);
        if !found.exists() {
            found = files::resolve(name, &self.folder);
        }
        if found != Path::new(name) {
            info!(
                "{name} is not below the working folder; {} is taken",
                found.display()
            );
        }
        found
    }
}

fn opened(source: Joined, first: u64) -> Result<Opened> {
    Ok(Opened {
        shapes: source.shapes(),
        batches: Batches::new(Box::new(source), first),
    })
}

/// Several sources as one: a batch holds the arrays of all.
struct Joined {
    parts: Vec<Box<dyn Source>>,
}

impl Source for Joined {
    fn shapes(&self) -> Vec<Shape> {
        self.parts.iter().flat_map(|p| p.shapes()).collect()
    }

    fn about(&self) -> Vec<About> {
        let mut before = 0;
        let mut all = Vec::new();
        for part in &self.parts {
            all.extend(part.about().into_iter().map(|a| About {
                labels: a.labels.map(|at| before + at),
                ..a
            }));
            before += part.shapes().len();
        }
        all
    }

    fn load(&mut self, index: u64, out: &mut [Rows], decoders: &Decoders) -> Result<()> {
        let mut rest = out;
        for part in &mut self.parts {
            let (own, more) = rest.split_at_mut(part.shapes().len());
            part.load(index, own, decoders)?;
            rest = more;
        }
        Ok(())
    }

    fn batch_bytes(&self) -> u128 {
        self.parts.iter().map(|p| p.batch_bytes()).sum()
    }

    fn held_bytes(&self) -> u128 {
        self.parts.iter().map(|p| p.held_bytes()).sum()
    }

    fn rest(&mut self) {
        self.parts.iter_mut().for_each(|p| p.rest());
    }
}

/// An Input layer that nobody feeds: zeros, as in Caffe.
struct Zeros {
    shapes: Vec<Shape>,
}

impl Source for Zeros {
    fn shapes(&self) -> Vec<Shape> {
        self.shapes.clone()
    }

    fn load(&mut self, _index: u64, out: &mut [Rows], _decoders: &Decoders) -> Result<()> {
        for (shape, out) in self.shapes.iter().zip(out) {
            out.floats(shape)?.data.fill(0.0);
        }
        Ok(())
    }
}

/// Made-up pictures and labels for timing a built-in net, whose databases the user may not have.
pub struct Synthetic {
    /// The built-in net's deploy form, which has the pictures' shape.
    pub deploy: Parsed<NetParameter>,
    /// The seed.
    pub seed: u64,
}

impl OpenData for Synthetic {
    fn open(&self, graph: &Graph, first: u64) -> Result<Opened> {
        let own = Graph::new(&self.deploy, &crate::net::graph::State::new(Mode::Test))?;
        let picture = models::input_shapes(&own)?
            .first()
            .cloned()
            .unwrap_or_default();
        let mut shapes = Vec::new();
        for (i, node) in graph.nodes.iter().enumerate() {
            if !node.is_source() {
                continue;
            }
            if node.param.r#type() == "Input" {
                shapes.extend(models::shapes_of_input(node)?);
                continue;
            }
            let batch = node
                .param
                .data_param
                .as_ref()
                .map_or(1, |p| p.batch_size() as usize);
            data::check_batch(batch, &picture.dims()[picture.axes().min(1)..], "pictures")
                .with_context(|| graph.place(i))?;
            shapes.push(picture.with_rows(batch));
            shapes.extend(node.tops.iter().skip(1).map(|_| Shape::new([batch])));
        }
        let noise = Noise {
            shapes,
            random: Random::new(self.seed, Purpose::Transform, 0),
        };
        opened(
            Joined {
                parts: vec![Box::new(noise)],
            },
            first,
        )
    }
}

struct Noise {
    shapes: Vec<Shape>,
    random: Random,
}

impl Source for Noise {
    fn shapes(&self) -> Vec<Shape> {
        self.shapes.clone()
    }

    fn load(&mut self, index: u64, out: &mut [Rows], _decoders: &Decoders) -> Result<()> {
        let random = self.random.branch(index);
        for (shape, out) in self.shapes.iter().zip(out) {
            let t = out.floats(shape)?;
            if t.shape.axes() < 2 {
                // Labels: class 0 exists in every net.
                t.data.fill(0.0);
            } else {
                t.data
                    .iter_mut()
                    .enumerate()
                    .for_each(|(i, v)| *v = 100.0 * random.unit(i as u64) - 50.0);
            }
        }
        Ok(())
    }
}
