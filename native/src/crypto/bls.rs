//! BLS signatures on BLS12-381 of which many under one message are summed into one.
//!
//! The suite is `BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_` of draft-irtf-cfrg-bls-signature: signatures in G1 (48 bytes)
//! and keys in G2 (96 bytes), with proofs of possession. Signatures travel, in every vote and certificate, and messages are
//! hashed for each; keys are read once for an epoch. So the smaller group, whose hash is several times cheaper too, is for
//! the signatures.
//!
//! A key that was made up from others' keys could sign for them (a rogue key). So a [`PublicKey`] is made of bytes only with
//! a right proof of possession, and keys are summed as such only. What comes from outside is checked to be of the subgroup
//! and not neutral before anything is done with it.
//!
//! Threshold signatures, of the same suite, are of another module, whose tests hold the two against each other. This one
//! is whole signers' and stands on blst's safe types alone.

use std::fmt;
use std::sync::Arc;

use blst::{BLST_ERROR, MultiPoint, min_sig};
use rayon::prelude::*;

use super::hash::{Digest, Hasher, hex};
use super::keys::{Purpose, derive};
use super::remembered::{self, Table};
use crate::error::{Error, Result};

/// Bytes of a public key.
pub const PUBLIC_LEN: usize = 96;

/// Bytes of a signature, of a sum of signatures and of a proof of possession.
pub const SIGNATURE_LEN: usize = 48;

/// Domain separation tag of signatures.
const SIGNATURE_DST: &[u8] = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_";

/// Domain separation tag of proofs of possession.
const POSSESSION_DST: &[u8] = b"BLS_POP_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_";

/// Bits of the coefficients with which many proofs of possession are checked together.
const COEFFICIENT_BITS: usize = 128;

const CONTEXT_PROVEN: &str = "city-chain v1 bls proven key";
const CONTEXT_COEFFICIENTS: &str = "city-chain v1 bls coefficients";
const CONTEXT_RIGHT: &str = "city-chain v1 bls remembered sum";

/// Keys whose proof was found right: 4,096, about 1 MiB. What is remembered depends on public bytes alone.
static PROVEN: Table<PublicKey> = Table::new(1024);

/// Sums that were found right: 4,096.
static RIGHT: Table<()> = Table::new(1024);

fn is_right(verdict: BLST_ERROR) -> bool {
    verdict == BLST_ERROR::BLST_SUCCESS
}

/// Why bytes are no point.
fn refusal(what: &str, error: BLST_ERROR) -> Error {
    let reason = match error {
        BLST_ERROR::BLST_PK_IS_INFINITY => "it is the neutral element",
        BLST_ERROR::BLST_POINT_NOT_ON_CURVE => "it is not on the curve",
        BLST_ERROR::BLST_POINT_NOT_IN_GROUP => "it is not in the subgroup of prime order",
        _ => "it is no compressed point",
    };
    Error::verification(format!("bls: {what}: {reason}"))
}

/// A secret key; copies share it, it is zeroised when the last is dropped, and none is ever shown.
#[derive(Clone)]
pub struct SecretKey(Arc<(min_sig::SecretKey, min_sig::PublicKey)>);

impl SecretKey {
    /// The key that belongs to a master seed: derived for this purpose alone, so that the seed may be that of other keys.
    ///
    /// # Errors
    /// None that can happen for 32 bytes; blst's are passed on.
    pub fn of_master(master: &[u8; 32]) -> Result<Self> {
        Self::from_seed(&derive(master, Purpose::Aggregate))
    }

    /// The key of 32 secret bytes that nothing else is made of: the draft's `KeyGen` with an empty `key_info` (section 2.3).
    ///
    /// # Errors
    /// None that can happen for 32 bytes; blst's are passed on.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self> {
        let refused = |error| Error::input(format!("bls: the seed makes no key ({error:?})"));
        let secret = min_sig::SecretKey::key_gen(seed, &[]).map_err(refused)?;
        let public = secret.sk_to_pk();
        Ok(Self(Arc::new((secret, public))))
    }

    /// The public key.
    pub fn public(&self) -> [u8; PUBLIC_LEN] {
        self.0.1.to_bytes()
    }

    /// The signature of a message.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.0.0.sign(message, SIGNATURE_DST, &[]).to_bytes()
    }

    /// A proof that this key's holder has the secret: a signature of the public key in a domain of its own.
    pub fn prove_possession(&self) -> [u8; SIGNATURE_LEN] {
        self.0.0.sign(&self.public(), POSSESSION_DST, &[]).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<bls::SecretKey of {}>", hex(&self.public()))
    }
}

