//! What a shard's own consensus orders.

use borsh::{BorshDeserialize, BorshSerialize};

use super::certificate::{CERTIFICATE_LEN_MAX, Certificate, HandoverCertificate};
use super::layout::Layout;
use super::manifest::{LISTED_MAX, Manifest};
use super::reshard::Part;
use crate::crypto::hash::Digest;
use crate::primitives::wire::{List, Record};

/// The certificates of one transaction, one of each shard at most.
pub type Certificates = List<Certificate, LISTED_MAX>;

/// One step of a shard.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Command {
    /// Lock the keys and vote. At the decider, with the Prepared of all others: commit.
    Prepare {
        /// The transaction.
        manifest: Manifest,
        /// For the decider: the Prepared of all other shards.
        certificates: Certificates,
    } = 0,
    /// The Prepared of every listed shard: do it.
    Commit {
        /// The transaction.
        manifest: Manifest,
        /// The Prepared of every listed shard.
        certificates: Certificates,
    } = 1,
    /// One shard's Abort, or the decider's Expired: let go.
    Abort {
        /// The transaction.
        manifest: Manifest,
        /// The Abort or Expired.
        certificate: Certificate,
    } = 2,
    /// For the decider, after the expiry: say how it ended.
    Expire {
        /// The transaction.
        manifest: Manifest,
    } = 3,
    /// For the decider: a shard's Released.
    Acknowledge {
        /// The transaction.
        manifest: Manifest,
        /// The Released.
        certificate: Certificate,
    } = 4,
    /// The boundary block: the next epoch begins after it.
    Boundary {
        /// Its layout.
        layout: Layout,
        /// What the application binds to the handover.
        application: Digest,
    } = 5,
    /// A part of another shard's state arrives.
    Import {
        /// The part.
        part: Part,
        /// The old quorum's handover.
        handover: HandoverCertificate,
    } = 6,
    /// Another shard's Imported: the part need not be kept any more.
    Delivered {
        /// The Imported.
        certificate: Certificate,
    } = 7,
}

impl Record for Command {
    const TAG: [u8; 4] = *b"CCso";
    const VERSION: u16 = 1;
    const NAME: &'static str = "shard command";
    const LEN_MAX: usize = Part::LEN_MAX + HandoverCertificate::LEN_MAX + LISTED_MAX * CERTIFICATE_LEN_MAX;

    fn check(&self) -> crate::error::Result<()> {
        match self {
            Self::Prepare { manifest, certificates } | Self::Commit { manifest, certificates } => {
                manifest.check()?;
                certificates.iter().try_for_each(Record::check)
            }
            Self::Abort { manifest, certificate } | Self::Acknowledge { manifest, certificate } => {
                manifest.check()?;
                certificate.check()
            }
            Self::Expire { manifest } => manifest.check(),
            Self::Boundary { layout, .. } => layout.check(),
            Self::Import { part, handover } => {
                part.check()?;
                handover.check()
            }
            Self::Delivered { certificate } => certificate.check(),
        }
    }
}

impl Command {
    /// The transaction that it is about, if it is about one.
    pub fn manifest(&self) -> Option<&Manifest> {
        match self {
            Self::Prepare { manifest, .. }
            | Self::Commit { manifest, .. }
            | Self::Abort { manifest, .. }
            | Self::Expire { manifest }
            | Self::Acknowledge { manifest, .. } => Some(manifest),
            Self::Boundary { .. } | Self::Import { .. } | Self::Delivered { .. } => None,
        }
    }

    /// The layout that it brings, if it is a boundary.
    pub fn layout(&self) -> Option<&Layout> {
        match self {
            Self::Boundary { layout, .. } => Some(layout),
            _ => None,
        }
    }
}
