//! Caffe's scripts with only the program's name changed: flags, variables of the environment, log files,
//! links named as its tools, and the lines that the readers of its logs look for.

use crate::common::{
    assert_says, digits_net, digits_solver, dsd, error_of, log_texts, names_in, shared, small_run,
    write,
};
use std::fs;
use std::path::Path;
use std::process::Output;
use tempfile::TempDir;

/// A net that trains in no time.
const NET: &str = r#"
layer { name: "d" type: "DummyData" top: "x" top: "t"
  dummy_data_param { shape { dim: 2 dim: 3 } shape { dim: 2 dim: 1 } data_filler { value: 1 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 1
  weight_filler { type: "xavier" } } }
layer { name: "l" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "l" }
"#;

const SOLVER: &str = r#"
net: "net.prototxt" base_lr: 0.01 lr_policy: "multistep" gamma: 0.1 stepvalue: 2 stepvalue: 3
max_iter: 4 display: 1 snapshot_prefix: "s"
"#;

/// A folder with that net, its solver and trained weights, `s_iter_4.caffemodel`.
fn trained() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "net.prototxt", NET);
    write(folder.path(), "solver.prototxt", SOLVER);
    run(folder.path(), &["train", "-solver", "solver.prototxt"]);
    folder
}

fn output(folder: &Path, args: &[&str]) -> Output {
    dsd().args(args).current_dir(folder).output().unwrap()
}

fn run(folder: &Path, args: &[&str]) -> Output {
    let output = output(folder, args);
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {log}");
    output
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).to_string()
}

const TEST: [&str; 7] = [
    "test",
    "-model",
    "net.prototxt",
    "-weights",
    "s_iter_4.caffemodel",
    "-iterations",
    "1",
];

#[test]
fn caffes_commands_take_every_flag_of_caffe_gflags_and_glog() {
    let folder = trained();
    for flag in [
        "-solver=x",
        "-phase=TEST",
        "-sigint_effect=stop",
        "-vmodule=net=1",
        "-colorlogtostderr=1",
        "-max_log_size=10",
        "-flagfile=/dev/null",
        "-tryfromenv=nothing",
        "-snapshot=",
        "-gpu=all",
    ] {
        run(folder.path(), &[&TEST[..], &[flag]].concat());
    }
    let all = [
        "train",
        "-solver",
        "solver.prototxt",
        "-model=x",
        "-iterations=3",
        "-phase",
        "TEST",
        "-nologtostderr",
        "--undefok=speed",
        "--speed=3",
    ];
    run(folder.path(), &all);
    run(folder.path(), &["device_query", "-model", "x"]);
    let wrong = output(folder.path(), &[&TEST[..], &["-v=x"]].concat());
    assert_says(&error_of(&wrong, 2), &["'--v'"]);
}

#[test]
fn flags_come_from_a_file_too() {
    let folder = trained();
    write(
        folder.path(),
        "flags",
        "# flags\n--model=net.prototxt\n--weights=s_iter_4.caffemodel\n--nonsense=1\n-iterations=2\n",
    );
    let out = run(folder.path(), &["test", "-flagfile=flags"]);
    assert_says(
        &stderr(&out),
        &[
            "Running for 2 iterations.",
            "flags:4: there is no flag --nonsense",
        ],
    );
    let missing = output(folder.path(), &["test", "-flagfile=none"]);
    assert_says(&error_of(&missing, 2), &["none"]);
    let out = dsd()
        .args(["test", "-fromenv=model,weights", "-iterations=3"])
        .env("FLAGS_model", "net.prototxt")
        .env("FLAGS_weights", "s_iter_4.caffemodel")
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_says(&stderr(&out), &["Running for 3 iterations."]);
}

#[test]
fn an_empty_value_is_not_given() {
    let folder = trained();
    let flags = [
        "-snapshot=",
        "-weights",
        "",
        "-gpu=",
        "-stage=",
        "-level=",
        "-out=",
        "-phase=",
    ];
    run(
        folder.path(),
        &[&["train", "-solver", "solver.prototxt"][..], &flags].concat(),
    );
    let args = ["test", "-model", "net.prototxt", "-weights="];
    let none = output(folder.path(), &args);
    error_of(&none, 2);
    assert_says(&stderr(&none), &["--weights <F>"]);
}

