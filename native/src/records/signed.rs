//! Records that end in one Ed25519 signature.
//!
//! The signature is always the last field. What is signed is the record's digest: the domain-separated hash of its
//! encoding, envelope included, without the signature. The same digest is the record's id (a transaction's `tx_id`, a
//! manifest's hash), so an id never depends on which of several valid signatures is attached.

use std::borrow::Borrow;

use crate::crypto::ed25519::{self, SigningKey};
use crate::crypto::hash::{self, Digest};
use crate::crypto::remembered;
use crate::error::{Error, Result};
use crate::primitives::wire::{self, Record};

use super::Key;

/// Bytes of an Ed25519 signature.
pub const SIGNATURE_LEN: usize = 64;

/// A record whose last field is its signer's signature.
pub trait Signed: Record {
    /// The domain of the digest: `"city-chain v1 <what>"`.
    const CONTEXT: &'static str;

    /// Whose signature it is.
    fn signer(&self) -> &Key;

    /// The signature.
    fn signature(&self) -> &[u8; SIGNATURE_LEN];

    /// Puts the signature in.
    fn set_signature(&mut self, signature: [u8; SIGNATURE_LEN]);

    /// The digest that is signed, and the record's id.
    fn digest(&self) -> Result<Digest> {
        Ok(digest_of::<Self>(&wire::encode(self)?))
    }

    /// Signs the record; the key must be the one the record names.
    fn sign(mut self, key: &SigningKey) -> Result<Self> {
        if key.public() != *self.signer() {
            return Err(Error::input(format!("{}: the key is not that of the signer it names", Self::NAME)));
        }
        let digest = self.digest()?;
        self.set_signature(key.sign(&digest));
        Ok(self)
    }

    /// Checks the signature.
    fn verify(&self) -> Result<()> {
        self.verify_digest(&self.digest()?)
    }

    /// [`Signed::verify`] for who knows the record's digest already.
    fn verify_digest(&self, digest: &Digest) -> Result<()> {
        remembered::verify(self.signer(), digest, self.signature())
            .map_err(|error| Error::verification(format!("{}: {error}", Self::NAME)))
    }
}

/// Checks many records' signatures in one batch, one verdict each; the digests are the records' own.
pub fn verify_many<S: Signed, R: Borrow<S>>(records: &[(R, Digest)]) -> Result<Vec<Result<()>>> {
    let items: Vec<ed25519::Item<'_>> = records
        .iter()
        .map(|(record, digest)| ed25519::Item {
            public: record.borrow().signer(),
            message: digest.as_slice(),
            signature: record.borrow().signature(),
        })
        .collect();
    let wrong = || Err(Error::verification(format!("{}: signature: it does not fit key and message", S::NAME)));
    Ok(remembered::verify_many(&items)?.into_iter().map(|good| if good { Ok(()) } else { wrong() }).collect())
}

/// The digest of an encoding: the hash of all but the signature at its end.
pub fn digest_of<S: Signed>(encoding: &[u8]) -> Digest {
    hash::digest(S::CONTEXT, &encoding[..encoding.len().saturating_sub(SIGNATURE_LEN)])
}

/// Implements the three accessors for a record with a field `signature` and a field that names the signer.
macro_rules! signed {
    ($record:ty, $signer:ident, $context:literal) => {
        impl $crate::records::signed::Signed for $record {
            const CONTEXT: &'static str = $context;

            fn signer(&self) -> &$crate::records::Key {
                &self.$signer
            }

            fn signature(&self) -> &[u8; $crate::records::signed::SIGNATURE_LEN] {
                &self.signature
            }

            fn set_signature(&mut self, signature: [u8; $crate::records::signed::SIGNATURE_LEN]) {
                self.signature = signature;
            }
        }
    };
}

pub(super) use signed;
