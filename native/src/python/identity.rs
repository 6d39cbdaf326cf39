//! Bindings of identities and of signatures over plain messages.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use zeroize::Zeroizing;

use super::buffer::Input;
use super::call::{long, short, sized};
use super::int::Int;
use super::text::Str;
use crate::crypto::hash::{Digest, hex};
use crate::crypto::kem::Suite;
use crate::crypto::keys;
use crate::records::identity as model;

/// The secret keys of a sender or node: one master seed, one derived key per purpose.
///
/// Signing (Ed25519, RFC 8032), drawing (ECVRF, RFC 9381), key encapsulation (X-Wing; sntrup761 with X25519) and
/// signatures that hold against quantum computers (ML-DSA-65, FIPS 204) have keys of their own, derived from the master
/// seed by BLAKE3 in key-derivation mode; the latter two are made when they are first needed. The keys are wiped from
/// memory when the object goes, are never shown, and have no encoding: keep the 32 bytes of the seed where secrets are
/// kept.
///
/// Args:
///     master: 32 bytes of entropy, such as `secrets.token_bytes(32)`.
///
/// Raises:
///     InputError: The seed is not 32 bytes.
///
/// Example:
///     >>> from city_chain.records import Identity
///     >>> identity = Identity(bytes(32))
///     >>> len(identity.id)
///     32
#[pyclass(frozen, module = "city_chain.records")]
pub(in crate::python) struct Identity {
    core: Arc<model::Identity>,
    id: Digest,
}

impl Identity {
    fn wrap(core: model::Identity) -> Self {
        Self { id: core.id(), core: Arc::new(core) }
    }

    /// The keys, shared.
    pub(super) fn shared(&self) -> Arc<model::Identity> {
        Arc::clone(&self.core)
    }

    /// The keys.
    pub(super) fn core(&self) -> &model::Identity {
        &self.core
    }
}

#[pymethods]
impl Identity {
    #[new]
    fn new(py: Python<'_>, master: Input<'_>) -> PyResult<Self> {
        let master = Zeroizing::new(master.array::<32>(py, "identity: master seed")?);
        long(py, || Ok(Self::wrap(model::Identity::from_master(&master))))
    }

    /// The identity of a child of a master seed: a city's nodes have one each.
    ///
    /// Args:
    ///     master: The 32 bytes of the seed.
    ///     label: What the children are, such as `b"node"`.
    ///     index: Which of them, 0 to 2⁶⁴ − 1.
    ///
    /// Raises:
    ///     InputError: The seed is not 32 bytes, or the index does not fit.
    ///
    /// Example:
    ///     >>> Identity.child(bytes(32), b"node", 0).id != Identity.child(bytes(32), b"node", 1).id
    ///     True
    #[staticmethod]
    fn child(py: Python<'_>, master: Input<'_>, label: Input<'_>, index: Int<u64>) -> PyResult<Self> {
        let master = Zeroizing::new(master.array::<32>(py, "identity: master seed")?);
        let label = label.as_slice();
        long(py, || Ok(Self::wrap(model::Identity::child(&master, label, index.0))))
    }

    /// The master seed of the child `index` named `label`: what `child` makes its keys from.
    ///
    /// It is the child's secret, and tells nothing of `master` or of other children: a node in a process of its own is
    /// given this and nothing more.
    ///
    /// Args:
    ///     master: 32 secret bytes.
    ///     label: What the child is for.
    ///     index: Which child, 0 to 2^64 - 1.
    ///
    /// Returns:
    ///     32 secret bytes.
    ///
    /// Raises:
    ///     InputError: The seed is not 32 bytes, or the index does not fit.
    ///
    /// Example:
    ///     >>> Identity(Identity.child_seed(bytes(32), b"node", 7)) == Identity.child(bytes(32), b"node", 7)
    ///     True
    #[staticmethod]
    fn child_seed<'py>(
        py: Python<'py>,
        master: Input<'py>,
        label: Input<'py>,
        index: Int<u64>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let master = Zeroizing::new(master.array::<32>(py, "identity: master seed")?);
        let seed = keys::derive_child(&master, label.as_slice(), index.0);
        Ok(PyBytes::new(py, seed.as_ref()))
    }

    /// The public signing key, 32 bytes: who the identity is.
    #[getter]
    fn id(&self) -> Digest {
        self.id
    }

    /// The public key of the draws, 32 bytes.
    #[getter]
    fn vrf_public(&self) -> Digest {
        self.core.vrf().public()
    }

    /// The public key that secrets for this identity are sealed to, type prefix included.
    ///
    /// Args:
    ///     suite: `"x-wing"` or `"sntrup761-x25519"`; an identity has a key of each.
    ///
    /// Returns:
    ///     The typed bytes of a `city_chain.algorithms.tes.kem.PublicKey`.
    ///
    /// Raises:
    ///     InputError: There is no such suite.
    ///
    /// Example:
    ///     >>> identity.kem_public()[:2], len(identity.kem_public())
    ///     (b'xp', 1218)
    #[pyo3(signature = (suite = Str("x-wing".to_owned())))]
    #[pyo3(text_signature = "($self, suite='x-wing')")]
    fn kem_public<'py>(&self, py: Python<'py>, suite: Str) -> PyResult<Bound<'py, PyBytes>> {
        let public = long(py, || Ok(self.core.kem(Suite::named(&suite.0)?)?.public()))?;
        Ok(PyBytes::new(py, public.as_bytes()))
    }

    /// The public key of the identity's ML-DSA-65 signatures, type prefix included.
    ///
    /// Example:
    ///     >>> identity.ml_dsa_public[:2], len(identity.ml_dsa_public)
    ///     (b'6p', 1954)
    #[getter]
    fn ml_dsa_public<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let public = long(py, || Ok(self.core.ml_dsa()?.public()))?;
        Ok(PyBytes::new(py, public.as_bytes()))
    }

    /// Signs bytes that are no record. What is signed is their digest in a domain that no record uses.
    ///
    /// Args:
    ///     message: Any bytes.
    ///
    /// Returns:
    ///     A signature of 64 bytes, for `verify_message`.
    ///
    /// Example:
    ///     >>> from city_chain.records import verify_message
    ///     >>> verify_message(identity.id, b"hello", identity.sign(b"hello"))
    fn sign(&self, py: Python<'_>, message: Input<'_>) -> PyResult<[u8; 64]> {
        let message = message.as_slice();
        sized(py, message.len(), || Ok(self.core.sign_message(message)))
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| self.id == other.get().id)
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<u64> {
        short(py, || Ok(self.id[..8].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))))
    }

    fn __repr__(&self) -> String {
        format!("Identity({}…)", hex(&self.id[..4]))
    }
}

/// Checks a signature that `Identity.sign` made.
///
/// Args:
///     public: The signer's id, 32 bytes.
///     message: What was signed.
///     signature: The 64 bytes.
///
/// Raises:
///     VerificationError: The signature is not the signer's over the message.
///     InputError: A wrong length.
///
/// Example:
///     >>> from city_chain.records import Identity
///     >>> identity = Identity(bytes(32))
///     >>> verify_message(identity.id, b"hello", identity.sign(b"hello"))
#[pyfunction]
fn verify_message(py: Python<'_>, public: Input<'_>, message: Input<'_>, signature: Input<'_>) -> PyResult<()> {
    let public = public.digest(py, "message: public key")?;
    let signature = signature.array::<64>(py, "message: signature")?;
    let message = message.as_slice();
    long(py, || model::verify_message(&public, message, &signature))
}

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Identity>()?;
    module.add_function(wrap_pyfunction!(verify_message, module)?)
}
