//! The code `gf8`: systematic Cauchy Reed–Solomon over GF(2⁸), 0x11D.
//!
//! Parity fragment i (from k on) is the sum of the data fragments j, each times 1 / (i ^ j): byte for byte what ISA-L makes
//! with the matrix of `gf_gen_cauchy1_matrix`. Every square part of a Cauchy matrix has an inverse, so any k of the n
//! fragments restore. (ISA-L's `gf_gen_rs_matrix`, a Vandermonde matrix, has not that property from 5 parities on.)
//!
//! Encoding, restoring and rebuilding are one thing: a matrix of factors applied to k fragments. Let E be the erased data
//! fragments, T as many parity fragments in their place, and S the k survivors (data without E, and T). The fragments are
//! values of one polynomial of degree below k, each times a constant (Cauchy and generalised Reed–Solomon codes are the same
//! codes); Lagrange's formula gives the factor of survivor s in fragment x in closed form, and most of it cancels:
//!
//! ```text
//!   Π t∈T (x ^ t)       Π m∈E (s ^ m)            1
//! ───────────────── · ───────────────────── · ───────
//!  Π m∈E, m≠x (x ^ m)   Π t∈T, t≠s (s ^ t)     x ^ s
//! ```
//!
//! With nothing erased that is 1 / (x ^ s). Only the e erased and e replacing fragments appear: O(e · k) logarithms are
//! summed, and nothing is inverted by elimination.

mod columns;
mod field;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::sync::{Arc, Mutex, PoisonError};

use self::columns::Group;
use super::kernel::Kernel;
use crate::error::{Error, Result};

/// The most fragments.
pub(super) const N_MAX: usize = 256;

/// The most parity fragments.
pub(super) const P_MAX: usize = 64;

/// How many encoding matrices are kept: one of the largest has 12 KiB.
const MATRICES_MAX: usize = 32;

/// Bytes of a block of columns of all sources, which stay in the second-level cache while group after group is made.
const BLOCK: usize = 128 * 1024;

/// Bytes of one source in a block are a multiple of this: four vectors of 512 bits.
const BLOCK_STEP: usize = 256;

/// How a kernel takes its outputs.
impl Kernel {
    /// The most outputs that one pass over the sources makes.
    fn outputs(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Gfni512 => x86::gfni512::OUTPUTS,
            #[cfg(target_arch = "x86_64")]
            Self::Gfni256 => x86::gfni256::OUTPUTS,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => x86::avx2::OUTPUTS,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => neon::OUTPUTS,
            _ => scalar::OUTPUTS,
        }
    }

    /// Makes one group of outputs.
    ///
    /// # Safety
    ///
    /// The processor has this kernel; every source may be read and every output may be written up to `group.to`; outputs
    /// overlap neither each other nor a source; there are at most [`Kernel::outputs`].
    unsafe fn run(self, group: &Group<'_>) {
        // SAFETY: the caller keeps the contract, which is that of each kernel.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Self::Gfni512 => x86::gfni512::run(group),
                #[cfg(target_arch = "x86_64")]
                Self::Gfni256 => x86::gfni256::run(group),
                #[cfg(target_arch = "x86_64")]
                Self::Avx2 => x86::avx2::run(group),
                #[cfg(target_arch = "aarch64")]
                Self::Neon => neon::run(group),
                _ => scalar::run(group),
            }
        }
    }
}

/// Factors that make some fragments (rows) out of k others (columns), in the order in which a kernel reads them.
pub(super) struct Matrix {
    kernel: Kernel,
    rows: usize,
    columns: usize,
    /// Rows in a group; the last group may have fewer.
    together: usize,
    /// Group by group; in a group column by column.
    factors: Vec<u8>,
}

impl Matrix {
    fn new(kernel: Kernel, rows: usize, columns: usize, factor: impl Fn(usize, usize) -> u8) -> Self {
        // Groups of about one size: 12 rows are twice 6, not 10 and 2.
        let groups = rows.div_ceil(kernel.outputs()).max(1);
        let together = rows.div_ceil(groups).max(1);
        let mut factors = Vec::with_capacity(rows * columns);
        for first in (0..rows).step_by(together) {
            let last = (first + together).min(rows);
            for column in 0..columns {
                factors.extend((first..last).map(|row| factor(row, column)));
            }
        }
        Self { kernel, rows, columns, together, factors }
    }

    /// The factors of the p parity fragments, made once for the last few (k, p).
    pub(super) fn encoding(kernel: Kernel, k: usize, p: usize) -> Arc<Self> {
        static KEPT: Mutex<VecDeque<Arc<Matrix>>> = Mutex::new(VecDeque::new());
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |m: &Arc<Self>| m.columns == k && m.rows == p && m.kernel == kernel;
        if let Some(at) = kept.iter().position(fits) {
            let matrix = kept[at].clone();
            if at > 0 {
                kept.swap(at, at - 1);
            }
            return matrix;
        }
        let matrix = Arc::new(Self::new(kernel, p, k, |row, column| field::inverse(((k + row) ^ column) as u8)));
        if kept.len() == MATRICES_MAX {
            kept.pop_back();
        }
        kept.push_back(matrix.clone());
        matrix
    }

