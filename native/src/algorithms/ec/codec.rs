//! A code for one (k, p): encode, decode, rebuild.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::code::{Code, code_for};
use super::fragments::Fragments;
use super::gf8::{Matrix, Pass};
use super::kernel::Kernel;
use super::output::{filled, put, put_padded, written};
use super::rs16;
use super::shape::{Place, Shape};
use crate::crypto::hash::{self, Digest, FragmentHasher};
use crate::error::{Error, Result};

/// Bytes of all fragments from which on they are hashed in parallel.
const PARALLEL_MIN: usize = 256 * 1024;

/// Bytes of all fragments that are made before they are hashed: they are still in a cache then.
const HASH_STEP: usize = 4 << 20;

/// Hashes of blocks are quickest on multiples of this: 16 chunks of BLAKE3.
const HASH_ALIGN: usize = 16 * 1024;

/// A code for one (k, p), with what it keeps between calls.
pub struct Codec {
    code: Code,
    kernel: Kernel,
    k: usize,
    p: usize,
    work: rs16::Workspace,
}

/// One fragment of data that is there: where it goes and what it is.
type Copied<'a, 'b> = (&'a mut [MaybeUninit<u8>], &'b [u8]);

impl Codec {
    /// The code for k data and p parity fragments: `code`, or that of [`code_for`].
    pub fn new(k: usize, p: usize, code: Option<Code>) -> Result<Self> {
        Self::with_kernel(k, p, code, Kernel::of_process()?)
    }

    /// [`Codec::new`] with a kernel that this machine has.
    pub fn with_kernel(k: usize, p: usize, code: Option<Code>, kernel: Kernel) -> Result<Self> {
        let code = code.map_or_else(|| code_for(k, p), Ok)?;
        code.check(k, p)?;
        if !kernel.is_supported() {
            return Err(Error::input(format!("ec: this machine has no kernel {}", kernel.name())));
        }
        Ok(Self { code, kernel, k, p, work: rs16::Workspace::default() })
    }

