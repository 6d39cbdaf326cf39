//! The one way into the core.
//!
//! A call of a few microseconds keeps the GIL ([`short`]): giving it up and getting it back among busy threads costs
//! milliseconds. Everything over about 20 µs releases it ([`long`]). Both stop a panic before it can cross into Python;
//! that is the last resort, and a bug when it fires.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::error::to_python;
use crate::error::Result;

/// Work (bytes, or the like) from which a call releases the GIL: 16 KiB hash in about 10 µs, and code in less.
pub(super) const LONG_MIN: usize = 16 * 1024;

/// Calls the core with the GIL held.
pub(super) fn short<T>(py: Python<'_>, f: impl FnOnce() -> Result<T>) -> PyResult<T> {
    settle(py, catch_unwind(AssertUnwindSafe(f)))
}

/// Calls the core with the GIL released.
pub(super) fn long<T: Send>(py: Python<'_>, f: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    let outcome = py.detach(|| catch_unwind(AssertUnwindSafe(f)));
    settle(py, outcome)
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
