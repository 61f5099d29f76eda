use super::super::datum::{self, Channels};
use super::super::encode::{Format, encode};
use super::super::transform::Transform;
use super::super::writer::DatabaseWriter;
use super::super::{Options, open};
use super::*;
use crate::feed::Feed;
use crate::layers::Mode;
use crate::proto::caffe::{Datum, LayerParameter, NetParameter, data_parameter::Db};
use crate::proto::parse;
use crate::random::{Purpose, Random};
use prost::Message;
use rayon::ThreadPoolBuilder;
use std::path::{Path, PathBuf};

const RECORDS: u64 = 23;
const BATCH: u64 = 7;
const SIZE: [usize; 3] = [3, 20, 24];

/// A record with a JPEG, other for every number.
fn record(number: u64) -> Datum {
    let random = Random::new(number, Purpose::Transform, 7);
    let pixels: Vec<u8> = (0..SIZE.iter().product::<usize>())
        .map(|i| (i as u64 * number) as u8 / 2 + random.below(i as u64, 90) as u8)
        .collect();
    Datum {
        encoded: Some(true),
        label: Some(number as i32 % 5),
        data: Some(encode(&pixels, SIZE, Format::Jpeg).unwrap()),
        ..Datum::default()
    }
}

fn database(kind: Db, records: &[Datum]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = DatabaseWriter::create(&folder.path().join("db"), kind).unwrap();
    for (i, record) in records.iter().enumerate() {
        let key = format!("{i:08}");
        writer.put(key.as_bytes(), record.encode_to_vec()).unwrap();
    }
    writer.finish().unwrap();
    folder
}

fn layer(folder: &Path, transform: &str) -> LayerParameter {
    let text = format!(
        "layer {{ name: 'd' type: 'Data' top: 'x' top: 't' transform_param {{ {transform} }} data_param {{ \
         source: '{}' batch_size: {BATCH} }} }}",
        folder.join("db").display()
    );
    parse::<NetParameter>(&text, "test").unwrap().message.layer[0].clone()
}

fn options(resolve: &dyn Fn(&str) -> PathBuf) -> Options<'_> {
    Options {
        mode: Mode::Train,
        seed: 5,
        source: None,
        resolve,
        skip_bad: false,
        warn: &|line| panic!("warned: {line}"),
    }
}

/// Batches of the layer, read by so many threads.
fn batches(param: &LayerParameter, threads: usize) -> Batches {
    let source = open(param, &options(&|name| name.into())).unwrap();
    let pool = ThreadPoolBuilder::new().num_threads(threads).build();
    pool.unwrap().install(|| Batches::new(source, 0))
}

/// The same batch by one loop: a record, its picture, the transform.
fn twin(param: &LayerParameter, records: &[Datum], index: u64) -> [Vec<f32>; 2] {
    let resolve = |name: &str| PathBuf::from(name);
    let random = options(&resolve).random(param.name());
    let transform = param.transform_param.clone().unwrap();
    let transform = Transform::new(&transform, Mode::Train, random, &resolve).unwrap();
    let (mut data, mut labels) = (Vec::new(), Vec::new());
    for number in index * BATCH..(index + 1) * BATCH {
        let record = &records[(number % records.len() as u64) as usize];
        let mut decoded = Vec::new();
        let picture = datum::picture(record, Channels::AsStored, &mut decoded).unwrap();
        let count = transform.output(picture.dims).unwrap().iter().product();
        let mut out = vec![0.0; count];
        transform.apply(&picture, number, &mut out).unwrap();
        data.extend(out);
        labels.push(record.label() as f32);
    }
    [data, labels]
}

const TRANSFORMS: [&str; 2] = [
    "crop_size: 13 mirror: true scale: 0.25 mean_value: 100 mean_value: 110 mean_value: 120",
    "mirror: true distort_param { brightness_prob: 1 brightness_delta: 30 hue_prob: 1 hue_delta: 9 } \
     resize_param { prob: 1 resize_mode: WARP height: 9 width: 11 interp_mode: LINEAR interp_mode: CUBIC }",
];

#[test]
fn batches_are_the_twins_to_the_bit_for_any_number_of_threads() {
    let records: Vec<Datum> = (0..RECORDS).map(record).collect();
    for kind in [Db::Lmdb, Db::Leveldb] {
        let folder = database(kind, &records);
        for transform in TRANSFORMS {
            let param = layer(folder.path(), transform);
            for threads in [1, 2, 3, 7] {
                let mut batches = batches(&param, threads);
                for index in [0, 1, 2, 3, 4, 5, 9, 10, 2] {
                    batches.seek(index);
                    let arrays = batches.next_batch().unwrap();
                    let [data, labels] = twin(&param, &records, index);
                    assert_eq!(arrays[0].data, data, "{kind:?}, {threads}, batch {index}");
                    assert_eq!(arrays[1].data, labels);
                    batches.recycle(arrays);
                }
            }
        }
    }
}

