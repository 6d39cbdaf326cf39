//! Bindings of a shard's machine and of the coordinator.

use std::sync::{Arc, Mutex, MutexGuard};

use pyo3::prelude::*;

use super::{Certificate, Command, Handover, Layout, Manifest, Part, Statement, read_layouts};
use crate::algorithms::sc::{self as model, End, Event, Outcome};
use crate::crypto::hash::Digest;
use crate::error::{Error, Result};
use crate::primitives::outbox::Effect;
use crate::primitives::wire;
use crate::python::buffer::Input;
use crate::python::call::{long, short};
use crate::python::int::Int;
use crate::python::record::{MANY_MAX, Wrapper, each, items};

/// What [`Participant::drain`] gives.
type Drained = (&'static str, u64, Vec<u8>, Vec<Digest>);

/// One shard's machine under the shard's own consensus: the same commands in the same order make the same state at every
/// replica. No threads, clocks, sockets or randomness; safe to use from many threads.
///
/// **Persist before send**: what it says comes out of `drain` only after `durable` has been called with the ticket of the
/// journal record before it. Whatever is refused leaves the machine as it was. It has no copy and no pickle.
///
/// Args:
///     shard: The shard.
///     layout: The chain's layout.
///     open_max: The most transactions open, and the most decided and not acknowledged, 1 to 4,096.
///     tombstones_max: The most ended transactions that are remembered until their expiry, 1 to 65,536.
///     keys_max: The most keys whose versions are kept apart, 1 to 262,144.
///     horizon: How far ahead an expiry may lie, heights.
///     previous: For a shard that `layout` adds: the layout before.
///
/// Raises:
///     InputError: The layout has no such shard, or a limit is out of range.
///
/// Example:
///     >>> from city_chain.algorithms import sc
///     >>> layout = sc.Layout(bytes(32), 0, [(1, [(b"\x01" * 32, 1)])])
///     >>> shard = sc.Participant(1, layout)
///     >>> shard.tick_height(1)
///     >>> shard.on_local_commit(sc.Command.prepare(sc.Manifest(bytes(32), 0, bytes(32), 9, [(1, b"k" * 32, 0)])))
///     >>> tickets = [effect.number for effect in map(sc.Effect._make, shard.drain()) if effect.kind == "persist"]
///     >>> shard.durable(tickets[-1])
///     >>> [kind for kind, _, _, _ in shard.drain()]
///     ['say', 'commit']
#[pyclass(frozen, name = "Participant", module = "city_chain.algorithms.sc")]
struct Participant {
    machine: Mutex<model::Participant>,
    shard: u16,
}

impl Participant {
    fn wrap(machine: model::Participant) -> Self {
        Self { shard: machine.shard(), machine: Mutex::new(machine) }
    }

    fn lock(&self) -> Result<MutexGuard<'_, model::Participant>> {
        let broken = |_| Error::protocol("shard: an earlier call broke off; restore it from its journal");
        self.machine.lock().map_err(broken)
    }

    /// The machine is locked while the GIL is released, so nobody waits for both.
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut model::Participant) -> Result<T> + Send,
    ) -> PyResult<T> {
        long(py, || work(&mut *self.lock()?))
    }
}

fn encode(effect: Effect<Event>) -> Result<Drained> {
    let event = match effect {
        Effect::Persist { ticket, record } => return Ok(("persist", ticket, record, Vec::new())),
        Effect::Output(event) => event,
    };
    let (kind, number, bytes) = match &event {
        Event::Say(statement) => ("say", 0, wire::encode(statement)?),
        Event::HandOver(handover) => ("hand_over", 0, wire::encode(handover)?),
        Event::Propose(command) => ("propose", 0, wire::encode(&**command)?),
        Event::Commit { manifest, .. } => ("commit", 0, wire::encode(&**manifest)?),
        Event::Abort { manifest } => ("abort", 0, wire::encode(&**manifest)?),
        Event::Epoch(epoch) => ("epoch", *epoch, Vec::new()),
    };
    let keys = if let Event::Commit { keys, .. } = event { keys } else { Vec::new() };
    Ok((kind, number, bytes, keys))
}

