//! The native core of `city-chain`.
//!
//! Layers, each importing only those to its right:
//! `python → sim → records → proofs → algorithms → primitives → crypto`, with [`error`] under all of them. Algorithms are
//! siblings and never import each other. Nothing here reads a clock, opens a socket or draws randomness on its own,
//! except where a function's documentation says so.

pub mod algorithms;
pub mod crypto;
pub mod error;
pub mod primitives;
pub mod proofs;
pub mod records;
pub mod sim;

#[cfg(feature = "python")]
mod python;
