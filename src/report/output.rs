//! Results on stdout, kept apart from the log on stderr so that they can be piped.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use super::progress;
use super::table::Table;
use crate::files::encoding;

/// Prints text to stdout, with no line break of its own. Unlike `print!` it does not panic when the reader of
/// the pipe has gone, and progress bars step aside.
pub fn text(text: fmt::Arguments<'_>) -> io::Result<()> {
    progress::bars().suspend(|| {
        let mut out = io::stdout().lock();
        out.write_all(&encoding::bytes(&text.to_string()))?;
        out.flush()
    })
}

/// Writes bytes to stdout as they are.
pub fn bytes(bytes: &[u8]) -> io::Result<()> {
    progress::bars().suspend(|| {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    })
}

/// The columns of the terminal that stdout is; as many as wanted where it is none, for what reads it cuts its own lines.
pub fn columns() -> usize {
    let terminal = io::stdout().is_terminal();
    let size = terminal.then(|| console::Term::stdout().size_checked());
    size.flatten()
        .map_or(usize::MAX, |(_, columns)| columns.into())
}

/// Prints a table, on a terminal in its width.
pub fn table(table: &Table) -> io::Result<()> {
    text(format_args!("{}", table.shown()))
}

/// Prints a value as one line of JSON to stdout.
pub fn json(value: &impl serde::Serialize) -> io::Result<()> {
    let line = serde_json::to_string(value)?;
    text(format_args!("{}\n", encoding::shown(&line)))
}

/// Prints one line to stdout: `outln!("{path}")?;`.
#[macro_export]
macro_rules! outln {
    ($($text:tt)+) => {
        $crate::report::output::text(format_args!("{}\n", format_args!($($text)+)))
    };
}

/// The causes of an error in one line; a cause that a later one says again, such as the file's name, is left
/// out.
pub fn sentence(error: &anyhow::Error) -> String {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    let said_again = |i: usize| {
        causes[i + 1..]
            .iter()
            .any(|later| later.contains(&causes[i]))
    };
    let kept = (0..causes.len()).filter(|&i| !said_again(i));
    let words: Vec<&str> = kept.map(|i| &causes[i][..]).collect();
    words.join(": ")
}

/// Prints why the work failed to stderr: `error: ` and the causes in one line.
pub fn failure(error: &anyhow::Error) {
    let line = format!("error: {}\n", sentence(error));
    super::log::failure(line.trim_end());
    progress::bars().suspend(|| drop(io::stderr().lock().write_all(&encoding::bytes(&line))));
}

/// Whether an error is only that the reader of stdout has gone (`dsd … | head`), which is no failure.
pub fn reader_has_gone(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_later_cause_says_again_is_left_out() {
        let error = anyhow::anyhow!("a/s.prototxt:3:1: unknown field").context("a/s.prototxt");
        assert_eq!(sentence(&error), "a/s.prototxt:3:1: unknown field");
        let error = anyhow::anyhow!("no such file")
            .context("net: \"n\"")
            .context("s.prototxt");
        assert_eq!(sentence(&error), "s.prototxt: net: \"n\": no such file");
        assert_eq!(sentence(&anyhow::anyhow!("x").context("x")), "x");
    }

    #[test]
    fn a_broken_pipe_is_told_apart_from_a_failure() {
        let gone = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(reader_has_gone(&gone.context("cannot print")));
        assert!(!reader_has_gone(&anyhow::anyhow!("broken pipe")));
        let other = anyhow::Error::from(io::Error::from(io::ErrorKind::NotFound));
        assert!(!reader_has_gone(&other));
    }
}
