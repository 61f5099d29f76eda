//! What a training run takes of this machine's memory.

use super::test::TestNet;
use crate::data::batches::Batches;
use crate::net::Net;
use crate::net::memory::PROGRAM;
use crate::report::human::HumanBytes;
use crate::{info, memory};
use anyhow::Result;

/// Says what the run will need, before any of it is allocated, and refuses what this machine does not have.
pub(super) fn announce(
    net: &Net,
    batches: &Batches,
    tests: &[TestNet],
    histories: usize,
    iter_size: i32,
) -> Result<usize> {
    let fixed = PROGRAM + net.param_bytes() * (2 + histories as u128);
    // A snapshot is a message and its bytes, of the weights and then of each history; passes give their memory back
    // before it is written.
    let snapshot = 2 * net.param_bytes() * histories.max(1) as u128;
    let threads = rayon::current_num_threads();
    // The sum of several passes' gradients is there beside those of the pass under way.
    let sum = match iter_size {
        ..=1 => 0,
        _ => net.learned_bytes(),
    };
    let work = (net.workspace_bytes(threads) + sum).max(snapshot) + batches.queue_bytes();
    let test = tests
        .iter()
        .map(|t| t.workspace_bytes(threads))
        .max()
        .unwrap_or(0);
    let bytes = |n: u128| HumanBytes(u64::try_from(n).unwrap_or(u64::MAX));
    info!(
        "Memory required: {} (weights, gradients and history {}; training {}; testing {})",
        bytes(fixed + work + test),
        bytes(fixed),
        bytes(work),
        bytes(test),
    );
    let largest = tests
        .iter()
        .map(|t| t.net())
        .max_by_key(|n| n.workspace_bytes(threads));
    let advice = match largest.filter(|n| n.workspace_bytes(threads) > work) {
        Some(test) => format!("in the test net, {}", test.memory_advice(threads)),
        None => net.memory_advice(threads),
    };
    let what = || {
        format!(
            "{}: the run (weights, gradients and history {}; training {}; testing {})",
            net.graph().file,
            bytes(fixed),
            bytes(work),
            bytes(test)
        )
    };
    memory::require(fixed + work + test, what, &advice)?;
    let (groups, rows, why) = net.cut();
    match why {
        Some(layer) if net.batch() > 1 => {
            info!(
                "The batch of {} runs whole: layer '{layer}' needs all samples at once",
                net.batch()
            );
        }
        _ => info!(
            "The batch of {} runs in {groups} groups of up to {rows}",
            net.batch()
        ),
    }
    Ok(usize::try_from(fixed + work + test).unwrap_or(usize::MAX))
}
