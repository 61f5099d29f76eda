//! A caffemodel keeps what it has beyond the schema when another one is made from it.

use super::{blob, done, field};
use std::fs;
use std::path::Path;

/// Weights with fields that nobody knows in the net, a layer, its parameters and a blob, a layer without weights,
/// and a fork's message at a number of ours.
fn fork() -> Vec<u8> {
    let odd = |what: &[u8]| field(8000, what);
    let ip = [
        field(1, b"ip\xff"),
        field(2, b"CInnerProduct"),
        field(3, b"x"),
        field(
            7,
            &[blob(&[2, 2], &[1.0, 0.0, -2.0, 1.0]), odd(b"blob")].concat(),
        ),
        field(7, &blob(&[2], &[0.5, 0.25])),
        field(117, &[vec![8, 2], odd(b"param")].concat()),
        field(141, b"\x0d\x6f\x12\x83\x3a"),
        field(150, b"\xff\xff"),
        odd(b"layer"),
    ];
    let pool = [
        field(1, b"pool"),
        field(2, b"Pooling"),
        field(121, &[8, 1, 0x68, 1]),
    ];
    let layers = [field(100, &ip.concat()), field(100, &pool.concat())];
    [field(1, b"n\xff"), layers.concat(), odd(b"net")].concat()
}

fn write(folder: &Path) -> Vec<u8> {
    let bytes = fork();
    fs::write(folder.join("w.caffemodel"), &bytes).unwrap();
    bytes
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|w| w == part)
}

#[test]
fn without_loss_through_a_compressed_file() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = write(folder.path());
    done(
        folder.path(),
        "compress --weights w.caffemodel --out w.dsdz",
    );
    done(
        folder.path(),
        "decompress --weights w.dsdz --out again.caffemodel",
    );
    let again = fs::read(folder.path().join("again.caffemodel")).unwrap();
    for part in [
        b"blob".as_slice(),
        b"param",
        b"layer",
        b"net",
        b"CInnerProduct",
        b"pool",
    ] {
        assert!(has(&again, part), "{part:?}");
    }
    // A second time, nothing at all changes.
    done(
        folder.path(),
        "compress --weights again.caffemodel --out again.dsdz",
    );
    done(
        folder.path(),
        "decompress --weights again.dsdz --out third.caffemodel",
    );
    assert!(fs::read(folder.path().join("third.caffemodel")).unwrap() == again);
    let read = |name: &str| {
        let message = dsd::proto::binary::read_caffemodel(&folder.path().join(name)).unwrap();
        dsd::weights_file::Stored::from_message(&message, "").unwrap()
    };
    let (old, new) = (read("w.caffemodel"), read("again.caffemodel"));
    assert_eq!(old.layers[0].blobs, new.layers[0].blobs);
    assert_eq!(old.layers[0].name, new.layers[0].name);
    assert!(bytes.len() <= again.len());
}

#[test]
fn a_damaged_compressed_file_is_still_told() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    done(
        folder.path(),
        "compress --weights w.caffemodel --out w.dsdz",
    );
    let whole = fs::read(folder.path().join("w.dsdz")).unwrap();
    for at in 0..whole.len() {
        let mut odd = whole.clone();
        odd[at] ^= 0x55;
        assert!(dsd::compress::container::decode(&odd).is_err(), "{at}");
        assert!(dsd::compress::container::parts(&odd).is_err(), "{at}");
    }
}

#[test]
fn an_upgrade_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = write(folder.path());
    let line = "upgrade_net_proto_binary w.caffemodel new.caffemodel";
    done(folder.path(), line);
    // Today's form already: not a byte changes.
    assert!(fs::read(folder.path().join("new.caffemodel")).unwrap() == bytes);
    // With fields of an older Caffe: the input becomes a layer, and the rest stays in its place.
    let old = [
        field(3, b"x"),
        vec![0x20, 1, 0x20, 2, 0x20, 1, 0x20, 1],
        bytes,
    ];
    fs::write(folder.path().join("w.caffemodel"), old.concat()).unwrap();
    done(folder.path(), line);
    let new = fs::read(folder.path().join("new.caffemodel")).unwrap();
    for part in [
        b"blob".as_slice(),
        b"param",
        b"layer",
        b"net",
        b"ip\xff",
        b"n\xff",
    ] {
        assert!(has(&new, part), "{part:?}");
    }
    assert!(has(&new, &field(141, b"\x0d\x6f\x12\x83\x3a")) && has(&new, &field(150, b"\xff\xff")));
    assert!(has(&new, b"Input"));
    // V1: what the net has; a layer's own unknown fields have no number in the new form.
    let v1 = [
        field(
            2,
            &[
                field(4, b"ip"),
                vec![0x28, 14],
                field(6, &blob(&[1], &[1.0])),
            ]
            .concat(),
        ),
        field(8000, b"net"),
    ];
    fs::write(folder.path().join("w.caffemodel"), v1.concat()).unwrap();
    done(folder.path(), line);
    let new = fs::read(folder.path().join("new.caffemodel")).unwrap();
    assert!(has(&new, &field(8000, b"net")) && has(&new, b"InnerProduct"));
}
