//! A list to which a later version has added something.
//!
//! Records stand inside others without an envelope, and what earlier versions wrote must keep its bytes. So the top bit of
//! the list's length, which no length has, says that the addition follows the list. The envelopes around it still tell the
//! versions apart: a record whose part has the addition is written in its newer version, and read in no other.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::ops::Deref;

use borsh::{BorshDeserialize, BorshSerialize};

const EXTENDED: u32 = 1 << 31;

/// Writes `list`, whose encoding begins with its length, and `more` after it if it is `there`.
pub(super) fn write<W, L, M>(writer: &mut W, list: &L, more: &M, there: bool) -> Result<()>
where
    W: Write,
    L: BorshSerialize,
    M: BorshSerialize,
{
    if !there {
        return list.serialize(writer);
    }
    let bytes = borsh::to_vec(list)?;
    let Some((length, items)) = bytes.split_first_chunk::<4>() else {
        return Err(Error::new(ErrorKind::InvalidData, "a list without a length"));
    };
    (u32::from_le_bytes(*length) | EXTENDED).serialize(writer)?;
    writer.write_all(items)?;
    more.serialize(writer)
}

/// Reads a list and what follows it; `None` if nothing does.
pub(super) fn read<R, L, M>(reader: &mut R) -> Result<(L, Option<M>)>
where
    R: Read,
    L: BorshDeserialize,
    M: BorshDeserialize + Deref<Target = [u8]>,
{
    let length = u32::deserialize_reader(reader)?;
    let bytes = (length & !EXTENDED).to_le_bytes();
    let list = L::deserialize_reader(&mut bytes.as_slice().chain(&mut *reader))?;
    if length & EXTENDED == 0 {
        return Ok((list, None));
    }
    let more = M::deserialize_reader(reader)?;
    if more.is_empty() {
        return Err(Error::new(ErrorKind::InvalidData, "an addition is announced, but it is empty"));
    }
    Ok((list, Some(more)))
}
