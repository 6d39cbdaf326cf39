//! Tests of the public API, as one program: the way of a transaction through the records, hostile bytes, golden vectors,
//! and the bodies of the fuzz targets on seeded input.

mod builders;
mod clocks;
mod drawn;
mod flips;
mod fuzzing;
mod golden;
mod hostile;
mod limits;
mod many;
mod memory;
mod places;
mod tampering;
mod way;
