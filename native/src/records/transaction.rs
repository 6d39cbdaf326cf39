//! The transaction: what a sender wants dispersed and committed.

use borsh::{BorshDeserialize, BorshSerialize};

use super::identity::Identity;
use super::signed::{SIGNATURE_LEN, Signed, signed};
use super::{Key, NAME_MAX};
use crate::crypto::hash::Digest;
use crate::error::{Error, Result};
use crate::primitives::wire::{Bytes, List, Record, Text};

/// The most bytes a payload may have: 64 MiB.
pub const PAYLOAD_MAX: usize = 64 << 20;

/// The most keys a transaction may touch, and the most bytes of each.
pub const TOUCHED_MAX: usize = 64;

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
    pub touched: List<Bytes<TOUCHED_MAX>, TOUCHED_MAX>,
    /// The content, any bytes.
    pub payload: Bytes<PAYLOAD_MAX>,
    /// The sender's signature.
    pub signature: [u8; SIGNATURE_LEN],
}

impl Record for Transaction {
    const TAG: [u8; 4] = *b"CCtx";
    const VERSION: u16 = 1;
    const NAME: &'static str = "transaction";
    const LEN_MAX: usize = PAYLOAD_MAX + (16 << 10);

    fn check(&self) -> Result<()> {
        if !self.touched.windows(2).all(|pair| *pair[0] < *pair[1]) {
            return Err(Error::input("transaction: the touched keys must be ascending and distinct"));
        }
        if let Some(place) = &self.place
            && (place.lat_e7.unsigned_abs() > 900_000_000 || place.lon_e7.unsigned_abs() > 1_800_000_000)
        {
            return Err(Error::input(format!(
                "transaction: no such place: {} (at most ±900000000), {} (at most ±1800000000), in 1e-7 degrees",
                place.lat_e7, place.lon_e7
            )));
        }
        Ok(())
    }
}

signed!(Transaction, sender, "city-chain v1 transaction");

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
            payload: Bytes::new("transaction: payload", payload)?,
            signature: [0; SIGNATURE_LEN],
        }
        .sign(identity.signing())
    }
}
