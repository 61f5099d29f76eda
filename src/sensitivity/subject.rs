//! What a sensitivity run measures, so that only results of the same are put together.

use super::score::Bench;
use crate::layers::Precision;
use crate::net::graph::{Graph, Node};
use crate::tensor::Tensor;
use prost::Message;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What was measured: two runs of the same subject may share a file. The sums are CRC-32C, in hex.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// The net's file or name.
    pub net: String,
    /// Of the test net's layers.
    pub net_crc: String,
    /// The files of the weights.
    pub weights: Vec<String>,
    /// Of all parameters' values.
    pub weights_crc: String,
    /// `--source`, as an absolute path.
    pub source: Option<String>,
    /// Of the batches, or, where they are too many to keep, of the first.
    pub data_crc: String,
    /// In what numbers layers multiply; older files do not tell, and are of float32.
    #[serde(default)]
    pub precision: Precision,
    /// The samples of a batch.
    pub batch: usize,
    /// The number of batches.
    pub iterations: usize,
}

impl Subject {
    /// What `bench` measures.
    pub fn new(bench: &Bench, weights: &[PathBuf], source: Option<&Path>) -> Self {
        let full = |p: &Path| std::fs::canonicalize(p).unwrap_or_else(|_| p.to_path_buf());
        let graph = bench.net.graph();
        Self {
            net: graph.file.clone(),
            net_crc: hex(graph_crc(graph)),
            weights: weights.iter().map(|w| w.display().to_string()).collect(),
            weights_crc: hex(tensors_crc(&bench.weights)),
            source: source.map(|s| full(s).display().to_string()),
            data_crc: hex(tensors_crc(bench.kept().iter().flatten())),
            precision: bench.net.precision(),
            batch: bench.net.batch(),
            iterations: bench.iterations,
        }
    }

    /// In what `other` is another subject; where a file lies does not matter.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut all = Vec::new();
        let mut check = |same: bool, what: &str, own: String, theirs: String| {
            if !same {
                all.push(match own == theirs {
                    true => format!("{what} ({own}) has changed since"),
                    false => format!("{what} is {theirs}, here {own}"),
                });
            }
        };
        let (a, b) = (self, other);
        check(
            a.net_crc == b.net_crc,
            "the net",
            a.net.clone(),
            b.net.clone(),
        );
        let names = |s: &Self| s.weights.join(",");
        check(
            a.weights_crc == b.weights_crc,
            "the weights file",
            names(a),
            names(b),
        );
        let number = |n: usize| n.to_string();
        let length = a.iterations == b.iterations;
        check(
            length,
            "--iterations",
            number(a.iterations),
            number(b.iterations),
        );
        check(
            a.batch == b.batch,
            "the batch size",
            number(a.batch),
            number(b.batch),
        );
        check(
            a.precision == b.precision,
            "--precision",
            a.precision.to_string(),
            b.precision.to_string(),
        );
        let source = |s: &Self| s.source.clone().unwrap_or_else(|| "the net's own".into());
        // Of other numbers of batches the sums differ anyhow.
        let same =
            a.source == b.source && (!length || a.batch != b.batch || a.data_crc == b.data_crc);
        check(same, "the data source", source(a), source(b));
        all
    }
}

fn hex(crc: u32) -> String {
    format!("{crc:08x}")
}

fn graph_crc(graph: &Graph) -> u32 {
    let append = |crc, node: &Node| {
        let bytes = node.param.encode_length_delimited_to_vec();
        crc32c::crc32c_append(crc, &bytes)
    };
    graph.nodes.iter().fold(0, append)
}

fn tensors_crc<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> u32 {
    let mut bytes = Vec::new();
    let mut crc = 0;
    for values in tensors.into_iter().flat_map(|t| t.data.chunks(4096)) {
        bytes.clear();
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        crc = crc32c::crc32c_append(crc, &bytes);
    }
    crc
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn subject() -> Subject {
        Subject {
            net: "net.prototxt".into(),
            net_crc: "1".into(),
            weights: vec!["w".into()],
            weights_crc: "2".into(),
            source: None,
            data_crc: "3".into(),
            precision: Precision::F32,
            batch: 50,
            iterations: 2,
        }
    }

    #[test]
    fn another_subject_is_refused_by_what_differs() {
        let differences = |change: &dyn Fn(&mut Subject)| {
            let mut other = subject();
            change(&mut other);
            subject().differences(&other).join("; ")
        };
        assert_eq!(differences(&|_| ()), "");
        assert_eq!(
            differences(&|s| s.net = "elsewhere/net.prototxt".into()),
            ""
        );
        let said = differences(&|s| {
            s.weights_crc = "9".into();
            s.weights = vec!["v".into()];
        });
        assert_eq!(said, "the weights file is v, here w");
        let said = differences(&|s| s.weights_crc = "9".into());
        assert_eq!(said, "the weights file (w) has changed since");
        let said = differences(&|s| s.iterations = 5);
        assert_eq!(said, "--iterations is 5, here 2");
        let said = differences(&|s| s.source = Some("/db".into()));
        assert_eq!(said, "the data source is /db, here the net's own");
        let said = differences(&|s| s.data_crc = "8".into());
        assert_eq!(said, "the data source (the net's own) has changed since");
    }
}
