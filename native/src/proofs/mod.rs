//! The proofs that the layers need: holding a fragment (`poh`), electing delegates and certifying by stake (`dpos`).

pub mod dpos;
pub mod poh;
