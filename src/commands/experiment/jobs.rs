//! The runs of an experiment as processes, several at once. One thread a run is faster than all threads for one run, as
//! nothing waits for anything; where fewer runs can go than there are threads, each gets several. Results do not depend on it.

use super::runs::Runs;
use crate::report::human::HumanTime;
use crate::report::progress;
use crate::solver::signals::{Request, Signals};
use crate::{info, warn};
use anyhow::{Context, Result};
use indicatif::ProgressBar;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How an experiment ended.
pub enum Ended {
    /// All runs have ended.
    Done,
    /// A signal stopped it; the exit code says which.
    Stopped(u8),
    /// These runs failed, with the reason; what rests on them is not there.
    Failed(Vec<String>),
}

/// How often the runs are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How long a folder may be another process's: a run that lost its experiment ends when it next says something.
const PATIENCE: Duration = Duration::from_secs(600);

/// The last lines of a run's log that are kept, for its error.
const KEPT: usize = 20;

/// Where a run is.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Waiting,
    Running,
    Done,
    Failed,
}

/// A run at work.
struct Job {
    node: usize,
    child: Child,
    started: Instant,
    /// The iteration that its log has reached.
    at: Arc<AtomicU64>,
    last: JoinHandle<VecDeque<String>>,
}

struct Jobs<'a> {
    runs: &'a Runs<'a>,
    /// What is done after each run that has ended.
    after_each: &'a dyn Fn() -> Result<()>,
    states: Vec<State>,
    /// When a run may be tried again that found its folder in use, and since when it does.
    later: Vec<Option<(Instant, Instant)>>,
    running: Vec<Job>,
    failures: Vec<String>,
    started: Instant,
    /// Iterations that were done before.
    before: u64,
    bar: ProgressBar,
}

/// Trains all runs that have not ended, `jobs` at once, on `threads` threads together, and does `after_each` when one has
/// ended.
///
/// # Errors
/// A record cannot be read, no process be started, or `after_each` fails.
pub fn run<'a>(
    runs: &'a Runs<'a>,
    jobs: Option<u64>,
    threads: usize,
    after_each: &'a dyn Fn() -> Result<()>,
) -> Result<Ended> {
    let mut signals = Signals::listen(Request::Stop, Request::None)?;
    let mut states = Vec::new();
    for node in &runs.nodes {
        let done = runs.done(node)?.is_some();
        states.push(if done { State::Done } else { State::Waiting });
    }
    let iterations = |k: usize| runs.nodes[k].iterations(runs.experiment);
    let all: u64 = (0..states.len()).map(iterations).sum();
    let ended = (0..states.len()).filter(|k| states[*k] == State::Done);
    let before = ended.map(iterations).sum();
    let mut all_jobs = Jobs {
        runs,
        after_each,
        later: vec![None; states.len()],
        states,
        running: Vec::new(),
        failures: Vec::new(),
        started: Instant::now(),
        before,
        bar: progress::bar("experiment", before, all),
    };
    let most = jobs.map_or(threads, |n| usize::try_from(n).unwrap_or(usize::MAX));
    loop {
        all_jobs.start(most.max(1), threads)?;
        if all_jobs.running.is_empty() && !all_jobs.waits() {
            break;
        }
        thread::sleep(LOOK);
        if signals.take() == Request::Stop {
            all_jobs.stop();
            return Ok(Ended::Stopped(signals.exit_code()));
        }
        if let Some(code) = all_jobs.look()? {
            all_jobs.stop();
            return Ok(Ended::Stopped(code));
        }
        all_jobs.show();
    }
    Ok(match all_jobs.failures.is_empty() {
        true => Ended::Done,
        false => Ended::Failed(all_jobs.failures),
    })
}

