//! What every record class shares: the one way in and out as bytes, equality, hash, repr and pickling.
//!
//! A class is declared with [`record!`], which makes a frozen class around an `Arc` of the core's record (so that handing
//! it on copies nothing), its properties, and the shared methods. Methods of its own follow in a `#[pymethods]` block.

use pyo3::PyClass;
use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyTuple, PyType};

use super::buffer::Input;
use super::call::{short, sized};
use super::error::{input, to_python};
use crate::crypto::hash::{self, Digest, hex};
use crate::error::Result;
use crate::primitives::wire::{self, Record};

/// The most items that a call on many takes.
pub(super) const MANY_MAX: usize = 1 << 20;

/// A Python class around a record of the core.
pub(super) trait Wrapper: Sized {
    /// The record.
    type Core: Record + PartialEq + Send + Sync;

    /// The record inside.
    fn core(&self) -> &Self::Core;

    /// Wraps a record, which costs as much as its id does.
    fn wrap(core: Self::Core) -> Result<Self>;

    /// What names the record: its digest where it has one, else the hash of its encoding.
    fn id(&self) -> Result<Digest>;

    /// How much there is to encode, roughly in bytes; see [`sized`].
    fn work(&self) -> usize;

    /// Where the encoding is kept, once it is made; `None` for a class that does not keep it. A value has one encoding, so
    /// what it was read from is what it would be written as.
    fn encoding(&self) -> Option<&PyOnceLock<Py<PyBytes>>> {
        None
    }
}

/// `to_bytes`.
pub(super) fn encode<'py, W: Wrapper>(py: Python<'py>, this: &W) -> PyResult<Bound<'py, PyBytes>> {
    if let Some(known) = this.encoding().and_then(|kept| kept.get(py)) {
        return Ok(known.bind(py).clone());
    }
    let core = this.core();
    let made = PyBytes::new(py, &sized(py, this.work(), || wire::encode(core))?);
    if let Some(kept) = this.encoding() {
        return Ok(kept.get_or_init(py, || made.unbind()).bind(py).clone());
    }
    Ok(made)
}

/// `from_bytes`.
pub(super) fn decode<W: Wrapper + Send>(py: Python<'_>, data: &Input<'_>) -> PyResult<W> {
    let bytes = data.as_slice();
    let read = sized(py, bytes.len(), || W::wrap(wire::decode(bytes)?))?;
    if let (Some(kept), Input::Bytes(bytes)) = (read.encoding(), data)
        && bytes.is_exact_instance_of::<PyBytes>()
    {
        kept.get_or_init(py, || bytes.clone().unbind());
    }
    Ok(read)
}

/// The id of a record without a digest of its own.
pub(super) fn id_of_encoding<R: Record>(core: &R) -> Result<Digest> {
    Ok(hash::fragment(&wire::encode(core)?))
}

/// `__hash__`.
pub(super) fn hash_of<W: Wrapper>(py: Python<'_>, this: &W) -> PyResult<u64> {
    let id = short(py, || this.id())?;
    Ok(id[..8].iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// `__repr__`: the kind and the first bytes of the id.
pub(super) fn repr_of<W: Wrapper>(py: Python<'_>, this: &W, class: &str) -> PyResult<String> {
    let id = short(py, || this.id())?;
    Ok(format!("{class}({}…)", hex(&id[..4])))
}

/// `__reduce__`: from the bytes again.
pub(super) fn reduce<'py, W: Wrapper + PyClass>(py: Python<'py>, this: &W) -> PyResult<Bound<'py, PyTuple>> {
    let bytes = encode(py, this)?;
    let class: Bound<'_, PyType> = py.get_type::<W>();
    (class.getattr("from_bytes")?, (bytes,)).into_pyobject(py)
}

