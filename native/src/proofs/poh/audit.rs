//! Storage audits: blocks of a fragment, drawn at random, shown with the way to the fragment's BLAKE3 hash.
//!
//! The auditor has the hash and the length of the fragment, from the signed manifest, and no byte of it. It names blocks
//! that the node could not know before ([`challenge`]); the node shows them ([`answer`]); the auditor rebuilds the root of
//! BLAKE3's own tree from them ([`verify`]). A block is a chunk of that tree: 1,024 bytes, the last one what is left. The
//! hash of a fragment needs no change, and no second tree is kept.
//!
//! An answer is tag, version and, from the root down, left before right: for a subtree with a block that was asked for its
//! two halves, for a block its bytes, for every other subtree its chaining value (32 bytes). Its size follows from the
//! question, and is checked before anything else. (BLAKE3 paper, sections 2.1 and 6.4; Bao uses the same tree.)

use blake3::hazmat::{HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root};

use crate::crypto::hash::{self, Digest, Hasher, hex};
use crate::error::{Error, Result};

/// Bytes of a block, the last one of a fragment apart.
pub const BLOCK_LEN: u64 = 1024;

/// The most blocks of one audit.
pub const BLOCKS_MAX: usize = 4096;

/// The most bytes of a fragment that is audited.
pub const FRAGMENT_MAX: u64 = 1 << 40;

const TAG: [u8; 6] = *b"CCau\x01\0";
const CONTEXT: &str = "city-chain v1 poh audit";

/// From this many bytes on a subtree is hashed on all threads.
const PARALLEL_MIN: usize = 128 * 1024;

/// How many blocks a fragment of `len` bytes has; an empty one has one, which is empty.
pub fn blocks_of(len: u64) -> u64 {
    len.div_ceil(BLOCK_LEN).max(1)
}

fn check_len(len: u64) -> Result<()> {
    if len > FRAGMENT_MAX {
        return Err(Error::input(format!("audit: a fragment of {len} bytes, at most {FRAGMENT_MAX} are allowed")));
    }
    Ok(())
}

fn check_count(len: u64, count: usize) -> Result<()> {
    check_len(len)?;
    let most = blocks_of(len).min(BLOCKS_MAX as u64);
    if count == 0 || count as u64 > most {
        return Err(Error::input(format!("audit: {count} blocks of {}, 1 to {most} can be asked for", blocks_of(len))));
    }
    Ok(())
}

fn check_blocks(len: u64, blocks: &[u64]) -> Result<()> {
    check_count(len, blocks.len())?;
    if !blocks.windows(2).all(|pair| pair[0] < pair[1]) {
        return Err(Error::input("audit: the blocks must be ascending and distinct"));
    }
    match blocks.last() {
        Some(last) if *last >= blocks_of(len) => {
            Err(Error::input(format!("audit: block {last} of {}: there is none", blocks_of(len))))
        }
        _ => Ok(()),
    }
}

/// Draws `count` distinct blocks of a fragment of `len` bytes, ascending; every set of that size is equally likely.
///
/// Floyd's way of drawing without replacement (Bentley, CACM 30(9), 1987), each draw without modulo bias from BLAKE3's
/// extended output over the seed.
pub fn challenge(seed: &[u8; 32], len: u64, count: usize) -> Result<Vec<u64>> {
    check_count(len, count)?;
    let mut hasher = Hasher::new(CONTEXT);
    hasher.fixed(seed).u64(len).u64(count as u64);
    let mut stream = Stream { hasher, buffer: [0; 512], used: 512, part: 0 };
    let total = blocks_of(len);
    let mut drawn = std::collections::BTreeSet::new();
    for top in total - count as u64..total {
        let block = stream.below(top + 1);
        if !drawn.insert(block) {
            drawn.insert(top);
        }
    }
    Ok(drawn.into_iter().collect())
}

/// Random numbers from a seed, without end.
struct Stream {
    hasher: Hasher,
    buffer: [u8; 512],
    used: usize,
    part: u64,
}

impl Stream {
    fn next(&mut self) -> u64 {
        if self.used == self.buffer.len() {
            self.hasher.clone().u64(self.part).fill(&mut self.buffer);
            self.part += 1;
            self.used = 0;
        }
        let mut word = [0; 8];
        word.copy_from_slice(&self.buffer[self.used..self.used + 8]);
        self.used += 8;
        u64::from_le_bytes(word)
    }

    /// One of 0 … `bound` − 1, all equally likely; `bound` is not 0.
    fn below(&mut self, bound: u64) -> u64 {
        // Draws above the largest multiple of `bound` are thrown away.
        let limit = u64::MAX - (u64::MAX % bound + 1) % bound;
        loop {
            let value = self.next();
            if value <= limit {
                return value % bound;
            }
        }
    }
}

/// The blocks of `blocks`, ascending, that lie in the subtree of `len` bytes at byte `offset`, and the rest behind them.
fn split(blocks: &[u64], end: u64) -> (&[u64], &[u64]) {
    blocks.split_at(blocks.partition_point(|block| block * BLOCK_LEN < end))
}

