//! Pictures of different sizes, one at a time.

use super::{case, dsd, error, log, values, weights, write};
use crate::common::{assert_says, lmdb};
use dsd::npz;
use dsd::proto::Datum;
use prost::Message;
use std::path::Path;

fn split(args: &str) -> Vec<&str> {
    args.split(' ').collect()
}

/// A database of 1 x h x w pictures whose pixels count from 0.
fn database(folder: &Path, sizes: &[(i32, i32)]) {
    let record = |(i, &(h, w)): (usize, &(i32, i32))| {
        let datum = Datum {
            channels: Some(1),
            height: Some(h),
            width: Some(w),
            data: Some((0..h * w).map(|p| p as u8).collect()),
            label: Some(i as i32 % 3),
            ..Datum::default()
        };
        (format!("{i:08}"), datum.encode_to_vec())
    };
    let records: Vec<_> = sizes.iter().enumerate().map(record).collect();
    lmdb::write(&folder.join("db"), &records);
}

#[test]
fn caffes_case_03_reshapes_the_net_to_each_picture() {
    let Some(folder) = case("03_sizes_vary_from_batch_to_batch") else {
        return;
    };
    database(folder.path(), &[(3, 4), (2, 5)]);
    for model in ["image.prototxt", "data.prototxt"] {
        let args = format!("test --model {model} --weights w.npz --iterations 3");
        let log = log(folder.path(), &split(&args));
        for (i, n) in [(0, 12), (1, 10), (2, 12)] {
            let want: Vec<f32> = (0..n).map(|v| v as f32).collect();
            assert_eq!(values(&log, i, "x"), want, "{model}, batch {i}");
            assert_eq!(values(&log, i, "t"), [(i % 2) as f32], "{model}, batch {i}");
        }
    }
    // A database takes features of any size, an array of one alone.
    let args = "extract_features w.npz image.prototxt x out 2 lmdb";
    self::log(folder.path(), &split(args));
    let args = "extract_features w.npz image.prototxt x out.npz 2 npz";
    assert_says(&error(folder.path(), &split(args)), &["'x'", "LMDB"]);
}

#[test]
fn caffes_case_01_takes_an_output_that_grows() {
    let Some(folder) = case("01_test_panics_when_an_output_grows") else {
        return;
    };
    let args = "test --model net.prototxt --weights w.npz --iterations 2";
    let log = log(folder.path(), &split(args));
    assert_eq!(values(&log, 0, "y"), [1.0]);
    assert_eq!(values(&log, 1, "y"), [3.0, 4.0]);
    assert!(log.contains(&"y = 2".to_string()), "{log:?}");
}

const CONV: &str = "layer { name: 'c' type: 'Convolution' bottom: 'x' top: 'c' convolution_param { num_output: 2 \
    kernel_size: 2 weight_filler { value: 0.5 type: 'constant' } } } \
    layer { name: 'r' type: 'ReLU' bottom: 'c' top: 'c' } \
    layer { name: 'drop' type: 'Dropout' bottom: 'c' top: 'c' } \
    layer { name: 'p' type: 'Pooling' bottom: 'c' top: 'p' pooling_param { pool: AVE global_pooling: true } } \
    layer { name: 'ip' type: 'InnerProduct' bottom: 'p' top: 'ip' inner_product_param { num_output: 3 \
    weight_filler { type: 'xavier' } } } \
    layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'ip' bottom: 't' top: 'loss' }";

/// The weights of [`CONV`].
const WEIGHTS: [(&str, &[usize]); 4] = [
    ("c:0", &[2, 1, 2, 2]),
    ("c:1", &[2]),
    ("ip:0", &[3, 2]),
    ("ip:1", &[3]),
];

fn data(batch: usize) -> String {
    format!(
        "layer {{ name: 'd' type: 'Data' top: 'x' top: 't' transform_param {{ scale: 0.1 }} data_param {{ \
         source: 'db' batch_size: {batch} backend: LMDB }} }} "
    )
}

fn solver(folder: &Path, more: &str) {
    let text = "net: 'net.prototxt' test_iter: 3 test_interval: 2 base_lr: 0.1 lr_policy: 'fixed' max_iter: 6 \
        display: 1 snapshot_prefix: 's' random_seed: 1 ";
    write(folder, "solver.prototxt", &format!("{text}{more}"));
}

#[test]
fn a_net_trains_on_pictures_of_all_sizes() {
    let bytes = |threads: &str| {
        let folder = tempfile::tempdir().unwrap();
        database(folder.path(), &[(3, 4), (2, 5), (7, 3)]);
        write(folder.path(), "net.prototxt", &(data(1) + CONV));
        solver(folder.path(), "snapshot: 2");
        let args = ["train", "--solver", "solver.prototxt", "--threads", threads];
        log(folder.path(), &args);
        std::fs::read(folder.path().join("s_iter_6.caffemodel")).unwrap()
    };
    let one = bytes("1");
    assert!(one == bytes("3"), "threads must not count");
    // A resumed run begins with a picture of another size, and ends with the same bits.
    let folder = tempfile::tempdir().unwrap();
    database(folder.path(), &[(3, 4), (2, 5), (7, 3)]);
    write(folder.path(), "net.prototxt", &(data(1) + CONV));
    solver(folder.path(), "snapshot: 2");
    let args = ["train", "--solver", "solver.prototxt", "--max_iter", "4"];
    log(folder.path(), &args);
    let args = ["train", "--solver", "solver.prototxt", "--resume"];
    log(folder.path(), &args);
    let resumed = std::fs::read(folder.path().join("s_iter_6.caffemodel")).unwrap();
    assert!(resumed == one, "a resumed run is another");
}

