//! Sizes beyond reason: whatever number a net or a solver has in whatever place, the program ends soon, by itself, and well or
//! with one sentence.
#![cfg(unix)]

use crate::common::dsd;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// What one command may take. Machines that run tests may be busy.
const SECONDS: Duration = Duration::from_secs(20);
/// KiB of addresses.
const MEMORY: u64 = 8 << 20;

const INPUT: &str = "input: 'data' input_shape { dim: 1 dim: 3 dim: 32 dim: 32 }\n";

/// A net of one layer.
fn layer(kind: &str, rest: &str) -> String {
    format!("{INPUT}layer {{ name: 'l' type: '{kind}' bottom: 'data' top: 'o' {rest} }}")
}

/// Numbers that no size should be.
const ODD: [&str; 8] = [
    "0",
    "-1",
    "-9",
    "7",
    "2147483647",
    "4294967295",
    "-2147483648",
    "9223372036854775807",
];

/// Every number of a size, a place or a count that a layer has, in turn each of [`ODD`].
fn nets() -> Vec<(String, String)> {
    let convolution = [
        "num_output: #  kernel_size: 3",
        "num_output: 2 kernel_size: #",
        "num_output: 2 kernel_size: # pad: #",
        "num_output: 2 kernel_size: 3 stride: #",
        "num_output: 2 kernel_size: 3 pad: #",
        "num_output: 6 kernel_size: 3 group: #",
        "num_output: 2 kernel_size: 3 dilation: #",
        "num_output: 2 kernel_size: 3 axis: #",
    ];
    let mut fields: Vec<(&str, &str, String)> = Vec::new();
    for kind in ["Convolution", "Deconvolution", "Im2col"] {
        fields.extend(convolution.map(|f| (kind, "convolution_param", f.to_string())));
    }
    for (kind, param, field) in [
        ("Pooling", "pooling_param", "kernel_size: #"),
        (
            "Pooling",
            "pooling_param",
            "pool: AVE kernel_size: # pad: 3",
        ),
        ("Pooling", "pooling_param", "kernel_size: 2 stride: #"),
        ("Pooling", "pooling_param", "kernel_size: 2 pad: #"),
        ("InnerProduct", "inner_product_param", "num_output: #"),
        (
            "InnerProduct",
            "inner_product_param",
            "num_output: 2 axis: #",
        ),
        ("LRN", "lrn_param", "local_size: #"),
        (
            "LRN",
            "lrn_param",
            "local_size: # norm_region: WITHIN_CHANNEL",
        ),
        ("Softmax", "softmax_param", "axis: #"),
        ("ArgMax", "argmax_param", "axis: #"),
        ("ArgMax", "argmax_param", "top_k: #"),
        ("Flatten", "flatten_param", "axis: #"),
        ("Flatten", "flatten_param", "end_axis: #"),
        ("Tile", "tile_param", "axis: # tiles: 2"),
        ("Tile", "tile_param", "tiles: #"),
        ("Reduction", "reduction_param", "axis: #"),
        ("Scale", "scale_param", "axis: #"),
        ("Scale", "scale_param", "num_axes: #"),
        ("Bias", "bias_param", "axis: #"),
        ("Slice", "slice_param", "axis: #"),
        ("Slice", "slice_param", "slice_point: #"),
        ("Concat", "concat_param", "axis: #"),
        ("Reshape", "reshape_param", "axis: # shape { dim: -1 }"),
        ("Reshape", "reshape_param", "num_axes: # shape { dim: -1 }"),
        ("Reshape", "reshape_param", "shape { dim: # dim: # }"),
        ("SPP", "spp_param", "pyramid_height: #"),
        ("Embed", "embed_param", "num_output: # input_dim: 5"),
        ("Embed", "embed_param", "num_output: 5 input_dim: #"),
    ] {
        fields.push((kind, param, field.to_string()));
    }
    let mut nets = Vec::new();
    for (kind, param, field) in &fields {
        for odd in ODD {
            let text = layer(kind, &format!("{param} {{ {} }}", field.replace('#', odd)));
            nets.push((format!("{kind} {field} {odd}"), text));
        }
    }
    for odd in ODD {
        let dims = |d: &str| format!("input: 'data' input_shape {{ {d} }} ");
        let relu = "layer { name: 'l' type: 'ReLU' bottom: 'data' top: 'o' }";
        nets.push((
            format!("one dim {odd}"),
            dims(&format!("dim: {odd}")) + relu,
        ));
        let four = format!("dim: {odd} ").repeat(4);
        nets.push((format!("four dims {odd}"), dims(&four) + relu));
    }
    nets
}

