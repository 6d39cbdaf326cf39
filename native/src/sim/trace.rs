//! The table of what happened in a run, counters, and the digest by which two runs are compared.

use std::collections::BTreeMap;

use crate::crypto::hash::{self, Digest, Hasher};

const CONTEXT_TRACE: &str = "city-chain v1 simulation trace";
const CONTEXT_BYTES: &str = "city-chain v1 simulation bytes";

/// One row of the table.
///
/// | kind | peer | number | bytes |
/// |---|---|---|---|
/// | `start`, `restart` | | how often it was started before | |
/// | `crash` | | the same | |
/// | `send` | the receiver | of the message | the message |
/// | `deliver` | the sender | of the message | the message |
/// | `loss`, `partition`, `down`, `scheduler`, `nobody` | the receiver | of the message that is lost | the message |
/// | `persist` | | ticket | the record |
/// | `durable` | | ticket | the record |
/// | `wake` | | when it was asked for, µs | |
/// | `decide` | | slot | the value |
/// | what a note says | | of the note | of the note |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Virtual time, µs.
    pub at: u64,
    /// Whose it is.
    pub node: u16,
    /// What happened.
    pub kind: &'static str,
    /// The other node of a message.
    pub peer: Option<u16>,
    /// See the table.
    pub number: u64,
    /// How many bytes belong to it.
    pub len: u32,
    /// What the bytes are: the first eight bytes of their digest (0 if there are none).
    pub digest: u64,
}

/// How many messages or records, and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Count {
    fn add(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes as u64;
    }

    fn sum<'a>(counts: impl Iterator<Item = &'a Self>) -> Self {
        counts.fold(Self::default(), |sum, count| Self {
            messages: sum.messages + count.messages,
            bytes: sum.bytes + count.bytes,
        })
    }
}

/// The kind of a message: the tag of its envelope, or `????` if it has none.
pub fn kind_of(message: &[u8]) -> [u8; 4] {
    match message {
        [b'C', b'C', a @ b'!'..=b'~', b @ b'!'..=b'~', ..] => [b'C', b'C', *a, *b],
        _ => *b"????",
    }
}

/// What happened so far.
#[derive(Clone)]
pub struct Trace {
    rows: Vec<Event>,
    rows_max: usize,
    left_out: u64,
    hasher: Option<Hasher>,
    sent: BTreeMap<(u16, [u8; 4]), Count>,
    persisted: BTreeMap<u16, Count>,
    notes: BTreeMap<(u16, &'static str), u64>,
    lost: u64,
}

impl Trace {
    pub(super) fn new(rows_max: usize, digest: bool) -> Self {
        Self {
            rows: Vec::new(),
            rows_max,
            left_out: 0,
            hasher: digest.then(|| Hasher::new(CONTEXT_TRACE)),
            sent: BTreeMap::new(),
            persisted: BTreeMap::new(),
            notes: BTreeMap::new(),
            lost: 0,
        }
    }

    pub(super) fn add(&mut self, at: u64, node: u16, kind: &'static str, peer: Option<u16>, number: u64, bytes: &[u8]) {
        if let Some(hasher) = &mut self.hasher {
            hasher.u64(at).u64(u64::from(node)).field(kind.as_bytes());
            hasher.u64(peer.map_or(u64::MAX, u64::from)).u64(number).field(bytes);
        }
        if self.rows.len() >= self.rows_max {
            self.left_out += 1;
            return;
        }
        let digest = if bytes.is_empty() { 0 } else { short(bytes) };
        self.rows.push(Event { at, node, kind, peer, number, len: bytes.len() as u32, digest });
    }

    pub(super) fn count_sent(&mut self, node: u16, message: &[u8]) {
        self.sent.entry((node, kind_of(message))).or_default().add(message.len());
    }

    pub(super) fn count_persisted(&mut self, node: u16, record: &[u8]) {
        self.persisted.entry(node).or_default().add(record.len());
    }

    pub(super) fn count_note(&mut self, node: u16, kind: &'static str) {
        *self.notes.entry((node, kind)).or_default() += 1;
    }

    pub(super) fn count_lost(&mut self) {
        self.lost += 1;
    }

    /// The rows that were kept: the first ones of the run, up to the limit.
    pub fn rows(&self) -> &[Event] {
        &self.rows
    }

    /// How many rows there would be more without the limit. The digest and the counters are of all.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Binds to every event so far with all its bytes: two runs with the same digest are the same. `None` if the run was
    /// told not to take it.
    pub fn digest(&self) -> Option<Digest> {
        self.hasher.as_ref().map(Hasher::finish)
    }

    /// All messages that nodes handed to the network (each receiver of a broadcast is one).
    pub fn messages(&self) -> Count {
        Count::sum(self.sent.values())
    }

    /// Messages by sender and kind.
    pub fn sent(&self) -> &BTreeMap<(u16, [u8; 4]), Count> {
        &self.sent
    }

    /// Messages of one kind, of all senders.
    pub fn messages_of(&self, kind: [u8; 4]) -> Count {
        Count::sum(self.sent.iter().filter(|((_, other), _)| *other == kind).map(|(_, count)| count))
    }

    /// Records handed to the disks, by node.
    pub fn persisted(&self) -> &BTreeMap<u16, Count> {
        &self.persisted
    }

    /// How many notes of a kind a node made, restarts included.
    pub fn notes(&self, node: u16, kind: &str) -> u64 {
        let own = self.notes.iter().filter(|((other, name), _)| *other == node && *name == kind);
        own.map(|(_, count)| count).sum()
    }

    /// How many messages (copies of one apart) did not arrive.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

fn short(bytes: &[u8]) -> u64 {
    let digest = hash::digest(CONTEXT_BYTES, bytes);
    u64::from_le_bytes([digest[0], digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7]])
}
