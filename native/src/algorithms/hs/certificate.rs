//! Quorum certificates and timeout certificates: who signed, as a bitmap or a list, and the signatures.
//!
//! A committee without aggregate keys certifies by a list of Ed25519 signatures, one with them by one BLS signature, the sum
//! of all; of either the other form is none. So what is signed has one certificate for a set of signers.

use std::io::{Read, Write};

use borsh::{BorshDeserialize, BorshSerialize};

use super::message::{QC_MAX, TC_MAX, timeout_message, vote_message};
use crate::crypto::bls::{self, SIGNATURE_LEN};
use crate::crypto::ed25519::Item;
use crate::crypto::hash::{self, Digest, Hasher};
use crate::crypto::remembered;
use crate::error::{Error, Result};
use crate::primitives::committee::{Committee, MEMBERS_MAX, Tally};
use crate::primitives::mutant::mutant;
use crate::primitives::wire::{self, Bytes, List, Record};

const CONTEXT_TC: &str = "city-chain v1 hotstuff timeout certificate";
const CONTEXT_QC: &str = "city-chain v1 hotstuff quorum certificate";

/// What stands in place of the number of signatures where there is one for all.
const AGGREGATE: u32 = u32::MAX;

/// The signatures of a quorum certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signatures {
    /// One of each signer, Ed25519, in the order of places.
    Each(List<[u8; 64], MEMBERS_MAX>),
    /// The sum of the signers' BLS signatures.
    Aggregate([u8; SIGNATURE_LEN]),
}

impl Default for Signatures {
    fn default() -> Self {
        Self::Each(List::default())
    }
}

impl BorshSerialize for Signatures {
    fn serialize<W: Write>(&self, writer: &mut W) -> std::io::Result<()> {
        match self {
            Self::Each(signatures) => signatures.serialize(writer),
            Self::Aggregate(signature) => (AGGREGATE, signature).serialize(writer),
        }
    }
}

impl BorshDeserialize for Signatures {
    fn deserialize_reader<R: Read>(reader: &mut R) -> std::io::Result<Self> {
        let count = u32::deserialize_reader(reader)?;
        if count == AGGREGATE {
            return BorshDeserialize::deserialize_reader(reader).map(Self::Aggregate);
        }
        // The list reads the number itself.
        List::deserialize_reader(&mut (&count.to_le_bytes()[..]).chain(reader)).map(Self::Each)
    }
}

/// Where certificates belong: what their signatures bind, and the block before the first.
#[derive(Debug, Clone, Copy)]
pub struct Domain<'a> {
    /// The validators.
    pub committee: &'a Committee,
    /// The chain.
    pub chain: &'a Digest,
    /// The epoch.
    pub epoch: u64,
    /// The id that stands before the first block, where it may be certified without votes.
    pub genesis: Option<&'a Digest>,
}

/// A quorum voted for a block.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Qc {
    /// The block's round.
    pub round: u64,
    /// The block's id.
    pub block: Digest,
    /// Bit i % 8 of byte i / 8 stands for place i; as many bytes as the committee needs.
    pub signers: Bytes<{ MEMBERS_MAX / 8 }>,
    /// Their signatures.
    pub signatures: Signatures,
}

impl Record for Qc {
    const TAG: [u8; 4] = *b"CChq";
    const VERSION: u16 = 1;
    const NAME: &'static str = "quorum certificate";
    const LEN_MAX: usize = QC_MAX;
}

impl Qc {
    /// What certifies the block before the first.
    pub fn genesis(block: Digest) -> Self {
        Self { round: 0, block, signers: Bytes::default(), signatures: Signatures::default() }
    }

    /// A certificate of these signatures (place, signature), which are for the caller to verify.
    ///
    /// # Errors
    /// [`Error::Input`] if a place is none of the committee or stands twice.
    pub fn new(committee: &Committee, round: u64, block: Digest, mut votes: Vec<(u16, [u8; 64])>) -> Result<Self> {
        votes.sort_unstable_by_key(|(place, _)| *place);
        let signers = signers(committee, votes.iter().map(|(place, _)| *place))?;
        let signatures = votes.into_iter().map(|(_, signature)| signature).collect();
        let signatures = Signatures::Each(List::new("quorum certificate: signatures", signatures)?);
        Ok(Self { round, block, signers, signatures })
    }

