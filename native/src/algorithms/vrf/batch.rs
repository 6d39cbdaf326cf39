//! Many proofs at once, each with the verdict that it has alone.
//!
//! Of an 80-byte proof c must be computed again from U and V, which no combination of proofs can spare: what a batch
//! saves there are inversions and the decoding of keys, and it spreads over threads. Proofs of 128 bytes give U and V, so
//! that a random linear combination of all their equations is one multiscalar multiplication; the bad ones are found by
//! bisection.

use std::collections::HashMap;

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use rayon::prelude::*;

use super::proof::{Claim, Equations, Settled, decode_public, misfit};
use super::{OUTPUT_LEN, Proof, Suite};
use crate::error::{Error, Result};

/// Items from which on a batch is spread over threads.
pub const PARALLEL_MIN: usize = 16;

/// Below this many proofs a combination is dearer than checking each.
const COMBINE_MIN: usize = 4;

/// Proofs whose points are encoded together.
const CHUNK: usize = 32;

/// Proofs that are combined at most, so that what is held at a time is bounded (about 2 KiB for each).
const WINDOW: usize = 4096;

/// One proof to check.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// The public key.
    pub public: &'a [u8; 32],
    /// The input.
    pub alpha: &'a [u8],
    /// The proof.
    pub proof: Proof<'a>,
}

impl<'a> Item<'a> {
    /// An item of bytes whose lengths nobody has checked.
    pub fn from_slices(public: &'a [u8], alpha: &'a [u8], proof: &'a [u8]) -> Result<Self> {
        let wrong = |_| Error::input(format!("vrf: the public key: {} bytes, exactly 32 are needed", public.len()));
        Ok(Self { public: public.try_into().map_err(wrong)?, alpha, proof: Proof::from_slice(proof)? })
    }
}

/// Equations that are open, with where they belong and their coefficients.
struct Open<'a> {
    at: usize,
    key: usize,
    equations: &'a Equations,
    z: [Scalar; 2],
}

