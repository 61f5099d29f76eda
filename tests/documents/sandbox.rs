//! A folder that has the files which the documents' commands name, small ones.

use crate::common::{dsd, lmdb, repository, write};
use crate::documents::commands::Command;
use dsd::npz;
use dsd::proto::Datum;
use dsd::tensor::{Shape, Tensor};
use prost::Message;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tempfile::TempDir;

/// `dsd` for the commands of documents: the program itself, but few iterations.
const SHORT: &str = r#"#!/bin/sh
case " $* " in
  *" --prune_until "*) exec "$DSD_PROGRAM" "$@" ;;
  *" --max_loss "*) exec "$DSD_PROGRAM" "$@" --max_loss 100 --iterations 1 ;;
esac
case "$1" in
  train|dense|prune|redense|quantize|-solver*) exec "$DSD_PROGRAM" "$@" --max_iter 4 ;;
  test|time) exec "$DSD_PROGRAM" "$@" --iterations 1 ;;
  sensitivity) exec "$DSD_PROGRAM" "$@" --iterations 1 --densities 0.5,0.2 ;;
  *) exec "$DSD_PROGRAM" "$@" ;;
esac
"#;

/// `cargo` for them: what is not ours to build again is taken for done.
const CARGO: &str = r#"#!/bin/sh
case "$1" in
  run) while [ "$1" != "--" ]; do shift; done; shift; exec dsd "$@" ;;
  bench) grep -q "name = \"$3\"" "$REPOSITORY/Cargo.toml" ;;
  build|test|install) ;;
  *) echo "unknown: cargo $*" >&2; exit 1 ;;
esac
"#;

/// graphviz, which is not ours.
const DOT: &str = "#!/bin/sh\nexec cat \"$2\"\n";

/// A folder with files of the names that commands use.
pub struct Sandbox {
    folder: TempDir,
}

impl Sandbox {
    /// One for these commands: on pictures of SqueezeNet's size where they speak of it, else on digits.
    pub fn for_commands(commands: &[Command]) -> Self {
        static KINDS: [OnceLock<TempDir>; 2] = [const { OnceLock::new() }; 2];
        let photographs = |c: &Command| {
            [
                "squeezenet",
                "SQUEEZENET",
                "fire9",
                "classify",
                "detect",
                "_LMDB=",
            ]
            .iter()
            .any(|w| c.text.contains(w))
        };
        let large = commands.iter().any(photographs);
        let template = KINDS[usize::from(large)].get_or_init(|| template(large));
        let folder = tempfile::tempdir().unwrap();
        copy(template.path(), folder.path());
        Self { folder }
    }

