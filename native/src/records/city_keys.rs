//! A city's threshold keys: what the delegates of an epoch can do together and no few of them can.
//!
//! One key signs (BLS), one decrypts (TDH2); they come from two key generations and are never one key. Any
//! n − ⌊(n − 1)/3⌋ of the n delegates use them, each counting once whatever its stake. The public part is this record,
//! certified by a stake-weighted quorum of the epoch's delegates: a delegate signs one such record per epoch, so two can
//! never both be certified. How it is made is in [`super::dealing`].

use borsh::{BorshDeserialize, BorshSerialize};

use super::Key;
use super::epoch::{Epoch, right_signatures, verify_signatures};
use super::signed::SIGNATURE_LEN;
use crate::algorithms::tes::bls;
use crate::algorithms::tes::share::{BlsKeys, GroupKey, Keys, PublicShare, Tdh2Keys};
use crate::crypto::ed25519::SigningKey;
use crate::crypto::hash::{self, Digest, hex};
use crate::crypto::typed;
use crate::error::{Error, Result};
use crate::primitives::quorum;
use crate::primitives::wire::{self, List, Record};
use crate::proofs::dpos::{Signature, VALIDATORS_MAX};

const CONTEXT: &str = "city-chain v1 city keys";

/// Bytes of a point of the signing key's group.
pub const SIGNING_POINT_LEN: usize = 96;

/// Bytes of a point of the encryption key's group.
pub const ENCRYPTION_POINT_LEN: usize = 32;

/// How many of `delegates` use the keys together: n − ⌊(n − 1)/3⌋.
///
/// # Errors
/// [`Error::Input`] if there are none or more than [`VALIDATORS_MAX`].
pub fn threshold(delegates: usize) -> Result<u16> {
    if delegates > VALIDATORS_MAX {
        return Err(Error::input(format!("city keys: {delegates} delegates, at most {VALIDATORS_MAX} are possible")));
    }
    u16::try_from(quorum::byzantine(delegates as u128)?)
        .map_err(|_| Error::input(format!("city keys: {delegates} delegates are too many")))
}

/// What one delegate's part in the keys is checked against.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DelegateKeys {
    /// The delegate.
    pub node: Key,
    /// Its public share of the signing key.
    pub signing: [u8; SIGNING_POINT_LEN],
    /// Its public share of the encryption key.
    pub encryption: [u8; ENCRYPTION_POINT_LEN],
    /// The digest of the ML-DSA public key that it countersigns with; `None` of a delegate that dealt nothing.
    pub countersigner: Option<Digest>,
}

/// The public part of a city's threshold keys in one epoch.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CityKeys {
    /// The network.
    pub network: Digest,
    /// The number of the epoch whose delegates have the shares.
    pub epoch: u64,
    /// That epoch's root.
    pub epoch_root: Digest,
    /// The digest of the dealings that the shares come from ([`super::dealing::Dealings::digest`]).
    pub dealings: Digest,
    /// How many delegates use the keys together.
    pub threshold: u16,
    /// The key that signatures of the city are checked with.
    pub signing_key: [u8; SIGNING_POINT_LEN],
    /// The key that one encrypts to the city with.
    pub encryption_key: [u8; ENCRYPTION_POINT_LEN],
    /// The delegates, in the order of the epoch: the index of a delegate's shares is its place, counted from 1.
    pub delegates: List<DelegateKeys, VALIDATORS_MAX>,
    /// The delegates' signatures over [`CityKeys::digest`], ascending and distinct by place.
    pub signatures: List<Signature, VALIDATORS_MAX>,
}

impl Record for CityKeys {
    const TAG: [u8; 4] = *b"CCck";
    const VERSION: u16 = 1;
    const NAME: &'static str = "city keys";
    const LEN_MAX: usize = VALIDATORS_MAX * 320 + 1024;

    fn check(&self) -> Result<()> {
        let needed = threshold(self.delegates.len())?;
        if self.threshold != needed {
            return Err(Error::input(format!(
                "city keys: threshold {} of {} delegates, {needed} is needed",
                self.threshold,
                self.delegates.len()
            )));
        }
        if !self.delegates.windows(2).all(|pair| pair[0].node < pair[1].node) {
            return Err(Error::input("city keys: the delegates must be ascending and distinct"));
        }
        if !self.signatures.windows(2).all(|pair| pair[0].position < pair[1].position) {
            return Err(Error::input("city keys: the signatures must be ascending and distinct by position"));
        }
        Ok(())
    }
}

impl CityKeys {
    /// What the delegates sign: everything but the signatures.
    pub fn digest(&self) -> Result<Digest> {
        let unsigned = Self { signatures: List::default(), ..self.clone() };
        Ok(hash::digest(CONTEXT, &wire::encode(&unsigned)?))
    }

