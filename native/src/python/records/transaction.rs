//! Bindings of the transaction.

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;

use crate::crypto::hash::Digest;
use crate::error::Result;
use crate::primitives::wire::Text;
use crate::python::buffer::Input;
use crate::python::call::{long, short, sized};
use crate::python::identity::Identity;
use crate::python::int::Int;
use crate::python::record::{MANY_MAX, Wrapper, check_tuple, each, items, record, verdicts};
use crate::python::sc::Manifest as Crossing;
use crate::python::text::Str;
use crate::records::bursts;
use crate::records::signed::{self, Signed};
use crate::records::transaction as model;

record! {
    /// What a sender wants dispersed and committed, signed.
    ///
    /// Its digest is the `tx_id`: the same transaction has the same id wherever and whenever it is sent, and the same
    /// payload sent again differs by its sequence.
    ///
    /// Args:
    ///     identity: The sender.
    ///     network: The network's id, 32 bytes.
    ///     sequence: The sender's running number, gapless from 0.
    ///     hlc: The sender's hybrid logical clock.
    ///     payload: The content, at most 64 MiB.
    ///     place: (region, latitude, longitude) in 1e-7 degrees: where the sender says it is, proven by nothing.
    ///     touched: Keys of the ledger that it touches, at most 64 of at most 64 bytes; sorted, doubles dropped.
    ///     terms: Of a transaction of several cities: the digest of what it does to their keys (`sc.Manifest.terms`), 32
    ///         bytes. Such a one is known by the digest of its `head`.
    ///
    /// Raises:
    ///     InputError: A wrong length, too much of something, a place that is not on earth.
    ///
    /// Example:
    ///     >>> from city_chain.records import Transaction
    ///     >>> hello = Transaction(identity, network=epoch.network, sequence=0, hlc=1, payload=b"hello")
    ///     >>> hello.verify()
    ///     >>> Transaction.from_bytes(hello.to_bytes()).tx_id == hello.tx_id
    ///     True
    Transaction(model::Transaction) in "city_chain.records", id = Signed::digest, work = |core| core.payload.len();
    properties {
        /// The network's id, 32 bytes.
        network: Digest = |core| core.network;
        /// The sender's public signing key, 32 bytes.
        sender: Digest = |core| core.sender;
        /// The sender's running number.
        sequence: u64 = |core| core.sequence;
        /// The sender's hybrid logical clock.
        hlc: u64 = |core| core.hlc;
        /// (region, latitude, longitude) in 1e-7 degrees, or None.
        place: Option<(String, i32, i32)> =
            |core| core.place.as_ref().map(|place| (place.region.to_string(), place.lat_e7, place.lon_e7));
        /// Keys of the ledger that it touches, ascending.
        touched: Vec<&[u8]> = |core| core.touched.iter().map(|key| &**key).collect();
        /// Of a transaction of several cities: the digest of what it does to their keys, 32 bytes; None of any other.
        terms: Option<Digest> = |core| core.terms;
        /// The sender's signature, 64 bytes.
        signature: [u8; 64] = |core| core.signature;
    }
}

record! {
    /// A transaction of several cities without its payload: what shows to who does not hold it what the sender has signed.
    ///
    /// Made by `Transaction.head`; it has the transaction's id and signature.
    ///
    /// Example:
    ///     >>> from city_chain.algorithms import sc
    ///     >>> from city_chain.records import Transaction, TransactionHead
    ///     >>> def manifest(body: bytes) -> sc.Manifest:
    ///     ...     return sc.Manifest(bytes(32), 0, body, 100, [(0, b"k" * 32, 3)])
    ///     >>> transaction = Transaction(identity, network=epoch.network, sequence=0, hlc=1, payload=b"hello",
    ///     ...                           touched=[b"k" * 32], terms=manifest(bytes(32)).terms)
    ///     >>> head = TransactionHead.from_bytes(transaction.head().to_bytes())
    ///     >>> head.verify_crossing(manifest(transaction.tx_id))
    TransactionHead(model::TransactionHead) in "city_chain.records", id = Signed::digest;
    properties {
        /// The network's id, 32 bytes.
        network: Digest = |core| core.network;
        /// The sender's public signing key, 32 bytes.
        sender: Digest = |core| core.sender;
        /// The sender's running number.
        sequence: u64 = |core| core.sequence;
        /// The sender's hybrid logical clock.
        hlc: u64 = |core| core.hlc;
        /// Keys that the transaction touches, ascending.
        touched: Vec<&[u8]> = |core| core.touched.iter().map(|key| &**key).collect();
        /// The digest of what it does to them, 32 bytes.
        terms: Digest = |core| core.terms;
        /// The hash of the payload, 32 bytes.
        payload_hash: Digest = |core| core.payload_hash;
        /// The sender's signature, 64 bytes.
        signature: [u8; 64] = |core| core.signature;
    }
}

#[pymethods]
impl TransactionHead {
    /// The transaction's id, 32 bytes.
    #[getter]
    fn tx_id(&self, py: Python<'_>) -> PyResult<Digest> {
        short(py, || self.id())
    }

    /// Checks that the sender has signed exactly what a manifest of several cities says.
    ///
    /// Args:
    ///     manifest: The manifest.
    ///
    /// Raises:
    ///     VerificationError: It is of another transaction, has other keys, versions or another expiry, or the signature is
    ///         not the sender's.
    fn verify_crossing(&self, py: Python<'_>, manifest: &Crossing) -> PyResult<()> {
        let manifest = manifest.shared();
        long(py, || self.core.verify_crossing(&manifest))
    }
}

