//! Files that people bring: weights of Caffe's forks, texts that are not UTF-8, compressed files of another net.

mod encodings;
mod net_files;
mod round_trip;
mod wire;

use crate::common::dsd;
use std::path::Path;
use std::process::Output;

/// Runs `dsd` in `folder` with the words of `line`.
fn run(folder: &Path, line: &str) -> Output {
    let words = line.split_whitespace();
    dsd().current_dir(folder).args(words).output().unwrap()
}

/// Runs it, and it must succeed; its stdout.
fn done(folder: &Path, line: &str) -> Vec<u8> {
    let output = run(folder, line);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {stderr}");
    output.stdout
}

/// Runs it, and it must fail with one sentence that has these words.
fn fails(folder: &Path, line: &str, words: &[&str]) {
    let output = run(folder, line);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{line}: {stderr}");
    let last = stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: "), "{line}: {stderr}");
    for word in words {
        assert!(last.contains(word), "{line}: expected '{word}' in: {last}");
    }
}

/// A protobuf field with a length.
fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut varint = |mut n: usize| {
        while n > 127 {
            out.push(n as u8 | 0x80);
            n >>= 7;
        }
        out.push(n as u8);
    };
    varint((number << 3 | 2) as usize);
    varint(content.len());
    out.extend(content);
    out
}

/// A blob of these sizes and values.
fn blob(dims: &[u8], values: &[f32]) -> Vec<u8> {
    let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    [field(7, &field(1, dims)), field(5, &data)].concat()
}

/// A net's text: an inner product of 2 outputs over 2 inputs, under this name.
fn ip_net(name: &[u8]) -> Vec<u8> {
    [
        &b"name: 'n'\nlayer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 1 dim: 2 } } }\nlayer { name: '"[..],
        name,
        &b"' type: 'InnerProduct' bottom: 'x' top: 'y' inner_product_param { num_output: 2 } }\n"[..],
    ]
    .concat()
}
