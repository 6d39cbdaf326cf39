//! Bindings of a city's threshold keys: how they are made, handed on, kept and used.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::selection::Epoch;
use crate::crypto::hash::Digest;
use crate::proofs::dpos::VALIDATORS_MAX;
use crate::python::buffer::Input;
use crate::python::call::{long, short};
use crate::python::dpos::ValidatorSet;
use crate::python::identity::Identity;
use crate::python::int::Int;
use crate::python::record::{Wrapper, check_tuple, each, items, record};
use crate::records::Key;
use crate::records::signed::{SIGNATURE_LEN, Signed};
use crate::records::{city_keys as model, dealing, epoch};

/// (delegate, signature) each.
fn read_signatures(iterable: &Bound<'_, PyAny>, what: &str) -> PyResult<Vec<(Key, [u8; SIGNATURE_LEN])>> {
    items(iterable, what, VALIDATORS_MAX, |item| {
        let py = item.py();
        check_tuple(item, 2, what)?;
        let (node, signature): (Input<'_>, Input<'_>) = item.extract()?;
        Ok((node.digest(py, what)?, signature.array(py, what)?))
    })
}

record! {
    /// A city's threshold keys in one epoch, as everybody may know them; certified by a quorum of the epoch's delegates.
    ///
    /// Made by `Dealings`, signed with `sign`, certified by `certified`, checked with `verify`.
    ///
    /// Example:
    ///     >>> from city_chain.records import Dealing, Dealings, Recipient
    ///     >>> dealt = [Dealing.deal(delegate, epoch, [Recipient(delegate, epoch.network)])]
    ///     >>> dealings, faults = Dealings.sort(epoch, dealt)
    ///     >>> keys = dealings.keys.certified(epoch, [(delegate.id, dealings.keys.sign(delegate))])
    ///     >>> keys.verify(epoch)
    ///     >>> keys.threshold, keys.signers == [delegate.id], keys.signing_key[:2], keys.encryption_key[:2]
    ///     (1, True, b'bp', b'tp')
    CityKeys(model::CityKeys) in "city_chain.records",
        id = model::CityKeys::digest, work = |core| core.delegates.len() * 320, keeps = true;
    properties {
        /// The network's id, 32 bytes.
        network: Digest = |core| core.network;
        /// The number of the epoch whose delegates have the shares.
        epoch: u64 = |core| core.epoch;
        /// That epoch's root, 32 bytes.
        epoch_root: Digest = |core| core.epoch_root;
        /// The digest of the dealings that the shares come from, 32 bytes.
        dealings: Digest = |core| core.dealings;
        /// How many delegates use the keys together.
        threshold: u16 = |core| core.threshold;
    }
}

#[pymethods]
impl CityKeys {
    /// What the delegates sign, 32 bytes.
    #[getter]
    fn digest(&self, py: Python<'_>) -> PyResult<Digest> {
        short(py, || self.id())
    }

