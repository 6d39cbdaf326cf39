//! Floats from Python: a wrong type is a `TypeError`; an int too large for a float an `InputError`. Whether NaN and
//! infinities are allowed is the core's to say.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt};

use super::error::input;

/// A float (or int) argument.
#[derive(Clone, Copy)]
pub(super) struct Real(pub(super) f64);

impl<'a, 'py> FromPyObject<'a, 'py> for Real {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let number = object.is_instance_of::<PyFloat>() || object.is_instance_of::<PyInt>();
        if !number || object.is_instance_of::<PyBool>() {
            let name = object.get_type().name()?;
            return Err(PyTypeError::new_err(format!("a float is needed, not {name}")));
        }
        object.extract::<f64>().map(Real).map_err(|_| input(object.py(), "the number is too large for a float"))
    }
}
