//! A sealed payload: what a transaction carries so that its holders keep what they cannot read.
//!
//! A payload is sealed when its transaction is made: the id is the hash of the sealed bytes, so whoever holds, checks or
//! repairs the transaction needs no key. It is sealed to one of two:
//!
//! - **the city**, by threshold encryption ([`tdh2`]) under the label of (network, sender, sequence). The
//!   [`Manifest`] names the hash of the capsule. A delegate gives a decryption share only for what is committed and
//!   computes the label from the manifest, so a ciphertext copied into another's transaction does not open;
//! - **named readers**: a fresh content key encrypts the payload once, and is wrapped for every reader (KEM, then a KDF
//!   over all that says for whom and for what, then the data encapsulation). The whole header, with all recipients, is
//!   associated data of the body.
//!
//! What is not hidden: who sends, how long the payload is, and the readers' ids, which are hashes of their public keys.

use borsh::{BorshDeserialize, BorshSerialize};
use zeroize::Zeroizing;

use super::Key;
use super::manifest::{Cipher, Manifest};
use super::transaction::{PAYLOAD_MAX, Transaction};
use crate::algorithms::tes::tdh2;
use crate::crypto::dem;
use crate::crypto::hash::{self, Digest, Hasher, hex};
use crate::crypto::kem::{self, PublicKey, SecretKey, Suite};
use crate::error::{Error, Result};
use crate::primitives::wire::{self, Bytes, List, Record};

/// The most readers that a payload may be sealed to.
pub const READERS_MAX: usize = 64;

/// The most bytes of a KEM's ciphertext.
pub const ENCAPSULATION_MAX: usize = 2048;

/// Bytes of a wrapped content key.
pub const WRAPPED_LEN: usize = 32 + dem::TAG_LEN;

const CONTEXT_LABEL: &str = "city-chain v1 sealed label";
const CONTEXT_CAPSULE: &str = "city-chain v1 sealed capsule";
const CONTEXT_RECIPIENT: &str = "city-chain v1 sealed recipient";
const CONTEXT_WRAPPING: &str = "city-chain v1 sealed wrapping key";
const CONTEXT_CONTENT: &str = "city-chain v1 sealed content";
const CONTEXT_KEY: &str = "city-chain v1 sealed content key";

/// The readers that payloads are sealed to: 1 to [`READERS_MAX`], distinct.
pub struct Readers(Vec<(Digest, PublicKey)>);

impl Readers {
    /// Reads the public keys (typed bytes), in any order.
    pub fn new(keys: &[&[u8]]) -> Result<Self> {
        if keys.is_empty() || keys.len() > READERS_MAX {
            return Err(Error::input(format!(
                "sealed payload: {} readers, 1 to {READERS_MAX} are allowed",
                keys.len()
            )));
        }
        let mut readers = keys
            .iter()
            .map(|key| PublicKey::from_bytes(key).map(|reader| (reader.id(), reader)))
            .collect::<Result<Vec<_>>>()?;
        readers.sort_unstable_by_key(|(id, _)| *id);
        if let Some(twice) = readers.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Error::input(format!("sealed payload: reader {} is named twice", hex(&twice[0].0))));
        }
        Ok(Self(readers))
    }

    /// What sealing to them adds to a payload.
    fn overhead(&self) -> usize {
        let each = |(_, reader): &(Digest, PublicKey)| 32 + 1 + 4 + kem::ciphertext_len(reader.suite()) + WRAPPED_LEN;
        HEAD_LEN + 4 + self.0.iter().map(each).sum::<usize>() + dem::TAG_LEN
    }
}

/// Which transaction a payload is sealed for. Nobody else's carries it, nor another of the same sender's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Origin {
    /// The network.
    pub network: Digest,
    /// The sender's public signing key.
    pub sender: Key,
    /// The transaction's running number.
    pub sequence: u64,
}

impl Origin {
    /// That of a transaction.
    pub fn of(transaction: &Transaction) -> Self {
        Self { network: transaction.network, sender: transaction.sender, sequence: transaction.sequence }
    }

    /// The label under which a payload is sealed to the city.
    pub fn label(&self) -> Digest {
        Hasher::new(CONTEXT_LABEL).fixed(&self.network).fixed(&self.sender).u64(self.sequence).finish()
    }
}

