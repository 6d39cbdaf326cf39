//! How far an experiment is, for whoever waits, and a way to stop it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::{Error, Result};

/// Shared by an experiment and those who look at it.
#[derive(Debug, Default)]
pub struct Watch {
    done: AtomicU64,
    total: AtomicU64,
    stopped: AtomicBool,
}

impl Watch {
    /// Steps done, and how many there are.
    pub fn seen(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }

    /// Asks the experiment to end soon.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// So many more steps there are.
    pub(super) fn plan(&self, steps: u64) {
        self.total.fetch_add(steps, Ordering::Relaxed);
    }

    /// One step is done.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the experiment is to stop.
    pub(super) fn step(&self) -> Result<()> {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.go_on()
    }

    /// Nothing is done yet.
    ///
    /// # Errors
    /// As [`Watch::step`].
    pub(super) fn go_on(&self) -> Result<()> {
        if self.stopped.load(Ordering::Relaxed) {
            let (done, total) = self.seen();
            return Err(Error::unavailable("experiment: it was stopped; steps", total, done));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_counted_and_the_next_one_after_a_stop_ends_it() {
        let watch = Watch::default();
        watch.plan(3);
        watch.step().unwrap();
        assert_eq!(watch.seen(), (1, 3));
        watch.stop();
        assert!(matches!(watch.step(), Err(Error::Unavailable { needed: 3, had: 2, .. })));
    }
}
