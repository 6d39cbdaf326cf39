//! The transaction: what a sender wants dispersed and committed.
//!
//! One that several cities commit or none names its terms: what it touches, at which versions, and until when. It is
//! known by the digest of its [`TransactionHead`], which stands for it where its payload is not held, so that a city can
//! see what the sender has signed before it locks a key.

use borsh::{BorshDeserialize, BorshSerialize};

use super::identity::Identity;
use super::signed::{self, SIGNATURE_LEN, Signed, signed};
use super::{Key, NAME_MAX};
use crate::algorithms::sc;
use crate::crypto::hash::{self, Digest};
use crate::error::{Error, Result};
use crate::primitives::wire::{self, Bytes, List, Record, Text};

/// The most bytes a payload may have: 64 MiB.
pub const PAYLOAD_MAX: usize = 64 << 20;

/// The most keys a transaction may touch, and the most bytes of each.
pub const TOUCHED_MAX: usize = 64;

const CONTEXT_PAYLOAD: &str = "city-chain v1 transaction payload";

/// The keys that a transaction touches.
pub type Touched = List<Bytes<TOUCHED_MAX>, TOUCHED_MAX>;

/// Where the sender says it is: a claim, proven by nothing here.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Place {
    /// The region (a city's name).
    pub region: Text<NAME_MAX>,
    /// Latitude in 1e-7 degrees.
    pub lat_e7: i32,
    /// Longitude in 1e-7 degrees.
    pub lon_e7: i32,
}

/// A signed transaction. Its digest is the `tx_id`: the same envelope has the same id wherever and whenever it is sent,
/// and the same payload sent again differs by its sequence.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Transaction {
    /// The network it is for.
    pub network: Digest,
    /// The sender's public signing key.
    pub sender: Key,
    /// The sender's running number, gapless from 0.
    pub sequence: u64,
    /// The sender's hybrid logical clock.
    pub hlc: u64,
    /// Where the sender says it is.
    pub place: Option<Place>,
    /// Keys of the ledger that the transaction touches, ascending and distinct.
    pub touched: Touched,
    /// Of a transaction of several cities: the digest of what it does to their keys ([`sc::Manifest::terms`]). One without
    /// is written in version 1, which knew of none.
    pub terms: Option<Digest>,
    /// The content, any bytes.
    pub payload: Bytes<PAYLOAD_MAX>,
    /// The sender's signature.
    pub signature: [u8; SIGNATURE_LEN],
}

impl Record for Transaction {
    const TAG: [u8; 4] = *b"CCtx";
    const VERSION: u16 = 2;
    const NAME: &'static str = "transaction";
    const LEN_MAX: usize = PAYLOAD_MAX + (16 << 10);

    fn version(&self) -> u16 {
        if self.terms.is_some() { 2 } else { 1 }
    }

    fn write_body(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
        if self.terms.is_some() {
            return self.serialize(out);
        }
        (self.network, self.sender, self.sequence, self.hlc).serialize(out)?;
        self.place.serialize(out)?;
        self.touched.serialize(out)?;
        self.payload.serialize(out)?;
        self.signature.serialize(out)
    }

    fn read_older(version: u16, body: &mut &[u8]) -> Option<std::io::Result<Self>> {
        let read = |body: &mut &[u8]| {
            let (network, sender, sequence, hlc) = <(Digest, Key, u64, u64)>::deserialize(body)?;
            Ok(Self {
                network,
                sender,
                sequence,
                hlc,
                place: Option::deserialize(body)?,
                touched: List::deserialize(body)?,
                terms: None,
                payload: Bytes::deserialize(body)?,
                signature: <[u8; SIGNATURE_LEN]>::deserialize(body)?,
            })
        };
        (version == 1).then(|| read(body))
    }

    fn check(&self) -> Result<()> {
        check_head(Self::NAME, &self.touched, self.place.as_ref())
    }
}

fn check_head(what: &str, touched: &Touched, place: Option<&Place>) -> Result<()> {
    if !touched.windows(2).all(|pair| *pair[0] < *pair[1]) {
        return Err(Error::input(format!("{what}: the touched keys must be ascending and distinct")));
    }
    if let Some(place) = place
        && (place.lat_e7.unsigned_abs() > 900_000_000 || place.lon_e7.unsigned_abs() > 1_800_000_000)
    {
        return Err(Error::input(format!(
            "{what}: no such place: {} (at most ±900000000), {} (at most ±1800000000), in 1e-7 degrees",
            place.lat_e7, place.lon_e7
        )));
    }
    Ok(())
}

