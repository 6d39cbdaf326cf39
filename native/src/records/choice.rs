//! Anyone's check of a choice of nodes, from bytes alone.

use super::Key;
use super::attestation::Attestation;
use super::epoch::Epoch;
use super::manifest::Manifest;
use super::selection::Candidates;
use super::signed::Signed;
use crate::crypto::hash::{Digest, hex};
use crate::error::{Error, Result};
use crate::primitives::wire::Record;

/// A chosen node, with what it was chosen by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The node.
    pub node: Key,
    /// Its failure domain.
    pub domain: String,
    /// The weight that it was drawn with.
    pub weight: u32,
    /// The municipality that it says it is in; empty where places did not count.
    pub municipality: String,
    /// The grade of its place; 0 where places did not count.
    pub grade: u8,
}

/// Computes the whole choice of a manifest's nodes again: the sender's signature, the draw, the list's root, every weight, the
/// nodes in their order, and their grades. With `attestations` the grades of their subjects are computed from these too.
///
/// Whether the epoch is one to believe is not known here, nor whether the list is all who were there.
///
/// # Errors
/// [`Error::Verification`] that names the first thing that differs.
pub fn verify_selection(
    manifest: &Manifest,
    candidates: &Candidates,
    epoch: &Epoch,
    attestations: &[Attestation],
) -> Result<Vec<Chosen>> {
    manifest.check()?;
    epoch.check()?;
    same_network("candidate list", &candidates.list().network, &epoch.network)?;
    same_network("manifest", &manifest.network, &epoch.network)?;
    manifest.verify()?;
    manifest.selection.verify(epoch, candidates, &manifest.sender, manifest.sequence)?;
    if !attestations.is_empty() {
        candidates.list().verify_standings(attestations)?;
    }
    let chosen = |node: &Key| {
        let at = candidates.position(node)?;
        let candidate = &candidates.list().items[at];
        let standing = candidate.standing.as_ref();
        Some(Chosen {
            node: *node,
            domain: candidate.domain.to_string(),
            weight: candidates.weights()[at],
            municipality: standing.map_or_else(String::new, |of| of.municipality.to_string()),
            grade: standing.map_or(0, |of| of.grade),
        })
    };
    Ok(manifest.selection.nodes.iter().filter_map(chosen).collect())
}

fn same_network(what: &str, had: &Digest, wanted: &Digest) -> Result<()> {
    if had != wanted {
        return Err(Error::verification(format!("{what}: of network {}, not of {}", hex(had), hex(wanted))));
    }
    Ok(())
}
