//! What a command line in gflags' spelling becomes.

use super::*;
use clap::CommandFactory;

fn normalised(line: &str) -> String {
    let spelling = Spelling::of(&crate::cli::Cli::command());
    let args = line.split_whitespace().map(OsString::from);
    let args = spelling.normalise(std::iter::once("dsd".into()).chain(args));
    let args = args.unwrap().words;
    let words: Vec<_> = args[1..].iter().map(|a| a.to_string_lossy()).collect();
    words.join(" ")
}

#[test]
fn one_dash_and_two_and_both_ways_of_giving_a_value_are_the_same() {
    for line in [
        "train --solver s",
        "train --solver=s",
        "train -solver s",
        "train -solver=s",
    ] {
        assert_eq!(normalised(line), "train --solver=s");
    }
}

#[test]
fn dashes_and_underscores_are_the_same() {
    for flag in ["--max_iter", "-max-iter", "--max-iter", "-max_iter"] {
        assert_eq!(normalised(&format!("train {flag} 5")), "train --max_iter=5");
    }
}

#[test]
fn flags_may_stand_before_the_subcommand() {
    assert_eq!(
        normalised("-solver s -gpu 0 train --resume"),
        "train --solver=s --gpu=0 --resume"
    );
    assert_eq!(normalised("--help"), "--help");
    assert_eq!(normalised("--nonsense train"), "--nonsense train");
}

#[test]
fn switches_take_gflags_words() {
    assert_eq!(normalised("test --json=true"), "test --json");
    assert_eq!(normalised("test -json=F"), "test");
    assert_eq!(normalised("test --nojson"), "test");
    assert_eq!(normalised("test --no-json"), "test");
    assert_eq!(normalised("test --json --nojson"), "test");
    assert_eq!(normalised("test --nojson --json --json"), "test --json");
    assert_eq!(normalised("test --json=maybe"), "test --json=maybe");
    assert_eq!(normalised("inspect --json f"), "inspect --json f");
}

#[test]
fn a_value_may_look_like_a_number_or_a_flag() {
    assert_eq!(normalised("train --seed -1"), "train --seed=-1");
    assert_eq!(normalised("train -seed=-1"), "train --seed=-1");
    assert_eq!(normalised("train --sparsity -.5"), "train --sparsity=-.5");
    assert_eq!(
        normalised("test --weights -odd.caffemodel --json"),
        "test --weights=-odd.caffemodel --json"
    );
    assert_eq!(
        normalised("train --sparsity conv1=0,*=0.3"),
        "train --sparsity=conv1=0,*=0.3"
    );
}

#[test]
fn a_flag_without_its_value_does_not_swallow_the_next_flag() {
    assert_eq!(
        normalised("train --solver --phase dense"),
        "train --solver --phase=dense"
    );
    assert_eq!(normalised("train --solver -h"), "train --solver -h");
    assert_eq!(normalised("train --solver"), "train --solver");
}

#[test]
fn short_flags_numbers_and_what_follows_two_dashes_stay() {
    assert_eq!(normalised("-h"), "-h");
    assert_eq!(normalised("-V"), "-V");
    assert_eq!(normalised("train -h"), "train -h");
    assert_eq!(normalised("train -v 1"), "train");
    assert_eq!(normalised("inspect - -3 -x"), "inspect - -3 -x");
    assert_eq!(normalised("inspect -- -json"), "inspect -- -json");
    assert_eq!(normalised(""), "");
}

#[test]
fn unknown_flags_get_two_dashes_so_that_clap_can_suggest() {
    assert_eq!(normalised("train -solvr=s"), "train --solvr=s");
}

#[test]
fn every_flag_of_caffe_gflags_and_glog_is_taken_by_every_command() {
    let spelling = Spelling::of(&crate::cli::Cli::command());
    for (command, own) in &spelling.own {
        for flag in foreign::FLAGS {
            if own.contains_key(flag.name) || flag.name.starts_with("help") {
                continue;
            }
            let value = match flag.kind {
                Kind::Switch => "",
                Kind::Number => "=10",
                Kind::Text => "=x",
            };
            let line = format!("{command} -{}{value}", flag.name);
            assert_eq!(normalised(&line), *command, "{line}");
        }
    }
    assert_eq!(normalised("test -solver x -json"), "test --json");
    assert_eq!(normalised("train -phase=TEST"), "train");
    assert_eq!(normalised("train -phase=dsd"), "train --phase=dsd");
    assert_eq!(normalised("-vmodule net=1 train"), "train");
}

#[test]
fn what_a_dropped_flag_is_given_must_be_of_its_kind() {
    let spelling = Spelling::of(&crate::cli::Cli::command());
    for line in ["train -iterations=x", "train -model", "test -v=a"] {
        let words = std::iter::once("dsd").chain(line.split(' '));
        let wrong = spelling.normalise(words.map(OsString::from)).unwrap_err();
        assert!(wrong.1.contains("'--"), "{line}: {}", wrong.1);
    }
}

#[test]
fn an_empty_value_is_as_none_and_takes_back_what_was_given() {
    assert_eq!(
        normalised("train -snapshot= -weights=w"),
        "train --weights=w"
    );
    assert_eq!(normalised("train -weights=w -weights="), "train");
    assert_eq!(normalised("test --json --json="), "test --json");
    let spelling = Spelling::of(&crate::cli::Cli::command());
    let words = ["dsd", "train", "-snapshot", "", "-solver", "s"].map(OsString::from);
    assert_eq!(
        spelling.normalise(words).unwrap().words[1..],
        ["train", "--solver=s"]
    );
}

#[test]
fn help_is_asked_for_in_gflags_ways() {
    for flag in [
        "-helpfull",
        "-helpshort",
        "--helpon=train",
        "-helpxml",
        "-helpmatch x",
    ] {
        assert_eq!(normalised(&format!("train {flag}")), "train --help");
    }
    assert_eq!(normalised("-helpfull"), "--help");
    assert_eq!(normalised("train -nohelpfull -helpmatch="), "train");
}

#[test]
fn unknown_flags_that_undefok_names_are_left_out() {
    assert_eq!(
        normalised("train --undefok=speed,loud -speed=3 --noloud -other"),
        "train --other"
    );
}

#[test]
fn glogs_switches_can_be_put_off() {
    assert_eq!(
        normalised("train -noalsologtostderr -logtostderr"),
        "train --alsologtostderr=false --logtostderr"
    );
    assert_eq!(
        normalised("train -logtostderr=0 -logtostderr=1"),
        "train --logtostderr"
    );
}

#[cfg(unix)]
#[test]
fn a_value_may_be_of_any_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let spelling = Spelling::of(&crate::cli::Cli::command());
    let odd = OsStr::from_bytes(b"-solver=\xff.prototxt").to_owned();
    let words = spelling
        .normalise(["dsd".into(), "train".into(), odd])
        .unwrap()
        .words;
    assert_eq!(words[2].as_bytes(), b"--solver=\xff.prototxt");
}