    /// Runs a command by the shell.
    pub fn run(&self, command: &Command) -> Result<(), String> {
        // By themselves these go on with a run that has been started before, or look at it.
        let looks = ["dsd report ", "dsd watch ", "dsd status ", "dsd plot "]
            .iter()
            .any(|c| command.text.starts_with(c));
        for name in ["run", "other_run"] {
            let named = command.text.split(' ').any(|word| word == name);
            let resumes = name == "run" && command.text.ends_with(" --resume");
            let wants = resumes || looks && named;
            if wants && !self.folder.path().join(name).exists() {
                run(
                    self.folder.path(),
                    &format!("train --solver solver.prototxt --out {name} --max_iter 2"),
                );
            }
        }
        let packed = command.text.split(' ').any(|word| word == "my/my.dsdz");
        let named = packed || command.text.split(' ').any(|word| word == "my");
        if named && !command.text.starts_with("dsd new ") && !self.folder.path().join("my").exists()
        {
            run(self.folder.path(), "new animals --out my");
            if !command.text.starts_with("dsd train ") {
                run(self.folder.path(), "train my --max_iter 2");
            }
        }
        if packed && !self.folder.path().join("my/my.dsdz").exists() {
            run(self.folder.path(), "compress my");
        }
        if command.text.starts_with("dsd compare ") {
            // Runs that have ended, under the names that it compares.
            let words = command.text.split_whitespace().skip(2);
            for name in words.filter(|w| !w.starts_with('-')) {
                let line = format!("train --solver solver.prototxt --out {name} --max_iter 2");
                run(self.folder.path(), &line);
            }
        }
        // README's figures are of whole runs; scripts of the models are run by their own tests.
        if [
            "python3 ", "models/", "SMOKE=1", "NET_DIR=", "TRAIN_", "VAL_",
        ]
        .iter()
        .any(|p| command.text.starts_with(p))
        {
            let script = command
                .text
                .split_whitespace()
                .find(|w| w.ends_with(".sh") || w.ends_with(".py"));
            return match script {
                Some(s) if repository(s).is_file() => Ok(()),
                _ => Err("names no script of this repository".to_string()),
            };
        }
        if command.text.contains("convert_imageset") {
            // Made by the command; what comes after it in a document reads what it makes.
            for made in ["train_lmdb", "val_lmdb"] {
                drop(fs::remove_dir_all(self.folder.path().join(made)));
            }
        }
        // The length of a run of one's own.
        let text = command.text.replace("_iter_20000.", "_iter_4.");
        let path = format!(
            "{}:{}",
            self.folder.path().join("bin").display(),
            std::env::var("PATH").unwrap_or_default()
        );
        let output = std::process::Command::new("sh")
            .args(["-c", &text])
            .current_dir(self.folder.path())
            .env("PATH", path)
            .env("DSD_PROGRAM", env!("CARGO_BIN_EXE_dsd"))
            .env("REPOSITORY", repository(""))
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Copies a folder with all that is in it; links stay links.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(path, to).unwrap();
        }
    }
}

/// Runs `dsd` in a folder, which must succeed; gives its log.
fn run(folder: &Path, line: &str) -> String {
    let output = dsd()
        .args(line.split_whitespace())
        .current_dir(folder)
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "dsd {line}: {log}");
    log
}

/// A folder of files for the digits net, or for SqueezeNet v1.0.
fn template(large: bool) -> TempDir {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let bin = folder.join("bin");
    fs::create_dir(&bin).unwrap();
    for (name, script) in [("dsd", SHORT), ("cargo", CARGO), ("dot", DOT)] {
        executable(&write(&bin, name, script));
    }
    symlink(bin.join("dsd"), bin.join("caffe")).unwrap();
    pictures(folder);
    databases(folder, if large { (3, 256) } else { (1, 8) });
    nets(folder, if large { "squeezenet_v1.0" } else { "digits" });
    weights(folder, large);
    temporary
}

fn executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Pictures by themselves, in lists and in folders a class.
fn pictures(folder: &Path) {
    let picture = |n: u32| {
        image::RgbImage::from_fn(40, 30, |x, y| {
            image::Rgb([(x * n) as u8, (y * 7) as u8, n as u8 * 60])
        })
    };
    for (sub, count) in [
        ("photos", 2),
        ("pictures", 2),
        ("train", 2),
        ("val", 2),
        ("animals/cat", 2),
        ("animals/dog", 2),
        ("digits/three", 2),
        ("imagenet_val/tabby", 2),
        ("imagenet_val/n01440764", 2),
    ] {
        let home = folder.join(sub);
        fs::create_dir_all(&home).unwrap();
        for n in 0..count {
            picture(n + 1).save(home.join(format!("{n}.png"))).unwrap();
        }
    }
    picture(3).save(folder.join("cat.jpg")).unwrap();
    picture(3).save(folder.join("photos/cat.jpg")).unwrap();
    for class in ["cat", "dog"] {
        copy(
            &folder.join("animals").join(class),
            &folder.join("val").join(class),
        );
    }
    for list in ["list.txt", "train.txt", "val.txt"] {
        write(folder, list, "0.png 0\n1.png 1\n");
    }
    let labels: String = (0..1000).map(|n| format!("n{n:08} thing {n}\n")).collect();
    write(folder, "synset_words.txt", &labels);
    write(folder, "labels.txt", &labels);
    let names = "zero one two three four five six seven eight nine";
    write(folder, "names.txt", &names.replace(' ', "\n"));
    write(
        folder,
        "windows.csv",
        "filename,ymin,xmin,ymax,xmax\ncat.jpg,0,0,20,20\ncat.jpg,5,5,30,40\n",
    );
    // NumPy's format 1.0: three means, blue, green, red.
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }";
    let mut mean = b"\x93NUMPY\x01\x00".to_vec();
    mean.extend((header.len() as u16).to_le_bytes());
    mean.extend(header.as_bytes());
    for value in [104.0f32, 117.0, 123.0] {
        mean.extend(value.to_le_bytes());
    }
    fs::write(folder.join("mean.npy"), mean).unwrap();
    let book: String = (0..50_000u32)
        .map(|n| char::from(b'a' + (n * n % 23) as u8))
        .collect();
    write(folder, "book.txt", &book);
    examples(folder);
}

