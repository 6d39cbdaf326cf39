//! Reading and checking one proof, of either form.

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use sha2::{Digest as _, Sha512};
use subtle::ConstantTimeEq;

use super::{BATCHABLE_LEN, OUTPUT_LEN, PROOF_LEN, Suite};
use crate::crypto::ed25519::decode_point;
use crate::error::{Error, Result};

/// What is said of a proof whose equation does not hold.
const MISFIT: &str = "vrf: the proof does not fit key and input";

/// A proof in one of its two forms.
#[derive(Debug, Clone, Copy)]
pub enum Proof<'a> {
    /// Γ ‖ c ‖ s, as in the RFC.
    Compact(&'a [u8; PROOF_LEN]),
    /// Γ ‖ U ‖ V ‖ s, which can be checked in a batch.
    Batchable(&'a [u8; BATCHABLE_LEN]),
}

impl<'a> Proof<'a> {
    /// The form that `bytes` has by its length.
    pub fn from_slice(bytes: &'a [u8]) -> Result<Self> {
        if let Ok(compact) = bytes.try_into() {
            return Ok(Self::Compact(compact));
        }
        if let Ok(batchable) = bytes.try_into() {
            return Ok(Self::Batchable(batchable));
        }
        let (had, or) = (bytes.len(), BATCHABLE_LEN);
        Err(Error::input(format!("vrf: the proof: {had} bytes, exactly {PROOF_LEN} or {or} are needed")))
    }

    /// Its bytes.
    pub fn as_slice(&self) -> &'a [u8] {
        match self {
            Self::Compact(bytes) => *bytes,
            Self::Batchable(bytes) => *bytes,
        }
    }
}

/// A proof taken apart (section 5.4.4); everything in it is canonical.
struct Decoded {
    gamma: EdwardsPoint,
    gamma_bytes: [u8; 32],
    s: Scalar,
    rest: Rest,
}

/// Where the two forms differ.
enum Rest {
    Challenge([u8; 16]),
    Points(Box<[Point; 2]>),
}

/// A point with its encoding.
struct Point {
    point: EdwardsPoint,
    bytes: [u8; 32],
}

fn decode_named(bytes: &[u8], name: &str) -> Result<Point> {
    let refused = || Error::verification(format!("vrf: {name} is not a canonical point"));
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| refused())?;
    Ok(Point { point: decode_point(&bytes).ok_or_else(refused)?, bytes })
}

fn decode(proof: Proof<'_>) -> Result<Decoded> {
    let bytes = proof.as_slice();
    let gamma = decode_named(&bytes[..32], "Gamma")?;
    let mut s = [0; 32];
    s.copy_from_slice(&bytes[bytes.len() - 32..]);
    let s = Option::<Scalar>::from(Scalar::from_canonical_bytes(s))
        .ok_or_else(|| Error::verification("vrf: s is not below the group's order"))?;
    let rest = match proof {
        Proof::Compact(bytes) => {
            let mut c = [0; 16];
            c.copy_from_slice(&bytes[32..48]);
            Rest::Challenge(c)
        }
        Proof::Batchable(bytes) => {
            Rest::Points(Box::new([decode_named(&bytes[32..64], "U")?, decode_named(&bytes[64..96], "V")?]))
        }
    };
    Ok(Decoded { gamma: gamma.point, gamma_bytes: gamma.bytes, s, rest })
}

/// A public key, canonical and not of small order (section 5.4.5).
pub(super) fn decode_public(public: &[u8; 32]) -> Result<EdwardsPoint> {
    let y = decode_point(public).ok_or_else(|| Error::verification("vrf: the public key is not a canonical point"))?;
    if y.is_small_order() {
        return Err(Error::verification("vrf: the public key is of small order"));
    }
    Ok(y)
}

/// Section 5.4.3.
pub(super) fn challenge(
    suite: Suite,
    public: &[u8; 32],
    h: &[u8; 32],
    gamma: &[u8; 32],
    u: &[u8; 32],
    v: &[u8; 32],
) -> [u8; 16] {
    let mut hash = Sha512::new().chain_update([suite.octet(), 2]);
    for point in [public, h, gamma, u, v] {
        hash.update(point);
    }
    let mut c = [0; 16];
    c.copy_from_slice(&hash.chain_update([0]).finalize()[..16]);
    c
}