#[pymethods]
impl Participant {
    #[new]
    #[pyo3(signature = (
        shard, layout, *, open_max = Int(256), tombstones_max = Int(4096), keys_max = Int(65_536), horizon = Int(10_000),
        previous = None
    ))]
    #[pyo3(text_signature = "(shard, layout, *, open_max=256, tombstones_max=4096, keys_max=65536, horizon=10000, \
                             previous=None)")]
    #[allow(clippy::too_many_arguments, reason = "they are the keywords that Python sees")]
    fn new(
        py: Python<'_>,
        shard: Int<u16>,
        layout: &Layout,
        open_max: Int<u32>,
        tombstones_max: Int<u32>,
        keys_max: Int<u32>,
        horizon: Int<u64>,
        previous: Option<&Layout>,
    ) -> PyResult<Self> {
        let (shard, layout) = (shard.0, layout.core().clone());
        let (open_max, tombstones_max) = (open_max.0, tombstones_max.0);
        let config = model::Config { open_max, tombstones_max, keys_max: keys_max.0, horizon: horizon.0 };
        let previous = previous.map(|previous| previous.core().clone());
        short(py, || {
            let made = match previous {
                Some(previous) => model::Participant::join(shard, config, previous, layout),
                None => model::Participant::new(shard, config, layout),
            };
            made.map(Self::wrap)
        })
    }

    /// The machine after a crash: from the durable journal records, in order. The first must be a `snapshot`, such as the
    /// one of the new machine; it stands for all before it.
    ///
    /// Args:
    ///     shard: The shard.
    ///     layout: Any layout that has it.
    ///     records: The records.
    ///
    /// Raises:
    ///     InputError: A record is not of this shard's journal.
    #[staticmethod]
    fn restore(py: Python<'_>, shard: Int<u16>, layout: &Layout, records: &Bound<'_, PyAny>) -> PyResult<Self> {
        let records =
            items(records, "shard: records", MANY_MAX, |item| Ok(item.extract::<Input<'_>>()?.as_slice().to_vec()))?;
        let layout = layout.core().clone();
        long(py, || {
            let fresh = model::Participant::new(shard.0, model::Config::default(), layout)?;
            Ok(Self::wrap(model::Participant::restore(fresh, &records)?))
        })
    }

    /// The machine for a member of the shard's next committee, from the snapshot that the old quorum handed over.
    ///
    /// Args:
    ///     snapshot: `snapshot` of an old member, right after the boundary.
    ///     handover: The old quorum's handover.
    ///     previous: The layout of the epoch that ended.
    ///
    /// Raises:
    ///     VerificationError: The snapshot is not what was signed, or a signature is wrong.
    ///     InputError: The snapshot is not well-formed.
    #[staticmethod]
    fn take_over(py: Python<'_>, snapshot: Input<'_>, handover: &Handover, previous: &Layout) -> PyResult<Self> {
        let bytes = snapshot.as_slice();
        long(py, || Ok(Self::wrap(model::Participant::take_over(bytes, handover.core(), previous.core())?)))
    }

    /// A command that the shard's consensus has ordered.
    ///
    /// Args:
    ///     command: The command.
    ///
    /// Raises:
    ///     ProtocolError: It breaks a rule; every replica says the same.
    ///     VerificationError: A certificate is wrong.
    ///     InputError: It is not well-formed.
    ///     UnavailableError: The outbox is full: drain it, and come again.
    fn on_local_commit(&self, py: Python<'_>, command: &Command) -> PyResult<()> {
        self.with(py, |machine| machine.on_local_commit(command.core()))
    }

    /// What a command would make this shard say: for a proposer before it proposes, and for a replica before it votes.
    ///
    /// Args:
    ///     command: The command.
    ///
    /// Returns:
    ///     The statement, or None if it says nothing.
    ///
    /// Raises:
    ///     ProtocolError: It breaks a rule; as `on_local_commit` would say.
    ///     VerificationError: A certificate is wrong.
    ///     InputError: It is not well-formed.
    fn evaluate(&self, py: Python<'_>, command: &Command) -> PyResult<Option<Statement>> {
        self.with(py, |machine| machine.evaluate(command.core())?.map(Statement::wrap).transpose())
    }

    /// Another shard's certificate has come by. A command that has all it needs then comes out as `"propose"`.
    ///
    /// Args:
    ///     data: A certificate's bytes.
    ///
    /// Raises:
    ///     ProtocolError: It is not about what is open here.
    ///     VerificationError: A signature is wrong.
    ///     InputError: The bytes are no certificate.
    ///     UnavailableError: The outbox is full: drain it.
    fn on_certificate(&self, py: Python<'_>, data: Input<'_>) -> PyResult<()> {
        let bytes = data.as_slice();
        self.with(py, |machine| machine.on_certificate(bytes))
    }

    /// A block of the shard's log begins.
    ///
    /// Args:
    ///     height: Its height, not below the one before.
    ///
    /// Raises:
    ///     InputError: The height falls.
    ///     UnavailableError: The outbox is full: drain it.
    fn tick_height(&self, py: Python<'_>, height: Int<u64>) -> PyResult<()> {
        self.with(py, move |machine| machine.tick_height(height.0))
    }

    /// Says what the shard says of a transaction now, if it can say anything: it comes out as `"say"`.
    ///
    /// Args:
    ///     manifest: The transaction.
    ///
    /// Raises:
    ///     ProtocolError: It is of another chain or a later layout.
    ///     UnavailableError: The outbox is full: drain it.
    fn ask(&self, py: Python<'_>, manifest: &Manifest) -> PyResult<()> {
        self.with(py, |machine| machine.ask(manifest.core()))
    }

    /// Says again all that the shard says of what is open or decided: after a restart, or in a new epoch.
    ///
    /// Raises:
    ///     UnavailableError: The outbox is full: drain it.
    fn restate(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, |machine| machine.restate())
    }

    /// Takes what may be done now, in order.
    ///
    /// Returns:
    ///     (kind, number, data, keys) of each, which `sc.Effect` names. `"persist"`: make `data` durable, then call
    ///     `durable(number)`. `"say"`: sign the statement in `data`. `"hand_over"`: sign the handover in `data` with the old
    ///     committee's keys. `"propose"`: put the command in `data` to the shard's consensus. `"commit"`: do what the body
    ///     of the manifest in `data` says to `keys`. `"abort"`: the manifest in `data` has let go of its keys. `"epoch"`:
    ///     epoch `number` has begun.
    fn drain(&self, py: Python<'_>) -> PyResult<Vec<Drained>> {
        self.with(py, |machine| machine.drain().into_iter().map(encode).collect())
    }

    /// All journal records up to a ticket are durable: what waited for them comes out of the next `drain`.
    ///
    /// Args:
    ///     ticket: From `drain`.
    ///
    /// Raises:
    ///     InputError: A ticket that was not handed out.
    fn durable(&self, py: Python<'_>, ticket: Int<u64>) -> PyResult<()> {
        self.with(py, move |machine| machine.durable(ticket.0))
    }

    /// Everything that must survive a crash, as one journal record.
    fn snapshot(&self, py: Python<'_>) -> PyResult<Vec<u8>> {
        self.with(py, |machine| machine.snapshot())
    }

    /// The version of a key, for the inputs of a manifest.
    ///
    /// Args:
    ///     key: The key, 32 bytes.
    ///
    /// Raises:
    ///     InputError: The key is not of 32 bytes.
    fn version(&self, py: Python<'_>, key: Input<'_>) -> PyResult<u64> {
        let key = key.digest(py, "shard: key")?;
        self.with(py, move |machine| Ok(machine.version(&key)))
    }

    /// The id of the transaction that has a key locked, or None.
    ///
    /// Args:
    ///     key: The key, 32 bytes.
    ///
    /// Raises:
    ///     InputError: The key is not of 32 bytes.
    fn locked_by(&self, py: Python<'_>, key: Input<'_>) -> PyResult<Option<Digest>> {
        let key = key.digest(py, "shard: key")?;
        self.with(py, move |machine| Ok(machine.locked_by(&key)))
    }

    /// How a transaction ended here: `"refused"`, `"aborted"`, `"committed"`, or None if it is open, unknown or forgotten.
    ///
    /// Args:
    ///     txid: Its id, 32 bytes.
    ///
    /// Raises:
    ///     InputError: The id is not of 32 bytes.
    fn end_of(&self, py: Python<'_>, txid: Input<'_>) -> PyResult<Option<&'static str>> {
        let txid = txid.digest(py, "shard: transaction id")?;
        self.with(py, move |machine| {
            Ok(machine.end_of(&txid).map(|end| match end {
                End::Refused => "refused",
                End::Aborted => "aborted",
                End::Committed => "committed",
            }))
        })
    }

    /// The manifests of the transactions that are open here.
    fn open(&self, py: Python<'_>) -> PyResult<Vec<Manifest>> {
        self.with(py, |machine| machine.open().map(|(_, open)| Manifest::wrap(open.manifest.clone())).collect())
    }

    /// (manifest, the others' certificates) of the commits that this shard decided and not all have acknowledged.
    fn decisions(&self, py: Python<'_>) -> PyResult<Vec<(Manifest, Vec<Certificate>)>> {
        self.with(py, |machine| {
            let wrap = |decision: &model::Decision| {
                let certificates =
                    decision.certificates.iter().cloned().map(Certificate::wrap).collect::<Result<_>>()?;
                Ok((Manifest::wrap(decision.manifest.clone())?, certificates))
            };
            machine.decisions().map(|(_, decision)| wrap(decision)).collect()
        })
    }

    /// What left at the last boundary and has not been taken over, ascending by shard and number.
    fn exports(&self, py: Python<'_>) -> PyResult<Vec<Part>> {
        self.with(py, |machine| machine.exports().cloned().map(Part::wrap).collect())
    }

    /// What the old quorum was to sign at the last boundary, as `sc.sign_handover` takes it, or None.
    fn handover(&self, py: Python<'_>) -> PyResult<Option<Vec<u8>>> {
        self.with(py, |machine| machine.handover().map(wire::encode).transpose())
    }

    /// Whether a key that belongs here has arrived: False as long as parts of the shard that had it are awaited.
    ///
    /// Args:
    ///     key: The key, 32 bytes.
    ///
    /// Raises:
    ///     InputError: The key is not of 32 bytes.
    fn has_arrived(&self, py: Python<'_>, key: Input<'_>) -> PyResult<bool> {
        let key = key.digest(py, "shard: key")?;
        self.with(py, move |machine| Ok(machine.has_arrived(&key)))
    }

    /// How many keys there are whose versions are kept apart.
    #[getter]
    fn keys(&self, py: Python<'_>) -> PyResult<usize> {
        self.with(py, |machine| Ok(machine.keys()))
    }

    /// The shards whose parts have not arrived.
    #[getter]
    fn awaited(&self, py: Python<'_>) -> PyResult<Vec<u16>> {
        self.with(py, |machine| Ok(machine.awaited().collect()))
    }

    /// The shard.
    #[getter]
    fn shard(&self) -> u16 {
        self.shard
    }

    /// The height of the shard's log.
    #[getter]
    fn height(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |machine| Ok(machine.height()))
    }

    /// How many inputs have changed the state: where to go on after a restart.
    #[getter]
    fn sequence(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |machine| Ok(machine.sequence()))
    }

    /// The layouts whose certificates are understood, the current one last.
    #[getter]
    fn layouts(&self, py: Python<'_>) -> PyResult<Vec<Layout>> {
        self.with(py, |machine| machine.layouts().iter().cloned().map(Layout::wrap).collect())
    }

    fn __repr__(&self) -> String {
        format!("Participant(shard {})", self.shard)
    }
}

