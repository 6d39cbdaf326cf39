//! Bindings of `tes::dkg` and `tes::share`.

use std::hash::{DefaultHasher, Hash, Hasher};

use pyo3::PyClass;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::types::{PyBytes, PyTuple};

use super::super::buffer::Input;
use super::super::call::{long, short};
use super::super::error::to_python;
use super::super::int::Int;
use super::super::keys::{bytes_of, items};
use super::super::text::Str;
use crate::algorithms::tes::dkg::any;
use crate::algorithms::tes::dkg::{self, Verdicts};
use crate::algorithms::tes::polynomial::PARTIES_MAX;
use crate::algorithms::tes::share::{self, Scheme};
use crate::error::Result;

/// What the parties have agreed on before anybody deals.
///
/// Args:
///     scheme: What the key is for: ``bls``, ``tdh2`` or ``coin``.
///     threshold: How many parties together do what the key can; more than may be faulty.
///     parties: How many there are, 1 to 1024; their indices are 1 to this.
///     context: Names the occasion (chain, epoch, attempt): deals made in another do not count.
///
/// Raises:
///     InputError: There is no such scheme, no such number of parties, or the threshold is 0 or above it.
///
/// Example:
///     >>> Setup("bls", threshold=3, parties=4, context=b"chain 7, epoch 1")
///     <Setup of bls: 3 of 4>
#[pyclass(frozen, eq, hash, name = "Setup", module = "city_chain.algorithms.tes.dkg")]
#[derive(PartialEq, Hash)]
struct DkgSetup {
    scheme: Scheme,
    threshold: u16,
    parties: u16,
    context: Vec<u8>,
}

impl DkgSetup {
    fn core(&self) -> Result<dkg::Setup<'_>> {
        dkg::Setup::new(&self.context, self.threshold, self.parties)
    }
}

#[pymethods]
impl DkgSetup {
    #[new]
    #[pyo3(signature = (scheme, *, threshold, parties, context))]
    fn new(py: Python<'_>, scheme: Str, threshold: Int<u16>, parties: Int<u16>, context: Input<'_>) -> PyResult<Self> {
        short(py, || {
            let scheme = Scheme::named(&scheme.0)?;
            dkg::Setup::new(&context, threshold.0, parties.0)?;
            Ok(Self { scheme, threshold: threshold.0, parties: parties.0, context: context.to_vec() })
        })
    }

    /// What the key is for: ``bls``, ``tdh2`` or ``coin``.
    #[getter]
    fn scheme(&self) -> &'static str {
        self.scheme.name()
    }

    /// How many parties together do what the key can.
    #[getter]
    fn threshold(&self) -> u16 {
        self.threshold
    }

    /// How many parties there are.
    #[getter]
    fn parties(&self) -> u16 {
        self.parties
    }

    /// The occasion.
    #[getter]
    fn context<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.context)
    }

    fn __repr__(&self) -> String {
        format!("<Setup of {}: {} of {}>", self.scheme.name(), self.threshold, self.parties)
    }
}

/// One party's secret share of a key, opaque: it is wiped from memory when it goes, shows scheme and index only, and
/// cannot be copied or pickled. ``to_bytes`` gives the secret out, for a store or a sealed message; nothing else does.
///
/// Example:
///     >>> setup = Setup("coin", threshold=2, parties=3, context=b"epoch 1")
///     >>> _, shares = deal(setup, 1)
///     >>> shares[2]
///     <SecretShare 3 of coin>
///     >>> SecretShare.from_bytes(shares[2].to_bytes()).public_share == shares[2].public_share
///     True
#[pyclass(frozen, name = "SecretShare", module = "city_chain.algorithms.tes.dkg")]
pub(in crate::python) struct DkgSecretShare(pub(in crate::python) share::SecretShare);

#[pymethods]
impl DkgSecretShare {
    /// Reads a share.
    ///
    /// Args:
    ///     data: What ``to_bytes`` gave.
    ///
    /// Returns:
    ///     The share, of whatever scheme it is.
    ///
    /// Raises:
    ///     InputError: The bytes are no secret share, of another length, or its index or value is out of range.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: Input<'_>) -> PyResult<Self> {
        short(py, || share::SecretShare::from_bytes(&data).map(Self))
    }

    /// The share as 36 **secret** bytes: two letters that say what it is, the index, the value.
    ///
    /// Returns:
    ///     The bytes. Python cannot wipe them: keep them no longer than needed.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_bytes())
    }

    /// What the share's key is for: ``bls``, ``tdh2`` or ``coin``.
    #[getter]
    fn scheme(&self) -> &'static str {
        self.0.scheme().name()
    }

    /// Whose share it is, 1 to 65535.
    #[getter]
    fn index(&self) -> u16 {
        self.0.index()
    }

    /// The public share that belongs to it.
    #[getter]
    fn public_share<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        long(py, || any::public_share(&self.0)).map(|bytes| PyBytes::new(py, &bytes))
    }

    fn __repr__(&self) -> String {
        format!("{:?}", self.0)
    }
}

