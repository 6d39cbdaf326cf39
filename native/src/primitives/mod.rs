//! Small things that several algorithms and records share.

pub mod bulk;
pub mod committee;
pub mod kernel;
pub mod machine;
pub mod mutant;
pub mod outbox;
pub mod quorum;
pub mod wire;