    /// The factors of the fragments `wanted` in the k fragments `survivors`, ascending indices of which the last are parity.
    pub(super) fn restoring(kernel: Kernel, k: usize, survivors: &[usize], wanted: &[usize]) -> Self {
        let data = survivors.partition_point(|index| *index < k);
        let (present, parity) = survivors.split_at(data);
        let mut here = [false; N_MAX];
        for index in present {
            here[*index] = true;
        }
        let erased: Vec<usize> = (0..k).filter(|index| !here[*index]).collect();
        // The sum of the logarithms of x ^ y over `all` but x itself, reduced.
        let product = |x: usize, all: &[usize]| {
            all.iter().filter(|y| **y != x).map(|y| field::log((x ^ y) as u8)).sum::<u32>() % 255
        };
        let of = |x: usize, above: &[usize], below: &[usize]| 255 + product(x, above) - product(x, below);
        let columns: Vec<u32> = survivors.iter().map(|s| of(*s, &erased, parity)).collect();
        let rows: Vec<u32> = wanted.iter().map(|x| of(*x, parity, &erased)).collect();
        Self::new(kernel, wanted.len(), survivors.len(), |row, column| {
            let (x, s) = (wanted[row], survivors[column]);
            if survivors.binary_search(&x).is_ok() {
                return u8::from(x == s);
            }
            field::power(rows[row] + columns[column] + 255 - field::log((x ^ s) as u8))
        })
    }
}

/// A matrix under way over its sources: columns are made from the first to the last, in as many steps as the caller likes.
pub(super) struct Pass<'a> {
    matrix: &'a Matrix,
    sources: Vec<*const u8>,
    outputs: Vec<*mut u8>,
    size: usize,
    done: usize,
    owners: PhantomData<(&'a [u8], &'a mut [MaybeUninit<u8>])>,
}

impl<'a> Pass<'a> {
    /// One source for each column and one output for each row, all of `size` bytes.
    pub(super) fn new(
        matrix: &'a Matrix,
        size: usize,
        sources: impl IntoIterator<Item = &'a [u8]>,
        outputs: impl IntoIterator<Item = &'a mut [MaybeUninit<u8>]>,
    ) -> Result<Self> {
        let mut pass = Self {
            matrix,
            sources: Vec::with_capacity(matrix.columns),
            outputs: Vec::with_capacity(matrix.rows),
            size,
            done: 0,
            owners: PhantomData,
        };
        let mut fit = matrix.kernel.is_supported();
        for source in sources {
            fit &= source.len() == size;
            pass.sources.push(source.as_ptr());
        }
        for output in outputs {
            fit &= output.len() == size;
            pass.outputs.push(output.as_mut_ptr().cast());
        }
        if !fit || pass.sources.len() != matrix.columns || pass.outputs.len() != matrix.rows {
            return Err(Error::input(format!(
                "ec: gf8: {} sources and {} outputs for {} and {} of {size} bytes each: a bug in city-chain",
                pass.sources.len(),
                pass.outputs.len(),
                matrix.columns,
                matrix.rows
            )));
        }
        Ok(pass)
    }

    /// Bytes of each source in a block of columns.
    pub(super) fn block(&self) -> usize {
        (BLOCK / self.matrix.columns.max(1)).next_multiple_of(BLOCK_STEP)
    }

    /// Makes the columns up to byte `to` of every output; what is made already stays.
    pub(super) fn run(&mut self, to: usize) {
        let (to, block) = (to.min(self.size), self.block());
        while self.done < to {
            let next = (self.done + block).min(to);
            let mut factors = self.matrix.factors.as_slice();
            for outputs in self.outputs.chunks(self.matrix.together) {
                let (now, later) = factors.split_at(outputs.len() * self.sources.len());
                factors = later;
                let group = Group { factors: now, sources: &self.sources, outputs, from: self.done, to: next };
                // SAFETY: `new` has checked that the processor has the kernel and that sources and outputs have `size`
                // bytes, and next ≤ size. The outputs are exclusive borrows for 'a, so they overlap nothing. A group of
                // the matrix has no more outputs than its kernel takes.
                unsafe { self.matrix.kernel.run(&group) };
            }
            self.done = next;
        }
    }

    /// Bytes `from` to `to` of an output, if they are made.
    pub(super) fn output(&self, row: usize, from: usize, to: usize) -> &[u8] {
        match self.outputs.get(row) {
            Some(output) if from <= to && to <= self.done => {
                // SAFETY: the output has `size` bytes, of which those before `done` ≤ `size` are written; it is ours for
                // 'a, and is not written to while this borrow of self lasts.
                unsafe { std::slice::from_raw_parts(output.add(from), to - from) }
            }
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests;
