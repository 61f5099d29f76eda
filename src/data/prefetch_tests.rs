use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::tensor::Tensor;

/// Batches of two numbers, both the index; fails at `fails`, panics at `panics`; counts its reads, and 1000 when
/// dropped.
struct Counting {
    fails: u64,
    panics: u64,
    reads: Arc<AtomicUsize>,
}

impl Source for Counting {
    fn shapes(&self) -> Vec<Shape> {
        vec![Shape::new([2])]
    }

    fn load(&mut self, index: u64, out: &mut [Rows], _decoders: &Decoders) -> Result<()> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        assert_ne!(index, self.panics);
        anyhow::ensure!(index != self.fails, "record '{index}' is broken");
        out[0].floats(&Shape::new([2]))?.data.fill(index as f32);
        Ok(())
    }

    fn samples(&self) -> Option<u64> {
        Some(7)
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.reads.fetch_add(1000, Ordering::SeqCst);
    }
}

fn prefetch(fails: u64, panics: u64) -> (Prefetch, Arc<AtomicUsize>) {
    let reads = Arc::new(AtomicUsize::new(0));
    let source = Counting {
        fails,
        panics,
        reads: reads.clone(),
    };
    (Prefetch::new(Box::new(source)), reads)
}

/// The numbers of a batch, which is given back.
fn read(prefetch: &mut Prefetch, index: u64) -> Result<Tensor> {
    let batch = prefetch.take(index)?;
    let tensor = batch.floats(0).unwrap().clone();
    prefetch.give_back(batch);
    Ok(tensor)
}

#[test]
fn batches_are_the_sources_from_any_index_on() {
    let (mut prefetch, reads) = prefetch(u64::MAX, u64::MAX);
    assert_eq!(
        (prefetch.samples(), prefetch.shapes()),
        (Some(7), &[Shape::new([2])][..])
    );
    assert_eq!(prefetch.next_index(), None);
    for index in (5..50).chain(2..9) {
        assert_eq!(read(&mut prefetch, index).unwrap().data, [index as f32; 2]);
        assert_eq!(prefetch.next_index(), Some(index + 1));
    }
    assert!(prefetch.waited() > Duration::ZERO);
    drop(prefetch);
    let reads = reads.load(Ordering::SeqCst);
    assert!(
        (1052..=1052 + 2 * MOST).contains(&reads),
        "{reads}: at most those that go round more, twice, and the source dropped"
    );
}

#[test]
fn batches_are_used_again() {
    let (mut prefetch, _) = prefetch(u64::MAX, u64::MAX);
    let mut places = std::collections::BTreeSet::new();
    for index in 0..200 {
        let batch = prefetch.take(index).unwrap();
        places.insert(batch.floats(0).unwrap().data.as_ptr() as usize);
        prefetch.give_back(batch);
    }
    assert!(places.len() <= MOST, "{} batches", places.len());
    assert_eq!(prefetch.bytes(), 8 * MOST as u128);
}

#[test]
fn batches_that_are_kept_hold_nothing_up() {
    let (mut prefetch, _) = prefetch(u64::MAX, u64::MAX);
    let kept: Vec<Batch> = (0..50).map(|i| prefetch.take(i).unwrap()).collect();
    for (i, batch) in kept.into_iter().enumerate() {
        assert_eq!(batch.floats(0).unwrap().data, [i as f32; 2]);
        prefetch.give_back(batch);
    }
    assert_eq!(read(&mut prefetch, 50).unwrap().data, [50.0; 2]);
}

#[test]
fn nothing_is_read_past_what_is_expected_nor_while_it_rests() {
    let (mut prefetch, reads) = prefetch(u64::MAX, u64::MAX);
    for test in 0..3 {
        prefetch.read_until(2 * test + 2);
        for index in 2 * test..2 * test + 2 {
            assert_eq!(read(&mut prefetch, index).unwrap().data, [index as f32; 2]);
        }
        prefetch.rest();
        assert!(prefetch.thread.is_none() && prefetch.source.is_some());
        assert_eq!(reads.load(Ordering::SeqCst) as u64, 2 * test + 2);
    }
    // More than was expected comes all the same.
    prefetch.read_until(7);
    for index in 6..9 {
        assert_eq!(read(&mut prefetch, index).unwrap().data, [index as f32; 2]);
    }
}

#[test]
fn an_error_comes_at_its_batch_and_again_when_asked_again() {
    let (mut prefetch, _) = prefetch(2, u64::MAX);
    read(&mut prefetch, 0).unwrap();
    read(&mut prefetch, 1).unwrap();
    for _ in 0..2 {
        assert_eq!(
            read(&mut prefetch, 2).unwrap_err().to_string(),
            "record '2' is broken"
        );
    }
    assert_eq!(read(&mut prefetch, 3).unwrap().data, [3.0; 2]);
}

#[test]
fn a_panic_in_the_thread_is_an_error() {
    let (mut prefetch, _) = prefetch(u64::MAX, 1);
    read(&mut prefetch, 0).unwrap();
    for _ in 0..2 {
        assert!(
            read(&mut prefetch, 1)
                .unwrap_err()
                .to_string()
                .contains("panicked")
        );
    }
}
