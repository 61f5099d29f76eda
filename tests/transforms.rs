//! What Caffe's Data layer puts out, number by number: ../shared/goldens/transforms, made by Caffe 1.0.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use dsd::data::{Options, Source, datum, open};
use dsd::layers::Mode;
use dsd::proto::caffe::{
    DataParameter, LayerParameter, TransformationParameter, data_parameter::Db,
};
use dsd::tensor::Tensor;

/// The folder of goldens, if it is there.
fn goldens() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/goldens");
    if !folder.is_dir() {
        eprintln!("skipped: there is no {}", folder.display());
        return None;
    }
    Some(folder)
}

fn layer(
    source: &Path,
    backend: Db,
    transform: TransformationParameter,
    batch: u32,
) -> LayerParameter {
    LayerParameter {
        name: Some("data".into()),
        r#type: Some("Data".into()),
        top: vec!["data".into(), "label".into()],
        transform_param: Some(transform),
        data_param: Some(DataParameter {
            source: Some(source.to_str().unwrap().into()),
            batch_size: Some(batch),
            backend: Some(backend as i32),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn source(folder: &Path, param: &LayerParameter) -> anyhow::Result<Box<dyn Source>> {
    let options = Options {
        mode: Mode::Test,
        seed: 0,
        source: None,
        resolve: &|name| folder.join(name),
        skip_bad: false,
        warn: &|line| panic!("warned: {line}"),
    };
    open(param, &options)
}

fn batch(source: &mut dyn Source) -> Vec<Tensor> {
    let mut out: Vec<_> = source.shapes().into_iter().map(Tensor::zeros).collect();
    source.read(0, &mut out).unwrap();
    out
}

#[test]
fn every_case_gives_caffes_numbers() {
    let Some(goldens) = goldens() else { return };
    let folder = goldens.join("transforms");
    let cases = File::open(folder.join("cases.json")).unwrap();
    let cases: serde_json::Value = serde_json::from_reader(cases).unwrap();
    let arrays = dsd::npz::read(&folder.join("transforms.npz")).unwrap();
    for (name, case) in cases.as_object().unwrap() {
        let text = case["transform_param"].as_str().unwrap();
        let text = format!("layer {{ name: 'data' type: 'Data' transform_param {{ {text} }} }}");
        let net = dsd::proto::parse::<dsd::proto::NetParameter>(&text, name).unwrap();
        let transform = net.message.layer[0].transform_param.clone().unwrap();
        assert_eq!(case["phase"], "TEST");
        assert_eq!(case["batch_size"], 4);
        let backend = Db::from_str_name(case["backend"].as_str().unwrap()).unwrap();
        let path = Path::new(case["source"].as_str().unwrap());
        let opened = source(&folder, &layer(path, backend, transform, 4));
        let out = batch(&mut *opened.unwrap());
        assert!(
            arrays[&format!("{name}/data")] == out[0],
            "{name}: other pixels"
        );
        assert_eq!(arrays[&format!("{name}/label")], out[1], "{name}");
    }
}

/// Caffe's `convert_imageset -gray` made `tiny_gray_lmdb` from the very pictures of `png40`.
#[test]
fn gray_is_opencvs() {
    let Some(goldens) = goldens() else { return };
    let formats = goldens.join("formats");
    let list = std::fs::read_to_string(formats.join("png40/list.txt")).unwrap();
    let plain = TransformationParameter::default();
    let param = layer(&formats.join("tiny_gray_lmdb"), Db::Lmdb, plain, 40);
    let out = batch(&mut *source(&formats, &param).unwrap());
    for (line, gray) in list.lines().zip(out[0].data.chunks(144)) {
        let (file, _) = line.rsplit_once(' ').unwrap();
        let file = std::fs::read(formats.join("png40").join(file)).unwrap();
        let mut pixels = Vec::new();
        let dims = datum::decode_picture(&file, datum::Channels::Gray, &mut pixels).unwrap();
        assert_eq!(dims, [1, 12, 12]);
        let pixels: Vec<f32> = pixels.into_iter().map(f32::from).collect();
        assert_eq!(pixels, gray, "{line}");
    }
}

/// Reads and crops photographs; prints how long one takes at best.
#[test]
fn pictures_are_read_fast() {
    let Some(goldens) = goldens() else { return };
    let transform = TransformationParameter {
        crop_size: Some(227),
        mean_value: vec![104.0, 117.0, 123.0],
        ..Default::default()
    };
    let param = layer(&goldens.join("squeezenet/lmdb8"), Db::Lmdb, transform, 8);
    let mut source = source(&goldens, &param).unwrap();
    let mut out: Vec<_> = source.shapes().into_iter().map(Tensor::zeros).collect();
    let times = (0..50).map(|index| {
        let begin = Instant::now();
        source.read(index, &mut out).unwrap();
        begin.elapsed() / 8
    });
    let best = times.min().unwrap();
    println!("256 x 256 read and cropped to 227: {best:?} a picture");
    // An allowance for a busy machine: it takes 0.1 ms.
    assert!(best.as_millis() < 5, "{best:?}");
}
