//! Threshold encryption: TDH2 on ristretto255 (Shoup, Gennaro, "Securing threshold cryptosystems against chosen ciphertext
//! attack", J. Cryptology 15, 2002, section 5).
//!
//! Anybody encrypts under the group's public key h = x·G and a label; any `threshold` of the parties decrypt together.
//! Whoever changes a ciphertext, or uses one under another label, gets nothing out of the parties: they check it before
//! they make a share.
//!
//! A ciphertext is a capsule and a body. The body is the plaintext sealed ([`crate::crypto::dem`]) under a key made of
//! r·h. The capsule is u = r·G ‖ ū = r·Ḡ ‖ e (16 bytes) ‖ f ‖ a digest of the body, where w = s·G, w̄ = s·Ḡ, e = H(public
//! key, digest, label, u, w, ū, w̄) and f = s + r·e: a proof that its maker knows r, which the second generator Ḡ makes
//! sound against chosen ciphertexts. It is all that a party needs to see, 144 bytes for a body of any length, and it fits
//! no other body.
//!
//! Where this differs from the paper: key and data encapsulation for plaintexts of any length in place of one hash as a
//! pad, so that the body's digest stands in e for the masked message; the public key is in e too, so that a capsule for
//! another key is refused; e and the challenges of shares have 128 bits; a share's proof holds its commitments
//! ([`super::dleq`]).

use std::sync::LazyLock;

use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoBasepointTable, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use zeroize::{Zeroize, Zeroizing};

use super::dleq::{self, CHALLENGE_LEN, Domain, Share, Subject, Verifier};
use super::group::Group;
use super::ristretto::Ristretto;
use super::share::{GroupKey, SecretShare, Tdh2Keys};
use super::subsets;
use crate::crypto::dem;
use crate::crypto::hash::{Digest, Hasher, digest};
use crate::error::{Error, Result};

pub use super::dleq::{SHARE_LEN, share_index};

/// Bytes of a capsule: u ‖ ū ‖ e ‖ f ‖ digest of the body.
pub const CAPSULE_LEN: usize = 32 + 32 + CHALLENGE_LEN + 32 + 32;

/// How much longer than the plaintext a ciphertext is.
pub const OVERHEAD: usize = CAPSULE_LEN + dem::TAG_LEN;

const CONTEXT_GENERATOR: &str = "city-chain v1 tdh2 second generator";
const CONTEXT_NONCE: &str = "city-chain v1 tdh2 nonce";
const CONTEXT_CHALLENGE: &str = "city-chain v1 tdh2 challenge";
const CONTEXT_KEY: &str = "city-chain v1 tdh2 key";
const CONTEXT_BODY: &str = "city-chain v1 tdh2 body";
const CONTEXT_SHARE: &str = "city-chain v1 tdh2 share";

static DOMAIN: Domain = Domain {
    name: "tdh2",
    share: "decryption share",
    challenge: "city-chain v1 tdh2 share challenge",
    nonce: "city-chain v1 tdh2 share nonce",
    batch: "city-chain v1 tdh2 share batch",
};

/// Ḡ, whose logarithm nobody knows: a hash.
static SECOND: LazyLock<RistrettoBasepointTable> = LazyLock::new(|| {
    let mut uniform = [0; 64];
    Hasher::new(CONTEXT_GENERATOR).fill(&mut uniform);
    RistrettoBasepointTable::create(&RistrettoPoint::from_uniform_bytes(&uniform))
});

/// A group's public key, read and ready.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PublicKey {
    point: RistrettoPoint,
    bytes: [u8; 32],
}

impl PublicKey {
    /// Reads typed key bytes.
    ///
    /// # Errors
    /// [`Error::Input`] if they are a key of another kind, of another length, no point, or the neutral element.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        GroupKey::from_bytes(bytes).map(Self::from)
    }

    /// Typed key bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        crate::crypto::typed::encode(crate::crypto::typed::Kind::Tdh2Public, &self.bytes)
    }
}

impl From<GroupKey<Tdh2Keys>> for PublicKey {
    fn from(key: GroupKey<Tdh2Keys>) -> Self {
        Self { point: *key.point(), bytes: key.point().compress().0 }
    }
}