#[pymethods]
impl Transaction {
    #[new]
    #[pyo3(
        signature = (identity, *, network, sequence, hlc, payload, place = None, touched = None, terms = None),
        text_signature = "(identity, *, network, sequence, hlc, payload, place=None, touched=(), terms=None)"
    )]
    #[allow(clippy::too_many_arguments, reason = "they are Python's keyword arguments")]
    fn new(
        py: Python<'_>,
        identity: &Identity,
        network: Input<'_>,
        sequence: Int<u64>,
        hlc: Int<u64>,
        payload: Input<'_>,
        place: Option<&Bound<'_, PyAny>>,
        touched: Option<&Bound<'_, PyAny>>,
        terms: Option<Input<'_>>,
    ) -> PyResult<Self> {
        let network = network.digest(py, "transaction: network")?;
        let terms = terms.map(|terms| terms.digest(py, "transaction: terms")).transpose()?;
        let place = place.map(read_place).transpose()?;
        let touched = match touched {
            Some(keys) => items(keys, "transaction: touched", model::TOUCHED_MAX, |key| {
                Ok(key.extract::<Input<'_>>()?.as_slice().to_vec())
            })?,
            None => Vec::new(),
        };
        let (identity, payload) = (identity.core(), payload.as_slice());
        sized(py, payload.len(), || {
            let place = match place {
                Some((region, lat_e7, lon_e7)) => {
                    Some(model::Place { region: Text::new("transaction: region", region)?, lat_e7, lon_e7 })
                }
                None => None,
            };
            let payload = payload.to_vec();
            let made = model::Transaction::new(identity, network, sequence.0, hlc.0, payload, place, touched)?;
            Self::wrap(match terms {
                Some(terms) => made.with_terms(identity, terms)?,
                None => made,
            })
        })
    }

    /// Makes and signs many transactions, without place and touched keys.
    ///
    /// Args:
    ///     identity: The sender.
    ///     network: The network's id, 32 bytes.
    ///     items: (sequence, hlc, payload) each, at most 1,048,576.
    ///
    /// Returns:
    ///     One transaction each, in order.
    ///
    /// Raises:
    ///     InputError: A field is too large or out of range.
    ///
    /// Example:
    ///     >>> from city_chain.records import Transaction
    ///     >>> made = Transaction.many(identity, epoch.network, [(0, 1, b"hello"), (1, 2, b"again")])
    ///     >>> made[0] == Transaction(identity, network=epoch.network, sequence=0, hlc=1, payload=b"hello")
    ///     True
    #[staticmethod]
    fn many(py: Python<'_>, identity: &Identity, network: Input<'_>, items: &Bound<'_, PyAny>) -> PyResult<Vec<Self>> {
        let network = network.digest(py, "transaction: network")?;
        let given: Vec<(Int<u64>, Int<u64>, Input<'_>)> = self::items(items, "transactions", MANY_MAX, |item| {
            check_tuple(item, 3, "transaction")?;
            item.extract()
        })?;
        let slices: Vec<(u64, u64, &[u8])> =
            given.iter().map(|(sequence, hlc, payload)| (sequence.0, hlc.0, payload.as_slice())).collect();
        let identity = identity.core();
        long(py, || {
            bursts::make_many(&slices, |(sequence, hlc, payload)| {
                let (payload, nothing) = (payload.to_vec(), Vec::new());
                Self::wrap(model::Transaction::new(identity, network, *sequence, *hlc, payload, None, nothing)?)
            })
        })
    }

    /// The transaction's id, 32 bytes: the digest that is signed.
    #[getter]
    fn tx_id(&self, py: Python<'_>) -> PyResult<Digest> {
        short(py, || self.id())
    }

    /// The content.
    #[getter]
    fn payload(&self) -> &[u8] {
        &self.core.payload
    }

    /// What stands for a transaction of several cities where its payload is not held; None of any other.
    fn head(&self, py: Python<'_>) -> PyResult<Option<TransactionHead>> {
        sized(py, self.core.payload.len(), || self.core.head().map(TransactionHead::wrap).transpose())
    }

    /// Checks the sender's signature.
    ///
    /// Raises:
    ///     VerificationError: It is not the sender's over this transaction.
    fn verify(&self, py: Python<'_>) -> PyResult<()> {
        long(py, || self.core.verify_digest(&self.id()?))
    }
}

fn read_place(place: &Bound<'_, PyAny>) -> PyResult<(String, i32, i32)> {
    check_tuple(place, 3, "transaction: place")?;
    let (region, lat_e7, lon_e7): (Str, Int<i32>, Int<i32>) = place.extract()?;
    Ok((region.0, lat_e7.0, lon_e7.0))
}

/// Checks the signatures of many transactions in one batch, about twice as fast as one by one.
///
/// Args:
///     transactions: At most 1,048,576.
///
/// Returns:
///     One verdict each, the same that `Transaction.verify` gives: None, or a VerificationError (not raised).
///
/// Example:
///     >>> from city_chain.records import verify_transactions
///     >>> verify_transactions([transaction, transaction])
///     [None, None]
#[pyfunction]
fn verify_transactions(py: Python<'_>, transactions: &Bound<'_, PyAny>) -> PyResult<Vec<Option<Py<PyBaseException>>>> {
    let transactions = each(transactions, "transactions", MANY_MAX, Transaction::shared_with_id)?;
    let checked = long(py, || {
        let transactions = transactions.into_iter().collect::<Result<Vec<_>>>()?;
        signed::verify_many::<model::Transaction, _>(&transactions)
    })?;
    Ok(verdicts(py, checked))
}

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Transaction>()?;
    module.add_class::<TransactionHead>()?;
    module.add_function(wrap_pyfunction!(verify_transactions, module)?)
}
