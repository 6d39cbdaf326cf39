//! The manifest: the sender's signed description of a dispersal.

use borsh::{BorshDeserialize, BorshSerialize};

use super::identity::Identity;
use super::sealed::{self, Origin, Sealed};
use super::selection::Selection;
use super::signed::{SIGNATURE_LEN, Signed, signed};
use super::transaction::Transaction;
use super::{FRAGMENTS_MAX, Key, NODES_MAX};
use crate::algorithms::ec;
use crate::crypto::hash::{Digest, hex};
use crate::crypto::merkle;
use crate::error::{Error, Result};
use crate::primitives::wire::Record;

/// The most bytes that all fragments of one transaction may have together: 1 GiB. Restoring takes memory for all of them,
/// so a manifest must not make a small payload ask for a thousand times as many.
pub const DISPERSED_MAX: u64 = 1 << 30;

/// How the payload is sealed (see [`sealed`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Cipher {
    /// Not sealed.
    None = 0,
    /// To the city: its delegates open it together, once it is committed.
    City {
        /// The hash of the capsule ([`sealed::capsule_hash`]) that delegates give shares for, and for no other.
        capsule: Digest,
    } = 1,
    /// To readers that the payload names.
    Readers = 2,
}

impl Cipher {
    /// What it is called; `None` if it is none.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::City { .. } => Some("city"),
            Self::Readers => Some("readers"),
        }
    }

    /// The hash of the capsule; `None` if it is not sealed to the city.
    pub fn capsule(self) -> Option<Digest> {
        match self {
            Self::City { capsule } => Some(capsule),
            Self::None | Self::Readers => None,
        }
    }

    /// How the payload of a transaction is sealed. It hangs on the transaction alone, so whoever describes the same
    /// transaction again, after a crash or in a resending, says the same. A payload that was sealed for another
    /// transaction is bytes like any other.
    pub fn of(transaction: &Transaction) -> Result<Self> {
        Sealed::of(transaction).map_or(Ok(Self::None), |sealed| sealed.cipher())
    }
}

/// What was dispersed, how, and to whom. Its digest is the manifest hash that every ack names. Written in version 1 where its
/// selection is.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Manifest {
    /// The network.
    pub network: Digest,
    /// The transaction.
    pub tx_id: Digest,
    /// The sender's public signing key.
    pub sender: Key,
    /// The transaction's running number.
    pub sequence: u64,
    /// Bytes of the encoded transaction.
    pub length: u64,
    /// The erasure code's id (see [`ec`]).
    pub code: u8,
    /// How many fragments restore it.
    pub k: u16,
    /// How many fragments there are.
    pub n: u16,
    /// How many acks make the dispersal available.
    pub quorum: u16,
    /// How the payload is sealed.
    pub cipher: Cipher,
    /// Merkle root over the fragments' hashes.
    pub fragment_root: Digest,
    /// Who holds them.
    pub selection: Selection,
    /// The sender's signature.
    pub signature: [u8; SIGNATURE_LEN],
}

impl Record for Manifest {
    const TAG: [u8; 4] = *b"CCmf";
    const VERSION: u16 = 2;
    const NAME: &'static str = "manifest";
    const LEN_MAX: usize = NODES_MAX * 33 + 1024;

    fn version(&self) -> u16 {
        self.selection.version()
    }

    fn read_older(version: u16, body: &mut &[u8]) -> Option<std::io::Result<Self>> {
        (version == 1).then(|| Self::deserialize(body))
    }

    fn check(&self) -> Result<()> {
        let (k, n, quorum) = (self.k, self.n, self.quorum);
        if k == 0 || k > n || usize::from(n) > FRAGMENTS_MAX {
            return Err(Error::input(format!("manifest: k = {k}, n = {n}: 1 ≤ k ≤ n ≤ {FRAGMENTS_MAX} is needed")));
        }
        if quorum < k || quorum > n {
            return Err(Error::input(format!("manifest: a quorum of {quorum} is not between k = {k} and n = {n}")));
        }
        if self.length == 0 || self.length > Transaction::LEN_MAX as u64 {
            return Err(Error::input(format!(
                "manifest: a transaction of {} bytes; 1 to {} are allowed",
                self.length,
                Transaction::LEN_MAX
            )));
        }
        // Any code that has (k, n): what was dispersed with another one than is taken today stays readable.
        let code = self.code()?;
        code.check(usize::from(k), usize::from(n - k))?;
        let fragment_len = code.fragment_len(self.length, usize::from(k))? as u64;
        if fragment_len * u64::from(n) > DISPERSED_MAX {
            return Err(Error::input(format!(
                "manifest: {n} fragments of {fragment_len} bytes: together at most {DISPERSED_MAX} bytes are allowed"
            )));
        }
        self.selection.check()?;
        if self.selection.nodes.len() > 2 * usize::from(n) {
            return Err(Error::input(format!(
                "manifest: {} nodes for {n} fragments: the holders and as many spares, at most {} are allowed",
                self.selection.nodes.len(),
                2 * usize::from(n)
            )));
        }
        if self.selection.nodes.len() < usize::from(quorum) {
            return Err(Error::input(format!(
                "manifest: {} nodes are fewer than the quorum of {quorum}",
                self.selection.nodes.len()
            )));
        }
        let mut nodes: Vec<&Key> = self.selection.nodes.iter().collect();
        nodes.sort_unstable();
        if nodes.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::input("manifest: a node is named twice"));
        }
        Ok(())
    }
}

