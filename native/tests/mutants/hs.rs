//! The mutants of HotStuff and the scenarios that kill them.

use super::Mutant;

pub const MUTANTS: &[Mutant] = &[];
