//! Pages about runs, runs in the terminal, and their courses as CSV and TensorBoard's files.

#![cfg(unix)]

use crate::common::dsd;
use crate::common::process::run;
use std::fs;
use std::path::Path;

/// A short run of the digits in `folder`, by the name `name`.
fn digits(folder: &Path, name: &str, more: &[&str]) {
    let args = ["train", "--max_iter", "20", "--out", name];
    run(folder, &[&args[..], more].concat());
}

fn page(folder: &Path, args: &[&str]) -> String {
    run(
        folder,
        &[&["report"][..], args, &["--out", "r.html"]].concat(),
    );
    fs::read_to_string(folder.join("r.html")).unwrap()
}

/// Asserts that tags close in the order in which they open, and that nothing is loaded.
fn assert_sound(html: &str) {
    assert!(html.starts_with("<!doctype html>"));
    assert!(html.len() < 1_000_000, "{} bytes", html.len());
    for name in [
        "http:",
        "https:",
        "//cdn",
        "@import",
        "<link rel=\"stylesheet",
    ] {
        assert!(!html.contains(name), "the page has {name}");
    }
    for attribute in ["src=\"", "href=\""] {
        for rest in html.split(attribute).skip(1) {
            assert!(
                rest.starts_with("data:") || rest.starts_with('#'),
                "{attribute}{}",
                &rest[..40]
            );
        }
    }
    let empty = ["!doctype", "meta", "link", "img", "path", "rect", "circle"];
    let mut open: Vec<&str> = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let end = rest.find('>').expect("a tag that ends");
        let name = rest[..end]
            .split([' ', '\n', '/'])
            .find(|w| !w.is_empty())
            .unwrap();
        if rest.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "before …{}", &rest[..end]);
        } else if !empty.contains(&name) {
            open.push(name);
        }
        rest = &rest[end + 1..];
        if matches!(open.last(), Some(&("script" | "style"))) {
            let name = open.pop().unwrap();
            let close = format!("</{name}>");
            rest = &rest[rest.find(&close).unwrap() + close.len()..];
        }
    }
    assert!(open.is_empty(), "{open:?} stay open");
}

#[test]
fn a_page_about_a_run_has_all_of_it_and_loads_nothing() {
    let folder = tempfile::tempdir().unwrap();
    digits(folder.path(), "run", &[]);
    let html = page(folder.path(), &["run"]);
    assert_sound(&html);
    assert!(html.contains("<title>Run run</title>"));
    for wanted in [
        "Phases</h2>",
        "Curves</h2>",
        "Weights</h2>",
        "Density by layer</h2>",
        "Mistakes</h2>",
        "Speed and memory</h2>",
        "How to repeat it</h2>",
        "@dsd",
        "revived for redense",
        "cut for sparse",
        "30% removed",
        "class=\"spike\"",
        "of 360 test pictures",
        "data:image/png;base64,",
        "train --max_iter 20 --out run",
        "redense/digits_iter_20.caffemodel",
    ] {
        assert!(html.contains(wanted), "no '{wanted}'");
    }
    // Loss, accuracy, rate, density.
    assert_eq!(html.matches("<figure class=\"plot\"").count(), 4);
    // Eight layers at five moments.
    assert_eq!(html.matches("class=\"hill\"").count(), 40);
    assert_eq!(
        html.matches("<table").count(),
        html.matches("<caption").count()
    );
    let pictures = html.matches("<img ").count();
    assert!((1..=24).contains(&pictures), "{pictures} pictures");
    assert_eq!(
        html.matches("<img ").count(),
        html.matches(" alt=\"").count()
    );
}

#[test]
fn runs_are_put_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    digits(folder.path(), "a", &[]);
    digits(folder.path(), "b", &["--seed", "7", "--sparsity", "0.5"]);
    let html = page(folder.path(), &["a", "b", "--quick"]);
    assert_sound(&html);
    for wanted in [
        "Runs a, b",
        "Side by side</h2>",
        "a, training (smoothed)",
        "b, training (smoothed)",
        "difference",
        "Left out",
    ] {
        assert!(html.contains(wanted), "no '{wanted}'");
    }
    let differ = html.split("<caption>Settings that differ").nth(1).unwrap();
    let differ = differ.split("</table>").next().unwrap();
    assert!(
        differ.contains(">seed<") && differ.contains(">@dsd<") && differ.contains(">0.5<"),
        "{differ}"
    );
    assert!(!differ.contains(">solver<"), "{differ}");
}

