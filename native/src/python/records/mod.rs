//! Bindings of the records, in the order in which a transaction meets them.

mod bursts;
mod city_keys;
mod countersignature;
mod dispersal;
mod key_file;
mod ledger;
mod letter;
mod message;
mod place;
mod receipt;
mod repair;
mod sealed;
mod selection;
mod sharding;
mod transaction;

pub(super) use dispersal::Manifest;

use pyo3::prelude::*;

/// Adds the functions and classes of all these files to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    selection::register(module)?;
    transaction::register(module)?;
    dispersal::register(module)?;
    ledger::register(module)?;
    receipt::register(module)?;
    repair::register(module)?;
    message::register(module)?;
    letter::register(module)?;
    place::register(module)?;
    bursts::register(module)?;
    city_keys::register(module)?;
    sealed::register(module)?;
    countersignature::register(module)?;
    sharding::register(module)?;
    key_file::register(module)
}
