//! An identity: one master seed, one derived key per purpose.
//!
//! Ed25519 signing and the VRF must never share a seed (their nonces would collide and give the key away), so neither
//! key is the master seed itself; both come from it by [`crate::crypto::keys::derive`].

use crate::algorithms::vrf;
use crate::crypto::ed25519::SigningKey;
use crate::crypto::keys::{self, Purpose};

use super::Key;

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
}
