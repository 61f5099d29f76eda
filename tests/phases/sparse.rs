//! The sparse phase: exact densities, and zeros that stay zero.

use super::{fails, run};
use crate::common::{
    self, Blobs, assert_says, names_in, repository, shared, small_run, state_of, weights_of, write,
};
use dsd::layers::Mode;
use dsd::models;
use dsd::net::graph::{Graph, State};
use dsd::net::{Net, Options};
use dsd::tensor::Shape;
use std::fs;
use std::path::Path;

/// Asserts that exactly round(S·n) of a layer's weights are +0.
fn assert_pruned(name: &str, weights: &[f32], sparsity: f64) {
    let n = weights.len();
    let pruned = weights.iter().filter(|w| w.to_bits() == 0).count();
    let wanted = (sparsity * n as f64).round() as usize;
    assert_eq!(pruned, wanted, "{name}: pruned of {n}");
    assert!(
        weights.iter().all(|w| *w != 0.0 || w.to_bits() == 0),
        "{name} has -0"
    );
}

/// Which weights of a layer are 0.
fn zeros(weights: &[f32]) -> Vec<bool> {
    weights.iter().map(|w| *w == 0.0).collect()
}

/// Every snapshot of a sparse phase has the zeros of the first, in weights and history, and exactly as
/// many as `sparsity` says.
fn assert_sparse(folder: &Path, sparsity: &dyn Fn(&str) -> f64) {
    let names = names_in(folder);
    let models: Vec<&String> = names
        .iter()
        .filter(|n| n.ends_with(".caffemodel"))
        .collect();
    assert!(models.len() >= 3, "{names:?}");
    let first = weights_of(&folder.join(models[0]));
    for name in models {
        let weights = weights_of(&folder.join(name));
        for (blob, values) in weights.iter().filter(|(k, _)| k.ends_with("/0")) {
            let layer = blob.trim_end_matches("/0");
            assert_pruned(&format!("{name}: {layer}"), values, sparsity(layer));
            assert_eq!(zeros(values), zeros(&first[blob]), "{name}: {layer}");
        }
        let biases = weights.iter().filter(|(k, _)| k.ends_with("/1"));
        for (blob, values) in biases {
            assert!(values.iter().any(|v| *v != 0.0), "{name}: {blob} is pruned");
        }
        let state = folder.join(name.replace("caffemodel", "solverstate"));
        let (state, history) = state_of(&state);
        let names: Vec<&String> = weights.keys().collect();
        for (k, history) in history.iter().enumerate() {
            let zero = zeros(&weights[names[k % names.len()]]);
            let clean = history
                .iter()
                .zip(zero)
                .all(|(h, z)| !z || h.to_bits() == 0);
            assert!(clean, "{name}: history {k} of pruned weights");
        }
        assert_eq!(state.dsd.unwrap().phase(), "sparse");
    }
}

#[test]
fn every_form_of_sparsity_prunes_exactly_and_for_good() {
    let folder = small_run(20, 7, "snapshot: 2");
    let of = |conv: f64, ip: f64| move |layer: &str| if layer == "conv" { conv } else { ip };
    let forms = [
        ("0.3", of(0.3, 0.3)),
        ("0.987", of(0.987, 0.987)),
        ("0", of(0.0, 0.0)),
        ("conv=0,*=0.5", of(0.0, 0.5)),
        ("c?nv=0.125,ip=0.7777,*=0.9", of(0.125, 0.7777)),
        ("ip=0.61", of(0.0, 0.61)),
    ];
    run(
        folder.path(),
        &[
            "dense",
            "--solver",
            "solver.prototxt",
            "--max_iter",
            "3",
            "--out",
            "d",
        ],
    );
    for (k, (text, sparsity)) in forms.iter().enumerate() {
        let out = format!("s{k}");
        let from = "d/dense/small_iter_3.caffemodel";
        let args = [
            "prune",
            "--solver",
            "solver.prototxt",
            "--weights",
            from,
            "--out",
            &out,
        ];
        run(folder.path(), &[&args[..], &["--sparsity", text]].concat());
        assert_sparse(&folder.path().join(out).join("sparse"), sparsity);
    }
}

