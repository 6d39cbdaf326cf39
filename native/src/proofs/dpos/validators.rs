//! The delegates of an epoch and the draw of slot leaders.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::crypto::hash::{self, Digest, Hasher};
use crate::error::{Error, Result};
use crate::primitives::committee::{Committee, Member};
use crate::primitives::quorum;
use crate::primitives::wire::{self, List, Record};

/// The most delegates of an epoch.
pub const VALIDATORS_MAX: usize = 1024;

const CONTEXT_ROOT: &str = "city-chain v1 dpos validators";
const CONTEXT_LEADER: &str = "city-chain v1 dpos leader";

/// One delegate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Validator {
    /// Its public signing key.
    pub key: [u8; 32],
    /// Its stake.
    pub stake: u64,
}

/// The delegates of one epoch, ascending by key, each with stake.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ValidatorSet {
    epoch: u64,
    items: List<Validator, VALIDATORS_MAX>,
}

impl Record for ValidatorSet {
    const TAG: [u8; 4] = *b"CCvs";
    const VERSION: u16 = 1;
    const NAME: &'static str = "validator set";
    const LEN_MAX: usize = VALIDATORS_MAX * 40 + 32;

    fn check(&self) -> Result<()> {
        if self.items.is_empty() {
            return Err(Error::input("validator set: it is empty"));
        }
        if !self.items.windows(2).all(|pair| pair[0].key < pair[1].key) {
            return Err(Error::input("validator set: the keys must be ascending and distinct"));
        }
        if self.items.iter().any(|validator| validator.stake == 0) {
            return Err(Error::input("validator set: a stake of 0 has no vote"));
        }
        Ok(())
    }
}

impl ValidatorSet {
    /// Makes the set; the order of `items` does not matter.
    pub fn new(epoch: u64, mut items: Vec<Validator>) -> Result<Self> {
        items.sort_by_key(|validator| validator.key);
        let set = Self { epoch, items: List::new("validator set", items)? };
        set.check()?;
        Ok(set)
    }

    /// The epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The delegates, ascending by key.
    pub fn items(&self) -> &[Validator] {
        &self.items
    }

    /// Where `key` stands.
    pub fn position(&self, key: &[u8; 32]) -> Option<usize> {
        self.items.binary_search_by(|validator| validator.key.cmp(key)).ok()
    }

    /// All stake.
    pub fn total(&self) -> u128 {
        self.items.iter().map(|validator| u128::from(validator.stake)).sum()
    }

    /// The stake that decides: W − ⌊(W − 1)/3⌋.
    pub fn quorum(&self) -> Result<u128> {
        quorum::byzantine(self.total())
    }

    /// The same delegates, as an agreement machine knows them.
    ///
    /// # Errors
    /// [`Error::Input`] if they are more than a committee has.
    pub fn committee(&self) -> Result<Committee> {
        Committee::new(self.items.iter().map(|one| Member { key: one.key, weight: one.stake }).collect())
    }

    /// The digest that stands for the set.
    pub fn root(&self) -> Digest {
        let mut hasher = Hasher::new(CONTEXT_ROOT);
        hasher.u64(self.epoch).u64(self.items.len() as u64);
        for validator in self.items.iter() {
            hasher.fixed(&validator.key).u64(validator.stake);
        }
        hasher.finish()
    }

    /// The encoding, for messages.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        wire::encode(self)
    }
}

/// Who leads attempt `attempt` at `height`: a draw by stake from the epoch's seed, without modulo bias.
pub fn leader(set: &ValidatorSet, seed: &Digest, height: u64, attempt: u32) -> Result<[u8; 32]> {
    set.check()?;
    let total = set.total();
    let drawn = draw(set.epoch, total, limit(total), seed, height, attempt);
    let mut passed = 0;
    for validator in set.items.iter() {
        passed += u128::from(validator.stake);
        if drawn < passed {
            return Ok(validator.key);
        }
    }
    Err(Error::input("validator set: it is empty"))
}

/// [`leader`] at many heights.
pub fn leaders(set: &ValidatorSet, seed: &Digest, heights: &[u64], attempt: u32) -> Result<Vec<[u8; 32]>> {
    set.check()?;
    let mut total = 0;
    let ends: Vec<u128> = set
        .items
        .iter()
        .map(|validator| {
            total += u128::from(validator.stake);
            total
        })
        .collect();
    let limit = limit(total);
    let at = |height: &u64| {
        let drawn = draw(set.epoch, total, limit, seed, *height, attempt);
        set.items.get(ends.partition_point(|end| *end <= drawn)).map(|validator| validator.key)
    };
    let found: Option<Vec<[u8; 32]>> = heights.iter().map(at).collect();
    found.ok_or_else(|| Error::input("validator set: it is empty"))
}

/// The last of the numbers that fall into whole rounds of `total`, which is not 0; more than half of all do.
fn limit(total: u128) -> u128 {
    u128::MAX - (u128::MAX % total + 1) % total
}

/// One of 0 … `total` − 1, all equally likely: what is above `limit` is thrown away.
fn draw(epoch: u64, total: u128, limit: u128, seed: &Digest, height: u64, attempt: u32) -> u128 {
    let mut block = Hasher::new(CONTEXT_LEADER).fixed(seed).u64(epoch).u64(height).u64(u64::from(attempt)).finish();
    loop {
        let mut low = [0; 16];
        low.copy_from_slice(&block[..16]);
        let value = u128::from_le_bytes(low);
        if value <= limit {
            return value % total;
        }
        block = hash::digest(CONTEXT_LEADER, &block);
    }
}
