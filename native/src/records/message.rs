//! What nodes say to each other: a kind and some parts, each the encoding of a record or plain bytes.
//!
//! The envelope is the same for every transport. A message itself is not signed: what must be believed inside it is a
//! signed record.

use borsh::{BorshDeserialize, BorshSerialize};

use super::Key;
use super::signed::{SIGNATURE_LEN, signed};
use super::transaction::PAYLOAD_MAX;
use crate::crypto::hash::Digest;
use crate::error::{Error, Result};
use crate::primitives::wire::{self, Bytes, List, Record, Text};

/// The most parts of a message.
pub const PARTS_MAX: usize = 1 << 16;

/// The most bytes of one part: a whole transaction with room for its envelope.
pub const PART_MAX: usize = PAYLOAD_MAX + (64 << 10);

/// The most bytes of a message: 256 MiB.
pub const MESSAGE_MAX: usize = 256 << 20;

/// A kind and its parts.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Message {
    /// What it is, a short word such as `"hold"`.
    pub kind: Text<32>,
    /// What it carries.
    pub parts: List<Bytes<PART_MAX>, PARTS_MAX>,
}

impl Record for Message {
    const TAG: [u8; 4] = *b"CCms";
    const VERSION: u16 = 1;
    const NAME: &'static str = "message";
    const LEN_MAX: usize = MESSAGE_MAX;

    fn check(&self) -> Result<()> {
        if self.kind.is_empty() || !self.kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            return Err(Error::input(format!("message: kind {:?}: lower-case words are needed", &*self.kind)));
        }
        Ok(())
    }
}

/// Encodes a message of `kind` with `parts`, which are copied once: the same bytes, and the same refusals, as
/// [`wire::encode`] of a [`Message`].
pub fn encode_parts(kind: &str, parts: &[&[u8]]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut len = wire::ENVELOPE_LEN + 4 + kind.len() + 4;
    for part in parts {
        len = len.saturating_add(4).saturating_add(part.len());
    }
    let head = Message { kind: Text::new("message: kind", kind)?, parts: List::default() };
    head.check()?;
    if parts.len() > PARTS_MAX {
        return Err(Error::input(format!("message: parts: length {}, at most {PARTS_MAX} is allowed", parts.len())));
    }
    if let Some(part) = parts.iter().find(|part| part.len() > PART_MAX) {
        return Err(Error::input(format!("message: part: length {}, at most {PART_MAX} is allowed", part.len())));
    }
    if len > MESSAGE_MAX {
        return Err(Error::input(format!("message: {len} bytes, at most {MESSAGE_MAX} are allowed")));
    }
    out.reserve_exact(len);
    out.extend_from_slice(&Message::TAG);
    out.extend_from_slice(&Message::VERSION.to_le_bytes());
    let length = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
    out.extend_from_slice(&length(kind.len()));
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(&length(parts.len()));
    for part in parts {
        out.extend_from_slice(&length(part.len()));
        out.extend_from_slice(part);
    }
    Ok(out)
}

/// The most fragments one fetch may ask for.
pub const WANTED_MAX: usize = 1 << 16;

/// One fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Wanted {
    /// The transaction.
    pub tx_id: Digest,
    /// Which of its fragments.
    pub index: u16,
}

/// REPAIR_REQ: a signed request to one node for fragments or for word of them.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RepairRequest {
    /// The network.
    pub network: Digest,
    /// The node that is asked.
    pub node: Key,
    /// Who asks.
    pub requester: Key,
    /// The requester's clock.
    pub hlc: u64,
    /// Until when an answer is of use, UTC epoch milliseconds.
    pub deadline_ms: u64,
    /// What is wanted.
    pub items: List<Wanted, WANTED_MAX>,
    /// The requester's signature.
    pub signature: [u8; SIGNATURE_LEN],
}

impl Record for RepairRequest {
    const TAG: [u8; 4] = *b"CCrq";
    const VERSION: u16 = 1;
    const NAME: &'static str = "repair request";
    const LEN_MAX: usize = WANTED_MAX * 34 + 512;

    fn check(&self) -> Result<()> {
        let mut sorted: Vec<&Wanted> = self.items.iter().collect();
        sorted.sort_unstable();
        if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::input("repair request: a fragment is asked for twice"));
        }
        Ok(())
    }
}

signed!(RepairRequest, requester, "city-chain v1 repair request");
