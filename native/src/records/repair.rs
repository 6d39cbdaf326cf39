//! A repair: fragments that moved to other nodes after damage, committed like a transaction.

use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};

use super::signed::{SIGNATURE_LEN, Signed, signed};
use super::{FRAGMENTS_MAX, Key};
use crate::crypto::hash::{Digest, hex};
use crate::error::{Error, Result};
use crate::primitives::wire::{List, Record};
use crate::proofs::poh::{self, Ack};

/// One fragment's new holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Move {
    /// Which fragment.
    pub index: u16,
    /// Who holds it from now on.
    pub node: Key,
}

/// New holders for some fragments of a transaction, signed by who restored them.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Repair {
    /// The network.
    pub network: Digest,
    /// The transaction.
    pub tx_id: Digest,
    /// Its manifest.
    pub manifest_hash: Digest,
    /// The running number of the repair, from 1: every one is committed exactly once.
    pub generation: u32,
    /// The candidate list that the new holders come from.
    pub candidates_root: Digest,
    /// The moves, ascending and distinct by index.
    pub moves: List<Move, FRAGMENTS_MAX>,
    /// The repairer's clock.
    pub hlc: u64,
    /// Who repaired.
    pub repairer: Key,
    /// The repairer's signature.
    pub signature: [u8; SIGNATURE_LEN],
}

impl Record for Repair {
    const TAG: [u8; 4] = *b"CCrp";
    const VERSION: u16 = 1;
    const NAME: &'static str = "repair";
    const LEN_MAX: usize = FRAGMENTS_MAX * 34 + 512;

    fn check(&self) -> Result<()> {
        if self.generation == 0 {
            return Err(Error::input("repair: generations count from 1"));
        }
        if self.moves.is_empty() || !self.moves.windows(2).all(|pair| pair[0].index < pair[1].index) {
            return Err(Error::input("repair: the moves must be at least one, ascending and distinct by index"));
        }
        let nodes: BTreeSet<&Key> = self.moves.iter().map(|to| &to.node).collect();
        if nodes.len() < self.moves.len() {
            return Err(Error::input("repair: a node is given two fragments"));
        }
        Ok(())
    }
}

signed!(Repair, repairer, "city-chain v1 repair");

/// A repair and the new holders' acks, one for each move.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RepairCertificate {
    /// What moved.
    pub repair: Repair,
    /// The new holders' acks, in the order of the moves.
    pub acks: List<Ack, FRAGMENTS_MAX>,
}

impl Record for RepairCertificate {
    const TAG: [u8; 4] = *b"CCrc";
    const VERSION: u16 = 1;
    const NAME: &'static str = "repair certificate";
    const LEN_MAX: usize = Repair::LEN_MAX + FRAGMENTS_MAX * 1536;

    fn check(&self) -> Result<()> {
        self.repair.check()?;
        if self.acks.len() != self.repair.moves.len() {
            return Err(Error::input(format!(
                "repair certificate: {} acks for {} moves",
                self.acks.len(),
                self.repair.moves.len()
            )));
        }
        for (ack, to) in self.acks.iter().zip(self.repair.moves.iter()) {
            ack.check()?;
            let about = (ack.network, ack.tx_id, ack.manifest_hash, ack.index, ack.node);
            let repair = &self.repair;
            if about != (repair.network, repair.tx_id, repair.manifest_hash, to.index, to.node) {
                return Err(Error::input(format!(
                    "repair certificate: the ack of node {} does not belong to the move of fragment {}",
                    hex(&ack.node),
                    to.index
                )));
            }
        }
        Ok(())
    }
}

impl RepairCertificate {
    /// Puts a certificate together; the order of `acks` does not matter. The signatures are not checked here.
    pub fn new(repair: Repair, mut acks: Vec<Ack>) -> Result<Self> {
        acks.sort_by_key(|ack| ack.index);
        let certificate = Self { repair, acks: List::new("repair certificate: acks", acks)? };
        certificate.check()?;
        Ok(certificate)
    }

    /// Checks all signatures, and the acks against the fragments' hashes.
    pub fn verify(&self, network: &Digest, fragment_hashes: &[Digest]) -> Result<()> {
        self.check()?;
        if self.repair.network != *network {
            return Err(Error::verification(format!(
                "repair: of network {}, not of {}",
                hex(&self.repair.network),
                hex(network)
            )));
        }
        self.repair.verify()?;
        for ack in self.acks.iter() {
            if fragment_hashes.get(usize::from(ack.index)) != Some(&ack.fragment_hash) {
                return Err(Error::verification(format!(
                    "repair: the new fragment {} is not the one of the manifest",
                    ack.index
                )));
            }
        }
        poh::verify_acks(&self.acks)?.into_iter().collect()
    }
}
