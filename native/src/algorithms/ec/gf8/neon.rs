//! The kernel of aarch64: products by two table look-ups of 16 bytes.

use std::arch::aarch64::*;

use super::columns::{Group, kernel};
use super::field::NIBBLES;

/// The low and the high half of every byte.
type Split = (uint8x16_t, uint8x16_t);

#[inline]
#[target_feature(enable = "neon")]
fn zero() -> uint8x16_t {
    vdupq_n_u8(0)
}

/// # Safety
///
/// 16 bytes from `at` may be read.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load(at: *const u8) -> uint8x16_t {
    // SAFETY: as the caller promises; the load needs no alignment.
    unsafe { vld1q_u8(at) }
}

/// # Safety
///
/// `count` < 16 bytes from `at` may be read.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load_part(at: *const u8, count: usize) -> uint8x16_t {
    let mut whole = [0u8; 16];
    // SAFETY: as the caller promises, and `count` < 16 bytes fit into `whole`.
    unsafe { std::ptr::copy_nonoverlapping(at, whole.as_mut_ptr(), count) };
    // SAFETY: `whole` has 16 bytes.
    unsafe { load(whole.as_ptr()) }
}

/// # Safety
///
/// 16 bytes from `at` may be written.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn store(at: *mut u8, vector: uint8x16_t) {
    // SAFETY: as the caller promises; the store needs no alignment.
    unsafe { vst1q_u8(at, vector) }
}

/// # Safety
///
/// `count` < 16 bytes from `at` may be written.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn store_part(at: *mut u8, count: usize, vector: uint8x16_t) {
    let mut whole = [0u8; 16];
    // SAFETY: `whole` has 16 bytes.
    unsafe { store(whole.as_mut_ptr(), vector) };
    // SAFETY: as the caller promises, and `count` < 16 bytes are in `whole`.
    unsafe { std::ptr::copy_nonoverlapping(whole.as_ptr(), at, count) };
}

#[inline]
#[target_feature(enable = "neon")]
fn split(vector: uint8x16_t) -> Split {
    (vandq_u8(vector, vdupq_n_u8(15)), vshrq_n_u8::<4>(vector))
}

#[inline]
#[target_feature(enable = "neon")]
fn factor(c: u8) -> Split {
    let table = &NIBBLES[usize::from(c)];
    // SAFETY: the table has 32 bytes: 16 for each half.
    unsafe { (load(table.as_ptr()), load(table.as_ptr().add(16))) }
}

#[inline]
#[target_feature(enable = "neon")]
fn add_product(sum: uint8x16_t, x: Split, c: Split) -> uint8x16_t {
    veorq_u8(sum, veorq_u8(vqtbl1q_u8(c.0, x.0), vqtbl1q_u8(c.1, x.1)))
}

kernel!("neon", 16, 6, [1 x 4, 2 x 4, 3 x 3, 4 x 2, 5 x 2, 6 x 2]);
