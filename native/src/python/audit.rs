//! Bindings of the storage audits: challenges, answers, and the chance to catch.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::buffer::Input;
use super::call::{long, short, sized};
use super::int::Int;
use super::real::Real;
use super::record::items;
use crate::proofs::poh::{audit, chance};

fn read_blocks(blocks: &Bound<'_, PyAny>) -> PyResult<Vec<u64>> {
    items(blocks, "audit: blocks", audit::BLOCKS_MAX, |block| Ok(block.extract::<Int<u64>>()?.0))
}

/// Draws the blocks that a node must show: distinct, ascending, every set of that size equally likely.
///
/// A block is a chunk of BLAKE3's tree: 1,024 bytes, the last one what is left. The seed must be one that the node could
/// not know when it stored the fragment: 32 fresh random bytes for each audit.
///
/// Args:
///     seed: 32 bytes.
///     fragment_len: The fragment's length in bytes, from the signed manifest; at most 2**40.
///     blocks: How many, 1 to 4,096 and not more than the fragment has.
///
/// Returns:
///     Block numbers from 0, the same for the same arguments everywhere.
///
/// Raises:
///     InputError: A wrong length, or a number of blocks that is not there.
///
/// Example:
///     >>> from city_chain.proofs import poh
///     >>> poh.audit_challenge(bytes(32), 100_000, 4)
///     [4, 14, 25, 69]
#[pyfunction]
fn audit_challenge(py: Python<'_>, seed: Input<'_>, fragment_len: Int<u64>, blocks: Int<usize>) -> PyResult<Vec<u64>> {
    let seed = seed.digest(py, "audit: seed")?;
    sized(py, blocks.0.saturating_mul(64), || audit::challenge(&seed, fragment_len.0, blocks.0))
}

/// Shows blocks of a fragment, with the way to its BLAKE3 hash.
///
/// Args:
///     fragment: All bytes of the fragment.
///     blocks: The blocks that were asked for, ascending and distinct.
///
/// Returns:
///     Tag and version, and in the tree's order the bytes of each block and 32 bytes for each subtree without one: about
///     1,024 + 32·log2(blocks of the fragment) bytes a block.
///
/// Raises:
///     InputError: No blocks, more than 4,096, not ascending, or one that is not there.
///
/// Example:
///     >>> from city_chain.proofs import poh
///     >>> len(poh.audit_answer(bytes(100_000), [0, 50]))
///     2406
#[pyfunction]
fn audit_answer<'py>(py: Python<'py>, fragment: Input<'_>, blocks: &Bound<'_, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let blocks = read_blocks(blocks)?;
    let fragment = fragment.as_slice();
    Ok(PyBytes::new(py, &sized(py, fragment.len(), || audit::answer(fragment, &blocks))?))
}

/// Checks an answer with nothing of the fragment but its hash and its length.
///
/// Hash and length are the auditor's own knowledge, from the signed manifest; an answer that shows the last block proves
/// the length as well.
///
/// Args:
///     fragment_hash: The fragment's BLAKE3 hash, 32 bytes.
///     fragment_len: Its length in bytes.
///     blocks: The blocks that were asked for, ascending and distinct.
///     answer: What the node answered.
///
/// Raises:
///     VerificationError: The answer is not that of a node that has these blocks.
///     InputError: The question itself is none: see `audit_answer`.
///
/// Example:
///     >>> from city_chain.proofs import poh
///     >>> fragment = bytes(range(250)) * 400
///     >>> blocks = poh.audit_challenge(bytes(32), len(fragment), 4)
///     >>> answer = poh.audit_answer(fragment, blocks)
///     >>> poh.audit_verify(poh.hash_fragment(fragment), len(fragment), blocks, answer)
#[pyfunction]
fn audit_verify(
    py: Python<'_>,
    fragment_hash: Input<'_>,
    fragment_len: Int<u64>,
    blocks: &Bound<'_, PyAny>,
    answer: Input<'_>,
) -> PyResult<()> {
    let fragment_hash = fragment_hash.digest(py, "audit: fragment hash")?;
    let blocks = read_blocks(blocks)?;
    let answer = answer.as_slice();
    sized(py, answer.len(), || audit::verify(&fragment_hash, fragment_len.0, &blocks, answer))
}

