//! Signatures that need t parties of n (Boldyreva 2003).
//!
//! A share is the message's point times the party's secret share; the signature is the shares' interpolation at 0. It is
//! checked as a whole, once. If that fails, a few other choices of shares are tried ([`subsets`]), one of which fits if a
//! single share is wrong; then the shares that it is made without are checked for the wrong one's name. Only if none fits
//! are all shares looked at. Shares are checked in one random combination, so that wrong ones cannot make honest work grow
//! with their number times the group's.

use std::collections::HashMap;

use rayon::prelude::*;

use super::batch::{Claim, settle};
use super::keys::sign_with;
use super::signature::{check, misfit};
use super::{PublicKey, PublicShare, SHARE_LEN, SIGNATURE_DST, SIGNATURE_LEN};
use crate::algorithms::tes::bls12381::{Fr, G1Affine, G1OnCurve, hash_to_g1};
use crate::algorithms::tes::polynomial::{check_indices, lagrange_at_zero};
use crate::algorithms::tes::share::{BlsKeys, SecretShare, split_index};
use crate::algorithms::tes::subsets;
use crate::error::{Error, Result};

/// What [`combine`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Combined {
    /// The signature, which fits the group key and the message.
    pub signature: [u8; SIGNATURE_LEN],
    /// The indices of wrong shares, as far as they had to be looked at, in order, and what is wrong with them.
    pub wrong: Vec<(u16, Error)>,
}

/// One party's share of a signature: its index ‖ the message's point times its secret.
///
/// # Errors
/// [`Error::Input`] if the share is of another scheme or 0.
pub fn sign_share(share: &SecretShare, message: &[u8]) -> Result<[u8; SHARE_LEN]> {
    let signature = sign_with(&*share.scalar::<BlsKeys>()?, message, SIGNATURE_DST)?;
    let mut bytes = [0; SHARE_LEN];
    bytes[..2].copy_from_slice(&share.index().to_le_bytes());
    bytes[2..].copy_from_slice(&signature);
    Ok(bytes)
}

/// The index and the signature of a share; `at` is its place among several.
fn split(at: usize, share: &[u8]) -> Result<(u16, &[u8])> {
    if share.len() != SHARE_LEN {
        let message = format!("bls: shares[{at}]: {} bytes, exactly {SHARE_LEN} are needed", share.len());
        return Err(Error::input(message));
    }
    split_index(share).map_err(|error| Error::input(format!("bls: shares[{at}]: {error}")))
}

/// Checks one share.
///
/// # Errors
/// [`Error::Verification`] if it does not fit or is another party's, [`Error::Input`] if it has another length or its index
/// is 0.
pub fn verify_share(public: &PublicShare, message: &[u8], share: &[u8]) -> Result<()> {
    let verdicts = verify_shares(&[*public], message, &[share])?;
    verdicts.into_iter().next().unwrap_or_else(|| Err(misfit()))
}

/// Checks shares of one message; one verdict each, all for little more than what one costs if they are right.
///
/// # Errors
/// [`Error::Input`] if a share has another length, an index is 0, or one stands twice among the shares or among the public
/// shares; [`Error::Unavailable`] if the system has no randomness.
pub fn verify_shares(public: &[PublicShare], message: &[u8], shares: &[&[u8]]) -> Result<Vec<Result<()>>> {
    let parts: Vec<(u16, &[u8])> =
        shares.iter().enumerate().map(|(at, share)| split(at, share)).collect::<Result<_>>()?;
    check_indices(&parts.iter().map(|part| part.0).collect::<Vec<_>>())?;
    verdicts(&keys(public)?, hash_to_g1(message, SIGNATURE_DST).to_affine(), &read(&parts))
}

/// A share's index, and its point if it is one.
type Part = (u16, Result<G1OnCurve>);

/// The right parts, and the indices of the wrong ones with what is wrong with them.
type Sorted<'a> = (Vec<&'a Part>, Vec<(u16, Error)>);

/// Reads the points of shares.
fn read(parts: &[(u16, &[u8])]) -> Vec<Part> {
    let wrong = |index, error| Error::verification(format!("bls: share {index}: {error}"));
    let point =
        |&(index, bytes): &(u16, &[u8])| (index, G1OnCurve::from_bytes(bytes).map_err(|error| wrong(index, error)));
    parts.par_iter().map(point).collect()
}

/// The public shares by their index.
fn keys(public: &[PublicShare]) -> Result<HashMap<u16, &PublicShare>> {
    check_indices(&public.iter().map(PublicShare::index).collect::<Vec<_>>())?;
    Ok(public.iter().map(|share| (share.index(), share)).collect())
}

/// One verdict for each part.
fn verdicts(keys: &HashMap<u16, &PublicShare>, hash: G1Affine, parts: &[Part]) -> Result<Vec<Result<()>>> {
    let claim = |(at, (index, point)): (usize, &Part)| {
        let stranger = || Error::verification(format!("bls: share {index}: there is no public share with this index"));
        let key = keys.get(index).ok_or_else(stranger)?.point().to_affine();
        let outside = |error| Error::verification(format!("bls: share {index}: {error}"));
        let signature = point.clone()?.to_affine().map_err(outside)?;
        Ok(Claim { hash, key, signature, message_id: 0, key_id: at })
    };
    let claims = parts.par_iter().enumerate().map(claim).collect();
    let wrong =
        |index| Error::verification(format!("bls: share {index} does not fit its public share and the message"));
    let settled = settle(claims)?.into_iter().zip(parts);
    Ok(settled
        .map(|(verdict, (index, _))| verdict.map_err(|error| if error == misfit() { wrong(index) } else { error }))
        .collect())
}

