//! The one way into the core.
//!
//! A call of a few microseconds keeps the GIL ([`short`]): giving it up and getting it back among busy threads costs
//! milliseconds. Everything over about 20 µs releases it ([`long`]). Both stop a panic before it can cross into Python;
//! that is the last resort, and a bug when it fires.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::error::to_python;
use crate::error::{Error, Result};

/// Work (bytes, or the like) from which a call releases the GIL: 16 KiB hash in about 10 µs, and code in less.
pub(super) const LONG_MIN: usize = 16 * 1024;

/// Calls the core with the GIL held.
pub(super) fn short<T>(py: Python<'_>, f: impl FnOnce() -> Result<T>) -> PyResult<T> {
    settle(py, catch_unwind(AssertUnwindSafe(f)))
}

/// Calls the core with the GIL released.
pub(super) fn long<T: Send>(py: Python<'_>, f: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    let outcome = py.detach(|| catch_unwind(AssertUnwindSafe(|| with_threads(f))));
    settle(py, outcome)
}

/// The process that loaded the module: the threads that rayon starts by itself are there and nowhere else.
static LOADED_IN: OnceLock<u32> = OnceLock::new();

/// The threads of a process that was forked, and its id. No lock guards them: one could be held at the fork, for ever.
static OF_FORK: AtomicPtr<(u32, ThreadPool)> = AtomicPtr::new(std::ptr::null_mut());

/// Notes in which process the module is loaded.
pub(super) fn loaded() {
    LOADED_IN.get_or_init(std::process::id);
}

/// Runs `f` where rayon has threads: what a process that was forked gives to its parent's would wait for ever.
fn with_threads<T: Send>(f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let process = std::process::id();
    if LOADED_IN.get().is_none_or(|loaded| *loaded == process) {
        return f();
    }
    // SAFETY: it is null or what was leaked below, which nobody frees or changes.
    let known = unsafe { OF_FORK.load(Ordering::Acquire).as_ref() };
    if let Some((_, threads)) = known.filter(|(of, _)| *of == process) {
        return threads.install(f);
    }
    let no_threads = |error| Error::unavailable(format!("threads of a forked process ({error})"), 1, 0);
    let threads = ThreadPoolBuilder::new().build().map_err(no_threads)?;
    let made: &'static mut (u32, ThreadPool) = Box::leak(Box::new((process, threads)));
    let shared: &'static (u32, ThreadPool) = made;
    OF_FORK.store(std::ptr::from_ref(shared).cast_mut(), Ordering::Release);
    shared.1.install(f)
}

/// [`long`] for `work` of [`LONG_MIN`] and more, else [`short`].
pub(super) fn sized<T: Send>(py: Python<'_>, work: usize, f: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    if work >= LONG_MIN { long(py, f) } else { short(py, f) }
}

fn settle<T>(py: Python<'_>, outcome: std::thread::Result<Result<T>>) -> PyResult<T> {
    match outcome {
        Ok(result) => result.map_err(|error| to_python(py, error)),
        Err(payload) => {
            let what = payload
                .downcast_ref::<&str>()
                .map(ToString::to_string)
                .or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            Err(PyRuntimeError::new_err(format!("city-chain: a bug in the native core: {what}")))
        }
    }
}
