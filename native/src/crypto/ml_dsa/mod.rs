//! ML-DSA signatures (FIPS 204), through the crate `ml-dsa`: the three parameter sets, hedged, with a context.
//!
//! A signing key is stored as its seed of 32 bytes (ξ of algorithm 1) and kept expanded while it is in use. Signing is the
//! randomised variant (algorithm 2): the nonce is a hash of the key, the message and 32 fresh bytes from the operating
//! system, so that neither a bad source of randomness nor a fault that repeats gives the key away.
//!
//! Narrower than the standard: the context must not be empty, so that a signature for one use is none for another. The
//! pre-hashed variant and expanded secret keys from elsewhere are not offered. Dilithium of the third round is another
//! scheme: its keys and signatures have other bytes, and are refused or do not verify.

use std::fmt;
use std::sync::Arc;

use ml_dsa::signature::Keypair;
use ml_dsa::signature::rand_core::{TryCryptoRng, TryRng};
use ml_dsa::{KeyInit, MlDsa44, MlDsa65, MlDsa87};
use zeroize::{Zeroize, Zeroizing};

use super::hash::{self, Digest};
use super::typed::{self, Kind};
use crate::error::{Error, Result};

/// Bytes of a seed.
pub const SEED_LEN: usize = 32;

/// The longest context.
pub const CONTEXT_MAX: usize = 255;

const CONTEXT_ID: &str = "city-chain v1 ml-dsa public key";

/// A parameter set of FIPS 204, table 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Parameters {
    /// Category 2: as hard as finding a collision of SHA-256.
    MlDsa44,
    /// Category 3: as hard as searching for a key of AES-192.
    MlDsa65,
    /// Category 5: as hard as searching for a key of AES-256.
    MlDsa87,
}

impl Parameters {
    /// The set of a name, `ml-dsa-44`, `ml-dsa-65` or `ml-dsa-87`.
    ///
    /// # Errors
    /// [`Error::Input`] if there is none of that name.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "ml-dsa-44" => Ok(Self::MlDsa44),
            "ml-dsa-65" => Ok(Self::MlDsa65),
            "ml-dsa-87" => Ok(Self::MlDsa87),
            _ => Err(Error::input(format!(
                "ml-dsa: the parameters {name:?}: \"ml-dsa-44\", \"ml-dsa-65\" or \"ml-dsa-87\" are needed"
            ))),
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MlDsa44 => "ml-dsa-44",
            Self::MlDsa65 => "ml-dsa-65",
            Self::MlDsa87 => "ml-dsa-87",
        }
    }

    /// Bytes of a typed public key.
    pub const fn public_len(self) -> usize {
        typed::PREFIX_LEN
            + match self {
                Self::MlDsa44 => 1312,
                Self::MlDsa65 => 1952,
                Self::MlDsa87 => 2592,
            }
    }

    /// Bytes of a signature.
    pub const fn signature_len(self) -> usize {
        match self {
            Self::MlDsa44 => 2420,
            Self::MlDsa65 => 3309,
            Self::MlDsa87 => 4627,
        }
    }

    const fn secret_kind(self) -> Kind {
        match self {
            Self::MlDsa44 => Kind::MlDsa44Secret,
            Self::MlDsa65 => Kind::MlDsa65Secret,
            Self::MlDsa87 => Kind::MlDsa87Secret,
        }
    }

    const fn public_kind(self) -> Kind {
        match self {
            Self::MlDsa44 => Kind::MlDsa44Public,
            Self::MlDsa65 => Kind::MlDsa65Public,
            Self::MlDsa87 => Kind::MlDsa87Public,
        }
    }
}

/// One of three of a generic type, and an expression for each.
macro_rules! each {
    ($value:expr, $name:ident => $body:expr) => {
        match $value {
            Of::Set44($name) => $body,
            Of::Set65($name) => $body,
            Of::Set87($name) => $body,
        }
    };
}

enum Of<A, B, C> {
    Set44(A),
    Set65(B),
    Set87(C),
}

