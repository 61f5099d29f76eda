use super::*;
use crate::layers::Mode;
use crate::proto::{NetParameter, parse};
use crate::tensor::Tensor;
use image::{DynamicImage, GrayImage, RgbImage};
use std::fs;
use std::path::Path;
use std::path::PathBuf;

fn open_in(folder: &Path, seed: u64, text: &str) -> Result<Box<dyn Source>> {
    let text = format!(
        "layer {{ name: 'data' type: 'ImageData' top: 'x' top: 'l' image_data_param {{ {text} }} }}"
    );
    let net = parse::<NetParameter>(&text, "test").unwrap();
    crate::data::open(
        &net.message.layer[0],
        &Options {
            mode: Mode::Test,
            seed,
            source: None,
            resolve: &|name| files::resolve(name, folder),
            skip_bad: false,
            warn: &|line| panic!("warned: {line}"),
        },
    )
}

fn batch(source: &mut dyn Source, index: u64) -> Vec<Tensor> {
    let mut out: Vec<Tensor> = source.shapes().into_iter().map(Tensor::zeros).collect();
    source.read(index, &mut out).unwrap();
    out
}

/// `n` gray pictures of 2 x 3 in `p/`, picture i of value i, and their list.
fn gray(n: u8) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut list = String::new();
    fs::create_dir(folder.path().join("p")).unwrap();
    for i in 0..n {
        let picture = GrayImage::from_raw(3, 2, vec![i; 6]).unwrap();
        let name = format!("{i}.png");
        picture.save(folder.path().join("p").join(&name)).unwrap();
        list += &format!("{name} {}\n", 10 + i);
    }
    fs::write(folder.path().join("list.txt"), list).unwrap();
    folder
}

const GRAY: &str = "source: 'list.txt' root_folder: 'p/' is_color: false";

fn labels(source: &mut dyn Source, index: u64) -> Vec<f32> {
    let out = batch(source, index);
    // Pictures and labels go together.
    let firsts: Vec<f32> = out[0].data.chunks(6).map(|p| p[0] + 10.0).collect();
    assert_eq!(firsts, out[1].data);
    firsts
}

#[test]
fn batches_go_round_the_list() {
    let folder = gray(5);
    let mut source = open_in(folder.path(), 1, &format!("{GRAY} batch_size: 3")).unwrap();
    assert_eq!(source.shapes(), [Shape::new([3, 1, 2, 3]), Shape::new([3])]);
    assert_eq!(source.samples(), Some(5));
    assert_eq!(labels(&mut *source, 0), [10.0, 11.0, 12.0]);
    assert_eq!(labels(&mut *source, 1), [13.0, 14.0, 10.0]);
}

#[test]
fn a_shuffled_list_has_an_order_for_each_round() {
    let folder = gray(9);
    let text = format!("{GRAY} batch_size: 9 shuffle: true");
    let mut source = open_in(folder.path(), 1, &text).unwrap();
    let rounds: Vec<Vec<f32>> = (0..3).map(|i| labels(&mut *source, i)).collect();
    for round in &rounds {
        let mut sorted = round.clone();
        sorted.sort_by(f32::total_cmp);
        assert_eq!(sorted, (10..19).map(|i| i as f32).collect::<Vec<_>>());
    }
    assert!(rounds[0] != rounds[1] && rounds[1] != rounds[2]);
    // Counted: any batch can be read again, and another seed gives another order.
    assert_eq!(labels(&mut *source, 1), rounds[1]);
    let mut other = open_in(folder.path(), 2, &text).unwrap();
    assert_ne!(labels(&mut *other, 0), rounds[0]);
}

#[test]
fn a_random_skip_moves_the_start() {
    let folder = gray(9);
    let starts: Vec<f32> = (0..20)
        .map(|seed| {
            let text = format!("{GRAY} rand_skip: 4");
            labels(&mut *open_in(folder.path(), seed, &text).unwrap(), 0)[0]
        })
        .collect();
    assert!(
        starts.iter().all(|s| (10.0..14.0).contains(s)),
        "{starts:?}"
    );
    assert!(starts.iter().any(|s| *s != starts[0]));
}

#[test]
fn pictures_are_resized_and_folders_are_classes() {
    let folder = tempfile::tempdir().unwrap();
    for (class, value) in [("b", 20), ("a", 10)] {
        fs::create_dir(folder.path().join(class)).unwrap();
        let picture = RgbImage::from_fn(4, 6, |_, _| image::Rgb([value, value + 1, value + 2]));
        picture
            .save(folder.path().join(class).join("1.png"))
            .unwrap();
    }
    let text = format!(
        "source: '{}' batch_size: 2 new_height: 3 new_width: 5",
        folder.path().display()
    );
    let mut source = open_in(Path::new("/"), 1, &text).unwrap();
    let out = batch(&mut *source, 0);
    assert_eq!(out[0].shape, Shape::new([2, 3, 3, 5]));
    assert_eq!(out[1].data, [0.0, 1.0]);
    let planes: Vec<f32> = out[0].data.chunks(15).map(|p| p[7]).collect();
    assert_eq!(planes, [12.0, 11.0, 10.0, 22.0, 21.0, 20.0]);
}

#[test]
fn what_is_wrong_is_told() {
    let folder = gray(3);
    let error = |text: &str| match open_in(folder.path(), 1, text) {
        Ok(mut source) => {
            let mut out: Vec<Tensor> = source.shapes().into_iter().map(Tensor::zeros).collect();
            format!("{:#}", source.read(0, &mut out).unwrap_err())
        }
        Err(e) => format!("{e:#}"),
    };
    assert!(error("").contains("has no source"));
    assert!(error(&format!("{GRAY} batch_size: 0")).contains("batch_size 0"));
    assert!(error(&format!("{GRAY} new_height: 5")).contains("found 5 and 0"));
    assert!(error("source: 'none.txt'").contains("none.txt"));
    let path = folder.path().join("p/1.png");
    let batch = format!("{GRAY} batch_size: 3");
    DynamicImage::new_rgb8(4, 4).save(&path).unwrap();
    let e = error(&batch);
    assert!(
        e.contains("'1.png'") && e.contains("list.txt:2") && e.contains("1 x 4 x 4"),
        "{e}"
    );
    fs::write(&path, "no picture").unwrap();
    let e = error(&batch);
    assert!(
        e.contains("list.txt:2") && e.contains("cannot be decoded"),
        "{e}"
    );
    fs::remove_file(&path).unwrap();
    let e = error(&batch);
    assert!(e.contains("list.txt:2") && e.contains("cannot read"), "{e}");
    let none: PathBuf = folder.path().join("p");
    assert!(error(&format!("source: '{}'", none.display())).contains("has no pictures"));
}