/// Reads an iterable of at most `max` items, one by one; `what` names them in errors.
pub(super) fn items<'py, T>(
    iterable: &Bound<'py, PyAny>,
    what: &str,
    max: usize,
    mut read: impl FnMut(&Bound<'py, PyAny>) -> PyResult<T>,
) -> PyResult<Vec<T>> {
    let mut out = Vec::new();
    for item in iterable.try_iter()? {
        if out.len() == max {
            return Err(input(iterable.py(), format!("{what}: more than {max}, which is the most")));
        }
        out.push(read(&item?)?);
    }
    Ok(out)
}

/// Reads an iterable of objects of the class `W`, taking something from each.
pub(super) fn each<W: PyClass<Frozen = True> + Sync, T>(
    iterable: &Bound<'_, PyAny>,
    what: &str,
    max: usize,
    take: impl Fn(&W) -> T,
) -> PyResult<Vec<T>> {
    items(iterable, what, max, |item| Ok(take(item.cast::<W>()?.get())))
}

/// Reads an iterable of 32-byte values.
pub(super) fn digests(iterable: &Bound<'_, PyAny>, what: &str, max: usize) -> PyResult<Vec<Digest>> {
    items(iterable, what, max, |item| item.extract::<Input<'_>>()?.digest(item.py(), what))
}

/// Checks that `item` is a tuple of `length`; PyO3 would raise a plain `ValueError` for a wrong one.
pub(super) fn check_tuple(item: &Bound<'_, PyAny>, length: usize, what: &str) -> PyResult<()> {
    let had = item.cast::<PyTuple>()?.len();
    if had != length {
        return Err(input(item.py(), format!("{what}: a tuple of {had}, one of {length} is needed")));
    }
    Ok(())
}

/// Verdicts as Python has them: an exception, not raised, or None.
pub(super) fn verdicts(py: Python<'_>, verdicts: Vec<Result<()>>) -> Vec<Option<Py<PyBaseException>>> {
    verdicts.into_iter().map(|verdict| verdict.err().map(|error| to_python(py, error).into_value(py))).collect()
}

/// A record inside another as a Python object, made when first asked for and the same ever after.
pub(super) struct Part<T>(PyOnceLock<Py<T>>);

impl<T> Default for Part<T> {
    fn default() -> Self {
        Self(PyOnceLock::new())
    }
}

impl<T: Wrapper + PyClass + Into<PyClassInitializer<T>>> Part<T> {
    /// The part, made from `core` if need be.
    pub(super) fn get(&self, py: Python<'_>, core: &T::Core) -> PyResult<Py<T>>
    where
        T::Core: Clone,
    {
        let make = || Py::new(py, short(py, || T::wrap(core.clone()))?);
        Ok(self.0.get_or_try_init(py, make)?.clone_ref(py))
    }
}

/// The shared methods of a class that implements [`Wrapper`].
macro_rules! record_methods {
    ($class:ident) => {
        #[pymethods]
        impl $class {
            /// The record as bytes: its one encoding, tag and version first.
            fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, pyo3::types::PyBytes>> {
                $crate::python::record::encode(py, self)
            }

            /// Reads a record from its bytes.
            ///
            /// Args:
            ///     data: What `to_bytes` gave.
            ///
            /// Raises:
            ///     InputError: The bytes are not the encoding of such a record. No signature is checked here.
            #[staticmethod]
            fn from_bytes(py: Python<'_>, data: $crate::python::buffer::Input<'_>) -> PyResult<Self> {
                $crate::python::record::decode(py, &data)
            }

            fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
                use $crate::python::record::Wrapper;
                other.cast::<Self>().is_ok_and(|other| self.core() == other.get().core())
            }

            fn __hash__(&self, py: Python<'_>) -> PyResult<u64> {
                $crate::python::record::hash_of(py, self)
            }

            fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
                $crate::python::record::repr_of(py, self, stringify!($class))
            }

            fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, pyo3::types::PyTuple>> {
                $crate::python::record::reduce(py, self)
            }
        }
    };
}

