//! HyParView + Plumtree: who is there, by partial views, and broadcast by trees that repair themselves.
//!
//! Every node keeps a small *active* view, symmetric links over which everything is sent, and a larger *passive* view of
//! contacts from which lost links are replaced (HyParView: Leitão, Pereira, Rodrigues, DSN 2007). Broadcasts travel on the
//! links of a tree that the first broadcast cuts out of the active views; on the others only ids are announced, and whoever
//! lacks an announced id asks for it and so repairs the tree (Plumtree: the same authors, SRDS 2007).
//!
//! [`Hvp`] is a machine without sockets, clock or chance of its own: the driver hands it messages of authenticated peers and
//! the time, and carries out its [`Action`]s. All chance comes from the seed, so the same inputs give the same bytes.
//!
//! # What the driver owes
//! - `sender` is a key that the transport has authenticated; the messages of one peer arrive in the order they were sent.
//! - [`Hvp::drain`] after every call, and [`Hvp::tick`] at [`Hvp::next_deadline`].
//! - **[`Hvp::peer_down`] whenever a connection closes or cannot be made.** Without it, a failure shows only where a question
//!   stays unanswered, and after a mass crash most broadcasts are lost.
//! - A queue of its own per peer, with an end: a peer whose queue is full is down.
//! - An error of [`Hvp::handle`] changes nothing; it is no proof of ill will, since what was sent before a link was cut may
//!   arrive after it.
//!
//! # What is guaranteed
//! - A broadcast is handed on ([`Action::Deliver`]) at most once at every node, as long as it is among the last
//!   [`Config::dedup`]`/ 2` that the node has seen; with [`Config::ordered`] at most once altogether. Never at its origin.
//! - It is handed on only if its origin has signed it ([`Trust::Signed`]): `origin` is who sent it, whoever relayed it.
//! - It reaches every node that is connected to its origin by active links that do not fail meanwhile; if links fail, it
//!   reaches those that still have a neighbour who keeps it ([`Config::cache`]). This is no consensus and no storage: a node
//!   that is away for longer than its neighbours' caches reach back has missed it for good.
//! - A node that joins is told the ids of what its neighbours keep ([`Config::catch_up`]), and asks for what it lacks.
//! - Without [`Config::ordered`] broadcasts come in any order; with it, those of one origin come in the order they were sent.
//!   A gap holds the later ones back for at most [`Config::gap_us`]; what comes after that is not handed on any more.
//! - During a partition each side goes on alone. When it heals, nodes that lost each other link again (they remember whom they
//!   lost), and nodes without neighbours join again over the contacts that [`Hvp::join`] was given. Broadcasts of the time of
//!   the partition cross over as far as caches reach.
//! - Whatever others send, memory is bounded: see the constants of this module and [`Config`].
//!
//! # Deviations from the papers
//! - The node where a FORWARD_JOIN ends asks the newcomer (NEIGHBOR) and takes it into its view only when it has answered.
//! - A full view makes room by dropping a random one of the links that are younger than [`Config::settled_us`]; where all are
//!   older, a random one goes **once**, and its place is the **guest's** from then on: whoever comes next gets that place and no
//!   other. A crowd of attackers has one place in a view of links that have settled. Always the youngest link would leave
//!   newcomers to each other, in cliques that nothing joins to the rest. At most one goes in [`Config::eviction_us`].
//! - A JOIN that finds the view full and that time not over is forwarded all the same, but not linked.
//! - SHUFFLE goes along links only, a few per neighbour and period; its answer must carry the nonce that was sent.
//! - A FORWARD_JOIN fills free places of the passive view and displaces nobody from it.
//! - Plumtree does not push to a neighbour that has announced the id itself. The tree optimisation by hops is there
//!   ([`Config::optimize_hops`]) but off: on links of uneven speed it makes latency worse.

mod awaited;
mod chance;
mod kept;
mod machine;
pub mod message;
mod order;
mod overlay;
mod shuffle;
mod tree;

#[cfg(test)]
mod tests;

pub use machine::Hvp;
pub use message::{Contact, PeerId};

use std::sync::Arc;

use crate::crypto::ed25519::SigningKey;
use crate::crypto::hash::Digest;
use crate::error::{Error, Result};

/// Names one broadcast: the hash of topic, origin, sequence and payload. Equal payloads have different ids.
pub type MessageId = Digest;

/// The most bytes of a control message.
pub const CONTROL_MAX: usize = 4096;

/// The most bytes that one broadcast carries.
pub const PAYLOAD_MAX: usize = 64 * 1024;

/// The most bytes of a topic.
pub const TOPIC_MAX: usize = 64;

/// The most bytes of a contact's address.
pub const ADDRESS_MAX: usize = 255;

/// How far a walk goes at most, whatever its message says.
pub const TTL_MAX: u8 = 6;

