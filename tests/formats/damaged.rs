//! Damaged files of every kind: one clear error that names the file, and never a panic.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use dsd::hdf5::{File, Writer};
use dsd::proto::{binary, blob, load_net, load_weights};
use dsd::solver::snapshot::{self, Format, Own, State};
use dsd::weights_file;

use crate::formats::{data, fail};

fn weights(path: &Path) -> Result<()> {
    let stored = weights_file::read_named(path, &fs::read(path)?)?;
    ensure!(stored.layers.len() < 1000, "{}", path.display());
    Ok(())
}

fn all_of_hdf5(path: &Path) -> Result<()> {
    let file = File::open(path)?;
    for name in file.list("")? {
        // Strings and bools are no numbers.
        if !matches!(&*name, "flags" | "names") {
            file.tensor(&name)?;
        }
    }
    Ok(())
}

fn state(format: Format, path: &Path) {
    let mut state = State {
        iter: 3,
        learned_net: "w.caffemodel".into(),
        own: Some(Own::default()),
        ..State::default()
    };
    let shape = vec![2usize, 3].into();
    let data = vec![1.0; 6];
    state.history.push(dsd::tensor::Tensor { shape, data });
    snapshot::write(path, format, state).unwrap();
}

type Read = fn(&Path) -> Result<()>;

#[test]
fn truncated_and_changed_files_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    state(Format::Binary, &at.join("state"));
    state(Format::Hdf5, &at.join("state.h5"));
    let mut net = Writer::new();
    net.floats("data/conv/0", &[2, 2], &[1.0; 4]).unwrap();
    net.save(&at.join("weights.h5")).unwrap();
    let read_state: Read = |path| snapshot::read(path).map(drop);
    let kinds: [(PathBuf, Read); 9] = [
        (data("tiny_v0.caffemodel"), |p| load_weights(p).map(drop)),
        (data("tiny_v1.prototxt"), |p| load_net(p).map(drop)),
        (data("tiny_v1_upgraded.caffemodel"), weights),
        (data("tiny_mean.binaryproto"), |p| {
            blob::values(&binary::read_blob(p)?).map(drop)
        }),
        (data("h5py.h5"), all_of_hdf5),
        (data("h5py_latest.h5"), all_of_hdf5),
        (at.join("state"), read_state),
        (at.join("state.h5"), read_state),
        (at.join("weights.h5"), weights),
    ];
    for (path, read) in kinds {
        read(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        let bytes = fs::read(&path).unwrap();
        let odd = at.join(format!("odd_{name}"));
        let step = bytes.len().div_ceil(97);
        for cut in (0..bytes.len()).step_by(step) {
            fs::write(&odd, &bytes[..cut]).unwrap();
            let result = read(&odd);
            // A text, and a message without its last field, may be whole.
            let may_end = name.ends_with("prototxt") || name == "state";
            assert!(
                result.is_err() || may_end,
                "{name} cut at {cut} of {}",
                bytes.len()
            );
        }
        for at in (0..bytes.len()).step_by(bytes.len().div_ceil(499)) {
            for value in [0, 0x7f, 0xff, bytes[at] ^ 0x10] {
                let mut changed = bytes.clone();
                changed[at] = value;
                fs::write(&odd, &changed).unwrap();
                let _ = read(&odd);
            }
        }
    }
}

#[test]
fn each_kind_of_mistake_has_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    state(Format::Hdf5, &at.join("state.h5"));
    let mut net = Writer::new();
    net.floats("data/conv/0", &[2, 2], &[1.0; 4]).unwrap();
    net.save(&at.join("weights.h5")).unwrap();
    let bytes = fs::read(at.join("weights.h5")).unwrap();
    fs::write(at.join("half.h5"), &bytes[..bytes.len() / 2]).unwrap();
    fs::write(at.join("empty.h5"), "").unwrap();
    let mut other = Writer::new();
    other.floats("x", &[1], &[1.0]).unwrap();
    other.save(&at.join("other.h5")).unwrap();
    let mut gap = Writer::new();
    for k in [0, 2] {
        gap.floats(&format!("history/{k}"), &[1], &[1.0]).unwrap();
    }
    gap.int("iter", 3).unwrap();
    gap.int("current_step", 0).unwrap();
    gap.save(&at.join("gap.h5")).unwrap();
    let solver = "base_lr: 0.01 lr_policy: 'fixed' max_iter: 1 net_param { \
        layer { name: 'data' type: 'Data' top: 'data' top: 'label' data_param { \
          source: 'builtin:digits_train' batch_size: 2 } } \
        layer { name: 'ip' type: 'InnerProduct' bottom: 'data' top: 'ip' inner_product_param { num_output: 10 } } \
        layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'ip' bottom: 'label' } }";
    fs::write(at.join("s.prototxt"), solver).unwrap();
    for (flag, wanted) in [
        (
            "--weights=half.h5",
            "half.h5: truncated or not an HDF5 file",
        ),
        ("--weights=empty.h5", "empty.h5: the file is empty"),
        ("--weights=other.h5", "other.h5: it holds no weights"),
        (
            "--weights=state.h5",
            "state.h5: this is a solver state, not weights; give it to --snapshot",
        ),
        ("--weights=weights.h5", "weights.h5: no layer name matches"),
        (
            "--snapshot=weights.h5",
            "weights.h5: these are weights, not a solver state; give them to --weights",
        ),
        (
            "--snapshot=other.h5",
            "other.h5: not a solver state: it names no iteration",
        ),
        (
            "--snapshot=half.h5",
            "half.h5: truncated or not an HDF5 file",
        ),
        (
            "--snapshot=gap.h5",
            "gap.h5: it has 2 history blobs, but none is history/1",
        ),
        (
            "--snapshot=state.h5",
            "state.h5: its weights w.caffemodel are neither there nor beside it",
        ),
    ] {
        let error = fail(at, &["train", "--solver=s.prototxt", flag]);
        assert!(error.contains(wanted), "{flag}: {error}");
    }
}
