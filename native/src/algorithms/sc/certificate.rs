//! What a shard says, and the quorum of its committee that says so.

use borsh::{BorshDeserialize, BorshSerialize};

use super::layout::Layout;
use super::manifest::Manifest;
use super::reshard::PARTS_MAX;
use crate::crypto::ed25519::{self, SigningKey};
use crate::crypto::hash::{self, Digest, Hasher};
use crate::crypto::remembered;
use crate::error::{Error, Result};
use crate::primitives::committee::{Committee, MEMBERS_MAX, Tally};
use crate::primitives::mutant::mutant;
use crate::primitives::wire::{List, Record};

const CONTEXT_STATEMENT: &str = "city-chain v1 sc statement";
const CONTEXT_HANDOVER: &str = "city-chain v1 sc handover";

/// What a shard says of a transaction. No shard ever says both Prepared and Abort of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Verdict {
    /// Its keys are locked for it (at the decider: it is committed), until the outcome is known.
    Prepared = 1,
    /// It is refused for ever.
    Abort = 2,
    /// The decider's word after the expiry: it is not to be committed any more by anybody who has not been told so.
    Expired = 3,
    /// No key that the shard has in this epoch is locked for it, or will be.
    Released = 4,
    /// A part of another shard's state, whose digest stands in the place of the transaction's id, has been taken over.
    Imported = 5,
}

/// What the members of a committee sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Statement {
    /// The chain.
    pub chain: Digest,
    /// The epoch whose committee says it.
    pub epoch: u64,
    /// The shard that is spoken for.
    pub shard: u16,
    /// The transaction.
    pub txid: Digest,
    /// The digest of the versions of its inputs.
    pub session: Digest,
    /// What is said.
    pub verdict: Verdict,
}

impl Statement {
    /// What a member signs.
    pub fn message(&self) -> Digest {
        Hasher::new(CONTEXT_STATEMENT)
            .fixed(&self.chain)
            .u64(self.epoch)
            .fixed(&self.shard.to_le_bytes())
            .fixed(&self.txid)
            .fixed(&self.session)
            .fixed(&[self.verdict as u8])
            .finish()
    }

    /// A member's signature.
    pub fn sign(&self, key: &SigningKey) -> [u8; 64] {
        key.sign(&self.message())
    }

    /// Checks that this is about one attempt: the manifest's, and no earlier one of the same transaction.
    ///
    /// # Errors
    /// [`Error::Protocol`] that says what it is about instead.
    pub fn check_about(&self, manifest: &Manifest) -> Result<()> {
        let shard = self.shard;
        if self.chain != manifest.chain {
            return Err(Error::protocol(format!("shard certificate: of shard {shard}: it is of another chain")));
        }
        if !mutant!("sc.old_session") && self.txid != manifest.txid()? {
            return Err(Error::protocol(format!(
                "shard certificate: of shard {shard}: it is about another transaction"
            )));
        }
        if !mutant!("sc.old_session") && self.session != manifest.session() {
            return Err(Error::protocol(format!("shard certificate: of shard {shard}: it is about another session")));
        }
        Ok(())
    }
}

/// One signature of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Signature {
    /// Where the signer stands in the committee.
    pub position: u16,
    /// Its signature.
    pub signature: [u8; 64],
}

/// A quorum's signatures, ascending and distinct by position.
pub type Signatures = List<Signature, MEMBERS_MAX>;

/// A statement with a quorum's signatures.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Certificate {
    /// What is said.
    pub statement: Statement,
    /// Who says it.
    pub signatures: Signatures,
}

/// The most bytes of a certificate.
pub const CERTIFICATE_LEN_MAX: usize = MEMBERS_MAX * 66 + 256;

impl Record for Certificate {
    const TAG: [u8; 4] = *b"CCsv";
    const VERSION: u16 = 1;
    const NAME: &'static str = "shard certificate";
    const LEN_MAX: usize = CERTIFICATE_LEN_MAX;

    fn check(&self) -> Result<()> {
        check_ascending(Self::NAME, &self.signatures)
    }
}

impl Certificate {
    /// Makes a certificate of a committee's signatures; what is wrong, foreign or double is left out.
    ///
    /// # Errors
    /// [`Error::Unavailable`] with the weight needed and had if there is no quorum.
    pub fn collect(committee: &Committee, statement: Statement, signatures: &[Signature]) -> Result<Self> {
        let signatures = collect(Self::NAME, committee, &statement.message(), signatures)?;
        Ok(Self { statement, signatures })
    }

