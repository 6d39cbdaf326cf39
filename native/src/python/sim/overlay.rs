//! Overlays: a watch that other threads read and stop, and one class whose calls each run an experiment.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::python::call::{long, short};
use crate::python::error::input;
use crate::python::int::Int;
use crate::python::text::Str;
use crate::sim::hvp::trees::Costs;
use crate::sim::hvp::{Detection, Overlay, Setup, Watch, hostile, membership, trees};

/// A crash: nodes left, draws, reliability, parts, nodes alone.
type Crashed = (u32, u32, f64, f64, f64);

/// What came together: nodes, parts then, parts in the end, µs until there was one.
type Returned = (u32, usize, usize, Option<u64>);

/// Means of broadcasts: sent, reliability, redundancy, last hop, µs until the last node, control messages.
type Means = (u32, f64, f64, f64, f64, f64);

/// How far experiments are.
#[pyclass(frozen, module = "city_chain._native")]
struct SimWatch(Arc<Watch>);

#[pymethods]
impl SimWatch {
    #[new]
    fn new() -> Self {
        Self(Arc::default())
    }

    /// Steps that are done, and how many there are as far as is known.
    fn seen(&self, py: Python<'_>) -> PyResult<(u64, u64)> {
        short(py, || Ok(self.0.seen()))
    }

    /// Ends the experiments soon.
    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        short(py, || {
            self.0.stop();
            Ok(())
        })
    }
}

/// An overlay that has grown; `city_chain.sim.Overlay` documents and types it.
#[pyclass(frozen, module = "city_chain._native")]
struct SimOverlay {
    setup: Setup,
    overlay: Overlay,
}

#[pymethods]
impl SimOverlay {
    #[new]
    fn new(py: Python<'_>, nodes: Int<u32>, cycles: Int<u32>, seed: Int<u64>, watch: &SimWatch) -> PyResult<Self> {
        let watch = &watch.0;
        long(py, || {
            let setup = Setup::new(nodes.0, cycles.0, seed.0)?;
            Ok(Self { setup, overlay: setup.overlay(Detection::ClosedConnections, watch)? })
        })
    }

    /// Measures of the steady state by name.
    fn steady(&self, py: Python<'_>) -> PyResult<Vec<(&'static str, f64)>> {
        let steady = long(py, || Ok(membership::steady(&self.setup, &self.overlay)))?;
        let (mean, least, most) = steady.in_degree;
        Ok(vec![
            ("components", steady.components as f64),
            ("clustering", steady.clustering),
            ("shortest_path", steady.shortest_path),
            ("degree", mean),
            ("in_degree_least", f64::from(least)),
            ("in_degree_most", f64::from(most)),
            ("passive", steady.passive),
            ("symmetric", steady.symmetric),
            ("flood_rmr", steady.flood_rmr),
            ("flood_last_hop", steady.flood_last_hop),
            ("messages", steady.messages),
            ("bytes", steady.bytes),
        ])
    }

    /// Crashes a share of a copy.
    fn crash(&self, py: Python<'_>, percent: Int<u32>, detection: Str, watch: &SimWatch) -> PyResult<Crashed> {
        let (detection, watch) = (named(py, &detection)?, &watch.0);
        let shares = [(detection, percent.0)];
        let all = long(py, || membership::crashes(&self.setup, &self.overlay, &shares, watch))?;
        let [crashed] = all[..] else { return Err(input(py, "crash: nothing was measured")) };
        Ok((crashed.left, crashed.draws, crashed.reliability, crashed.components, crashed.alone))
    }

    /// Crashes a share of a copy whose nodes know contacts that survive.
    fn rejoin(&self, py: Python<'_>, percent: Int<u32>, cycles: Int<u32>, watch: &SimWatch) -> PyResult<Returned> {
        let watch = &watch.0;
        let returned = long(py, || membership::rejoin(&self.setup, &self.overlay, percent.0, cycles.0, watch))?;
        Ok((returned.nodes, returned.components_then, returned.components, returned.one_us))
    }

    /// Cuts a copy into halves, and heals it.
    fn partition(&self, py: Python<'_>, cut: Int<u32>, cycles: Int<u32>, watch: &SimWatch) -> PyResult<Returned> {
        let watch = &watch.0;
        let returned = long(py, || membership::partition(&self.setup, &self.overlay, cut.0, cycles.0, watch))?;
        Ok((returned.nodes, returned.components_then, returned.components, returned.one_us))
    }

    /// Broadcasts in a copy: the first, those of one sender, those of many.
    fn trees(&self, py: Python<'_>, count: Int<u32>, watch: &SimWatch) -> PyResult<(Means, Means, Means)> {
        let watch = &watch.0;
        let trees = long(py, || trees::trees(&self.setup, &self.overlay, count.0, watch))?;
        Ok((means(trees.first), means(trees.single), means(trees.many)))
    }

    /// Crashes a share of a copy in which a tree is: left, first, last, µs until it healed, redundancy.
    fn heal(
        &self,
        py: Python<'_>,
        percent: Int<u32>,
        detection: Str,
        watch: &SimWatch,
    ) -> PyResult<(u32, f64, f64, u64, f64)> {
        let (detection, watch) = (named(py, &detection)?, &watch.0);
        let shares = [(detection, percent.0)];
        let all = long(py, || trees::healings(&self.setup, &self.overlay, &shares, watch))?;
        let [healed] = all[..] else { return Err(input(py, "heal: nothing was measured")) };
        Ok((healed.left, healed.first, healed.last, healed.healed_us, healed.rmr))
    }

    /// Ids made up by the neighbours of a node of a copy: announced, refused, the most awaited, seen and waiting, awaited
    /// after, nodes that the next broadcast reached.
    fn fabricated(
        &self,
        py: Python<'_>,
        count: Int<u64>,
        watch: &SimWatch,
    ) -> PyResult<(u64, u64, usize, usize, usize, usize, u32)> {
        let watch = &watch.0;
        let held = long(py, || hostile::fabricated(&self.setup, &self.overlay, count.0, watch))?;
        let most = (held.awaited, held.seen, held.outbox);
        Ok((held.announced, held.refused, most.0, most.1, most.2, held.awaited_after, held.reached.0))
    }
}

fn means(costs: Costs) -> Means {
    (costs.sent, costs.reliability, costs.rmr, costs.last_hop, costs.last_us, costs.control)
}

fn named(py: Python<'_>, name: &Str) -> PyResult<Detection> {
    match name.0.as_str() {
        "closed connections" => Ok(Detection::ClosedConnections),
        "found on send" => Ok(Detection::FoundOnSend),
        other => Err(input(py, format!("overlay: {other:?} is no way to detect failures"))),
    }
}

/// An overlay of its own with attackers: honest nodes, attackers, honest nodes eclipsed, the attackers' share of places, the
/// largest part that honest links join.
#[pyfunction]
fn sim_eclipse(
    py: Python<'_>,
    nodes: Int<u32>,
    cycles: Int<u32>,
    seed: Int<u64>,
    percent: Int<u32>,
    watch: &SimWatch,
) -> PyResult<(u32, u32, u32, f64, usize)> {
    let watch = &watch.0;
    let eclipse = long(py, || membership::eclipse(&Setup::new(nodes.0, cycles.0, seed.0)?, percent.0, watch))?;
    Ok((eclipse.honest, eclipse.attackers, eclipse.eclipsed, eclipse.places, eclipse.largest))
}

/// Adds this file's function and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<SimWatch>()?;
    module.add_class::<SimOverlay>()?;
    module.add_function(wrap_pyfunction!(sim_eclipse, module)?)
}