    /// A certificate of the sum of these signatures (place, signature), which are for the caller to verify.
    ///
    /// # Errors
    /// [`Error::Input`] if a place is none of the committee or stands twice, [`Error::Verification`] if the signatures cancel
    /// out.
    pub fn aggregate(
        committee: &Committee,
        round: u64,
        block: Digest,
        votes: &[(u16, bls::Signature)],
    ) -> Result<Self> {
        let signers = signers(committee, votes.iter().map(|(place, _)| *place))?;
        let signatures: Vec<bls::Signature> = votes.iter().map(|(_, signature)| *signature).collect();
        let Some(sum) = bls::Signature::sum(&signatures) else {
            return Err(Error::verification("quorum certificate: the signatures cancel out"));
        };
        Ok(Self { round, block, signers, signatures: Signatures::Aggregate(sum.to_bytes()) })
    }

    /// The places that signed.
    pub fn places(&self) -> Vec<u16> {
        let set = |at: &usize| self.signers[at / 8] >> (at % 8) & 1 == 1;
        (0..self.signers.len() * 8).filter(set).filter_map(|at| u16::try_from(at).ok()).collect()
    }

    /// Checks it: a distinct quorum, and every signature.
    ///
    /// # Errors
    /// [`Error::Verification`] with what is wrong.
    pub fn verify(&self, domain: Domain<'_>) -> Result<()> {
        if self.round == 0 {
            let empty = self.signatures == Signatures::default() && self.signers.is_empty();
            if empty && domain.genesis == Some(&self.block) {
                return Ok(());
            }
            return Err(Error::verification("quorum certificate: of round 0, which only the genesis has"));
        }
        let committee = domain.committee;
        let places = self.places();
        let signed = match &self.signatures {
            Signatures::Each(signatures) => signatures.len(),
            Signatures::Aggregate(_) => places.len(),
        };
        if self.signers.len() != committee.count().div_ceil(8) || places.len() != signed {
            return Err(Error::verification(format!(
                "quorum certificate: {} signers in {} bytes and {signed} signatures, for a committee of {}",
                places.len(),
                self.signers.len(),
                committee.count()
            )));
        }
        check_quorum(Self::NAME, committee, &places)?;
        let message = vote_message(domain.chain, domain.epoch, self.round, &self.block);
        match (&self.signatures, committee.aggregates()) {
            (Signatures::Each(signatures), keys) if keys.is_none() || mutant!("hs.form") => {
                verify_all(Self::NAME, committee, &places, &vec![message; places.len()], signatures)
            }
            (Signatures::Aggregate(sum), Some(keys)) => self.verify_sum(committee, keys, &places, &message, sum),
            (Signatures::Each(_), _) => Err(Error::verification(
                "quorum certificate: a list of signatures, but this committee signs with aggregate keys",
            )),
            (Signatures::Aggregate(_), None) => Err(Error::verification(
                "quorum certificate: one signature for all, but this committee has no aggregate keys",
            )),
        }
    }

    /// The sum of the signatures under the sum of the signers' keys. What was found right is not checked again.
    fn verify_sum(
        &self,
        committee: &Committee,
        keys: &[bls::PublicKey],
        places: &[u16],
        message: &Digest,
        sum: &[u8; SIGNATURE_LEN],
    ) -> Result<()> {
        let mut print = Hasher::new(CONTEXT_QC);
        print.fixed(&committee.digest()).fixed(message).fixed(sum);
        if !mutant!("hs.signers") {
            print.field(&self.signers);
        }
        let right = bls::once(&print.finish(), || {
            let signers: Vec<bls::PublicKey> =
                places.iter().filter_map(|place| keys.get(usize::from(*place)).copied()).collect();
            bls::Signature::from_bytes(sum).is_ok_and(|sum| bls::verify_sum(&signers, message, &sum))
        });
        if right { Ok(()) } else { Err(Error::verification("quorum certificate: the signature of all is wrong")) }
    }
}

/// The bitmap of places.
fn signers(committee: &Committee, places: impl Iterator<Item = u16>) -> Result<Bytes<{ MEMBERS_MAX / 8 }>> {
    let mut bits = vec![0u8; committee.count().div_ceil(8)];
    let mut tally = Tally::default();
    for place in places {
        if !tally.add(committee, place) {
            return Err(Error::input(format!("quorum certificate: place {place} stands twice or is none")));
        }
        bits[usize::from(place / 8)] |= 1 << (place % 8);
    }
    Bytes::new("quorum certificate: signers", bits)
}

