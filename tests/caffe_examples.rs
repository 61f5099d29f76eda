//! Caffe's examples from end to end: the commands of their shell scripts with only the program's name changed, on
//! small data made here, with nets and solvers of our own that have the same layers and fields.

#![cfg(unix)]

use dsd::data::leveldb::Leveldb;
use dsd::data::lmdb::Lmdb;
use dsd::data::records::Records;
use dsd::proto::Datum;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Runs a script with `sh -e` in a folder; `dsd` is the program.
fn sh(folder: &Path, script: &str) -> Output {
    let program = env!("CARGO_BIN_EXE_dsd");
    let script = format!("set -e\ndsd() {{ '{program}' \"$@\"; }}\n{script}");
    Command::new("sh")
        .arg("-c")
        .arg(script)
        .current_dir(folder)
        .output()
        .unwrap()
}

/// As [`sh`], and the script must run to its end; gives the log.
fn done(folder: &Path, script: &str) -> String {
    let output = sh(folder, script);
    let log = String::from_utf8_lossy(&output.stderr).to_string();
    assert!(output.status.success(), "{script}\n{log}");
    log
}

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A number that looks like chance.
fn noise(i: usize) -> u8 {
    (i.wrapping_mul(2_654_435_761) >> 13) as u8
}

/// The label of picture `i`, and pixel `p` of it: noise, with a bright bar whose place is the label.
fn pixel(i: usize, p: usize, side: usize) -> u8 {
    let bar = (p / side) * 10 / side == i * 7 % 10;
    if bar { 255 } else { noise(i * 4096 + p) / 4 }
}

fn label(i: usize) -> u8 {
    (i * 7 % 10) as u8
}

/// MNIST's two files of `count` pictures under data/mnist.
fn mnist(folder: &Path, name: &str, count: usize) {
    let head = |numbers: &[u32]| {
        numbers
            .iter()
            .flat_map(|n| n.to_be_bytes())
            .collect::<Vec<u8>>()
    };
    let mut pictures = head(&[2051, count as u32, 28, 28]);
    pictures.extend((0..count).flat_map(|i| (0..784).map(move |p| pixel(i, p, 28))));
    write(
        folder,
        &format!("data/mnist/{name}-images-idx3-ubyte"),
        pictures,
    );
    let mut labels = head(&[2049, count as u32]);
    labels.extend((0..count).map(label));
    write(
        folder,
        &format!("data/mnist/{name}-labels-idx1-ubyte"),
        labels,
    );
}

/// CIFAR-10's six files of `count` pictures each.
fn cifar(folder: &Path, count: usize) {
    for file in 0..6 {
        let mut bytes = Vec::new();
        for i in file * count..(file + 1) * count {
            bytes.push(label(i));
            bytes.extend((0..3072).map(|p| pixel(i, p % 1024, 32)));
        }
        let name = match file {
            5 => "test_batch.bin".to_string(),
            n => format!("data_batch_{}.bin", n + 1),
        };
        write(folder, &format!("data/cifar10/{name}"), bytes);
    }
}

/// A data layer for each phase.
fn data(
    layer: &str,
    tops: [&str; 2],
    transform: &str,
    sources: [&str; 2],
    backend: &str,
) -> String {
    let one = |phase: &str, source: &str, batch: usize| {
        format!(
            r#"layer {{ name: "{layer}" type: "Data" top: "{}" top: "{}" include {{ phase: {phase} }}
  transform_param {{ {transform} }}
  data_param {{ source: "{source}" batch_size: {batch} {backend} }} }}
"#,
            tops[0], tops[1]
        )
    };
    one("TRAIN", sources[0], 16) + &one("TEST", sources[1], 10)
}

const LENET: &str = r#"
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" param { lr_mult: 1 } param { lr_mult: 2 }
  convolution_param { num_output: 4 kernel_size: 5 stride: 1 weight_filler { type: "xavier" } bias_filler { type: "constant" } } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2" param { lr_mult: 1 } param { lr_mult: 2 }
  convolution_param { num_output: 8 kernel_size: 5 stride: 1 weight_filler { type: "xavier" } bias_filler { type: "constant" } } }
layer { name: "pool2" type: "Pooling" bottom: "conv2" top: "pool2" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "ip1" type: "InnerProduct" bottom: "pool2" top: "ip1" param { lr_mult: 1 } param { lr_mult: 2 }
  inner_product_param { num_output: 20 weight_filler { type: "xavier" } bias_filler { type: "constant" } } }
