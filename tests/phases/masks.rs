//! Rules for the masks beyond one fraction a layer, and masks that come and go.

use super::{cut, fails, run};
use crate::common::process::assert_same;
use crate::common::{assert_says, small_run, state_of, weights_of, write};
use std::fs;
use std::path::{Path, PathBuf};

pub(super) const ARGS: [&str; 5] = ["train", "--flow", "flow.toml", "--out", "r"];

/// A folder with the small net, whose conv has 72 weights and ip 1280, and `flow.toml`.
pub(super) fn flow(max_iter: usize, solver: &str, phases: &[&str]) -> tempfile::TempDir {
    let folder = small_run(20, max_iter, solver);
    let phases = phases.iter().map(|p| format!("[[phase]]\n{p}\n"));
    let text = format!("solver = 'solver.prototxt'\n{}", phases.collect::<String>());
    write(folder.path(), "flow.toml", &text);
    folder
}

pub(super) fn model(folder: &Path, phase: &str, iter: u64) -> PathBuf {
    folder
        .join("r")
        .join(phase)
        .join(format!("small_iter_{iter}.caffemodel"))
}

/// The weights of conv and ip that are alive, in the weights and, where there are masks, in these.
pub(super) fn alive(folder: &Path, phase: &str, iter: u64) -> (usize, usize) {
    let path = model(folder, phase, iter);
    let weights = weights_of(&path);
    let of = |blob: &str| weights[blob].iter().filter(|w| **w != 0.0).count();
    let counts = (of("conv/0"), of("ip/0"));
    let (state, history) = state_of(&path.with_extension("solverstate"));
    for mask in state.dsd.unwrap().masks {
        let blob = format!("{}/{}", mask.layer(), mask.blob());
        let bits = mask.bits().iter();
        let held: u32 = bits.map(|b| b.count_ones()).sum();
        let w = &weights[&blob];
        let h = history.iter().find(|h| h.len() == w.len()).unwrap();
        let clean = (0..w.len()).all(|i| {
            let lives = mask.bits()[i / 8] >> (i % 8) & 1 == 1;
            lives || w[i].to_bits() == 0 && h[i].to_bits() == 0
        });
        assert!(clean, "{phase} {iter}: {blob} is not 0 where its mask is");
        assert!(of(&blob) <= held as usize);
    }
    counts
}

#[test]
fn every_rule_leaves_its_exact_number_and_holds_it() {
    let phases = [
        "kind = 'dense'\nmax_iter = 3",
        "kind = 'sparse'\nsparsity = 'X'",
    ];
    let folder = flow(5, "snapshot: 1", &phases);
    let text = fs::read_to_string(folder.path().join("flow.toml")).unwrap();
    // conv has 8 × 1 × 3 × 3 weights, ip 10 × 128: 1352 in all.
    let all = 1352.0_f64;
    for (rule, total, each) in [
        ("global:0.8", Some(all - (0.8 * all).round()), None),
        ("conv=0,*=global:0.5", None, Some((72, 640))),
        ("erk:0.8", Some(all - (0.8 * all).round()), Some((26, 244))),
        ("random:0.5", None, Some((36, 640))),
        ("random:erk:0.9", Some(135.0), None),
        ("2:4", None, Some((72, 640))),
        ("conv=0.5,ip=1:8", None, Some((36, 160))),
    ] {
        write(
            folder.path(),
            "flow.toml",
            &text.replace("'X'", &format!("'{rule}'")),
        );
        run(folder.path(), &ARGS);
        let first = alive(folder.path(), "sparse", 1);
        for iter in 1..=5 {
            assert_eq!(alive(folder.path(), "sparse", iter), first, "{rule}");
        }
        if let Some(total) = total {
            assert_eq!(first.0 + first.1, total as usize, "{rule}");
        }
        if let Some(each) = each {
            assert_eq!(first, each, "{rule}");
        }
        let record = fs::read_to_string(folder.path().join("r/sparse/phase.json")).unwrap();
        assert_says(&record, &[&format!("\"sparsity\": \"{rule}\"")]);
        fs::remove_dir_all(folder.path().join("r")).unwrap();
    }
}