    /// The public key that the city's signatures are checked with: typed BLS bytes.
    #[getter]
    fn signing_key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.core.signing_key_typed())
    }

    /// The public key that one encrypts to the city with: typed TDH2 bytes.
    #[getter]
    fn encryption_key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.core.encryption_key_typed())
    }

    /// The ids of the delegates that have the shares, in the epoch's order.
    #[getter]
    fn delegates(&self) -> Vec<Digest> {
        self.core.delegates.iter().map(|keys| keys.node).collect()
    }

    /// The delegates' public shares of the signing key, by place: typed bytes.
    #[getter]
    fn signing_shares<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyBytes>> {
        self.core.signing_shares_typed().iter().map(|bytes| PyBytes::new(py, bytes)).collect()
    }

    /// The delegates' public shares of the encryption key, by place: typed bytes.
    #[getter]
    fn encryption_shares<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyBytes>> {
        self.core.encryption_shares_typed().iter().map(|bytes| PyBytes::new(py, bytes)).collect()
    }

    /// The digests of the ML-DSA public keys that the delegates countersign with, by place; None of one that dealt nothing.
    #[getter]
    fn countersigners(&self) -> Vec<Option<Digest>> {
        self.core.delegates.iter().map(|keys| keys.countersigner).collect()
    }

    /// The ids of the delegates that certified the keys.
    #[getter]
    fn signers(&self) -> Vec<Digest> {
        let signed = self.core.signatures.iter();
        signed.filter_map(|entry| Some(self.core.delegates.get(usize::from(entry.position))?.node)).collect()
    }

    /// A delegate's signature of the keys, 64 bytes. Nothing here remembers what was signed before.
    ///
    /// Args:
    ///     identity: The delegate.
    fn sign(&self, py: Python<'_>, identity: &Identity) -> PyResult<[u8; SIGNATURE_LEN]> {
        long(py, || self.core.sign(identity.core().signing()))
    }

    /// The same keys, certified by those of some signatures that are right.
    ///
    /// Args:
    ///     epoch: The epoch whose delegates have the shares.
    ///     signatures: (delegate, signature) each; wrong and foreign ones are left out.
    ///
    /// Raises:
    ///     UnavailableError: The right ones are no quorum of the stake.
    ///     VerificationError: The keys are not those of the epoch.
    ///     InputError: A wrong length.
    fn certified(&self, py: Python<'_>, epoch: &Epoch, signatures: &Bound<'_, PyAny>) -> PyResult<Self> {
        let signatures = read_signatures(signatures, "city keys: signatures")?;
        long(py, || Self::wrap(self.core.certified(epoch.core(), &signatures)?))
    }

    /// Checks that a quorum of an epoch's delegates certified the keys.
    ///
    /// Args:
    ///     epoch: The epoch.
    ///
    /// Raises:
    ///     VerificationError: They are of another epoch or network, or a signature is wrong.
    ///     UnavailableError: Too little stake signed.
    fn verify(&self, py: Python<'_>, epoch: &Epoch) -> PyResult<()> {
        long(py, || self.core.verify(epoch.core()))
    }
}

record! {
    /// Where a delegate's shares of the city's keys may be sealed to, signed by the delegate.
    ///
    /// Args:
    ///     identity: The delegate.
    ///     network: The network's id, 32 bytes.
    ///
    /// Raises:
    ///     InputError: The network's id is not 32 bytes.
    ///
    /// Example:
    ///     >>> from city_chain.records import Recipient
    ///     >>> recipient = Recipient(delegate, epoch.network)
    ///     >>> recipient.verify()
    ///     >>> recipient.node == delegate.id, recipient.kem == delegate.kem_public()
    ///     (True, True)
    Recipient(dealing::Recipient) in "city_chain.records", id = Signed::digest;
    properties {
        /// The network's id, 32 bytes.
        network: Digest = |core| core.network;
        /// The delegate's id, 32 bytes.
        node: Digest = |core| core.node;
        /// The digest of the ML-DSA public key that it countersigns with, 32 bytes.
        countersigner: Digest = |core| core.countersigner;
    }
}

#[pymethods]
impl Recipient {
    #[new]
    fn new(py: Python<'_>, identity: &Identity, network: Input<'_>) -> PyResult<Self> {
        let network = network.digest(py, "recipient: network")?;
        long(py, || Self::wrap(dealing::Recipient::new(identity.core(), network)?))
    }

    /// The KEM public key, typed bytes.
    #[getter]
    fn kem<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.core.kem)
    }

    /// Checks the delegate's signature.
    ///
    /// Raises:
    ///     VerificationError: It is wrong.
    fn verify(&self, py: Python<'_>) -> PyResult<()> {
        long(py, || self.core.verify())
    }
}