layer { name: "relu1" type: "ReLU" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2" param { lr_mult: 1 } param { lr_mult: 2 }
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } bias_filler { type: "constant" } } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip2" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }
"#;

fn lenet_files(folder: &Path) {
    let net = data(
        "mnist",
        ["data", "label"],
        "scale: 0.00390625",
        [
            "examples/mnist/mnist_train_lmdb",
            "examples/mnist/mnist_test_lmdb",
        ],
        "backend: LMDB",
    );
    let net = format!("name: \"LeNet\"\n{net}{LENET}");
    write(folder, "examples/mnist/lenet_train_test.prototxt", &net);
    let common = r#"test_iter: 4 test_interval: 10 display: 5 max_iter: 20 snapshot: 10
snapshot_prefix: "examples/mnist/lenet" solver_mode: GPU"#;
    let by_file = "net: \"examples/mnist/lenet_train_test.prototxt\"";
    for (name, net, rule) in [
        (
            "lenet_solver",
            by_file,
            "base_lr: 0.01 momentum: 0.9 weight_decay: 0.0005 lr_policy: \"inv\" gamma: 0.0001 power: 0.75",
        ),
        (
            "lenet_solver_adam",
            by_file,
            "base_lr: 0.001 momentum: 0.9 momentum2: 0.999 lr_policy: \"fixed\" type: \"Adam\"",
        ),
        (
            "lenet_solver_rmsprop",
            by_file,
            "base_lr: 0.01 lr_policy: \"inv\" gamma: 0.0001 power: 0.75 type: \"RMSProp\" rms_decay: 0.98 weight_decay: 0.0005",
        ),
        (
            "lenet_consolidated_solver",
            &format!("net_param {{\n{net}\n}} random_seed: 1701")[..],
            "base_lr: 0.01 momentum: 0.9 weight_decay: 0.0005 lr_policy: \"inv\" gamma: 0.0001 power: 0.75",
        ),
    ] {
        write(
            folder,
            &format!("examples/mnist/{name}.prototxt"),
            format!("{net}\n{rule}\n{common}\n"),
        );
    }
}

#[test]
fn mnist_lenet() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    mnist(folder, "train", 200);
    mnist(folder, "t10k", 40);
    lenet_files(folder);
    let log = done(
        folder,
        r#"EXAMPLE=examples/mnist; DATA=data/mnist; BACKEND="lmdb"
rm -rf $EXAMPLE/mnist_train_${BACKEND}
rm -rf $EXAMPLE/mnist_test_${BACKEND}
dsd convert_mnist_data $DATA/train-images-idx3-ubyte \
  $DATA/train-labels-idx1-ubyte $EXAMPLE/mnist_train_${BACKEND} --backend=${BACKEND}
dsd convert_mnist_data $DATA/t10k-images-idx3-ubyte \
  $DATA/t10k-labels-idx1-ubyte $EXAMPLE/mnist_test_${BACKEND} --backend=${BACKEND}"#,
    );
    for line in [
        "A total of 200 items.",
        "Rows: 28 Cols: 28",
        "Processed 40 files.",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
    let mut lmdb = Lmdb::open(&folder.join("examples/mnist/mnist_train_lmdb")).unwrap();
    let mut datum = Datum::default();
    lmdb.read(199, &mut datum).unwrap();
    let wanted = Datum {
        channels: Some(1),
        height: Some(28),
        width: Some(28),
        data: Some((0..784).map(|p| pixel(199, p, 28)).collect()),
        label: Some(i32::from(label(199))),
        ..Datum::default()
    };
    assert_eq!(
        (lmdb.count(), lmdb.key(), datum),
        (200, "00000199".to_string(), wanted)
    );
    let log = done(
        folder,
        "dsd train --solver=examples/mnist/lenet_solver.prototxt\n\
         dsd test -model examples/mnist/lenet_train_test.prototxt \
         -weights examples/mnist/lenet_iter_20.caffemodel -iterations 4",
    );
    assert!(log.contains("Optimization Done."), "{log}");
    assert!(!log.contains("count twice"), "{log}");
    for solver in [
        "lenet_solver_adam",
        "lenet_solver_rmsprop",
        "lenet_consolidated_solver",
    ] {
        let log = done(
            folder,
            &format!("dsd train --solver=examples/mnist/{solver}.prototxt"),
        );
        assert!(log.contains("Optimization Done."), "{solver}: {log}");
    }
}

