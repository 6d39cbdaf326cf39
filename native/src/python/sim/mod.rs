//! Bindings of the simulator.

mod nodes;
mod overlay;
mod plan;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use self::nodes::{Maker, Raised};
use self::plan::{FaultsIn, LimitsIn, NetworkIn, WorkloadIn};
use crate::crypto::hash::Digest;
use crate::error::Error;
use crate::python::buffer::Input;
use crate::python::call::{long, short};
use crate::python::error::{input, to_python};
use crate::python::int::Int;
use crate::python::text::Str;
use crate::sim::check::Watch;
use crate::sim::{Failure, Simulation, Stop, protocols};

/// How long a run goes on before it looks whether the process was interrupted.
const SLICE: Duration = Duration::from_millis(50);

/// A row of the table: at, node, kind, peer, number, bytes, digest.
type Row = (u64, u16, &'static str, Option<u16>, u64, u32, Option<String>);

/// A decision: slot, value, first node, at.
type Decided<'py> = (u64, Bound<'py, PyBytes>, u16, u64);

/// A simulation; `city_chain.sim.Simulation` documents and types it.
#[pyclass(frozen, module = "city_chain.sim")]
struct SimulationRun {
    run: Mutex<Simulation>,
    raised: Raised,
}

#[pymethods]
impl SimulationRun {
    #[new]
    #[allow(clippy::too_many_arguments, reason = "the facade names them")]
    fn new(
        py: Python<'_>,
        seed: Int<u64>,
        nodes: Int<u16>,
        protocol: Option<Str>,
        own: Vec<(Int<u16>, Py<PyAny>)>,
        adversaries: Vec<Int<u16>>,
        workload: WorkloadIn,
        network: NetworkIn,
        faults: FaultsIn,
        limits: LimitsIn,
        replay: Str,
    ) -> PyResult<Self> {
        let (workload, network) = (plan::workload(workload), plan::network(network));
        let (faults, limits) = (plan::faults(py, faults)?, plan::limits(limits));
        let own: BTreeMap<u16, Py<PyAny>> = own.into_iter().map(|(node, factory)| (node.0, factory)).collect();
        let adversaries = adversaries.into_iter().map(|node| node.0).collect();
        let raised = Raised::default();
        let shared = raised.clone();
        let run = long(py, move || {
            let protocol = protocol.map(|name| protocols::protocol(&name.0, seed.0, nodes.0, &workload)).transpose()?;
            let maker = Maker { protocol, own, adversaries, raised: shared };
            let run = Simulation::new(seed.0, nodes.0, network, faults, maker)?;
            Ok(run.with_limits(limits).with_replay(replay.0))
        })?;
        Ok(Self { run: Mutex::new(run), raised })
    }

