//! `dsd classify` and `dsd detect` with the options and in the arithmetic of Caffe's python/classify.py and detect.py.

use crate::common::dsd;
use dsd::npz;
use dsd::tensor::Tensor;
use std::fs;
use std::path::Path;
use std::process::Output;

/// Runs a command line in `folder`; `''` is an empty word.
fn run(folder: &Path, line: &str) -> Output {
    let words = line
        .split_whitespace()
        .map(|w| if w == "''" { "" } else { w });
    dsd().current_dir(folder).args(words).output().unwrap()
}

fn done(folder: &Path, line: &str) -> (String, String) {
    let output = run(folder, line);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{line}: {stderr}");
    (stdout, stderr)
}

fn fails(folder: &Path, line: &str, words: &str) {
    let output = run(folder, line);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{line}");
    assert!(
        stderr.contains(words),
        "{line}: expected '{words}' in {stderr}"
    );
}

/// Red, green and blue of a pixel.
fn pixel(x: u32, y: u32) -> [u8; 3] {
    [
        (10 * x + y) as u8,
        (3 * x + 20 * y) as u8,
        (200 - 7 * x) as u8,
    ]
}

/// The weight of channel c, row y, column x for class k.
fn weight(k: usize, c: usize, y: usize, x: usize) -> f32 {
    ((k * 31 + c * 7 + y * 3 + x) % 11) as f32 / 64.0 - 0.07
}

const SIDE: usize = 4;

/// A folder with a net of 3 x 4 x 4 inputs and two scores, its weights, a mean and pictures.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let net = "name: 'n' layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }
        layer { name: 'ip' type: 'InnerProduct' bottom: 'data' top: 'ip' inner_product_param { num_output: 2 bias_term: false } }";
    fs::write(at("deploy.prototxt"), net).unwrap();
    let index = |i: usize| weight(i / 48, i / 16 % 3, i / 4 % 4, i % 4);
    let ip = Tensor {
        shape: [2, 48].as_slice().into(),
        data: (0..96).map(index).collect(),
    };
    npz::write(&at("w.npz"), [("ip:0", ip.view())]).unwrap();
    let mean = Tensor {
        shape: [3].as_slice().into(),
        data: vec![104.0, 117.0, 123.0],
    };
    npz::write_npy(&at("mean.npy"), &mean).unwrap();
    fs::create_dir(at("photos")).unwrap();
    for (name, width) in [("a.png", 8), ("photos/b.png", 8), ("photos/c.jpg", 8)] {
        let picture = image::RgbImage::from_fn(width, 6, |x, y| image::Rgb(pixel(x, y)));
        picture.save(at(name)).unwrap();
    }
    fs::write(at("photos/notes.txt"), "no picture").unwrap();
    folder
}

/// The scores of the part of the picture from (top, left) on, mirrored or not, in classify.py's arithmetic.
fn scores(top: usize, left: usize, mirror: bool, scale: f32) -> [f32; 2] {
    let mean = [104.0, 117.0, 123.0];
    let mut sums = [0.0f64; 2];
    for c in 0..3 {
        for y in 0..SIDE {
            for x in 0..SIDE {
                let column = if mirror { SIDE - 1 - x } else { x };
                // Blue comes first.
                let value = pixel((left + column) as u32, (top + y) as u32)[2 - c];
                let value = (f32::from(value) / 255.0 * 255.0 - mean[c]) * scale;
                for (k, sum) in sums.iter_mut().enumerate() {
                    *sum += f64::from(value * weight(k, c, y, x));
                }
            }
        }
    }
    sums.map(|s| s as f32)
}

fn near(got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len());
    for (g, w) in got.iter().zip(want) {
        assert!((g - w).abs() < 2e-3, "{got:?} is not {want:?}");
    }
}

fn npy(path: &Path) -> Tensor {
    npz::read_npy(&fs::read(path).unwrap()).unwrap()
}

const NET: &str = "--model_def deploy.prototxt --pretrained_model w.npz --mean_file mean.npy";

#[test]
fn a_script_for_classify_py_runs_and_averages_ten_crops() {
    let folder = folder();
    let at = folder.path();
    let (stdout, log) = done(
        at,
        &format!("classify a.png out.npy {NET} --images_dim 6,8"),
    );
    assert_eq!(stdout, "");
    assert!(
        log.contains("Classifying 1 inputs.") && log.contains("Saving results into out.npy"),
        "{log}"
    );
    let mut want = [0.0f32; 2];
    for (top, left) in [(0, 0), (0, 4), (2, 0), (2, 4), (1, 2)] {
        for mirror in [false, true] {
            let one = scores(top, left, mirror, 1.0);
            want.iter_mut().zip(one).for_each(|(w, s)| *w += s / 10.0);
        }
    }
    let out = npy(&at.join("out.npy"));
    assert_eq!(out.shape.dims(), [1, 2]);
    near(&out.data, &want);

    let line =
        format!("classify a.png out.npy {NET} --images_dim 6,8 --center_only --input_scale 0.5");
    done(at, &line);
    near(&npy(&at.join("out.npy")).data, &scores(1, 2, false, 0.5));
    // Without a swap and a scale, the numbers are from 0 to 1, red first.
    let line = "classify a.png out.npy --model_def deploy.prototxt --pretrained_model w.npz --mean_file '' --channel_swap '' --raw_scale 1 --images_dim 4,4 --center_only";
    done(at, line);
    assert!(npy(&at.join("out.npy")).data.iter().all(|v| v.abs() < 10.0));
    // To the default of 256 x 256 and back.
    done(at, &format!("classify a.png out.npy {NET}"));
}

