//! Bytes to Python, written once into the place where they stay, with the GIL held or released.

use std::marker::PhantomData;
use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::error::input;
use crate::error::{Error, Result};

/// A `bytes` object that nobody but us has seen yet.
pub(super) struct Output<'py> {
    bytes: Bound<'py, PyBytes>,
    len: usize,
}

/// The memory of an [`Output`], of which every byte must be written once.
pub(super) struct Space<'a> {
    at: *mut u8,
    len: usize,
    written: usize,
    owner: PhantomData<&'a mut [u8]>,
}

// SAFETY: it is the only way to this memory while it lives (it borrows the Output mutably), and writing to it touches no
// Python state.
unsafe impl Send for Space<'_> {}

impl<'py> Output<'py> {
    /// Room for `len` bytes; not cleared, for it is all written before it is published.
    pub(super) fn new(py: Python<'py>, len: usize) -> PyResult<Self> {
        let size = ffi::Py_ssize_t::try_from(len)
            .map_err(|_| input(py, format!("{len} bytes are more than an object can have")))?;
        // SAFETY: a null pointer asks for an object of `size` bytes whose content is the caller's to write; null means that
        // a Python error is set, and is turned into that.
        let bytes = unsafe {
            Bound::from_owned_ptr_or_err(py, ffi::PyBytes_FromStringAndSize(ptr::null(), size))?.cast_into_unchecked()
        };
        Ok(Self { bytes, len })
    }

    /// The memory to write to.
    pub(super) fn space(&mut self) -> Space<'_> {
        // SAFETY: `bytes` is a bytes object; its memory may be written to as long as nobody else has seen it.
        let at = unsafe { ffi::PyBytes_AsString(self.bytes.as_ptr()) }.cast::<u8>();
        Space { at, len: self.len, written: 0, owner: PhantomData }
    }

    /// The finished object. Call it only after [`Space::finish`] has agreed.
    pub(super) fn publish(self) -> Bound<'py, PyBytes> {
        self.bytes
    }
}

impl<'a> Space<'a> {
    /// Writes `piece` at byte `at`. What would not fit is left out, and [`Space::finish`] will not agree.
    pub(super) fn put(&mut self, at: usize, piece: &[u8]) {
        if at.checked_add(piece.len()).is_some_and(|end| end <= self.len) {
            // SAFETY: at + piece.len() ≤ len was checked, so the target lies within the object's memory, to which nothing
            // else points.
            unsafe { ptr::copy_nonoverlapping(piece.as_ptr(), self.at.add(at), piece.len()) };
            self.written += piece.len();
        }
    }

    /// Clears all of it and gives it as a slice.
    pub(super) fn zeroed(self) -> &'a mut [u8] {
        // SAFETY: `len` bytes from `at` are the object's memory, which nothing else points to for 'a; they are written
        // before the slice is made.
        unsafe {
            ptr::write_bytes(self.at, 0, self.len);
            std::slice::from_raw_parts_mut(self.at, self.len)
        }
    }

    /// The bytes, if as many were written as there are.
    pub(super) fn finish(self) -> Result<&'a [u8]> {
        if self.written != self.len {
            return Err(Error::input(format!(
                "{} of {} bytes were written: a bug in city-chain",
                self.written, self.len
            )));
        }
        // SAFETY: `len` bytes from `at` are the object's memory; all were written, each once as every core function that
        // writes here promises, and none will be while 'a lasts.
        Ok(unsafe { std::slice::from_raw_parts(self.at, self.len) })
    }
}
