//! A node's signed entry in Presence.
//!
//! Version 2 says with which keys one may seal to the node ([`crate::crypto::kem`]) and check its ML-DSA signatures
//! ([`super::countersignature`]). Version 1 had neither, and is not read any more: leases are short. Version 3 has an
//! attestation of the node's place; without one the record is written in version 2.

use std::io::{Read, Write};

use borsh::{BorshDeserialize, BorshSerialize};

use super::attestation::Attestation;
use super::signed::{SIGNATURE_LEN, signed};
use super::{Key, NAME_MAX, extended};
use crate::crypto::hash::{self, Digest};
use crate::crypto::kem::{self, Suite};
use crate::crypto::typed::Kind;
use crate::error::{Error, Result};
use crate::primitives::wire::{self, Bytes, Record, Text};

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

/// The most bytes of an attestation of place.
pub const PLACE_MAX: usize = Attestation::LEN_MAX;

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
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// The encoding of the attestation of its place ([`Attestation`]); empty if it has none.
    pub place: Bytes<PLACE_MAX>,
    /// The digest of its ML-DSA-65 public key ([`ml_dsa_digest`]).
    pub ml_dsa: Digest,
    /// The node's signature.
    pub signature: [u8; SIGNATURE_LEN],
}

impl BorshSerialize for NodeRecord {
    fn serialize<W: Write>(&self, writer: &mut W) -> std::io::Result<()> {
        (self.network, self.node, &self.region, &self.domain, &self.address).serialize(writer)?;
        (self.roles, self.weight, self.stake, self.sequence, self.hlc).serialize(writer)?;
        extended::write(writer, &self.kem, &self.place, !self.place.is_empty())?;
        (self.ml_dsa, self.signature).serialize(writer)
    }
}

impl BorshDeserialize for NodeRecord {
    fn deserialize_reader<R: Read>(reader: &mut R) -> std::io::Result<Self> {
        let (network, node, region, domain, address) = BorshDeserialize::deserialize_reader(reader)?;
        let (roles, weight, stake, sequence, hlc) = BorshDeserialize::deserialize_reader(reader)?;
        let (kem, place) = extended::read::<_, Bytes<KEM_MAX>, Bytes<PLACE_MAX>>(reader)?;
        let place = place.unwrap_or_default();
        let (ml_dsa, signature) = BorshDeserialize::deserialize_reader(reader)?;
        Ok(Self {
            network,
            node,
            region,
            domain,
            address,
            roles,
            weight,
            stake,
            sequence,
            hlc,
            kem,
            place,
            ml_dsa,
            signature,
        })
    }
}

impl Record for NodeRecord {
    const TAG: [u8; 4] = *b"CCno";
    const VERSION: u16 = 3;
    const NAME: &'static str = "node record";
    const LEN_MAX: usize = 1024 + KEM_MAX + PLACE_MAX;

    fn version(&self) -> u16 {
        if self.place.is_empty() { 2 } else { 3 }
    }

    fn read_older(version: u16, body: &mut &[u8]) -> Option<std::io::Result<Self>> {
        (version == 2).then(|| Self::deserialize(body))
    }

    fn check(&self) -> Result<()> {
        check_roles(u16::from(self.roles))?;
        if self.region.is_empty() || self.domain.is_empty() || self.address.is_empty() {
            return Err(Error::input("node record: region, domain and address must not be empty"));
        }
        if let Some(attestation) = self.attestation()?
            && attestation.claim.subject != self.node
        {
            return Err(Error::input("node record: the attestation of place is another node's"));
        }
        check_kem(&self.kem)
    }
}

impl NodeRecord {
    /// The attestation of its place, if it has one. No signature is checked here, and no grade computed.
    ///
    /// # Errors
    /// [`Error::Input`] if it is none.
    pub fn attestation(&self) -> Result<Option<Attestation>> {
        if self.place.is_empty() {
            return Ok(None);
        }
        wire::decode(&self.place).map(Some).map_err(|error| Error::input(format!("node record: {error}")))
    }
}

signed!(NodeRecord, node, "city-chain v1 node record");
