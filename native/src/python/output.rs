//! Bytes to Python, written once into the place where they stay, with the GIL held or released.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::error::input;

/// Bytes from which on the memory of an object is asked for in huge pages: writing it for the first time then takes a
/// fault for each 2 MiB and not for each 4 KiB.
const HUGE_MIN: usize = 4 << 20;

/// A `bytes` object that nobody but us has seen yet.
pub(super) struct Output<'py> {
    bytes: Bound<'py, PyBytes>,
    len: usize,
}

/// The memory of an [`Output`], of which every byte must be written once.
pub(super) struct Space<'a> {
    at: *mut u8,
    len: usize,
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
        let mut output = Self { bytes, len };
        if len >= HUGE_MIN {
            huge_pages(output.space().uninit());
        }
        Ok(output)
    }

    /// The memory to write to.
    pub(super) fn space(&mut self) -> Space<'_> {
        // SAFETY: `bytes` is a bytes object; its memory may be written to as long as nobody else has seen it.
        let at = unsafe { ffi::PyBytes_AsString(self.bytes.as_ptr()) }.cast::<u8>();
        Space { at, len: self.len, owner: PhantomData }
    }

    /// The finished object. Call it only after every byte was written.
    pub(super) fn publish(self) -> Bound<'py, PyBytes> {
        self.bytes
    }
}

impl<'a> Space<'a> {
    /// All of it, for a core function that promises to write every byte when it succeeds; publish only then.
    pub(super) fn uninit(self) -> &'a mut [MaybeUninit<u8>] {
        // SAFETY: `len` bytes from `at` are the object's memory, which nothing else points to for 'a; MaybeUninit asks
        // nothing of what they hold.
        unsafe { std::slice::from_raw_parts_mut(self.at.cast(), self.len) }
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
}

/// Asks for huge pages where the system has them; it may decline.
#[cfg(target_os = "linux")]
fn huge_pages(memory: &mut [MaybeUninit<u8>]) {
    use std::ffi::{c_int, c_void};

    unsafe extern "C" {
        fn madvise(address: *mut c_void, length: usize, advice: c_int) -> c_int;
    }
    /// `MADV_HUGEPAGE`, the same on every Linux.
    const HUGEPAGE: c_int = 14;
    /// The largest page that a Linux begins an advice at.
    const ALIGN: usize = 64 * 1024;

    let skipped = memory.as_ptr().align_offset(ALIGN);
    if let Some(rest) = memory.get_mut(skipped..) {
        // SAFETY: the range lies within memory that is borrowed exclusively; the advice changes how it is backed and not
        // what it holds, and an error changes nothing.
        unsafe { madvise(rest.as_mut_ptr().cast(), rest.len() / ALIGN * ALIGN, HUGEPAGE) };
    }
}

/// Other systems choose by themselves.
#[cfg(not(target_os = "linux"))]
fn huge_pages(_memory: &mut [MaybeUninit<u8>]) {}
