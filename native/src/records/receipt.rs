//! The receipt: what the sender keeps, and what proves everything offline.

use std::borrow::Borrow;

use borsh::{BorshDeserialize, BorshSerialize};

use super::availability::AvailabilityCertificate;
use super::batch::{Batch, BatchHeader, CommitCertificate, Entry};
use super::epoch::Epoch;
use super::transaction::Transaction;
use crate::crypto::hash::{Digest, hex};
use crate::crypto::merkle;
use crate::error::{Error, Result};
use crate::primitives::wire::{List, Record};
use crate::records::signed::Signed;

/// The most epochs a trust anchor lists.
pub const EPOCHS_MAX: usize = 4096;

/// The root of an epoch that is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TrustedEpoch {
    /// The epoch's number.
    pub number: u64,
    /// Its root ([`Epoch::root`]).
    pub root: Digest,
}

/// What a verifier believes beforehand: a network and the roots of its epochs.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Trust {
    /// The network.
    pub network: Digest,
    /// The epochs, ascending by number.
    pub epochs: List<TrustedEpoch, EPOCHS_MAX>,
}

impl Record for Trust {
    const TAG: [u8; 4] = *b"CCtr";
    const VERSION: u16 = 1;
    const NAME: &'static str = "trust anchor";
    const LEN_MAX: usize = EPOCHS_MAX * 40 + 64;

    fn check(&self) -> Result<()> {
        if self.epochs.is_empty() || !self.epochs.windows(2).all(|pair| pair[0].number < pair[1].number) {
            return Err(Error::input("trust anchor: the epochs must be at least one, ascending and distinct"));
        }
        Ok(())
    }
}

impl Trust {
    /// Trust in some epochs of a network, in any order.
    pub fn new(network: Digest, mut epochs: Vec<TrustedEpoch>) -> Result<Self> {
        epochs.sort_by_key(|epoch| epoch.number);
        let trust = Self { network, epochs: List::new("trust anchor: epochs", epochs)? };
        trust.check()?;
        Ok(trust)
    }

    /// Trust in one epoch.
    pub fn of(epoch: &Epoch) -> Result<Self> {
        Self::new(epoch.network, vec![TrustedEpoch { number: epoch.number, root: epoch.root() }])
    }
}

/// Proof that a transaction was dispersed to enough holders and committed by the delegates.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Receipt {
    /// Who holds it.
    pub availability: AvailabilityCertificate,
    /// Who voted.
    pub epoch: Epoch,
    /// The batch it is in.
    pub header: BatchHeader,
    /// That the batch is committed.
    pub certificate: CommitCertificate,
    /// Where in the batch it is.
    pub position: u32,
    /// That it is there.
    pub path: List<Digest, { merkle::PATH_MAX }>,
}

impl Record for Receipt {
    const TAG: [u8; 4] = *b"CCre";
    const VERSION: u16 = 1;
    const NAME: &'static str = "receipt";
    const LEN_MAX: usize = 4 << 20;

    fn check(&self) -> Result<()> {
        self.availability.check()?;
        self.epoch.check()?;
        self.header.check()?;
        self.certificate.check()
    }
}

impl Receipt {
    /// Puts the receipt together for the transaction at `position` of a committed batch.
    pub fn new(
        availability: AvailabilityCertificate,
        epoch: Epoch,
        batch: &Batch,
        certificate: CommitCertificate,
        position: u32,
    ) -> Result<Self> {
        Self::from_tree(&batch.tree()?, availability, epoch, batch, certificate, position)
    }

    /// Many receipts of one batch: `availabilities[i]` is that of the transaction at `positions[i]`. The batch's tree is
    /// built once.
    pub fn many<A: Borrow<AvailabilityCertificate>>(
        availabilities: &[A],
        epoch: &Epoch,
        batch: &Batch,
        certificate: &CommitCertificate,
        positions: &[u32],
    ) -> Result<Vec<Self>> {
        if availabilities.len() != positions.len() {
            return Err(Error::input(format!(
                "receipt: {} availability certificates for {} positions",
                availabilities.len(),
                positions.len()
            )));
        }
        let tree = batch.tree()?;
        let make = |(availability, position): (&A, &u32)| {
            let availability = availability.borrow().clone();
            Self::from_tree(&tree, availability, epoch.clone(), batch, certificate.clone(), *position)
        };
        availabilities.iter().zip(positions).map(make).collect()
    }

    fn from_tree(
        tree: &merkle::Tree,
        availability: AvailabilityCertificate,
        epoch: Epoch,
        batch: &Batch,
        certificate: CommitCertificate,
        position: u32,
    ) -> Result<Self> {
        let path = tree.path(position as usize)?;
        let receipt = Self {
            availability,
            epoch,
            header: batch.header.clone(),
            certificate,
            position,
            path: List::new("receipt: path", path)?,
        };
        receipt.verify_inclusion()?;
        Ok(receipt)
    }

    /// The transaction it is about.
    pub fn tx_id(&self) -> &Digest {
        &self.availability.manifest.tx_id
    }

    fn verify_inclusion(&self) -> Result<()> {
        let entry = Entry::transaction(&self.availability.manifest)?;
        merkle::verify(
            &entry.leaf()?,
            self.position as usize,
            self.header.count as usize,
            &self.path,
            &self.header.entries_root,
        )
        .map_err(|error| Error::verification(format!("receipt: the transaction is not in the batch: {error}")))
    }

    /// Checks the whole receipt against what the verifier believes beforehand. Needs no network.
    pub fn verify(&self, trust: &Trust) -> Result<()> {
        self.check()?;
        trust.check()?;
        if self.epoch.network != trust.network {
            return Err(Error::verification(format!(
                "receipt: of network {}, but network {} is trusted",
                hex(&self.epoch.network),
                hex(&trust.network)
            )));
        }
        let number = self.epoch.number;
        let Some(trusted) = trust.epochs.iter().find(|epoch| epoch.number == number) else {
            return Err(Error::verification(format!("receipt: epoch {number} is not among the trusted ones")));
        };
        if trusted.root != self.epoch.root() {
            return Err(Error::verification(format!(
                "receipt: epoch {number} has root {}, but {} is trusted",
                hex(&self.epoch.root()),
                hex(&trusted.root)
            )));
        }
        self.verify_inclusion()?;
        self.certificate.verify(&self.epoch, &self.header)?;
        self.availability.verify(&self.epoch)
    }

    /// Checks that `transaction` is the one the receipt is about, whole and signed.
    pub fn verify_transaction(&self, transaction: &Transaction) -> Result<()> {
        let id = transaction.digest()?;
        if id != *self.tx_id() {
            return Err(Error::verification(format!(
                "receipt: of transaction {}, not of {}",
                hex(self.tx_id()),
                hex(&id)
            )));
        }
        transaction.verify()
    }
}
