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

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::crypto::hash::{self, Digest};
use crate::error::{Error, Result};

/// The most data and the most parity fragments of `rs16`.
pub const COUNT_MAX: usize = 32_768;

/// The most bytes that can be encoded in one call: 16 GiB.
pub const LENGTH_MAX: u64 = 16 << 30;

/// The most bytes of memory that one call may need for its workspace: 64 GiB.
pub const WORK_MAX: u64 = 64 << 30;

/// Bytes of workspace from which on it is asked for once before, so that too little memory is an error.
const PROBE_MIN: usize = 64 << 20;

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

/// The sizes that k, p and a length make, checked before anything is allocated for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    k: usize,
    p: usize,
    length: usize,
    fragment_len: usize,
}

impl Shape {
    /// The shape of `length` bytes in k + p fragments.
    pub fn new(length: u64, k: usize, p: usize) -> Result<Self> {
        code_for(k, p)?;
        let fragment_len = fragment_len(length, k)?;
        check_work(k, p, fragment_len)?;
        let length = usize::try_from(length)
            .map_err(|_| Error::input(format!("ec: a length of {length} bytes does not fit this machine")))?;
        Ok(Self { k, p, length, fragment_len })
    }

    /// How many data fragments there are.
    pub fn k(&self) -> usize {
        self.k
    }

    /// How many parity fragments there are.
    pub fn p(&self) -> usize {
        self.p
    }

    /// How many fragments there are.
    pub fn n(&self) -> usize {
        self.k + self.p
    }

    /// Bytes of the input.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Bytes of every fragment.
    pub fn fragment_len(&self) -> usize {
        self.fragment_len
    }

    /// How many data fragments are wholly inside the input; those after them are padded copies.
    pub fn whole(&self) -> usize {
        self.length / self.fragment_len
    }

    /// Bytes of the padded copies.
    pub fn tail_len(&self) -> usize {
        (self.k - self.whole()) * self.fragment_len
    }

    /// Bytes of all parity.
    pub fn parity_len(&self) -> usize {
        self.p * self.fragment_len
    }

    /// In which buffer fragment `index` is, and at which byte it begins; `None` from n on.
    pub fn place(&self, index: usize) -> Option<(Buffer, usize)> {
        let (buffer, at) = match index {
            _ if index < self.whole() => (Buffer::Input, index),
            _ if index < self.k => (Buffer::Tail, index - self.whole()),
            _ if index < self.n() => (Buffer::Parity, index - self.k),
            _ => return None,
        };
        Some((buffer, at * self.fragment_len))
    }

    /// Puts the end of the input into `tail`, which must be of [`Shape::tail_len`] zeros.
    pub fn fill_tail(&self, data: &[u8], tail: &mut [u8]) {
        let rest = data.get(self.whole() * self.fragment_len..).unwrap_or_default();
        for (to, from) in tail.iter_mut().zip(rest) {
            *to = *from;
        }
    }

    /// Makes the parity of `data` and its `tail`, and calls `put` with every piece of it and the byte where it belongs;
    /// all pieces together are [`Shape::parity_len`] bytes, each byte once.
    pub fn parity(&self, data: &[u8], tail: &[u8], put: &mut impl FnMut(usize, &[u8])) -> Result<()> {
        if data.len() != self.length || tail.len() != self.tail_len() {
            return Err(Error::input(format!(
                "ec: {} bytes and a tail of {}; {} and {} make this shape",
                data.len(),
                tail.len(),
                self.length,
                self.tail_len()
            )));
        }
        let whole = data.chunks_exact(self.fragment_len).chain(tail.chunks_exact(self.fragment_len));
        rs16::parity(whole, self.k, self.p, self.fragment_len, put)
    }

    /// The BLAKE3 hash of every fragment in three buffers.
    pub fn hashes(&self, data: &[u8], tail: &[u8], parity: &[u8]) -> Vec<Digest> {
        let one = |index: usize| {
            let fragment = self
                .place(index)
                .and_then(|(buffer, at)| buffer.of(data, tail, parity).get(at..at + self.fragment_len));
            fragment.map(hash::fragment).unwrap_or_default()
        };
        if self.n() * self.fragment_len >= PARALLEL_MIN {
            (0..self.n()).into_par_iter().map(one).collect()
        } else {
            (0..self.n()).map(one).collect()
        }
    }
}

/// Where a fragment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buffer {
    /// In the input itself.
    Input,
    /// In the padded copies.
    Tail,
    /// In the parity.
    Parity,
}

impl Buffer {
    fn of<'a>(self, data: &'a [u8], tail: &'a [u8], parity: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Input => data,
            Self::Tail => tail,
            Self::Parity => parity,
        }
    }
}

/// Refuses what the code's workspace would need too much memory for: it rounds both counts up to powers of two and the
/// size up to 64 bytes, so few bytes in many fragments can ask for a lot.
fn check_work(k: usize, p: usize, size: usize) -> Result<()> {
    let shards = (k.next_power_of_two() + p.next_power_of_two()).next_power_of_two();
    let work = shards.saturating_mul(size.next_multiple_of(64));
    let refused = |why: String| Error::input(format!("ec: k = {k}, p = {p}, fragments of {size} bytes: {why}"));
    if work as u64 > WORK_MAX {
        return Err(refused(format!("{work} bytes of memory are needed, at most {WORK_MAX} are allowed")));
    }
    if work >= PROBE_MIN {
        // A failed allocation inside the code would end the process; here it is an error.
        Vec::<u8>::new()
            .try_reserve_exact(work)
            .map_err(|_| refused(format!("{work} bytes of memory are not there")))?;
    }
    Ok(())
}

