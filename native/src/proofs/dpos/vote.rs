//! Votes and the certificates made of them.

use borsh::{BorshDeserialize, BorshSerialize};

use super::validators::{VALIDATORS_MAX, ValidatorSet};
use crate::crypto::ed25519::{self, SigningKey};
use crate::crypto::hash::{Digest, Hasher, hex};
use crate::crypto::remembered;
use crate::error::{Error, Result};
use crate::primitives::wire::{List, Record};

/// How many refused votes an error names.
const REASONS_MAX: usize = 8;

const CONTEXT_VOTE: &str = "city-chain v1 dpos vote";

/// What is voted on: one batch at one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Slot {
    /// The network.
    pub network: Digest,
    /// The epoch.
    pub epoch: u64,
    /// The batch's place in the ledger.
    pub height: u64,
    /// Which leader's attempt at that place.
    pub attempt: u32,
    /// The batch before.
    pub previous: Digest,
    /// The batch.
    pub digest: Digest,
}

impl Slot {
    /// What a voter signs.
    pub fn message(&self) -> Digest {
        Hasher::new(CONTEXT_VOTE)
            .fixed(&self.network)
            .u64(self.epoch)
            .u64(self.height)
            .u64(u64::from(self.attempt))
            .fixed(&self.previous)
            .fixed(&self.digest)
            .finish()
    }
}

/// One delegate's signed vote.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Vote {
    /// What for.
    pub slot: Slot,
    /// Who.
    pub voter: [u8; 32],
    /// The voter's signature over [`Slot::message`].
    pub signature: [u8; 64],
}

impl Record for Vote {
    const TAG: [u8; 4] = *b"CCvo";
    const VERSION: u16 = 1;
    const NAME: &'static str = "vote";
    const LEN_MAX: usize = 512;
}

impl Vote {
    /// Signs a vote.
    pub fn new(key: &SigningKey, slot: Slot) -> Self {
        Self { slot, voter: key.public(), signature: key.sign(&slot.message()) }
    }
}

/// One signature in a certificate.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Signature {
    /// Where the voter stands in the validator set.
    pub position: u16,
    /// Its signature over [`Slot::message`].
    pub signature: [u8; 64],
}

/// A stake-weighted quorum's votes for one batch.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Certificate {
    /// What was voted for.
    pub slot: Slot,
    /// The signatures, ascending and distinct by position.
    pub signatures: List<Signature, VALIDATORS_MAX>,
}

impl Record for Certificate {
    const TAG: [u8; 4] = *b"CCce";
    const VERSION: u16 = 1;
    const NAME: &'static str = "certificate";
    const LEN_MAX: usize = VALIDATORS_MAX * 66 + 512;

    fn check(&self) -> Result<()> {
        if !self.signatures.windows(2).all(|pair| pair[0].position < pair[1].position) {
            return Err(Error::input("certificate: the signatures must be ascending and distinct by position"));
        }
        Ok(())
    }
}

impl Certificate {
    /// Checks that delegates of `set` with a quorum of its stake signed, and that every signature is right.
    pub fn verify(&self, set: &ValidatorSet) -> Result<()> {
        self.check()?;
        if self.slot.epoch != set.epoch() {
            return Err(Error::verification(format!(
                "certificate: of epoch {}, not of {}",
                self.slot.epoch,
                set.epoch()
            )));
        }
        let message = self.slot.message();
        let mut stake = 0u128;
        let mut items = Vec::with_capacity(self.signatures.len());
        for entry in self.signatures.iter() {
            let Some(validator) = set.items().get(usize::from(entry.position)) else {
                return Err(Error::verification(format!("certificate: there is no delegate {}", entry.position)));
            };
            stake += u128::from(validator.stake);
            items.push(ed25519::Item { public: &validator.key, message: &message, signature: &entry.signature });
        }
        let needed = set.quorum()?;
        if stake < needed {
            return Err(Error::verification(format!("certificate: a stake of {stake} signed, {needed} are needed")));
        }
        match remembered::verify_many(&items)?.iter().position(|good| !good) {
            Some(at) => Err(Error::verification(format!(
                "certificate: the signature of delegate {} is wrong",
                self.signatures[at].position
            ))),
            None => Ok(()),
        }
    }
}

/// What [`collect`] made of some votes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// The certificate.
    pub certificate: Certificate,
    /// Votes that do not count: position in the input and why.
    pub refused: Vec<(usize, String)>,
}

/// Makes a certificate for `slot` from votes; those that are foreign, double or wrong are named and not counted.
///
/// # Errors
/// [`Error::Unavailable`] with the stake needed and had if the quorum is missed.
pub fn collect(set: &ValidatorSet, slot: &Slot, votes: &[Vote]) -> Result<Collected> {
    let message = slot.message();
    let place = |vote: &Vote| set.position(&vote.voter).filter(|_| vote.slot == *slot);
    let items: Vec<_> = votes
        .iter()
        .filter(|vote| place(vote).is_some())
        .map(|vote| ed25519::Item { public: &vote.voter, message: &message, signature: &vote.signature })
        .collect();
    let mut good = remembered::verify_many(&items)?.into_iter();
    let mut refused = Vec::new();
    let mut counted: Vec<Option<usize>> = vec![None; set.items().len()];
    for (at, vote) in votes.iter().enumerate() {
        let reason = match place(vote) {
            None if set.position(&vote.voter).is_some() => format!("{} voted for something else", hex(&vote.voter)),
            None => format!("{} is not a delegate of epoch {}", hex(&vote.voter), set.epoch()),
            Some(_) if good.next() != Some(true) => format!("the signature of {} is wrong", hex(&vote.voter)),
            Some(position) if counted[position].is_some() => format!("{} voted twice", hex(&vote.voter)),
            Some(position) => {
                counted[position] = Some(at);
                continue;
            }
        };
        refused.push((at, reason));
    }
    let mut stake = 0u128;
    let mut signatures = Vec::new();
    for (position, at) in counted.iter().enumerate() {
        if let (Some(at), Ok(index)) = (at, u16::try_from(position)) {
            stake += u128::from(set.items()[position].stake);
            signatures.push(Signature { position: index, signature: votes[*at].signature });
        }
    }
    let needed = set.quorum()?;
    if stake < needed {
        let clip = |value: u128| u64::try_from(value).unwrap_or(u64::MAX);
        let why: Vec<&str> = refused.iter().take(REASONS_MAX).map(|(_, reason)| reason.as_str()).collect();
        let why = match refused.len() {
            0 => String::new(),
            count if count > REASONS_MAX => format!(" ({}; and {} more)", why.join("; "), count - REASONS_MAX),
            _ => format!(" ({})", why.join("; ")),
        };
        return Err(Error::unavailable(format!("certificate: stake{why}"), clip(needed), clip(stake)));
    }
    let certificate = Certificate { slot: *slot, signatures: List::new("certificate: signatures", signatures)? };
    Ok(Collected { certificate, refused })
}