type Secret = Of<ml_dsa::SigningKey<MlDsa44>, ml_dsa::SigningKey<MlDsa65>, ml_dsa::SigningKey<MlDsa87>>;
type Public = Of<ml_dsa::VerifyingKey<MlDsa44>, ml_dsa::VerifyingKey<MlDsa65>, ml_dsa::VerifyingKey<MlDsa87>>;

/// 32 bytes from the operating system.
fn entropy() -> Result<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes)
        .map_err(|error| Error::input(format!("ml-dsa: no randomness from the operating system: {error}")))?;
    Ok(bytes)
}

/// The 32 bytes `rnd` of algorithm 2, drawn before; wiped as they are read.
struct Drawn(Zeroizing<[u8; 32]>);

impl TryRng for Drawn {
    type Error = NotThat;

    fn try_next_u32(&mut self) -> std::result::Result<u32, NotThat> {
        Err(NotThat)
    }

    fn try_next_u64(&mut self) -> std::result::Result<u64, NotThat> {
        Err(NotThat)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> std::result::Result<(), NotThat> {
        if out.len() != self.0.len() {
            return Err(NotThat);
        }
        out.copy_from_slice(&*self.0);
        self.0.zeroize();
        Ok(())
    }
}

impl TryCryptoRng for Drawn {}

/// Something else was asked for than `rnd`.
#[derive(Debug)]
struct NotThat;

impl fmt::Display for NotThat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("32 bytes at once are all there is")
    }
}

impl std::error::Error for NotThat {}

/// A secret signing key, expanded once; wiped when it is dropped, and never shown.
pub struct SigningKey {
    parameters: Parameters,
    inner: Secret,
    public: PublicKey,
}

impl SigningKey {
    /// A key from the operating system's randomness.
    ///
    /// # Errors
    /// [`Error::Input`] if the operating system gives no randomness.
    pub fn generate(parameters: Parameters) -> Result<Self> {
        Ok(Self::from_seed(parameters, &*entropy()?))
    }

    /// The key of a seed (algorithm 6).
    pub fn from_seed(parameters: Parameters, seed: &[u8; SEED_LEN]) -> Self {
        let inner = match parameters {
            Parameters::MlDsa44 => Of::Set44(ml_dsa::SigningKey::from_seed(seed.into())),
            Parameters::MlDsa65 => Of::Set65(ml_dsa::SigningKey::from_seed(seed.into())),
            Parameters::MlDsa87 => Of::Set87(ml_dsa::SigningKey::from_seed(seed.into())),
        };
        let public = match &inner {
            Of::Set44(key) => Of::Set44(key.verifying_key()),
            Of::Set65(key) => Of::Set65(key.verifying_key()),
            Of::Set87(key) => Of::Set87(key.verifying_key()),
        };
        let bytes = each!(&public, key => typed::encode(parameters.public_kind(), &key.encode()));
        let public = PublicKey(Arc::new(Decoded { parameters, bytes, key: public }));
        Self { parameters, inner, public }
    }

    /// Reads what [`SigningKey::to_bytes`] gave.
    ///
    /// # Errors
    /// [`Error::Input`] if the bytes are of another kind of key, or of another length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let parameters = match Kind::of(bytes) {
            Some(Kind::MlDsa44Secret) => Parameters::MlDsa44,
            Some(Kind::MlDsa87Secret) => Parameters::MlDsa87,
            _ => Parameters::MlDsa65,
        };
        let seed = typed::decode(parameters.secret_kind(), bytes, typed::PREFIX_LEN + SEED_LEN)?;
        let seed = seed.try_into().map_err(|_| Error::input("ml-dsa: a seed has 32 bytes"))?;
        Ok(Self::from_seed(parameters, seed))
    }

    /// The seed with its prefix.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(each!(&self.inner, key => typed::encode(self.parameters.secret_kind(), key.as_seed())))
    }

    /// The parameter set.
    pub fn parameters(&self) -> Parameters {
        self.parameters
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        self.public.clone()
    }

    /// Signs `message` for the use that `context` names.
    ///
    /// # Errors
    /// [`Error::Input`] if the context is empty or of more than 255 bytes, or if the operating system gives no randomness.
    pub fn sign(&self, context: &[u8], message: &[u8]) -> Result<Vec<u8>> {
        check_context(context)?;
        self.sign_with(context, message, entropy()?)
    }

    /// Algorithm 2 with the given `rnd`.
    fn sign_with(&self, context: &[u8], message: &[u8], rnd: Zeroizing<[u8; 32]>) -> Result<Vec<u8>> {
        let mut rnd = Drawn(rnd);
        // Beside a context that is too long, what can fail is a bounded search that succeeds in a few steps of its thousands.
        let failed = |_| Error::input(format!("ml-dsa: no signature for a context of {} bytes", context.len()));
        each!(&self.inner, key => {
            let signature = key.expanded_key().sign_randomized(message, context, &mut rnd).map_err(failed)?;
            Ok(signature.encode().to_vec())
        })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey of {:?}", self.public)
    }
}