impl Jobs<'_> {
    /// Whether a run can go now or will be tried again.
    fn waits(&self) -> bool {
        (0..self.states.len()).any(|k| self.can_go(k))
    }

    fn can_go(&self, k: usize) -> bool {
        let parent = self.runs.nodes[k].parent;
        self.states[k] == State::Waiting && parent.is_none_or(|p| self.states[p] == State::Done)
    }

    /// Starts runs until `most` are at work.
    fn start(&mut self, most: usize, threads: usize) -> Result<()> {
        let now = Instant::now();
        let ready: Vec<usize> = (0..self.states.len())
            .filter(|k| self.can_go(*k) && self.later[*k].is_none_or(|(at, _)| at <= now))
            .collect();
        let together = most.min(self.running.len() + ready.len());
        for k in ready
            .into_iter()
            .take(most.saturating_sub(self.running.len()))
        {
            let job = self.spawn(k, (threads / together).max(1))?;
            self.running.push(job);
            self.states[k] = State::Running;
        }
        Ok(())
    }

    fn spawn(&self, k: usize, threads: usize) -> Result<Job> {
        let arguments = self.runs.arguments(&self.runs.nodes[k], threads)?;
        let program = std::env::current_exe().context("this program's own file")?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // A run whose log nobody reads saves and stops: so it ends when this process is killed.
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start a run of the experiment")?;
        let at = Arc::new(AtomicU64::new(0));
        let log = child.stderr.take().context("a run without a log")?;
        let reached = Arc::clone(&at);
        let last = thread::spawn(move || {
            let mut kept = VecDeque::new();
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                if let Some(n) = iteration(&line) {
                    reached.store(n, Ordering::Relaxed);
                }
                if kept.len() == KEPT {
                    kept.pop_front();
                }
                kept.push_back(line);
            }
            kept
        });
        Ok(Job {
            node: k,
            child,
            started: Instant::now(),
            at,
            last,
        })
    }

    /// Takes note of the runs that have ended; the exit code of one that was stopped by a signal.
    fn look(&mut self) -> Result<Option<u8>> {
        let mut k = 0;
        while k < self.running.len() {
            let Some(status) = self.running[k].child.try_wait()? else {
                k += 1;
                continue;
            };
            let job = self.running.remove(k);
            let last = job.last.join().unwrap_or_default();
            match status.code() {
                Some(0) => self.ended(job.node, job.started)?,
                Some(code @ (130 | 141 | 143)) => return Ok(u8::try_from(code).ok()),
                _ => self.failed(job.node, &last, status),
            }
        }
        Ok(None)
    }

    fn ended(&mut self, k: usize, started: Instant) -> Result<()> {
        let node = &self.runs.nodes[k];
        let Some(record) = self.runs.done(node)? else {
            self.states[k] = State::Failed;
            self.failures.push(format!(
                "{} has no result",
                self.runs.folder(node).display()
            ));
            return Ok(());
        };
        self.states[k] = State::Done;
        let scores: Vec<String> = record
            .outputs
            .iter()
            .map(|(name, v)| format!("{name} {}", crate::report::number::G(*v)))
            .collect();
        let done = self.states.iter().filter(|s| **s == State::Done).count();
        info!(
            "{done} of {} runs: {} in {}, {}{}",
            self.states.len(),
            node.folder(self.runs.experiment).display(),
            HumanTime(started.elapsed()),
            scores.join(", "),
            self.time_left()
        );
        (self.after_each)()
    }

    fn failed(&mut self, k: usize, last: &VecDeque<String>, status: std::process::ExitStatus) {
        let node = &self.runs.nodes[k];
        let folder = self.runs.folder(node);
        let error = last.iter().rev().find_map(|l| l.strip_prefix("error: "));
        let now = Instant::now();
        let since = self.later[k].map_or(now, |(_, since)| since);
        if error.is_some_and(|e| e.contains("is training in this folder"))
            && now.duration_since(since) < PATIENCE
        {
            if self.later[k].is_none() {
                info!(
                    "{} is still at work for an experiment that was killed; waiting for it to save and stop",
                    folder.display()
                );
            }
            self.later[k] = Some((now + Duration::from_secs(1), since));
            self.states[k] = State::Waiting;
            return;
        }
        self.states[k] = State::Failed;
        let reason = error.map_or_else(|| format!("ended with {status}"), str::to_string);
        warn!("{}: {reason}", folder.display());
        self.failures
            .push(format!("{}: {reason}", folder.display()));
    }

    /// Iterations done by now.
    fn done(&self) -> u64 {
        let whole = (0..self.states.len()).filter(|k| self.states[*k] == State::Done);
        let iterations = |k: usize| self.runs.nodes[k].iterations(self.runs.experiment);
        let parts = self.running.iter().map(|j| j.at.load(Ordering::Relaxed));
        whole.map(iterations).sum::<u64>() + parts.sum::<u64>()
    }

    fn show(&self) {
        self.bar.set_position(self.done());
        let at_work = self.running.len();
        self.bar.set_message(format!("{at_work} at work"));
    }

    /// `, about 2 h left`, once there is something to reckon with.
    fn time_left(&self) -> String {
        let done = self.done();
        let all: u64 = self.bar.length().unwrap_or(done);
        let new = done.saturating_sub(self.before);
        if new == 0 || all <= done {
            return String::new();
        }
        let seconds = self.started.elapsed().as_secs_f64() / new as f64 * (all - done) as f64;
        let left = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        format!(", about {} left", HumanTime(left))
    }

    /// Asks all runs to save and stop, and waits for them.
    fn stop(&mut self) {
        for job in &self.running {
            terminate(&job.child);
        }
        for mut job in self.running.drain(..) {
            let _ = job.child.wait();
            let _ = job.last.join();
        }
    }
}

/// Sends SIGTERM, at which a run saves and stops.
fn terminate(child: &Child) {
    let id = i32::try_from(child.id()).ok();
    if let Some(id) = id.and_then(rustix::process::Pid::from_raw) {
        // One that has ended by itself meanwhile needs none.
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
    }
}

/// The iteration that a line of the log tells of.
fn iteration(line: &str) -> Option<u64> {
    let text = line.split_once("] Iteration ")?.1;
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::iteration;

    #[test]
    fn the_log_tells_the_iteration() {
        let line = "I1130 20:29:03.224723 21792 step.rs:122] Iteration 300, lr = 0.09";
        assert_eq!(iteration(line), Some(300));
        let line = "I1130 20:29:03.2 21792 step.rs:168] Iteration 0 (0 iter/s, 0.3s/100 iters), loss = 2.6";
        assert_eq!(iteration(line), Some(0));
        assert_eq!(iteration("I1130 20:29:03.2 1 nets.rs:1] conv1"), None);
    }
}
