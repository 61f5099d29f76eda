//! Weights, states, means and records in which a fork's fields have our numbers.

use super::{blob, done, fails, field, ip_net, run};
use crate::common::{self, shared, weights_of};
use std::fs;

/// What a fork may have put at a number of ours: other messages, other wire types, damaged or empty ones.
fn oddities(number: u32) -> Vec<Vec<u8>> {
    let key = |wire: u32| -> Vec<u8> {
        let key = number << 3 | wire;
        vec![key as u8 | 0x80, (key >> 7) as u8]
    };
    vec![
        field(number, b"\x0d\x6f\x12\x83\x3a"),
        field(number, b"\xff\xff\xff\xff"),
        field(number, b"\x0a\x7fshort"),
        field(number, b"a string"),
        [key(0), vec![5]].concat(),
        [key(1), vec![1; 8]].concat(),
        [key(5), vec![1; 4]].concat(),
        // A group with a number in it.
        [key(3), vec![8, 1], key(4)].concat(),
    ]
}

#[test]
fn the_files_of_the_issue_load() {
    for name in ["fork_param_wiretype", "legacy_unpacked"] {
        let Some(path) = shared(&format!("cases/files/{name}.caffemodel")) else {
            return;
        };
        let blobs = weights_of(&path);
        assert_eq!(blobs["ip1/0"], [1.0, 2.0, 3.0, 4.0], "{name}");
        assert_eq!(blobs["ip1/1"], [0.5, 0.5], "{name}");
        let folder = tempfile::tempdir().unwrap();
        let net = String::from_utf8(ip_net(b"ip1")).unwrap();
        fs::write(folder.path().join("n.prototxt"), net).unwrap();
        let weights = path.display();
        done(folder.path(), &format!("inspect {weights} --json"));
        done(
            folder.path(),
            &format!("export --model n.prototxt --weights {weights} --out w.npz"),
        );
    }
}

#[test]
fn every_number_that_forks_reuse_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.caffemodel");
    for number in (101..=159).chain(200..=206) {
        for odd in oddities(number) {
            let layer = [
                field(1, b"ip"),
                field(2, b"CInnerProduct"),
                odd.clone(),
                field(7, &blob(&[1, 2], &[3.0, 4.0])),
            ];
            fs::write(&path, field(100, &layer.concat())).unwrap();
            assert_eq!(weights_of(&path)["ip/0"], [3.0, 4.0], "{number}: {odd:?}");
        }
    }
}

#[test]
fn a_layer_type_that_v1_and_v0_never_had_is_no_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.caffemodel");
    // V1: name 4, type 5, blobs 6; a type of a fork.
    let v1 = [
        field(4, b"ip"),
        vec![0x28, 99],
        field(6, &blob(&[2], &[1.0, 2.0])),
    ];
    // V0 inside a V1 layer: name 1, type 2, blobs 50.
    let v0 = [
        field(1, b"conv"),
        field(2, b"a_forks_type"),
        field(50, &blob(&[1], &[5.0])),
    ];
    let bytes = [field(2, &v1.concat()), field(2, &field(1, &v0.concat()))].concat();
    fs::write(&path, bytes).unwrap();
    done(folder.path(), "export --weights w.caffemodel --out w.npz");
    let arrays = dsd::npz::read(&folder.path().join("w.npz")).unwrap();
    assert_eq!(arrays["ip:0"].data, [1.0, 2.0]);
    assert_eq!(arrays["conv:0"].data, [5.0]);
}

#[test]
fn states_means_and_records_of_forks_load() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let rest: Vec<u8> = (5..40).flat_map(|n| field(n, b"\x0a\x7fx")).collect();
    let state = [
        vec![8, 7],
        field(2, b"w_\xff.caffemodel"),
        field(3, &blob(&[2], &[1.0, 2.0])),
        field(4, b"not a number"),
        rest,
    ];
    fs::write(at("s.solverstate"), state.concat()).unwrap();
    let (read, history) = common::state_of(&at("s.solverstate"));
    assert_eq!((read.iter(), &history[0][..]), (7, &[1.0, 2.0][..]));
    done(folder.path(), "inspect s.solverstate");

    // A mean with text where its number of channels stands, numbers one by one and a field of nobody.
    let one = |v: f32| [vec![0x2d], v.to_le_bytes().to_vec()].concat();
    let mean = [
        field(2, b"three"),
        field(7, &[8, 3, 8, 1, 8, 1]),
        one(1.0),
        one(2.0),
        one(3.0),
        field(99, b"?"),
    ];
    fs::write(at("m.binaryproto"), mean.concat()).unwrap();
    let mean = dsd::proto::binary::read_blob(&at("m.binaryproto")).unwrap();
    assert_eq!(mean.data, [1.0, 2.0, 3.0]);

    // channels 1, height 1, width 2, two bytes, label 1; field 8 is SSD's and 5 has a string.
    let datum = [
        vec![8, 1, 16, 1, 24, 2],
        field(4, &[9, 8]),
        field(5, b"\xff\xfe"),
        field(8, b"\xff"),
    ];
    let mut read = dsd::proto::Datum::default();
    dsd::data::datum::decode(&datum.concat(), &mut read).unwrap();
    assert_eq!((read.data(), read.width()), (&[9u8, 8][..], 2));
}

#[test]
fn what_is_cut_still_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let layer = [
        field(1, b"ip\xff"),
        field(141, b"\x0d\x6f\x12\x83\x3a"),
        field(7, &blob(&[1, 2], &[3.0, 4.0])),
    ];
    let whole = [field(1, b"tiny"), field(100, &layer.concat())].concat();
    for cut in 1..whole.len() {
        fs::write(folder.path().join("w.caffemodel"), &whole[..cut]).unwrap();
        let found = dsd::proto::load_weights(&folder.path().join("w.caffemodel"));
        let error = format!("{:#}", found.unwrap_err());
        assert!(error.contains("truncated or not a caffemodel"), "{error}");
    }
    fails(
        folder.path(),
        "export --weights w.caffemodel --out w.npz",
        &["w.caffemodel: truncated or not a caffemodel", "bytes"],
    );
    assert!(run(folder.path(), "inspect w.caffemodel").status.code() == Some(1));
}
