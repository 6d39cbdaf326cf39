//! EC: systematic Reed–Solomon erasure coding. k data fragments and p parity fragments; any k of the n = k + p restore.
//!
//! The code is named by (k, p) alone, never by the CPU, and its id is in every manifest. Offered now is [`Code::Rs16`]:
//! GF(2¹⁶) with an additive FFT (Lin, Chung, Han 2014; "Leopard"), by the crate `reed-solomon-simd`, always at its default
//! rate so that one (k, p) has one set of bytes.
//!
//! Data fragments are views of the input; only what the padding touches is copied. Parity detects nothing: every fragment
//! has a BLAKE3 hash, and a fragment counts only after its hash was checked by the caller. The code's tables (about 8 MiB)
//! are built on first use, in about 10 ms, and not on import.

mod rs16;

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use crate::crypto::hash::{self, Digest};
use crate::error::{Error, Result};

/// The most data and the most parity fragments of `rs16`.
pub const COUNT_MAX: usize = 32_768;

/// The most bytes that can be encoded in one call: 16 GiB.
pub const LENGTH_MAX: u64 = 16 << 30;

/// The most bytes that all fragments of one call may have: 64 GiB.
pub const ENCODED_MAX: u64 = 64 << 30;

/// Bytes from which on fragments are hashed in parallel.
const PARALLEL_MIN: usize = 256 * 1024;

/// The codes that a manifest may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// GF(2¹⁶), FFT; fragments of even size.
    Rs16,
}

impl Code {
    /// The id in a manifest.
    pub fn id(self) -> u8 {
        match self {
            Self::Rs16 => 1,
        }
    }

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs16 => "rs16",
        }
    }
}

/// The code for k data and p parity fragments.
pub fn code_for(k: usize, p: usize) -> Result<Code> {
    if k == 0 || k > COUNT_MAX || p > COUNT_MAX {
        return Err(Error::input(format!(
            "ec: k = {k}, p = {p}: 1 ≤ k ≤ {COUNT_MAX} and 0 ≤ p ≤ {COUNT_MAX} is needed"
        )));
    }
    Ok(Code::Rs16)
}

/// Bytes of every fragment of `length` bytes cut into k: the next even number from length/k, at least 2.
pub fn fragment_len(length: u64, k: usize) -> Result<usize> {
    code_for(k, 0)?;
    if length > LENGTH_MAX {
        return Err(Error::input(format!("ec: a length of {length} bytes, at most {LENGTH_MAX} is allowed")));
    }
    let each = length.div_ceil(k as u64).max(1).next_multiple_of(2);
    usize::try_from(each).map_err(|_| Error::input(format!("ec: fragments of {each} bytes do not fit this machine")))
}

/// An encoded input: n fragments as views.
#[derive(Debug)]
pub struct Encoded<'a> {
    data: &'a [u8],
    k: usize,
    p: usize,
    fragment_len: usize,
    /// The data fragments that are not wholly inside the input, padded with zeros.
    tail: Vec<u8>,
    /// The parity fragments one after another.
    parity: Vec<u8>,
}

impl Encoded<'_> {
    /// How many fragments there are.
    pub fn n(&self) -> usize {
        self.k + self.p
    }

    /// Bytes of every fragment.
    pub fn fragment_len(&self) -> usize {
        self.fragment_len
    }

    /// How many data fragments are views of the input; those after them are padded copies.
    pub fn whole(&self) -> usize {
        self.data.len() / self.fragment_len
    }

    /// The padded copies, one after another.
    pub fn tail(&self) -> &[u8] {
        &self.tail
    }

    /// The parity fragments, one after another.
    pub fn parity(&self) -> &[u8] {
        &self.parity
    }

    /// Fragment `index`; `None` from n on.
    pub fn fragment(&self, index: usize) -> Option<&[u8]> {
        let (size, whole) = (self.fragment_len, self.whole());
        let (buffer, at) = match index {
            _ if index < whole => (self.data, index),
            _ if index < self.k => (self.tail.as_slice(), index - whole),
            _ if index < self.n() => (self.parity.as_slice(), index - self.k),
            _ => return None,
        };
        buffer.get(at * size..(at + 1) * size)
    }

    /// The BLAKE3 hash of every fragment.
    pub fn hashes(&self) -> Vec<Digest> {
        let one = |index: usize| self.fragment(index).map(hash::fragment).unwrap_or_default();
        if self.n() * self.fragment_len >= PARALLEL_MIN {
            (0..self.n()).into_par_iter().map(one).collect()
        } else {
            (0..self.n()).map(one).collect()
        }
    }
}