pub(super) fn challenge_scalar(c: &[u8; 16]) -> Scalar {
    let mut wide = [0; 32];
    wide[..16].copy_from_slice(c);
    Scalar::from_bytes_mod_order(wide)
}

/// A well-formed proof beside its key and the point of its input: what is left is to see whether they fit.
pub(super) struct Claim<'a> {
    suite: Suite,
    public: &'a [u8; 32],
    y: EdwardsPoint,
    h: EdwardsPoint,
    proof: Decoded,
}

/// What became of a [`Claim`].
pub(super) enum Settled {
    /// c was compared.
    Verdict(Result<[u8; OUTPUT_LEN]>),
    /// The equations are left to check; if they hold, this is the output.
    Open(Box<Equations>, [u8; OUTPUT_LEN]),
}

/// 8·(s·B − c·Y − U) = 0 and 8·(s·H − c·Γ − V) = 0.
pub(super) struct Equations {
    pub(super) y: EdwardsPoint,
    pub(super) h: EdwardsPoint,
    pub(super) gamma: EdwardsPoint,
    pub(super) u: EdwardsPoint,
    pub(super) v: EdwardsPoint,
    pub(super) c: Scalar,
    pub(super) s: Scalar,
}

impl Equations {
    /// s·B − c·Y and s·H − c·Γ, where honest proofs have U and V.
    fn commitments(&self) -> [EdwardsPoint; 2] {
        // c has 128 bits and −c has 253, so that it is the points that are negated.
        [
            EdwardsPoint::vartime_double_scalar_mul_basepoint(&self.c, &-self.y, &self.s),
            EdwardsPoint::vartime_multiscalar_mul([self.s, self.c], [self.h, -self.gamma]),
        ]
    }

    /// Whether both hold.
    pub(super) fn hold(&self) -> bool {
        let [u, v] = self.commitments();
        (u - self.u).mul_by_cofactor().is_identity() && (v - self.v).mul_by_cofactor().is_identity()
    }
}

impl<'a> Claim<'a> {
    /// Reads a proof; `y` is the point of `public`.
    pub(super) fn new(
        suite: Suite,
        public: &'a [u8; 32],
        y: EdwardsPoint,
        alpha: &[u8],
        proof: Proof<'_>,
    ) -> Result<Self> {
        let proof = decode(proof)?;
        Ok(Self { suite, public, y, h: suite.encode_to_curve(public, alpha)?, proof })
    }

    fn equations(&self, u: EdwardsPoint, v: EdwardsPoint, c: Scalar) -> Equations {
        let Decoded { gamma, s, .. } = self.proof;
        Equations { y: self.y, h: self.h, gamma, u, v, c, s }
    }

    /// The points whose encodings [`settle`](Self::settle) needs, added to `points`: to encode many at once is cheaper.
    pub(super) fn add_points(&self, points: &mut Vec<EdwardsPoint>) {
        points.extend([self.proof.gamma.mul_by_cofactor(), self.h]);
        if let Rest::Challenge(c) = &self.proof.rest {
            let none = EdwardsPoint::default();
            points.extend(self.equations(none, none, challenge_scalar(c)).commitments());
        }
    }

    /// Compares c, or says which equations are left. Takes from `encoded` as many as it added points.
    pub(super) fn settle(&self, encoded: &mut impl Iterator<Item = CompressedEdwardsY>) -> Settled {
        let mut next = || encoded.next().map_or([0; 32], |point| point.0);
        let (gamma_8, h) = (next(), next());
        let beta = output_of(self.suite, &gamma_8);
        let expected =
            |u: &[u8; 32], v: &[u8; 32]| challenge(self.suite, self.public, &h, &self.proof.gamma_bytes, u, v);
        match &self.proof.rest {
            Rest::Challenge(c) => {
                let (u, v) = (next(), next());
                let fits = bool::from(expected(&u, &v).ct_eq(c));
                Settled::Verdict(if fits { Ok(beta) } else { Err(misfit()) })
            }
            Rest::Points(points) => {
                let [u, v] = &**points;
                let c = challenge_scalar(&expected(&u.bytes, &v.bytes));
                Settled::Open(Box::new(self.equations(u.point, v.point, c)), beta)
            }
        }
    }

