//! The algorithms: siblings that never import each other. Each can be used alone.

pub mod cbf;
pub mod ec;
pub mod rvh;
pub mod tes;
pub mod tnh;
pub mod vrf;