#[test]
fn mnist_autoencoder_with_two_tests() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    mnist(folder, "train", 60);
    mnist(folder, "t10k", 20);
    let source = |rule: &str, name: &str| {
        format!(
            r#"layer {{ name: "data" type: "Data" top: "data" include {{ phase: {rule} }} transform_param {{ scale: 0.0039215684 }}
  data_param {{ source: "examples/mnist/mnist_{name}_lmdb" batch_size: 10 backend: LMDB }} }}
"#
        )
    };
    let inner = |name: &str, bottom: &str, outputs: usize| {
        format!(
            r#"layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}" param {{ lr_mult: 1 decay_mult: 1 }}
  param {{ lr_mult: 1 decay_mult: 0 }} inner_product_param {{ num_output: {outputs}
  weight_filler {{ type: "gaussian" std: 1 sparse: 15 }} bias_filler {{ type: "constant" value: 0 }} }} }}
"#
        )
    };
    let net = format!(
        r#"name: "MNISTAutoencoder"
{}{}{}
layer {{ name: "flatdata" type: "Flatten" bottom: "data" top: "flatdata" }}
{}
layer {{ name: "encode1neuron" type: "Sigmoid" bottom: "encode1" top: "encode1neuron" }}
{}
layer {{ name: "loss" type: "SigmoidCrossEntropyLoss" bottom: "decode1" bottom: "flatdata" top: "cross_entropy_loss" loss_weight: 1 }}
layer {{ name: "decode1neuron" type: "Sigmoid" bottom: "decode1" top: "decode1neuron" }}
layer {{ name: "l2" type: "EuclideanLoss" bottom: "decode1neuron" bottom: "flatdata" top: "l2_error" loss_weight: 0 }}
"#,
        source("TRAIN", "train"),
        source("TEST stage: 'test-on-train'", "train"),
        source("TEST stage: 'test-on-test'", "test"),
        inner("encode1", "data", 16),
        inner("decode1", "encode1neuron", 784),
    );
    write(folder, "examples/mnist/mnist_autoencoder.prototxt", net);
    for (name, rule) in [
        (
            "",
            "momentum: 0.9 base_lr: 0.01 lr_policy: \"step\" gamma: 0.1 stepsize: 10",
        ),
        (
            "_nesterov",
            "momentum: 0.95 base_lr: 0.01 lr_policy: \"step\" gamma: 0.1 stepsize: 10 type: \"Nesterov\"",
        ),
        (
            "_adagrad",
            "base_lr: 0.01 lr_policy: \"fixed\" type: \"AdaGrad\"",
        ),
        (
            "_adadelta",
            "base_lr: 1 momentum: 0.95 delta: 1e-8 lr_policy: \"fixed\" type: \"AdaDelta\"",
        ),
    ] {
        let solver = format!(
            r#"net: "examples/mnist/mnist_autoencoder.prototxt"
test_state: {{ stage: 'test-on-train' }} test_iter: 6 test_state: {{ stage: 'test-on-test' }} test_iter: 2
test_interval: 5 test_compute_loss: true {rule} display: 5 max_iter: 10 weight_decay: 0.0005 snapshot: 10
snapshot_prefix: "examples/mnist/mnist_autoencoder{name}" solver_mode: GPU
"#
        );
        write(
            folder,
            &format!("examples/mnist/mnist_autoencoder_solver{name}.prototxt"),
            solver,
        );
    }
    let log = done(
        folder,
        "for k in train t10k; do to=$k; [ $k = t10k ] && to=test\n\
         dsd convert_mnist_data data/mnist/$k-images-idx3-ubyte data/mnist/$k-labels-idx1-ubyte \
         examples/mnist/mnist_${to}_lmdb; done\n\
         for s in '' _nesterov _adagrad _adadelta; do\n\
         dsd train --solver=examples/mnist/mnist_autoencoder_solver$s.prototxt; done",
    );
    assert_eq!(log.matches("Optimization Done.").count(), 4, "{log}");
    assert!(log.contains("Testing net (#1)"), "{log}");
}