/// Checks many proofs; one verdict each, the same that [`verify_in`](super::verify_in) would give.
///
/// Fails only if the operating system gives no randomness.
pub fn verify_many(suite: Suite, items: &[Item<'_>]) -> Result<Vec<Result<[u8; OUTPUT_LEN]>>> {
    let mut verdicts = Vec::with_capacity(items.len());
    for window in items.chunks(WINDOW) {
        verdicts.append(&mut verify_window(suite, window)?);
    }
    Ok(verdicts)
}

fn verify_window(suite: Suite, items: &[Item<'_>]) -> Result<Vec<Result<[u8; OUTPUT_LEN]>>> {
    let parallel = items.len() >= PARALLEL_MIN && rayon::current_num_threads() > 1;
    let (keys, key_of) = keys(items, parallel);
    let settle = |(items, key_of): (&[Item<'_>], &[usize])| settle_chunk(suite, items, key_of, &keys);
    let settled: Vec<Settled> = if parallel {
        let chunk = items.len().div_ceil(4 * rayon::current_num_threads()).clamp(1, CHUNK);
        items.par_chunks(chunk).zip(key_of.par_chunks(chunk)).flat_map_iter(settle).collect()
    } else {
        items.chunks(CHUNK).zip(key_of.chunks(CHUNK)).flat_map(settle).collect()
    };
    let bad = bad_equations(suite, items, &key_of, &settled, parallel)?;
    let mut verdicts: Vec<_> = settled
        .into_iter()
        .map(|settled| match settled {
            Settled::Verdict(verdict) => verdict,
            Settled::Open(_, beta) => Ok(beta),
        })
        .collect();
    for at in bad {
        verdicts[at] = Err(misfit());
    }
    Ok(verdicts)
}

/// [`verify_many`] of items that may not even have the right lengths: those get their verdict too.
pub fn verify_many_of(suite: Suite, items: Vec<Result<Item<'_>>>) -> Result<Vec<Result<[u8; OUTPUT_LEN]>>> {
    let formed: Vec<Item<'_>> = items.iter().filter_map(|item| item.as_ref().ok().copied()).collect();
    let mut verdicts = verify_many(suite, &formed)?.into_iter();
    Ok(items.into_iter().map(|item| item.and_then(|_| verdicts.next().unwrap_or_else(|| Err(misfit())))).collect())
}

/// The distinct keys, each decoded once, and which of them each item has.
fn keys(items: &[Item<'_>], parallel: bool) -> (Vec<Result<EdwardsPoint>>, Vec<usize>) {
    let mut places: HashMap<&[u8; 32], usize> = HashMap::with_capacity(items.len());
    let mut distinct = Vec::new();
    let key_of = items
        .iter()
        .map(|item| {
            *places.entry(item.public).or_insert_with(|| {
                distinct.push(item.public);
                distinct.len() - 1
            })
        })
        .collect();
    let decoded = if parallel {
        distinct.par_iter().map(|public| decode_public(public)).collect()
    } else {
        distinct.iter().map(|public| decode_public(public)).collect()
    };
    (decoded, key_of)
}

fn settle_chunk(suite: Suite, items: &[Item<'_>], key_of: &[usize], keys: &[Result<EdwardsPoint>]) -> Vec<Settled> {
    let mut points = Vec::with_capacity(4 * items.len());
    let claims: Vec<Result<Claim<'_>>> = items
        .iter()
        .zip(key_of)
        .map(|(item, key)| {
            let claim = Claim::new(suite, item.public, keys[*key].clone()?, item.alpha, item.proof)?;
            claim.add_points(&mut points);
            Ok(claim)
        })
        .collect();
    let mut encoded = EdwardsPoint::compress_batch_alloc(&points).into_iter();
    claims
        .into_iter()
        .map(|claim| claim.map_or_else(|error| Settled::Verdict(Err(error)), |claim| claim.settle(&mut encoded)))
        .collect()
}

/// The positions of the proofs whose equations do not hold.
fn bad_equations(
    suite: Suite,
    items: &[Item<'_>],
    key_of: &[usize],
    settled: &[Settled],
    parallel: bool,
) -> Result<Vec<usize>> {
    let open: Vec<(usize, &Equations)> = settled
        .iter()
        .enumerate()
        .filter_map(|(at, settled)| match settled {
            Settled::Open(equations, _) => Some((at, &**equations)),
            Settled::Verdict(_) => None,
        })
        .collect();
    if open.len() < COMBINE_MIN {
        return Ok(open.iter().filter(|(_, equations)| !equations.hold()).map(|(at, _)| *at).collect());
    }
    let coefficients = coefficients(suite, items, open.len())?;
    let open: Vec<Open<'_>> = open
        .into_iter()
        .zip(coefficients)
        .map(|((at, equations), z)| Open { at, key: key_of[at], equations, z })
        .collect();
    if !parallel {
        return Ok(bad_ones(&open));
    }
    let piece = open.len().div_ceil(rayon::current_num_threads()).max(COMBINE_MIN);
    Ok(open.par_chunks(piece).flat_map_iter(bad_ones).collect())
}

/// The positions whose equations do not hold, by bisection.
///
/// To find one bad proof costs combinations of 3·n in all; with that spent (many are bad) each is checked alone, so that
/// a hostile batch costs little more than its proofs do one by one.
fn bad_ones(open: &[Open<'_>]) -> Vec<usize> {
    let (mut bad, mut budget) = (Vec::new(), 3 * open.len());
    bisect(open, false, &mut budget, &mut bad);
    bad
}

/// `guilty` says that there is a bad one, as is known of the right half once the left is found to be without.
fn bisect(open: &[Open<'_>], guilty: bool, budget: &mut usize, bad: &mut Vec<usize>) {
    let alone = |bad: &mut Vec<usize>| bad.extend(open.iter().filter(|one| !one.equations.hold()).map(|one| one.at));
    if open.len() < COMBINE_MIN || *budget < open.len() {
        return alone(bad);
    }
    if !guilty {
        *budget -= open.len();
        if combination_holds(open) {
            return;
        }
    }
    if open.len() < 2 * COMBINE_MIN {
        return alone(bad);
    }
    let (left, right) = open.split_at(open.len() / 2);
    let before = bad.len();
    bisect(left, false, budget, bad);
    bisect(right, bad.len() == before, budget, bad);
}

/// Whether 8 · Σ z·(U − s·B + c·Y) + z'·(V − s·H + c·Γ) = 0.
fn combination_holds(open: &[Open<'_>]) -> bool {
    let mut places: HashMap<usize, usize> = HashMap::with_capacity(open.len());
    let (mut scalars, mut points) = (Vec::with_capacity(5 * open.len() + 1), Vec::with_capacity(5 * open.len() + 1));
    scalars.push(Scalar::ZERO);
    points.push(ED25519_BASEPOINT_POINT);
    for Open { key, equations, z: [z, w], .. } in open {
        scalars[0] -= z * equations.s;
        scalars.extend([*z, *w, -(w * equations.s), w * equations.c]);
        points.extend([equations.u, equations.v, equations.h, equations.gamma]);
        let at = *places.entry(*key).or_insert_with(|| {
            scalars.push(Scalar::ZERO);
            points.push(equations.y);
            points.len() - 1
        });
        scalars[at] += z * equations.c;
    }
    EdwardsPoint::vartime_multiscalar_mul(scalars, points).mul_by_cofactor().is_identity()
}

/// Two 128-bit coefficients each, from OS randomness and everything that is being checked.
fn coefficients(suite: Suite, items: &[Item<'_>], count: usize) -> Result<Vec<[Scalar; 2]>> {
    let mut entropy = [0; 32];
    getrandom::fill(&mut entropy)
        .map_err(|error| Error::input(format!("vrf: no randomness from the operating system: {error}")))?;
    let mut transcript = blake3::Hasher::new_derive_key("city-chain v1 vrf batch");
    transcript.update(&entropy).update(&[suite.octet()]);
    for item in items {
        let proof = item.proof.as_slice();
        transcript.update(item.public).update(&(proof.len() as u64).to_le_bytes()).update(proof);
        transcript.update(&(item.alpha.len() as u64).to_le_bytes()).update(item.alpha);
    }
    let mut bytes = vec![0; count * 32];
    transcript.finalize_xof().fill(&mut bytes);
    Ok(bytes
        .chunks_exact(32)
        .map(|chunk| {
            [0, 16].map(|from| {
                let mut wide = [0; 32];
                wide[..16].copy_from_slice(&chunk[from..from + 16]);
                wide[0] |= 1; // never zero, which would leave an equation out
                Scalar::from_bytes_mod_order(wide)
            })
        })
        .collect())
}

#[cfg(test)]
mod tests;
