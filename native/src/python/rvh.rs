//! Bindings of `rvh`.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::buffer::Input;
use super::call::{LONG_MIN, long, short};
use super::error::input;
use super::int::Int;
use super::keys::{Keys, bytes_of, items};
use super::output::Output;
use super::real::Real;
use crate::algorithms::rvh;
use crate::error::Result;

/// Nodes among which keys are placed; hashed once, unchanging, and safe to share between threads.
///
/// Every participant with the same nodes ranks them alike for a key, with no state shared. When a node goes, only the keys
/// that it held move. With failure domains, the best node of every domain comes first, then the second best of every
/// domain, and so on.
///
/// Args:
///     ids: The nodes' ids, 1 to 1024 bytes each, all different; 1 to 2**20 of them.
///     weights: Each node's share of the keys, relative, 0 (never chosen) to 65535; by default all equal.
///     domains: Each node's failure domain, any bytes; by default one for all.
///
/// Raises:
///     InputError: An id is there twice, a weight is negative or not finite, or the lengths differ.
///
/// Example:
///     >>> nodes = NodeSet([b"a", b"b", b"c", b"d"], weights=[1, 1, 2, 0])
///     >>> sorted(nodes.pick(b"key", 3))
///     [0, 1, 2]
///     >>> nodes.pick(b"key", 2) == nodes.pick(b"key", 3)[:2]
///     True
#[pyclass(frozen, name = "NodeSet", module = "city_chain.algorithms.rvh")]
struct NodeSet(rvh::NodeSet);

/// Nodes from which a set is made with the GIL released: some 100 ns each.
const LONG_NODES: usize = 200;

/// Nanoseconds from which a call releases the GIL.
const LONG_NS: usize = 20_000;

impl NodeSet {
    /// Calls the core for some keys, with the GIL released if that takes long.
    fn call<T: Send>(
        &self,
        py: Python<'_>,
        keys: rvh::Keys<'_>,
        n: usize,
        f: impl FnOnce(&rvh::NodeSet) -> Result<T> + Send,
    ) -> PyResult<T> {
        let is_long = keys.bytes() >= LONG_MIN || self.0.work(keys.len(), 0, n) >= LONG_NS;
        if is_long { long(py, || f(&self.0)) } else { short(py, || f(&self.0)) }
    }

    /// Node positions, of which a set cannot have more than nodes.
    fn excluded(&self, exclude: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<u32>> {
        let one = |item: &Bound<'_, PyAny>| item.extract::<Int<u32>>().map(|at| at.0);
        exclude.map_or(Ok(Vec::new()), |exclude| items(exclude, "exclude", self.0.len(), one))
    }
}

/// Calls `f` with the keys as the core wants them.
fn with_keys<T>(keys: &Keys<'_>, f: impl FnOnce(rvh::Keys<'_>) -> T) -> T {
    match keys {
        Keys::Packed(packed, width) => f(rvh::Keys::Packed(packed, *width)),
        Keys::Listed(_) => f(rvh::Keys::Listed(&keys.slices())),
    }
}

#[pymethods]
impl NodeSet {
    #[new]
    #[pyo3(signature = (ids, weights = None, domains = None))]
    fn new(
        py: Python<'_>,
        ids: &Bound<'_, PyAny>,
        weights: Option<&Bound<'_, PyAny>>,
        domains: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let ids = bytes_of(ids, "ids", rvh::NODES_MAX)?;
        let real = |item: &Bound<'_, PyAny>| item.extract::<Real>().map(|weight| weight.0);
        let weights = weights.map(|weights| items(weights, "weights", rvh::NODES_MAX, real)).transpose()?;
        let domains = domains.map(|domains| bytes_of(domains, "domains", rvh::NODES_MAX)).transpose()?;
        let ids: Vec<&[u8]> = ids.iter().map(Input::as_slice).collect();
        let domains: Option<Vec<&[u8]>> = domains.as_ref().map(|names| names.iter().map(Input::as_slice).collect());
        let make = || rvh::NodeSet::new(&ids, weights.as_deref(), domains.as_deref()).map(Self);
        if ids.len() >= LONG_NODES { long(py, make) } else { short(py, make) }
    }

