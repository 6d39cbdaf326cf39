//! Streamlined NTRU Prime 761 with X25519. Experimental: the lattice half is the crate `sntrup`, which nobody has audited.
//!
//! As OpenSSH and draft-ietf-sshm-ntruprime-ssh, the secret is a hash of both secrets. There it is SHA-512(K_PQ ‖ K_CL), and
//! SSH hashes that once more with the transcript of the handshake, which holds keys and ciphertexts. Here no transcript is
//! around it, so the hash itself binds them: BLAKE3, in a domain of its own, over both secrets, both ciphertexts and both
//! public keys. A ciphertext or key that differs in any byte gives another secret.
//!
//! A seed gives both secret keys by domain-separated BLAKE3. The lattice half is what the reference's key generation gives
//! with that hash's extended output as its randomness, so that any implementation of it can rebuild the key, and the
//! stream can be wiped; the crate's own generation from a seed reads ChaCha20. Encapsulation expands 32 random bytes
//! alike.
//!
//! A lattice public key of the right length is always a key: bytes that no key generation gives are decoded modulo q.
//! They are hashed as they are, so that they stand for themselves alone.

use std::convert::Infallible;

use sntrup::{Ciphertext, DecapsulationKey, EncapsulationKey, Sntrup761, Sntrup761Params, SntrupParams};
use x_wing::kem::common::rand_core::{TryCryptoRng, TryRng};
use x25519_dalek::{PublicKey as CurvePublic, StaticSecret};
use zeroize::{Zeroize, Zeroizing};

use super::{SECRET_LEN, SEED_LEN, x25519};
use crate::error::{Error, Result};

const LATTICE_PUBLIC_LEN: usize = Sntrup761Params::PK_BYTES;
const LATTICE_CIPHERTEXT_LEN: usize = Sntrup761Params::CT_BYTES;

pub(super) const PUBLIC_LEN: usize = LATTICE_PUBLIC_LEN + 32;
pub(super) const CIPHERTEXT_LEN: usize = LATTICE_CIPHERTEXT_LEN + 32;

const CONTEXT_LATTICE_KEY: &str = "city-chain v1 kem sntrup761-x25519 lattice key";
const CONTEXT_CURVE_KEY: &str = "city-chain v1 kem sntrup761-x25519 curve key";
const CONTEXT_LATTICE_ENCAPSULATION: &str = "city-chain v1 kem sntrup761-x25519 lattice encapsulation";
const CONTEXT_CURVE_ENCAPSULATION: &str = "city-chain v1 kem sntrup761-x25519 curve encapsulation";
const CONTEXT_SECRET: &str = "city-chain v1 kem sntrup761-x25519 secret";

/// The extended output of a hash of a secret, as a source of randomness; wiped when it goes.
struct Stream(blake3::OutputReader);

impl Stream {
    fn new(context: &'static str, secret: &[u8; 32]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(secret);
        let stream = Self(hasher.finalize_xof());
        hasher.zeroize();
        stream
    }
}

impl TryRng for Stream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> std::result::Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> std::result::Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> std::result::Result<(), Infallible> {
        self.0.fill(out);
        Ok(())
    }
}

impl TryCryptoRng for Stream {}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

pub(super) struct SecretKey {
    lattice: DecapsulationKey<Sntrup761Params>,
    curve: StaticSecret,
    public: [u8; PUBLIC_LEN],
}

pub(super) struct PublicKey {
    lattice: EncapsulationKey<Sntrup761Params>,
    curve: CurvePublic,
}

impl SecretKey {
    pub(super) fn from_seed(seed: &[u8; SEED_LEN]) -> Result<(Self, PublicKey)> {
        let (public, lattice) = Sntrup761::generate_key(&mut Stream::new(CONTEXT_LATTICE_KEY, seed));
        let curve = StaticSecret::from(*Zeroizing::new(blake3::derive_key(CONTEXT_CURVE_KEY, seed)));
        let public = PublicKey { lattice: public, curve: CurvePublic::from(&curve) };
        x25519::check(public.curve.as_bytes())?;
        Ok((Self { lattice, curve, public: public.to_bytes() }, public))
    }

    pub(super) fn decapsulate(&self, ciphertext: &[u8]) -> Result<Zeroizing<[u8; SECRET_LEN]>> {
        let length = || Error::input("kem: the ciphertext's length");
        let (lattice, curve) = ciphertext.split_last_chunk::<32>().ok_or_else(length)?;
        let shared = self.curve.diffie_hellman(&CurvePublic::from(*curve));
        if !shared.was_contributory() {
            return Err(x25519::zero());
        }
        let lattice = Ciphertext::<Sntrup761Params>::try_from(lattice).map_err(|_| length())?;
        let secret = self.lattice.decapsulate(&lattice);
        Ok(combine(secret.as_ref(), shared.as_bytes(), ciphertext, &self.public))
    }

    #[cfg(test)]
    pub(super) fn lattice(&self) -> &DecapsulationKey<Sntrup761Params> {
        &self.lattice
    }
}

impl PublicKey {
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let length = || Error::input("kem: the public key's length");
        let (lattice, curve) = bytes.split_last_chunk::<32>().ok_or_else(length)?;
        x25519::check(curve)?;
        let lattice = EncapsulationKey::try_from(lattice).map_err(|_| length())?;
        Ok(Self { lattice, curve: CurvePublic::from(*curve) })
    }

    pub(super) fn to_bytes(&self) -> [u8; PUBLIC_LEN] {
        let mut out = [0; PUBLIC_LEN];
        out[..LATTICE_PUBLIC_LEN].copy_from_slice(self.lattice.as_ref());
        out[LATTICE_PUBLIC_LEN..].copy_from_slice(self.curve.as_bytes());
        out
    }

    /// From 32 random bytes.
    pub(super) fn encapsulate(&self, entropy: &[u8; 32]) -> Result<(Vec<u8>, Zeroizing<[u8; SECRET_LEN]>)> {
        let (lattice, secret) = self.lattice.encapsulate(&mut Stream::new(CONTEXT_LATTICE_ENCAPSULATION, entropy));
        let curve = StaticSecret::from(*Zeroizing::new(blake3::derive_key(CONTEXT_CURVE_ENCAPSULATION, entropy)));
        let shared = curve.diffie_hellman(&self.curve);
        if !shared.was_contributory() {
            return Err(Error::verification("kem: the X25519 half of the public key is of small order"));
        }
        let mut ciphertext = Vec::with_capacity(CIPHERTEXT_LEN);
        ciphertext.extend_from_slice(lattice.as_ref());
        ciphertext.extend_from_slice(CurvePublic::from(&curve).as_bytes());
        let secret = combine(secret.as_ref(), shared.as_bytes(), &ciphertext, &self.to_bytes());
        Ok((ciphertext, secret))
    }
}

/// The secret of both halves; every part has one length.
fn combine(
    lattice: &[u8],
    curve: &[u8; 32],
    ciphertext: &[u8],
    public: &[u8; PUBLIC_LEN],
) -> Zeroizing<[u8; SECRET_LEN]> {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT_SECRET);
    hasher.update(lattice).update(curve).update(ciphertext).update(public);
    let secret = Zeroizing::new(*hasher.finalize().as_bytes());
    hasher.zeroize();
    secret
}
