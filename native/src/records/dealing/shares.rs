//! A delegate's secret shares: used, and kept encrypted.

use zeroize::Zeroizing;

use crate::algorithms::tes::bls;
use crate::algorithms::tes::share::{SECRET_SHARE_LEN, SecretShare};
use crate::algorithms::tes::tdh2;
use crate::crypto::dem;
use crate::crypto::hash::{self, Digest, Hasher};
use crate::error::{Error, Result};
use crate::records::city_keys::CityKeys;
use crate::records::identity::Identity;

/// Bytes of what encrypts a row of shares: fresh randomness.
const ROW_NONCE_LEN: usize = 32;

const CONTEXT_ROW: &str = "city-chain v1 city keys row";
const CONTEXT_ROW_BINDING: &str = "city-chain v1 city keys row binding";

/// One delegate's shares of a city's keys. Zeroised on drop; `Debug` shows the index only.
#[derive(Debug)]
pub struct KeyShares {
    pub(super) keys: Digest,
    pub(super) signing: SecretShare,
    pub(super) encryption: SecretShare,
    pub(super) encryption_key: tdh2::PublicKey,
}

impl KeyShares {
    /// The delegate's place, counted from 1.
    pub fn index(&self) -> u16 {
        self.signing.index()
    }

    /// The digest of the keys that they are shares of.
    pub fn keys(&self) -> &Digest {
        &self.keys
    }

    /// A share of the city's signature over `message`.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        Ok(bls::sign_share(&self.signing, message)?.to_vec())
    }

    /// A share of the opening of what was encrypted to the city under `label`; the capsule is checked first.
    pub fn decrypt(&self, capsule: &[u8], label: &[u8]) -> Result<Vec<u8>> {
        Ok(tdh2::decrypt_share(&self.encryption, &self.encryption_key, label, capsule)?.to_vec())
    }

    /// The shares as their delegate keeps them: encrypted under a key that only it has, with fresh randomness.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the system has no randomness.
    pub fn seal(&self, identity: &Identity) -> Result<Vec<u8>> {
        let mut nonce = [0; ROW_NONCE_LEN];
        getrandom::fill(&mut nonce)
            .map_err(|error| Error::unavailable(format!("randomness of the operating system ({error})"), 32, 0))?;
        let plain = Zeroizing::new([&self.signing.to_bytes()[..], &self.encryption.to_bytes()].concat());
        let sealed = dem::seal(&row_key(identity, &nonce), &row_binding(identity, &self.keys), &plain);
        Ok([&nonce[..], &sealed].concat())
    }

    /// Reads what [`KeyShares::seal`] made for the same delegate and keys.
    ///
    /// # Errors
    /// [`Error::Verification`] if any byte is another, or it is of other keys or another delegate.
    pub fn open(identity: &Identity, keys: &CityKeys, row: &[u8]) -> Result<Self> {
        let wrong = |_| Error::verification("key shares: they are damaged, or of other keys or another delegate");
        let (nonce, sealed) = row.split_first_chunk::<ROW_NONCE_LEN>().ok_or(()).map_err(|()| wrong(()))?;
        let digest = keys.digest()?;
        let opened = dem::open(&row_key(identity, nonce), &row_binding(identity, &digest), sealed);
        let plain = Zeroizing::new(opened.map_err(|_| wrong(()))?);
        let Some((signing, encryption)) = plain.split_at_checked(SECRET_SHARE_LEN) else { return Err(wrong(())) };
        let (signing, encryption) = (SecretShare::from_bytes(signing), SecretShare::from_bytes(encryption));
        let (Ok(signing), Ok(encryption)) = (signing, encryption) else { return Err(wrong(())) };
        Ok(Self { keys: digest, signing, encryption, encryption_key: keys.encryption_group()?.into() })
    }
}

fn row_key(identity: &Identity, nonce: &[u8; ROW_NONCE_LEN]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(Hasher::new(CONTEXT_ROW).fixed(identity.storage()).fixed(nonce).finish())
}

fn row_binding(identity: &Identity, keys: &Digest) -> Digest {
    hash::digest(CONTEXT_ROW_BINDING, &[identity.id(), *keys].concat())
}
