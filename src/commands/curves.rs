//! The curves of runs and logs over their iterations, one chart below the other: loss, scores, rate.

use super::run_folder::METRICS;
use crate::draw::chart::{Axis, Chart, Curve, stacked};
use crate::report::course::{Course, Follower, Part, is_loss};
use crate::report::training_log::{Point, Row, TrainingLog};
use crate::{files, warn};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The picture of a run's curves, in its folder.
const NAME: &str = "curves.svg";

/// Drawing takes at most one part in so many of a run's time.
const SHARE: u32 = 100;

/// How many times the least the greatest number of an axis is, from which on it goes by powers of ten.
const WIDE: f64 = 30.0;

/// Points over iterations; one that is no number breaks the curve.
type Points = Vec<(f64, f64)>;

/// What is drawn of a run or a log.
pub struct Drawn {
    name: String,
    loss: Points,
    rate: Points,
    /// What tests gave, by its name.
    tests: Vec<(String, Points)>,
}

impl Drawn {
    /// Of a run's course, over the iterations of all phases.
    pub fn of_course(name: String, course: &Course) -> Self {
        let output = |name: &str| {
            let value = |own: &[(String, f64)]| {
                let found = own.iter().find(|o| o.0 == name);
                found.map_or(f64::NAN, |o| o.1)
            };
            over(course, |p| {
                p.test
                    .iter()
                    .map(|r| (r.global, value(&r.outputs)))
                    .collect()
            })
        };
        let names = course.outputs().into_iter();
        Self {
            name,
            loss: over(course, |p| {
                p.train.iter().map(|r| (r.global, r.loss)).collect()
            }),
            rate: over(course, |p| {
                p.train.iter().map(|r| (r.global, r.lr)).collect()
            }),
            tests: names.map(|n| (n.to_owned(), output(n))).collect(),
        }
    }

    /// Of a training log, Caffe's or ours.
    pub fn of_log(name: String, log: &TrainingLog) -> Self {
        let points = |points: &[Point]| unbroken(points.iter().map(|p| (p.iteration, p.value)));
        let rows = log.test.rows();
        let mut names: Vec<(usize, &str)> = Vec::new();
        for row in rows {
            for (output, _) in &row.outputs {
                if !names.contains(&(row.net, output)) {
                    names.push((row.net, output));
                }
            }
        }
        let output = |net: usize, name: &str| {
            let value = |row: &Row| row.outputs.iter().find(|o| o.0 == name).map(|o| o.1);
            let own = rows.iter().filter(|row| row.net == net);
            unbroken(own.filter_map(|row| Some((row.iteration, value(row)?))))
        };
        let called = |net: usize, name: &str| match log.test.several_nets() {
            true => format!("#{net} {name}"),
            false => name.to_owned(),
        };
        let tests = names
            .iter()
            .map(|&(net, n)| (called(net, n), output(net, n)));
        Self {
            name,
            loss: points(&log.losses),
            rate: points(&log.rates),
            tests: tests.collect(),
        }
    }

    /// Whether there is anything to draw.
    pub fn is_empty(&self) -> bool {
        self.loss.is_empty() && self.rate.is_empty() && self.tests.is_empty()
    }
}

/// The points of all phases, each after a gap: it begins with a jump.
fn over(course: &Course, points: impl Fn(&Part) -> Vec<(u64, f64)>) -> Points {
    let mut all = Points::new();
    for part in &course.parts {
        if !all.is_empty() {
            all.push((f64::NAN, f64::NAN));
        }
        all.extend(points(part).into_iter().map(|(at, v)| (at as f64, v)));
    }
    all
}

/// Points with a gap where iterations begin again: no line leads back there.
fn unbroken(points: impl Iterator<Item = (f64, f64)>) -> Points {
    let mut all = Points::new();
    for point in points {
        if all.last().is_some_and(|last: &(f64, f64)| point.0 < last.0) {
            all.push((f64::NAN, f64::NAN));
        }
        all.push(point);
    }
    all
}

/// The picture (SVG) of runs and logs; a chart of which there are no points is left out.
pub fn picture(drawn: &[Drawn]) -> String {
    let named = |d: &Drawn, what: &str| match drawn {
        [_] => what.to_owned(),
        _ => format!("{} {what}", d.name),
    };
    let tests = |loss: bool| {
        let of = move |d| tested(d, loss);
        drawn.iter().flat_map(of).map(|(d, n, points)| Curve {
            name: named(d, &format!("test {n}")),
            points: points.clone(),
        })
    };
    let one = |what: &str, points: fn(&Drawn) -> &Points| -> Vec<Curve> {
        let curve = |d: &Drawn| Curve {
            name: named(d, what),
            points: points(d).clone(),
        };
        drawn.iter().map(curve).collect()
    };
    let mut losses = one("training (smoothed)", |d| &d.loss);
    losses.extend(tests(true));
    let scores: Vec<Curve> = tests(false).collect();
    let title = match scores.iter().any(|c| c.name.contains("accuracy")) {
        true => "Test accuracy",
        false => "Test outputs",
    };
    let charts = [
        chart("Loss", losses, true),
        chart(title, scores, false),
        chart("Learning rate", one("rate", |d| &d.rate), true),
    ];
    stacked(&charts.into_iter().flatten().collect::<Vec<_>>())
}