/// One signature of a timeout certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TimeoutVote {
    /// The validator's place.
    pub voter: u16,
    /// The round of the highest quorum certificate that it knew.
    pub qc_round: u64,
    /// Its signature over [`timeout_message`].
    pub signature: [u8; 64],
}

/// A quorum gave a round up.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Tc {
    /// The round.
    pub round: u64,
    /// The highest quorum certificate that one of them knew.
    pub high_qc: Qc,
    /// Who, in the order of places.
    pub votes: List<TimeoutVote, MEMBERS_MAX>,
}

impl Record for Tc {
    const TAG: [u8; 4] = *b"CChx";
    const VERSION: u16 = 1;
    const NAME: &'static str = "timeout certificate";
    const LEN_MAX: usize = TC_MAX;
}

impl Tc {
    /// The digest that a block's header names.
    pub fn digest(&self) -> Result<Digest> {
        Ok(hash::digest(CONTEXT_TC, &wire::encode(self)?))
    }

    /// Checks it: a distinct quorum, each of them with a certificate of an earlier round, the highest of which is
    /// [`Tc::high_qc`], and every signature.
    ///
    /// # Errors
    /// [`Error::Verification`] with what is wrong.
    pub fn verify(&self, domain: Domain<'_>) -> Result<()> {
        let rise = self.votes.windows(2).all(|pair| pair[0].voter < pair[1].voter);
        if !rise && !mutant!("hs.tc-distinct") {
            return Err(Error::verification("timeout certificate: the places do not rise"));
        }
        if let Some(vote) = self.votes.iter().find(|vote| vote.qc_round >= self.round) {
            return Err(Error::verification(format!(
                "timeout certificate: of round {}, but place {} had round {} certified",
                self.round, vote.voter, vote.qc_round
            )));
        }
        let highest = self.votes.iter().map(|vote| vote.qc_round).max().unwrap_or_default();
        if self.high_qc.round != highest && !mutant!("hs.tc-high-qc") {
            return Err(Error::verification(format!(
                "timeout certificate: with the certificate of round {}, but {highest} was the highest",
                self.high_qc.round
            )));
        }
        let places: Vec<u16> = self.votes.iter().map(|vote| vote.voter).collect();
        if !mutant!("hs.tc-distinct") {
            check_quorum(Self::NAME, domain.committee, &places)?;
        }
        let signed = |vote: &TimeoutVote| timeout_message(domain.chain, domain.epoch, self.round, vote.qc_round);
        let messages: Vec<Digest> = self.votes.iter().map(signed).collect();
        let signatures: Vec<[u8; 64]> = self.votes.iter().map(|vote| vote.signature).collect();
        verify_all(Self::NAME, domain.committee, &places, &messages, &signatures)?;
        self.high_qc.verify(domain)
    }
}

/// Distinct members of weight enough.
fn check_quorum(what: &str, committee: &Committee, places: &[u16]) -> Result<()> {
    let mut tally = Tally::default();
    if let Some(place) = places.iter().find(|place| !tally.add(committee, **place)) {
        return Err(Error::verification(format!("{what}: place {place} stands twice or is none")));
    }
    let enough = if mutant!("hs.quorum") { tally.has_honest(committee) } else { tally.is_quorum(committee) };
    if !enough {
        return Err(Error::verification(format!(
            "{what}: signed by a weight of {}, {} is needed",
            tally.weight(),
            committee.quorum()
        )));
    }
    Ok(())
}

/// Every signature, each over its message.
fn verify_all(
    what: &str,
    committee: &Committee,
    places: &[u16],
    messages: &[Digest],
    signatures: &[[u8; 64]],
) -> Result<()> {
    let members = places.iter().filter_map(|place| committee.get(*place));
    let items: Vec<Item<'_>> = members
        .zip(messages)
        .zip(signatures)
        .map(|((member, message), signature)| Item { public: &member.key, message, signature })
        .collect();
    match remembered::verify_many(&items)?.iter().position(|right| !right) {
        Some(at) => Err(Error::verification(format!("{what}: the signature of place {} is wrong", places[at]))),
        None => Ok(()),
    }
}
