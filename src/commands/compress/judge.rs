//! How right a net is with some weights, and how long a picture takes.

use crate::classify::folders;
use crate::cli::{self, NetState};
use crate::commands::Settings;
use crate::data::batches::Batches;
use crate::net::carried::Carried;
use crate::net::sizes::Sizes;
use crate::net::{Net, Options, Pass, Weights};
use crate::report::nets;
use crate::sensitivity::score::Measure;
use crate::session::{Opener, Request, Session};
use crate::solver::{OpenData, Opened};
use crate::weights_file::Stored;
use anyhow::{Context, Result, ensure};
use std::time::Instant;

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// The accuracy, from 0 to 1, averaged over the batches as `dsd test` does it.
    pub accuracy: f64,
    /// Milliseconds a picture, forward, the first batch left out where there are more: it makes kernels ready.
    pub ms: f64,
}

impl Measured {
    /// Percentage points lost against `dense`.
    pub fn lost(&self, dense: &Self) -> f64 {
        100.0 * (dense.accuracy - self.accuracy)
    }
}

/// A test net and its data.
pub struct Judge {
    net: Net,
    options: Options,
    weights: Weights,
    opener: Opener,
    /// What is called accuracy.
    pub measure: Measure,
    /// The number of batches.
    pub iterations: usize,
    seed: u64,
    /// Bytes that a run takes: weights are float32 in all of them.
    pub memory: u64,
}

impl Judge {
    /// Opens the net of the arguments with its data.
    ///
    /// # Errors
    /// There are no data, or the test net has no accuracy.
    pub fn open(args: &cli::Compress, settings: &Settings) -> Result<Self> {
        let files = [args.weights().to_path_buf()];
        let state = NetState::default();
        let session = Session::find(Request {
            source: args.source.as_deref(),
            precision: args.numbers.precision,
            ..settings.request(args.model.as_deref(), &files, &state)
        })?;
        let options = session.options();
        let opened = session.open(&options).with_context(|| match &args.source {
            Some(source) if folders::is_classes(source) => format!(
                "--source {} is a folder of pictures, which the net's data layer does not read; put it into a database by \
                 dsd convert_imageset",
                source.display()
            ),
            Some(source) => format!("--source {}", source.display()),
            None => {
                "no accuracy could be measured on the net's own data; give others by --source VAL"
                    .into()
            }
        })?;
        let net = opened.net;
        nets::precision(&net);
        let measure = Measure::of(&net)?;
        ensure!(
            measure.index.is_some(),
            "{}: --max_loss is in points of accuracy, but the test net has no Accuracy layer",
            net.graph().file
        );
        let threads = rayon::current_num_threads();
        let queue = opened.batches.queue_bytes();
        net.check_memory(threads, queue, true)?;
        Ok(Self {
            weights: net.fill(session.request.seed)?,
            memory: u64::try_from(net.run_bytes(threads, queue, false)).unwrap_or(u64::MAX),
            opener: session.opener(),
            iterations: args.iterations,
            seed: session.request.seed,
            net,
            options,
            measure,
        })
    }

    /// How many pictures are looked at.
    pub fn pictures(&self) -> usize {
        self.iterations * self.net.batch()
    }

    /// Measures the net with the weights `stored`.
    ///
    /// # Errors
    /// The data cannot be read, or the weights do not fit.
    pub fn measure(&self, stored: &Stored) -> Result<Measured> {
        let mut weights = self.weights.clone();
        self.net.load(&mut weights, stored)?;
        let Opened { batches, .. } = self.opener.open(self.net.graph(), 0)?;
        self.run(&weights, batches)
    }

    fn run(&self, weights: &Weights, mut batches: Batches) -> Result<Measured> {
        let (mut carried, mut sizes) = (Carried::default(), Sizes::new(&self.options));
        let (mut sum, mut seconds, mut timed) = (0.0f32, 0.0, 0);
        let before = self.measure.index.unwrap_or_default();
        for i in 0..self.iterations {
            let batch = batches
                .take()
                .with_context(|| format!("batch {i} of the data"))?;
            let pass = Pass {
                carried: Some(&carried),
                ..Pass::new(self.seed, i as u64)
            };
            let started = Instant::now();
            let mut outputs = sizes
                .fit(&self.net, &batch)?
                .forward(&pass, weights, &batch)?;
            if i > 0 || self.iterations == 1 {
                seconds += started.elapsed().as_secs_f64();
                timed += self.net.batch();
            }
            carried.take(&mut outputs);
            batches.give_back(batch);
            let values = self.net.outputs().iter();
            let mut flat = values
                .filter_map(|v| outputs.values.get(v))
                .flat_map(|t| &t.data);
            sum += flat.nth(before).copied().unwrap_or(0.0);
        }
        Ok(Measured {
            accuracy: f64::from(sum / self.iterations as f32),
            ms: 1000.0 * seconds / timed.max(1) as f64,
        })
    }
}