/// What certificates tell of one transaction, and what is to be done next. Nobody has to trust it, and it has no other
/// state: anybody can make one at any time.
///
/// Args:
///     manifest: The transaction.
///     certificates: Whatever is at hand; what is wrong, or about another transaction, tells nothing.
///     layouts: The layouts of their epochs, the current one last.
///
/// Raises:
///     InputError: There is no layout, or there are too many certificates (65,536).
///
/// Example:
///     >>> from city_chain.algorithms import sc
///     >>> layout = sc.Layout(bytes(32), 0, [(1, [(b"\x01" * 32, 1)])])
///     >>> manifest = sc.Manifest(bytes(32), 0, bytes(32), 9, [(1, b"k" * 32, 0)])
///     >>> [(shard, command)] = sc.Coordinator(manifest, [], [layout]).next()
///     >>> shard, command.kind
///     (1, 'prepare')
#[pyclass(frozen, name = "Coordinator", module = "city_chain.algorithms.sc")]
struct Coordinator {
    core: model::Coordinator,
    layout: Arc<model::Layout>,
}

#[pymethods]
impl Coordinator {
    #[new]
    fn new(
        py: Python<'_>,
        manifest: &Manifest,
        certificates: &Bound<'_, PyAny>,
        layouts: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let certificates =
            each(certificates, "coordinator: certificates", 1 << 16, |one: &Certificate| one.core().clone())?;
        let layouts = read_layouts(layouts)?;
        let manifest = manifest.core().clone();
        long(py, || {
            let layout = layouts.last().cloned().ok_or_else(|| Error::input("coordinator: a layout is needed"))?;
            let known = layouts.iter().map(AsRef::as_ref);
            Ok(Self { core: model::Coordinator::from_certificates(manifest, certificates, known)?, layout })
        })
    }

