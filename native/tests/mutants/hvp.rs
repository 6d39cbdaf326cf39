//! The mutants of HyParView + Plumtree and the scenarios that kill them: those of the unit tests.

#[path = "../../src/algorithms/hvp/tests/attacks.rs"]
mod attacks;
#[path = "../../src/algorithms/hvp/tests/net.rs"]
#[allow(dead_code, reason = "the unit tests use more of it")]
mod net;

use std::collections::{BTreeMap, BTreeSet};

use city_chain_native::algorithms::hvp::message::{Announced, Control, Gossip, Message, Priority};
use city_chain_native::algorithms::hvp::{AWAITED_PEER_MAX, Action, Config, Contact, Hvp, PAYLOAD_MAX, PeerId, Trust};
use city_chain_native::crypto::ed25519::SigningKey;
use city_chain_native::primitives::wire::{self, Bytes, List};

use super::Mutant;

pub const MUTANTS: &[Mutant] = attacks::SCENARIOS;
