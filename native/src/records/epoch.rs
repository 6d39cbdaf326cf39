//! An epoch: the delegates who vote in it and the seed of its draws. Its root is the trust anchor of a receipt.
//!
//! Epochs follow one another by handovers. An [`Election`], signed by who may call one, names the next epoch and the batch
//! after which it begins; a quorum of the delegates in office certifies it, together with the threshold keys that they have
//! handed on, as a [`Handover`]. Who believes the first epoch believes every later one by the chain of handovers.

use borsh::{BorshDeserialize, BorshSerialize};

use super::Key;
use super::signed::{SIGNATURE_LEN, Signed, signed};
use crate::crypto::ed25519::{self, SigningKey};
use crate::crypto::hash::{Digest, Hasher, hex};
use crate::crypto::remembered;
use crate::error::{Error, Result};
use crate::primitives::quorum;
use crate::primitives::wire::{List, Record};
use crate::proofs::dpos::{Signature, VALIDATORS_MAX, ValidatorSet};

const CONTEXT_HANDOVER: &str = "city-chain v1 epoch handover";
const CONTEXT_NEXT: &str = "city-chain v1 epoch next seed";
const CONTEXT_ROOT: &str = "city-chain v1 epoch";
const CONTEXT_NETWORK: &str = "city-chain v1 network";
const CONTEXT_SEED: &str = "city-chain v1 epoch seed";

/// The delegates and the seed of one epoch.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Epoch {
    /// The network.
    pub network: Digest,
    /// The epoch's number, from 0.
    pub number: u64,
    /// Feeds the draws of the epoch; fixed after the candidate list is.
    pub seed: Digest,
    /// Who votes, with what stake.
    pub validators: ValidatorSet,
}

impl Record for Epoch {
    const TAG: [u8; 4] = *b"CCep";
    const VERSION: u16 = 1;
    const NAME: &'static str = "epoch";
    const LEN_MAX: usize = 1 << 20;

    fn check(&self) -> Result<()> {
        if self.validators.epoch() != self.number {
            return Err(Error::input(format!(
                "epoch: number {}, but its validators are those of epoch {}",
                self.number,
                self.validators.epoch()
            )));
        }
        self.validators.check()
    }
}

impl Epoch {
    /// The first epoch of a new network. `nonce` is fresh entropy, so that two networks of one name never mix.
    pub fn first(name: &str, nonce: &[u8; 32], validators: ValidatorSet) -> Result<Self> {
        let network =
            Hasher::new(CONTEXT_NETWORK).field(name.as_bytes()).fixed(nonce).fixed(&validators.root()).finish();
        let seed = Hasher::new(CONTEXT_SEED).fixed(&network).u64(validators.epoch()).finish();
        let epoch = Self { network, number: validators.epoch(), seed, validators };
        epoch.check()?;
        Ok(epoch)
    }

    /// The epoch after this one, with the delegates `validators`, once the batch `tip` is committed.
    ///
    /// # Errors
    /// [`Error::Input`] if the validators are not those of the next epoch, or there is none.
    pub fn next(&self, validators: ValidatorSet, tip: &Digest) -> Result<Self> {
        let number = self.number.checked_add(1).ok_or_else(|| Error::input("epoch: after the last there is none"))?;
        let seed = Hasher::new(CONTEXT_NEXT)
            .fixed(&self.network)
            .u64(number)
            .fixed(&self.seed)
            .fixed(tip)
            .fixed(&validators.root())
            .finish();
        let epoch = Self { network: self.network, number, seed, validators };
        epoch.check()?;
        Ok(epoch)
    }

    /// What a trust anchor holds.
    pub fn root(&self) -> Digest {
        Hasher::new(CONTEXT_ROOT)
            .fixed(&self.network)
            .u64(self.number)
            .fixed(&self.seed)
            .fixed(&self.validators.root())
            .finish()
    }
}

/// A call to hand over to the next epoch, signed by who may make it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Election {
    /// The network.
    pub network: Digest,
    /// The root of the epoch in force.
    pub previous: Digest,
    /// The height of its last batch.
    pub height: u64,
    /// The digest of that batch; the network's id if there is none.
    pub tip: Digest,
    /// The epoch that is to follow.
    pub next: Epoch,
    /// Who calls for it.
    pub caller: Key,
    /// The caller's signature.
    pub signature: [u8; SIGNATURE_LEN],
}

impl Record for Election {
    const TAG: [u8; 4] = *b"CCel";
    const VERSION: u16 = 1;
    const NAME: &'static str = "election";
    const LEN_MAX: usize = 1 << 20;

    fn check(&self) -> Result<()> {
        self.next.check()
    }
}

signed!(Election, caller, "city-chain v1 election");

impl Election {
    /// Calls for the epoch after `epoch`, to begin after the batch `tip` at `height`.
    pub fn new(key: &SigningKey, epoch: &Epoch, height: u64, tip: Digest, validators: ValidatorSet) -> Result<Self> {
        let election = Self {
            network: epoch.network,
            previous: epoch.root(),
            height,
            tip,
            next: epoch.next(validators, &tip)?,
            caller: key.public(),
            signature: [0; SIGNATURE_LEN],
        };
        election.sign(key)
    }

