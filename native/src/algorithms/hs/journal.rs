//! What survives a crash: the state, and the blocks that were voted for.
//!
//! Every journal record holds the whole state and the blocks that are new since the one before; a snapshot holds the state
//! and all blocks, and stands for all records before it.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};

use borsh::{BorshDeserialize, BorshSerialize};

use super::certificate::{Qc, Tc};
use super::message::{Proposal, SharedVote, Timeout, Vote};
use super::tree::WAITING_MAX;
use crate::crypto::hash::{Digest, hex};
use crate::error::{Error, Result};
use crate::primitives::mutant::mutant;
use crate::primitives::wire::{self, List, Record};

/// The most blocks of a record: those that wait, and the history.
const BLOCKS_MAX: usize = WAITING_MAX + u16::MAX as usize;

/// What must not be forgotten.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct State {
    /// The chain.
    pub chain: Digest,
    /// The epoch.
    pub epoch: u64,
    /// The digest of the committee.
    pub committee: Digest,
    /// What stands before the first block.
    pub genesis: Digest,
    /// This validator's place.
    pub me: u16,
    /// The journal was lost once: nothing is signed in this epoch.
    pub observer: bool,
    /// The highest round that was voted in or given up.
    pub last_voted: u64,
    /// The highest round of a certificate whose block's child was voted for.
    pub locked: u64,
    /// The highest round that was proposed in.
    pub proposed: u64,
    /// The highest quorum certificate.
    pub high_qc: Qc,
    /// The highest timeout certificate, if the current round follows it.
    pub high_tc: Option<Tc>,
    /// The last vote, with its share if it has one: 0, 1 ‖ vote or 2 ‖ vote with a share.
    #[borsh(serialize_with = "write_vote", deserialize_with = "read_vote")]
    pub vote: Option<Vote>,
    /// The timeout of the current round.
    pub timeout: Option<Timeout>,
    /// Round and id of the last committed block.
    pub committed: (u64, Digest),
}

fn write_vote<W: Write>(vote: &Option<Vote>, writer: &mut W) -> std::io::Result<()> {
    match vote {
        Some(vote) if vote.share.is_some() => (2u8, SharedVote(*vote)).serialize(writer),
        vote => vote.serialize(writer),
    }
}

fn read_vote<R: Read>(reader: &mut R) -> std::io::Result<Option<Vote>> {
    match u8::deserialize_reader(reader)? {
        0 => Ok(None),
        1 => Vote::deserialize_reader(reader).map(Some),
        2 => SharedVote::deserialize_reader(reader).map(|shared| Some(shared.0)),
        kind => Err(std::io::Error::new(ErrorKind::InvalidData, format!("a vote of kind {kind}, 0 to 2 are known"))),
    }
}

/// One journal record, or a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Entry {
    /// The state from now on.
    pub state: State,
    /// Whether the blocks are all that are needed.
    pub whole: bool,
    /// Blocks.
    pub blocks: List<Proposal, BLOCKS_MAX>,
}

impl Record for Entry {
    const TAG: [u8; 4] = *b"CChj";
    const VERSION: u16 = 1;
    const NAME: &'static str = "hotstuff journal record";
    const LEN_MAX: usize = 1 << 28;

    fn check(&self) -> Result<()> {
        let state = &self.state;
        if state.high_qc.round < state.locked || state.proposed > state.last_voted {
            return Err(Error::input("hotstuff journal record: it contradicts itself"));
        }
        Ok(())
    }
}

impl Entry {
    /// Encodes a record.
    pub fn encode(state: &State, whole: bool, blocks: Vec<Proposal>) -> Result<Vec<u8>> {
        let blocks = List::new("hotstuff journal record: blocks", blocks)?;
        wire::encode(&Self { state: state.clone(), whole, blocks })
    }
}

/// What some records say together.
pub(super) struct Replayed {
    /// The last state; none without records.
    pub state: Option<State>,
    /// The blocks, by round.
    pub blocks: BTreeMap<(u64, Digest), Proposal>,
}

/// Reads the records in their order; `fresh` is the state of a machine that begins, whose journal they must be.
pub(super) fn replay(fresh: &State, records: &[Vec<u8>]) -> Result<Replayed> {
    let mut replayed = Replayed { state: None, blocks: BTreeMap::new() };
    for (at, record) in records.iter().enumerate() {
        let entry: Entry = wire::decode(record)?;
        let of = |state: &State| (state.chain, state.epoch, state.committee, state.genesis, state.me);
        if of(&entry.state) != of(fresh) {
            return Err(Error::input(format!(
                "hotstuff: journal record {at} is of epoch {}, place {} of chain {}, or of other validators",
                entry.state.epoch,
                entry.state.me,
                hex(&entry.state.chain)
            )));
        }
        if let Some(before) = &replayed.state
            && entry.state.last_voted < before.last_voted
        {
            return Err(Error::input(format!("hotstuff: journal record {at} is older than the one before")));
        }
        if entry.whole {
            replayed.blocks.clear();
        }
        for proposal in entry.blocks.into_vec() {
            if !mutant!("hs.journal-blocks") {
                let wrong = |error| Error::input(format!("hotstuff: a block of journal record {at}: {error}"));
                proposal.check().map_err(wrong)?;
            }
            replayed.blocks.insert((proposal.round(), proposal.id()), proposal);
        }
        replayed.state = Some(entry.state);
    }
    Ok(replayed)
}
