//! Bindings of `crypto::ml_dsa`.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use zeroize::Zeroizing;

use super::buffer::Input;
use super::call::long;
use super::error::to_python;
use super::text::Str;
use crate::crypto::hash::hex;
use crate::crypto::ml_dsa::{Parameters, PublicKey, SEED_LEN, SigningKey};

/// A parameter set by its name.
struct ParametersName(Parameters);

/// What is meant where none is named.
const ML_DSA_65: ParametersName = ParametersName(Parameters::MlDsa65);

impl<'a, 'py> FromPyObject<'a, 'py> for ParametersName {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let name: Str = object.extract()?;
        Parameters::named(&name.0).map(Self).map_err(|error| to_python(object.py(), error))
    }
}

/// A secret signing key, opaque: expanded once, wiped from memory when it goes, never shown, and not to be pickled or copied.
///
/// Args:
///     seed: 32 secret bytes, used for nothing else. Everything follows from them.
///     parameters: ``ml-dsa-44``, ``ml-dsa-65`` or ``ml-dsa-87``.
///
/// Raises:
///     InputError: The seed is not of 32 bytes, or there are no such parameters.
///
/// Example:
///     >>> key = SigningKey(bytes(range(32)))
///     >>> signature = key.sign(b"message", context=b"example")
///     >>> verify(key.public_key, b"message", signature, context=b"example")
#[pyclass(frozen, name = "SigningKey", module = "city_chain.algorithms.tes.ml_dsa")]
pub(super) struct MlDsaSigningKey(SigningKey);

impl From<SigningKey> for MlDsaSigningKey {
    fn from(key: SigningKey) -> Self {
        Self(key)
    }
}

#[pymethods]
impl MlDsaSigningKey {
    #[new]
    #[pyo3(
        signature = (seed, *, parameters = ML_DSA_65),
        text_signature = "(seed, *, parameters='ml-dsa-65')"
    )]
    fn new(py: Python<'_>, seed: Input<'_>, parameters: ParametersName) -> PyResult<Self> {
        let seed = Zeroizing::new(seed.array::<SEED_LEN>(py, "ml-dsa: the seed")?);
        long(py, || Ok(Self(SigningKey::from_seed(parameters.0, &seed))))
    }

    /// A new key from the operating system's randomness.
    ///
    /// Args:
    ///     parameters: ``ml-dsa-44``, ``ml-dsa-65`` or ``ml-dsa-87``.
    ///
    /// Returns:
    ///     The key.
    ///
    /// Raises:
    ///     InputError: There are no such parameters.
    #[staticmethod]
    #[pyo3(signature = (parameters = ML_DSA_65), text_signature = "(parameters='ml-dsa-65')")]
    fn generate(py: Python<'_>, parameters: ParametersName) -> PyResult<Self> {
        long(py, || SigningKey::generate(parameters.0)).map(Self)
    }

    /// Reads what ``to_bytes`` gave.
    ///
    /// Args:
    ///     data: The typed seed.
    ///
    /// Returns:
    ///     The key.
    ///
    /// Raises:
    ///     InputError: The bytes are of another kind of key, or of another length.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: Input<'_>) -> PyResult<Self> {
        let data = data.as_slice();
        long(py, || SigningKey::from_bytes(data)).map(Self)
    }

    /// The seed with its prefix, 34 bytes: all of the secret. Whoever has them has the key.
    ///
    /// Returns:
    ///     The typed seed.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_bytes())
    }

    /// The parameter set's name.
    #[getter]
    fn parameters(&self) -> &'static str {
        self.0.parameters().name()
    }

    /// The typed public key: 1314, 1954 or 2594 bytes.
    #[getter]
    fn public_key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.public().as_bytes())
    }

    /// Signs a message for one use (FIPS 204, algorithm 2, with fresh randomness): no two signatures are alike.
    ///
    /// Args:
    ///     message: Any bytes.
    ///     context: What the signature is for, 1 to 255 bytes; a signature for one use verifies for no other.
    ///
    /// Returns:
    ///     The signature: 2420, 3309 or 4627 bytes.
    ///
    /// Raises:
    ///     InputError: The context is empty or too long.
    #[pyo3(signature = (message, *, context))]
    fn sign<'py>(&self, py: Python<'py>, message: Input<'py>, context: Input<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let (message, context) = (message.as_slice(), context.as_slice());
        long(py, || self.0.sign(context, message)).map(|signature| PyBytes::new(py, &signature))
    }

    fn __repr__(&self) -> String {
        format!("<SigningKey of the {} public key {}>", self.0.parameters().name(), hex(&self.0.public().id()))
    }
}

/// A public key, expanded once: for many signatures of one signer.
///
/// Args:
///     data: The typed public key.
///
/// Raises:
///     InputError: The bytes are of another kind of key, or of another length.
///
/// Example:
///     >>> key = SigningKey(bytes(32), parameters="ml-dsa-44")
///     >>> public = PublicKey(key.public_key)
///     >>> public.verify(b"message", key.sign(b"message", context=b"example"), context=b"example")
#[pyclass(frozen, name = "PublicKey", module = "city_chain.algorithms.tes.ml_dsa")]
struct MlDsaPublicKey(PublicKey);

#[pymethods]
impl MlDsaPublicKey {
    #[new]
    fn new(py: Python<'_>, data: Input<'_>) -> PyResult<Self> {
        let data = data.as_slice();
        long(py, || PublicKey::from_bytes(data)).map(Self)
    }

    /// The typed public key.
    ///
    /// Returns:
    ///     The bytes that it was read from.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.as_bytes())
    }

    /// The parameter set's name.
    #[getter]
    fn parameters(&self) -> &'static str {
        self.0.parameters().name()
    }

    /// A hash that stands for the key, 32 bytes.
    #[getter]
    fn id<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.id())
    }

    /// Checks a signature (FIPS 204, algorithm 3).
    ///
    /// Args:
    ///     message: Any bytes.
    ///     signature: What ``sign`` gave.
    ///     context: What the signature is for, 1 to 255 bytes.
    ///
    /// Raises:
    ///     VerificationError: The signature does not fit, or is not canonically encoded.
    ///     InputError: It has another length, or the context is empty or too long.
    #[pyo3(signature = (message, signature, *, context))]
    fn verify(&self, py: Python<'_>, message: Input<'_>, signature: Input<'_>, context: Input<'_>) -> PyResult<()> {
        let (message, signature, context) = (message.as_slice(), signature.as_slice(), context.as_slice());
        long(py, || self.0.verify(context, message, signature))
    }

    fn __repr__(&self) -> String {
        format!("<PublicKey {} {}>", self.0.parameters().name(), hex(&self.0.id()))
    }
}

/// See `city_chain.algorithms.tes.ml_dsa.verify`.
#[pyfunction]
#[pyo3(signature = (public, message, signature, *, context))]
fn ml_dsa_verify(
    py: Python<'_>,
    public: Input<'_>,
    message: Input<'_>,
    signature: Input<'_>,
    context: Input<'_>,
) -> PyResult<()> {
    let (public, message) = (public.as_slice(), message.as_slice());
    let (signature, context) = (signature.as_slice(), context.as_slice());
    long(py, || PublicKey::from_bytes(public)?.verify(context, message, signature))
}

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("MlDsaSigningKey", module.py().get_type::<MlDsaSigningKey>())?;
    module.add("MlDsaPublicKey", module.py().get_type::<MlDsaPublicKey>())?;
    module.add_function(wrap_pyfunction!(ml_dsa_verify, module)?)
}
