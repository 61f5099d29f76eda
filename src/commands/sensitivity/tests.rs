//! How a score comes about must not show in it.

use super::*;
use crate::layers::Mode;
use crate::models;
use crate::net::Net;
use crate::net::graph::Graph;
use crate::session::Opener;
use crate::solver::{OpenData, Opened};

#[test]
fn threads_and_batches_that_are_read_anew_change_no_bit() {
    let parsed = models::find(models::DEFAULT).unwrap();
    let parsed = parsed.train_val(models::Family::Release).unwrap();
    let graph = Graph::new(&parsed, &crate::net::graph::State::new(Mode::Test)).unwrap();
    let opener = Opener {
        mode: Mode::Test,
        seed: 1,
        source: None,
        folder: PathBuf::new(),
    };
    let scores = |most: usize, threads: usize| {
        let Opened { shapes, batches } = opener.open(&graph, 0).unwrap();
        let net = Net::new(graph.clone(), &shapes, &Default::default()).unwrap();
        let weights = net.fill(3).unwrap();
        let bench = Bench::new(
            (net, Default::default()),
            weights,
            batches,
            &opener,
            (1, 3, most),
        )
        .unwrap();
        assert_eq!(bench.kept().len(), if most == 0 { 1 } else { 3 });
        // A pruning must leave nothing for the next: the last is the first again.
        let jobs: Vec<Job> = vec![vec![], vec![(0, 0.5)], vec![(0, 0.2), (3, 0.1)], vec![]];
        let mut scores = vec![None; jobs.len()];
        let watch = Watch {
            stop: &|| false,
            batch: &|| (),
        };
        let ending = bench.run(&jobs, threads, &watch, &mut |job, score| {
            scores[job] = Some(score);
            Ok(())
        });
        assert_eq!(ending.unwrap(), Ending::Done);
        scores
    };
    let want = scores(usize::MAX, 1);
    assert!(want.iter().all(Option::is_some) && want[0] == want[3]);
    assert!(want[0] != want[1] && want[1] != want[2]);
    for (most, threads) in [(usize::MAX, 3), (0, 1), (0, 2)] {
        assert_eq!(
            scores(most, threads),
            want,
            "{most} bytes, {threads} threads"
        );
    }
}

#[test]
fn a_failure_ends_the_run_and_so_does_a_stop() {
    let parsed = models::find(models::DEFAULT).unwrap();
    let parsed = parsed.train_val(models::Family::Release).unwrap();
    let graph = Graph::new(&parsed, &crate::net::graph::State::new(Mode::Test)).unwrap();
    let opener = Opener {
        mode: Mode::Test,
        seed: 1,
        source: None,
        folder: PathBuf::new(),
    };
    let Opened { shapes, batches } = opener.open(&graph, 0).unwrap();
    let net = Net::new(graph, &shapes, &Default::default()).unwrap();
    let weights = net.fill(3).unwrap();
    let bench = Bench::new(
        (net, Default::default()),
        weights,
        batches,
        &opener,
        (1, 2, usize::MAX),
    )
    .unwrap();
    let jobs: Vec<Job> = vec![Job::new(); 20];
    let run = |stop: &(dyn Fn() -> bool + Sync), failing: bool| {
        let watch = Watch {
            stop,
            batch: &|| (),
        };
        bench.run(&jobs, 2, &watch, &mut |_, _| {
            anyhow::ensure!(!failing, "the disk is full");
            Ok(())
        })
    };
    assert_eq!(run(&|| true, false).unwrap(), Ending::Stopped);
    let error = run(&|| false, true).unwrap_err();
    assert_eq!(error.to_string(), "the disk is full");
}