/// What a dealer publishes: commitments to what it shared, and a proof that it knows it.
///
/// Example:
///     >>> made, _ = deal(Setup("tdh2", threshold=2, parties=3, context=b"epoch 1"), 3)
///     >>> read = Deal.from_bytes(made.to_bytes())
///     >>> read == made, read.scheme, read.dealer, read.threshold, read.reshares
///     (True, 'tdh2', 3, 2, False)
#[pyclass(frozen, name = "Deal", module = "city_chain.algorithms.tes.dkg")]
struct DkgDeal(any::Deal);

#[pymethods]
impl DkgDeal {
    /// Reads a deal. Whether it is right is for ``verify_deals`` to say.
    ///
    /// Args:
    ///     data: What ``to_bytes`` gave.
    ///
    /// Returns:
    ///     The deal.
    ///
    /// Raises:
    ///     InputError: The bytes are no deal: the message says at what place.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: Input<'_>) -> PyResult<Self> {
        let data = data.as_slice();
        long(py, || any::Deal::from_bytes(data).map(Self))
    }

    /// The encoding.
    ///
    /// Returns:
    ///     Bytes that ``from_bytes`` reads.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.as_bytes())
    }

    /// What the key is for: ``bls``, ``tdh2`` or ``coin``.
    #[getter]
    fn scheme(&self) -> &'static str {
        self.0.scheme().name()
    }

    /// Whose deal it is.
    #[getter]
    fn dealer(&self) -> u16 {
        self.0.dealer()
    }

    /// How many shares determine what was dealt.
    #[getter]
    fn threshold(&self) -> u16 {
        self.0.threshold()
    }

    /// Whether it hands a key on, and does not make a new one.
    #[getter]
    fn reshares(&self) -> bool {
        self.0.reshares()
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| other.get().0 == self.0)
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.as_bytes().hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self) -> String {
        let (scheme, dealer, threshold) = (self.scheme(), self.dealer(), self.threshold());
        format!("<Deal of dealer {dealer} of {scheme}, threshold {threshold}>")
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        (py.get_type::<Self>().getattr("from_bytes")?, (self.to_bytes(py),)).into_pyobject(py)
    }
}

/// What is public of a shared key: the group's key and each party's public share, which must be of one key.
///
/// Args:
///     threshold: How many parties together do what the key can.
///     group_key: The group's public key, with its two letters; it says the scheme.
///     shares: The public shares of parties 1, 2, 3, …, in this order.
///
/// Raises:
///     InputError: They are no such keys, of different schemes, out of order, or the threshold is 0 or above their number.
///     VerificationError: They are not of one key with this threshold.
///
/// Example:
///     >>> setup = Setup("tdh2", threshold=2, parties=3, context=b"epoch 1")
///     >>> keys = public_keys(setup, [deal(setup, dealer)[0] for dealer in (1, 2, 3)])
///     >>> PublicKeys(2, keys.group_key, keys.shares) == keys
///     True
#[pyclass(frozen, name = "PublicKeys", module = "city_chain.algorithms.tes.dkg")]
struct DkgPublicKeys {
    keys: any::PublicKeys,
    group: Vec<u8>,
    shares: Vec<Vec<u8>>,
}

impl DkgPublicKeys {
    fn wrap(keys: any::PublicKeys) -> Self {
        Self { group: keys.group_key(), shares: keys.shares(), keys }
    }
}

#[pymethods]
impl DkgPublicKeys {
    #[new]
    fn new(py: Python<'_>, threshold: Int<u16>, group_key: Input<'_>, shares: &Bound<'_, PyAny>) -> PyResult<Self> {
        let shares = bytes_of(shares, "public shares", PARTIES_MAX)?;
        let (group, shares): (_, Vec<&[u8]>) = (group_key.as_slice(), shares.iter().map(Input::as_slice).collect());
        long(py, || any::PublicKeys::new(threshold.0, group, &shares).map(Self::wrap))
    }