#[test]
fn pruned_weights_stay_zero_under_each_of_the_six_rules() {
    let rules = [
        "type: \"SGD\" regularization_type: \"L1\"",
        "type: \"Nesterov\"",
        "type: \"AdaGrad\" momentum: 0",
        "type: \"RMSProp\" rms_decay: 0.98 momentum: 0",
        "type: \"AdaDelta\" momentum: 0.95 delta: 1e-6",
        "type: \"Adam\" momentum2: 0.99 clip_gradients: 2",
    ];
    for rule in rules {
        let folder = small_run(20, 7, "");
        let solver = common::digits_solver(7, &format!("snapshot: 2 iter_size: 2 {rule}"));
        // A field may be given once.
        let solver = match rule.contains(" momentum: ") {
            true => solver.replacen("momentum: 0.9 ", "", 1),
            false => solver,
        };
        write(folder.path(), "solver.prototxt", &solver);
        run(
            folder.path(),
            &[
                "train",
                "--phase",
                "dsd",
                "--solver",
                "solver.prototxt",
                "--out",
                "r",
                "--sparsity",
                "conv=0.5,*=0.8",
            ],
        );
        let sparsity = |layer: &str| if layer == "conv" { 0.5 } else { 0.8 };
        assert_sparse(&folder.path().join("r/sparse"), &sparsity);
        let last = weights_of(&folder.path().join("r/redense/small_iter_7.caffemodel"));
        let alive = last["ip/0"].iter().filter(|w| **w != 0.0).count();
        assert!(
            alive > last["ip/0"].len() / 3,
            "{rule}: the mask is not lifted: {alive} of {}",
            last["ip/0"].len()
        );
    }
}

/// The published weights by the library, of the built-in net.
fn published(weights: &Path) -> Blobs {
    let builtin = models::find("squeezenet_v1.0").unwrap();
    let net = builtin.deploy(models::Family::Release).unwrap();
    let graph = Graph::new(&net, &State::new(Mode::Test)).unwrap();
    let shapes = models::input_shapes(&graph).unwrap();
    let net = Net::new(graph, &shapes, &Options::default()).unwrap();
    common::named(&dsd::weights_file::read(weights, &net).unwrap())
}

#[test]
fn the_published_profile_prunes_what_the_published_weights_lack() {
    let (Some(weights), Some(source), Some(facts)) = (
        shared("data/squeezenet_deepcomp.net"),
        shared("goldens/sqtrain/lmdb227"),
        shared("facts/squeezenet_3x_density.tsv"),
    ) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let net = repository("models/squeezenet_v1.0/train_val.prototxt");
    let text = fs::read_to_string(net).unwrap();
    write(
        folder.path(),
        "net.prototxt",
        &text.replace("batch_size: 32", "batch_size: 2"),
    );
    let solver = "net: \"net.prototxt\" base_lr: 0.001 lr_policy: \"fixed\" max_iter: 1 momentum: 0.9 weight_decay: 0.0002";
    write(folder.path(), "solver.prototxt", solver);
    let (weights, source) = (weights.display().to_string(), source.display().to_string());
    let args = [
        "prune",
        "--solver",
        "solver.prototxt",
        "--sparsity",
        "@squeezenet_3x",
        "--source",
        &source,
        "--weights",
    ];
    // Without an iteration, pruning by their own profile changes nothing in the published weights.
    run(
        folder.path(),
        &[&args[..], &[&weights, "--max_iter", "0", "--out", "none"]].concat(),
    );
    let snapshot = |out: &str, name: &str| {
        let sparse = folder.path().join(out).join("sparse");
        let names = names_in(&sparse);
        let found = names.iter().find(|n| n.ends_with(name));
        weights_of(&sparse.join(found.unwrap_or_else(|| panic!("{names:?}"))))
    };
    assert!(snapshot("none", "_iter_0.caffemodel") == published(Path::new(&weights)));
    // From random weights, and after an iteration, the densities are the published ones.
    let random = tempfile::NamedTempFile::with_suffix(".npz").unwrap();
    let (net, _) = dsd::proto::load_net(&folder.path().join("net.prototxt")).unwrap();
    let graph = Graph::new(&net, &State::new(Mode::Train)).unwrap();
    let shapes = [Shape::new([2, 3, 227, 227]), Shape::new([2])];
    let net = Net::new(graph, &shapes, &Options::default()).unwrap();
    let filled = net.to_stored(&net.fill(1).unwrap());
    let arrays = filled.layers.iter().flat_map(|l| {
        let name = |k: usize| format!("{}:{k}", l.name);
        l.blobs
            .iter()
            .enumerate()
            .map(move |(k, b)| (name(k), b.view()))
    });
    dsd::npz::write(random.path(), arrays).unwrap();
    let random = random.path().display().to_string();
    run(
        folder.path(),
        &[&args[..], &[&random, "--out", "one"]].concat(),
    );
    let trained = snapshot("one", "_iter_1.caffemodel");
    let facts = fs::read_to_string(facts).unwrap();
    let mut checked = 0;
    for line in facts.lines().skip(1).filter(|l| !l.is_empty()) {
        let cells: Vec<&str> = line.split('\t').collect();
        let alive = trained.get(&format!("{}/0", cells[0]));
        let Some(alive) = alive else { continue };
        let alive = alive.iter().filter(|w| **w != 0.0).count();
        assert_eq!(alive.to_string(), cells[2], "{line}");
        checked += 1;
    }
    assert_eq!(checked, 26);
}

