//! Caffe's lines on where a solver's nets come from, which the readers of its logs look for.

use crate::info;
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
