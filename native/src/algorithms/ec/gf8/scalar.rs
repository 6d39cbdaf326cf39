//! The kernel for any processor: two look-ups in tables of 16 bytes for each product.

use super::columns::Group;
use super::field::NIBBLES;

/// The most outputs in a group: one source's block stays in the nearest cache for all of them.
pub(super) const OUTPUTS: usize = 16;

/// Makes one group of outputs.
///
/// # Safety
///
/// Every source may be read and every output may be written up to `group.to`; outputs overlap neither each other nor a
/// source.
pub(super) unsafe fn run(group: &Group<'_>) {
    let (count, length) = (group.outputs.len(), group.to - group.from);
    for (g, output) in group.outputs.iter().enumerate() {
        // SAFETY: the columns from `from` to `to` may be written, says the caller.
        let output = unsafe {
            let output = output.add(group.from);
            std::ptr::write_bytes(output, 0, length);
            std::slice::from_raw_parts_mut(output, length)
        };
        for (source, factors) in group.sources.iter().zip(group.factors.chunks_exact(count)) {
            let table = &NIBBLES[usize::from(factors[g])];
            // SAFETY: the columns from `from` to `to` may be read, and no output overlaps them, says the caller.
            let source = unsafe { std::slice::from_raw_parts(source.add(group.from), length) };
            for (y, x) in output.iter_mut().zip(source) {
                *y ^= table[usize::from(x & 15)] ^ table[16 + usize::from(x >> 4)];
            }
        }
    }
}