signed!(Manifest, sender, "city-chain v1 manifest");

/// How a transaction is cut and dispersed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of the encoded transaction.
    pub length: u64,
    /// How many fragments restore it.
    pub k: u16,
    /// How many fragments there are.
    pub n: u16,
    /// How many acks make the dispersal available.
    pub quorum: u16,
    /// The erasure code; `None` is that of [`ec::code_for`].
    pub code: Option<ec::Code>,
}

impl Manifest {
    /// The erasure code.
    pub fn code(&self) -> Result<ec::Code> {
        ec::Code::from_id(self.code.into()).map_err(|error| Error::input(format!("manifest: {error}")))
    }

    /// Makes and signs the manifest of `transaction`, whose digest is `tx_id`, for fragments with these `hashes`.
    pub fn new(
        identity: &Identity,
        transaction: &Transaction,
        tx_id: Digest,
        shape: Shape,
        hashes: &[Digest],
        selection: Selection,
    ) -> Result<Self> {
        let Shape { length, k, n, quorum, code } = shape;
        if k == 0 || k > n || hashes.len() != usize::from(n) {
            return Err(Error::input(format!(
                "manifest: k = {k}, n = {n} and {} fragment hashes: 1 ≤ k ≤ n and n hashes are needed",
                hashes.len()
            )));
        }
        Self {
            network: transaction.network,
            tx_id,
            sender: transaction.sender,
            sequence: transaction.sequence,
            length,
            code: code.map_or_else(|| ec::code_for(usize::from(k), usize::from(n - k)), Ok)?.id(),
            k,
            n,
            quorum,
            cipher: Cipher::of(transaction)?,
            fragment_root: fragment_root(hashes)?,
            selection,
            signature: [0; SIGNATURE_LEN],
        }
        .sign(identity.signing())
    }

    /// The label under which the payload was sealed to the city, for who asks with its capsule for a decryption share.
    ///
    /// # Errors
    /// [`Error::Verification`] if the payload is not sealed to the city, or this is not its capsule.
    pub fn opening_label(&self, capsule: &[u8]) -> Result<Digest> {
        let Cipher::City { capsule: named } = self.cipher else {
            return Err(Error::verification(format!(
                "manifest: transaction {} is not sealed to the city",
                hex(&self.tx_id)
            )));
        };
        let hash = sealed::capsule_hash(capsule);
        if hash != named {
            return Err(Error::verification(format!(
                "manifest: the capsule has the hash {}; that of transaction {} has {}",
                hex(&hash),
                hex(&self.tx_id),
                hex(&named)
            )));
        }
        Ok(Origin { network: self.network, sender: self.sender, sequence: self.sequence }.label())
    }

    /// Checks that `hashes` are the hashes of all fragments.
    pub fn verify_hashes(&self, hashes: &[Digest]) -> Result<()> {
        if hashes.len() != usize::from(self.n) {
            return Err(Error::verification(format!(
                "manifest: {} fragment hashes where n = {}",
                hashes.len(),
                self.n
            )));
        }
        let root = fragment_root(hashes)?;
        if root != self.fragment_root {
            return Err(Error::verification(format!(
                "manifest: the fragment hashes lead to {}, not to {}",
                hex(&root),
                hex(&self.fragment_root)
            )));
        }
        Ok(())
    }

    /// Where in the selection `node` stands.
    pub fn position(&self, node: &Key) -> Option<usize> {
        self.selection.nodes.iter().position(|chosen| chosen == node)
    }
}

/// The Merkle root over fragment hashes.
pub fn fragment_root(hashes: &[Digest]) -> Result<Digest> {
    merkle::root(&hashes.iter().map(|hash| merkle::leaf(hash)).collect::<Vec<_>>())
}
