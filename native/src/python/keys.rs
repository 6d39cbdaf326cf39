//! Many byte strings from Python: one packed buffer of a fixed width, or an iterable of bytes.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use super::buffer::Input;
use super::error::{input, to_python};
use super::int::Int;
use crate::error::Error;

/// The most items that one iterable may give: 16 Mi. A packed buffer may hold more.
pub(super) const ITEMS_MAX: usize = 1 << 24;

/// Many byte strings, kept alive.
pub(super) enum Keys<'py> {
    /// One after another, each of the width.
    Packed(Input<'py>, usize),
    /// Each its own object.
    Listed(Vec<Input<'py>>),
}

impl<'py> Keys<'py> {
    /// With a width `keys` is one packed buffer, without one an iterable of bytes.
    pub(super) fn extract(keys: &Bound<'py, PyAny>, width: Option<Int<usize>>) -> PyResult<Self> {
        let Some(Int(width)) = width else {
            if keys.extract::<Input<'_>>().is_ok() {
                return Err(PyTypeError::new_err(
                    "keys: an iterable of bytes is needed; one packed buffer of keys needs its width",
                ));
            }
            return bytes_of(keys, "keys", ITEMS_MAX).map(Self::Listed);
        };
        let packed = keys.extract::<Input<'_>>()?;
        if width == 0 || !packed.len().is_multiple_of(width) {
            let message = format!(
                "keys: {} bytes of keys of {width} bytes each; a multiple of the width, which is at least 1, is needed",
                packed.len()
            );
            return Err(input(keys.py(), message));
        }
        Ok(Self::Packed(packed, width))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Packed(packed, width) => packed.len() / width,
            Self::Listed(keys) => keys.len(),
        }
    }

    /// All of them as slices.
    pub(super) fn slices(&self) -> Vec<&[u8]> {
        match self {
            Self::Packed(packed, width) => packed.chunks_exact(*width).collect(),
            Self::Listed(keys) => keys.iter().map(Input::as_slice).collect(),
        }
    }
}

/// The items of an iterable, at most `max`; `what` names them in the errors.
pub(super) fn items<'py, T>(
    object: &Bound<'py, PyAny>,
    what: &str,
    max: usize,
    mut one: impl FnMut(&Bound<'py, PyAny>) -> PyResult<T>,
) -> PyResult<Vec<T>> {
    let py = object.py();
    let wrong = |error: PyErr, place: Option<usize>| {
        if !error.is_instance_of::<PyTypeError>(py) {
            return error;
        }
        let place = place.map(|place| format!("[{place}]")).unwrap_or_default();
        PyTypeError::new_err(format!("{what}{place}: {}", error.value(py)))
    };
    let mut made = Vec::new();
    for item in object.try_iter().map_err(|error| wrong(error, None))? {
        if made.len() == max {
            return Err(to_python(py, Error::input(format!("{what}: more than {max} items, which is the most"))));
        }
        let item = item?;
        made.push(one(&item).map_err(|error| wrong(error, Some(made.len())))?);
    }
    Ok(made)
}

/// The byte strings of an iterable.
pub(super) fn bytes_of<'py>(object: &Bound<'py, PyAny>, what: &str, max: usize) -> PyResult<Vec<Input<'py>>> {
    items(object, what, max, |item| item.extract())
}
