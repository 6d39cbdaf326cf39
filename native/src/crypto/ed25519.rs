//! Ed25519 (RFC 8032), with one rule of acceptance, the same alone and in batches.
//!
//! Signing is ed25519-dalek's. Verification is our own on curve25519-dalek, because neither of dalek's rules holds alike
//! alone and in a batch. The rule: A and R are canonical encodings, A is not of small order, S < L, and the **cofactored**
//! equation 8·(S·B − R − k·A) = 0 holds ("Taming the many EdDSAs", section 5). Only the cofactored equation can be checked
//! for a random linear combination of many signatures with the same result as for each alone.
//!
//! The batch verifier coalesces by key, draws 128-bit coefficients from OS randomness and the whole transcript, finds the
//! bad ones by bisection, and uses rayon from [`PARALLEL_MIN`] items on.

use std::collections::HashMap;

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use ed25519_dalek::Signer;
use rayon::prelude::*;
use sha2::{Digest as _, Sha512};

use crate::error::{Error, Result};

/// Items from which on a batch is spread over threads.
pub const PARALLEL_MIN: usize = 256;

/// Below this many items a combination is dearer than checking each.
const BATCH_MIN: usize = 4;

/// The prime of the field, 2²⁵⁵ − 19, little-endian.
const FIELD_PRIME: [u8; 32] = {
    let mut prime = [0xff; 32];
    prime[0] = 0xed;
    prime[31] = 0x7f;
    prime
};

/// A secret signing key; every copy of it is zeroised on drop, and none is ever shown.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// The key of a 32-byte seed (RFC 8032, section 5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The public key.
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// Signs `message` (RFC 8032, section 5.1.6).
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

/// One signature to check.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// The public key, A.
    pub public: &'a [u8; 32],
    /// What was signed.
    pub message: &'a [u8],
    /// R ‖ S.
    pub signature: &'a [u8; 64],
}

/// A signature whose parts are well-formed: the equation is left to check.
struct Equation {
    public: [u8; 32],
    a: EdwardsPoint,
    r: EdwardsPoint,
    s: Scalar,
    k: Scalar,
}

/// Decodes a point, refusing every encoding but the canonical one (dalek's own `decompress` is lenient).
pub fn decode_point(bytes: &[u8; 32]) -> Option<EdwardsPoint> {
    let mut y = *bytes;
    y[31] &= 0x7f;
    if !y.iter().rev().lt(FIELD_PRIME.iter().rev()) {
        return None;
    }
    // x = 0 has no sign; it is so for y = 1 and y = −1 only.
    let negative = bytes[31] & 0x80 != 0;
    let one = y[0] == 1 && y[1..].iter().all(|byte| *byte == 0);
    let minus_one = y[0] == 0xec && y[1..] == FIELD_PRIME[1..];
    if negative && (one || minus_one) {
        return None;
    }
    CompressedEdwardsY(*bytes).decompress()
}

