//! VRF: verifiable random function, RFC 9381 ECVRF over edwards25519 with SHA-512.
//!
//! Two suites ([`Suite`]: `ELL2`, the default, and `TAI`) and two forms of a proof ([`Proof`]): the RFC's 80 bytes, and
//! the 128 bytes Γ‖U‖V‖s ("batch-compatible") of which many are checked in one multiscalar multiplication.
//!
//! Own code on curve25519-dalek, whose `encode_to_curve` is RFC 9380's `edwards25519_XMD:SHA-512_ELL2_NU_` map. Stricter
//! than the RFC's text where the RFC leaves a choice: points must be canonically encoded, public keys of small order are
//! refused (section 5.4.5, "key validation"), and `s` must be below the group's order, so that a proof cannot be altered
//! into another valid one by adding the order. An output comes from [`proof_to_hash`] only and never from a hash of the
//! proof: proofs are not unique, outputs are.
//!
//! One rule for each form, alone and in batches. Of 80 bytes, c must be the hash of the very points that it leads to.
//! Of 128 bytes, the equations hold up to a point of small order (times 8), the only rule that a random combination of
//! many can keep; the output is the same, for it is made of 8Γ.
//!
//! Files: `key` makes proofs, `proof` reads and checks one, `batch` many, `sortition` turns outputs into counts.
//! The main type is [`SecretKey`]; its seed must never be used for signing (`crypto::keys` derives one per purpose).

mod batch;
mod key;
mod proof;
mod sortition;

use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::traits::IsIdentity;
use sha2::{Digest as _, Sha512};

pub use batch::{Item, PARALLEL_MIN, verify_many, verify_many_of};
pub use key::SecretKey;
pub use proof::{Proof, output, proof_to_hash, to_batchable, to_compact, verify, verify_in};
pub use sortition::{EXPECTED_MAX, sortition, sortition_steps};

use crate::crypto::ed25519::decode_point;
use crate::crypto::hash::{Digest, Hasher};
use crate::error::{Error, Result};

/// Bytes of a proof: Gamma (32) ‖ c (16) ‖ s (32).
pub const PROOF_LEN: usize = 80;

/// Bytes of a proof that can be checked in a batch: Gamma (32) ‖ U (32) ‖ V (32) ‖ s (32).
pub const BATCHABLE_LEN: usize = 128;

/// Bytes of an output.
pub const OUTPUT_LEN: usize = 64;

/// Bytes of [`alpha`].
pub const ALPHA_LEN: usize = 16 + 32 + 8 + 2 + 32;

const ENCODE_DST: &[u8] = b"ECVRF_edwards25519_XMD:SHA-512_ELL2_NU_\x04";
const ALPHA_TAG: &[u8; 16] = b"city-chain vrf 1";
const CONTEXT_SEED: &str = "city-chain v1 vrf transaction seed";

/// How the input becomes a point; outputs of the two have nothing in common (RFC 9381, section 5.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Suite {
    /// ECVRF-EDWARDS25519-SHA512-ELL2 (0x04): Elligator 2, in constant time.
    #[default]
    Ell2,
    /// ECVRF-EDWARDS25519-SHA512-TAI (0x03): try and increment, whose time tells about the input: public inputs only.
    Tai,
}

impl Suite {
    /// The suite of a name, `ell2` or `tai`.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "ell2" => Ok(Self::Ell2),
            "tai" => Ok(Self::Tai),
            _ => Err(Error::input(format!("vrf: the suite {name:?}: \"ell2\" or \"tai\" is needed"))),
        }
    }

    /// `suite_string`, which opens every hash.
    const fn octet(self) -> u8 {
        match self {
            Self::Ell2 => 4,
            Self::Tai => 3,
        }
    }

    /// Section 5.4.1: the input's point, with the public key as salt. It is in the prime-order group.
    fn encode_to_curve(self, public: &[u8; 32], alpha: &[u8]) -> Result<EdwardsPoint> {
        match self {
            Self::Ell2 => Ok(EdwardsPoint::encode_to_curve::<Sha512>(&[public, alpha], &[ENCODE_DST])),
            Self::Tai => try_and_increment(public, alpha),
        }
    }
}

/// Section 5.4.1.1. Half of all attempts succeed, so that the error is a matter of form.
fn try_and_increment(public: &[u8; 32], alpha: &[u8]) -> Result<EdwardsPoint> {
    let start = Sha512::new().chain_update([Suite::Tai.octet(), 1]).chain_update(public).chain_update(alpha);
    for counter in 0..=u8::MAX {
        let hash = start.clone().chain_update([counter, 0]).finalize();
        let mut encoded = [0; 32];
        encoded.copy_from_slice(&hash[..32]);
        if let Some(point) = decode_point(&encoded).map(|point| point.mul_by_cofactor())
            && !point.is_identity()
        {
            return Ok(point);
        }
    }
    Err(Error::input("vrf: none of 256 attempts to find a point for this input succeeded; use another input"))
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
