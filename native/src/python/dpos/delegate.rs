//! Bindings of the voting machine and of what it hears and says.

use std::sync::{Mutex, MutexGuard};

use pyo3::prelude::*;

use super::{Certificate, Slot, ValidatorSet};
use crate::crypto::hash::{Digest, hex};
use crate::error::{Error, Result};
use crate::primitives::outbox::Effect;
use crate::primitives::wire;
use crate::proofs::dpos::{self as model, Saying, VALIDATORS_MAX};
use crate::python::buffer::Input;
use crate::python::call::{long, short, sized};
use crate::python::identity::Identity;
use crate::python::int::Int;
use crate::python::record::{MANY_MAX, Wrapper, each, record};

record! {
    /// A delegate's promise to the leader of a later attempt, and what it accepted before. Made by a `Delegate`.
    ///
    /// Example:
    ///     >>> from city_chain.records import Identity
    ///     >>> from city_chain.proofs import dpos
    ///     >>> me = Identity(bytes(32))
    ///     >>> machine = dpos.Delegate(me, dpos.ValidatorSet(0, [(me.id, 1)]), bytes(32), bytes(32), bytes(32))
    ///     >>> machine.prepare(1, 1)
    ///     >>> [(_, ticket, _)] = machine.drain()
    ///     >>> machine.durable(ticket)
    ///     >>> [(_, _, said)] = machine.drain()
    ///     >>> report = dpos.Report.from_bytes(said)
    ///     >>> report.height, report.attempt, report.accepted
    ///     (1, 1, None)
    Report(model::Report) in "city_chain.proofs.dpos";
    properties {
        /// The place in the ledger.
        height: u64 = |core| core.height;
        /// The attempt that the promise is for: no vote for an earlier one will follow.
        attempt: u32 = |core| core.attempt;
        /// (attempt, digest) of what was accepted at that height before, or None.
        accepted: Option<(u32, Digest)> = |core| core.accepted.map(|accepted| (accepted.attempt, accepted.digest));
        /// Who reports, 32 bytes.
        voter: Digest = |core| core.voter;
    }
}

record! {
    /// A leader's signed proposal.
    ///
    /// Args:
    ///     identity: The leader.
    ///     slot: What to vote for.
    ///     reports: For an attempt after the first: a quorum of reports; see `choose`. At most 1,024.
    ///
    /// Raises:
    ///     InputError: Too many reports.
    ///
    /// Example:
    ///     >>> from city_chain.records import Identity
    ///     >>> from city_chain.proofs import dpos
    ///     >>> lead = Identity(bytes(32))
    ///     >>> dpos.Proposal(lead, dpos.Slot(bytes(32), 0, 1, 0, bytes(32), bytes(32))).leader == lead.id
    ///     True
    Proposal(model::Proposal) in "city_chain.proofs.dpos", work = |core| core.reports.len() * 256;
    properties {
        /// What to vote for.
        slot: Slot = |core| Slot { core: core.slot };
        /// Who leads, 32 bytes.
        leader: Digest = |core| core.leader;
    }
}

#[pymethods]
impl Proposal {
    #[new]
    #[pyo3(signature = (identity, slot, reports = None), text_signature = "(identity, slot, reports=())")]
    fn new(py: Python<'_>, identity: &Identity, slot: &Slot, reports: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let reports = match reports {
            Some(reports) => read_reports(reports, VALIDATORS_MAX)?,
            None => Vec::new(),
        };
        let key = identity.shared();
        sized(py, reports.len() * 256, || Self::wrap(model::Proposal::new(key.signing(), slot.core, reports)?))
    }

    /// The reports.
    #[getter]
    fn reports(&self, py: Python<'_>) -> PyResult<Vec<Report>> {
        short(py, || self.core.reports.iter().cloned().map(Report::wrap).collect())
    }
}

fn read_reports(reports: &Bound<'_, PyAny>, max: usize) -> PyResult<Vec<model::Report>> {
    each(reports, "reports", max, |report: &Report| report.core().clone())
}

