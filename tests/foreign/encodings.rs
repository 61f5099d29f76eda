//! Texts in GBK, Latin-1 and UTF-16, and names and paths of any bytes.

use super::{blob, done, fails, field, ip_net, run};
use crate::common::{dsd, shared};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

/// A word in GBK; as UTF-8 it is none.
const GBK: &[u8] = b"\xcd\xf8\xc2\xe7";

#[test]
fn the_file_of_the_issue_loads() {
    let Some(path) = shared("cases/files/gbk_comment.prototxt") else {
        return;
    };
    dsd().arg("inspect").arg(path).assert().success();
}

#[test]
fn a_net_is_read_in_every_encoding() {
    let folder = tempfile::tempdir().unwrap();
    let plain = String::from_utf8(ip_net(b"ip")).unwrap();
    let commented = plain.replace('\n', " # r\u{e9}seau\n");
    let utf16 = |mark: &[u8], pair: fn(u16) -> [u8; 2]| {
        let units = commented.encode_utf16().flat_map(pair);
        [mark, &units.collect::<Vec<u8>>()].concat()
    };
    let latin1: Vec<u8> = commented.chars().map(|c| c as u8).collect();
    let gbk = [b"# ", GBK, b"\n", plain.as_bytes()].concat();
    let texts = [
        ("UTF-8", commented.clone().into_bytes()),
        ("mark", [b"\xef\xbb\xbf", commented.as_bytes()].concat()),
        ("little", utf16(b"\xff\xfe", u16::to_le_bytes)),
        ("big", utf16(b"\xfe\xff", u16::to_be_bytes)),
        ("no mark", utf16(b"", u16::to_le_bytes)),
        ("Latin-1", latin1),
        ("GBK", gbk),
        ("CRLF", commented.replace('\n', "\r\n").into_bytes()),
        ("CR", commented.replace('\n', "\r").into_bytes()),
    ];
    let mut seen = Vec::new();
    for (name, text) in texts {
        fs::write(folder.path().join("n.prototxt"), text).unwrap();
        let json = done(folder.path(), "inspect n.prototxt --json");
        seen.push((name, String::from_utf8(json).unwrap()));
    }
    for (name, json) in &seen {
        assert_eq!(json, &seen[0].1, "{name}");
    }
}

#[test]
fn names_of_any_bytes_match_from_text_to_weights_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let name = [GBK, b"/1"].concat();
    let layer = [
        field(1, &name),
        field(2, b"InnerProduct"),
        field(7, &blob(&[2, 2], &[1.0, 2.0, 3.0, 4.0])),
        field(7, &blob(&[2], &[0.5, 0.5])),
    ];
    fs::write(at("w.caffemodel"), field(100, &layer.concat())).unwrap();
    let spelt: Vec<u8> = name
        .iter()
        .flat_map(|b| format!("\\{b:03o}").into_bytes())
        .collect();
    let x = [(
        "x".to_string(),
        dsd::tensor::Tensor::zeros([1, 2].as_slice().into()),
    )];
    dsd::npz::write(&at("x.npz"), x.iter().map(|(n, t)| (n.as_str(), t.view()))).unwrap();
    // The name as it is, and in octal as protobuf prints it.
    for spelling in [&name, &spelt] {
        fs::write(at("n.prototxt"), ip_net(spelling)).unwrap();
        let line = "run --model n.prototxt --weights w.caffemodel --inputs x.npz --outputs y.npz";
        let output = run(folder.path(), line);
        let stderr = output.stderr;
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&stderr)
        );
        assert_eq!(dsd::npz::read(&at("y.npz")).unwrap()["y"].data, [0.5, 0.5]);
    }
    // The text that comes out has the bytes too.
    done(
        folder.path(),
        "upgrade_net_proto_text n.prototxt again.prototxt",
    );
    let again = fs::read(at("again.prototxt")).unwrap();
    assert!(
        again
            .windows(spelt.len() - 8)
            .any(|w| w == &spelt[..spelt.len() - 8])
    );
    // And weights that are written.
    done(
        folder.path(),
        "decompress --model n.prototxt --weights w.caffemodel --out again.caffemodel",
    );
    let again = fs::read(at("again.caffemodel")).unwrap();
    assert!(again.windows(name.len()).any(|w| w == name));
    // What is printed has them, but JSON is UTF-8.
    let table = done(folder.path(), "inspect w.caffemodel");
    assert!(table.windows(name.len()).any(|w| w == name));
    let json = done(folder.path(), "inspect w.caffemodel --json");
    serde_json::from_slice::<serde_json::Value>(&json).unwrap();
}

#[test]
fn paths_are_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let named = |tail: &[u8]| folder.path().join(OsStr::from_bytes(&[GBK, tail].concat()));
    let picture = image::RgbImage::from_pixel(4, 4, image::Rgb([9, 9, 9]));
    picture.save(named(b".png").with_extension("png")).unwrap();
    // A list in that encoding, whose own name is so too, named by the net.
    fs::write(named(b".txt"), [GBK, b".png 1\n"].concat()).unwrap();
    let net = [
        &b"layer { name: 'd' type: 'ImageData' top: 'x' top: 'y' image_data_param { source: '"[..],
        GBK,
        b".txt' batch_size: 1 } }\nlayer { name: 's' type: 'Reduction' bottom: 'x' top: 's' }",
    ];
    fs::write(folder.path().join("n.prototxt"), net.concat()).unwrap();
    let output = run(folder.path(), "extract_features w n.prototxt s f.npz 1 npz");
    // There are no weights to give; the data are what counts.
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("cannot read w"), "{stderr}");
    done(
        folder.path(),
        "time --model n.prototxt --iterations 1 --phase test",
    );
    let list = [GBK, b".txt"].concat();
    dsd()
        .current_dir(folder.path())
        .args(["convert_imageset", ""])
        .arg(OsStr::from_bytes(&list))
        .arg("db")
        .assert()
        .success();
}

#[test]
fn labels_and_lists_of_any_bytes_are_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("labels.txt"), [GBK, b"\nb\r\n"].concat()).unwrap();
    let labels = dsd::classify::labels(&folder.path().join("labels.txt")).unwrap();
    assert_eq!(*dsd::files::encoding::bytes(&labels[0]), *GBK);
    assert_eq!(labels.len(), 2);
}

#[test]
fn a_file_that_is_no_text_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("n.prototxt"),
        [field(1, b"tiny"), field(100, b"")].concat(),
    )
    .unwrap();
    fails(
        folder.path(),
        "test --model n.prototxt --weights w.npz",
        &["n.prototxt: not a text file"],
    );
}
