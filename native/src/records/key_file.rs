//! Key files: a secret key at rest, encrypted under a passphrase or plain, and the public key that goes with it.
//!
//! The passphrase is stretched by Argon2id (RFC 9106) with a fresh salt into a key that is used once, and the secret is
//! sealed under it ([`crate::crypto::dem`]) with everything else of the record as associated data: what kind of key it is,
//! its public key and what the stretching costs are as protected as the secret. What a file says of costs is bounded before
//! anything is allocated, so that a hostile file takes a bounded time and memory. A public key carries its hash, so that
//! damage is found when it is read and not when nobody can open what was sealed to it.
//!
//! The secret is always a seed of 32 bytes behind its type ([`crate::crypto::typed`]), and never leaves this crate but into
//! the handles of [`Unlocked`].

use std::fmt;
use std::io::{Read, Write};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use borsh::{BorshDeserialize, BorshSerialize};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::crypto::dem;
use crate::crypto::hash::{Digest, hex};
use crate::crypto::kem;
use crate::crypto::ml_dsa;
use crate::crypto::typed::{self, Kind};

use crate::error::{Error, Result};
use crate::primitives::wire::{self, Bytes, Record};

/// Bytes of the seed that a secret key is.
const SEED_LEN: usize = 32;

/// Bytes of a typed secret.
const SECRET_LEN: usize = typed::PREFIX_LEN + SEED_LEN;

/// The most bytes that a typed public key may have.
const PUBLIC_MAX: usize = 4096;

/// Bytes of the salt.
const SALT_LEN: usize = 32;

/// The most bytes that a passphrase may have.
pub const PASSPHRASE_MAX: usize = 1024;

/// The kinds of keys that files are made of, by name: what its secret and its public key are.
const KINDS: [(&str, Kind, Kind); 5] = [
    ("x-wing", Kind::XWingSecret, Kind::XWingPublic),
    ("sntrup761-x25519", Kind::SntrupSecret, Kind::SntrupPublic),
    ("ml-dsa-44", Kind::MlDsa44Secret, Kind::MlDsa44Public),
    ("ml-dsa-65", Kind::MlDsa65Secret, Kind::MlDsa65Public),
    ("ml-dsa-87", Kind::MlDsa87Secret, Kind::MlDsa87Public),
];

/// What stretching a passphrase costs: the parameters of Argon2id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Cost {
    /// Memory, KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes of the memory.
    pub lanes: u32,
}

impl Default for Cost {
    fn default() -> Self {
        Self { memory_kib: 64 << 10, passes: 3, lanes: 1 }
    }
}

impl Cost {
    /// Refuses what would be no protection, and what would take memory or time without bound.
    pub fn check(&self) -> Result<()> {
        for (what, value, range) in [
            ("memory_kib", self.memory_kib, 8 << 10..=1 << 20),
            ("passes", self.passes, 1..=16),
            ("lanes", self.lanes, 1..=4),
        ] {
            if !range.contains(&value) {
                let (least, most) = range.into_inner();
                return Err(Error::input(format!("key file: {what} is {value}, {least} to {most} are allowed")));
            }
        }
        Ok(())
    }

    /// Argon2id of a passphrase.
    fn stretch(&self, passphrase: &[u8], salt: &[u8; SALT_LEN]) -> Result<Zeroizing<[u8; 32]>> {
        self.check()?;
        let refused = |error| Error::input(format!("key file: Argon2id refuses its parameters: {error}"));
        let params = Params::new(self.memory_kib, self.passes, self.lanes, None).map_err(refused)?;
        let mut memory: Vec<Block> = Vec::new();
        let count = params.block_count();
        memory.try_reserve_exact(count).map_err(|_| {
            Error::unavailable("key file: MiB of memory for Argon2id", u64::from(self.memory_kib >> 10), 0)
        })?;
        memory.resize(count, Block::default());
        let mut key = Zeroizing::new([0; 32]);
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let made = argon.hash_password_into_with_memory(passphrase, salt, key.as_mut(), &mut memory);
        memory.iter_mut().for_each(Zeroize::zeroize);
        made.map_err(refused)?;
        Ok(key)
    }
}

/// A public key for a file: typed bytes and their hash.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PublicKeyFile {
    bytes: Bytes<PUBLIC_MAX>,
    id: Digest,
}

impl Record for PublicKeyFile {
    const TAG: [u8; 4] = *b"CCpk";
    const VERSION: u16 = 1;
    const NAME: &'static str = "public key file";
    const LEN_MAX: usize = wire::ENVELOPE_LEN + 4 + PUBLIC_MAX + 32;

