//! The availability certificate: a manifest and enough holders' acks, so that the content outlives any tolerated fault.

use std::borrow::Borrow;
use std::collections::HashMap;

use borsh::{BorshDeserialize, BorshSerialize};

use super::epoch::Epoch;
use super::manifest::Manifest;
use super::selection::{Candidates, Selection};
use super::signed::Signed;
use super::{FRAGMENTS_MAX, Key};
use crate::algorithms::vrf;
use crate::crypto::ed25519;
use crate::crypto::hash::{Digest, hex};
use crate::crypto::remembered;
use crate::error::{Error, Result};
use crate::primitives::bulk::BulkSignature;
use crate::primitives::wire::{List, Record};
use crate::proofs::poh::{self, Ack};

/// An ack without what the manifest says already.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CompactAck {
    /// Where the holder stands in the manifest's selection.
    pub position: u16,
    /// Which fragment it holds.
    pub index: u16,
    /// The holder's clock when it had stored it.
    pub hlc: u64,
    /// Until when it promised to hold it.
    pub hold_until_ms: u64,
    /// What it was challenged with.
    pub challenge: [u8; 32],
    /// Its answer: keyed BLAKE3 of the fragment.
    pub proof: Digest,
    /// The holder's signature.
    pub signature: BulkSignature,
}

/// A manifest, the fragments' hashes, and at least a write quorum of acks. Written in the version of its manifest.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AvailabilityCertificate {
    /// What was dispersed.
    pub manifest: Manifest,
    /// The hash of every fragment, by index.
    pub fragment_hashes: List<Digest, FRAGMENTS_MAX>,
    /// The acks, ascending and distinct by index, from distinct nodes.
    pub acks: List<CompactAck, FRAGMENTS_MAX>,
}

impl Record for AvailabilityCertificate {
    const TAG: [u8; 4] = *b"CCav";
    const VERSION: u16 = 2;
    const NAME: &'static str = "availability certificate";
    const LEN_MAX: usize = Manifest::LEN_MAX + FRAGMENTS_MAX * (32 + 1024) + 64;

    fn version(&self) -> u16 {
        self.manifest.version()
    }

    fn read_older(version: u16, body: &mut &[u8]) -> Option<std::io::Result<Self>> {
        (version == 1).then(|| Self::deserialize(body))
    }

    fn check(&self) -> Result<()> {
        self.manifest.check()?;
        if !self.acks.windows(2).all(|pair| pair[0].index < pair[1].index) {
            return Err(Error::input("availability certificate: the acks must be ascending and distinct by index"));
        }
        let mut positions: Vec<u16> = self.acks.iter().map(|ack| ack.position).collect();
        positions.sort_unstable();
        if positions.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::input("availability certificate: a node holds two fragments"));
        }
        let (nodes, n) = (self.manifest.selection.nodes.len(), self.manifest.n);
        for ack in self.acks.iter() {
            if usize::from(ack.position) >= nodes || ack.index >= n {
                return Err(Error::input(format!(
                    "availability certificate: an ack of node {} of {nodes} for fragment {} of {n}",
                    ack.position, ack.index
                )));
            }
        }
        Ok(())
    }
}

impl AvailabilityCertificate {
    /// Puts a certificate together; refuses acks that do not belong to the manifest. The signatures are not checked here.
    pub fn new<A: Borrow<Ack>>(manifest: Manifest, fragment_hashes: Vec<Digest>, acks: &[A]) -> Result<Self> {
        manifest.verify_hashes(&fragment_hashes)?;
        let manifest_hash = manifest.digest()?;
        let mut compact = acks
            .iter()
            .map(|ack| compress(&manifest, &manifest_hash, &fragment_hashes, ack.borrow()))
            .collect::<Result<Vec<_>>>()?;
        compact.sort_by_key(|ack| ack.index);
        let certificate = Self {
            manifest,
            fragment_hashes: List::new("availability certificate: fragment hashes", fragment_hashes)?,
            acks: List::new("availability certificate: acks", compact)?,
        };
        certificate.check()?;
        Ok(certificate)
    }

