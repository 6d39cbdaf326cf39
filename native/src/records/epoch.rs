//! An epoch: the delegates who vote in it and the seed of its draws. Its root is the trust anchor of a receipt.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::crypto::hash::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::primitives::wire::Record;
use crate::proofs::dpos::ValidatorSet;

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
