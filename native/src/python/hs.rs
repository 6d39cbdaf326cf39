//! Bindings of HotStuff: the machine, and what others check of it.

use std::sync::{Mutex, MutexGuard};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use zeroize::Zeroizing;

use super::buffer::Input;
use super::call::{long, short, sized};
use super::identity::Identity;
use super::int::Int;
use super::record::{check_tuple, items};
use crate::algorithms::hs as model;
use crate::algorithms::hs::message::Block;
use crate::algorithms::hs::{CommitProof, Config, Event, Evidence, Keys, message};
use crate::crypto::bls::{SecretKey, ShownKey};
use crate::crypto::ed25519::SigningKey;
use crate::crypto::hash::Digest;
use crate::error::{Error, Result};
use crate::primitives::committee::{Committee, MEMBERS_MAX, Member};
use crate::primitives::machine::{Action, Machine as _};
use crate::primitives::outbox::Effect;
use crate::primitives::wire;

/// Most journal records that a machine is restored from.
const RECORDS_MAX: usize = 1 << 20;

/// Most places in a list of leaders.
const LEADERS_MAX: usize = 4 * MEMBERS_MAX;

/// One validator's HotStuff machine: no threads, clocks, sockets or randomness; safe to use from many threads.
///
/// It is driven by `start`, `handle` and `tick`; what it wants done comes out of `drain`. **Persist before send**: a vote, a
/// timeout or a proposal comes out only after `durable` has been called with the ticket of the journal record before it.
/// What is refused leaves the machine as it was. It has no copy and no pickle: two copies could vote against each other. Its
/// journal brings it back (`restore`).
///
/// Args:
///     chain_id: What all signatures are bound to, 32 bytes.
///     epoch: The number of the validator set; bound likewise.
///     validators: (public key, weight) each, 1 to 1,024, in an order that all know: their places. Weights above 0.
///     key: This validator's key: the 32 bytes of an Ed25519 seed, or an `Identity`, whose signing key it is.
///     genesis: What stands before the first block, 32 bytes that all agree on.
///     timeout_us: How long a round may take, microseconds, before it is given up.
///     timeout_max_us: The most that a round gets after failures.
///     backoff_percent: What a round gets after a failed one, per cent of that one's time: 100 to 1,000.
///     commit_rule: 2, or 3: how many certified blocks of consecutive rounds commit the first of them.
///     history: How many committed blocks are kept for those that are behind.
///     leaders: Places that lead in turn, up to 4,096; None for all places in turn. The same at all validators.
///     aggregate_keys: What `aggregate_key` gives, of every validator in their order: 96 and 48 bytes. Quorum certificates are
///         then one signature of 48 bytes. None for lists of Ed25519 signatures. The same at all validators.
///     aggregate_seed: The 32 secret bytes that this validator's aggregate key is made of; where there are such keys.
///
/// Raises:
///     InputError: A wrong length, a committee that is none, a key that is not in it, or a setting out of its range.
///     VerificationError: An aggregate key that is none, or whose proof of possession is wrong.
///
/// Source:
///     Gelashvili et al., "Jolteon and Ditto" (FC 2022), section 3.
///
/// Example:
///     >>> from city_chain import hs
///     >>> from city_chain.records import Identity
///     >>> me = Identity(bytes(32))
///     >>> alone = hs.HotStuff(bytes(32), 0, [(me.id, 1)], me, bytes(32))
///     >>> alone.start(0)
///     >>> [effect.kind for effect in hs.effects(alone)]
///     ['round', 'deadline', 'need_payload']
///     >>> for payload in (b"one", b"two", b"three"):
///     ...     alone.propose(payload, 0)
///     ...     persist, *_ = hs.effects(alone)
///     ...     alone.durable(persist.number)
///     ...     done = [effect.data for effect in hs.effects(alone) if effect.kind == "commit"]
///     >>> done
///     [b'two']
#[pyclass(frozen, module = "city_chain.algorithms.hs")]
struct HotStuff {
    machine: Mutex<model::HotStuff>,
    me: u16,
}

