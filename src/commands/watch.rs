//! `dsd watch`: a run in the terminal while it goes on.

use super::model_folder::ModelFolder;
use super::run_folder::{METRICS, Record, RunFolder, lock, stand};
use crate::draw::terminal::{bar, curve};
use crate::report::course::{Course, Follower, Part, TestRow, TrainRow, is_loss};
use crate::report::human::HumanTime;
use crate::report::number::G;
use crate::report::output;
use crate::{cli, outln};
use anyhow::{Result, bail};
use console::Term;
use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

/// How often the picture is drawn anew.
const EVERY: Duration = Duration::from_secs(2);
/// The size of a terminal that does not tell its own.
const SIZE: [usize; 2] = [80, 24];

/// Shows the run until it ends; once where nobody looks.
pub fn run(args: &cli::Watch) -> Result<()> {
    let root = &ModelFolder::run_of(&args.run);
    if !root.is_dir() {
        bail!(
            "{}: no such folder; give that of a run, as dsd train --out writes it",
            root.display()
        );
    }
    let mut follower = Follower::new(&root.join(METRICS));
    let folder = RunFolder::new(root.clone());
    let live = !args.once && std::io::stdout().is_terminal();
    if !live && !root.join(METRICS).exists() {
        bail!(
            "{}: no {METRICS} is here yet; is this the folder of a run (dsd train --out)?",
            root.display()
        );
    }
    loop {
        follower.look()?;
        let records = folder.records()?;
        let size = size(live);
        let lines = picture(root, &follower.course, &records, size);
        if !live {
            return Ok(outln!("{}", lines.join("\n"))?);
        }
        let going = lock::holder(root).is_some();
        draw(&lines, size[1], going)?;
        if !going {
            return Ok(());
        }
        std::thread::sleep(EVERY);
    }
}

/// Columns and rows.
fn size(live: bool) -> [usize; 2] {
    let own = live.then(|| Term::stdout().size_checked()).flatten();
    let own = own.map(|(rows, columns)| [usize::from(columns), usize::from(rows)]);
    own.unwrap_or(SIZE)
}

/// Draws over what was drawn before.
fn draw(lines: &[String], rows: usize, going: bool) -> Result<()> {
    let shown = lines.len().min(rows.saturating_sub(2).max(1));
    let last = match going {
        true => "Ctrl-C ends this view, not the run.",
        false => "No process is at work here any more.",
    };
    // To the corner, and each line to its end: nothing flickers.
    let text: Vec<String> = lines[..shown]
        .iter()
        .map(|l| format!("{l}\x1b[K\n"))
        .collect();
    output::text(format_args!(
        "\x1b[H{}\x1b[K\n{last}\x1b[K\n\x1b[J",
        text.concat()
    ))?;
    Ok(())
}

fn picture(
    root: &Path,
    course: &Course,
    records: &[Record],
    [width, rows]: [usize; 2],
) -> Vec<String> {
    let width = width.clamp(24, 120);
    let cut = |line: String| -> String { line.chars().take(width).collect() };
    let Some(part) = course.parts.last() else {
        return vec![cut(format!("{}: no point yet", root.display()))];
    };
    let record = records.iter().find(|r| r.phase == part.phase);
    let mut lines = vec![cut(format!(
        "{}  {}",
        root.display(),
        phases(course, records)
    ))];
    lines.extend(wrapped(&now(part, record), width));
    let height = (rows.saturating_sub(10) / 2).clamp(3, 8);
    lines.push(String::new());
    lines.push(cut("loss (smoothed, powers of ten)".to_owned()));
    lines.extend(curve(
        &over(course, |p| &p.train, |r: &TrainRow| (r.global, r.loss)),
        [width, height],
        true,
    ));
    let score = course
        .outputs()
        .into_iter()
        .find(|n| !is_loss(n))
        .map(str::to_owned);
    if let Some(name) = score {
        let value = |r: &TestRow| {
            let own = r.outputs.iter().find(|o| o.0 == name);
            (r.global, own.map_or(f64::NAN, |o| o.1))
        };
        lines.push(cut(format!("test {name}")));
        lines.extend(curve(
            &over(course, |p| &p.test, value),
            [width, height],
            false,
        ));
    }
    let density = part
        .train
        .last()
        .map(|r| r.density)
        .filter(|d| d.is_finite());
    if let Some(density) = density {
        lines.push(cut(format!(
            "density {density:.4} {}",
            bar(density, width.saturating_sub(16))
        )));
    }
    lines
}