#[test]
fn a_sparse_phase_goes_on_from_a_state_without_masks() {
    // As Caffe would have written it: weights that are 0 are the mask.
    let folder = small_run(20, 6, "snapshot: 3");
    let args = ["--solver", "solver.prototxt", "--out", "r"];
    run(folder.path(), &[&["dense"], &args[..]].concat());
    run(
        folder.path(),
        &[&["prune", "--sparsity", "0.5"], &args[..]].concat(),
    );
    let file = |name: &str| folder.path().join("r/sparse").join(name);
    let want = weights_of(&file("small_iter_6.caffemodel"));
    let (mut state, _) = state_of(&file("small_iter_3.solverstate"));
    state.dsd = None;
    dsd::proto::binary::write(&file("caffe_iter_3.solverstate"), &state).unwrap();
    fs::remove_file(file("small_iter_6.caffemodel")).unwrap();
    let from = ["--snapshot", "r/sparse/caffe_iter_3.solverstate"];
    run(folder.path(), &[&["prune"], &args[..], &from].concat());
    assert!(weights_of(&file("small_iter_6.caffemodel")) == want);
}

#[test]
fn sparsity_that_makes_no_sense_is_refused() {
    let folder = small_run(20, 2, "");
    let args = [
        "train",
        "--phase",
        "dsd",
        "--solver",
        "solver.prototxt",
        "--sparsity",
    ];
    for (text, words) in [
        ("1.5", "[0, 1)"),
        ("half", "not a number"),
        ("@other", "@squeezenet_3x"),
    ] {
        let error = fails(folder.path(), &[&args[..], &[text]].concat(), 2);
        assert_says(&error, &["--sparsity", words]);
    }
    let error = fails(
        folder.path(),
        &["dense", "--solver", "solver.prototxt", "--sparsity", "0.3"],
        2,
    );
    assert_says(&error, &["no phase of this run is sparse"]);
    let error = fails(
        folder.path(),
        &["train", "--solver", "solver.prototxt", "--sparsity", "0.3"],
        2,
    );
    assert_says(&error, &["--phase sparse"]);
    let error = fails(folder.path(), &[&args[..], &["cov=0.3,*=0.1"]].concat(), 1);
    assert_says(&error, &["'cov' matches no layer", "net.prototxt"]);
}

#[test]
fn a_quality_prunes_what_is_below_its_share_of_the_layers_deviation() {
    let folder = small_run(20, 3, "");
    let path = folder.path();
    let train = ["--solver", "solver.prototxt", "--out"];
    run(path, &[&["dense"], &train[..], &["d"]].concat());
    write(
        path,
        "rules",
        "# two layers\nconv=std:0.5\n*=std:1.25 # the rest\n",
    );
    let from = "d/dense/small_iter_3.caffemodel";
    let args = ["s", "--weights", from, "--sparsity", "@rules"];
    run(path, &[&["prune"], &train[..], &args].concat());
    let dense = weights_of(&path.join(from));
    let sparse = weights_of(&path.join("s/sparse/small_iter_3.caffemodel"));
    for (blob, quality) in [("conv/0", 0.5), ("ip/0", 1.25)] {
        let all = || dense[blob].iter().map(|w| f64::from(*w));
        let n = dense[blob].len() as f64;
        let mean = all().sum::<f64>() / n;
        let deviation = (all().map(|w| (w - mean).powi(2)).sum::<f64>() / n).sqrt();
        let wanted: Vec<bool> = all().map(|w| w.abs() < quality * deviation).collect();
        assert_eq!(zeros(&sparse[blob]), wanted, "{blob}");
        assert!(wanted.contains(&true) && wanted.contains(&false), "{blob}");
    }
    let record = fs::read_to_string(path.join("s/sparse/phase.json")).unwrap();
    assert_says(&record, &["\"conv=std:0.5,*=std:1.25\""]);

    let says = |sparsity: &str, code: i32, words: &[&str]| {
        let solver = ["--solver", "solver.prototxt", "--weights", from];
        let args = [&["prune"], &solver[..], &["--sparsity", sparsity]].concat();
        assert_says(&fails(path, &args, code), words);
    };
    write(path, "bad", "conv=0.5\n\nip=std:-1\n");
    says("@bad", 1, &["bad:3", "ip=std:-1", "0 or more"]);
    says("@none", 2, &["@none", "no file 'none'", "@squeezenet_3x"]);
}

