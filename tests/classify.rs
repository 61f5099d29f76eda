//! `dsd classify`: the labels of pictures are those that Caffe gives them.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use dsd::data::lmdb::Lmdb;
use dsd::data::records::Records;
use dsd::npz;
use dsd::proto::Datum;
use image::{GrayImage, RgbImage};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

fn dsd() -> Command {
    Command::new(env!("CARGO_BIN_EXE_dsd"))
}

fn shared(file: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared")
        .join(file);
    let there = path.exists();
    if !there {
        eprintln!("skipped: no {}", path.display());
    }
    there.then_some(path)
}

/// The 8 photographs of the goldens as PNG files in `folder`, in the order of their database.
fn photographs(folder: &Path) -> Option<Vec<PathBuf>> {
    let mut lmdb = Lmdb::open(&shared("goldens/squeezenet/lmdb8")?).unwrap();
    let mut datum = Datum::default();
    let mut files = Vec::new();
    for number in 0..lmdb.count() {
        lmdb.read(number, &mut datum).unwrap();
        let planes = datum.data();
        let area = 256 * 256;
        assert_eq!(planes.len(), 3 * area);
        let picture = RgbImage::from_fn(256, 256, |x, y| {
            let at = (y * 256 + x) as usize;
            image::Rgb([planes[2 * area + at], planes[area + at], planes[at]])
        });
        files.push(folder.join(format!("{number}.png")));
        picture.save(&files[number as usize]).unwrap();
    }
    Some(files)
}

/// Weights that Caffe's numbers were made with, and Caffe's scores, a row a photograph.
fn goldens() -> Option<(PathBuf, Vec<Vec<f32>>)> {
    let forward = npz::read(&shared("goldens/squeezenet/forward8.npz")?).unwrap();
    let scores = forward["pool_final"].data.chunks(1000).map(<[f32]>::to_vec);
    Some((shared("data/squeezenet_deepcomp.net")?, scores.collect()))
}

fn softmax(scores: &[f32]) -> Vec<f64> {
    let most = scores.iter().copied().fold(f32::MIN, f32::max);
    let powers: Vec<f64> = scores.iter().map(|s| f64::from(s - most).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|p| p / sum).collect()
}

/// Classifies with `--json`; gives the object and the log.
fn classified(args: &[&str], pictures: &[PathBuf]) -> (Value, String) {
    let run = dsd()
        .arg("classify")
        .args(args)
        .arg("--json")
        .args(pictures)
        .assert();
    let out = run.success().get_output().clone();
    let log = String::from_utf8(out.stderr).unwrap();
    (serde_json::from_slice(&out.stdout).unwrap(), log)
}

fn hold_to_caffe(object: &Value, scores: &[Vec<f32>]) {
    let pictures = object["pictures"].as_array().unwrap();
    assert_eq!(pictures.len(), scores.len());
    for (picture, scores) in pictures.iter().zip(scores) {
        let wanted = softmax(scores);
        let best = (0..1000).max_by(|&a, &b| wanted[a].total_cmp(&wanted[b]));
        let predictions = picture["predictions"].as_array().unwrap();
        assert_eq!(predictions[0]["class"].as_u64(), best.map(|b| b as u64));
        assert_eq!(predictions.len(), 1000);
        for p in predictions {
            let class = p["class"].as_u64().unwrap() as usize;
            let off = p["probability"].as_f64().unwrap() - wanted[class];
            assert!(
                off.abs() < 1e-4,
                "{}: class {class} off by {off}",
                picture["file"]
            );
        }
    }
}

#[test]
fn photographs_get_caffes_probabilities_from_every_form_of_the_net() {
    let folder = tempfile::tempdir().unwrap();
    let (Some((weights, scores)), Some(files)) = (goldens(), photographs(folder.path())) else {
        return;
    };
    let weights = weights.to_str().unwrap();
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/models/squeezenet_v1.0");
    let (train_val, deploy) = (
        format!("{models}/train_val.prototxt"),
        format!("{models}/deploy.prototxt"),
    );
    let line = "resize 256 x 256 (bilinear), centre crop 227, BGR, minus mean 104 117 123";
    let forms: [&[&str]; 3] = [
        &[],
        &["--model", &train_val],
        &[
            "--model",
            &deploy,
            "--mean_value",
            "104,117,123",
            "--resize",
            "256",
        ],
    ];
    for form in forms {
        let mut args = vec!["--weights", weights, "--top", "1000"];
        args.extend(form);
        let (object, log) = classified(&args, &files);
        hold_to_caffe(&object, &scores);
        assert_eq!(object["preprocessing"], line);
        assert!(log.contains(&format!("Preprocessing: {line}\n")), "{log}");
        let added = form.contains(&train_val.as_str());
        assert_eq!(object["softmax_added"], added);
        assert_eq!(log.contains("is no softmax; one is added"), added);
    }
}