/// Nets that are odd as a whole.
fn shapes() -> Vec<(String, String)> {
    let relu = |name: &str, bottom: &str, top: &str| {
        format!("layer {{ name: '{name}' type: 'ReLU' bottom: '{bottom}' top: '{top}' }}\n")
    };
    let mut chain = INPUT.to_string();
    for i in 0..10_000 {
        let bottom = match i {
            0 => "data".to_string(),
            i => format!("t{}", i - 1),
        };
        let _ = write!(
            chain,
            "{}",
            relu(&format!("r{i}"), &bottom, &format!("t{i}"))
        );
    }
    let of = |body: String| INPUT.to_string() + &body;
    let nets = [
        ("10,000 layers", chain),
        ("nesting", "layer { a ".to_string() + &"{ a ".repeat(10_000) + &"}".repeat(10_001)),
        ("braces", "a { ".repeat(100_000)),
        ("one long name", format!("name: '{}'", "x".repeat(10_000_000))),
        ("cycle", of(relu("a", "b", "a") + &relu("b", "a", "b"))),
        ("itself", of("layer { name: 'a' type: 'InnerProduct' bottom: 'a' top: 'a' inner_product_param { num_output: 2 } }".into())),
        ("one top twice", of(relu("a", "data", "a") + &relu("b", "data", "a"))),
        ("one name twice", of(relu("a", "data", "a") + &relu("a", "a", "b"))),
        ("two tops of one name", of("layer { name: 'a' type: 'Slice' bottom: 'data' top: 'a' top: 'a' }".into())),
        ("no type", of("layer { name: 'a' bottom: 'data' top: 'a' }".into())),
        ("no bottom", of("layer { name: 'a' type: 'ReLU' top: 'a' }".into())),
        ("no top", of("layer { name: 'a' type: 'ReLU' bottom: 'data' }".into())),
    ];
    nets.map(|(name, text)| (name.to_string(), text)).into()
}

