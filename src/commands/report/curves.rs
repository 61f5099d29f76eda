//! The runs' courses as curves over the iterations of all phases.

use super::gathered::Gathered;
use super::sections::outputs;
use crate::page::{Band, Curves, Page, Series};
use crate::report::course::{Part, TestRow, TrainRow, is_loss};

/// Loss, scores, rate and density.
pub fn section(page: &mut Page, runs: &[Gathered]) {
    page.section("Curves");
    page.note(
        "Over all phases' iterations. Drag across a chart to zoom, double-click to see all of it; the arrow keys go from \
         point to point.",
    );
    let all = Runs(runs);
    let mut charts = vec![all.loss()];
    let names = outputs(runs);
    let scores = names.iter().filter(|n| !is_loss(n)).enumerate();
    charts.extend(scores.map(|(k, name)| all.score(k, name)));
    let rate = Curves::new("Learning rate", "iteration", "rate").log();
    charts.push(all.trained(rate, "rate", |r| r.lr));
    let density = Curves::new("Density of the prunable weights", "iteration", "density");
    charts.push(all.trained(density.range(0.0, 1.0), "density", |r| r.density));
    let bands = common_bands(runs);
    page.beside(|page| {
        for chart in charts.into_iter().filter(|c| !c.is_empty()) {
            page.curves(&chart.bands(bands.clone()));
        }
    });
    if bands.is_empty() {
        page.note("The runs' phases begin at different iterations, so they are not marked.");
    }
}

/// The runs of a page. One alone: a colour a curve. Several: a colour a run, dashes by what the curve is.
struct Runs<'a>(&'a [Gathered]);

impl Runs<'_> {
    fn is_one(&self) -> bool {
        self.0.len() == 1
    }

    fn name(&self, run: &Gathered, what: &str) -> String {
        match self.is_one() {
            true => what.to_owned(),
            false => format!("{}, {what}", run.name),
        }
    }

    /// Colour and dashes of curve `what` of run `run`.
    fn look(&self, run: usize, what: usize) -> (usize, usize) {
        if self.is_one() {
            (what, 0)
        } else {
            (run, what)
        }
    }

    fn loss(&self) -> Curves {
        let mut chart = Curves::new("Loss", "iteration", "loss").log();
        for (k, run) in self.0.iter().enumerate() {
            let mut curves = vec![("training (smoothed)".to_owned(), trained(run, |r| r.loss))];
            let losses = run.course.outputs().into_iter().filter(|n| is_loss(n));
            curves.extend(losses.map(|name| (format!("test {name}"), tested(run, name))));
            for (j, (what, points)) in curves.into_iter().enumerate() {
                let (colour, dashes) = self.look(k, j);
                let series = Series::new(self.name(run, &what), points);
                chart = chart.series(series.look(colour, dashes));
            }
        }
        chart
    }

    /// What tests gave by this name; `kind` charts of others come before it.
    fn score(&self, kind: usize, name: &str) -> Curves {
        let mut chart = Curves::new(&capital(&format!("test {name}")), "iteration", name);
        for (k, run) in self.0.iter().enumerate() {
            let colour = if self.is_one() { kind } else { k };
            let series = Series::new(self.name(run, name), tested(run, name));
            chart = chart.series(series.look(colour, 0));
        }
        chart
    }

    fn trained(&self, chart: Curves, what: &str, value: impl Fn(&TrainRow) -> f64) -> Curves {
        let mut chart = chart;
        for (k, run) in self.0.iter().enumerate() {
            let series = Series::new(self.name(run, what), trained(run, &value));
            // Dashed where they lie on each other, as rates do.
            chart = chart.series(series.look(k, k));
        }
        chart
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).collect()
}

/// Where phases begin, if that is the same in all runs.
fn common_bands(runs: &[Gathered]) -> Vec<Band> {
    let of = |run: &Gathered| -> Vec<(String, u64)> {
        let bands = run.phases.iter();
        bands.map(|r| (r.phase.clone(), r.before)).collect()
    };
    match runs.iter().all(|r| of(r) == of(&runs[0])) {
        true => runs[0].bands(),
        false => Vec::new(),
    }
}

/// The parts of a course that are of the run's phases, each after a gap.
fn over<R>(
    run: &Gathered,
    rows: impl Fn(&Part) -> &[R],
    point: impl Fn(&R) -> (f64, f64),
) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    for record in &run.phases {
        let own = run.part(&record.phase).map(&rows).unwrap_or_default();
        if !points.is_empty() && !own.is_empty() {
            // A phase begins with a jump: no line leads over it.
            points.push((record.before as f64, f64::NAN));
        }
        points.extend(own.iter().map(&point));
    }
    points
}

fn trained(run: &Gathered, value: impl Fn(&TrainRow) -> f64) -> Vec<(f64, f64)> {
    over(run, |p| &p.train[..], |r| (r.global as f64, value(r)))
}

fn tested(run: &Gathered, name: &str) -> Vec<(f64, f64)> {
    let value = |r: &TestRow| {
        let own = r.outputs.iter().find(|o| o.0 == name);
        own.map_or(f64::NAN, |o| o.1)
    };
    over(run, |p| &p.test[..], |r| (r.global as f64, value(r)))
}
