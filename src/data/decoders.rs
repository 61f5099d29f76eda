//! The threads that decode the pictures of a batch. They are apart from those that compute: a pass may hold all of
//! its threads, and reading must go on meanwhile. One thread always decodes; the others join it only while somebody
//! waits for a batch, for then nothing computes and the processors are free. So reading takes no more than one
//! thread's time from a pass, and all of it when there is no pass.

use anyhow::Result;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::iter::Enumerate;
use std::slice::IterMut;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

/// Threads for one reader; its own thread is the first of them.
#[derive(Debug)]
pub struct Decoders {
    threads: usize,
    /// The others, started when they are needed first; `None` if the system gives no threads.
    helpers: OnceLock<Option<ThreadPool>>,
    /// Whether somebody waits, and the news of it.
    hurry: Mutex<bool>,
    changed: Condvar,
}

/// The items of one call that nobody has taken, and the first that failed.
struct Items<'a, T> {
    left: Mutex<Enumerate<IterMut<'a, T>>>,
    failed: Mutex<Option<(usize, anyhow::Error)>>,
}

impl Decoders {
    /// As many as `threads`, at least the caller's.
    pub fn new(threads: usize) -> Self {
        Self {
            threads: threads.max(1),
            helpers: OnceLock::new(),
            hurry: Mutex::new(false),
            changed: Condvar::new(),
        }
    }

    /// Says whether somebody waits: all threads work then, and else the caller's alone.
    pub fn hurry(&self, hurry: bool) {
        *locked(&self.hurry) = hurry;
        if hurry {
            self.changed.notify_all();
        }
    }

    /// Does `work` on every item, given with its place.
    ///
    /// # Errors
    /// That of the first item, in their order, that fails, whatever the number of threads; with its place. Items
    /// behind it may be left out.
    pub fn each<T: Send>(
        &self,
        items: &mut [T],
        work: impl Fn(usize, &mut T) -> Result<()> + Sync,
    ) -> Result<(), (usize, anyhow::Error)> {
        let most = self.threads.min(items.len());
        let items = Items {
            left: Mutex::new(items.iter_mut().enumerate()),
            failed: Mutex::new(None),
        };
        if most > 1 {
            self.share(&items, most - 1, &work);
        } else {
            while items.next(&work) {}
        }
        let failed = items.failed.into_inner();
        match failed.unwrap_or_else(PoisonError::into_inner) {
            Some(failed) => Err(failed),
            None => Ok(()),
        }
    }

    /// Does the items here, and with up to `most` others while they are wanted.
    fn share<T: Send>(
        &self,
        items: &Items<T>,
        most: usize,
        work: &(impl Fn(usize, &mut T) -> Result<()> + Sync),
    ) {
        let Some(pool) = self.helpers.get_or_init(|| pool(self.threads - 1)) else {
            return while items.next(work) {};
        };
        let help = || while self.wanted(items) && items.next(work) {};
        pool.in_place_scope(|scope| {
            (0..most).for_each(|_| scope.spawn(|_| help()));
            // Dropped even if an item panics: the scope waits for the helpers, and they for this.
            let _end = End(self, items);
            while items.next(work) {}
        });
    }

    /// Sleeps until somebody waits for the batch; false if there is nothing left to do.
    fn wanted<T>(&self, items: &Items<T>) -> bool {
        let mut hurry = locked(&self.hurry);
        loop {
            match items.count() {
                0 => return false,
                _ if *hurry => return true,
                _ => {
                    hurry = self
                        .changed
                        .wait(hurry)
                        .unwrap_or_else(PoisonError::into_inner)
                }
            }
        }
    }
}

/// Ends a call when it is dropped: nothing more is taken, and helpers that sleep wake.
struct End<'a, 'b, T>(&'a Decoders, &'a Items<'b, T>);

impl<T> Drop for End<'_, '_, T> {
    fn drop(&mut self) {
        // Under the lock: who has seen items left, and is about to sleep, must not miss it.
        let _hurry = locked(&self.0.hurry);
        self.1.leave();
        self.0.changed.notify_all();
    }
}

fn pool(threads: usize) -> Option<ThreadPool> {
    let named = ThreadPoolBuilder::new().thread_name(|i| format!("decode-{i}"));
    named.num_threads(threads).build().ok()
}

/// What a lock guards, which a panic elsewhere does not spoil: it is taken item by item.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Items<'_, T> {
    /// How many nobody has taken.
    fn count(&self) -> usize {
        locked(&self.left).len()
    }

    /// Takes no more.
    fn leave(&self) {
        locked(&self.left).by_ref().for_each(drop);
    }
}

impl<T: Send> Items<'_, T> {
    /// Does the next item; false if there is none, or none is wanted because one has failed.
    fn next(&self, work: &(impl Fn(usize, &mut T) -> Result<()> + Sync)) -> bool {
        // They are taken in order, so all before a failed one have been taken, and will be done.
        let taken = locked(&self.left).next();
        let Some((i, item)) = taken else {
            return false;
        };
        let Err(error) = work(i, item) else {
            return true;
        };
        let mut failed = locked(&self.failed);
        if failed.as_ref().is_none_or(|(first, _)| i < *first) {
            *failed = Some((i, error));
        }
        self.leave();
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;
    use std::collections::HashSet;
    use std::time::Duration;

    #[test]
    fn every_item_is_done_once_by_any_number_of_threads() {
        for threads in [0, 1, 2, 3, 7] {
            for count in [0, 1, 2, 50] {
                for hurry in [false, true] {
                    let decoders = Decoders::new(threads);
                    decoders.hurry(hurry);
                    let mut items = vec![0; count];
                    let done = decoders.each(&mut items, |i, item| {
                        *item += 1 + i;
                        Ok(())
                    });
                    assert!(done.is_ok());
                    assert_eq!(items, (1..=count).collect::<Vec<_>>());
                }
            }
        }
    }

    #[test]
    fn the_first_error_in_order_is_told() {
        for threads in [1, 2, 3, 7] {
            for _ in 0..20 {
                let decoders = Decoders::new(threads);
                decoders.hurry(true);
                let mut items = [(); 40];
                let failed = decoders.each(&mut items, |i, ()| {
                    // The later one is the quicker one.
                    if i == 11 {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    match i {
                        11.. => bail!("{i} is broken"),
                        _ => Ok(()),
                    }
                });
                let (i, error) = failed.unwrap_err();
                assert_eq!((i, error.to_string().as_str()), (11, "11 is broken"));
            }
        }
    }

    #[test]
    fn others_help_while_somebody_waits() {
        let threads_of = |hurry| {
            let decoders = Decoders::new(3);
            decoders.hurry(hurry);
            let seen = Mutex::new(HashSet::new());
            let slowly = |_, (): &mut ()| {
                locked(&seen).insert(std::thread::current().id());
                std::thread::sleep(Duration::from_millis(2));
                Ok(())
            };
            assert!(decoders.each(&mut [(); 30], slowly).is_ok());
            seen.into_inner().unwrap().len()
        };
        assert_eq!(threads_of(false), 1);
        assert!((2..=3).contains(&threads_of(true)));
    }

    #[test]
    fn a_panic_reaches_the_caller() {
        for hurry in [false, true] {
            let decoders = Decoders::new(3);
            decoders.hurry(hurry);
            let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let _ = decoders.each(&mut [(); 9], |i, ()| {
                    assert_ne!(i, 4);
                    Ok(())
                });
            }));
            assert!(caught.is_err());
        }
    }
}
