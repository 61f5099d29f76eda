//! What runs of several seeds show: arms by mean and deviation, and by paired difference from a control. Experiments,
//! `train --control` and `compare` end with it.

use crate::commands::run_folder::Record;
use crate::draw::forest::{self, Forest};
use crate::files;
use crate::report::human::HumanTime;
use crate::report::table::{Align, Table};
use crate::statistics::{Paired, Sentence, Summary, two_digits};
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The results for people to put into a document.
const MARKDOWN: &str = "results.md";

/// The results for programs.
const JSON: &str = "results.json";

/// One seed of an arm.
pub struct Score {
    /// The seed.
    pub seed: u64,
    /// The metric.
    pub value: f64,
    /// The last smoothed training loss.
    pub loss: f64,
    /// The density at the end.
    pub density: f64,
    /// Seconds of all its phases, also of those that it shares.
    pub seconds: f64,
    /// The run's folder.
    pub folder: PathBuf,
}

impl Score {
    /// Of a run that ended with `record`, after `earlier` seconds of other phases; `None` if it has no such output.
    pub fn of(
        record: &Record,
        seed: u64,
        metric: &str,
        earlier: f64,
        folder: PathBuf,
    ) -> Option<Self> {
        let output = record.outputs.iter().find(|(name, _)| name == metric);
        Some(Self {
            seed,
            value: number(output?.1),
            loss: number(record.loss),
            density: record.density,
            seconds: earlier + record.seconds,
            folder,
        })
    }
}

/// An arm, as far as its runs have ended.
pub struct Row {
    /// Its short name.
    pub name: String,
    /// What it is, in a few words.
    pub title: String,
    /// A score a seed.
    pub scores: Vec<Score>,
}

/// Arms that were trained on the same data.
pub struct Section {
    /// The group's short name; may be empty.
    pub name: String,
    /// What it is, in a few words; may be empty.
    pub title: String,
    /// The arms.
    pub rows: Vec<Row>,
}

/// All that has ended.
pub struct Results {
    /// What it is about.
    pub title: String,
    /// The arm that the others are compared with.
    pub control: String,
    /// The test output by which they are compared.
    pub metric: String,
    /// The groups.
    pub sections: Vec<Section>,
    /// Seconds of all runs together, each once.
    pub seconds: f64,
}

/// Whether a metric is a fraction, which reads better in percent.
fn percent(metric: &str) -> bool {
    metric.starts_with("accuracy")
}

impl Section {
    /// The difference of an arm from the control; none of the control itself, and without a pair.
    fn versus(&self, row: &Row, control: &str) -> Option<Paired> {
        let against = self.rows.iter().find(|r| r.name == control)?;
        if row.name == control {
            return None;
        }
        let pair = |s: &Score| {
            let other = against.scores.iter().find(|c| c.seed == s.seed)?;
            Some((s.value, other.value))
        };
        Paired::of(&row.scores.iter().filter_map(pair).collect::<Vec<_>>())
    }

    /// What the group is headed with.
    pub fn heading(&self) -> Option<String> {
        match (&*self.name, &*self.title) {
            ("", "") => None,
            (text, "") | ("", text) => Some(text.to_string()),
            (name, title) => Some(format!("{name}: {title}")),
        }
    }
}

