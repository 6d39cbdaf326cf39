//! Bindings of ABBA: one agreement, the common subset and its certificate.

use std::sync::{Mutex, MutexGuard};

use pyo3::prelude::*;

use super::buffer::Input;
use super::call::{long, short};
use super::identity::Identity;
use super::int::Int;
use super::record::{Wrapper, check_tuple, items, record};
use crate::algorithms::abba::{self as model, Event, Instance, SubsetEvent};
use crate::crypto::ed25519::SigningKey;
use crate::crypto::hash::Digest;
use crate::error::{Error, Result};
use crate::primitives::committee::{Committee, MEMBERS_MAX, Member};
use crate::primitives::machine::{Action, Machine};
use crate::primitives::outbox::Effect;
use crate::primitives::wire;

/// The most records that a machine is restored from.
const RECORDS_MAX: usize = 1 << 20;

/// Proposers and what they proposed.
type Accepted = Vec<(u16, Vec<u8>)>;

/// What is to be done: kind, two numbers and bytes, as `drain` has them.
type Step = (&'static str, u64, u32, Vec<u8>);

/// Reads a committee: (public key, weight) each, in its order.
fn committee(validators: &Bound<'_, PyAny>) -> PyResult<Committee> {
    let py = validators.py();
    let members = items(validators, "abba: validators", MEMBERS_MAX, |item| {
        check_tuple(item, 2, "abba: validator")?;
        let key = item.get_item(0)?.extract::<Input<'_>>()?.digest(py, "abba: validator's key")?;
        Ok(Member { key, weight: item.get_item(1)?.extract::<Int<u64>>()?.0 })
    })?;
    short(py, || Committee::new(members))
}

/// Reads a signing key: an identity, or a seed of 32 bytes.
fn signing_key(key: &Bound<'_, PyAny>) -> PyResult<SigningKey> {
    if let Ok(identity) = key.cast::<Identity>() {
        return Ok(identity.get().core().signing().clone());
    }
    let seed = key.extract::<Input<'_>>()?.digest(key.py(), "abba: key's seed")?;
    Ok(SigningKey::from_seed(&seed))
}

/// What both machines are made of.
struct Parts(Instance, Committee, SigningKey);

impl Parts {
    fn read(
        chain: &Input<'_>,
        epoch: Int<u64>,
        instance: &Input<'_>,
        validators: &Bound<'_, PyAny>,
        key: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let py = validators.py();
        let chain = chain.digest(py, "abba: chain id")?;
        let name = instance.digest(py, "abba: instance")?;
        Ok(Self(Instance { chain, epoch: epoch.0, name }, committee(validators)?, signing_key(key)?))
    }
}

fn records(records: &Bound<'_, PyAny>) -> PyResult<Vec<Vec<u8>>> {
    items(records, "abba: records", RECORDS_MAX, |item| Ok(item.extract::<Input<'_>>()?.as_slice().to_vec()))
}

fn step<E>(effect: Effect<Action<E>>, event: impl FnOnce(E) -> Result<Step>) -> Result<Step> {
    Ok(match effect {
        Effect::Persist { ticket, record } => ("persist", ticket, 0, record),
        Effect::Output(Action::Send { to, message }) => ("send", to.into(), 0, message),
        Effect::Output(Action::Broadcast { message }) => ("broadcast", 0, 0, message),
        Effect::Output(Action::Deadline { at }) => ("deadline", at, 0, Vec::new()),
        Effect::Output(Action::Event(happened)) => event(happened)?,
    })
}

/// A machine behind a lock: it is locked while the GIL is released, so nobody waits for both.
struct Locked<M>(Mutex<M>);

impl<M: Machine + Send> Locked<M> {
    fn lock(&self) -> Result<MutexGuard<'_, M>> {
        self.0.lock().map_err(|_| Error::protocol("abba: an earlier call broke off; restore it from its journal"))
    }

    /// Work with signatures.
    fn heavy<T: Send>(&self, py: Python<'_>, work: impl FnOnce(&mut M) -> Result<T> + Send) -> PyResult<T> {
        long(py, || work(&mut *self.lock()?))
    }

    /// A look or a small step: at once if the machine is free.
    fn light<T: Send>(&self, py: Python<'_>, work: impl FnOnce(&mut M) -> Result<T> + Send) -> PyResult<T> {
        match self.0.try_lock() {
            Ok(mut machine) => short(py, || work(&mut machine)),
            Err(_) => self.heavy(py, work),
        }
    }
}

/// One party's machine for one agreement on one bit: no threads, clocks, sockets or randomness; safe to use from many
/// threads.
///
/// It is given this party's bit (`input`), the others' messages (`handle`) and the coins that it asks for (`coin_result`);
/// what it wants done comes out of `drain`. **Persist before send**: what rests on a journal record comes out only after
/// `durable` has been called with its ticket. Whatever is refused leaves the machine as it was. It has no copy and no
/// pickle: two copies could contradict each other. Abraham, Ben-David, Yandamuri, PODC 2022.
///
/// Args:
///     chain_id: The chain's id, 32 bytes.
///     epoch: The epoch.
///     instance: Which agreement, 32 bytes; no two agreements of a committee may have the same.
///     validators: (public key, weight) of each party, 1 to 1,024, in an order that all of them know; keys of 32 bytes.
///     key: This party's: a `city_chain.records.Identity`, or the 32 bytes of an Ed25519 seed.
///
/// Raises:
///     InputError: A wrong length, nobody, a key twice, a weight of 0, or a key that is not of the committee.
///
/// Example:
///     >>> from city_chain.records import Identity
///     >>> from city_chain.algorithms import abba
///     >>> me = Identity(bytes(32))
///     >>> alone = abba.Abba(bytes(32), 0, bytes(32), [(me.id, 1)], me)
///     >>> alone.input(True)
///     >>> [(kind, ticket, _, record)] = alone.drain()
///     >>> kind, alone.drain()                     # nothing is said before the record is durable
///     ('persist', [])
///     >>> alone.durable(ticket)
///     >>> alone.drain()[-1][:2]                   # the coin of round 0 is needed
///     ('coin', 0)
///     >>> alone.coin_result(0, True)
///     >>> alone.decided
///     True
#[pyclass(frozen, module = "city_chain.algorithms.abba")]
struct Abba(Locked<model::Abba>);

fn abba_event(event: Event) -> Result<Step> {
    Ok(match event {
        Event::NeedCoin { round } => ("coin", round.into(), 0, Vec::new()),
        Event::Decided { bit } => ("decided", bit.into(), 0, Vec::new()),
        Event::Halted => ("halted", 0, 0, Vec::new()),
        Event::Alarm { round } => ("alarm", round.into(), 0, Vec::new()),
    })
}

#[pymethods]
impl Abba {
    #[new]
    fn new(
        py: Python<'_>,
        chain_id: Input<'_>,
        epoch: Int<u64>,
        instance: Input<'_>,
        validators: &Bound<'_, PyAny>,
        key: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let Parts(instance, committee, key) = Parts::read(&chain_id, epoch, &instance, validators, key)?;
        short(py, || Ok(Self(Locked(Mutex::new(model::Abba::new(instance, committee, key)?)))))
    }

    /// The machine as it was when the last of some journal records was written. Coins that it had asked for are asked for
    /// again, and what it had decided is told again. Call `resend` when the others can hear.
    ///
    /// Args:
    ///     chain_id: As before, like all that follow.
    ///     epoch: The epoch.
    ///     instance: Which agreement.
    ///     validators: The parties.
    ///     key: This party's key.
    ///     records: The records in their order; what `snapshot` gave stands for all before it.
    ///
    /// Raises:
    ///     InputError: As for a new one; or a record is not well-formed, another machine's, or one is missing.
    #[staticmethod]
    fn restore(
        py: Python<'_>,
        chain_id: Input<'_>,
        epoch: Int<u64>,
        instance: Input<'_>,
        validators: &Bound<'_, PyAny>,
        key: &Bound<'_, PyAny>,
        records: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let Parts(instance, committee, key) = Parts::read(&chain_id, epoch, &instance, validators, key)?;
        let records = self::records(records)?;
        long(py, || Ok(Self(Locked(Mutex::new(model::Abba::restore(instance, committee, key, &records)?)))))
    }

    /// Begins with this party's bit. Once.
    ///
    /// Args:
    ///     bit: The bit.
    ///
    /// Raises:
    ///     InputError: It has begun.
    ///     UnavailableError: The outbox is full: drain it.
    fn input(&self, py: Python<'_>, bit: bool) -> PyResult<()> {
        self.0.heavy(py, move |machine| machine.input(bit))
    }

    /// Takes a message of another party.
    ///
    /// Args:
    ///     sender: Its place in the committee.
    ///     message: The bytes that its `drain` gave.
    ///
    /// Raises:
    ///     InputError: The bytes are no such message.
    ///     ProtocolError: Of another agreement, of no other party, too far ahead, or against what it said before.
    ///     VerificationError: A wrong signature.
    ///     UnavailableError: The outbox is full: drain it.
    fn handle(&self, py: Python<'_>, sender: Int<u16>, message: Input<'_>) -> PyResult<()> {
        let message = message.as_slice();
        self.0.heavy(py, move |machine| machine.handle(sender.0, message, 0))
    }

    /// Tells what the coin of a round shows, which `drain` asked for.
    ///
    /// Args:
    ///     round: The round.
    ///     bit: What it shows, the same for all parties.
    ///
    /// Raises:
    ///     InputError: It was not asked for, or has shown the other side.
    ///     UnavailableError: The outbox is full: drain it.
    fn coin_result(&self, py: Python<'_>, round: Int<u32>, bit: bool) -> PyResult<()> {
        self.0.heavy(py, move |machine| machine.coin_result(round.0, bit))
    }

    /// Says again all that was said and somebody may still need: for links that lose messages, and for who comes late.
    ///
    /// Raises:
    ///     UnavailableError: The outbox is full: drain it.
    fn resend(&self, py: Python<'_>) -> PyResult<()> {
        self.0.heavy(py, model::Abba::resend)
    }

    /// Takes what may be done now, in order.
    ///
    /// Returns:
    ///     `("persist", ticket, 0, record)`: make the record durable, then call `durable(ticket)`.
    ///     `("broadcast", 0, 0, message)`: send to every other party.
    ///     `("coin", round, 0, b"")`: show this party's share of the round's coin, and tell `coin_result`.
    ///     `("decided", bit, 0, b"")`: go on until `("halted", 0, 0, b"")`, since others need this party.
    ///     `("alarm", round, 0, b"")`: no fair coin leads to so many rounds.
    fn drain(&self, py: Python<'_>) -> PyResult<Vec<Step>> {
        self.0.light(py, |machine| machine.drain().into_iter().map(|effect| step(effect, abba_event)).collect())
    }

    /// All journal records up to a ticket are durable: what waited for them comes out of the next `drain`.
    ///
    /// Args:
    ///     ticket: From `drain`.
    ///
    /// Raises:
    ///     InputError: A ticket that was not handed out.
    fn durable(&self, py: Python<'_>, ticket: Int<u64>) -> PyResult<()> {
        self.0.light(py, move |machine| machine.durable(ticket.0))
    }

    /// Everything that must survive a crash, as one record that stands for all before it.
    fn snapshot(&self, py: Python<'_>) -> PyResult<Vec<u8>> {
        self.0.heavy(py, |machine| machine.snapshot())
    }

    /// This party's place.
    #[getter]
    fn me(&self, py: Python<'_>) -> PyResult<u16> {
        self.0.light(py, |machine| Ok(machine.me()))
    }

    /// The round that was entered last; None before `input`.
    #[getter]
    fn round(&self, py: Python<'_>) -> PyResult<Option<u32>> {
        self.0.light(py, |machine| Ok(machine.round()))
    }

    /// The decision, or None.
    #[getter]
    fn decided(&self, py: Python<'_>) -> PyResult<Option<bool>> {
        self.0.light(py, |machine| Ok(machine.decided()))
    }

    /// Whether all others can decide without this party.
    #[getter]
    fn halted(&self, py: Python<'_>) -> PyResult<bool> {
        self.0.light(py, |machine| Ok(machine.halted()))
    }
}

record! {
    /// What a quorum made of the outcome of a common subset; verifies offline. Made by a `Subset`.
    ///
    /// Example:
    ///     >>> from city_chain.records import Identity
    ///     >>> from city_chain.algorithms import abba
    ///     >>> me = Identity(bytes(32))
    ///     >>> alone = abba.Subset(bytes(32), 0, bytes(32), [(me.id, 1)], me)
    ///     >>> alone.input(b"batch")
    ///     >>> certificate = None
    ///     >>> while certificate is None:
    ///     ...     for kind, number, round, data in alone.drain():
    ///     ...         if kind == "persist":
    ///     ...             alone.durable(number)
    ///     ...         elif kind == "coin":
    ///     ...             alone.coin_result(number, round, True)
    ///     ...         elif kind == "output":
    ///     ...             alone.confirm(bytes([7]) * 32)
    ///     ...         elif kind == "confirmed":
    ///     ...             certificate = abba.Certificate.from_bytes(data)
    ///     >>> certificate.digest[:2], certificate.verify([(me.id, 1)])
    ///     (b'\x07\x07', None)
    AbbaCertificate(model::Certificate) in "city_chain.algorithms.abba",
        work = |core| core.signatures.items().len() * 66;
    properties {
        /// The chain's id, 32 bytes.
        chain_id: Digest = |core| core.chain;
        /// The epoch.
        epoch: u64 = |core| core.epoch;
        /// The instance, 32 bytes.
        instance: Digest = |core| core.instance;
        /// What they made of the outcome, 32 bytes.
        digest: Digest = |core| core.digest;
        /// Places of those who signed, ascending.
        signers: Vec<u16> = |core| core.signatures.items().iter().map(|one| one.party).collect();
    }
}

#[pymethods]
impl AbbaCertificate {
    /// Checks that a quorum of the committee signed.
    ///
    /// Args:
    ///     validators: (public key, weight) of each party, in the committee's order.
    ///
    /// Raises:
    ///     VerificationError: Too little weight signed, or a signature is wrong.
    ///     InputError: This is no committee.
    fn verify(&self, py: Python<'_>, validators: &Bound<'_, PyAny>) -> PyResult<()> {
        let committee = committee(validators)?;
        let core = self.shared();
        long(py, || core.verify(&committee))
    }
}

/// One party's machine for one common subset: every party proposes bytes, and all get the same proposals, those of a quorum
/// at least. No threads, clocks, sockets or randomness; safe to use from many threads.
///
/// It is given this party's proposal (`input`), the others' messages (`handle`), what the driver says of their proposals
/// (`payload_result`) and the coins that it asks for (`coin_result`); what it wants done comes out of `drain`. **Persist
/// before send** holds as for `Abba`. When the outcome is there, `confirm` signs what the driver made of it, and a quorum of
/// such signatures is a `Certificate`.
///
/// Args:
///     chain_id: The chain's id, 32 bytes.
///     epoch: The epoch.
///     instance: Which subset, 32 bytes, such as the digest of a height; no two of a committee may have the same.
///     validators: (public key, weight) of each party, 1 to 1,024, in an order that all of them know; keys of 32 bytes.
///     key: This party's: a `city_chain.records.Identity`, or the 32 bytes of an Ed25519 seed.
///
/// Raises:
///     InputError: A wrong length, nobody, a key twice, a weight of 0, or a key that is not of the committee.
///
/// Example:
///     >>> from city_chain.records import Identity
///     >>> from city_chain.algorithms import abba
///     >>> four = [Identity.child(bytes(32), b"node", i) for i in range(4)]
///     >>> one = abba.Subset(bytes(32), 0, bytes(32), [(each.id, 1) for each in four], four[0])
///     >>> one.input(b"batch")
///     >>> [kind for kind, *_ in one.drain()]
///     ['persist']
#[pyclass(frozen, module = "city_chain.algorithms.abba")]
struct Subset(Locked<model::Subset>);

fn subset_event(event: SubsetEvent) -> Result<Step> {
    Ok(match event {
        SubsetEvent::NeedCoin { proposer, round } => ("coin", proposer.into(), round, Vec::new()),
        SubsetEvent::ValidatePayload { proposer, payload } => ("validate", proposer.into(), 0, payload),
        SubsetEvent::Output { accepted } => ("output", accepted.len() as u64, 0, Vec::new()),
        SubsetEvent::Confirmed(certificate) => ("confirmed", 0, 0, wire::encode(&certificate)?),
        SubsetEvent::Alarm { proposer, round } => ("alarm", proposer.into(), round, Vec::new()),
    })
}

#[pymethods]
impl Subset {
    #[new]
    fn new(
        py: Python<'_>,
        chain_id: Input<'_>,
        epoch: Int<u64>,
        instance: Input<'_>,
        validators: &Bound<'_, PyAny>,
        key: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let Parts(instance, committee, key) = Parts::read(&chain_id, epoch, &instance, validators, key)?;
        short(py, || Ok(Self(Locked(Mutex::new(model::Subset::new(instance, committee, key)?)))))
    }

    /// The machine as it was when the last of some journal records was written. What its driver may have missed is asked
    /// and told again. Call `resend` when the others can hear.
    ///
    /// Args:
    ///     chain_id: As before, like all that follow.
    ///     epoch: The epoch.
    ///     instance: Which subset.
    ///     validators: The parties.
    ///     key: This party's key.
    ///     records: The records in their order; what `snapshot` gave stands for all before it.
    ///
    /// Raises:
    ///     InputError: As for a new one; or a record is not well-formed, another machine's, or one is missing.
    #[staticmethod]
    fn restore(
        py: Python<'_>,
        chain_id: Input<'_>,
        epoch: Int<u64>,
        instance: Input<'_>,
        validators: &Bound<'_, PyAny>,
        key: &Bound<'_, PyAny>,
        records: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let Parts(instance, committee, key) = Parts::read(&chain_id, epoch, &instance, validators, key)?;
        let records = self::records(records)?;
        long(py, || Ok(Self(Locked(Mutex::new(model::Subset::restore(instance, committee, key, &records)?)))))
    }

    /// Proposes. That the proposal is right is for the caller to know. The same again changes nothing.
    ///
    /// Args:
    ///     payload: At most 65,536 bytes.
    ///
    /// Raises:
    ///     InputError: It is longer, or another was proposed before.
    ///     UnavailableError: The outbox is full: drain it.
    fn input(&self, py: Python<'_>, payload: Input<'_>) -> PyResult<()> {
        let payload = payload.as_slice();
        self.0.heavy(py, move |machine| {
            if payload.len() > model::PAYLOAD_MAX {
                let (had, most) = (payload.len(), model::PAYLOAD_MAX);
                return Err(Error::input(format!("subset: a payload of {had} bytes, at most {most} are allowed")));
            }
            machine.input(payload.to_vec())
        })
    }

    /// Tells whether a proposal may come out, which `drain` asked.
    ///
    /// Args:
    ///     proposer: Whose.
    ///     good: Whether it may.
    ///
    /// Raises:
    ///     InputError: There is no such proposal, or it was judged otherwise before.
    ///     UnavailableError: The outbox is full: drain it.
    fn payload_result(&self, py: Python<'_>, proposer: Int<u16>, good: bool) -> PyResult<()> {
        self.0.heavy(py, move |machine| machine.payload_result(proposer.0, good))
    }

    /// Tells what a coin shows, which `drain` asked for.
    ///
    /// Args:
    ///     proposer: Whose proposal the agreement is about.
    ///     round: The round.
    ///     bit: What it shows, the same for all parties.
    ///
    /// Raises:
    ///     InputError: It was not asked for, or has shown the other side.
    ///     ProtocolError: There is no such proposer.
    ///     UnavailableError: The outbox is full: drain it.
    fn coin_result(&self, py: Python<'_>, proposer: Int<u16>, round: Int<u32>, bit: bool) -> PyResult<()> {
        self.0.heavy(py, move |machine| machine.coin_result(proposer.0, round.0, bit))
    }

    /// Signs what was made of the outcome. Once.
    ///
    /// Args:
    ///     digest: 32 bytes, the same for all parties if all made the same.
    ///
    /// Raises:
    ///     InputError: There is no outcome, another digest was confirmed before, or a wrong length.
    ///     UnavailableError: The outbox is full: drain it.
    fn confirm(&self, py: Python<'_>, digest: Input<'_>) -> PyResult<()> {
        let digest = digest.digest(py, "subset: digest")?;
        self.0.heavy(py, move |machine| machine.confirm(digest))
    }

    /// Takes a message of another party.
    ///
    /// Args:
    ///     sender: Its place in the committee.
    ///     message: The bytes that its `drain` gave.
    ///
    /// Raises:
    ///     InputError: The bytes are no such message.
    ///     ProtocolError: Of another subset, of no other party, too far ahead, or against what it said before.
    ///     VerificationError: A wrong signature.
    ///     UnavailableError: The outbox is full: drain it.
    fn handle(&self, py: Python<'_>, sender: Int<u16>, message: Input<'_>) -> PyResult<()> {
        let message = message.as_slice();
        self.0.heavy(py, move |machine| machine.handle(sender.0, message, 0))
    }

    /// Says again all that was said and somebody may still need, and asks again for what is missing. Others may ask this
    /// party again for proposals, too.
    ///
    /// Raises:
    ///     UnavailableError: The outbox is full: drain it.
    fn resend(&self, py: Python<'_>) -> PyResult<()> {
        self.0.heavy(py, model::Subset::resend)
    }

    /// Takes what may be done now, in order.
    ///
    /// Returns:
    ///     `("persist", ticket, 0, record)`: make the record durable, then call `durable(ticket)`.
    ///     `("send", party, 0, message)` and `("broadcast", 0, 0, message)`: send to one, or to every other party.
    ///     `("coin", proposer, round, b"")`: show this party's share of that coin, and tell `coin_result`.
    ///     `("validate", proposer, 0, payload)`: tell `payload_result`.
    ///     `("output", count, 0, b"")`: the outcome is in `output`; tell `confirm` what was made of it.
    ///     `("confirmed", 0, 0, certificate)`: the bytes of a `Certificate`.
    ///     `("alarm", proposer, round, b"")`: no fair coin leads to so many rounds.
    fn drain(&self, py: Python<'_>) -> PyResult<Vec<Step>> {
        self.0.light(py, |machine| machine.drain().into_iter().map(|effect| step(effect, subset_event)).collect())
    }

    /// All journal records up to a ticket are durable: what waited for them comes out of the next `drain`.
    ///
    /// Args:
    ///     ticket: From `drain`.
    ///
    /// Raises:
    ///     InputError: A ticket that was not handed out.
    fn durable(&self, py: Python<'_>, ticket: Int<u64>) -> PyResult<()> {
        self.0.light(py, move |machine| machine.durable(ticket.0))
    }

    /// Everything that must survive a crash, as one record that stands for all before it.
    fn snapshot(&self, py: Python<'_>) -> PyResult<Vec<u8>> {
        self.0.heavy(py, |machine| machine.snapshot())
    }

    /// This party's place.
    #[getter]
    fn me(&self, py: Python<'_>) -> PyResult<u16> {
        self.0.light(py, |machine| Ok(machine.me()))
    }

    /// The outcome: (proposer, payload) by ascending place, or None.
    #[getter]
    fn output(&self, py: Python<'_>) -> PyResult<Option<Accepted>> {
        self.0.heavy(py, |machine| Ok(machine.output()))
    }

    /// What has been decided of each proposer's proposal: True, False or None.
    #[getter]
    fn decided(&self, py: Python<'_>) -> PyResult<Vec<Option<bool>>> {
        self.0.light(py, |machine| Ok(machine.decided()))
    }

    /// The round of the agreement on each proposer's proposal; None where it has not begun.
    #[getter]
    fn rounds(&self, py: Python<'_>) -> PyResult<Vec<Option<u32>>> {
        self.0.light(py, |machine| Ok(machine.rounds()))
    }

    /// The certificate, or None.
    #[getter]
    fn certificate(&self, py: Python<'_>) -> PyResult<Option<AbbaCertificate>> {
        self.0.light(py, |machine| machine.certificate().map(AbbaCertificate::wrap).transpose())
    }
}

/// Adds this file's classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Abba>()?;
    module.add_class::<Subset>()?;
    module.add_class::<AbbaCertificate>()
}
