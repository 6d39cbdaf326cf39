//! A node's signed entry in Presence.
//!
//! Version 2 says with which keys one may seal to the node ([`crate::crypto::kem`]) and check its ML-DSA signatures
//! ([`super::countersignature`]). Version 1 had neither, and is not read any more: leases are short.

use borsh::{BorshDeserialize, BorshSerialize};

use super::signed::{SIGNATURE_LEN, signed};
use super::{Key, NAME_MAX};
use crate::crypto::hash::{self, Digest};
use crate::crypto::kem::{self, Suite};
use crate::crypto::typed::Kind;
use crate::error::{Error, Result};
use crate::primitives::wire::{Bytes, Record, Text};

/// The role bit of a node that keeps fragments.
pub const HOLDER: u8 = 1;

/// The role bit of a node that may be elected to vote.
pub const VALIDATOR: u8 = 2;

/// Checks role bits of any width: some, and no unknown ones.
pub fn check_roles(roles: u16) -> Result<u8> {
    match u8::try_from(roles) {
        Ok(bits) if bits != 0 && bits & !(HOLDER | VALIDATOR) == 0 => Ok(bits),
        _ => Err(Error::input(format!("node record: roles {roles:#04x}: holder 1, validator 2 or both"))),
    }
}

/// The most bytes of an address.
pub const ADDRESS_MAX: usize = 256;

/// The most bytes of a KEM key, type prefix included.
pub const KEM_MAX: usize = 2048;

const CONTEXT_ML_DSA: &str = "city-chain v1 node ml-dsa key";

/// What stands for an ML-DSA public key (typed bytes) in a record.
pub fn ml_dsa_digest(public: &[u8]) -> Digest {
    hash::digest(CONTEXT_ML_DSA, public)
}

/// Checks that bytes have the type and length of a KEM public key. Whether the key is one is seen when it is used.
fn check_kem(public: &[u8]) -> Result<()> {
    let suite = match Kind::of(public) {
        Some(Kind::XWingPublic) => Suite::XWing,
        Some(Kind::SntrupPublic) => Suite::Sntrup761X25519,
        _ => return Err(Error::input("node record: the KEM key must be a public key of X-Wing or sntrup761-X25519")),
    };
    let needed = kem::public_len(suite);
    if public.len() != needed {
        let (had, name) = (public.len(), suite.name());
        return Err(Error::input(format!("node record: a KEM key of {had} bytes, one of {name} has {needed}")));
    }
    Ok(())
}

/// Who a node is, where, and what it does; signed by the node, replaced by a higher sequence.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct NodeRecord {
    /// The network.
    pub network: Digest,
    /// The node's public signing key: its id.
    pub node: Key,
    /// The region whose list it is on.
    pub region: Text<NAME_MAX>,
    /// Its failure domain within the region.
    pub domain: Text<NAME_MAX>,
    /// Where it answers.
    pub address: Text<ADDRESS_MAX>,
    /// [`HOLDER`] and [`VALIDATOR`] bits.
    pub roles: u8,
    /// Its share of the load, in 1/65536.
    pub weight: u32,
    /// Its stake.
    pub stake: u64,
    /// Rises with every login.
    pub sequence: u64,
    /// The node's clock.
    pub hlc: u64,
    /// The KEM public key that secrets for the node are sealed to, with its type prefix.
    pub kem: Bytes<KEM_MAX>,
    /// The digest of its ML-DSA-65 public key ([`ml_dsa_digest`]).
    pub ml_dsa: Digest,
    /// The node's signature.
    pub signature: [u8; SIGNATURE_LEN],
}

impl Record for NodeRecord {
    const TAG: [u8; 4] = *b"CCno";
    const VERSION: u16 = 2;
    const NAME: &'static str = "node record";
    const LEN_MAX: usize = 1024 + KEM_MAX;

    fn check(&self) -> Result<()> {
        check_roles(u16::from(self.roles))?;
        if self.region.is_empty() || self.domain.is_empty() || self.address.is_empty() {
            return Err(Error::input("node record: region, domain and address must not be empty"));
        }
        check_kem(&self.kem)
    }
}

signed!(NodeRecord, node, "city-chain v1 node record");
