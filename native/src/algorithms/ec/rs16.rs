//! The code `rs16`, by `reed-solomon-simd`.
//!
//! The crate evaluates the error locator with a Walsh–Hadamard transform over all 65,536 positions, about 160 µs for each
//! restoring at any k. The positions of small codes all lie in the first 2ᵇ, which are a subgroup under exclusive or: a
//! transform over these alone gives the same ([`Small`]), in less than a microsecond for 16 positions.

use std::mem::MaybeUninit;
use std::sync::{Mutex, OnceLock, PoisonError};

use reed_solomon_simd::engine::{DefaultEngine, Engine, GF_MODULUS, GF_ORDER, GfElement, NoSimd, ShardsRefMut, tables};
use reed_solomon_simd::rate::{
    DecoderWork, DefaultRateDecoder, DefaultRateEncoder, EncoderWork, RateDecoder, RateEncoder,
};

use super::fragments::Fragments;
use super::kernel::Kernel;
use super::output::put;
use super::shape::Shape;
use crate::error::{Error, Result};

/// Bytes of a workspace up to which it is kept for the next call.
const KEPT_MAX: usize = 64 << 20;

/// From this many positions on the crate's own transform is as quick.
const SMALL_MAX: usize = 1 << 13;

/// An engine that evaluates the locator over as few positions as there are.
pub(super) struct Small<E>(E);

impl<E: Engine> Engine for Small<E> {
    fn fft(&self, data: &mut ShardsRefMut<'_>, pos: usize, size: usize, truncated_size: usize, skew_delta: usize) {
        self.0.fft(data, pos, size, truncated_size, skew_delta);
    }

    fn ifft(&self, data: &mut ShardsRefMut<'_>, pos: usize, size: usize, truncated_size: usize, skew_delta: usize) {
        self.0.ifft(data, pos, size, truncated_size, skew_delta);
    }

    fn mul(&self, x: &mut [[u8; 64]], log_m: GfElement) {
        self.0.mul(x, log_m);
    }

    /// Replaces `erasures[i]` (1 for an erased position, else 0) by the sum over all erased j of log(i ^ j), for i below
    /// `truncated_size`, from which on nothing is erased; positions from there on are not read.
    ///
    /// Where p is larger than k the crate counts all positions behind the last fragment as erased, and gives no
    /// `truncated_size`. The logarithms of all elements add up to 0, so the positions that are there are summed instead, and
    /// the sum is subtracted; no position behind the last of them is read.
    fn eval_poly(erasures: &mut [GfElement; GF_ORDER], truncated_size: usize) {
        let inverted = truncated_size == GF_ORDER;
        let reach = if inverted { reach(erasures) } else { truncated_size };
        let size = reach.next_power_of_two().max(2);
        if size > SMALL_MAX {
            return E::eval_poly(erasures, truncated_size);
        }
        let bits = size.trailing_zeros();
        let logs = log_walsh(bits);
        let small = &mut erasures[..size];
        if inverted {
            small.iter_mut().for_each(|erased| *erased ^= 1);
        }
        walsh(small);
        for (value, log) in small.iter_mut().zip(logs) {
            let product = u32::from(*value) * u32::from(*log);
            *value = add(product as GfElement, (product >> 16) as GfElement);
        }
        walsh(small);
        for value in small {
            // Transforming twice multiplies by 2ᵇ; 2¹⁶ is 1 modulo 65535, so dividing by it turns the bits.
            let sum = value.rotate_right(bits);
            *value = if inverted { GF_MODULUS - sum } else { sum };
        }
    }
}

/// A position behind the last that is not erased, at most 255 behind it.
fn reach(erasures: &[GfElement; GF_ORDER]) -> usize {
    const STEP: usize = 256;
    // A fold without a branch inside, which is compiled to whole vectors.
    let is_erased = |all: &&[GfElement]| all.iter().fold(0, |any, erased| any | (erased ^ 1)) == 0;
    GF_ORDER - STEP * erasures.rchunks_exact(STEP).take_while(is_erased).count()
}