/// A public key as its holder shows it: bytes that nobody has checked yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShownKey {
    /// The public key.
    pub public: [u8; PUBLIC_LEN],
    /// The proof that its holder has the secret.
    pub possession: [u8; SIGNATURE_LEN],
}

impl ShownKey {
    /// What the holder of a secret shows.
    pub fn of(secret: &SecretKey) -> Self {
        Self { public: secret.public(), possession: secret.prove_possession() }
    }

    fn digest(&self) -> Digest {
        Hasher::new(CONTEXT_PROVEN).fixed(&self.public).fixed(&self.possession).finish()
    }

    fn points(&self) -> Result<(min_sig::PublicKey, min_sig::Signature)> {
        let public = min_sig::PublicKey::key_validate(&self.public).map_err(|error| refusal("the key", error))?;
        let proof = min_sig::Signature::sig_validate(&self.possession, true);
        Ok((public, proof.map_err(|error| refusal("the proof of possession", error))?))
    }
}

/// A public key whose holder has the secret: the only kind that is summed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(min_sig::PublicKey);

impl PublicKey {
    /// Checks keys and proofs of possession, many in the time of half of them; what was found right in this process is not
    /// checked again.
    ///
    /// # Errors
    /// [`Error::Verification`] with the place of one that is no point of its group, or whose proof is wrong;
    /// [`Error::Input`] if the operating system gives no randomness.
    pub fn proven(shown: &[ShownKey]) -> Result<Vec<Self>> {
        let digests: Vec<Digest> = shown.iter().map(ShownKey::digest).collect();
        let known = if remembered::enabled() { PROVEN.get_many(&digests) } else { vec![None; shown.len()] };
        let new: Vec<usize> = (0..shown.len()).filter(|at| known[*at].is_none()).collect();
        let read = |at: &usize| shown[*at].points().map_err(|error| placed(*at, &error));
        let points = new.par_iter().map(read).collect::<Result<Vec<_>>>()?;
        check_possession(shown, &new, &points)?;
        PROVEN.put_many(new.iter().zip(&points).map(|(at, (public, _))| (digests[*at], Self(*public))));
        let mut points = points.into_iter();
        let all = known.into_iter().map(|key| key.or_else(|| points.next().map(|(public, _)| Self(public))));
        all.collect::<Option<_>>().ok_or_else(|| Error::input("bls: a key was not read"))
    }

    /// A key without the proof of possession, for a fault that is seeded on purpose.
    #[cfg(feature = "mutants")]
    pub fn unproven(shown: &ShownKey) -> Result<Self> {
        shown.points().map(|(public, _)| Self(public))
    }

    /// The encoding.
    pub fn to_bytes(&self) -> [u8; PUBLIC_LEN] {
        self.0.to_bytes()
    }

    /// The sum; `None` of none, and if they cancel out.
    pub fn sum(keys: &[Self]) -> Option<Self> {
        let raw: Vec<min_sig::PublicKey> = keys.iter().map(|key| key.0).collect();
        let sum = (!raw.is_empty()).then(|| raw.add().to_public_key())?;
        (sum != min_sig::PublicKey::default()).then_some(Self(sum)) // the default is the neutral element
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bls::PublicKey({})", hex(&self.to_bytes()))
    }
}

fn placed(at: usize, error: &Error) -> Error {
    Error::verification(format!("keys[{at}]: {error}"))
}

/// Checks proofs of possession together, and one by one if that fails, to name the wrong one.
fn check_possession(
    shown: &[ShownKey],
    places: &[usize],
    points: &[(min_sig::PublicKey, min_sig::Signature)],
) -> Result<()> {
    let messages: Vec<&[u8]> = places.iter().map(|at| &shown[*at].public[..]).collect();
    let (keys, proofs): (Vec<_>, Vec<_>) = points.iter().map(|(key, proof)| (key, proof)).unzip();
    if places.len() > 1 {
        let drawn = coefficients(shown)?;
        let together = min_sig::Signature::verify_multiple_aggregate_signatures;
        let drawn = &drawn[..places.len()];
        if is_right(together(&messages, POSSESSION_DST, &keys, false, &proofs, false, drawn, COEFFICIENT_BITS)) {
            return Ok(());
        }
    }
    for ((at, message), (key, proof)) in places.iter().zip(messages).zip(points) {
        if !is_right(proof.verify(false, message, POSSESSION_DST, &[], key, false)) {
            return Err(placed(*at, &Error::verification("bls: the proof of possession does not fit the key")));
        }
    }
    Ok(())
}

