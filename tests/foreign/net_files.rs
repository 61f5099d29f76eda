//! Deep Compression files that do not fit, are cut, or meet the other names of the same net; and what `export` takes.

use super::{done, fails, run};
use crate::common::{repository, shared};
use std::fs;
use std::path::Path;

/// The published SqueezeNet, and its deploy net under both names, in a folder.
fn published() -> Option<tempfile::TempDir> {
    let path = shared("data/squeezenet_deepcomp.net")?;
    let folder = tempfile::tempdir().unwrap();
    fs::copy(path, folder.path().join("w.net")).unwrap();
    let net = fs::read_to_string(repository("models/squeezenet_v1.0/deploy.prototxt")).unwrap();
    let other = net
        .replace("conv1x1_1", "squeeze1x1")
        .replace("conv1x1_2", "expand1x1")
        .replace("conv3x3_2", "expand3x3")
        .replace("conv_final", "conv10");
    let changed = net.replace("num_output: 1000", "num_output: 10");
    let fewer = net
        .split("layer {")
        .take(20)
        .collect::<Vec<_>>()
        .join("layer {");
    for (name, text) in [
        ("release", &net),
        ("original", &other),
        ("changed", &changed),
        ("fewer", &fewer),
    ] {
        fs::write(folder.path().join(format!("{name}.prototxt")), text).unwrap();
    }
    Some(folder)
}

fn values(folder: &Path) -> Vec<Vec<f32>> {
    let arrays = dsd::npz::read(&folder.join("w.npz")).unwrap();
    arrays.into_values().map(|t| t.data).collect()
}

#[test]
fn both_families_of_names_take_a_net_file() {
    let Some(folder) = published() else { return };
    let at = folder.path();
    let mut seen = Vec::new();
    for (model, name) in [
        ("release", "fire2/conv1x1_1:0"),
        ("original", "fire2/squeeze1x1:0"),
    ] {
        done(
            at,
            &format!("export --model {model}.prototxt --weights w.net --out w.npz"),
        );
        assert!(
            dsd::npz::read(&at.join("w.npz"))
                .unwrap()
                .contains_key(name)
        );
        let mut all = values(at);
        all.sort_by(|a, b| a.partial_cmp(b).unwrap());
        seen.push(all);
        // And back, byte by byte.
        done(
            at,
            &format!("compress --model {model}.prototxt --weights w.net --out again.net"),
        );
        assert!(fs::read(at.join("again.net")).unwrap() == fs::read(at.join("w.net")).unwrap());
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0].len(), 52);
}

#[test]
fn what_does_not_fit_is_told() {
    let Some(folder) = published() else { return };
    let at = folder.path();
    fails(
        at,
        "test --model fewer.prototxt --weights w.net",
        &[
            "w.net: a Deep Compression .net, read with",
            "found those of 26",
            "the net has changed",
        ],
    );
    fails(
        at,
        "export --model changed.prototxt --weights w.net --out w.npz",
        &[
            "\"conv_final\"",
            "expected at most its 5120 weights, found",
            "stored entries",
            "net has changed",
        ],
    );
    let whole = fs::read(at.join("w.net")).unwrap();
    // The names of the file do not matter, its content does.
    for (name, cut) in [
        ("cut.net", 600_000),
        ("cut.weights", 300_000),
        ("short.net", 2000),
    ] {
        fs::write(at.join(name), &whole[..cut]).unwrap();
        let found = format!("the file has {cut}");
        let said = [
            "a Deep Compression .net",
            "cut: its counts make 675763 bytes",
            &found,
            "layer \"",
        ];
        for line in [
            format!("test --model release.prototxt --weights {name}"),
            format!("test --weights {name}"),
        ] {
            fails(at, &line, &said);
        }
        // Without a net there are no counts to compare with.
        for line in [
            format!("compress --weights {name} --out x.dsdz"),
            format!("export --weights {name} --out w.npz"),
        ] {
            let said = ["a Deep Compression .net", "cut"];
            fails(at, &line, &said);
        }
        assert_eq!(run(at, &format!("inspect {name}")).status.code(), Some(1));
    }
    fs::write(at.join("tiny.net"), &whole[..40]).unwrap();
    fails(
        at,
        "test --weights tiny.net",
        &["tiny.net: a Deep Compression .net", "--model"],
    );
}

#[test]
fn export_takes_a_training_net() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    // Data that are not here; the shapes come from the crop, or are not known at all.
    let net = |transform: &str| {
        format!(
            "layer {{ name: 'd' type: 'Data' top: 'x' top: 'y' {transform} data_param {{ source: 'none' batch_size: 2 }} }}
             layer {{ name: 'ip' type: 'InnerProduct' bottom: 'x' top: 'z' inner_product_param {{ num_output: 2 }} }}
             layer {{ name: 'l' type: 'SoftmaxWithLoss' bottom: 'z' bottom: 'y' top: 'l' }}"
        )
    };
    let tensor = |dims: &[usize]| dsd::tensor::Tensor::zeros(dims.into());
    let arrays = [
        ("ip:0".to_string(), tensor(&[2, 48])),
        ("ip:1".into(), tensor(&[2])),
    ];
    dsd::npz::write(
        &at.join("w.npz"),
        arrays.iter().map(|(n, t)| (n.as_str(), t.view())),
    )
    .unwrap();
    for transform in ["transform_param { crop_size: 4 }", ""] {
        fs::write(at.join("n.prototxt"), net(transform)).unwrap();
        done(
            at,
            "export --model n.prototxt --weights w.npz --out out.npz",
        );
        assert_eq!(
            dsd::npz::read(&at.join("out.npz")).unwrap()["ip:0"]
                .data
                .len(),
            96
        );
    }
}