record! {
    /// What one delegate deals to those of an epoch when the city's keys are made or handed on, signed: public deals of
    /// both keys, and for each recipient its shares, sealed to its KEM key.
    ///
    /// Example:
    ///     >>> from city_chain.records import Dealing, Recipient
    ///     >>> dealing = Dealing.deal(delegate, epoch, [Recipient(delegate, epoch.network)])
    ///     >>> dealing.verify()
    ///     >>> dealing.dealer == delegate.id, dealing.epoch, dealing.handed_on
    ///     (True, 0, None)
    Dealing(dealing::Dealing) in "city_chain.records",
        id = Signed::digest,
        work = |core| core.sealed.len() * 1400 + core.signing.len() + core.encryption.len(), keeps = true;
    properties {
        /// The network's id, 32 bytes.
        network: Digest = |core| core.network;
        /// The number of the epoch that the keys are for.
        epoch: u64 = |core| core.epoch;
        /// Who deals, 32 bytes.
        dealer: Digest = |core| core.dealer;
        /// The digest of the keys that are handed on; None where new ones are made.
        handed_on: Option<Digest> = |core| core.handed_on;
    }
}

#[pymethods]
impl Dealing {
    /// A dealing of new keys.
    ///
    /// Args:
    ///     identity: A delegate of the epoch.
    ///     epoch: The epoch that the keys are for.
    ///     recipients: Where its delegates' shares may be sealed to. Who is left out is dealt nothing.
    ///
    /// Raises:
    ///     InputError: The dealer is no delegate of the epoch, or a record is not of one.
    ///     VerificationError: A record's signature is wrong.
    #[staticmethod]
    fn deal(py: Python<'_>, identity: &Identity, epoch: &Epoch, recipients: &Bound<'_, PyAny>) -> PyResult<Self> {
        let recipients = each(recipients, "dealing: recipients", VALIDATORS_MAX, |of: &Recipient| of.core().clone())?;
        long(py, || Self::wrap(dealing::Dealing::deal(identity.core(), epoch.core(), &recipients)?))
    }

    /// A dealing that hands keys on to the delegates of the next epoch.
    ///
    /// Args:
    ///     identity: A delegate that has shares of the keys.
    ///     epoch: The next epoch.
    ///     recipients: Where its delegates' shares may be sealed to. Who is left out is dealt nothing.
    ///     keys: The keys to hand on.
    ///     shares: The dealer's shares of them.
    ///
    /// Raises:
    ///     InputError: The shares are not the dealer's of these keys, or a record is not of a delegate of the epoch.
    ///     VerificationError: A record's signature is wrong.
    #[staticmethod]
    fn reshare(
        py: Python<'_>,
        identity: &Identity,
        epoch: &Epoch,
        recipients: &Bound<'_, PyAny>,
        keys: &CityKeys,
        shares: &KeyShares,
    ) -> PyResult<Self> {
        let recipients = each(recipients, "dealing: recipients", VALIDATORS_MAX, |of: &Recipient| of.core().clone())?;
        let (identity, epoch, keys) = (identity.core(), epoch.core(), keys.core());
        long(py, || Self::wrap(dealing::Dealing::reshare(identity, epoch, &recipients, keys, &shares.core)?))
    }

    /// Checks the dealer's signature. Whether the deals are right is for `Dealings.sort`.
    ///
    /// Raises:
    ///     VerificationError: It is wrong.
    fn verify(&self, py: Python<'_>) -> PyResult<()> {
        long(py, || self.core.verify())
    }
}

/// Dealings that are right as far as everybody can see, and the keys that they make. Made by `sort`.
///
/// Example:
///     >>> from city_chain.records import Dealing, Dealings, Recipient
///     >>> dealt = [Dealing.deal(delegate, epoch, [Recipient(delegate, epoch.network)])]
///     >>> dealings, faults = Dealings.sort(epoch, dealt)
///     >>> shares, wrong = dealings.open(delegate)
///     >>> faults, wrong, shares.keys == dealings.keys.digest
///     ([], [], True)
#[pyclass(frozen, module = "city_chain.records")]
pub(in crate::python) struct Dealings {
    core: Arc<dealing::Dealings>,
}