/// The phases so far.
fn phases(course: &Course, records: &[Record]) -> String {
    let one = |part: &Part| match records.iter().find(|r| r.phase == part.phase) {
        Some(r) if r.done => format!("{} ✓", part.phase),
        _ => format!("{} …", part.phase),
    };
    let all: Vec<String> = course.parts.iter().map(one).collect();
    all.join("  ")
}

/// Where the phase stands, a word a cell.
fn now(part: &Part, record: Option<&Record>) -> Vec<String> {
    let mut cells = vec![format!("phase {}", part.phase)];
    let done = record.is_some_and(|r| r.done);
    if let Some(last) = part.train.last() {
        // What a phase ended with is in its record; it goes on past the last point that was shown.
        let iteration = record
            .map_or(0, |r| if done { r.iterations } else { 0 })
            .max(last.iteration);
        cells.push(match record.and_then(|r| r.max_iter) {
            Some(all) => format!("iteration {iteration} of {all}"),
            None => format!("iteration {iteration}"),
        });
        if let (Some(all), false) = (record.and_then(|r| r.max_iter), done)
            && let Some(left) = stand::left(&part.train, all)
        {
            cells.push(format!("{} left", HumanTime(left)));
        }
        cells.push(format!("loss {}", G(last.loss)));
        cells.push(format!("lr {}", G(last.lr)));
        if last.images_per_s > 0.0 {
            cells.push(format!("{:.0} pictures/s", last.images_per_s));
        }
        if last.waited > 0.05 {
            cells.push(format!("waiting for data {:.0}%", 100.0 * last.waited));
        }
    }
    for (name, value) in part.test.last().into_iter().flat_map(|r| &r.outputs) {
        cells.push(format!("test {name} {}", G(*value)));
    }
    cells
}

/// Cells side by side, as many to a line as fit.
fn wrapped(cells: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for cell in cells {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 3 + cell.chars().count() <= width => {
                *line += &format!("   {cell}");
            }
            _ => lines.push(cell.chars().take(width).collect()),
        }
    }
    lines
}

/// Points over all phases, with a gap where one begins.
fn over<R>(
    course: &Course,
    rows: impl Fn(&Part) -> &Vec<R>,
    point: impl Fn(&R) -> (u64, f64),
) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    for part in &course.parts {
        points.push((f64::NAN, f64::NAN));
        points.extend(rows(part).iter().map(|r| {
            let (at, value) = point(r);
            (at as f64, value)
        }));
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(iteration: u64, time: f64, loss: f64) -> TrainRow {
        TrainRow {
            iteration,
            global: iteration,
            time,
            lr: 0.1,
            loss,
            images_per_s: 10.0,
            density: 0.5,
            waited: 0.5,
        }
    }

    #[test]
    fn the_picture_fits_a_narrow_terminal() {
        let part = Part {
            phase: "sparse".into(),
            train: vec![row(0, 0.0, 2.0), row(10, 5.0, 1.0)],
            test: vec![TestRow {
                iteration: 10,
                global: 10,
                time: 5.0,
                outputs: vec![("accuracy".into(), 0.75)],
            }],
        };
        let course = Course { parts: vec![part] };
        let record = Record {
            phase: "sparse".into(),
            max_iter: Some(30),
            ..Record::default()
        };
        let records = [record];
        for width in [0, 30, 80, 500] {
            let lines = picture(Path::new("run"), &course, &records, [width, 24]);
            let widest = lines.iter().map(|l| l.chars().count()).max().unwrap();
            assert!(widest <= width.clamp(24, 120), "{width}: {lines:#?}");
            assert!(lines.len() <= 24 || width < 40, "{}", lines.len());
            let text = lines.join("\n");
            for wanted in [
                "iteration 10 of 30",
                "10.0 s left",
                "test accuracy 0.75",
                "density 0.5000",
            ] {
                assert!(text.contains(wanted), "{wanted}: {text}");
            }
        }
        let empty = picture(Path::new("run"), &Course::default(), &[], [80, 24]);
        assert_eq!(empty, ["run: no point yet"]);
    }
}
