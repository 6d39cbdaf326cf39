//! Countersignatures: ML-DSA-65 signatures (FIPS 204), on request, of what was signed by Ed25519 before.
//!
//! A holder countersigns an ack that it made for a fragment that it still holds; a delegate a batch that its ledger has
//! committed. A [`CountersignedReceipt`] is a receipt with as many of both as the receipt itself needs: a write quorum of
//! its holders, and a quorum of its delegates by stake. Whoever can one day forge Ed25519 cannot forge these.
//!
//! Whose key an ML-DSA key is, the signers' [`NodeRecord`]s say, which are in it, and these are signed by Ed25519. So that
//! the chain does not hang on it, a verifier may know keys beforehand (see [`CountersignedReceipt::verify`]).

use std::collections::{HashMap, HashSet};

use borsh::{BorshDeserialize, BorshSerialize};

use super::node::{NodeRecord, ml_dsa_digest};
use super::receipt::{Receipt, Trust};
use super::signed::{self, Signed};
use super::{FRAGMENTS_MAX, Key};
use crate::crypto::hash::{self, Digest, hex};
use crate::crypto::ml_dsa;
use crate::error::{Error, Result};
use crate::primitives::quorum;
use crate::primitives::wire::{self, Bytes, List, Record};
use crate::proofs::poh::Ack;
use crate::records::identity::Identity;

const CONTEXT_STATEMENT: &str = "city-chain v1 countersignature statement";

/// The context string of the signature (FIPS 204, section 5.2).
const CONTEXT_SIGNATURE: &[u8] = b"city-chain v1 countersignature";

/// The most bytes of a typed ML-DSA public key: that of ML-DSA-87.
pub const PUBLIC_MAX: usize = 2 + 2592;

/// The most bytes of an ML-DSA signature: that of ML-DSA-87.
pub const SIGNATURE_MAX: usize = 4627;

/// The most delegates whose countersignatures a receipt carries.
pub const DELEGATES_MAX: usize = 1024;

/// What is countersigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub enum Subject {
    /// An ack, by its digest ([`Ack::digest`]).
    Ack(Digest),
    /// A batch, by the digest of its header.
    Batch(Digest),
}

/// One node's ML-DSA-65 signature of one thing.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Countersignature {
    /// The network.
    pub network: Digest,
    /// Who signs.
    pub node: Key,
    /// With which key: its typed bytes.
    pub public: Bytes<PUBLIC_MAX>,
    /// What.
    pub subject: Subject,
    /// The signature.
    pub signature: Bytes<SIGNATURE_MAX>,
}

impl Record for Countersignature {
    const TAG: [u8; 4] = *b"CCcs";
    const VERSION: u16 = 1;
    const NAME: &'static str = "countersignature";
    const LEN_MAX: usize = PUBLIC_MAX + SIGNATURE_MAX + 256;
}

impl Countersignature {
    /// Countersigns an ack of the identity's own.
    ///
    /// # Errors
    /// [`Error::Input`] if the ack is another node's, [`Error::Verification`] if its signature is wrong.
    pub fn of_ack(identity: &Identity, ack: &Ack) -> Result<Self> {
        if ack.node != identity.id() {
            return Err(Error::input(format!(
                "countersignature: the ack is of node {}, not of {}",
                hex(&ack.node),
                hex(&identity.id())
            )));
        }
        ack.verify()?;
        Self::sign(identity, ack.network, Subject::Ack(ack.digest()?))
    }

    /// Countersigns a batch by the digest of its header. That it is committed is for the caller to know.
    ///
    /// # Errors
    /// [`Error::Input`] if the operating system gives no randomness.
    pub fn of_batch(identity: &Identity, network: Digest, header: Digest) -> Result<Self> {
        Self::sign(identity, network, Subject::Batch(header))
    }

    fn sign(identity: &Identity, network: Digest, subject: Subject) -> Result<Self> {
        let key = identity.ml_dsa()?;
        let mut made = Self {
            network,
            node: identity.id(),
            public: Bytes::new("countersignature: public key", key.public().as_bytes().to_vec())?,
            subject,
            signature: Bytes::default(),
        };
        let signature = key.sign(CONTEXT_SIGNATURE, &made.statement()?)?;
        made.signature = Bytes::new("countersignature: signature", signature)?;
        Ok(made)
    }

    /// What is signed: the digest of everything but the signature.
    fn statement(&self) -> Result<Digest> {
        let unsigned = Self { signature: Bytes::default(), ..self.clone() };
        Ok(hash::digest(CONTEXT_STATEMENT, &wire::encode(&unsigned)?))
    }

