//! Ed25519 (RFC 8032), with one rule of acceptance, the same alone and in batches.
//!
//! Signing is ed25519-dalek's. Verification is our own, because neither of dalek's rules holds alike alone and in a batch.
//! The rule: A and R are canonical encodings, A is not of small order, S < L, and the **cofactored** equation
//! 8·(S·B − R − k·A) = 0 holds ("Taming the many EdDSAs", section 5). Only the cofactored equation can be checked for a
//! random linear combination of many signatures with the same result as for each alone.
//!
//! A key that comes again and again gets a table ([`keys`]), with which S·B − k·A takes sixteen doublings; R is then compared
//! as bytes, after one inversion for a whole batch. Other keys, and batches from [`BUCKETS_MIN`] on, go into a random
//! combination: coalesced by key, with 128-bit coefficients from OS randomness and the whole transcript; the bad ones are
//! found by bisection. Rayon is used from [`PARALLEL_MIN`] items on.
//!
//! The arithmetic of verification is in [`field`], [`point`] and [`multiply`]: variable time, for public values alone. The
//! tests hold it against curve25519-dalek and against big integers.

mod field;
mod keys;
mod multiply;
mod point;

use std::collections::HashMap;
use std::sync::Arc;

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::VerifyingKey;
use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
use rayon::prelude::*;
use sha2::{Digest as _, Sha512};
use zeroize::Zeroizing;

use self::keys::Key;
use self::point::Point;
use crate::error::{Error, Result};

/// Items from which on a batch is spread over threads.
pub const PARALLEL_MIN: usize = 256;

/// Below this many items a combination is dearer than checking each.
const BATCH_MIN: usize = 4;

/// From this many items on a sum by buckets is the fastest.
const BUCKETS_MIN: usize = 128;

const WRONG: &str = "signature: it does not fit key and message";
const WRONG_R: &str = "signature: R is not a canonical point";

/// The prime of the field, 2²⁵⁵ − 19, little-endian.
const FIELD_PRIME: [u8; 32] = {
    let mut prime = [0xff; 32];
    prime[0] = 0xed;
    prime[31] = 0x7f;
    prime
};

/// A secret signing key, expanded once; copies share it, it is zeroised when the last is dropped, and none is ever shown.
#[derive(Clone)]
pub struct SigningKey(Arc<(ExpandedSecretKey, VerifyingKey)>);

impl SigningKey {
    /// The key of a 32-byte seed (RFC 8032, section 5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let mut hash = Zeroizing::new([0; 64]);
        hash.copy_from_slice(&Sha512::digest(seed));
        let expanded = ExpandedSecretKey::from_bytes(&hash);
        let public = VerifyingKey::from(&expanded);
        Self(Arc::new((expanded, public)))
    }

    /// The public key.
    pub fn public(&self) -> [u8; 32] {
        self.0.1.to_bytes()
    }

    /// Signs `message` (RFC 8032, section 5.1.6).
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        raw_sign::<Sha512>(&self.0.0, message, &self.0.1).to_bytes()
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

/// A signature whose parts are well-formed, but for R: the equation is left to check.
struct Equation {
    key: Arc<Key>,
    r: [u8; 32],
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
    let (mut r, mut s) = ([0; 32], [0; 32]);
    r.copy_from_slice(&item.signature[..32]);
    s.copy_from_slice(&item.signature[32..]);
    let s = Option::<Scalar>::from(Scalar::from_canonical_bytes(s)).ok_or("signature: S is not below L")?;
    let key = keys::find(item.public)?;
    let hash = Sha512::new().chain_update(r).chain_update(item.public).chain_update(item.message).finalize();
    let k = Scalar::from_bytes_mod_order_wide(&hash.into());
    Ok(Equation { key, r, s, k })
}

impl Equation {
    /// S·B − k·A, which is R or differs from it by a point of small order if the equation holds.
    fn point(&self) -> Point {
        match self.key.table() {
            Some(table) => multiply::base_less_key(self.s.as_bytes(), self.k.as_bytes(), table),
            None => multiply::straus(self.s.as_bytes(), &[((-self.k).to_bytes(), self.key.point)]),
        }
    }

    /// What is wrong with it, from [`Equation::point`] and its encoding. An encoding that is R's settles it: it is canonical,
    /// and the equation holds without the cofactor.
    fn judge(&self, point: &Point, encoding: &[u8; 32]) -> std::result::Result<(), &'static str> {
        if *encoding == self.r {
            return Ok(());
        }
        let r = Point::decode(&self.r).ok_or(WRONG_R)?;
        if point.sub(&r).is_small_order() { Ok(()) } else { Err(WRONG) }
    }
}