/// The transform of the first 2^bits logarithms.
fn log_walsh(bits: u32) -> &'static [GfElement] {
    static TABLES: [OnceLock<Box<[GfElement]>>; 14] = [const { OnceLock::new() }; 14];
    TABLES[bits as usize].get_or_init(|| {
        let mut logs: Box<[GfElement]> = tables::get_exp_log().log[..1 << bits].into();
        // The logarithm of 0 stands for an erased position itself, which is no factor.
        logs[0] = 0;
        walsh(&mut logs);
        logs
    })
}

/// The Walsh–Hadamard transform modulo 65535, in place; the size is a power of two.
fn walsh(data: &mut [GfElement]) {
    let mut distance = 1;
    while distance < data.len() {
        for pair in data.chunks_exact_mut(2 * distance) {
            let (low, high) = pair.split_at_mut(distance);
            for (a, b) in low.iter_mut().zip(high) {
                (*a, *b) = (add(*a, *b), add(*a, GF_MODULUS - *b));
            }
        }
        distance *= 2;
    }
}

/// a + b modulo 65535, where 65535 stands for 0 as well.
fn add(a: GfElement, b: GfElement) -> GfElement {
    let sum = u32::from(a) + u32::from(b);
    (sum + (sum >> 16)) as GfElement
}

fn refused(error: reed_solomon_simd::Error) -> Error {
    Error::input(format!("ec: rs16: {error}"))
}

/// Workspaces of the last call, for the next.
#[derive(Default)]
pub(super) struct Workspace(Mutex<(Option<EncoderWork>, Option<DecoderWork>)>);

impl Workspace {
    fn take<T>(
        &self,
        pick: impl FnOnce(&mut (Option<EncoderWork>, Option<DecoderWork>)) -> &mut Option<T>,
    ) -> Option<T> {
        pick(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner)).take()
    }

    fn keep<T>(
        &self,
        shape: &Shape,
        work: T,
        pick: impl FnOnce(&mut (Option<EncoderWork>, Option<DecoderWork>)) -> &mut Option<T>,
    ) {
        if 2 * shape.n().next_power_of_two() * shape.fragment_len().next_multiple_of(64) <= KEPT_MAX {
            *pick(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner)) = Some(work);
        }
    }
}

/// Builds the tables (8 MiB, about 10 ms) if they are not there yet.
pub(super) fn warm(kernel: Kernel) {
    match kernel {
        Kernel::Scalar => drop(NoSimd::new()),
        _ => drop(DefaultEngine::new()),
    }
}

/// Writes the p parity fragments of k data fragments.
pub(super) fn parity<'a>(
    kernel: Kernel,
    shape: &Shape,
    work: &Workspace,
    data: impl Iterator<Item = &'a [u8]>,
    out: &mut [MaybeUninit<u8>],
) -> Result<()> {
    match kernel {
        _ if shape.p() == 0 => Ok(()),
        Kernel::Scalar => parity_by(Small(NoSimd::new()), shape, work, data, out),
        _ => parity_by(Small(DefaultEngine::new()), shape, work, data, out),
    }
}

fn parity_by<'a>(
    engine: impl Engine,
    shape: &Shape,
    work: &Workspace,
    data: impl Iterator<Item = &'a [u8]>,
    out: &mut [MaybeUninit<u8>],
) -> Result<()> {
    let size = shape.fragment_len();
    let kept = work.take(|both| &mut both.0);
    let mut encoder = DefaultRateEncoder::new(shape.k(), shape.p(), size, engine, kept).map_err(refused)?;
    for fragment in data {
        encoder.add_original_shard(fragment).map_err(refused)?;
    }
    let result = encoder.encode().map_err(refused)?;
    let mut made = 0;
    for (to, fragment) in out.chunks_exact_mut(size).zip(result.recovery_iter()) {
        put(to, fragment);
        made += fragment.len();
    }
    drop(result);
    work.keep(shape, encoder.into_parts().1, |both| &mut both.0);
    whole(made, shape.parity_len())
}

/// Calls `place` with every missing data fragment, restored from any k of `fragments`.
pub(super) fn restore(
    kernel: Kernel,
    shape: &Shape,
    work: &Workspace,
    fragments: &Fragments<'_>,
    place: impl FnMut(usize, &[u8]),
) -> Result<()> {
    match kernel {
        Kernel::Scalar => restore_by(Small(NoSimd::new()), shape, work, fragments, place),
        _ => restore_by(Small(DefaultEngine::new()), shape, work, fragments, place),
    }
}