    /// Checks that the election follows `epoch` and that its caller signed it. Who may call one is not known here.
    ///
    /// # Errors
    /// [`Error::Verification`] with what is wrong.
    pub fn verify_after(&self, epoch: &Epoch) -> Result<()> {
        if (self.network, self.previous) != (epoch.network, epoch.root()) {
            return Err(Error::verification(format!(
                "election: it follows the epoch with root {} of network {}, not the one with root {} of network {}",
                hex(&self.previous),
                hex(&self.network),
                hex(&epoch.root()),
                hex(&epoch.network)
            )));
        }
        if epoch.number.checked_add(1) != Some(self.next.number)
            || self.next != epoch.next(self.next.validators.clone(), &self.tip)?
        {
            return Err(Error::verification(format!(
                "election: epoch {} with that network and seed does not follow epoch {}",
                self.next.number, epoch.number
            )));
        }
        self.verify()
    }
}

/// An election and the keys of the next epoch, certified by the delegates in office.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Handover {
    /// What was called for.
    pub election: Election,
    /// The digest of the next epoch's threshold keys ([`super::city_keys::CityKeys::digest`]).
    pub keys: Digest,
    /// The signatures of the old epoch's delegates over [`Handover::message`], ascending and distinct by place.
    pub signatures: List<Signature, VALIDATORS_MAX>,
}

impl Record for Handover {
    const TAG: [u8; 4] = *b"CCho";
    const VERSION: u16 = 1;
    const NAME: &'static str = "handover";
    const LEN_MAX: usize = 2 << 20;

    fn check(&self) -> Result<()> {
        if !self.signatures.windows(2).all(|pair| pair[0].position < pair[1].position) {
            return Err(Error::input("handover: the signatures must be ascending and distinct by position"));
        }
        self.election.check()
    }
}

impl Handover {
    /// What a delegate in office signs.
    pub fn message(election: &Election, keys: &Digest) -> Result<Digest> {
        Ok(Hasher::new(CONTEXT_HANDOVER).fixed(&election.digest()?).fixed(keys).finish())
    }

    /// One delegate's signature. Nothing here remembers what was signed before: that is the keeper's.
    pub fn sign(key: &SigningKey, election: &Election, keys: &Digest) -> Result<[u8; SIGNATURE_LEN]> {
        Ok(key.sign(&Self::message(election, keys)?))
    }

    /// The handover with those of `signatures` that are right; wrong and foreign ones are left out.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the right ones are no quorum of the stake of `epoch`.
    pub fn certify(
        election: Election,
        keys: Digest,
        epoch: &Epoch,
        signatures: &[(Key, [u8; SIGNATURE_LEN])],
    ) -> Result<Self> {
        let message = Self::message(&election, &keys)?;
        let signatures = right_signatures(epoch, &message, signatures);
        let handover = Self { election, keys, signatures: List::new("handover: signatures", signatures)? };
        verify_signatures("handover", epoch, &message, &handover.signatures)?;
        Ok(handover)
    }

    /// Checks that a quorum of the delegates of `epoch` certified the handover to the next.
    ///
    /// # Errors
    /// [`Error::Verification`] with what is wrong, [`Error::Unavailable`] if too little stake signed.
    pub fn verify(&self, epoch: &Epoch) -> Result<()> {
        self.check()?;
        self.election.verify_after(epoch)?;
        verify_signatures("handover", epoch, &Self::message(&self.election, &self.keys)?, &self.signatures)
    }
}

/// Those of some delegates' signatures over `message` that are right, one of each delegate, by place.
pub(super) fn right_signatures(
    epoch: &Epoch,
    message: &Digest,
    signatures: &[(Key, [u8; SIGNATURE_LEN])],
) -> Vec<Signature> {
    let mut good: Vec<Signature> = Vec::with_capacity(signatures.len().min(VALIDATORS_MAX));
    for (node, signature) in signatures {
        let Some(position) = epoch.validators.position(node).and_then(|at| u16::try_from(at).ok()) else {
            continue;
        };
        let twice = good.iter().any(|known| known.position == position);
        if !twice && remembered::verify(node, message, signature).is_ok() {
            good.push(Signature { position, signature: *signature });
        }
    }
    good.sort_by_key(|signature| signature.position);
    good
}

/// Checks that delegates of `epoch` with a quorum of its stake signed `message`; `what` names it in errors.
pub(super) fn verify_signatures(what: &str, epoch: &Epoch, message: &Digest, signatures: &[Signature]) -> Result<()> {
    let (mut stakes, mut items) = (Vec::with_capacity(signatures.len()), Vec::with_capacity(signatures.len()));
    for entry in signatures {
        let Some(validator) = epoch.validators.items().get(usize::from(entry.position)) else {
            return Err(Error::verification(format!(
                "{what}: epoch {} has no delegate {}",
                epoch.number, entry.position
            )));
        };
        stakes.push(validator.stake);
        items.push(ed25519::Item { public: &validator.key, message: message.as_slice(), signature: &entry.signature });
    }
    let (stake, needed) = (quorum::sum(stakes)?, epoch.validators.quorum()?);
    if stake < needed {
        let cut = |value: u128| u64::try_from(value).unwrap_or(u64::MAX);
        return Err(Error::unavailable(format!("{what}: stake that signed"), cut(needed), cut(stake)));
    }
    match remembered::verify_many(&items)?.iter().position(|good| !good) {
        Some(at) => Err(Error::verification(format!(
            "{what}: the signature of delegate {} does not fit",
            hex(items[at].public)
        ))),
        None => Ok(()),
    }
}
