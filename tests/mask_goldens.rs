//! Masks against what `data/masks.py` made of the same weights with NumPy.

use crate::common::{dsd, repository, state_of, weights_of, write};
use dsd::random::{Purpose, Random};
use dsd::solver::mask::{Mask, pruned_count};
use dsd::solver::pruning::{Rule, Subject, erk, masks};
use dsd::solver::schedule::RigL;
use dsd::solver::schedule::acdc::{AcDc, Side};
use dsd::solver::schedule::rigl::exchange;
use dsd::tensor::{Shape, Tensor};
use serde_json::Value;

fn golden() -> Value {
    let text = std::fs::read_to_string(repository("tests/data/masks.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn floats(value: &Value) -> Vec<f32> {
    let number = |v: &Value| v.as_f64().unwrap() as f32;
    value.as_array().unwrap().iter().map(number).collect()
}

fn counts(value: &Value) -> Vec<usize> {
    let number = |v: &Value| v.as_u64().unwrap() as usize;
    value.as_array().unwrap().iter().map(number).collect()
}

fn mask(value: &Value) -> Mask {
    let bits = counts(value);
    Mask::of(bits.len(), |i| bits[i] == 1)
}

fn items(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().unwrap().iter()
}

fn random(seed: u64, stream: u64, iteration: u64) -> Random {
    Random::new(seed, Purpose::Mask, stream).branch(iteration)
}

fn subject<'a>(rule: &str, weights: &'a [f32], dims: &'a [usize], random: Random) -> Subject<'a> {
    Subject {
        rule: Some(Rule::parse(rule).unwrap()),
        weights,
        dims,
        random,
    }
}

#[test]
fn one_threshold_over_layers_is_numpys() {
    let g = &golden()["global"];
    let arrays: Vec<Vec<f32>> = g["weights"]
        .as_array()
        .unwrap()
        .iter()
        .map(floats)
        .collect();
    for (part, wanted) in items(&g["masks"]) {
        let rule = format!("global:{part}");
        let dims: Vec<[usize; 1]> = arrays.iter().map(|w| [w.len()]).collect();
        let subjects: Vec<Subject> = (0..arrays.len())
            .map(|i| subject(&rule, &arrays[i], &dims[i], random(1, 0, 0)))
            .collect();
        let wanted: Vec<Mask> = wanted.as_array().unwrap().iter().map(mask).collect();
        assert_eq!(masks(&subjects), wanted, "{part}");
    }
}

#[test]
fn densities_by_kernel_are_numpys() {
    let g = &golden()["erk"];
    let shapes: Vec<Vec<usize>> = g["shapes"].as_array().unwrap().iter().map(counts).collect();
    let dims: Vec<&[usize]> = shapes.iter().map(|s| &s[..]).collect();
    for (part, alive) in items(&g["alive"]) {
        assert_eq!(erk(&dims, part.parse().unwrap()), counts(alive), "{part}");
    }
}

#[test]
fn groups_and_chance_are_numpys() {
    let g = golden();
    for case in g["groups"].as_array().unwrap() {
        let (weights, dims) = (floats(&case["weights"]), counts(&case["dims"]));
        let rule = case["rule"].as_str().unwrap();
        let got = masks(&[subject(rule, &weights, &dims, random(1, 0, 0))]);
        assert_eq!(got[0], mask(&case["mask"]), "{rule} of {dims:?}");
    }
    for case in g["random"].as_array().unwrap() {
        let n = |name: &str| case[name].as_u64().unwrap();
        let random = random(n("seed"), n("stream"), n("iteration"));
        let got = masks(&[subject("random:0.5", &[1.0; 100], &[100], random)]);
        assert_eq!(got[0], mask(&case["mask"]), "{case}");
    }
}

#[test]
fn what_dies_and_grows_is_numpys() {
    let g = &golden()["rigl"];
    let (weights, gradients) = (floats(&g["weights"]), floats(&g["gradients"]));
    for (k, wanted) in items(&g["next"]) {
        let got = exchange(&mask(&g["mask"]), &weights, &gradients, k.parse().unwrap());
        assert_eq!(got, mask(wanted), "{k}");
    }
    let rigl = RigL::new(None, None, None, 1000).unwrap();
    for pair in g["exchanged"].as_array().unwrap() {
        let pair = counts(pair);
        assert_eq!(rigl.exchanged(pair[0] as u64, 12345), pair[1], "{pair:?}");
    }
}

#[test]
fn masks_in_turn_are_numpys() {
    let g = &golden()["acdc"];
    let acdc = AcDc {
        starts: Side::Sparse,
        switches: vec![2, 4],
        ..AcDc::default()
    };
    let steps: Vec<Vec<f32>> = g["steps"].as_array().unwrap().iter().map(floats).collect();
    let mut weights = steps[0].clone();
    let mut now = Mask::all(weights.len());
    for (t, wanted) in g["masks"].as_array().unwrap().iter().enumerate() {
        if t == 0 || acdc.switches.contains(&(t as u64)) {
            now = match acdc.is_sparse(t as u64) {
                true => Mask::prune_smallest(&weights, pruned_count(0.6, weights.len())),
                false => Mask::all(weights.len()),
            };
        }
        now.apply(&mut weights);
        assert_eq!(now, mask(wanted), "step {t}");
        for (w, step) in weights.iter_mut().zip(&steps[t + 1]) {
            *w += step;
        }
        now.apply(&mut weights);
    }
    assert_eq!(weights, floats(&g["end"]));
}

/// A layer without bias whose input and target are constants; two equal samples.
fn one_layer(x: &[f32]) -> String {
    let shapes = "shape { dim: 2 dim: 1 } ".repeat(x.len());
    let tops: String = (0..x.len()).map(|i| format!("top: \"x{i}\" ")).collect();
    let bottoms = tops.replace("top:", "bottom:");
    let fillers = x.iter().map(|v| format!("data_filler {{ value: {v} }} "));
    let fillers: String = fillers.collect();
    format!(
        r#"name: "one"
layer {{ name: "x" type: "DummyData" {tops} dummy_data_param {{ {fillers} {shapes} }} }}
layer {{ name: "t" type: "DummyData" top: "t" dummy_data_param {{ data_filler {{ value: 1 }} shape {{ dim: 2 dim: 4 }} }} }}
layer {{ name: "all" type: "Concat" {bottoms} top: "all" }}
layer {{ name: "ip" type: "InnerProduct" bottom: "all" top: "y"
  inner_product_param {{ num_output: 4 bias_term: false weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }}
"#
    )
}

#[test]
fn straight_through_training_is_numpys() {
    let g = &golden()["srste"];
    let folder = tempfile::tempdir().unwrap();
    let x = floats(&g["x"]);
    write(folder.path(), "net.prototxt", &one_layer(&x));
    let solver = "net: \"net.prototxt\" base_lr: 0.05 lr_policy: \"fixed\" momentum: 0.9 weight_decay: 0.01 max_iter: 6 \
                  snapshot: 1 snapshot_prefix: \"one\"";
    write(folder.path(), "solver.prototxt", solver);
    let start = Tensor {
        shape: Shape::new([4, 8]),
        data: floats(&g["start"]),
    };
    dsd::npz::write(&folder.path().join("start.npz"), [("ip:0", start.view())]).unwrap();
    let flow = "solver = 'solver.prototxt'\n[[phase]]\nkind = 'sparse'\nsparsity = '2:4'\nschedule = 'srste'\n\
                srste_decay = 0.02\nbase_lr = 0.05\n";
    write(folder.path(), "flow.toml", flow);
    let args = [
        "train",
        "--flow",
        "flow.toml",
        "--weights",
        "start.npz",
        "--out",
        "r",
    ];
    let output = dsd()
        .args(args)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    for (t, wanted) in g["course"].as_array().unwrap().iter().enumerate() {
        let path = folder
            .path()
            .join(format!("r/sparse/one_iter_{}.caffemodel", t + 1));
        let (state, _) = state_of(&path.with_extension("solverstate"));
        let own = state.dsd.unwrap();
        let dense = &own.dense[0].values;
        let pruned = &weights_of(&path)["ip/0"];
        let held = mask(&wanted["mask"]);
        assert_eq!(own.masks[0].bits(), held.bits(), "iteration {t}");
        for (i, want) in floats(&wanted["dense"]).into_iter().enumerate() {
            assert!(
                (dense[i] - want).abs() < 2e-6,
                "iteration {t}: {} {want}",
                dense[i]
            );
            let kept = if held.get(i) { dense[i] } else { 0.0 };
            assert_eq!(pruned[i].to_bits(), kept.to_bits(), "iteration {t}");
        }
    }
}
