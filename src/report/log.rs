//! Log lines in glog's form, so that the log parsers written for Caffe keep working:
//! `I1122 19:06:46.123456 12345 file.rs:12] text` (level, month and day, local time, thread, call site).
//!
//! Use the macros [`info!`](crate::info), [`warn!`](crate::warn) and [`error!`](crate::error). A line is
//! one write, so that lines of several threads or processes do not mix, and progress bars step aside
//! while it is printed.

mod copy;
mod files;

use std::borrow::Cow;
use std::fmt;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use jiff::Zoned;
use jiff::tz::TimeZone;

use super::progress;
use crate::files::encoding;
pub use copy::{also_to, note, reader_has_gone};
use files::LogFiles;

/// How much a line matters; its first letter starts the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The course of the work.
    Info,
    /// Something the user may not have meant.
    Warning,
    /// Something failed and the work goes on.
    Error,
}

impl Severity {
    fn letter(self) -> char {
        match self {
            Severity::Info => 'I',
            Severity::Warning => 'W',
            Severity::Error => 'E',
        }
    }
}

/// What is logged, and where: glog's flags.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program's name, for the files' names.
    pub program: String,
    /// The lowest level logged: 0 all, 1 warnings, 2 errors, 3 none.
    pub minimum: i32,
    /// The folder of the log files.
    pub folder: Option<PathBuf>,
    /// A folder for more links to the log files.
    pub links: Option<PathBuf>,
    /// No files, whatever folder is given.
    pub only_stderr: bool,
    /// Lines go to stderr also where they go to files.
    pub also_stderr: bool,
    /// The lowest level that goes to stderr, whatever the other settings say.
    pub threshold: i32,
    /// Whether a line starts with its level, time and place.
    pub prefix: bool,
    /// Warnings and errors in colour, on a terminal.
    pub colour: bool,
    /// The size after which another log file follows, in MiB.
    pub megabytes: u64,
    /// Only warnings and errors go to stderr, and no bar is shown there.
    pub quiet: bool,
}

impl Default for Settings {
    /// As Caffe's programs have them: all lines on stderr.
    fn default() -> Self {
        Self {
            program: "dsd".into(),
            minimum: 0,
            folder: None,
            links: None,
            only_stderr: false,
            also_stderr: true,
            threshold: 2,
            prefix: true,
            colour: false,
            megabytes: 1800,
            quiet: false,
        }
    }
}

/// The log, from its settings on.
struct Log {
    settings: Settings,
    files: Option<Mutex<LogFiles>>,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Sets what is logged, and where; the first time counts. Lines before go to stderr.
pub fn configure(settings: Settings) {
    if settings.quiet {
        progress::hide();
    }
    let files = LogFiles::new(&settings).map(Mutex::new);
    let _ = LOG.set(Log { settings, files });
}

/// Prints one line; the macros call it.
pub fn line(severity: Severity, file: &str, number: u32, text: fmt::Arguments<'_>) {
    let Some(log) = LOG.get() else {
        let line = render(severity, &now(), thread_id(), file, number, text);
        return to_stderr(&line);
    };
    let settings = &log.settings;
    let time = now();
    // A run's own log is whole, whatever is asked to be seen of it.
    note(&render(severity, &time, thread_id(), file, number, text));
    if (severity as i32) < settings.minimum {
        return;
    }
    let line = match settings.prefix {
        true => render(severity, &time, thread_id(), file, number, text),
        false => format!("{text}\n"),
    };
    let wanted =
        log.files.is_none() || settings.also_stderr || severity as i32 >= settings.threshold;
    if wanted && !(settings.quiet && severity == Severity::Info) {
        to_stderr(&coloured(severity, &line, settings.colour));
    }
    log.write(severity, &time, &line);
}

/// Writes into the log files, where there are some, why the work failed; stderr gets it otherwise.
pub fn failure(text: &str) {
    let Some(log) = LOG.get().filter(|log| log.files.is_some()) else {
        return;
    };
    let (time, text) = (now(), format_args!("{text}"));
    let line = render(Severity::Error, &time, thread_id(), file!(), line!(), text);
    log.write(Severity::Error, &time, &line);
}

impl Log {
    fn write(&self, severity: Severity, time: &Zoned, line: &str) {
        let Some(files) = &self.files else { return };
        let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wrong) = files.write(severity, time, line) {
            let text = format_args!("{wrong}");
            to_stderr(&render(
                Severity::Error,
                time,
                thread_id(),
                file!(),
                line!(),
                text,
            ));
        }
    }
}