/// One coefficient each, from OS randomness and everything that is being checked.
fn coefficients(shown: &[ShownKey]) -> Result<Vec<blst::blst_scalar>> {
    let mut entropy = [0; 32];
    getrandom::fill(&mut entropy)
        .map_err(|error| Error::input(format!("bls: no randomness from the operating system: {error}")))?;
    let mut transcript = Hasher::new(CONTEXT_COEFFICIENTS);
    transcript.fixed(&entropy);
    for key in shown {
        transcript.fixed(&key.public).fixed(&key.possession);
    }
    let mut bytes = vec![0; shown.len() * COEFFICIENT_BITS / 8];
    transcript.fill(&mut bytes);
    let scalar = |chunk: &[u8]| {
        let mut scalar = blst::blst_scalar::default();
        scalar.b[..chunk.len()].copy_from_slice(chunk);
        scalar.b[0] |= 1; // never zero, which would leave a proof out
        scalar
    };
    Ok(bytes.chunks_exact(COEFFICIENT_BITS / 8).map(scalar).collect())
}

/// A signature that is a point of the group and not neutral; whether it is right is another question.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(min_sig::Signature);

impl Signature {
    /// Reads a signature.
    ///
    /// # Errors
    /// [`Error::Verification`] if it is no point of the group, or neutral.
    pub fn from_bytes(bytes: &[u8; SIGNATURE_LEN]) -> Result<Self> {
        let point = min_sig::Signature::sig_validate(bytes, true);
        point.map(Self).map_err(|error| refusal("the signature", error))
    }

    /// The encoding.
    pub fn to_bytes(&self) -> [u8; SIGNATURE_LEN] {
        self.0.to_bytes()
    }

    /// The sum; `None` of none, and if they cancel out.
    pub fn sum(signatures: &[Self]) -> Option<Self> {
        let raw: Vec<min_sig::Signature> = signatures.iter().map(|signature| signature.0).collect();
        let sum = (!raw.is_empty()).then(|| raw.add().to_signature())?;
        (blst::blst_p1_affine::from(sum) != blst::blst_p1_affine::default()).then_some(Self(sum))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bls::Signature({})", hex(&self.to_bytes()))
    }
}

fn fits(dst: &[u8], key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
    is_right(signature.0.verify(false, message, dst, &[], &key.0, false))
}

/// Whether a key's signature of a message is right, or that of a sum of keys.
pub fn verify(key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
    fits(SIGNATURE_DST, key, message, signature)
}

/// Whether these keys' signatures of one message sum up to this one (the draft's `FastAggregateVerify`, section 3.3.4).
/// That each key stands once is for the caller to see to.
pub fn verify_sum(keys: &[PublicKey], message: &[u8], signature: &Signature) -> bool {
    PublicKey::sum(keys).is_some_and(|sum| verify(&sum, message, signature))
}

/// A check that is not done again where it was right before: `print` must bind everything that the verdict depends on. It is
/// kept in a domain of its own.
pub fn once(print: &Digest, check: impl FnOnce() -> bool) -> bool {
    if !remembered::enabled() {
        return check();
    }
    let print = Hasher::new(CONTEXT_RIGHT).fixed(print).finish();
    if RIGHT.get_many(&[print]) == [Some(())] {
        return true;
    }
    let right = check();
    if right {
        RIGHT.put_many([(print, ())]);
    }
    right
}

/// The places of wrong signatures of one message, found by bisection: the others sum up to a right one.
pub fn wrong_ones(signed: &[(PublicKey, Signature)], message: &[u8]) -> Vec<usize> {
    let mut wrong = Vec::new();
    bisect(signed, 0, message, &mut wrong);
    wrong
}

fn bisect(signed: &[(PublicKey, Signature)], first: usize, message: &[u8], wrong: &mut Vec<usize>) {
    let (keys, signatures): (Vec<PublicKey>, Vec<Signature>) = signed.iter().copied().unzip();
    if signed.is_empty() || Signature::sum(&signatures).is_some_and(|sum| verify_sum(&keys, message, &sum)) {
        return;
    }
    if signed.len() == 1 {
        return wrong.push(first);
    }
    let (left, right) = signed.split_at(signed.len() / 2);
    bisect(left, first, message, wrong);
    bisect(right, first + left.len(), message, wrong);
}

#[cfg(test)]
mod tests;