    /// One delegate's signature. Nothing here remembers what was signed before: that is the keeper's.
    pub fn sign(&self, key: &SigningKey) -> Result<[u8; SIGNATURE_LEN]> {
        Ok(key.sign(&self.digest()?))
    }

    /// The same keys, certified by those of `signatures` that are right; wrong and foreign ones are left out.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the right ones are no quorum of the stake; [`Error::Verification`] if the keys are not
    /// those of `epoch`.
    pub fn certified(&self, epoch: &Epoch, signatures: &[(Key, [u8; SIGNATURE_LEN])]) -> Result<Self> {
        self.verify_epoch(epoch)?;
        let digest = self.digest()?;
        let signatures = right_signatures(epoch, &digest, signatures);
        let keys = Self { signatures: List::new("city keys: signatures", signatures)?, ..self.clone() };
        verify_signatures("city keys", epoch, &digest, &keys.signatures)?;
        Ok(keys)
    }

    /// Checks that a quorum of the delegates of `epoch` certified these keys.
    ///
    /// # Errors
    /// [`Error::Verification`] with what is wrong, [`Error::Unavailable`] if too little stake signed.
    pub fn verify(&self, epoch: &Epoch) -> Result<()> {
        self.check()?;
        self.verify_epoch(epoch)?;
        verify_signatures("city keys", epoch, &self.digest()?, &self.signatures)
    }

    /// Checks that these are keys of the delegates of `epoch`, certified or not.
    fn verify_epoch(&self, epoch: &Epoch) -> Result<()> {
        let named = (self.network, self.epoch, self.epoch_root);
        if named != (epoch.network, epoch.number, epoch.root()) {
            return Err(Error::verification(format!(
                "city keys: of network {} and epoch {} with root {}, not of network {} and epoch {} with root {}",
                hex(&self.network),
                self.epoch,
                hex(&self.epoch_root),
                hex(&epoch.network),
                epoch.number,
                hex(&epoch.root())
            )));
        }
        let validators = epoch.validators.items();
        if !self.delegates.iter().map(|keys| &keys.node).eq(validators.iter().map(|validator| &validator.key)) {
            return Err(Error::verification("city keys: their delegates are not those of the epoch"));
        }
        Ok(())
    }

    /// The place of a delegate, counted from 1: the index of its shares.
    pub fn index(&self, node: &Key) -> Option<u16> {
        let at = self.delegates.binary_search_by(|keys| keys.node.cmp(node)).ok()?;
        u16::try_from(at + 1).ok()
    }

    /// The key that signatures are checked with.
    pub fn signing_group(&self) -> Result<bls::PublicKey> {
        bls::public_key(&self.signing_key_typed())
    }

    /// Its typed bytes.
    pub fn signing_key_typed(&self) -> Vec<u8> {
        typed::encode(BlsKeys::SCHEME.public(), &self.signing_key)
    }

    /// The key that one encrypts with.
    pub fn encryption_group(&self) -> Result<GroupKey<Tdh2Keys>> {
        GroupKey::from_bytes(&self.encryption_key_typed())
    }

    /// Its typed bytes.
    pub fn encryption_key_typed(&self) -> Vec<u8> {
        typed::encode(Tdh2Keys::SCHEME.public(), &self.encryption_key)
    }

    /// The delegates' public shares of the signing key, by place.
    pub fn signing_shares(&self) -> Result<Vec<bls::PublicShare>> {
        let typed = self.signing_shares_typed();
        bls::public_shares(&typed.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    /// Their typed bytes.
    pub fn signing_shares_typed(&self) -> Vec<Vec<u8>> {
        let points = self.delegates.iter().map(|keys| keys.signing.as_slice());
        (1u16..).zip(points).map(|(index, point)| share_typed::<BlsKeys>(index, point)).collect()
    }

    /// The delegates' public shares of the encryption key, by place.
    pub fn encryption_shares(&self) -> Result<Vec<PublicShare<Tdh2Keys>>> {
        self.encryption_shares_typed().iter().map(|bytes| PublicShare::from_bytes(bytes)).collect()
    }

    /// Their typed bytes.
    pub fn encryption_shares_typed(&self) -> Vec<Vec<u8>> {
        let points = self.delegates.iter().map(|keys| keys.encryption.as_slice());
        (1u16..).zip(points).map(|(index, point)| share_typed::<Tdh2Keys>(index, point)).collect()
    }
}

fn share_typed<K: Keys>(index: u16, point: &[u8]) -> Vec<u8> {
    typed::encode(K::SCHEME.public_share(), &[&index.to_le_bytes()[..], point].concat())
}
