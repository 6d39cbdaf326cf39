//! An identity: one master seed, one derived key per purpose.
//!
//! Ed25519 signing and the VRF must never share a seed (their nonces would collide and give the key away), so neither
//! key is the master seed itself; all come from it by [`crate::crypto::keys::derive`]. The keys of key encapsulation and of
//! ML-DSA cost more than the others together and are not needed by all, so they are made when first asked for.

use std::sync::OnceLock;

use zeroize::Zeroizing;

use crate::algorithms::vrf;
use crate::crypto::ed25519::{self, SigningKey};
use crate::crypto::hash;
use crate::crypto::kem::{self, Suite};
use crate::crypto::keys::{self, Purpose};
use crate::crypto::ml_dsa::{self, Parameters};
use crate::error::Result;

use super::Key;
use super::signed::SIGNATURE_LEN;

const CONTEXT_MESSAGE: &str = "city-chain v1 identity message";

/// The secret keys of a sender or node. Zeroised on drop; has no `Debug`, no `Clone` and no encoding.
pub struct Identity {
    signing: SigningKey,
    vrf: vrf::SecretKey,
    storage: Zeroizing<[u8; 32]>,
    x_wing: Late<kem::SecretKey>,
    sntrup: Late<kem::SecretKey>,
    ml_dsa: Late<ml_dsa::SigningKey>,
}

/// A key that is made from its seed when it is first needed.
struct Late<K> {
    seed: Zeroizing<[u8; 32]>,
    key: OnceLock<K>,
}

impl<K> Late<K> {
    fn new(seed: Zeroizing<[u8; 32]>) -> Self {
        Self { seed, key: OnceLock::new() }
    }

    fn get(&self, make: impl FnOnce(&[u8; 32]) -> Result<K>) -> Result<&K> {
        if let Some(key) = self.key.get() {
            return Ok(key);
        }
        let made = make(&self.seed)?;
        Ok(self.key.get_or_init(|| made))
    }
}

impl Identity {
    /// Derives the keys from 32 bytes of entropy.
    pub fn from_master(master: &[u8; 32]) -> Self {
        Self {
            signing: SigningKey::from_seed(&keys::derive(master, Purpose::Signing)),
            vrf: vrf::SecretKey::from_seed(&keys::derive(master, Purpose::Vrf)),
            storage: keys::derive(master, Purpose::Storage),
            x_wing: Late::new(keys::derive(master, Purpose::KemXWing)),
            sntrup: Late::new(keys::derive(master, Purpose::KemSntrup)),
            ml_dsa: Late::new(keys::derive(master, Purpose::MlDsa)),
        }
    }

    /// The key that secrets are sealed to, of one suite.
    ///
    /// # Errors
    /// [`crate::error::Error::Input`] if the seed gives a key that nobody may use, which no random one does.
    pub fn kem(&self, suite: Suite) -> Result<&kem::SecretKey> {
        match suite {
            Suite::XWing => self.x_wing.get(|seed| kem::SecretKey::from_seed(suite, seed)),
            Suite::Sntrup761X25519 => self.sntrup.get(|seed| kem::SecretKey::from_seed(suite, seed)),
        }
    }

    /// The key of signatures that hold against quantum computers: ML-DSA-65.
    ///
    /// # Errors
    /// None that a seed of 32 bytes can cause.
    pub fn ml_dsa(&self) -> Result<&ml_dsa::SigningKey> {
        self.ml_dsa.get(|seed| Ok(ml_dsa::SigningKey::from_seed(Parameters::MlDsa65, seed)))
    }

    /// The key that signs.
    pub fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// The key that draws nodes.
    pub fn vrf(&self) -> &vrf::SecretKey {
        &self.vrf
    }

    /// The key that encrypts what a node keeps in its own storage.
    pub fn storage(&self) -> &[u8; 32] {
        &self.storage
    }

    /// The public signing key: the identity's id.
    pub fn id(&self) -> Key {
        self.signing.public()
    }

    /// The child `index` named `label` of a master seed: a city's nodes have one each.
    pub fn child(master: &[u8; 32], label: &[u8], index: u64) -> Self {
        Self::from_master(&keys::derive_child(master, label, index))
    }

    /// Signs bytes that are no record, such as a challenge of the user's own, in a domain that no record uses.
    pub fn sign_message(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.signing.sign(&hash::digest(CONTEXT_MESSAGE, message))
    }
}

/// Checks a signature of [`Identity::sign_message`].
pub fn verify_message(public: &Key, message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> Result<()> {
    ed25519::verify(public, &hash::digest(CONTEXT_MESSAGE, message), signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_made_late_are_those_of_their_own_seeds() {
        let master = [1; 32];
        let identity = Identity::from_master(&master);
        for (suite, purpose) in [(Suite::XWing, Purpose::KemXWing), (Suite::Sntrup761X25519, Purpose::KemSntrup)] {
            let expected = kem::SecretKey::from_seed(suite, &keys::derive(&master, purpose)).unwrap();
            let key = identity.kem(suite).unwrap();
            assert_eq!(key.public(), expected.public());
            assert!(std::ptr::eq(key, identity.kem(suite).unwrap()), "made once");
            let (ciphertext, secret) = key.public().encapsulate().unwrap();
            assert_eq!(key.decapsulate(&ciphertext).unwrap(), secret);
        }
        let signature = identity.ml_dsa().unwrap().sign(b"context", b"message").unwrap();
        let expected = ml_dsa::SigningKey::from_seed(Parameters::MlDsa65, &keys::derive(&master, Purpose::MlDsa));
        expected.public().verify(b"context", b"message", &signature).unwrap();
        let other = Identity::from_master(&[2; 32]);
        assert!(other.ml_dsa().unwrap().public().verify(b"context", b"message", &signature).is_err());
        assert_ne!(other.kem(Suite::XWing).unwrap().public(), identity.kem(Suite::XWing).unwrap().public());
    }

    #[test]
    fn messages_are_a_domain_of_their_own() {
        let identity = Identity::child(&[1; 32], b"node", 3);
        let signature = identity.sign_message(b"hello");
        verify_message(&identity.id(), b"hello", &signature).unwrap();
        assert!(verify_message(&identity.id(), b"hellp", &signature).is_err());
        assert!(verify_message(&Identity::from_master(&[1; 32]).id(), b"hello", &signature).is_err());
        assert!(
            ed25519::verify(&identity.id(), b"hello", &signature).is_err(),
            "the plain bytes are not what is signed"
        );
    }
}
