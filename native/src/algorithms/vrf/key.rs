//! The secret key and the making of proofs (RFC 9381, section 5.1).

use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use sha2::{Digest as _, Sha512};
use zeroize::{Zeroize, Zeroizing};

use super::proof::{challenge, challenge_scalar};
use super::{BATCHABLE_LEN, PROOF_LEN, Suite};
use crate::error::Result;

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

/// The parts of which either form of a proof is made.
struct Parts {
    gamma: [u8; 32],
    u: [u8; 32],
    v: [u8; 32],
    c: [u8; 16],
    s: Scalar,
}

impl SecretKey {
    /// The key of a 32-byte seed (expanded as in RFC 8032, section 5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let expanded = Zeroizing::new(<[u8; 64]>::from(Sha512::digest(seed)));
        let (mut low, mut nonce_prefix) = (Zeroizing::new([0; 32]), [0; 32]);
        low.copy_from_slice(&expanded[..32]);
        nonce_prefix.copy_from_slice(&expanded[32..]);
        let clamped = Zeroizing::new(clamp_integer(*low));
        let scalar = Scalar::from_bytes_mod_order(*clamped);
        let public = EdwardsPoint::mul_base(&scalar).compress().0;
        Self { scalar, nonce_prefix, public }
    }

    /// The public key.
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    /// The proof for `alpha` under the suite ELL2.
    pub fn prove(&self, alpha: &[u8]) -> [u8; PROOF_LEN] {
        let h = EdwardsPoint::encode_to_curve::<Sha512>(&[&self.public, alpha], &[super::ENCODE_DST]);
        compact(&self.parts(Suite::Ell2, &h))
    }

    /// The proof for `alpha` under `suite`.
    pub fn prove_in(&self, suite: Suite, alpha: &[u8]) -> Result<[u8; PROOF_LEN]> {
        let h = suite.encode_to_curve(&self.public, alpha)?;
        Ok(compact(&self.parts(suite, &h)))
    }

    /// The same proof in the form that can be checked in a batch.
    pub fn prove_batchable(&self, suite: Suite, alpha: &[u8]) -> Result<[u8; BATCHABLE_LEN]> {
        let h = suite.encode_to_curve(&self.public, alpha)?;
        let parts = self.parts(suite, &h);
        let mut proof = [0; BATCHABLE_LEN];
        for (place, part) in proof.chunks_exact_mut(32).zip([&parts.gamma, &parts.u, &parts.v, parts.s.as_bytes()]) {
            place.copy_from_slice(part);
        }
        Ok(proof)
    }

    /// Steps 3 to 7; the secret and the nonce are used in constant time.
    fn parts(&self, suite: Suite, h: &EdwardsPoint) -> Parts {
        let h_bytes = h.compress().0;
        let hash = Zeroizing::new(<[u8; 64]>::from(
            Sha512::new().chain_update(self.nonce_prefix).chain_update(h_bytes).finalize(),
        ));
        let nonce = Zeroizing::new(Scalar::from_bytes_mod_order_wide(&hash));
        let points = [h * self.scalar, EdwardsPoint::mul_base(&nonce), h * *nonce];
        let [gamma, u, v] = EdwardsPoint::compress_batch(&points).map(|point| point.0);
        let c = challenge(suite, &self.public, &h_bytes, &gamma, &u, &v);
        let product = Zeroizing::new(challenge_scalar(&c) * self.scalar);
        Parts { gamma, u, v, c, s: *nonce + *product }
    }
}

fn compact(parts: &Parts) -> [u8; PROOF_LEN] {
    let mut proof = [0; PROOF_LEN];
    proof[..32].copy_from_slice(&parts.gamma);
    proof[32..48].copy_from_slice(&parts.c);
    proof[48..].copy_from_slice(parts.s.as_bytes());
    proof
}
