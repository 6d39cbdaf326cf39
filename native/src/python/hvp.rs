//! Bindings of HyParView + Plumtree: the machine of one member, and the signed contacts that members hand on.

use std::sync::{Mutex, MutexGuard};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use zeroize::Zeroizing;

use super::buffer::Input;
use super::call::{long, short};
use super::identity::Identity;
use super::int::Int;
use super::record::{Wrapper, each, record};
use super::text::Str;
use crate::algorithms::hvp as model;
use crate::algorithms::hvp::{Action, Config, Down, Trust};
use crate::crypto::hash::{Digest, hex};
use crate::error::{Error, Result};

record! {
    /// Where a member of an overlay is reached, signed by it.
    ///
    /// Args:
    ///     identity: The member.
    ///     network: The network, 32 bytes; a contact of one is none in another.
    ///     address: What the transport dials, 1 to 255 bytes of UTF-8.
    ///     sequence: Rises with every start of the member, such as milliseconds since 1970: the number of its life.
    ///
    /// Raises:
    ///     InputError: A wrong length.
    ///
    /// Example:
    ///     >>> from city_chain.records import Identity
    ///     >>> me = Identity(bytes(32))
    ///     >>> contact = Contact(me, network=bytes(32), address="tcp:127.0.0.1:4000", sequence=1)
    ///     >>> contact.verify(bytes(32))
    ///     >>> contact.id == me.id, contact.address, contact.sequence
    ///     (True, 'tcp:127.0.0.1:4000', 1)
    Contact(model::Contact) in "city_chain.algorithms.hvp";
    properties {
        /// Who: its identity's id, 32 bytes.
        id: Digest = |core| core.id;
        /// What the transport dials.
        address: String = |core| core.address.to_string();
        /// The number of its life; a contact with a higher one replaces it.
        sequence: u64 = |core| core.sequence;
    }
}

#[pymethods]
impl Contact {
    #[new]
    #[pyo3(signature = (identity, *, network, address, sequence))]
    fn new(
        py: Python<'_>,
        identity: &Identity,
        network: Input<'_>,
        address: Str,
        sequence: Int<u64>,
    ) -> PyResult<Self> {
        let network = network.digest(py, "hvp contact: network")?;
        let key = identity.core().signing();
        long(py, || Self::wrap(model::Contact::new(key, &network, &address.0, sequence.0)?))
    }

    /// Checks the member's signature.
    ///
    /// Args:
    ///     network: The network, 32 bytes.
    ///
    /// Raises:
    ///     VerificationError: It is not the member's, or for another network.
    ///     InputError: The network is not 32 bytes.
    fn verify(&self, py: Python<'_>, network: Input<'_>) -> PyResult<()> {
        let network = network.digest(py, "hvp contact: network")?;
        long(py, || self.core.verify(&network))
    }
}

