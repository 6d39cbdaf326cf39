//! Domain-separated BLAKE3.
//!
//! Every hash of the crate is `derive_key("city-chain v1 <protocol> <message>", …)` (BLAKE3 paper, section 2.3), so that
//! bytes hashed for one use can never stand for another. Contexts are compile-time constants and listed by their users.

/// A 32-byte BLAKE3 output.
pub type Digest = [u8; 32];

/// Number of bytes in a [`Digest`].
pub const DIGEST_LEN: usize = 32;

/// From this many bytes on a hash uses rayon; below it the fork costs more than it brings.
const PARALLEL_MIN: usize = 128 * 1024;

/// A hasher for one domain. Fields of varying length must be fed with [`Hasher::field`], which puts the length first.
#[derive(Clone)]
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// Starts a hash in the domain `context`, which must be a constant `"city-chain v1 <protocol> <message>"`.
    pub fn new(context: &'static str) -> Self {
        Self(blake3::Hasher::new_derive_key(context))
    }

    /// Adds bytes whose length is fixed by the protocol.
    pub fn fixed(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(bytes);
        self
    }

    /// Adds bytes of any length, preceded by their length (u64, little-endian).
    pub fn field(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        if bytes.len() >= PARALLEL_MIN {
            self.0.update_rayon(bytes);
        } else {
            self.0.update(bytes);
        }
        self
    }

    /// Adds an integer (little-endian).
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.0.update(&value.to_le_bytes());
        self
    }

    /// The digest of everything added so far.
    pub fn finish(&self) -> Digest {
        *self.0.finalize().as_bytes()
    }

    /// Fills `out` with the extended output of everything added so far.
    pub fn fill(&self, out: &mut [u8]) {
        self.0.finalize_xof().fill(out);
    }
}

/// Hash of `bytes` (one value, no length prefix) in the domain `context`.
pub fn digest(context: &'static str, bytes: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    if bytes.len() >= PARALLEL_MIN {
        hasher.update_rayon(bytes);
    } else {
        hasher.update(bytes);
    }
    *hasher.finalize().as_bytes()
}

/// Keyed BLAKE3 of `bytes`: the answer to a storage challenge.
pub fn keyed(key: &[u8; 32], bytes: &[u8]) -> Digest {
    if bytes.len() >= PARALLEL_MIN {
        let mut hasher = blake3::Hasher::new_keyed(key);
        hasher.update_rayon(bytes);
        *hasher.finalize().as_bytes()
    } else {
        *blake3::keyed_hash(key, bytes).as_bytes()
    }
}

/// Hash of one erasure-coded fragment. Fragments use plain BLAKE3 of their bytes, so that any BLAKE3 tool can check one.
pub fn fragment(bytes: &[u8]) -> Digest {
    if bytes.len() >= PARALLEL_MIN {
        let mut hasher = blake3::Hasher::new();
        hasher.update_rayon(bytes);
        *hasher.finalize().as_bytes()
    } else {
        *blake3::hash(bytes).as_bytes()
    }
}

/// Lower-case hexadecimal, for messages.
pub fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        out.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
    }
    out
}
