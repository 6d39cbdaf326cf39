//! What a transaction across shards touches: the shards, the inputs with their versions, the outputs, and until when.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::crypto::hash::{self, Digest, Hasher};
use crate::error::{Error, Result};
use crate::primitives::wire::{self, List, Record};

/// The most shards of one transaction.
pub const LISTED_MAX: usize = 16;

/// The most inputs, and the most outputs, of one transaction.
pub const KEYS_LISTED_MAX: usize = 64;

const CONTEXT_TXID: &str = "city-chain v1 sc transaction";
const CONTEXT_TERMS: &str = "city-chain v1 sc terms";
const CONTEXT_SESSION: &str = "city-chain v1 sc session";

/// A key that a transaction reads and writes, at the version that it saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Input {
    /// The shard that has the key.
    pub shard: u16,
    /// The key.
    pub key: Digest,
    /// The key's version: another one, and the transaction is refused.
    pub version: u64,
}

/// A key that a transaction writes, whatever is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Output {
    /// The shard that has the key.
    pub shard: u16,
    /// The key.
    pub key: Digest,
}

/// One attempt of a transaction. Its hash is its id; an attempt with other versions, or another expiry, is another one.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Manifest {
    /// The chain.
    pub chain: Digest,
    /// The epoch since which there have been these shards ([`super::Layout::since`]).
    pub layout: u64,
    /// What is to be done: the digest of something that the applications understand.
    pub body: Digest,
    /// The last height at which a shard prepares it.
    pub expiry: u64,
    /// The shards, ascending. The last one decides.
    pub shards: List<u16, LISTED_MAX>,
    /// The inputs, ascending by shard and key.
    pub inputs: List<Input, KEYS_LISTED_MAX>,
    /// The outputs, ascending by shard and key; none of them is an input too.
    pub outputs: List<Output, KEYS_LISTED_MAX>,
}

impl Record for Manifest {
    const TAG: [u8; 4] = *b"CCsm";
    const VERSION: u16 = 1;
    const NAME: &'static str = "shard manifest";
    const LEN_MAX: usize = 6400;

    fn check(&self) -> Result<()> {
        let ascending = self.shards.windows(2).all(|pair| pair[0] < pair[1])
            && self.inputs.windows(2).all(|pair| (pair[0].shard, pair[0].key) < (pair[1].shard, pair[1].key))
            && self.outputs.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascending {
            return Err(Error::input("shard manifest: shards, inputs and outputs must be ascending and distinct"));
        }
        let mut keys: Vec<Digest> = self.entries().map(|(_, key)| key).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::input("shard manifest: a key stands twice"));
        }
        if let Some((shard, _)) = self.entries().find(|(shard, _)| !self.lists(*shard)) {
            return Err(Error::input(format!("shard manifest: shard {shard} has a key and is not listed")));
        }
        let idle = self.shards.iter().find(|shard| self.keys_of(**shard).is_empty());
        match idle {
            Some(shard) => Err(Error::input(format!("shard manifest: shard {shard} is listed and has no key"))),
            None if self.shards.is_empty() => Err(Error::input("shard manifest: it touches nothing")),
            None => Ok(()),
        }
    }
}

impl Manifest {
    /// A manifest of these inputs and outputs, put in order.
    ///
    /// # Errors
    /// [`Error::Input`] if there are none or too many, or a key stands twice.
    pub fn new(
        chain: Digest,
        layout: u64,
        body: Digest,
        expiry: u64,
        mut inputs: Vec<Input>,
        mut outputs: Vec<Output>,
    ) -> Result<Self> {
        inputs.sort_unstable();
        outputs.sort_unstable();
        let mut shards: Vec<u16> =
            inputs.iter().map(|input| input.shard).chain(outputs.iter().map(|output| output.shard)).collect();
        shards.sort_unstable();
        shards.dedup();
        let manifest = Self {
            chain,
            layout,
            body,
            expiry,
            shards: List::new("shard manifest: shards", shards)?,
            inputs: List::new("shard manifest: inputs", inputs)?,
            outputs: List::new("shard manifest: outputs", outputs)?,
        };
        manifest.check()?;
        Ok(manifest)
    }

    /// The transaction's id.
    pub fn txid(&self) -> Result<Digest> {
        Ok(hash::digest(CONTEXT_TXID, &wire::encode(self)?))
    }

    /// The digest of everything but the body: what the body can name, so that it has this one manifest and no other.
    pub fn terms(&self) -> Result<Digest> {
        Ok(hash::digest(CONTEXT_TERMS, &wire::encode(&Self { body: Digest::default(), ..self.clone() })?))
    }

    /// The digest of the versions of the inputs.
    pub fn session(&self) -> Digest {
        let mut hasher = Hasher::new(CONTEXT_SESSION);
        for input in self.inputs.iter() {
            hasher.fixed(&input.shard.to_le_bytes()).fixed(&input.key).u64(input.version);
        }
        hasher.finish()
    }

    /// Every key with its shard: inputs, then outputs.
    pub fn entries(&self) -> impl Iterator<Item = (u16, Digest)> + '_ {
        let inputs = self.inputs.iter().map(|input| (input.shard, input.key));
        inputs.chain(self.outputs.iter().map(|output| (output.shard, output.key)))
    }

    /// The keys that a shard has.
    pub fn keys_of(&self, shard: u16) -> Vec<Digest> {
        self.entries().filter(|(of, _)| *of == shard).map(|(_, key)| key).collect()
    }

    /// Whether a shard is listed.
    pub fn lists(&self, shard: u16) -> bool {
        self.shards.binary_search(&shard).is_ok()
    }

    /// The shard whose consensus decides: the last one. That it is the last for all makes one of two transactions that
    /// want the same keys win.
    pub fn decider(&self) -> u16 {
        self.shards.last().copied().unwrap_or(0)
    }

    /// Whether a shard has outputs only.
    pub(super) fn only_outputs(&self, shard: u16) -> bool {
        self.inputs.iter().all(|input| input.shard != shard)
    }
}