fn restore_by(
    engine: impl Engine,
    shape: &Shape,
    work: &Workspace,
    fragments: &Fragments<'_>,
    mut place: impl FnMut(usize, &[u8]),
) -> Result<()> {
    let (k, size) = (shape.k(), shape.fragment_len());
    let kept = work.take(|both| &mut both.1);
    let mut decoder = DefaultRateDecoder::new(k, shape.p(), size, engine, kept).map_err(refused)?;
    for (index, fragment) in fragments.iter() {
        if index < k {
            decoder.add_original_shard(index, fragment).map_err(refused)?;
        } else {
            decoder.add_recovery_shard(index - k, fragment).map_err(refused)?;
        }
    }
    let result = decoder.decode().map_err(refused)?;
    let mut made = 0;
    for (index, fragment) in result.restored_original_iter() {
        place(index, fragment);
        made += 1;
    }
    drop(result);
    work.keep(shape, decoder.into_parts().1, |both| &mut both.1);
    whole(made, k - fragments.split(k).0.len())
}

/// Refuses what the crate has not made whole: nothing unwritten may be handed on.
fn whole(made: usize, wanted: usize) -> Result<()> {
    if made == wanted {
        return Ok(());
    }
    Err(Error::input(format!("ec: rs16: {made} of {wanted} were made: a bug in city-chain")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An engine whose own transform must not be needed.
    struct Unused;

    impl Engine for Unused {
        fn fft(&self, _: &mut ShardsRefMut<'_>, _: usize, _: usize, _: usize, _: usize) {
            unreachable!()
        }

        fn ifft(&self, _: &mut ShardsRefMut<'_>, _: usize, _: usize, _: usize, _: usize) {
            unreachable!()
        }

        fn mul(&self, _: &mut [[u8; 64]], _: GfElement) {
            unreachable!()
        }

        fn eval_poly(_: &mut [GfElement; GF_ORDER], truncated_size: usize) {
            panic!("all {GF_ORDER} positions are transformed for {truncated_size}");
        }
    }

    /// Were it not so, every restore would be right, and take a hundred microseconds more.
    #[test]
    fn few_positions_never_need_the_whole_transform() {
        for end in [1, 6, 30, 300, 1024, SMALL_MAX] {
            let mut erasures = Box::new([0; GF_ORDER]);
            erasures[..end].fill(1);
            Small::<Unused>::eval_poly(&mut erasures, end);
            let mut erasures = Box::new([1; GF_ORDER]);
            erasures[..end].fill(0);
            Small::<Unused>::eval_poly(&mut erasures, GF_ORDER);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(80))]

        #[test]
        fn the_small_transform_gives_what_the_whole_one_gives(
            truncated in 1usize..=SMALL_MAX, every in 1usize..40, seed: u64
        ) {
            let mut erasures = Box::new([0; GF_ORDER]);
            for (at, erased) in erasures[..truncated].iter_mut().enumerate() {
                *erased = u16::from((at as u64 ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15).is_multiple_of(every as u64));
            }
            let mut expected = erasures.clone();
            Small::<NoSimd>::eval_poly(&mut erasures, truncated);
            NoSimd::eval_poly(&mut expected, truncated);
            for at in 0..truncated {
                // 0 and 65535 are the same logarithm.
                prop_assert_eq!(erasures[at] % GF_MODULUS, expected[at] % GF_MODULUS, "{} of {}", at, truncated);
            }
        }

        #[test]
        fn nor_does_it_matter_that_all_behind_the_end_is_erased(
            end in 1usize..=SMALL_MAX, every in 1usize..40, seed: u64
        ) {
            let mut erasures = Box::new([1; GF_ORDER]);
            for (at, erased) in erasures[..end].iter_mut().enumerate() {
                *erased = u16::from((at as u64 ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15).is_multiple_of(every as u64));
            }
            erasures[end - 1] = 0;
            let mut expected = erasures.clone();
            Small::<NoSimd>::eval_poly(&mut erasures, GF_ORDER);
            NoSimd::eval_poly(&mut expected, GF_ORDER);
            for at in 0..end {
                prop_assert_eq!(erasures[at] % GF_MODULUS, expected[at] % GF_MODULUS, "{} of {}", at, end);
            }
        }
    }
}
