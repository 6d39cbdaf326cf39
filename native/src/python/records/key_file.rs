//! Bindings of `records::key_file`.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::crypto::hash::{Digest, hex};
use crate::primitives::wire;
use crate::python::buffer::Input;
use crate::python::call::{long, short};
use crate::python::int::Int;
use crate::python::kem::KemSecretKey;
use crate::python::ml_dsa::MlDsaSigningKey;
use crate::python::record::{Wrapper, record};
use crate::python::text::Str;
use crate::records::key_file as model;

record! {
    /// A public key as a file holds it: typed bytes, and their hash, by which damage is found when the file is read.
    ///
    /// Args:
    ///     public_key: The typed bytes of a public key: of a KEM, or of ML-DSA.
    ///
    /// Raises:
    ///     InputError: They are of another type or length.
    ///     VerificationError: They are no public key of their type.
    ///
    /// Example:
    ///     >>> from city_chain.records import KeyFile, PublicKeyFile
    ///     >>> made = KeyFile.generate("x-wing", None)
    ///     >>> public = PublicKeyFile(made.public_key)
    ///     >>> public.kind, public.id == made.id, public == made.public
    ///     ('x-wing', True, True)
    PublicKeyFile(model::PublicKeyFile) in "city_chain.records", id = |core| Ok(core.id());
    properties {
        /// What kind of key it is: `x-wing`, `sntrup761-x25519`, `ml-dsa-44`, `ml-dsa-65` or `ml-dsa-87`.
        kind: &'static str = |core| core.kind();
        /// The hash of the typed bytes, 32 bytes: what the key is called by.
        id: Digest = |core| core.id();
    }
}

#[pymethods]
impl PublicKeyFile {
    #[new]
    fn new(py: Python<'_>, public_key: Input<'_>) -> PyResult<Self> {
        let bytes = public_key.as_slice();
        long(py, || Self::wrap(model::PublicKeyFile::new(bytes)?))
    }

    /// The typed bytes.
    #[getter]
    fn public_key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.core().as_bytes())
    }
}

/// A secret key as a file holds it: encrypted under a passphrase, or as it is.
///
/// The key is drawn here and is never a Python object: `unlock_kem` and `unlock_signing` give handles. The passphrase is
/// stretched by Argon2id (RFC 9106). What is not encrypted stands in `to_bytes` as it is, so there is no pickling.
///
/// Example:
///     >>> from city_chain.records import KeyFile
///     >>> made = KeyFile.generate("x-wing", b"correct horse", memory_kib=8192, passes=1)
///     >>> again = KeyFile.from_bytes(made.to_bytes())
///     >>> again.kind, again.is_encrypted, again.unlock_kem(b"correct horse").public_key == made.public_key
///     ('x-wing', True, True)
#[pyclass(frozen, module = "city_chain.records")]
pub(in crate::python) struct KeyFile(model::KeyFile);

