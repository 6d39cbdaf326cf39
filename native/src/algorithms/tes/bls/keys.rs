//! Secret keys, public keys and proofs of possession.

use std::fmt;

use blst::min_sig;
use rayon::prelude::*;
use zeroize::Zeroizing;

use super::signature::{check, signature_point};
use super::{POSSESSION_DST, PublicKey, PublicShare, SIGNATURE_DST, SIGNATURE_LEN};
use crate::algorithms::tes::bls12381::{Fr, G1, G2, G2Affine, hash_to_g1};
use crate::algorithms::tes::group::{Group, Scalar};
use crate::algorithms::tes::share::split_index;
use crate::crypto::hash::{Digest, Hasher};
use crate::crypto::remembered::{self, Table};
use crate::crypto::typed::{self, Kind, PREFIX_LEN};
use crate::error::{Error, Result};

/// Bytes of an encoded secret key.
pub const SECRET_KEY_LEN: usize = PREFIX_LEN + 32;

/// A secret key. Zeroised on drop; `Debug` shows the public key only.
pub struct SecretKey {
    scalar: Zeroizing<Fr>,
    public: PublicKey,
}

impl SecretKey {
    /// A key that nobody can guess.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the system has no randomness.
    pub fn generate() -> Result<Self> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut())
            .map_err(|error| Error::unavailable(format!("randomness of the operating system ({error})"), 32, 0))?;
        Self::from_seed(&seed)
    }

    /// The key of 32 secret bytes: the draft's `KeyGen` with an empty `key_info` (section 2.3).
    ///
    /// # Errors
    /// None that can happen for 32 bytes; blst's are passed on.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self> {
        let refused = |error| Error::input(format!("bls: the seed makes no key ({error:?})"));
        let made = min_sig::SecretKey::key_gen(seed, &[]).map_err(refused)?;
        let mut bytes = Zeroizing::new(made.to_bytes());
        bytes.reverse(); // blst writes the highest byte first
        Self::of_scalar(Zeroizing::new(Fr::from_bytes(&bytes)?))
    }

    fn of_scalar(scalar: Zeroizing<Fr>) -> Result<Self> {
        if scalar.is_zero() {
            return Err(Error::input("bls: the secret key is 0, which is none"));
        }
        let public = PublicKey::new(G2::mul_base(&scalar))?;
        Ok(Self { scalar, public })
    }

    /// The encoding: `bs` ‖ 32 secret bytes, little-endian.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let scalar = Zeroizing::new(self.scalar.to_bytes());
        Zeroizing::new(typed::encode(Kind::BlsSecret, scalar.as_slice()))
    }

    /// Reads a key.
    ///
    /// # Errors
    /// [`Error::Input`] if it is no BLS secret key, of another length, 0 or not below the group's order.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut scalar = Zeroizing::new([0; 32]);
        scalar.copy_from_slice(typed::decode(Kind::BlsSecret, bytes, SECRET_KEY_LEN)?);
        Self::of_scalar(Zeroizing::new(Fr::from_bytes(&scalar)?))
    }

    /// The public key.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The signature of a message.
    ///
    /// # Errors
    /// None that can happen: neither the key nor the message's point is neutral.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN]> {
        sign_with(&self.scalar, message, SIGNATURE_DST)
    }

    /// A proof that this key's holder has the secret: a signature of the public key in a domain of its own.
    ///
    /// # Errors
    /// As [`SecretKey::sign`].
    pub fn prove_possession(&self) -> Result<[u8; SIGNATURE_LEN]> {
        sign_with(&self.scalar, &G2::to_bytes(self.public.point()), POSSESSION_DST)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<SecretKey of {:?}>", self.public)
    }
}

/// The message's point times a secret scalar, in constant time.
pub(super) fn sign_with(scalar: &Fr, message: &[u8], dst: &[u8]) -> Result<[u8; SIGNATURE_LEN]> {
    let signature = G1::mul(&hash_to_g1(message, dst), scalar);
    if signature.is_identity() {
        return Err(Error::input("bls: the secret value is 0, which signs nothing"));
    }
    Ok(signature.to_affine().to_bytes())
}

/// A public key whose holder has shown that it has the secret: the only kind that is summed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ProvenKey(PublicKey);

impl ProvenKey {
    /// Checks a proof of possession.
    ///
    /// # Errors
    /// [`Error::Verification`] if it is not this key's, [`Error::Input`] if it has another length.
    pub fn new(public: PublicKey, possession: &[u8]) -> Result<Self> {
        let possession = signature_point("the proof of possession", possession)?;
        let hash = hash_to_g1(&G2::to_bytes(public.point()), POSSESSION_DST);
        if !check(hash.to_affine(), public.point().to_affine(), possession) {
            return Err(Error::verification("bls: the proof of possession does not fit the key"));
        }
        Ok(Self(public))
    }

