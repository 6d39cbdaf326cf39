//! Memory that is written for the first time.

use std::mem::MaybeUninit;

/// Copies `from` to the beginning of `to`, as far as both reach.
pub(super) fn put(to: &mut [MaybeUninit<u8>], from: &[u8]) {
    let count = to.len().min(from.len());
    // SAFETY: both have at least `count` bytes; `to` is borrowed exclusively, so they do not overlap.
    unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to.as_mut_ptr().cast(), count) };
}

/// Fills `to` with `from`, then zeros, and gives it as bytes.
pub(super) fn put_padded<'a>(to: &'a mut [MaybeUninit<u8>], from: &[u8]) -> &'a [u8] {
    let count = to.len().min(from.len());
    put(to, from);
    to[count..].fill(MaybeUninit::new(0));
    // SAFETY: the first `count` bytes were copied and the others filled.
    unsafe { written(to) }
}

/// The bytes of memory that is written.
///
/// # Safety
///
/// Every byte of it was written.
pub(super) unsafe fn written(memory: &[MaybeUninit<u8>]) -> &[u8] {
    // SAFETY: MaybeUninit<u8> has the layout of u8, and every byte is initialised, as the caller promises.
    unsafe { std::slice::from_raw_parts(memory.as_ptr().cast(), memory.len()) }
}

/// A vector of `len` bytes, all of which `fill` writes when it succeeds.
///
/// # Safety
///
/// `fill` writes every byte before it returns `Ok`.
pub(super) unsafe fn filled<T, E>(
    len: usize,
    fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<T, E>,
) -> Result<(Vec<u8>, T), E> {
    let mut out = Vec::with_capacity(len);
    let result = fill(&mut out.spare_capacity_mut()[..len])?;
    // SAFETY: the capacity is at least `len`, and `fill` has written all of it, as the caller promises.
    unsafe { out.set_len(len) };
    Ok((out, result))
}