/// What the leader of a later attempt must propose: the batch of the highest accepted attempt among the reports.
///
/// Args:
///     reports: A quorum of reports.
///
/// Returns:
///     The batch's digest, 32 bytes, or None if the leader is free.
///
/// Example:
///     >>> from city_chain.proofs import dpos
///     >>> dpos.choose([]) is None
///     True
#[pyfunction]
fn choose(py: Python<'_>, reports: &Bound<'_, PyAny>) -> PyResult<Option<Digest>> {
    let reports = read_reports(reports, MANY_MAX)?;
    short(py, || Ok(model::choose(&reports)))
}

/// One delegate's voting machine: no threads, clocks, sockets or randomness; safe to use from many threads.
///
/// It hears `prepare`, `propose`, `lead` and `committed`; what it wants done comes out of `drain`. **Persist before
/// send**: a vote, report or proposal comes out only after `durable` has been called with the ticket of the journal record
/// before it. Whatever is refused leaves the machine as it was. It has no copy and no pickle: two copies could vote against
/// each other. The last durable journal record brings it back (`restore`).
///
/// Args:
///     identity: The delegate, one of the set.
///     validators: The epoch's delegates.
///     network: The network's id, 32 bytes.
///     seed: The epoch's seed, 32 bytes, from which leaders are drawn.
///     genesis: The tip at height 0, 32 bytes: the network's id, or the last batch of the epoch before.
///
/// Raises:
///     InputError: A wrong length, or an identity that is not of the set.
///
/// Example:
///     >>> from city_chain.records import Identity
///     >>> from city_chain.proofs import dpos
///     >>> me = Identity(bytes(32))
///     >>> alone = dpos.ValidatorSet(0, [(me.id, 1)])
///     >>> machine = dpos.Delegate(me, alone, bytes(32), bytes(32), bytes(32))
///     >>> slot = dpos.Slot(bytes(32), 0, 1, 0, bytes(32), b"\x01" * 32)
///     >>> machine.propose(dpos.Proposal(me, slot))
///     >>> [(effect, ticket, record)] = machine.drain()
///     >>> effect, machine.drain()                 # nothing is said before the record is durable
///     ('persist', [])
///     >>> machine.durable(ticket)
///     >>> [(effect, _, vote)] = machine.drain()
///     >>> effect, dpos.Vote.from_bytes(vote).slot == slot
///     ('vote', True)
#[pyclass(frozen, module = "city_chain.proofs.dpos")]
struct Delegate {
    machine: Mutex<model::Delegate>,
    voter: Digest,
}

impl Delegate {
    fn wrap(machine: model::Delegate, voter: Digest) -> Self {
        Self { machine: Mutex::new(machine), voter }
    }

    fn lock(&self) -> Result<MutexGuard<'_, model::Delegate>> {
        let broken = |_| Error::protocol("delegate: an earlier call broke off; restore it from its journal");
        self.machine.lock().map_err(broken)
    }

    /// Work with signatures: the machine is locked while the GIL is released, so nobody waits for both.
    fn heavy<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut model::Delegate) -> Result<T> + Send,
    ) -> PyResult<T> {
        long(py, || work(&mut *self.lock()?))
    }

    /// A look or a small step: at once if the machine is free, else as [`Delegate::heavy`].
    fn light<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut model::Delegate) -> Result<T> + Send,
    ) -> PyResult<T> {
        match self.machine.try_lock() {
            Ok(mut machine) => short(py, || work(&mut machine)),
            Err(_) => self.heavy(py, work),
        }
    }
}