    /// The key.
    pub fn public(&self) -> &PublicKey {
        &self.0
    }
}

/// To read a point of G2 costs a root and a check of its order, a fifth of a verification; the keys of a city come again and
/// again. What is remembered is public and depends on its bytes alone. 4,096 points, about 1 MiB.
static POINTS: Table<G2Affine> = Table::new(1024);

const POINTS_CONTEXT: &str = "city-chain v1 bls known point";

/// Points of G2, each read from its bytes or remembered.
pub(super) fn points(encoded: &[&[u8]]) -> Vec<Result<G2Affine>> {
    if !remembered::enabled() {
        return encoded.par_iter().map(|bytes| G2Affine::from_bytes(bytes)).collect();
    }
    let digest = |bytes: &&[u8]| Hasher::new(POINTS_CONTEXT).field(bytes).finish();
    let digests: Vec<Digest> = encoded.iter().map(digest).collect();
    let known = POINTS.get_many(&digests);
    let new: Vec<usize> = (0..known.len()).filter(|at| known[*at].is_none()).collect();
    let read: Vec<Result<G2Affine>> = new.par_iter().map(|at| G2Affine::from_bytes(encoded[*at])).collect();
    POINTS.put_many(new.iter().zip(&read).filter_map(|(at, point)| Some((digests[*at], *point.as_ref().ok()?))));
    let mut read = read.into_iter();
    let missing = || Err(Error::input("bls: a point was not read"));
    known.into_iter().map(|point| point.map_or_else(|| read.next().unwrap_or_else(missing), Ok)).collect()
}

/// Reads public keys: `bp` ‖ point.
pub(super) fn public_points(encoded: &[&[u8]]) -> Vec<Result<G2Affine>> {
    let bodies: Vec<Result<&[u8]>> =
        encoded.iter().map(|bytes| typed::decode(Kind::BlsPublic, bytes, PublicKey::LEN)).collect();
    let right: Vec<&[u8]> = bodies.iter().filter_map(|body| body.as_ref().ok().copied()).collect();
    let mut read = points(&right).into_iter();
    let missing = || Err(Error::input("bls: a point was not read"));
    bodies.into_iter().map(|body| body.and_then(|_| read.next().unwrap_or_else(missing))).collect()
}

/// Reads a public key, or remembers it.
///
/// # Errors
/// As [`PublicKey::from_bytes`].
pub fn public_key(bytes: &[u8]) -> Result<PublicKey> {
    let body = typed::decode(Kind::BlsPublic, bytes, PublicKey::LEN)?;
    points(&[body])
        .into_iter()
        .next()
        .unwrap_or_else(|| G2Affine::from_bytes(body))
        .and_then(|point| PublicKey::new(point.to_point()))
}

/// Reads a public share, or remembers it.
///
/// # Errors
/// As [`PublicShare::from_bytes`].
pub fn public_share(bytes: &[u8]) -> Result<PublicShare> {
    let (index, body) = split_index(typed::decode(Kind::BlsPublicShare, bytes, PublicShare::LEN)?)?;
    let point = points(&[body]).into_iter().next().unwrap_or_else(|| G2Affine::from_bytes(body))?;
    PublicShare::new(index, point.to_point())
}

/// Reads public shares, or remembers them.
///
/// # Errors
/// As [`PublicShare::from_bytes`], with the place of the share that is wrong.
pub fn public_shares(encoded: &[&[u8]]) -> Result<Vec<PublicShare>> {
    let placed = |at: usize, error: Error| match error {
        Error::Input(message) => Error::input(format!("public shares[{at}]: {message}")),
        other => other,
    };
    let mut parts = Vec::with_capacity(encoded.len());
    for (at, bytes) in encoded.iter().enumerate() {
        let body = typed::decode(Kind::BlsPublicShare, bytes, PublicShare::LEN).and_then(split_index);
        parts.push(body.map_err(|error| placed(at, error))?);
    }
    let bodies: Vec<&[u8]> = parts.iter().map(|(_, point)| *point).collect();
    let read = points(&bodies).into_iter().zip(&parts).enumerate();
    read.map(|(at, (point, (index, _)))| {
        point.and_then(|point| PublicShare::new(*index, point.to_point())).map_err(|error| placed(at, error))
    })
    .collect()
}
