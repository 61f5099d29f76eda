//! What `dsd time` times where nobody gave weights, and what runs say of layers that start at zero.

use crate::common::{digits_net, digits_solver, dsd, shared, write};
use dsd::npz;
use dsd::tensor::{Shape, Tensor};
use serde_json::Value;
use std::path::Path;

/// Layers without fillers, as deploy nets are, and others whose fillers leave many zeros; all for the direct kernel.
const NET: &str = r#"
name: "n"
input: "data"
input_dim: 1
input_dim: 32
input_dim: 28
input_dim: 28
layer { name: "c1" type: "Convolution" bottom: "data" top: "c1" convolution_param { num_output: 64 kernel_size: 3 pad: 1 } }
layer { name: "c2" type: "Convolution" bottom: "c1" top: "c2" convolution_param { num_output: 128 kernel_size: 1 } }
layer { name: "c3" type: "Convolution" bottom: "c2" top: "c3" convolution_param { num_output: 40 kernel_size: 5 stride: 2
  weight_filler { type: "gaussian" std: 0.1 sparse: 1 } } }
layer { name: "ip" type: "InnerProduct" bottom: "c3" top: "ip" inner_product_param { num_output: 10
  weight_filler { type: "constant" value: 0 } } }
"#;

/// The log and the JSON of `dsd time`.
fn time(folder: &Path, args: &[&str]) -> (String, Value) {
    let mut command = dsd();
    command.args(["time", "--iterations", "5", "--json", "--threads", "2"]);
    let output = command
        .args(args)
        .env_remove("DSD_SPARSE")
        .current_dir(folder)
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr).to_string();
    assert!(output.status.success(), "{log}");
    (log, serde_json::from_slice(&output.stdout).unwrap())
}

/// The kernels by layer; none is sparse, and no direct one is faster than the processor.
fn kernels(json: &Value) -> Vec<(String, String)> {
    let mut kernels = Vec::new();
    for layer in json["layers"].as_array().unwrap() {
        let kernel = layer["kernel"].as_str().unwrap();
        assert!(
            !kernel.starts_with("sparse") && !kernel.starts_with("coded"),
            "{layer}"
        );
        if kernel.starts_with("direct") {
            let percent = layer["percent_of_peak"].as_f64().unwrap();
            assert!(percent > 0.0 && percent <= 100.0 + 1e-9, "{layer}");
        }
        let name = layer["name"].as_str().unwrap();
        kernels.push((name.to_string(), kernel.to_string()));
    }
    kernels
}

#[test]
fn weights_that_nobody_gave_are_dense_noise() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "net.prototxt", NET);
    for phase in ["test", "train"] {
        let args = ["--model", "net.prototxt", "--phase", phase];
        let (log, json) = time(folder.path(), &args);
        assert!(log.contains("random numbers here: c1, c2, ip\n"), "{log}");
        let without = kernels(&json);
        let direct = without.iter().filter(|k| k.1.starts_with("direct"));
        assert_eq!(direct.count(), 3, "{without:?}");
        // The same layers with weights go to the same kernels.
        let array = |dims: &[usize]| {
            let shape = Shape::from(dims);
            let data = (0..shape.count()).map(|i| 0.01 * (i % 7) as f32 - 0.031);
            Tensor {
                data: data.collect(),
                shape,
            }
        };
        let given = [
            ("c1:0", array(&[64, 32, 3, 3])),
            ("c1:1", array(&[64])),
            ("c2:0", array(&[128, 64, 1, 1])),
            ("c2:1", array(&[128])),
            ("c3:0", array(&[40, 128, 5, 5])),
            ("c3:1", array(&[40])),
            ("ip:0", array(&[10, 40 * 12 * 12])),
            ("ip:1", array(&[10])),
        ];
        let path = folder.path().join("w.npz");
        npz::write(&path, given.iter().map(|(name, t)| (*name, t.view()))).unwrap();
        let (log, json) = time(
            folder.path(),
            &[&args[..], &["--weights", "w.npz"]].concat(),
        );
        assert!(!log.contains("random numbers"), "{log}");
        assert_eq!(kernels(&json), without);
    }
}