#[pymethods]
impl KeyFile {
    /// Draws a new key.
    ///
    /// Args:
    ///     kind: `x-wing` or `sntrup761-x25519`, which open what is sealed; `ml-dsa-44`, `ml-dsa-65` or `ml-dsa-87`, which
    ///         sign.
    ///     passphrase: What it is encrypted under, 1 to 1,024 bytes; None leaves it as it is.
    ///     memory_kib: What Argon2id takes, 8,192 (8 MiB) to 1,048,576 (1 GiB).
    ///     passes: How often it goes over the memory, 1 to 16.
    ///     lanes: Lanes of the memory, 1 to 4.
    ///
    /// Returns:
    ///     The file; nothing is written.
    ///
    /// Raises:
    ///     InputError: There is no such kind, the passphrase is empty or too long, a cost is out of bounds.
    ///     UnavailableError: There is not so much memory.
    ///
    /// Example:
    ///     >>> KeyFile.generate("ml-dsa-65", None).is_encrypted
    ///     False
    #[staticmethod]
    #[pyo3(
        signature = (kind, passphrase, *, memory_kib = None, passes = None, lanes = None),
        text_signature = "(kind, passphrase, *, memory_kib=65536, passes=3, lanes=1)"
    )]
    fn generate(
        py: Python<'_>,
        kind: Str,
        passphrase: Option<Input<'_>>,
        memory_kib: Option<Int<u32>>,
        passes: Option<Int<u32>>,
        lanes: Option<Int<u32>>,
    ) -> PyResult<Self> {
        let usual = model::Cost::default();
        let cost = model::Cost {
            memory_kib: memory_kib.map_or(usual.memory_kib, |given| given.0),
            passes: passes.map_or(usual.passes, |given| given.0),
            lanes: lanes.map_or(usual.lanes, |given| given.0),
        };
        let passphrase = passphrase.as_deref();
        long(py, || model::KeyFile::generate(&kind.0, passphrase, &cost).map(Self))
    }

    /// The key that opens what was sealed to the public key. With a passphrase that takes as long as Argon2id does.
    ///
    /// Args:
    ///     passphrase: What the file is encrypted under; None if it is not.
    ///
    /// Returns:
    ///     A handle, as `city_chain.algorithms.tes.kem` has it.
    ///
    /// Raises:
    ///     InputError: The key signs; a passphrase is needed and not given, or given and not needed.
    ///     VerificationError: The passphrase is wrong or the file was changed: which of the two, nobody can tell.
    ///     UnavailableError: There is not so much memory.
    #[pyo3(signature = (passphrase = None), text_signature = "($self, passphrase=None)")]
    fn unlock_kem(&self, py: Python<'_>, passphrase: Option<Input<'_>>) -> PyResult<KemSecretKey> {
        let passphrase = passphrase.as_deref();
        long(py, || self.0.unlock_kem(passphrase)).map(KemSecretKey::from)
    }

    /// The key that signs. With a passphrase that takes as long as Argon2id does.
    ///
    /// Args:
    ///     passphrase: What the file is encrypted under; None if it is not.
    ///
    /// Returns:
    ///     A handle, as `city_chain.algorithms.tes.ml_dsa` has it.
    ///
    /// Raises:
    ///     InputError: The key does not sign; a passphrase is needed and not given, or given and not needed.
    ///     VerificationError: The passphrase is wrong or the file was changed: which of the two, nobody can tell.
    ///     UnavailableError: There is not so much memory.
    #[pyo3(signature = (passphrase = None), text_signature = "($self, passphrase=None)")]
    fn unlock_signing(&self, py: Python<'_>, passphrase: Option<Input<'_>>) -> PyResult<MlDsaSigningKey> {
        let passphrase = passphrase.as_deref();
        long(py, || self.0.unlock_signing(passphrase)).map(MlDsaSigningKey::from)
    }

    /// The public key as a file of its own.
    #[getter]
    fn public(&self, py: Python<'_>) -> PyResult<PublicKeyFile> {
        short(py, || PublicKeyFile::wrap(self.0.public().clone()))
    }

    /// The typed bytes of the public key.
    #[getter]
    fn public_key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.public().as_bytes())
    }

    /// The hash of the public key, 32 bytes: what the key is called by.
    #[getter]
    fn id(&self) -> Digest {
        self.0.public().id()
    }

    /// What kind of key it is: `x-wing`, `sntrup761-x25519`, `ml-dsa-44`, `ml-dsa-65` or `ml-dsa-87`.
    #[getter]
    fn kind(&self) -> &'static str {
        self.0.public().kind()
    }

    /// Whether a passphrase is needed.
    #[getter]
    fn is_encrypted(&self) -> bool {
        self.0.cost().is_some()
    }

    /// The memory that Argon2id takes, KiB; None if no passphrase is needed.
    #[getter]
    fn memory_kib(&self) -> Option<u32> {
        self.0.cost().map(|cost| cost.memory_kib)
    }

    /// How often Argon2id goes over the memory; None if no passphrase is needed.
    #[getter]
    fn passes(&self) -> Option<u32> {
        self.0.cost().map(|cost| cost.passes)
    }

    /// The lanes of its memory; None if no passphrase is needed.
    #[getter]
    fn lanes(&self) -> Option<u32> {
        self.0.cost().map(|cost| cost.lanes)
    }

    /// The bytes of the file. Those of a file that is not encrypted hold the secret.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        short(py, || self.0.to_bytes()).map(|bytes| PyBytes::new(py, &bytes))
    }

    /// Reads a file's bytes. Nothing is unlocked, and no passphrase is needed.
    ///
    /// Args:
    ///     data: What `to_bytes` gave.
    ///
    /// Raises:
    ///     InputError: The bytes are no key file, or ask for more memory or time than any may.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: Input<'_>) -> PyResult<Self> {
        let bytes = data.as_slice();
        long(py, || wire::decode(bytes).map(Self))
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| self.0 == other.get().0)
    }

    fn __hash__(&self) -> u64 {
        self.0.public().id()[..8].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    fn __repr__(&self) -> String {
        let how = if self.is_encrypted() { "encrypted" } else { "not encrypted" };
        format!("<KeyFile {} {}…, {how}>", self.kind(), hex(&self.id()[..4]))
    }
}

/// What typed key bytes say they are: prefix and length are looked at, and nothing else.
///
/// Args:
///     data: Any bytes.
///
/// Returns:
///     Words such as `an X-Wing public key`; None if they are no key bytes.
///
/// Example:
///     >>> from city_chain.records import key_words
///     >>> key_words(b"bp" + bytes(96)), key_words(b"hello")
///     ('a BLS public key', None)
#[pyfunction]
fn key_words(data: Input<'_>) -> Option<&'static str> {
    model::words_of(data.as_slice())
}

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PublicKeyFile>()?;
    module.add_class::<KeyFile>()?;
    module.add_function(wrap_pyfunction!(key_words, module)?)
}
