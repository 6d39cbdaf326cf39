//! Binding of Ed25519 verification by itself, for signatures that are in no record of ours.

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;

use super::buffer::Input;
use super::call::sized;
use super::record::{MANY_MAX, check_tuple, items, verdicts};
use crate::crypto::ed25519;
use crate::crypto::hash::Digest;
use crate::error::Error;

/// Checks many Ed25519 signatures (RFC 8032) over plain bytes, in one batch.
///
/// One rule, the same alone and in any batch: public key and R are canonical encodings, the key is not of small order,
/// S is below L, and the cofactored equation holds. `Identity.sign` and `verify_message` of `city_chain.records` have a
/// domain of their own; this is for signatures from elsewhere.
///
/// Args:
///     items: (public key, message, signature) each: 32 bytes, any bytes, 64 bytes; at most 1,048,576.
///
/// Returns:
///     One verdict each: None, or a VerificationError (not raised).
///
/// Raises:
///     InputError: A wrong length, or too many.
///
/// Example:
///     >>> from city_chain.proofs import poh
///     >>> public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
///     >>> signature = bytes.fromhex("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
///     ...                           "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b")
///     >>> good, wrong = poh.verify_signatures([(public, b"", signature), (public, b"x", signature)])
///     >>> good is None, wrong
///     (True, VerificationError('signature: it does not fit key and message'))
#[pyfunction]
fn verify_signatures(py: Python<'_>, items: &Bound<'_, PyAny>) -> PyResult<Vec<Option<Py<PyBaseException>>>> {
    let items: Vec<(Digest, Input<'_>, [u8; 64])> = self::items(items, "signatures", MANY_MAX, |item| {
        check_tuple(item, 3, "signature")?;
        let (public, message, signature): (Input<'_>, Input<'_>, Input<'_>) = item.extract()?;
        Ok((public.digest(py, "signature: public key")?, message, signature.array::<64>(py, "signature")?))
    })?;
    let items: Vec<ed25519::Item<'_>> = items
        .iter()
        .map(|(public, message, signature)| ed25519::Item { public, message: message.as_slice(), signature })
        .collect();
    let wrong = || Error::verification("signature: it does not fit key and message");
    let work = items.iter().map(|item| 8192 + item.message.len()).sum();
    let good = sized(py, work, || ed25519::verify_many(&items))?;
    Ok(verdicts(py, good.into_iter().map(|good| if good { Ok(()) } else { Err(wrong()) }).collect()))
}

/// Adds this file's function to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(verify_signatures, module)?)
}
