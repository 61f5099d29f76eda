//! The published SqueezeNet trained six iterations on real photographs, against the numbers of BVLC
//! Caffe 1.0 in `../shared/goldens/sqtrain` (see the README there).

use crate::common::{
    Blobs, assert_close, assert_near, between, distance, dsd, log_texts, repository, shared,
    weights_of, write,
};
use dsd::npz;
use std::fs;

const FOLDER: &str = "models/squeezenet_v1.0";

/// How near the losses of the six iterations can come to Caffe's. The rate is too high for these
/// weights (the loss rises from 0.54 to 3.04), so that the run amplifies rounding about tenfold an
/// iteration: a single unit of fire8 whose sum lies within rounding of 0 changes the first gradients by
/// 3e-4 to 8e-4. The same six iterations in NumPy, from the same data, miss Caffe's losses by
/// 3e-7, 1e-4, 3e-3, 2e-2, 3e-2, 9e-2 in float64 and by 9e-7, 5e-7, 2e-5, 2e-2, 4e-4, 3e-3 in float32 with
/// OpenBLAS, the final weights of conv1 by 4e-4 in both.
const LOSS_LIMITS: [f64; 6] = [1e-3, 1e-3, 1e-3, 3e-2, 3e-2, 1e-1];

/// The same for the final weights; the norms of all parameters after every iteration hold to 1e-4.
const FINAL_LIMIT: f64 = 1e-3;

fn norm(values: &[f32]) -> f64 {
    let squares = values.iter().map(|v| f64::from(*v).powi(2));
    squares.sum::<f64>().sqrt()
}

/// `LAYER/K` of all convolutions, in the order of the net: that of `param_names`, which is text.
fn names_in_order(net: &str) -> Vec<String> {
    let parsed: dsd::proto::Parsed<dsd::proto::NetParameter> =
        dsd::proto::parse(net, "net").unwrap();
    let layers = parsed
        .message
        .layer
        .iter()
        .filter(|l| l.convolution_param.is_some());
    layers
        .flat_map(|l| [0, 1].map(|k| format!("{}/{k}", l.name())))
        .collect()
}

#[test]
fn six_iterations_of_training_the_real_net_follow_caffe() {
    let (Some(golden), Some(source), Some(weights)) = (
        shared("goldens/sqtrain/sqtrain.npz"),
        shared("goldens/sqtrain/lmdb227"),
        shared("data/squeezenet_deepcomp.net"),
    ) else {
        return;
    };
    let golden = npz::read(&golden).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let net = fs::read_to_string(repository(FOLDER).join("train_val.prototxt")).unwrap();
    let net = net
        .replace("batch_size: 32", "batch_size: 8")
        .replace("dropout_ratio: 0.5", "dropout_ratio: 0");
    write(folder.path(), "net.prototxt", &net);
    let solver = r#"
net: "net.prototxt" snapshot_prefix: "sq" snapshot: 1 display: 1 max_iter: 6
base_lr: 0.001 lr_policy: "poly" power: 1 momentum: 0.9 weight_decay: 0.0002"#;
    write(folder.path(), "solver.prototxt", solver);
    let run = dsd()
        .args(["train", "--solver", "solver.prototxt", "--weights"])
        .arg(&weights)
        .args(["--source".as_ref(), source.as_os_str()])
        .current_dir(folder.path())
        .assert()
        .success();
    let lines = log_texts(&run.get_output().stderr);
    let losses = between(&lines, "Train net output #0: loss = ", " (* 1");
    assert_eq!(losses.len(), 6);
    for (i, (got, want)) in losses.iter().zip(&golden["loss"].data).enumerate() {
        let name = format!("loss of iteration {i}");
        assert_close(
            &name,
            got.parse().unwrap(),
            f64::from(*want),
            LOSS_LIMITS[i],
        );
    }
    let names = names_in_order(&net);
    let norms = &golden["param_norms"].data;
    let mut last = Blobs::new();
    for iteration in 0..6 {
        let file = format!("sq_iter_{}.caffemodel", iteration + 1);
        last = weights_of(&folder.path().join(file));
        assert_eq!(last.len(), 52);
        for (k, param) in names.iter().enumerate() {
            let name = format!("norm of {param} after iteration {iteration}");
            let want = f64::from(norms[iteration * 52 + k]);
            assert_close(&name, norm(&last[param]), want, 1e-4);
        }
    }
    let mut compared = 0;
    for (name, want) in &golden {
        if let Some(name) = name.strip_prefix("final/") {
            assert_near(name, &last[name], &want.data, FINAL_LIMIT);
            compared += 1;
        }
    }
    assert_eq!(compared, 8);
    // Equal norms are not those of the start: the weights have moved.
    let first = weights_of(&folder.path().join("sq_iter_1.caffemodel"));
    assert!(distance(&last["conv_final/0"], &first["conv_final/0"]) > 1e-3);
}
