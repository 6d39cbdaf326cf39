//! Integers from Python: a wrong type is a `TypeError`, a value that does not fit an `InputError` (never the
//! `OverflowError` that PyO3 raises by itself).

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyInt};

use super::error::input;

/// An integer argument that fits `T`.
#[derive(Clone, Copy)]
pub(super) struct Int<T>(pub(super) T);

impl<'a, 'py, T: TryFrom<i128> + Bounded> FromPyObject<'a, 'py> for Int<T> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let exact = object.is_exact_instance_of::<PyInt>();
        if !exact && (!object.is_instance_of::<PyInt>() || object.is_instance_of::<PyBool>()) {
            let name = object.get_type().name()?;
            return Err(PyTypeError::new_err(format!("an int is needed, not {name}")));
        }
        // An i64 is one call of the stable ABI; an i128 takes several, and an object for its upper half.
        let value = object.extract::<i64>().map(i128::from).or_else(|_| object.extract::<i128>());
        let fits = value.ok().and_then(|value| T::try_from(value).ok());
        let refused = || input(object.py(), format!("the integer must be {} to {}", T::LOWEST, T::HIGHEST));
        fits.map(Int).ok_or_else(refused)
    }
}

/// The range of an integer type, for messages.
pub(super) trait Bounded {
    /// The lowest value.
    const LOWEST: i128;
    /// The highest value.
    const HIGHEST: i128;
}

macro_rules! bounded {
    ($($t:ty),*) => { $(impl Bounded for $t {
        const LOWEST: i128 = <$t>::MIN as i128;
        const HIGHEST: i128 = <$t>::MAX as i128;
    })* };
}

bounded!(u16, u32, u64, usize, i32, i64);
