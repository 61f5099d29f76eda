//! `dsd compress` and `dsd decompress`: the published file, every kind of built-in net, and damaged files.

use crate::common::{assert_says, dsd, error_of, log_texts, repository, shared};
use dsd::compress::codebook::Codebook;
use dsd::compress::container;
use dsd::models::{self, Family};
use dsd::random::{Purpose, Random};
use dsd::weights_file::Stored;
use dsd::weights_file::{self, Named};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Output;

/// Runs a command of which `{}` stands for the folder.
fn run(folder: &Path, line: &str) -> Output {
    let line = line.replace("{}", folder.to_str().unwrap());
    dsd().args(line.split_whitespace()).output().unwrap()
}

/// Runs a command that must succeed; its stdout.
fn done(folder: &Path, line: &str) -> String {
    let output = run(folder, line);
    assert!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn read(path: impl AsRef<Path>) -> Stored {
    let bytes = fs::read(path.as_ref()).unwrap();
    weights_file::read_named(path.as_ref(), &bytes).unwrap()
}

/// Asserts that both have the same layers, shapes and values.
fn assert_same(a: &Stored, b: &Stored) {
    assert_eq!(a.layers.len(), b.layers.len());
    for (a, b) in a.layers.iter().zip(&b.layers) {
        assert_eq!(a.name, b.name);
        assert!(a.blobs == b.blobs, "layer {} differs", a.name);
    }
}

#[test]
fn the_published_file_goes_through_every_format_and_comes_out_the_same() {
    let Some(published) = shared("data/squeezenet_deepcomp.net") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let original = fs::read(&published).unwrap();
    fs::write(at.join("a.net"), &original).unwrap();
    let table = done(at, "compress --weights {}/a.net --out {}/a.dsdz");
    assert_says(
        &table,
        &[
            "conv_final       512,000  102,323   0.1998     8",
            "4,993,696 bytes",
        ],
    );
    let size = fs::metadata(at.join("a.dsdz")).unwrap().len();
    assert!(size <= 545_000, "{size} bytes");
    done(at, "decompress --weights {}/a.net --out {}/a.caffemodel");
    assert_same(
        &read(at.join("a.dsdz")),
        &read(at.join("a.caffemodel")).with_weights_only(),
    );
    for line in [
        "compress --weights {}/a.net --out {}/again.net",
        "compress --weights {}/a.dsdz --out {}/again.net",
        "compress --weights {}/a.caffemodel --out {}/again.x --format net",
        "compress --weights {}/a.dsdz --out {}/again.net --model squeezenet_v1.0",
    ] {
        done(at, line);
        let name = if line.contains("again.x") {
            "again.x"
        } else {
            "again.net"
        };
        assert!(fs::read(at.join(name)).unwrap() == original, "{line}");
        fs::remove_file(at.join(name)).unwrap();
    }
    done(at, "decompress --weights {}/a.dsdz --out {}/b.caffemodel");
    assert!(
        fs::read(at.join("a.caffemodel")).unwrap() == fs::read(at.join("b.caffemodel")).unwrap()
    );

    done(
        at,
        "compress --weights {}/a.caffemodel --out {}/six.dsdz --bits 6",
    );
    let size = fs::metadata(at.join("six.dsdz")).unwrap().len();
    assert!(size <= 430_000, "{size} bytes");
    let json: Value = serde_json::from_str(&done(at, "inspect {}/six.dsdz --json")).unwrap();
    assert_eq!(
        (&json["format"], &json["nonzero"]),
        (&"dsdz".into(), &415_921.into())
    );
    let layers = json["layers"].as_array().unwrap();
    assert!(
        layers.len() == 26 && layers.iter().all(|l| l["bits"] == 6),
        "{json}"
    );
}

/// Layers without weights are no difference.
trait WithWeightsOnly {
    fn with_weights_only(self) -> Self;
}

impl WithWeightsOnly for Stored {
    fn with_weights_only(mut self) -> Self {
        self.layers.retain(|l| !l.blobs.is_empty());
        self
    }
}

/// Weights of a built-in net: every second layer pruned, every third one of few values.
fn weights_of(name: &str) -> Stored {
    let net = models::find(name)
        .unwrap()
        .skeleton(Family::Release)
        .unwrap();
    // For deployment, a net has no fillers.
    let mut stored = net.to_stored(&net.fill(1).unwrap());
    for (i, layer) in stored.layers.iter_mut().enumerate() {
        for (k, blob) in layer.blobs.iter_mut().enumerate() {
            let random = Random::new(k as u64, Purpose::Filler, i as u64);
            let values = (0..).map(|j| 0.1 * random.normal(j));
            blob.data.iter_mut().zip(values).for_each(|(v, r)| *v = r);
        }
        let weights = &mut layer.blobs[0].data;
        if i % 2 == 0 {
            let seed = 7 + i;
            let pruned = |j: &usize| (j * 2_654_435_761 + seed) % 1000 < 100 * (seed % 11);
            (0..weights.len())
                .filter(pruned)
                .for_each(|j| weights[j] = 0.0);
        }
        if i % 3 == 0 {
            let book = Codebook::k_means(weights, 2 + i as u32 % 7);
            let codes = book.assign(weights);
            book.decode(&codes, weights);
        }
    }
    stored
}

#[test]
fn the_weights_of_every_built_in_net_come_back_exactly() {
    // AlexNet and VGG16 have nothing that is not elsewhere, but hundreds of megabytes.
    for builtin in models::BUILTIN
        .iter()
        .filter(|b| !["alexnet", "vgg16"].contains(&b.name))
    {
        let stored = weights_of(builtin.name);
        let (bytes, written) = weights_file::to_container(&stored, &[]).unwrap();
        assert_eq!(written.len(), stored.layers.len());
        assert!(container::looks_like(&bytes));
        let values: usize = stored
            .layers
            .iter()
            .flat_map(|l| &l.blobs)
            .map(|b| b.data.len())
            .sum();
        assert!(
            bytes.len() < 4 * values,
            "{}: {} bytes",
            builtin.name,
            bytes.len()
        );
        let found = weights_file::read_named(Path::new("w.dsdz"), &bytes).unwrap();
        assert_same(&found, &stored);
    }
}

/// The digits net with some weights, as a caffemodel and as a .dsdz.
fn digits(folder: &Path) {
    let stored = weights_of("digits");
    weights_file::write_named(
        &folder.join("w.caffemodel"),
        Named::Caffemodel,
        &stored,
        None,
    )
    .unwrap();
    done(folder, "compress --weights {}/w.caffemodel --out {}/w.dsdz");
}

#[test]
fn every_command_takes_a_compressed_file_as_weights() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    digits(at);
    let both = |line: &str| {
        let one = done(at, &line.replace("WEIGHTS", "{}/w.caffemodel"));
        let other = done(at, &line.replace("WEIGHTS", "{}/w.dsdz"));
        (one, other)
    };
    let (one, other) = both("test --weights WEIGHTS --iterations 2 --json");
    let outputs = |s: &str| serde_json::from_str::<Value>(s).unwrap()["outputs"].clone();
    assert_eq!(outputs(&one), outputs(&other));
    for (line, out) in [
        ("export --weights WEIGHTS --out {}/out.npz", "out.npz"),
        (
            "decompress --weights WEIGHTS --out {}/out.caffemodel",
            "out.caffemodel",
        ),
        (
            "decompress --weights WEIGHTS --out {}/out.caffemodel.h5",
            "out.caffemodel.h5",
        ),
        ("decompress --weights WEIGHTS --out {}/out.npz", "out.npz"),
        (
            "compress --weights WEIGHTS --out {}/out.dsdz --bits 4",
            "out.dsdz",
        ),
        ("compress --weights WEIGHTS --out {}/out.net", "out.net"),
    ] {
        done(at, &line.replace("WEIGHTS", "{}/w.caffemodel"));
        let one = fs::read(at.join(out)).unwrap();
        done(at, &line.replace("WEIGHTS", "{}/w.dsdz"));
        let other = fs::read(at.join(out)).unwrap();
        assert!(one == other || out == "out.caffemodel", "{line}");
        if !out.ends_with("net") && !line.contains("--bits") {
            let sorted = |mut s: Stored| {
                s.layers.sort_by(|a, b| a.name.cmp(&b.name));
                s.with_weights_only()
            };
            assert_same(
                &sorted(read(at.join(out))),
                &sorted(read(at.join("w.caffemodel"))),
            );
        }
    }
    done(
        at,
        "time --weights {}/w.dsdz --iterations 1 --batch 1 --phase test",
    );
    done(
        at,
        "train --phase dense --weights {}/w.dsdz --max_iter 1 --out {}/run",
    );
    let model = repository("models/digits/train_val.prototxt");
    let line = format!(
        "extract_features {{}}/w.dsdz {} conv_final {{}}/f.npz 1 npz",
        model.display()
    );
    done(at, &line);
}

