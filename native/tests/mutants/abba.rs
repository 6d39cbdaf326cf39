//! The mutants of ABBA and the scenarios that kill them: those of the unit tests, in the same small network.

#[path = "../../src/algorithms/abba/tests/attacks.rs"]
mod attacks;
#[path = "../../src/algorithms/abba/tests/net.rs"]
#[allow(dead_code, reason = "the unit tests use more of it")]
mod net;

use std::collections::{BTreeMap, BTreeSet};

use city_chain_native::algorithms::abba::{
    Abba, Body, Certificate, Event, Instance, Message, Signatures, Statement, Subset, SubsetEvent, Vote,
};
use city_chain_native::crypto::ed25519::SigningKey;
use city_chain_native::crypto::hash;
use city_chain_native::error::Result;
use city_chain_native::primitives::committee::{Committee, Member};
use city_chain_native::primitives::machine::{Action, Machine};
use city_chain_native::primitives::outbox::Effect;
use city_chain_native::primitives::wire;

use super::Mutant;

pub const MUTANTS: &[Mutant] = attacks::SCENARIOS;
