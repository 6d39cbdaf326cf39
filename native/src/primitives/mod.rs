//! Small things that several algorithms and records share.

pub mod wire;