    /// [`settle`](Self::settle) alone.
    fn settle_alone(&self) -> Settled {
        let mut points = Vec::with_capacity(4);
        self.add_points(&mut points);
        self.settle(&mut EdwardsPoint::compress_batch_alloc(&points).into_iter())
    }
}

/// The error for a proof whose equation does not hold.
pub(super) fn misfit() -> Error {
    Error::verification(MISFIT)
}

/// Checks a proof of the suite ELL2 and returns the output (RFC 9381, section 5.3, with key validation).
pub fn verify(public: &[u8; 32], alpha: &[u8], proof: &[u8; PROOF_LEN]) -> Result<[u8; OUTPUT_LEN]> {
    verify_in(Suite::Ell2, public, alpha, Proof::Compact(proof))
}

/// Checks a proof of either form under `suite` and returns the output.
pub fn verify_in(suite: Suite, public: &[u8; 32], alpha: &[u8], proof: Proof<'_>) -> Result<[u8; OUTPUT_LEN]> {
    match Claim::new(suite, public, decode_public(public)?, alpha, proof)?.settle_alone() {
        Settled::Verdict(verdict) => verdict,
        Settled::Open(equations, beta) if equations.hold() => Ok(beta),
        Settled::Open(..) => Err(misfit()),
    }
}

/// The 128-byte form of an 80-byte proof, which is checked: U and V come of that.
pub fn to_batchable(
    suite: Suite,
    public: &[u8; 32],
    alpha: &[u8],
    proof: &[u8; PROOF_LEN],
) -> Result<[u8; BATCHABLE_LEN]> {
    let claim = Claim::new(suite, public, decode_public(public)?, alpha, Proof::Compact(proof))?;
    let mut points = Vec::with_capacity(4);
    claim.add_points(&mut points);
    let encoded = EdwardsPoint::compress_batch_alloc(&points);
    let (Settled::Verdict(Ok(_)), [_, _, u, v]) = (claim.settle(&mut encoded.iter().copied()), &encoded[..]) else {
        return Err(misfit());
    };
    let mut batchable = [0; BATCHABLE_LEN];
    batchable[..32].copy_from_slice(&proof[..32]);
    batchable[32..64].copy_from_slice(u.as_bytes());
    batchable[64..96].copy_from_slice(v.as_bytes());
    batchable[96..].copy_from_slice(&proof[48..]);
    Ok(batchable)
}

/// The 80-byte form of a 128-byte proof, which is checked: one that fits only up to a point of small order has none.
pub fn to_compact(
    suite: Suite,
    public: &[u8; 32],
    alpha: &[u8],
    proof: &[u8; BATCHABLE_LEN],
) -> Result<[u8; PROOF_LEN]> {
    let claim = Claim::new(suite, public, decode_public(public)?, alpha, Proof::Batchable(proof))?;
    let Settled::Open(equations, _) = claim.settle_alone() else {
        return Err(misfit());
    };
    if !equations.hold() {
        return Err(misfit());
    }
    if equations.commitments() != [equations.u, equations.v] {
        return Err(Error::verification("vrf: the proof fits only up to a point of small order: it has no short form"));
    }
    let mut compact = [0; PROOF_LEN];
    compact[..32].copy_from_slice(&proof[..32]);
    compact[32..48].copy_from_slice(&equations.c.as_bytes()[..16]);
    compact[48..].copy_from_slice(&proof[96..]);
    Ok(compact)
}

/// The output of a proof (RFC 9381, section 5.2). Says nothing about the proof being right: use [`verify`] for that.
pub fn proof_to_hash(proof: &[u8; PROOF_LEN]) -> Result<[u8; OUTPUT_LEN]> {
    output(Suite::Ell2, Proof::Compact(proof))
}

/// The output of a proof of either form under `suite`, unchecked as in [`proof_to_hash`].
pub fn output(suite: Suite, proof: Proof<'_>) -> Result<[u8; OUTPUT_LEN]> {
    decode(proof).map(|decoded| output_of(suite, &decoded.gamma.mul_by_cofactor().compress().0))
}

fn output_of(suite: Suite, gamma_8: &[u8; 32]) -> [u8; OUTPUT_LEN] {
    Sha512::new().chain_update([suite.octet(), 3]).chain_update(gamma_8).chain_update([0]).finalize().into()
}
