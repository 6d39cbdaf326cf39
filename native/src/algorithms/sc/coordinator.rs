//! Whoever drives a transaction on: it has no state but certificates, and nobody has to trust it.
//!
//! Anybody can be one, at any time, from whatever certificates can be had; shards check everything for themselves.

use std::collections::{BTreeMap, BTreeSet};

use super::certificate::{Certificate, Statement, Verdict};
use super::command::{Certificates, Command};
use super::layout::Layout;
use super::manifest::Manifest;
use crate::error::Result;
use crate::primitives::wire::List;

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every listed shard is prepared.
    Committed,
    /// A shard refused it, or it expired.
    Aborted,
}

/// What is known of one transaction.
#[derive(Debug, Clone)]
pub struct Coordinator {
    manifest: Manifest,
    prepared: BTreeMap<u16, Certificate>,
    ended: Option<Certificate>,
    released: BTreeMap<u16, Certificate>,
}

impl Coordinator {
    /// What the certificates tell about a transaction; those that are wrong, or about another one, tell nothing.
    ///
    /// # Errors
    /// [`crate::error::Error::Input`] if the manifest is none.
    pub fn from_certificates<'a>(
        manifest: Manifest,
        certificates: impl IntoIterator<Item = Certificate>,
        layouts: impl IntoIterator<Item = &'a Layout> + Clone,
    ) -> Result<Self> {
        manifest.txid()?;
        let mut made = Self { manifest, prepared: BTreeMap::new(), ended: None, released: BTreeMap::new() };
        for certificate in certificates {
            let _ = made.add(certificate, layouts.clone());
        }
        Ok(made)
    }

    /// Adds a certificate.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn add<'a>(&mut self, certificate: Certificate, layouts: impl IntoIterator<Item = &'a Layout>) -> Result<()> {
        let Statement { shard, verdict, .. } = certificate.statement;
        let layouts: Vec<&Layout> = layouts.into_iter().collect();
        match verdict {
            Verdict::Prepared => {
                super::certificate::prepared(&self.manifest, std::slice::from_ref(&certificate), &[shard], &layouts)?;
                if self.manifest.lists(shard) {
                    self.prepared.entry(shard).or_insert(certificate);
                }
            }
            Verdict::Abort | Verdict::Expired => {
                super::certificate::ended(&self.manifest, &certificate, &layouts)?;
                self.ended.get_or_insert(certificate);
            }
            Verdict::Released => {
                certificate.statement.check_about(&self.manifest)?;
                certificate.verify(layouts)?;
                self.released.entry(shard).or_insert(certificate);
            }
            Verdict::Imported => {}
        }
        Ok(())
    }

    /// The transaction.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The outcome, as soon as certificates tell it. Once the decider is prepared all shards commit, whatever else is said.
    pub fn outcome(&self) -> Option<Outcome> {
        if self.manifest.shards.iter().all(|shard| self.prepared.contains_key(shard)) {
            return Some(Outcome::Committed);
        }
        self.ended.as_ref().map(|_| Outcome::Aborted)
    }

    /// Whether all shards that have its keys, the decider excepted, have let go of them.
    pub fn is_finished(&self, layout: &Layout) -> bool {
        let owners = self.targets(layout);
        self.outcome().is_some() && owners.iter().all(|shard| self.released.contains_key(shard))
    }

    /// The shards that are listed, or have keys of it now; not the decider, and not for the decider's own keys.
    fn targets(&self, layout: &Layout) -> BTreeSet<u16> {
        let decider = self.manifest.decider();
        let listed = self.manifest.shards.iter().copied().filter(|shard| *shard != decider && layout.has(*shard));
        let others = self.manifest.entries().filter(|(shard, _)| *shard != decider);
        listed.chain(others.map(|(_, key)| layout.shard_of(&key))).collect()
    }

    fn certificates(&self, of: impl Fn(u16) -> bool) -> Result<Certificates> {
        let found = self.prepared.iter().filter(|(shard, _)| of(**shard)).map(|(_, certificate)| certificate.clone());
        List::new("coordinator: certificates", found.collect())
    }

    /// What to put to which shard now. All shards but the decider are asked at once; `in_order` asks one after the other,
    /// so that of transactions which want the same keys one always wins.
    ///
    /// # Errors
    /// None that can be reached: everything is within its limits.
    pub fn next(&self, layout: &Layout, in_order: bool) -> Result<Vec<(u16, Command)>> {
        let manifest = &self.manifest;
        let decider = layout.speaks_for(manifest.decider());
        let waiting = self.targets(layout).into_iter().filter(|shard| !self.released.contains_key(shard));
        match (self.outcome(), &self.ended) {
            (Some(Outcome::Committed), _) => {
                let certificates = self.certificates(|_| true)?;
                let commit = Command::Commit { manifest: manifest.clone(), certificates };
                let commits = waiting.map(|shard| (shard, commit.clone()));
                let acknowledge = |certificate: &Certificate| Command::Acknowledge {
                    manifest: manifest.clone(),
                    certificate: certificate.clone(),
                };
                let acknowledged = self.released.values().map(|certificate| (decider, acknowledge(certificate)));
                Ok(commits.chain(acknowledged).collect())
            }
            (_, Some(ended)) => {
                let abort = Command::Abort { manifest: manifest.clone(), certificate: ended.clone() };
                let told = waiting.chain([decider]).filter(|shard| *shard != ended.statement.shard);
                Ok(told.map(|shard| (shard, abort.clone())).collect())
            }
            _ => self.prepares(decider, in_order),
        }
    }

    fn prepares(&self, decider: u16, in_order: bool) -> Result<Vec<(u16, Command)>> {
        let manifest = &self.manifest;
        let others = manifest.shards.iter().copied().filter(|shard| *shard != manifest.decider());
        let mut missing: Vec<u16> = others.filter(|shard| !self.prepared.contains_key(shard)).collect();
        if in_order {
            missing.truncate(1);
        }
        if missing.is_empty() {
            let certificates = self.certificates(|shard| shard != manifest.decider())?;
            return Ok(vec![(decider, Command::Prepare { manifest: manifest.clone(), certificates })]);
        }
        let ask = Command::Prepare { manifest: manifest.clone(), certificates: Certificates::default() };
        Ok(missing.into_iter().map(|shard| (shard, ask.clone())).collect())
    }

    /// What to put to the decider after the expiry, so that it says how the transaction ended.
    pub fn expire(&self, layout: &Layout) -> (u16, Command) {
        (layout.speaks_for(self.manifest.decider()), Command::Expire { manifest: self.manifest.clone() })
    }
}