/// A capsule, of which no more than u was read.
struct Capsule<'a> {
    bytes: &'a [u8; CAPSULE_LEN],
    u: RistrettoPoint,
}

impl<'a> Capsule<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self> {
        let len = bytes.len();
        let wrong = |_| Error::input(format!("tdh2: the capsule: {len} bytes, exactly {CAPSULE_LEN} are needed"));
        let bytes: &[u8; CAPSULE_LEN] = bytes.try_into().map_err(wrong)?;
        Ok(Self { bytes, u: point(&bytes[..32], "u")? })
    }

    /// A capsule whose proof is right under this key and label.
    fn checked(public: &PublicKey, label: &[u8], bytes: &'a [u8]) -> Result<Self> {
        let this = Self::read(bytes)?;
        let (first, second) = (this.u, point(&bytes[32..64], "ū")?);
        let misfit = || {
            Error::verification(
                "tdh2: the capsule: its proof is wrong: it was changed, or made for another key, label or body",
            )
        };
        let mut e = [0; 32];
        e[..CHALLENGE_LEN].copy_from_slice(&bytes[64..80]);
        let e = Scalar::from_bytes_mod_order(e);
        let mut f = [0; 32];
        f.copy_from_slice(&bytes[80..112]);
        let f: Scalar = Option::from(Scalar::from_canonical_bytes(f)).ok_or_else(misfit)?;
        // A product with 128 bits takes half the doublings, and tables of the generators none.
        let times_e = |point| RistrettoPoint::vartime_double_scalar_mul_basepoint(&e, point, &Scalar::ZERO);
        let w = RistrettoPoint::mul_base(&f) - times_e(&first);
        let w_second = &*SECOND * &f - times_e(&second);
        if challenge(public, label, this.bytes, &w.compress(), &w_second.compress()) != e {
            return Err(misfit());
        }
        Ok(this)
    }

    /// What its shares are made and checked against.
    fn subject(&self, label: &[u8]) -> Subject {
        let binding = Hasher::new(CONTEXT_SHARE).fixed(self.bytes).field(label).finish();
        Subject { domain: &DOMAIN, binding, base: self.u }
    }
}

fn point(bytes: &[u8], name: &str) -> Result<RistrettoPoint> {
    let wrong = |_| Error::verification(format!("tdh2: the capsule: {name} is no point, or the neutral element"));
    Ristretto::from_bytes(bytes).map_err(wrong)
}

/// e: 128 bits of a hash. Of `capsule` u, ū and the body's digest are looked at.
fn challenge(
    public: &PublicKey,
    label: &[u8],
    capsule: &[u8; CAPSULE_LEN],
    w: &CompressedRistretto,
    w_second: &CompressedRistretto,
) -> Scalar {
    let mut hasher = Hasher::new(CONTEXT_CHALLENGE);
    hasher.fixed(&public.bytes).fixed(&capsule[112..]).field(label);
    hasher.fixed(&capsule[..32]).fixed(w.as_bytes()).fixed(&capsule[32..64]).fixed(w_second.as_bytes());
    dleq::short_scalar(&hasher.finish())
}

/// The key of the body: a hash of r·h and of what is public about it.
fn body_key(public: &PublicKey, label: &[u8], u: &[u8], shared: &RistrettoPoint) -> Zeroizing<Digest> {
    let shared = Zeroizing::new(shared.compress().0);
    let mut hasher = Hasher::new(CONTEXT_KEY);
    hasher.fixed(shared.as_slice()).fixed(u).fixed(&public.bytes).field(label);
    Zeroizing::new(hasher.finish())
}

/// Encrypts `plain` under the group's key, tied to `label`: who opens it must name the same label, which is not in the
/// ciphertext.
///
/// # Errors
/// [`Error::Unavailable`] if the operating system gives no randomness.
pub fn encrypt(public: &PublicKey, label: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
    let fresh = dleq::fresh(DOMAIN.name)?;
    let [r, s] = nonces(&fresh, public, label, plain);
    Ok(encrypt_with(public, label, plain, &r, &s))
}