/// One member's machine of HyParView and Plumtree: no threads, clocks, sockets or randomness; safe to use from many threads.
///
/// It is driven by `join`, `handle`, `tick` and `peer_down`; what it wants done comes out of `drain`, which is due after every
/// call. What is refused leaves the machine as it was, and what it holds is bounded whatever others send. A sender that is
/// handed to `handle` is believed: whoever drives it authenticates (`city_chain.node.gossip` does).
///
/// Args:
///     contact: This member's own contact.
///     identity: The identity that the contact is of; it signs what is broadcast.
///     seed: 32 bytes that all random choices come from: secret, and others at every start.
///     network: The network, 32 bytes: contacts and broadcasts are signed for it.
///     active: The most links, 1 to 64. They are symmetric, and everything is sent over them.
///     passive: The most contacts in reserve, 1 to 1,024.
///     arwl: How many steps a newcomer is made known over, at most 6.
///     prwl: With how many steps left it is noted in the passive view.
///     shuffle_active: How many neighbours a SHUFFLE names. With the next: 7 at most.
///     shuffle_passive: How many contacts in reserve it names.
///     shuffle_ttl: How many steps it walks, at most 6.
///     shuffle_us: The time between two SHUFFLEs, µs, as are all that end in it: 1 to a day.
///     answer_us: How long the answer to a question for a link is awaited.
///     retry_us: How long a peer that said no is not asked again.
///     rejoin_us: The first pause of a member without links before it joins again.
///     rejoin_max_us: The longest: pauses double.
///     settled_us: From when on a link has settled: for others a random link goes that has not, or the guest.
///     eviction_us: The least time between two links that are dropped for the sake of others.
///     joins_per_s: How many newcomers a second are made known.
///     ihave_us: How long ids are collected before they are announced.
///     graft_us: How long an announced id is awaited before it is asked for.
///     graft_again_us: How long the answer is awaited before the next announcer is asked.
///     awaited_us: How long an announced id is remembered that never comes.
///     cache: How many broadcasts are kept for those who ask, at most 1,024.
///     cache_bytes: The most bytes of these, at most 16 MiB.
///     dedup: How many ids are remembered as seen, 2 to 65,536, and at least twice `cache`.
///     catch_up: How many ids of kept broadcasts a new neighbour is told, at most 1,000.
///     ordered: Whether broadcasts of one origin are delivered in the order they were sent.
///     gap_us: How long a gap in that order is waited for.
///     optimize_hops: By how many hops an announcement must be better to change the tree; None: the tree stays.
///
/// Raises:
///     InputError: A wrong length, a setting out of its range, or the contact of another identity.
///     VerificationError: The contact is not signed for the network.
///
/// Source:
///     Leitão, Pereira, Rodrigues: "HyParView" (DSN 2007) and "Epidemic Broadcast Trees" (SRDS 2007).
///
/// Example:
///     >>> from city_chain import hvp
///     >>> from city_chain.records import Identity
///     >>> north, south = Identity(bytes(32)), Identity(bytes(31) + b"1")
///     >>> machines = {}
///     >>> for at, one in enumerate((north, south)):
///     ...     contact = hvp.Contact(one, network=bytes(32), address=f"inproc:{at}", sequence=1)
///     ...     machines[one.id] = hvp.Hvp(contact, one, bytes(31) + bytes([at]), network=bytes(32))
///     >>> machines[north.id].join([], 0)
///     >>> machines[south.id].join([machines[north.id].me], 0)
///     >>> def carry():
///     ...     "Carries messages until there are none; what was delivered."
///     ...     done, carried = [], True
///     ...     while carried:
///     ...         carried = False
///     ...         for me, machine in machines.items():
///     ...             for effect in hvp.effects(machine):
///     ...                 if effect.kind == "send":
///     ...                     machines[effect.peer].handle(me, effect.data, 0)
///     ...                     carried = True
///     ...                 elif effect.kind == "deliver":
///     ...                     done.append((effect.topic, effect.data, effect.hops))
///     ...     return done
///     >>> carry()
///     []
///     >>> machines[north.id].active() == [south.id]
///     True
///     >>> id = machines[north.id].broadcast(b"hello", 0, topic=b"news")
///     >>> carry()
///     [(b'news', b'hello', 1)]
#[pyclass(frozen, module = "city_chain.algorithms.hvp")]
struct Hvp {
    machine: Mutex<model::Hvp>,
    me: Py<Contact>,
}

impl Hvp {
    fn lock(&self) -> Result<MutexGuard<'_, model::Hvp>> {
        self.machine.lock().map_err(|_| Error::protocol("hvp: an earlier call broke off; make a new one"))
    }

    /// Work with signatures: the machine is locked while the GIL is released, so nobody waits for both.
    fn heavy<T: Send>(&self, py: Python<'_>, work: impl FnOnce(&mut model::Hvp) -> Result<T> + Send) -> PyResult<T> {
        long(py, || work(&mut *self.lock()?))
    }

    /// A look or a small step: at once if the machine is free, else as [`Hvp::heavy`].
    fn light<T: Send>(&self, py: Python<'_>, work: impl FnOnce(&mut model::Hvp) -> Result<T> + Send) -> PyResult<T> {
        match self.machine.try_lock() {
            Ok(mut machine) => short(py, || work(&mut machine)),
            Err(_) => self.heavy(py, work),
        }
    }
}

/// An effect as Python has it: (kind, peer, data, topic, id, hops, reason).
type Told<'py> = (
    &'static str,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    u8,
    &'static str,
);