#[test]
fn weights_that_a_file_gives_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "net.prototxt", NET);
    let tensor = |dims: &[usize]| Tensor::zeros(Shape::from(dims));
    let given = [("c2:0", tensor(&[128, 64, 1, 1])), ("c2:1", tensor(&[128]))];
    let path = folder.path().join("w.npz");
    npz::write(&path, given.iter().map(|(name, t)| (*name, t.view()))).unwrap();
    let args = [
        "--model",
        "net.prototxt",
        "--phase",
        "test",
        "--weights",
        "w.npz",
    ];
    let (log, json) = time(folder.path(), &args);
    assert!(log.contains("random numbers here: c1, ip\n"), "{log}");
    let mut layers = json["layers"].as_array().unwrap().iter();
    let c2 = layers.find(|l| l["name"] == "c2").unwrap();
    assert!(c2["kernel"].as_str().unwrap().starts_with("sparse"), "{c2}");
}

#[test]
fn the_case_without_fillers() {
    let Some(net) = shared("cases/files/time_no_filler.prototxt") else {
        return;
    };
    let net = net.to_str().unwrap();
    let (log, json) = time(Path::new("."), &["--model", net, "--phase", "test"]);
    assert!(log.contains("random numbers here: c1, c2\n"), "{log}");
    let kernels = kernels(&json);
    // The first layer takes channel planes, which Winograd's kernel does not.
    let kinds = [("c1", "direct"), ("c2", "winograd")];
    for (kernel, (name, kind)) in kernels[1..].iter().zip(kinds) {
        assert!(
            kernel.0 == name && kernel.1.starts_with(kind),
            "{kernels:?}"
        );
    }
}

/// The lines of a run's log that tell of layers at zero.
fn said(folder: &Path, args: &[&str]) -> Vec<String> {
    let output = dsd().args(args).current_dir(folder).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).to_string();
    assert!(output.status.success(), "{args:?}: {log}");
    let lines = log.lines().filter(|l| l.contains("with all weights 0"));
    lines.map(String::from).collect()
}

#[test]
fn run_says_which_layers_start_at_zero() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "net.prototxt", NET);
    let data = Tensor::zeros(Shape::from(&[1, 32, 28, 28][..]));
    npz::write(&folder.path().join("in.npz"), [("data", data.view())]).unwrap();
    let run = [
        "run",
        "--model",
        "net.prototxt",
        "--inputs",
        "in.npz",
        "--outputs",
        "out.npz",
    ];
    let lines = said(folder.path(), &run);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("3 layers start") && lines[0].ends_with(": c1, c2, ip"),
        "{lines:?}"
    );
    let filled = NET.replace("pad: 1", "pad: 1 weight_filler { type: \"msra\" }");
    let filled = filled.replace("value: 0", "value: 0.5");
    write(folder.path(), "net.prototxt", &filled);
    let lines = said(folder.path(), &run);
    assert!(
        lines[0].contains("1 layer starts") && lines[0].ends_with(": c2"),
        "{lines:?}"
    );
}

#[test]
fn train_says_which_layers_start_at_zero() {
    let folder = tempfile::tempdir().unwrap();
    let net = digits_net(10, "");
    let bare = net.replace("weight_filler { type: \"msra\" }", "");
    assert_ne!(net, bare);
    write(folder.path(), "net.prototxt", &bare);
    write(folder.path(), "solver.prototxt", &digits_solver(2, ""));
    let train = ["train", "--solver", "solver.prototxt"];
    let lines = said(folder.path(), &train);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("1 layer starts") && lines[0].ends_with(": conv"),
        "{lines:?}"
    );
    write(folder.path(), "net.prototxt", &net);
    assert_eq!(said(folder.path(), &train), [""; 0]);
    // Weights from a file are as they shall be; and a phase of a flow says it too.
    write(folder.path(), "net.prototxt", &bare);
    let weights = ["--weights", "small_iter_2.caffemodel"];
    assert_eq!(
        said(folder.path(), &[&train[..], &weights].concat()),
        [""; 0]
    );
    let phase = ["dense", "--solver", "solver.prototxt", "--out", "out"];
    assert_eq!(said(folder.path(), &phase).len(), 1);
}