impl Signed for Transaction {
    const CONTEXT: &'static str = "city-chain v1 transaction";

    fn signer(&self) -> &Key {
        &self.sender
    }

    fn signature(&self) -> &[u8; SIGNATURE_LEN] {
        &self.signature
    }

    fn set_signature(&mut self, signature: [u8; SIGNATURE_LEN]) {
        self.signature = signature;
    }

    fn digest(&self) -> Result<Digest> {
        match self.head() {
            Some(head) => head.digest(),
            None => Ok(signed::digest_of::<Self>(&wire::encode(self)?)),
        }
    }
}

/// A transaction of several cities without its payload. It has the same digest, and the same signature.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TransactionHead {
    /// The network it is for.
    pub network: Digest,
    /// The sender's public signing key.
    pub sender: Key,
    /// The sender's running number.
    pub sequence: u64,
    /// The sender's hybrid logical clock.
    pub hlc: u64,
    /// Where the sender says it is.
    pub place: Option<Place>,
    /// Keys that the transaction touches, ascending and distinct.
    pub touched: Touched,
    /// The digest of what it does to them.
    pub terms: Digest,
    /// The hash of the payload.
    pub payload_hash: Digest,
    /// The sender's signature.
    pub signature: [u8; SIGNATURE_LEN],
}

impl Record for TransactionHead {
    const TAG: [u8; 4] = *b"CCth";
    const VERSION: u16 = 1;
    const NAME: &'static str = "transaction head";
    const LEN_MAX: usize = HEAD_LEN_MAX;

    fn check(&self) -> Result<()> {
        check_head(Self::NAME, &self.touched, self.place.as_ref())
    }
}

/// The most bytes of a transaction's head.
pub const HEAD_LEN_MAX: usize = 8 << 10;

signed!(TransactionHead, sender, "city-chain v1 transaction head");

impl TransactionHead {
    /// Checks that the sender has signed exactly what a manifest of several cities says: its keys, their versions, until
    /// when, and for no other transaction. There is one such manifest of a transaction.
    ///
    /// # Errors
    /// [`Error::Verification`] that says what it has not signed.
    pub fn verify_crossing(&self, manifest: &sc::Manifest) -> Result<()> {
        let wrong = |what: &str| Err(Error::verification(format!("{}: {what}", Self::NAME)));
        if self.digest()? != manifest.body {
            return wrong("the manifest is of another transaction");
        }
        let mut keys: Vec<Digest> = manifest.entries().map(|(_, key)| key).collect();
        keys.sort_unstable();
        if !keys.iter().map(Digest::as_slice).eq(self.touched.iter().map(|key| &**key)) {
            return wrong("the manifest has other keys than the transaction touches");
        }
        if self.terms != manifest.terms()? {
            return wrong("the manifest has other terms (shards, versions, expiry) than the sender has signed");
        }
        self.verify()
    }
}

impl Transaction {
    /// Makes and signs a transaction.
    pub fn new(
        identity: &Identity,
        network: Digest,
        sequence: u64,
        hlc: u64,
        payload: Vec<u8>,
        place: Option<Place>,
        mut touched: Vec<Vec<u8>>,
    ) -> Result<Self> {
        touched.sort_unstable();
        touched.dedup();
        let touched =
            touched.into_iter().map(|key| Bytes::new("transaction: touched key", key)).collect::<Result<_>>()?;
        Self {
            network,
            sender: identity.id(),
            sequence,
            hlc,
            place,
            touched: List::new("transaction: touched", touched)?,
            terms: None,
            payload: Bytes::new("transaction: payload", payload)?,
            signature: [0; SIGNATURE_LEN],
        }
        .sign(identity.signing())
    }

    /// The same transaction as one of several cities, signed anew.
    ///
    /// # Errors
    /// [`Error::Input`] if the key is not the sender's.
    pub fn with_terms(self, identity: &Identity, terms: Digest) -> Result<Self> {
        Self { terms: Some(terms), ..self }.sign(identity.signing())
    }

    /// What stands for a transaction of several cities where its payload is not held; `None` of any other.
    pub fn head(&self) -> Option<TransactionHead> {
        Some(TransactionHead {
            network: self.network,
            sender: self.sender,
            sequence: self.sequence,
            hlc: self.hlc,
            place: self.place.clone(),
            touched: self.touched.clone(),
            terms: self.terms?,
            payload_hash: hash::digest(CONTEXT_PAYLOAD, &self.payload),
            signature: self.signature,
        })
    }
}