    /// The nodes for a key, best first.
    ///
    /// Args:
    ///     key: Any bytes.
    ///     n: How many.
    ///     exclude: Positions of nodes to leave out.
    ///
    /// Returns:
    ///     Positions in ``ids``.
    ///
    /// Raises:
    ///     InputError: A position is out of range.
    ///     UnavailableError: Fewer than ``n`` nodes have a weight above 0 and are not excluded.
    #[pyo3(signature = (key, n, exclude = None), text_signature = "($self, key, n, exclude=())")]
    fn pick(
        &self,
        py: Python<'_>,
        key: Input<'_>,
        n: Int<usize>,
        exclude: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Vec<u32>> {
        let (key, excluded) = (key.as_slice(), self.excluded(exclude)?);
        self.call(py, rvh::Keys::Listed(&[key]), n.0, |set| set.pick(key, n.0, &excluded))
    }

    /// ``pick`` for many keys in one call.
    ///
    /// Args:
    ///     keys: An iterable of bytes (at most 2**24), or with ``width`` one buffer of keys of that many bytes each.
    ///     n: How many nodes for each key; at most 2**28 over all keys.
    ///     width: Bytes of each key in the buffer.
    ///     exclude: Positions of nodes to leave out for all keys.
    ///
    /// Returns:
    ///     Positions as packed little-endian u32, ``n`` for each key, one key after another.
    ///
    /// Raises:
    ///     InputError: A number is out of range, or the width does not fit the buffer.
    ///     UnavailableError: Fewer than ``n`` nodes have a weight above 0 and are not excluded.
    ///
    /// Example:
    ///     >>> nodes = NodeSet([b"a", b"b", b"c"])
    ///     >>> rows = memoryview(nodes.pick_many([b"x", b"y"], 2)).cast("I")
    ///     >>> rows[2:].tolist() == nodes.pick(b"y", 2)
    ///     True
    #[pyo3(signature = (keys, n, *, width = None, exclude = None))]
    #[pyo3(text_signature = "($self, keys, n, *, width=None, exclude=())")]
    fn pick_many<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
        n: Int<usize>,
        width: Option<Int<usize>>,
        exclude: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let (keys, n, excluded) = (Keys::extract(keys, width)?, n.0, self.excluded(exclude)?);
        let picks = short(py, || self.0.picks(keys.len(), n, &excluded))?;
        let mut output = Output::new(py, picks * 4)?;
        let rows = output.space().zeroed().as_chunks_mut().0;
        with_keys(&keys, |keys| self.call(py, keys, n, |set| set.pick_many_into(keys, n, &excluded, rows)))?;
        Ok(output.publish())
    }

    /// All nodes of weight above 0, best first.
    ///
    /// Args:
    ///     key: Any bytes.
    ///     exclude: Positions of nodes to leave out.
    ///
    /// Returns:
    ///     Positions in ``ids``; ``pick`` gives a prefix of it.
    ///
    /// Raises:
    ///     InputError: A position is out of range.
    #[pyo3(signature = (key, exclude = None), text_signature = "($self, key, exclude=())")]
    fn rank(&self, py: Python<'_>, key: Input<'_>, exclude: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<u32>> {
        let (key, excluded) = (key.as_slice(), self.excluded(exclude)?);
        self.call(py, rvh::Keys::Listed(&[key]), self.0.len(), |set| set.rank(key, &excluded))
    }

    /// The keys that would move if these nodes became others.
    ///
    /// Args:
    ///     other: The other nodes.
    ///     keys: As in ``pick_many``.
    ///     n: How many nodes hold each key.
    ///     width: As in ``pick_many``.
    ///
    /// Returns:
    ///     The positions of the keys whose ``n`` nodes, as a set of ids, are not the same in ``other``.
    ///
    /// Raises:
    ///     InputError: The width does not fit the buffer.
    ///     UnavailableError: One of the two has fewer than ``n`` nodes of weight above 0.
    #[pyo3(signature = (other, keys, n, *, width = None))]
    fn owner_changes(
        &self,
        py: Python<'_>,
        other: PyRef<'_, NodeSet>,
        keys: &Bound<'_, PyAny>,
        n: Int<usize>,
        width: Option<Int<usize>>,
    ) -> PyResult<Vec<usize>> {
        let (keys, other) = (Keys::extract(keys, width)?, &other.0);
        with_keys(&keys, |keys| long(py, || self.0.owner_changes(other, keys, n.0)))
    }

    /// The id of the node at a position.
    ///
    /// Args:
    ///     position: 0 to ``len - 1``.
    ///
    /// Returns:
    ///     The id.
    ///
    /// Raises:
    ///     InputError: There is no such position.
    fn id<'py>(&self, py: Python<'py>, position: Int<u32>) -> PyResult<Bound<'py, PyBytes>> {
        let missing = || input(py, format!("rvh: node {}: there are only {}", position.0, self.0.len()));
        self.0.id(position.0).map(|id| PyBytes::new(py, id)).ok_or_else(missing)
    }

    /// The position of a node.
    ///
    /// Args:
    ///     id: Its id.
    ///
    /// Returns:
    ///     Its position in ``ids``, or None if it is not there.
    fn position(&self, id: Input<'_>) -> Option<u32> {
        self.0.position(&id)
    }

    /// The instructions that work on it: ``"avx512"``, ``"avx2"``, ``"neon"`` or ``"scalar"``.
    ///
    /// The best that the machine has, or what the environment variable ``CITY_CHAIN_RVH_KERNEL`` named when the first set of
    /// the process was made. All give the same placements.
    #[getter]
    fn kernel(&self) -> &'static str {
        self.0.kernel().name()
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __repr__(&self) -> String {
        format!("<NodeSet of {} nodes>", self.0.len())
    }
}

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<NodeSet>()
}
