//! Progress bars: one look for all of them, on a terminal only.

use std::io::IsTerminal;
use std::sync::OnceLock;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

/// All bars of the process; whoever prints to the terminal suspends them first.
pub fn bars() -> &'static MultiProgress {
    static BARS: OnceLock<MultiProgress> = OnceLock::new();
    BARS.get_or_init(|| {
        MultiProgress::with_draw_target(if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        })
    })
}

/// A bar of `length` steps that starts at `start` (where a resumed run goes on), with position, rate and
/// time left. It vanishes when it is dropped, and is never seen where stderr is no terminal.
pub fn bar(what: impl Into<String>, start: u64, length: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::hidden())
        .with_style(style())
        .with_prefix(what.into())
        .with_position(start)
        .with_finish(ProgressFinish::AndClear);
    // What was done before the start says nothing about the speed: noted by a tick, then forgotten.
    bar.tick();
    bar.reset_eta();
    bars().add(bar)
}

const TEMPLATE: &str =
    "{prefix} [{bar:30}] {human_pos}/{human_len}  {per_sec:1}, {eta} left  {wide_msg}";

fn style() -> ProgressStyle {
    ProgressStyle::with_template(TEMPLATE)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_starts_where_the_run_goes_on() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
        let bar = bar("dense", 1_000_000, 2_000_000);
        assert_eq!((bar.position(), bar.length()), (1_000_000, Some(2_000_000)));
        std::thread::sleep(std::time::Duration::from_millis(20));
        bar.inc(1);
        assert_eq!(bar.position(), 1_000_001);
        bar.tick();
        assert!(bar.per_sec() < 1000.0, "{}", bar.per_sec());
    }
}