#[pymethods]
impl Delegate {
    #[new]
    #[pyo3(
        signature = (identity, validators, network, seed, genesis, height = Int(0)),
        text_signature = "(identity, validators, network, seed, genesis, height=0)"
    )]
    fn new(
        py: Python<'_>,
        identity: &Identity,
        validators: &ValidatorSet,
        network: Input<'_>,
        seed: Input<'_>,
        genesis: Input<'_>,
        height: Int<u64>,
    ) -> PyResult<Self> {
        let network = network.digest(py, "delegate: network")?;
        let seed = seed.digest(py, "delegate: seed")?;
        let genesis = genesis.digest(py, "delegate: genesis")?;
        let (key, voter) = (identity.core().signing().clone(), identity.core().id());
        let set = validators.core().clone();
        short(py, || Ok(Self::wrap(model::Delegate::after(key, set, network, seed, height.0, genesis)?, voter)))
    }

    /// A delegate as it was when a journal record was written.
    ///
    /// Args:
    ///     identity: The delegate.
    ///     validators: The epoch's delegates.
    ///     network: The network's id, 32 bytes.
    ///     seed: The epoch's seed, 32 bytes.
    ///     snapshot: The last durable journal record, or what `snapshot` gave.
    ///
    /// Raises:
    ///     InputError: The record is not well-formed, another delegate's, or of another epoch or network.
    #[staticmethod]
    fn restore(
        py: Python<'_>,
        identity: &Identity,
        validators: &ValidatorSet,
        network: Input<'_>,
        seed: Input<'_>,
        snapshot: Input<'_>,
    ) -> PyResult<Self> {
        let network = network.digest(py, "delegate: network")?;
        let seed = seed.digest(py, "delegate: seed")?;
        let (key, voter) = (identity.core().signing().clone(), identity.core().id());
        let (set, snapshot) = (validators.core().clone(), snapshot.as_slice());
        short(py, || Ok(Self::wrap(model::Delegate::restore(key, set, network, seed, snapshot)?, voter)))
    }

    /// A later leader asks what was accepted, and for the promise to vote for nothing earlier: leads to a report.
    ///
    /// Args:
    ///     height: The height after the tip.
    ///     attempt: The leader's attempt, from 1, not below what was promised.
    ///
    /// Raises:
    ///     ProtocolError: Another height, or an attempt that was promised away.
    ///     UnavailableError: The outbox is full: drain it.
    fn prepare(&self, py: Python<'_>, height: Int<u64>, attempt: Int<u32>) -> PyResult<()> {
        self.heavy(py, move |machine| machine.prepare(height.0, attempt.0))
    }

    /// A leader's proposal: leads to a vote. That the batch itself is right is for the caller to check before.
    ///
    /// Args:
    ///     proposal: The proposal.
    ///
    /// Raises:
    ///     ProtocolError: It is not the next one, not its leader's, or not what the reports ask for.
    ///     VerificationError: A wrong signature.
    ///     UnavailableError: The outbox is full: drain it.
    fn propose(&self, py: Python<'_>, proposal: &Proposal) -> PyResult<()> {
        self.heavy(py, |machine| machine.propose(proposal.core()))
    }

    /// Leads an attempt: proposes a batch and votes for it. Both come out behind one journal record, so that no crash can
    /// make this delegate propose two batches in one attempt.
    ///
    /// Args:
    ///     attempt: The attempt, which this delegate leads (see `leader`).
    ///     digest: The digest of the batch, 32 bytes: what `weigh` asks for, or any if it asks for none.
    ///     reports: For an attempt after the first: those that `weigh` let pass.
    ///
    /// Raises:
    ///     ProtocolError: Another leads the attempt, it was promised away, or the reports ask for another batch.
    ///     VerificationError: A wrong signature among the reports.
    ///     UnavailableError: The outbox is full: drain it.
    #[pyo3(signature = (attempt, digest, reports = None), text_signature = "($self, attempt, digest, reports=())")]
    fn lead(
        &self,
        py: Python<'_>,
        attempt: Int<u32>,
        digest: Input<'_>,
        reports: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let digest = digest.digest(py, "delegate: digest")?;
        let reports = match reports {
            Some(reports) => read_reports(reports, VALIDATORS_MAX)?,
            None => Vec::new(),
        };
        self.heavy(py, move |machine| machine.lead(attempt.0, digest, reports))
    }

    /// Sorts out the reports for an attempt: forged, foreign and double ones must not be shown to the others.
    ///
    /// Args:
    ///     attempt: The attempt, from 1.
    ///     reports: What came in.
    ///
    /// Returns:
    ///     The reports that count; the digest of the batch that they ask for, or None if the leader is free; and
    ///     (position in `reports`, why) for each that does not count.
    ///
    /// Raises:
    ///     UnavailableError: The stake that reported is below the quorum; says needed and had.
    ///     VerificationError: The leader of the deciding attempt signed two proposals.
    #[allow(clippy::type_complexity, reason = "it is the tuple that Python sees")]
    fn weigh(
        &self,
        py: Python<'_>,
        attempt: Int<u32>,
        reports: &Bound<'_, PyAny>,
    ) -> PyResult<(Vec<Report>, Option<Digest>, Vec<(usize, String)>)> {
        let reports = read_reports(reports, MANY_MAX)?;
        self.heavy(py, move |machine| {
            let weighed = machine.weigh(attempt.0, &reports)?;
            let counted = weighed.reports.into_iter().map(Report::wrap).collect::<Result<_>>()?;
            Ok((counted, weighed.digest, weighed.refused))
        })
    }

    /// The batch after the tip is committed: the tip moves on.
    ///
    /// Args:
    ///     certificate: The delegates' votes.
    ///
    /// Raises:
    ///     ProtocolError: It is not about the batch after the tip.
    ///     VerificationError: Too little stake, or a wrong signature.
    fn committed(&self, py: Python<'_>, certificate: &Certificate) -> PyResult<()> {
        self.heavy(py, |machine| machine.committed(certificate.core()))
    }

    /// Takes what may be done now, in order.
    ///
    /// Returns:
    ///     `("persist", ticket, record)`: make the record durable, then call `durable(ticket)`.
    ///     `("vote", 0, bytes)` and `("report", 0, bytes)`: send to the leader. `("proposal", 0, bytes)`: send to all.
    fn drain(&self, py: Python<'_>) -> PyResult<Vec<(&'static str, u64, Vec<u8>)>> {
        self.light(py, |machine| {
            let encode = |effect| {
                Ok(match effect {
                    Effect::Persist { ticket, record } => ("persist", ticket, record),
                    Effect::Output(Saying::Vote(vote)) => ("vote", 0, wire::encode(&vote)?),
                    Effect::Output(Saying::Report(report)) => ("report", 0, wire::encode(&report)?),
                    Effect::Output(Saying::Proposal(proposal)) => ("proposal", 0, wire::encode(&proposal)?),
                })
            };
            machine.drain().into_iter().map(encode).collect()
        })
    }

    /// All journal records up to a ticket are durable: what waited for them comes out of the next `drain`.
    ///
    /// Args:
    ///     ticket: From `drain`.
    ///
    /// Raises:
    ///     InputError: A ticket that was not handed out.
    fn durable(&self, py: Python<'_>, ticket: Int<u64>) -> PyResult<()> {
        self.light(py, move |machine| machine.durable(ticket.0))
    }

    /// Everything that must survive a crash; every journal record is such a snapshot.
    fn snapshot(&self, py: Python<'_>) -> PyResult<Vec<u8>> {
        self.light(py, |machine| machine.snapshot())
    }

    /// Who leads an attempt at the height after the tip.
    ///
    /// Args:
    ///     attempt: Which attempt, from 0.
    ///
    /// Returns:
    ///     The leader's public key, 32 bytes.
    fn leader(&self, py: Python<'_>, attempt: Int<u32>) -> PyResult<Digest> {
        self.light(py, move |machine| machine.leader(attempt.0))
    }

    /// (height, digest) of the last committed batch.
    #[getter]
    fn tip(&self, py: Python<'_>) -> PyResult<(u64, Digest)> {
        self.light(py, |machine| Ok(machine.tip()))
    }

    /// The digest that was accepted at the height after the tip, or None.
    #[getter]
    fn accepted(&self, py: Python<'_>) -> PyResult<Option<Digest>> {
        self.light(py, |machine| Ok(machine.accepted()))
    }

    /// The attempt below which nothing is voted for any more at the height after the tip.
    #[getter]
    fn promised(&self, py: Python<'_>) -> PyResult<u32> {
        self.light(py, |machine| Ok(machine.promised()))
    }

    fn __repr__(&self) -> String {
        format!("Delegate({}…)", hex(&self.voter[..4]))
    }
}

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Report>()?;
    module.add_class::<Proposal>()?;
    module.add_class::<Delegate>()?;
    module.add_function(wrap_pyfunction!(choose, module)?)
}