impl HotStuff {
    fn wrap(machine: model::HotStuff) -> Self {
        Self { me: machine.me(), machine: Mutex::new(machine) }
    }

    fn lock(&self) -> Result<MutexGuard<'_, model::HotStuff>> {
        let broken = |_| Error::protocol("hotstuff: an earlier call broke off; restore it from its journal");
        self.machine.lock().map_err(broken)
    }

    /// Work with signatures: the machine is locked while the GIL is released, so nobody waits for both.
    fn heavy<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut model::HotStuff) -> Result<T> + Send,
    ) -> PyResult<T> {
        long(py, || work(&mut *self.lock()?))
    }

    /// A look or a small step: at once if the machine is free, else as [`HotStuff::heavy`].
    fn light<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut model::HotStuff) -> Result<T> + Send,
    ) -> PyResult<T> {
        match self.machine.try_lock() {
            Ok(mut machine) => short(py, || work(&mut machine)),
            Err(_) => self.heavy(py, work),
        }
    }
}

/// A signing key from a seed or an identity.
fn read_key(key: &Bound<'_, PyAny>) -> PyResult<SigningKey> {
    if let Ok(identity) = key.cast::<Identity>() {
        return Ok(identity.get().core().signing().clone());
    }
    let seed: Input<'_> = key.extract()?;
    let seed = Zeroizing::new(seed.array::<32>(key.py(), "hotstuff: key")?);
    Ok(SigningKey::from_seed(&seed))
}

