//! Signatures on BLS12-381: single ones, aggregates and threshold signatures (Boneh, Lynn, Shacham 2001; Boldyreva 2003).
//!
//! The suite is `BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_` of draft-irtf-cfrg-bls-signature: public keys in G2 (96 bytes),
//! signatures in G1 (48 bytes, "min_sig"), with proofs of possession. A signature is unique: for a key and a message there is
//! one, so that a threshold signature shows nobody who made it, and is the same whoever did.
//!
//! Stricter than the draft: the neutral element is no signature, and [`aggregate_verify`] refuses a key that stands twice,
//! so that a count of keys is a count of signers. Keys are summed only as [`ProvenKey`]s, which cannot be made without a
//! right proof of possession: a key that was made up from others' keys cannot sign for them.
//!
//! A public key is a [`PublicKey`], whether one holds its secret ([`SecretKey`]) or parties have shares of it
//! ([`SecretShare`](super::share::SecretShare), [`PublicShare`](super::share::PublicShare)); [`verify`] does not tell the
//! two apart.
//!
//! Files: `keys` has keys and proofs of possession, `signature` checks and sums, `batch` checks many equations and finds the
//! wrong ones, `threshold` makes and combines shares.

mod batch;
mod keys;
mod signature;
mod threshold;

use super::bls12381::G1_LEN;
use super::share::{BlsKeys, GroupKey, INDEX_LEN, PublicShare as Share};

pub use batch::{Item, verify_many};
pub use keys::{ProvenKey, SECRET_KEY_LEN, SecretKey, public_key, public_share, public_shares};
pub use signature::{aggregate, aggregate_verify, verify};
pub use threshold::{Combined, combine, sign_share, verify_share, verify_shares};

/// Bytes of a signature, and of a proof of possession.
pub const SIGNATURE_LEN: usize = G1_LEN;

/// Bytes of a signature share: the index (u16, little-endian) ‖ a signature.
pub const SHARE_LEN: usize = INDEX_LEN + SIGNATURE_LEN;

/// A public key, of one party or of many together.
pub type PublicKey = GroupKey<BlsKeys>;

/// What one party's signature shares are checked against.
pub type PublicShare = Share<BlsKeys>;

/// Domain separation tag of signatures.
const SIGNATURE_DST: &[u8] = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_";

/// Domain separation tag of proofs of possession.
const POSSESSION_DST: &[u8] = b"BLS_POP_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_";

#[cfg(test)]
mod tests;
