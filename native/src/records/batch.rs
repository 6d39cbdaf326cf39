//! A batch: what is committed together, and its place in the ledger.

use borsh::{BorshDeserialize, BorshSerialize};

use super::city_keys::{CityKeys, SIGNING_POINT_LEN};
use super::epoch::Epoch;
use super::signed::Signed;
use super::{Key, NAME_MAX};
use crate::algorithms::abba;
use crate::algorithms::hs;
use crate::algorithms::tes::bls;
use crate::algorithms::tes::share::{BlsKeys, Keys};
use crate::crypto::hash::{self, Digest, hex};
use crate::crypto::merkle;
use crate::crypto::typed;
use crate::error::{Error, Result};
use crate::primitives::wire::{self, List, Record, Text};
use crate::proofs::dpos;

use super::manifest::Manifest;
use super::repair::Repair;
use super::sharding::Ruling;

/// The most entries of a batch.
pub const ENTRIES_MAX: usize = 4096;

const CONTEXT_HEADER: &str = "city-chain v1 batch";
const CONTEXT_COMPRESSED: &str = "city-chain v1 compressed certificate";
const CONTEXT_COMPRESSED_BATCH: &str = "city-chain v1 compressed certificate of a batch";

/// The level that a batch belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Level {
    /// A city's batch of transactions.
    City = 0,
}

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Entry {
    /// A transaction is available and committed.
    Transaction {
        /// The transaction.
        tx_id: Digest,
        /// Its manifest.
        manifest_hash: Digest,
        /// Its sender.
        sender: Key,
        /// The sender's VRF key, which may not change.
        vrf_public: Key,
        /// Its running number.
        sequence: u64,
    } = 0,
    /// Fragments of a transaction moved.
    Repair {
        /// The transaction.
        tx_id: Digest,
        /// The repair.
        repair_hash: Digest,
        /// The running number of the repair.
        generation: u32,
    } = 1,
    /// The city ruled about a transaction of several cities, or about the layout.
    Sharding {
        /// What it is about.
        subject: Digest,
        /// The ruling.
        ruling_hash: Digest,
    } = 2,
}

impl Record for Entry {
    const TAG: [u8; 4] = *b"CCen";
    const VERSION: u16 = 1;
    const NAME: &'static str = "entry";
    const LEN_MAX: usize = 256;
}

impl Entry {
    /// The entry that commits a transaction.
    pub fn transaction(manifest: &Manifest) -> Result<Self> {
        Ok(Self::of(manifest, manifest.digest()?))
    }

    /// [`Entry::transaction`] for who knows the manifest's digest already.
    pub fn of(manifest: &Manifest, manifest_hash: Digest) -> Self {
        Self::Transaction {
            tx_id: manifest.tx_id,
            manifest_hash,
            sender: manifest.sender,
            vrf_public: manifest.selection.vrf_public,
            sequence: manifest.sequence,
        }
    }

    /// The entry that commits a repair.
    pub fn repair(repair: &Repair) -> Result<Self> {
        Ok(Self::Repair { tx_id: repair.tx_id, repair_hash: repair.digest()?, generation: repair.generation })
    }

    /// The entry that commits a ruling.
    pub fn sharding(ruling: &Ruling) -> Result<Self> {
        Ok(Self::Sharding { subject: ruling.subject, ruling_hash: ruling.digest()? })
    }

    /// The transaction it is about; of a ruling: its subject.
    pub fn tx_id(&self) -> &Digest {
        match self {
            Self::Transaction { tx_id, .. } | Self::Repair { tx_id, .. } | Self::Sharding { subject: tx_id, .. } => {
                tx_id
            }
        }
    }

    /// Its kind; a batch has one entry of each kind for one id at most.
    fn kind(&self) -> u8 {
        match self {
            Self::Transaction { .. } => 0,
            Self::Repair { .. } => 1,
            Self::Sharding { .. } => 2,
        }
    }

    /// Its leaf in the batch's Merkle tree.
    pub fn leaf(&self) -> Result<Digest> {
        Ok(merkle::leaf(&wire::encode(self)?))
    }
}