#[pymethods]
impl Dealings {
    /// Sorts dealings: either all are right as far as everybody can see, or those who dealt wrongly are named.
    ///
    /// Args:
    ///     epoch: The epoch that the keys are for.
    ///     dealings: The dealings, one of each dealer.
    ///     handed_on: The keys that are handed on, which the caller believes; None where new ones are made.
    ///
    /// Returns:
    ///     The dealings and an empty list, or None and (dealer, why) for each wrong one.
    ///
    /// Raises:
    ///     InputError: A dealer stands twice.
    ///     UnavailableError: There are fewer dealings than the threshold.
    #[staticmethod]
    #[pyo3(signature = (epoch, dealings, handed_on = None))]
    fn sort(
        py: Python<'_>,
        epoch: &Epoch,
        dealings: &Bound<'_, PyAny>,
        handed_on: Option<&CityKeys>,
    ) -> PyResult<(Option<Self>, dealing::Faults)> {
        let dealings = each(dealings, "dealings", VALIDATORS_MAX, |of: &Dealing| of.core().clone())?;
        let (epoch, handed_on) = (epoch.core(), handed_on.map(Wrapper::core));
        let (sorted, faults) = long(py, || dealing::Dealings::sort(epoch, dealings, handed_on))?;
        Ok((sorted.map(|core| Self { core: Arc::new(core) }), faults))
    }

    /// The keys that they make, not certified.
    #[getter]
    fn keys(&self, py: Python<'_>) -> PyResult<CityKeys> {
        short(py, || CityKeys::wrap(self.core.keys().clone()))
    }

    /// Opens what they hold for one delegate.
    ///
    /// Args:
    ///     identity: The delegate.
    ///
    /// Returns:
    ///     Its shares of the keys and an empty list, or None and (dealer, why) for each dealer whose part is wrong.
    ///
    /// Raises:
    ///     InputError: The identity is no delegate of the epoch.
    fn open(&self, py: Python<'_>, identity: &Identity) -> PyResult<(Option<KeyShares>, dealing::Faults)> {
        let (shares, faults) = long(py, || self.core.open(identity.core()))?;
        Ok((shares.map(|core| KeyShares { core }), faults))
    }

    fn __repr__(&self) -> String {
        format!("<Dealings for epoch {}>", self.core.keys().epoch)
    }
}

/// One delegate's secret shares of a city's keys. They are wiped from memory when the object goes, are never shown, cannot
/// be copied or pickled, and leave it only encrypted, by `seal`.
///
/// Example:
///     >>> from city_chain.algorithms.tes import bls
///     >>> from city_chain.records import Dealing, Dealings, Recipient
///     >>> dealt = [Dealing.deal(delegate, epoch, [Recipient(delegate, epoch.network)])]
///     >>> dealings, faults = Dealings.sort(epoch, dealt)
///     >>> shares, wrong = dealings.open(delegate)
///     >>> keys = dealings.keys
///     >>> signature, left_out = bls.combine(keys.signing_key, 1, keys.signing_shares, b"hello", [shares.sign(b"hello")])
///     >>> bls.verify(keys.signing_key, b"hello", signature)
#[pyclass(frozen, module = "city_chain.records")]
pub(in crate::python) struct KeyShares {
    core: dealing::KeyShares,
}

#[pymethods]
impl KeyShares {
    /// Reads what `seal` made.
    ///
    /// Args:
    ///     identity: The delegate whose shares they are.
    ///     keys: The keys that they are shares of.
    ///     row: The encrypted bytes.
    ///
    /// Raises:
    ///     VerificationError: They are damaged, or of other keys or another delegate.
    #[staticmethod]
    fn open(py: Python<'_>, identity: &Identity, keys: &CityKeys, row: Input<'_>) -> PyResult<Self> {
        let (identity, keys, row) = (identity.core(), keys.core(), row.as_slice());
        long(py, || Ok(Self { core: dealing::KeyShares::open(identity, keys, row)? }))
    }

