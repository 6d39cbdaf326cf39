//! The algorithms: siblings that never import each other. Each can be used alone.

pub mod abba;
pub mod cbf;
pub mod ec;
pub mod hs;
pub mod hvp;
pub mod rvh;
pub mod sc;
pub mod tes;
pub mod tnh;
pub mod vrf;
