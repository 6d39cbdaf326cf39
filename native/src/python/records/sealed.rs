//! Bindings of sealed payloads.

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::dispersal::Manifest;
use super::transaction::Transaction;
use crate::algorithms::tes::polynomial::PARTIES_MAX;
use crate::algorithms::tes::tdh2::PublicKey;
use crate::crypto::hash::Digest;
use crate::error::Result;
use crate::primitives::wire;
use crate::python::buffer::Input;
use crate::python::call::{long, short, sized};
use crate::python::int::Int;
use crate::python::kem::KemSecretKey;
use crate::python::keys::bytes_of;
use crate::python::record::{MANY_MAX, Wrapper, check_tuple, items, record, verdicts};
use crate::records::bursts;
use crate::records::sealed::{self as model, Origin};

record! {
    /// A sealed payload, read out of the bytes that a transaction carries: see `seal_to_city` and `seal_to_readers`.
    ///
    /// Example:
    ///     >>> from city_chain.algorithms.tes import kem
    ///     >>> from city_chain.records import Sealed, seal_to_readers
    ///     >>> reader = kem.SecretKey.generate()
    ///     >>> [payload] = seal_to_readers([reader.public_key], [(0, b"hello")], network=epoch.network, sender=identity.id)
    ///     >>> Sealed.from_bytes(payload).open(reader)
    ///     b'hello'
    Sealed(model::Sealed) in "city_chain.records", work = |core| core.size();
    properties {
        /// The network that it was sealed for, 32 bytes.
        network: Digest = |core| core.origin.network;
        /// The sender that it was sealed for, 32 bytes.
        sender: Digest = |core| core.origin.sender;
        /// The transaction's running number that it was sealed for.
        sequence: u64 = |core| core.origin.sequence;
        /// The ids of the readers, 32 bytes each, ascending; none if it is sealed to the city.
        readers: Vec<Digest> = |core| core.readers();
    }
}

#[pymethods]
impl Sealed {
    /// The sealed payload of a transaction.
    ///
    /// Args:
    ///     transaction: Any transaction.
    ///
    /// Returns:
    ///     None if its payload is not sealed, or was sealed for another transaction.
    ///
    /// Example:
    ///     >>> from city_chain.records import Sealed
    ///     >>> Sealed.of(transaction) is None
    ///     True
    #[staticmethod]
    fn of(py: Python<'_>, transaction: &Transaction) -> PyResult<Option<Self>> {
        let core = transaction.core();
        sized(py, core.payload.len(), || model::Sealed::of(core).map(Self::wrap).transpose())
    }

    /// The sealed payload of a committed transaction, as its manifest describes it.
    ///
    /// Args:
    ///     manifest: The transaction's manifest, out of its receipt.
    ///     transaction: The transaction.
    ///
    /// Returns:
    ///     None if the manifest says that the payload is not sealed.
    ///
    /// Raises:
    ///     VerificationError: The payload is not sealed as the manifest says, or was sealed for another transaction.
    ///
    /// Example:
    ///     >>> from city_chain.records import Sealed
    ///     >>> Sealed.of_committed(manifest, transaction) is None
    ///     True
    #[staticmethod]
    fn of_committed(py: Python<'_>, manifest: &Manifest, transaction: &Transaction) -> PyResult<Option<Self>> {
        let (manifest, core) = (manifest.core(), transaction.core());
        sized(py, core.payload.len(), || model::Sealed::of_committed(manifest, core)?.map(Self::wrap).transpose())
    }

    /// The capsule that delegates need for their shares; None if it is sealed to readers.
    #[getter]
    fn capsule<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        Ok(short(py, || self.core.capsule())?.map(|capsule| PyBytes::new(py, capsule)))
    }

    /// Opens what is sealed to readers.
    ///
    /// Args:
    ///     key: One reader's secret key.
    ///
    /// Returns:
    ///     The payload as it was before it was sealed.
    ///
    /// Raises:
    ///     InputError: It is not sealed to this reader; the message says to whom it is.
    ///     VerificationError: It was changed after it was sealed.
    fn open<'py>(&self, py: Python<'py>, key: &KemSecretKey) -> PyResult<Bound<'py, PyBytes>> {
        let key = key.core();
        Ok(PyBytes::new(py, &long(py, || self.core.open(key))?))
    }

    /// Opens what is sealed to the city.
    ///
    /// Args:
    ///     public: The city's public encryption key.
    ///     threshold: How many shares open it.
    ///     public_shares: The delegates' public shares of that key, by index.
    ///     shares: Decryption shares, at least `threshold`. Wrong ones among more than enough do no harm.
    ///
    /// Returns:
    ///     The payload as it was before it was sealed.
    ///
    /// Raises:
    ///     InputError: It is sealed to readers.
    ///     UnavailableError: Fewer than `threshold` shares are right; the message names the wrong ones.
    ///     VerificationError: It was changed after it was sealed, or sealed to another key.
    #[pyo3(signature = (public, *, threshold, public_shares, shares))]
    fn combine<'py>(
        &self,
        py: Python<'py>,
        public: Input<'_>,
        threshold: Int<u16>,
        public_shares: &Bound<'_, PyAny>,
        shares: &Bound<'_, PyAny>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let public_shares = bytes_of(public_shares, "sealed payload: public shares", PARTIES_MAX)?;
        let shares = bytes_of(shares, "sealed payload: shares", PARTIES_MAX)?;
        let public = public.as_slice();
        let (public_shares, shares) = (slices(&public_shares), slices(&shares));
        let opened =
            long(py, || self.core.combine(&PublicKey::from_bytes(public)?, threshold.0, &public_shares, &shares))?;
        Ok(PyBytes::new(py, &opened))
    }

    /// Checks decryption shares, with a verdict for each.
    ///
    /// Args:
    ///     public: The city's public encryption key.
    ///     public_shares: The delegates' public shares of that key, by index.
    ///     shares: Decryption shares.
    ///
    /// Returns:
    ///     One verdict each: None, or an exception (not raised).
    ///
    /// Raises:
    ///     InputError: It is sealed to readers.
    ///     VerificationError: It was changed after it was sealed, or sealed to another key.
    #[pyo3(signature = (public, *, public_shares, shares))]
    fn verify_shares(
        &self,
        py: Python<'_>,
        public: Input<'_>,
        public_shares: &Bound<'_, PyAny>,
        shares: &Bound<'_, PyAny>,
    ) -> PyResult<Vec<Option<Py<PyBaseException>>>> {
        let public_shares = bytes_of(public_shares, "sealed payload: public shares", PARTIES_MAX)?;
        let shares = bytes_of(shares, "sealed payload: shares", PARTIES_MAX)?;
        let public = public.as_slice();
        let (public_shares, shares) = (slices(&public_shares), slices(&shares));
        let checked = long(py, || self.core.verify_shares(&PublicKey::from_bytes(public)?, &public_shares, &shares))?;
        Ok(verdicts(py, checked))
    }
}