    /// What the key is for: ``bls``, ``tdh2`` or ``coin``.
    #[getter]
    fn scheme(&self) -> &'static str {
        self.keys.scheme().name()
    }

    /// How many parties together do what the key can.
    #[getter]
    fn threshold(&self) -> u16 {
        self.keys.threshold()
    }

    /// How many parties there are.
    #[getter]
    fn parties(&self) -> u16 {
        self.keys.parties()
    }

    /// The group's public key, with its two letters.
    #[getter]
    fn group_key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.group)
    }

    /// The public shares of parties 1, 2, 3, …, with their two letters.
    #[getter]
    fn shares<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyBytes>> {
        self.shares.iter().map(|share| PyBytes::new(py, share)).collect()
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| {
            let other = other.get();
            self.threshold() == other.threshold() && self.group == other.group && self.shares == other.shares
        })
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.threshold(), &self.group, &self.shares).hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self) -> String {
        format!("<PublicKeys of {}: {} of {}>", self.scheme(), self.threshold(), self.parties())
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        (py.get_type::<Self>(), (self.threshold(), self.group_key(py), self.shares(py))).into_pyobject(py)
    }
}

/// Objects of the class `W`, kept alive, of an iterable of at most as many as there can be parties.
fn kept<W: PyClass<Frozen = True> + Sync>(iterable: &Bound<'_, PyAny>, what: &str) -> PyResult<Vec<Py<W>>> {
    items(iterable, what, PARTIES_MAX, |item| Ok(item.cast::<W>()?.clone().unbind()))
}

fn deals_of(deals: &[Py<DkgDeal>]) -> Vec<&any::Deal> {
    deals.iter().map(|deal| &deal.get().0).collect()
}

fn shares_of(shares: &[Py<DkgSecretShare>]) -> Vec<&share::SecretShare> {
    shares.iter().map(|share| &share.get().0).collect()
}

fn list(py: Python<'_>, verdicts: Verdicts) -> Vec<Py<PyAny>> {
    let object = |verdict: Result<()>| match verdict {
        Ok(()) => py.None(),
        Err(error) => to_python(py, error).into_value(py).into_any(),
    };
    verdicts.into_iter().map(object).collect()
}

fn dealt((deal, shares): (any::Deal, Vec<share::SecretShare>)) -> (DkgDeal, Vec<DkgSecretShare>) {
    (DkgDeal(deal), shares.into_iter().map(DkgSecretShare).collect())
}

fn made(key: any::KeyShare) -> (DkgSecretShare, DkgPublicKeys) {
    (DkgSecretShare(key.secret), DkgPublicKeys::wrap(key.public))
}

/// See `city_chain.algorithms.tes.dkg.deal`.
#[pyfunction]
fn dkg_deal(py: Python<'_>, setup: &Bound<'_, DkgSetup>, dealer: Int<u16>) -> PyResult<(DkgDeal, Vec<DkgSecretShare>)> {
    let setup = setup.get();
    long(py, || any::deal(setup.scheme, setup.core()?, dealer.0).map(dealt))
}

/// See `city_chain.algorithms.tes.dkg.verify_deals`.
#[pyfunction]
fn dkg_verify_deals(
    py: Python<'_>,
    setup: &Bound<'_, DkgSetup>,
    index: Int<u16>,
    deals: &Bound<'_, PyAny>,
    shares: &Bound<'_, PyAny>,
) -> PyResult<Vec<Py<PyAny>>> {
    let (setup, deals, shares) = (setup.get(), kept(deals, "dkg: deals")?, kept(shares, "dkg: shares")?);
    let (deals, shares) = (deals_of(&deals), shares_of(&shares));
    let verdicts = long(py, || any::verify_deals(setup.scheme, setup.core()?, index.0, &deals, &shares))?;
    Ok(list(py, verdicts))
}

/// See `city_chain.algorithms.tes.dkg.finalize`.
#[pyfunction]
fn dkg_finalize(
    py: Python<'_>,
    setup: &Bound<'_, DkgSetup>,
    index: Int<u16>,
    deals: &Bound<'_, PyAny>,
    shares: &Bound<'_, PyAny>,
) -> PyResult<(DkgSecretShare, DkgPublicKeys)> {
    let (setup, deals, shares) = (setup.get(), kept(deals, "dkg: deals")?, kept(shares, "dkg: shares")?);
    let (deals, shares) = (deals_of(&deals), shares_of(&shares));
    long(py, || any::finalize(setup.scheme, setup.core()?, index.0, &deals, &shares).map(made))
}

