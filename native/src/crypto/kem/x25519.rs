//! Which X25519 public keys are accepted (RFC 7748, section 6.1).

use crate::error::{Error, Result};

/// The prime 2²⁵⁵ − 19, little-endian.
const PRIME: [u8; 32] = {
    let mut prime = [0xff; 32];
    prime[0] = 0xed;
    prime[31] = 0x7f;
    prime
};

/// The u-coordinates of the points of order 1, 2, 4 and 8 on the curve and its twist, canonical.
pub(super) const SMALL_ORDER: [[u8; 32]; 5] = {
    let mut one = [0; 32];
    one[0] = 1;
    let mut minus_one = PRIME;
    minus_one[0] = 0xec;
    [
        [0; 32],
        one,
        minus_one,
        [
            0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09,
            0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
        ],
        [
            0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44,
            0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
        ],
    ]
};

/// Refuses a public key that is not canonical, so that no key has two encodings, or of small order, with which every
/// secret is zero.
pub(super) fn check(public: &[u8; 32]) -> Result<()> {
    // Little-endian numbers compare from their last byte on.
    if public.iter().rev().ge(PRIME.iter().rev()) {
        return Err(Error::verification("kem: the X25519 half of the public key is not below 2²⁵⁵ − 19"));
    }
    if SMALL_ORDER.contains(public) {
        return Err(Error::verification("kem: the X25519 half of the public key is of small order"));
    }
    Ok(())
}

/// The error of a ciphertext with which every secret is zero.
pub(super) fn zero() -> Error {
    Error::verification("kem: the X25519 half of the ciphertext is of small order")
}