/// An encoded input: n fragments as views.
#[derive(Debug)]
pub struct Encoded<'a> {
    data: &'a [u8],
    shape: Shape,
    tail: Vec<u8>,
    parity: Vec<u8>,
}

impl Encoded<'_> {
    /// The sizes.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// How many fragments there are.
    pub fn n(&self) -> usize {
        self.shape.n()
    }

    /// Bytes of every fragment.
    pub fn fragment_len(&self) -> usize {
        self.shape.fragment_len
    }

    /// The parity fragments, one after another.
    pub fn parity(&self) -> &[u8] {
        &self.parity
    }

    /// Fragment `index`; `None` from n on.
    pub fn fragment(&self, index: usize) -> Option<&[u8]> {
        let (buffer, at) = self.shape.place(index)?;
        buffer.of(self.data, &self.tail, &self.parity).get(at..at + self.shape.fragment_len)
    }

    /// The BLAKE3 hash of every fragment.
    pub fn hashes(&self) -> Vec<Digest> {
        self.shape.hashes(self.data, &self.tail, &self.parity)
    }
}

/// Encodes `data` into k + p fragments.
pub fn encode(data: &[u8], k: usize, p: usize) -> Result<Encoded<'_>> {
    let shape = Shape::new(data.len() as u64, k, p)?;
    let mut tail = vec![0; shape.tail_len()];
    shape.fill_tail(data, &mut tail);
    let mut parity = Vec::with_capacity(shape.parity_len());
    shape.parity(data, &tail, &mut |_, piece| parity.extend_from_slice(piece))?;
    Ok(Encoded { data, shape, tail, parity })
}

/// Checks fragments by index against k, p and the length of the input; nothing is allocated for the length before.
pub fn check(fragments: &BTreeMap<usize, &[u8]>, k: usize, p: usize, length: u64) -> Result<Shape> {
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
    Shape::new(length, k, p)
}

/// Restores the input from any k fragments by index, which [`check`] has found to fit: calls `put` with every piece of it
/// and the byte where it belongs; all pieces together are the input, each byte once.
pub fn decode_with(
    fragments: &BTreeMap<usize, &[u8]>,
    shape: &Shape,
    put: &mut impl FnMut(usize, &[u8]),
) -> Result<()> {
    let Shape { k, p, length, fragment_len: size } = *shape;
    let mut place = |index: usize, fragment: &[u8]| {
        let (from, to) = ((index * size).min(length), ((index + 1) * size).min(length));
        if let Some(piece) = fragment.get(..to - from) {
            put(from, piece);
        }
    };
    for (index, fragment) in fragments.range(..k) {
        place(*index, fragment);
    }
    if (0..k).any(|index| !fragments.contains_key(&index)) {
        rs16::restore(fragments, k, p, size, &mut place)?;
    }
    Ok(())
}

/// Restores the input from any k fragments by index.
pub fn decode(fragments: &BTreeMap<usize, &[u8]>, k: usize, p: usize, length: u64) -> Result<Vec<u8>> {
    let shape = check(fragments, k, p, length)?;
    let mut out = vec![0; shape.length];
    decode_with(fragments, &shape, &mut |at, piece| out[at..at + piece.len()].copy_from_slice(piece))?;
    Ok(out)
}

/// Makes the fragments `missing` (data or parity) anew from any k others, and calls `put` with the index and the bytes of
/// each, in the order of `missing`.
pub fn rebuild_with(
    fragments: &BTreeMap<usize, &[u8]>,
    missing: &[usize],
    k: usize,
    p: usize,
    length: u64,
    put: &mut impl FnMut(usize, &[u8]),
) -> Result<()> {
    let n = k.saturating_add(p);
    if let Some(index) = missing.iter().find(|index| **index >= n) {
        return Err(Error::input(format!("ec: fragment {index}: there are only {n}")));
    }
    let data = decode(fragments, k, p, length)?;
    // Parity is only made if a parity fragment is asked for.
    let p = if missing.iter().any(|index| *index >= k) { p } else { 0 };
    let encoded = encode(&data, k, p)?;
    for index in missing {
        if let Some(fragment) = encoded.fragment(*index) {
            put(*index, fragment);
        }
    }
    Ok(())
}

/// Makes the fragments `missing` (data or parity) anew from any k others.
pub fn rebuild(
    fragments: &BTreeMap<usize, &[u8]>,
    missing: &[usize],
    k: usize,
    p: usize,
    length: u64,
) -> Result<BTreeMap<usize, Vec<u8>>> {
    let mut made = BTreeMap::new();
    rebuild_with(fragments, missing, k, p, length, &mut |index, fragment| {
        made.insert(index, fragment.to_vec());
    })?;
    Ok(made)
}

#[cfg(test)]
mod tests;
