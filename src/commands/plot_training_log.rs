//! `dsd plot_training_log`: the curves of training logs, with the chart types of Caffe's
//! plot_training_log.py.

use super::plot::{label, read};
use crate::draw::chart::{Axis, Chart, Curve};
use crate::report::training_log::{Point, Row, TrainingLog};
use crate::{cli, files, info};
use anyhow::{Result, bail};

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Accuracy,
    TestLoss,
    Rate,
    TrainLoss,
}

impl Field {
    fn name(self) -> &'static str {
        match self {
            Field::Accuracy => "Test accuracy",
            Field::TestLoss => "Test loss",
            Field::Rate => "Train learning rate",
            Field::TrainLoss => "Train loss",
        }
    }
}

/// Writes the picture.
pub fn run(args: &cli::PlotTrainingLog) -> Result<()> {
    let field = match args.chart_type / 2 {
        0 => Field::Accuracy,
        1 => Field::TestLoss,
        2 => Field::Rate,
        _ => Field::TrainLoss,
    };
    let seconds = args.chart_type % 2 == 1;
    let mut curves = Vec::new();
    for path in &args.logs {
        let log = read(path)?;
        let found = curves_of(&log, field);
        if found.iter().all(|(_, points)| points.is_empty()) {
            bail!(
                "{}: the log has no {}",
                path.display(),
                field.name().to_lowercase()
            );
        }
        let label = label(path);
        for (name, points) in found {
            let at = |p: &Point| (if seconds { p.seconds } else { p.iteration }, p.value);
            let mut line: Vec<(f64, f64)> = Vec::new();
            for point in points.iter().map(at) {
                // A phase or a restart begins again: no line leads back there.
                if line.last().is_some_and(|last| point.0 < last.0) {
                    line.push((f64::NAN, f64::NAN));
                }
                line.push(point);
            }
            curves.push(Curve {
                name: [&label[..], &name].join(if name.is_empty() { "" } else { " " }),
                points: line,
            });
        }
    }
    let over = if seconds { "Seconds" } else { "Iters" };
    let finite = |p: &&(f64, f64)| p.0.is_finite() && p.1.is_finite();
    let points = || curves.iter().flat_map(|c| c.points.iter().filter(finite));
    let span = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
            (low.min(v), high.max(v))
        })
    };
    let (left, right) = span(&mut points().map(|p| p.0));
    let (low, high) = span(&mut points().map(|p| p.1));
    let chart = Chart {
        title: format!("{}  vs. {over}", field.name()),
        x: Axis::spanning(over, left, right),
        y: Axis::spanning(field.name(), low, high),
        curves,
        base: None,
    };
    files::write_atomic(&args.out, |w| Ok(w.write_all(chart.svg().as_bytes())?))?;
    info!(
        "Drew {} curves in {}",
        chart.curves.len(),
        args.out.display()
    );
    Ok(())
}

/// The curves of a log, each with what tells it from the log's others.
fn curves_of(log: &TrainingLog, field: Field) -> Vec<(String, Vec<Point>)> {
    match field {
        Field::Rate => return vec![(String::new(), log.rates.clone())],
        Field::TrainLoss => return vec![(String::new(), log.losses.clone())],
        Field::Accuracy | Field::TestLoss => {}
    }
    let rows = log.test.rows();
    let mut kinds: Vec<(usize, &str)> = Vec::new();
    for row in rows {
        for name in chosen(row, field) {
            if !kinds.contains(&(row.net, name)) {
                kinds.push((row.net, name));
            }
        }
    }
    let several = log.test.several_nets();
    let alone = kinds.len() == 1;
    let curve = |(net, name): (usize, &str)| {
        let own = rows.iter().filter(|row| row.net == net);
        let value = |row: &Row| row.outputs.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
        let point = |row: &Row| {
            Some(Point {
                iteration: row.iteration,
                seconds: row.seconds,
                value: value(row)?,
            })
        };
        let title = match (alone, several) {
            (true, _) => String::new(),
            (false, false) => name.to_string(),
            (false, true) => format!("#{net} {name}"),
        };
        (title, own.filter_map(point).collect())
    };
    kinds.into_iter().map(curve).collect()
}

/// The outputs of a test that are losses, by their names; or those that are not.
fn chosen(row: &Row, field: Field) -> impl Iterator<Item = &str> {
    let names = row.outputs.iter().map(|(name, _)| &name[..]);
    let has = |name: &str, parts: &[&str]| {
        let name = name.to_ascii_lowercase();
        parts.iter().any(|part| name.contains(part))
    };
    let loss = move |name: &str| has(name, &["loss"]);
    let accuracy = move |name: &str| has(name, &["acc", "top", "prec", "map"]) && !loss(name);
    // Where no name says accuracy, all that are no losses count.
    let named = names.clone().any(accuracy);
    names.filter(move |name| match field {
        Field::TestLoss => loss(name),
        _ => accuracy(name) || !named && !loss(name),
    })
}