/// One reader's way to the content key.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Recipient {
    /// The hash of the reader's public key ([`PublicKey::id`]).
    pub reader: Digest,
    /// The key encapsulation's id ([`suite_id`]).
    pub suite: u8,
    /// What the reader decapsulates.
    pub encapsulation: Bytes<ENCAPSULATION_MAX>,
    /// The content key, sealed under what comes of that.
    pub wrapped: [u8; WRAPPED_LEN],
}

/// To whom a payload is sealed, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Content {
    /// To the city: no fewer than its threshold of delegates open it.
    City {
        /// Capsule and body of [`tdh2`].
        ciphertext: Bytes<PAYLOAD_MAX>,
    } = 1,
    /// To named readers: each of them opens it.
    Readers {
        /// One for every reader, ascending and distinct by id.
        recipients: List<Recipient, READERS_MAX>,
        /// The payload under the content key.
        body: Bytes<PAYLOAD_MAX>,
    } = 2,
}

/// A sealed payload. It is the payload's own encoding: a transaction carries these bytes.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Sealed {
    /// The transaction that it was sealed for.
    pub origin: Origin,
    /// To whom, and what.
    pub content: Content,
}

impl Record for Sealed {
    const TAG: [u8; 4] = *b"CCsl";
    const VERSION: u16 = 1;
    const NAME: &'static str = "sealed payload";
    const LEN_MAX: usize = PAYLOAD_MAX;

    fn check(&self) -> Result<()> {
        match &self.content {
            Content::City { ciphertext } => tdh2::capsule_of(ciphertext).map(|_| ()),
            Content::Readers { recipients, body } => check_readers(recipients, body),
        }
    }
}

fn check_readers(recipients: &[Recipient], body: &[u8]) -> Result<()> {
    if recipients.is_empty() {
        return Err(Error::input("sealed payload: no reader is named, at least 1 is needed"));
    }
    if !recipients.windows(2).all(|pair| pair[0].reader < pair[1].reader) {
        return Err(Error::input("sealed payload: the readers must be ascending and distinct by id"));
    }
    for recipient in recipients {
        let needed = kem::ciphertext_len(suite_of(recipient.suite)?);
        if recipient.encapsulation.len() != needed {
            return Err(Error::input(format!(
                "sealed payload: an encapsulation of {} bytes for reader {}, {needed} are needed",
                recipient.encapsulation.len(),
                hex(&recipient.reader)
            )));
        }
    }
    if body.len() < dem::TAG_LEN {
        return Err(Error::input(format!(
            "sealed payload: a body of {} bytes is shorter than its tag of {}",
            body.len(),
            dem::TAG_LEN
        )));
    }
    Ok(())
}

/// The id of a suite in a record.
pub fn suite_id(suite: Suite) -> u8 {
    match suite {
        Suite::XWing => 1,
        Suite::Sntrup761X25519 => 2,
    }
}

fn suite_of(id: u8) -> Result<Suite> {
    match id {
        1 => Ok(Suite::XWing),
        2 => Ok(Suite::Sntrup761X25519),
        _ => Err(Error::input(format!(
            "sealed payload: key encapsulation {id} is not known, 1 (x-wing) and 2 (sntrup761-x25519) are"
        ))),
    }
}

/// The hash of a capsule, which the manifest of a transaction that is sealed to the city names.
pub fn capsule_hash(capsule: &[u8]) -> Digest {
    hash::digest(CONTEXT_CAPSULE, capsule)
}

impl Sealed {
    /// Seals `plain` to the city whose public encryption key this is.
    pub fn to_city(public: &tdh2::PublicKey, origin: Origin, plain: &[u8]) -> Result<Self> {
        check_room(plain.len(), CITY_OVERHEAD)?;
        let ciphertext = tdh2::encrypt(public, &origin.label(), plain)?;
        Ok(Self { origin, content: Content::City { ciphertext: Bytes::new("sealed payload", ciphertext)? } })
    }

    /// Seals `plain` to the readers of these public keys.
    pub fn to_readers(readers: &Readers, origin: Origin, plain: &[u8]) -> Result<Self> {
        check_room(plain.len(), readers.overhead())?;
        let key = content_key(&origin, plain)?;
        let recipients = readers
            .0
            .iter()
            .map(|(id, reader)| Recipient::new(&origin, *id, reader, &key))
            .collect::<Result<Vec<_>>>()?;
        let header = header(&origin, &recipients)?;
        Ok(Self {
            origin,
            content: Content::Readers {
                recipients: List::new("sealed payload: readers", recipients)?,
                body: Bytes::new("sealed payload", dem::seal(&key, &header, plain))?,
            },
        })
    }