/// What is voted on.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BatchHeader {
    /// The network.
    pub network: Digest,
    /// The epoch whose delegates vote.
    pub epoch: u64,
    /// The batch's place in the ledger, from 1.
    pub height: u64,
    /// Digest of the batch before (of the first: the network's id).
    pub previous: Digest,
    /// The level.
    pub level: Level,
    /// The name of the unit (the city).
    pub unit: Text<NAME_MAX>,
    /// The leader's clock.
    pub hlc: u64,
    /// How many entries there are.
    pub count: u32,
    /// Merkle root over the entries.
    pub entries_root: Digest,
}

impl Record for BatchHeader {
    const TAG: [u8; 4] = *b"CCbh";
    const VERSION: u16 = 1;
    const NAME: &'static str = "batch header";
    const LEN_MAX: usize = 512;

    fn check(&self) -> Result<()> {
        if self.height == 0 || self.count == 0 || self.count as usize > ENTRIES_MAX {
            return Err(Error::input(format!(
                "batch: height {} with {} entries; heights count from 1 and a batch has 1 to {ENTRIES_MAX} entries",
                self.height, self.count
            )));
        }
        Ok(())
    }
}

impl BatchHeader {
    /// The digest that is voted on and that the next batch names.
    pub fn digest(&self) -> Result<Digest> {
        Ok(hash::digest(CONTEXT_HEADER, &wire::encode(self)?))
    }
}

/// A header and its entries.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Batch {
    /// What is voted on.
    pub header: BatchHeader,
    /// The entries, in the order of the ledger.
    pub entries: List<Entry, ENTRIES_MAX>,
}

impl Record for Batch {
    const TAG: [u8; 4] = *b"CCba";
    const VERSION: u16 = 1;
    const NAME: &'static str = "batch";
    const LEN_MAX: usize = ENTRIES_MAX * 160 + 1024;

    fn check(&self) -> Result<()> {
        self.header.check()?;
        if self.entries.len() != self.header.count as usize {
            return Err(Error::input(format!(
                "batch: {} entries where the header says {}",
                self.entries.len(),
                self.header.count
            )));
        }
        let mut keys: Vec<(u8, &Digest)> = self.entries.iter().map(|entry| (entry.kind(), entry.tx_id())).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::input("batch: a transaction is in it twice"));
        }
        let mut numbers: Vec<(&Key, u64)> = self
            .entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::Transaction { sender, sequence, .. } => Some((sender, *sequence)),
                Entry::Repair { .. } | Entry::Sharding { .. } => None,
            })
            .collect();
        numbers.sort_unstable();
        if let Some(pair) = numbers.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::input(format!("batch: a sender has two transactions numbered {}", pair[0].1)));
        }
        if self.tree()?.root() != self.header.entries_root {
            return Err(Error::input("batch: the entries do not lead to the root in the header"));
        }
        Ok(())
    }
}

impl Batch {
    /// Puts a batch together after the batch `previous` at `height - 1`.
    pub fn new(
        epoch: &Epoch,
        height: u64,
        previous: Digest,
        unit: &str,
        hlc: u64,
        entries: Vec<Entry>,
    ) -> Result<Self> {
        let entries = List::new("batch: entries", entries)?;
        let header = BatchHeader {
            network: epoch.network,
            epoch: epoch.number,
            height,
            previous,
            level: Level::City,
            unit: Text::new("batch: unit", unit)?,
            hlc,
            count: u32::try_from(entries.len()).unwrap_or(u32::MAX),
            entries_root: tree(&entries)?.root(),
        };
        let batch = Self { header, entries };
        batch.check()?;
        Ok(batch)
    }

    /// The Merkle tree over the entries.
    pub fn tree(&self) -> Result<merkle::Tree> {
        tree(&self.entries)
    }
}

fn tree(entries: &[Entry]) -> Result<merkle::Tree> {
    merkle::Tree::new(entries.iter().map(Entry::leaf).collect::<Result<_>>()?)
}

