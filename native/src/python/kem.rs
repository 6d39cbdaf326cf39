//! Bindings of `crypto::kem`.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use zeroize::Zeroizing;

use super::buffer::Input;
use super::call::long;
use super::error::to_python;
use super::text::Str;
use crate::crypto::hash::hex;
use crate::crypto::kem::{self, PublicKey, SEED_LEN, SecretKey, Suite};

/// A suite by its name.
struct SuiteName(Suite);

/// What is meant where none is named.
const X_WING: SuiteName = SuiteName(Suite::XWing);

impl<'a, 'py> FromPyObject<'a, 'py> for SuiteName {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let name: Str = object.extract()?;
        Suite::named(&name.0).map(Self).map_err(|error| to_python(object.py(), error))
    }
}

/// A ciphertext and its secret.
type Encapsulated<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>);

fn encapsulated<'py>(py: Python<'py>, key: &PublicKey) -> PyResult<Encapsulated<'py>> {
    let (ciphertext, secret) = long(py, || key.encapsulate())?;
    Ok((PyBytes::new(py, &ciphertext), PyBytes::new(py, &*secret)))
}

/// A secret key, opaque: it is wiped from memory when it goes, is never shown and cannot be pickled or copied.
///
/// Args:
///     seed: 32 secret bytes, used for nothing else. Everything follows from them.
///     suite: ``x-wing``, or ``sntrup761-x25519``, which is experimental.
///
/// Raises:
///     InputError: The seed is not of 32 bytes, or there is no such suite.
///
/// Example:
///     >>> key = SecretKey(bytes(range(32)))
///     >>> ciphertext, secret = encapsulate(key.public_key)
///     >>> key.decapsulate(ciphertext) == secret
///     True
#[pyclass(frozen, name = "SecretKey", module = "city_chain.algorithms.tes.kem")]
pub(super) struct KemSecretKey(SecretKey);

impl KemSecretKey {
    /// The key inside.
    pub(super) fn core(&self) -> &SecretKey {
        &self.0
    }
}

#[pymethods]
impl KemSecretKey {
    #[new]
    #[pyo3(signature = (seed, *, suite = X_WING), text_signature = "(seed, *, suite='x-wing')")]
    fn new(py: Python<'_>, seed: Input<'_>, suite: SuiteName) -> PyResult<Self> {
        let seed = Zeroizing::new(seed.array::<SEED_LEN>(py, "kem: the seed")?);
        long(py, || SecretKey::from_seed(suite.0, &seed)).map(Self)
    }

    /// A new key from the operating system's randomness.
    ///
    /// Args:
    ///     suite: ``x-wing`` or ``sntrup761-x25519``.
    ///
    /// Returns:
    ///     The key.
    ///
    /// Raises:
    ///     InputError: There is no such suite.
    #[staticmethod]
    #[pyo3(signature = (suite = X_WING), text_signature = "(suite='x-wing')")]
    fn generate(py: Python<'_>, suite: SuiteName) -> PyResult<Self> {
        long(py, || SecretKey::generate(suite.0)).map(Self)
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
        long(py, || SecretKey::from_bytes(data)).map(Self)
    }

    /// The seed with its prefix, 34 bytes: all of the secret. Whoever has them has the key.
    ///
    /// Returns:
    ///     The typed seed.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_bytes())
    }

    /// The suite's name.
    #[getter]
    fn suite(&self) -> &'static str {
        self.0.suite().name()
    }

    /// The typed public key: 1218 bytes of ``x-wing``, 1192 of ``sntrup761-x25519``.
    #[getter]
    fn public_key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.public().as_bytes())
    }

    /// The secret of a ciphertext. One that was made for another key, or changed, gives a secret that nobody else has,
    /// and no error: what is opened with it must be authenticated.
    ///
    /// Args:
    ///     ciphertext: 1120 bytes of ``x-wing``, 1071 of ``sntrup761-x25519``.
    ///
    /// Returns:
    ///     32 bytes.
    ///
    /// Raises:
    ///     InputError: The ciphertext has another length.
    ///     VerificationError: Its X25519 half is of small order.
    fn decapsulate<'py>(&self, py: Python<'py>, ciphertext: Input<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let ciphertext = ciphertext.as_slice();
        long(py, || self.0.decapsulate(ciphertext)).map(|secret| PyBytes::new(py, &*secret))
    }

    fn __repr__(&self) -> String {
        format!("<SecretKey of the {} public key {}>", self.0.suite().name(), hex(&self.0.public().id()))
    }
}

/// A public key, decoded once: for many secrets to one holder.
///
/// Args:
///     data: The typed public key.
///
/// Raises:
///     InputError: The bytes are of another kind of key, or of another length.
///     VerificationError: The ML-KEM half is not canonical, or the X25519 half not canonical or of small order.
///
/// Example:
///     >>> key = SecretKey(bytes(32))
///     >>> ciphertext, secret = PublicKey(key.public_key).encapsulate()
///     >>> len(ciphertext), len(secret)
///     (1120, 32)
#[pyclass(frozen, name = "PublicKey", module = "city_chain.algorithms.tes.kem")]
struct KemPublicKey(PublicKey);

#[pymethods]
impl KemPublicKey {
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

    /// The suite's name.
    #[getter]
    fn suite(&self) -> &'static str {
        self.0.suite().name()
    }

    /// A hash that stands for the key, 32 bytes.
    #[getter]
    fn id<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.id())
    }

    /// A fresh secret, and the ciphertext that carries it to the holder of the secret key.
    ///
    /// Returns:
    ///     Ciphertext and secret, the secret of 32 bytes.
    fn encapsulate<'py>(&self, py: Python<'py>) -> PyResult<Encapsulated<'py>> {
        encapsulated(py, &self.0)
    }

    fn __repr__(&self) -> String {
        format!("<PublicKey {} {}>", self.0.suite().name(), hex(&self.0.id()))
    }
}

/// See `city_chain.algorithms.tes.kem.encapsulate`.
#[pyfunction]
fn kem_encapsulate<'py>(py: Python<'py>, public: Input<'py>) -> PyResult<Encapsulated<'py>> {
    let public = public.as_slice();
    let key = long(py, || PublicKey::from_bytes(public))?;
    encapsulated(py, &key)
}

/// See `city_chain.algorithms.tes.kem.ciphertext_len`.
#[pyfunction]
#[pyo3(signature = (suite = X_WING), text_signature = "(suite='x-wing')")]
fn kem_ciphertext_len(suite: SuiteName) -> usize {
    kem::ciphertext_len(suite.0)
}

impl From<SecretKey> for KemSecretKey {
    fn from(key: SecretKey) -> Self {
        Self(key)
    }
}

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("KemSecretKey", module.py().get_type::<KemSecretKey>())?;
    module.add("KemPublicKey", module.py().get_type::<KemPublicKey>())?;
    module.add_function(wrap_pyfunction!(kem_encapsulate, module)?)?;
    module.add_function(wrap_pyfunction!(kem_ciphertext_len, module)?)
}