    /// The sealed payload of a transaction: `None` if its payload is none, or one that was sealed for another.
    pub fn of(transaction: &Transaction) -> Option<Self> {
        if !transaction.payload.starts_with(&Self::TAG) {
            return None;
        }
        let sealed: Self = wire::decode(&transaction.payload).ok()?;
        (sealed.origin == Origin::of(transaction)).then_some(sealed)
    }

    /// The sealed payload of a committed transaction as its manifest describes it; `None` if that says it is not sealed.
    pub fn of_committed(manifest: &Manifest, transaction: &Transaction) -> Result<Option<Self>> {
        if manifest.cipher == Cipher::None {
            return Ok(None);
        }
        let sealed = Self::of(transaction).ok_or_else(|| {
            Error::verification("sealed payload: the manifest says that the payload is sealed, and it is not one that was sealed for this transaction")
        })?;
        if sealed.cipher()? != manifest.cipher {
            return Err(Error::verification(
                "sealed payload: it is not sealed as the manifest says: to others, or with another capsule",
            ));
        }
        Ok(Some(sealed))
    }

    /// How a manifest describes it.
    pub fn cipher(&self) -> Result<Cipher> {
        Ok(match self.capsule()? {
            Some(capsule) => Cipher::City { capsule: capsule_hash(capsule) },
            None => Cipher::Readers,
        })
    }

    /// The capsule that delegates need for their shares; `None` if it is sealed to readers.
    pub fn capsule(&self) -> Result<Option<&[u8]>> {
        match &self.content {
            Content::City { ciphertext } => tdh2::capsule_of(ciphertext).map(Some),
            Content::Readers { .. } => Ok(None),
        }
    }

    /// The ids of the readers, ascending; none if it is sealed to the city.
    pub fn readers(&self) -> Vec<Digest> {
        match &self.content {
            Content::City { .. } => Vec::new(),
            Content::Readers { recipients, .. } => recipients.iter().map(|recipient| recipient.reader).collect(),
        }
    }

    /// Opens what is sealed to readers with one reader's key.
    ///
    /// # Errors
    /// [`Error::Input`] if it is not for this reader (the message says for whom), [`Error::Verification`] if it was
    /// changed after it was sealed.
    pub fn open(&self, key: &SecretKey) -> Result<Vec<u8>> {
        let Content::Readers { recipients, body } = &self.content else {
            return Err(Error::input(
                "sealed payload: it is sealed to the city, whose delegates open it together; a reader's key does not",
            ));
        };
        let public = key.public();
        let id = public.id();
        let Ok(at) = recipients.binary_search_by_key(&id, |recipient| recipient.reader) else {
            let named: Vec<String> = recipients.iter().map(|recipient| hex(&recipient.reader)).collect();
            return Err(Error::input(format!(
                "sealed payload: it is not for the key {}; it opens with that of one of these readers: {}",
                hex(&id),
                named.join(", ")
            )));
        };
        let content = recipients[at].unwrap(&self.origin, key)?;
        let header = header(&self.origin, recipients)?;
        dem::open(&content, &header, body)
            .map_err(|_| Error::verification("sealed payload: it was changed after it was sealed"))
    }

    /// Opens what is sealed to the city out of decryption shares (see [`tdh2::combine`]).
    pub fn combine<P: AsRef<[u8]>, S: AsRef<[u8]>>(
        &self,
        public: &tdh2::PublicKey,
        threshold: u16,
        public_shares: &[P],
        shares: &[S],
    ) -> Result<Vec<u8>> {
        tdh2::combine(public, threshold, public_shares, &self.origin.label(), self.ciphertext()?, shares)
    }

    /// Checks decryption shares one by one (see [`tdh2::verify_shares`]).
    pub fn verify_shares<P: AsRef<[u8]>, S: AsRef<[u8]>>(
        &self,
        public: &tdh2::PublicKey,
        public_shares: &[P],
        shares: &[S],
    ) -> Result<Vec<Result<()>>> {
        let (label, capsule) = (self.origin.label(), tdh2::capsule_of(self.ciphertext()?)?);
        tdh2::verify_capsule(public, &label, capsule)?;
        tdh2::verify_shares(public_shares, &label, capsule, shares)
    }