fn slices<'a>(inputs: &'a [Input<'_>]) -> Vec<&'a [u8]> {
    inputs.iter().map(Input::as_slice).collect()
}

/// Seals payloads to a city: no fewer than its threshold of delegates open one, and only once it is committed.
///
/// Args:
///     public: The city's public encryption key (typed bytes).
///     items: (sequence, payload) each, at most 1,048,576: the running number of the transaction that is to carry it.
///     network: The network's id, 32 bytes.
///     sender: The sender's public signing key, 32 bytes.
///
/// Returns:
///     The payloads to send instead, in order: each belongs to that sender's transaction of that number and to no other.
///
/// Raises:
///     InputError: It is no public key of threshold encryption, or a payload is too large with its sealing.
///
/// Example:
///     >>> from city_chain.records import seal_to_city
///     >>> seal_to_city(b"??", [], network=epoch.network, sender=identity.id)
///     Traceback (most recent call last):
///     ...
///     city_chain.errors.InputError: key: its type is not known, a public key of threshold encryption is needed
#[pyfunction]
#[pyo3(signature = (public, items, *, network, sender))]
fn seal_to_city<'py>(
    py: Python<'py>,
    public: Input<'py>,
    items: &Bound<'py, PyAny>,
    network: Input<'py>,
    sender: Input<'py>,
) -> PyResult<Vec<Bound<'py, PyBytes>>> {
    let public = public.as_slice();
    let public = long(py, || PublicKey::from_bytes(public))?;
    seal(py, items, network, sender, |origin, plain| model::Sealed::to_city(&public, origin, plain))
}

/// Seals payloads to named readers: the key of any one of them opens them.
///
/// Args:
///     readers: The readers' public keys (typed bytes, see `city_chain.algorithms.tes.kem`), 1 to 64, distinct.
///     items: (sequence, payload) each, at most 1,048,576: the running number of the transaction that is to carry it.
///     network: The network's id, 32 bytes.
///     sender: The sender's public signing key, 32 bytes.
///
/// Returns:
///     The payloads to send instead, in order: each belongs to that sender's transaction of that number and to no other.
///
/// Raises:
///     InputError: No reader, too many, one twice, what is no public key, or a payload that is too large with its sealing.
///
/// Example:
///     >>> from city_chain.algorithms.tes import kem
///     >>> from city_chain.records import seal_to_readers
///     >>> reader = kem.SecretKey.generate().public_key
///     >>> [payload] = seal_to_readers([reader], [(0, b"hello")], network=epoch.network, sender=identity.id)
#[pyfunction]
#[pyo3(signature = (readers, items, *, network, sender))]
fn seal_to_readers<'py>(
    py: Python<'py>,
    readers: &Bound<'py, PyAny>,
    items: &Bound<'py, PyAny>,
    network: Input<'py>,
    sender: Input<'py>,
) -> PyResult<Vec<Bound<'py, PyBytes>>> {
    let readers = bytes_of(readers, "sealed payload: readers", model::READERS_MAX)?;
    let readers = slices(&readers);
    let readers = long(py, || model::Readers::new(&readers))?;
    seal(py, items, network, sender, |origin, plain| model::Sealed::to_readers(&readers, origin, plain))
}

fn seal<'py>(
    py: Python<'py>,
    items: &Bound<'py, PyAny>,
    network: Input<'py>,
    sender: Input<'py>,
    one: impl Fn(Origin, &[u8]) -> Result<model::Sealed> + Sync + Send,
) -> PyResult<Vec<Bound<'py, PyBytes>>> {
    let network = network.digest(py, "sealed payload: network")?;
    let sender = sender.digest(py, "sealed payload: sender")?;
    let given: Vec<(Int<u64>, Input<'_>)> = self::items(items, "sealed payloads", MANY_MAX, |item| {
        check_tuple(item, 2, "sealed payload")?;
        item.extract()
    })?;
    let slices: Vec<(u64, &[u8])> = given.iter().map(|(sequence, plain)| (sequence.0, plain.as_slice())).collect();
    let sealed = long(py, || {
        bursts::make_many(&slices, |(sequence, plain)| {
            wire::encode(&one(Origin { network, sender, sequence: *sequence }, plain)?)
        })
    })?;
    Ok(sealed.iter().map(|bytes| PyBytes::new(py, bytes)).collect())
}

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Sealed>()?;
    module.add_function(wrap_pyfunction!(seal_to_city, module)?)?;
    module.add_function(wrap_pyfunction!(seal_to_readers, module)?)
}
