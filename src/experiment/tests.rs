use super::*;
use std::fs;

const FILE: &str = r#"
title = "Controls"
solver = "solver.prototxt"
control = "C"

[phase.dense]
kind = "dense"
max_iter = 100
[phase.sparse]
kind = "sparse"
sparsity = "@dsd:0.5"
max_iter = 40
[phase.redense]
kind = "redense"
[phase.unmasked]
kind = "dense"
base_lr = 0.02
max_iter = 40

[[arm]]
name = "A"
phases = ["dense"]
[[arm]]
name = "C"
phases = ["dense", "unmasked"]
seeds = 2
[[arm]]
name = "S"
title = "the sparse net"
phases = ["dense", "sparse"]
[[arm]]
name = "G50"
phases = ["dense", "sparse", "redense"]
seeds = 2

[[group]]
name = "small"
stage = ["small"]
length = 0.5
seeds = 2
[[group]]
name = "full"
arms = ["A", "C"]
"#;

fn parse(text: &str) -> Result<Experiment> {
    let folder = tempfile::tempdir().unwrap();
    let solver =
        "net: 'n.prototxt'\nbase_lr: 0.1\nlr_policy: 'fixed'\nmax_iter: 7\nrandom_seed: 1\n";
    fs::write(folder.path().join("solver.prototxt"), solver).unwrap();
    let net = "layer { name: 'd' type: 'DummyData' top: 'd' dummy_data_param { shape { dim: 1 dim: 1 } } }";
    fs::write(folder.path().join("n.prototxt"), net).unwrap();
    let path = folder.path().join("e.toml");
    fs::write(&path, text).unwrap();
    read(&path)
}

#[test]
fn arms_that_begin_alike_share_their_runs() {
    let experiment = parse(FILE).unwrap();
    let nodes = nodes(&experiment);
    let folder = |n: &Node| n.folder(&experiment).display().to_string();
    let found: Vec<String> = nodes.iter().map(folder).collect();
    let wanted = [
        // A and S have 3 seeds, of which the first group takes 2.
        "runs/small/seed1/dense",
        "runs/small/seed1/dense+sparse",
        "runs/small/seed2/dense",
        "runs/small/seed2/dense+sparse",
        "runs/full/seed1/dense",
        "runs/full/seed2/dense",
        "runs/full/seed3/dense",
        "runs/small/seed1/dense+unmasked",
        "runs/small/seed1/dense+sparse+redense",
        "runs/small/seed2/dense+unmasked",
        "runs/small/seed2/dense+sparse+redense",
        "runs/full/seed1/dense+unmasked",
        "runs/full/seed2/dense+unmasked",
    ];
    assert_eq!(found, wanted);
    // Each after the one that it starts from.
    for (k, node) in nodes.iter().enumerate() {
        let parent = node.parent.map(|p| (p < k, folder(&nodes[p])));
        let path = folder(node);
        let start = path
            .rsplit_once('+')
            .map(|(start, _)| (true, start.to_string()));
        assert_eq!(parent, start);
    }
    let ends = |k: usize| nodes[k].ends.clone();
    assert_eq!((ends(0), ends(1), ends(8)), (vec![0], vec![2], vec![3]));
}

#[test]
fn rates_and_lengths_are_the_whole_flow_s() {
    let experiment = parse(FILE).unwrap();
    let phases = &experiment.arms[3].phases;
    let rate = |k: usize| phases[k].table["base_lr"].as_float().unwrap();
    assert_eq!((rate(0), rate(1), rate(2)), (0.1, 0.01, 0.001));
    assert_eq!(phases[2].iterations(1.0), 7);
    assert_eq!(
        (phases[0].iterations(0.5), phases[2].iterations(0.01)),
        (50, 1)
    );
    let text = phases[1].flow_text(0.5).unwrap();
    let flow = Flow::of_text(&text, Path::new("")).unwrap();
    assert_eq!(flow.steps[0].max_iter, Some(20));
    assert_eq!(flow.steps[0].base_lr, Some(0.01));
    assert_eq!(flow.steps[0].sparsity.as_ref().unwrap().text(), "@dsd:0.5");
}

#[test]
fn what_cannot_run_is_refused_with_the_reason() {
    let says = |from: &str, to: &str, words: &str| {
        assert!(FILE.contains(from), "{from}");
        let error = format!("{:#}", parse(&FILE.replacen(from, to, 1)).unwrap_err());
        assert!(error.contains(words) && error.contains("e.toml"), "{error}");
    };
    says(
        "control = \"C\"",
        "control = \"X\"",
        "the arms are A, C, S, G50",
    );
    says(
        "phases = [\"dense\"]",
        "phases = [\"dens\"]",
        "there is no [phase.dens]",
    );
    says("phases = [\"dense\"]", "phases = []", "arm A has no phases");
    says("name = \"A\"", "name = \"a/b\"", "letters, digits");
    says("name = \"A\"", "name = \"C\"", "two arms 'C'");
    says(
        "sparsity = \"@dsd:0.5\"",
        "sparsity = 1.5",
        "arm S (dense, sparse)",
    );
    says("kind = \"sparse\"", "kind = \"sprase\"", "sprase");
    says("length = 0.5", "length = 0.0", "above 0; found 0");
    says(
        "arms = [\"A\", \"C\"]",
        "arms = [\"A\", \"K\"]",
        "there is no arm 'K'",
    );
    says(
        "solver = \"solver.prototxt\"",
        "solver = \"s.prototxt\"",
        "s.prototxt",
    );
    says("seeds = 2\n[[arm]]", "seeds = 0\n[[arm]]", "found 0");
    says("title = \"Controls\"", "titel = \"Controls\"", "e.toml:2:1");
    says(
        "phases = [\"dense\", \"sparse\"]",
        "phases = [\"sparse\", \"dense\"]",
        "call it redense",
    );
}
