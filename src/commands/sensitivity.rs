//! `dsd sensitivity`: what pruning each layer costs, and densities proposed from it.

mod arguments;
mod tables;

use super::{Settings, Usage};
use crate::cli;
use crate::report::number::G;
use crate::report::{nets, output, progress};
use crate::sensitivity::layers::Prunable;
use crate::sensitivity::plot;
use crate::sensitivity::points::Points;
use crate::sensitivity::record::Record;
use crate::sensitivity::score::{Bench, Job, KEPT_BYTES, Measure, Score, Watch};
use crate::sensitivity::subject::Subject;
use crate::sensitivity::suggest::{self, Check, Suggestion};
use crate::session::{Open, Request, Session};
use crate::solver::Ending;
use crate::solver::signals::{self, Signals};
use crate::{files, info};
use anyhow::{Context, Result};
use indicatif::ProgressBar;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How often the file is written, at most; what is lost if the process is killed is no more.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// Runs the command.
pub fn run(args: &cli::Sensitivity, settings: &Settings) -> Result<ExitCode> {
    let densities = arguments::densities(args)?;
    let signals = Signals::listen(signals::Request::Stop, signals::Request::Stop)?;
    let session = Session::find(Request {
        source: args.source.as_deref(),
        precision: args.numbers.precision,
        ..settings.request(args.model.as_deref(), &args.weights, &args.state)
    })?;
    let options = session.options();
    let Open { net, batches } = session.open(&options)?;
    nets::precision(&net);
    arguments::warn_of_test_set(net.graph(), args.source.as_deref());
    let measure = Measure::of(&net)?;
    net.check_memory(rayon::current_num_threads(), batches.queue_bytes(), true)?;
    let weights = session.weights(&net)?;
    let layers = Prunable::all(&net, &weights);
    let chosen = arguments::chosen(args, &layers, &net.graph().file)?;
    let record = Record::read(&args.out)?;
    if let Some(density) = args.suggest {
        let least = arguments::least(&layers, &chosen, &densities, record.as_ref());
        suggest::possible(&layers, &least, density).map_err(|e| Usage(format!("{e:#}")))?;
    }
    info!("Reading {} batches of {}", args.iterations, net.batch());
    let size = (session.request.seed, args.iterations, KEPT_BYTES);
    let opener = session.opener();
    let bench = Bench::new((net, options), weights, batches, &opener, size)?;
    if bench.kept().len() < args.iterations {
        info!("They are too many to keep, and are read anew for every point");
    }
    let subject = Subject::new(&bench, &args.weights, args.source.as_deref());
    let mut points = Points::default();
    let mut suggestion = None;
    if let Some(record) = record {
        points = record.points(&args.out, &subject, &bench.layers)?;
        suggestion = record.suggestion;
    }
    let mut study = Study {
        args,
        densities,
        chosen,
        subject,
        measure,
        signals,
        points,
        suggestion,
    };
    if study.sweep(&bench)? == Ending::Stopped {
        return Ok(study.stopped());
    }
    if let Some(density) = args.suggest
        && study.suggest(&bench, density)? == Ending::Stopped
    {
        return Ok(study.stopped());
    }
    study.finish(&bench)?;
    Ok(ExitCode::SUCCESS)
}

/// A run of the command.
struct Study<'a> {
    args: &'a cli::Sensitivity,
    densities: Vec<f64>,
    chosen: Vec<usize>,
    subject: Subject,
    measure: Measure,
    signals: Signals,
    points: Points,
    suggestion: Option<Suggestion>,
}