#[test]
fn a_random_mask_is_the_seeds() {
    let folder = flow(
        2,
        "",
        &["kind = 'dense'", "kind = 'sparse'\nsparsity = 'random:0.5'"],
    );
    let mask = |more: &[&str]| {
        run(folder.path(), &[&ARGS[..], more].concat());
        let weights = weights_of(&model(folder.path(), "sparse", 2));
        fs::remove_dir_all(folder.path().join("r")).unwrap();
        let zero: Vec<bool> = weights["ip/0"].iter().map(|w| *w == 0.0).collect();
        zero
    };
    let one = mask(&["--threads", "1"]);
    assert_eq!(one, mask(&["--threads", "2"]));
    let other = mask(&["--seed", "8"]);
    let same = one.iter().zip(&other).filter(|(a, b)| a == b).count();
    assert!((480..800).contains(&same), "{same}");
}

#[test]
fn without_hold_the_zeros_of_the_start_grow_again() {
    let folder = flow(
        4,
        "snapshot: 1",
        &[
            "kind = 'dense'",
            "kind = 'sparse'\nsparsity = 0.5\nhold = false",
            "kind = 'redense'",
        ],
    );
    let lines = run(folder.path(), &ARGS);
    assert!(lines.iter().any(|l| l.contains("No mask holds them")));
    let (state, _) = state_of(&model(folder.path(), "sparse", 1).with_extension("solverstate"));
    assert!(state.dsd.unwrap().masks.is_empty());
    assert!(alive(folder.path(), "sparse", 4).1 > 1000);
    // It started as a held one does: that one's first step is this one's where the mask is.
    let dense = weights_of(&model(folder.path(), "dense", 4));
    let first = weights_of(&model(folder.path(), "sparse", 1));
    let mut order: Vec<usize> = (0..1280).collect();
    order.sort_by(|&a, &b| dense["ip/0"][a].abs().total_cmp(&dense["ip/0"][b].abs()));
    let near = |i: &&usize| first["ip/0"][**i].abs() < dense["ip/0"][**i].abs();
    assert!(order[..640].iter().filter(near).count() > 400);
    assert_resumes(folder.path(), "sparse", &[2]);
}