fn databases(folder: &Path, (channels, side): (i32, i32)) {
    let record = |i: usize| Datum {
        channels: Some(channels),
        height: Some(side),
        width: Some(side),
        data: Some(
            (0..(channels * side * side) as usize)
                .map(|p| ((31 * i + 17 * p) % 251) as u8)
                .collect(),
        ),
        label: Some((i % 3) as i32),
        ..Datum::default()
    };
    let records: Vec<_> = (0..6)
        .map(|i| (format!("{i:08}"), record(i).encode_to_vec()))
        .collect();
    for name in ["train_lmdb", "val_lmdb"] {
        lmdb::write(&folder.join(name), &records);
    }
}

/// A net to train and one to use, a solver a phase, a flow.
fn nets(folder: &Path, model: &str) {
    let of = |file: &str| fs::read_to_string(repository("models").join(model).join(file)).unwrap();
    let own = |text: String| {
        text.replace("imagenet_train_lmdb", "train_lmdb")
            .replace("imagenet_val_lmdb", "val_lmdb")
            .replace("batch_size: 32", "batch_size: 2")
            .replace("batch_size: 50", "batch_size: 2")
    };
    for name in ["train_val.prototxt", "net.prototxt", "FILE"] {
        write(folder, name, &own(of("train_val.prototxt")));
    }
    write(folder, "deploy.prototxt", &of("deploy.prototxt"));
    for (name, phase) in [
        ("solver", "dense"),
        ("s", "dense"),
        ("sparse", "sparse"),
        ("solver_dense", "dense"),
        ("solver_sparse", "sparse"),
        ("solver_redense", "redense"),
    ] {
        let solver = format!(
            "net: \"train_val.prototxt\" test_iter: 1 test_interval: 2 base_lr: 0.001 \
             lr_policy: \"fixed\" momentum: 0.9 max_iter: 4 display: 1 snapshot: 2 snapshot_prefix: \"net\" # {phase}\n"
        );
        write(folder, &format!("{name}.prototxt"), &solver);
    }
    write(
        folder,
        "flow.toml",
        "solver = \"solver.prototxt\"\n[[phase]]\nkind = \"dense\"\n[[phase]]\nkind = \"sparse\"\nsparsity = 0.5\n",
    );
    write(
        folder,
        "experiment.toml",
        "solver = \"solver.prototxt\"\ncontrol = \"dense\"\nseeds = 1\n[phase.dense]\nkind = \"dense\"\nmax_iter = 2\n\
         [phase.sparse]\nkind = \"sparse\"\nmax_iter = 2\n[[arm]]\nname = \"dense\"\nphases = [\"dense\"]\n\
         [[arm]]\nname = \"sparse\"\nphases = [\"dense\", \"sparse\"]\n",
    );
}

