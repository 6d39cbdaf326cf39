//! EC: systematic Reed–Solomon erasure coding. k data fragments and p parity fragments; any k of the n = k + p restore.
//!
//! The code is named by (k, p) alone, never by the CPU, and its id is in every manifest:
//!
//! - `gf8` (2) for n ≤ 256 and p ≤ 64: GF(2⁸) with a Cauchy matrix, byte for byte ISA-L's, by kernels of our own that are
//!   picked at run time ([`Kernel`]);
//! - `rs16` (1) for all else: GF(2¹⁶) with an additive FFT (Lin, Chung, Han 2014; "Leopard"), by the crate
//!   `reed-solomon-simd`, always at its default rate so that one (k, p) has one set of bytes.
//!
//! What was encoded by `rs16` where `gf8` would be taken today decodes as it did: a [`Codec`] takes the code that a manifest
//! names.
//!
//! Data fragments are views of the input; only what the padding touches is copied. Parity detects nothing: every fragment
//! has a BLAKE3 hash, and a fragment counts only after its hash was checked by the caller. Tables are built on first use
//! (those of `rs16` have 8 MiB and take about 10 ms), and not on import.

mod code;
mod codec;
mod fragments;
mod gf8;
mod kernel;
mod output;
mod rs16;
mod shape;

use std::collections::BTreeMap;

pub use self::code::{COUNT_MAX, Code, code_for};
pub use self::codec::{Codec, Encoded};
pub use self::fragments::Fragments;
pub use self::kernel::{Kernel, VARIABLE};
pub use self::shape::{Place, Shape, WORK_MAX};
use crate::error::{Error, Result};

/// The most bytes that can be encoded in one call: 16 GiB.
pub const LENGTH_MAX: u64 = 16 << 30;

/// Encodes `data` into k + p fragments.
pub fn encode(data: &[u8], k: usize, p: usize) -> Result<Encoded<'_>> {
    Codec::new(k, p, None)?.encode(data)
}

/// Restores the input from any k fragments by index.
pub fn decode(fragments: &BTreeMap<usize, &[u8]>, k: usize, p: usize, length: u64) -> Result<Vec<u8>> {
    Codec::new(k, p, None)?.decode(&fragments.into(), length)
}

/// Makes the fragments `missing` (data or parity) anew from any k others.
pub fn rebuild(
    fragments: &BTreeMap<usize, &[u8]>,
    missing: &[usize],
    k: usize,
    p: usize,
    length: u64,
) -> Result<BTreeMap<usize, Vec<u8>>> {
    let codec = Codec::new(k, p, None)?;
    let n = k + p;
    if let Some(index) = missing.iter().find(|index| **index >= n) {
        return Err(Error::input(format!("ec: fragment {index}: there are only {n}")));
    }
    let mut missing = missing.to_vec();
    missing.sort_unstable();
    missing.dedup();
    let made = codec.rebuild(&fragments.into(), &missing, length)?;
    Ok(missing.into_iter().zip(made).collect())
}

#[cfg(test)]
mod tests;
