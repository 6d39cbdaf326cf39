//! Everything that is hashed, signed, sent or stored: one versioned encoding each (see [`crate::primitives::wire`]).
//!
//! The way of a transaction through the records: an [`identity::Identity`] signs a [`transaction::Transaction`]; a
//! [`selection::Selection`] out of the [`selection::Candidates`] says who holds it; the [`manifest::Manifest`] describes
//! its dispersal; with the holders' acks it becomes an [`availability::AvailabilityCertificate`]; a [`batch::Batch`] puts
//! it into the order of the ledger; the [`receipt::Receipt`] proves all of it against a [`receipt::Trust`].
//! Where a node is says an [`attestation::Attestation`], graded by [`grading::Rules`].
//! A payload may be [`sealed::Sealed`], so that its holders cannot read it.
//! A [`sharding::Ruling`] is what a city says to a transaction of several cities.
//! A [`repair::Repair`] moves fragments later. [`message::Message`] carries records between nodes; a [`letter::Letter`] is
//! from one party to another and from nobody else.

pub mod attestation;
pub mod availability;
pub mod batch;
pub mod bursts;
pub mod choice;
pub mod city_keys;
pub mod countersignature;
pub mod dealing;
pub mod epoch;
mod extended;
pub mod grading;
pub mod identity;
pub mod key_file;
pub mod letter;
pub mod manifest;
pub mod message;
pub mod node;
pub mod receipt;
pub mod repair;
pub mod sealed;
pub mod selection;
pub mod sharding;
pub mod signed;
pub mod transaction;

/// A public key, a node's or sender's id.
pub type Key = [u8; 32];

/// The most fragments that one transaction may be cut into.
pub const FRAGMENTS_MAX: usize = 1024;

/// The most nodes a selection may name: the holders and as many spares.
pub const NODES_MAX: usize = 2 * FRAGMENTS_MAX;

/// The most bytes that the name of a region, district or unit may have.
pub const NAME_MAX: usize = 64;
