//! Data encapsulation: encrypts and authenticates bytes under a key that is used once.
//!
//! Encrypt-then-MAC (Bellare, Namprempre 2000) over BLAKE3: the stream is the extended output of a keyed hash, the tag a
//! keyed hash over the associated data and the ciphertext, each under a key of its own derived from the one given. The tag
//! commits to the key. There is no nonce: the same key for two messages gives both away, so every key must be fresh.

use rayon::prelude::*;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::error::{Error, Result};

/// How much longer than the plaintext the sealed bytes are.
pub const TAG_LEN: usize = 32;

const CONTEXT_STREAM: &str = "city-chain v1 dem stream";
const CONTEXT_TAG: &str = "city-chain v1 dem tag";

/// From this many bytes on threads share the work.
const PARALLEL_MIN: usize = 256 * 1024;

/// Bytes that one thread works on, a multiple of BLAKE3's output block.
const RUN_LEN: usize = 64 * 1024;

/// Encrypts `plain` under `key`, which must never be used again; `associated` is authenticated and not kept.
pub fn seal(key: &[u8; 32], associated: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(plain.len() + TAG_LEN);
    out.extend_from_slice(plain);
    apply_stream(key, &mut out);
    let tag = tag(key, associated, &out);
    out.extend_from_slice(&tag);
    out
}

/// Decrypts what [`seal`] gave.
///
/// # Errors
/// [`Error::Verification`] if key, associated data or any byte is another.
pub fn open(key: &[u8; 32], associated: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
    let wrong = || Error::verification("sealed bytes: they were not sealed with this key and these associated data");
    let (cipher, found) = sealed.split_last_chunk::<TAG_LEN>().ok_or_else(wrong)?;
    if !bool::from(tag(key, associated, cipher).ct_eq(found)) {
        return Err(wrong());
    }
    let mut plain = cipher.to_vec();
    apply_stream(key, &mut plain);
    Ok(plain)
}

fn apply_stream(key: &[u8; 32], bytes: &mut [u8]) {
    let mut hasher = blake3::Hasher::new_keyed(&Zeroizing::new(blake3::derive_key(CONTEXT_STREAM, key)));
    let reader = hasher.finalize_xof();
    let apply = |(at, run): (usize, &mut [u8])| {
        let mut reader = reader.clone();
        reader.set_position((at * RUN_LEN) as u64);
        let mut stream = Zeroizing::new([0; 1024]);
        for piece in run.chunks_mut(stream.len()) {
            let stream = &mut stream[..piece.len()];
            reader.fill(stream);
            piece.iter_mut().zip(stream).for_each(|(byte, mask)| *byte ^= *mask);
        }
        reader.zeroize();
    };
    if bytes.len() >= PARALLEL_MIN {
        bytes.par_chunks_mut(RUN_LEN).enumerate().for_each(apply);
    } else {
        bytes.chunks_mut(RUN_LEN).enumerate().for_each(apply);
    }
    hasher.zeroize();
}

fn tag(key: &[u8; 32], associated: &[u8], cipher: &[u8]) -> [u8; TAG_LEN] {
    let mut hasher = blake3::Hasher::new_keyed(&Zeroizing::new(blake3::derive_key(CONTEXT_TAG, key)));
    hasher.update(&(associated.len() as u64).to_le_bytes());
    hasher.update(associated);
    if cipher.len() >= PARALLEL_MIN {
        hasher.update_rayon(cipher);
    } else {
        hasher.update(cipher);
    }
    let tag = *hasher.finalize().as_bytes();
    hasher.zeroize();
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_what_was_sealed_at_every_length() {
        for len in [0, 1, 63, 64, 65, 1023, 1024, 1025, RUN_LEN + 7, PARALLEL_MIN, PARALLEL_MIN + RUN_LEN + 1] {
            let plain: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            let sealed = seal(&[3; 32], b"label", &plain);
            assert_eq!(sealed.len(), len + TAG_LEN);
            assert_eq!(open(&[3; 32], b"label", &sealed).unwrap(), plain, "{len} bytes");
            if len > 32 {
                assert!(sealed.windows(16).all(|run| run != &plain[..16]), "{len} bytes");
            }
        }
    }

    #[test]
    fn threads_change_nothing() {
        let plain = vec![9; PARALLEL_MIN + 3 * RUN_LEN + 5];
        let long = seal(&[1; 32], b"", &plain);
        let short = seal(&[1; 32], b"", &plain[..PARALLEL_MIN - 1]);
        assert_eq!(long[..PARALLEL_MIN - 1], short[..PARALLEL_MIN - 1]);
    }

    #[test]
    fn every_change_is_refused() {
        let sealed = seal(&[3; 32], b"label", b"plain");
        for at in 0..sealed.len() {
            for bit in 0..8 {
                let mut wrong = sealed.clone();
                wrong[at] ^= 1 << bit;
                assert!(open(&[3; 32], b"label", &wrong).is_err());
            }
            assert!(open(&[3; 32], b"label", &sealed[..at]).is_err());
        }
        assert!(open(&[3; 32], b"labe", &sealed).is_err());
        assert!(open(&[4; 32], b"label", &sealed).is_err());
        assert!(open(&[3; 32], b"label", &[&sealed[..], b"0"].concat()).is_err());
    }

    #[test]
    fn known_answer() {
        // By hand: the stream is keyed BLAKE3 (extended output) of nothing, the tag keyed BLAKE3 of length ‖ label ‖ cipher.
        let (stream_key, tag_key) =
            (blake3::derive_key(CONTEXT_STREAM, &[5; 32]), blake3::derive_key(CONTEXT_TAG, &[5; 32]));
        let stream = blake3::keyed_hash(&stream_key, b"");
        let cipher: Vec<u8> = b"city".iter().zip(stream.as_bytes()).map(|(a, b)| a ^ b).collect();
        let tag = blake3::keyed_hash(&tag_key, &[&3u64.to_le_bytes()[..], b"abc", &cipher].concat());
        assert_eq!(seal(&[5; 32], b"abc", b"city"), [&cipher[..], tag.as_bytes()].concat());
    }
}
