//! The one codec: borsh with an envelope and limits.
//!
//! Little-endian, fixed-width integers, u32 length prefixes, one encoding per value, no trailing bytes. Every top-level
//! value ([`Record`]) starts with a four-letter tag and a version, so that no record can be read as another, and has a
//! largest size. Fields of varying length are [`List`], [`Bytes`] or [`Text`], whose cap is checked before anything is allocated; what is
//! allocated ahead of reading is at most 4 KiB, however large the claimed length.

use std::io::{ErrorKind, Read, Write};
use std::ops::Deref;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::error::{Error, Result};

/// Bytes reserved ahead of reading a list.
const RESERVE_BYTES: usize = 4096;

/// Bytes of the envelope: tag (4) and version (u16).
pub const ENVELOPE_LEN: usize = 6;

/// A value with an envelope: everything that is hashed, signed, sent or stored.
pub trait Record: BorshSerialize + BorshDeserialize {
    /// Four ASCII letters that begin every encoding.
    const TAG: [u8; 4];
    /// The version of the encoding; a change of bytes is a new version.
    const VERSION: u16;
    /// What it is, for messages.
    const NAME: &'static str;
    /// The most bytes an encoding may have, envelope included.
    const LEN_MAX: usize;

    /// Checks what the types alone do not; called on every decode, and by constructors.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// The version that this value is written in: an older one where that says all of it, so that what was made by it
    /// stays as it is.
    fn version(&self) -> u16 {
        Self::VERSION
    }

    /// Writes the body in the version of [`Record::version`].
    fn write_body(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
        self.serialize(out)
    }

    /// Reads a body of an older version; `None` where that version is not known.
    fn read_older(_version: u16, _body: &mut &[u8]) -> Option<std::io::Result<Self>> {
        None
    }
}

/// Encodes a record with its envelope.
pub fn encode<R: Record>(record: &R) -> Result<Vec<u8>> {
    record.check()?;
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(&R::TAG);
    out.extend_from_slice(&record.version().to_le_bytes());
    record.write_body(&mut out).map_err(|error| Error::input(format!("{}: {error}", R::NAME)))?;
    if out.len() > R::LEN_MAX {
        return Err(Error::input(format!("{}: {} bytes, at most {} are allowed", R::NAME, out.len(), R::LEN_MAX)));
    }
    Ok(out)
}

/// Decodes a record; the bytes must be exactly one canonical encoding.
pub fn decode<R: Record>(bytes: &[u8]) -> Result<R> {
    if bytes.len() > R::LEN_MAX {
        return Err(Error::input(format!("{}: {} bytes, at most {} are allowed", R::NAME, bytes.len(), R::LEN_MAX)));
    }
    let Some((envelope, body)) = bytes.split_at_checked(ENVELOPE_LEN) else {
        return Err(Error::input(format!(
            "{}: {} bytes are too few for the {ENVELOPE_LEN}-byte envelope",
            R::NAME,
            bytes.len()
        )));
    };
    if envelope[..4] != R::TAG {
        return Err(Error::input(format!(
            "{}: starts with {:?} and not with {:?}",
            R::NAME,
            String::from_utf8_lossy(&envelope[..4]),
            String::from_utf8_lossy(&R::TAG),
        )));
    }
    let version = u16::from_le_bytes([envelope[4], envelope[5]]);
    let record = read_body::<R>(version, body)?;
    record.check()?;
    if record.version() != version {
        return Err(Error::input(format!(
            "{}: version {version} where the value is written in version {}",
            R::NAME,
            record.version()
        )));
    }
    Ok(record)
}

fn read_body<R: Record>(version: u16, body: &[u8]) -> Result<R> {
    let wrong = |error| Error::input(format!("{}: not well-formed: {error}", R::NAME));
    if version == R::VERSION {
        return R::try_from_slice(body).map_err(wrong);
    }
    let mut rest = body;
    let Some(read) = R::read_older(version, &mut rest) else {
        return Err(Error::input(format!("{}: version {version} is not known here, only {} is", R::NAME, R::VERSION)));
    };
    let record = read.map_err(wrong)?;
    if !rest.is_empty() {
        return Err(Error::input(format!("{}: not well-formed: {} bytes are left over", R::NAME, rest.len())));
    }
    Ok(record)
}

/// A sequence of at most `MAX` items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> List<T, MAX> {
    /// Wraps `items`, refusing more than `MAX`; `what` names them in the error.
    pub fn new(what: &str, items: Vec<T>) -> Result<Self> {
        check_count(what, items.len(), MAX)?;
        Ok(Self(items))
    }

    /// The items, owned.
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MAX: usize> Deref for List<T, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: BorshSerialize, const MAX: usize> BorshSerialize for List<T, MAX> {
    fn serialize<W: Write>(&self, writer: &mut W) -> std::io::Result<()> {
        self.0.serialize(writer)
    }
}

impl<T: BorshDeserialize, const MAX: usize> BorshDeserialize for List<T, MAX> {
    fn deserialize_reader<R: Read>(reader: &mut R) -> std::io::Result<Self> {
        let count = read_count(reader, MAX)?;
        let mut items = Vec::with_capacity(count.min(RESERVE_BYTES / size_of::<T>().max(1)));
        for _ in 0..count {
            items.push(T::deserialize_reader(reader)?);
        }
        Ok(Self(items))
    }
}