    /// How much there is to encode, roughly in bytes.
    pub fn size(&self) -> usize {
        match &self.content {
            Content::City { ciphertext } => ciphertext.len(),
            Content::Readers { recipients, body } => body.len() + recipients.len() * ENCAPSULATION_MAX,
        }
    }

    fn ciphertext(&self) -> Result<&[u8]> {
        match &self.content {
            Content::City { ciphertext } => Ok(ciphertext),
            Content::Readers { .. } => {
                Err(Error::input("sealed payload: it is sealed to readers, whose keys open it; no city does"))
            }
        }
    }
}

impl Recipient {
    fn new(origin: &Origin, id: Digest, reader: &PublicKey, content: &[u8; 32]) -> Result<Self> {
        let (encapsulation, secret) = reader.encapsulate()?;
        let suite = suite_id(reader.suite());
        let bound = bound(origin, &id, suite, &encapsulation);
        let sealed = dem::seal(&wrapping_key(&secret, &bound), &bound, content);
        let wrapped = sealed.try_into().map_err(|_| Error::input("sealed payload: a wrapped key of another length"))?;
        Ok(Self {
            reader: id,
            suite,
            encapsulation: Bytes::new("sealed payload: encapsulation", encapsulation)?,
            wrapped,
        })
    }

    fn unwrap(&self, origin: &Origin, key: &SecretKey) -> Result<Zeroizing<[u8; 32]>> {
        let wrong = || {
            Error::verification(format!(
                "sealed payload: what is wrapped for reader {} does not open with that reader's key: it was changed",
                hex(&self.reader)
            ))
        };
        if suite_id(key.suite()) != self.suite {
            return Err(wrong());
        }
        let secret = key.decapsulate(&self.encapsulation)?;
        let bound = bound(origin, &self.reader, self.suite, &self.encapsulation);
        let content =
            Zeroizing::new(dem::open(&wrapping_key(&secret, &bound), &bound, &self.wrapped).map_err(|_| wrong())?);
        content.as_slice().try_into().map(Zeroizing::new).map_err(|_| wrong())
    }
}

/// Bytes ahead of everything that varies: envelope, origin, variant and a length.
const HEAD_LEN: usize = wire::ENVELOPE_LEN + 32 + 32 + 8 + 1 + 4;

/// What sealing to the city adds to a payload.
const CITY_OVERHEAD: usize = HEAD_LEN + tdh2::OVERHEAD;

fn check_room(plain: usize, overhead: usize) -> Result<()> {
    if plain > PAYLOAD_MAX - overhead {
        return Err(Error::input(format!(
            "sealed payload: {plain} bytes, and {overhead} for its sealing; together at most {PAYLOAD_MAX} are allowed"
        )));
    }
    Ok(())
}

/// A key that is used once. It hangs on the payload as well, so that a source of randomness that repeats itself gives no
/// two payloads one key.
fn content_key(origin: &Origin, plain: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
    let mut material = Zeroizing::new([0; 64]);
    getrandom::fill(&mut material[..32])
        .map_err(|error| Error::unavailable(format!("randomness of the system ({error})"), 1, 0))?;
    let about = Zeroizing::new(Hasher::new(CONTEXT_CONTENT).fixed(&origin.label()).field(plain).finish());
    material[32..].copy_from_slice(&*about);
    Ok(Zeroizing::new(hash::digest(CONTEXT_KEY, &*material)))
}

/// All that says for whom and for what a content key is wrapped.
fn bound(origin: &Origin, reader: &Digest, suite: u8, encapsulation: &[u8]) -> Digest {
    Hasher::new(CONTEXT_RECIPIENT)
        .fixed(&origin.network)
        .fixed(&origin.sender)
        .u64(origin.sequence)
        .fixed(reader)
        .fixed(&[suite])
        .field(encapsulation)
        .finish()
}

fn wrapping_key(secret: &[u8; 32], bound: &Digest) -> Zeroizing<[u8; 32]> {
    let mut material = Zeroizing::new([0; 64]);
    material[..32].copy_from_slice(secret);
    material[32..].copy_from_slice(bound);
    Zeroizing::new(hash::digest(CONTEXT_WRAPPING, &*material))
}

/// What the body is bound to: everything ahead of it.
fn header(origin: &Origin, recipients: &[Recipient]) -> Result<Vec<u8>> {
    borsh::to_vec(&(origin, recipients)).map_err(|error| Error::input(format!("sealed payload: {error}")))
}

#[cfg(test)]
mod tests;
