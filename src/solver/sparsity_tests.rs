//! What rules say, and what is no rule.

use super::Rule::{Fraction, Quality};
use super::*;
use std::fs;

#[test]
fn the_first_match_wins() {
    let s = Sparsity::parse("conv1=0,conv_final=0.8,fire?/*=std:0.5,*=0.3").unwrap();
    assert_eq!(s.of("conv1"), Some(Fraction(0.0)));
    assert_eq!(s.of("conv_final"), Some(Fraction(0.8)));
    assert_eq!(s.of("fire2/conv1x1_1"), Some(Quality(0.5)));
    assert_eq!(s.of("ip"), Some(Fraction(0.3)));
    let all = |text: &str| Sparsity::parse(text).unwrap().of("anything");
    assert_eq!(all("0.25"), Some(Fraction(0.25)));
    assert_eq!(all(" std: 1.5 "), Some(Quality(1.5)));
    assert_eq!(Sparsity::parse("conv1=0.5").unwrap().of("conv2"), None);
}

#[test]
fn the_published_profile_knows_both_families() {
    let s = Sparsity::parse("@squeezenet_3x").unwrap();
    let n = 512_000;
    let pruned = s.of("conv_final").unwrap().pruned(&vec![1.0; n]);
    assert_eq!(pruned, n - 102_323);
    assert_eq!(s.of("conv10"), s.of("conv_final"));
    assert_eq!(s.of("fire2/squeeze1x1"), s.of("fire2/conv1x1_1"));
    assert_eq!(s.of("other"), None);
    assert_eq!(s.recorded(), "@squeezenet_3x");
}

#[test]
fn the_papers_rule_is_for_all_layers_but_the_first_convolution() {
    for (text, fraction) in [("@dsd", 0.3), (" @dsd:0.5 ", 0.5), ("@dsd:0", 0.0)] {
        let s = Sparsity::parse(text).unwrap();
        assert_eq!(
            (s.of("conv1"), s.recorded().as_str()),
            (Some(Fraction(fraction)), text.trim())
        );
        let on = s.on(Some("conv1"));
        assert_eq!(on.of("conv1"), Some(Fraction(0.0)));
        assert_eq!(on.of("fc6"), Some(Fraction(fraction)));
        assert_eq!(on.shadowed(&["conv1", "fc6"]), None);
    }
    // Other rules know their layers by name.
    let uniform = Sparsity::parse("0.3").unwrap().on(Some("conv1"));
    assert_eq!(uniform.of("conv1"), Some(Fraction(0.3)));
    assert_eq!(located("@dsd:0.5", std::path::Path::new("x")), "@dsd:0.5");
    let agrees = |a: &str, b: &str| {
        Sparsity::parse(a)
            .unwrap()
            .agrees(&Sparsity::parse(b).unwrap())
    };
    assert!(agrees("0.3", "*=0.30") && agrees("@dsd", "@dsd:0.3"));
    assert!(!agrees("0.3", "@dsd") && !agrees("0.3", "0.4"));
}

#[test]
fn nonsense_is_refused() {
    for bad in [
        "1.0",
        "-0.1",
        "abc",
        "conv1=",
        "@other",
        "conv1=2",
        "",
        "nan",
        "std:",
        "std:-1",
        "std:inf",
        "std:x",
        "@dsd:",
        "@dsd:1",
        "@dsd:x",
        "@dsd:std:1",
        "std:nan",
        "@",
        "0.1,,0.2",
    ] {
        assert!(Sparsity::parse(bad).is_err(), "{bad}");
    }
    assert_eq!(
        Sparsity::parse("conv9=0.1,*=0")
            .unwrap()
            .unmatched(&["conv1"]),
        ["conv9"]
    );
}

#[test]
fn a_file_holds_rules_line_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules");
    fs::write(
        &path,
        "# head\nconv1=0 # first\n\n fc*=std:1.2, ip=0.25,\n*=0.5\n",
    )
    .unwrap();
    let text = format!("@{}", path.display());
    let s = Sparsity::parse(&text).unwrap();
    assert_eq!(s.of("conv1"), Some(Fraction(0.0)));
    assert_eq!(s.of("fc7"), Some(Quality(1.2)));
    assert_eq!(s.of("ip"), Some(Fraction(0.25)));
    assert_eq!(s.of("x"), Some(Fraction(0.5)));
    assert_eq!(
        (s.text(), s.recorded().as_str()),
        (text.as_str(), "conv1=0,fc*=std:1.2,ip=0.25,*=0.5")
    );
    assert_eq!(located("@rules", folder.path()), text);
    assert_eq!(located("@squeezenet_3x", folder.path()), "@squeezenet_3x");
    assert_eq!(located("0.3", folder.path()), "0.3");

    let says = |content: &str, what: &[&str]| {
        fs::write(&path, content).unwrap();
        let error = format!("{:#}", Sparsity::parse(&text).unwrap_err());
        for what in what {
            assert!(error.contains(what), "{error}");
        }
    };
    says("a=0.1\n\nb=1.5\n", &["rules:3", "b=1.5", "[0, 1)"]);
    says("a=std:x\n", &["rules:1", "'x' is not a number"]);
    says("# only this\n", &["no rule"]);
}

#[test]
fn the_suggestion_of_a_json_file_is_a_rule_a_layer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.json");
    let text = format!("@{}", path.display());
    let layers = r#"[{"name": "a", "sparsity": 0.5}, {"name": "b", "sparsity": 0}]"#;
    fs::write(
        &path,
        format!(r#"{{"suggestion": {{"layers": {layers}}}}}"#),
    )
    .unwrap();
    let s = Sparsity::parse(&text).unwrap();
    assert_eq!(
        (s.of("a"), s.of("b")),
        (Some(Fraction(0.5)), Some(Fraction(0.0)))
    );
    for (content, what) in [
        ("{}", "--suggest"),
        ("{", "not JSON"),
        (
            r#"{"suggestion": {"layers": [{"name": "a"}]}}"#,
            "layers[0]",
        ),
    ] {
        fs::write(&path, content).unwrap();
        let error = format!("{:#}", Sparsity::parse(&text).unwrap_err());
        assert!(error.contains(what) && error.contains("s.json"), "{error}");
    }
}

#[test]
fn wildcards() {
    assert!(
        wildcard("*", "")
            && wildcard("a*b?d", "axxbcd")
            && wildcard("fire*/conv3x3_2", "fire9/conv3x3_2")
    );
    assert!(!wildcard("a?", "a") && !wildcard("a*b", "abc") && !wildcard("", "x"));
}