    /// The shares, encrypted with fresh randomness under a key that only this delegate has.
    ///
    /// Args:
    ///     identity: The delegate whose shares they are.
    fn seal<'py>(&self, py: Python<'py>, identity: &Identity) -> PyResult<Bound<'py, PyBytes>> {
        let sealed = short(py, || self.core.seal(identity.core()))?;
        Ok(PyBytes::new(py, &sealed))
    }

    /// The delegate's place, counted from 1.
    #[getter]
    fn index(&self) -> u16 {
        self.core.index()
    }

    /// The digest of the keys that they are shares of, 32 bytes.
    #[getter]
    fn keys(&self) -> Digest {
        *self.core.keys()
    }

    /// A share of the city's signature over a message, 50 bytes.
    ///
    /// Args:
    ///     message: Any bytes.
    fn sign<'py>(&self, py: Python<'py>, message: Input<'_>) -> PyResult<Bound<'py, PyBytes>> {
        let message = message.as_slice();
        let share = long(py, || self.core.sign(message))?;
        Ok(PyBytes::new(py, &share))
    }

    /// A share of the opening of what was encrypted to the city. The capsule is checked first.
    ///
    /// Args:
    ///     capsule: The capsule of the ciphertext.
    ///     label: What it must have been made for.
    ///
    /// Raises:
    ///     VerificationError: The capsule is wrong, or was made for another key or label.
    ///     InputError: It has another length.
    fn decrypt<'py>(&self, py: Python<'py>, capsule: Input<'_>, label: Input<'_>) -> PyResult<Bound<'py, PyBytes>> {
        let (capsule, label) = (capsule.as_slice(), label.as_slice());
        let share = long(py, || self.core.decrypt(capsule, label))?;
        Ok(PyBytes::new(py, &share))
    }

    fn __repr__(&self) -> String {
        format!("<KeyShares of delegate {}>", self.core.index())
    }
}

record! {
    /// A call to hand over to the next epoch, signed by who may make it.
    ///
    /// Args:
    ///     identity: Who calls.
    ///     epoch: The epoch in force.
    ///     height: The height of its last batch; 0 if there is none.
    ///     tip: The digest of that batch, 32 bytes; the network's id if there is none.
    ///     validators: The delegates of the next epoch, whose number is theirs.
    ///
    /// Raises:
    ///     InputError: A wrong length, or the validators are not those of the next epoch.
    ///
    /// Example:
    ///     >>> from city_chain.records import Election
    ///     >>> following = dpos.ValidatorSet(1, [(delegate.id, 10)])
    ///     >>> election = Election(identity, epoch, 1, batch.digest, following)
    ///     >>> election.verify(epoch)
    ///     >>> election.next.number, election.previous == epoch.root
    ///     (1, True)
    Election(epoch::Election) in "city_chain.records",
        id = Signed::digest, work = |core| core.next.validators.items().len() * 64;
    parts {
        /// The epoch that is to follow.
        next: Epoch;
    }
    properties {
        /// The network's id, 32 bytes.
        network: Digest = |core| core.network;
        /// The root of the epoch in force, 32 bytes.
        previous: Digest = |core| core.previous;
        /// The height of its last batch.
        height: u64 = |core| core.height;
        /// The digest of that batch, 32 bytes.
        tip: Digest = |core| core.tip;
        /// Who calls, 32 bytes.
        caller: Digest = |core| core.caller;
    }
}

#[pymethods]
impl Election {
    #[new]
    fn new(
        py: Python<'_>,
        identity: &Identity,
        epoch: &Epoch,
        height: Int<u64>,
        tip: Input<'_>,
        validators: &ValidatorSet,
    ) -> PyResult<Self> {
        let tip = tip.digest(py, "election: tip")?;
        let (key, epoch, validators) = (identity.core().signing(), epoch.core(), validators.core().clone());
        long(py, || Self::wrap(epoch::Election::new(key, epoch, height.0, tip, validators)?))
    }

    /// Checks that the election follows an epoch and that its caller signed it. Who may call one is not known here.
    ///
    /// Args:
    ///     epoch: The epoch in force.
    ///
    /// Raises:
    ///     VerificationError: Another epoch or network, a wrong successor, or a wrong signature.
    fn verify(&self, py: Python<'_>, epoch: &Epoch) -> PyResult<()> {
        long(py, || self.core.verify_after(epoch.core()))
    }
}

