//! SIGINT and SIGHUP: a note that the loop reads between iterations.

use anyhow::{Context, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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

/// The signals received and what they shall do.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    interrupt: (Arc<AtomicBool>, Request),
    hangup: (Arc<AtomicBool>, Request),
}

impl Signals {
    /// Listens to SIGINT and SIGHUP, with these effects. A second SIGINT ends the process at once.
    pub fn listen(on_interrupt: Request, on_hangup: Request) -> Result<Self> {
        let signals = Self {
            interrupt: (Arc::default(), on_interrupt),
            hangup: (Arc::default(), on_hangup),
        };
        let register = |signal, flag: &Arc<AtomicBool>| {
            signal_hook::flag::register(signal, Arc::clone(flag))
                .context("cannot listen to signals")
        };
        if on_interrupt == Request::Stop {
            // Registered before the flag is: it ends the process only if the flag is already up.
            signal_hook::flag::register_conditional_shutdown(
                signal_hook::consts::SIGINT,
                130,
                Arc::clone(&signals.interrupt.0),
            )
            .context("cannot listen to signals")?;
        }
        register(signal_hook::consts::SIGINT, &signals.interrupt.0)?;
        register(signal_hook::consts::SIGHUP, &signals.hangup.0)?;
        Ok(signals)
    }

    /// What is asked now, which is then forgotten.
    pub fn take(&mut self) -> Request {
        let mut asked = Request::None;
        for (flag, effect) in [&self.hangup, &self.interrupt] {
            if flag.swap(false, Ordering::Relaxed) && *effect != Request::None {
                asked = *effect;
            }
        }
        asked
    }

    /// What is asked now.
    pub fn peek(&self) -> Request {
        let up = |s: &(Arc<AtomicBool>, Request)| s.0.load(Ordering::Relaxed).then_some(s.1);
        up(&self.interrupt)
            .or_else(|| up(&self.hangup))
            .unwrap_or_default()
    }
}