#[test]
fn each_size_gives_what_it_gives_alone() {
    // More sizes than nets are kept.
    let sizes: Vec<(i32, i32)> = (2..14).map(|h| (h, 15 - h)).collect();
    let folder = tempfile::tempdir().unwrap();
    weights(folder.path(), &WEIGHTS);
    let net = data(1) + &CONV[..CONV.find("layer { name: 'loss'").unwrap()];
    write(folder.path(), "net.prototxt", &net);
    database(folder.path(), &sizes);
    let args = "test --model net.prototxt --weights w.npz --iterations 24 --seed 4";
    let all = log(folder.path(), &split(args));
    for (i, size) in sizes.iter().enumerate() {
        std::fs::remove_dir_all(folder.path().join("db")).unwrap();
        database(folder.path(), &[*size]);
        let args = "test --model net.prototxt --weights w.npz --iterations 1 --seed 4";
        let alone = values(&log(folder.path(), &split(args)), 0, "ip");
        assert_eq!(values(&all, i, "ip"), alone, "{size:?}");
        assert_eq!(values(&all, i + 12, "ip"), alone, "{size:?} again");
    }
}

#[test]
fn pictures_of_one_batch_must_agree() {
    let folder = tempfile::tempdir().unwrap();
    weights(folder.path(), &WEIGHTS);
    write(folder.path(), "net.prototxt", &(data(2) + CONV));
    database(folder.path(), &[(3, 4), (2, 5)]);
    let args = split("test --model net.prototxt --weights w.npz --iterations 1");
    let told = error(folder.path(), &args);
    assert_says(
        &told,
        &["1 x 3 x 4", "1 x 2 x 5", "first record of its batch"],
    );
    // As in Caffe a batch has its first picture's shape, whatever the batch before had.
    std::fs::remove_dir_all(folder.path().join("db")).unwrap();
    database(folder.path(), &[(3, 4), (3, 4), (2, 5), (2, 5)]);
    let args = split("test --model net.prototxt --weights w.npz --iterations 3");
    assert_eq!(values(&log(folder.path(), &args), 2, "loss").len(), 1);
}

#[test]
fn crop_makes_all_sizes_one() {
    let folder = tempfile::tempdir().unwrap();
    weights(folder.path(), &WEIGHTS);
    let net = data(3).replace("scale: 0.1", "crop_size: 2");
    write(folder.path(), "net.prototxt", &(net + CONV));
    database(folder.path(), &[(3, 4), (2, 5), (7, 3)]);
    let args = split("test --model net.prototxt --weights w.npz --iterations 2");
    assert_eq!(values(&log(folder.path(), &args), 1, "loss").len(), 1);
}

#[test]
fn weights_must_not_change_with_the_picture() {
    let folder = tempfile::tempdir().unwrap();
    weights(folder.path(), &[("ip:0", &[2, 12]), ("ip:1", &[2])]);
    let ip = "layer { name: 'ip' type: 'InnerProduct' bottom: 'x' top: 'ip' inner_product_param { num_output: 2 } }";
    write(folder.path(), "net.prototxt", &(data(1) + ip));
    database(folder.path(), &[(3, 4), (2, 5)]);
    let told = error(
        folder.path(),
        &split("test --model net.prototxt --weights w.npz --iterations 2"),
    );
    assert_says(&told, &["'x' of 1 1 2 5 (10)", "ip:0", "one size", "crop"]);
    // What does not fit the layers names the layer.
    let pool = "layer { name: 'p' type: 'Convolution' bottom: 'x' top: 'p' convolution_param { num_output: 1 kernel_size: 3 } }";
    write(folder.path(), "net.prototxt", &(data(1) + pool));
    weights(folder.path(), &[("p:0", &[1, 1, 3, 3]), ("p:1", &[1])]);
    let told = error(
        folder.path(),
        &split("test --model net.prototxt --weights w.npz --iterations 2"),
    );
    assert_says(&told, &["layer 'p'", "1 1 2 5"]);
}

#[test]
fn features_of_equal_size_go_into_one_array() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "net.prototxt", &(data(1) + CONV));
    database(folder.path(), &[(3, 4), (2, 5), (9, 9)]);
    write(
        folder.path(),
        "s.prototxt",
        "net: 'net.prototxt' base_lr: 0 lr_policy: 'fixed' max_iter: 1",
    );
    dsd(folder.path(), &split("train --solver s.prototxt"))
        .assert()
        .success();
    let args = "extract_features s_iter_1.caffemodel net.prototxt p p.npz 3 npz";
    log(folder.path(), &split(args));
    let p = &npz::read(&folder.path().join("p.npz")).unwrap()["p"];
    assert_eq!(p.shape.dims(), [3, 2, 1, 1]);
}