/// What a commit engine produced for a batch. Each engine has its own kind; the interface is the same.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum CommitCertificate {
    /// Engine `"dpos"`: a stake-weighted quorum of the epoch's delegates.
    Dpos(dpos::Certificate) = 0,
    /// Compressed: one signature under the city's key, made by a threshold of the delegates out of a full certificate of
    /// the engine `"dpos"`.
    Bls {
        /// What was voted for.
        slot: dpos::Slot,
        /// The signature over [`CommitCertificate::compressed_message`].
        signature: [u8; bls::SIGNATURE_LEN],
    } = 1,
    /// Engine `"hotstuff"`: a block that holds the batch's digest is committed.
    Hotstuff {
        /// The digest of the batch.
        batch: Digest,
        /// The block's header and those after it, and a quorum's votes for the last of them.
        proof: hs::CommitProof,
    } = 2,
    /// Engine `"abba"`: a quorum's signatures of what the common subset made.
    Abba(abba::Certificate) = 3,
    /// Compressed as [`CommitCertificate::Bls`], of the engines whose votes name the batch by its digest alone.
    City {
        /// The digest of the batch.
        batch: Digest,
        /// The signature over [`CommitCertificate::compressed_message`].
        signature: [u8; bls::SIGNATURE_LEN],
    } = 4,
}

impl Record for CommitCertificate {
    const TAG: [u8; 4] = *b"CCcc";
    const VERSION: u16 = 1;
    const NAME: &'static str = "commit certificate";
    const LEN_MAX: usize = 512 << 10;

    fn check(&self) -> Result<()> {
        match self {
            Self::Dpos(certificate) => certificate.check(),
            Self::Hotstuff { proof, .. } => proof.check(),
            Self::Abba(certificate) => certificate.check(),
            Self::Bls { .. } | Self::City { .. } => Ok(()),
        }
    }
}