    fn check(&self) -> Result<()> {
        if self.id != id_of(&self.bytes).map_err(|error| Error::input(error.to_string()))? {
            return Err(Error::input("public key: the bytes do not have the hash that stands beside them"));
        }
        Ok(())
    }
}

impl PublicKeyFile {
    /// Wraps typed bytes of a public key.
    pub fn new(bytes: &[u8]) -> Result<Self> {
        let id = id_of(bytes)?;
        Ok(Self { bytes: Bytes::new("public key", bytes.to_vec())?, id })
    }

    /// The typed bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The hash of the typed bytes, by which the key is called.
    pub fn id(&self) -> Digest {
        self.id
    }

    /// What kind of key it is: its name and its types, which [`id_of`] has found.
    fn row(&self) -> &'static (&'static str, Kind, Kind) {
        let kind = Kind::of(&self.bytes);
        KINDS.iter().find(|row| Some(row.2) == kind).unwrap_or(&KINDS[0])
    }

    /// The name of its kind.
    pub fn kind(&self) -> &'static str {
        self.row().0
    }
}

/// What typed key bytes say they are, in words, if their length goes with it; nothing else is looked at.
pub fn words_of(bytes: &[u8]) -> Option<&'static str> {
    let kind = Kind::of(bytes)?;
    let fits = match (kind, bytes.len() - typed::PREFIX_LEN) {
        (Kind::XWingPublic, len) => len == 1216,
        (Kind::SntrupPublic, len) => len == 1190,
        (Kind::MlDsa44Public, len) => len == 1312,
        (Kind::MlDsa65Public, len) => len == 1952,
        (Kind::MlDsa87Public, len) => len == 2592,
        // BLS keys are in G2; a coin is of ristretto255 or of BLS; shares have an index before them.
        (Kind::BlsPublic, len) => len == 96,
        (Kind::BlsPublicShare, len) => len == 98,
        (Kind::Tdh2Public, len) => len == 32,
        (Kind::Tdh2PublicShare, len) => len == 34,
        (Kind::CoinPublic, len) => matches!(len, 32 | 96),
        (Kind::CoinPublicShare, len) => matches!(len, 34 | 98),
        (Kind::BlsSecretShare | Kind::Tdh2SecretShare | Kind::CoinSecretShare, len) => len == 34,
        (_, len) => len == 32,
    };
    fits.then(|| kind.words())
}

/// The id of the typed bytes of a public key, which must be a key of one of [`KINDS`].
fn id_of(bytes: &[u8]) -> Result<Digest> {
    match Kind::of(bytes) {
        Some(Kind::XWingPublic | Kind::SntrupPublic) => Ok(kem::PublicKey::from_bytes(bytes)?.id()),
        Some(Kind::MlDsa44Public | Kind::MlDsa65Public | Kind::MlDsa87Public) => {
            Ok(ml_dsa::PublicKey::from_bytes(bytes)?.id())
        }
        Some(other) => Err(Error::input(format!("public key: it is {}, which has no file", other.words()))),
        None => Err(Error::input("public key: its type is not known")),
    }
}

/// A secret of a file: wiped when it goes, compared in constant time, shown nowhere.
struct Secret(Zeroizing<Vec<u8>>);

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(&other.0).into()
    }
}

impl BorshSerialize for Secret {
    fn serialize<W: Write>(&self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(&self.0)
    }
}

/// Reads the bytes of a secret, whose length the protection says.
fn read_secret<R: Read>(reader: &mut R, len: usize) -> std::io::Result<Secret> {
    let mut bytes = Zeroizing::new(vec![0; len]);
    reader.read_exact(&mut bytes)?;
    Ok(Secret(bytes))
}

/// How a secret is kept.
#[derive(PartialEq, BorshSerialize)]
enum Protection {
    /// As it is.
    Plain(Secret),
    /// Sealed under a passphrase.
    Argon2id { cost: Cost, salt: [u8; SALT_LEN], sealed: Secret },
}

impl BorshDeserialize for Protection {
    fn deserialize_reader<R: Read>(reader: &mut R) -> std::io::Result<Self> {
        match u8::deserialize_reader(reader)? {
            0 => Ok(Self::Plain(read_secret(reader, SECRET_LEN)?)),
            1 => {
                let cost = Cost::deserialize_reader(reader)?;
                let salt = <[u8; SALT_LEN]>::deserialize_reader(reader)?;
                Ok(Self::Argon2id { cost, salt, sealed: read_secret(reader, SECRET_LEN + dem::TAG_LEN)? })
            }
            other => {
                let message = format!("protection {other} is not known, 0 (none) and 1 (Argon2id) are");
                Err(std::io::Error::new(std::io::ErrorKind::InvalidData, message))
            }
        }
    }
}

