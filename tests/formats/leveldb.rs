//! LevelDB databases, made by Caffe's convert_imageset.

use std::fs;
use std::path::Path;

use dsd::data::{Options, open};
use dsd::layers::Mode;
use dsd::proto::caffe::{DataParameter, LayerParameter, data_parameter::Db};
use dsd::tensor::Tensor;

use crate::formats::{data, fail, goldens, run};

/// All records of a database, in one batch, read three times over.
fn records(source: &Path, count: u32) -> Vec<Vec<Tensor>> {
    let param = LayerParameter {
        name: Some("data".into()),
        r#type: Some("Data".into()),
        top: vec!["data".into(), "label".into()],
        data_param: Some(DataParameter {
            source: Some(source.to_str().unwrap().into()),
            batch_size: Some(count),
            // Wrong for one of the two: the files tell.
            backend: Some(Db::Lmdb as i32),
            ..Default::default()
        }),
        ..Default::default()
    };
    let options = Options {
        mode: Mode::Test,
        seed: 0,
        source: None,
        resolve: &|name| name.into(),
        skip_bad: false,
        warn: &|line| panic!("warned: {line}"),
    };
    let mut source = open(&param, &options).unwrap();
    assert_eq!(source.samples(), Some(count.into()));
    let mut out: Vec<_> = source.shapes().into_iter().map(Tensor::zeros).collect();
    [0, 1, 0]
        .map(|index| {
            source.read(index, &mut out).unwrap();
            out.clone()
        })
        .to_vec()
}

#[test]
fn caffes_leveldbs_hold_the_records_of_its_lmdbs() {
    let Some(folder) = goldens("") else { return };
    for (leveldb, lmdb, count) in [
        ("formats/lmdb8_leveldb", "squeezenet/lmdb8", 8),
        ("solvers/tiny_leveldb", "solvers/tiny_lmdb", 40),
    ] {
        let names = || {
            let mut names: Vec<_> = fs::read_dir(folder.join(leveldb))
                .unwrap()
                .map(|e| e.unwrap().file_name())
                .collect();
            names.sort();
            names
        };
        let before = names();
        let read = records(&folder.join(leveldb), count);
        assert_eq!(read, records(&folder.join(lmdb), count), "{leveldb}");
        assert_eq!(names(), before, "{leveldb} was written to");
    }
}

const NET: &str = "layer { name: 'data' type: 'Data' top: 'data' top: 'label'
  data_param { source: 'db' batch_size: 13 backend: LEVELDB } }
layer { name: 'ip' type: 'InnerProduct' bottom: 'data' top: 'ip'
  inner_product_param { num_output: 200 weight_filler { type: 'xavier' } } }
layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'ip' bottom: 'label' top: 'loss' }";

#[test]
fn a_net_trains_on_a_leveldb() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("net.prototxt"), NET).unwrap();
    let solver = "net: 'net.prototxt' base_lr: 1e-5 lr_policy: 'fixed' max_iter: 4";
    fs::write(at.join("solver.prototxt"), solver).unwrap();
    crate::formats::copy(&data(""), &["leveldb"], at);
    fs::rename(at.join("leveldb"), at.join("db")).unwrap();
    let log = run(at, &["train", "--solver=solver.prototxt"]);
    assert!(log.contains("Optimization Done."), "{log}");

    fs::remove_file(at.join("db/CURRENT")).unwrap();
    let error = fail(at, &["train", "--solver=solver.prototxt"]);
    assert!(
        error.contains("layer 'data'") && error.contains("CURRENT is missing"),
        "{error}"
    );
    fs::remove_dir_all(at.join("db")).unwrap();
    fs::create_dir(at.join("db")).unwrap();
    let error = fail(at, &["train", "--solver=solver.prototxt"]);
    assert!(error.contains("neither a LevelDB"), "{error}");
}
