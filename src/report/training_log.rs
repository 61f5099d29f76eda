//! What a training log says, as the two tables of Caffe's `tools/extra/parse_log.py`: one row for each
//! display (TRAIN) and each test pass (TEST), with iteration, seconds, learning rate and the outputs.
//!
//! The rules are that script's, so that plots made from its files stay what they were: time counts from the
//! line `Solving …`; the learning rate of a row is the last one printed before it, in the first row that
//! of the second. What it gives up on is read here: outputs that are `nan` or `inf`, the date with a year
//! of newer glogs, rows with other outputs than the first, and a log with one row only.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

/// The rows of a log.
#[derive(Clone, Debug, Default)]
pub struct TrainingLog {
    /// From the lines `Train net output`.
    pub train: Rows,
    /// From the lines `Test net output`.
    pub test: Rows,
}

/// A point of the run: iteration, seconds and learning rate, then the outputs in the order printed.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    iteration: f64,
    seconds: f64,
    rate: f64,
    outputs: Vec<(String, f64)>,
}

/// A table that grows line by line.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    done: Vec<Row>,
    open: Option<Row>,
}

impl TrainingLog {
    /// Reads a log; `year` is that of its first line, which glog does not print. `None` if no line
    /// says `Solving`, as every training log does.
    pub fn parse(text: &str, year: i16) -> Option<Self> {
        let mut lines = text.lines();
        let mut clock = Clock { year, last: None };
        let start = clock.read(lines.find(|l| l.contains("Solving"))?)?;
        let mut log = Self::default();
        let mut iteration = None;
        let mut rate = f64::NAN;
        for line in lines {
            iteration = number_after(line, "Iteration ").or(iteration);
            let Some(iteration) = iteration else { continue };
            let Some(now) = clock.read(line) else {
                continue;
            };
            rate = rate_in(line).unwrap_or(rate);
            let seconds = now.duration_since(start).as_micros() as f64 / 1e6;
            let row = || Row {
                iteration,
                seconds,
                rate,
                outputs: Vec::new(),
            };
            log.train.add(output_in(line, "Train net output #"), row);
            log.test.add(output_in(line, "Test net output #"), row);
        }
        log.train.end();
        log.test.end();
        Some(log)
    }
}

impl Rows {
    /// The number of rows.
    pub fn count(&self) -> usize {
        self.done.len()
    }

    fn add(&mut self, output: Option<(&str, f64)>, row: impl Fn() -> Row) {
        if let Some((name, value)) = output {
            let fresh = row();
            let mut open = match self.open.take() {
                Some(open) if open.iteration == fresh.iteration => open,
                other => {
                    self.done.extend(other);
                    fresh
                }
            };
            match open.outputs.iter_mut().find(|(n, _)| n == name) {
                Some(known) => known.1 = value,
                None => open.outputs.push((name.to_string(), value)),
            }
            self.open = Some(open);
        }
        // A row with as many outputs as the first one is full.
        let full = self.done.first().map(|first| first.outputs.len());
        if let Some(open) = self.open.take_if(|open| Some(open.outputs.len()) == full) {
            self.done.push(open);
        }
    }

    /// What is left open was cut off with the log's end, unless it is all there is.
    fn end(&mut self) {
        let open = self.open.take();
        if self.done.is_empty() {
            self.done.extend(open);
        }
        if let [first, second, ..] = &mut self.done[..] {
            first.rate = second.rate;
        }
    }

    /// The table as Python's `csv` writes it: lines end with CR LF, numbers are Python floats.
    pub fn csv(&self, delimiter: char) -> String {
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in self.done.iter().flat_map(|row| &row.outputs) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        let mut text = String::new();
        let mut line = |cells: Vec<String>| {
            let cells: Vec<String> = cells.iter().map(|c| quoted(c, delimiter)).collect();
            text += &cells.join(&delimiter.to_string());
            text += "\r\n";
        };
        let fixed = ["NumIters", "Seconds", "LearningRate"];
        line(fixed.iter().chain(&names).map(|s| s.to_string()).collect());
        for row in &self.done {
            let fixed = [row.iteration, row.seconds, row.rate].map(python);
            let cell = |name: &&str| {
                let output = row.outputs.iter().find(|(n, _)| n == name);
                output.map_or(String::new(), |(_, v)| python(*v))
            };
            line(fixed.into_iter().chain(names.iter().map(cell)).collect());
        }
        text
    }
}

/// The time of the lines, whose dates have no year.
struct Clock {
    year: i16,
    last: Option<DateTime>,
}

