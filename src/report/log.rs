//! Log lines in glog's form, so that the log parsers written for Caffe keep working:
//! `I1122 19:06:46.123456 12345 file.rs:12] text` (level, month and day, local time, thread, call site).
//!
//! Use the macros [`info!`](crate::info), [`warn!`](crate::warn) and [`error!`](crate::error). A line is
//! one write, so that lines of several threads or processes do not mix, and progress bars step aside
//! while it is printed.

use std::fmt;
use std::fs::File;
use std::io::ErrorKind;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use jiff::Zoned;
use jiff::tz::TimeZone;

use super::progress;

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

static MINIMUM: AtomicU8 = AtomicU8::new(0);

/// Prints only lines of this level and above, as glog's `--minloglevel`: 0 all, 1 warnings, 2 errors,
/// 3 none.
pub fn set_minimum(level: u8) {
    MINIMUM.store(level, Ordering::Relaxed);
}

/// Prints one line; the macros call it.
pub fn line(severity: Severity, file: &str, number: u32, text: fmt::Arguments<'_>) {
    if (severity as u8) < MINIMUM.load(Ordering::Relaxed) {
        return;
    }
    let line = render(severity, &now(), thread_id(), file, number, text);
    copy(&line);
    // A log that nobody can read must not stop the work; whether it should is for the work to say.
    progress::bars().suspend(|| note_of_pipe(std::io::stderr().lock().write_all(line.as_bytes())));
}

/// A file that gets every line too.
static COPY: Mutex<Option<File>> = Mutex::new(None);

/// Writes every line to this file too, from now on; `None` ends that.
pub fn also_to(file: Option<File>) {
    *COPY.lock().unwrap_or_else(PoisonError::into_inner) = file;
}

/// Writes a line that was printed otherwise to that file.
pub fn note(line: &str) {
    copy(line);
}

fn copy(line: &str) {
    let mut copy = COPY.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(file) = copy.as_mut() {
        // A full disk shows where results are written.
        let _ = file.write_all(line.as_bytes());
    }
}

static READER_GONE: AtomicBool = AtomicBool::new(false);

/// Notes that the reader of a pipe has gone, if that is what a write to it says.
pub fn note_of_pipe(written: std::io::Result<()>) {
    if written.is_err_and(|e| e.kind() == ErrorKind::BrokenPipe) {
        READER_GONE.store(true, Ordering::Relaxed);
    }
}

/// Whether the log went into a pipe whose reader has gone (`dsd train 2>&1 | head`).
pub fn reader_has_gone() -> bool {
    READER_GONE.load(Ordering::Relaxed)
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
