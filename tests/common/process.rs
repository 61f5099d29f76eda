//! Runs of `dsd` that are watched, killed and resumed, and what they leave.

use super::{dsd, names_in};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

/// Starts `dsd` in `folder` with its log to be read.
pub fn start(folder: &Path, args: &[&str]) -> (Child, BufReader<ChildStderr>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_dsd"))
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    (child, log)
}

/// Reads the log to the k-th line with `text`; whether it came.
pub fn wait_for(log: &mut impl BufRead, text: &str, k: usize) -> bool {
    let mut seen = 0;
    let mut line = String::new();
    while seen < k {
        line.clear();
        if log.read_line(&mut line).unwrap() == 0 {
            return false;
        }
        seen += usize::from(line.contains(text));
    }
    true
}

/// Sends a signal, such as "INT".
pub fn signal(child: &Child, name: &str) {
    let kill = format!("kill -{name} {}", child.id());
    assert!(
        Command::new("sh")
            .args(["-c", &kill])
            .status()
            .unwrap()
            .success()
    );
}

/// Runs `dsd` to its end, which must be a good one.
pub fn run(folder: &Path, args: &[&str]) -> Output {
    let output = dsd().args(args).current_dir(folder).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {log}");
    output
}

/// A file's content without what tells of time, and of how often the run was resumed.
fn content(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    let without = |line: &str, keys: [&str; 3]| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        for key in keys {
            value.as_object_mut().unwrap().remove(key);
        }
        value.to_string()
    };
    let text = || String::from_utf8(bytes.clone()).unwrap();
    match path.extension().unwrap().to_str().unwrap() {
        "json" => without(&text(), ["seconds", "command", "memory"]).into_bytes(),
        "jsonl" => {
            let lines = text();
            let lines = lines
                .lines()
                .map(|l| without(l, ["images_per_s", "waited", "time"]) + "\n");
            lines.collect::<String>().into_bytes()
        }
        _ => bytes,
    }
}

/// Asserts that two runs left the same files with the same content in `part` of their folders.
pub fn assert_same(got: &Path, want: &Path, part: &str, what: &str) {
    let (got, want) = (got.join(part), want.join(part));
    if want.is_file() {
        assert!(content(&got) == content(&want), "{what}: {part} differs");
        return;
    }
    let visible = |p: &Path| -> Vec<String> {
        names_in(p)
            .into_iter()
            .filter(|n| !n.starts_with('.'))
            .collect()
    };
    assert_eq!(visible(&got), visible(&want), "{what}: in {part}");
    for name in visible(&want) {
        let same = content(&got.join(&name)) == content(&want.join(&name));
        assert!(same, "{what}: {part}/{name} differs");
    }
}
