//! Runs the net of a run's last phase over its test data.

use super::{Answers, Gathered, Mistake, PICTURES, names};
use crate::cli::{self, NetState};
use crate::commands::Settings;
use crate::commands::train::copies;
use crate::data::class_list;
use crate::info;
use crate::layers::Mode;
use crate::net::graph::{Graph, ValueId};
use crate::net::{Net, Options, Outputs};
use crate::report::progress;
use crate::session::{Model, Open, Opener, Request, Rounds, Session};
use crate::solver::DEFAULT_SEED;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::Path;

/// Pictures that a net is asked about, if nothing else is said.
const MOST: usize = 10_000;

/// What the net of the last phase that has ended answers.
///
/// # Errors
/// The run has no such phase or no test net, its data are not here, or its answers are not one class a picture.
pub fn ask(run: &Gathered, args: &cli::Report, settings: &Settings) -> Result<Answers> {
    let ended = run
        .phases
        .iter()
        .rev()
        .find_map(|r| Some((r, run.weights_of(r)?)));
    let (record, weights) = ended.context("no phase has ended yet")?;
    let home = run.folder.path(&record.phase);
    let config = copies::read(&home, record, record.level, &record.stage)?;
    let config =
        config.with_context(|| format!("{}: its solver.prototxt is gone", home.display()))?;
    let test = config.tests.into_iter().next();
    let mut test = test.context("the solver has no test net")?;
    // Data are looked up beside the net's own file, else from where the run was started.
    test.net.file = run.path(Path::new(&test.net.file)).display().to_string();
    let graph = Graph::new(&test.net, &test.state)?;
    let state = NetState::default();
    let files = [weights];
    let session = Session {
        model: Model::File(Box::new(test.net)),
        request: Request {
            precision: record.precision,
            ..settings.request(None, &files, &state)
        },
    };
    let options = Options {
        every_blob: true,
        ..session.options()
    };
    let opener = Opener {
        mode: Mode::Test,
        seed: record.seed.unwrap_or(DEFAULT_SEED),
        source: None,
        folder: run.started.folder.clone(),
    };
    let Open { net, batches } = session.open_graph(graph, &opener, &options)?;
    let threads = rayon::current_num_threads();
    net.check_memory(threads, batches.queue_bytes(), true)?;
    let asked = Asked::find(&net)?;
    let weights = session.weights(&net)?;
    let of_data = batches.about().iter().map(|a| a.classes.clone());
    let of_net = class_list::of(&session.model.folder()).ok().flatten();
    let mut known = of_data.chain(of_net).filter(|c| c.len() == asked.classes);
    let names = names(args, known.next().unwrap_or_default(), asked.classes)?;
    let own = usize::try_from(test.iterations).unwrap_or(usize::MAX);
    let few = MOST.div_ceil(net.batch().max(1));
    let iterations = own.min(args.iterations.unwrap_or(few)).max(1);
    info!(
        "{}: looking for mistakes in {iterations} batches of test data",
        run.name
    );
    let mut answers = Answers {
        phase: record.phase.clone(),
        classes: asked.classes,
        names,
        counts: BTreeMap::new(),
        mistakes: Vec::new(),
    };
    let bar = progress::bar("test", 0, iterations as u64);
    let mut rounds = Rounds::new(&net, &options, &weights, batches, session.request.seed);
    let mut number = 0;
    for _ in 0..iterations {
        let outputs = rounds.next(&asked.wanted())?;
        asked.take(&outputs, &mut number, &mut answers)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(answers)
}

/// Where in a net answers, labels and pictures are.
struct Asked {
    scores: ValueId,
    labels: ValueId,
    pictures: Option<ValueId>,
    classes: usize,
}

impl Asked {
    fn find(net: &Net) -> Result<Self> {
        let graph = net.graph();
        let of_type = |name: &str| {
            let mut nodes = graph.nodes.iter();
            nodes.find(|n| n.param.r#type() == name && n.bottoms.len() > 1)
        };
        let node = of_type("Accuracy").or_else(|| of_type("SoftmaxWithLoss"));
        let node = node.context("the test net has no Accuracy or SoftmaxWithLoss layer, which compare answers with labels")?;
        let (scores, labels) = (node.bottoms[0], node.bottoms[1]);
        let shape = net.shape(scores);
        ensure!(
            shape.axes() >= 2
                && shape.count_from(2) == 1
                && net.shape(labels).count() == shape.dim(0),
            "layer '{}' compares answers of the shape {shape}, not one class a picture",
            node.name()
        );
        let source = &graph.nodes[graph.values[labels].producer];
        let pictures = source.tops.first().copied();
        let pictures = pictures.filter(|v| *v != labels && net.shape(*v).axes() == 4);
        Ok(Self {
            scores,
            labels,
            pictures,
            classes: shape.dim(1),
        })
    }

    fn wanted(&self) -> Vec<ValueId> {
        let mut all = vec![self.scores, self.labels];
        all.extend(self.pictures);
        all
    }

    /// Takes up a batch.
    fn take(&self, outputs: &Outputs, number: &mut u64, answers: &mut Answers) -> Result<()> {
        let value = |v: ValueId| {
            outputs
                .values
                .get(&v)
                .context("the net did not give its answers")
        };
        let (scores, labels) = (value(self.scores)?, value(self.labels)?);
        let pictures = self.pictures.and_then(|v| outputs.values.get(&v));
        for (k, (row, label)) in scores
            .data
            .chunks(self.classes)
            .zip(&labels.data)
            .enumerate()
        {
            let own = *number;
            *number += 1;
            let label = *label as usize;
            if label >= self.classes || row.iter().any(|s| !s.is_finite()) {
                continue;
            }
            let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]).then(b.cmp(&a)));
            let answer = best.unwrap_or(0);
            *answers.counts.entry((label, answer)).or_default() += 1;
            if answer == label {
                continue;
            }
            let probability = [answer, label].map(|c| probability(row, c));
            let least = answers
                .mistakes
                .last()
                .map_or(f32::NEG_INFINITY, |m| m.probability[0]);
            if answers.mistakes.len() >= PICTURES && probability[0] <= least {
                continue;
            }
            let pixels = pictures.map(|p| {
                let one = p.shape.count_from(1);
                let dims = [p.shape.dim(1), p.shape.dim(2), p.shape.dim(3)];
                (dims, p.data[k * one..(k + 1) * one].to_vec())
            });
            answers.mistakes.push(Mistake {
                label,
                answer,
                probability,
                number: own,
                pixels,
            });
            answers
                .mistakes
                .sort_by(|a, b| b.probability[0].total_cmp(&a.probability[0]));
            answers.mistakes.truncate(PICTURES);
        }
        Ok(())
    }
}

/// The probability of a class: the scores themselves where they are probabilities, else their softmax.
fn probability(scores: &[f32], class: usize) -> f32 {
    let sum: f32 = scores.iter().sum();
    if scores.iter().all(|s| *s >= 0.0) && (sum - 1.0).abs() < 1e-3 {
        return scores[class];
    }
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers = scores.iter().map(|s| (s - most).exp());
    (scores[class] - most).exp() / powers.sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_become_probabilities_once() {
        assert_eq!(probability(&[0.25, 0.75], 1), 0.75);
        let p = probability(&[1.0, 3.0, -2.0], 1);
        assert!((p - 0.875_58).abs() < 1e-4, "{p}");
    }
}
