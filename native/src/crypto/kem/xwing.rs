//! X-Wing (draft-connolly-cfrg-xwing-kem), through the crate `x-wing`.

use x_wing::{
    CIPHERTEXT_SIZE, Ciphertext, DecapsulationKeyRejectNonContrib, Decapsulator, ENCAPSULATION_KEY_SIZE,
    EncapsulationKey, KeyExport, TryDecapsulate, TryKeyInit,
};
use zeroize::{Zeroize, Zeroizing};

use super::{SECRET_LEN, SEED_LEN, x25519};
use crate::error::{Error, Result};

pub(super) const PUBLIC_LEN: usize = ENCAPSULATION_KEY_SIZE;
pub(super) const CIPHERTEXT_LEN: usize = CIPHERTEXT_SIZE;

/// Where the X25519 half of a public key begins.
const CURVE_AT: usize = PUBLIC_LEN - 32;

pub(super) struct SecretKey(DecapsulationKeyRejectNonContrib);

pub(super) struct PublicKey(EncapsulationKey);

impl SecretKey {
    pub(super) fn from_seed(seed: &[u8; SEED_LEN]) -> Result<(Self, PublicKey)> {
        let secret = DecapsulationKeyRejectNonContrib::from(*seed);
        let public = secret.encapsulation_key().clone();
        Ok((Self(secret), PublicKey::checked(public)?))
    }

    pub(super) fn decapsulate(&self, ciphertext: &[u8]) -> Result<Zeroizing<[u8; SECRET_LEN]>> {
        let ciphertext = Ciphertext::try_from(ciphertext).map_err(|_| Error::input("kem: the ciphertext's length"))?;
        let mut secret = self.0.try_decapsulate(&ciphertext).map_err(|_| x25519::zero())?;
        let kept = Zeroizing::new(secret.into());
        secret.zeroize();
        Ok(kept)
    }
}

impl PublicKey {
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let key = EncapsulationKey::new_from_slice(bytes).map_err(|_| {
            Error::verification("kem: the ML-KEM half of the public key has a coefficient of 3329 or more")
        })?;
        Self::checked(key)
    }

    fn checked(key: EncapsulationKey) -> Result<Self> {
        let bytes = key.to_bytes();
        let curve = bytes[CURVE_AT..].try_into().map_err(|_| Error::input("kem: the public key's length"))?;
        x25519::check(curve)?;
        Ok(Self(key))
    }

    pub(super) fn to_bytes(&self) -> [u8; PUBLIC_LEN] {
        self.0.to_bytes().into()
    }

    /// From 32 random bytes for each half.
    pub(super) fn encapsulate(&self, lattice: &[u8; 32], curve: &[u8; 32]) -> (Vec<u8>, Zeroizing<[u8; SECRET_LEN]>) {
        let mut randomness = [0; 64];
        randomness[..32].copy_from_slice(lattice);
        randomness[32..].copy_from_slice(curve);
        let (ciphertext, mut secret) = self.0.encapsulate_deterministic((&randomness).into());
        randomness.zeroize();
        let kept = Zeroizing::new(secret.into());
        secret.zeroize();
        (ciphertext.to_vec(), kept)
    }
}