    /// `"committed"`, `"aborted"`, or None as long as the certificates do not tell.
    #[getter]
    fn outcome(&self) -> Option<&'static str> {
        self.core.outcome().map(|outcome| match outcome {
            Outcome::Committed => "committed",
            Outcome::Aborted => "aborted",
        })
    }

    /// Whether all shards have let go of its keys.
    #[getter]
    fn finished(&self) -> bool {
        self.core.is_finished(&self.layout)
    }

    /// What to put to which shard now.
    ///
    /// Args:
    ///     in_order: Ask one shard after the other, so that of transactions which want the same keys one always wins.
    ///
    /// Returns:
    ///     (shard, command) of each.
    #[pyo3(signature = (*, in_order = false))]
    fn next(&self, py: Python<'_>, in_order: bool) -> PyResult<Vec<(u16, Command)>> {
        long(py, || {
            let next = self.core.next(&self.layout, in_order)?;
            next.into_iter().map(|(shard, command)| Ok((shard, Command::wrap(command)?))).collect()
        })
    }

    /// What to put to which shard after the expiry, so that it says how the transaction ended.
    ///
    /// Returns:
    ///     (shard, command).
    fn expire(&self, py: Python<'_>) -> PyResult<(u16, Command)> {
        short(py, || {
            let (shard, command) = self.core.expire(&self.layout);
            Ok((shard, Command::wrap(command)?))
        })
    }
}

/// Adds this file's classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("ScParticipant", py.get_type::<Participant>())?;
    module.add("ScCoordinator", py.get_type::<Coordinator>())
}
