//! The one inner loop, written for vectors of any kind: sums of products of columns, many outputs in a pass.

/// One group of outputs to be made.
pub(super) struct Group<'a> {
    /// Factors by source, for each source one for each output.
    pub(super) factors: &'a [u8],
    /// Where each source begins.
    pub(super) sources: &'a [*const u8],
    /// Where each output begins.
    pub(super) outputs: &'a [*mut u8],
    /// The columns to be made: from this byte of every source and output …
    pub(super) from: usize,
    /// … to before this one.
    pub(super) to: usize,
}

/// Writes a kernel: `run`, which makes one group of outputs, and `OUTPUTS`, the most outputs that it makes at once.
///
/// The module around it gives `load`, `load_part`, `store`, `store_part`, `zero`, `split`, `factor` and `add_product` for
/// vectors of `$width` bytes. For each count of outputs stands how many vectors of each are made side by side: as many as
/// the registers hold.
macro_rules! kernel {
    ($features:literal, $width:literal, $most:literal, [$($outputs:literal x $beside:literal),*]) => {
        /// The most outputs in a group.
        pub(in crate::algorithms::ec::gf8) const OUTPUTS: usize = $most;

        /// Makes one group of at most [`OUTPUTS`] outputs.
        ///
        /// # Safety
        ///
        /// The processor has the features of this kernel; every source may be read and every output may be written up to
        /// `group.to`; outputs overlap neither each other nor a source.
        #[target_feature(enable = $features)]
        pub(in crate::algorithms::ec::gf8) unsafe fn run(group: &Group<'_>) {
            match group.outputs.len() {
                // SAFETY: the caller keeps the same contract, and the count of outputs is as said.
                $($outputs => unsafe { outputs::<$outputs, $beside>(group) },)*
                0 => {}
                count => unreachable!("{count} outputs in a group of at most {OUTPUTS}"),
            }
        }

        /// See [`run`]; `G` is the count of outputs.
        #[target_feature(enable = $features)]
        unsafe fn outputs<const G: usize, const BESIDE: usize>(group: &Group<'_>) {
            let mut at = group.from;
            while at + BESIDE * $width <= group.to {
                // SAFETY: as the caller promises, and the columns end at or before `to`.
                unsafe { step::<G, BESIDE>(group, at) };
                at += BESIDE * $width;
            }
            while at + $width <= group.to {
                // SAFETY: as above.
                unsafe { step::<G, 1>(group, at) };
                at += $width;
            }
            if at < group.to {
                // SAFETY: as above, with fewer bytes than a vector has.
                unsafe { last::<G>(group, at, group.to - at) };
            }
        }

        /// Makes `BESIDE` vectors of each output.
        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn step<const G: usize, const BESIDE: usize>(group: &Group<'_>, at: usize) {
            let mut sums = [[zero(); BESIDE]; G];
            for (source, factors) in group.sources.iter().zip(group.factors.as_chunks::<G>().0) {
                // SAFETY: at + BESIDE · width ≤ to, up to which the source may be read.
                let x: [_; BESIDE] = std::array::from_fn(|b| unsafe { split(load(source.add(at + b * $width))) });
                for (sum, c) in sums.iter_mut().zip(factors) {
                    let c = factor(*c);
                    for (sum, x) in sum.iter_mut().zip(&x) {
                        *sum = add_product(*sum, *x, c);
                    }
                }
            }
            for (output, sum) in group.outputs.iter().zip(&sums) {
                for (b, sum) in sum.iter().enumerate() {
                    // SAFETY: at + BESIDE · width ≤ to, up to which the output may be written.
                    unsafe { store(output.add(at + b * $width), *sum) };
                }
            }
        }

        /// Makes the last `count` bytes of each output, fewer than a vector has.
        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn last<const G: usize>(group: &Group<'_>, at: usize, count: usize) {
            let mut sums = [zero(); G];
            for (source, factors) in group.sources.iter().zip(group.factors.as_chunks::<G>().0) {
                // SAFETY: at + count = to, up to which the source may be read.
                let x = unsafe { split(load_part(source.add(at), count)) };
                for (sum, c) in sums.iter_mut().zip(factors) {
                    *sum = add_product(*sum, x, factor(*c));
                }
            }
            for (output, sum) in group.outputs.iter().zip(&sums) {
                // SAFETY: at + count = to, up to which the output may be written.
                unsafe { store_part(output.add(at), count, *sum) };
            }
        }
    };
}

pub(super) use kernel;
