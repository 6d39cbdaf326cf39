//! The receipt: what the sender keeps, and what proves everything offline.

use std::borrow::Borrow;

use borsh::{BorshDeserialize, BorshSerialize};

use super::availability::AvailabilityCertificate;
use super::batch::{Batch, BatchHeader, CommitCertificate, Entry};
use super::city_keys::SIGNING_POINT_LEN;
use super::epoch::Epoch;
use super::transaction::Transaction;
use crate::algorithms::tes::bls;
use crate::algorithms::tes::share::{BlsKeys, Keys};
use crate::crypto::hash::{Digest, hex};
use crate::crypto::merkle;
use crate::crypto::typed;
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

/// What a verifier believes beforehand: a network, the roots of its epochs, and the city's public key, if compressed
/// certificates are to be checked. Without the key it is written in version 1, which knew of none.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Trust {
    /// The network.
    pub network: Digest,
    /// The epochs, ascending by number.
    pub epochs: List<TrustedEpoch, EPOCHS_MAX>,
    /// The BLS public key of the city, which all its epochs share.
    pub city_key: Option<[u8; SIGNING_POINT_LEN]>,
}

impl Record for Trust {
    const TAG: [u8; 4] = *b"CCtr";
    const VERSION: u16 = 2;
    const NAME: &'static str = "trust anchor";
    const LEN_MAX: usize = EPOCHS_MAX * 40 + 256;

    fn version(&self) -> u16 {
        if self.city_key.is_some() { 2 } else { 1 }
    }

    fn write_body(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
        self.network.serialize(out)?;
        self.epochs.serialize(out)?;
        if self.city_key.is_some() { self.city_key.serialize(out) } else { Ok(()) }
    }

    fn read_older(version: u16, body: &mut &[u8]) -> Option<std::io::Result<Self>> {
        let read = |body: &mut &[u8]| {
            let network = Digest::deserialize(body)?;
            Ok(Self { network, epochs: List::deserialize(body)?, city_key: None })
        };
        (version == 1).then(|| read(body))
    }

    fn check(&self) -> Result<()> {
        if self.epochs.is_empty() || !self.epochs.windows(2).all(|pair| pair[0].number < pair[1].number) {
            return Err(Error::input("trust anchor: the epochs must be at least one, ascending and distinct"));
        }
        match &self.city_key {
            Some(key) => bls::public_key(&typed::encode(BlsKeys::SCHEME.public(), key))
                .map(drop)
                .map_err(|error| Error::input(format!("trust anchor: {error}"))),
            None => Ok(()),
        }
    }
}

impl Trust {
    /// Trust in some epochs of a network, in any order.
    pub fn new(network: Digest, mut epochs: Vec<TrustedEpoch>) -> Result<Self> {
        epochs.sort_by_key(|epoch| epoch.number);
        let trust = Self { network, epochs: List::new("trust anchor: epochs", epochs)?, city_key: None };
        trust.check()?;
        Ok(trust)
    }

    /// The same trust, and in the city's public key (typed bytes).
    pub fn with_city_key(mut self, key: &[u8]) -> Result<Self> {
        let point = typed::decode(BlsKeys::SCHEME.public(), key, bls::PublicKey::LEN)?;
        self.city_key =
            Some(point.try_into().map_err(|_| Error::input("trust anchor: the city's key has another length"))?);
        self.check()?;
        Ok(self)
    }

    /// The city's public key, typed bytes.
    pub fn city_key_typed(&self) -> Option<Vec<u8>> {
        self.city_key.map(|point| typed::encode(BlsKeys::SCHEME.public(), &point))
    }

    /// Trust in one epoch.
    pub fn of(epoch: &Epoch) -> Result<Self> {
        Self::new(epoch.network, vec![TrustedEpoch { number: epoch.number, root: epoch.root() }])
    }
}

/// Proof that a transaction was dispersed to enough holders and committed by the delegates. Written in the version of its
/// manifest.
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
    const VERSION: u16 = 2;
    const NAME: &'static str = "receipt";
    const LEN_MAX: usize = 4 << 20;

    fn version(&self) -> u16 {
        self.availability.version()
    }

    fn read_older(version: u16, body: &mut &[u8]) -> Option<std::io::Result<Self>> {
        (version == 1).then(|| Self::deserialize(body))
    }

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

    /// The same receipt with another certificate of its batch: a compressed one.
    pub fn with_certificate(&self, certificate: CommitCertificate) -> Result<Self> {
        let (ours, theirs) = (&self.certificate, &certificate);
        if (ours.batch(), ours.slot()) != (theirs.batch(), theirs.slot()) {
            return Err(Error::verification("receipt: the certificate is about another batch"));
        }
        Ok(Self { certificate, ..self.clone() })
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
        self.certificate.verify_under(&self.epoch, &self.header, trust.city_key.as_ref())?;
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
