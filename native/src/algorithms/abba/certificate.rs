//! Signatures of a quorum: under a proposal (echoes), and under what came of an agreement.

use borsh::{BorshDeserialize, BorshSerialize};

use super::Instance;
use crate::crypto::ed25519::{self, SigningKey};
use crate::crypto::hash::{Digest, Hasher};
use crate::crypto::remembered;
use crate::error::{Error, Result};
use crate::primitives::committee::{Committee, MEMBERS_MAX};
use crate::primitives::mutant::mutant;
use crate::primitives::wire::{List, Record};

const CONTEXT_CONFIRM: &str = "city-chain v1 abba confirm";

/// One party's signature.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Endorsement {
    /// The party's place in the committee.
    pub party: u16,
    /// Its signature.
    pub signature: [u8; 64],
}

/// Signatures of different parties over one message, ascending by place.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Signatures(List<Endorsement, MEMBERS_MAX>);

impl Signatures {
    /// Signatures, in any order.
    ///
    /// # Errors
    /// [`Error::Input`] if a party stands twice, or there are too many.
    pub fn new(mut endorsements: Vec<Endorsement>) -> Result<Self> {
        endorsements.sort_by_key(|endorsement| endorsement.party);
        let signatures = Self(List::new("abba: signatures", endorsements)?);
        signatures.check()?;
        Ok(signatures)
    }

    /// The signatures.
    pub fn items(&self) -> &[Endorsement] {
        &self.0
    }

    /// Checks the order.
    pub(super) fn check(&self) -> Result<()> {
        if !self.0.windows(2).all(|pair| pair[0].party < pair[1].party) {
            return Err(Error::input("abba: signatures must be ascending and distinct by party"));
        }
        Ok(())
    }

    /// Checks that a quorum of the committee signed `message`, and that every signature is right.
    ///
    /// # Errors
    /// [`Error::Verification`] if not.
    pub(super) fn verify(&self, what: &str, committee: &Committee, message: &Digest) -> Result<()> {
        self.check()?;
        let mut weight = 0;
        let mut items = Vec::with_capacity(self.0.len());
        for Endorsement { party, signature } in self.0.iter() {
            let Some(member) = committee.get(*party) else {
                return Err(Error::verification(format!("{what}: there is no party {party}")));
            };
            weight += u128::from(member.weight);
            items.push(ed25519::Item { public: &member.key, message, signature });
        }
        let needed = if mutant!("abba.thin_certificate") { committee.honest() } else { committee.quorum() };
        if weight < needed {
            return Err(Error::verification(format!("{what}: a weight of {weight} signed, {needed} is needed")));
        }
        match remembered::verify_many(&items)?.iter().position(|good| !good) {
            Some(at) => {
                Err(Error::verification(format!("{what}: the signature of party {} is wrong", self.0[at].party)))
            }
            None => Ok(()),
        }
    }
}

/// What a quorum made of an agreement; verifies offline.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Certificate {
    /// The chain.
    pub chain: Digest,
    /// The epoch.
    pub epoch: u64,
    /// The instance.
    pub instance: Digest,
    /// What they made of its outcome.
    pub digest: Digest,
    /// Their signatures.
    pub signatures: Signatures,
}

impl Record for Certificate {
    const TAG: [u8; 4] = *b"CCac";
    const VERSION: u16 = 1;
    const NAME: &'static str = "abba certificate";
    const LEN_MAX: usize = MEMBERS_MAX * 66 + 256;

    fn check(&self) -> Result<()> {
        self.signatures.check()
    }
}

impl Certificate {
    /// Checks that a quorum of `committee` signed.
    ///
    /// # Errors
    /// [`Error::Verification`] if not.
    pub fn verify(&self, committee: &Committee) -> Result<()> {
        let instance = Instance { chain: self.chain, epoch: self.epoch, name: self.instance };
        let message = confirm_message(&instance.scope(committee), &self.digest);
        self.signatures.verify("abba certificate", committee, &message)
    }
}

/// What a party signs that made `digest` of the outcome of the agreement `scope`, which binds to chain, epoch, instance
/// and committee.
pub fn confirm_message(scope: &Digest, digest: &Digest) -> Digest {
    Hasher::new(CONTEXT_CONFIRM).fixed(scope).fixed(digest).finish()
}

/// Signs [`confirm_message`].
pub fn confirm(key: &SigningKey, scope: &Digest, digest: &Digest) -> [u8; 64] {
    key.sign(&confirm_message(scope, digest))
}
