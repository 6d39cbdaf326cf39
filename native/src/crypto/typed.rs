//! Key bytes that say what they are: a two-letter prefix in front, so that a key of one kind is refused wherever another is
//! needed.
//!
//! The first letter is the scheme, the second the role: `s` secret, `p` public, `x` secret share, `v` public share.

use crate::error::{Error, Result};

/// Bytes of the prefix.
pub const PREFIX_LEN: usize = 2;

/// What a key is: scheme and role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// BLS secret key.
    BlsSecret,
    /// BLS public key, or a group's.
    BlsPublic,
    /// One party's secret share of a BLS key.
    BlsSecretShare,
    /// What one party's BLS signature shares are checked against.
    BlsPublicShare,
    /// Public key of threshold encryption.
    Tdh2Public,
    /// One party's secret share of a threshold encryption key.
    Tdh2SecretShare,
    /// What one party's decryption shares are checked against.
    Tdh2PublicShare,
    /// Public key of the common coin.
    CoinPublic,
    /// One party's secret share of a coin.
    CoinSecretShare,
    /// What one party's coin shares are checked against.
    CoinPublicShare,
    /// X-Wing secret seed.
    XWingSecret,
    /// X-Wing public key.
    XWingPublic,
    /// sntrup761 + X25519 secret seed.
    SntrupSecret,
    /// sntrup761 + X25519 public key.
    SntrupPublic,
    /// ML-DSA-44 secret seed.
    MlDsa44Secret,
    /// ML-DSA-44 public key.
    MlDsa44Public,
    /// ML-DSA-65 secret seed.
    MlDsa65Secret,
    /// ML-DSA-65 public key.
    MlDsa65Public,
    /// ML-DSA-87 secret seed.
    MlDsa87Secret,
    /// ML-DSA-87 public key.
    MlDsa87Public,
}

const TABLE: [(Kind, [u8; PREFIX_LEN], &str); 20] = [
    (Kind::BlsSecret, *b"bs", "a BLS secret key"),
    (Kind::BlsPublic, *b"bp", "a BLS public key"),
    (Kind::BlsSecretShare, *b"bx", "a secret share of a BLS key"),
    (Kind::BlsPublicShare, *b"bv", "a public share of a BLS key"),
    (Kind::Tdh2Public, *b"tp", "a public key of threshold encryption"),
    (Kind::Tdh2SecretShare, *b"tx", "a secret share of a threshold encryption key"),
    (Kind::Tdh2PublicShare, *b"tv", "a public share of a threshold encryption key"),
    (Kind::CoinPublic, *b"cp", "a public key of a coin"),
    (Kind::CoinSecretShare, *b"cx", "a secret share of a coin"),
    (Kind::CoinPublicShare, *b"cv", "a public share of a coin"),
    (Kind::XWingSecret, *b"xs", "an X-Wing secret key"),
    (Kind::XWingPublic, *b"xp", "an X-Wing public key"),
    (Kind::SntrupSecret, *b"ns", "an sntrup761-X25519 secret key"),
    (Kind::SntrupPublic, *b"np", "an sntrup761-X25519 public key"),
    (Kind::MlDsa44Secret, *b"4s", "an ML-DSA-44 secret key"),
    (Kind::MlDsa44Public, *b"4p", "an ML-DSA-44 public key"),
    (Kind::MlDsa65Secret, *b"6s", "an ML-DSA-65 secret key"),
    (Kind::MlDsa65Public, *b"6p", "an ML-DSA-65 public key"),
    (Kind::MlDsa87Secret, *b"8s", "an ML-DSA-87 secret key"),
    (Kind::MlDsa87Public, *b"8p", "an ML-DSA-87 public key"),
];

impl Kind {
    /// The two letters.
    pub fn prefix(self) -> [u8; PREFIX_LEN] {
        self.row().1
    }

    /// What it is, in words with an article, for messages.
    pub fn words(self) -> &'static str {
        self.row().2
    }

    /// The kind that key bytes say they are of; `None` if they say nothing that is known.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let prefix = bytes.get(..PREFIX_LEN)?;
        TABLE.iter().find(|row| row.1 == prefix).map(|row| row.0)
    }

    fn row(self) -> &'static (Self, [u8; PREFIX_LEN], &'static str) {
        &TABLE[self as usize]
    }
}

/// Key bytes with their prefix.
pub fn encode(kind: Kind, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(PREFIX_LEN + key.len());
    out.extend_from_slice(&kind.prefix());
    out.extend_from_slice(key);
    out
}

/// What is behind the prefix of key bytes, which must be of `kind` and of `len` bytes, prefix included. The bytes
/// themselves are never named in the error.
pub fn decode(kind: Kind, bytes: &[u8], len: usize) -> Result<&[u8]> {
    match Kind::of(bytes) {
        Some(found) if found == kind => {}
        Some(found) => return Err(Error::input(format!("key: it is {}, {} is needed", found.words(), kind.words()))),
        None => return Err(Error::input(format!("key: its type is not known, {} is needed", kind.words()))),
    }
    if bytes.len() != len {
        return Err(Error::input(format!("key: {} bytes, {} has {len}", bytes.len(), kind.words())));
    }
    Ok(&bytes[PREFIX_LEN..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_row() {
        for (at, (kind, prefix, words)) in TABLE.iter().enumerate() {
            assert_eq!(*kind as usize, at, "{words}");
            assert_eq!(Kind::of(prefix), Some(*kind));
            assert!(TABLE[..at].iter().all(|row| row.1 != *prefix && row.2 != *words), "{words}");
        }
    }

    #[test]
    fn a_key_of_another_kind_is_refused_with_the_reason() {
        let key = encode(Kind::BlsPublic, &[7; 96]);
        assert_eq!(decode(Kind::BlsPublic, &key, 98).unwrap(), [7; 96]);
        for (bytes, word) in [
            (&key[..], "it is a BLS public key, a public key of threshold encryption is needed"),
            (b"??", "not known"),
            (b"t", "not known"),
            (b"", "not known"),
            (b"tp123", "5 bytes, a public key of threshold encryption has 34"),
        ] {
            let message = decode(Kind::Tdh2Public, bytes, 34).unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
    }
}
