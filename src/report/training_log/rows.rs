//! The tables of a training log, which grow line by line.

use std::fmt::Write;

/// A point of the run.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The iteration.
    pub iteration: f64,
    /// Seconds since the start.
    pub seconds: f64,
    /// The learning rate.
    pub rate: f64,
    /// The test net.
    pub net: usize,
    /// The outputs in the order printed.
    pub outputs: Vec<(String, f64)>,
}

/// A table.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    done: Vec<Row>,
    open: Option<Row>,
    /// The test net whose lines come now.
    net: usize,
}

impl Rows {
    /// The number of rows.
    pub fn count(&self) -> usize {
        self.done.len()
    }

    /// The rows.
    pub fn rows(&self) -> &[Row] {
        &self.done
    }

    /// Whether there are rows of several test nets.
    pub fn several_nets(&self) -> bool {
        self.done.iter().any(|row| row.net != self.done[0].net)
    }

    /// From here on the outputs are of a new test, of this net.
    pub(super) fn begin(&mut self, net: usize) {
        self.done.extend(self.open.take());
        self.net = net;
    }

    /// Takes the output of a line, if it has one, into the open row or into a new `row`.
    pub(super) fn add(&mut self, output: Option<(&str, f64)>, row: impl Fn() -> Row) {
        let net = self.net;
        if let Some((name, value)) = output {
            let fresh = Row { net, ..row() };
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
        // A row with as many outputs as the first one of its net is full.
        let first = self.done.iter().find(|first| first.net == net);
        let full = first.map(|first| first.outputs.len());
        if let Some(open) = self.open.take_if(|open| Some(open.outputs.len()) == full) {
            self.done.push(open);
        }
    }

    /// What is left open was cut off with the log's end, unless it is all there is of its net.
    /// `rate` is the first one of the log.
    pub(super) fn end(&mut self, rate: Option<f64>) {
        let only = |open: &Row| self.done.iter().all(|row| row.net != open.net);
        let last = self.open.take().filter(only);
        self.done.extend(last);
        if self.several_nets() {
            // All of the first pass came before the first rate.
            let unknown = self.done.iter_mut().take_while(|row| row.rate.is_nan());
            unknown.for_each(|row| row.rate = rate.unwrap_or(f64::NAN));
        } else if let [first, second, ..] = &mut self.done[..] {
            first.rate = second.rate;
        }
    }

    /// The table as Python's `csv` writes it: lines end with CR LF, numbers are Python floats. With several
    /// test nets, the column `TestNet` tells which.
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
        let nets = self.several_nets();
        let mut head = vec!["NumIters", "Seconds", "LearningRate"];
        head.extend(nets.then_some("TestNet"));
        line(head.iter().chain(&names).map(|s| s.to_string()).collect());
        for row in &self.done {
            let fixed = [row.iteration, row.seconds, row.rate].map(python);
            let net = nets.then(|| row.net.to_string());
            let cell = |name: &&str| {
                let output = row.outputs.iter().find(|(n, _)| n == name);
                output.map_or(String::new(), |(_, v)| python(*v))
            };
            let fixed = fixed.into_iter().chain(net);
            line(fixed.chain(names.iter().map(cell)).collect());
        }
        text
    }
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
}
