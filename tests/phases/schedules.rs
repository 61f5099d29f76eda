//! Masks whose weights die and grow, dense weights behind masks, rates that are rewound, phases that end by their loss; and
//! what a dry run draws of them.

use super::masks::{ARGS, alive, assert_resumes, flow, model};
use super::{fails, run};
use crate::common::{assert_says, state_of, weights_of, write};
use dsd::solver::mask::Mask;
use dsd::solver::schedule::RigL;
use dsd::solver::schedule::rigl::exchange;
use std::fs;
use std::path::Path;

#[test]
fn weights_die_and_grow_where_the_gradient_is_largest() {
    let sparse = "kind = 'sparse'\nsparsity = 'random:erk:0.75'\nschedule = 'rigl'\nupdate_every = 3\nupdate_until = 8\n\
                  drop_fraction = 0.5";
    let solver = "snapshot: 1 snapshot_diff: true iter_size: 2";
    let folder = flow(10, solver, &["kind = 'dense'\nmax_iter = 3", sparse]);
    run(folder.path(), &ARGS);
    let home = folder.path();
    let first = alive(home, "sparse", 1);
    assert_eq!(first.0 + first.1, 338);
    let mut changes = Vec::new();
    for iter in 1..10 {
        let (before, after) = (model(home, "sparse", iter), model(home, "sparse", iter + 1));
        let (before, after) = (mask_of(&before), mask_of(&after));
        // Alive may a weight be that is 0: it has just grown.
        assert_eq!(after.alive(), first.1, "{iter}");
        if before != after {
            changes.push(iter);
        }
    }
    // At iterations 3 and 6, in place of an update.
    assert_eq!(changes, [3, 6]);
    let (before, after) = (model(home, "sparse", 3), model(home, "sparse", 4));
    let (was, now) = (mask_of(&before), mask_of(&after));
    let weights = weights_of(&before)["ip/0"].clone();
    let (message, _) = dsd::proto::load_weights(&after).unwrap();
    let ip = message.layer.iter().find(|l| l.name() == "ip").unwrap();
    // What the snapshot has of the gradient is the dense one.
    let gradient = &ip.blobs[0].diff;
    assert!(gradient.iter().filter(|g| **g != 0.0).count() > 1000);
    let k = RigL {
        every: 3,
        until: 8,
        drop_fraction: 0.5,
    };
    let k = k.exchanged(3, was.alive());
    assert!(k > 50, "{k}");
    assert_eq!(now, exchange(&was, &weights, gradient, k));
    let moved = weights_of(&after)["ip/0"].clone();
    for i in 0..moved.len() {
        let want = if was.get(i) && now.get(i) {
            weights[i]
        } else {
            0.0
        };
        assert_eq!(moved[i].to_bits(), want.to_bits(), "{i}");
    }
    let grown = weights_of(&model(home, "sparse", 5))["ip/0"].clone();
    let fresh = (0..grown.len()).filter(|&i| now.get(i) && !was.get(i));
    assert!(fresh.clone().filter(|&i| grown[i] != 0.0).count() * 10 > fresh.count() * 9);
    assert_resumes(home, "sparse", &[3, 4, 6]);
}

/// The mask of ip's weights.
fn mask_of(model: &Path) -> Mask {
    let (state, _) = state_of(&model.with_extension("solverstate"));
    let masks = state.dsd.unwrap().masks;
    let ip = masks.iter().find(|m| m.layer() == "ip").unwrap();
    Mask::from_bits(ip.count() as usize, ip.bits()).unwrap()
}

