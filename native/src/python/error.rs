//! The one table from [`Error`] to the exceptions of `city_chain.errors`.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::error::Error;

/// The exception class `city_chain.errors.<name>`, looked up once.
fn class<'py>(py: Python<'py>, cell: &PyOnceLock<Py<PyType>>, name: &str) -> PyResult<Bound<'py, PyType>> {
    cell.import(py, "city_chain.errors", name).cloned()
}

static INPUT: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static VERIFICATION: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static PROTOCOL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static UNAVAILABLE: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// The Python exception for a core error.
pub(super) fn to_python(py: Python<'_>, error: Error) -> PyErr {
    let made = match error {
        Error::Input(message) => class(py, &INPUT, "InputError").map(|c| PyErr::from_type(c, message)),
        Error::Verification(message) => {
            class(py, &VERIFICATION, "VerificationError").map(|c| PyErr::from_type(c, message))
        }
        Error::Protocol(message) => class(py, &PROTOCOL, "ProtocolError").map(|c| PyErr::from_type(c, message)),
        Error::Unavailable { message, needed, had } => {
            class(py, &UNAVAILABLE, "UnavailableError").map(|c| PyErr::from_type(c, (message, needed, had)))
        }
    };
    made.unwrap_or_else(|import| import)
}

/// An `InputError`, for what the boundary itself refuses.
pub(super) fn input(py: Python<'_>, message: impl Into<String>) -> PyErr {
    to_python(py, Error::Input(message.into()))
}