#[test]
fn glogs_variables_count_and_the_command_line_comes_first() {
    let folder = trained();
    let quiet = |args: &[&str]| {
        let mut command = dsd();
        command.args(args).env("GLOG_minloglevel", "2");
        stderr(&command.current_dir(folder.path()).output().unwrap())
    };
    assert_eq!(quiet(&["train", "-solver", "solver.prototxt"]), "");
    assert_eq!(quiet(&[&TEST[..], &["-gpu=0"]].concat()), "");
    let loud = quiet(&[&TEST[..], &["-minloglevel=0"]].concat());
    assert_says(&loud, &["Loss: "]);
    let plain = stderr(&run(
        folder.path(),
        &[&TEST[..], &["-nolog_prefix"]].concat(),
    ));
    assert!(plain.starts_with("Use CPU.\n"), "{plain}");
}

/// The lines of the log file that a link names, behind glog's three.
#[cfg(unix)]
fn logged(folder: &Path, link: &str) -> Vec<String> {
    assert!(
        folder.join(link).is_symlink(),
        "{link} in {:?}",
        names_in(folder)
    );
    let text = fs::read_to_string(folder.join(link)).unwrap();
    let mut lines = text.lines().map(str::to_owned);
    let head: Vec<String> = lines.by_ref().take(3).collect();
    assert!(head[0].starts_with("Log file created at: "), "{head:?}");
    assert!(head[1].starts_with("Running on machine: "), "{head:?}");
    assert_eq!(
        head[2],
        "Log line format: [IWEF]mmdd hh:mm:ss.uuuuuu threadid file:line] msg"
    );
    lines.collect()
}

#[cfg(unix)]
#[test]
fn log_files_are_glogs() {
    let folder = trained();
    let logs = folder.path().join("logs");
    let out = run(
        folder.path(),
        &[&TEST[..], &["-log_dir=logs", "-gpu=0"]].concat(),
    );
    let info = logged(&logs, "dsd.INFO");
    assert_eq!(info, stderr(&out).lines().collect::<Vec<_>>());
    assert_eq!(logged(&logs, "dsd.WARNING").len(), 1);
    assert!(!logs.join("dsd.ERROR").exists());
    let name = fs::read_link(logs.join("dsd.INFO")).unwrap();
    assert_says(name.to_str().unwrap(), &["dsd.", ".log.INFO.20"]);

    // What stops the work is in the files too; stderr gets less where that is asked for.
    let args = ["test", "-model=none", "-weights=w", "-noalsologtostderr"];
    let mut command = dsd();
    command
        .args(args)
        .env("GLOG_log_dir", "more")
        .current_dir(folder.path());
    let out = command.output().unwrap();
    let error = error_of(&out, 1);
    assert_eq!(stderr(&out).lines().count(), 1);
    let logged = logged(&folder.path().join("more"), "dsd.ERROR");
    assert!(
        logged[0].starts_with('E') && logged[0].ends_with(&error),
        "{logged:?}"
    );

    run(
        folder.path(),
        &[&TEST[..], &["-log_dir=none", "-logtostderr"]].concat(),
    );
    assert!(!folder.path().join("none").exists());
    write(folder.path(), "file", "");
    let out = run(
        folder.path(),
        &[&TEST[..], &["-log_dir=file/logs"]].concat(),
    );
    assert_eq!(
        stderr(&out)
            .matches("cannot write log files into file/logs")
            .count(),
        1
    );
}

#[cfg(unix)]
#[test]
fn a_link_named_as_a_tool_runs_that_command() {
    let folder = trained();
    let call = |name: &str, args: &[&str]| {
        let link = folder.path().join(name);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_dsd"), &link).unwrap();
        let mut command = std::process::Command::new(&link);
        let out = command
            .args(args)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stdout).to_string();
        (out.status.code(), text + &stderr(&out))
    };
    let (code, text) = call("caffe.bin", &TEST);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = call("caffe", &[&TEST[..], &["-log_dir=logs"]].concat());
    assert_eq!(code, Some(0), "{text}");
    logged(&folder.path().join("logs"), "caffe.INFO");
    for (tool, command) in [
        ("convert_imageset", "convert_imageset"),
        ("compute_image_mean.bin", "compute_image_mean"),
        ("extract_features.exe", "extract_features"),
        ("parse_log.py", "parse_log"),
        ("draw_net.py", "draw"),
        ("upgrade_net_proto_text", "upgrade_net_proto_text"),
        ("upgrade_solver_proto_text", "upgrade_solver_proto_text"),
        ("plot_training_log.py", "plot_training_log"),
    ] {
        let (code, text) = call(tool, &["-help"]);
        assert_eq!(code, Some(0), "{text}");
        assert_says(&text, &[&format!("Usage: dsd {command}")]);
        let (code, text) = call(&format!("{command}.bin.bin"), &[]);
        assert_eq!(code, Some(2), "{text}");
    }
}

