//! `dsd time`: times every layer, with Caffe's lines, and says how much of the machine's peak it gets.

mod speed;
mod times;

use super::Settings;
use crate::cli;
use crate::info;
use crate::kernels::convolution::choice::UseSparse;
use crate::kernels::peak::Peak;
use crate::kernels::simd::Isa;
use crate::layers::Mode;
use crate::net::{Net, Options, Pass, Timer};
use crate::proto::NetParameter;
use crate::random::{Purpose, Random};
use crate::report::human::HumanBytes;
use crate::report::number::G;
use crate::report::{self, output, progress};
use crate::session::{Model, Open, Request, Session, Synthetic};
use crate::solver::OpenData;
use crate::tensor::Tensor;
use anyhow::Result;
use speed::Speeds;
use std::path::PathBuf;
use std::time::Instant;
use times::{Measured, mean};

/// Runs the command. In the TEST phase only forward is timed, on the net as `dsd test` runs it.
pub fn run(args: &cli::Time, settings: &Settings) -> Result<()> {
    info!("Use CPU.");
    let mode: Mode = args.phase.into();
    let session = Session::find(Request {
        mode,
        precision: args.numbers.precision,
        sparse: sparse(settings.sparse, &args.weights),
        ..settings.request(args.model.as_deref(), &args.weights, &args.state)
    })?;
    let seed = session.request.seed;
    let mut parsed = match mode {
        Mode::Train => session.model.train_val()?,
        Mode::Test => session.model.deploy()?,
    };
    if let Some(batch) = args.batch {
        set_batch(&mut parsed.message, batch);
    }
    let data: Box<dyn OpenData> = match &session.model {
        Model::Builtin(builtin, family) => Box::new(Synthetic {
            deploy: builtin.deploy(*family)?,
            seed,
        }),
        Model::File(_) | Model::Packed(_) => Box::new(session.opener()),
    };
    let options = Options {
        backward: mode == Mode::Train,
        ..session.options()
    };
    let graph = session.graph(&parsed)?;
    let Open { net, mut batches } = session.open_graph(graph, &*data, &options)?;
    report::nets::built(&net);
    report::nets::precision(&net);
    let threads = rayon::current_num_threads();
    info!("Threads: {threads}");
    info!(
        "Memory required: {}",
        HumanBytes(net.run_bytes(threads, batches.queue_bytes(), !args.weights.is_empty()) as u64)
    );
    net.check_memory(threads, batches.queue_bytes(), !args.weights.is_empty())?;
    let peak = Peak::measure(Isa::current());
    info!("Peak: {peak}");
    let weights = session.weights_to_time(&net)?;
    let timer = Timer::new(&net);
    let mut batch = batches.next_batch()?;
    feed_noise(&mut batch, seed);
    let mut gradients = net.zero_gradients();
    let mut once = |batch: &[Tensor], i: u64, timer: Option<&Timer>| {
        let pass = Pass {
            timer,
            ..Pass::new(seed, i)
        };
        if options.backward {
            net.forward_backward_anew(&pass, &weights, &batch, &mut gradients)
        } else {
            net.forward(&pass, &weights, &batch)
        }
    };
    info!("Performing Forward");
    info!("Initial loss: {}", G(once(&batch, 0, None)?.loss));
    if options.backward {
        info!("Performing Backward");
    }
    info!("*** Benchmark begins ***");
    info!("Testing for {} iterations.", args.iterations);
    let bar = progress::bar("time", 0, args.iterations as u64);
    let mut measured = Measured::new(net.graph().nodes.len());
    for i in 0..args.iterations {
        let started = Instant::now();
        once(&batch, i as u64 + 1, Some(&timer))?;
        let ms = started.elapsed().as_secs_f64() * 1e3;
        measured.add(ms, &timer);
        info!("Iteration: {} forward-backward time: {} ms.", i + 1, G(ms));
        bar.inc(1);
    }
    bar.finish_and_clear();
    log(&net, &measured);
    // The clock changes: the peak is that of the better moment.
    let peak = peak.or(Peak::measure(Isa::current()));
    let speeds = Speeds::new(&net, &measured, options.backward, peak);
    match args.json {
        true => output::json(&speeds.json())?,
        false => output::table(&speeds.table())?,
    }
    Ok(())
}

/// Weights that nobody gave are dense: what is timed then are the dense kernels, whatever the fillers say.
fn sparse(asked: UseSparse, weights: &[PathBuf]) -> UseSparse {
    match asked {
        UseSparse::Auto if weights.is_empty() => UseSparse::Never,
        asked => asked,
    }
}

/// Numbers from 0 to 1 in place of zeros, in what nobody feeds: work on zeros may be quicker, and left out. Where
/// a layer takes them for classes they are class 0.
fn feed_noise(batch: &mut [Tensor], seed: u64) {
    let random = Random::new(seed, Purpose::Transform, 0);
    for (k, t) in batch.iter_mut().enumerate() {
        if t.data.iter().all(|v| *v == 0.0) {
            let random = random.branch(k as u64);
            let values = t.data.iter_mut().enumerate();
            values.for_each(|(i, v)| *v = random.unit(i as u64));
        }
    }
}

/// Caffe's lines.
fn log(net: &Net, measured: &Measured) {
    info!("Average time per layer: ");
    for (node, times) in net.graph().nodes.iter().zip(&measured.layers) {
        for (direction, ms) in [("forward", &times.forward), ("backward", &times.backward)] {
            info!("{:>10}\t{direction}: {} ms.", node.name(), G(mean(ms)));
        }
    }
    let (whole, totals) = (&measured.whole, &measured.totals);
    info!("Average Forward pass: {} ms.", G(mean(&whole.forward)));
    info!("Average Backward pass: {} ms.", G(mean(&whole.backward)));
    info!("Average Forward-Backward: {} ms.", G(mean(totals)));
    info!("Total Time: {} ms.", G(totals.iter().sum::<f64>()));
    info!("*** Benchmark ends ***");
}

/// Another batch size for every data and Input layer.
fn set_batch(net: &mut NetParameter, batch: usize) {
    for layer in &mut net.layer {
        if let Some(data) = &mut layer.data_param {
            data.batch_size = Some(batch as u32);
        }
        for shape in layer.input_param.iter_mut().flat_map(|p| &mut p.shape) {
            if let Some(first) = shape.dim.first_mut() {
                *first = batch as i64;
            }
        }
    }
}
