//! What does not fit into memory is said before it is tried.

use super::{dsd, error, write};
use crate::common::{assert_says, shared};

#[test]
fn the_cases_that_are_too_large_say_so() {
    for (file, words) in [
        (
            "too_large_batch.prototxt",
            ["layer 'data'", "2000000000 pictures", "lower batch_size"],
        ),
        (
            "too_large_input.prototxt",
            ["layer 'in'", "200000000", "bytes"],
        ),
    ] {
        let Some(path) = shared(&format!("cases/files/{file}")) else {
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let path = path.to_str().unwrap();
        for command in ["test", "time"] {
            let args = [
                command,
                "--model",
                path,
                "--weights",
                "none",
                "--iterations",
                "1",
            ];
            let told = error(folder.path(), &args);
            assert_says(&told, &words);
            assert_says(&told, &["free here"]);
        }
        write(
            folder.path(),
            "s.prototxt",
            &format!("net: '{path}' base_lr: 1 lr_policy: 'fixed' max_iter: 1"),
        );
        if file.contains("batch") {
            let told = error(folder.path(), &["train", "--solver", "s.prototxt"]);
            assert_says(&told, &words);
        }
    }
}

/// Nets of the same kind, each with what the message must name.
#[test]
fn sizes_of_every_kind_are_refused_in_words() {
    let input = |dims: &[u64]| {
        let dims: String = dims.iter().map(|d| format!("dim: {d} ")).collect();
        format!(
            "layer {{ name: 'in' type: 'Input' top: 'x' input_param {{ shape {{ {dims}}} }} }} "
        )
    };
    let digits = |batch: u64| {
        format!(
            "layer {{ name: 'in' type: 'Data' top: 'x' top: 't' data_param {{ source: 'builtin:digits_train' \
             batch_size: {batch} }} }} "
        )
    };
    let dummy = |dims: &str| {
        format!("layer {{ name: 'in' type: 'DummyData' top: 'x' dummy_data_param {{ {dims} }} }} ")
    };
    let ip = |n: u64| {
        format!(
            "layer {{ name: 'ip' type: 'InnerProduct' bottom: 'x' top: 'y' inner_product_param {{ num_output: {n} }} }} "
        )
    };
    let relu = "layer { name: 'r' type: 'ReLU' bottom: 'x' top: 'y' } ";
    let nets = [
        input(&[1 << 40, 3, 8, 8]) + relu,
        input(&[1 << 20, 1 << 20, 1 << 10]) + relu,
        input(&[u64::MAX >> 2, 1]) + relu,
        input(&[1 << 62, 1 << 62, 1 << 62]) + relu,
        input(&[4, 3, 1 << 28, 1 << 10]) + relu,
        digits(4_000_000_000) + relu,
        digits(1_000_000_000) + &ip(10),
        dummy("num: 2000000000 channels: 2000000000 height: 2000000000 width: 2000000000") + relu,
        dummy("shape { dim: 100000000000000 }") + relu,
        dummy("shape { dim: 100000000 dim: 1000000 } data_filler { type: 'gaussian' }") + relu,
        "layer { name: 'in' type: 'MemoryData' top: 'x' top: 't' memory_data_param { batch_size: 4000000000 \
         channels: 4000 height: 4000 width: 4000 } } "
            .to_string()
            + relu,
        "layer { name: 'in' type: 'ImageData' top: 'x' top: 't' image_data_param { source: 'l.txt' batch_size: 1 \
         new_height: 2000000000 new_width: 2000000000 } } "
            .to_string()
            + relu,
        // The layers, not the data.
        input(&[1, 1 << 20]) + &ip(2_000_000_000),
        input(&[1 << 10, 1 << 10]) + &ip(2_000_000_000),
        input(&[64, 64, 64, 64])
            + "layer { name: 'c' type: 'Convolution' bottom: 'x' top: 'y' convolution_param { num_output: 30000000 \
               kernel_size: 1 } } ",
        input(&[64, 64, 64])
            + "layer { name: 't' type: 'Tile' bottom: 'x' top: 'y' tile_param { axis: 1 tiles: 2000000000 } } ",
    ];
    let folder = tempfile::tempdir().unwrap();
    for (i, net) in nets.iter().enumerate() {
        write(folder.path(), "net.prototxt", net);
        let args = "test --model net.prototxt --weights none --iterations 1".split(' ');
        let args: Vec<&str> = args.collect();
        let told = error(folder.path(), &args);
        let said = ["bytes", "too large"].iter().any(|w| told.contains(w));
        assert!(said, "net {i}: {told}");
    }
    println!("{} nets too large", nets.len());
}

#[test]
fn a_run_that_the_process_may_not_have_is_refused_with_its_parts() {
    // 180 million weights are 720 MB: more than the limit leaves.
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "net.prototxt",
        "layer { name: 'd' type: 'DummyData' top: 'x' top: 't' dummy_data_param { shape { dim: 8 dim: 6000 } \
         shape { dim: 8 } } } \
         layer { name: 'ip' type: 'InnerProduct' bottom: 'x' top: 'y' inner_product_param { num_output: 30000 } } \
         layer { name: 'l' type: 'SoftmaxWithLoss' bottom: 'y' bottom: 't' top: 'l' }",
    );
    write(
        folder.path(),
        "s.prototxt",
        "net: 'net.prototxt' base_lr: 1 lr_policy: 'fixed' max_iter: 1 snapshot_after_train: false",
    );
    let limited = |args: &str| {
        let program = dsd(folder.path(), &[]).get_program().to_owned();
        let script = format!(
            "ulimit -v 800000; {} {args} --threads 1",
            program.to_str().unwrap()
        );
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .current_dir(folder.path())
            .output()
            .unwrap();
        crate::common::error_of(&output, 1)
    };
    let told = limited("train --solver s.prototxt");
    assert_says(
        &told,
        &[
            "net.prototxt",
            "history",
            "training",
            "bytes",
            "lower the batch size (now 8)",
        ],
    );
    for args in [
        "test --model net.prototxt --weights none --iterations 1",
        "time --phase TRAIN --model net.prototxt --iterations 1",
        "run --model net.prototxt --outputs o.npz",
        "extract_features net.prototxt net.prototxt y o 1 lmdb",
    ] {
        let told = limited(args);
        assert_says(&told, &["bytes", "free here"]);
    }
}
