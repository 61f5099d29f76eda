//! What the page says of the runs' courses: phases, curves, speed.

use super::gathered::Gathered;
use crate::commands::run_folder::Record;
use crate::page::{Band, Cell, Curves, Page, Series, Table};
use crate::report::course::{Part, TestRow, TrainRow, is_loss};
use crate::report::human::{HumanBytes, HumanTime};
use crate::report::number::G;
use std::time::Duration;

/// A number of a point of training.
type OfRow = fn(&TrainRow) -> f64;

/// What the page is about, and the figures to see first.
pub fn head(page: &mut Page, runs: &[Gathered]) {
    for run in runs {
        page.lead(&lead(run));
    }
    let [run] = runs else { return };
    let Some(name) = run.main_output() else {
        return;
    };
    let mut facts: Vec<[String; 3]> = Vec::new();
    for record in &run.phases {
        if let Some((_, value)) = run.outputs(record).into_iter().find(|o| o.0 == name) {
            let word = format!("{name}, density {:.2}", record.density);
            facts.push([record.phase.clone(), G(value).to_string(), word]);
        }
    }
    page.facts(&facts);
}

fn lead(run: &Gathered) -> String {
    let names: Vec<&str> = run.phases.iter().map(|r| &r.phase[..]).collect();
    let sitting = run.started.sittings.first();
    let time = sitting.map_or(String::new(), |s| {
        format!(
            ", started {} UTC",
            s.time.split('.').next().unwrap_or("").replace('T', " ")
        )
    });
    let version = sitting.map_or(String::new(), |s| format!(", dsd {}", s.version));
    let state = match run.is_done() {
        true => "finished",
        false => "not finished",
    };
    format!(
        "{}: {}; {state}{time}{version}.",
        run.name,
        names.join(", ")
    )
}

