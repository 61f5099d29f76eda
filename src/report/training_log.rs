//! What a training log says, as the two tables of Caffe's `tools/extra/parse_log.py`: one row for each
//! display (TRAIN) and each test pass (TEST), with iteration, seconds, learning rate and the outputs.
//!
//! The rules are that script's, so that plots made from its files stay what they were: time counts from the
//! line `Solving …`; the learning rate of a row is the last one printed before it, in the first row that
//! of the second. What it gives up on is read here: outputs that are `nan` or `inf`, the date with a year
//! of newer glogs, rows with other outputs than the first, a log with one row only, several test nets (a row
//! a test, and a column for the net), and logs in UTF-16, as Windows' shells write them.

mod encoding;
mod rows;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

pub use encoding::text;
pub use rows::{Row, Rows};

/// The rows of a log.
#[derive(Clone, Debug, Default)]
pub struct TrainingLog {
    /// From the lines `Train net output`.
    pub train: Rows,
    /// From the lines `Test net output`.
    pub test: Rows,
    /// From the lines `Iteration N, loss = V`: the loss, smoothed.
    pub losses: Vec<Point>,
    /// From the lines `Iteration N, lr = V`.
    pub rates: Vec<Point>,
}

/// A number at some point of the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The iteration.
    pub iteration: f64,
    /// Seconds since the start.
    pub seconds: f64,
    /// The number.
    pub value: f64,
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
            let seconds = now.duration_since(start).as_micros() as f64 / 1e6;
            let point = |value| Point {
                iteration,
                seconds,
                value,
            };
            if let Some(now) = rate_in(line) {
                rate = now;
                log.rates.push(point(now));
            }
            log.losses.extend(loss_in(line).map(point));
            let row = || Row {
                iteration,
                seconds,
                rate,
                net: 0,
                outputs: Vec::new(),
            };
            if let Some(net) = number_after(line, "Testing net (#") {
                log.test.begin(net as usize);
            }
            log.train.add(output_in(line, "Train net output #"), row);
            log.test.add(output_in(line, "Test net output #"), row);
        }
        let first = log.rates.first().map(|point| point.value);
        log.train.end(first);
        log.test.end(first);
        Some(log)
    }
}

/// The time of the lines, whose dates have no year.
struct Clock {
    year: i16,
    last: Option<DateTime>,
}

impl Clock {
    /// The time of a glog line (`I0210 13:39:22.381027 …`, or with the year in front of the month); a
    /// month before that of the line before is of the next year. PowerShell puts `dsd : ` before the first
    /// line that it takes from stderr.
    fn read(&mut self, line: &str) -> Option<DateTime> {
        let line = match line.split_once(" : ") {
            Some((program, line)) if !program.contains(char::is_whitespace) => line,
            _ => line,
        };
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

/// The smoothed loss of a display: `Iteration N, loss = V`, or with the speed in between.
fn loss_in(line: &str) -> Option<f64> {
    let (before, rest) = line.split_once(", loss = ")?;
    before.contains("Iteration ").then(|| float(rest))?
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

/// The year of a time, 1970 where there is none.
pub fn year_of(time: Option<std::time::SystemTime>) -> i16 {
    let stamp = time.and_then(|t| Timestamp::try_from(t).ok());
    stamp.map_or(1970, |s| s.to_zoned(TimeZone::system()).year())
}

#[cfg(test)]
mod tests {
    use super::*;

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
