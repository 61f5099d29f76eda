//! What the net of a run's last phase answers on its test data: which classes it mistakes for which, and its worst mistakes.

mod ask;
mod picture;

use super::gathered::Gathered;
use crate::classify;
use crate::cli;
use crate::commands::Settings;
use crate::page::{Cell, Page, Picture, Table};
use crate::report::output::sentence;
use crate::statistics::binomial_error;
use crate::warn;
use std::collections::BTreeMap;

/// Pictures of mistakes on a page, at most.
const PICTURES: usize = 24;
/// Classes whose matrix is shown whole; of more only the pairs that are mistaken most.
const WHOLE: usize = 20;
/// Such pairs, at most.
const PAIRS: usize = 20;

/// A wrong answer.
struct Mistake {
    label: usize,
    answer: usize,
    /// The probability of the answer, and of the label.
    probability: [f32; 2],
    /// The number of the picture in the order of the data.
    number: u64,
    /// As the net sees it: channels, height, width.
    pixels: Option<([usize; 3], Vec<f32>)>,
}

/// The answers to a test.
struct Answers {
    phase: String,
    classes: usize,
    names: Vec<String>,
    /// How often each label got each answer.
    counts: BTreeMap<(usize, usize), u64>,
    /// The surest of the wrong ones first.
    mistakes: Vec<Mistake>,
}

impl Answers {
    fn all(&self) -> u64 {
        self.counts.values().sum()
    }

    fn right(&self) -> u64 {
        let own = self
            .counts
            .iter()
            .filter(|((label, answer), _)| label == answer);
        own.map(|(_, n)| n).sum()
    }

    fn name(&self, class: usize) -> String {
        self.names
            .get(class)
            .cloned()
            .unwrap_or_else(|| class.to_string())
    }
}

/// Adds the section.
pub fn section(page: &mut Page, runs: &[Gathered], args: &cli::Report, settings: &Settings) {
    page.section("Mistakes");
    if args.quick {
        page.text("Left out, as --quick asks.");
        return;
    }
    for run in runs {
        if runs.len() > 1 {
            page.heading(&run.name);
        }
        match ask::ask(run, args, settings) {
            Ok(answers) => tell(page, &answers, PICTURES / runs.len().max(1)),
            Err(why) => {
                let why = sentence(&why);
                warn!("{}: no mistakes are shown: {why}", run.name);
                page.text(&format!(
                    "The net could not be asked about its test data, so no mistakes are shown: {why}."
                ));
            }
        }
    }
}

fn tell(page: &mut Page, answers: &Answers, pictures: usize) {
    let (all, right) = (answers.all(), answers.right());
    let part = right as f64 / all.max(1) as f64;
    let error = binomial_error(part, all);
    page.text(&format!(
        "The net of the {} phase is right on {right} of {all} test pictures: {part:.4}, with a standard error of {error:.4} \
         from the number of pictures alone.",
        answers.phase
    ));
    match answers.classes <= WHOLE {
        true => matrix(page, answers),
        false => pairs(page, answers),
    }
    if answers.mistakes.is_empty() {
        return;
    }
    let shown: Vec<Picture> = answers
        .mistakes
        .iter()
        .take(pictures)
        .filter_map(|m| shown(answers, m))
        .collect();
    if !shown.is_empty() {
        page.heading("The surest of the wrong answers");
        page.note("Pictures as the net sees them, stretched to the full range of brightness.");
        page.pictures(&shown);
    }
}

fn matrix(page: &mut Page, answers: &Answers) {
    let classes = 0..answers.classes;
    let heads = std::iter::once(String::new()).chain(classes.clone().map(|c| answers.name(c)));
    let caption = "Rows: what the pictures are; columns: what the net answers";
    let mut table = Table::new(caption, heads).dense();
    for label in classes.clone() {
        let count = |answer| answers.counts.get(&(label, answer)).copied().unwrap_or(0);
        let sum: u64 = classes.clone().map(count).sum();
        let cell = |answer: usize| {
            let n = count(answer);
            let part = n as f64 / sum.max(1) as f64;
            let cell = match n {
                0 => Cell::new("·"),
                n => Cell::new(n.to_string()),
            };
            let said = format!(
                "{n} of {sum} pictures of {} answered {}",
                answers.name(label),
                answers.name(answer)
            );
            match answer == label {
                true => cell.right(part),
                false => cell.wrong(part),
            }
            .title(said)
        };
        table.row(std::iter::once(Cell::new(answers.name(label))).chain(classes.clone().map(cell)));
    }
    page.table(&table);
}

fn pairs(page: &mut Page, answers: &Answers) {
    let mut sums: BTreeMap<usize, u64> = BTreeMap::new();
    for ((label, _), n) in &answers.counts {
        *sums.entry(*label).or_default() += n;
    }
    let mut wrong: Vec<_> = answers.counts.iter().filter(|((a, b), _)| a != b).collect();
    wrong.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let heads = ["what it is", "what the net answers", "times", "of"];
    let caption = format!(
        "The {PAIRS} mistakes made most often, of {} classes",
        answers.classes
    );
    let mut table = Table::new(&caption, heads).words(1);
    for ((label, answer), n) in wrong.into_iter().take(PAIRS) {
        let sum = sums.get(label).copied().unwrap_or(0);
        table.row([
            answers.name(*label),
            answers.name(*answer),
            n.to_string(),
            sum.to_string(),
        ]);
    }
    page.table(&table);
}

fn shown(answers: &Answers, mistake: &Mistake) -> Option<Picture> {
    let (dims, pixels) = mistake.pixels.as_ref()?;
    let uri = picture::uri(*dims, pixels)?;
    let (label, answer) = (answers.name(mistake.label), answers.name(mistake.answer));
    let [sure, own] = mistake.probability.map(|p| 100.0 * p);
    Some(Picture {
        uri,
        alt: format!("test picture {}, which is {label}", mistake.number),
        title: format!("{label}, answered {answer}"),
        note: format!(
            "{answer}: {sure:.0} %, {label}: {own:.0} %; picture {}",
            mistake.number
        ),
    })
}

/// The names of the classes: those of `--labels`, else those that are known.
fn names(args: &cli::Report, known: Vec<String>, classes: usize) -> anyhow::Result<Vec<String>> {
    let Some(file) = &args.labels else {
        return Ok(known);
    };
    let names = classify::labels(file)?;
    anyhow::ensure!(
        names.len() == classes,
        "{}: {} labels, but the net has {classes} classes",
        file.display(),
        names.len()
    );
    Ok(names)
}
