//! Progress bars: one look for all of them, on a terminal only.

mod steady;

use std::io::IsTerminal;
use std::sync::OnceLock;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};
use steady::Steady;

/// All bars of the process; whoever prints to the terminal suspends them first.
pub fn bars() -> &'static MultiProgress {
    static BARS: OnceLock<MultiProgress> = OnceLock::new();
    BARS.get_or_init(|| {
        MultiProgress::with_draw_target(if std::io::stderr().is_terminal() {
            ProgressDrawTarget::term_like_with_hz(Box::new(Steady::stderr()), 20)
        } else {
            ProgressDrawTarget::hidden()
        })
    })
}

/// Shows no bar from now on.
pub fn hide() {
    bars().set_draw_target(ProgressDrawTarget::hidden());
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

/// The line, and the columns that it needs: the parts that matter less go first.
const TEMPLATES: [(u16, &str); 4] = [
    (
        100,
        "{prefix} [{bar:30}] {human_pos}/{human_len}  {per_sec:1}, {eta} left  {wide_msg}",
    ),
    (
        72,
        "{prefix} [{bar:10}] {human_pos}/{human_len}  {per_sec:1}, {eta} left  {wide_msg}",
    ),
    (32, "{prefix} {percent}%, {eta} left  {wide_msg}"),
    (0, "{percent}% {wide_msg}"),
];

/// The template for a terminal of so many columns. A line that is wider than the terminal would be left behind
/// on it with every step.
fn template(columns: u16) -> &'static str {
    let mut fitting = TEMPLATES.iter().filter(|(least, _)| *least <= columns);
    fitting
        .next()
        .map_or("{wide_msg}", |(_, template)| template)
}

fn style() -> ProgressStyle {
    let columns = console::Term::stderr()
        .size_checked()
        .map_or(u16::MAX, |s| s.1);
    ProgressStyle::with_template(template(columns))
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_starts_where_the_run_goes_on() {
        for (_, template) in TEMPLATES {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
        let bar = bar("dense", 1_000_000, 2_000_000);
        assert_eq!((bar.position(), bar.length()), (1_000_000, Some(2_000_000)));
        std::thread::sleep(std::time::Duration::from_millis(20));
        bar.inc(1);
        assert_eq!(bar.position(), 1_000_001);
        bar.tick();
        assert!(bar.per_sec() < 1000.0, "{}", bar.per_sec());
    }

    #[test]
    fn a_line_fits_into_the_terminal() {
        for columns in [6, 20, 32, 40, 72, 80, 99, 100, 200] {
            // What a long run shows, with the message cut off where the line ends.
            let line = template(columns)
                .replace("{prefix}", "redense")
                .replace("{bar:30}", &"=".repeat(30))
                .replace("{bar:10}", &"=".repeat(10))
                .replace("{human_pos}/{human_len}", "170,000/170,000")
                .replace("{per_sec:1}", "123.4/s")
                .replace("{percent}", "100")
                .replace("{eta}", "59m")
                .replace("{wide_msg}", "");
            assert!(line.len() < columns as usize, "{columns}: {line}");
        }
    }
}
