//! Nets, solvers and command lines as people bring them: fields of forks of Caffe, files that are something
//! else, and slips of the pen; what is said of each.

use assert_cmd::Command;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn dsd(arguments: &[&str]) -> (i32, String, String) {
    let run = Command::new(env!("CARGO_BIN_EXE_dsd"))
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        run.status.code().unwrap(),
        text(&run.stdout),
        text(&run.stderr),
    )
}

fn case(name: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/cases/files")
        .join(name);
    if !path.exists() {
        eprintln!("skipped: no {}", path.display());
        return None;
    }
    Some(path.display().to_string())
}

fn model(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("models/digits")
        .join(name);
    path.display().to_string()
}

fn file(folder: &TempDir, name: &str, text: impl AsRef<[u8]>) -> String {
    let path: PathBuf = folder.path().join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// The last line of a run that fails: its error without the file's folder.
fn said(arguments: &[&str]) -> String {
    let (code, _, error) = dsd(arguments);
    assert_eq!(code, 1, "{arguments:?}: {error}");
    let line = error
        .lines()
        .rfind(|l| l.starts_with("error: "))
        .unwrap_or_default();
    let named = arguments
        .iter()
        .find(|a| line.contains(**a) && a.contains('/'));
    match named.and_then(|a| a.rsplit_once('/')) {
        Some((folder, _)) => line.replace(&format!("{folder}/"), ""),
        None => line.to_owned(),
    }
}

#[test]
fn slips_in_nets_are_told_with_what_was_meant() {
    for (name, sentence) in [
        (
            "typo_type.prototxt",
            "error: typo_type.prototxt:4: layer 'r': unknown layer type 'Relu'; did you mean 'ReLU'?",
        ),
        (
            "unterminated.prototxt",
            "error: unterminated.prototxt:1:7: the string that begins here is not closed: expected a \" before the end of the line",
        ),
        (
            "winpath.prototxt",
            "error: winpath.prototxt:1:81: a backslash begins an escape (\\n, \\\") in prototxt; write the path with / or \\\\ instead of \\",
        ),
        (
            "v1_string_type.prototxt",
            "error: v1_string_type.prototxt:2:29: `type`: `layers` is Caffe's old form, whose types are words without quotes, \
             but \"Input\" is today's; write `layer { ... type: \"Input\" }` for every layer",
        ),
        (
            "inplace_unknown_bottom.prototxt",
            "error: inplace_unknown_bottom.prototxt:4: layer 'relu2': unknown bottom 'conv2'; did you mean 'conv1'?",
        ),
        (
            "digits_all_in_one.prototxt",
            "error: digits_all_in_one.prototxt:5: layer 'conv1': bottom 'scaled' is made by layer 'train-data' (--stage train) \
             or layer 'val-data' (--stage val) or layer 'scale' (--stage deploy), whose include/exclude rules leave it out of \
             this phase",
        ),
    ] {
        let Some(path) = case(name) else { return };
        assert_eq!(said(&["inspect", &path]), sentence);
    }
}

#[test]
fn a_layer_of_a_fork_is_described_and_cannot_run() {
    for (name, layer, whose) in [
        ("custom_bn.prototxt", "conv1_bn", "BN"),
        ("custom_noparam.prototxt", "u", "Upsample"),
    ] {
        let Some(path) = case(name) else { return };
        let (code, text, error) = dsd(&["inspect", &path]);
        assert_eq!(code, 0, "{error}");
        assert!(
            text.contains(&format!(
                "shapes behind them are unknown: '{layer}' ({whose})"
            )),
            "{text}"
        );
        let line = said(&["time", "--model", &path]);
        assert!(
            line.contains(&format!(
                "layer '{layer}': unknown layer type '{whose}': a fork's layer"
            )),
            "{line}"
        );
        assert!(!line.contains("did you mean"), "{line}");
    }
}

#[test]
fn shapes_are_known_up_to_a_layer_of_a_fork() {
    let folder = TempDir::new().unwrap();
    let net = file(
        &folder,
        "n.prototxt",
        "layer { name: 'in' type: 'Input' top: 'x' input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }\n\
         layer { name: 'c' type: 'Convolution' bottom: 'x' top: 'c' convolution_param { num_output: 2 kernel_size: 3 } }\n\
         layer { name: 'py' type: 'Python' bottom: 'c' top: 'p' python_param { module: 'm' layer: 'L' } }\n\
         layer { name: 'r' type: 'ReLU' bottom: 'p' top: 'r' }\n",
    );
    let (code, json, error) = dsd(&["inspect", &net, "--json"]);
    assert_eq!(code, 0, "{error}");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        json["layers"][1]["shapes"],
        serde_json::json!([[1, 2, 6, 6]])
    );
    assert_eq!(json["layers"][1]["params"], 56);
    assert!(json["layers"][2]["shapes"].is_null() && json["layers"][3]["shapes"].is_null());
    assert!(json["params"].is_null());
}

