//! The proofs that the layers need: holding a fragment (`poh`), electing delegates and certifying by stake (`dpos`),
//! being in a place (`pop`).

pub mod dpos;
pub mod poh;
pub mod pop;
