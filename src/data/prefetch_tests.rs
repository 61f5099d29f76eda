use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

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

    fn read(&mut self, index: u64, out: &mut [Tensor]) -> Result<()> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        assert_ne!(index, self.panics);
        anyhow::ensure!(index != self.fails, "record '{index}' is broken");
        out[0].data.fill(index as f32);
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

fn prefetch(first: u64, fails: u64, panics: u64) -> (Prefetch, Arc<AtomicUsize>) {
    let reads = Arc::new(AtomicUsize::new(0));
    let source = Counting {
        fails,
        panics,
        reads: reads.clone(),
    };
    (Prefetch::new(Box::new(source), first, 3).unwrap(), reads)
}

fn arrays() -> Vec<Tensor> {
    vec![Tensor::zeros(Shape::new([2]))]
}

#[test]
fn batches_are_the_sources_from_any_index_on() {
    let (mut prefetch, reads) = prefetch(5, u64::MAX, u64::MAX);
    let mut out = arrays();
    assert_eq!(
        (prefetch.samples(), prefetch.shapes()),
        (Some(7), vec![Shape::new([2])])
    );
    for index in (5..50).chain(2..9) {
        prefetch.read(index, &mut out).unwrap();
        assert_eq!(out[0].data, [index as f32; 2]);
        assert_eq!(prefetch.next_index(), Some(index + 1));
    }
    assert!(prefetch.waited() > Duration::ZERO);
    drop(prefetch);
    let reads = reads.load(Ordering::SeqCst);
    assert!(
        (1052..1064).contains(&reads),
        "{reads}: at most a depth more read, twice, and the source dropped"
    );
}

#[test]
fn arrays_are_used_again() {
    let (mut prefetch, _) = prefetch(0, u64::MAX, u64::MAX);
    let mut out = arrays();
    let mut places = std::collections::BTreeSet::new();
    for index in 0..200 {
        prefetch.read(index, &mut out).unwrap();
        places.insert(out[0].data.as_ptr() as usize);
    }
    assert!(places.len() <= 3 + 3, "{} arrays", places.len());
}

#[test]
fn an_error_comes_at_its_batch_and_again_when_asked_again() {
    let (mut prefetch, _) = prefetch(0, 2, u64::MAX);
    let mut out = arrays();
    prefetch.read(0, &mut out).unwrap();
    prefetch.read(1, &mut out).unwrap();
    for _ in 0..2 {
        assert_eq!(
            prefetch.read(2, &mut out).unwrap_err().to_string(),
            "record '2' is broken"
        );
    }
    prefetch.read(3, &mut out).unwrap();
    assert_eq!(out[0].data, [3.0; 2]);
}

#[test]
fn a_panic_in_the_thread_is_an_error() {
    let (mut prefetch, _) = prefetch(0, u64::MAX, 1);
    let mut out = arrays();
    prefetch.read(0, &mut out).unwrap();
    for _ in 0..2 {
        assert!(
            prefetch
                .read(1, &mut out)
                .unwrap_err()
                .to_string()
                .contains("panicked")
        );
    }
}

#[test]
fn another_number_of_arrays_is_refused() {
    let (mut prefetch, _) = prefetch(0, u64::MAX, u64::MAX);
    let error = prefetch.read(0, &mut []).unwrap_err().to_string();
    assert_eq!(error, "a batch has 1 arrays, found 0");
}