/// See `city_chain.algorithms.tes.dkg.public_keys`.
#[pyfunction]
fn dkg_public_keys(py: Python<'_>, setup: &Bound<'_, DkgSetup>, deals: &Bound<'_, PyAny>) -> PyResult<DkgPublicKeys> {
    let (setup, deals) = (setup.get(), kept(deals, "dkg: deals")?);
    let deals = deals_of(&deals);
    long(py, || any::public_keys(setup.scheme, setup.core()?, &deals).map(DkgPublicKeys::wrap))
}

/// See `city_chain.algorithms.tes.dkg.reshare_deal`.
#[pyfunction]
fn dkg_reshare_deal(
    py: Python<'_>,
    setup: &Bound<'_, DkgSetup>,
    share: &Bound<'_, DkgSecretShare>,
) -> PyResult<(DkgDeal, Vec<DkgSecretShare>)> {
    let (setup, share) = (setup.get(), &share.get().0);
    long(py, || any::reshare_deal(setup.scheme, setup.core()?, share).map(dealt))
}

/// See `city_chain.algorithms.tes.dkg.verify_reshare_deals`.
#[pyfunction]
fn dkg_verify_reshare_deals(
    py: Python<'_>,
    setup: &Bound<'_, DkgSetup>,
    old: &Bound<'_, DkgPublicKeys>,
    index: Int<u16>,
    deals: &Bound<'_, PyAny>,
    shares: &Bound<'_, PyAny>,
) -> PyResult<Vec<Py<PyAny>>> {
    let (setup, old) = (setup.get(), &old.get().keys);
    let (deals, shares) = (kept(deals, "dkg: deals")?, kept(shares, "dkg: shares")?);
    let (deals, shares) = (deals_of(&deals), shares_of(&shares));
    let verdicts = long(py, || any::verify_reshare_deals(setup.scheme, setup.core()?, old, index.0, &deals, &shares))?;
    Ok(list(py, verdicts))
}

/// See `city_chain.algorithms.tes.dkg.finalize_reshare`.
#[pyfunction]
fn dkg_finalize_reshare(
    py: Python<'_>,
    setup: &Bound<'_, DkgSetup>,
    old: &Bound<'_, DkgPublicKeys>,
    index: Int<u16>,
    deals: &Bound<'_, PyAny>,
    shares: &Bound<'_, PyAny>,
) -> PyResult<(DkgSecretShare, DkgPublicKeys)> {
    let (setup, old) = (setup.get(), &old.get().keys);
    let (deals, shares) = (kept(deals, "dkg: deals")?, kept(shares, "dkg: shares")?);
    let (deals, shares) = (deals_of(&deals), shares_of(&shares));
    long(py, || any::finalize_reshare(setup.scheme, setup.core()?, old, index.0, &deals, &shares).map(made))
}

/// See `city_chain.algorithms.tes.dkg.reshared_public_keys`.
#[pyfunction]
fn dkg_reshared_public_keys(
    py: Python<'_>,
    setup: &Bound<'_, DkgSetup>,
    old: &Bound<'_, DkgPublicKeys>,
    deals: &Bound<'_, PyAny>,
) -> PyResult<DkgPublicKeys> {
    let (setup, old, deals) = (setup.get(), &old.get().keys, kept(deals, "dkg: deals")?);
    let deals = deals_of(&deals);
    long(py, || any::reshared_public_keys(setup.scheme, setup.core()?, old, &deals).map(DkgPublicKeys::wrap))
}

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("DkgSetup", py.get_type::<DkgSetup>())?;
    module.add("DkgSecretShare", py.get_type::<DkgSecretShare>())?;
    module.add("DkgDeal", py.get_type::<DkgDeal>())?;
    module.add("DkgPublicKeys", py.get_type::<DkgPublicKeys>())?;
    module.add_function(wrap_pyfunction!(dkg_deal, module)?)?;
    module.add_function(wrap_pyfunction!(dkg_verify_deals, module)?)?;
    module.add_function(wrap_pyfunction!(dkg_finalize, module)?)?;
    module.add_function(wrap_pyfunction!(dkg_public_keys, module)?)?;
    module.add_function(wrap_pyfunction!(dkg_reshare_deal, module)?)?;
    module.add_function(wrap_pyfunction!(dkg_verify_reshare_deals, module)?)?;
    module.add_function(wrap_pyfunction!(dkg_finalize_reshare, module)?)?;
    module.add_function(wrap_pyfunction!(dkg_reshared_public_keys, module)?)
}
