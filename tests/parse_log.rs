//! `dsd parse_log`: the tables of Caffe's `tools/extra/parse_log.py`.

use assert_cmd::Command;
use predicates::str::contains;
use std::path::Path;

fn dsd() -> Command {
    Command::new(env!("CARGO_BIN_EXE_dsd"))
}

/// Parses `log` and gives the two tables, `None` for one that is not written.
fn tables(log: &str, args: &[&str]) -> [Option<String>; 2] {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.log");
    std::fs::write(&path, log).unwrap();
    let out = folder.path().join("out");
    dsd()
        .arg("parse_log")
        .args([&path, &out])
        .args(args)
        .assert()
        .success();
    ["train", "test"].map(|end| std::fs::read_to_string(out.join(format!("run.log.{end}"))).ok())
}

/// Old and new forms of Caffe's lines, over the end of a year.
const LOG: &str = "\
Log file created at: 2015/12/31 23:59:00
I1231 23:58:59.000001 25210 solver.cpp:48] Initializing solver from parameters:
test_iter: 100
I1231 23:59:58.500000 25210 solver.cpp:280] Solving LeNet, v2
I1231 23:59:58.600000 25210 solver.cpp:281] Learning Rate Policy: inv
I1231 23:59:58.700000 25210 solver.cpp:338] Iteration 0, Testing net (#0)
I1231 23:59:59.250000 25210 solver.cpp:406]     Test net output #0: accuracy = 0.0933
I1231 23:59:59.250010 25210 solver.cpp:406]     Test net output #1: loss = 2.36621 (* 1 = 2.36621 loss)
I1231 23:59:59.500000 25210 solver.cpp:229] Iteration 0, loss = 2.34512
I1231 23:59:59.500100 25210 solver.cpp:245]     Train net output #0: loss = 2.34512 (* 1 = 2.34512 loss)
I1231 23:59:59.500200 25210 sgd_solver.cpp:106] Iteration 0, lr = 0.01
I0101 00:00:01.000000 25210 solver.cpp:218] Iteration 100 (66.5 iter/s, 1.5s/100 iters), loss = 0.217
I0101 00:00:01.000100 25210 solver.cpp:237]     Train net output #0: loss = 0.217 (* 1 = 0.217 loss)
I0101 00:00:01.000200 25210 sgd_solver.cpp:105] Iteration 100, lr = 0.00992565
a line without a date: Train net output #0: loss = 7
I0101 00:00:02.000000 25210 solver.cpp:338] Iteration 200, Testing net (#0)
I0101 00:00:02.100000 25210 solver.cpp:406]     Test net output #0: accuracy = 0.9712
I0101 00:00:02.100001 25210 solver.cpp:406]     Test net output #1: loss = 8.86e-05 (* 1 = 8.86e-05 loss)
I0101 00:00:02.200000 25210 solver.cpp:218] Iteration 200 (83.3 iter/s, 1.2s/100 iters), loss = 1.5e-06
I0101 00:00:02.200100 25210 solver.cpp:237]     Train net output #0: loss = 1.5e-06 (* 1 = 1.5e-06 loss)
I0101 00:00:02.200200 25210 sgd_solver.cpp:105] Iteration 200, lr = 9.9e-05
I0101 00:00:03.200000 25210 solver.cpp:218] Iteration 300 (100 iter/s, 1s/100 iters), loss = 0.5
I0101 00:00:03.200100 25210 solver.cpp:237]     Train net output #0: loss = 0.5 (* 1 = 0.5 loss)
";

/// What Caffe's script (commit 9b89154, under Python 3) makes of it.
const TRAIN: &str = "\
NumIters,Seconds,LearningRate,loss\r\n\
0.0,1.0001,0.01,2.34512\r\n\
100.0,2.5001,0.01,0.217\r\n\
200.0,3.7001,0.00992565,1.5e-06\r\n\
300.0,4.7001,9.9e-05,0.5\r\n\
";
const TEST: &str = "\
NumIters,Seconds,LearningRate,accuracy,loss\r\n\
0.0,0.75,0.00992565,0.0933,2.36621\r\n\
200.0,3.6,0.00992565,0.9712,8.86e-05\r\n\
";

#[test]
fn the_tables_are_those_of_caffes_script() {
    let [train, test] = tables(LOG, &[]);
    assert_eq!(train.as_deref(), Some(TRAIN));
    assert_eq!(test.as_deref(), Some(TEST));
    let [train, _] = tables(LOG, &["--delimiter", "\\t", "--verbose"]);
    assert_eq!(train, Some(TRAIN.replace(',', "\t")));
}

#[test]
fn a_log_of_todays_glog_and_an_output_that_is_nan_are_read() {
    let log = "I20260101 01:00:00.000000 1 a.rs:1] Solving net\n\
               I20260101 01:00:01.000000 1 a.rs:1] Iteration 0, loss = nan\n\
               I20260101 01:00:01.500000 1 a.rs:1]     Train net output #0: loss = -nan (* 1 = nan loss)\n";
    let [train, test] = tables(log, &[]);
    let wanted = "NumIters,Seconds,LearningRate,loss\r\n0.0,1.5,nan,nan\r\n";
    assert_eq!((train.as_deref(), test), (Some(wanted), None));
}