fn read_members(validators: &Bound<'_, PyAny>) -> PyResult<Vec<Member>> {
    items(validators, "hotstuff: validators", MEMBERS_MAX, |item| {
        check_tuple(item, 2, "hotstuff: validator")?;
        let (key, weight): (Input<'_>, Int<u64>) = item.extract()?;
        Ok(Member { key: key.digest(item.py(), "hotstuff: validator")?, weight: weight.0 })
    })
}

/// The keys that validators show for certificates of one signature.
fn read_shown(keys: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Vec<ShownKey>>> {
    let read = |keys| {
        items(keys, "hotstuff: aggregate keys", MEMBERS_MAX, |item| {
            check_tuple(item, 2, "hotstuff: aggregate key")?;
            let (public, possession): (Input<'_>, Input<'_>) = item.extract()?;
            Ok(ShownKey {
                public: public.array(item.py(), "hotstuff: aggregate key")?,
                possession: possession.array(item.py(), "hotstuff: proof of possession")?,
            })
        })
    };
    keys.map(read).transpose()
}

fn read_seed(py: Python<'_>, seed: Option<Input<'_>>) -> PyResult<Option<Zeroizing<[u8; 32]>>> {
    seed.map(|seed| Ok(Zeroizing::new(seed.array::<32>(py, "hotstuff: aggregate seed")?))).transpose()
}

fn make_committee(members: Vec<Member>, shown: Option<&[ShownKey]>) -> Result<Committee> {
    let committee = Committee::new(members)?;
    shown.map_or(Ok(committee.clone()), |shown| committee.with_aggregates(shown))
}

fn make_keys(signing: SigningKey, seed: Option<&[u8; 32]>) -> Result<Keys> {
    Ok(Keys { signing, aggregate: seed.map(SecretKey::of_master).transpose()? })
}

fn read_leaders(leaders: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<u16>> {
    let read = |leaders| items(leaders, "hotstuff: leaders", LEADERS_MAX, |item| Ok(item.extract::<Int<u16>>()?.0));
    leaders.map_or_else(|| Ok(Vec::new()), read)
}

/// An effect as Python has it: (kind, number, data, block, extra).
type Told = (&'static str, u64, Vec<u8>, Option<Digest>, Vec<u8>);

fn tell(effect: Effect<Action<Event>>) -> Result<Told> {
    let none = Vec::new;
    Ok(match effect {
        Effect::Persist { ticket, record } => ("persist", ticket, record, None, none()),
        Effect::Output(Action::Send { to, message }) => ("send", u64::from(to), message, None, none()),
        Effect::Output(Action::Broadcast { message }) => ("broadcast", 0, message, None, none()),
        Effect::Output(Action::Deadline { at }) => ("deadline", at, none(), None, none()),
        Effect::Output(Action::Event(event)) => match event {
            Event::NeedPayload { round, parent } => ("need_payload", round, none(), None, parent.to_vec()),
            Event::ValidatePayload { block, payload, parent } => ("validate", 0, payload, Some(block), parent.to_vec()),
            Event::Commit { block, payload, proof } => {
                let round = proof.header().map_or(0, |header| header.round);
                ("commit", round, payload, Some(block), wire::encode(&proof)?)
            }
            Event::Evidence(bytes) => ("evidence", 0, bytes, None, none()),
            Event::EnteredRound { round } => ("round", round, none(), None, none()),
        },
    })
}

#[pymethods]
impl HotStuff {
    #[new]
    #[pyo3(
        signature = (chain_id, epoch, validators, key, genesis, *, timeout_us = Int(100_000),
            timeout_max_us = Int(10_000_000), backoff_percent = Int(150), commit_rule = Int(2), history = Int(256),
            leaders = None, aggregate_keys = None, aggregate_seed = None),
        text_signature = "(chain_id, epoch, validators, key, genesis, *, timeout_us=100000, timeout_max_us=10000000, \
            backoff_percent=150, commit_rule=2, history=256, leaders=None, aggregate_keys=None, \
            aggregate_seed=None)"
    )]
    #[allow(clippy::too_many_arguments, reason = "by name in Python")]
    fn new(
        py: Python<'_>,
        chain_id: Input<'_>,
        epoch: Int<u64>,
        validators: &Bound<'_, PyAny>,
        key: &Bound<'_, PyAny>,
        genesis: Input<'_>,
        timeout_us: Int<u64>,
        timeout_max_us: Int<u64>,
        backoff_percent: Int<u32>,
        commit_rule: Int<u16>,
        history: Int<u16>,
        leaders: Option<&Bound<'_, PyAny>>,
        aggregate_keys: Option<&Bound<'_, PyAny>>,
        aggregate_seed: Option<Input<'_>>,
    ) -> PyResult<Self> {
        let (chain, genesis) = (chain_id.digest(py, "hotstuff: chain id")?, genesis.digest(py, "hotstuff: genesis")?);
        let (members, key) = (read_members(validators)?, read_key(key)?);
        let (shown, seed) = (read_shown(aggregate_keys)?, read_seed(py, aggregate_seed)?);
        let config = Config {
            timeout_us: timeout_us.0,
            timeout_max_us: timeout_max_us.0,
            backoff_percent: backoff_percent.0,
            commit_rule: u8::try_from(commit_rule.0).unwrap_or(u8::MAX),
            history: history.0,
            leaders: read_leaders(leaders)?,
        };
        let make = || {
            let (committee, keys) = (make_committee(members, shown.as_deref())?, make_keys(key, seed.as_deref())?);
            Ok(Self::wrap(model::HotStuff::new(chain, epoch.0, committee, keys, genesis, config)?))
        };
        if shown.is_some() { long(py, make) } else { short(py, make) }
    }

    /// A machine as it was when the last of its journal records was written; to be started like a new one.
    ///
    /// Args:
    ///     chain_id: As for a new machine; so are all that have the same name.
    ///     epoch: Likewise.
    ///     validators: Likewise.
    ///     key: Likewise.
    ///     genesis: Likewise.
    ///     records: The durable journal records, in order; the first may be a `snapshot`. At most 1,048,576.
    ///     amnesia: Some of the journal was lost: the machine only watches until the next epoch, and so do all that are
    ///         restored from the journal that it writes from now on.
    ///     timeout_us: As for a new machine; so are all that follow.
    ///     timeout_max_us: Likewise.
    ///     backoff_percent: Likewise.
    ///     commit_rule: Likewise.
    ///     history: Likewise.
    ///     leaders: Likewise.
    ///     aggregate_keys: Likewise.
    ///     aggregate_seed: Likewise.
    ///
    /// Raises:
    ///     VerificationError: An aggregate key that is none, or whose proof of possession is wrong.
    ///     InputError: A record that is not well-formed, another validator's or of another epoch, and what a new machine
    ///         refuses.
    #[staticmethod]
    #[pyo3(
        signature = (chain_id, epoch, validators, key, genesis, records, *, amnesia = false, timeout_us = Int(100_000),
            timeout_max_us = Int(10_000_000), backoff_percent = Int(150), commit_rule = Int(2), history = Int(256),
            leaders = None, aggregate_keys = None, aggregate_seed = None),
        text_signature = "(chain_id, epoch, validators, key, genesis, records, *, amnesia=False, timeout_us=100000, \
            timeout_max_us=10000000, backoff_percent=150, commit_rule=2, history=256, leaders=None, aggregate_keys=None, \
            aggregate_seed=None)"
    )]
    #[allow(clippy::too_many_arguments, reason = "by name in Python")]
    fn restore(
        py: Python<'_>,
        chain_id: Input<'_>,
        epoch: Int<u64>,
        validators: &Bound<'_, PyAny>,
        key: &Bound<'_, PyAny>,
        genesis: Input<'_>,
        records: &Bound<'_, PyAny>,
        amnesia: bool,
        timeout_us: Int<u64>,
        timeout_max_us: Int<u64>,
        backoff_percent: Int<u32>,
        commit_rule: Int<u16>,
        history: Int<u16>,
        leaders: Option<&Bound<'_, PyAny>>,
        aggregate_keys: Option<&Bound<'_, PyAny>>,
        aggregate_seed: Option<Input<'_>>,
    ) -> PyResult<Self> {
        let (chain, genesis) = (chain_id.digest(py, "hotstuff: chain id")?, genesis.digest(py, "hotstuff: genesis")?);
        let (members, key) = (read_members(validators)?, read_key(key)?);
        let (shown, seed) = (read_shown(aggregate_keys)?, read_seed(py, aggregate_seed)?);
        let records = items(records, "hotstuff: records", RECORDS_MAX, |item| {
            Ok(item.extract::<Input<'_>>()?.as_slice().to_vec())
        })?;
        let config = Config {
            timeout_us: timeout_us.0,
            timeout_max_us: timeout_max_us.0,
            backoff_percent: backoff_percent.0,
            commit_rule: u8::try_from(commit_rule.0).unwrap_or(u8::MAX),
            history: history.0,
            leaders: read_leaders(leaders)?,
        };
        long(py, || {
            let (committee, keys) = (make_committee(members, shown.as_deref())?, make_keys(key, seed.as_deref())?);
            let machine =
                model::HotStuff::restore(chain, epoch.0, committee, keys, genesis, config, &records, amnesia)?;
            Ok(Self::wrap(machine))
        })
    }

    /// Begins, or goes on after `restore`: what was said last is said again, in the same bytes.
    ///
    /// Args:
    ///     now: The time of the caller's clock, microseconds. It must not go back; where it does, it stands still.
    ///
    /// Raises:
    ///     InputError: It has begun already.
    fn start(&self, py: Python<'_>, now: Int<u64>) -> PyResult<()> {
        self.heavy(py, move |machine| machine.start(now.0))
    }

    /// Takes a message.
    ///
    /// Args:
    ///     sender: The place of who sent it; answers go there.
    ///     message: What another machine sent, at most a few MiB.
    ///     now: The time, microseconds.
    ///
    /// Raises:
    ///     InputError: A sender that is no place, bytes that are no message, or a machine that has not begun.
    ///     ProtocolError: A message of another chain, epoch or leader, of a round that is over, or against the rules.
    ///     VerificationError: A wrong signature or certificate.
    ///     UnavailableError: Too many effects wait: drain them, and call `durable`.
    fn handle(&self, py: Python<'_>, sender: Int<u16>, message: Input<'_>, now: Int<u64>) -> PyResult<()> {
        let message = message.as_slice();
        self.heavy(py, move |machine| machine.handle(sender.0, message, now.0))
    }

    /// The time is `now`: if the deadline has come, the round is given up, and what was said is said again.
    ///
    /// Args:
    ///     now: The time, microseconds.
    ///
    /// Raises:
    ///     InputError: It has not begun.
    ///     UnavailableError: Too many effects wait.
    fn tick(&self, py: Python<'_>, now: Int<u64>) -> PyResult<()> {
        self.heavy(py, move |machine| machine.tick(now.0))
    }

    /// The payload that `need_payload` asked for.
    ///
    /// Args:
    ///     payload: What to agree on, at most 1 MiB; may be empty.
    ///     now: The time, microseconds.
    ///
    /// Raises:
    ///     InputError: Too long, or it has not begun.
    ///     ProtocolError: None is asked for, or not any more: the round is over.
    ///     UnavailableError: Too many effects or blocks wait.
    fn propose(&self, py: Python<'_>, payload: Input<'_>, now: Int<u64>) -> PyResult<()> {
        let payload = payload.as_slice();
        self.heavy(py, move |machine| machine.propose(payload.to_vec(), now.0))
    }

    /// What is made of the payload of a `validate` effect; the first answer counts.
    ///
    /// Args:
    ///     block: The block's id, 32 bytes.
    ///     ok: Whether it may be voted for.
    ///     now: The time, microseconds.
    ///
    /// Raises:
    ///     InputError: A wrong length, or it has not begun.
    ///     UnavailableError: Too many effects wait.
    fn payload_result(&self, py: Python<'_>, block: Input<'_>, ok: bool, now: Int<u64>) -> PyResult<()> {
        let block = block.digest(py, "hotstuff: block")?;
        self.heavy(py, move |machine| machine.payload_result(block, ok, now.0))
    }

    /// Time stood still because there was nothing to agree on: the round has all its time again, and nothing else changes.
    ///
    /// Args:
    ///     now: The time, microseconds.
    ///
    /// Raises:
    ///     InputError: It has not begun.
    ///     UnavailableError: Too many effects wait.
    fn resume(&self, py: Python<'_>, now: Int<u64>) -> PyResult<()> {
        self.light(py, move |machine| machine.resume(now.0))
    }

    /// How long a round may take from now on before it is given up; the round under way keeps what it has. What failed rounds
    /// add stays: however little is set, rounds get longer until messages arrive in time.
    ///
    /// Args:
    ///     timeout_us: Microseconds, at most the machine's `timeout_max_us`.
    ///
    /// Raises:
    ///     InputError: Zero, or above the most that a round is given.
    fn pace(&self, py: Python<'_>, timeout_us: Int<u64>) -> PyResult<()> {
        self.light(py, move |machine| machine.pace(timeout_us.0))
    }

    /// A commit that was learned elsewhere: the machine goes on from that block. For one who is so far behind that nobody
    /// keeps what it needs; what was committed up to that block is for the caller to get, no effects come for it.
    ///
    /// Args:
    ///     proof: What a `commit` effect brought.
    ///     now: The time, microseconds.
    ///
    /// Raises:
    ///     InputError: The proof is not well-formed, or the machine has not begun.
    ///     VerificationError: The proof is wrong.
    ///     UnavailableError: Too many effects wait.
    fn adopt(&self, py: Python<'_>, proof: Input<'_>, now: Int<u64>) -> PyResult<()> {
        let proof = proof.as_slice();
        self.heavy(py, move |machine| machine.adopt(&wire::decode::<CommitProof>(proof)?, now.0))
    }

    /// The epoch is over here: the machine signs nothing any more, and still answers those that are behind.
    fn retire(&self, py: Python<'_>) -> PyResult<()> {
        self.light(py, |machine| {
            machine.retire();
            Ok(())
        })
    }

    /// Takes what may be done now, in order.
    ///
    /// Returns:
    ///     Tuples (kind, number, data, block, extra); `city_chain.hs.effects` names the parts and says what to do.
    fn drain<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        let told = self.light(py, |machine| machine.drain().into_iter().map(tell).collect::<Result<Vec<Told>>>())?;
        let convert = |(kind, number, data, block, extra): Told| {
            let block = block.as_ref().map_or(&[][..], |block| &block[..]);
            let bytes = |bytes: &[u8]| PyBytes::new(py, bytes);
            (kind, number, bytes(&data), bytes(block), bytes(&extra)).into_pyobject(py)
        };
        told.into_iter().map(convert).collect()
    }

    /// All journal records up to a ticket are durable: what waited for them comes out of the next `drain`.
    ///
    /// Args:
    ///     ticket: The number of a `persist` effect.
    ///
    /// Raises:
    ///     InputError: A ticket that was not handed out.
    fn durable(&self, py: Python<'_>, ticket: Int<u64>) -> PyResult<()> {
        self.heavy(py, move |machine| machine.durable(ticket.0))
    }

    /// Everything that must survive a crash; stands for all journal records before it.
    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.heavy(py, |machine| machine.snapshot())?))
    }

    /// Who leads a round.
    ///
    /// Args:
    ///     round: The round.
    ///
    /// Returns:
    ///     The leader's place.
    fn leader_of(&self, py: Python<'_>, round: Int<u64>) -> PyResult<u16> {
        self.light(py, move |machine| Ok(machine.leader_of(round.0)))
    }

    /// This validator's place.
    #[getter]
    fn me(&self) -> u16 {
        self.me
    }

    /// The current round.
    #[getter]
    fn round(&self, py: Python<'_>) -> PyResult<u64> {
        self.light(py, |machine| Ok(machine.round()))
    }

    /// (round, id) of the last committed block.
    #[getter]
    fn committed(&self, py: Python<'_>) -> PyResult<(u64, Digest)> {
        self.light(py, |machine| Ok(machine.committed()))
    }

    /// (round, id) of the highest block that is known to be certified.
    #[getter]
    fn high_qc(&self, py: Python<'_>) -> PyResult<(u64, Digest)> {
        self.light(py, |machine| Ok((machine.high_qc().round, machine.high_qc().block)))
    }

    /// A block that is not committed yet, or is one of the last that were.
    ///
    /// Args:
    ///     block: Its id, 32 bytes.
    ///
    /// Returns:
    ///     (round, id of the block before it, payload); None if it is not known, or not any more.
    ///
    /// Raises:
    ///     InputError: A wrong length.
    fn block<'py>(&self, py: Python<'py>, block: Input<'_>) -> PyResult<Option<(u64, Digest, Bound<'py, PyBytes>)>> {
        let id = block.digest(py, "hotstuff: block")?;
        let found = self.light(py, move |machine| Ok(machine.block(&id).map(|known| known.block.clone())))?;
        Ok(found.map(|block| (block.header.round, block.header.parent, PyBytes::new(py, &block.payload))))
    }

    /// The blocks that are not committed, as far as is known: (round, id, payload) each, lower rounds first.
    fn waiting<'py>(&self, py: Python<'py>) -> PyResult<Vec<(u64, Digest, Bound<'py, PyBytes>)>> {
        let found = self.light(py, |machine| Ok(machine.waiting()))?;
        let shown = |block: &Block| (block.header.round, block.header.id(), PyBytes::new(py, &block.payload));
        Ok(found.iter().map(|proposal| shown(&proposal.block)).collect())
    }

    /// How many blocks with a payload are certified and not committed: as long as there are any, empty proposals bring them
    /// on.
    #[getter]
    fn pending(&self, py: Python<'_>) -> PyResult<usize> {
        self.light(py, |machine| Ok(machine.pending()))
    }

    /// Whether a certified block is not here yet, and is being asked for.
    #[getter]
    fn behind(&self, py: Python<'_>) -> PyResult<bool> {
        self.light(py, |machine| Ok(machine.is_behind()))
    }

    /// Whether it only watches: some of its journal was lost, or it is retired.
    #[getter]
    fn silent(&self, py: Python<'_>) -> PyResult<bool> {
        self.light(py, |machine| Ok(machine.is_silent()))
    }

    fn __repr__(&self) -> String {
        format!("<HotStuff at place {}>", self.me)
    }
}