#[test]
fn few_bits_change_weights_only_and_the_log_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    digits(at);
    let output = run(
        at,
        "compress --weights {}/w.caffemodel --out {}/b.dsdz --bits conv*=8,*x3_2=3,nosuch=4",
    );
    let log = log_texts(&output.stderr).join("\n");
    assert_says(
        &log,
        &[
            "--bits: no layer is named 'nosuch'",
            "its weights take more values than 3 bits hold; they now share 7",
        ],
    );
    let (before, after) = (read(at.join("w.caffemodel")), read(at.join("b.dsdz")));
    for layer in &before.layers {
        let found = after.layer(&layer.name).unwrap();
        assert_eq!(found.blobs[1..], layer.blobs[1..]);
        let bits = found.codebook(0).map_or(32, Codebook::bits);
        match &*layer.name {
            name if name.starts_with("conv") => assert!(bits <= 8, "{name}"),
            name if name.ends_with("conv3x3_2") => assert!(bits <= 3, "{name}"),
            _ => assert_eq!(found.blobs, layer.blobs),
        }
    }
}

#[test]
fn wrong_usage_and_nets_without_a_place_in_the_format_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    digits(at);
    for bits in ["1", "9", "x", "conv1=", "conv1=0,*=8"] {
        let line = format!("compress --weights {{}}/w.caffemodel --out {{}}/b.dsdz --bits {bits}");
        error_of(&run(at, &line), 2);
    }
    let error = error_of(&run(at, "decompress --weights {}/w.dsdz --out {}/w.txt"), 2);
    assert_says(&error, &["w.txt: expected a name that ends in .caffemodel"]);
    assert!(!at.join("b.dsdz").exists());
    let mut other = weights_of("digits");
    other.layers[0].name = "mine".into();
    weights_file::write_named(&at.join("o.caffemodel"), Named::Caffemodel, &other, None).unwrap();
    let error = error_of(
        &run(at, "compress --weights {}/o.caffemodel --out {}/o.net"),
        1,
    );
    assert_says(&error, &["o.caffemodel", "name the net with --model"]);
    let stored = weights_of("resnet18");
    weights_file::write_named(&at.join("r.caffemodel"), Named::Caffemodel, &stored, None).unwrap();
    let error = error_of(
        &run(at, "compress --weights {}/r.caffemodel --out {}/r.net"),
        1,
    );
    assert_says(
        &error,
        &[
            "BatchNorm, 3 blobs) has no place in a Deep Compression .net",
            "--format huffman",
        ],
    );
}

