//! Bindings of `tes::tdh2`.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::super::buffer::Input;
use super::super::call::{long, short};
use super::super::error::to_python;
use super::super::int::Int;
use super::super::keys::bytes_of;
use super::dkg::DkgSecretShare;
use crate::algorithms::tes::polynomial::PARTIES_MAX;
use crate::algorithms::tes::tdh2::{self, PublicKey};
use crate::error::Result;

/// See `city_chain.algorithms.tes.tdh2.encrypt`.
#[pyfunction]
fn tdh2_encrypt<'py>(
    py: Python<'py>,
    group_key: Input<'py>,
    label: Input<'py>,
    plain: Input<'py>,
) -> PyResult<Bound<'py, PyBytes>> {
    let (key, label, plain) = (group_key.as_slice(), label.as_slice(), plain.as_slice());
    long(py, || tdh2::encrypt(&PublicKey::from_bytes(key)?, label, plain)).map(|sealed| PyBytes::new(py, &sealed))
}

/// See `city_chain.algorithms.tes.tdh2.capsule_of`.
#[pyfunction]
fn tdh2_capsule_of<'py>(py: Python<'py>, ciphertext: Input<'py>) -> PyResult<Bound<'py, PyBytes>> {
    let ciphertext = ciphertext.as_slice();
    short(py, || tdh2::capsule_of(ciphertext)).map(|capsule| PyBytes::new(py, capsule))
}

/// See `city_chain.algorithms.tes.tdh2.verify_capsule`.
#[pyfunction]
fn tdh2_verify_capsule(py: Python<'_>, group_key: Input<'_>, label: Input<'_>, capsule: Input<'_>) -> PyResult<()> {
    let (key, label, capsule) = (group_key.as_slice(), label.as_slice(), capsule.as_slice());
    long(py, || tdh2::verify_capsule(&PublicKey::from_bytes(key)?, label, capsule))
}

/// See `city_chain.algorithms.tes.tdh2.verify_ciphertext`.
#[pyfunction]
fn tdh2_verify_ciphertext(
    py: Python<'_>,
    group_key: Input<'_>,
    label: Input<'_>,
    ciphertext: Input<'_>,
) -> PyResult<()> {
    let (key, label, ciphertext) = (group_key.as_slice(), label.as_slice(), ciphertext.as_slice());
    long(py, || tdh2::verify_ciphertext(&PublicKey::from_bytes(key)?, label, ciphertext))
}

/// See `city_chain.algorithms.tes.tdh2.decrypt_share`.
#[pyfunction]
fn tdh2_decrypt_share<'py>(
    py: Python<'py>,
    secret_share: &Bound<'py, DkgSecretShare>,
    group_key: Input<'py>,
    label: Input<'py>,
    capsule: Input<'py>,
) -> PyResult<Bound<'py, PyBytes>> {
    let secret = &secret_share.get().0;
    let (key, label, capsule) = (group_key.as_slice(), label.as_slice(), capsule.as_slice());
    long(py, || tdh2::decrypt_share(secret, &PublicKey::from_bytes(key)?, label, capsule))
        .map(|share| PyBytes::new(py, &share))
}

/// See `city_chain.algorithms.tes.tdh2.share_index`.
#[pyfunction]
fn tdh2_share_index(py: Python<'_>, share: Input<'_>) -> PyResult<u16> {
    let share = share.as_slice();
    short(py, || tdh2::share_index(share))
}

/// See `city_chain.algorithms.tes.tdh2.verify_share`.
#[pyfunction]
fn tdh2_verify_share(
    py: Python<'_>,
    public_share: Input<'_>,
    label: Input<'_>,
    capsule: Input<'_>,
    share: Input<'_>,
) -> PyResult<()> {
    let (public, label, capsule, share) =
        (public_share.as_slice(), label.as_slice(), capsule.as_slice(), share.as_slice());
    long(py, || tdh2::verify_share(public, label, capsule, share))
}

/// See `city_chain.algorithms.tes.tdh2.verify_shares`.
#[pyfunction]
fn tdh2_verify_shares(
    py: Python<'_>,
    public_shares: &Bound<'_, PyAny>,
    label: Input<'_>,
    capsule: Input<'_>,
    shares: &Bound<'_, PyAny>,
) -> PyResult<Vec<Py<PyAny>>> {
    let publics = bytes_of(public_shares, "tdh2: public shares", PARTIES_MAX)?;
    let shares = bytes_of(shares, "tdh2: shares", PARTIES_MAX)?;
    let (publics, shares) = (slices(&publics), slices(&shares));
    let (label, capsule) = (label.as_slice(), capsule.as_slice());
    let verdicts = long(py, || tdh2::verify_shares(&publics, label, capsule, &shares))?;
    Ok(verdicts_to_python(py, verdicts))
}

/// See `city_chain.algorithms.tes.tdh2.combine`.
#[pyfunction]
fn tdh2_combine<'py>(
    py: Python<'py>,
    group_key: Input<'py>,
    threshold: Int<u16>,
    public_shares: &Bound<'py, PyAny>,
    label: Input<'py>,
    ciphertext: Input<'py>,
    shares: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyBytes>> {
    let publics = bytes_of(public_shares, "tdh2: public shares", PARTIES_MAX)?;
    let shares = bytes_of(shares, "tdh2: shares", PARTIES_MAX)?;
    let (publics, shares) = (slices(&publics), slices(&shares));
    let (key, label, ciphertext) = (group_key.as_slice(), label.as_slice(), ciphertext.as_slice());
    let combine = || tdh2::combine(&PublicKey::from_bytes(key)?, threshold.0, &publics, label, ciphertext, &shares);
    long(py, combine).map(|plain| PyBytes::new(py, &plain))
}

/// The bytes of each.
pub(super) fn slices<'a>(inputs: &'a [Input<'_>]) -> Vec<&'a [u8]> {
    inputs.iter().map(Input::as_slice).collect()
}

/// None for what is right, else the error.
pub(super) fn verdicts_to_python(py: Python<'_>, verdicts: Vec<Result<()>>) -> Vec<Py<PyAny>> {
    let object = |verdict: Result<()>| match verdict {
        Ok(()) => py.None(),
        Err(error) => to_python(py, error).into_value(py).into_any(),
    };
    verdicts.into_iter().map(object).collect()
}

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(tdh2_encrypt, module)?)?;
    module.add_function(wrap_pyfunction!(tdh2_capsule_of, module)?)?;
    module.add_function(wrap_pyfunction!(tdh2_verify_capsule, module)?)?;
    module.add_function(wrap_pyfunction!(tdh2_verify_ciphertext, module)?)?;
    module.add_function(wrap_pyfunction!(tdh2_decrypt_share, module)?)?;
    module.add_function(wrap_pyfunction!(tdh2_share_index, module)?)?;
    module.add_function(wrap_pyfunction!(tdh2_verify_share, module)?)?;
    module.add_function(wrap_pyfunction!(tdh2_verify_shares, module)?)?;
    module.add_function(wrap_pyfunction!(tdh2_combine, module)?)
}