fn prepare(item: &Item<'_>) -> std::result::Result<Equation, &'static str> {
    let (r_bytes, s_bytes) = item.signature.split_at(32);
    let (Ok(r_bytes), Ok(s_bytes)) = (<&[u8; 32]>::try_from(r_bytes), <[u8; 32]>::try_from(s_bytes)) else {
        return Err("signature: 64 bytes are needed");
    };
    let s = Option::<Scalar>::from(Scalar::from_canonical_bytes(s_bytes)).ok_or("signature: S is not below L")?;
    let a = decode_point(item.public).ok_or("signature: the public key is not a canonical point")?;
    if a.is_small_order() {
        return Err("signature: the public key is of small order");
    }
    let r = decode_point(r_bytes).ok_or("signature: R is not a canonical point")?;
    let hash = Sha512::new().chain_update(r_bytes).chain_update(item.public).chain_update(item.message).finalize();
    let k = Scalar::from_bytes_mod_order_wide(&hash.into());
    Ok(Equation { public: *item.public, a, r, s, k })
}

impl Equation {
    fn holds(&self) -> bool {
        let difference = EdwardsPoint::vartime_double_scalar_mul_basepoint(&-self.k, &self.a, &self.s) - self.r;
        difference.mul_by_cofactor().is_identity()
    }
}

/// Checks one signature.
pub fn verify(public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Result<()> {
    let equation = prepare(&Item { public, message, signature }).map_err(Error::verification)?;
    if equation.holds() { Ok(()) } else { Err(Error::verification("signature: it does not fit key and message")) }
}

/// Checks many signatures; one verdict each, the same that [`verify`] would give.
///
/// Fails only if the operating system gives no randomness.
pub fn verify_many(items: &[Item<'_>]) -> Result<Vec<bool>> {
    if items.len() < BATCH_MIN {
        return Ok(items.iter().map(|item| prepare(item).is_ok_and(|equation| equation.holds())).collect());
    }
    let prepared: Vec<Option<Equation>> = if items.len() >= PARALLEL_MIN {
        items.par_iter().map(|item| prepare(item).ok()).collect()
    } else {
        items.iter().map(|item| prepare(item).ok()).collect()
    };
    let mut verdicts: Vec<bool> = prepared.iter().map(Option::is_some).collect();
    let formed: Vec<(usize, &Equation)> =
        prepared.iter().enumerate().filter_map(|(at, equation)| Some((at, equation.as_ref()?))).collect();
    let coefficients = coefficients(items, formed.len())?;
    let whole: Vec<(usize, &Equation, Scalar)> =
        formed.into_iter().zip(coefficients).map(|((at, equation), z)| (at, equation, z)).collect();
    let pieces = if items.len() >= PARALLEL_MIN { rayon::current_num_threads() } else { 1 };
    let bad: Vec<usize> = if pieces > 1 {
        whole.par_chunks(whole.len().div_ceil(pieces).max(1)).flat_map_iter(bad_ones).collect()
    } else {
        bad_ones(&whole)
    };
    for at in bad {
        verdicts[at] = false;
    }
    Ok(verdicts)
}

/// The positions whose equation does not hold, by bisection.
fn bad_ones(items: &[(usize, &Equation, Scalar)]) -> Vec<usize> {
    if items.len() < BATCH_MIN {
        return items.iter().filter(|(_, equation, _)| !equation.holds()).map(|(at, _, _)| *at).collect();
    }
    if combination_holds(items) {
        return Vec::new();
    }
    let (left, right) = items.split_at(items.len() / 2);
    let mut bad = bad_ones(left);
    bad.extend(bad_ones(right));
    bad
}

fn combination_holds(items: &[(usize, &Equation, Scalar)]) -> bool {
    let mut keys: HashMap<&[u8; 32], usize> = HashMap::with_capacity(items.len());
    let (mut scalars, mut points) = (vec![Scalar::ZERO], vec![curve25519_dalek::constants::ED25519_BASEPOINT_POINT]);
    for (_, equation, z) in items {
        scalars[0] -= z * equation.s;
        scalars.push(*z);
        points.push(equation.r);
        let at = *keys.entry(&equation.public).or_insert_with(|| {
            scalars.push(Scalar::ZERO);
            points.push(equation.a);
            points.len() - 1
        });
        scalars[at] += z * equation.k;
    }
    EdwardsPoint::vartime_multiscalar_mul(scalars, points).mul_by_cofactor().is_identity()
}

/// One 128-bit coefficient each, from OS randomness and everything that is being checked.
fn coefficients(items: &[Item<'_>], count: usize) -> Result<Vec<Scalar>> {
    let mut entropy = [0; 32];
    getrandom::fill(&mut entropy)
        .map_err(|error| Error::input(format!("signature: no randomness from the operating system: {error}")))?;
    let mut transcript = blake3::Hasher::new_derive_key("city-chain v1 ed25519 batch");
    transcript.update(&entropy);
    for item in items {
        transcript.update(item.public).update(item.signature).update(&(item.message.len() as u64).to_le_bytes());
        transcript.update(item.message);
    }
    let mut bytes = vec![0; count * 16];
    transcript.finalize_xof().fill(&mut bytes);
    Ok(bytes
        .chunks_exact(16)
        .map(|chunk| {
            let mut wide = [0; 32];
            wide[..16].copy_from_slice(chunk);
            wide[0] |= 1; // never zero, which would leave an item out
            Scalar::from_bytes_mod_order(wide)
        })
        .collect())
}

#[cfg(test)]
mod tests;