/// The signature that `threshold` of the shares make together. Those of the least indices are taken and the signature is
/// checked under the group key; only if it does not fit are shares left out, checked, and the wrong ones named. Named are
/// those that the signature is made without, as far as they are wrong, or else all that are wrong.
///
/// Without public shares it cannot be told which share is wrong: then a wrong one among those that are taken is an error.
///
/// # Errors
/// [`Error::Unavailable`] if there are fewer right shares than `threshold`; the wrong ones are named.
/// [`Error::Verification`] if the signature does not fit though the shares do (the public shares are another key's), or there
/// are no public shares. [`Error::Input`] if the threshold is 0, a share has another length, an index is 0, or one stands
/// twice.
pub fn combine(
    public: &PublicKey,
    threshold: u16,
    public_shares: &[PublicShare],
    shares: &[&[u8]],
    message: &[u8],
) -> Result<Combined> {
    if threshold == 0 {
        return Err(Error::input("bls: a threshold of 0, at least 1 is needed"));
    }
    let mut parts: Vec<(u16, &[u8])> =
        shares.iter().enumerate().map(|(at, share)| split(at, share)).collect::<Result<_>>()?;
    parts.sort_unstable_by_key(|part| part.0);
    check_indices(&parts.iter().map(|part| part.0).collect::<Vec<_>>())?;
    let keys = keys(public_shares)?;
    let needed = usize::from(threshold);
    if parts.len() < needed {
        return Err(Error::unavailable("bls: signature shares", needed as u64, parts.len() as u64));
    }
    let hash = hash_to_g1(message, SIGNATURE_DST).to_affine();
    let key = public.point().to_affine();
    let fits = |parts: &mut dyn Iterator<Item = &Part>| -> Result<Option<G1Affine>> {
        Ok(interpolated(parts)?.filter(|signature| check(hash, key, *signature)))
    };
    let mut read_parts = read(&parts[..needed]);
    if let Some(signature) = fits(&mut read_parts.iter())? {
        return Ok(Combined { signature: signature.to_bytes(), wrong: Vec::new() });
    }
    if keys.is_empty() {
        let message = "bls: the shares' signature does not fit the group key: one is wrong, and without public shares \
                       there is no telling which";
        return Err(Error::verification(message));
    }
    read_parts.extend(read(&parts[needed..]));
    let parts = read_parts;

    let formed: Vec<usize> = (0..parts.len()).filter(|at| parts[*at].1.is_ok()).collect();
    // If all of the first are points, they are what did not fit.
    let first = formed.get(needed - 1).filter(|last| **last >= needed).map(|_| (0..needed).collect());
    for places in first.into_iter().chain(subsets::others(needed, formed.len())) {
        let Some(signature) = fits(&mut places.iter().map(|at| &parts[formed[*at]]))? else { continue };
        let mut is_taken = vec![false; parts.len()];
        places.iter().for_each(|at| is_taken[formed[*at]] = true);
        let rest: Vec<Part> =
            parts.iter().zip(&is_taken).filter(|(_, taken)| !**taken).map(|(part, _)| part.clone()).collect();
        let (_, mut wrong) = sorted_out(&keys, hash, &rest)?;
        if wrong.is_empty() {
            // Then those that are taken hold wrong ones that cancel out.
            (_, wrong) = sorted_out(&keys, hash, &parts)?;
        }
        return Ok(Combined { signature: signature.to_bytes(), wrong });
    }

    let (right, wrong) = sorted_out(&keys, hash, &parts)?;
    let Some(first) = right.get(..needed) else {
        let named: Vec<String> = wrong.iter().map(|(index, _)| index.to_string()).collect();
        let what = format!("bls: right signature shares (wrong: {})", named.join(", "));
        return Err(Error::unavailable(what, needed as u64, right.len() as u64));
    };
    match fits(&mut first.iter().copied())? {
        Some(signature) => Ok(Combined { signature: signature.to_bytes(), wrong }),
        None => Err(Error::verification("bls: the shares fit the public shares, but these are not of the group key")),
    }
}

/// Checks each part.
fn sorted_out<'a>(keys: &HashMap<u16, &PublicShare>, hash: G1Affine, parts: &'a [Part]) -> Result<Sorted<'a>> {
    let (mut right, mut wrong) = (Vec::new(), Vec::new());
    for (verdict, part) in verdicts(keys, hash, parts)?.into_iter().zip(parts) {
        match verdict {
            Ok(()) => right.push(part),
            Err(error) => wrong.push((part.0, error)),
        }
    }
    Ok((right, wrong))
}

/// The value at 0; `None` if it is no signature: a share is no point, or they are not of one polynomial. Its shares are not
/// checked for themselves, so the signature must be.
fn interpolated(parts: &mut dyn Iterator<Item = &Part>) -> Result<Option<G1Affine>> {
    let formed: Option<Vec<(u16, G1OnCurve)>> =
        parts.map(|(index, point)| Some((*index, *point.as_ref().ok()?))).collect();
    let Some(formed) = formed else { return Ok(None) };
    let (indices, points): (Vec<u16>, Vec<G1OnCurve>) = formed.into_iter().unzip();
    let weights: Vec<Fr> = lagrange_at_zero(&indices)?;
    Ok(G1OnCurve::sum_of_products(&weights, &points))
}
