//! Hashing, signatures, keys and Merkle trees: the ground everything else stands on. Imports nothing of the crate but
//! `error`.

pub mod bls;
pub mod dem;
pub mod ed25519;
pub mod hash;
pub mod kem;
pub mod keys;
mod lanes;
pub mod merkle;
pub mod ml_dsa;
pub mod remembered;
pub mod typed;