/// Judges each by itself, with one inversion for all.
fn judge_each(equations: &[&Equation]) -> Vec<bool> {
    let points: Vec<Point> = equations.iter().map(|equation| equation.point()).collect();
    let encodings = point::encode_all(&points);
    let judge =
        |((equation, point), encoding): ((&&Equation, &Point), &[u8; 32])| equation.judge(point, encoding).is_ok();
    equations.iter().zip(&points).zip(&encodings).map(judge).collect()
}

/// Checks one signature.
pub fn verify(public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Result<()> {
    let equation = prepare(&Item { public, message, signature }).map_err(Error::verification)?;
    let point = equation.point();
    equation.judge(&point, &point.encode()).map_err(Error::verification)
}

/// Checks many signatures; one verdict each, the same that [`verify`] would give.
///
/// Fails only if the operating system gives no randomness.
pub fn verify_many(items: &[Item<'_>]) -> Result<Vec<bool>> {
    let prepared: Vec<Option<Equation>> = if items.len() >= PARALLEL_MIN {
        items.par_iter().map(|item| prepare(item).ok()).collect()
    } else {
        items.iter().map(|item| prepare(item).ok()).collect()
    };
    let mut verdicts = vec![false; items.len()];
    let formed = prepared.iter().enumerate().filter_map(|(at, equation)| Some((at, equation.as_ref()?)));
    // Keys with a table are checked one by one, unless there are so many that buckets are faster still.
    let (apart, mut together): (Vec<_>, Vec<_>) =
        formed.partition(|(_, equation)| items.len() < BUCKETS_MIN && equation.key.table().is_some());
    let mut apart = apart;
    if together.len() < BATCH_MIN {
        apart.append(&mut together);
    }
    let equations: Vec<&Equation> = apart.iter().map(|(_, equation)| *equation).collect();
    for ((at, _), good) in apart.iter().zip(judge_each(&equations)) {
        verdicts[*at] = good;
    }
    if together.is_empty() {
        return Ok(verdicts);
    }
    let coefficients = coefficients(items, together.len())?;
    let pairs = together.into_iter().zip(coefficients);
    let whole: Vec<Weighted<'_>> = if items.len() >= PARALLEL_MIN {
        pairs.collect::<Vec<_>>().into_par_iter().filter_map(Weighted::new).collect()
    } else {
        pairs.filter_map(Weighted::new).collect()
    };
    let pieces = if items.len() >= PARALLEL_MIN { rayon::current_num_threads() } else { 1 };
    let good: Vec<usize> = if pieces > 1 {
        whole.par_chunks(whole.len().div_ceil(pieces).max(1)).flat_map_iter(good_ones).collect()
    } else {
        good_ones(&whole)
    };
    for at in good {
        verdicts[at] = true;
    }
    Ok(verdicts)
}

/// An equation in a random combination.
struct Weighted<'a> {
    at: usize,
    equation: &'a Equation,
    r: Point,
    z: Scalar,
}

impl<'a> Weighted<'a> {
    fn new(((at, equation), z): ((usize, &'a Equation), Scalar)) -> Option<Self> {
        Some(Self { at, equation, r: Point::decode(&equation.r)?, z })
    }
}

/// The positions whose equation holds, by bisection.
fn good_ones(items: &[Weighted<'_>]) -> Vec<usize> {
    if items.len() < BATCH_MIN {
        let equations: Vec<&Equation> = items.iter().map(|item| item.equation).collect();
        return items.iter().zip(judge_each(&equations)).filter(|(_, good)| *good).map(|(item, _)| item.at).collect();
    }
    if combination_holds(items) {
        return items.iter().map(|item| item.at).collect();
    }
    let (left, right) = items.split_at(items.len() / 2);
    let mut good = good_ones(left);
    good.extend(good_ones(right));
    good
}

/// Whether 8·Σ z·(S·B − R − k·A) = 0.
fn combination_holds(items: &[Weighted<'_>]) -> bool {
    let mut places: HashMap<*const Key, usize> = HashMap::with_capacity(items.len());
    let mut base = Scalar::ZERO;
    let mut others: Vec<(Scalar, Point)> = Vec::with_capacity(items.len() * 2);
    for item in items {
        base -= item.z * item.equation.s;
        others.push((item.z, item.r));
        let at = *places.entry(Arc::as_ptr(&item.equation.key)).or_insert_with(|| {
            others.push((Scalar::ZERO, item.equation.key.point));
            others.len() - 1
        });
        others[at].0 += item.z * item.equation.k;
    }
    let others: Vec<(multiply::Scalar, Point)> =
        others.into_iter().map(|(scalar, point)| (scalar.to_bytes(), point)).collect();
    let sum = if others.len() < BUCKETS_MIN { multiply::straus } else { multiply::pippenger };
    sum(base.as_bytes(), &others).is_small_order()
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
mod arithmetic_tests;
#[cfg(test)]
mod tests;
