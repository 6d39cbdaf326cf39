//! Bindings of `vrf`.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use zeroize::Zeroizing;

use super::buffer::Input;
use super::call::{long, short, sized};
use super::error::to_python;
use super::int::Int;
use super::keys;
use super::record::{MANY_MAX, check_tuple};
use super::text::Str;
use crate::algorithms::vrf::{self, Item, Proof, Suite};
use crate::crypto::hash::hex;
use crate::error::Result;

/// A suite by its name.
struct SuiteName(Suite);

/// What is meant where none is named.
const ELL2: SuiteName = SuiteName(Suite::Ell2);

impl<'a, 'py> FromPyObject<'a, 'py> for SuiteName {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let name: Str = object.extract()?;
        Suite::named(&name.0).map(Self).map_err(|error| to_python(object.py(), error))
    }
}

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

    /// The proof of this key's output for an input (RFC 9381, section 5.1).
    ///
    /// Args:
    ///     alpha: The input, any bytes. ``tai`` takes a time that tells about it: public inputs only.
    ///     suite: ``ell2`` (ECVRF-EDWARDS25519-SHA512-ELL2) or ``tai`` (ECVRF-EDWARDS25519-SHA512-TAI).
    ///
    /// Returns:
    ///     80 bytes; ``verify`` turns them into the output.
    ///
    /// Raises:
    ///     InputError: There is no such suite.
    #[pyo3(signature = (alpha, *, suite = ELL2), text_signature = "($self, alpha, *, suite='ell2')")]
    fn prove<'py>(&self, py: Python<'py>, alpha: Input<'py>, suite: SuiteName) -> PyResult<Bound<'py, PyBytes>> {
        let (alpha, suite) = (alpha.as_slice(), suite.0);
        long(py, || self.0.prove_in(suite, alpha)).map(|proof| PyBytes::new(py, &proof))
    }

    /// The same proof in the longer form of which many can be checked together (Gamma, U, V, s).
    ///
    /// Args:
    ///     alpha: The input, any bytes. ``tai`` takes a time that tells about it: public inputs only.
    ///     suite: ``ell2`` or ``tai``.
    ///
    /// Returns:
    ///     128 bytes; ``verify`` and ``verify_many`` turn them into the output.
    ///
    /// Raises:
    ///     InputError: There is no such suite.
    #[pyo3(signature = (alpha, *, suite = ELL2), text_signature = "($self, alpha, *, suite='ell2')")]
    fn prove_batchable<'py>(
        &self,
        py: Python<'py>,
        alpha: Input<'py>,
        suite: SuiteName,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let (alpha, suite) = (alpha.as_slice(), suite.0);
        long(py, || self.0.prove_batchable(suite, alpha)).map(|proof| PyBytes::new(py, &proof))
    }

    fn __repr__(&self) -> String {
        format!("<SecretKey of the public key {}>", hex(&self.0.public()))
    }
}

/// See `city_chain.vrf.verify`.
#[pyfunction]
#[pyo3(signature = (public, alpha, proof, *, suite = ELL2), text_signature = "(public, alpha, proof, *, suite='ell2')")]
fn vrf_verify<'py>(
    py: Python<'py>,
    public: Input<'py>,
    alpha: Input<'py>,
    proof: Input<'py>,
    suite: SuiteName,
) -> PyResult<Bound<'py, PyBytes>> {
    let public = public.array(py, "vrf: the public key")?;
    let (alpha, proof, suite) = (alpha.as_slice(), proof.as_slice(), suite.0);
    long(py, || vrf::verify_in(suite, &public, alpha, Proof::from_slice(proof)?)).map(|beta| PyBytes::new(py, &beta))
}