/// Weights of every kind, a solver state, arrays and a log.
fn weights(folder: &Path, large: bool) {
    let log = run(folder, "train --solver solver.prototxt --max_iter 2");
    write(folder, "caffe.INFO", &log);
    for name in ["run.log", "before.log", "after.log"] {
        write(folder, name, &log);
    }
    let trained = folder.join("net_iter_2.caffemodel");
    for name in [
        "net",
        "w",
        "bvlc",
        "dense",
        "sparse",
        "squeezenet",
        "net_iter_1000",
    ] {
        fs::copy(&trained, folder.join(format!("{name}.caffemodel"))).unwrap();
    }
    fs::copy(
        folder.join("net_iter_2.solverstate"),
        folder.join("net_iter_1000.solverstate"),
    )
    .unwrap();
    run(
        folder,
        "prune --solver solver.prototxt --weights net.caffemodel --sparsity 0.5 --max_iter 1 --out pruning",
    );
    let pruned = folder.join("pruning/sparse/net_iter_1.caffemodel");
    fs::copy(pruned, folder.join("pruned.caffemodel")).unwrap();
    fs::remove_dir_all(folder.join("pruning")).unwrap();
    run(
        folder,
        "compress --weights pruned.caffemodel --out pruned.dsdz",
    );
    run(
        folder,
        "compress --weights net.caffemodel --out net.dsdz --bits 4",
    );
    run(folder, "export --weights net.caffemodel --out w.npz");
    arrays(folder, large);
    if large {
        run(
            folder,
            "compress --model squeezenet_v1.0 --weights net.caffemodel --bits 4 --out squeezenet_deepcomp.net",
        );
    }
    let runs: PathBuf = folder.join("dsd_run");
    fs::create_dir_all(runs.join("dense")).unwrap();
    fs::create_dir_all(runs.join("redense")).unwrap();
    for file in ["dense/digits_iter_600", "redense/digits_iter_300"] {
        fs::copy(&trained, runs.join(format!("{file}.caffemodel"))).unwrap();
    }
}

/// The arrays that a net takes, and gradients for its outputs.
fn arrays(folder: &Path, large: bool) {
    let tensor = |shape: &[usize]| {
        let shape = Shape::new(shape);
        let data = (0..shape.count()).map(|i| (i % 7) as f32 / 7.0).collect();
        Tensor { shape, data }
    };
    let (x, classes) = match large {
        true => (tensor(&[1, 3, 227, 227]), 1000),
        false => (tensor(&[1, 1, 8, 8]), 10),
    };
    npz::write(&folder.join("in.npz"), [("data", x.view())]).unwrap();
    let top = tensor(&[1, classes, 1, 1]);
    npz::write(&folder.join("top.npz"), [("prob", top.view())]).unwrap();
}

/// Two pictures and labels as MNIST's files hold them, and CIFAR-10's files of one picture.
fn examples(folder: &Path) {
    let big = |n: u32| n.to_be_bytes();
    let pictures = [big(2051), big(2), big(28), big(28)].concat();
    let labels = [big(2049), big(2)].concat();
    for set in ["train", "t10k"] {
        let mut bytes = pictures.clone();
        bytes.extend([7; 2 * 28 * 28]);
        fs::write(folder.join(format!("{set}-images-idx3-ubyte")), bytes).unwrap();
        let bytes = [&labels[..], &[3, 4]].concat();
        fs::write(folder.join(format!("{set}-labels-idx1-ubyte")), bytes).unwrap();
    }
    let cifar = folder.join("data/cifar10");
    fs::create_dir_all(&cifar).unwrap();
    fs::create_dir_all(folder.join("examples/cifar10")).unwrap();
    let parts = (1..=5).map(|n| format!("data_batch_{n}.bin"));
    for name in parts.chain(["test_batch.bin".to_string()]) {
        fs::write(cifar.join(name), [5; 3073]).unwrap();
    }
}