#[test]
fn our_own_log_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let run = dsd()
        .args(["train", "--phase", "dense", "--max_iter", "40", "--out"])
        .arg(folder.path().join("run"))
        .assert()
        .success();
    let log = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    let [train, test] = tables(&log, &[]);
    let train = train.expect("a table of the training");
    assert!(
        train.starts_with("NumIters,Seconds,LearningRate,loss\r\n0.0,"),
        "{train}"
    );
    assert!(test.is_some_and(|t| t.lines().count() >= 2));
}

#[test]
fn what_is_no_training_log_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.log");
    std::fs::write(&path, "hello\n").unwrap();
    let run = |log: &Path| {
        dsd()
            .arg("parse_log")
            .args([log, folder.path()])
            .assert()
            .code(1)
    };
    run(&path).stderr(contains("x.log: no log line says 'Solving"));
    std::fs::write(&path, b"\xff\xfe Solving\n").unwrap();
    run(&path).stderr(contains("no log line says 'Solving"));
    run(Path::new("no/such.log")).stderr(contains("cannot read no/such.log"));
}

#[test]
fn two_test_nets_have_a_row_each_and_a_column_that_tells_them_apart() {
    let log = include_str!("data/two_test_nets.log");
    let wanted = "\
NumIters,Seconds,LearningRate,TestNet,accuracy\r\n\
5000.0,166.112428,0.01,0,0.0787267\r\n\
5000.0,221.219927,0.01,1,0.0755807\r\n\
";
    let [train, test] = tables(log, &[]);
    assert_eq!(test.as_deref(), Some(wanted));
    let train = train.unwrap();
    assert!(train.contains("5100.0,") && train.contains(",nan\r\n") && train.contains(",-inf\r\n"));
    assert_eq!(train.lines().count(), 4, "{train}");
}

#[test]
fn a_log_that_was_cut_off_in_the_second_net_keeps_whole_rows() {
    let line =
        |second: usize, text: &str| format!("I0101 00:00:{second:02}.000000 1 a.cpp:1] {text}\n");
    let mut log = line(0, "Solving net");
    for (at, net) in [(1, 0), (2, 1), (3, 0), (4, 1)] {
        log += &line(
            at,
            &format!("Iteration {}, Testing net (#{net})", (at - 1) / 2 * 10),
        );
        for k in 0..(if at == 4 { 1 } else { 2 }) {
            log += &line(at, &format!("    Test net output #{k}: out{k} = {at}"));
        }
    }
    let [_, test] = tables(&log, &[]);
    let test = test.unwrap();
    let rows: Vec<&str> = test.lines().collect();
    assert_eq!(rows.len(), 4, "{test}");
    assert_eq!(rows[0], "NumIters,Seconds,LearningRate,TestNet,out0,out1");
    assert_eq!(rows[3], "10.0,3.0,nan,0,3.0,3.0");
}

#[test]
fn logs_that_windows_shells_wrote_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let text = LOG
        .replace('\n', "\r\n")
        .replacen("I1231 23:58", "dsd : I1231 23:58", 1);
    let words = std::iter::once(0xfeff).chain(text.encode_utf16());
    for (name, bytes) in [
        (
            "le.log",
            words
                .clone()
                .flat_map(u16::to_le_bytes)
                .collect::<Vec<u8>>(),
        ),
        ("be.log", words.flat_map(u16::to_be_bytes).collect()),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        dsd()
            .arg("parse_log")
            .args([&path, folder.path()])
            .assert()
            .success();
        let read = |end: &str| std::fs::read_to_string(folder.path().join(format!("{name}.{end}")));
        assert_eq!(
            (read("train").unwrap(), read("test").unwrap()),
            (TRAIN.into(), TEST.into())
        );
    }
}

#[test]
fn curves_are_drawn_for_every_chart_type() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("run.log");
    std::fs::write(&log, LOG).unwrap();
    let names = [
        "Test accuracy",
        "Test loss",
        "Train learning rate",
        "Train loss",
    ];
    for kind in 0..8 {
        let out = folder.path().join(format!("{kind}.svg"));
        dsd()
            .args(["plot_training_log", &kind.to_string()])
            .args([&out, &log, &log])
            .assert()
            .success()
            .stderr(contains("Drew 2 curves"));
        let svg = std::fs::read_to_string(&out).unwrap();
        let over = if kind % 2 == 0 { "Iters" } else { "Seconds" };
        let title = format!("<title>{}  vs. {over}</title>", names[kind / 2]);
        assert!(svg.contains(&title), "{svg}");
        assert_eq!(svg.matches("<title>run</title>").count(), 2, "{svg}");
    }
    std::fs::write(&log, include_str!("data/two_test_nets.log")).unwrap();
    dsd()
        .args(["plot_training_log", "0"])
        .args([&folder.path().join("a.svg"), &log])
        .assert()
        .success()
        .stderr(contains("Drew 2 curves"));
    dsd()
        .args(["plot_training_log", "2"])
        .args([&folder.path().join("a.svg"), &log])
        .assert()
        .code(1)
        .stderr(contains("the log has no test loss"));
}
