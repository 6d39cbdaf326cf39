//! Hashing, signatures and Merkle trees: the ground everything else stands on. Imports nothing of the crate but `error`.

pub mod hash;
pub mod merkle;
