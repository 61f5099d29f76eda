//! The layers HDF5Data and HDF5Output, and HDF5 files that others write.

use std::fs;

use dsd::hdf5::{File, Writer};

use crate::formats::{data, fail, run};

#[test]
fn files_of_h5py_are_read_in_all_their_forms() {
    for name in ["h5py.h5", "h5py_latest.h5"] {
        let file = File::open(&data(name)).unwrap();
        let wanted: Vec<f32> = (0..36).map(|i| i as f32 / 4.0 - 3.0).collect();
        for path in ["data", "half", "big"] {
            let array = file.tensor(path).unwrap();
            assert_eq!(array.shape.dims(), [6, 2, 3], "{name}: {path}");
            assert_eq!(array.data, wanted, "{name}: {path}");
        }
        let values = |path: &str| file.tensor(path).unwrap().data;
        assert_eq!(values("label"), [0., 1., 2., 3., 4., 5.]);
        assert_eq!(values("bytes"), [250., 251., 252., 253., 254., 255.]);
        for path in ["flags", "names"] {
            let error = file.tensor(path).unwrap_err().to_string();
            assert!(error.contains("must hold numbers"), "{error}");
        }
    }
}

const NET: &str = "layer { name: 'in' type: 'HDF5Data' top: 'data' top: 'label'
  hdf5_data_param { source: 'list.txt' batch_size: 4 } }
layer { name: 'twice' type: 'Eltwise' bottom: 'data' bottom: 'data' top: 'twice' }
layer { name: 'out' type: 'HDF5Output' bottom: 'twice' bottom: 'label'
  hdf5_output_param { file_name: 'out.h5' } }";

#[test]
fn rows_go_in_and_out() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("net.prototxt"), NET).unwrap();
    fs::write(at.join("list.txt"), "in.h5\n").unwrap();
    fs::write(at.join("in.h5"), fs::read(data("h5py.h5")).unwrap()).unwrap();
    let mut weights = Writer::new();
    weights.floats("data/none/0", &[1], &[0.0]).unwrap();
    weights.save(&at.join("w.h5")).unwrap();
    let args = ["test", "--model=net.prototxt", "--weights=w.h5"];
    run(at, &[&args[..], &["--iterations=2"]].concat());
    // The last batch: rows 4 and 5, then 0 and 1 again.
    let out = File::open(&at.join("out.h5")).unwrap();
    let rows = out.tensor("data").unwrap();
    assert_eq!(rows.shape.dims(), [4, 2, 3, 1]);
    let wanted = [4, 5, 0, 1].into_iter().flat_map(|r| r * 6..r * 6 + 6);
    let wanted: Vec<f32> = wanted.map(|i| (i as f32 / 4.0 - 3.0) * 2.0).collect();
    assert_eq!(rows.data, wanted);
    let labels = out.tensor("label").unwrap();
    assert_eq!(labels.shape.dims(), [4, 1, 1, 1]);
    assert_eq!(labels.data, [4., 5., 0., 1.]);

    fs::write(at.join("list.txt"), "in.h5\nmissing.h5\n").unwrap();
    let error = fail(at, &args);
    assert!(
        error.contains("layer 'in'") && error.contains("missing.h5"),
        "{error}"
    );
}