/// r and s: a hash of fresh randomness and of the message, so that a generator that repeats itself repeats them only for
/// the same message.
fn nonces(fresh: &[u8; 32], public: &PublicKey, label: &[u8], plain: &[u8]) -> [Zeroizing<Scalar>; 2] {
    let mut wide = Zeroizing::new([[0; 64]; 2]);
    let mut hasher = Hasher::new(CONTEXT_NONCE);
    hasher.fixed(fresh).fixed(&public.bytes).field(label).field(plain).fill(wide.as_flattened_mut());
    [0, 1].map(|at| Zeroizing::new(Scalar::from_bytes_mod_order_wide(&wide[at])))
}

fn encrypt_with(public: &PublicKey, label: &[u8], plain: &[u8], r: &Scalar, s: &Scalar) -> Vec<u8> {
    // Encoded together as doubles, which is one inversion for all: halves go in.
    let halves = Zeroizing::new([r.div_by_2(), s.div_by_2()]);
    let mut points = [
        RistrettoPoint::mul_base(&halves[0]),
        RistrettoPoint::mul_base(&halves[1]),
        &*SECOND * &halves[0],
        &*SECOND * &halves[1],
    ];
    let encoded = RistrettoPoint::double_and_compress_batch(&points);
    points.zeroize();
    let shared = Zeroizing::new(public.point * r);

    let mut capsule = [0; CAPSULE_LEN];
    capsule[..32].copy_from_slice(encoded[0].as_bytes());
    capsule[32..64].copy_from_slice(encoded[2].as_bytes());
    let body = dem::seal(&body_key(public, label, &capsule[..32], &shared), label, plain);
    capsule[112..].copy_from_slice(&digest(CONTEXT_BODY, &body));
    let e = challenge(public, label, &capsule, &encoded[1], &encoded[3]);
    capsule[64..80].copy_from_slice(&e.as_bytes()[..CHALLENGE_LEN]);
    capsule[80..112].copy_from_slice((s + r * e).as_bytes());
    [&capsule[..], &body].concat()
}

/// The capsule of a ciphertext: its first [`CAPSULE_LEN`] bytes. Nothing of it is checked.
///
/// # Errors
/// [`Error::Input`] if the ciphertext is shorter than any.
pub fn capsule_of(ciphertext: &[u8]) -> Result<&[u8]> {
    split(ciphertext).map(|(capsule, _)| capsule)
}

fn split(ciphertext: &[u8]) -> Result<(&[u8], &[u8])> {
    if ciphertext.len() < OVERHEAD {
        let len = ciphertext.len();
        return Err(Error::input(format!("tdh2: the ciphertext: {len} bytes, at least {OVERHEAD} are needed")));
    }
    Ok(ciphertext.split_at(CAPSULE_LEN))
}

/// Checks that a capsule was made for this key and label, by somebody who knows what is sealed under it.
///
/// # Errors
/// [`Error::Verification`] if not; [`Error::Input`] if it has not the length of a capsule.
pub fn verify_capsule(public: &PublicKey, label: &[u8], capsule: &[u8]) -> Result<()> {
    Capsule::checked(public, label, capsule).map(|_| ())
}

/// Checks a ciphertext's capsule, and that its body is the capsule's.
///
/// # Errors
/// As [`verify_capsule`].
pub fn verify_ciphertext(public: &PublicKey, label: &[u8], ciphertext: &[u8]) -> Result<()> {
    checked(public, label, ciphertext).map(|_| ())
}

fn checked<'a>(public: &PublicKey, label: &[u8], ciphertext: &'a [u8]) -> Result<(Capsule<'a>, &'a [u8])> {
    let (capsule, body) = split(ciphertext)?;
    let capsule = Capsule::checked(public, label, capsule)?;
    if digest(CONTEXT_BODY, body) != capsule.bytes[112..] {
        return Err(Error::verification("tdh2: the ciphertext: its body is not the one that its capsule was made for"));
    }
    Ok((capsule, body))
}

