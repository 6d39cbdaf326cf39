//! The code `rs16`, by `reed-solomon-simd`.

use std::collections::BTreeMap;

use reed_solomon_simd::engine::DefaultEngine;
use reed_solomon_simd::rate::{DefaultRateDecoder, DefaultRateEncoder, RateDecoder, RateEncoder};

use crate::error::{Error, Result};

fn refused(error: reed_solomon_simd::Error) -> Error {
    Error::input(format!("ec: rs16: {error}"))
}

/// Calls `put` with the p parity fragments of k data fragments of `size` bytes, and the byte where each belongs.
pub(super) fn parity<'a>(
    originals: impl Iterator<Item = &'a [u8]>,
    k: usize,
    p: usize,
    size: usize,
    put: &mut impl FnMut(usize, &[u8]),
) -> Result<()> {
    if p == 0 {
        return Ok(());
    }
    let mut encoder = DefaultRateEncoder::new(k, p, size, DefaultEngine::new(), None).map_err(refused)?;
    for original in originals {
        encoder.add_original_shard(original).map_err(refused)?;
    }
    let result = encoder.encode().map_err(refused)?;
    for (at, fragment) in result.recovery_iter().enumerate() {
        put(at * size, fragment);
    }
    Ok(())
}

/// Calls `place` with every missing data fragment, restored from any k of `fragments`.
pub(super) fn restore(
    fragments: &BTreeMap<usize, &[u8]>,
    k: usize,
    p: usize,
    size: usize,
    place: &mut impl FnMut(usize, &[u8]),
) -> Result<()> {
    let mut decoder = DefaultRateDecoder::new(k, p, size, DefaultEngine::new(), None).map_err(refused)?;
    for (index, fragment) in fragments {
        if *index < k {
            decoder.add_original_shard(*index, fragment).map_err(refused)?;
        } else {
            decoder.add_recovery_shard(*index - k, fragment).map_err(refused)?;
        }
    }
    let result = decoder.decode().map_err(refused)?;
    for (index, fragment) in result.restored_original_iter() {
        place(index, fragment);
    }
    Ok(())
}
