//! Key encapsulation: a secret of 32 bytes for the holder of a public key, safe while either of two problems is hard.
//!
//! Two suites, both hybrids of a lattice scheme with X25519. [`Suite::XWing`] is X-Wing (draft-connolly-cfrg-xwing-kem:
//! X25519 and ML-KEM-768 of FIPS 203, combined by SHA3-256), through the crate `x-wing`. [`Suite::Sntrup761X25519`] is
//! Streamlined NTRU Prime with X25519 after draft-ietf-sshm-ntruprime-ssh, and experimental: [`sntrup`] says where it
//! leaves the draft. Neither lattice scheme is offered alone.
//!
//! A secret key is 32 bytes, from which everything else follows. Decapsulating a wrong ciphertext gives another secret and
//! no error (implicit rejection, FIPS 203, section 6.3): what is opened with the secret must be authenticated under it.
//!
//! Beyond the drafts: public keys whose X25519 half is of small order or not canonical are refused, so that a key has one
//! encoding, and so are ciphertexts whose X25519 half gives the secret zero (the X-Wing draft leaves that open).

mod sntrup;
mod x25519;
mod xwing;

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::hash::{self, Digest};
use super::typed::{self, Kind};
use crate::error::{Error, Result};

/// Bytes of a seed.
pub const SEED_LEN: usize = 32;

/// Bytes of a secret.
pub const SECRET_LEN: usize = 32;

const CONTEXT_ID: &str = "city-chain v1 kem public key";

/// Which two schemes are combined, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Suite {
    /// X-Wing: ML-KEM-768 and X25519.
    XWing,
    /// Streamlined NTRU Prime 761 and X25519. Experimental.
    Sntrup761X25519,
}

impl Suite {
    /// The suite of a name, `x-wing` or `sntrup761-x25519`.
    ///
    /// # Errors
    /// [`Error::Input`] if there is none of that name.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "x-wing" => Ok(Self::XWing),
            "sntrup761-x25519" => Ok(Self::Sntrup761X25519),
            _ => Err(Error::input(format!("kem: the suite {name:?}: \"x-wing\" or \"sntrup761-x25519\" is needed"))),
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::XWing => "x-wing",
            Self::Sntrup761X25519 => "sntrup761-x25519",
        }
    }

    const fn secret_kind(self) -> Kind {
        match self {
            Self::XWing => Kind::XWingSecret,
            Self::Sntrup761X25519 => Kind::SntrupSecret,
        }
    }

    const fn public_kind(self) -> Kind {
        match self {
            Self::XWing => Kind::XWingPublic,
            Self::Sntrup761X25519 => Kind::SntrupPublic,
        }
    }
}

/// Bytes of a suite's typed public key.
pub const fn public_len(suite: Suite) -> usize {
    typed::PREFIX_LEN
        + match suite {
            Suite::XWing => xwing::PUBLIC_LEN,
            Suite::Sntrup761X25519 => sntrup::PUBLIC_LEN,
        }
}

/// Bytes of a suite's ciphertext.
pub const fn ciphertext_len(suite: Suite) -> usize {
    match suite {
        Suite::XWing => xwing::CIPHERTEXT_LEN,
        Suite::Sntrup761X25519 => sntrup::CIPHERTEXT_LEN,
    }
}

/// 32 bytes from the operating system.
fn entropy() -> Result<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes)
        .map_err(|error| Error::input(format!("kem: no randomness from the operating system: {error}")))?;
    Ok(bytes)
}

/// A secret key; wiped when it is dropped, and never shown.
pub struct SecretKey {
    seed: Zeroizing<[u8; SEED_LEN]>,
    inner: Secret,
    public: PublicKey,
}

enum Secret {
    XWing(xwing::SecretKey),
    Sntrup(Box<sntrup::SecretKey>),
}

impl SecretKey {
    /// A key from the operating system's randomness.
    ///
    /// # Errors
    /// [`Error::Input`] if the operating system gives no randomness.
    pub fn generate(suite: Suite) -> Result<Self> {
        Self::from_seed(suite, &*entropy()?)
    }

    /// The key of a seed.
    ///
    /// # Errors
    /// [`Error::Input`] if the seed gives an X25519 key that nobody may use, which no random one does.
    pub fn from_seed(suite: Suite, seed: &[u8; SEED_LEN]) -> Result<Self> {
        let (inner, public) = match suite {
            Suite::XWing => {
                let (secret, public) = xwing::SecretKey::from_seed(seed)?;
                (Secret::XWing(secret), Public::XWing(public))
            }
            Suite::Sntrup761X25519 => {
                let (secret, public) = sntrup::SecretKey::from_seed(seed)?;
                (Secret::Sntrup(Box::new(secret)), Public::Sntrup(public))
            }
        };
        Ok(Self { seed: Zeroizing::new(*seed), inner, public: PublicKey::new(public) })
    }

