//! Many keys at once: where their hashes come from, and how they go through a table a window at a time.

use rayon::prelude::*;

use super::kernel::{Kernel, WINDOW};
use super::xxh64::xxh64;

/// Keys from which on several threads look them up.
const PARALLEL_MIN: usize = 1 << 16;

/// Keys that a thread looks up at a time, a multiple of [`WINDOW`].
const PIECE: usize = 1 << 14;

/// Hashes of keys, a window at a time.
pub(super) trait Source {
    /// The next hashes; how many, at most [`WINDOW`] and 0 only at the end.
    fn fill(&mut self, kernel: Kernel, window: &mut Window) -> usize;
}

/// A source that knows its length.
pub(super) trait Counted: Source {
    /// Hashes to come.
    fn left(&self) -> usize;
}

/// A source of which any part can be had.
pub(super) trait Pieces: Counted + Copy + Sync {
    /// `count` hashes from number `from` on; both lie within.
    fn piece(&self, from: usize, count: usize) -> Self;
}

/// Keys of one width each, one after another.
#[derive(Clone, Copy)]
pub(super) struct Packed<'a> {
    pub(super) seed: u64,
    pub(super) keys: &'a [u8],
    pub(super) width: usize,
}

impl Counted for Packed<'_> {
    fn left(&self) -> usize {
        self.keys.len() / self.width
    }
}

impl Source for Packed<'_> {
    fn fill(&mut self, kernel: Kernel, window: &mut Window) -> usize {
        let count = self.left().min(WINDOW);
        let (now, later) = self.keys.split_at(count * self.width);
        kernel.hash_packed(self.seed, now, self.width, &mut window[..count]);
        self.keys = later;
        count
    }
}

/// Hashes that are there already.
impl Source for &[u64] {
    fn fill(&mut self, _: Kernel, window: &mut Window) -> usize {
        let (now, later) = self.split_at(self.len().min(WINDOW));
        window[..now.len()].copy_from_slice(now);
        *self = later;
        now.len()
    }
}

impl Pieces for Packed<'_> {
    fn piece(&self, from: usize, count: usize) -> Self {
        Self { keys: &self.keys[from * self.width..][..count * self.width], ..*self }
    }
}

impl Counted for &[u64] {
    fn left(&self) -> usize {
        self.len()
    }
}

impl Pieces for &[u64] {
    fn piece(&self, from: usize, count: usize) -> Self {
        &self[from..][..count]
    }
}

/// Keys of any iterator.
pub(super) struct Each<I>(pub(super) u64, pub(super) I);

impl<'a, I: ExactSizeIterator<Item = &'a [u8]>> Counted for Each<I> {
    fn left(&self) -> usize {
        self.1.len()
    }
}

impl<'a, I: Iterator<Item = &'a [u8]>> Source for Each<I> {
    fn fill(&mut self, _: Kernel, window: &mut Window) -> usize {
        let mut count = 0;
        while count < WINDOW {
            let Some(key) = self.1.next() else { break };
            window[count] = xxh64(self.0, key);
            count += 1;
        }
        count
    }
}

/// A window: its hashes, of which only the first few count (what the others are does not matter).
pub(super) type Window = [u64; WINDOW];

/// Takes all hashes through `fetch` and, one window later, through `use_them` (with how many there are), until that fails.
pub(super) fn each_window<E>(
    kernel: Kernel,
    mut source: impl Source,
    mut fetch: impl FnMut(&Window, usize),
    mut use_them: impl FnMut(&Window, usize) -> Result<(), E>,
) -> Result<(), E> {
    let mut windows = [[0; WINDOW]; 2];
    let [mut now, mut next] = windows.each_mut();
    let mut count = source.fill(kernel, now);
    fetch(now, count);
    while count > 0 {
        let coming = source.fill(kernel, next);
        fetch(next, coming);
        use_them(now, count)?;
        (now, next, count) = (next, now, coming);
    }
    Ok(())
}

/// A table in which keys can be looked up.
pub(super) trait Lookup: Sync {
    /// Has the places of the first `count` hashes brought into the cache.
    fn fetch(&self, kernel: Kernel, window: &Window, count: usize);

    /// One bit for each of the first `count` hashes: whether the table may hold it.
    fn look(&self, kernel: Kernel, window: &Window, count: usize) -> u64;
}

/// One bit for each hash of `source`, the first in the lowest bit of the first byte.
fn look_up(kernel: Kernel, table: &impl Lookup, source: impl Source, bits: &mut [u8]) {
    let mut places = bits.chunks_mut(WINDOW / 8);
    let fetch = |window: &Window, count| table.fetch(kernel, window, count);
    let done: Result<(), std::convert::Infallible> = each_window(kernel, source, fetch, |window, count| {
        if let Some(place) = places.next() {
            place.copy_from_slice(&table.look(kernel, window, count).to_le_bytes()[..place.len()]);
        }
        Ok(())
    });
    let Ok(()) = done;
}

/// [`look_up`] by one thread; unused bits of the last byte are 0.
pub(super) fn verdicts(kernel: Kernel, table: &impl Lookup, source: impl Counted) -> Vec<u8> {
    let mut bits = vec![0; source.left().div_ceil(8)];
    look_up(kernel, table, source, &mut bits);
    bits
}

/// [`verdicts`] by several threads, if there is enough to do.
pub(super) fn verdicts_of(kernel: Kernel, table: &impl Lookup, source: impl Pieces) -> Vec<u8> {
    let count = source.left();
    if count < PARALLEL_MIN {
        return verdicts(kernel, table, source);
    }
    let mut bits = vec![0; count.div_ceil(8)];
    bits.par_chunks_mut(PIECE / 8).enumerate().for_each(|(at, bits)| {
        look_up(kernel, table, source.piece(at * PIECE, PIECE.min(count - at * PIECE)), bits);
    });
    bits
}