    /// Checks the quorum's signatures under one of `layouts`, that of the statement's epoch.
    ///
    /// # Errors
    /// [`Error::Verification`] that says what is missing or wrong.
    pub fn verify<'a>(&self, layouts: impl IntoIterator<Item = &'a Layout>) -> Result<()> {
        let Statement { chain, epoch, shard, .. } = self.statement;
        let layout = find(layouts, &chain, epoch)
            .ok_or_else(|| Error::verification(format!("shard certificate: epoch {epoch} is not known here")))?;
        verify(Self::NAME, layout.committee(shard)?, &self.statement.message(), &self.signatures)
    }
}

/// The layout of an epoch.
pub(super) fn find<'a>(
    layouts: impl IntoIterator<Item = &'a Layout>,
    chain: &Digest,
    epoch: u64,
) -> Option<&'a Layout> {
    layouts.into_iter().find(|layout| layout.epoch() == epoch && layout.chain() == chain)
}

/// What the old quorum signs at the boundary: what comes next, and what each shard gets of its state.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Handover {
    /// The chain.
    pub chain: Digest,
    /// The epoch that ends; its committee signs.
    pub epoch: u64,
    /// The shard that hands over.
    pub shard: u16,
    /// The digest of the next epoch's layout, which has the new committee.
    pub next: Digest,
    /// What the application binds to it, such as the root of its own state.
    pub application: Digest,
    /// The digests of the parts, by the shard that gets them and their numbers; the shard's own is that of the state that
    /// stays.
    pub parts: List<(u16, u16, Digest), PARTS_MAX>,
}

impl Record for Handover {
    const TAG: [u8; 4] = *b"CCsd";
    const VERSION: u16 = 1;
    const NAME: &'static str = "handover";
    const LEN_MAX: usize = PARTS_MAX * 36 + 256;

    fn check(&self) -> Result<()> {
        match self.parts.windows(2).all(|pair| (pair[0].0, pair[0].1) < (pair[1].0, pair[1].1)) {
            true => Ok(()),
            false => Err(Error::input("handover: the parts must be ascending and distinct by shard and number")),
        }
    }
}

impl Handover {
    /// What a member of the old committee signs.
    ///
    /// # Errors
    /// None that can be reached: it is within its limits.
    pub fn message(&self) -> Result<Digest> {
        Ok(hash::digest(CONTEXT_HANDOVER, &borsh::to_vec(self).map_err(|error| Error::input(error.to_string()))?))
    }

    /// The digest of a part that a shard gets.
    pub fn part(&self, shard: u16, number: u16) -> Option<Digest> {
        let at = self.parts.binary_search_by_key(&(shard, number), |(to, number, _)| (*to, *number));
        at.ok().map(|at| self.parts[at].2)
    }
}

/// A handover with the old quorum's signatures.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct HandoverCertificate {
    /// What is handed over.
    pub handover: Handover,
    /// Who says so.
    pub signatures: Signatures,
}

impl Record for HandoverCertificate {
    const TAG: [u8; 4] = *b"CCsh";
    const VERSION: u16 = 2;
    const NAME: &'static str = "handover certificate";
    const LEN_MAX: usize = CERTIFICATE_LEN_MAX + Handover::LEN_MAX;

    fn check(&self) -> Result<()> {
        self.handover.check()?;
        check_ascending(Self::NAME, &self.signatures)
    }
}

impl HandoverCertificate {
    /// Makes a certificate of the old committee's signatures; see [`Certificate::collect`].
    ///
    /// # Errors
    /// [`Error::Unavailable`] with the weight needed and had if there is no quorum.
    pub fn collect(committee: &Committee, handover: Handover, signatures: &[Signature]) -> Result<Self> {
        let signatures = collect(Self::NAME, committee, &handover.message()?, signatures)?;
        Ok(Self { handover, signatures })
    }

    /// Checks the quorum's signatures under the layout of the epoch that ends.
    ///
    /// # Errors
    /// [`Error::Verification`] that says what is missing or wrong.
    pub fn verify(&self, old: &Layout) -> Result<()> {
        let Handover { chain, epoch, shard, .. } = self.handover;
        if (chain, epoch) != (*old.chain(), old.epoch()) || !old.has(shard) {
            return Err(Error::verification(format!(
                "handover certificate: of shard {shard} at the end of epoch {epoch}, which is not that of epoch {}",
                old.epoch()
            )));
        }
        verify(Self::NAME, old.committee(shard)?, &self.handover.message()?, &self.signatures)
    }
}