impl Clock {
    /// The time of a glog line (`I0210 13:39:22.381027 …`, or with the year in front of the month); a
    /// month before that of the line before is of the next year.
    fn read(&mut self, line: &str) -> Option<DateTime> {
        let mut words = line.split_whitespace();
        let day = words.next()?;
        let (clock, fraction) = words.next()?.rsplit_once('.')?;
        let digits = day
            .get(1..)
            .filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
        let (year, digits) = match digits.len() {
            4 => (None, digits),
            8 => (Some(digits[..4].parse().ok()?), &digits[4..]),
            _ => return None,
        };
        let (month, day): (i8, i8) = (digits[..2].parse().ok()?, digits[2..].parse().ok()?);
        let parts: Option<Vec<i8>> = clock.split(':').map(|p| p.parse().ok()).collect();
        let [hour, minute, second] = parts?[..] else {
            return None;
        };
        let micros: i32 = fraction
            .parse()
            .ok()
            .filter(|m| (0..1_000_000).contains(m))?;
        let time = Time::new(hour, minute, second, micros * 1000).ok()?;
        if year.is_none() && self.last.is_some_and(|last| month < last.month()) {
            self.year = self.year.checked_add(1)?;
        }
        let date = Date::new(year.unwrap_or(self.year), month, day).ok()?;
        let now = date.to_datetime(time);
        self.last = Some(now);
        Some(now)
    }
}

/// The whole number behind `before`, which counts only with one.
fn number_after(line: &str, before: &str) -> Option<f64> {
    line.match_indices(before).find_map(|(at, _)| {
        let rest = &line[at + before.len()..];
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        rest[..end].parse().ok()
    })
}

/// The number behind `lr = `.
fn rate_in(line: &str) -> Option<f64> {
    let (_, rest) = line.split_once("lr = ")?;
    float(rest)
}

/// Name and value of an output line.
fn output_in<'a>(line: &'a str, before: &str) -> Option<(&'a str, f64)> {
    let (_, rest) = line.split_once(before)?;
    let (number, rest) = rest.split_once(": ")?;
    let (name, value) = rest.split_once(" = ")?;
    let known = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    (known && !name.contains(char::is_whitespace)).then_some((name, float(value)?))
}

/// The number with which a text starts.
fn float(text: &str) -> Option<f64> {
    let word = text.split(|c: char| c.is_whitespace() || c == ',').next()?;
    word.parse().ok()
}

/// A number as Python prints a float: the fewest digits that give it back, at least one behind the point.
fn python(x: f64) -> String {
    if x.is_nan() {
        return "nan".into();
    }
    let text = format!("{x:?}");
    let Some((mantissa, exponent)) = text.split_once('e') else {
        return text;
    };
    let mut out = mantissa.strip_suffix(".0").unwrap_or(mantissa).to_string();
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    // Writing to a string cannot fail.
    let _ = write!(out, "e{sign}{digits:0>2}");
    out
}

/// A cell in quotes where it needs them.
fn quoted(cell: &str, delimiter: char) -> String {
    if cell.contains([delimiter, '"', '\r', '\n']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_string()
    }
}

/// The year of a time, 1970 where there is none.
pub fn year_of(time: Option<std::time::SystemTime>) -> i16 {
    let stamp = time.and_then(|t| Timestamp::try_from(t).ok());
    stamp.map_or(1970, |s| s.to_zoned(TimeZone::system()).year())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_as_pythons_floats() {
        // Made by Python's repr.
        for (x, text) in [
            (100.0, "100.0"),
            (0.0, "0.0"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (0.000012345, "1.2345e-05"),
            (1e16, "1e+16"),
            (1.5e100, "1.5e+100"),
            (123456789.125, "123456789.125"),
            (f64::NAN, "nan"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(python(x), text);
        }
    }

    #[test]
    fn cells_are_quoted_where_they_must() {
        assert_eq!(quoted("a,b", ','), "\"a,b\"");
        assert_eq!(quoted("a,b", '\t'), "a,b");
        assert_eq!(quoted("a\"b", ','), "\"a\"\"b\"");
    }

    #[test]
    fn a_line_without_a_date_or_with_an_impossible_one_has_no_time() {
        let mut clock = Clock {
            year: 2026,
            last: None,
        };
        for line in [
            "",
            "I",
            "I0102",
            "I0102 03:04",
            "I0132 01:01:01.5",
            "I01é2 1:1:1.1",
            "Iteration 3, x.y",
        ] {
            assert_eq!(clock.read(line), None, "{line}");
        }
        assert!(
            clock
                .read("I20251231 23:59:59.999999 1 a.cpp:1] x")
                .is_some()
        );
    }
}
