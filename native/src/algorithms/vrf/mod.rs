//! VRF: verifiable random function, RFC 9381 ECVRF-EDWARDS25519-SHA512-ELL2 (suite 4).
//!
//! Own code on curve25519-dalek, whose `encode_to_curve` is RFC 9380's `edwards25519_XMD:SHA-512_ELL2_NU_` map. Stricter
//! than the RFC's text where the RFC leaves a choice: points must be canonically encoded, public keys of small order are
//! refused (section 5.4.5, "key validation"), and `s` must be below the group's order, so that a proof cannot be altered
//! into another valid one by adding the order. An output comes from [`proof_to_hash`] only and never from a hash of the
//! proof: proofs are not unique, outputs are.
//!
//! The main type is [`SecretKey`]; its seed must never be used for signing (`crypto::keys` derives one per purpose).

use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use curve25519_dalek::traits::VartimeMultiscalarMul;
use sha2::{Digest as _, Sha512};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::crypto::ed25519::decode_point;
use crate::crypto::hash::{Digest, Hasher};
use crate::error::{Error, Result};

/// Bytes of a proof: Gamma (32) ‖ c (16) ‖ s (32).
pub const PROOF_LEN: usize = 80;

/// Bytes of an output.
pub const OUTPUT_LEN: usize = 64;

/// Bytes of [`alpha`].
pub const ALPHA_LEN: usize = 16 + 32 + 8 + 2 + 32;

const SUITE: u8 = 4;
const ENCODE_DST: &[u8] = b"ECVRF_edwards25519_XMD:SHA-512_ELL2_NU_\x04";
const ALPHA_TAG: &[u8; 16] = b"city-chain vrf 1";
const CONTEXT_SEED: &str = "city-chain v1 vrf transaction seed";

/// A secret VRF key. Zeroised on drop; has no `Debug` and no encoding.
pub struct SecretKey {
    scalar: Scalar,
    nonce_prefix: [u8; 32],
    public: [u8; 32],
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.scalar.zeroize();
        self.nonce_prefix.zeroize();
    }
}

impl SecretKey {
    /// The key of a 32-byte seed (expanded as in RFC 8032, section 5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let expanded = Zeroizing::new(<[u8; 64]>::from(Sha512::digest(seed)));
        let (mut low, mut nonce_prefix) = (Zeroizing::new([0; 32]), [0; 32]);
        low.copy_from_slice(&expanded[..32]);
        nonce_prefix.copy_from_slice(&expanded[32..]);
        let scalar = Scalar::from_bytes_mod_order(clamp_integer(*low));
        let public = EdwardsPoint::mul_base(&scalar).compress().0;
        Self { scalar, nonce_prefix, public }
    }

    /// The public key.
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    /// The proof for `alpha` (RFC 9381, section 5.1). The secret is used in constant time.
    pub fn prove(&self, alpha: &[u8]) -> [u8; PROOF_LEN] {
        let h = encode_to_curve(&self.public, alpha);
        let h_bytes = h.compress().0;
        let gamma = h * self.scalar;
        let gamma_bytes = gamma.compress().0;
        let hash = Zeroizing::new(<[u8; 64]>::from(
            Sha512::new().chain_update(self.nonce_prefix).chain_update(h_bytes).finalize(),
        ));
        let nonce = Zeroizing::new(Scalar::from_bytes_mod_order_wide(&hash));
        let u = EdwardsPoint::mul_base(&nonce).compress().0;
        let v = (h * *nonce).compress().0;
        let c = challenge(&self.public, &h_bytes, &gamma_bytes, &u, &v);
        let s = *nonce + challenge_scalar(&c) * self.scalar;
        let mut proof = [0; PROOF_LEN];
        proof[..32].copy_from_slice(&gamma_bytes);
        proof[32..48].copy_from_slice(&c);
        proof[48..].copy_from_slice(s.as_bytes());
        proof
    }
}

/// Section 5.4.1.2: the input's point, with the public key as salt.
fn encode_to_curve(public: &[u8; 32], alpha: &[u8]) -> EdwardsPoint {
    EdwardsPoint::encode_to_curve::<Sha512>(&[public, alpha], &[ENCODE_DST])
}

