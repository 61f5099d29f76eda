//! A run's own copy of its log, and whether anybody still reads the log itself.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// A file that gets every line too.
static COPY: Mutex<Option<File>> = Mutex::new(None);

static READER_GONE: AtomicBool = AtomicBool::new(false);

/// Writes every line to this file too, from now on; `None` ends that.
pub fn also_to(file: Option<File>) {
    *COPY.lock().unwrap_or_else(PoisonError::into_inner) = file;
}

/// Writes a line that was printed otherwise to that file.
pub fn note(line: &str) {
    let mut copy = COPY.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(file) = copy.as_mut() {
        // A full disk shows where results are written.
        let _ = file.write_all(line.as_bytes());
    }
}

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