    /// Builds the tables that the first call would build.
    pub fn warm(&self) {
        match self.code {
            Code::Rs16 => rs16::warm(self.kernel),
            Code::Gf8 => drop(Matrix::encoding(self.kernel, self.k, self.p)),
        }
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// How many data fragments there are.
    pub fn k(&self) -> usize {
        self.k
    }

    /// How many parity fragments there are.
    pub fn p(&self) -> usize {
        self.p
    }

    /// The sizes that `length` bytes make.
    pub fn shape(&self, length: u64) -> Result<Shape> {
        Shape::new(length, self.k, self.p, self.code)
    }

    /// Writes the padded copies and the parity of `data` to `made`, and gives the BLAKE3 hashes of all fragments if they are
    /// `hashed`. On success every byte of `made` was written.
    pub fn encode_into(
        &self,
        shape: &Shape,
        data: &[u8],
        made: &mut [MaybeUninit<u8>],
        hashed: bool,
    ) -> Result<Vec<Digest>> {
        if data.len() != shape.length() || made.len() != shape.made_len() {
            return Err(Error::input(format!(
                "ec: {} bytes and room for {}; {} and {} make this shape",
                data.len(),
                made.len(),
                shape.length(),
                shape.made_len()
            )));
        }
        let size = shape.fragment_len();
        let (tail, parity) = made.split_at_mut(shape.tail_len());
        let tail = put_padded(tail, &data[shape.whole() * size..]);
        let fragments = data.chunks_exact(size).chain(tail.chunks_exact(size));
        match self.code {
            Code::Rs16 => {
                rs16::parity(self.kernel, shape, &self.work, fragments.clone(), parity)?;
                // SAFETY: all of the parity was written, or the call above had failed.
                let parity = unsafe { written(parity) };
                let all: Vec<&[u8]> = fragments.chain(parity.chunks_exact(size)).collect();
                Ok(if hashed { hashes(&all) } else { Vec::new() })
            }
            Code::Gf8 => {
                let matrix = Matrix::encoding(self.kernel, self.k, self.p);
                let mut pass = Pass::new(&matrix, size, fragments.clone(), parity.chunks_exact_mut(size))?;
                if hashed {
                    return Ok(hash_while_made(&mut pass, shape, &fragments.collect::<Vec<_>>()));
                }
                pass.run(size);
                Ok(Vec::new())
            }
        }
    }

    /// Encodes `data`.
    pub fn encode<'a>(&self, data: &'a [u8]) -> Result<Encoded<'a>> {
        let shape = self.shape(data.len() as u64)?;
        // SAFETY: `encode_into` writes all of it on success.
        let (made, _) = unsafe { filled(shape.made_len(), |made| self.encode_into(&shape, data, made, false)) }?;
        Ok(Encoded { data, shape, made })
    }

    /// Checks fragments against the length of the input; nothing is allocated for the length before.
    pub fn check(&self, fragments: &Fragments<'_>, length: u64) -> Result<Shape> {
        let (n, size) = (self.k + self.p, self.code.fragment_len(length, self.k)?);
        for (index, fragment) in fragments.iter() {
            if index >= n {
                return Err(Error::input(format!("ec: fragment {index}: there are only {n}")));
            }
            if fragment.len() != size {
                return Err(Error::input(format!(
                    "ec: fragment {index} has {} bytes; {length} bytes in {} fragments make {size} each",
                    fragment.len(),
                    self.k
                )));
            }
        }
        if fragments.len() < self.k {
            return Err(Error::unavailable("ec: fragments", self.k as u64, fragments.len() as u64));
        }
        self.shape(length)
    }

    /// Restores the input from any k fragments, which [`Codec::check`] has found to fit. On success every byte of `out` was
    /// written.
    pub fn decode_into(&self, shape: &Shape, fragments: &Fragments<'_>, out: &mut [MaybeUninit<u8>]) -> Result<()> {
        if out.len() != shape.length() {
            return Err(Error::input(format!("ec: room for {} of {} bytes", out.len(), shape.length())));
        }
        let mut present = fragments.split(self.k).0.iter().peekable();
        let (mut copied, mut wanted): (Vec<Copied<'_, '_>>, Vec<_>) = (Vec::new(), Vec::new());
        for (index, to) in out.chunks_mut(shape.fragment_len()).enumerate() {
            match present.next_if(|(found, _)| *found == index) {
                Some((_, fragment)) => copied.push((to, fragment)),
                None => wanted.push((index, to)),
            }
        }
        if wanted.is_empty() || self.code == Code::Rs16 {
            for (to, fragment) in copied {
                put(to, fragment);
            }
        } else {
            return self.restore_and_copy(shape, fragments, wanted, copied);
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let mut wanted = wanted.into_iter().peekable();
        rs16::restore(self.kernel, shape, &self.work, fragments, |index, fragment| {
            if let Some((_, to)) = wanted.next_if(|(found, _)| *found == index) {
                put(to, fragment);
            }
        })?;
        if wanted.peek().is_some() {
            return Err(Error::input("ec: rs16: a fragment was not restored: a bug in city-chain"));
        }
        Ok(())
    }

    /// Writes what is wanted and what is copied, block of columns by block, so that each is read from memory once.
    fn restore_and_copy(
        &self,
        shape: &Shape,
        fragments: &Fragments<'_>,
        wanted: Vec<(usize, &mut [MaybeUninit<u8>])>,
        mut copied: Vec<Copied<'_, '_>>,
    ) -> Result<()> {
        let size = shape.fragment_len();
        let (survivors, sources) = self.survivors(fragments);
        let matrix = Matrix::restoring(self.kernel, self.k, &survivors, &indices(&wanted));
        // The end of the input may lie within its fragment, which is then made beside it and copied.
        let mut beside = Vec::new();
        let mut cut = None;
        let mut outputs = Vec::with_capacity(wanted.len());
        for (_, to) in wanted {
            if to.len() == size {
                outputs.push(to);
            } else {
                cut = Some(to);
            }
        }
        if cut.is_some() {
            beside.resize(size, MaybeUninit::new(0));
            outputs.push(&mut beside);
        }
        let last = outputs.len().saturating_sub(1);
        let mut pass = Pass::new(&matrix, size, sources, outputs)?;
        let block = pass.block();
        for from in (0..size).step_by(block) {
            let next = (from + block).min(size);
            for (to, fragment) in &mut copied {
                let end = next.min(to.len());
                put(&mut to[from.min(end)..end], &fragment[from..next]);
            }
            pass.run(next);
        }
        if let Some(to) = cut {
            let count = to.len();
            put(to, pass.output(last, 0, count));
        }
        Ok(())
    }

    /// Which k fragments restore the others, and their bytes: all data that is there, then parity.
    fn survivors<'a>(&self, fragments: &Fragments<'a>) -> (Vec<usize>, Vec<&'a [u8]>) {
        fragments.iter().take(self.k).unzip()
    }

    /// Restores the input from any k fragments.
    pub fn decode(&self, fragments: &Fragments<'_>, length: u64) -> Result<Vec<u8>> {
        let shape = self.check(fragments, length)?;
        // SAFETY: `decode_into` writes all of it on success.
        let (out, ()) = unsafe { filled(shape.length(), |out| self.decode_into(&shape, fragments, out)) }?;
        Ok(out)
    }

    /// Makes the fragments `missing` (data or parity, ascending) anew from any k, which [`Codec::check`] has found to fit.
    /// On success every byte of every output was written.
    pub fn rebuild_into<'o>(
        &self,
        shape: &Shape,
        fragments: &Fragments<'_>,
        missing: &[usize],
        outputs: impl IntoIterator<Item = &'o mut [MaybeUninit<u8>]>,
    ) -> Result<()> {
        if let Some(index) = missing.iter().find(|index| **index >= shape.n()) {
            return Err(Error::input(format!("ec: fragment {index}: there are only {}", shape.n())));
        }
        let (size, mut outputs) = (shape.fragment_len(), outputs.into_iter().collect::<Vec<_>>());
        if outputs.len() != missing.len() || outputs.iter().any(|output| output.len() != size) {
            return Err(Error::input(format!("ec: {} outputs for {} fragments", outputs.len(), missing.len())));
        }
        if self.code == Code::Gf8 {
            let (survivors, sources) = self.survivors(fragments);
            let matrix = Matrix::restoring(self.kernel, self.k, &survivors, missing);
            Pass::new(&matrix, size, sources, outputs)?.run(size);
            return Ok(());
        }
        // The code can restore data only; parity is encoded anew, if it is asked for.
        // SAFETY: `decode_into` writes all of it on success.
        let (data, ()) = unsafe { filled(shape.length(), |out| self.decode_into(shape, fragments, out)) }?;
        let p = if missing.iter().any(|index| *index >= self.k) { self.p } else { 0 };
        let encoded = Self::with_kernel(self.k, p, Some(self.code), self.kernel)?.encode(&data)?;
        for (index, output) in missing.iter().zip(&mut outputs) {
            put(output, encoded.fragment(*index).unwrap_or_default());
        }
        Ok(())
    }

    /// Makes the fragments `missing` anew: one vector each, in the order of `missing`, which is ascending.
    pub fn rebuild(&self, fragments: &Fragments<'_>, missing: &[usize], length: u64) -> Result<Vec<Vec<u8>>> {
        let shape = self.check(fragments, length)?;
        let size = shape.fragment_len();
        let mut made = vec![vec![MaybeUninit::new(0); size]; missing.len()];
        self.rebuild_into(&shape, fragments, missing, made.iter_mut().map(Vec::as_mut_slice))?;
        // SAFETY: every byte of it was written, first as 0 and then by `rebuild_into`.
        Ok(made.iter().map(|fragment| unsafe { written(fragment) }.to_vec()).collect())
    }
}