#[test]
fn files_in_each_others_place_are_told() {
    let folder = TempDir::new().unwrap();
    let weights = file(&folder, "w.caffemodel", b"\x0a\x01n\xa2\x06\x04\x0a\x02ip");
    let (net, solver) = (model("train_val.prototxt"), model("solver_dense.prototxt"));
    for (arguments, part) in [
        (
            vec!["test", "--model", &weights, "--weights", &net],
            "expected a net (prototxt), found binary data",
        ),
        (
            vec!["train", "--solver", &net],
            "expected a solver, found `name`: this is a net",
        ),
        (
            vec!["time", "--model", &solver],
            "expected a net, found `net`: this is a solver",
        ),
        (
            vec!["train", "--solver", &weights],
            "expected a solver (prototxt), found binary data",
        ),
        (
            vec!["test", "--model", &net, "--weights", &net],
            "expected weights, found a net (prototxt)",
        ),
        (
            vec!["test", "--model", &net, "--weights", &solver],
            "expected weights, found a solver (prototxt)",
        ),
    ] {
        let line = said(&arguments);
        assert!(line.contains(part), "{arguments:?}: {line}");
    }
}

#[test]
fn a_solver_with_a_net_inside_shows_its_own_mistakes_and_the_nets() {
    let folder = TempDir::new().unwrap();
    let head = "base_lr: 0.1\nlr_policy: \"fixed\"\nmax_iter: 10\nnet_param {\n  layer { name: 'd' type: 'DummyData' top: 'x'\n\
                dummy_data_param { shape { dim: 1 dim: 2 } } }\n";
    for (rest, sentence) in [
        (
            "layer { name: 'r' type: 'ReLU' botom: 'x' top: 'y' } }",
            "s.prototxt:7:32: LayerParameter has no field `botom`; did you mean `bottom`?",
        ),
        (
            "layer { name: 'r' type: 'ReLU' bottom: 'z' top: 'y' } }",
            "s.prototxt:7: layer 'r': unknown bottom 'z'",
        ),
        (
            "layer { name: 'r' type: 'Relu' bottom: 'x' top: 'y' } }",
            "s.prototxt:7: layer 'r': unknown layer type 'Relu'",
        ),
        (
            "}\nbase_rl: 3",
            "s.prototxt:8:1: SolverParameter has no field `base_rl`; did you mean `base_lr`?",
        ),
    ] {
        let solver = file(&folder, "s.prototxt", format!("{head}{rest}\n"));
        let out = folder.path().join("out").display().to_string();
        let line = said(&["train", "--solver", &solver, "--out", &out]);
        assert!(line.contains(sentence), "{line}");
        let (code, text, error) = dsd(&["inspect", &solver]);
        assert!(
            code == 1 && error.contains(sentence) || text.contains("a solver"),
            "{text}{error}"
        );
    }
    let Some(path) = case("solver_inline_bad.prototxt") else {
        return;
    };
    // Its resize_param is read now; only the database is missing.
    let out = folder.path().join("out").display().to_string();
    let line = said(&["train", "--solver", &path, "--out", &out]);
    assert!(
        line.contains(
            "solver_inline_bad.prototxt:5: layer 'data': cannot open the database x_lmdb"
        ),
        "{line}"
    );
}

#[test]
fn ceil_mode_false_rounds_down() {
    let Some(path) = case("pool_ceil_false.prototxt") else {
        return;
    };
    let (code, text, error) = dsd(&["inspect", &path]);
    assert_eq!(code, 0, "{error}");
    assert!(text.contains("1x1x56x56"), "{text}");
}