    /// Checks that it is of the node of a record, with the key in that record, and right. The record's own signature is not
    /// checked here.
    ///
    /// # Errors
    /// [`Error::Verification`] if it is not.
    pub fn verify_by(&self, entry: &NodeRecord) -> Result<()> {
        verify_by(self, entry, None)
    }

    /// Checks the signature under the key in it. Whose key it is, is not checked here.
    ///
    /// # Errors
    /// [`Error::Verification`] if it is wrong, [`Error::Input`] if the key is none.
    pub fn verify(&self) -> Result<()> {
        let public = ml_dsa::PublicKey::from_bytes(&self.public)?;
        public.verify(CONTEXT_SIGNATURE, &self.statement()?, &self.signature).map_err(|_| {
            Error::verification(format!("countersignature: of node {}: the signature is wrong", hex(&self.node)))
        })
    }
}

/// Checks that a countersignature is of the node of a record, with the key that is believed to be its own, and right.
fn verify_by(made: &Countersignature, entry: &NodeRecord, known: Option<&Digest>) -> Result<()> {
    if (made.network, made.node) != (entry.network, entry.node) {
        return Err(Error::verification(format!(
            "countersignature: of node {}, not of {}, or of another network",
            hex(&made.node),
            hex(&entry.node)
        )));
    }
    if known.unwrap_or(&entry.ml_dsa) != &ml_dsa_digest(&made.public) {
        let why = if known.is_some() { "that is known" } else { "in its node record" };
        return Err(Error::verification(format!(
            "countersignature: the ML-DSA key of node {} is not the one {why}",
            hex(&entry.node)
        )));
    }
    made.verify()
}

/// A countersignature with the record in which its signer says that the key is its own.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Vouched {
    /// Who signed, and with which keys.
    pub entry: NodeRecord,
    /// The signature.
    pub countersignature: Countersignature,
}

/// A receipt with the countersignatures of its holders and delegates. Written in version 1 where nothing in it says a place.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CountersignedReceipt {
    /// What is countersigned.
    pub receipt: Receipt,
    /// Holders, of their acks; ascending and distinct by node.
    pub holders: List<Vouched, FRAGMENTS_MAX>,
    /// Delegates, of the batch; ascending and distinct by node.
    pub delegates: List<Vouched, DELEGATES_MAX>,
}

impl Record for CountersignedReceipt {
    const TAG: [u8; 4] = *b"CCcr";
    const VERSION: u16 = 2;
    const NAME: &'static str = "countersigned receipt";
    const LEN_MAX: usize =
        Receipt::LEN_MAX + (FRAGMENTS_MAX + DELEGATES_MAX) * (NodeRecord::LEN_MAX + Countersignature::LEN_MAX);

    fn version(&self) -> u16 {
        let entries = || self.holders.iter().chain(self.delegates.iter());
        let places = self.receipt.version() > 1 || entries().any(|vouched| !vouched.entry.place.is_empty());
        if places { 2 } else { 1 }
    }

    fn read_older(version: u16, body: &mut &[u8]) -> Option<std::io::Result<Self>> {
        (version == 1).then(|| Self::deserialize(body))
    }

    fn check(&self) -> Result<()> {
        self.receipt.check()?;
        for (what, list) in [("holders", &self.holders[..]), ("delegates", &self.delegates[..])] {
            if !list.windows(2).all(|pair| pair[0].entry.node < pair[1].entry.node) {
                return Err(Error::input(format!(
                    "countersigned receipt: the {what} must be ascending and distinct by node"
                )));
            }
            list.iter().try_for_each(|vouched| vouched.entry.check())?;
        }
        Ok(())
    }
}

impl CountersignedReceipt {
    /// Puts it together: each countersignature goes where its subject says. What is not about the receipt is refused; how
    /// many there are, and whether they are right, is not checked here.
    ///
    /// # Errors
    /// [`Error::Verification`] if one is of something else, [`Error::Input`] if a node signed one thing twice.
    pub fn new(receipt: Receipt, signed: Vec<Vouched>) -> Result<Self> {
        let (acks, header) = subjects(&receipt)?;
        let (mut holders, mut delegates) = (Vec::new(), Vec::new());
        for vouched in signed {
            match vouched.countersignature.subject {
                subject @ Subject::Ack(_) if acks.get(&subject) == Some(&vouched.entry.node) => holders.push(vouched),
                subject @ Subject::Batch(_) if subject == header => delegates.push(vouched),
                _ => {
                    return Err(Error::verification(format!(
                        "countersigned receipt: that of node {} is of something else",
                        hex(&vouched.entry.node)
                    )));
                }
            }
        }
        holders.sort_by_key(|vouched| vouched.entry.node);
        delegates.sort_by_key(|vouched| vouched.entry.node);
        let made = Self {
            receipt,
            holders: List::new("countersigned receipt: holders", holders)?,
            delegates: List::new("countersigned receipt: delegates", delegates)?,
        };
        made.check()?;
        Ok(made)
    }

