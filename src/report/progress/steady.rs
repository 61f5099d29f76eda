//! A terminal that may go away: when ssh breaks or tmux ends, bars are drawn to nowhere. indicatif would panic on the
//! error, and the run with it.

use console::Term;
use indicatif::TermLike;
use std::io;

/// stderr's terminal, whose errors do not matter.
#[derive(Debug)]
pub struct Steady(
    /// The terminal, buffered.
    pub Term,
);

impl Steady {
    /// stderr.
    pub fn stderr() -> Self {
        Self(Term::buffered_stderr())
    }

    fn done(_: io::Result<()>) -> io::Result<()> {
        Ok(())
    }
}

impl TermLike for Steady {
    fn width(&self) -> u16 {
        self.0.size().1
    }

    fn height(&self) -> u16 {
        self.0.size().0
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        Self::done(self.0.move_cursor_up(n))
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        Self::done(self.0.move_cursor_down(n))
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        Self::done(self.0.move_cursor_right(n))
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        Self::done(self.0.move_cursor_left(n))
    }

    fn write_line(&self, s: &str) -> io::Result<()> {
        Self::done(self.0.write_line(s))
    }

    fn write_str(&self, s: &str) -> io::Result<()> {
        Self::done(self.0.write_str(s))
    }

    fn clear_line(&self) -> io::Result<()> {
        Self::done(self.0.clear_line())
    }

    fn flush(&self) -> io::Result<()> {
        Self::done(self.0.flush())
    }
}
