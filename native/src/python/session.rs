//! Bindings of the sessions that seal fragments on their way.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::buffer::Input;
use super::call::long;
use super::error::{input, to_python};
use super::int::Int;
use super::record::{MANY_MAX, check_tuple, each, items};
use crate::crypto::hash::{Digest, hex};
use crate::proofs::poh::session as model;

/// The most sessions that a node can be told to remember.
const OPENED_MAX: usize = 1 << 20;

/// What a sender and a node share, so that fragments travel sealed. Made by `seal_sessions`.
///
/// The secret is wiped from memory when the object goes, is never shown, and has no encoding.
///
/// Example:
///     >>> from city_chain.proofs import poh
///     >>> [session] = poh.seal_sessions(epoch.network, identity.id, [(holders[0].id, holders[0].kem_public())])
///     >>> session.node == holders[0].id, len(session.id), len(session.sealed)
///     (True, 32, 1154)
#[pyclass(frozen, name = "Session", module = "city_chain.proofs.poh")]
pub(in crate::python) struct HoldSession {
    core: Arc<model::Session>,
}

impl HoldSession {
    /// The session, shared.
    pub(in crate::python) fn shared(&self) -> Arc<model::Session> {
        Arc::clone(&self.core)
    }
}

#[pymethods]
impl HoldSession {
    /// What requests name it by, 32 bytes.
    #[getter]
    fn id(&self) -> Digest {
        *self.core.id()
    }

    /// With whom it is, 32 bytes.
    #[getter]
    fn node(&self) -> Digest {
        *self.core.node()
    }

    /// Whose it is, 32 bytes.
    #[getter]
    fn sender(&self) -> Digest {
        *self.core.sender()
    }

    /// What the node is told: the secret, sealed to its key.
    #[getter]
    fn sealed<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.core.sealed())
    }

    fn __repr__(&self) -> String {
        format!("Session({}… with {}…)", hex(&self.core.id()[..4]), hex(&self.core.node()[..4]))
    }
}

/// The sessions that a node has opened: the newest of them, up to a bound. Safe to use from several threads.
///
/// Args:
///     most: How many are remembered, 1 to 1,048,576.
///
/// Raises:
///     InputError: Another number.
///
/// Example:
///     >>> from city_chain.proofs import poh
///     >>> len(poh.OpenedSessions())
///     0
#[pyclass(frozen, module = "city_chain.proofs.poh")]
pub(in crate::python) struct OpenedSessions {
    core: Arc<model::Opened>,
}

impl OpenedSessions {
    /// The sessions, shared.
    pub(in crate::python) fn shared(&self) -> Arc<model::Opened> {
        Arc::clone(&self.core)
    }
}

#[pymethods]
impl OpenedSessions {
    #[new]
    #[pyo3(signature = (most = Int(4096)))]
    #[pyo3(text_signature = "(most=4096)")]
    fn new(py: Python<'_>, most: Int<usize>) -> PyResult<Self> {
        if !(1..=OPENED_MAX).contains(&most.0) {
            return Err(input(py, format!("sessions: {} to remember; 1 to {OPENED_MAX} is allowed", most.0)));
        }
        Ok(Self { core: Arc::new(model::Opened::new(most.0)) })
    }

    fn __len__(&self) -> usize {
        self.core.len()
    }

    fn __repr__(&self) -> String {
        format!("OpenedSessions({})", self.core.len())
    }
}

/// Makes sessions of a sender with nodes: one key encapsulation each, on all cores.
///
/// Args:
///     network: The network's id, 32 bytes.
///     sender: Who will send, 32 bytes.
///     nodes: (id, typed bytes of the KEM key in its `NodeRecord`) each.
///
/// Returns:
///     For each: the session; or the InputError or VerificationError (not raised) that says what is wrong with its key.
///
/// Raises:
///     InputError: An id is not 32 bytes.
///
/// Example:
///     >>> from city_chain.proofs import poh
///     >>> node = holders[0]
///     >>> keys = [(node.id, node.kem_public("sntrup761-x25519")), (node.id, b"no key")]
///     >>> session, error = poh.seal_sessions(epoch.network, identity.id, keys)
///     >>> len(session.sealed), type(error).__name__
///     (1105, 'InputError')
#[pyfunction]
fn seal_sessions<'py>(
    py: Python<'py>,
    network: Input<'_>,
    sender: Input<'_>,
    nodes: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyList>> {
    let (network, sender) = (network.digest(py, "session: network")?, sender.digest(py, "session: sender")?);
    let nodes: Vec<(Digest, Input<'py>)> = items(nodes, "sessions", MANY_MAX, |item| {
        check_tuple(item, 2, "session")?;
        let (node, public): (Input<'_>, Input<'_>) = item.extract()?;
        Ok((node.digest(py, "session: node")?, public))
    })?;
    let slices: Vec<(Digest, &[u8])> = nodes.iter().map(|(node, public)| (*node, public.as_slice())).collect();
    let found = PyList::empty(py);
    for made in long(py, || Ok(model::seal_many(&network, &sender, &slices)))? {
        match made {
            Ok(session) => found.append(Bound::new(py, HoldSession { core: Arc::new(session) })?)?,
            Err(error) => found.append(to_python(py, error).into_value(py))?,
        }
    }
    Ok(found)
}

/// Sessions that a call is given; none where it is given none.
pub(in crate::python) fn read(sessions: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<Arc<model::Session>>> {
    sessions.map_or_else(|| Ok(Vec::new()), |given| each(given, "sessions", MANY_MAX, HoldSession::shared))
}

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<HoldSession>()?;
    module.add_class::<OpenedSessions>()?;
    module.add_function(wrap_pyfunction!(seal_sessions, module)?)
}
