//! SIGINT, SIGHUP, SIGTERM and SIGUSR1, and a log that nobody reads any more: notes that the loop reads between iterations.

use crate::report::log;
use anyhow::{Context, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// What the user asks of a running loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Request {
    /// Nothing.
    #[default]
    None,
    /// Write a snapshot and go on.
    Snapshot,
    /// Write a snapshot and stop.
    Stop,
}

/// The exit code after SIGINT, which SIGHUP shares where it stops a run, as in Caffe's tool both are one request.
const INTERRUPTED: u8 = 130;

/// The exit code after the log's pipe was closed: the shell's for SIGPIPE.
const PIPE_CLOSED: u8 = 128 + 13;

/// A signal received, what it does, and the exit code of a run that it stops.
#[derive(Clone, Debug, Default)]
struct Note {
    up: Arc<AtomicBool>,
    effect: Request,
    code: u8,
}

/// The signals received and what they shall do.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    notes: Vec<Note>,
    /// The exit code for what stopped the run.
    stopped: Arc<AtomicU8>,
}

impl Signals {
    /// Listens to SIGINT and SIGHUP, with these effects, and to SIGTERM and SIGUSR1 (a batch system's, before it kills),
    /// which save and stop. A second SIGINT ends the process at once.
    pub fn listen(on_interrupt: Request, on_hangup: Request) -> Result<Self> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
        let mut signals = Self::default();
        let code = |signal: i32| u8::try_from(128 + signal).unwrap_or(INTERRUPTED);
        let all = [
            (SIGHUP, on_hangup, INTERRUPTED),
            (SIGTERM, Request::Stop, code(SIGTERM)),
            (SIGUSR1, Request::Stop, code(SIGUSR1)),
            (SIGINT, on_interrupt, INTERRUPTED),
        ];
        for (signal, effect, code) in all {
            let up: Arc<AtomicBool> = Arc::default();
            if signal == SIGINT && effect == Request::Stop {
                // Registered before the flag is: it ends the process only if the flag is already up.
                let second = Arc::clone(&up);
                signal_hook::flag::register_conditional_shutdown(signal, code.into(), second)
                    .context("cannot listen to signals")?;
            }
            signal_hook::flag::register(signal, Arc::clone(&up))
                .context("cannot listen to signals")?;
            signals.notes.push(Note { up, effect, code });
        }
        Ok(signals)
    }

    /// What is asked now, which is then forgotten.
    pub fn take(&mut self) -> Request {
        let mut asked = Request::None;
        for note in &self.notes {
            if note.up.swap(false, Ordering::Relaxed) && note.effect != Request::None {
                if note.effect == Request::Stop {
                    self.stopped.store(note.code, Ordering::Relaxed);
                }
                // A stop saves too, so it is what both ask.
                if asked != Request::Stop {
                    asked = note.effect;
                }
            }
        }
        if asked != Request::Stop && log::reader_has_gone() {
            self.stopped.store(PIPE_CLOSED, Ordering::Relaxed);
            asked = Request::Stop;
        }
        asked
    }

    /// What is asked now.
    pub fn peek(&self) -> Request {
        let up = |note: &&Note| note.up.load(Ordering::Relaxed);
        let mut asked = self.notes.iter().filter(up).map(|n| n.effect);
        if asked.clone().any(|e| e == Request::Stop) || log::reader_has_gone() {
            return Request::Stop;
        }
        asked.find(|e| *e != Request::None).unwrap_or_default()
    }

    /// The exit code of the run that a signal has stopped: 130 for SIGINT, 143 for SIGTERM, 128 and its number for
    /// SIGUSR1, 141 for a closed pipe.
    pub fn exit_code(&self) -> u8 {
        match self.stopped.load(Ordering::Relaxed) {
            0 => INTERRUPTED,
            code => code,
        }
    }
}
