//! Small things that several algorithms and records share.

pub mod bulk;
pub mod kernel;
pub mod outbox;
pub mod quorum;
pub mod wire;
