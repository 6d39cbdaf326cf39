//! The mutants of sharding and the scenarios that kill them.

use super::Mutant;

pub const MUTANTS: &[Mutant] = &[];