#[test]
fn cifar10_quick_in_two_stages() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    cifar(folder, 30);
    let net = data(
        "cifar",
        ["data", "label"],
        "mean_file: \"examples/cifar10/mean.binaryproto\"",
        [
            "examples/cifar10/cifar10_train_lmdb",
            "examples/cifar10/cifar10_test_lmdb",
        ],
        "backend: LMDB",
    );
    let net = format!(
        r#"name: "CIFAR10_quick"
{net}
layer {{ name: "conv1" type: "Convolution" bottom: "data" top: "conv1" param {{ lr_mult: 1 }} param {{ lr_mult: 2 }}
  convolution_param {{ num_output: 4 pad: 2 kernel_size: 5 stride: 1 weight_filler {{ type: "gaussian" std: 0.0001 }} bias_filler {{ type: "constant" }} }} }}
layer {{ name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param {{ pool: MAX kernel_size: 3 stride: 2 }} }}
layer {{ name: "relu1" type: "ReLU" bottom: "pool1" top: "pool1" }}
layer {{ name: "norm1" type: "LRN" bottom: "pool1" top: "norm1" lrn_param {{ local_size: 3 alpha: 5e-05 beta: 0.75 norm_region: WITHIN_CHANNEL }} }}
layer {{ name: "conv2" type: "Convolution" bottom: "norm1" top: "conv2" param {{ lr_mult: 1 }} param {{ lr_mult: 2 }}
  convolution_param {{ num_output: 4 pad: 2 kernel_size: 5 stride: 1 weight_filler {{ type: "gaussian" std: 0.01 }} bias_filler {{ type: "constant" }} }} }}
layer {{ name: "relu2" type: "ReLU" bottom: "conv2" top: "conv2" }}
layer {{ name: "pool2" type: "Pooling" bottom: "conv2" top: "pool2" pooling_param {{ pool: AVE kernel_size: 3 stride: 2 }} }}
layer {{ name: "ip2" type: "InnerProduct" bottom: "pool2" top: "ip2" param {{ lr_mult: 1 decay_mult: 250 }} param {{ lr_mult: 2 decay_mult: 0 }}
  inner_product_param {{ num_output: 10 weight_filler {{ type: "gaussian" std: 0.1 }} bias_filler {{ type: "constant" }} }} }}
layer {{ name: "accuracy" type: "Accuracy" bottom: "ip2" bottom: "label" top: "accuracy" include {{ phase: TEST }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }}
"#
    );
    write(
        folder,
        "examples/cifar10/cifar10_quick_train_test.prototxt",
        net,
    );
    for (name, rate, end, format) in [
        ("quick_solver", 0.001, 8, ""),
        ("quick_solver_lr1", 0.0001, 12, "snapshot_format: HDF5"),
        ("quick_solver_lr2", 0.00001, 16, ""),
    ] {
        let solver = format!(
            r#"net: "examples/cifar10/cifar10_quick_train_test.prototxt"
test_iter: 3 test_interval: 4 base_lr: {rate} momentum: 0.9 weight_decay: 0.004 lr_policy: "fixed"
display: 2 max_iter: {end} snapshot: 4 {format} snapshot_prefix: "examples/cifar10/cifar10_quick" solver_mode: GPU
"#
        );
        write(
            folder,
            &format!("examples/cifar10/cifar10_{name}.prototxt"),
            solver,
        );
    }
    let create = r#"EXAMPLE=examples/cifar10; DATA=data/cifar10; DBTYPE=lmdb
rm -rf $EXAMPLE/cifar10_train_$DBTYPE $EXAMPLE/cifar10_test_$DBTYPE
dsd convert_cifar_data $DATA $EXAMPLE $DBTYPE
dsd compute_image_mean -backend=$DBTYPE $EXAMPLE/cifar10_train_$DBTYPE $EXAMPLE/mean.binaryproto"#;
    let log = done(folder, create);
    for line in [
        "Writing Training data",
        "Training Batch 5",
        "Writing Testing data",
        "Number of channels: 3",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
    let mut lmdb = Lmdb::open(&folder.join("examples/cifar10/cifar10_train_lmdb")).unwrap();
    let mut datum = Datum::default();
    lmdb.read(31, &mut datum).unwrap();
    // Caffe's keys count by files of 10,000.
    assert_eq!((lmdb.count(), lmdb.key()), (150, "10001".to_string()));
    assert_eq!(datum.label(), i32::from(label(31)));
    assert_eq!(datum.data()[2048], pixel(31, 0, 32));
    let log = done(
        folder,
        "TOOLS=unused\n\
         dsd train --solver=examples/cifar10/cifar10_quick_solver.prototxt\n\
         dsd train --solver=examples/cifar10/cifar10_quick_solver_lr1.prototxt \
         --snapshot=examples/cifar10/cifar10_quick_iter_8.solverstate\n\
         dsd train --solver=examples/cifar10/cifar10_quick_solver_lr2.prototxt \
         --snapshot=examples/cifar10/cifar10_quick_iter_12.solverstate.h5",
    );
    assert_eq!(log.matches("Optimization Done.").count(), 3, "{log}");
    let names = [
        "8.caffemodel",
        "12.caffemodel.h5",
        "12.solverstate.h5",
        "16.caffemodel",
    ];
    for name in names {
        assert!(
            folder
                .join(format!("examples/cifar10/cifar10_quick_iter_{name}"))
                .exists(),
            "{name}"
        );
    }
    // As a LevelDB, with the same records.
    done(
        folder,
        "dsd convert_cifar_data data/cifar10 examples/cifar10 leveldb",
    );
    let mut leveldb =
        Leveldb::open(&folder.join("examples/cifar10/cifar10_train_leveldb")).unwrap();
    let mut twin = Datum::default();
    leveldb.read(31, &mut twin).unwrap();
    assert_eq!(
        (leveldb.count(), leveldb.key(), twin),
        (150, "10001".to_string(), datum)
    );
}

#[test]
fn mnist_siamese() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    mnist(folder, "train", 100);
    mnist(folder, "t10k", 20);
    let twin = |suffix: &str| {
        let param = |name: &str| {
            format!(
                "param {{ name: \"{name}_w\" lr_mult: 1 }} param {{ name: \"{name}_b\" lr_mult: 2 }}"
            )
        };
        format!(
            r#"
layer {{ name: "conv1{suffix}" type: "Convolution" bottom: "data{suffix}" top: "conv1{suffix}" {}
  convolution_param {{ num_output: 4 kernel_size: 5 stride: 1 weight_filler {{ type: "xavier" }} bias_filler {{ type: "constant" }} }} }}
layer {{ name: "pool1{suffix}" type: "Pooling" bottom: "conv1{suffix}" top: "pool1{suffix}" pooling_param {{ pool: MAX kernel_size: 2 stride: 2 }} }}
layer {{ name: "ip1{suffix}" type: "InnerProduct" bottom: "pool1{suffix}" top: "ip1{suffix}" {}
  inner_product_param {{ num_output: 10 weight_filler {{ type: "xavier" }} bias_filler {{ type: "constant" }} }} }}
layer {{ name: "relu1{suffix}" type: "ReLU" bottom: "ip1{suffix}" top: "ip1{suffix}" }}
layer {{ name: "feat{suffix}" type: "InnerProduct" bottom: "ip1{suffix}" top: "feat{suffix}" {}
  inner_product_param {{ num_output: 2 weight_filler {{ type: "xavier" }} bias_filler {{ type: "constant" }} }} }}
"#,
            param("conv1"),
            param("ip1"),
            param("feat")
        )
    };
    // No backend, as in Caffe's: the files say what they are.
    let net = data(
        "pair_data",
        ["pair_data", "sim"],
        "scale: 0.00390625",
        [
            "examples/siamese/mnist_siamese_train_leveldb",
            "examples/siamese/mnist_siamese_test_leveldb",
        ],
        "",
    );
    let net = format!(
        r#"name: "mnist_siamese_train_test"
{net}layer {{ name: "slice_pair" type: "Slice" bottom: "pair_data" top: "data" top: "data_p" slice_param {{ slice_dim: 1 slice_point: 1 }} }}
{}{}
layer {{ name: "loss" type: "ContrastiveLoss" bottom: "feat" bottom: "feat_p" bottom: "sim" top: "loss" contrastive_loss_param {{ margin: 1 }} }}
"#,
        twin(""),
        twin("_p")
    );
    write(
        folder,
        "examples/siamese/mnist_siamese_train_test.prototxt",
        net,
    );
    let solver = r#"net: "examples/siamese/mnist_siamese_train_test.prototxt"
test_iter: 2 test_interval: 5 base_lr: 0.01 momentum: 0.9 weight_decay: 0.0000 lr_policy: "inv" gamma: 0.0001 power: 0.75
display: 5 max_iter: 10 snapshot: 5 snapshot_prefix: "examples/siamese/mnist_siamese" solver_mode: GPU
"#;
    write(
        folder,
        "examples/siamese/mnist_siamese_solver.prototxt",
        solver,
    );
    let create = r#"DATA=./data/mnist
rm -rf ./examples/siamese/mnist_siamese_train_leveldb
rm -rf ./examples/siamese/mnist_siamese_test_leveldb
dsd convert_mnist_siamese_data $DATA/train-images-idx3-ubyte $DATA/train-labels-idx1-ubyte ./examples/siamese/mnist_siamese_train_leveldb
dsd convert_mnist_siamese_data $DATA/t10k-images-idx3-ubyte $DATA/t10k-labels-idx1-ubyte ./examples/siamese/mnist_siamese_test_leveldb"#;
    done(folder, create);
    let pairs = || {
        let mut pairs =
            Leveldb::open(&folder.join("examples/siamese/mnist_siamese_train_leveldb")).unwrap();
        (0..pairs.count())
            .map(|i| {
                let mut datum = Datum::default();
                pairs.read(i, &mut datum).unwrap();
                assert_eq!(pairs.key(), format!("{i:08}"));
                datum
            })
            .collect::<Vec<_>>()
    };
    let first = pairs();
    assert_eq!(
        (first.len(), first[0].channels(), first[0].data().len()),
        (100, 2, 1568)
    );
    let same = first.iter().filter(|d| d.label() == 1).count();
    assert!((1..50).contains(&same), "{same}");
    assert!(first.iter().all(|d| (0..=1).contains(&d.label())));
    done(folder, create);
    assert_eq!(first, pairs());
    let log = done(
        folder,
        "dsd train --solver=examples/siamese/mnist_siamese_solver.prototxt",
    );
    assert!(log.contains("Optimization Done."), "{log}");
}

