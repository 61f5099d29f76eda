//! Caffe's lines on what is built, which the readers of its logs look for: the nets and where they come from,
//! their outputs and memory.

use crate::info;
use crate::net::Net;
use crate::proto::{self, SolverParameter};

/// Says with what a solver starts, and which net it trains.
pub(super) fn solver(param: &SolverParameter) {
    info!("Use CPU.");
    let text = proto::print(param);
    info!("Initializing solver from parameters: \n{}", text.trim_end());
    info!("Creating training net {}", training(param));
}

/// Where the training net comes from, in Caffe's words.
fn training(param: &SolverParameter) -> String {
    match (&param.train_net_param, &param.train_net, &param.net_param) {
        (Some(_), ..) => "specified in train_net_param.".into(),
        (_, Some(file), _) => format!("from train_net file: {file}"),
        (_, _, Some(_)) => "specified in net_param.".into(),
        _ => format!("from net file: {}", param.net()),
    }
}

/// Says which test net is built: first come those in the solver, then the files, then the net for both.
pub(super) fn test(param: &SolverParameter, index: usize) {
    let inline = param.test_net_param.len();
    let source = match param.test_net.get(index.wrapping_sub(inline)) {
        _ if index < inline => "test_net_param".to_string(),
        Some(file) => format!("test_net file: {file}"),
        None if param.net_param.is_some() => "net_param".to_string(),
        None => format!("net file: {}", param.net()),
    };
    info!("Creating test net (#{index}) specified by {source}");
}

/// Says what a net that is built gives, and what its blobs would take in Caffe.
pub(crate) fn net(net: &Net) {
    info!("Memory required for data: {}", data_bytes(net));
    for &v in net.outputs() {
        let name = &net.graph().values[v].name;
        info!("This network produces output {name}");
    }
    info!("Network initialization done.");
}

/// Caffe's count: four bytes for each value of every layer's tops, with those of the Split layers that it
/// puts behind blobs which several layers read.
fn data_bytes(net: &Net) -> u128 {
    let graph = net.graph();
    let count = |v: usize| net.shape(v).count() as u128;
    let mut readers = vec![0u128; graph.values.len()];
    let mut values = 0;
    for node in &graph.nodes {
        for &v in &node.bottoms {
            readers[v] += 1;
        }
        for (k, &v) in node.tops.iter().enumerate() {
            values += count(v);
            let weighted = node.param.loss_weight.get(k).is_some_and(|w| *w != 0.0);
            readers[v] += u128::from(weighted);
        }
    }
    for (v, &n) in readers.iter().enumerate().filter(|(_, n)| **n > 1) {
        values += n * count(v);
    }
    4 * values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nets_are_named_by_where_they_come_from() {
        let mut param = SolverParameter {
            net: Some("a.prototxt".into()),
            ..SolverParameter::default()
        };
        assert_eq!(training(&param), "from net file: a.prototxt");
        param.train_net = Some("b.prototxt".into());
        assert_eq!(training(&param), "from train_net file: b.prototxt");
        param.train_net_param = Some(Default::default());
        assert_eq!(training(&param), "specified in train_net_param.");
    }
}