impl CommitCertificate {
    /// The name of the engine; `"bls"` where it is compressed.
    pub fn engine(&self) -> &'static str {
        match self {
            Self::Dpos(_) => "dpos",
            Self::Hotstuff { .. } => "hotstuff",
            Self::Abba(_) => "abba",
            Self::Bls { .. } | Self::City { .. } => "bls",
        }
    }

    /// What the city's key signs to compress the certificate.
    pub fn compressed_message(&self) -> Digest {
        match self.slot() {
            Some(slot) => hash::digest(CONTEXT_COMPRESSED, &slot.message()),
            None => hash::digest(CONTEXT_COMPRESSED_BATCH, &self.batch()),
        }
    }

    /// The compressed certificate that shares of its signature make, and the indices of those that were wrong.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if there are fewer right shares than the threshold of `keys`; [`Error::Input`] if a share has
    /// another length or an index stands twice.
    pub fn compressed(&self, keys: &CityKeys, shares: &[&[u8]]) -> Result<(Self, Vec<u16>)> {
        let message = self.compressed_message();
        let public = keys.signing_group()?;
        let made = bls::combine(&public, keys.threshold, &keys.signing_shares()?, shares, &message)?;
        let wrong = made.wrong.into_iter().map(|(index, _)| index).collect();
        let signature = made.signature;
        let compressed = match self.slot() {
            Some(slot) => Self::Bls { slot: *slot, signature },
            None => Self::City { batch: self.batch(), signature },
        };
        Ok((compressed, wrong))
    }

    /// The votes of a full certificate of the engine `"dpos"`.
    ///
    /// # Errors
    /// [`Error::Input`] if it is compressed or another engine's.
    pub fn votes(&self) -> Result<&dpos::Certificate> {
        match self {
            Self::Dpos(certificate) => Ok(certificate),
            Self::Bls { .. } | Self::City { .. } => {
                Err(Error::input("commit certificate: it is compressed, there are no votes in it"))
            }
            _ => Err(Error::input(format!("commit certificate: of the engine {:?}, not \"dpos\"", self.engine()))),
        }
    }

    /// What was voted for, where the engine is `"dpos"`.
    pub fn slot(&self) -> Option<&dpos::Slot> {
        match self {
            Self::Dpos(certificate) => Some(&certificate.slot),
            Self::Bls { slot, .. } => Some(slot),
            _ => None,
        }
    }

    /// The digest of the batch that it is about, unchecked.
    pub fn batch(&self) -> Digest {
        match self {
            Self::Dpos(certificate) => certificate.slot.digest,
            Self::Bls { slot, .. } => slot.digest,
            Self::Hotstuff { batch, .. } | Self::City { batch, .. } => *batch,
            Self::Abba(certificate) => certificate.digest,
        }
    }

    /// The places among the epoch's delegates of those whose signatures are in it, unchecked; none where it is compressed.
    pub fn signers(&self) -> Vec<u16> {
        match self {
            Self::Dpos(certificate) => certificate.signatures.iter().map(|signature| signature.position).collect(),
            Self::Hotstuff { proof, .. } => proof.qc.places(),
            Self::Abba(certificate) => certificate.signatures.items().iter().map(|signed| signed.party).collect(),
            Self::Bls { .. } | Self::City { .. } => Vec::new(),
        }
    }

    /// The proof that a block with the batch's digest is committed, where the engine is `"hotstuff"`.
    pub fn proof(&self) -> Option<&hs::CommitProof> {
        match self {
            Self::Hotstuff { proof, .. } => Some(proof),
            _ => None,
        }
    }

    /// Checks that the delegates of `epoch` committed the batch with this header. A compressed certificate is refused: see
    /// [`CommitCertificate::verify_under`].
    pub fn verify(&self, epoch: &Epoch, header: &BatchHeader) -> Result<()> {
        self.verify_under(epoch, header, None)
    }

    /// [`CommitCertificate::verify`], for compressed certificates as well where the city's key is known.
    pub fn verify_under(
        &self,
        epoch: &Epoch,
        header: &BatchHeader,
        city_key: Option<&[u8; SIGNING_POINT_LEN]>,
    ) -> Result<()> {
        header.check()?;
        if header.network != epoch.network || header.epoch != epoch.number {
            return Err(Error::verification(format!(
                "batch: of network {} and epoch {}, not of network {} and epoch {}",
                hex(&header.network),
                header.epoch,
                hex(&epoch.network),
                epoch.number
            )));
        }
        if let Some(slot) = self.slot() {
            let named = (slot.network, slot.epoch, slot.height, slot.previous);
            if named != (header.network, header.epoch, header.height, header.previous) {
                return Err(Error::verification("commit certificate: it is about another batch"));
            }
        }
        if self.batch() != header.digest()? {
            return Err(Error::verification("commit certificate: it is about another batch"));
        }
        match self {
            Self::Dpos(certificate) => certificate.verify(&epoch.validators),
            Self::Hotstuff { batch, proof } => verify_block(epoch, batch, proof),
            Self::Abba(certificate) => verify_subset(epoch, certificate),
            Self::Bls { signature, .. } | Self::City { signature, .. } => {
                let Some(key) = city_key else {
                    return Err(Error::verification(
                        "commit certificate: it is compressed, and no key of the city is known to check it with",
                    ));
                };
                let key = bls::public_key(&typed::encode(BlsKeys::SCHEME.public(), key))?;
                bls::verify(&key, &self.compressed_message(), signature)
                    .map_err(|error| Error::verification(format!("commit certificate: {error}")))
            }
        }
    }
}

/// Checks that the delegates of `epoch` committed a block with that batch.
fn verify_block(epoch: &Epoch, batch: &Digest, proof: &hs::CommitProof) -> Result<()> {
    let payload = proof.verify(&epoch.validators.committee()?, &epoch.network, epoch.number)?;
    if payload != hs::message::payload_digest(batch) {
        return Err(Error::verification("commit certificate: the block that it proves has another payload"));
    }
    Ok(())
}

/// Checks that the delegates of `epoch` confirmed what a common subset made.
fn verify_subset(epoch: &Epoch, certificate: &abba::Certificate) -> Result<()> {
    if (certificate.chain, certificate.epoch) != (epoch.network, epoch.number) {
        return Err(Error::verification("commit certificate: of another network or epoch"));
    }
    certificate.verify(&epoch.validators.committee()?)
}