#[test]
fn a_run_that_goes_on_and_one_without_its_data_have_a_page() {
    let folder = tempfile::tempdir().unwrap();
    digits(folder.path(), "run", &["--phase", "dense"]);
    let record = folder.path().join("run/dense/phase.json");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace("\"done\": true", "\"done\": false")).unwrap();
    let html = page(folder.path(), &["run"]);
    assert_sound(&html);
    assert!(html.contains("not finished") && html.contains("no phase has ended yet"));
    fs::write(&record, text).unwrap();
    let net = folder.path().join("run/dense/net.prototxt");
    let own = fs::read_to_string(&net).unwrap();
    fs::write(&net, own.replace("builtin:digits_test", "gone_lmdb")).unwrap();
    let html = page(folder.path(), &["run"]);
    assert_sound(&html);
    assert!(html.contains("could not be asked about its test data") && html.contains("gone_lmdb"));
}

#[test]
fn a_folder_that_is_no_run_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for (command, wanted) in [
        ("report", "no run is here: expected a folder a phase"),
        ("watch", "no metrics.jsonl is here yet"),
    ] {
        let output = dsd()
            .args([command, "."])
            .current_dir(&folder)
            .output()
            .unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() == Some(1) && log.contains(wanted),
            "{log}"
        );
    }
    assert!(!folder.path().join("report.html").exists());
}

#[test]
fn a_run_is_shown_once_where_nobody_watches() {
    let folder = tempfile::tempdir().unwrap();
    digits(folder.path(), "run", &["--phase", "dense"]);
    // A last line that is being written.
    let metrics = folder.path().join("run/metrics.jsonl");
    let text = fs::read_to_string(&metrics).unwrap();
    fs::write(&metrics, format!("{text}{{\"iteration\":21,\"pha")).unwrap();
    let output = run(folder.path(), &["watch", "run"]);
    let shown = String::from_utf8(output.stdout).unwrap();
    for wanted in [
        "dense ✓",
        "iteration 20 of 20",
        "loss (smoothed",
        "test accuracy",
        "density 1.0000",
    ] {
        assert!(shown.contains(wanted), "no '{wanted}': {shown}");
    }
    assert!(!shown.contains('\x1b'), "{shown}");
}

#[test]
fn the_course_goes_to_csv_and_tensorboard_and_a_resumed_run_goes_on_there() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["--metrics", "m.csv", "--tensorboard", "events"];
    digits(folder.path(), "run", &more);
    let text = fs::read_to_string(folder.path().join("m.csv")).unwrap();
    let mut lines = text.lines();
    assert_eq!(
        lines.next(),
        Some("phase,iteration,global_iteration,time,name,value")
    );
    assert!(lines.clone().all(|l| l.split(',').count() == 6), "{text}");
    assert!(
        lines.any(|l| l.starts_with("sparse,20,40,") && l.contains(",test/accuracy,0.")),
        "{text}"
    );
    let count = |phase: &str| {
        fs::read_dir(folder.path().join("events").join(phase))
            .unwrap()
            .count()
    };
    assert_eq!(["dense", "sparse", "redense"].map(count), [1, 1, 1]);
    // The run goes on in its last phase.
    run(
        folder.path(),
        &["train", "--resume", "--out", "run", "--max_iter", "20"],
    );
    let again = fs::read_to_string(folder.path().join("m.csv")).unwrap();
    let without_times = |text: &str| -> Vec<String> {
        let cells = |l: &str| -> Vec<String> { l.split(',').map(String::from).collect() };
        let all = text.lines().map(cells);
        all.filter(|c| !["train/images_per_s", "train/waited"].contains(&&c[4][..]))
            .map(|c| {
                [&c[0], &c[1], &c[2], &c[4], &c[5]]
                    .map(String::as_str)
                    .join(",")
            })
            .collect()
    };
    assert_eq!(without_times(&again), without_times(&text));
}
