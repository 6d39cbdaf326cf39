//! ABBA in a simulation: parties with real keys and a real common coin ([`crate::algorithms::tes::coin`]).
//!
//! | message | what it is |
//! |---|---|
//! | `CCab`, `CCsu` | of the machines ([`Abba`], [`Subset`]), as they are |
//! | `CCgs` | a share of a coin, shown when the machine asks for it |
//! | `CCsq` | from a party whose patience is over: whoever is ahead says its last word of that slot again |
//!
//! [`Agreements`] agree on one bit; [`Subsets`] make one common subset after another. With [`Scheme::Bls`] a run is the same
//! byte for byte; shares of [`Scheme::Coin`] are cheaper, and their proofs have randomness of their own.

mod coins;
mod faulty;
mod liar;
mod one;
mod slots;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::algorithms::abba::Instance;
use crate::algorithms::tes::coin::{BlsCoin, Coin, RistrettoCoin};
use crate::algorithms::tes::group::{Group, Scalar};
use crate::algorithms::tes::share::{BlsKeys, CoinKeys, GroupKey, Keys, ScalarOf, Scheme, SecretShare};
use crate::crypto::ed25519::SigningKey;
use crate::crypto::hash::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::primitives::committee::{Committee, Member};

pub use coins::{Query, Share};
pub use faulty::Fault;
pub use liar::{Contrary, Liar};
pub use one::{Agreements, Inputs};
pub use slots::{Config, Subsets};

const CONTEXT_KEY: &str = "city-chain v1 simulation abba key";
const CONTEXT_COIN: &str = "city-chain v1 simulation abba coin";
const CONTEXT_CHAIN: &str = "city-chain v1 simulation abba chain";
const CONTEXT_SLOT: &str = "city-chain v1 simulation abba slot";

/// The seed of a party's signing key.
pub fn key(seed: u64, node: u16) -> Digest {
    Hasher::new(CONTEXT_KEY).u64(seed).u64(u64::from(node)).finish()
}

/// What all parties of a run know, and their secrets.
pub(super) struct City {
    pub(super) chain: Digest,
    pub(super) keys: Vec<SigningKey>,
    pub(super) committee: Committee,
    pub(super) coin: Box<dyn Coin>,
    pub(super) secrets: Vec<SecretShare>,
    /// How many shares show a coin.
    pub(super) threshold: u16,
    /// How long a party waits before it says everything again, µs.
    pub(super) patience: u64,
}

impl City {
    pub(super) fn new(seed: u64, nodes: u16, scheme: Scheme, patience: u64) -> Result<Arc<Self>> {
        let keys: Vec<SigningKey> = (0..nodes).map(|node| SigningKey::from_seed(&key(seed, node))).collect();
        let members = keys.iter().map(|key| Member { key: key.public(), weight: 1 }).collect();
        let committee = Committee::new(members)?;
        let threshold = u16::try_from(committee.honest()).map_err(|_| Error::input("abba: too many parties"))?;
        let (secrets, coin): (_, Box<dyn Coin>) = match scheme {
            Scheme::Bls => {
                let (secrets, group, shares) = deal::<BlsKeys>(seed, threshold, nodes)?;
                (secrets, Box::new(BlsCoin::new(threshold, &group, &shares)?))
            }
            Scheme::Coin => {
                let (secrets, group, shares) = deal::<CoinKeys>(seed, threshold, nodes)?;
                (secrets, Box::new(RistrettoCoin::new(threshold, &group, &shares)?))
            }
            Scheme::Tdh2 => return Err(Error::input("abba: keys for encryption toss no coin")),
        };
        let chain = Hasher::new(CONTEXT_CHAIN).u64(seed).finish();
        Ok(Arc::new(Self { chain, keys, committee, coin, secrets, threshold, patience }))
    }

    /// The agreement of a slot.
    pub(super) fn instance(&self, slot: u64) -> Instance {
        Instance { chain: self.chain, epoch: 0, name: Hasher::new(CONTEXT_SLOT).u64(slot).finish() }
    }
}

/// Shares of a key that a dealer made from the seed: a run makes the same ones again.
#[allow(clippy::type_complexity, reason = "secrets, the group's key, public shares")]
fn deal<K: Keys>(seed: u64, threshold: u16, nodes: u16) -> Result<(Vec<SecretShare>, GroupKey<K>, Vec<Vec<u8>>)> {
    let term = |at: u16| {
        let mut wide = [0; 64];
        Hasher::new(CONTEXT_COIN).u64(seed).u64(u64::from(at)).fill(&mut wide);
        ScalarOf::<K>::from_wide(&wide)
    };
    let terms: Vec<ScalarOf<K>> = (0..threshold).map(term).collect();
    let value = |index: u16| {
        let at = ScalarOf::<K>::from_u64(u64::from(index));
        terms.iter().rev().fold(ScalarOf::<K>::ZERO, |value, term| value.mul(&at).add(term))
    };
    let secrets = (1..=nodes).map(|index| SecretShare::new::<K>(index, &value(index))).collect::<Result<Vec<_>>>()?;
    let group = GroupKey::new(K::Group::mul_base(&value(0)))?;
    let shares = secrets.iter().map(|secret| Ok(secret.public::<K>()?.to_bytes())).collect::<Result<_>>()?;
    Ok((secrets, group, shares))
}
