//! A seeded network of nodes in virtual time: the same seed gives the same run, byte for byte.

pub mod node;