/// Every number of a solver.
fn solvers() -> Vec<(String, String)> {
    const NET: &str = "net_param { name: 's'
        layer { name: 'd' type: 'Data' top: 'data' top: 'label' data_param { source: 'builtin:digits_train' batch_size: 8 } }
        layer { name: 'i' type: 'InnerProduct' bottom: 'data' top: 'i' inner_product_param { num_output: 10 } }
        layer { name: 'l' type: 'SoftmaxWithLoss' bottom: 'i' bottom: 'label' top: 'l' } } snapshot_after_train: false ";
    const GOOD: [(&str, &str); 3] = [
        ("base_lr", "0.01"),
        ("lr_policy", "'fixed'"),
        ("max_iter", "2"),
    ];
    let fields = [
        "base_lr",
        "gamma",
        "power",
        "momentum",
        "momentum2",
        "delta",
        "rms_decay",
        "weight_decay",
        "clip_gradients",
        "iter_size",
        "average_loss",
        "display",
        "snapshot",
        "test_iter",
        "test_interval",
        "stepsize",
        "stepvalue",
        "warmup_iter",
        "random_seed",
    ];
    let mut solvers = Vec::new();
    let mut add = |what: String, changed: &[(&str, &str)]| {
        let kept = GOOD
            .iter()
            .filter(|(f, _)| changed.iter().all(|(c, _)| c != f));
        let text: Vec<String> = (kept.chain(changed))
            .map(|(f, v)| format!("{f}: {v}"))
            .collect();
        solvers.push((what, NET.to_string() + &text.join(" ")));
    };
    for field in fields {
        for odd in ["0", "-3", "2147483647", "nan", "inf", "99999999999"] {
            // So many passes are what was asked for, and take their time.
            if (field, odd) == ("iter_size", "2147483647") {
                continue;
            }
            add(format!("{field} {odd}"), &[(field, odd)]);
        }
    }
    for policy in [
        "step",
        "exp",
        "inv",
        "multistep",
        "poly",
        "sigmoid",
        "none",
        "plateau",
    ] {
        for odd in ["0", "-3", "nan"] {
            let name = format!("'{policy}'");
            let changed = [
                ("lr_policy", &name[..]),
                ("gamma", odd),
                ("power", odd),
                ("stepsize", "0"),
            ];
            add(format!("{policy} {odd}"), &changed);
        }
    }
    for kind in ["'AdaDelta'", "'Adam'", "'RMSProp'", "'Foo'", "7"] {
        add(format!("type {kind}"), &[("type", kind)]);
    }
    for odd in ["0", "-1"] {
        add(format!("max_iter {odd}"), &[("max_iter", odd)]);
    }
    solvers
}

/// Runs a command for each text, written to `file`; gives a line for each that does not end as it should.
fn faults(file: &str, texts: Vec<(String, String)>, command: &[&str]) -> Vec<String> {
    let program = dsd().get_program().to_owned();
    let left = Mutex::new(texts.into_iter());
    let faults = Mutex::new(Vec::new());
    let work = || {
        let folder = tempfile::tempdir().unwrap();
        loop {
            let Some((what, text)) = left.lock().unwrap().next() else {
                return;
            };
            fs::write(folder.path().join(file), text).unwrap();
            if let Some(fault) = fault(folder.path(), &program, command) {
                faults.lock().unwrap().push(format!("{what}: {fault}"));
            }
        }
    };
    std::thread::scope(|s| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            s.spawn(work);
        }
    });
    faults.into_inner().unwrap()
}

/// What is wrong with how a command ends.
fn fault(folder: &Path, program: &std::ffi::OsStr, command: &[&str]) -> Option<String> {
    let clock = Instant::now();
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!(
            "ulimit -v {MEMORY}; exec timeout {} \"$0\" \"$@\"",
            SECONDS.as_secs()
        ))
        .arg(program)
        .args(command)
        .args(["--threads", "1"])
        .current_dir(folder)
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    let errors = log.lines().filter(|l| l.starts_with("error: ")).count();
    let good = match output.status.code() {
        Some(0) => errors == 0,
        Some(1) => errors == 1 && log.lines().last().is_some_and(|l| l.starts_with("error: ")),
        _ => false,
    };
    let tail: String = log.chars().rev().take(300).collect();
    let tail: String = tail.chars().rev().collect();
    (!good).then(|| format!("{} after {:?}: {tail}", output.status, clock.elapsed()))
}

#[test]
fn no_number_of_a_layer_does_harm() {
    let faults = faults(
        "net.prototxt",
        nets(),
        &["time", "--iterations", "1", "--model", "net.prototxt"],
    );
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_form_of_a_net_does_harm() {
    for command in [
        &["time", "--iterations", "1", "--model", "net.prototxt"][..],
        &["inspect", "net.prototxt"],
    ] {
        let faults = faults("net.prototxt", shapes(), command);
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}

#[test]
fn no_number_of_a_solver_does_harm() {
    let command = ["train", "--solver", "s.prototxt", "--max_iter", "2"];
    let faults = faults("s.prototxt", solvers(), &command);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