impl Study<'_> {
    /// Measures what is missing, and saves.
    fn sweep(&mut self, bench: &Bench) -> Result<Ending> {
        let jobs = self
            .points
            .missing(&bench.layers, &self.chosen, &self.densities);
        let all = Points::default().missing(&bench.layers, &self.chosen, &self.densities);
        if jobs.is_empty() {
            info!("All points are in {}", self.args.out.display());
            return Ok(Ending::Done);
        }
        let before = all.len().saturating_sub(jobs.len());
        if before > 0 {
            info!(
                "{} has {before} of {} points",
                self.args.out.display(),
                all.len()
            );
        }
        // What cannot be written should show before the work.
        self.save(bench)?;
        let mut saved = Instant::now();
        let bar = bar("sensitivity", before, all.len(), bench);
        let signals = self.signals.clone();
        let mut done = |job: usize, score: Score| {
            match jobs[job].first() {
                None => {
                    info!("Not pruned: {}", self.told(&score));
                    self.points.baseline = Some(score);
                }
                Some(&(layer, density)) => {
                    let name = &bench.layers[layer].name;
                    info!("{name} at density {density}: {}", self.told(&score));
                    self.points.insert(&bench.layers, layer, density, score);
                }
            }
            if saved.elapsed() >= SAVE_EVERY {
                self.save(bench)?;
                saved = Instant::now();
            }
            Ok(())
        };
        let ending = evaluate(bench, &jobs, &signals, &bar, &mut done);
        bar.finish_and_clear();
        // Also what was measured before an error.
        self.save(bench)?;
        ending
    }

    /// A score in the log's words.
    fn told(&self, score: &Score) -> String {
        let mut text = format!("{} = {}", self.measure.name, G(self.measure.value(score)));
        if self.measure.loss && self.measure.index.is_some() {
            text += &format!(", loss = {}", G(score.loss));
        }
        text
    }

    /// Chooses densities and measures what comes of them and of simpler choices.
    fn suggest(&mut self, bench: &Bench, density: f64) -> Result<Ending> {
        let layers = &bench.layers;
        let curves = self.points.curves(layers, &self.measure);
        let base = self.points.baseline.as_ref();
        let suggestion = curves.zip(base).and_then(|(curves, base)| {
            Suggestion::new(layers, &curves, density, self.measure.cost(base))
        });
        let mut suggestion = suggestion.context(
            "--suggest: the finite points do not reach down to it; add smaller ones to --densities",
        )?;
        let every = |d: f64| -> Job { (0..layers.len()).map(|l| (l, d)).collect() };
        let mut choices = vec![
            ("suggested".to_string(), suggestion.job()),
            (format!("every layer at {density}"), every(density)),
        ];
        let level = suggest::level(layers, suggestion.kept());
        // A net that is pruned already has layers which are below.
        if level > density + 1e-3 {
            let name = format!("every layer at most {level:.4}");
            choices.push((name, every(level)));
        }
        info!("Measuring the suggested densities and simpler ones");
        let bar = bar("suggestion", 0, choices.len(), bench);
        let jobs: Vec<Job> = choices.iter().map(|c| c.1.clone()).collect();
        let mut scores: Vec<Option<Score>> = vec![None; jobs.len()];
        let mut done = |job: usize, score| {
            scores[job] = Some(score);
            Ok(())
        };
        let ending = evaluate(bench, &jobs, &self.signals, &bar, &mut done)?;
        bar.finish_and_clear();
        if ending == Ending::Stopped {
            return Ok(ending);
        }
        let weights: usize = layers.iter().map(Prunable::weights).sum();
        let share = |n: usize| n as f64 / weights.max(1) as f64;
        let check = |((name, job), score): ((String, Job), Score)| Check {
            density: share(job.iter().map(|&(l, d)| layers[l].alive_at(d)).sum()),
            name,
            score: (&score).into(),
        };
        let scored = choices.into_iter().zip(scores.into_iter().flatten());
        suggestion.check = scored.map(check).collect();
        let rules = self.args.out.with_extension("sparsity");
        let text = suggestion.rules(&self.args.out.display().to_string());
        files::write_atomic(&rules, |w| Ok(w.write_all(text.as_bytes())?))?;
        info!("Wrote the suggestion to {}", rules.display());
        self.suggestion = Some(suggestion);
        self.save(bench)?;
        Ok(Ending::Done)
    }

    fn record(&self, bench: &Bench) -> Record {
        let layers = &bench.layers;
        Record::new(
            self.subject.clone(),
            &self.measure,
            layers,
            self.points.baseline.as_ref(),
            self.points.rows(layers, &self.chosen, &self.densities),
            self.suggestion.clone(),
        )
    }

    fn save(&self, bench: &Bench) -> Result<()> {
        self.record(bench).write(&self.args.out)
    }

    fn stopped(&self) -> ExitCode {
        info!(
            "Stopped; what was measured is in {}, and the same command goes on",
            self.args.out.display()
        );
        ExitCode::from(130)
    }

    /// Draws and prints.
    fn finish(&self, bench: &Bench) -> Result<()> {
        let record = self.record(bench);
        let rows = self
            .points
            .rows(&bench.layers, &self.chosen, &self.densities);
        let base = self.points.baseline.as_ref().map(|s| self.measure.value(s));
        let picture = plot::svg(bench.net.name(), &bench.layers, &rows, &self.measure, base);
        let path: PathBuf = match &self.args.svg {
            Some(path) => path.clone(),
            None => self.args.out.with_extension("svg"),
        };
        files::write_atomic(&path, |w| Ok(w.write_all(picture.as_bytes())?))?;
        info!(
            "Results in {}, drawn in {}",
            self.args.out.display(),
            path.display()
        );
        if self.args.json {
            return Ok(output::json(&record)?);
        }
        self.print(bench)
    }
}

/// A bar of batches, so that it also moves within a point.
fn bar(what: &str, done: usize, points: usize, bench: &Bench) -> ProgressBar {
    let batches = |points: usize| (points * bench.iterations) as u64;
    progress::bar(what.to_string(), batches(done), batches(points))
}

fn evaluate(
    bench: &Bench,
    jobs: &[Job],
    signals: &Signals,
    bar: &ProgressBar,
    done: &mut dyn FnMut(usize, Score) -> Result<()>,
) -> Result<Ending> {
    let watch = Watch {
        stop: &|| signals.peek() == signals::Request::Stop,
        batch: &|| bar.inc(1),
    };
    bench.run(jobs, rayon::current_num_threads(), &watch, done)
}

#[cfg(test)]
mod tests;
