//! SC, sharding coordination: committees, cross-shard atomic commit, resharding.
//!
//! The shape is S-BAC (Al-Bassam, Sonnino, Bano, Hrycyszyn, Danezis, "Chainspace", NDSS 2018) with the replay defences of
//! Sonnino, Bano, Al-Bassam, Danezis, "Replay attacks and defenses against cross-shard consensus in sharded distributed
//! ledgers" (EuroS&P 2020): certificates are bound to one attempt, output-only shards are asked too, and versions advance
//! on every release.
//!
//! Deviations from S-BAC, and why:
//! - The last shard of the sorted list *decides*: it says Prepared only when it has the Prepared of all others, and commits
//!   with it. So one log orders commit and expiry, and a shard that is prepared can always learn the outcome. It costs one
//!   more block at the other shards; in return nobody has to wait for a coordinator's timeout.
//! - After its expiry a transaction that the decider does not know is *Expired*, which is a word of its own: a decider
//!   forgets a commit when all others have certified that they let go, so that its memory is bounded, and could not say
//!   Abort of what it may have committed.
//! - The versions of keys that were touched long ago are not kept apart: they share the latest version among them. That
//!   refuses a transaction now and then, and never lets one pass.
//!
//! [`Participant`] is the machine of a shard, [`Coordinator`] drives a transaction on from certificates alone, [`assign`]
//! and [`committee_size`] make committees, [`Layout`] maps keys to shards.

mod certificate;
mod command;
mod committees;
mod coordinator;
mod layout;
mod manifest;
mod participant;
mod reshard;
mod rules;
mod state;
#[cfg(test)]
mod tests;

pub use certificate::{
    CERTIFICATE_LEN_MAX, Certificate, Handover, HandoverCertificate, Signature, Signatures, Statement, Verdict,
};
pub use command::{Certificates, Command};
pub use committees::{NODES_MAX, POPULATION_MAX, assign, check_size, committee_size, failure_log2};
pub use coordinator::{Coordinator, Outcome};
pub use layout::{CHANGES_MAX, Layout, SHARDS_MAX};
pub use manifest::{Input, KEYS_LISTED_MAX, LISTED_MAX, Manifest, Output};
pub use participant::{Event, Participant};
pub use reshard::{PART_LEN, PARTS_MAX, Part};
pub use state::{Config, Decision, End, KEYS_MAX, LAYOUTS_KEPT, OPEN_MAX, Open, TOMBSTONES_MAX, Tombstone};
