//! What `dsd` alone says, completions, the manual, and `--quiet`.

use crate::common::{assert_says, dsd, error_of, names_in, small_run};

#[test]
fn dsd_alone_says_three_first_steps() {
    let output = dsd().output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_says(
        &text,
        &["First steps", "dsd train ", "dsd report", "dsd --help"],
    );
    assert!(text.lines().count() < 10, "{text}");
    let help = dsd().arg("--help").output().unwrap();
    assert!(help.status.success());
    assert_says(
        &String::from_utf8(help.stdout).unwrap(),
        &["Commands:", "status", "General options"],
    );
}

#[test]
fn shells_get_scripts_that_know_commands_and_flags() {
    for shell in ["bash", "zsh", "fish"] {
        let output = dsd().args(["completions", shell]).output().unwrap();
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{shell}"
        );
        let text = String::from_utf8(output.stdout).unwrap();
        assert_says(&text, &["convert_imageset", "max_iter", "quantize"]);
    }
    let output = dsd().args(["completions", "tcsh"]).output().unwrap();
    assert_says(&error_of(&output, 2), &["tcsh"]);
}

#[test]
fn the_manual_has_a_page_a_command() {
    let page = dsd().arg("man").output().unwrap().stdout;
    let page = String::from_utf8(page).unwrap();
    assert_says(&page, &[".TH dsd 1", "\\-\\-threads", "dsd\\-train(1)"]);
    let folder = tempfile::tempdir().unwrap();
    let output = dsd()
        .args(["man", "--out", "man1"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success());
    let names = names_in(&folder.path().join("man1"));
    for name in ["dsd.1", "dsd-train.1", "dsd-plot_training_log.1"] {
        assert!(names.contains(&name.to_string()), "{names:?}");
    }
}

#[test]
fn quiet_leaves_warnings_on_stderr_and_all_in_the_runs_log() {
    let folder = small_run(16, 4, "");
    let args = [
        "train",
        "--solver",
        "solver.prototxt",
        "--out",
        "run",
        "--quiet",
        "--gpu",
        "0",
    ];
    let output = dsd()
        .args(args)
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_says(&stderr, &["no GPU backend"]);
    assert!(stderr.lines().all(|l| l.starts_with('W')), "{stderr}");
    let log = std::fs::read_to_string(folder.path().join("run/log.txt")).unwrap();
    assert_says(&log, &["Iteration 3, lr", "Optimization Done."]);
}