    /// Checks the receipt ([`Receipt::verify`]) and every countersignature: a write quorum of holders, each of its own ack,
    /// and a quorum of the epoch's delegates by stake, each of the batch. Needs no network.
    ///
    /// A signer's ML-DSA key is believed on `known`, digests by node ([`ml_dsa_digest`]), where its node is there, and else
    /// on its node record.
    ///
    /// # Errors
    /// [`Error::Verification`] if anything in it is wrong or not about the receipt; [`Error::Unavailable`] if there are too
    /// few.
    pub fn verify(&self, trust: &Trust, known: &HashMap<Key, Digest>) -> Result<()> {
        self.check()?;
        self.receipt.verify(trust)?;
        let entries: Vec<(&NodeRecord, Digest)> = self
            .holders
            .iter()
            .chain(self.delegates.iter())
            .map(|vouched| Ok((&vouched.entry, vouched.entry.digest()?)))
            .collect::<Result<_>>()?;
        signed::verify_many::<NodeRecord, _>(&entries)?.into_iter().collect::<Result<()>>()?;
        let (acks, header) = subjects(&self.receipt)?;
        for vouched in self.holders.iter() {
            self.verify_one(vouched, known)?;
            if acks.get(&vouched.countersignature.subject) != Some(&vouched.entry.node) {
                return Err(stray("an ack of its own in the receipt", &vouched.entry.node));
            }
        }
        let needed = usize::from(self.receipt.availability.manifest.quorum);
        if self.holders.len() < needed {
            let had = self.holders.len() as u64;
            return Err(Error::unavailable("countersigned receipt: holders", needed as u64, had));
        }
        let validators = &self.receipt.epoch.validators;
        let mut stakes = Vec::with_capacity(self.delegates.len());
        for vouched in self.delegates.iter() {
            self.verify_one(vouched, known)?;
            let Some(position) = validators.position(&vouched.entry.node) else {
                return Err(stray("a delegate's vote in the receipt's epoch", &vouched.entry.node));
            };
            if vouched.countersignature.subject != header {
                return Err(stray("the receipt's batch", &vouched.entry.node));
            }
            stakes.push(validators.items()[position].stake);
        }
        let (had, needed) = (quorum::sum(stakes)?, validators.quorum()?);
        if had < needed {
            let counted = |stake: u128| u64::try_from(stake).unwrap_or(u64::MAX);
            return Err(Error::unavailable("countersigned receipt: stake of delegates", counted(needed), counted(had)));
        }
        Ok(())
    }

    /// Everything about one countersignature but what it is of.
    fn verify_one(&self, vouched: &Vouched, known: &HashMap<Key, Digest>) -> Result<()> {
        let Vouched { entry, countersignature } = vouched;
        if entry.network != self.receipt.epoch.network {
            return Err(stray("of the receipt's network", &entry.node));
        }
        verify_by(countersignature, entry, known.get(&entry.node))
    }

    /// The signers whose ML-DSA keys are believed on their node records, `known` apart.
    pub fn believed(&self, known: &HashSet<Key>) -> Vec<Key> {
        let mut nodes: Vec<Key> = self.holders.iter().chain(self.delegates.iter()).map(|v| v.entry.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes.retain(|node| !known.contains(node));
        nodes
    }
}

fn stray(what: &str, node: &Key) -> Error {
    Error::verification(format!("countersigned receipt: what node {} countersigned is not {what}", hex(node)))
}

/// What may be countersigned of a receipt: each ack, with its holder, and the batch.
fn subjects(receipt: &Receipt) -> Result<(HashMap<Subject, Key>, Subject)> {
    let acks = receipt.availability.full_acks()?;
    let acks = acks.iter().map(|ack| Ok((Subject::Ack(ack.digest()?), ack.node))).collect::<Result<_>>()?;
    Ok((acks, Subject::Batch(receipt.header.digest()?)))
}