/// Section 5.4.3.
fn challenge(public: &[u8; 32], h: &[u8; 32], gamma: &[u8; 32], u: &[u8; 32], v: &[u8; 32]) -> [u8; 16] {
    let mut hash = Sha512::new().chain_update([SUITE, 2]);
    for point in [public, h, gamma, u, v] {
        hash.update(point);
    }
    let mut c = [0; 16];
    c.copy_from_slice(&hash.chain_update([0]).finalize()[..16]);
    c
}

fn challenge_scalar(c: &[u8; 16]) -> Scalar {
    let mut wide = [0; 32];
    wide[..16].copy_from_slice(c);
    Scalar::from_bytes_mod_order(wide)
}

/// Section 5.4.4, refusing what is not canonical.
fn decode_proof(proof: &[u8; PROOF_LEN]) -> Result<(EdwardsPoint, [u8; 32], [u8; 16], Scalar)> {
    let (mut gamma_bytes, mut c, mut s_bytes) = ([0; 32], [0; 16], [0; 32]);
    gamma_bytes.copy_from_slice(&proof[..32]);
    c.copy_from_slice(&proof[32..48]);
    s_bytes.copy_from_slice(&proof[48..]);
    let gamma = decode_point(&gamma_bytes).ok_or_else(|| Error::verification("vrf: Gamma is not a canonical point"))?;
    let s = Option::<Scalar>::from(Scalar::from_canonical_bytes(s_bytes))
        .ok_or_else(|| Error::verification("vrf: s is not below the group's order"))?;
    Ok((gamma, gamma_bytes, c, s))
}

/// Checks a proof and returns the output (RFC 9381, section 5.3, with key validation).
pub fn verify(public: &[u8; 32], alpha: &[u8], proof: &[u8; PROOF_LEN]) -> Result<[u8; OUTPUT_LEN]> {
    let y = decode_point(public).ok_or_else(|| Error::verification("vrf: the public key is not a canonical point"))?;
    if y.is_small_order() {
        return Err(Error::verification("vrf: the public key is of small order"));
    }
    let (gamma, gamma_bytes, c, s) = decode_proof(proof)?;
    let h = encode_to_curve(public, alpha);
    let minus_c = -challenge_scalar(&c);
    let u = EdwardsPoint::vartime_double_scalar_mul_basepoint(&minus_c, &y, &s);
    let v = EdwardsPoint::vartime_multiscalar_mul([s, minus_c], [h, gamma]);
    let expected = challenge(public, &h.compress().0, &gamma_bytes, &u.compress().0, &v.compress().0);
    if !bool::from(expected.ct_eq(&c)) {
        return Err(Error::verification("vrf: the proof does not fit key and input"));
    }
    Ok(output(&gamma))
}

/// The output of a proof (RFC 9381, section 5.2). Says nothing about the proof being right: use [`verify`] for that.
pub fn proof_to_hash(proof: &[u8; PROOF_LEN]) -> Result<[u8; OUTPUT_LEN]> {
    decode_proof(proof).map(|(gamma, ..)| output(&gamma))
}

fn output(gamma: &EdwardsPoint) -> [u8; OUTPUT_LEN] {
    let point = gamma.mul_by_cofactor().compress().0;
    Sha512::new().chain_update([SUITE, 3]).chain_update(point).chain_update([0]).finalize().into()
}

/// The input of a draw: tag ‖ network ‖ epoch ‖ role ‖ seed, integers little-endian.
pub fn alpha(network: &[u8; 32], epoch: u64, role: u16, seed: &[u8; 32]) -> [u8; ALPHA_LEN] {
    let mut alpha = [0; ALPHA_LEN];
    alpha[..16].copy_from_slice(ALPHA_TAG);
    alpha[16..48].copy_from_slice(network);
    alpha[48..56].copy_from_slice(&epoch.to_le_bytes());
    alpha[56..58].copy_from_slice(&role.to_le_bytes());
    alpha[58..].copy_from_slice(seed);
    alpha
}

/// The seed of one transaction's draw. The sequence is gapless, so a sender cannot look for one that suits it.
pub fn transaction_seed(beta: &[u8; OUTPUT_LEN], sender: &[u8; 32], sequence: u64) -> Digest {
    Hasher::new(CONTEXT_SEED).fixed(beta).fixed(sender).u64(sequence).finish()
}

#[cfg(test)]
mod tests;