#[test]
fn stages_levels_and_phases_choose_the_net_that_is_described() {
    let folder = TempDir::new().unwrap();
    let net = file(
        &folder,
        "n.prototxt",
        "layer { name: 'in' type: 'Input' top: 'x' input_param { shape { dim: 1 dim: 3 } } }\n\
         layer { name: 'a' type: 'ReLU' bottom: 'x' top: 'a' include { stage: 'one' } }\n\
         layer { name: 'b' type: 'ReLU' bottom: 'x' top: 'b' include { phase: TRAIN } }\n\
         layer { name: 'c' type: 'ReLU' bottom: 'x' top: 'c' include { min_level: 2 } }\n",
    );
    for (arguments, layers) in [
        (&[][..], "in"),
        (&["--stage", "one"], "in a"),
        (&["--phase", "TRAIN"], "in b"),
        (&["--phase", "test", "--level", "2"], "in c"),
        (
            &["--phase", "train", "--level", "3", "--stage", "one,two"],
            "in a b c",
        ),
    ] {
        let (code, json, error) = dsd(&[&["inspect", &net, "--json"], arguments].concat());
        assert_eq!(code, 0, "{error}");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let names = json["layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|l| l["name"].as_str().unwrap());
        assert_eq!(names.collect::<Vec<_>>().join(" "), layers, "{arguments:?}");
    }
}

const TRAINING: &str = "net_param {\n\
  layer { name: 'd' type: 'Data' top: 'data' top: 'label'\n\
    transform_param { TRANSFORM }\n\
    data_param { source: 'builtin:digits_train' batch_size: 16 shuffle: SHUFFLE } }\n\
  layer { name: 'i' type: 'InnerProduct' bottom: 'data' top: 'i' inner_product_param { num_output: 10 \
    weight_filler { type: 'xavier' } } }\n\
  layer { name: 'l' type: 'SoftmaxWithLoss' bottom: 'i' bottom: 'label' top: 'l' }\n}\n\
  base_lr: 0.01 lr_policy: 'fixed' max_iter: 4 display: 1 random_seed: 3 eval_type: 'detection' SOLVER\n";

/// The losses of a short training, and what it said.
fn losses(transform: &str, shuffle: &str, solver: &str, threads: &str) -> (Vec<String>, String) {
    let folder = TempDir::new().unwrap();
    let text = TRAINING
        .replace("TRANSFORM", transform)
        .replace("SHUFFLE", shuffle)
        .replace("SOLVER", solver);
    let path = file(&folder, "s.prototxt", text);
    let out = folder.path().join("out").display().to_string();
    let (code, _, error) = dsd(&[
        "train",
        "--solver",
        &path,
        "--out",
        &out,
        "--threads",
        threads,
    ]);
    assert_eq!(code, 0, "{transform}: {error}");
    let loss = |l: &str| {
        l.split("loss = ")
            .nth(1)
            .map(|r| r.split_whitespace().next().unwrap_or("").to_owned())
    };
    let found = error
        .lines()
        .filter(|l| l.contains("Iteration ") && l.contains("loss = "));
    (found.filter_map(loss).collect(), error)
}

#[test]
fn the_transforms_of_ssd_train_and_repeat() {
    let plain = losses("scale: 0.0625", "false", "", "1").0;
    assert!(plain.len() >= 4);
    for transform in [
        "scale: 0.0625 resize_param { height: 12 width: 10 interp_mode: LINEAR interp_mode: CUBIC }",
        "scale: 0.0625 resize_param { resize_mode: FIT_SMALL_SIZE height: 12 width: 10 } crop_h: 9 crop_w: 8",
        "scale: 0.0625 distort_param { brightness_prob: 1 brightness_delta: 9 contrast_prob: 1 contrast_lower: 0.5 contrast_upper: 1.5 }",
        "scale: 0.0625 mean_value: 4 expand_param { prob: 0.5 max_expand_ratio: 3 } resize_param { height: 8 width: 8 }",
        "scale: 0.0625 noise_param { inverse: true erode: true } emit_constraint { emit_type: CENTER }",
    ] {
        let (first, said) = losses(transform, "false", "", "1");
        assert_ne!(first, plain, "{transform}");
        assert_eq!(first, losses(transform, "false", "", "2").0, "{transform}");
        let warned = said.lines().filter(|l| l.contains("eval_type")).count();
        assert_eq!(warned, 1, "{said}");
    }
}

#[test]
fn a_shuffled_database_and_a_warm_up_train_otherwise() {
    let plain = losses("scale: 0.0625", "false", "", "1").0;
    assert_ne!(losses("scale: 0.0625", "true", "", "1").0, plain);
    let warm = losses(
        "scale: 0.0625",
        "false",
        "warmup_iter: 3 warmup_start_lr: 0.001",
        "1",
    );
    assert_ne!(warm.0, plain);
    for rate in ["lr = 0.001", "lr = 0.004", "lr = 0.007", "lr = 0.01"] {
        assert!(warm.1.contains(rate), "{}", warm.1);
    }
}