#[test]
fn a_damaged_file_is_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    digits(at);
    let whole = fs::read(at.join("w.dsdz")).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    let cases: [(&[u8], &str); 3] = [
        (&flipped, "damaged: expected the CRC-32C"),
        (&whole[..whole.len() - 9], "truncated: it says that it has"),
        (
            &whole[..12],
            "truncated: expected at least 24 bytes, found 12",
        ),
    ];
    for (bytes, words) in cases {
        fs::write(at.join("x.dsdz"), bytes).unwrap();
        for command in [
            "test --weights {}/x.dsdz",
            "inspect {}/x.dsdz",
            "decompress --weights {}/x.dsdz --out {}/y.npz",
        ] {
            assert_says(&error_of(&run(at, command), 1), &["x.dsdz", words]);
        }
    }
    assert!(!at.join("y.npz").exists());
}

#[test]
fn a_codebook_in_a_caffemodel_holds_only_while_its_values_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.caffemodel");
    let mut stored = weights_of("digits");
    let first = &mut stored.layers[0];
    let mut values = Codebook::of_values(&first.blobs[0].data, 8)
        .unwrap()
        .values()
        .to_vec();
    values[1..].reverse();
    let book = Codebook::new(8, values).unwrap();
    first.codebooks = vec![Some(book.clone())];
    weights_file::write_named(&path, Named::Caffemodel, &stored, None).unwrap();
    let mut found = read(&path);
    assert_eq!(found.layers[0].codebook(0), Some(&book));
    found.layers[0].blobs[0].data[0] = 123.0;
    assert_eq!(found.layers[0].codebook(0), None);
    weights_file::write_named(&path, Named::Caffemodel, &found, None).unwrap();
    assert_eq!(read(&path).layers[0].codebooks[0], None);
}
