//! `dsd inspect` on every kind of file: built-in nets, files made here, and Caffe's own.

use assert_cmd::Command;
use dsd::phase::Phase;
use dsd::proto::caffe::{Datum, LayerParameter};
use dsd::proto::{BlobProto, NetParameter, binary, blob};
use dsd::solver::mask::Mask;
use dsd::solver::snapshot::{self, Own, State};
use dsd::tensor::{Shape, Tensor};
use dsd::weights_file::Stored;
use heed::CommitOrAbort;
use heed::types::Bytes;
use predicates::prelude::*;
use predicates::str::contains;
use prost::Message;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn inspect(file: impl AsRef<Path>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dsd"));
    command.arg("inspect").arg(file.as_ref());
    command
}

fn described(file: impl AsRef<Path>) -> Value {
    let run = inspect(file).arg("--json").assert().success();
    serde_json::from_slice(&run.get_output().stdout).unwrap()
}

fn text(file: impl AsRef<Path>) -> String {
    let run = inspect(file).assert().success();
    String::from_utf8(run.get_output().stdout.clone()).unwrap()
}

/// The one line that tells why a file cannot be described.
fn refused(file: impl AsRef<Path>) -> String {
    let run = inspect(file).assert().code(1).stdout("");
    let error = String::from_utf8(run.get_output().stderr.clone()).unwrap();
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.starts_with("error: "), "{error}");
    error
}

fn shared(file: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared")
        .join(file);
    if !path.exists() {
        eprintln!("skipped: no {}", path.display());
        return None;
    }
    Some(path)
}

fn file(folder: &TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    path
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

const DATA: &str = "layer { name: 'data' type: 'Data' top: 'data' top: 'label'
  data_param { source: 'not_there' batch_size: 4 } transform_param { CROP } INCLUDE }\n";
const IP: &str = "layer { name: 'ip' type: 'InnerProduct' bottom: 'data' top: 'ip'
  inner_product_param { num_output: 2 } }\n";

fn net(crop: &str, include: &str) -> String {
    let data = DATA.replace("CROP", crop).replace("INCLUDE", include);
    format!("name: 'n'\n{data}{IP}")
}

