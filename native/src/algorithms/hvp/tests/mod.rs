//! Tests of the machine, in a small network of their own.

mod attacks;
mod bounds;
mod net;
mod others;
mod overlay;
mod promises;
mod views;

use std::collections::{BTreeMap, BTreeSet};

use super::message::{Announced, Control, Gossip, Message, Priority};
use super::*;
use crate::primitives::wire::{self, Bytes, List};
use net::*;