#[test]
fn imagenet_and_finetuning() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let mut list = String::new();
    for i in 0..24 {
        let name = format!("images/{i:02}.jpg");
        let picture = image::RgbImage::from_fn(40, 44, |x, y| {
            let v = pixel(i, (y * 40 + x) as usize, 40);
            image::Rgb([v, 255 - v, 90])
        });
        fs::create_dir_all(folder.join("images")).unwrap();
        picture.save(folder.join(&name)).unwrap();
        list += &format!("{name} {}\n", i % 5);
    }
    write(folder, "data/ilsvrc12/train.txt", &list);
    write(folder, "data/ilsvrc12/val.txt", &list);
    write(folder, "data/flickr_style/train.txt", &list);
    write(folder, "data/flickr_style/test.txt", &list);
    fs::create_dir_all(folder.join("examples/imagenet")).unwrap();
    let body = |last: &str, outputs: usize, mult: usize| {
        format!(
            r#"layer {{ name: "conv1" type: "Convolution" bottom: "data" top: "conv1" param {{ lr_mult: 1 decay_mult: 1 }} param {{ lr_mult: 2 decay_mult: 0 }}
  convolution_param {{ num_output: 4 kernel_size: 5 stride: 2 weight_filler {{ type: "gaussian" std: 0.01 }} bias_filler {{ type: "constant" value: 0 }} }} }}
