//! PoP, Proof of Place: which municipality a point is in. Exactly one or none, and the same one everywhere.
//!
//! | file | what |
//! |---|---|
//! | [`geojson`] | GeoJSON (RFC 7946) into exact coordinates; every fault with the ring that has it |
//! | [`rings`] | points at 1e-7°, rings, what makes a ring one: closed, with an area, not crossing itself |
//! | [`map`] | the municipalities in their canonical form, its bytes and its root |
//! | [`index`] | the exact way through a Sort-Tile-Recursive tree (Leutenegger, Lopez, Edgington 1997) |
//! | [`raster`] | the short way: cells that lie in one municipality answer at once, others hold their few edges |
//! | [`locate`] | [`Places`]: single points and batches |
//! | [`multipliers`] | weights of municipalities in basis points, with events that have their time |
//!
//! **Borders.** All predicates are exact (integers, 64 and 128 bits). A point belongs to whoever owns the spot an
//! immeasurably small step to the east of it and a far smaller one to the north, which no border goes through. So a point
//! on a shared edge or corner has exactly one owner, whatever the order of the features: western and southern borders
//! belong to a municipality, eastern and northern ones do not. 180° east is 180° west; the north pole is asked 1e-7° south
//! of it.
//!
//! **Overlaps.** Where municipalities overlap, the one whose name comes first (by its bytes) owns the point. Rings of one
//! municipality count by the even–odd rule.

pub mod geojson;
pub mod index;
pub mod locate;
pub mod map;
pub mod multipliers;
pub mod raster;
pub mod rings;

#[cfg(test)]
mod tests;

pub use geojson::{Fault, LeaveOut, Options, faults};
pub use locate::{NOBODY, Places, Unit};
pub use multipliers::{Event, Multipliers};
pub use rings::{LAT_MAX, LON_MAX, Point};