/// Read-only properties: `name: Type = |core| value;`.
macro_rules! properties {
    ($class:ident { $( $(#[$doc:meta])* $name:ident: $type:ty = |$core:ident| $value:expr; )* }) => {
        #[pymethods]
        impl $class {
            $(
                $(#[$doc])*
                #[getter]
                fn $name(&self) -> $type {
                    let $core = $crate::python::record::Wrapper::core(self);
                    $value
                }
            )*
        }
    };
}

/// `Some` of what is given, or `None`.
macro_rules! optional {
    () => {
        None
    };
    ($value:expr) => {
        Some($value)
    };
}

/// Declares a record class. `id` computes the record's digest (once, when it is made); `work` is [`Wrapper::work`]; with
/// `keeps = true` the encoding is made once ([`Wrapper::encoding`]), for records that are stored and sent several times;
/// `parts` are fields that are records themselves (see [`Part`]), `properties` all others (see [`properties!`]).
macro_rules! record {
    (
        $(#[$meta:meta])*
        $class:ident($core:ty) in $module:literal $(, id = $id:expr)? $(, work = $work:expr)? $(, keeps = $keeps:expr)?;
        $(parts { $( $(#[$part_doc:meta])* $part:ident: $part_class:ty; )* })?
        properties { $($properties:tt)* }
    ) => {
        $(#[$meta])*
        #[pyclass(frozen, module = $module)]
        pub(in crate::python) struct $class {
            core: std::sync::Arc<$core>,
            id: std::sync::OnceLock<$crate::crypto::hash::Digest>,
            encoding: pyo3::sync::PyOnceLock<Py<pyo3::types::PyBytes>>,
            $($($part: $crate::python::record::Part<$part_class>,)*)?
        }

        impl $crate::python::record::Wrapper for $class {
            type Core = $core;

            fn core(&self) -> &$core {
                &self.core
            }

            fn wrap(core: $core) -> $crate::error::Result<Self> {
                let digest: Option<fn(&$core) -> $crate::error::Result<$crate::crypto::hash::Digest>> =
                    $crate::python::record::optional!($($id)?);
                let id = match digest {
                    Some(digest) => digest(&core)?.into(),
                    None => std::sync::OnceLock::new(),
                };
                let encoding = pyo3::sync::PyOnceLock::new();
                Ok(Self { core: std::sync::Arc::new(core), id, encoding, $($($part: Default::default(),)*)? })
            }

            fn id(&self) -> $crate::error::Result<$crate::crypto::hash::Digest> {
                if let Some(id) = self.id.get() {
                    return Ok(*id);
                }
                let id = $crate::python::record::id_of_encoding(&*self.core)?;
                Ok(*self.id.get_or_init(|| id))
            }

            fn work(&self) -> usize {
                let measure: Option<fn(&$core) -> usize> = $crate::python::record::optional!($($work)?);
                measure.map_or(0, |measure| measure(&self.core))
            }

            fn encoding(&self) -> Option<&pyo3::sync::PyOnceLock<Py<pyo3::types::PyBytes>>> {
                let keeps: Option<bool> = $crate::python::record::optional!($($keeps)?);
                keeps.unwrap_or(false).then_some(&self.encoding)
            }
        }

        impl $class {
            /// The record, shared.
            #[allow(dead_code, reason = "not every class is taken in lists")]
            pub(in crate::python) fn shared(&self) -> std::sync::Arc<$core> {
                std::sync::Arc::clone(&self.core)
            }

            /// The record, shared, and its id.
            #[allow(dead_code, reason = "not every class is verified in lists")]
            pub(in crate::python) fn shared_with_id(
                &self,
            ) -> $crate::error::Result<(std::sync::Arc<$core>, $crate::crypto::hash::Digest)> {
                Ok((self.shared(), $crate::python::record::Wrapper::id(self)?))
            }
        }

        $(
            #[pymethods]
            impl $class {
                $(
                    $(#[$part_doc])*
                    #[getter]
                    pub(in crate::python) fn $part(&self, py: Python<'_>) -> PyResult<Py<$part_class>> {
                        self.$part.get(py, &self.core.$part)
                    }
                )*
            }
        )?

        $crate::python::record::record_methods!($class);
        $crate::python::record::properties!($class { $($properties)* });
    };
}

pub(super) use {optional, properties, record, record_methods};