#[test]
fn the_command_lines_level_replaces_that_of_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let more = r#"layer { name: "p" type: "Power" bottom: "x" top: "p" include { min_level: 2 } }"#;
    write(
        folder.path(),
        "net.prototxt",
        &format!("state {{ level: 3 }}\n{NET}{more}\n"),
    );
    let solver = format!("{SOLVER} train_state {{ level: 5 }}");
    write(folder.path(), "solver.prototxt", &solver);
    let outputs = |args: &[&str]| {
        let out = run(folder.path(), args);
        let texts = log_texts(&out.stderr);
        (
            texts.iter().any(|t| t == "This network produces output p"),
            texts.join("\n"),
        )
    };
    let train = ["train", "-solver", "solver.prototxt"];
    let (there, log) = outputs(&train);
    assert!(!there);
    assert_says(
        &log,
        &["its level 5 is replaced by the command line's, 0, as in Caffe"],
    );
    assert!(outputs(&[&train[..], &["-level=2"]].concat()).0);
    assert!(!outputs(&TEST).0);
    assert!(!outputs(&[&TEST[..], &["-level", "0"]].concat()).0);
    let (there, log) = outputs(&[&TEST[..], &["-level=3"]].concat());
    assert!(there && !log.contains("replaced"), "{log}");
    let net = ["run", "--model", "net.prototxt", "--outputs", "o.npz"];
    run(folder.path(), &net);
    let arrays = fs::read(folder.path().join("o.npz")).unwrap();
    assert!(!arrays.windows(5).any(|w| w == b"p.npy"));
}

#[test]
fn training_logs_caffes_lines_in_their_order() {
    let folder = trained();
    let out = run(
        folder.path(),
        &[
            "train",
            "-solver",
            "solver.prototxt",
            "-snapshot",
            "s_iter_4.solverstate",
            "-max_iter",
            "5",
        ],
    );
    let texts = log_texts(&out.stderr);
    let mut lines = texts.iter();
    for wanted in [
        "Use CPU.",
        "Initializing solver from parameters: ",
        "lr_policy: \"multistep\"",
        "Creating training net from net file: net.prototxt",
        "Memory required for data: 44",
        "This network produces output l",
        "Network initialization done.",
        "Solver scaffolding done.",
        "Resuming from s_iter_4.solverstate",
        "Starting Optimization",
        "Solving ",
        "Optimization Done.",
    ] {
        assert!(lines.any(|l| l == wanted), "{wanted}: {texts:?}");
    }
    fs::remove_file(folder.path().join("s_iter_4.solverstate")).unwrap();
    let out = run(folder.path(), &["train", "-solver", "solver.prototxt"]);
    let texts = log_texts(&out.stderr);
    let steps: Vec<&String> = texts
        .iter()
        .filter(|t| t.starts_with("MultiStep"))
        .collect();
    let wanted = [
        "MultiStep Status: Iteration 2, step = 1",
        "MultiStep Status: Iteration 3, step = 2",
    ];
    assert_eq!(steps, wanted);
    let at = |text: &str| texts.iter().position(|t| t.starts_with(text)).unwrap();
    assert!(at(wanted[0]) < at("Iteration 2, lr") && at(wanted[0]) > at("Iteration 2 ("));
}

#[test]
fn timing_and_testing_log_caffes_lines() {
    let folder = trained();
    let out = run(
        folder.path(),
        &[
            "time",
            "-model",
            "net.prototxt",
            "-iterations=2",
            "-gpu=all",
        ],
    );
    let texts = log_texts(&out.stderr);
    let mut lines = texts.iter();
    for wanted in [
        "Use CPU.",
        "Network initialization done.",
        "Performing Forward",
        "Initial loss: ",
        "Performing Backward",
        "*** Benchmark begins ***",
        "Testing for 2 iterations.",
        "Iteration: 2 forward-backward time: ",
        "Average time per layer: ",
        "        ip\tforward: ",
        "        ip\tbackward: ",
        "Average Forward pass: ",
        "Average Backward pass: ",
        "Average Forward-Backward: ",
        "Total Time: ",
        "*** Benchmark ends ***",
    ] {
        assert!(lines.any(|l| l.starts_with(wanted)), "{wanted}: {texts:?}");
    }
    let texts = log_texts(&run(folder.path(), &TEST).stderr);
    let mut lines = texts.iter();
    for wanted in [
        "Use CPU.",
        "Running for 1 iterations.",
        "Batch 0, l = ",
        "Loss: ",
        "l = ",
    ] {
        assert!(lines.any(|l| l.starts_with(wanted)), "{wanted}: {texts:?}");
    }
}

