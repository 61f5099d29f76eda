use super::*;
use crate::hdf5::Writer;
use crate::layers::Mode;
use crate::proto::caffe::Hdf5DataParameter;

/// A folder with two files of 3 and 2 rows (values row × 10 + column, labels the row) and their list.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, rows) in [("a.h5", 0..3), ("b.h5", 3..5)] {
        let labels: Vec<f32> = rows.map(|r| r as f32).collect();
        let data: Vec<f32> = labels
            .iter()
            .flat_map(|r| [r * 10.0, r * 10.0 + 1.0])
            .collect();
        let mut file = Writer::new();
        file.floats("data", &[labels.len(), 1, 2], &data).unwrap();
        file.floats("label", &[labels.len()], &labels).unwrap();
        file.save(&folder.path().join(name)).unwrap();
    }
    std::fs::write(folder.path().join("list.txt"), "a.h5\n\nb.h5 \n").unwrap();
    folder
}

fn open(folder: &Path, source: &str, shuffle: bool, tops: &[&str]) -> Result<Hdf5Data> {
    let param = LayerParameter {
        name: Some("data".into()),
        r#type: Some("HDF5Data".into()),
        top: tops.iter().map(ToString::to_string).collect(),
        hdf5_data_param: Some(Hdf5DataParameter {
            source: Some(source.into()),
            batch_size: Some(4),
            shuffle: Some(shuffle),
        }),
        ..Default::default()
    };
    let options = Options {
        mode: Mode::Train,
        seed: 3,
        source: None,
        resolve: &|name| folder.join(name),
        skip_bad: false,
        warn: &|line| panic!("warned: {line}"),
    };
    Hdf5Data::open(&param, &options)
}

fn labels(source: &mut Hdf5Data, batches: impl IntoIterator<Item = u64>) -> Vec<f32> {
    let mut out: Vec<_> = source.shapes().into_iter().map(Tensor::zeros).collect();
    let mut labels = Vec::new();
    for index in batches {
        source.read(index, &mut out).unwrap();
        for (row, label) in out[0].data.chunks(2).zip(&out[1].data) {
            assert_eq!(row, [label * 10.0, label * 10.0 + 1.0]);
        }
        labels.extend_from_slice(&out[1].data);
    }
    labels
}

#[test]
fn rows_come_in_order_and_begin_again() {
    let folder = folder();
    let mut source = open(folder.path(), "list.txt", false, &["data", "label"]).unwrap();
    assert_eq!(source.samples(), Some(5));
    assert_eq!(source.shapes()[0].dims(), [4, 1, 2]);
    let run = labels(&mut source, 0..3);
    assert_eq!(run, [0., 1., 2., 3., 4., 0., 1., 2., 3., 4., 0., 1.]);
    assert_eq!(labels(&mut source, [1]), run[4..8]);
    let mut one = open(folder.path(), "b.h5", false, &["data", "label"]).unwrap();
    assert_eq!(labels(&mut one, [0]), [3., 4., 3., 4.]);
}

#[test]
fn a_shuffled_round_has_every_row_once_and_can_be_resumed() {
    let folder = folder();
    let mut source = open(folder.path(), "list.txt", true, &["data", "label"]).unwrap();
    let run = labels(&mut source, 0..25);
    let mut orders = std::collections::BTreeSet::new();
    for round in run.chunks(5) {
        let mut sorted = round.to_vec();
        sorted.sort_by(f32::total_cmp);
        assert_eq!(sorted, [0., 1., 2., 3., 4.]);
        orders.insert(format!("{round:?}"));
    }
    assert!(orders.len() > 3, "{orders:?}");
    let mut again = open(folder.path(), "list.txt", true, &["data", "label"]).unwrap();
    assert_eq!(labels(&mut again, [7]), run[28..32]);
}

#[test]
fn mistakes_are_named() {
    let folder = folder();
    let error = |source: &str, tops: &[&str]| {
        let error = open(folder.path(), source, false, tops).err().unwrap();
        format!("{error:#}")
    };
    let missing = error("list.txt", &["data", "labels"]);
    assert!(
        missing.ends_with("no dataset for top 'labels'; it has data, label"),
        "{missing}"
    );
    assert!(error("none.txt", &["data"]).contains("No such file"));
    std::fs::write(folder.path().join("empty.txt"), "\n").unwrap();
    assert!(error("empty.txt", &["data"]).contains("lists no HDF5 files"));
    std::fs::write(folder.path().join("odd.txt"), "list.txt").unwrap();
    assert!(error("odd.txt", &["data"]).contains("not an HDF5 file"));
    let mut file = Writer::new();
    file.floats("data", &[3, 1, 2], &[0.0; 6]).unwrap();
    file.floats("label", &[2], &[0.0; 2]).unwrap();
    file.save(&folder.path().join("uneven.h5")).unwrap();
    assert!(
        error("uneven.h5", &["data", "label"]).contains("'label' has 2 rows, but 'data' has 3")
    );
    let mut file = Writer::new();
    file.floats("data", &[3, 2], &[0.0; 6]).unwrap();
    file.save(&folder.path().join("other.h5")).unwrap();
    std::fs::write(folder.path().join("both.txt"), "a.h5\nother.h5").unwrap();
    assert!(error("both.txt", &["data"]).contains("does not go with"));
}