/// How many bytes a subtree takes in an answer.
fn size_of(offset: u64, len: u64, blocks: &[u64]) -> u64 {
    if blocks.is_empty() {
        return 32;
    }
    if len <= BLOCK_LEN {
        return len;
    }
    let left = left_subtree_len(len);
    let (in_left, in_right) = split(blocks, offset + left);
    size_of(offset, left, in_left) + size_of(offset + left, len - left, in_right)
}

/// Shows `blocks` of a fragment, ascending and distinct, with the way to its hash.
///
/// # Errors
/// [`Error::Input`]: no blocks, too many, not ascending, or one that is not there.
pub fn answer(fragment: &[u8], blocks: &[u64]) -> Result<Vec<u8>> {
    let len = fragment.len() as u64;
    check_blocks(len, blocks)?;
    let mut out = Vec::with_capacity(TAG.len() + usize::try_from(size_of(0, len, blocks)).unwrap_or(0));
    out.extend_from_slice(&TAG);
    show(fragment, 0, blocks, &mut out);
    Ok(out)
}

fn show(subtree: &[u8], offset: u64, blocks: &[u64], out: &mut Vec<u8>) {
    if blocks.is_empty() {
        out.extend_from_slice(&chaining_value(subtree, offset));
    } else if subtree.len() as u64 <= BLOCK_LEN {
        out.extend_from_slice(subtree);
    } else {
        let left_len = left_subtree_len(subtree.len() as u64);
        // The left half is shorter than the whole, which is in memory.
        let (left, right) = subtree.split_at(usize::try_from(left_len).unwrap_or(subtree.len()));
        let (in_left, in_right) = split(blocks, offset + left_len);
        show(left, offset, in_left, out);
        show(right, offset + left_len, in_right, out);
    }
}

/// The chaining value of a subtree that is not the root; it is not empty, and lies where BLAKE3's tree has one.
fn chaining_value(subtree: &[u8], offset: u64) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(offset);
    if subtree.len() >= PARALLEL_MIN {
        hasher.update_rayon(subtree);
    } else {
        hasher.update(subtree);
    }
    hasher.finalize_non_root()
}

/// Checks that `answer` shows `blocks` of the fragment of `len` bytes with this hash.
///
/// The length is the auditor's own knowledge, as the hash is: both are in the signed manifest. An answer that shows the last block
/// proves the length as well.
///
/// # Errors
/// [`Error::Input`] if the question is none (see [`answer()`]); [`Error::Verification`] if the answer is wrong.
pub fn verify(fragment_hash: &Digest, len: u64, blocks: &[u64], answer: &[u8]) -> Result<()> {
    check_blocks(len, blocks)?;
    let needed = size_of(0, len, blocks) + TAG.len() as u64;
    if answer.len() as u64 != needed {
        return Err(Error::verification(format!(
            "audit: an answer of {} bytes, {needed} are needed for these {} blocks",
            answer.len(),
            blocks.len()
        )));
    }
    let Some(mut body) = answer.strip_prefix(TAG.as_slice()) else {
        return Err(Error::verification(format!(
            "audit: the answer starts with {:02x?} and not with {TAG:02x?}",
            &answer[..TAG.len()]
        )));
    };
    let found = if len <= BLOCK_LEN {
        hash::fragment(body)
    } else {
        let (left, right) = halves(0, len, blocks, &mut body);
        *merge_subtrees_root(&left, &right, Mode::Hash).as_bytes()
    };
    if found != *fragment_hash {
        return Err(Error::verification(format!(
            "audit: the blocks lead to the hash {}, not to {}",
            hex(&found),
            hex(fragment_hash)
        )));
    }
    Ok(())
}

/// The chaining values of both halves of a subtree of more than one block.
fn halves(offset: u64, len: u64, blocks: &[u64], body: &mut &[u8]) -> (Digest, Digest) {
    let left = left_subtree_len(len);
    let (in_left, in_right) = split(blocks, offset + left);
    let first = rebuild(offset, left, in_left, body);
    (first, rebuild(offset + left, len - left, in_right, body))
}

/// The chaining value of a subtree, from its part of an answer whose size was checked.
fn rebuild(offset: u64, len: u64, blocks: &[u64], body: &mut &[u8]) -> Digest {
    let mut take = |count: usize| {
        let (part, rest) = body.split_at(count.min(body.len()));
        *body = rest;
        part
    };
    if blocks.is_empty() {
        let mut value = [0; 32];
        let part = take(32);
        value[..part.len()].copy_from_slice(part);
        return value;
    }
    if len <= BLOCK_LEN {
        return chaining_value(take(usize::try_from(len).unwrap_or(0)), offset);
    }
    let (left, right) = halves(offset, len, blocks, body);
    merge_subtrees_non_root(&left, &right, Mode::Hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_below_a_large_bound_have_no_modulo_bias() {
        let mut stream = Stream { hasher: Hasher::new(CONTEXT), buffer: [0; 512], used: 512, part: 0 };
        let bound = 3 << 62;
        let (rounds, low) = (6000, (0..6000).filter(|_| stream.below(bound) < 1 << 62).count());
        // A third of them; with the bias it were a half.
        assert!(low.abs_diff(rounds / 3) < 5 * 37, "{low} of {rounds}");
    }
}
