//! The code `rs16`, by `reed-solomon-simd`.

use std::collections::BTreeMap;

use reed_solomon_simd::engine::DefaultEngine;
use reed_solomon_simd::rate::{DefaultRateDecoder, DefaultRateEncoder, RateDecoder, RateEncoder};

use crate::error::{Error, Result};

/// Bytes from which on it is asked whether there is so much memory.
const PROBE_MIN: usize = 16 << 20;

fn refused(error: reed_solomon_simd::Error) -> Error {
    Error::input(format!("ec: rs16: {error}"))
}

/// Asks for the memory that the crate is about to take, which it takes without asking: its own failure to get it would end
/// the process. `count` fragments of `size` bytes, each rounded up to 64.
fn check_room(count: usize, size: usize) -> Result<()> {
    let bytes = size.checked_next_multiple_of(64).and_then(|each| each.checked_mul(count));
    let room = bytes.is_some_and(|bytes| bytes < PROBE_MIN || Vec::<u8>::new().try_reserve_exact(bytes).is_ok());
    if !room {
        return Err(Error::input(format!(
            "ec: {count} fragments of {size} bytes do not fit into this machine's memory"
        )));
    }
    Ok(())
}

/// The p parity fragments of k data fragments of `size` bytes, one after another.
pub(super) fn parity<'a>(
    originals: impl Iterator<Item = &'a [u8]>,
    k: usize,
    p: usize,
    size: usize,
) -> Result<Vec<u8>> {
    if p == 0 {
        return Ok(Vec::new());
    }
    // The parity, and as much again as the crate rounds either count up to.
    check_room(p + 2 * k.max(p).next_power_of_two(), size)?;
    let mut encoder = DefaultRateEncoder::new(k, p, size, DefaultEngine::new(), None).map_err(refused)?;
    for original in originals {
        encoder.add_original_shard(original).map_err(refused)?;
    }
    let result = encoder.encode().map_err(refused)?;
    let mut parity = Vec::with_capacity(p * size);
    for fragment in result.recovery_iter() {
        parity.extend_from_slice(fragment);
    }
    Ok(parity)
}

/// Calls `place` with every missing data fragment, restored from any k of `fragments`.
pub(super) fn restore(
    fragments: &BTreeMap<usize, &[u8]>,
    k: usize,
    p: usize,
    size: usize,
    place: &mut impl FnMut(usize, &[u8]),
) -> Result<()> {
    check_room(2 * (k.next_power_of_two() + p.next_power_of_two()), size)?;
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