#[test]
fn the_built_in_nets_have_their_published_sizes_in_both_forms() {
    for (name, params, macs) in [
        ("squeezenet_v1.0", 1_248_424, Some(861_339_936u64)),
        ("squeezenet_v1.1", 1_235_496, Some(387_747_520)),
        ("mobilenet_v1", 4_231_976, Some(568_740_352)),
        ("digits", 12_906, None),
    ] {
        let models = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("models")
            .join(name);
        let forms = [
            PathBuf::from(name),
            models.join("train_val.prototxt"),
            models.join("deploy.prototxt"),
        ];
        for form in forms {
            let net = described(&form);
            assert_eq!(net["params"], params, "{form:?}");
            assert!(macs.is_none_or(|m| net["macs"] == m), "{form:?}");
            let sum = |key| {
                let of = |l: &Value| l[key].as_u64().unwrap();
                net["layers"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(of)
                    .sum::<u64>()
            };
            assert_eq!(net["params"], sum("params"));
            assert_eq!(net["macs"], sum("macs"));
        }
    }
}

#[test]
fn a_layer_is_told_with_type_tops_shapes_parameters_and_work() {
    let conv1 = &described("squeezenet_v1.0")["layers"][1];
    let wanted = json!({
        "name": "conv1", "type": "Convolution", "tops": ["conv1"], "shapes": [[50, 96, 111, 111]],
        "params": 14_208, "macs": 173_873_952,
    });
    assert_eq!(*conv1, wanted);
    let shown = text("squeezenet_v1.0");
    assert!(
        shown.contains("50x96x111x111   14,208    173,873,952"),
        "{shown}"
    );
    assert!(
        shown.contains("1,248,424 parameters (4.76 MiB in float32)"),
        "{shown}"
    );
}

#[test]
fn a_net_without_its_data_takes_the_crop_and_says_what_it_assumes() {
    let dir = folder();
    let path = file(&dir, "net.prototxt", net("crop_size: 5", ""));
    let shown = text(&path);
    assert!(shown.contains("4x3x5x5"), "{shown}");
    assert!(
        shown.contains("not_there: No such file or directory"),
        "{shown}"
    );
    assert!(
        shown.contains("3x5x5, from crop_size, with 3 channels assumed"),
        "{shown}"
    );
    let net = described(&path);
    assert_eq!((&net["params"], &net["macs"]), (&json!(152), &json!(150)));
    assert_eq!(net["layers"][0]["shapes"], json!([[4, 3, 5, 5], [4]]));
}

#[test]
fn a_net_without_data_and_crop_looks_into_the_deploy_net_beside_it() {
    let dir = folder();
    let path = file(&dir, "net.prototxt", net("", ""));
    let unknown = described(&path);
    assert_eq!(
        (&unknown["params"], &unknown["layers"][1]["shapes"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(unknown["layers"][1]["type"], "InnerProduct");
    assert!(text(&path).contains("the shapes are unknown"));
    file(
        &dir,
        "deploy.prototxt",
        "layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 1 dim: 1 dim: 3 dim: 3 } } }",
    );
    assert_eq!(
        described(&path)["layers"][0]["shapes"][0],
        json!([4, 1, 3, 3])
    );
}

#[test]
fn a_net_with_layers_for_training_only_is_described_as_such() {
    let dir = folder();
    let train = net("crop_size: 2", "include { phase: TRAIN }");
    let path = file(&dir, "net.prototxt", train);
    assert_eq!(described(&path)["phase"], "TRAIN");
    assert!(text(&path).contains("described in the TRAIN phase"));
}

#[test]
fn sizes_that_no_machine_has_are_refused() {
    let dir = folder();
    let huge = net("crop_size: 4294967295", "");
    assert!(refused(file(&dir, "a.prototxt", huge)).contains("too large"));
    let many = net("crop_size: 20000", "").replace("num_output: 2", "num_output: 4294967295");
    let error = refused(file(&dir, "b.prototxt", many));
    assert!(
        error.contains("layer 'ip': an array of") && error.contains("too large"),
        "{error}"
    );
}

#[test]
fn a_solver_is_told_from_a_net_and_shows_its_schedule() {
    let dir = folder();
    file(&dir, "net.prototxt", net("crop_size: 2", ""));
    let solver = "net: 'net.prototxt'\nbase_lr: 0.1\nlr_policy: 'step'\ngamma: 0.5\nstepsize: 10\nmax_iter: 40\n";
    let path = file(&dir, "solver.prototxt", solver);
    let json = described(&path);
    assert_eq!(
        (&json["kind"], &json["base_lr"]),
        (&json!("solver"), &json!(0.1))
    );
    assert_eq!(json["rates"][4], json!([40, 0.00625]));
    assert_eq!(json["notes"], json!([]));
    let shown = text(&path);
    assert!(
        shown.contains("0.1 at 0, 0.05 at 10, 0.025 at 20"),
        "{shown}"
    );
    let broken = file(
        &dir,
        "typo.prototxt",
        solver.replace("lr_policy", "lr_polcy"),
    );
    assert!(refused(broken).contains("typo.prototxt:3:1: SolverParameter has no field `lr_polcy`"));
    let lost = file(
        &dir,
        "lost.prototxt",
        solver.replace("net.proto", "no.proto"),
    );
    assert!(text(lost).contains("cannot be run as it is: net: \"no.prototxt\""));
}

/// A shape and its values.
type Blob<'a> = (&'a [usize], &'a [f32]);

fn stored(layers: &[(&str, &[Blob])]) -> NetParameter {
    let layer = |(name, blobs): &(&str, &[Blob])| LayerParameter {
        name: Some(name.to_string()),
        blobs: blobs
            .iter()
            .map(|(shape, data)| blob::blob(shape, data))
            .collect(),
        ..Default::default()
    };
    NetParameter {
        name: Some("n".into()),
        layer: layers.iter().map(layer).collect(),
        ..Default::default()
    }
}

#[test]
fn the_density_of_weights_leaves_biases_and_statistics_out() {
    let dir = folder();
    let net = stored(&[
        (
            "ip",
            &[(&[2, 2], &[1.0, 0.0, 0.0, 2.0]), (&[2], &[0.0, 0.0])],
        ),
        (
            "bn",
            &[
                (&[2], &[0.5, 0.5]),
                (&[2], &[1.0, f32::NAN]),
                (&[1], &[1.0]),
            ],
        ),
    ]);
    let path = dir.path().join("weights");
    binary::write(&path, &net).unwrap();
    let json = described(&path);
    assert_eq!(
        (&json["kind"], &json["density"]),
        (&json!("weights"), &json!(0.5))
    );
    assert_eq!((&json["values"], &json["weights"]), (&json!(11), &json!(4)));
    let ip = json!({
        "name": "ip", "shapes": [[2, 2], [2]], "values": 6, "weights": 4, "nonzero": 2, "density": 0.5, "bits": null,
    });
    assert_eq!(json["layers"][0], ip);
    let shown = text(&path);
    assert!(
        shown.contains("layer 'bn' has 1 value NaN or infinite"),
        "{shown}"
    );

    let message = binary::read_caffemodel(&path).unwrap();
    let layers = Stored::from_message(&message, "w").unwrap().layers;
    let arrays = layers.iter().flat_map(|l| {
        let name = |k| format!("{}:{k}", l.name);
        l.blobs
            .iter()
            .enumerate()
            .map(move |(k, b)| (name(k), b.view()))
            .collect::<Vec<_>>()
    });
    let path = dir.path().join("arrays");
    dsd::npz::write(&path, arrays).unwrap();
    let json = described(&path);
    assert_eq!(
        (&json["format"], &json["density"]),
        (&json!("npz"), &json!(0.5))
    );
    assert_eq!(json["layers"][1], ip);
}

#[test]
fn a_npz_with_other_names_is_a_list_of_arrays() {
    let dir = folder();
    let path = dir.path().join("a.npz");
    let tensor = Tensor {
        shape: Shape::new([3]),
        data: vec![0.0, 1.0, 2.0],
    };
    dsd::npz::write(&path, [("data", tensor.view())]).unwrap();
    let json = described(&path);
    assert_eq!(json["arrays"][0]["shapes"], json!([[3]]));
    assert_eq!(
        (&json["kind"], &json["nonzero"]),
        (&json!("arrays"), &json!(2))
    );
}

#[test]
fn weights_are_compared_with_a_net_on_request() {
    let dir = folder();
    let model = file(&dir, "net.prototxt", net("crop_size: 2", ""));
    let path = dir.path().join("w.caffemodel");
    let net = stored(&[
        ("ip", &[(&[2, 12], &[1.0; 24]), (&[2], &[0.0; 2])]),
        ("other", &[(&[1], &[1.0])]),
    ]);
    binary::write(&path, &net).unwrap();
    let run = inspect(&path).arg("--model").arg(&model).assert().success();
    run.stdout(
        contains("1 layer of").and(contains("find their weights here; in the file only: other")),
    );
}

#[test]
fn the_published_compressed_squeezenet_has_its_published_densities() {
    let (Some(path), Some(table)) = (
        shared("data/squeezenet_deepcomp.net"),
        shared("facts/squeezenet_3x_density.tsv"),
    ) else {
        return;
    };
    let json = described(&path);
    assert_eq!(
        (&json["weights"], &json["nonzero"]),
        (&json!(1_244_448), &json!(415_921))
    );
    let layers = json["layers"].as_array().unwrap();
    let table = fs::read_to_string(table).unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(1)
        .map(|l| l.split('\t').collect())
        .collect();
    for layer in layers {
        let row = rows.iter().find(|r| r[0] == layer["name"]).unwrap();
        assert_eq!(layer["weights"].to_string(), row[1]);
        assert_eq!(layer["nonzero"].to_string(), row[2]);
        assert_eq!(format!("{:.4}", layer["density"].as_f64().unwrap()), row[3]);
    }
    assert_eq!(layers.len(), 26);
    let wrong = inspect(&path).args(["--model", "digits"]).assert().code(1);
    wrong.stderr(contains("read with the model digits"));
}

#[test]
fn a_state_of_ours_shows_phase_seed_and_masks() {
    let dir = folder();
    let net = stored(&[("ip", &[(&[2, 2], &[1.0, 0.0, 0.0, 2.0]), (&[2], &[0.0; 2])])]);
    binary::write(&dir.path().join("a_iter_7.caffemodel"), &net).unwrap();
    let state = State {
        iter: 7,
        learned_net: "elsewhere/a_iter_7.caffemodel".into(),
        history: [vec![2, 2], vec![2]]
            .map(|s| Tensor::zeros(Shape::new(s)))
            .to_vec(),
        own: Some(Own {
            phase: Phase::Sparse,
            seed: u64::MAX,
            masks: vec![("ip".into(), 0, Mask::of_nonzero(&[1.0, 0.0, 0.0, 2.0]))],
            ..Default::default()
        }),
        ..Default::default()
    };
    let path = dir.path().join("a_iter_7.solverstate");
    snapshot::write(&path, snapshot::Format::Binary, state).unwrap();
    let json = described(&path);
    assert_eq!(
        (&json["iteration"], &json["phase"]),
        (&json!(7), &json!("sparse"))
    );
    assert_eq!(json["seed"], json!(u64::MAX));
    assert_eq!(
        json["histories"][0],
        json!({ "name": "ip:0", "shape": [2, 2] })
    );
    assert_eq!(
        json["masks"],
        json!([{ "layer": "ip", "blob": 0, "count": 4, "alive": 2, "density": 0.5 }])
    );
    let shown = text(&path);
    assert!(shown.contains("1 mask, density 0.5"), "{shown}");
}

#[test]
fn a_state_of_caffes_own_names_its_histories_by_the_weights_beside_it() {
    let Some(path) = shared("goldens/solvers/adam_iter_20.solverstate") else {
        return;
    };
    let json = described(&path);
    assert_eq!(
        (&json["iteration"], &json["phase"]),
        (&json!(20), &Value::Null)
    );
    // Adam has two histories a parameter.
    assert_eq!(json["histories"].as_array().unwrap().len(), 8);
    assert_eq!(
        json["histories"][6],
        json!({ "name": "ip:0", "shape": [10, 100] })
    );
    assert!(text(&path).contains("written by Caffe"));
}

#[test]
fn every_generation_of_caffes_weights_and_nets_is_described() {
    for name in ["tiny_v0", "tiny_v1", "tiny_v0_upgraded", "tiny_v1_upgraded"] {
        let Some(path) = shared(&format!("goldens/formats/{name}.caffemodel")) else {
            return;
        };
        let weights = described(&path);
        assert_eq!(weights["values"], 1122, "{name}");
        assert_eq!(weights["weights"], 1108, "{name}");
        assert_eq!(
            described(path.with_extension("prototxt"))["kind"],
            "net",
            "{name}"
        );
    }
}

#[test]
#[allow(unsafe_code)]
fn a_database_shows_its_keys_picture_and_labels() {
    let dir = folder();
    // SAFETY: a folder of this test's own.
    let env = unsafe {
        heed::EnvOpenOptions::new()
            .map_size(1 << 20)
            .open(dir.path())
    }
    .unwrap();
    let txn = env.write_txn().unwrap();
    env.create_databases_and_commit(txn, |creator, txn| {
        let records = creator.create_database::<Bytes, Bytes>(txn, None)?;
        for i in 0..5u8 {
            let datum = Datum {
                channels: Some(1),
                height: Some(2),
                width: Some(3),
                data: Some(vec![i; 6]),
                label: Some(i32::from(i % 2) * 7),
                ..Default::default()
            };
            let key = format!("key{i}");
            records.put(txn, key.as_bytes(), &datum.encode_to_vec())?;
        }
        Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(()))
    })
    .unwrap();
    drop(env);
    for path in [dir.path().to_path_buf(), dir.path().join("data.mdb")] {
        let json = described(path);
        assert_eq!(
            (&json["records"], &json["shape"]),
            (&json!(5), &json!([1, 2, 3]))
        );
        assert_eq!(json["keys"], json!(["key0", "key1", "key2"]));
        let labels = json!({ "min": 0, "max": 7, "classes": { "0": 3, "7": 2 } });
        assert_eq!(json["labels"], labels);
    }
    assert!(text(dir.path()).contains("1 x 2 x 3 (channels, height, width), raw bytes"));
}

#[test]
fn the_built_in_digits_are_a_database() {
    let json = described("builtin:digits_train");
    assert_eq!(
        (&json["records"], &json["shape"]),
        (&json!(1437), &json!([1, 8, 8]))
    );
    let classes = json["labels"]["classes"].as_object().unwrap();
    let sum: u64 = classes.values().filter_map(Value::as_u64).sum();
    assert_eq!((classes.len(), sum), (10, 1437));
    assert!(refused("builtin:letters").contains("builtin:digits_train"));
}

#[test]
fn caffes_databases_are_described() {
    for (name, records, shape, encoded) in [
        ("data/cifar10_train_lmdb", 50_000, [3, 32, 32], true),
        ("goldens/formats/tiny_gray_lmdb", 40, [1, 12, 12], false),
        ("goldens/formats/png_enc_lmdb", 40, [3, 12, 12], true),
    ] {
        let Some(path) = shared(name) else { return };
        let json = described(path);
        assert_eq!(
            (&json["records"], &json["shape"]),
            (&json!(records), &json!(shape)),
            "{name}"
        );
        assert_eq!(
            (&json["encoded"], &json["records_read"]),
            (&json!(encoded), &json!(records))
        );
    }
}

#[test]
fn a_mean_shows_its_channels() {
    let dir = folder();
    let mean = BlobProto {
        shape: None,
        num: Some(1),
        channels: Some(2),
        height: Some(1),
        width: Some(2),
        data: vec![1.0, 3.0, 5.0, 9.0],
        ..Default::default()
    };
    let path = dir.path().join("mean");
    binary::write(&path, &mean).unwrap();
    let json = described(&path);
    assert_eq!(json["shape"], json!([1, 2, 1, 2]));
    assert_eq!((&json["mean"], &json["max"]), (&json!(4.5), &json!(9.0)));
    assert_eq!(
        json["channels"][1],
        json!({ "mean": 7.0, "min": 5.0, "max": 9.0 })
    );
}

#[test]
fn a_run_shows_the_table_of_its_phases() {
    let dir = folder();
    let record = |phase: &str, done: bool| {
        let home = dir.path().join(phase);
        fs::create_dir(&home).unwrap();
        let record = json!({
            "phase": phase.trim_end_matches(".old1"), "solver": "s", "base_lr": 0.01, "sparsity": null,
            "density": 0.7, "iterations": 20, "loss": 2.5, "outputs": [["accuracy", 0.5]], "seconds": 3.0,
            "weights": "w.caffemodel", "done": done,
        });
        fs::write(home.join("phase.json"), record.to_string()).unwrap();
    };
    for (phase, done) in [
        ("sparse-2", false),
        ("redense", true),
        ("sparse", true),
        ("dense", true),
        ("dense.old1", true),
    ] {
        record(phase, done);
    }
    let json = described(dir.path());
    let names: Vec<&Value> = json["phases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| &p["phase"])
        .collect();
    assert_eq!(names, ["dense", "sparse", "redense", "sparse-2"]);
    assert_eq!(json["phases"][0]["base_lr"], 0.01);
    let shown = text(dir.path());
    assert!(shown.contains("sparse-2 has not run to its end"), "{shown}");
    for one in ["sparse", "sparse/phase.json"] {
        let json = described(dir.path().join(one));
        assert_eq!(json["phases"].as_array().unwrap().len(), 1);
    }
    let broken = file(
        &dir,
        "phase.json",
        "{ \"phase\": \"dense\", \"iterations\": \"many\" }",
    );
    assert!(refused(broken).contains("phase.json: expected the record of a phase"));
}

#[test]
fn a_flow_shows_its_phases() {
    let dir = folder();
    let flow =
        "[[phase]]\nkind = 'dense'\nmax_iter = 10\n[[phase]]\nkind = 'sparse'\nsparsity = 0.5\n";
    let json = described(file(&dir, "flow.toml", flow));
    assert_eq!(json["phases"][1]["sparsity"], "0.5");
    assert_eq!(json["phases"][0]["max_iter"], 10);
}

#[test]
fn what_is_no_file_of_ours_is_told_in_one_sentence() {
    let dir = folder();
    let unknown = [
        "# nothing\n",
        "a, b\n1, 2\n",
        "\u{1}\u{2}\u{3}",
        "{ \"a\": 1 }",
    ];
    for (i, content) in unknown.into_iter().enumerate() {
        let error = refused(file(&dir, &i.to_string(), content));
        assert!(
            error.contains(": expected a net or a solver (prototxt), weights"),
            "{error}"
        );
    }
    let empty = refused(file(&dir, "empty", ""));
    assert!(empty.ends_with("empty: the file is empty\n"), "{empty}");
    fs::create_dir(dir.path().join("folder")).unwrap();
    let error = refused(dir.path().join("folder"));
    assert!(
        error.contains("expected the folder of a database"),
        "{error}"
    );
    assert!(refused("no/such.file").contains("cannot read no/such.file: No such file"));
}

#[test]
fn a_truncated_file_is_named_as_what_it_was() {
    let dir = folder();
    let values = [1.0; 100];
    let net = stored(&[("ip", &[(&[100], &values)])]).encode_to_vec();
    let error = refused(file(&dir, "cut", &net[..200]));
    assert!(
        error.contains("cut: truncated or not a caffemodel"),
        "{error}"
    );
    let mean = blob::blob(&[100], &values).encode_to_vec();
    let error = refused(file(&dir, "cut", &mean[..200]));
    assert!(
        error.contains("cut: truncated or not a binaryproto blob"),
        "{error}"
    );
    let path = dir.path().join("whole");
    let state = State {
        history: vec![Tensor::zeros(Shape::new([100]))],
        learned_net: "w".into(),
        ..Default::default()
    };
    snapshot::write(&path, snapshot::Format::Binary, state).unwrap();
    let error = refused(file(&dir, "cut", &fs::read(&path).unwrap()[..200]));
    assert!(
        error.contains("cut: truncated or not a solverstate"),
        "{error}"
    );
    if let Some(path) = shared("data/squeezenet_deepcomp.net") {
        let path = file(&dir, "cut", &fs::read(path).unwrap()[..300_000]);
        let run = inspect(&path)
            .args(["--model", "squeezenet_v1.0"])
            .assert()
            .code(1);
        run.stderr(contains("layer \"fire8/conv1x1_1\"").and(contains("the file is truncated")));
    }
}