fn check_ascending(what: &str, signatures: &Signatures) -> Result<()> {
    match signatures.windows(2).all(|pair| pair[0].position < pair[1].position) {
        true => Ok(()),
        false => Err(Error::input(format!("{what}: the signatures must be ascending and distinct by position"))),
    }
}

fn collect(what: &str, committee: &Committee, message: &Digest, signatures: &[Signature]) -> Result<Signatures> {
    let known: Vec<(&Signature, [u8; 32])> =
        signatures.iter().filter_map(|entry| committee.get(entry.position).map(|member| (entry, member.key))).collect();
    let items: Vec<ed25519::Item<'_>> =
        known.iter().map(|(entry, public)| ed25519::Item { public, message, signature: &entry.signature }).collect();
    let good = remembered::verify_many(&items)?;
    let mut tally = Tally::default();
    let mut counted: Vec<Signature> = Vec::new();
    for ((entry, _), good) in known.iter().zip(good) {
        if good && tally.add(committee, entry.position) {
            counted.push(**entry);
        }
    }
    if !tally.is_quorum(committee) {
        let clip = |weight: u128| u64::try_from(weight).unwrap_or(u64::MAX);
        return Err(Error::unavailable(format!("{what}: weight"), clip(committee.quorum()), clip(tally.weight())));
    }
    counted.sort_unstable_by_key(|entry| entry.position);
    List::new(what, counted)
}

fn verify(what: &str, committee: &Committee, message: &Digest, signatures: &Signatures) -> Result<()> {
    let mut tally = Tally::default();
    let mut items = Vec::with_capacity(signatures.len());
    for entry in signatures.iter() {
        let Some(member) = committee.get(entry.position).filter(|_| tally.add(committee, entry.position)) else {
            return Err(Error::verification(format!("{what}: there is no member {} to count", entry.position)));
        };
        items.push(ed25519::Item { public: &member.key, message, signature: &entry.signature });
    }
    if !tally.is_quorum(committee) {
        return Err(Error::verification(format!(
            "{what}: a weight of {} signed, {} are needed",
            tally.weight(),
            committee.quorum()
        )));
    }
    match remembered::verify_many(&items)?.iter().position(|good| !good) {
        Some(at) => {
            Err(Error::verification(format!("{what}: the signature of member {} is wrong", signatures[at].position)))
        }
        None => Ok(()),
    }
}

/// The certificates by the shard that they speak for, each checked; of two of one shard the first counts.
pub(super) fn prepared(
    manifest: &Manifest,
    certificates: &[Certificate],
    shards: &[u16],
    layouts: &[&Layout],
) -> Result<()> {
    for shard in shards {
        let of = |certificate: &&Certificate| certificate.statement.shard == *shard;
        let found = match mutant!("sc.foreign_certificate") {
            true => certificates.first(),
            false => certificates.iter().find(of),
        };
        let Some(certificate) = found else {
            return Err(Error::protocol(format!("shards: of shard {shard} there is no certificate")));
        };
        certificate.statement.check_about(manifest)?;
        if certificate.statement.verdict != Verdict::Prepared {
            return Err(Error::protocol(format!(
                "shards: shard {shard} says {:?}, and Prepared is needed",
                certificate.statement.verdict
            )));
        }
        certificate.verify(layouts.iter().copied())?;
    }
    Ok(())
}

/// The shards whose word is needed for a commit: all that are listed, those with outputs only too.
pub(super) fn needed(manifest: &Manifest) -> Vec<u16> {
    let asked = |shard: &u16| !(mutant!("sc.output_only") && manifest.only_outputs(*shard));
    manifest.shards.iter().copied().filter(asked).collect()
}

/// Checks a certificate that ends a transaction: Abort of a listed shard, or Expired of the decider.
pub(super) fn ended(manifest: &Manifest, certificate: &Certificate, layouts: &[&Layout]) -> Result<()> {
    let Statement { shard, verdict, .. } = certificate.statement;
    certificate.statement.check_about(manifest)?;
    let entitled = match verdict {
        Verdict::Abort => manifest.lists(shard),
        Verdict::Expired => shard == manifest.decider(),
        _ => false,
    };
    if !entitled {
        return Err(Error::protocol(format!("shards: {verdict:?} of shard {shard} ends nothing")));
    }
    certificate.verify(layouts.iter().copied())
}

/// Encodes statements for whoever signs them elsewhere.
impl Record for Statement {
    const TAG: [u8; 4] = *b"CCss";
    const VERSION: u16 = 1;
    const NAME: &'static str = "shard statement";
    const LEN_MAX: usize = 128;
}
