//! Bytes from Python.
//!
//! `bytes`, and read-only memoryviews of `bytes`, are read in place: they cannot change while the GIL is released. Any
//! other object with the buffer protocol (bytearray, writable memoryview, array, ndarray) may change under us and is
//! copied once.

use std::ops::Deref;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};
use zeroize::Zeroize;

use super::error::input;
use crate::crypto::hash::Digest;

/// Bytes that stay as they are for as long as this lives, attached or detached.
pub(super) enum Input<'py> {
    /// A `bytes` object, read in place.
    Bytes(Bound<'py, PyBytes>),
    /// A contiguous view of an immutable `bytes` object, read in place.
    View(PyBuffer<u8>),
    /// A copy of something mutable.
    Copied(Copied),
}

/// Bytes that were copied. What may be a secret (seeds, key files, passphrases are short) is wiped when it goes: whoever
/// hands one in as a bytearray does so to wipe it afterwards.
pub(super) struct Copied(Vec<u8>);

/// Copies up to this length are wiped.
const WIPED_MAX: usize = 16 << 10;

impl Drop for Copied {
    fn drop(&mut self) {
        if self.0.len() <= WIPED_MAX {
            self.0.zeroize();
        }
    }
}

impl Input<'_> {
    /// The bytes as a slice that may cross into a detached closure.
    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes.as_bytes(),
            Self::View(buffer) => {
                let length = buffer.len_bytes();
                if length == 0 {
                    return &[];
                }
                // SAFETY: the buffer is C-contiguous and of single bytes (checked on extraction), is not empty, is kept
                // alive by `self`, and its exporter is an immutable `bytes` object, so nobody writes to it.
                unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast::<u8>(), length) }
            }
            Self::Copied(copy) => &copy.0,
        }
    }

    /// Exactly 32 bytes; `what` names them in the error.
    pub(super) fn digest(&self, py: Python<'_>, what: &str) -> PyResult<Digest> {
        self.array(py, what)
    }

    /// Exactly `N` bytes; `what` names them in the error.
    pub(super) fn array<const N: usize>(&self, py: Python<'_>, what: &str) -> PyResult<[u8; N]> {
        let bytes = self.as_slice();
        bytes.try_into().map_err(|_| input(py, format!("{what}: {} bytes, exactly {N} are needed", bytes.len())))
    }
}

impl Deref for Input<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Input<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let py = object.py();
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Self::Bytes(bytes.to_owned()));
        }
        let wrong = || {
            let name = object.get_type().name().map(|name| name.to_string()).unwrap_or_default();
            PyTypeError::new_err(format!("bytes are needed (bytes, bytearray, memoryview, …), not {name}"))
        };
        let buffer = PyBuffer::<u8>::get(&object).map_err(|_| wrong())?;
        if !buffer.is_c_contiguous() {
            return Err(input(py, "a buffer of bytes without gaps is needed"));
        }
        let immutable = buffer.readonly()
            && object
                .cast::<PyMemoryView>()
                .is_ok_and(|view| view.getattr("obj").is_ok_and(|exporter| exporter.is_exact_instance_of::<PyBytes>()));
        if immutable { Ok(Self::View(buffer)) } else { buffer.to_vec(py).map(|bytes| Self::Copied(Copied(bytes))) }
    }
}