/// Asserts that the run in `r`, cut after each of these iterations of a phase, ends with the same bytes.
pub(super) fn assert_resumes(folder: &Path, phase: &str, cuts: &[u64]) {
    let whole = folder.join("whole");
    copy(&folder.join("r"), &whole);
    for (k, iter) in cuts.iter().enumerate() {
        cut(&folder.join("r").join(phase), *iter);
        let threads = ["1", "2"][k % 2];
        run(
            folder,
            &["train", "--out", "r", "--resume", "--threads", threads],
        );
        for entry in fs::read_dir(&whole).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if entry.path().is_dir() {
                assert_same(
                    &folder.join("r"),
                    &whole,
                    &name,
                    &format!("{phase} from {iter}"),
                );
            }
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

#[test]
fn sparse_and_dense_stretches_take_turns_under_one_rate_curve() {
    let sparse = "kind = 'sparse'\nsparsity = 'conv=0,ip=0.75'\nschedule = 'acdc'\nac_dc_every = 2\nsolver = 'own.prototxt'";
    let folder = flow(11, "snapshot: 1", &["kind = 'dense'\nmax_iter = 3", sparse]);
    let own = fs::read_to_string(folder.path().join("solver.prototxt")).unwrap();
    let own = own.replace("lr_policy: \"step\"", "lr_policy: \"poly\" power: 1");
    write(folder.path(), "own.prototxt", &own);
    let lines = run(folder.path(), &ARGS);
    let rates: Vec<f32> = lines
        .iter()
        .filter_map(|l| l.split_once(", lr = ")?.1.parse().ok())
        .collect();
    for (t, rate) in rates[3..].iter().enumerate() {
        assert!(
            (rate - 0.05 * (1.0 - t as f32 / 11.0)).abs() < 1e-6,
            "{t}: {rate}"
        );
    }
    let counts: Vec<usize> = (1..=11)
        .map(|iter| alive(folder.path(), "sparse", iter).1)
        .collect();
    // Turns at 2, 4, 6 and 8; the last stretch takes what is left.
    for (k, n) in counts.iter().enumerate() {
        match k {
            0 | 1 | 4 | 5 | 8..=10 => assert_eq!(*n, 320, "{counts:?}"),
            _ => assert!(*n > 900, "{counts:?}"),
        }
    }
    let weights = |iter| weights_of(&model(folder.path(), "sparse", iter))["ip/0"].clone();
    let zeros = |w: &[f32]| w.iter().map(|w| *w == 0.0).collect::<Vec<_>>();
    // Weights come back from 0 by one step at the rate of then, and each sparse stretch has a mask of its own.
    let step = weights(2)
        .iter()
        .zip(&weights(3))
        .filter(|(b, _)| **b == 0.0)
        .map(|(_, a)| a.abs())
        .fold(0.0, f32::max);
    assert!(step < 0.05, "{step}");
    for turn in [4, 8] {
        let mask = dsd::solver::mask::Mask::prune_smallest(&weights(turn), 960);
        let wanted: Vec<bool> = (0..1280).map(|i| !mask.get(i)).collect();
        assert!(zeros(&weights(turn + 1)) == wanted, "{turn}");
    }
    assert_resumes(folder.path(), "sparse", &[1, 2, 3, 4, 8]);
    let record = fs::read_to_string(folder.path().join("whole/sparse/phase.json")).unwrap();
    assert_says(
        &record,
        &[
            "acdc, sparse first, turns at 2 4 6 8",
            "\"ac_dc_every\": \"2\"",
        ],
    );
}

#[test]
fn stretches_that_end_dense_need_no_redense_phase() {
    let sparse = "kind = 'sparse'\nsparsity = 0.5\nschedule = 'acdc'\nrounds = 2\nends = 'dense'";
    let folder = flow(
        8,
        "snapshot: 1",
        &["kind = 'dense'", sparse, "kind = 'dense'"],
    );
    run(folder.path(), &ARGS);
    let counts: Vec<usize> = (1..=8)
        .map(|i| alive(folder.path(), "sparse", i).1)
        .collect();
    let sparse: Vec<bool> = counts.iter().map(|n| *n == 640).collect();
    assert_eq!(sparse, [true, true, false, false, true, true, false, false]);
    assert!(alive(folder.path(), "dense-2", 8).1 > counts[7] / 2);
    // Another schedule, or another key of it, would be another phase.
    let text = fs::read_to_string(folder.path().join("flow.toml")).unwrap();
    write(
        folder.path(),
        "flow.toml",
        &text.replace("rounds = 2", "rounds = 3"),
    );
    let error = fails(folder.path(), &[&ARGS[..], &["--resume"]].concat(), 2);
    assert_says(&error, &["rounds: 2 in the run, 3 now"]);
    write(
        folder.path(),
        "flow.toml",
        &text.replace("rounds = 2\n", ""),
    );
    let error = fails(folder.path(), &[&ARGS[..], &["--resume"]].concat(), 2);
    assert_says(&error, &["rounds: 2 in the run, none now"]);
}

#[test]
fn what_does_not_fit_the_phase_is_refused_before_anything_runs() {
    let says = |keys: &str, words: &[&str]| {
        let folder = flow(
            4,
            "",
            &["kind = 'dense'", &format!("kind = 'sparse'\n{keys}")],
        );
        let error = fails(folder.path(), &ARGS, 1);
        assert_says(&error, words);
        assert!(!folder.path().join("r").exists(), "{keys}");
    };
    says(
        "schedule = 'acdc'",
        &["phase sparse", "5 stretches", "4 iterations"],
    );
    says(
        "schedule = 'acdc'\nac_dc_every = 3",
        &["ac_dc_every 3", "no room"],
    );
    says(
        "schedule = 'cubic'\nsparsity = 'conv=0,ip=2:4'",
        &["one weight after the other", "2:4 of layer 'ip'"],
    );
    says(
        "schedule = 'cubic'\nsparsity = 'random:0.5'",
        &["random:0.5 of layer"],
    );
    says(
        "schedule = 'srste'\nsparsity = 0.5",
        &["N:M sparsity such as 2:4", "layer 'conv' is 0.5"],
    );
    says("schedule = 'rigl'", &["never", "update_every"]);
    says(
        "schedule = 'rigl'\nupdate_every = 1\nsparsity = '2:4'",
        &["groups of sparsity 2:4", "srste"],
    );
    says("sparsity = 'random:1.5'", &["phase 2", "[0, 1)"]);
}