#[test]
fn folders_and_arrays_go_in() {
    let folder = folder();
    let at = folder.path();
    let (_, log) = done(
        at,
        &format!("classify photos out.npy {NET} --images_dim 6,8 --center_only --ext png"),
    );
    assert!(
        log.contains("left out 2 files") && log.contains("c.jpg, notes.txt"),
        "{log}"
    );
    near(&npy(&at.join("out.npy")).data, &scores(1, 2, false, 1.0));
    done(
        at,
        &format!("classify photos out.npy {NET} --images_dim 6,8"),
    );
    assert_eq!(npy(&at.join("out.npy")).shape.dims(), [1, 2]);
    fails(
        at,
        &format!("classify photos out.npy {NET} --ext gif"),
        "no file in this folder ends in .gif",
    );
    // The array that caffe.io.load_image makes of the picture, twice.
    let one = (0..6).flat_map(|y| (0..8).flat_map(move |x| pixel(x, y)));
    let one: Vec<f32> = one.map(|v| f32::from(v) / 255.0).collect();
    let array = Tensor {
        shape: [2, 6, 8, 3].as_slice().into(),
        data: [one.clone(), one].concat(),
    };
    npz::write_npy(&at.join("in.npy"), &array).unwrap();
    done(
        at,
        &format!("classify in.npy out.npy {NET} --images_dim 6,8 --center_only"),
    );
    let out = npy(&at.join("out.npy"));
    near(&out.data[..2], &scores(1, 2, false, 1.0));
    assert_eq!(out.data[..2], out.data[2..]);
    let (stdout, _) = done(at, &format!("classify in.npy {NET} --images_dim 6,8"));
    assert_eq!(stdout.lines().count(), 6, "{stdout}");
    // In the usual form, the same options print labels.
    let (stdout, _) = done(
        at,
        &format!("classify a.png {NET} --oversample --images_dim 6,8 --top 1"),
    );
    assert_eq!(stdout.lines().count(), 2, "{stdout}");
}

#[test]
fn a_folder_tells_what_it_leaves_out() {
    let folder = folder();
    let line = "classify photos --model deploy.prototxt --weights w.npz --mean_value 104,117,123";
    let (_, log) = done(folder.path(), line);
    assert!(
        log.contains("photos: left out 1 file that are no pictures by their names: notes.txt"),
        "{log}"
    );
}

#[test]
fn wrong_settings_are_told() {
    let folder = folder();
    let at = folder.path();
    let base = "classify a.png out.npy --model_def deploy.prototxt --pretrained_model w.npz";
    for (more, words) in [
        ("--images_dim 3,8", "does not fit into pictures of 3 x 8"),
        (
            "--images_dim 3",
            "--images_dim: expected HEIGHT,WIDTH, found 1 numbers",
        ),
        (
            "--channel_swap 0,1",
            "--channel_swap: expected the numbers 0 to 2",
        ),
        (
            "--channel_swap red",
            "--channel_swap: expected numbers such as 2,1,0",
        ),
        ("--mean_file none.npy", "cannot read the mean"),
        ("--mean_file a.png", "not a binaryproto blob"),
    ] {
        fails(at, &format!("{base} {more}"), words);
    }
    fs::write(at.join("in.npy"), b"\x93NUMPY\x01\x00").unwrap();
    fails(
        at,
        &format!("classify in.npy out.npy {NET}"),
        "in.npy: no .npy header",
    );
}

#[test]
fn windows_of_a_list_get_scores() {
    let folder = folder();
    let at = folder.path();
    fs::write(
        at.join("w.csv"),
        "filename,xmin,ymin,xmax,ymax\na.png,2,1,6,5\nphotos/b.png,0,0,4,4\na.png,4,2,8,6\n",
    )
    .unwrap();
    let net = "--model_def deploy.prototxt --pretrained_model w.npz --mean_file mean.npy --crop_mode list";
    done(at, &format!("detect w.csv out.csv {net} --context_pad 0"));
    let text = fs::read_to_string(at.join("out.csv")).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().map(|l| l.split(',').collect()).collect();
    assert_eq!(
        rows[0],
        [
            "filename", "ymin", "xmin", "ymax", "xmax", "class0", "class1"
        ]
    );
    // By picture, in the order of the list.
    let places = [("a.png", 1, 2), ("a.png", 2, 4), ("photos/b.png", 0, 0)];
    assert_eq!(rows.len(), 4);
    for (row, (name, top, left)) in rows[1..].iter().zip(places) {
        assert_eq!(row[..3], [name, &top.to_string(), &left.to_string()]);
        let got: Vec<f32> = row[5..].iter().map(|v| v.parse().unwrap()).collect();
        near(&got, &scores(top, left, false, 1.0));
    }
    done(at, &format!("detect w.csv out.h5 {net} --context_pad 1"));
    let file = dsd::hdf5::File::open(&at.join("out.h5")).unwrap();
    assert_eq!(file.tensor("prediction").unwrap().shape.dims(), [3, 2]);
    assert_eq!(
        file.tensor("window").unwrap().data[..4],
        [1.0, 2.0, 5.0, 6.0]
    );
    fails(
        at,
        &format!("detect w.csv out.csv {net} --context_pad 2"),
        "--context_pad 2",
    );
    fails(
        at,
        "detect w.csv out.csv --weights w.npz --crop_mode selective_search",
        "MATLAB",
    );
    fails(
        at,
        &format!("detect w.csv out.txt {net}"),
        "must end in .csv or .h5",
    );
    fails(
        at,
        &format!("detect list.txt out.csv {net}"),
        "selective search",
    );
    fs::write(
        at.join("w.csv"),
        "filename,xmin,ymin,xmax,ymax\nnone.png,2,1,6,5\n",
    )
    .unwrap();
    fails(
        at,
        &format!("detect w.csv out.csv {net}"),
        "cannot read none.png",
    );
}