fn indices<T>(wanted: &[(usize, T)]) -> Vec<usize> {
    wanted.iter().map(|(index, _)| *index).collect()
}

/// The hash of every fragment.
fn hashes(fragments: &[&[u8]]) -> Vec<Digest> {
    if fragments.iter().map(|fragment| fragment.len()).sum::<usize>() >= PARALLEL_MIN {
        fragments.par_iter().map(|fragment| hash::fragment(fragment)).collect()
    } else {
        hash::fragments(fragments)
    }
}

/// Makes all parity of `pass` and hashes every fragment, block of columns by block, while each is in a cache.
fn hash_while_made(pass: &mut Pass<'_>, shape: &Shape, data: &[&[u8]]) -> Vec<Digest> {
    let (size, n) = (shape.fragment_len(), shape.n());
    let step = (HASH_STEP / n).next_multiple_of(HASH_ALIGN);
    if size <= step {
        pass.run(size);
        let parity = (0..shape.p()).map(|row| pass.output(row, 0, size));
        return hashes(&data.iter().copied().chain(parity).collect::<Vec<_>>());
    }
    let mut hashers = vec![FragmentHasher::new(); n];
    for from in (0..size).step_by(step) {
        let to = (from + step).min(size);
        pass.run(to);
        let parity = (0..shape.p()).map(|row| pass.output(row, from, to));
        let blocks: Vec<&[u8]> = data.iter().map(|fragment| &fragment[from..to]).chain(parity).collect();
        hashers.par_iter_mut().zip(&blocks).for_each(|(hasher, block)| hasher.update(block));
    }
    hashers.iter().map(FragmentHasher::finish).collect()
}

/// An encoded input: n fragments as views.
#[derive(Debug)]
pub struct Encoded<'a> {
    data: &'a [u8],
    shape: Shape,
    made: Vec<u8>,
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
        self.shape.fragment_len()
    }

    /// The parity fragments, one after another.
    pub fn parity(&self) -> &[u8] {
        &self.made[self.shape.tail_len()..]
    }

    /// Fragment `index`; `None` from n on.
    pub fn fragment(&self, index: usize) -> Option<&[u8]> {
        let (buffer, at) = match self.shape.place(index)? {
            Place::Input(at) => (self.data, at),
            Place::Made(at) => (self.made.as_slice(), at),
        };
        buffer.get(at..at + self.fragment_len())
    }

    /// The BLAKE3 hash of every fragment.
    pub fn hashes(&self) -> Vec<Digest> {
        hashes(&(0..self.n()).filter_map(|index| self.fragment(index)).collect::<Vec<_>>())
    }
}
