//! Bindings of `vrf`.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use zeroize::Zeroizing;

use super::buffer::Input;
use super::call::{long, short};
use super::int::Int;
use crate::algorithms::vrf;
use crate::crypto::hash::hex;

/// A secret VRF key, opaque: it is wiped from memory when it goes, has no encoding, is never shown and cannot be pickled.
///
/// Args:
///     seed: 32 secret bytes, used for nothing else: a seed that also signs Ed25519 gives both keys away.
///
/// Raises:
///     InputError: The seed is not of 32 bytes.
///
/// Example:
///     >>> key = SecretKey(bytes(32))
///     >>> proof = key.prove(b"round 7")
///     >>> verify(key.public_key, b"round 7", proof) == proof_to_hash(proof)
///     True
#[pyclass(frozen, name = "SecretKey", module = "city_chain.algorithms.vrf")]
struct VrfSecretKey(vrf::SecretKey);

#[pymethods]
impl VrfSecretKey {
    #[new]
    fn new(py: Python<'_>, seed: Input<'_>) -> PyResult<Self> {
        let seed = Zeroizing::new(seed.array::<32>(py, "vrf: the seed")?);
        long(py, || Ok(Self(vrf::SecretKey::from_seed(&seed))))
    }

    /// The public key, 32 bytes.
    #[getter]
    fn public_key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.public())
    }

    /// The proof of this key's output for an input (RFC 9381, ECVRF-EDWARDS25519-SHA512-ELL2).
    ///
    /// Args:
    ///     alpha: The input, any bytes.
    ///
    /// Returns:
    ///     80 bytes; ``verify`` turns them into the output.
    fn prove<'py>(&self, py: Python<'py>, alpha: Input<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let alpha = alpha.as_slice();
        long(py, || Ok(self.0.prove(alpha))).map(|proof| PyBytes::new(py, &proof))
    }

    fn __repr__(&self) -> String {
        format!("<SecretKey of the public key {}>", hex(&self.0.public()))
    }
}

/// See `city_chain.vrf.verify`.
#[pyfunction]
fn vrf_verify<'py>(
    py: Python<'py>,
    public: Input<'py>,
    alpha: Input<'py>,
    proof: Input<'py>,
) -> PyResult<Bound<'py, PyBytes>> {
    let (public, proof) = (public.array(py, "vrf: the public key")?, proof.array(py, "vrf: the proof")?);
    let alpha = alpha.as_slice();
    long(py, || vrf::verify(&public, alpha, &proof)).map(|output| PyBytes::new(py, &output))
}

/// See `city_chain.vrf.proof_to_hash`.
#[pyfunction]
fn vrf_proof_to_hash<'py>(py: Python<'py>, proof: Input<'py>) -> PyResult<Bound<'py, PyBytes>> {
    let proof = proof.array(py, "vrf: the proof")?;
    short(py, || vrf::proof_to_hash(&proof)).map(|output| PyBytes::new(py, &output))
}

/// See `city_chain.vrf.alpha`.
#[pyfunction]
fn vrf_alpha<'py>(
    py: Python<'py>,
    network: Input<'py>,
    epoch: Int<u64>,
    role: Int<u16>,
    seed: Input<'py>,
) -> PyResult<Bound<'py, PyBytes>> {
    let (network, seed) = (network.digest(py, "vrf: the network")?, seed.digest(py, "vrf: the seed")?);
    short(py, || Ok(vrf::alpha(&network, epoch.0, role.0, &seed))).map(|alpha| PyBytes::new(py, &alpha))
}

/// See `city_chain.vrf.transaction_seed`.
#[pyfunction]
fn vrf_transaction_seed<'py>(
    py: Python<'py>,
    beta: Input<'py>,
    sender: Input<'py>,
    sequence: Int<u64>,
) -> PyResult<Bound<'py, PyBytes>> {
    let (beta, sender) = (beta.array(py, "vrf: the output")?, sender.digest(py, "vrf: the sender")?);
    short(py, || Ok(vrf::transaction_seed(&beta, &sender, sequence.0))).map(|seed| PyBytes::new(py, &seed))
}

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("VrfSecretKey", module.py().get_type::<VrfSecretKey>())?;
    module.add_function(wrap_pyfunction!(vrf_verify, module)?)?;
    module.add_function(wrap_pyfunction!(vrf_proof_to_hash, module)?)?;
    module.add_function(wrap_pyfunction!(vrf_alpha, module)?)?;
    module.add_function(wrap_pyfunction!(vrf_transaction_seed, module)?)
}