/// One party's part of a decryption. The capsule is checked first: of one that is wrong there is no share.
///
/// # Errors
/// [`Error::Verification`] if the capsule was not made for this key and label; [`Error::Input`] if the secret share is of
/// another scheme or the capsule of another length; [`Error::Unavailable`] if the operating system gives no randomness.
pub fn decrypt_share(
    secret: &SecretShare,
    public: &PublicKey,
    label: &[u8],
    capsule: &[u8],
) -> Result<[u8; SHARE_LEN]> {
    let scalar = secret.scalar::<Tdh2Keys>()?;
    Capsule::checked(public, label, capsule)?.subject(label).share(secret.index(), &scalar)
}

/// Checks a decryption share against the public share of its party. The capsule is taken to be right
/// ([`verify_capsule`]).
///
/// # Errors
/// [`Error::Verification`] if the share is wrong; [`Error::Input`] if it has another length, is of another party, or the
/// public share is of another scheme.
pub fn verify_share(public_share: &[u8], label: &[u8], capsule: &[u8], share: &[u8]) -> Result<()> {
    let subject = Capsule::read(capsule)?.subject(label);
    let verifier = Verifier::new::<Tdh2Keys>(share_index(share)?, public_share)?;
    subject.verify(&verifier, &DOMAIN.parse(share)?)
}

/// Checks many shares of one capsule together, with a verdict for each. `public_shares` are those of all parties, by index
/// from 1 on. The capsule is taken to be right.
///
/// # Errors
/// [`Error::Input`] if the capsule is malformed; [`Error::Unavailable`] if the operating system gives no randomness.
pub fn verify_shares<P: AsRef<[u8]>, S: AsRef<[u8]>>(
    public_shares: &[P],
    label: &[u8],
    capsule: &[u8],
    shares: &[S],
) -> Result<Vec<Result<()>>> {
    let verifier = |index| Verifier::of::<Tdh2Keys, _>(public_shares, index);
    dleq::verdicts(&Capsule::read(capsule)?.subject(label), verifier, shares)
}

/// The plaintext, from the shares of any `threshold` parties. `public_shares` are those of all parties, by index from 1 on.
///
/// Optimistic: the first `threshold` shares are taken as they are, and the body's tag says whether they were right. If not,
/// a few other choices are tried (`subsets`), one of which is right if a single share is wrong. Only if none opens
/// are shares checked, together; wrong ones are left out and others take their place.
///
/// # Errors
/// [`Error::Verification`] if the ciphertext is wrong (also if it was made wrong: then all shares are right and it does
/// not open, whoever tries); [`Error::Unavailable`] if fewer than `threshold` shares are right, with the indices of the
/// wrong ones; [`Error::Input`] if a number is out of range, a key is of another kind, or an index is 0, too high or twice
/// there.
pub fn combine<P: AsRef<[u8]>, S: AsRef<[u8]>>(
    public: &PublicKey,
    threshold: u16,
    public_shares: &[P],
    label: &[u8],
    ciphertext: &[u8],
    shares: &[S],
) -> Result<Vec<u8>> {
    dleq::check::<Tdh2Keys, _, _>(&DOMAIN, threshold, public_shares, shares)?;
    let (capsule, body) = checked(public, label, ciphertext)?;
    let threshold = usize::from(threshold);
    let open = |shares: &[Share]| {
        let shared = Zeroizing::new(dleq::interpolate(shares)?);
        dem::open(&body_key(public, label, &capsule.bytes[..32], &shared), label, body)
    };
    let mut formed = shares.iter().filter_map(|share| DOMAIN.parse(share.as_ref()).ok());
    let mut read: Vec<Share> = formed.by_ref().take(threshold).collect();
    if read.len() == threshold {
        if let Ok(plain) = open(&read) {
            return Ok(plain);
        }
        read.extend(formed);
        for places in subsets::others(threshold, read.len()) {
            let some: Vec<Share> = places.iter().map(|at| read[*at]).collect();
            if let Ok(plain) = open(&some) {
                return Ok(plain);
            }
        }
    }
    let verifier = |index| Verifier::of::<Tdh2Keys, _>(public_shares, index);
    let good = capsule.subject(label).first_good(threshold, shares, verifier)?;
    open(&good).map_err(|_| {
        Error::verification("tdh2: the ciphertext: all shares are right, but it does not open: it was made wrong")
    })
}

#[cfg(test)]
mod tests;
