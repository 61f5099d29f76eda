//! SciPy in a process of its own: `benches/peers/eie.py --worker`.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Writes one of the arrays of layer `i`: starts, columns, values or x.
pub fn save(
    folder: &Path,
    i: usize,
    what: &str,
    words: impl Iterator<Item = u32>,
) -> std::io::Result<()> {
    let bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
    std::fs::write(folder.join(format!("{i}.{what}")), bytes)
}

/// A Python that multiplies by SciPy, on request.
pub struct SciPy {
    child: Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
}

impl SciPy {
    /// Starts it; it loads the files in `folder`.
    pub fn start(python: &str, folder: &Path) -> std::io::Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/eie.py");
        let mut child = Command::new(python)
            .args([script.as_os_str(), "--worker".as_ref(), folder.as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (requests, replies) = (child.stdin.take(), child.stdout.take());
        let mut this = Self {
            child,
            requests: requests.expect("a pipe"),
            replies: BufReader::new(replies.expect("a pipe")),
        };
        println!("SciPy {}", this.line()?);
        Ok(this)
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        self.replies.read_line(&mut line)?;
        Ok(line.trim().to_string())
    }

    /// Seconds of each of `layers` in each of `passes`, after one that is not timed.
    pub fn run(&mut self, passes: usize, layers: &[usize]) -> std::io::Result<Vec<Vec<f64>>> {
        let names: Vec<String> = layers.iter().map(usize::to_string).collect();
        writeln!(self.requests, "{passes} {}", names.join(" "))?;
        let line = self.line()?;
        let seconds = line.split_whitespace().filter_map(|s| s.parse().ok());
        let all: Vec<f64> = seconds.collect();
        Ok(all.chunks(layers.len()).map(<[f64]>::to_vec).collect())
    }
}

impl Drop for SciPy {
    fn drop(&mut self) {
        // It ends with its input, and is waited for so that nothing stays behind.
        let _ = writeln!(self.requests);
        let _ = self.child.wait();
    }
}
