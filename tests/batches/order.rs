//! In which order data come: from batch to batch, over the end, shuffled, skipped.

use super::{log, values, weights, write};
use crate::common::lmdb;
use dsd::hdf5::Writer;
use std::collections::BTreeSet;
use std::path::Path;

/// The labels of `n` batches of a net that is one data layer.
fn labels(folder: &Path, net: &str, n: usize, seed: usize) -> Vec<Vec<usize>> {
    write(folder, "net.prototxt", net);
    weights(folder, &[("none:0", &[1])]);
    let (n, seed) = (n.to_string(), seed.to_string());
    let args = "test --model net.prototxt --weights w.npz --iterations".split(' ');
    let args: Vec<&str> = args.chain([&n[..], "--seed", &seed]).collect();
    let log = log(folder, &args);
    let batches = n.parse().unwrap();
    let one = |i: usize| values(&log, i, "t").iter().map(|v| *v as usize).collect();
    (0..batches).map(one).collect()
}

/// `rows` batches of `batch` counted from `first` over `count` samples.
fn counted(first: usize, count: usize, batch: usize, rows: usize) -> Vec<Vec<usize>> {
    let row = |i: usize| {
        (0..batch)
            .map(|k| (first + i * batch + k) % count)
            .collect()
    };
    (0..rows).map(row).collect()
}

/// A list of 7 pictures with the labels 0 to 6.
fn pictures(folder: &Path) {
    let mut list = String::new();
    for i in 0..7u8 {
        let picture = image::GrayImage::from_pixel(4, 4, image::Luma([i]));
        picture.save(folder.join(format!("{i}.png"))).unwrap();
        list += &format!("{i}.png {i}\n");
    }
    write(folder, "l.txt", &list);
}

fn images(more: &str, batch: usize) -> String {
    format!(
        "layer {{ name: 'd' type: 'ImageData' top: 'x' top: 't' image_data_param {{ source: 'l.txt' is_color: false \
         batch_size: {batch} {more} }} }}"
    )
}

/// Two files of 4 and 3 rows, labels 0 to 6.
fn hdf5(folder: &Path) {
    for (name, rows) in [("a.h5", 0..4), ("b.h5", 4..7)] {
        let values: Vec<f32> = rows.map(|v| v as f32).collect();
        let mut file = Writer::new();
        file.floats("x", &[values.len(), 1], &values).unwrap();
        file.floats("t", &[values.len()], &values).unwrap();
        file.save(&folder.join(name)).unwrap();
    }
    write(folder, "h.txt", "a.h5\nb.h5\n");
}

fn hdf5_net(more: &str, batch: usize) -> String {
    format!(
        "layer {{ name: 'd' type: 'HDF5Data' top: 'x' top: 't' hdf5_data_param {{ source: 'h.txt' batch_size: {batch} \
         {more} }} }}"
    )
}

#[test]
fn every_source_begins_again_at_its_end() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path());
    hdf5(folder.path());
    // Labels 0 to 2 alone: three records.
    lmdb::write(&folder.path().join("db"), &lmdb::pictures(3));
    let mut count = 0;
    for batch in [1, 2, 3, 5, 7, 8, 16] {
        let data = format!(
            "layer {{ name: 'd' type: 'Data' top: 'x' top: 't' data_param {{ source: 'db' batch_size: {batch} \
             backend: LMDB }} }}"
        );
        for (net, samples) in [(data, 3), (images("", batch), 7), (hdf5_net("", batch), 7)] {
            let got = labels(folder.path(), &net, 4, 1);
            assert_eq!(got, counted(0, samples, batch, 4), "{net}");
            count += 1;
        }
    }
    println!("{count} wraps");
}

#[test]
fn a_shuffled_round_has_every_sample_once() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path());
    hdf5(folder.path());
    for net in [images("shuffle: true", 1), hdf5_net("shuffle: true", 1)] {
        let mut orders = BTreeSet::new();
        for seed in 1..4 {
            let got = labels(folder.path(), &net, 21, seed).concat();
            for round in got.chunks(7) {
                let all: BTreeSet<&usize> = round.iter().collect();
                assert_eq!(all.len(), 7, "{round:?}");
                orders.insert(round.to_vec());
            }
            assert_eq!(
                got,
                labels(folder.path(), &net, 21, seed).concat(),
                "a seed repeats"
            );
            // Batches that cross the end are the same samples.
            let wide = net.replace("batch_size: 1", "batch_size: 3");
            assert_eq!(got, labels(folder.path(), &wide, 7, seed).concat());
        }
        assert!(orders.len() > 5, "{orders:?}");
    }
}

#[test]
fn rand_skip_begins_elsewhere_and_goes_on_in_order() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path());
    let mut starts = BTreeSet::new();
    for seed in 1..12 {
        let got = labels(folder.path(), &images("rand_skip: 5", 2), 5, seed);
        let first = got[0][0];
        assert!(first < 5, "{first}");
        assert_eq!(got, counted(first, 7, 2, 5), "seed {seed}");
        starts.insert(first);
    }
    assert!(starts.len() > 2, "{starts:?}");
}

#[test]
fn a_stopped_run_reads_on_where_it_was() {
    // Of 7 samples in batches of 3 with iter_size 2, with a display at each iteration.
    let run = |parts: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        hdf5(folder.path());
        let net = hdf5_net("shuffle: true", 3)
            + " layer { name: 'ip' type: 'InnerProduct' bottom: 'x' top: 'y' inner_product_param { num_output: 1 } } \
               layer { name: 'l' type: 'EuclideanLoss' bottom: 'y' bottom: 't' top: 'l' }";
        write(folder.path(), "net.prototxt", &net);
        write(
            folder.path(),
            "s.prototxt",
            "net: 'net.prototxt' base_lr: 0.01 lr_policy: 'fixed' momentum: 0.9 iter_size: 2 snapshot_prefix: 's' \
             random_seed: 1",
        );
        for (i, part) in parts.iter().enumerate() {
            let mut args = vec!["train", "--solver", "s.prototxt", "--max_iter", part];
            if i > 0 {
                args.push("--resume");
            }
            log(folder.path(), &args);
        }
        std::fs::read(folder.path().join("s_iter_9.caffemodel")).unwrap()
    };
    let whole = run(&["9"]);
    for parts in [&["1", "9"][..], &["4", "9"], &["2", "3", "8", "9"]] {
        assert!(run(parts) == whole, "{parts:?}");
    }
}