#[test]
fn the_papers_sparsity_leaves_the_first_convolution_whole() {
    let folder = small_run(20, 4, "");
    let args = ["train", "--phase", "dsd", "--solver", "solver.prototxt"];
    for (k, (given, said, fraction)) in [
        (&[][..], "@dsd", 0.3),
        (&["--sparsity", "@dsd"], "@dsd", 0.3),
        (&["--sparsity", "@dsd:0.55"], "@dsd:0.55", 0.55),
    ]
    .into_iter()
    .enumerate()
    {
        let out = format!("r{k}");
        let lines = run(
            folder.path(),
            &[&args[..], &["--out", &out], given].concat(),
        );
        let phase = format!(
            "Phase sparse: 4 iterations, base_lr 0.005 (a tenth of the solver's 0.05), sparsity {said}, "
        );
        assert!(lines.iter().any(|l| l.starts_with(&phase)), "{lines:?}");
        let layer = "Pruning conv: 72 of 72 weights stay, density 1.0000";
        assert!(lines.iter().any(|l| l == layer), "{lines:?}");
        let weights = weights_of(
            &folder
                .path()
                .join(out)
                .join("sparse/small_iter_4.caffemodel"),
        );
        assert_pruned("conv", &weights["conv/0"], 0.0);
        assert_pruned("ip", &weights["ip/0"], fraction);
    }
    for (text, words) in [
        ("@dsd:1.5", "[0, 1)"),
        ("@dsd:half", "not a number"),
        ("@dsd:std:1", "@dsd:0.5"),
        ("@dsdd", "known: @dsd, @squeezenet_3x"),
    ] {
        let error = fails(
            folder.path(),
            &[&args[..], &["--sparsity", text]].concat(),
            2,
        );
        assert_says(&error, &["--sparsity", words]);
    }
}

#[test]
fn a_rule_that_never_decides_is_said_before_anything_runs() {
    let folder = small_run(20, 2, "");
    let args = [
        "train",
        "--phase",
        "dsd",
        "--solver",
        "solver.prototxt",
        "--out",
        "r",
    ];
    for (text, words) in [
        (
            "*=0.3,conv=0",
            ["'conv' never decides", "'*' comes before it"],
        ),
        (
            "conv=0,ip=0.5,c*v=0.2",
            ["'c*v' never decides", "'conv' comes before it"],
        ),
        (
            "conv=0,conv=0.5",
            ["'conv' never decides", "'conv' comes before it"],
        ),
    ] {
        let error = fails(
            folder.path(),
            &[&args[..], &["--sparsity", text]].concat(),
            1,
        );
        assert_says(&error, &words);
        assert!(!folder.path().join("r").exists());
    }
    let bits = [
        "quantize",
        "--solver",
        "solver.prototxt",
        "--out",
        "r",
        "--bits",
        "*=4,ip=3",
    ];
    assert_says(&fails(folder.path(), &bits, 1), &["'ip' never decides"]);
    // The rest may be nothing.
    run(
        folder.path(),
        &[&args[..], &["--sparsity", "conv=0,ip=0.5,*=0.3"]].concat(),
    );
}

#[test]
fn a_profile_skips_layers_that_a_net_has_not_and_says_so() {
    let folder = small_run(20, 2, "");
    let args = [
        "train",
        "--phase",
        "dsd",
        "--solver",
        "solver.prototxt",
        "--out",
    ];
    let profile = ["--sparsity", "@squeezenet_3x"];
    let error = fails(folder.path(), &[&args[..], &["r"], &profile].concat(), 1);
    assert_says(&error, &["net.prototxt has none of its layers"]);
    let net = common::digits_net(20, "").replace("\"conv\"", "\"conv1\"");
    write(folder.path(), "net.prototxt", &net);
    let lines = run(folder.path(), &[&args[..], &["r"], &profile].concat());
    let skipped = lines
        .iter()
        .find(|l| l.contains("the net has no such layers"));
    assert_says(skipped.unwrap(), &["fire2/conv1x1_1", "conv_final"]);
    let whole = lines.iter().find(|l| l.contains("no rule for"));
    assert_says(whole.unwrap(), &["no rule for ip; all their weights stay"]);
    let weights = weights_of(&folder.path().join("r/sparse/small_iter_2.caffemodel"));
    assert!(weights["conv1/0"].contains(&0.0));
    assert!(weights["ip/0"].iter().all(|w| *w != 0.0));
}