#[test]
fn any_thread_writes_any_rows() {
    let records: Vec<Datum> = (0..RECORDS).map(record).collect();
    let folder = database(Db::Lmdb, &records);
    let param = layer(folder.path(), TRANSFORMS[0]);
    let mut batches = batches(&param, 2);
    for index in 0..3 {
        let batch = batches.take().unwrap();
        assert_eq!(batch.shapes()[0].dims(), [BATCH as usize, 3, 13, 13]);
        let [data, labels] = twin(&param, &records, index);
        let each = 3 * 13 * 13;
        let mut out = vec![f32::NAN; data.len()];
        // Rows 0 to 2 and 3 to 6, by two threads at once.
        let (low, high) = out.split_at_mut(3 * each);
        std::thread::scope(|s| {
            s.spawn(|| batch.rows(0, 0..3, low));
            s.spawn(|| batch.rows(0, 3..7, high));
        });
        assert_eq!(out, data);
        let mut own = [0.0; 2];
        batch.rows(1, 4..6, &mut own);
        assert_eq!(own, labels[4..6]);
        assert_eq!(batches.one_class_in(&batch), None);
        assert_eq!(batch.floats(1).unwrap().data, labels);
        assert!(batch.floats(0).is_none());
        batches.give_back(batch);
    }
}

#[test]
fn batches_wait_as_bytes() {
    let records: Vec<Datum> = (0..RECORDS).map(record).collect();
    let folder = database(Db::Lmdb, &records);
    let param = layer(folder.path(), "");
    let mut batches = batches(&param, 1);
    let bytes = BATCH as usize * (SIZE.iter().product::<usize>() + 4);
    assert_eq!(batches.queue_bytes() % bytes as u128, 0);
    for _ in 0..9 {
        let batch = batches.take().unwrap();
        assert!(
            (bytes..bytes + 200).contains(&batch.bytes()),
            "{}",
            batch.bytes()
        );
        batches.give_back(batch);
    }
}

/// Records that are not encoded come to their places without a copy, also where encoded ones come in between.
#[test]
fn records_of_all_kinds_may_follow_each_other() {
    let mut records: Vec<Datum> = (0..RECORDS).map(record).collect();
    let count = SIZE.iter().product::<usize>();
    let raw = |record: &mut Datum| {
        [record.channels, record.height, record.width] = SIZE.map(|d| Some(d as i32));
        record.encoded = None;
    };
    for i in [1, 2, 5, 11] {
        raw(&mut records[i]);
        records[i].data = Some((0..count).map(|k| (k * i) as u8).collect());
    }
    for i in [3, 12, 13] {
        raw(&mut records[i]);
        records[i].data = None;
        records[i].float_data = (0..count).map(|k| k as f32 / 7.0 - i as f32).collect();
    }
    let folder = database(Db::Leveldb, &records);
    let param = layer(folder.path(), TRANSFORMS[0]);
    let mut batches = batches(&param, 3);
    for index in 0..20 {
        let arrays = batches.next_batch().unwrap();
        assert_eq!(
            arrays[0].data,
            twin(&param, &records, index)[0],
            "batch {index}"
        );
        batches.recycle(arrays);
    }
}

#[test]
fn the_first_bad_record_in_order_is_named() {
    let mut records: Vec<Datum> = (0..RECORDS).map(record).collect();
    for i in [11, 12] {
        records[i].data.as_mut().unwrap().truncate(90);
    }
    for wrong_size in [false, true] {
        if wrong_size {
            let small = encode(&[9; 300], [3, 10, 10], Format::Jpeg).unwrap();
            records[9].data = Some(small);
        }
        for kind in [Db::Lmdb, Db::Leveldb] {
            let folder = database(kind, &records);
            let param = layer(folder.path(), "");
            for threads in [1, 2, 3, 7] {
                let mut batches = batches(&param, threads);
                batches.next_batch().unwrap();
                for _ in 0..2 {
                    let told = format!("{:#}", batches.next_batch().unwrap_err());
                    let head = match wrong_size {
                        false => "record '00000011' of ",
                        true => "record '00000009' of ",
                    };
                    assert!(told.starts_with(head), "{threads}: {told}");
                    let why = match wrong_size {
                        false => "its picture cannot be decoded: broken JPEG",
                        true => "found 3 x 10 x 10; only batch_size 1",
                    };
                    assert!(told.contains(why), "{threads}: {told}");
                }
                // What follows can be read.
                batches.seek(2);
                batches.next_batch().unwrap();
            }
        }
    }
}

#[test]
fn reading_goes_on_while_others_hold_all_threads_of_the_pool() {
    let records: Vec<Datum> = (0..RECORDS).map(record).collect();
    let folder = database(Db::Lmdb, &records);
    let param = layer(folder.path(), TRANSFORMS[0]);
    let pool = ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let source = open(&param, &options(&|name| name.into())).unwrap();
    let mut batches = pool.install(|| Batches::new(source, 0));
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    pool.in_place_scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|_| _ = held.lock().unwrap().recv());
        }
        for _ in 0..8 {
            let batch = batches.take().unwrap();
            batches.give_back(batch);
        }
        drop(release);
    });
}

#[test]
fn resting_keeps_the_place() {
    let records: Vec<Datum> = (0..RECORDS).map(record).collect();
    let folder = database(Db::Lmdb, &records);
    let param = layer(folder.path(), TRANSFORMS[0]);
    let mut batches = batches(&param, 2);
    for test in 0..4 {
        batches.expect(2);
        for index in 2 * test..2 * test + 2 {
            let arrays = batches.next_batch().unwrap();
            assert_eq!(arrays[0].data, twin(&param, &records, index)[0]);
            batches.recycle(arrays);
        }
        batches.rest();
        assert!(batches.spare.is_none());
    }
}
