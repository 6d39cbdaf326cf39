//! Checking signatures and summing them.

use rayon::prelude::*;

use super::{ProvenKey, PublicKey, SIGNATURE_DST, SIGNATURE_LEN};
use crate::algorithms::tes::bls12381::{G1, G1Affine, G2, G2Affine, Gt, hash_to_g1, pairing_product};
use crate::algorithms::tes::group::Group;
use crate::error::{Error, Result};

/// The verdict on a signature that is a point and not the right one.
pub(super) fn misfit() -> Error {
    Error::verification("bls: the signature does not fit key and message")
}

/// Reads a signature, or what else is of its kind: `what` names it. A wrong length is the caller's fault, wrong bytes are
/// the signer's.
pub(super) fn signature_point(what: &str, bytes: &[u8]) -> Result<G1Affine> {
    if bytes.len() != SIGNATURE_LEN {
        let message = format!("bls: {what}: {} bytes, exactly {SIGNATURE_LEN} are needed", bytes.len());
        return Err(Error::input(message));
    }
    G1Affine::from_bytes(bytes).map_err(|error| Error::verification(format!("bls: {what}: {error}")))
}

/// Whether e(hash, key) = e(signature, base).
pub(super) fn check(hash: G1Affine, key: G2Affine, signature: G1Affine) -> bool {
    let minus = signature.to_point().negate().to_affine();
    pairing_product(&[(hash, key), (minus, G2::base().to_affine())]) == Gt::one()
}

/// [`verify`] in any domain.
pub(super) fn verify_in(dst: &[u8], public: &PublicKey, message: &[u8], signature: &[u8]) -> Result<()> {
    let signature = signature_point("the signature", signature)?;
    if check(hash_to_g1(message, dst).to_affine(), public.point().to_affine(), signature) {
        Ok(())
    } else {
        Err(misfit())
    }
}

/// Checks a signature of one key, or a threshold signature under the group's.
///
/// # Errors
/// [`Error::Verification`] if it does not fit or is no element of the group, [`Error::Input`] if it is not of
/// [`SIGNATURE_LEN`] bytes.
pub fn verify(public: &PublicKey, message: &[u8], signature: &[u8]) -> Result<()> {
    verify_in(SIGNATURE_DST, public, message, signature)
}

/// The sum of signatures, which [`aggregate_verify`] checks under the keys of all signers.
///
/// # Errors
/// [`Error::Verification`] if one is no element of the group or the sum is neutral, [`Error::Input`] if one has another
/// length or there are none.
pub fn aggregate(signatures: &[&[u8]]) -> Result<[u8; SIGNATURE_LEN]> {
    if signatures.is_empty() {
        return Err(Error::input("bls: no signatures, at least one is needed"));
    }
    let read = |(at, bytes): (usize, &&[u8])| signature_point(&format!("signatures[{at}]"), bytes);
    let points: Vec<G1Affine> = signatures.par_iter().enumerate().map(read).collect::<Result<_>>()?;
    let sum = points.iter().fold(G1::identity(), |sum, point| G1::add(&sum, &point.to_point()));
    if sum.is_identity() {
        return Err(Error::verification("bls: the signatures cancel out, their sum is the neutral element"));
    }
    Ok(sum.to_affine().to_bytes())
}

/// Checks that all of these keys signed the one message (the draft's `FastAggregateVerify`, section 3.3.4).
///
/// # Errors
/// [`Error::Verification`] if the signature does not fit or is no element of the group, or the keys cancel out;
/// [`Error::Input`] if it has another length, there are no keys, or one stands twice.
pub fn aggregate_verify(keys: &[ProvenKey], message: &[u8], signature: &[u8]) -> Result<()> {
    if keys.is_empty() {
        return Err(Error::input("bls: no keys, at least one is needed"));
    }
    let mut encoded: Vec<_> = keys.iter().enumerate().map(|(at, key)| (key.public().to_bytes(), at)).collect();
    encoded.sort_unstable();
    if let Some(pair) = encoded.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(Error::input(format!("bls: keys[{}] and keys[{}] are the same", pair[0].1, pair[1].1)));
    }
    let sum = keys.iter().fold(G2::identity(), |sum, key| G2::add(&sum, key.public().point()));
    if sum.is_identity() {
        return Err(Error::verification("bls: the keys cancel out, their sum is the neutral element"));
    }
    verify(&PublicKey::new(sum)?, message, signature)
}