/// A public key, expanded once; copies share it.
#[derive(Clone)]
pub struct PublicKey(Arc<Decoded>);

struct Decoded {
    parameters: Parameters,
    bytes: Vec<u8>,
    key: Public,
}

impl PublicKey {
    /// Reads typed bytes. Every byte string of the right length is a key.
    ///
    /// # Errors
    /// [`Error::Input`] if they are of another kind of key, or of another length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let parameters = match Kind::of(bytes) {
            Some(Kind::MlDsa44Public) => Parameters::MlDsa44,
            Some(Kind::MlDsa87Public) => Parameters::MlDsa87,
            _ => Parameters::MlDsa65,
        };
        let key = typed::decode(parameters.public_kind(), bytes, parameters.public_len())?;
        let length = |_| Error::input("ml-dsa: the public key's length");
        let key = match parameters {
            Parameters::MlDsa44 => Of::Set44(ml_dsa::VerifyingKey::new_from_slice(key).map_err(length)?),
            Parameters::MlDsa65 => Of::Set65(ml_dsa::VerifyingKey::new_from_slice(key).map_err(length)?),
            Parameters::MlDsa87 => Of::Set87(ml_dsa::VerifyingKey::new_from_slice(key).map_err(length)?),
        };
        Ok(Self(Arc::new(Decoded { parameters, bytes: bytes.to_vec(), key })))
    }

    /// The typed bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// The parameter set.
    pub fn parameters(&self) -> Parameters {
        self.0.parameters
    }

    /// A hash that stands for the key.
    pub fn id(&self) -> Digest {
        hash::digest(CONTEXT_ID, &self.0.bytes)
    }

    /// Checks a signature of `message` for the use that `context` names (algorithm 3).
    ///
    /// # Errors
    /// [`Error::Input`] if the context is empty or of more than 255 bytes, or the signature has another length;
    /// [`Error::Verification`] if it is not canonically encoded, or does not fit.
    pub fn verify(&self, context: &[u8], message: &[u8], signature: &[u8]) -> Result<()> {
        check_context(context)?;
        self.verify_in(context, message, signature)
    }

    /// [`PublicKey::verify`] with any context.
    fn verify_in(&self, context: &[u8], message: &[u8], signature: &[u8]) -> Result<()> {
        let parameters = self.0.parameters;
        if signature.len() != parameters.signature_len() {
            let (name, had, needed) = (parameters.name(), signature.len(), parameters.signature_len());
            return Err(Error::input(format!("ml-dsa: a signature of {had} bytes, one of {name} has {needed}")));
        }
        each!(&self.0.key, key => {
            let signature = signature
                .try_into()
                .map_err(|_| Error::verification("ml-dsa: the signature is not canonically encoded"))?;
            if key.verify_with_context(message, context, &signature) {
                return Ok(());
            }
            Err(Error::verification("ml-dsa: the signature does not fit key, context and message"))
        })
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} public key {}", self.0.parameters.name(), hash::hex(&self.id()))
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.bytes == other.0.bytes
    }
}

impl Eq for PublicKey {}

fn check_context(context: &[u8]) -> Result<()> {
    if context.is_empty() || context.len() > CONTEXT_MAX {
        let had = context.len();
        return Err(Error::input(format!("ml-dsa: a context of {had} bytes, 1 to {CONTEXT_MAX} are needed")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