/// Bytes of varying length, at most `MAX`; encoded like a [`List`] of bytes, read at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bytes<const MAX: usize>(Vec<u8>);

impl<const MAX: usize> Bytes<MAX> {
    /// Wraps `bytes`, refusing more than `MAX`; `what` names them in the error.
    pub fn new(what: &str, bytes: Vec<u8>) -> Result<Self> {
        check_count(what, bytes.len(), MAX)?;
        Ok(Self(bytes))
    }

    /// The bytes, owned.
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

impl<const MAX: usize> Deref for Bytes<MAX> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<const MAX: usize> BorshSerialize for Bytes<MAX> {
    fn serialize<W: Write>(&self, writer: &mut W) -> std::io::Result<()> {
        self.0.serialize(writer)
    }
}

impl<const MAX: usize> BorshDeserialize for Bytes<MAX> {
    fn deserialize_reader<R: Read>(reader: &mut R) -> std::io::Result<Self> {
        let count = read_count(reader, MAX)?;
        let mut bytes = Vec::with_capacity(count.min(RESERVE_BYTES));
        reader.take(count as u64).read_to_end(&mut bytes)?;
        if bytes.len() < count {
            return Err(invalid(format!("{count} bytes are claimed, {} are left", bytes.len())));
        }
        Ok(Self(bytes))
    }
}

/// UTF-8 text of at most `MAX` bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> Text<MAX> {
    /// Wraps `text`, refusing more than `MAX` bytes; `what` names it in the error.
    pub fn new(what: &str, text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        check_count(what, text.len(), MAX)?;
        Ok(Self(text))
    }
}

impl<const MAX: usize> Deref for Text<MAX> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> BorshSerialize for Text<MAX> {
    fn serialize<W: Write>(&self, writer: &mut W) -> std::io::Result<()> {
        self.0.serialize(writer)
    }
}

impl<const MAX: usize> BorshDeserialize for Text<MAX> {
    fn deserialize_reader<R: Read>(reader: &mut R) -> std::io::Result<Self> {
        let bytes = Bytes::<MAX>::deserialize_reader(reader)?.into_vec();
        String::from_utf8(bytes).map(Self).map_err(|error| invalid(format!("text is not UTF-8: {error}")))
    }
}

fn check_count(what: &str, count: usize, max: usize) -> Result<()> {
    if count > max {
        return Err(Error::input(format!("{what}: length {count}, at most {max} is allowed")));
    }
    Ok(())
}

fn read_count<R: Read>(reader: &mut R, max: usize) -> std::io::Result<usize> {
    let count = u32::deserialize_reader(reader)? as usize;
    if count > max {
        return Err(invalid(format!("a length of {count}, at most {max} is allowed")));
    }
    Ok(count)
}

fn invalid(message: String) -> std::io::Error {
    std::io::Error::new(ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, BorshSerialize, BorshDeserialize)]
    struct Sample {
        number: u32,
        bytes: Bytes<8>,
        list: List<u16, 4>,
        text: Text<8>,
    }

    impl Record for Sample {
        const TAG: [u8; 4] = *b"CCxx";
        const VERSION: u16 = 1;
        const NAME: &'static str = "sample";
        const LEN_MAX: usize = 64;
    }

    fn sample() -> Sample {
        Sample {
            number: 7,
            bytes: Bytes::new("bytes", vec![1, 2, 3]).unwrap(),
            list: List::new("list", vec![9, 8]).unwrap(),
            text: Text::new("text", "né").unwrap(),
        }
    }

    #[test]
    fn known_bytes() {
        let expected = "434378780100070000000300000001020302000000090008000300000 06ec3a9".replace(' ', "");
        assert_eq!(hex::encode(encode(&sample()).unwrap()), expected);
        assert_eq!(decode::<Sample>(&hex::decode(expected).unwrap()).unwrap(), sample());
    }

    #[test]
    fn every_truncation_and_extension_is_refused() {
        let bytes = encode(&sample()).unwrap();
        for end in 0..bytes.len() {
            assert!(decode::<Sample>(&bytes[..end]).is_err(), "cut to {end}");
        }
        assert!(decode::<Sample>(&[bytes, vec![0]].concat()).is_err());
    }

    #[test]
    fn envelope_is_checked() {
        let bytes = encode(&sample()).unwrap();
        for (at, value, word) in [(0, b'X', "starts with"), (4, 2, "version 2"), (5, 1, "version 257")] {
            let mut wrong = bytes.clone();
            wrong[at] = value;
            let message = decode::<Sample>(&wrong).unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
        assert!(decode::<Sample>(&[0; 65]).unwrap_err().to_string().contains("at most 64"));
    }

    #[test]
    fn claimed_lengths_are_checked_before_anything_is_allocated() {
        let mut wrong = encode(&sample()).unwrap();
        wrong[10..14].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(decode::<Sample>(&wrong).unwrap_err().to_string().contains("4294967295"));
        wrong[10..14].copy_from_slice(&8u32.to_le_bytes());
        assert!(decode::<Sample>(&wrong).is_err());
        assert!(Bytes::<2>::new("name", vec![0; 3]).unwrap_err().to_string().contains("name: length 3"));
    }
}
