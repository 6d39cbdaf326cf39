//! An identity: one master seed, one derived key per purpose.
//!
//! Ed25519 signing and the VRF must never share a seed (their nonces would collide and give the key away), so neither
//! key is the master seed itself; both come from it by [`crate::crypto::keys::derive`].

use crate::algorithms::vrf;
use crate::crypto::ed25519::{self, SigningKey};
use crate::crypto::hash;
use crate::crypto::keys::{self, Purpose};
use crate::error::Result;

use super::Key;
use super::signed::SIGNATURE_LEN;

const CONTEXT_MESSAGE: &str = "city-chain v1 identity message";

/// The secret keys of a sender or node. Zeroised on drop; has no `Debug`, no `Clone` and no encoding.
pub struct Identity {
    signing: SigningKey,
    vrf: vrf::SecretKey,
}

impl Identity {
    /// Derives the keys from 32 bytes of entropy.
    pub fn from_master(master: &[u8; 32]) -> Self {
        Self {
            signing: SigningKey::from_seed(&keys::derive(master, Purpose::Signing)),
            vrf: vrf::SecretKey::from_seed(&keys::derive(master, Purpose::Vrf)),
        }
    }

    /// The key that signs.
    pub fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// The key that draws nodes.
    pub fn vrf(&self) -> &vrf::SecretKey {
        &self.vrf
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