/// See `city_chain.hs.verify_commit`.
#[pyfunction]
#[pyo3(signature = (proof, validators, chain_id, epoch, aggregate_keys = None))]
fn hs_verify_commit(
    py: Python<'_>,
    proof: Input<'_>,
    validators: &Bound<'_, PyAny>,
    chain_id: Input<'_>,
    epoch: Int<u64>,
    aggregate_keys: Option<&Bound<'_, PyAny>>,
) -> PyResult<Digest> {
    let (members, chain) = (read_members(validators)?, chain_id.digest(py, "hotstuff: chain id")?);
    let shown = read_shown(aggregate_keys)?;
    let proof = proof.as_slice();
    long(py, || {
        let proof = wire::decode::<CommitProof>(proof)?;
        proof.verify(&make_committee(members, shown.as_deref())?, &chain, epoch.0)
    })
}

/// See `city_chain.hs.verify_evidence`.
#[pyfunction]
#[pyo3(signature = (evidence, validators, chain_id, epoch, aggregate_keys = None))]
fn hs_verify_evidence(
    py: Python<'_>,
    evidence: Input<'_>,
    validators: &Bound<'_, PyAny>,
    chain_id: Input<'_>,
    epoch: Int<u64>,
    aggregate_keys: Option<&Bound<'_, PyAny>>,
) -> PyResult<u16> {
    let (members, chain) = (read_members(validators)?, chain_id.digest(py, "hotstuff: chain id")?);
    let shown = read_shown(aggregate_keys)?;
    let evidence = evidence.as_slice();
    long(py, || {
        let evidence = wire::decode::<Evidence>(evidence)?;
        evidence.verify(&make_committee(members, shown.as_deref())?, &chain, epoch.0)
    })
}