    /// Until the time, µs, or until every honest node that decides has decided `decided` slots: "idle", "time" or "decided".
    #[pyo3(signature = (until, decided = None))]
    fn run(&self, py: Python<'_>, until: Int<u64>, decided: Option<Int<u64>>) -> PyResult<&'static str> {
        let mut run = self.lock(py)?;
        let goal = decided.map(|count| usize::try_from(count.0).unwrap_or(usize::MAX));
        let mut watch = goal.map(|goal| Watch::new(run.deciders().into_iter().map(|node| (node, goal)).collect()));
        Ok(match self.slices(py, &mut run, until.0, watch.as_mut())? {
            Stop::Idle => "idle",
            Stop::Time => "time",
            Stop::Reached => "decided",
        })
    }

    /// Lets the next thing happen; False if there is none.
    fn step(&self, py: Python<'_>) -> PyResult<bool> {
        let mut lock = self.lock(py)?;
        let run: &mut Simulation = &mut lock;
        let outcome = long(py, || Ok(run.step()))?;
        outcome.map_err(|failure| self.error(py, failure))
    }

    /// Runs until faults are over; then every honest node that decides must decide `more` slots within `bound` µs.
    fn progress(&self, py: Python<'_>, more: Int<u64>, bound: Int<u64>) -> PyResult<()> {
        let mut run = self.lock(py)?;
        let from = run.now().max(run.quiet_at());
        if from == u64::MAX {
            return Err(input(py, "progress: the network never becomes quiet; give it a time from which it is calm"));
        }
        self.slices(py, &mut run, from, None)?;
        let mut watch = Watch::new(run.goals(usize::try_from(more.0).unwrap_or(usize::MAX)));
        self.slices(py, &mut run, from.saturating_add(bound.0), Some(&mut watch))?;
        watch.check(&run, bound.0).map_err(|failure| self.error(py, failure))
    }

    /// A message from `sender` to `receiver`, from outside.
    fn inject(&self, py: Python<'_>, sender: Int<u16>, receiver: Int<u16>, message: Input<'_>) -> PyResult<()> {
        let mut run = self.lock(py)?;
        short(py, || run.inject(sender.0, receiver.0, message.to_vec()))
    }

    /// Crashes a node now.
    #[pyo3(signature = (node, restart_us = None, wiped = false))]
    fn crash(&self, py: Python<'_>, node: Int<u16>, restart_us: Option<Int<u64>>, wiped: bool) -> PyResult<()> {
        let mut run = self.lock(py)?;
        short(py, || run.crash(node.0, restart_us.map(|after| after.0), wiped))
    }

    /// Virtual time, µs; happenings; when the next one is.
    fn clock(&self, py: Python<'_>) -> PyResult<(u64, u64, Option<u64>)> {
        let mut run = self.lock(py)?;
        short(py, || Ok((run.now(), run.happenings(), run.next_at())))
    }

    /// Rows of the table from `begin` on, at most `count`.
    fn rows(&self, py: Python<'_>, begin: Int<u64>, count: Int<u64>) -> PyResult<Vec<Row>> {
        let run = self.lock(py)?;
        let size = |value: Int<u64>| usize::try_from(value.0).unwrap_or(usize::MAX);
        let rows = run.trace().rows().iter().skip(size(begin)).take(size(count));
        short(py, || {
            Ok(rows
                .map(|row| {
                    let digest = (row.len > 0).then(|| format!("{:016x}", row.digest.swap_bytes()));
                    (row.at, row.node, row.kind, row.peer, row.number, row.len, digest)
                })
                .collect())
        })
    }

    /// How many rows there are, how many were left out, how many messages were lost.
    fn counted(&self, py: Python<'_>) -> PyResult<(usize, u64, u64)> {
        let run = self.lock(py)?;
        let trace = run.trace();
        short(py, || Ok((trace.rows().len(), trace.left_out(), trace.lost())))
    }

    /// The digest of everything, or None.
    fn digest(&self, py: Python<'_>) -> PyResult<Option<Digest>> {
        let run = self.lock(py)?;
        short(py, || Ok(run.trace().digest()))
    }

    /// (node, kind, messages, bytes) of what was sent.
    fn sent(&self, py: Python<'_>) -> PyResult<Vec<(u16, String, u64, u64)>> {
        let run = self.lock(py)?;
        let one = |(node, kind): &(u16, [u8; 4])| (*node, String::from_utf8_lossy(kind).into_owned());
        let all = run.trace().sent().iter().map(|(key, count)| {
            let (node, kind) = one(key);
            (node, kind, count.messages, count.bytes)
        });
        short(py, || Ok(all.collect()))
    }

    /// (node, records, bytes) of what was journalled.
    fn persisted(&self, py: Python<'_>) -> PyResult<Vec<(u16, u64, u64)>> {
        let run = self.lock(py)?;
        let all = run.trace().persisted().iter().map(|(node, count)| (*node, count.messages, count.bytes));
        short(py, || Ok(all.collect()))
    }

    /// How many notes of a kind a node made.
    fn notes(&self, py: Python<'_>, node: Int<u16>, kind: Str) -> PyResult<u64> {
        let run = self.lock(py)?;
        short(py, || Ok(run.trace().notes(node.0, &kind.0)))
    }

    /// (slot, value, first node, when) of what honest nodes decided.
    fn decisions<'py>(&self, py: Python<'py>) -> PyResult<Vec<Decided<'py>>> {
        let run = self.lock(py)?;
        let all = run.agreement().slots().iter();
        Ok(all.map(|(slot, made)| (*slot, PyBytes::new(py, &made.value), made.node, made.at)).collect())
    }

    /// slot → when a node decided it first, µs.
    fn decided(&self, py: Python<'_>, node: Int<u16>) -> PyResult<BTreeMap<u64, u64>> {
        let run = self.lock(py)?;
        short(py, || Ok(run.agreement().of_node(node.0).cloned().unwrap_or_default()))
    }

    /// Whether a node is up, and whether it is honest.
    fn state(&self, py: Python<'_>, node: Int<u16>) -> PyResult<(bool, bool)> {
        let run = self.lock(py)?;
        short(py, || {
            exists(&run, node.0)?;
            Ok((run.is_up(node.0), run.is_honest(node.0)))
        })
    }

    /// What is durable on a node's disk.
    fn disk<'py>(&self, py: Python<'py>, node: Int<u16>) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let run = self.lock(py)?;
        let records = run.disk(node.0).ok_or_else(|| input(py, format!("simulation: there is no node {}", node.0)))?;
        Ok(records.iter().map(|record| PyBytes::new(py, record)).collect())
    }
}

