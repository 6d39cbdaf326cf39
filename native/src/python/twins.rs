//! Twins: scenarios of HotStuff with validators that run twice. A call runs a bounded number of them, so that the caller
//! can be interrupted between calls. And certificates, whose costs Python measures.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::buffer::Input;
use super::call::{long, short};
use super::int::Int;
use crate::error::Error;
use crate::sim::certificates::Certificates;
use crate::sim::twins::{SCENARIOS_MAX, Twins};

/// The most scenarios of one call.
const CALL_MAX: u64 = 10_000;

/// Scenarios `first` to `first + count` of `scenarios`; how many ran, commits, evidence, healed, messages.
#[pyfunction]
#[pyo3(
    signature = (validators, scenarios, seed, first, count, aggregates = false),
    text_signature = "(validators, scenarios, seed, first, count, aggregates=False)"
)]
fn sim_twins(
    py: Python<'_>,
    validators: Int<u16>,
    scenarios: Int<u64>,
    seed: Int<u64>,
    first: Int<u64>,
    count: Int<u64>,
    aggregates: bool,
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
        let make = if aggregates { Twins::with_aggregates } else { Twins::new };
        make(validators.0, seed.0)?.run_all(first..first + count, scenarios)
    })?;
    Ok((report.scenarios, report.commits, report.evidence, report.healed, report.messages))
}

/// Votes of HotStuff validators, for `city_chain.sim.aggregates`, which has the clock.
#[pyclass(frozen, module = "city_chain._native")]
struct SimCertificates(Mutex<Certificates>);

impl SimCertificates {
    fn lock(&self) -> MutexGuard<'_, Certificates> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl SimCertificates {
    #[new]
    fn new(py: Python<'_>, validators: Int<u16>, aggregates: bool) -> PyResult<Self> {
        long(py, || Ok(Self(Mutex::new(Certificates::new(validators.0, aggregates)?))))
    }

    /// A quorum votes in the next round.
    fn next_round(&self, py: Python<'_>) -> PyResult<()> {
        long(py, || {
            self.lock().next_round();
            Ok(())
        })
    }

    /// How many a quorum are.
    fn signers(&self, py: Python<'_>) -> PyResult<usize> {
        short(py, || Ok(self.lock().signers()))
    }

    /// One vote; its bytes.
    fn cast(&self, py: Python<'_>) -> PyResult<usize> {
        long(py, || self.lock().cast())
    }

    /// The leader's work; the bytes of the certificate.
    fn make(&self, py: Python<'_>) -> PyResult<usize> {
        long(py, || self.lock().make())
    }

    /// The leader's work if every share is checked by itself.
    fn make_each(&self, py: Python<'_>) -> PyResult<usize> {
        long(py, || self.lock().make_each())
    }

    /// A certificate of this round.
    fn encoded<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &long(py, || self.lock().encoded())?))
    }

    /// Everybody's work.
    fn verify(&self, py: Python<'_>, certificate: Input<'_>) -> PyResult<()> {
        let certificate = certificate.as_slice();
        long(py, || self.lock().verify(certificate))
    }
}

/// Adds this file's function and class to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<SimCertificates>()?;
    module.add("HOTSTUFF_AGGREGATE_FROM", crate::algorithms::hs::AGGREGATE_FROM)?;
    module.add_function(wrap_pyfunction!(sim_twins, module)?)
}