#[test]
fn text_has_the_path_and_a_line_a_class() {
    let folder = tempfile::tempdir().unwrap();
    let (Some((weights, _)), Some(files)) = (goldens(), photographs(folder.path())) else {
        return;
    };
    let labels = folder.path().join("labels.txt");
    let words: Vec<String> = (0..1000)
        .map(|k| format!("n{k:08} class {k}, so named"))
        .collect();
    std::fs::write(&labels, words.join("\n") + "\n").unwrap();
    let weights = weights.to_str().unwrap();
    let args = ["classify", "--weights", weights, "--top=2"];
    let run = dsd()
        .args(args)
        .arg("-labels")
        .arg(&labels)
        .arg(&files[3])
        .assert();
    let text = format!(
        "^{}\n0\\.\\d{{4}}  n00000281 class 281, so named\n0\\.\\d{{4}}  n\\d{{8}} class \\d+, so named\n$",
        files[3].display()
    );
    run.success()
        .stdout(predicate::str::is_match(text).unwrap());
    let run = dsd().args(args).arg(&files[3]).assert().success();
    run.stdout(predicate::str::is_match("\n0\\.\\d{4}  281 tabby\n").unwrap());
    std::fs::write(&labels, "one\ntwo\n").unwrap();
    let run = dsd()
        .args(args)
        .arg("-labels")
        .arg(&labels)
        .arg(&files[3])
        .assert();
    run.code(1)
        .stderr(contains("2 labels, but the net has 1000 classes"));
}

#[test]
fn a_broken_picture_is_told_and_the_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (Some((weights, _)), Some(_)) = (goldens(), photographs(folder.path())) else {
        return;
    };
    std::fs::create_dir(folder.path().join("deep")).unwrap();
    std::fs::write(folder.path().join("deep/broken.JPG"), "not a picture").unwrap();
    std::fs::write(folder.path().join("notes.txt"), "no picture at all").unwrap();
    let mut command = dsd();
    command
        .arg("classify")
        .arg(folder.path())
        .arg("no/such.png");
    let run = command
        .args(["--top", "1", "--weights"])
        .arg(weights)
        .assert()
        .code(1);
    let out = run.get_output();
    let (text, log) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    assert_eq!(text.lines().count(), 16, "{text}");
    let errors: Vec<&str> = log.lines().filter(|l| l.starts_with('E')).collect();
    assert_eq!(errors.len(), 2, "{log}");
    assert!(errors[0].contains("deep/broken.JPG: its picture cannot be decoded"));
    assert!(errors[1].contains("cannot read no/such.png"));
    assert!(
        log.ends_with("error: 2 of 10 pictures could not be read\n"),
        "{log}"
    );
}

#[test]
fn the_built_in_digits_are_read_from_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let train = ["train", "--phase", "dense", "--max_iter", "400", "--out"];
    dsd().args(train).arg(&run).assert().success();
    let weights = run.join("dense/digits_iter_400.caffemodel");
    let weights = weights.to_str().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/data/digits");
    let mosaic = image::open(root.join("mosaic.png")).unwrap().into_luma8();
    let labels: Vec<u64> = std::fs::read_to_string(root.join("labels.txt"))
        .unwrap()
        .bytes()
        .filter(u8::is_ascii_digit)
        .map(|b| u64::from(b - b'0'))
        .collect();
    // The test set's first 100, one of them enlarged: resizing brings it back.
    let files: Vec<PathBuf> = (1437..1537u32)
        .map(|digit| {
            let (x, y) = (digit % 43 * 8, digit / 43 * 8);
            let zoom = if digit == 1440 { 3 } else { 1 };
            let picture = GrayImage::from_fn(8 * zoom, 8 * zoom, |i, j| {
                *mosaic.get_pixel(x + i / zoom, y + j / zoom)
            });
            let file = folder.path().join(format!("{digit}.png"));
            picture.save(&file).unwrap();
            file
        })
        .collect();
    let (object, log) = classified(&["--weights", weights, "--top", "1"], &files);
    let wanted = "resize 8 x 8 (bilinear), gray, times 0.00416667";
    assert_eq!(object["preprocessing"], wanted, "{log}");
    let pictures = object["pictures"].as_array().unwrap();
    let right = pictures
        .iter()
        .zip(&labels[1437..])
        .filter(|(p, label)| p["predictions"][0]["class"] == **label)
        .count();
    assert!(right >= 80, "{right} of 100");
}

