//! One key per purpose, derived from a master seed.
//!
//! BLAKE3 in key-derivation mode (BLAKE3 paper, section 2.3) with a context per purpose. Two uses never share a key:
//! Ed25519 and the VRF derive their nonces alike, and one seed for both would give the key away.

use zeroize::Zeroizing;

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Ed25519 signatures.
    Signing,
    /// The verifiable random function.
    Vrf,
    /// Key encapsulation by X-Wing.
    KemXWing,
    /// Key encapsulation by sntrup761 with X25519.
    KemSntrup,
    /// ML-DSA-65 signatures.
    MlDsa,
    /// Encryption of what a node keeps in its own storage.
    Storage,
    /// BLS signatures that are summed.
    Aggregate,
}

impl Purpose {
    fn context(self) -> &'static str {
        match self {
            Self::Signing => "city-chain v1 key signing",
            Self::Vrf => "city-chain v1 key vrf",
            Self::KemXWing => "city-chain v1 key kem x-wing",
            Self::KemSntrup => "city-chain v1 key kem sntrup761-x25519",
            Self::MlDsa => "city-chain v1 key ml-dsa-65",
            Self::Storage => "city-chain v1 key storage",
            Self::Aggregate => "city-chain v1 key bls aggregate",
        }
    }
}

/// The seed of the key for `purpose`.
pub fn derive(master: &[u8; 32], purpose: Purpose) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(blake3::derive_key(purpose.context(), master))
}

/// The master seed of the `index`-th child named `label`: a city's nodes have one each.
pub fn derive_child(master: &[u8; 32], label: &[u8], index: u64) -> Zeroizing<[u8; 32]> {
    let mut hasher = blake3::Hasher::new_derive_key("city-chain v1 key child");
    hasher.update(master);
    hasher.update(&(label.len() as u64).to_le_bytes());
    hasher.update(label);
    hasher.update(&index.to_le_bytes());
    let mut seed = Zeroizing::new([0; 32]);
    hasher.finalize_xof().fill(seed.as_mut());
    zeroize::Zeroize::zeroize(&mut hasher);
    seed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_and_children_differ() {
        let master = [7; 32];
        let keys = [
            *derive(&master, Purpose::Signing),
            *derive(&master, Purpose::Vrf),
            *derive(&master, Purpose::KemXWing),
            *derive(&master, Purpose::KemSntrup),
            *derive(&master, Purpose::MlDsa),
            *derive(&master, Purpose::Aggregate),
            *derive_child(&master, b"node", 0),
            *derive_child(&master, b"node", 1),
            *derive_child(&master, b"nod", 0),
            master,
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(key), "key {at}");
        }
    }

    #[test]
    fn known_answers() {
        // Made by another BLAKE3 (`b3sum --derive-key` gives the same): an upgrade can never change an identity.
        for (key, expected) in [
            (derive(&[0; 32], Purpose::Signing), "062bccff6ca5f705970458cf28d70fbc31cf90b5a6f7ad4d386d9bf125f102d3"),
            (derive(&[0; 32], Purpose::Vrf), "ea669095ecbd36b4a1badaa442f1495efe3e9009b5fb969ef53e5f862c52a7e3"),
            (derive(&[0; 32], Purpose::KemXWing), "daf87ada5597d843de2d42f15b65045f5df46b49d9588388132ab0e31a874d40"),
            (derive(&[0; 32], Purpose::KemSntrup), "ed1f3ee70934f57f1218583b7cadf5f4849db6f5a4fa23df15851837686ca139"),
            (derive(&[0; 32], Purpose::Aggregate), "a8025cfc67c1d2eb9674a8e0ecec562f17a15b406892cd27617b6e9a99830939"),
            (derive(&[0; 32], Purpose::MlDsa), "26e30c5203fafa1532d6bcbc8dcd0ec016c56417ea8209f4b178c5325e2a871d"),
            (derive_child(&[0; 32], b"node", 7), "fa713d4665271536898a4f51263b00821e03108b8e1ffa03394daf1e360b8093"),
        ] {
            assert_eq!(hex::encode(*key), expected);
        }
        assert_ne!(*derive(&[0; 32], Purpose::Signing), *derive(&[1; 32], Purpose::Signing));
    }
}