#[test]
fn sources_are_found_beside_the_net_and_the_log_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("nets");
    fs::create_dir(&home).unwrap();
    image::GrayImage::from_pixel(4, 4, image::Luma([7]))
        .save(home.join("a.png"))
        .unwrap();
    write(&home, "list.txt", "a.png 3\n");
    let net = |more: &str| {
        format!(
            "layer {{ name: \"d\" type: \"ImageData\" top: \"x\" top: \"y\" {more}\n\
             image_data_param {{ source: \"list.txt\" batch_size: 1 is_color: false }} }}"
        )
    };
    write(&home, "net.prototxt", &net(""));
    let args = ["run", "--model", "nets/net.prototxt", "--outputs", "o.npz"];
    let out = run(folder.path(), &args);
    assert_says(
        &stderr(&out),
        &["list.txt is not below the working folder; nets/list.txt is taken"],
    );
    write(
        &home,
        "net.prototxt",
        &net("transform_param { mean_file: \"mean.binaryproto\" }"),
    );
    let error = error_of(&output(folder.path(), &args), 1);
    assert_says(
        &error,
        &["`dsd compute_image_mean TRAIN_DB mean.binaryproto` makes it"],
    );
}

#[test]
fn a_path_is_said_once_in_an_error() {
    let folder = small_run(4, 2, "");
    let bad = |name: &str, text: &str| write(folder.path(), name, text);
    bad("typo.prototxt", "net: \"net.prototxt\"\nbase_rl: 0.1\n");
    bad(
        "policy.prototxt",
        &digits_solver(1, "").replace("\"step\"", "\"stepp\""),
    );
    bad("weights.caffemodel", "nothing");
    bad(
        "layer.prototxt",
        &digits_net(
            4,
            "layer { name: \"q\" type: \"Qux\" bottom: \"ip\" top: \"q\" }",
        ),
    );
    let test = ["test", "--model", "net.prototxt", "--weights"];
    for (args, path) in [
        (&["train", "--solver", "typo.prototxt"][..], "typo.prototxt"),
        (&["train", "--solver", "policy.prototxt"], "policy.prototxt"),
        (&["train", "--solver", "none.prototxt"], "none.prototxt"),
        (&["time", "--model", "layer.prototxt"], "layer.prototxt"),
        (
            &[&test[..], &["weights.caffemodel"]].concat(),
            "weights.caffemodel",
        ),
        (
            &[&test[..], &["none.caffemodel"]].concat(),
            "none.caffemodel",
        ),
        (
            &[
                "train",
                "--solver",
                "solver.prototxt",
                "--snapshot",
                "weights.caffemodel",
            ],
            "weights.caffemodel",
        ),
        (&["compute_image_mean", "none_lmdb", "m"], "none_lmdb"),
        (&["parse_log", "none.log", "."], "none.log"),
    ] {
        let error = error_of(&output(folder.path(), args), 1);
        assert_eq!(error.matches(path).count(), 1, "{error}");
    }
}

#[test]
fn a_new_net_that_cannot_be_leaves_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let out = output(
        folder.path(),
        &["new", "squeezenet", "--base", "0", "--out", "net"],
    );
    assert!(!out.status.success());
    assert!(names_in(folder.path()).is_empty());
    run(folder.path(), &["new", "squeezenet", "--out", "net"]);
    assert_eq!(names_in(&folder.path().join("net")).len(), 5);
}

/// The folders of ../shared/cases/caffe that are about scripts: their commands, with this program as `dsd`.
#[cfg(unix)]
#[test]
fn the_cases_of_scripts_run_to_their_end() {
    for (case, silent) in [
        ("10_empty_flag", false),
        ("11_GLOG_minloglevel", true),
        ("18_flags_and_glog", true),
    ] {
        let Some(source) = shared(&format!("cases/caffe/{case}")) else {
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        for name in names_in(&source) {
            fs::copy(source.join(&name), folder.path().join(&name)).unwrap();
        }
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_dsd"), bin.join("dsd")).unwrap();
        let path = format!(
            "{}:{}",
            bin.display(),
            std::env::var("PATH").unwrap_or_default()
        );
        let out = std::process::Command::new("sh")
            .arg("command.sh")
            .env("PATH", path)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stdout).to_string() + &stderr(&out);
        assert!(out.status.success(), "{case}: {said}");
        assert!(!silent || said.is_empty(), "{case}: {said}");
    }
}