/// glog's colours, where somebody sees them.
fn coloured(severity: Severity, line: &str, asked: bool) -> Cow<'_, str> {
    let colour = match severity {
        Severity::Info => return line.into(),
        Severity::Warning => 33,
        Severity::Error => 31,
    };
    if !asked || !std::io::stderr().is_terminal() {
        return line.into();
    }
    format!("\x1b[0;{colour}m{}\x1b[m\n", line.trim_end_matches('\n')).into()
}

fn to_stderr(line: &str) {
    // A log that nobody can read must not stop the work; whether it should is for the work to say.
    progress::bars()
        .suspend(|| copy::note_of_pipe(std::io::stderr().lock().write_all(&encoding::bytes(line))));
}

/// The line with its line break.
fn render(
    severity: Severity,
    time: &Zoned,
    thread: u64,
    file: &str,
    number: u32,
    text: fmt::Arguments<'_>,
) -> String {
    let (_, name) = file.rsplit_once(['/', '\\']).unwrap_or(("", file));
    format!(
        "{}{:02}{:02} {:02}:{:02}:{:02}.{:06} {thread:>5} {name}:{number}] {text}\n",
        severity.letter(),
        time.month(),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.subsec_nanosecond() / 1000,
    )
}

fn now() -> Zoned {
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    jiff::Timestamp::now().to_zoned(ZONE.get_or_init(TimeZone::system).clone())
}

/// The system's number of this thread, the process's where the system does not say.
fn thread_id() -> u64 {
    fn ask() -> u64 {
        // Linux: a link to `PID/task/TID`. A system call would need `unsafe` or another crate.
        std::fs::read_link("/proc/thread-self")
            .ok()
            .and_then(|link| link.file_name()?.to_str()?.parse().ok())
            .unwrap_or_else(|| u64::from(std::process::id()))
    }
    thread_local!(static ID: u64 = ask());
    // A line logged while the thread ends finds its storage gone.
    ID.try_with(|id| *id).unwrap_or_else(|_| ask())
}

/// Logs the course of the work: `info!("Iteration {n}, lr = {}", G(lr))`.
#[macro_export]
macro_rules! info {
    ($($text:tt)+) => {
        $crate::report::log::line(
            $crate::report::log::Severity::Info, file!(), line!(), format_args!($($text)+))
    };
}

/// Logs what the user may not have meant.
#[macro_export]
macro_rules! warn {
    ($($text:tt)+) => {
        $crate::report::log::line(
            $crate::report::log::Severity::Warning, file!(), line!(), format_args!($($text)+))
    };
}

/// Logs what failed while the work goes on. (What stops the work is an error returned.)
#[macro_export]
macro_rules! error {
    ($($text:tt)+) => {
        $crate::report::log::line(
            $crate::report::log::Severity::Error, file!(), line!(), format_args!($($text)+))
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Zoned {
        text.parse().unwrap()
    }

    #[test]
    fn a_line_is_what_glog_prints() {
        let time = at("2025-11-22T20:16:30.577484999+00:00[UTC]");
        assert_eq!(
            render(
                Severity::Info,
                &time,
                5184,
                "tools/caffe.cpp",
                304,
                format_args!("Batch 0, loss = {}", 1.02066)
            ),
            "I1122 20:16:30.577484  5184 caffe.cpp:304] Batch 0, loss = 1.02066\n"
        );
    }

    #[test]
    fn small_fields_are_padded_and_long_thread_numbers_kept() {
        let time = at("2025-01-02T03:04:05.000006+00:00[UTC]");
        assert_eq!(
            render(
                Severity::Warning,
                &time,
                1234567,
                "a.rs",
                1,
                format_args!("x")
            ),
            "W0102 03:04:05.000006 1234567 a.rs:1] x\n"
        );
    }

    #[test]
    fn every_thread_has_its_number() {
        let here = thread_id();
        assert_eq!(here, thread_id());
        if cfg!(target_os = "linux") {
            assert_ne!(here, std::thread::spawn(thread_id).join().unwrap());
        }
    }
}