/// A secret key as a file holds it.
#[derive(PartialEq, BorshSerialize, BorshDeserialize)]
pub struct KeyFile {
    public: PublicKeyFile,
    protection: Protection,
}

impl Record for KeyFile {
    const TAG: [u8; 4] = *b"CCkf";
    const VERSION: u16 = 1;
    const NAME: &'static str = "key file";
    const LEN_MAX: usize = PublicKeyFile::LEN_MAX + 256;

    fn check(&self) -> Result<()> {
        self.public.check()?;
        match &self.protection {
            Protection::Plain(secret) => typed::decode(self.public.row().1, &secret.0, SECRET_LEN).map(drop),
            Protection::Argon2id { cost, .. } => cost.check(),
        }
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.cost().is_some() { "encrypted" } else { "not encrypted" };
        write!(f, "KeyFile({} {}…, {how})", self.public.kind(), hex(&self.public.id[..4]))
    }
}

/// A key that a file held.
pub enum Unlocked {
    /// It opens what was sealed to its public key.
    Kem(kem::SecretKey),
    /// It signs.
    Signing(ml_dsa::SigningKey),
}

impl Unlocked {
    fn from_seed(public: Kind, seed: &[u8; SEED_LEN]) -> Result<Self> {
        match public {
            Kind::XWingPublic => kem::SecretKey::from_seed(kem::Suite::XWing, seed).map(Self::Kem),
            Kind::SntrupPublic => kem::SecretKey::from_seed(kem::Suite::Sntrup761X25519, seed).map(Self::Kem),
            Kind::MlDsa44Public => Ok(Self::Signing(ml_dsa::SigningKey::from_seed(ml_dsa::Parameters::MlDsa44, seed))),
            Kind::MlDsa65Public => Ok(Self::Signing(ml_dsa::SigningKey::from_seed(ml_dsa::Parameters::MlDsa65, seed))),
            Kind::MlDsa87Public => Ok(Self::Signing(ml_dsa::SigningKey::from_seed(ml_dsa::Parameters::MlDsa87, seed))),
            other => Err(Error::input(format!("key file: there is none of {}", other.words()))),
        }
    }

    /// The typed bytes of the public key.
    pub fn public(&self) -> Vec<u8> {
        match self {
            Self::Kem(key) => key.public().as_bytes().to_vec(),
            Self::Signing(key) => key.public().as_bytes().to_vec(),
        }
    }
}

impl KeyFile {
    /// Draws a new key.
    ///
    /// # Arguments
    /// * `kind` - the name of its kind.
    /// * `passphrase` - what it is encrypted under; `None` leaves it plain.
    /// * `cost` - what stretching the passphrase costs.
    ///
    /// # Errors
    /// [`Error::Input`] if the kind is not known, the passphrase is empty or too long, or a cost is out of bounds;
    /// [`Error::Unavailable`] if the system gives no random bytes, or no memory.
    pub fn generate(kind: &str, passphrase: Option<&[u8]>, cost: &Cost) -> Result<Self> {
        let Some((_, secret, public)) = KINDS.iter().find(|row| row.0 == kind) else {
            let names = KINDS.map(|row| row.0).join(", ");
            return Err(Error::input(format!("key file: there is no kind {kind:?}; {names} are known")));
        };
        if let Some(passphrase) = passphrase {
            check_passphrase(passphrase)?;
            cost.check()?;
        }
        let mut seed = Zeroizing::new([0; SEED_LEN]);
        draw(seed.as_mut())?;
        let public = PublicKeyFile::new(&Unlocked::from_seed(*public, &seed)?.public())?;
        let secret = Zeroizing::new(typed::encode(*secret, seed.as_ref()));
        let Some(passphrase) = passphrase else {
            return Ok(Self { public, protection: Protection::Plain(Secret(secret)) });
        };
        let mut salt = [0; SALT_LEN];
        draw(&mut salt)?;
        let key = cost.stretch(passphrase, &salt)?;
        let sealed = dem::seal(&key, &associated(&public, cost, &salt)?, &secret);
        let sealed = Secret(Zeroizing::new(sealed));
        Ok(Self { public, protection: Protection::Argon2id { cost: *cost, salt, sealed } })
    }

    /// The public key.
    pub fn public(&self) -> &PublicKeyFile {
        &self.public
    }

    /// What stretching its passphrase costs; `None` if the secret is plain.
    pub fn cost(&self) -> Option<&Cost> {
        match &self.protection {
            Protection::Plain(_) => None,
            Protection::Argon2id { cost, .. } => Some(cost),
        }
    }