    /// The acks in full.
    pub fn full_acks(&self) -> Result<Vec<Ack>> {
        self.check()?;
        let manifest = &self.manifest;
        if self.fragment_hashes.len() != usize::from(manifest.n) {
            return Err(Error::verification(format!(
                "availability certificate: {} fragment hashes where n = {}",
                self.fragment_hashes.len(),
                manifest.n
            )));
        }
        let manifest_hash = manifest.digest()?;
        Ok(self
            .acks
            .iter()
            .map(|ack| Ack {
                network: manifest.network,
                node: manifest.selection.nodes[usize::from(ack.position)],
                tx_id: manifest.tx_id,
                manifest_hash,
                index: ack.index,
                n: manifest.n,
                fragment_hash: self.fragment_hashes[usize::from(ack.index)],
                hlc: ack.hlc,
                hold_until_ms: ack.hold_until_ms,
                challenge: ack.challenge,
                proof: ack.proof,
                signature: ack.signature.clone(),
            })
            .collect())
    }

    /// Who holds which fragment, by index.
    pub fn holders(&self) -> Vec<(u16, Key)> {
        let nodes = &self.manifest.selection.nodes;
        self.acks.iter().filter_map(|ack| Some((ack.index, *nodes.get(usize::from(ack.position))?))).collect()
    }

    /// The grade of place with which each holder was chosen, by index; empty if places did not count. The sender signed
    /// them, and whoever voted for the transaction compared them with the candidate list.
    pub fn grades(&self) -> Vec<(u16, u8)> {
        let grades = &self.manifest.selection.grades;
        self.acks.iter().filter_map(|ack| Some((ack.index, *grades.get(usize::from(ack.position))?))).collect()
    }

    /// Checks everything but the choice of nodes, which needs the candidate list.
    pub fn verify(&self, epoch: &Epoch) -> Result<()> {
        verify_many(std::slice::from_ref(self), epoch)?.into_iter().collect()
    }
}

fn compress(manifest: &Manifest, manifest_hash: &Digest, hashes: &[Digest], ack: &Ack) -> Result<CompactAck> {
    let belongs = ack.network == manifest.network
        && ack.tx_id == manifest.tx_id
        && ack.manifest_hash == *manifest_hash
        && ack.n == manifest.n
        && hashes.get(usize::from(ack.index)) == Some(&ack.fragment_hash);
    let position = manifest.position(&ack.node).and_then(|position| u16::try_from(position).ok());
    let (true, Some(position)) = (belongs, position) else {
        return Err(Error::verification(format!(
            "availability certificate: the ack of node {} for fragment {} is not about this manifest",
            hex(&ack.node),
            ack.index
        )));
    };
    Ok(CompactAck {
        position,
        index: ack.index,
        hlc: ack.hlc,
        hold_until_ms: ack.hold_until_ms,
        challenge: ack.challenge,
        proof: ack.proof,
        signature: ack.signature.clone(),
    })
}

/// The output of every distinct proof among `selections`, checked once each: a sender's proof serves a whole epoch.
fn verify_draws<'a>(
    selections: impl Iterator<Item = &'a Selection>,
    epoch: &Epoch,
) -> Vec<Result<[u8; vrf::OUTPUT_LEN]>> {
    let mut seen = HashMap::new();
    selections
        .map(|selection| {
            let draw = (&selection.vrf_public, &selection.proof, selection.epoch);
            seen.entry(draw).or_insert_with(|| selection.verify_proof(epoch)).clone()
        })
        .collect()
}

