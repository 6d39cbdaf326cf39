//! Bindings of `tes::coin`.

use std::hash::{DefaultHasher, Hash, Hasher};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use super::super::buffer::Input;
use super::super::call::long;
use super::super::int::Int;
use super::super::keys::bytes_of;
use super::dkg::DkgSecretShare;
use super::tdh2::{slices, verdicts_to_python};
use crate::algorithms::tes::coin::{self, Name};
use crate::algorithms::tes::polynomial::PARTIES_MAX;
use crate::crypto::hash::hex;

/// Which coin is tossed. A name is tossed once: what it shows never changes.
///
/// Args:
///     chain: The chain's id, any bytes.
///     epoch: The epoch, 0 to 2**64 - 1.
///     instance: What the coin is for, the id of one agreement: any bytes.
///     round: The round within it, 0 to 2**64 - 1.
///
/// Raises:
///     InputError: A number is out of range.
///
/// Example:
///     >>> Name(b"chain 7", 1, b"agreement 12", 3)
///     <Name of epoch 1, round 3>
#[pyclass(frozen, eq, hash, name = "Name", module = "city_chain.algorithms.tes.coin")]
#[derive(PartialEq, Eq, Hash)]
struct CoinName {
    chain: Vec<u8>,
    epoch: u64,
    instance: Vec<u8>,
    round: u64,
}

impl CoinName {
    fn core(&self) -> Name<'_> {
        Name { chain: &self.chain, epoch: self.epoch, instance: &self.instance, round: self.round }
    }
}

#[pymethods]
impl CoinName {
    #[new]
    fn new(chain: Input<'_>, epoch: Int<u64>, instance: Input<'_>, round: Int<u64>) -> Self {
        Self { chain: chain.to_vec(), epoch: epoch.0, instance: instance.to_vec(), round: round.0 }
    }

    /// The chain's id.
    #[getter]
    fn chain<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.chain)
    }

    /// The epoch.
    #[getter]
    fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What the coin is for.
    #[getter]
    fn instance<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.instance)
    }

    /// The round.
    #[getter]
    fn round(&self) -> u64 {
        self.round
    }

    /// What a party's BLS key share signs to make its share of this coin, where the coin is one of BLS signatures.
    #[getter]
    fn bls_message<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &coin::BlsCoin::message(&self.core()))
    }

    fn __repr__(&self) -> String {
        format!("<Name of epoch {}, round {}>", self.epoch, self.round)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let parts = (self.chain(py), self.epoch, self.instance(py), self.round);
        (py.get_type::<Self>(), parts).into_pyobject(py)
    }
}

/// What a coin shows.
///
/// Example:
///     >>> from city_chain.algorithms.tes import dkg
///     >>> setup = dkg.Setup("coin", threshold=1, parties=1, context=b"epoch 1")
///     >>> deal, own = dkg.deal(setup, 1)
///     >>> secret, keys = dkg.finalize(setup, 1, [deal], own)
///     >>> coin, name = Coin(1, keys.group_key, keys.shares), Name(b"chain 7", 1, b"agreement 12", 0)
///     >>> toss = coin.combine(name, [coin.share(secret, name)])
///     >>> isinstance(toss, Toss), toss.bit in (False, True), len(toss.value)
///     (True, True, 32)
#[pyclass(frozen, name = "Toss", module = "city_chain.algorithms.tes.coin")]
struct CoinToss(coin::Toss);

#[pymethods]
impl CoinToss {
    /// The bit.
    #[getter]
    fn bit(&self) -> bool {
        self.0.bit()
    }

    /// 32 uniform bytes, of which the bit is one.
    #[getter]
    fn value<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.value)
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| other.get().0 == self.0)
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.value.hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self) -> String {
        format!("<Toss {} of {}>", u8::from(self.0.bit()), hex(&self.0.value))
    }
}