record! {
    /// An election and the keys of the next epoch, certified by a quorum of the delegates in office.
    ///
    /// Args:
    ///     election: What was called for.
    ///     keys: The keys of the next epoch.
    ///     epoch: The epoch in force.
    ///     signatures: (delegate, signature) each, made by `sign`; wrong and foreign ones are left out.
    ///
    /// Raises:
    ///     UnavailableError: The right signatures are no quorum of the stake.
    ///     InputError: A wrong length.
    ///
    /// Example:
    ///     >>> from city_chain.records import Dealing, Dealings, Election, Handover, Recipient
    ///     >>> recipients = [Recipient(delegate, epoch.network)]
    ///     >>> dealings, faults = Dealings.sort(epoch, [Dealing.deal(delegate, epoch, recipients)])
    ///     >>> shares, wrong = dealings.open(delegate)
    ///     >>> keys = dealings.keys.certified(epoch, [(delegate.id, dealings.keys.sign(delegate))])
    ///
    ///     The next epoch gets shares of the same keys, and the delegates in office certify it.
    ///
    ///     >>> election = Election(identity, epoch, 1, batch.digest, dpos.ValidatorSet(1, [(delegate.id, 10)]))
    ///     >>> handed = [Dealing.reshare(delegate, election.next, recipients, keys, shares)]
    ///     >>> dealings, faults = Dealings.sort(election.next, handed, keys)
    ///     >>> handover = Handover(
    ///     ...     election, dealings.keys, epoch, [(delegate.id, Handover.sign(delegate, election, dealings.keys))]
    ///     ... )
    ///     >>> handover.verify(epoch)
    ///     >>> dealings.keys.signing_key == keys.signing_key, handover.keys == dealings.keys.digest
    ///     (True, True)
    Handover(epoch::Handover) in "city_chain.records",
        work = |core| core.election.next.validators.items().len() * 64 + core.signatures.len() * 66;
    parts {
        /// What was called for.
        election: Election;
    }
    properties {
        /// The digest of the next epoch's keys, 32 bytes.
        keys: Digest = |core| core.keys;
    }
}

#[pymethods]
impl Handover {
    #[new]
    fn new(
        py: Python<'_>,
        election: &Election,
        keys: &CityKeys,
        epoch: &Epoch,
        signatures: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let signatures = read_signatures(signatures, "handover: signatures")?;
        let (election, digest, epoch) = (election.core().clone(), keys.id(), epoch.core());
        long(py, || Self::wrap(epoch::Handover::certify(election, digest?, epoch, &signatures)?))
    }

    /// What a delegate in office signs, 32 bytes.
    ///
    /// Args:
    ///     election: What was called for.
    ///     keys: The keys of the next epoch.
    #[staticmethod]
    fn message(py: Python<'_>, election: &Election, keys: &CityKeys) -> PyResult<Digest> {
        short(py, || epoch::Handover::message(election.core(), &keys.id()?))
    }

    /// A delegate's signature, 64 bytes. Nothing here remembers what was signed before.
    ///
    /// Args:
    ///     identity: A delegate in office.
    ///     election: What was called for.
    ///     keys: The keys of the next epoch.
    #[staticmethod]
    fn sign(
        py: Python<'_>,
        identity: &Identity,
        election: &Election,
        keys: &CityKeys,
    ) -> PyResult<[u8; SIGNATURE_LEN]> {
        let key = identity.core().signing();
        long(py, || epoch::Handover::sign(key, election.core(), &keys.id()?))
    }

    /// Checks that a quorum of the delegates of an epoch certified the handover to the next.
    ///
    /// Args:
    ///     epoch: The epoch before the one that follows.
    ///
    /// Raises:
    ///     VerificationError: Another epoch or network, a wrong successor, or a wrong signature.
    ///     UnavailableError: Too little stake signed.
    fn verify(&self, py: Python<'_>, epoch: &Epoch) -> PyResult<()> {
        long(py, || self.core.verify(epoch.core()))
    }
}

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<CityKeys>()?;
    module.add_class::<Recipient>()?;
    module.add_class::<Dealing>()?;
    module.add_class::<Dealings>()?;
    module.add_class::<KeyShares>()?;
    module.add_class::<Election>()?;
    module.add_class::<Handover>()
}