/// Where the count of hops stands still.
pub const HOPS_MAX: u8 = 64;

/// The most contacts in a SHUFFLE or its answer, the asker's own among them.
pub const RECORDS_MAX: usize = 8;

/// The most ids in an IHAVE or a GRAFT.
pub const IDS_MAX: usize = 100;

/// The most announced ids that are awaited of one neighbour.
pub const AWAITED_PEER_MAX: usize = 1000;

/// The most announced ids that are awaited of all neighbours together.
pub const AWAITED_MAX: usize = 10_000;

/// The most contacts that [`Hvp::join`] has remembered.
pub const BOOTSTRAP_MAX: usize = 32;

/// The most lost neighbours that are remembered.
pub const LOST_MAX: usize = 8;

/// The most actions that wait to be drained.
pub const OUTBOX_MAX: usize = 16_384;

/// The bytes of waiting actions from which on nothing more is taken in; one call adds at most a few MiB.
pub const OUTBOX_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The most links of a node.
const ACTIVE_MAX: usize = 64;

/// The most entries of a passive view.
const PASSIVE_MAX: usize = 1024;

/// The longest time that can be configured, µs: a day.
const TIME_MAX: u64 = 86_400_000_000;

/// Whether contacts and broadcasts are signed.
#[derive(Clone)]
pub enum Trust {
    /// Contacts and broadcasts are signed with this key, and those of others are checked. The only one for a network.
    Signed(SigningKey),
    /// Nothing is signed or checked: for simulations, where ten thousand nodes would do little else.
    Unsigned,
}

/// How a node is set up. Times are µs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The network: what is signed for one network holds in no other.
    pub network: Digest,
    /// The most links (DSN'07: 5).
    pub active: usize,
    /// The most contacts kept in reserve (DSN'07: 30).
    pub passive: usize,
    /// How far a FORWARD_JOIN walks (DSN'07: 6).
    pub arwl: u8,
    /// With how many steps left its newcomer is noted in the passive view (DSN'07: 3).
    pub prwl: u8,
    /// How many neighbours a SHUFFLE names (DSN'07: 3).
    pub shuffle_active: usize,
    /// How many passive contacts a SHUFFLE names (DSN'07: 4).
    pub shuffle_passive: usize,
    /// How far a SHUFFLE walks (DSN'07 says no number; 6 as for joins).
    pub shuffle_ttl: u8,
    /// The time between two SHUFFLEs; half of it to one and a half, by the seed.
    pub shuffle_us: u64,
    /// How long an answer to JOIN or NEIGHBOR is awaited.
    pub answer_us: u64,
    /// How long a peer that said no is not asked again.
    pub retry_us: u64,
    /// The first pause before joining again over a remembered contact, doubled every time up to [`Config::rejoin_max_us`].
    pub rejoin_us: u64,
    /// The longest such pause.
    pub rejoin_max_us: u64,
    /// From when on a link has settled: what makes room for others is a random one of those that have not, or the guest.
    pub settled_us: u64,
    /// The least time between two links that are dropped for the sake of others.
    pub eviction_us: u64,
    /// How many JOINs a second are forwarded.
    pub joins_per_s: u32,
    /// How long ids are collected before they are announced.
    pub ihave_us: u64,
    /// How long an announced id is awaited before it is asked for (SRDS'07: the first time-out).
    pub graft_us: u64,
    /// How long the answer is awaited before the next announcer is asked (SRDS'07: the second time-out).
    pub graft_again_us: u64,
    /// How long an announced id is remembered that never comes.
    pub awaited_us: u64,
    /// How many broadcasts are kept for those who ask.
    pub cache: usize,
    /// The most bytes of these.
    pub cache_bytes: usize,
    /// How many ids are remembered as seen, in two generations: at least the last half of that is known.
    pub dedup: usize,
    /// How many ids of kept broadcasts, newest first, a new neighbour is told.
    pub catch_up: usize,
    /// Whether broadcasts of one origin are handed on in the order they were sent.
    pub ordered: bool,
    /// How long a gap in that order is waited for.
    pub gap_us: u64,
    /// Plumtree's tree optimisation: by how many hops an announcement must be better than what came by the tree. Off if none.
    pub optimize_hops: Option<u8>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            network: [0; 32],
            active: 5,
            passive: 30,
            arwl: 6,
            prwl: 3,
            shuffle_active: 3,
            shuffle_passive: 4,
            shuffle_ttl: 6,
            shuffle_us: 10_000_000,
            answer_us: 3_000_000,
            retry_us: 10_000_000,
            rejoin_us: 1_000_000,
            rejoin_max_us: 60_000_000,
            settled_us: 60_000_000,
            eviction_us: 1_000_000,
            joins_per_s: 100,
            ihave_us: 50_000,
            graft_us: 500_000,
            graft_again_us: 250_000,
            awaited_us: 30_000_000,
            cache: 1024,
            cache_bytes: 16 * 1024 * 1024,
            dedup: 65_536,
            catch_up: 1000,
            ordered: false,
            gap_us: 2_000_000,
            optimize_hops: None,
        }
    }
}

