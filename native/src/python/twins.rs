//! Twins: scenarios of HotStuff with validators that run twice. A call runs a bounded number of them, so that the caller
//! can be interrupted between calls.

use pyo3::prelude::*;

use super::call::long;
use super::int::Int;
use crate::error::Error;
use crate::sim::twins::{SCENARIOS_MAX, Twins};

/// The most scenarios of one call.
const CALL_MAX: u64 = 10_000;

/// Scenarios `first` to `first + count` of `scenarios`; how many ran, commits, evidence, healed, messages.
#[pyfunction]
#[pyo3(signature = (validators, scenarios, seed, first, count), text_signature = "(validators, scenarios, seed, first, count)")]
fn sim_twins(
    py: Python<'_>,
    validators: Int<u16>,
    scenarios: Int<u64>,
    seed: Int<u64>,
    first: Int<u64>,
    count: Int<u64>,
) -> PyResult<(u64, u64, u64, u64, u64)> {
    let (scenarios, first, count) = (scenarios.0, first.0, count.0);
    let report = long(py, || {
        let within = scenarios <= SCENARIOS_MAX && first <= scenarios && count <= (scenarios - first).min(CALL_MAX);
        if !within {
            return Err(Error::input(format!(
                "twins: scenarios {first} to {first} + {count} of {scenarios}, at most {CALL_MAX} of {SCENARIOS_MAX} are \
                 allowed"
            )));
        }
        Twins::new(validators.0, seed.0)?.run_all(first..first + count, scenarios)
    })?;
    Ok((report.scenarios, report.commits, report.evidence, report.healed, report.messages))
}

/// Adds this file's function to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(sim_twins, module)?)
}