/// The coin of a group of parties. The kind of the group's key says which: ``coin`` is the one on ristretto255, ``bls`` the
/// one made of BLS signatures.
///
/// Args:
///     threshold: How many parties it takes, f + 1 where f may be faulty.
///     group_key: The group's public key, with its two letters.
///     public_shares: The public shares of parties 1, 2, 3, …, in this order.
///
/// Raises:
///     InputError: A key is of another kind, out of order, or a number is out of range.
///     VerificationError: The public shares are not of the group's key.
///
/// Example:
///     >>> from city_chain.algorithms.tes import dkg
///     >>> setup = dkg.Setup("coin", threshold=2, parties=3, context=b"epoch 1")
///     >>> dealt = [dkg.deal(setup, dealer) for dealer in (1, 2, 3)]
///     >>> deals = [deal for deal, _ in dealt]
///     >>> keys = dkg.public_keys(setup, deals)
///     >>> secrets = [dkg.finalize(setup, i, deals, [own[i - 1] for _, own in dealt])[0] for i in (1, 2, 3)]
///     >>> coin = Coin(2, keys.group_key, keys.shares)
///     >>> name = Name(b"chain 7", 1, b"agreement 12", 0)
///     >>> shares = [coin.share(secret, name) for secret in secrets]
///     >>> coin.combine(name, shares[:2]) == coin.combine(name, shares[1:])
///     True
#[pyclass(frozen, name = "Coin", module = "city_chain.algorithms.tes.coin")]
struct CoinCoin {
    coin: Box<dyn coin::Coin>,
    threshold: u16,
    parties: usize,
}

#[pymethods]
impl CoinCoin {
    #[new]
    fn new(
        py: Python<'_>,
        threshold: Int<u16>,
        group_key: Input<'_>,
        public_shares: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let publics = bytes_of(public_shares, "coin: public shares", PARTIES_MAX)?;
        let (key, publics) = (group_key.as_slice(), slices(&publics));
        let coin = long(py, || coin::coin_of(threshold.0, key, &publics))?;
        Ok(Self { coin, threshold: threshold.0, parties: publics.len() })
    }

    /// What the holder of a secret share shows for a name.
    ///
    /// Args:
    ///     secret_share: The party's secret share, of the coin's scheme.
    ///     name: Which coin.
    ///
    /// Returns:
    ///     The share: 130 bytes, or 50 of the coin of BLS signatures.
    ///
    /// Raises:
    ///     InputError: The secret share is of another scheme.
    ///     UnavailableError: The system has no randomness.
    fn share<'py>(
        &self,
        py: Python<'py>,
        secret_share: &Bound<'py, DkgSecretShare>,
        name: &Bound<'py, CoinName>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let (secret, name) = (&secret_share.get().0, name.get().core());
        long(py, || self.coin.share(secret, &name)).map(|share| PyBytes::new(py, &share))
    }

    /// Checks a share against the public share of the party whose index it has.
    ///
    /// Args:
    ///     name: Which coin.
    ///     share: What ``share`` gave.
    ///
    /// Raises:
    ///     VerificationError: The share is wrong.
    ///     InputError: It has another length, or is of no party.
    fn verify_share(&self, py: Python<'_>, name: &Bound<'_, CoinName>, share: Input<'_>) -> PyResult<()> {
        let (name, share) = (name.get().core(), share.as_slice());
        long(py, || self.coin.verify_share(&name, share))
    }

    /// Checks many shares together.
    ///
    /// Args:
    ///     name: Which coin.
    ///     shares: The shares, at most 1,024.
    ///
    /// Returns:
    ///     One verdict each: None, or the error (not raised) that ``verify_share`` would raise for it.
    ///
    /// Raises:
    ///     InputError: There are too many.
    fn verify_shares(
        &self,
        py: Python<'_>,
        name: &Bound<'_, CoinName>,
        shares: &Bound<'_, PyAny>,
    ) -> PyResult<Vec<Py<PyAny>>> {
        let shares = bytes_of(shares, "coin: shares", PARTIES_MAX)?;
        let (name, shares) = (name.get().core(), slices(&shares));
        Ok(verdicts_to_python(py, long(py, || self.coin.verify_shares(&name, &shares))?))
    }

    /// What the coin shows. Shares are checked; wrong ones are left out.
    ///
    /// Args:
    ///     name: Which coin.
    ///     shares: Shares of different parties, at least as many as the threshold.
    ///
    /// Returns:
    ///     The toss, the same whoever's shares they are.
    ///
    /// Raises:
    ///     UnavailableError: Too few are right; the message names the parties whose shares are wrong.
    ///     InputError: An index is 0, of no party or twice there, or a share has another length.
    fn combine(&self, py: Python<'_>, name: &Bound<'_, CoinName>, shares: &Bound<'_, PyAny>) -> PyResult<CoinToss> {
        let shares = bytes_of(shares, "coin: shares", PARTIES_MAX)?;
        let (name, shares) = (name.get().core(), slices(&shares));
        long(py, || self.coin.combine(&name, &shares)).map(CoinToss)
    }

    fn __repr__(&self) -> String {
        format!("<Coin: {} of {}>", self.threshold, self.parties)
    }
}

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("CoinName", module.py().get_type::<CoinName>())?;
    module.add("CoinToss", module.py().get_type::<CoinToss>())?;
    module.add("Coin", module.py().get_type::<CoinCoin>())
}
