//! Threshold signatures on BLS12-381.