#[test]
fn dense_weights_stay_behind_groups_and_resume() {
    let sparse =
        "kind = 'sparse'\nsparsity = 'conv=0,*=2:4'\nschedule = 'srste'\nsrste_decay = 0.01";
    let folder = flow(
        6,
        "snapshot: 1",
        &["kind = 'dense'\nmax_iter = 3", sparse, "kind = 'redense'"],
    );
    run(folder.path(), &ARGS);
    for iter in 1..=6 {
        assert_eq!(alive_groups(folder.path(), iter), 640);
    }
    let mask = |iter| mask_of(&model(folder.path(), "sparse", iter));
    assert!(
        (1..6).any(|i| mask(i) != mask(i + 1)),
        "the masks never change"
    );
    assert_resumes(folder.path(), "sparse", &[1, 4]);
    let output = super::dsd()
        .args(["inspect", "r/sparse/small_iter_3.solverstate"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_says(&text, &["srste, decay 0.01"]);
}

/// Asserts that of every 4 weights of ip in a row at most 2 are alive; how many are.
fn alive_groups(folder: &Path, iter: u64) -> usize {
    let weights = weights_of(&model(folder, "sparse", iter));
    let counts = weights["ip/0"]
        .chunks(4)
        .map(|g| g.iter().filter(|w| **w != 0.0).count());
    let counts: Vec<usize> = counts.collect();
    assert!(counts.iter().all(|n| *n <= 2));
    counts.iter().sum()
}

#[test]
fn rewound_phases_have_the_dense_rates_again() {
    let folder = flow(
        12,
        "",
        &[
            "kind = 'dense'\nmax_iter = 8\nbase_lr = 0.04",
            "kind = 'sparse'\nsparsity = 0.5\nrewind_to = 3",
            "kind = 'redense'\nrewind_to = 6\nmax_iter = 6",
        ],
    );
    let lines = run(folder.path(), &ARGS);
    let rates: Vec<&str> = lines
        .iter()
        .filter_map(|l| Some(l.split_once(", lr = ")?.1))
        .collect();
    let (dense, rest) = rates.split_at(8);
    let (sparse, redense) = rest.split_at(5);
    assert_eq!(dense, [&["0.04"; 5][..], &["0.02"; 3]].concat());
    assert_eq!(sparse, &dense[3..]);
    // It goes on where the dense phase ended: steps at 5, 10 …
    assert_eq!(redense, [&["0.02"; 4][..], &["0.01"; 2]].concat());
    let said = "5 iterations, base_lr 0.04 (its rates from iteration 3 on), sparsity 0.5";
    assert!(lines.iter().any(|l| l.contains(said)), "{lines:?}");
    let text = fs::read_to_string(folder.path().join("flow.toml")).unwrap();
    write(
        folder.path(),
        "flow.toml",
        &text.replace("rewind_to = 3", "rewind_to = 8"),
    );
    let error = fails(
        folder.path(),
        &["train", "--flow", "flow.toml", "--out", "s"],
        1,
    );
    assert_says(
        &error,
        &[
            "phase sparse: rewind_to is 8",
            "the dense phase has 8 iterations",
        ],
    );
}

#[test]
fn a_phase_that_has_converged_ends_and_goes_on_alike() {
    let phases = [
        "kind = 'dense'\nmax_iter = 4",
        "kind = 'redense'\nuntil_converged = true\npatience = 3\nmin_delta = 0.5\nbase_lr = 0.0001",
    ];
    let phases = [phases[0], "kind = 'sparse'\nmax_iter = 2", phases[1]];
    let folder = flow(40, "snapshot: 1", &phases);
    let lines = run(folder.path(), &ARGS);
    let said = lines
        .iter()
        .find(|l| l.contains("converged: for 3 displays"));
    assert!(said.is_some(), "{lines:?}");
    let record = fs::read_to_string(folder.path().join("r/redense/phase.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    // The first display is the least, and three more follow it.
    let iterations = record["iterations"].as_u64().unwrap();
    assert!((4..10).contains(&iterations), "{record}");
    assert_eq!(
        (&record["converged"], &record["done"]),
        (&true.into(), &true.into())
    );
    assert_resumes(folder.path(), "redense", &[1, 3]);
    let lines = run(folder.path(), &["train", "--out", "r", "--resume"]);
    assert!(
        lines
            .iter()
            .any(|l| l.contains("The redense phase is done")),
        "{lines:?}"
    );
    let solver = fs::read_to_string(folder.path().join("solver.prototxt")).unwrap();
    write(
        folder.path(),
        "solver.prototxt",
        &solver.replace("display: 1", "display: 0"),
    );
    let error = fails(
        folder.path(),
        &["train", "--flow", "flow.toml", "--out", "s"],
        1,
    );
    assert_says(&error, &["phase redense", "display: N"]);
}

#[test]
fn the_dry_run_draws_the_rates_and_densities_to_come() {
    let folder = flow(
        20,
        "",
        &[
            "kind = 'dense'",
            "kind = 'sparse'\nsparsity = 0.5\nschedule = 'acdc'\nrounds = 2\nends = 'dense'",
            "kind = 'sparse'\nsparsity = 0.9\nschedule = 'cubic'\nprune_every = 1",
        ],
    );
    let args = [&ARGS[..], &["--dry_run"]].concat();
    let output = super::dsd()
        .args(args)
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!folder.path().join("r").exists());
    let row = |name: &str| {
        let line = text.lines().find(|l| l.starts_with(name)).unwrap();
        line.split_whitespace()
            .map(str::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        row("sparse ")[1..5],
        ["20", "0.005", "0.5", "1.0000"],
        "{text}"
    );
    assert_eq!(
        row("sparse-2")[1..5],
        ["20", "0.005", "0.9", "0.0999"],
        "{text}"
    );
    assert_eq!(row("all ")[1], "60", "{text}");
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|l| *l == "density").unwrap();
    let top: Vec<char> = lines[at + 1].chars().skip(8).collect();
    // Whole at first, in every second quarter of the next phase, and then ever less.
    assert!(top[..21].iter().all(|c| *c == '█'), "{text}");
    assert!(top[22..26].iter().all(|c| *c == ' '), "{text}");
    assert!(top[27..31].iter().all(|c| *c == '█'), "{text}");
    assert!(lines.iter().all(|l| l.chars().count() < 110), "{text}");
    assert_says(
        &text,
        &["rate (powers of 10)", "|dense", "|sparse-2", "|20 ", "|40"],
    );
}