/// Encodes `data` into k + p fragments.
pub fn encode(data: &[u8], k: usize, p: usize) -> Result<Encoded<'_>> {
    code_for(k, p)?;
    let fragment_len = fragment_len(data.len() as u64, k)?;
    let total = (k + p) as u64 * fragment_len as u64;
    if total > ENCODED_MAX {
        return Err(Error::input(format!(
            "ec: {} fragments of {fragment_len} bytes are {total} bytes, at most {ENCODED_MAX} are allowed",
            k + p
        )));
    }
    let whole = data.len() / fragment_len;
    let mut tail = vec![0; (k - whole) * fragment_len];
    let rest = &data[whole * fragment_len..];
    tail[..rest.len()].copy_from_slice(rest);
    let mut encoded = Encoded { data, k, p, fragment_len, tail, parity: Vec::new() };
    let originals = (0..k).filter_map(|index| encoded.fragment(index));
    encoded.parity = rs16::parity(originals, k, p, fragment_len)?;
    Ok(encoded)
}

fn check_fragments(fragments: &BTreeMap<usize, &[u8]>, k: usize, p: usize, length: u64) -> Result<usize> {
    code_for(k, p)?;
    let size = fragment_len(length, k)?;
    for (index, fragment) in fragments {
        if *index >= k + p {
            return Err(Error::input(format!("ec: fragment {index}: there are only {}", k + p)));
        }
        if fragment.len() != size {
            return Err(Error::input(format!(
                "ec: fragment {index} has {} bytes; {length} bytes in {k} fragments make {size} each",
                fragment.len()
            )));
        }
    }
    if fragments.len() < k {
        return Err(Error::unavailable("ec: fragments", k as u64, fragments.len() as u64));
    }
    Ok(size)
}

/// Restores the input into `out`, which must have exactly `length` bytes, from any k fragments by index.
pub fn decode_into(fragments: &BTreeMap<usize, &[u8]>, k: usize, p: usize, out: &mut [u8]) -> Result<()> {
    let length = out.len();
    let size = check_fragments(fragments, k, p, length as u64)?;
    let missing: Vec<usize> = (0..k).filter(|index| !fragments.contains_key(index)).collect();
    let mut place = |index: usize, fragment: &[u8]| {
        let (from, to) = ((index * size).min(length), ((index + 1) * size).min(length));
        out[from..to].copy_from_slice(&fragment[..to - from]);
    };
    for (index, fragment) in fragments.range(..k) {
        place(*index, fragment);
    }
    if !missing.is_empty() {
        rs16::restore(fragments, k, p, size, &mut place)?;
    }
    Ok(())
}

/// Checks numbers that [`decode_into`] would refuse, before anything is allocated for `length`.
pub fn check(fragments: &BTreeMap<usize, &[u8]>, k: usize, p: usize, length: u64) -> Result<()> {
    check_fragments(fragments, k, p, length).map(drop)
}

/// Restores the input from any k fragments by index.
pub fn decode(fragments: &BTreeMap<usize, &[u8]>, k: usize, p: usize, length: u64) -> Result<Vec<u8>> {
    check(fragments, k, p, length)?;
    let length = usize::try_from(length).map_err(|_| Error::input(format!("ec: {length} bytes do not fit")))?;
    let mut out = vec![0; length];
    decode_into(fragments, k, p, &mut out)?;
    Ok(out)
}

/// Makes the fragments `missing` (data or parity) anew from any k others.
pub fn rebuild(
    fragments: &BTreeMap<usize, &[u8]>,
    missing: &[usize],
    k: usize,
    p: usize,
    length: u64,
) -> Result<BTreeMap<usize, Vec<u8>>> {
    if let Some(index) = missing.iter().find(|index| **index >= k.saturating_add(p)) {
        return Err(Error::input(format!("ec: fragment {index}: there are only {}", k.saturating_add(p))));
    }
    let data = decode(fragments, k, p, length)?;
    let missing: BTreeSet<usize> = missing.iter().copied().collect();
    // Parity is only made if a parity fragment is asked for.
    let p = if missing.iter().any(|index| *index >= k) { p } else { 0 };
    let encoded = encode(&data, k, p)?;
    Ok(missing.into_iter().filter_map(|index| Some((index, encoded.fragment(index)?.to_vec()))).collect())
}

#[cfg(test)]
mod tests;
