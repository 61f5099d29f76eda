//! What parses to what, and what does not parse.

use super::*;

fn parsed(line: &str) -> Result<Cli, clap::Error> {
    try_parse(
        std::iter::once("dsd")
            .chain(line.split_whitespace())
            .map(OsString::from),
    )
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn a_caffe_script_parses() {
    let line = "train -solver s.prototxt -weights a.caffemodel,b.caffemodel -gpu all -sigint_effect none \
                --level=-1 -stage x,y --logtostderr=1 -log_dir /tmp -v=2 -minloglevel 1 --seed -3";
    let cli = parsed(line).unwrap();
    assert_eq!(
        (cli.global.gpu.as_deref(), cli.global.seed),
        (Some("all"), Some(-3))
    );
    assert_eq!(cli.global.glog.minloglevel, Some(1));
    assert_eq!(cli.global.glog.log_dir, Some("/tmp".into()));
    let Command::Train(Train { phase, args, .. }) = cli.command else {
        panic!("{cli:?}");
    };
    assert_eq!(phase, None);
    assert_eq!(
        args.weights,
        [PathBuf::from("a.caffemodel"), "b.caffemodel".into()]
    );
    assert_eq!(
        (args.sigint_effect, args.sighup_effect),
        (Effect::None, Effect::Snapshot)
    );
    assert_eq!((args.state.level, args.state.stage.len()), (-1, 2));
}

#[test]
fn defaults_are_caffes() {
    let Command::Time(time) = parsed("time -model m -phase TEST").unwrap().command else {
        panic!("not time");
    };
    assert_eq!((time.iterations, time.phase), (50, ModeName::Test));
    let Command::Test(test) = parsed("test -weights w").unwrap().command else {
        panic!("not test");
    };
    assert_eq!((test.iterations, test.json), (None, false));
}

#[test]
fn the_last_of_a_repeated_flag_holds() {
    let cli = parsed("train --max_iter 5 --max-iter=7 --resume --resume").unwrap();
    let Command::Train(train) = cli.command else {
        panic!("{cli:?}");
    };
    assert_eq!(train.args.max_iter, Some(7));
}

#[test]
fn contradictions_and_absurd_numbers_are_usage_errors() {
    for line in [
        "train --snapshot s --weights w",
        "train --snapshot s --resume",
        "train --flow f --phase dense",
        "train --max_iter -5",
        "train --phase both",
        "test",
        "test --weights w --iterations 0",
        "sensitivity",
        "sensitivity --weights w --densities 0.5,x",
        "sensitivity --weights w --iterations 0",
        "time",
        "time --model m --threads 0",
        "run --model m",
        "train --solver --phase dense",
        "device_query 0",
        "classify",
        "compress --weights w",
        "compress --weights w --out o --format zip",
        "decompress --out o",
        "classify --top 0 --weights w a.png",
        "draw net",
        "parse_log run.log",
        "train --v x",
        "train --flagfile=no/such/file",
        "train --fromenv=nothing_of_this_name",
        "plot_training_log 8 out.svg run.log",
        "plot_training_log 0 out.svg",
        "parse_log run.log . --delimiter ab",
        "plot_training_log 0 out.jpg run.log",
        "",
    ] {
        let error = parsed(line).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}: {error}");
    }
}

#[test]
fn a_link_named_as_one_of_caffes_tools_is_that_command() {
    let words = ["tools/parse_log.py", "run.log", ".", "-logtostderr"];
    let cli = try_parse(words.into_iter().map(OsString::from)).unwrap();
    assert!(matches!(cli.command, Command::ParseLog(_)));
    assert_eq!(cli.program, "parse_log.py");
    let words = ["caffe.bin", "train", "-solver", "s", "-snapshot="];
    let cli = try_parse(words.into_iter().map(OsString::from)).unwrap();
    assert!(matches!(cli.command, Command::Train(_)));
}

#[test]
fn a_flag_of_another_command_is_noted_where_it_is_not_caffes_own() {
    assert!(
        parsed("test --weights w -solver x")
            .unwrap()
            .notes
            .is_empty()
    );
    let notes = parsed("inspect f -solver x").unwrap().notes;
    assert_eq!(notes, ["--solver means nothing to inspect; it is ignored"]);
}

#[test]
fn helpfull_lists_the_flags_of_caffes_programs() {
    for line in ["-helpfull", "train --helpfull"] {
        let error = parsed(line).unwrap_err();
        assert_eq!(error.exit_code(), 0);
        assert!(
            error.to_string().contains("--stderrthreshold=N"),
            "{line}: {error}"
        );
    }
    assert!(
        !parsed("train -help")
            .unwrap_err()
            .to_string()
            .contains("stderrthreshold")
    );
}
