//! Bindings of `records::sealed`.

use pyo3::prelude::*;

/// Adds this file's functions and classes to the extension.
pub(super) fn register(_module: &Bound<'_, PyModule>) -> PyResult<()> {
    Ok(())
}