/// Checks the choice of nodes of many manifests, one verdict each; every distinct proof is checked once.
pub fn verify_selections<M: Borrow<Manifest>>(
    manifests: &[M],
    epoch: &Epoch,
    candidates: &Candidates,
) -> Vec<Result<()>> {
    let draws = verify_draws(manifests.iter().map(|manifest| &manifest.borrow().selection), epoch);
    let check = |(manifest, draw): (&M, Result<_>)| {
        let manifest = manifest.borrow();
        manifest.selection.verify_nodes(&draw?, candidates, &manifest.sender, manifest.sequence)
    };
    manifests.iter().zip(draws).map(check).collect()
}

/// Whether every manifest's signature is right, in one batch; a manifest that has no encoding gets the reason.
fn verify_manifests(manifests: &[&Manifest]) -> Result<Vec<Result<()>>> {
    let digests: Vec<Result<Digest>> = manifests.iter().map(|manifest| manifest.digest()).collect();
    let items: Vec<ed25519::Item<'_>> = manifests
        .iter()
        .zip(&digests)
        .map(|(manifest, digest)| ed25519::Item {
            public: &manifest.sender,
            message: digest.as_ref().map_or(&[], |digest| digest.as_slice()),
            signature: &manifest.signature,
        })
        .collect();
    let good = remembered::verify_many(&items)?;
    let wrong = || Error::verification("manifest: the sender's signature is wrong");
    Ok(digests
        .into_iter()
        .zip(good)
        .map(|(digest, good)| digest.and_then(|_| good.then_some(()).ok_or_else(wrong)))
        .collect())
}

/// Checks many certificates, one verdict each; all signatures in two batches. The cheapest checks come first, and what
/// failed one costs nothing more.
pub fn verify_many<C: Borrow<AvailabilityCertificate>>(certificates: &[C], epoch: &Epoch) -> Result<Vec<Result<()>>> {
    let certificates: Vec<&AvailabilityCertificate> = certificates.iter().map(Borrow::borrow).collect();
    let mut verdicts: Vec<Result<()>> = certificates.iter().map(|c| verify_shape(c, epoch)).collect();
    let good = standing(&verdicts);
    let draws = verify_draws(good.iter().map(|at| &certificates[*at].manifest.selection), epoch);
    for (at, draw) in good.into_iter().zip(draws) {
        verdicts[at] = draw.map(drop);
    }
    let good = standing(&verdicts);
    let manifests: Vec<&Manifest> = good.iter().map(|at| &certificates[*at].manifest).collect();
    for (at, signature) in good.into_iter().zip(verify_manifests(&manifests)?) {
        verdicts[at] = signature;
    }
    let mut acks = Vec::new();
    let mut owners = Vec::new();
    for at in standing(&verdicts) {
        match certificates[at].full_acks() {
            Ok(full) => {
                owners.extend(std::iter::repeat_n(at, full.len()));
                acks.extend(full);
            }
            Err(error) => verdicts[at] = Err(error),
        }
    }
    for (owner, verdict) in owners.into_iter().zip(poh::verify_acks(&acks)?) {
        if verdicts[owner].is_ok() {
            verdicts[owner] = verdict;
        }
    }
    Ok(verdicts)
}

/// The positions that nothing was found against yet.
fn standing(verdicts: &[Result<()>]) -> Vec<usize> {
    (0..verdicts.len()).filter(|at| verdicts[*at].is_ok()).collect()
}

fn verify_shape(certificate: &AvailabilityCertificate, epoch: &Epoch) -> Result<()> {
    certificate.check()?;
    let manifest = &certificate.manifest;
    if manifest.network != epoch.network {
        return Err(Error::verification(format!(
            "manifest: of network {}, not of {}",
            hex(&manifest.network),
            hex(&epoch.network)
        )));
    }
    manifest.verify_hashes(&certificate.fragment_hashes)?;
    if certificate.acks.len() < usize::from(manifest.quorum) {
        return Err(Error::unavailable(
            "availability certificate: acks",
            u64::from(manifest.quorum),
            certificate.acks.len() as u64,
        ));
    }
    Ok(())
}