/// The outputs of tests that are losses, or those that are not.
fn tested(drawn: &Drawn, loss: bool) -> impl Iterator<Item = (&Drawn, &str, &Points)> {
    let own = drawn.tests.iter().filter(move |(n, _)| is_loss(n) == loss);
    own.map(move |(n, points)| (drawn, &n[..], points))
}

fn chart(title: &str, mut curves: Vec<Curve>, powers: bool) -> Option<Chart> {
    curves.retain(|c| c.points.iter().any(|p| p.0.is_finite() && p.1.is_finite()));
    let points = || curves.iter().flat_map(|c| &c.points);
    let span = |values: &mut dyn Iterator<Item = f64>| {
        let known = values.filter(|v| v.is_finite());
        known.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
            (low.min(v), high.max(v))
        })
    };
    let (left, right) = span(&mut points().map(|p| p.0));
    let (low, high) = span(&mut points().map(|p| p.1));
    let y = match powers && low > 0.0 && high > WIDE * low {
        true => Axis::powers(title, low, high),
        false => Axis::spanning(title, low, high),
    };
    (!curves.is_empty()).then(|| Chart {
        title: title.to_owned(),
        x: Axis::spanning("Iterations", left, right),
        y,
        curves,
        base: None,
    })
}

/// The picture of a run that goes on: drawn anew as its course grows, but not so often that it costs the run anything.
pub struct Live {
    path: PathBuf,
    name: String,
    follower: Follower,
    drawn: Option<Instant>,
    took: Duration,
}

impl Live {
    /// Of the run in the folder `root`.
    pub fn new(root: &Path) -> Self {
        let name = root.file_name().unwrap_or(root.as_os_str());
        Self {
            path: root.join(NAME),
            name: name.to_string_lossy().into_owned(),
            follower: Follower::new(&root.join(METRICS)),
            drawn: None,
            took: Duration::ZERO,
        }
    }

    /// Draws it, if it is time; a run does not stop for a picture that cannot be written.
    pub fn draw(&mut self) {
        let wait = self.took * SHARE;
        if self.drawn.is_some_and(|drawn| drawn.elapsed() < wait) {
            return;
        }
        self.draw_now();
    }

    fn draw_now(&mut self) {
        let began = Instant::now();
        if let Err(error) = self.write() {
            warn!("The picture of the run's curves is left out: {error:#}");
        }
        self.took = began.elapsed();
        self.drawn = Some(Instant::now());
    }

    fn write(&mut self) -> Result<()> {
        self.follower.look()?;
        let drawn = [Drawn::of_course(self.name.clone(), &self.follower.course)];
        if drawn[0].is_empty() {
            return Ok(());
        }
        let text = picture(&drawn);
        files::write_atomic(&self.path, |w| Ok(w.write_all(text.as_bytes())?))
    }
}

impl Drop for Live {
    /// The last points, too, are to be seen.
    fn drop(&mut self) {
        self.draw_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::course::{TestRow, TrainRow};

    fn part(phase: &str, from: u64) -> Part {
        let train = (0..10).map(|k| TrainRow {
            iteration: k,
            global: from + k,
            time: 0.0,
            lr: 0.1 / (from + 1) as f64,
            loss: 2.0 / (1 + from + k) as f64,
            images_per_s: 1.0,
            density: 1.0,
            waited: 0.0,
        });
        Part {
            phase: phase.into(),
            train: train.collect(),
            test: vec![TestRow {
                iteration: 9,
                global: from + 9,
                time: 0.0,
                outputs: vec![("accuracy".into(), 0.5), ("loss".into(), f64::NAN)],
            }],
        }
    }

    #[test]
    fn a_course_is_three_charts_with_a_gap_between_phases() {
        let course = Course {
            parts: vec![part("dense", 0), part("sparse", 100)],
        };
        let drawn = Drawn::of_course("run".into(), &course);
        assert_eq!(drawn.loss.len(), 21);
        assert!(drawn.loss[10].0.is_nan());
        let text = picture(&[drawn]);
        for title in ["Loss", "Test accuracy", "Learning rate"] {
            assert!(text.contains(&format!("<title>{title}</title>")), "{title}");
        }
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        // A loss that is never a number has no curve.
        assert!(!text.contains("test loss"));
        assert_eq!(text.matches("<svg").count(), text.matches("</svg>").count());
    }

    #[test]
    fn nothing_is_an_empty_picture() {
        assert!(picture(&[]).starts_with("<svg "));
        let folder = tempfile::tempdir().unwrap();
        Live::new(folder.path()).draw();
        assert!(!folder.path().join(NAME).exists());
    }
}