layer {{ name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }}
layer {{ name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param {{ pool: MAX kernel_size: 3 stride: 2 }} }}
layer {{ name: "norm1" type: "LRN" bottom: "pool1" top: "norm1" lrn_param {{ local_size: 5 alpha: 0.0001 beta: 0.75 }} }}
layer {{ name: "drop1" type: "Dropout" bottom: "norm1" top: "norm1" dropout_param {{ dropout_ratio: 0.5 }} }}
layer {{ name: "{last}" type: "InnerProduct" bottom: "norm1" top: "{last}" param {{ lr_mult: {mult} decay_mult: 1 }} param {{ lr_mult: {} decay_mult: 0 }}
  inner_product_param {{ num_output: {outputs} weight_filler {{ type: "gaussian" std: 0.01 }} bias_filler {{ type: "constant" value: 0 }} }} }}
layer {{ name: "accuracy" type: "Accuracy" bottom: "{last}" bottom: "label" top: "accuracy" include {{ phase: TEST }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "{last}" bottom: "label" top: "loss" }}
"#,
            2 * mult
        )
    };
    let mean = "mean_file: \"data/ilsvrc12/imagenet_mean.binaryproto\"";
    let lmdbs = [
        "examples/imagenet/ilsvrc12_train_lmdb",
        "examples/imagenet/ilsvrc12_val_lmdb",
    ];
    let net = data(
        "data",
        ["data", "label"],
        &format!("mirror: true crop_size: 27 {mean}"),
        lmdbs,
        "backend: LMDB",
    );
    write(
        folder,
        "models/bvlc_reference_caffenet/train_val.prototxt",
        format!("name: \"CaffeNet\"\n{net}{}", body("fc8", 10, 1)),
    );
    let solver = |net: &str, prefix: &str, more: &str| {
        format!(
            "net: \"{net}\" test_iter: 2 test_interval: 5 base_lr: 0.01 lr_policy: \"step\" gamma: 0.1 stepsize: 6\n\
             display: 2 max_iter: 8 momentum: 0.9 weight_decay: 0.0005 snapshot: 4 snapshot_prefix: \"{prefix}\"\n\
             solver_mode: GPU {more}\n"
        )
    };
    let caffenet = "models/bvlc_reference_caffenet";
    write(
        folder,
        "models/bvlc_reference_caffenet/solver.prototxt",
        solver(
            "models/bvlc_reference_caffenet/train_val.prototxt",
            "models/bvlc_reference_caffenet/caffenet_train",
            "",
        ),
    );
    let source = |phase: &str, list: &str| {
        format!(
            r#"layer {{ name: "data" type: "ImageData" top: "data" top: "label" include {{ phase: {phase} }}
  transform_param {{ mirror: true crop_size: 27 {mean} }}
  image_data_param {{ source: "data/flickr_style/{list}.txt" batch_size: 10 new_height: 32 new_width: 32 }} }}
