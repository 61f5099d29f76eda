use std::cell::RefCell;
use std::path::{Path, PathBuf};

use prost::Message;

use super::super::lmdb::tests::{database, write};
use super::*;
use crate::layers::Mode;
use crate::proto::caffe::{DataParameter, LabelNoise, TransformationParameter, data_parameter::Db};
use crate::tensor::Tensor;

fn layer(source: &Path, batch: u32, tops: &[&str]) -> LayerParameter {
    LayerParameter {
        name: Some("data".into()),
        r#type: Some("Data".into()),
        top: tops.iter().map(|t| t.to_string()).collect(),
        data_param: Some(DataParameter {
            source: Some(source.to_str().unwrap().into()),
            batch_size: Some(batch),
            backend: Some(Db::Lmdb as i32),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn open_as(
    param: &LayerParameter,
    source: Option<&str>,
    warn: &dyn Fn(&str),
) -> Result<Box<dyn Source>> {
    open_skipping(param, source, warn, false)
}

fn open_skipping(
    param: &LayerParameter,
    source: Option<&str>,
    warn: &dyn Fn(&str),
    skip_bad: bool,
) -> Result<Box<dyn Source>> {
    let resolve = |name: &str| PathBuf::from(name);
    let source = source.map(str::to_string);
    super::super::open(
        param,
        &Options {
            mode: Mode::Train,
            seed: 1,
            source,
            resolve: &resolve,
            skip_bad,
            warn,
        },
    )
}

fn open(param: &LayerParameter) -> Result<Box<dyn Source>> {
    open_as(param, None, &|line| panic!("warned: {line}"))
}

fn error(param: &LayerParameter) -> String {
    format!("{:#}", open(param).err().unwrap())
}

fn batch(source: &mut dyn Source, index: u64) -> Result<Vec<Tensor>> {
    let mut out: Vec<_> = source.shapes().into_iter().map(Tensor::zeros).collect();
    source.read(index, &mut out).map(|()| out)
}

#[test]
fn batches_go_round_the_data() {
    let dir = database(5);
    for size in [3, 12] {
        let mut source = open(&layer(dir.path(), size, &["data", "label"])).unwrap();
        assert_eq!(source.samples(), Some(5));
        assert_eq!(
            source.shapes(),
            [
                Shape::new([size as usize, 1, 1, 2]),
                Shape::new([size as usize])
            ]
        );
        for index in [0, 1, 2, 3, 17, 4] {
            let out = batch(&mut *source, index).unwrap();
            let wanted: Vec<f32> = (0..size)
                .map(|i| ((index as u32 * size + i) % 5) as f32)
                .collect();
            assert_eq!(out[1].data, wanted);
            let pixels: Vec<f32> = wanted.iter().flat_map(|&i| [i, i * i]).collect();
            assert_eq!(out[0].data, pixels);
        }
    }
    let mut one = open(&layer(dir.path(), 2, &["data"])).unwrap();
    assert_eq!(one.shapes(), [Shape::new([2, 1, 1, 2])]);
    assert_eq!(batch(&mut *one, 0).unwrap()[0].data, [0.0, 0.0, 1.0, 1.0]);
}

#[test]
fn the_embedded_digits_are_a_source() {
    let mut param = layer(Path::new("builtin:digits_test"), 360, &["data", "label"]);
    param.transform_param = Some(TransformationParameter {
        scale: Some(0.0625),
        ..Default::default()
    });
    let mut source = open(&param).unwrap();
    assert_eq!(source.shapes()[0], Shape::new([360, 1, 8, 8]));
    let out = batch(&mut *source, 0).unwrap();
    assert!(out[0].data.iter().all(|v| (0.0..=1.0).contains(v)) && out[0].data.contains(&1.0));
    let train = open_as(&param, Some("builtin:digits_train"), &|_| {}).unwrap();
    assert_eq!(train.samples(), Some(1437));
}

#[test]
fn random_crops_follow_from_the_number_of_the_picture() {
    let mut param = layer(Path::new("builtin:digits_train"), 20, &["data"]);
    let crop = TransformationParameter {
        crop_size: Some(5),
        mirror: Some(true),
        ..Default::default()
    };
    param.transform_param = Some(crop);
    let (mut a, mut b) = (open(&param).unwrap(), open(&param).unwrap());
    for index in 0..4 {
        batch(&mut *a, index).unwrap();
    }
    assert_eq!(batch(&mut *a, 4).unwrap(), batch(&mut *b, 4).unwrap());
}

#[test]
fn the_next_good_record_takes_the_place_of_a_bad_one() {
    let record = |i: i32, width: i32| {
        let datum = Datum {
            channels: Some(1),
            height: Some(1),
            width: Some(width),
            data: Some(vec![i as u8; width as usize]),
            label: Some(i),
            ..Datum::default()
        };
        datum.encode_to_vec()
    };
    let dir = tempfile::tempdir().unwrap();
    // Two that are none, and one of another size.
    let records = [
        ("0", record(0, 2)),
        ("1", record(1, 2)),
        ("2", vec![0xff; 9]),
        ("3", vec![0xff; 9]),
        ("4", record(4, 2)),
        ("5", record(5, 3)),
    ];
    write(dir.path(), &records);
    let param = layer(dir.path(), 4, &["data", "label"]);
    let fails = batch(&mut *open(&param).unwrap(), 0).unwrap_err();
    assert!(format!("{fails:#}").contains("record '2'"), "{fails:#}");
    let open = || open_skipping(&param, None, &|_| {}, true).unwrap();
    let mut source = open();
    let labels = |source: &mut dyn Source, k| batch(source, k).unwrap()[1].data.clone();
    assert_eq!(labels(&mut *source, 0), [0.0, 1.0, 4.0, 4.0]);
    assert_eq!(labels(&mut *source, 1), [4.0, 0.0, 0.0, 1.0]);
    // A run that goes on there sees the same.
    assert_eq!(labels(&mut *open(), 1), [4.0, 0.0, 0.0, 1.0]);
    // The first record's fault is no reason to stop, either.
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        &[
            ("0", vec![0xff; 9]),
            ("1", record(1, 2)),
            ("2", record(2, 2)),
        ],
    );
    let param = layer(dir.path(), 3, &["data", "label"]);
    let mut source = open_skipping(&param, None, &|_| {}, true).unwrap();
    assert_eq!(labels(&mut *source, 0), [1.0, 1.0, 2.0]);
}

#[test]
fn wrong_parameters_are_told() {
    let dir = database(2);
    let shown = dir.path().display().to_string();
    assert!(error(&layer(dir.path(), 0, &["data"])).contains("batch_size"));
    assert!(error(&layer(dir.path(), 1, &["a", "b", "c"])).contains("expected 1 top (data) or 2"));
    assert!(error(&layer(Path::new(""), 1, &["a"])).contains("has no source"));
    let absent = dir.path().join("absent");
    let wanted = format!(
        "cannot open the database {}: No such file or directory",
        absent.display()
    );
    assert_eq!(error(&layer(&absent, 1, &["data"])), wanted);
    let other = LayerParameter {
        r#type: Some("SoundData".into()),
        ..layer(dir.path(), 1, &["data"])
    };
    assert!(error(&other).contains("'SoundData'"));

    let level = tempfile::tempdir().unwrap();
    let mut param = layer(level.path(), 1, &["data"]);
    param.data_param.as_mut().unwrap().backend = Some(Db::Leveldb as i32);
    assert!(error(&param).contains("is no database: neither"));
    std::fs::write(level.path().join("CURRENT"), "MANIFEST-000002\n").unwrap();
    assert!(
        error(&param).contains("MANIFEST-000002"),
        "{}",
        error(&param)
    );

    let mut param = layer(dir.path(), 1, &["data"]);
    param.transform_param = Some(TransformationParameter {
        crop_size: Some(2),
        ..Default::default()
    });
    let wanted = format!(
        "record '00000000' of {shown}: crop_size 2 does not fit into the picture, 1 x 1 x 2 (channels, height, width)"
    );
    assert_eq!(error(&param), wanted);
}

#[test]
fn what_has_no_effect_is_warned_of() {
    let dir = database(2);
    let mut param = layer(dir.path(), 1, &["data"]);
    param.data_param.as_mut().unwrap().rand_skip = Some(3);
    param.transform_param = Some(TransformationParameter {
        force_gray: Some(true),
        ..Default::default()
    });
    let warnings = RefCell::new(Vec::new());
    open_as(&param, None, &|line| {
        warnings.borrow_mut().push(line.to_string())
    })
    .unwrap();
    let warnings = warnings.into_inner();
    assert!(
        warnings[0].contains("rand_skip") && warnings[1].contains("force_gray"),
        "{warnings:?}"
    );
}

#[test]
fn a_record_unlike_the_first_names_its_key_unless_cropped_alike() {
    let dir = tempfile::tempdir().unwrap();
    let datum = |h: i32, bytes: usize| {
        let data = Some(vec![9; bytes]);
        let datum = Datum {
            channels: Some(1),
            height: Some(h),
            width: Some(2),
            data,
            ..Datum::default()
        };
        datum.encode_to_vec()
    };
    write(
        dir.path(),
        &[("a", datum(2, 4)), ("b", datum(3, 6)), ("c", datum(2, 5))],
    );
    let shown = dir.path().display();
    let mut source = open(&layer(dir.path(), 1, &["data"])).unwrap();
    let error = |source: &mut dyn Source, index| format!("{:#}", batch(source, index).unwrap_err());
    let wanted = "expected 1 x 2 x 2 (channels, height, width) like the first record of its batch, found 1 x 3 x 2; only batch_size 1 takes pictures of different sizes";
    // Alone it is a batch of its own shape.
    assert_eq!(
        batch(&mut *source, 1).unwrap()[0].shape,
        Shape::new([1, 1, 3, 2])
    );
    let mut pairs = open(&layer(dir.path(), 2, &["data"])).unwrap();
    assert_eq!(
        error(&mut *pairs, 0),
        format!("record 'b' of {shown}: {wanted}")
    );
    let wanted = "expected 4 bytes in data for 1 x 2 x 2 (channels, height, width), found 5";
    assert_eq!(
        error(&mut *source, 2),
        format!("record 'c' of {shown}: {wanted}")
    );

    let mut param = layer(dir.path(), 2, &["data"]);
    param.transform_param = Some(TransformationParameter {
        crop_size: Some(2),
        ..Default::default()
    });
    assert_eq!(
        batch(&mut *open(&param).unwrap(), 0).unwrap()[0].data,
        [9.0; 8]
    );
}

#[test]
fn a_part_of_the_records_is_read_round_and_round() {
    let dir = database(5);
    let mut param = layer(dir.path(), 4, &["data", "label"]);
    let data = param.data_param.as_mut().unwrap();
    (data.first_record, data.records) = (Some(1), Some(3));
    let mut source = open(&param).unwrap();
    assert_eq!(source.samples(), Some(3));
    let labels = |source: &mut dyn Source, i| batch(source, i).unwrap()[1].data.clone();
    assert_eq!(labels(&mut *source, 0), [1.0, 2.0, 3.0, 1.0]);
    assert_eq!(labels(&mut *source, 1), [2.0, 3.0, 1.0, 2.0]);
    let data = param.data_param.as_mut().unwrap();
    data.records = None;
    assert_eq!(open(&param).unwrap().samples(), Some(4));
    let data = param.data_param.as_mut().unwrap();
    data.records = Some(5);
    let text = error(&param);
    assert!(
        text.contains("5 records from number 1 on") && text.contains("at most 4"),
        "{text}"
    );
    let data = param.data_param.as_mut().unwrap();
    data.first_record = Some(5);
    let text = error(&param);
    assert!(
        text.contains("first_record is 5") && text.contains("has 5 records"),
        "{text}"
    );
}

#[test]
fn wrong_labels_are_other_classes_and_the_same_in_every_run() {
    let dir = database(5);
    let mut param = layer(dir.path(), 5, &["data", "label"]);
    let data = param.data_param.as_mut().unwrap();
    let mut labels = |fraction: f32, classes: u32| {
        data.label_noise = Some(LabelNoise {
            fraction: Some(fraction),
            classes: Some(classes),
            seed: None,
        });
        let param = LayerParameter {
            data_param: Some(data.clone()),
            ..layer(dir.path(), 5, &["data", "label"])
        };
        open(&param).and_then(|mut source| Ok(batch(&mut *source, 0)?[1].data.clone()))
    };
    assert_eq!(labels(0.0, 5).unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0]);
    let wrong = labels(1.0, 5).unwrap();
    assert!(
        wrong
            .iter()
            .enumerate()
            .all(|(i, l)| *l != i as f32 && *l < 5.0),
        "{wrong:?}"
    );
    assert_eq!(labels(1.0, 5).unwrap(), wrong);
    for (fraction, classes, words) in [
        (1.5, 5, "[0, 1]"),
        (0.2, 1, "at least 2"),
        (0.2, 3, "classes is 3"),
    ] {
        let text = format!("{:#}", labels(fraction, classes).unwrap_err());
        assert!(text.contains(words), "{text}");
    }
}