impl Config {
    /// Checks the limits.
    fn check(&self) -> Result<()> {
        let within = |what: &str, value: u64, least: u64, most: u64| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            Err(Error::input(format!("hvp: {what} {value}, {least} to {most} are allowed")))
        };
        let counts = [
            ("an active view of", self.active, 1, ACTIVE_MAX),
            ("a passive view of", self.passive, 1, PASSIVE_MAX),
            ("a SHUFFLE with contacts", self.shuffle_active.saturating_add(self.shuffle_passive), 0, RECORDS_MAX - 1),
            ("a cache of", self.cache, 0, 1024),
            ("a cache of bytes", self.cache_bytes, 0, 16 * 1024 * 1024),
            ("ids remembered", self.dedup, 2, 65_536),
            ("ids told to a newcomer", self.catch_up, 0, AWAITED_PEER_MAX),
        ];
        for (what, value, least, most) in counts {
            within(what, value as u64, least as u64, most as u64)?;
        }
        if self.cache > self.dedup / 2 {
            return Err(Error::input(format!(
                "hvp: a cache of {} with {} ids remembered, at most half as many are allowed",
                self.cache, self.dedup
            )));
        }
        let walks = [("arwl", self.arwl), ("prwl", self.prwl), ("a SHUFFLE's ttl", self.shuffle_ttl)];
        for (what, value) in walks {
            within(what, value.into(), 0, TTL_MAX.into())?;
        }
        within("joins per second", self.joins_per_s.into(), 1, 1_000_000)?;
        let times = [
            ("shuffle_us", self.shuffle_us),
            ("answer_us", self.answer_us),
            ("retry_us", self.retry_us),
            ("rejoin_us", self.rejoin_us),
            ("rejoin_max_us", self.rejoin_max_us),
            ("eviction_us", self.eviction_us),
            ("ihave_us", self.ihave_us),
            ("graft_us", self.graft_us),
            ("graft_again_us", self.graft_again_us),
            ("awaited_us", self.awaited_us),
            ("gap_us", self.gap_us),
        ];
        within("settled_us", self.settled_us, 0, TIME_MAX)?;
        times.iter().try_for_each(|(what, value)| within(what, *value, 1, TIME_MAX))
    }
}

/// Why a link is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// Its connection closed ([`Hvp::peer_down`]).
    Failed,
    /// The peer has dropped it, to take somebody else.
    Disconnected,
    /// The peer has left for good.
    Left,
    /// It was dropped here, to take somebody else or because this node leaves.
    Evicted,
}

/// What the driver is asked to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send to a peer: over the connection that there is, or a new one to the address of [`Hvp::contact`].
    Send {
        /// To whom.
        to: PeerId,
        /// What its [`Hvp::handle`] reads; several actions may share it.
        message: Arc<[u8]>,
    },
    /// A broadcast of another node has arrived.
    Deliver {
        /// Names it.
        id: MessageId,
        /// Who has sent it.
        origin: PeerId,
        /// Over how many links it came.
        hops: u8,
        /// What it is about.
        topic: Vec<u8>,
        /// What it carries.
        payload: Vec<u8>,
    },
    /// A link has come to be.
    Up {
        /// To whom.
        peer: PeerId,
    },
    /// A link is no more.
    Down {
        /// To whom.
        peer: PeerId,
        /// Why.
        reason: Down,
    },
    /// The connection to a peer is of no use any more: close it when what is queued is sent.
    Close {
        /// Whose.
        peer: PeerId,
    },
    /// No link is left and nobody to ask for one; said once until there is a link again. The machine goes on joining over the
    /// contacts that it was given, with growing pauses.
    Isolated,
}

/// What a node holds and has seen, for operators and for tests of bounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Links.
    pub active: usize,
    /// Of these, those that broadcasts are pushed over.
    pub eager: usize,
    /// Contacts in reserve.
    pub passive: usize,
    /// Peers that were asked for a link and have not answered.
    pub asked: usize,
    /// Lost neighbours that are remembered.
    pub lost: usize,
    /// Announced ids that are awaited, counted once for every neighbour that announced them.
    pub awaited: usize,
    /// Ids remembered as seen.
    pub seen: usize,
    /// Broadcasts kept.
    pub cached: usize,
    /// Their bytes.
    pub cached_bytes: usize,
    /// Broadcasts held back until those before them come.
    pub held: usize,
    /// Actions that wait to be drained.
    pub outbox: usize,
    /// Broadcasts taken in, in all.
    pub delivered: u64,
    /// Broadcasts that came again, in all.
    pub duplicates: u64,
    /// Links dropped for the sake of others, in all.
    pub evictions: u64,
}