"#
        )
    };
    let flickr = "models/finetune_flickr_style";
    write(
        folder,
        "models/finetune_flickr_style/train_val.prototxt",
        format!(
            "name: \"FlickrStyleCaffeNet\"\n{}{}{}",
            source("TRAIN", "train"),
            source("TEST", "test"),
            body("fc8_flickr", 5, 10)
        ),
    );
    write(
        folder,
        "models/finetune_flickr_style/solver.prototxt",
        solver(
            "models/finetune_flickr_style/train_val.prototxt",
            "models/finetune_flickr_style/finetune_flickr_style",
            "",
        ),
    );
    let log = done(
        folder,
        &format!(
            r#"EXAMPLE=examples/imagenet; DATA=data/ilsvrc12
for k in train val; do
GLOG_logtostderr=1 dsd convert_imageset --resize_height=32 --resize_width=32 --shuffle ./ $DATA/$k.txt $EXAMPLE/ilsvrc12_${{k}}_lmdb
done
dsd compute_image_mean $EXAMPLE/ilsvrc12_train_lmdb $DATA/imagenet_mean.binaryproto
dsd train --solver={caffenet}/solver.prototxt
dsd train --solver={caffenet}/solver.prototxt --snapshot={caffenet}/caffenet_train_iter_4.solverstate
dsd train -solver {flickr}/solver.prototxt -weights {caffenet}/caffenet_train_iter_8.caffemodel -gpu 0
dsd extract_features {flickr}/finetune_flickr_style_iter_8.caffemodel {flickr}/train_val.prototxt norm1 features 2 leveldb GPU 0"#
        ),
    );
    assert_eq!(log.matches("Optimization Done.").count(), 3, "{log}");
    assert!(log.contains("Ignoring source layer fc8"), "{log}");
    assert!(
        log.contains("Extracted features of 20 query images"),
        "{log}"
    );
    let mut features = Leveldb::open(&folder.join("features")).unwrap();
    let mut datum = Datum::default();
    features.read(19, &mut datum).unwrap();
    assert_eq!(
        (features.count(), features.key()),
        (20, "0000000019".to_string())
    );
    assert_eq!((datum.channels(), datum.float_data.len()), (4, 4 * 6 * 6));
}