impl Results {
    /// The tables and sentences in plain text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for section in &self.sections {
            if let Some(title) = section.heading() {
                let _ = writeln!(text, "{title}");
            }
            let _ = writeln!(text, "{}", self.table(section));
            for line in self.sentences(section) {
                let _ = writeln!(text, "{line}");
            }
            let _ = writeln!(text);
        }
        let _ = writeln!(text, "{}", self.time());
        text
    }

    /// Writes them into the experiment's folder, for documents and for programs.
    pub fn write(&self, out: &Path) -> Result<()> {
        let markdown = self.markdown();
        for section in &self.sections {
            let name = match &*section.name {
                "" => "results.svg".to_string(),
                name => format!("results_{name}.svg"),
            };
            let svg = self.forest(section).svg();
            files::write_atomic(&out.join(name), |w| Ok(w.write_all(svg.as_bytes())?))?;
        }
        files::write_atomic(&out.join(MARKDOWN), |w| {
            Ok(w.write_all(markdown.as_bytes())?)
        })?;
        let json = serde_json::to_string_pretty(&self.json())?;
        files::write_atomic(&out.join(JSON), |w| Ok(writeln!(w, "{json}")?))
    }

    /// A group's means with their standard errors, and each seed, as a picture.
    pub fn forest(&self, section: &Section) -> Forest {
        let scale = self.scale();
        let arm = |row: &Row| {
            let points: Vec<f64> = row.scores.iter().map(|s| scale * s.value).collect();
            let summary = Summary::of(&points);
            let name = &row.name;
            forest::Arm {
                label: match &*row.title {
                    "" => name.clone(),
                    title => format!("{name}: {title}"),
                },
                mean: summary.mean,
                low: summary.mean - summary.error(),
                high: summary.mean + summary.error(),
                note: format!("{:.2} ± {:.2}", summary.mean, summary.error()),
                points,
            }
        };
        let rows = section.rows.iter().filter(|r| !r.scores.is_empty());
        let arms: Vec<forest::Arm> = rows.map(arm).collect();
        let control = section.rows.iter().position(|r| r.name == self.control);
        let control = control
            .map(|k| &section.rows[k])
            .filter(|r| !r.scores.is_empty());
        let base = control.map(|row| {
            let values: Vec<f64> = row.scores.iter().map(|s| scale * s.value).collect();
            (Summary::of(&values).mean, self.control.clone())
        });
        let unit = if percent(&self.metric) { ", %" } else { "" };
        Forest {
            title: section.heading().unwrap_or_default(),
            x: format!(
                "test {}{unit}; mean and standard error, a dot a seed",
                self.metric
            ),
            arms,
            base,
        }
    }

    /// The same as JSON.
    pub fn json(&self) -> Value {
        let row = |section: &Section, row: &Row| {
            let values: Vec<f64> = row.scores.iter().map(|s| s.value).collect();
            let summary = Summary::of(&values);
            let scores = row.scores.iter().map(|s| {
                json!({"seed": s.seed, "value": s.value, "loss": s.loss, "density": s.density,
                       "seconds": s.seconds, "folder": s.folder})
            });
            let versus = section.versus(row, &self.control).map(|p| {
                json!({"control": self.control, "pairs": p.n(), "mean": p.mean(), "error": p.error()})
            });
            json!({"arm": row.name, "title": row.title, "seeds": row.scores.len(),
                   "mean": summary.mean, "deviation": summary.deviation, "versus": versus,
                   "scores": scores.collect::<Vec<_>>()})
        };
        let group = |s: &Section| {
            let arms: Vec<Value> = s.rows.iter().map(|r| row(s, r)).collect();
            json!({"group": s.name, "title": s.title, "arms": arms})
        };
        json!({"title": self.title, "version": env!("CARGO_PKG_VERSION"), "metric": self.metric,
               "control": self.control, "seconds": self.seconds,
               "groups": self.sections.iter().map(group).collect::<Vec<_>>()})
    }

    /// The cells of a group's table: heads, then a row an arm.
    fn cells(&self, section: &Section) -> (Vec<(String, Align)>, Vec<Vec<String>>) {
        let columns = vec![
            ("arm".to_string(), Align::Left),
            ("what".to_string(), Align::Left),
            ("seeds".to_string(), Align::Right),
            (format!("test {}", self.metric), Align::Right),
            (format!("against {}", self.control), Align::Right),
            ("training loss".to_string(), Align::Right),
            ("density".to_string(), Align::Right),
            ("time".to_string(), Align::Right),
        ];
        let rows = section.rows.iter().map(|row| {
            let over =
                |f: fn(&Score) -> f64| Summary::of(&row.scores.iter().map(f).collect::<Vec<f64>>());
            let some = |text: String| {
                if row.scores.is_empty() {
                    String::new()
                } else {
                    text
                }
            };
            let value = over(|s| s.value);
            let spread = match row.scores.len() {
                0 | 1 => String::new(),
                _ => format!(" ± {}", self.shown(value.deviation)),
            };
            let versus = section
                .versus(row, &self.control)
                .map_or(String::new(), |p| {
                    let scale = self.scale();
                    match p.n() {
                        1 => format!("{:+.2}", two_digits(scale * p.mean())),
                        _ => format!(
                            "{:+.2} ± {:.2}",
                            two_digits(scale * p.mean()),
                            scale * p.error()
                        ),
                    }
                });
            let time = Duration::try_from_secs_f64(over(|s| s.seconds).mean).unwrap_or_default();
            vec![
                row.name.clone(),
                row.title.clone(),
                row.scores.len().to_string(),
                some(format!("{}{spread}", self.shown(value.mean))),
                versus,
                some(format!("{:.4}", over(|s| s.loss).mean)),
                some(format!("{:.3}", over(|s| s.density).mean)),
                some(HumanTime(time).to_string()),
            ]
        });
        (columns, rows.collect())
    }

    /// A group's table.
    pub fn table(&self, section: &Section) -> Table {
        let (columns, rows) = self.cells(section);
        let mut table = Table::new(columns);
        rows.into_iter().for_each(|row| table.row(row));
        table
    }

    /// The results as Markdown.
    fn markdown(&self) -> String {
        let mut text = String::new();
        for section in &self.sections {
            if let Some(title) = section.heading() {
                let _ = writeln!(text, "### {title}\n");
            }
            let (columns, rows) = self.cells(section);
            let line = |cells: Vec<String>| format!("| {} |", cells.join(" | "));
            let heads = columns.iter().map(|c| c.0.clone()).collect();
            let rules = columns.iter().map(|c| match c.1 {
                Align::Left => "---".to_string(),
                Align::Right => "---:".to_string(),
            });
            let _ = writeln!(text, "{}\n{}", line(heads), line(rules.collect()));
            for row in rows {
                let _ = writeln!(text, "{}", line(row));
            }
            let _ = writeln!(text);
            for sentence in self.sentences(section) {
                let _ = writeln!(text, "- {sentence}");
            }
            let _ = writeln!(text);
        }
        let _ = writeln!(
            text,
            "Mean ± standard deviation over seeds; against {}: the mean of the differences of runs of one seed ± its \
             standard error{}. {}",
            self.control,
            if percent(&self.metric) {
                ", in points"
            } else {
                ""
            },
            self.time()
        );
        text
    }

    /// What the runs say of each arm against the control.
    pub fn sentences(&self, section: &Section) -> Vec<String> {
        let unit = if percent(&self.metric) { "points" } else { "" };
        let sentence = |row: &Row| {
            let sentence = Sentence {
                what: &row.name,
                control: &self.control,
                paired: section.versus(row, &self.control)?,
                unit: (self.scale(), unit),
            };
            Some(sentence.to_string())
        };
        section.rows.iter().filter_map(sentence).collect()
    }

    fn scale(&self) -> f64 {
        if percent(&self.metric) { 100.0 } else { 1.0 }
    }

    /// A value of the metric.
    fn shown(&self, value: f64) -> String {
        match percent(&self.metric) {
            true => format!("{:.2}%", 100.0 * value),
            false => format!("{value:.4}"),
        }
    }

    /// How long all of it took.
    pub fn time(&self) -> String {
        let time = Duration::try_from_secs_f64(self.seconds).unwrap_or_default();
        format!("All runs together took {}.", HumanTime(time))
    }
}

/// The metric's name: the one that was asked for, else the first accuracy, else the first output.
///
/// # Errors
/// The runs have no such output, or no test at all.
pub fn metric<'a>(
    asked: Option<&str>,
    mut records: impl Iterator<Item = &'a Record>,
) -> Result<String> {
    let Some(first) = records.next() else {
        return Ok(asked.unwrap_or("accuracy").to_string());
    };
    let names: Vec<&str> = first.outputs.iter().map(|(name, _)| &**name).collect();
    if let Some(asked) = asked {
        if !names.contains(&asked) {
            bail!(
                "the metric is '{asked}', but the test outputs are {}",
                names.join(", ")
            );
        }
        return Ok(asked.to_string());
    }
    let accuracy = names.iter().find(|n| percent(n));
    match accuracy.or(names.first()) {
        Some(name) => Ok(name.to_string()),
        None => bail!(
            "the solver has no test net, so nothing can be compared; give it test_iter and a net with a TEST phase"
        ),
    }
}

/// A float32 as its digits say, so that 0.61 is not 0.61000001.
fn number(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::NAN)
}