fn tell(py: Python<'_>, action: Action) -> Told<'_> {
    let bytes = |data: &[u8]| PyBytes::new(py, data);
    let about = |kind, peer: &[u8], reason| (kind, bytes(peer), bytes(b""), bytes(b""), bytes(b""), 0, reason);
    match action {
        Action::Send { to, message } => ("send", bytes(&to), bytes(&message), bytes(b""), bytes(b""), 0, ""),
        Action::Deliver { id, origin, hops, topic, payload } => {
            ("deliver", bytes(&origin), bytes(&payload), bytes(&topic), bytes(&id), hops, "")
        }
        Action::Up { peer } => about("up", &peer, ""),
        Action::Down { peer, reason } => about("down", &peer, name_of(reason)),
        Action::Close { peer } => about("close", &peer, ""),
        Action::Isolated => about("isolated", b"", ""),
    }
}

fn name_of(reason: Down) -> &'static str {
    match reason {
        Down::Failed => "failed",
        Down::Disconnected => "disconnected",
        Down::Left => "left",
        Down::Evicted => "evicted",
    }
}

#[pymethods]
impl Hvp {
    #[new]
    #[pyo3(
        signature = (contact, identity, seed, *, network, active = Int(5), passive = Int(30), arwl = Int(6),
            prwl = Int(3), shuffle_active = Int(3), shuffle_passive = Int(4), shuffle_ttl = Int(6),
            shuffle_us = Int(10_000_000), answer_us = Int(3_000_000), retry_us = Int(10_000_000),
            rejoin_us = Int(1_000_000), rejoin_max_us = Int(60_000_000), settled_us = Int(60_000_000),
            eviction_us = Int(1_000_000),
            joins_per_s = Int(100), ihave_us = Int(50_000), graft_us = Int(500_000), graft_again_us = Int(250_000),
            awaited_us = Int(30_000_000), cache = Int(1024), cache_bytes = Int(16_777_216), dedup = Int(65_536),
            catch_up = Int(1000), ordered = false, gap_us = Int(2_000_000), optimize_hops = None),
        text_signature = "(contact, identity, seed, *, network, active=5, passive=30, arwl=6, prwl=3, shuffle_active=3, \
            shuffle_passive=4, shuffle_ttl=6, shuffle_us=10000000, answer_us=3000000, retry_us=10000000, \
            rejoin_us=1000000, rejoin_max_us=60000000, settled_us=60000000, \
            eviction_us=1000000, joins_per_s=100, ihave_us=50000, \
            graft_us=500000, graft_again_us=250000, awaited_us=30000000, cache=1024, cache_bytes=16777216, dedup=65536, \
            catch_up=1000, ordered=False, gap_us=2000000, optimize_hops=None)"
    )]
    #[allow(clippy::too_many_arguments, reason = "by name in Python")]
    fn new(
        py: Python<'_>,
        contact: &Bound<'_, Contact>,
        identity: &Identity,
        seed: Input<'_>,
        network: Input<'_>,
        active: Int<usize>,
        passive: Int<usize>,
        arwl: Int<u16>,
        prwl: Int<u16>,
        shuffle_active: Int<usize>,
        shuffle_passive: Int<usize>,
        shuffle_ttl: Int<u16>,
        shuffle_us: Int<u64>,
        answer_us: Int<u64>,
        retry_us: Int<u64>,
        rejoin_us: Int<u64>,
        rejoin_max_us: Int<u64>,
        settled_us: Int<u64>,
        eviction_us: Int<u64>,
        joins_per_s: Int<u32>,
        ihave_us: Int<u64>,
        graft_us: Int<u64>,
        graft_again_us: Int<u64>,
        awaited_us: Int<u64>,
        cache: Int<usize>,
        cache_bytes: Int<usize>,
        dedup: Int<usize>,
        catch_up: Int<usize>,
        ordered: bool,
        gap_us: Int<u64>,
        optimize_hops: Option<Int<u16>>,
    ) -> PyResult<Self> {
        let seed = Zeroizing::new(seed.array::<32>(py, "hvp: seed")?);
        // What is more than a byte is refused as out of range, not cut.
        let byte = |value: Int<u16>| u8::try_from(value.0).unwrap_or(u8::MAX);
        let config = Config {
            network: network.digest(py, "hvp: network")?,
            active: active.0,
            passive: passive.0,
            arwl: byte(arwl),
            prwl: byte(prwl),
            shuffle_active: shuffle_active.0,
            shuffle_passive: shuffle_passive.0,
            shuffle_ttl: byte(shuffle_ttl),
            shuffle_us: shuffle_us.0,
            answer_us: answer_us.0,
            retry_us: retry_us.0,
            rejoin_us: rejoin_us.0,
            rejoin_max_us: rejoin_max_us.0,
            settled_us: settled_us.0,
            eviction_us: eviction_us.0,
            joins_per_s: joins_per_s.0,
            ihave_us: ihave_us.0,
            graft_us: graft_us.0,
            graft_again_us: graft_again_us.0,
            awaited_us: awaited_us.0,
            cache: cache.0,
            cache_bytes: cache_bytes.0,
            dedup: dedup.0,
            catch_up: catch_up.0,
            ordered,
            gap_us: gap_us.0,
            optimize_hops: optimize_hops.map(byte),
        };
        let (me, trust) = (contact.get().core().clone(), Trust::Signed(identity.core().signing().clone()));
        let machine = long(py, || model::Hvp::new(me, *seed, config, trust))?;
        Ok(Self { machine: Mutex::new(machine), me: contact.clone().unbind() })
    }

    /// Joins over some contacts and remembers them: whenever no link is left, they are asked again.
    ///
    /// Args:
    ///     contacts: Members, at most 32 in all; none by the first member.
    ///     now: The time of the caller's clock, microseconds. It must not go back.
    ///
    /// Raises:
    ///     InputError: Too many.
    ///     VerificationError: One is not signed for the network.
    fn join(&self, py: Python<'_>, contacts: &Bound<'_, PyAny>, now: Int<u64>) -> PyResult<()> {
        let contacts = each(contacts, "hvp: contacts", model::BOOTSTRAP_MAX, |one: &Contact| one.core().clone())?;
        self.heavy(py, move |machine| machine.join(now.0, &contacts))
    }

    /// Takes a message.
    ///
    /// Args:
    ///     sender: Who has sent it, 32 bytes, authenticated. The messages of one peer come in the order they were sent.
    ///     message: What another machine sent.
    ///     now: The time, microseconds.
    ///
    /// Raises:
    ///     InputError: It is not well-formed.
    ///     ProtocolError: It is not allowed now. A link that was cut meanwhile explains that, too.
    ///     VerificationError: A signature in it is wrong.
    ///     UnavailableError: Too much waits to be drained.
    fn handle(&self, py: Python<'_>, sender: Input<'_>, message: Input<'_>, now: Int<u64>) -> PyResult<()> {
        let (sender, message) = (sender.digest(py, "hvp: sender")?, message.as_slice());
        self.heavy(py, move |machine| machine.handle(now.0, &sender, message))
    }

    /// The connection to a peer has closed, or could not be made.
    ///
    /// Args:
    ///     peer: Who, 32 bytes.
    ///     now: The time, microseconds.
    ///
    /// Raises:
    ///     InputError: A wrong length.
    fn peer_down(&self, py: Python<'_>, peer: Input<'_>, now: Int<u64>) -> PyResult<()> {
        let peer = peer.digest(py, "hvp: peer")?;
        self.light(py, move |machine| {
            machine.peer_down(now.0, &peer);
            Ok(())
        })
    }

    /// The time is `now`; due when `deadline` is.
    ///
    /// Args:
    ///     now: The time, microseconds.
    fn tick(&self, py: Python<'_>, now: Int<u64>) -> PyResult<()> {
        self.heavy(py, move |machine| {
            machine.tick(now.0);
            Ok(())
        })
    }

    /// Sends something to all members. It is not delivered here.
    ///
    /// Args:
    ///     payload: Any bytes, at most 64 KiB.
    ///     now: The time, microseconds.
    ///     topic: What it is about, at most 64 bytes; None for nothing.
    ///
    /// Returns:
    ///     Its id, 32 bytes. The same payload again has another.
    ///
    /// Raises:
    ///     InputError: It is too large.
    ///     UnavailableError: Too much waits to be drained.
    #[pyo3(signature = (payload, now, *, topic = None))]
    fn broadcast(
        &self,
        py: Python<'_>,
        payload: Input<'_>,
        now: Int<u64>,
        topic: Option<Input<'_>>,
    ) -> PyResult<Digest> {
        let (payload, topic) = (payload.as_slice(), topic.as_ref().map_or(&b""[..], Input::as_slice));
        self.heavy(py, move |machine| machine.broadcast(now.0, topic, payload))
    }

    /// Says goodbye to all neighbours; after that the machine does nothing more.
    ///
    /// Args:
    ///     now: The time, microseconds.
    fn leave(&self, py: Python<'_>, now: Int<u64>) -> PyResult<()> {
        self.light(py, move |machine| {
            machine.leave(now.0);
            Ok(())
        })
    }

    /// What is to be done now, in this order: (kind, peer, data, topic, id, hops, reason) each; see
    /// `city_chain.hvp.effects`, which gives them names.
    fn drain<'py>(&self, py: Python<'py>) -> PyResult<Vec<Told<'py>>> {
        let actions = self.light(py, |machine| Ok(machine.drain()))?;
        Ok(actions.into_iter().map(|action| tell(py, action)).collect())
    }

    /// The neighbours: ids, 32 bytes each.
    fn active(&self, py: Python<'_>) -> PyResult<Vec<Digest>> {
        self.light(py, |machine| Ok(machine.active()))
    }

    /// Those of them to whom broadcasts are pushed.
    fn eager(&self, py: Python<'_>) -> PyResult<Vec<Digest>> {
        self.light(py, |machine| Ok(machine.eager()))
    }

    /// The members in reserve: ids, 32 bytes each.
    fn passive(&self, py: Python<'_>) -> PyResult<Vec<Digest>> {
        self.light(py, |machine| Ok(machine.passive()))
    }

    /// Where a member is reached, as far as it is known here.
    ///
    /// Args:
    ///     peer: Who, 32 bytes.
    ///
    /// Returns:
    ///     Its contact; known for everybody whom a drained effect sends to, right after the drain. None if it is not known.
    ///
    /// Raises:
    ///     InputError: A wrong length.
    fn contact(&self, py: Python<'_>, peer: Input<'_>) -> PyResult<Option<Contact>> {
        let peer = peer.digest(py, "hvp: peer")?;
        let found = self.light(py, move |machine| Ok(machine.contact(&peer).cloned()))?;
        found.map(|contact| short(py, || Contact::wrap(contact))).transpose()
    }

    /// What is held and was seen, by name: counts of links, contacts, ids and broadcasts, for operators.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let held = self.light(py, |machine| Ok(machine.stats()))?;
        let told = PyDict::new(py);
        for (name, count) in [
            ("active", held.active),
            ("eager", held.eager),
            ("passive", held.passive),
            ("asked", held.asked),
            ("lost", held.lost),
            ("awaited", held.awaited),
            ("seen", held.seen),
            ("cached", held.cached),
            ("cached_bytes", held.cached_bytes),
            ("held", held.held),
            ("outbox", held.outbox),
        ] {
            told.set_item(name, count)?;
        }
        for (name, count) in
            [("delivered", held.delivered), ("duplicates", held.duplicates), ("evictions", held.evictions)]
        {
            told.set_item(name, count)?;
        }
        Ok(told)
    }

    /// This member's own contact.
    #[getter]
    fn me(&self, py: Python<'_>) -> Py<Contact> {
        self.me.clone_ref(py)
    }

    /// When `tick` is due, microseconds; None while it is not.
    #[getter]
    fn deadline(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        self.light(py, |machine| Ok(machine.next_deadline()))
    }

    fn __repr__(&self) -> String {
        format!("<Hvp of {}…>", hex(&self.me.get().core().id[..4]))
    }
}

/// Adds this file's classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("HVP_PAYLOAD_MAX", model::PAYLOAD_MAX)?;
    module.add("HVP_TOPIC_MAX", model::TOPIC_MAX)?;
    module.add_class::<Contact>()?;
    module.add_class::<Hvp>()
}