    /// The bytes of the file, wiped when they go: those of a plain one hold the secret.
    pub fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>> {
        wire::encode(self).map(Zeroizing::new) // the secret stands last: no copy of it is left where the bytes grew
    }

    /// The key that opens what was sealed to the public key.
    ///
    /// # Errors
    /// [`Error::Input`] if it is a key that signs, or as [`KeyFile::unlock`].
    pub fn unlock_kem(&self, passphrase: Option<&[u8]>) -> Result<kem::SecretKey> {
        if matches!(self.public.row().2, Kind::XWingPublic | Kind::SntrupPublic)
            && let Unlocked::Kem(key) = self.unlock(passphrase)?
        {
            return Ok(key);
        }
        Err(Error::input(format!(
            "key file: its key is of kind {} and signs; one that opens is needed: x-wing or sntrup761-x25519",
            self.public.kind()
        )))
    }

    /// The key that signs.
    ///
    /// # Errors
    /// [`Error::Input`] if it is a key that opens what is sealed, or as [`KeyFile::unlock`].
    pub fn unlock_signing(&self, passphrase: Option<&[u8]>) -> Result<ml_dsa::SigningKey> {
        if !matches!(self.public.row().2, Kind::XWingPublic | Kind::SntrupPublic)
            && let Unlocked::Signing(key) = self.unlock(passphrase)?
        {
            return Ok(key);
        }
        Err(Error::input(format!(
            "key file: its key is of kind {} and opens what is sealed; one that signs is needed: ml-dsa-44, ml-dsa-65 or \
             ml-dsa-87",
            self.public.kind()
        )))
    }

    /// The key, whichever it is.
    ///
    /// # Errors
    /// [`Error::Input`] if a passphrase is needed and missing, or given and not needed; [`Error::Verification`] if it is
    /// wrong or the file was changed (which of the two, nobody can tell); [`Error::Unavailable`] if memory is short.
    pub fn unlock(&self, passphrase: Option<&[u8]>) -> Result<Unlocked> {
        let opened;
        let secret = match (&self.protection, passphrase) {
            (Protection::Plain(secret), None) => &secret.0,
            (Protection::Plain(_), Some(_)) => {
                return Err(Error::input("key file: it is not encrypted; a passphrase is given, and none is needed"));
            }
            (Protection::Argon2id { .. }, None) => {
                return Err(Error::input("key file: it is encrypted; its passphrase is needed"));
            }
            (Protection::Argon2id { cost, salt, sealed }, Some(passphrase)) => {
                check_passphrase(passphrase)?;
                let key = cost.stretch(passphrase, salt)?;
                opened = open(&self.public, cost, salt, sealed, &key)?;
                &opened
            }
        };
        let (_, secret_kind, public_kind) = self.public.row();
        let mut seed = Zeroizing::new([0; SEED_LEN]);
        seed.copy_from_slice(typed::decode(*secret_kind, secret, SECRET_LEN)?);
        let key = Unlocked::from_seed(*public_kind, &seed)?;
        if key.public() != self.public.as_bytes() {
            return Err(Error::verification("key file: the secret key is not that of its public key"));
        }
        Ok(key)
    }
}

/// The typed secret that was sealed under `key`.
fn open(
    public: &PublicKeyFile,
    cost: &Cost,
    salt: &[u8; SALT_LEN],
    sealed: &Secret,
    key: &[u8; 32],
) -> Result<Zeroizing<Vec<u8>>> {
    let wrong = |_| Error::verification("key file: wrong passphrase, or the file was changed");
    dem::open(key, &associated(public, cost, salt)?, &sealed.0).map(Zeroizing::new).map_err(wrong)
}

/// What is authenticated beside the secret: all that stands before it.
fn associated(public: &PublicKeyFile, cost: &Cost, salt: &[u8; SALT_LEN]) -> Result<Vec<u8>> {
    borsh::to_vec(&(KeyFile::TAG, KeyFile::VERSION, public, cost, salt))
        .map_err(|error| Error::input(format!("{}: {error}", KeyFile::NAME)))
}

fn check_passphrase(passphrase: &[u8]) -> Result<()> {
    if passphrase.is_empty() || passphrase.len() > PASSPHRASE_MAX {
        let len = passphrase.len();
        return Err(Error::input(format!("key file: a passphrase of {len} bytes, 1 to {PASSPHRASE_MAX} are needed")));
    }
    Ok(())
}

fn draw(bytes: &mut [u8]) -> Result<()> {
    let len = bytes.len() as u64;
    getrandom::fill(bytes).map_err(|error| Error::unavailable(format!("random bytes of the system ({error})"), len, 0))
}

#[cfg(test)]
mod tests;