const NET: &str = "
    layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 1 dim: CHANNELS dim: 4 dim: 4 } } }
    layer { name: 'ip' type: 'InnerProduct' bottom: 'data' top: 'ip'
      inner_product_param { num_output: 2 weight_filler { type: 'constant' value: 0.001 } } }";

#[test]
fn small_nets_say_what_is_done_to_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let picture = at("p.png");
    GrayImage::from_pixel(5, 4, image::Luma([100]))
        .save(&picture)
        .unwrap();
    let (net, weights) = (at("net.prototxt"), at("w.npz"));
    let with = |channels: usize| {
        std::fs::write(&net, NET.replace("CHANNELS", &channels.to_string())).unwrap();
        let n = channels * 16;
        let tensor = |shape: Vec<usize>, value: f32| {
            let count = shape.iter().product();
            dsd::tensor::Tensor::new(shape.into(), vec![value; count]).unwrap()
        };
        let (w, b) = (tensor(vec![2, n], 0.001), tensor(vec![2], 0.0));
        let arrays = [("ip:0", w.view()), ("ip:1", b.view())];
        npz::write(Path::new(&weights), arrays).unwrap();
    };
    let run = |args: &[&str]| {
        let mut command = dsd();
        command.args(["classify", &picture, "--model", &net, "--weights", &weights]);
        command.args(args).assert()
    };
    with(1);
    let equal = format!("{picture}\n0.5000  0\n0.5000  1\n");
    run(&[]).success().stdout(equal.clone()).stderr(
        contains("Preprocessing: resize 4 x 4 (bilinear), gray\n")
            .and(contains("No mean is subtracted"))
            .and(contains("ip is no softmax; one is added")),
    );
    with(3);
    let args = ["--mean_value=1,2,3", "--scale", "0.5", "--resize", "6"];
    run(&args).success().stdout(equal).stderr(contains(
        "resize 6 x 6 (bilinear), centre crop 4, BGR, minus mean 1 2 3, times 0.5\n",
    ));
    run(&["--resize", "3"])
        .code(1)
        .stderr(contains("crop_size 4 does not fit into the picture"));
    run(&["--mean_value=1,2"])
        .code(1)
        .stderr(contains("expected 1 mean_value or one for each of 3"));
    run(&["--mean_file", "no/mean"])
        .code(1)
        .stderr(contains("cannot read no/mean"));
    with(2);
    run(&[])
        .code(1)
        .stderr(contains("has 2 channels; pictures have 1 (gray) or 3"));
}

#[test]
fn a_mean_file_of_the_pictures_size_is_subtracted_point_by_point_else_by_channel() {
    use dsd::proto::blob;
    use prost::Message;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (net, weights, mean, picture) = (at("net"), at("w.npz"), at("mean"), at("p.png"));
    std::fs::write(&net, NET.replace("CHANNELS", "1")).unwrap();
    let rising: Vec<f32> = (0..16).map(|v| v as f32).collect();
    // Class 0 sums what is left of the picture, class 1 nothing.
    let w = [vec![0.125; 16], vec![0.0; 16]].concat();
    let w = dsd::tensor::Tensor::new(vec![2, 16].into(), w).unwrap();
    let b = dsd::tensor::Tensor::zeros(vec![2].into());
    npz::write(
        Path::new(&weights),
        [("ip:0", w.view()), ("ip:1", b.view())],
    )
    .unwrap();
    let points = GrayImage::from_raw(4, 4, rising.iter().map(|v| *v as u8).collect()).unwrap();
    points.save(&picture).unwrap();
    let run = |dims: &[usize], data: &[f32]| {
        std::fs::write(&mean, blob::blob(dims, data).encode_to_vec()).unwrap();
        let args = ["classify", &picture, "--model", &net, "--weights", &weights];
        dsd().args(args).args(["--mean_file", &mean]).assert()
    };
    let half = format!("{picture}\n0.5000  0\n0.5000  1\n");
    let whole = run(&[1, 1, 4, 4], &rising).success().stdout(half.clone());
    whole.stderr(contains(format!("gray, minus the picture {mean}\n")));
    let other = run(&[1, 2, 2], &[0.0, 5.0, 10.0, 15.0])
        .success()
        .stdout(half);
    other.stderr(contains(format!("minus mean 7.5 (of {mean} by channel)")));
    run(&[3, 4, 4], &[0.0; 48])
        .code(1)
        .stderr(contains("has 3 channels; expected 1"));
}
