//! Bindings of `tes::bls`.

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use zeroize::Zeroizing;

use super::super::buffer::Input;
use super::super::call::{long, short};
use super::super::error::to_python;
use super::super::int::Int;
use super::super::keys::{bytes_of, items};
use super::super::record::{MANY_MAX, check_tuple, verdicts};
use super::dkg::DkgSecretShare;
use crate::algorithms::tes::bls::{self, Item};
use crate::algorithms::tes::polynomial::PARTIES_MAX;
use crate::crypto::hash::hex;

/// A secret BLS key, opaque: it is wiped from memory when it goes, is never shown and cannot be copied or pickled.
/// ``to_bytes`` gives the secret out, for an encrypted store; nothing else does.
///
/// Args:
///     seed: 32 secret bytes, used for nothing else (the draft's ``KeyGen``).
///
/// Raises:
///     InputError: The seed is not of 32 bytes.
///
/// Example:
///     >>> key = SecretKey(bytes(range(32)))
///     >>> verify(key.public_key, b"message", key.sign(b"message"))
#[pyclass(frozen, name = "SecretKey", module = "city_chain.algorithms.tes.bls")]
struct BlsSecretKey(bls::SecretKey);

#[pymethods]
impl BlsSecretKey {
    #[new]
    fn new(py: Python<'_>, seed: Input<'_>) -> PyResult<Self> {
        let seed = Zeroizing::new(seed.array::<32>(py, "bls: the seed")?);
        long(py, || bls::SecretKey::from_seed(&seed).map(Self))
    }

    /// A key that nobody can guess.
    ///
    /// Returns:
    ///     The key.
    ///
    /// Raises:
    ///     UnavailableError: The system has no randomness.
    #[staticmethod]
    fn generate(py: Python<'_>) -> PyResult<Self> {
        long(py, || bls::SecretKey::generate().map(Self))
    }

    /// Reads a key.
    ///
    /// Args:
    ///     data: What ``to_bytes`` gave.
    ///
    /// Returns:
    ///     The key.
    ///
    /// Raises:
    ///     InputError: The bytes are no BLS secret key, of another length, or the value is out of range.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: Input<'_>) -> PyResult<Self> {
        let data = data.as_slice();
        long(py, || bls::SecretKey::from_bytes(data).map(Self))
    }

    /// The key as 34 **secret** bytes: ``bs`` and the value, little-endian.
    ///
    /// Returns:
    ///     The bytes. Python cannot wipe them: keep them no longer than needed.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_bytes())
    }

    /// The public key, 98 bytes: ``bp`` and a point of G2.
    #[getter]
    fn public_key<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        short(py, || Ok(self.0.public().to_bytes())).map(|bytes| PyBytes::new(py, &bytes))
    }

    /// The signature of a message, the only one that there is for this key.
    ///
    /// Args:
    ///     message: Any bytes. Sign for one purpose only what cannot be meant for another.
    ///
    /// Returns:
    ///     48 bytes.
    fn sign<'py>(&self, py: Python<'py>, message: Input<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let message = message.as_slice();
        long(py, || self.0.sign(message)).map(|signature| PyBytes::new(py, &signature))
    }

    /// A proof that the key's holder has the secret, which ``ProvenKey`` asks for.
    ///
    /// Returns:
    ///     48 bytes.
    fn prove_possession<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        long(py, || self.0.prove_possession()).map(|proof| PyBytes::new(py, &proof))
    }

    fn __repr__(&self) -> String {
        format!("<SecretKey of the public key {}>", hex(&self.0.public().to_bytes()))
    }
}

/// A public key whose holder has shown that it has the secret: the only kind that is summed.
///
/// Args:
///     public: The public key, 98 bytes.
///     possession: What ``prove_possession`` gave, 48 bytes.
///
/// Raises:
///     VerificationError: The proof is not this key's.
///     InputError: The key is none, or a length is wrong.
///
/// Example:
///     >>> key = SecretKey(bytes(32))
///     >>> ProvenKey(key.public_key, key.prove_possession()).public_key == key.public_key
///     True
#[pyclass(frozen, name = "ProvenKey", module = "city_chain.algorithms.tes.bls")]
struct BlsProvenKey(bls::ProvenKey);

#[pymethods]
impl BlsProvenKey {
    #[new]
    fn new(py: Python<'_>, public: Input<'_>, possession: Input<'_>) -> PyResult<Self> {
        let (public, possession) = (public.as_slice(), possession.as_slice());
        long(py, || bls::ProvenKey::new(bls::public_key(public)?, possession).map(Self))
    }

    /// The public key, 98 bytes.
    #[getter]
    fn public_key<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        short(py, || Ok(self.0.public().to_bytes())).map(|bytes| PyBytes::new(py, &bytes))
    }

    fn __repr__(&self) -> String {
        format!("<ProvenKey {}>", hex(&self.0.public().to_bytes()))
    }
}