impl SimulationRun {
    /// Never waits: who runs it may want the GIL for a node of one's own.
    fn lock(&self, py: Python<'_>) -> PyResult<MutexGuard<'_, Simulation>> {
        match self.run.try_lock() {
            Ok(run) => Ok(run),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => {
                Err(input(py, "simulation: it is running, in another thread or around the node that asks"))
            }
        }
    }

    /// Runs, and looks for signals now and then.
    fn slices(
        &self,
        py: Python<'_>,
        run: &mut Simulation,
        until: u64,
        mut watch: Option<&mut Watch>,
    ) -> PyResult<Stop> {
        loop {
            let outcome = long(py, || {
                let begin = Instant::now();
                let mut reached = false;
                let stop = run.run_while(until, |run| {
                    reached = watch.as_mut().is_some_and(|watch| watch.reached(run));
                    !reached && begin.elapsed() < SLICE
                });
                Ok(stop.map(|stop| (stop, reached)))
            })?;
            match outcome.map_err(|failure| self.error(py, failure))? {
                (Stop::Reached, false) => py.check_signals()?,
                (stop, _) => return Ok(stop),
            }
        }
    }

    /// The exception of a failure: the one that a node raised, or what the checkers found.
    fn error(&self, py: Python<'_>, failure: Failure) -> PyErr {
        let Some(raised) = self.raised.take() else { return to_python(py, failure.into()) };
        match raised.value(py).call_method1("add_note", (failure.to_string(),)) {
            Ok(_) => raised,
            Err(error) => error,
        }
    }
}

fn exists(run: &Simulation, node: u16) -> crate::error::Result<()> {
    if node >= run.nodes() {
        return Err(Error::input(format!("simulation: there is no node {node}")));
    }
    Ok(())
}

/// The seed of the signing key of a node of a protocol, 32 bytes.
#[pyfunction]
fn simulation_key(py: Python<'_>, protocol: Str, seed: Int<u64>, node: Int<u16>) -> PyResult<Digest> {
    short(py, || protocols::key(&protocol.0, seed.0, node.0))
}

/// The names of the protocols.
#[pyfunction]
fn simulation_protocols() -> Vec<&'static str> {
    protocols::NAMES.to_vec()
}

/// Adds these files' functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    overlay::register(module)?;
    module.add_class::<SimulationRun>()?;
    module.add_function(wrap_pyfunction!(simulation_key, module)?)?;
    module.add_function(wrap_pyfunction!(simulation_protocols, module)?)
}