/// See `city_chain.vrf.verify_many`.
#[pyfunction]
#[pyo3(signature = (items, *, suite = ELL2), text_signature = "(items, *, suite='ell2')")]
fn vrf_verify_many(py: Python<'_>, items: &Bound<'_, PyAny>, suite: SuiteName) -> PyResult<Vec<Py<PyAny>>> {
    let items = keys::items(items, "vrf: items", MANY_MAX, |item| {
        check_tuple(item, 3, "vrf: an item")?;
        item.extract::<(Input<'_>, Input<'_>, Input<'_>)>()
    })?;
    let items: Vec<_> = items.iter().map(|(public, alpha, proof)| Item::from_slices(public, alpha, proof)).collect();
    let verdicts = long(py, || vrf::verify_many_of(suite.0, items))?;
    let object = |verdict: Result<[u8; vrf::OUTPUT_LEN]>| match verdict {
        Ok(beta) => PyBytes::new(py, &beta).into_any().unbind(),
        Err(error) => to_python(py, error).into_value(py).into_any(),
    };
    Ok(verdicts.into_iter().map(object).collect())
}

/// See `city_chain.vrf.proof_to_hash`.
#[pyfunction]
#[pyo3(signature = (proof, *, suite = ELL2), text_signature = "(proof, *, suite='ell2')")]
fn vrf_proof_to_hash<'py>(py: Python<'py>, proof: Input<'py>, suite: SuiteName) -> PyResult<Bound<'py, PyBytes>> {
    let (proof, suite) = (proof.as_slice(), suite.0);
    short(py, || vrf::output(suite, Proof::from_slice(proof)?)).map(|beta| PyBytes::new(py, &beta))
}

/// See `city_chain.vrf.to_batchable`.
#[pyfunction]
#[pyo3(signature = (public, alpha, proof, *, suite = ELL2), text_signature = "(public, alpha, proof, *, suite='ell2')")]
fn vrf_to_batchable<'py>(
    py: Python<'py>,
    public: Input<'py>,
    alpha: Input<'py>,
    proof: Input<'py>,
    suite: SuiteName,
) -> PyResult<Bound<'py, PyBytes>> {
    let (public, proof) = (public.array(py, "vrf: the public key")?, proof.array(py, "vrf: the short proof")?);
    let (alpha, suite) = (alpha.as_slice(), suite.0);
    long(py, || vrf::to_batchable(suite, &public, alpha, &proof)).map(|proof| PyBytes::new(py, &proof))
}

/// See `city_chain.vrf.to_compact`.
#[pyfunction]
#[pyo3(signature = (public, alpha, proof, *, suite = ELL2), text_signature = "(public, alpha, proof, *, suite='ell2')")]
fn vrf_to_compact<'py>(
    py: Python<'py>,
    public: Input<'py>,
    alpha: Input<'py>,
    proof: Input<'py>,
    suite: SuiteName,
) -> PyResult<Bound<'py, PyBytes>> {
    let (public, proof) = (public.array(py, "vrf: the public key")?, proof.array(py, "vrf: the long proof")?);
    let (alpha, suite) = (alpha.as_slice(), suite.0);
    long(py, || vrf::to_compact(suite, &public, alpha, &proof)).map(|proof| PyBytes::new(py, &proof))
}

/// See `city_chain.vrf.sortition`.
#[pyfunction]
fn vrf_sortition(
    py: Python<'_>,
    beta: Input<'_>,
    weight: Int<u64>,
    total: Int<u64>,
    expected: Int<u64>,
) -> PyResult<u64> {
    let beta = beta.array(py, "sortition: the output")?;
    // A step takes about as long as hashing a hundred bytes.
    let work = 100 * vrf::sortition_steps(weight.0, total.0, expected.0) as usize;
    sized(py, work, || vrf::sortition(&beta, weight.0, total.0, expected.0))
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
    module.add_function(wrap_pyfunction!(vrf_verify_many, module)?)?;
    module.add_function(wrap_pyfunction!(vrf_proof_to_hash, module)?)?;
    module.add_function(wrap_pyfunction!(vrf_to_batchable, module)?)?;
    module.add_function(wrap_pyfunction!(vrf_to_compact, module)?)?;
    module.add_function(wrap_pyfunction!(vrf_sortition, module)?)?;
    module.add_function(wrap_pyfunction!(vrf_alpha, module)?)?;
    module.add_function(wrap_pyfunction!(vrf_transaction_seed, module)?)
}