/// The byte strings of an iterable, as slices.
fn slices<'a>(inputs: &'a [Input<'_>]) -> Vec<&'a [u8]> {
    inputs.iter().map(Input::as_slice).collect()
}

/// See `city_chain.algorithms.tes.bls.verify`.
#[pyfunction]
fn bls_verify(py: Python<'_>, public: Input<'_>, message: Input<'_>, signature: Input<'_>) -> PyResult<()> {
    let (public, message, signature) = (public.as_slice(), message.as_slice(), signature.as_slice());
    long(py, || bls::verify(&bls::public_key(public)?, message, signature))
}

/// See `city_chain.algorithms.tes.bls.verify_many`.
#[pyfunction]
fn bls_verify_many(py: Python<'_>, items: &Bound<'_, PyAny>) -> PyResult<Vec<Option<Py<PyBaseException>>>> {
    let items = self::items(items, "bls: items", MANY_MAX, |item| {
        check_tuple(item, 3, "bls: an item")?;
        item.extract::<(Input<'_>, Input<'_>, Input<'_>)>()
    })?;
    let items: Vec<Item<'_>> =
        items.iter().map(|(public, message, signature)| Item { public, message, signature }).collect();
    Ok(verdicts(py, long(py, || bls::verify_many(&items))?))
}

/// See `city_chain.algorithms.tes.bls.aggregate`.
#[pyfunction]
fn bls_aggregate<'py>(py: Python<'py>, signatures: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let signatures = bytes_of(signatures, "bls: signatures", MANY_MAX)?;
    let signatures = slices(&signatures);
    long(py, || bls::aggregate(&signatures)).map(|signature| PyBytes::new(py, &signature))
}

/// See `city_chain.algorithms.tes.bls.aggregate_verify`.
#[pyfunction]
fn bls_aggregate_verify(
    py: Python<'_>,
    keys: &Bound<'_, PyAny>,
    message: Input<'_>,
    signature: Input<'_>,
) -> PyResult<()> {
    let keys = items(keys, "bls: keys", MANY_MAX, |key| Ok(key.cast::<BlsProvenKey>()?.get().0))?;
    let (message, signature) = (message.as_slice(), signature.as_slice());
    long(py, || bls::aggregate_verify(&keys, message, signature))
}

/// See `city_chain.algorithms.tes.bls.sign_share`.
#[pyfunction]
fn bls_sign_share<'py>(
    py: Python<'py>,
    share: &Bound<'py, DkgSecretShare>,
    message: Input<'py>,
) -> PyResult<Bound<'py, PyBytes>> {
    let (share, message) = (&share.get().0, message.as_slice());
    long(py, || bls::sign_share(share, message)).map(|share| PyBytes::new(py, &share))
}

/// See `city_chain.algorithms.tes.bls.verify_share`.
#[pyfunction]
fn bls_verify_share(py: Python<'_>, public_share: Input<'_>, message: Input<'_>, share: Input<'_>) -> PyResult<()> {
    let (public_share, message, share) = (public_share.as_slice(), message.as_slice(), share.as_slice());
    long(py, || bls::verify_share(&bls::public_share(public_share)?, message, share))
}

/// See `city_chain.algorithms.tes.bls.verify_shares`.
#[pyfunction]
fn bls_verify_shares(
    py: Python<'_>,
    public_shares: &Bound<'_, PyAny>,
    message: Input<'_>,
    shares: &Bound<'_, PyAny>,
) -> PyResult<Vec<Option<Py<PyBaseException>>>> {
    let public_shares = bytes_of(public_shares, "bls: public shares", PARTIES_MAX)?;
    let shares = bytes_of(shares, "bls: shares", PARTIES_MAX)?;
    let (public_shares, message, shares) = (slices(&public_shares), message.as_slice(), slices(&shares));
    let found = long(py, || bls::verify_shares(&bls::public_shares(&public_shares)?, message, &shares))?;
    Ok(verdicts(py, found))
}

/// See `city_chain.algorithms.tes.bls.combine`.
#[pyfunction]
fn bls_combine<'py>(
    py: Python<'py>,
    public: Input<'py>,
    threshold: Int<u16>,
    public_shares: &Bound<'py, PyAny>,
    message: Input<'py>,
    shares: &Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyDict>)> {
    let public_shares = bytes_of(public_shares, "bls: public shares", PARTIES_MAX)?;
    let shares = bytes_of(shares, "bls: shares", PARTIES_MAX)?;
    let (public, message) = (public.as_slice(), message.as_slice());
    let (public_shares, shares) = (slices(&public_shares), slices(&shares));
    let combined = long(py, || {
        let public_shares = bls::public_shares(&public_shares)?;
        bls::combine(&bls::public_key(public)?, threshold.0, &public_shares, &shares, message)
    })?;
    let wrong = PyDict::new(py);
    for (index, error) in combined.wrong {
        wrong.set_item(index, to_python(py, error).into_value(py))?;
    }
    Ok((PyBytes::new(py, &combined.signature), wrong))
}

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("BlsSecretKey", module.py().get_type::<BlsSecretKey>())?;
    module.add("BlsProvenKey", module.py().get_type::<BlsProvenKey>())?;
    module.add_function(wrap_pyfunction!(bls_verify, module)?)?;
    module.add_function(wrap_pyfunction!(bls_verify_many, module)?)?;
    module.add_function(wrap_pyfunction!(bls_aggregate, module)?)?;
    module.add_function(wrap_pyfunction!(bls_aggregate_verify, module)?)?;
    module.add_function(wrap_pyfunction!(bls_sign_share, module)?)?;
    module.add_function(wrap_pyfunction!(bls_verify_share, module)?)?;
    module.add_function(wrap_pyfunction!(bls_verify_shares, module)?)?;
    module.add_function(wrap_pyfunction!(bls_combine, module)?)
}