/// The names of what the tests of all runs give.
fn outputs(runs: &[Gathered]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for run in runs {
        for (name, _) in run.phases.iter().flat_map(|r| run.outputs(r)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// The table of the phases, of each run.
pub fn phases(page: &mut Page, runs: &[Gathered]) {
    page.section("Phases");
    let names = outputs(runs);
    for run in runs {
        let mut heads: Vec<String> = [
            "phase",
            "sparsity",
            "density",
            "base_lr",
            "iterations",
            "loss",
        ]
        .map(String::from)
        .to_vec();
        heads.extend(names.iter().map(|n| format!("test {n}")));
        heads.push("time".into());
        let caption = match runs.len() {
            1 => "The phases with the results of their last tests".to_owned(),
            _ => format!("The phases of {}", run.name),
        };
        let mut table = Table::new(&caption, heads).words(1);
        for record in &run.phases {
            table.row(phase_row(run, record, &names));
        }
        page.table(&table);
    }
    if runs.iter().any(|r| !r.is_done()) {
        page.note("A phase that has not ended shows where it stands.");
    }
}

fn phase_row(run: &Gathered, record: &Record, names: &[String]) -> Vec<Cell> {
    let done = run.iterations(record);
    let iterations = match record.max_iter {
        Some(all) if all != done => format!("{done} of {all}"),
        _ => done.to_string(),
    };
    let last = run.part(&record.phase).and_then(|p| p.train.last());
    let loss = match record.done {
        true => f64::from(record.loss),
        false => last.map_or(f64::NAN, |r| r.loss),
    };
    let mut cells: Vec<Cell> = vec![
        record.phase.clone().into(),
        record.sparsity.clone().unwrap_or_default().into(),
        Cell::new(format!("{:.4}", record.density)).bar(record.density),
        G(record.base_lr).to_string().into(),
        iterations.into(),
        G(loss).to_string().into(),
    ];
    let outputs = run.outputs(record);
    for name in names {
        let value = outputs.iter().find(|o| o.0 == *name);
        cells.push(value.map_or(String::new(), |o| G(o.1).to_string()).into());
    }
    cells.push(time(record.seconds).into());
    cells
}

fn time(seconds: f64) -> String {
    let time = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    HumanTime(time).to_string()
}

/// Loss, scores, rate and density over the iterations of all phases.
pub fn curves(page: &mut Page, runs: &[Gathered]) {
    page.section("Curves");
    page.note(
        "Over all phases' iterations. Drag across a chart to zoom, double-click to see all of it; the arrow keys go from \
         point to point.",
    );
    let alone = runs.len() == 1;
    let named = |run: &Gathered, what: &str| match alone {
        true => what.to_owned(),
        false => format!("{}, {what}", run.name),
    };
    // One run: a colour a curve. Several: a colour a run, dashes by what it is.
    let look = |run: usize, what: usize| match alone {
        true => (what, 0),
        false => (run, what),
    };
    let bands = common_bands(runs);
    let names = outputs(runs);
    let mut charts = vec![loss(runs, &named, &look)];
    for (kind, name) in names.iter().filter(|n| !is_loss(n)).enumerate() {
        let chart = Curves::new(&capital(&format!("test {name}")), "iteration", name);
        let series = |(k, run): (usize, &Gathered)| {
            let points = tested(run, name);
            Series::new(named(run, name), points).look(look(k, 0).0 + kind * usize::from(alone), 0)
        };
        charts.push(
            runs.iter()
                .enumerate()
                .map(series)
                .fold(chart, Curves::series),
        );
    }
    let kinds: [(&str, &str, OfRow); 2] = [
        ("Learning rate", "rate", |r| r.lr),
        ("Density of the prunable weights", "density", |r| r.density),
    ];
    for (title, y, value) in kinds {
        let mut chart = Curves::new(title, "iteration", y);
        chart = match y {
            "rate" => chart.log(),
            _ => chart.range(0.0, 1.0),
        };
        for (k, run) in runs.iter().enumerate() {
            // Dashed where they lie on each other, as rates do.
            let series = Series::new(named(run, y), trained(run, value)).look(k, k);
            chart = chart.series(series);
        }
        charts.push(chart);
    }
    page.beside(|page| {
        for chart in charts.into_iter().filter(|c| !c.is_empty()) {
            page.curves(&chart.bands(bands.clone()));
        }
    });
    if bands.is_empty() {
        page.note("The runs' phases begin at different iterations, so they are not marked.");
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).collect()
}

fn loss(
    runs: &[Gathered],
    named: &dyn Fn(&Gathered, &str) -> String,
    look: &dyn Fn(usize, usize) -> (usize, usize),
) -> Curves {
    let mut chart = Curves::new("Loss", "iteration", "loss").log();
    for (k, run) in runs.iter().enumerate() {
        let (colour, dashes) = look(k, 0);
        let points = trained(run, |r| r.loss);
        chart = chart
            .series(Series::new(named(run, "training (smoothed)"), points).look(colour, dashes));
        for (j, name) in run
            .course
            .outputs()
            .into_iter()
            .filter(|n| is_loss(n))
            .enumerate()
        {
            let (colour, dashes) = look(k, j + 1);
            let series = Series::new(named(run, &format!("test {name}")), tested(run, name));
            chart = chart.series(series.look(colour, dashes));
        }
    }
    chart
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

/// How fast each phase was, and what it took.
pub fn speed(page: &mut Page, runs: &[Gathered]) {
    page.section("Speed and memory");
    page.beside(|page| {
        runs.iter()
            .for_each(|run| speed_table(page, run, runs.len() == 1))
    });
    page.note(
        "Pictures a second: the median over the points of the log, tests included. Memory: the most that the process had \
         taken by the end of the phase. Records of older versions do not tell all of it.",
    );
}

/// The same of a run; `alone` on the page, it need not be named.
fn speed_table(page: &mut Page, run: &Gathered, alone: bool) {
    let caption = match alone {
        true => "What the phases took".to_owned(),
        false => format!("What the phases of {} took", run.name),
    };
    let heads = [
        "phase",
        "pictures a second",
        "waiting for data",
        "memory",
        "time",
    ];
    let mut table = Table::new(&caption, heads);
    for record in &run.phases {
        let rows = run.part(&record.phase).map_or(&[][..], |p| &p.train);
        let pace = median(rows.iter().map(|r| r.images_per_s).filter(|v| *v > 0.0));
        let waited = mean(rows.iter().map(|r| r.waited));
        let memory = record.memory.map(|n| HumanBytes(n).to_string());
        table.row([
            record.phase.clone(),
            pace.map_or(String::new(), |v| format!("{v:.0}")),
            waited.map_or(String::new(), |v| format!("{:.1} %", 100.0 * v)),
            memory.unwrap_or_default(),
            time(record.seconds),
        ]);
    }
    page.table(&table);
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut all: Vec<f64> = values.filter(|v| v.is_finite()).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied()
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let all: Vec<f64> = values.filter(|v| v.is_finite()).collect();
    (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
}
