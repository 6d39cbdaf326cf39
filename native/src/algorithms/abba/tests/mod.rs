//! Tests of the machines, in a small network of their own.

mod attacks;
mod certificates;
mod hostile;
mod net;
mod rules;
mod subsets;

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::crypto::ed25519::SigningKey;
use crate::crypto::hash;
use crate::error::Result;
use crate::primitives::committee::Member;
use crate::primitives::machine::{Action, Machine};
use crate::primitives::outbox::Effect;
use crate::primitives::wire;
use net::*;
