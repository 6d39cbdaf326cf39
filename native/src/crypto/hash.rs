//! Domain-separated BLAKE3.
//!
//! Every hash of the crate is `derive_key("city-chain v1 <protocol> <message>", …)` (BLAKE3 paper, section 2.3), so that
//! bytes hashed for one use can never stand for another. Contexts are compile-time constants and listed by their users.

use std::sync::OnceLock;

use blake3::hazmat::{ContextKey, HasherExt, hash_derive_key_context};

use super::lanes;

/// A 32-byte BLAKE3 output.
pub type Digest = [u8; 32];

/// From this many bytes on a hash uses rayon; below it the fork costs more than it brings.
const PARALLEL_MIN: usize = 128 * 1024;

/// The hash of a context is half of the work of a short digest, so it is kept, by the address of the constant.
static CONTEXTS: [OnceLock<(&'static str, ContextKey)>; 256] = [const { OnceLock::new() }; 256];

/// BLAKE3 in key-derivation mode under `context`.
fn derive(context: &'static str) -> blake3::Hasher {
    let place = &CONTEXTS[(context.as_ptr() as usize ^ context.as_ptr() as usize >> 8) % CONTEXTS.len()];
    let (owner, key) = place.get_or_init(|| (context, hash_derive_key_context(context)));
    if std::ptr::eq(*owner, context) {
        return blake3::Hasher::new_from_context_key(key);
    }
    blake3::Hasher::new_derive_key(context) // another context has the place
}

/// Adds bytes to a hash, on all threads if there are many.
fn absorb(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    if bytes.len() >= PARALLEL_MIN {
        hasher.update_rayon(bytes);
    } else {
        hasher.update(bytes);
    }
}

/// A hasher for one domain. Fields of varying length must be fed with [`Hasher::field`], which puts the length first.
#[derive(Clone)]
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// Starts a hash in the domain `context`, which must be a constant `"city-chain v1 <protocol> <message>"`.
    pub fn new(context: &'static str) -> Self {
        Self(derive(context))
    }

    /// Adds bytes whose length is fixed by the protocol.
    pub fn fixed(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(bytes);
        self
    }

    /// Adds bytes of any length, preceded by their length (u64, little-endian).
    pub fn field(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        absorb(&mut self.0, bytes);
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
    let mut hasher = derive(context);
    absorb(&mut hasher, bytes);
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

/// [`fragment`] of each, in order. Short ones of one length are hashed side by side.
pub fn fragments(fragments: &[&[u8]]) -> Vec<Digest> {
    lanes::hash(fragments).unwrap_or_else(|| fragments.iter().map(|bytes| fragment(bytes)).collect())
}

/// [`fragment`] for bytes that come block by block.
#[derive(Clone)]
pub struct FragmentHasher(blake3::Hasher);

impl FragmentHasher {
    /// Starts a hash.
    #[allow(clippy::new_without_default, reason = "a hash of nothing is no default of anything")]
    pub fn new() -> Self {
        Self(blake3::Hasher::new())
    }

    /// Adds a block.
    pub fn update(&mut self, block: &[u8]) {
        absorb(&mut self.0, block);
    }

    /// The hash of all blocks.
    pub fn finish(&self) -> Digest {
        *self.0.finalize().as_bytes()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn official_cases_of_blake3() {
        let Ok(folder) = std::env::var("CITY_CHAIN_VECTORS") else {
            eprintln!("skipped: CITY_CHAIN_VECTORS is not set");
            return;
        };
        let text = std::fs::read_to_string(format!("{folder}/blake3_test_vectors.json")).unwrap();
        let file: serde_json::Value = serde_json::from_str(&text).unwrap();
        let key: [u8; 32] = file["key"].as_str().unwrap().as_bytes().try_into().unwrap();
        let context: &'static str = file["context_string"].as_str().unwrap().to_owned().leak();
        let cases = file["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 35);
        for case in cases {
            let length = usize::try_from(case["input_len"].as_u64().unwrap()).unwrap();
            let input: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let expected = |name: &str| hex::decode(case[name].as_str().unwrap()).unwrap();
            assert_eq!(fragment(&input)[..], expected("hash")[..32], "hash of {length}");
            assert_eq!(keyed(&key, &input)[..], expected("keyed_hash")[..32], "keyed hash of {length}");
            assert_eq!(digest(context, &input)[..], expected("derive_key")[..32], "derived from {length}");
            let mut long = vec![0; expected("derive_key").len()];
            Hasher::new(context).fixed(&input).fill(&mut long);
            assert_eq!(long, expected("derive_key"), "extended output of {length}");
        }
    }

    #[test]
    fn contexts_that_share_a_place_differ() {
        // 600 contexts in 256 places: some are kept, some are not, and each is itself.
        for at in 0..600 {
            let context: &'static str = format!("city-chain v1 test {at}").leak();
            for _ in 0..2 {
                assert_eq!(digest(context, b"bytes"), blake3::derive_key(context, b"bytes"));
                assert_eq!(Hasher::new(&context[..9]).finish(), blake3::derive_key("city-chai", b""));
            }
        }
    }

    #[test]
    fn threads_change_nothing() {
        for length in [PARALLEL_MIN - 1, PARALLEL_MIN, 3 * PARALLEL_MIN + 1] {
            let input: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            assert_eq!(fragment(&input), *blake3::hash(&input).as_bytes());
            let mut blocks = FragmentHasher::new();
            for block in input.chunks(PARALLEL_MIN + 1) {
                blocks.update(block);
            }
            assert_eq!(blocks.finish(), fragment(&input));
            assert_eq!(keyed(&[7; 32], &input), *blake3::keyed_hash(&[7; 32], &input).as_bytes());
            assert_eq!(digest("city-chain v1 test", &input), blake3::derive_key("city-chain v1 test", &input));
            let framed = [&(length as u64).to_le_bytes(), input.as_slice()].concat();
            assert_eq!(Hasher::new("city-chain v1 test").field(&input).finish(), digest("city-chain v1 test", &framed));
        }
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let hash = |a: &[u8], b: &[u8]| Hasher::new("city-chain v1 test").field(a).field(b).finish();
        assert_ne!(hash(b"ab", b"c"), hash(b"a", b"bc"));
        assert_ne!(hash(b"", b"abc"), hash(b"abc", b""));
        assert_eq!(hex(&[0, 0x9f, 0xff]), "009fff");
    }
}