/// The chance that audits catch a node that lost some blocks of a fragment: the hypergeometric law.
///
/// Args:
///     blocks_total: How many blocks the fragment has, 1 to 2**30.
///     blocks_lost: How many of them are gone.
///     blocks_asked: How many an audit asks for, 1 to 4,096 and not more than there are.
///     audits: How many audits, each with a new seed.
///
/// Returns:
///     0 to 1: exactly 0 if nothing is lost, exactly 1 if and only if it is certain, else within a relative error of 1e-12.
///
/// Raises:
///     InputError: A number out of its range.
///
/// Example:
///     >>> from city_chain.proofs import poh
///     >>> round(poh.audit_chance(1000, 100, 20), 6), round(poh.audit_chance(1000, 100, 20, audits=3), 6)
///     (0.880998, 0.998315)
#[pyfunction]
#[pyo3(
    signature = (blocks_total, blocks_lost, blocks_asked, audits = Int(1)),
    text_signature = "(blocks_total, blocks_lost, blocks_asked, audits=1)"
)]
fn audit_chance(
    py: Python<'_>,
    blocks_total: Int<u64>,
    blocks_lost: Int<u64>,
    blocks_asked: Int<usize>,
    audits: Int<u32>,
) -> PyResult<f64> {
    let work = blocks_asked.0.saturating_mul(16);
    sized(py, work, || chance::chance(blocks_total.0, blocks_lost.0, blocks_asked.0, audits.0))
}

/// The fewest blocks that an audit must ask for, to catch a node that lost some with a given chance.
///
/// Args:
///     blocks_total: How many blocks the fragment has, 1 to 2**30.
///     blocks_lost: How many of them are gone; at least 1.
///     chance: Above 0 and at most 1.
///     audits: How many audits, each with a new seed.
///
/// Returns:
///     The least number of blocks for which `audit_chance` is at least `chance`.
///
/// Raises:
///     InputError: A number out of its range, or a chance that even 4,096 blocks do not reach.
///
/// Example:
///     >>> from city_chain.proofs import poh
///     >>> poh.audit_blocks_for(1000, 100, 0.99), poh.audit_blocks_for(1000, 100, 0.99, audits=3)
///     (43, 15)
#[pyfunction]
#[pyo3(
    signature = (blocks_total, blocks_lost, chance, audits = Int(1)),
    text_signature = "(blocks_total, blocks_lost, chance, audits=1)"
)]
fn audit_blocks_for(
    py: Python<'_>,
    blocks_total: Int<u64>,
    blocks_lost: Int<u64>,
    chance: Real,
    audits: Int<u32>,
) -> PyResult<u64> {
    long(py, || chance::blocks_for(blocks_total.0, blocks_lost.0, chance.0, audits.0))
}

/// How many blocks a fragment has: chunks of BLAKE3's tree, of 1,024 bytes but for the last; an empty fragment has one.
///
/// Args:
///     fragment_len: The fragment's length in bytes.
///
/// Raises:
///     InputError: Not 0 to 2**64 - 1.
///
/// Example:
///     >>> from city_chain.proofs import poh
///     >>> [poh.audit_blocks(length) for length in (0, 1024, 1025)]
///     [1, 1, 2]
#[pyfunction]
fn audit_blocks(py: Python<'_>, fragment_len: Int<u64>) -> PyResult<u64> {
    short(py, || Ok(audit::blocks_of(fragment_len.0)))
}

/// Adds this file's functions to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(audit_challenge, module)?)?;
    module.add_function(wrap_pyfunction!(audit_answer, module)?)?;
    module.add_function(wrap_pyfunction!(audit_verify, module)?)?;
    module.add_function(wrap_pyfunction!(audit_blocks, module)?)?;
    module.add_function(wrap_pyfunction!(audit_chance, module)?)?;
    module.add_function(wrap_pyfunction!(audit_blocks_for, module)?)
}
