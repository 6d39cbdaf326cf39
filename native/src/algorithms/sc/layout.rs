//! The shards of an epoch, their committees, and which shard has a key.
//!
//! Keys go to shards by rendezvous hashing (Thaler, Ravishankar 1998): of all shards the one with the highest hash over
//! (shard, key) has it. When a shard is added keys move only to it; when one goes only its keys move.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};

use borsh::{BorshDeserialize, BorshSerialize};

use crate::crypto::hash::{self, Digest, Hasher};
use crate::error::{Error, Result};
use crate::primitives::committee::{Committee, MEMBERS_MAX, Member};
use crate::primitives::wire::{self, List, Record};

/// The most shards of a layout.
pub const SHARDS_MAX: usize = 256;

/// The most shards that one boundary adds and removes together.
pub const CHANGES_MAX: usize = 4;

const CONTEXT_LAYOUT: &str = "city-chain v1 sc layout";
const CONTEXT_KEY: &str = "city-chain v1 sc key";

/// The shards of an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    chain: Digest,
    epoch: u64,
    since: u64,
    shards: BTreeMap<u16, Committee>,
}

impl Layout {
    /// The layout of the first epoch of a chain, or of any epoch that others start from.
    ///
    /// # Errors
    /// [`Error::Input`] if there are no shards or too many.
    pub fn new(chain: Digest, epoch: u64, shards: BTreeMap<u16, Committee>) -> Result<Self> {
        let layout = Self { chain, epoch, since: epoch, shards };
        layout.check()?;
        Ok(layout)
    }

    /// The layout of the epoch after this one.
    ///
    /// # Errors
    /// [`Error::Input`] as of [`Layout::new`], or if more than [`CHANGES_MAX`] shards come and go.
    pub fn next(&self, shards: BTreeMap<u16, Committee>) -> Result<Self> {
        let epoch = self.epoch.checked_add(1).ok_or_else(|| Error::input("layout: there is no later epoch"))?;
        let same = self.shards.keys().eq(shards.keys());
        let since = if same { self.since } else { epoch };
        let next = Self { chain: self.chain, epoch, since, shards };
        next.check()?;
        next.check_after(self)?;
        Ok(next)
    }

    /// Checks that this is a layout of the epoch after `previous`.
    pub(super) fn check_after(&self, previous: &Self) -> Result<()> {
        let (added, removed) = (self.added(previous), previous.added(self));
        let changes = added.len() + removed.len();
        if changes > CHANGES_MAX {
            return Err(Error::input(format!(
                "layout: {changes} shards come or go, at most {CHANGES_MAX} may at once"
            )));
        }
        let since = if changes == 0 { previous.since } else { self.epoch };
        if self.chain != previous.chain || Some(self.epoch) != previous.epoch.checked_add(1) || self.since != since {
            return Err(Error::input(format!(
                "layout: of epoch {} since {}; after that of epoch {} since {} comes one of the epoch after",
                self.epoch, self.since, previous.epoch, previous.since
            )));
        }
        Ok(())
    }

    /// The shards that `previous` did not have.
    pub(super) fn added(&self, previous: &Self) -> Vec<u16> {
        self.shards.keys().filter(|shard| !previous.shards.contains_key(shard)).copied().collect()
    }

    /// The chain.
    pub fn chain(&self) -> &Digest {
        &self.chain
    }

    /// The epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The epoch since which there have been these shards: what a manifest names.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// The shards, ascending.
    pub fn shards(&self) -> impl Iterator<Item = u16> + '_ {
        self.shards.keys().copied()
    }

    /// Whether there is such a shard.
    pub fn has(&self, shard: u16) -> bool {
        self.shards.contains_key(&shard)
    }

    /// The committees by shard.
    pub fn committees(&self) -> &BTreeMap<u16, Committee> {
        &self.shards
    }

    /// The shard that has a key.
    pub fn shard_of(&self, key: &Digest) -> u16 {
        let score = |shard: u16| Hasher::new(CONTEXT_KEY).fixed(&shard.to_le_bytes()).fixed(key).finish();
        self.shards.keys().copied().max_by_key(|shard| (score(*shard), *shard)).unwrap_or(0)
    }

    /// Who speaks for a shard: itself, or, where it is gone, the one that has its number as a key.
    pub fn speaks_for(&self, shard: u16) -> u16 {
        if self.has(shard) {
            return shard;
        }
        let mut key = [0; 32];
        key[..2].copy_from_slice(&shard.to_le_bytes());
        self.shard_of(&key)
    }

    /// The committee that signs for a shard.
    ///
    /// # Errors
    /// None that can be reached: a layout has shards.
    pub fn committee(&self, shard: u16) -> Result<&Committee> {
        let speaker = self.speaks_for(shard);
        self.shards.get(&speaker).ok_or_else(|| Error::input(format!("layout: there is no shard {shard}")))
    }

    /// Binds to everything in it.
    pub fn digest(&self) -> Result<Digest> {
        Ok(hash::digest(CONTEXT_LAYOUT, &wire::encode(self)?))
    }
}

impl Record for Layout {
    const TAG: [u8; 4] = *b"CCly";
    const VERSION: u16 = 1;
    const NAME: &'static str = "layout";
    const LEN_MAX: usize = 16 << 20;

    fn check(&self) -> Result<()> {
        if self.shards.is_empty() || self.shards.len() > SHARDS_MAX {
            return Err(Error::input(format!("layout: {} shards, 1 to {SHARDS_MAX} are allowed", self.shards.len())));
        }
        if self.since > self.epoch {
            return Err(Error::input(format!("layout: of epoch {} since epoch {}", self.epoch, self.since)));
        }
        Ok(())
    }
}

/// A shard as it is written.
#[derive(BorshSerialize, BorshDeserialize)]
struct Written {
    shard: u16,
    members: List<([u8; 32], u64), MEMBERS_MAX>,
}

impl BorshSerialize for Layout {
    fn serialize<W: Write>(&self, writer: &mut W) -> std::io::Result<()> {
        (self.chain, self.epoch, self.since).serialize(writer)?;
        (self.shards.len() as u32).serialize(writer)?;
        for (shard, committee) in &self.shards {
            let members = committee.members().iter().map(|member| (member.key, member.weight)).collect();
            let members = List::new("layout: members", members).map_err(std::io::Error::other)?;
            Written { shard: *shard, members }.serialize(writer)?;
        }
        Ok(())
    }
}

impl BorshDeserialize for Layout {
    fn deserialize_reader<R: Read>(reader: &mut R) -> std::io::Result<Self> {
        let invalid = |error: String| std::io::Error::new(ErrorKind::InvalidData, error);
        let (chain, epoch, since) = <(Digest, u64, u64)>::deserialize_reader(reader)?;
        let written = List::<Written, SHARDS_MAX>::deserialize_reader(reader)?.into_vec();
        let mut shards = BTreeMap::new();
        let mut last = None;
        for Written { shard, members } in written {
            if last.is_some_and(|last| last >= shard) {
                return Err(invalid(format!("layout: shard {shard} is not after the one before it")));
            }
            last = Some(shard);
            let members = members.iter().map(|(key, weight)| Member { key: *key, weight: *weight }).collect();
            shards.insert(shard, Committee::new(members).map_err(|error| invalid(error.to_string()))?);
        }
        Ok(Self { chain, epoch, since, shards })
    }
}
