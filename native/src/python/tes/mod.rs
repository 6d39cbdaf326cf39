//! Bindings of `tes`.

mod bls;
mod coin;
mod dkg;
mod tdh2;

use pyo3::prelude::*;

/// Adds this folder's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    dkg::register(module)?;
    bls::register(module)?;
    tdh2::register(module)?;
    coin::register(module)
}
