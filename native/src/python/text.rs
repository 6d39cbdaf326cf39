//! Text from Python: a wrong type is a `TypeError`, text that has no UTF-8 form an `InputError` (never the
//! `UnicodeEncodeError` that PyO3 raises by itself).

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::error::input;

/// A text argument.
pub(super) struct Str(pub(super) String);

impl<'a, 'py> FromPyObject<'a, 'py> for Str {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let Ok(text) = object.cast::<PyString>() else {
            let name = object.get_type().name()?;
            return Err(PyTypeError::new_err(format!("a str is needed, not {name}")));
        };
        match text.to_cow() {
            Ok(text) => Ok(Self(text.into_owned())),
            Err(_) => Err(input(object.py(), "text that can be written in UTF-8 is needed (a surrogate stands alone)")),
        }
    }
}