    /// Reads what [`SecretKey::to_bytes`] gave.
    ///
    /// # Errors
    /// [`Error::Input`] if the bytes are of another kind of key, or of another length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let suite = match Kind::of(bytes) {
            Some(Kind::SntrupSecret) => Suite::Sntrup761X25519,
            _ => Suite::XWing,
        };
        let seed = typed::decode(suite.secret_kind(), bytes, typed::PREFIX_LEN + SEED_LEN)?;
        let seed = seed.try_into().map_err(|_| Error::input("kem: a seed has 32 bytes"))?;
        Self::from_seed(suite, seed)
    }

    /// The seed with its prefix.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(typed::encode(self.suite().secret_kind(), &*self.seed))
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        self.public.clone()
    }

    /// The suite.
    pub fn suite(&self) -> Suite {
        self.public.suite()
    }

    /// The secret of a ciphertext. One that was made for another key, or changed, gives a secret that nobody knows.
    ///
    /// # Errors
    /// [`Error::Input`] if the ciphertext has another length, [`Error::Verification`] if its X25519 half gives zero.
    pub fn decapsulate(&self, ciphertext: &[u8]) -> Result<Zeroizing<[u8; SECRET_LEN]>> {
        let needed = ciphertext_len(self.suite());
        if ciphertext.len() != needed {
            let (name, had) = (self.suite().name(), ciphertext.len());
            return Err(Error::input(format!("kem: a ciphertext of {had} bytes, one of {name} has {needed}")));
        }
        match &self.inner {
            Secret::XWing(secret) => secret.decapsulate(ciphertext),
            Secret::Sntrup(secret) => secret.decapsulate(ciphertext),
        }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey of {:?}", self.public)
    }
}

/// A public key, decoded once; copies share it.
#[derive(Clone)]
pub struct PublicKey(Arc<Decoded>);

struct Decoded {
    bytes: Vec<u8>,
    public: Public,
}

enum Public {
    XWing(xwing::PublicKey),
    Sntrup(sntrup::PublicKey),
}

impl PublicKey {
    fn new(public: Public) -> Self {
        let bytes = match &public {
            Public::XWing(key) => typed::encode(Kind::XWingPublic, &key.to_bytes()),
            Public::Sntrup(key) => typed::encode(Kind::SntrupPublic, &key.to_bytes()),
        };
        Self(Arc::new(Decoded { bytes, public }))
    }

    /// Reads typed bytes.
    ///
    /// # Errors
    /// [`Error::Input`] if they are of another kind of key, or of another length; [`Error::Verification`] if a half is not
    /// canonical (FIPS 203, section 7.2) or of small order.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let suite = match Kind::of(bytes) {
            Some(Kind::SntrupPublic) => Suite::Sntrup761X25519,
            _ => Suite::XWing,
        };
        let key = typed::decode(suite.public_kind(), bytes, public_len(suite))?;
        let public = match suite {
            Suite::XWing => Public::XWing(xwing::PublicKey::from_bytes(key)?),
            Suite::Sntrup761X25519 => Public::Sntrup(sntrup::PublicKey::from_bytes(key)?),
        };
        Ok(Self(Arc::new(Decoded { bytes: bytes.to_vec(), public })))
    }

    /// The typed bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// The suite.
    pub fn suite(&self) -> Suite {
        match self.0.public {
            Public::XWing(_) => Suite::XWing,
            Public::Sntrup(_) => Suite::Sntrup761X25519,
        }
    }

    /// A hash that stands for the key.
    pub fn id(&self) -> Digest {
        hash::digest(CONTEXT_ID, &self.0.bytes)
    }

    /// A fresh secret and the ciphertext that carries it to the holder of the secret key.
    ///
    /// # Errors
    /// [`Error::Input`] if the operating system gives no randomness.
    pub fn encapsulate(&self) -> Result<(Vec<u8>, Zeroizing<[u8; SECRET_LEN]>)> {
        match &self.0.public {
            Public::XWing(key) => {
                let (lattice, curve) = (entropy()?, entropy()?);
                Ok(key.encapsulate(&lattice, &curve))
            }
            Public::Sntrup(key) => key.encapsulate(&*entropy()?),
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} public key {}", self.suite().name(), hash::hex(&self.id()))
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.bytes == other.0.bytes
    }
}

impl Eq for PublicKey {}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