/// See `city_chain.hs.aggregate_key`.
#[pyfunction]
fn hs_aggregate_key<'py>(py: Python<'py>, seed: Input<'py>) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
    let seed = Zeroizing::new(seed.array::<32>(py, "hotstuff: aggregate seed")?);
    let shown = long(py, || Ok(ShownKey::of(&SecretKey::of_master(&seed)?)))?;
    Ok((PyBytes::new(py, &shown.public), PyBytes::new(py, &shown.possession)))
}

/// See `city_chain.hs.commit_block`.
#[pyfunction]
fn hs_commit_block(py: Python<'_>, proof: Input<'_>) -> PyResult<(u64, Digest, Digest)> {
    let proof = proof.as_slice();
    short(py, || {
        let proof = wire::decode::<CommitProof>(proof)?;
        let (Some(header), Some(genesis)) = (proof.header(), proof.next_genesis()) else {
            return Err(Error::input("commit proof: it has no header"));
        };
        Ok((header.round, header.id(), genesis))
    })
}

/// See `city_chain.hs.payload_digest`.
#[pyfunction]
fn hs_payload_digest(py: Python<'_>, payload: Input<'_>) -> PyResult<Digest> {
    let payload = payload.as_slice();
    sized(py, payload.len(), || Ok(message::payload_digest(payload)))
}

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<HotStuff>()?;
    module.add_function(wrap_pyfunction!(hs_verify_commit, module)?)?;
    module.add_function(wrap_pyfunction!(hs_verify_evidence, module)?)?;
    module.add_function(wrap_pyfunction!(hs_aggregate_key, module)?)?;
    module.add_function(wrap_pyfunction!(hs_commit_block, module)?)?;
    module.add_function(wrap_pyfunction!(hs_payload_digest, module)?)
}
