//! Bindings of `cbf`.

use std::sync::{PoisonError, RwLock};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::RwLockExt;
use pyo3::types::{PyBytes, PyList, PyType};
use pyo3::{PyTypeInfo, ffi};

use super::buffer::Input;
use super::call::{LONG_MIN, long, short, sized};
use super::error::input;
use super::int::Int;
use super::keys::{ITEMS_MAX, items};
use super::real::Real;
use crate::algorithms::cbf;
use crate::error::Result;

/// A filter that several threads may use at once. Whoever waits for it does not hold the GIL.
struct Shared<T>(RwLock<T>);

impl<T: Send + Sync> Shared<T> {
    fn new(filter: T) -> Self {
        Self(RwLock::new(filter))
    }

    fn read<R: Send>(&self, py: Python<'_>, work: usize, f: impl FnOnce(&T) -> Result<R> + Send) -> PyResult<R> {
        if work >= LONG_MIN {
            return long(py, || f(&self.0.read().unwrap_or_else(PoisonError::into_inner)));
        }
        let filter = self.0.read_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        short(py, || f(&filter))
    }

    fn write<R: Send>(&self, py: Python<'_>, work: usize, f: impl FnOnce(&mut T) -> Result<R> + Send) -> PyResult<R> {
        if work >= LONG_MIN {
            return long(py, || f(&mut self.0.write().unwrap_or_else(PoisonError::into_inner)));
        }
        let mut filter = self.0.write_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        short(py, || f(&mut filter))
    }
}

/// Many keys: packed ones as they are, others as their hashes.
enum Many<'py> {
    /// One after another, each of the width.
    Packed(Input<'py>, usize),
    /// Of an iterable's items, each read once.
    Hashed(Vec<u64>),
}

/// [`Many`] as slices.
#[derive(Clone, Copy)]
enum View<'a> {
    Packed(&'a [u8], usize),
    Hashed(&'a [u64]),
}

impl<'py> Many<'py> {
    /// With a width `keys` is one packed buffer, without one an iterable of bytes, which `hash` hashes.
    fn extract(keys: &Bound<'py, PyAny>, width: Option<Int<usize>>, hash: impl Fn(&[u8]) -> u64) -> PyResult<Self> {
        let Some(Int(width)) = width else {
            if let Ok(list) = keys.cast_exact::<PyList>() {
                return hashes_of_list(list, hash).map(Self::Hashed);
            }
            if keys.extract::<Input<'_>>().is_ok() {
                return Err(PyTypeError::new_err(
                    "keys: an iterable of bytes is needed; one packed buffer of keys needs its width",
                ));
            }
            let one = |item: &Bound<'_, PyAny>| Ok(hash(item.extract::<Input<'_>>()?.as_slice()));
            return items(keys, "keys", ITEMS_MAX, one).map(Self::Hashed);
        };
        Ok(Self::Packed(keys.extract()?, width))
    }

    /// The same as slices, which may cross into a detached closure.
    fn view(&self) -> View<'_> {
        match self {
            Self::Packed(keys, width) => View::Packed(keys.as_slice(), *width),
            Self::Hashed(hashes) => View::Hashed(hashes),
        }
    }

    /// The measure of what is left to do, for [`LONG_MIN`]: a key and its 32 bytes take a few nanoseconds.
    fn work(&self) -> usize {
        match self {
            Self::Packed(packed, width) => packed.len() / 4 + 8 * (packed.len() / (*width).max(1)),
            Self::Hashed(hashes) => 8 * hashes.len(),
        }
    }
}

/// Items of a list that are on their way to the cache at a time.
const AHEAD: usize = 32;

/// The hashes of a list's items, which are read in place: nothing that can run Python code happens between taking an item
/// from the list and hashing it, except where it is no plain `bytes`.
fn hashes_of_list(list: &Bound<'_, PyList>, hash: impl Fn(&[u8]) -> u64) -> PyResult<Vec<u64>> {
    let py = list.py();
    if list.len() > ITEMS_MAX {
        return Err(input(py, format!("keys: more than {ITEMS_MAX} items, which is the most")));
    }
    let bytes_type = PyBytes::type_object_raw(py);
    let mut hashes = Vec::with_capacity(list.len());
    while hashes.len() < list.len() {
        let first = hashes.len();
        let mut ahead = [std::ptr::null_mut(); AHEAD];
        let mut count = 0;
        while count < AHEAD.min(list.len() - first) {
            // SAFETY: the index is below the list's length; the reference is borrowed, and the list keeps its items alive
            // until other code runs.
            ahead[count] = unsafe { ffi::PyList_GetItem(list.as_ptr(), (first + count) as ffi::Py_ssize_t) };
            fetch(ahead[count]);
            count += 1;
        }
        for item in &ahead[..count] {
            // SAFETY: the list has given it (it is not null, for the index was right), and no other code ran since.
            if unsafe { ffi::Py_TYPE(*item) } != bytes_type {
                // Something else: it may run code to give its bytes, so the items after it are taken anew.
                let at = hashes.len();
                // SAFETY: as above; from here on it is owned.
                let item = unsafe { Bound::from_borrowed_ptr(py, *item) };
                let bytes = item.extract::<Input<'_>>().map_err(|error| named(py, at, error))?;
                hashes.push(hash(bytes.as_slice()));
                break;
            }
            // SAFETY: a `bytes` object, as was checked: it has these bytes, and nobody can change or free them meanwhile.
            let key = unsafe {
                let length = ffi::PyBytes_Size(*item) as usize;
                std::slice::from_raw_parts(ffi::PyBytes_AsString(*item).cast::<u8>(), length)
            };
            hashes.push(hash(key));
        }
        if hashes.len() > ITEMS_MAX {
            return Err(input(py, format!("keys: more than {ITEMS_MAX} items, which is the most")));
        }
    }
    Ok(hashes)
}

/// A `TypeError` that names the item it is about.
fn named(py: Python<'_>, at: usize, error: PyErr) -> PyErr {
    if !error.is_instance_of::<PyTypeError>(py) {
        return error;
    }
    PyTypeError::new_err(format!("keys[{at}]: {}", error.value(py)))
}

/// Asks for the head of an object and for the cache line behind it.
fn fetch(object: *mut ffi::PyObject) {
    cbf::prefetch(object);
    cbf::prefetch(object.wrapping_add(4));
}

/// What `len()` can say at most.
fn as_len(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX).min(isize::MAX as usize)
}

/// A filter that grows: the split-block Bloom filter of Apache Parquet. Safe to share between threads.
///
/// ``key in filter`` is never wrong when it says no; a stranger passes with a probability of about ``fpr`` once the filter
/// holds ``capacity`` keys. Keys are any bytes, hashed by XXH64 under the seed.
///
/// Args:
///     capacity: The keys it is made for, 1 to 2**32 (and at most 1 GiB of bits).
///     fpr: The false-positive rate wanted at that many keys, 1e-9 to 0.5.
///     seed: The seed of the hash, 0 to 2**64 - 1. 0 makes Parquet's bits; a random one keeps strangers from choosing keys
///         that collide.
///
/// Raises:
///     InputError: A number is out of range.
///
/// Example:
///     >>> seen = Bloom(1000, fpr=0.001)
///     >>> seen.insert(b"a"), seen.insert(b"a")
///     (True, False)
///     >>> b"a" in seen, b"b" in seen, len(seen), seen.saturated
///     (True, False, 1, False)
///     >>> b"a" in Bloom.from_bytes(seen.to_bytes())
///     True
#[pyclass(frozen, name = "Bloom", module = "city_chain.algorithms.cbf")]
struct Bloom(Shared<cbf::Bloom>);

#[pymethods]
impl Bloom {
    #[new]
    #[pyo3(signature = (capacity, fpr = Real(0.01), *, seed = Int(0)), text_signature = "(capacity, fpr=0.01, *, seed=0)")]
    fn new(py: Python<'_>, capacity: Int<u64>, fpr: Real, seed: Int<u64>) -> PyResult<Self> {
        long(py, || cbf::Bloom::new(capacity.0, fpr.0, seed.0)).map(|filter| Self(Shared::new(filter)))
    }

    /// Adds a key.
    ///
    /// Args:
    ///     key: Any bytes.
    ///
    /// Returns:
    ///     True if the filter did not hold it before. False may also mean a stranger that passed.
    fn insert(&self, py: Python<'_>, key: Input<'_>) -> PyResult<bool> {
        let key = key.as_slice();
        self.0.write(py, key.len(), |filter| Ok(filter.insert(key)))
    }

    /// ``insert`` for many keys in one call.
    ///
    /// Args:
    ///     keys: An iterable of bytes (at most 2**24), or with ``width`` one buffer of keys of that many bytes each.
    ///     width: Bytes of each key in the buffer.
    ///
    /// Returns:
    ///     How many keys the filter did not hold before.
    ///
    /// Raises:
    ///     InputError: The width does not fit the buffer, or there are too many keys.
    ///
    /// Example:
    ///     >>> Bloom(10).insert_many(b"key1key2key1", width=4)
    ///     2
    #[pyo3(signature = (keys, *, width = None))]
    fn insert_many(&self, py: Python<'_>, keys: &Bound<'_, PyAny>, width: Option<Int<usize>>) -> PyResult<usize> {
        let many = Many::extract(keys, width, self.hasher(py)?)?;
        let view = many.view();
        self.0.write(py, many.work(), |filter| match view {
            View::Packed(keys, width) => filter.insert_packed(keys, width),
            View::Hashed(hashes) => Ok(filter.insert_hashes(hashes)),
        })
    }

    /// The share of bits that are set, 0 to 1.
    #[getter]
    fn load(&self, py: Python<'_>) -> PyResult<f64> {
        self.0.read(py, 0, |filter| Ok(filter.load()))
    }

    /// The false-positive rate it was made for.
    #[getter]
    fn fpr(&self, py: Python<'_>) -> PyResult<f64> {
        self.0.read(py, 0, |filter| Ok(filter.fpr()))
    }

    /// The filter of the keys of both.
    ///
    /// Args:
    ///     other: A filter made with the same numbers.
    ///
    /// Returns:
    ///     A new filter.
    ///
    /// Raises:
    ///     InputError: The two were made with different numbers.
    fn union(&self, py: Python<'_>, other: PyRef<'_, Bloom>) -> PyResult<Bloom> {
        let work = self.table_len(py)?;
        // One lock after the other: a filter may be united with itself.
        let other = other.0.read(py, work, |filter| Ok(filter.clone()))?;
        self.0.read(py, work, |filter| filter.union(&other)).map(|both| Self(Shared::new(both)))
    }

    fn __or__(&self, py: Python<'_>, other: PyRef<'_, Bloom>) -> PyResult<Bloom> {
        self.union(py, other)
    }

    /// The bits as Parquet stores them, without its header.
    ///
    /// Returns:
    ///     ``table_len`` bytes.
    fn bitset<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let work = self.table_len(py)?;
        Ok(PyBytes::new(py, &self.0.read(py, work, |filter| Ok(filter.bitset()))?))
    }

    /// A filter of bits that another implementation of Parquet's filter wrote.
    ///
    /// Args:
    ///     bitset: A multiple of 32 bytes, at most 1 GiB.
    ///     capacity: The keys it was made for.
    ///     fpr: The false-positive rate it was made for.
    ///     seed: The seed of the hash; Parquet's is 0.
    ///
    /// Returns:
    ///     The filter.
    ///
    /// Raises:
    ///     InputError: A size or number is out of range.
    #[classmethod]
    #[pyo3(
        signature = (bitset, capacity, fpr = Real(0.01), *, seed = Int(0)),
        text_signature = "($cls, bitset, capacity, fpr=0.01, *, seed=0)"
    )]
    fn from_bitset(
        _class: &Bound<'_, PyType>,
        py: Python<'_>,
        bitset: Input<'_>,
        capacity: Int<u64>,
        fpr: Real,
        seed: Int<u64>,
    ) -> PyResult<Self> {
        let bits = bitset.as_slice();
        sized(py, bits.len(), || cbf::Bloom::from_bitset(bits, capacity.0, fpr.0, seed.0))
            .map(|filter| Self(Shared::new(filter)))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        self.0.read(py, 0, |filter| {
            Ok(format!("<Bloom of about {} keys, made for {} at {}>", filter.len(), filter.capacity(), filter.fpr()))
        })
    }
}

/// A filter that forgets: a cuckoo filter of 16-bit fingerprints. Safe to share between threads.
///
/// ``key in filter`` is never wrong when it says no; a stranger passes with a probability of about 0.012 % when the filter
/// is full. It is a multiset: a key inserted twice must be removed twice, and up to 8 copies of one fit.
/// What is refused leaves it as it was, byte for byte.
///
/// Args:
///     capacity: The most keys it holds, copies counted, 1 to about 500 million (1 GiB).
///     seed: The seed of the hash, 0 to 2**64 - 1. A random one keeps strangers from choosing keys that collide.
///
/// Raises:
///     InputError: A number is out of range.
///
/// Example:
///     >>> held = Cuckoo(1000)
///     >>> held.insert(b"a")
///     >>> b"a" in held, len(held)
///     (True, 1)
///     >>> held.remove(b"a")
///     >>> b"a" in held, len(held)
///     (False, 0)
#[pyclass(frozen, name = "Cuckoo", module = "city_chain.algorithms.cbf")]
struct Cuckoo(Shared<cbf::Cuckoo>);

#[pymethods]
impl Cuckoo {
    #[new]
    #[pyo3(signature = (capacity, *, seed = Int(0)), text_signature = "(capacity, *, seed=0)")]
    fn new(py: Python<'_>, capacity: Int<u64>, seed: Int<u64>) -> PyResult<Self> {
        long(py, || cbf::Cuckoo::new(capacity.0, seed.0)).map(|filter| Self(Shared::new(filter)))
    }

    /// Adds one copy of a key.
    ///
    /// Args:
    ///     key: Any bytes.
    ///
    /// Raises:
    ///     UnavailableError: The filter is full.
    ///     InputError: It holds 8 copies of the key already.
    fn insert(&self, py: Python<'_>, key: Input<'_>) -> PyResult<()> {
        let key = key.as_slice();
        self.0.write(py, key.len(), |filter| filter.insert(key))
    }

    /// Takes one copy of a key away.
    ///
    /// Only for keys that were inserted: removing a stranger that shares another key's fingerprint takes that key away, and
    /// the filter then denies it.
    ///
    /// Args:
    ///     key: A key that was inserted.
    ///
    /// Raises:
    ///     InputError: The key is certainly not there.
    fn remove(&self, py: Python<'_>, key: Input<'_>) -> PyResult<()> {
        let key = key.as_slice();
        self.0.write(py, key.len(), |filter| filter.remove(key))
    }

    /// ``insert`` for many keys in one call: all of them, or none.
    ///
    /// Args:
    ///     keys: An iterable of bytes (at most 2**24), or with ``width`` one buffer of keys of that many bytes each.
    ///     width: Bytes of each key in the buffer.
    ///
    /// Raises:
    ///     UnavailableError: The filter has no room for all of them.
    ///     InputError: More than 8 copies of a key, the width does not fit the buffer, or there are too many keys.
    #[pyo3(signature = (keys, *, width = None))]
    fn insert_many(&self, py: Python<'_>, keys: &Bound<'_, PyAny>, width: Option<Int<usize>>) -> PyResult<()> {
        let many = Many::extract(keys, width, self.hasher(py)?)?;
        let view = many.view();
        self.0.write(py, many.work(), |filter| match view {
            View::Packed(keys, width) => filter.insert_packed(keys, width),
            View::Hashed(hashes) => filter.insert_hashes(hashes),
        })
    }

    /// The share of slots that are used, 0 to 1.
    #[getter]
    fn load(&self, py: Python<'_>) -> PyResult<f64> {
        self.0.read(py, 0, |filter| Ok(filter.load()))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        self.0.read(py, 0, |filter| Ok(format!("<Cuckoo of {} keys, room for {}>", filter.len(), filter.capacity())))
    }
}

/// What both filters can do alike. `$more` are the bytes of an encoding beside its table's.
macro_rules! shared_methods {
    ($name:ident, $saturated:literal, $len:literal, $capacity:literal, $table_len:literal, $more:literal) => {
        #[pymethods]
        impl $name {
            /// Whether a key may be there.
            ///
            /// Args:
            ///     key: Any bytes.
            ///
            /// Returns:
            ///     False if it certainly is not.
            fn contains(&self, py: Python<'_>, key: Input<'_>) -> PyResult<bool> {
                let key = key.as_slice();
                self.0.read(py, key.len(), |filter| Ok(filter.contains(key)))
            }

            fn __contains__(&self, py: Python<'_>, key: Input<'_>) -> PyResult<bool> {
                self.contains(py, key)
            }

            /// ``contains`` for many keys in one call.
            ///
            /// Args:
            ///     keys: As in ``insert_many``.
            ///     width: As in ``insert_many``.
            ///
            /// Returns:
            ///     One bit for each key, packed: key ``i`` is bit ``i % 8`` of byte ``i // 8``; unused bits are 0.
            ///
            /// Raises:
            ///     InputError: The width does not fit the buffer, or there are too many keys.
            ///
            /// Example:
            #[doc = concat!("    >>> held = ", stringify!($name), "(10)")]
            ///     >>> _ = held.insert(b"key2")
            ///     >>> held.contains_many([b"key1", b"key2"])[0]
            ///     2
            #[pyo3(signature = (keys, *, width = None))]
            fn contains_many<'py>(
                &self,
                py: Python<'py>,
                keys: &Bound<'py, PyAny>,
                width: Option<Int<usize>>,
            ) -> PyResult<Bound<'py, PyBytes>> {
                let many = Many::extract(keys, width, self.hasher(py)?)?;
                let view = many.view();
                let bits = self.0.read(py, many.work(), |filter| match view {
                    View::Packed(keys, width) => filter.contains_packed(keys, width),
                    View::Hashed(hashes) => Ok(filter.contains_hashes(hashes)),
                })?;
                Ok(PyBytes::new(py, &bits))
            }

            #[doc = $len]
            fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
                self.0.read(py, 0, |filter| Ok(as_len(filter.len())))
            }

            #[doc = $saturated]
            #[getter]
            fn saturated(&self, py: Python<'_>) -> PyResult<bool> {
                self.0.read(py, 0, |filter| Ok(filter.saturated()))
            }

            /// The probability that a stranger passes now.
            #[getter]
            fn estimated_fpr(&self, py: Python<'_>) -> PyResult<f64> {
                self.0.read(py, 0, |filter| Ok(filter.estimated_fpr()))
            }

            #[doc = $capacity]
            #[getter]
            fn capacity(&self, py: Python<'_>) -> PyResult<u64> {
                self.0.read(py, 0, |filter| Ok(filter.capacity()))
            }

            /// The seed of the hash.
            #[getter]
            fn seed(&self, py: Python<'_>) -> PyResult<u64> {
                self.0.read(py, 0, |filter| Ok(filter.seed()))
            }

            #[doc = $table_len]
            #[getter]
            fn table_len(&self, py: Python<'_>) -> PyResult<usize> {
                self.0.read(py, 0, |filter| Ok(filter.table_len()))
            }

            /// The encoding: versioned, with seed and checksum.
            ///
            /// Returns:
            #[doc = concat!("    ``table_len`` bytes and ", $more, " more.")]
            fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
                let work = self.table_len(py)?;
                Ok(PyBytes::new(py, &self.0.read(py, work, cbf::$name::to_bytes)?))
            }

            /// The filter of an encoding.
            ///
            /// Args:
            ///     data: What ``to_bytes`` gave.
            ///
            /// Returns:
            ///     An equal filter.
            ///
            /// Raises:
            ///     InputError: The bytes are damaged, cut, of another version or of something else.
            #[classmethod]
            #[pyo3(signature = (data), text_signature = "($cls, data)")]
            fn from_bytes(_class: &Bound<'_, PyType>, py: Python<'_>, data: Input<'_>) -> PyResult<Self> {
                let bytes = data.as_slice();
                sized(py, bytes.len(), || cbf::$name::from_bytes(bytes)).map(|filter| Self(Shared::new(filter)))
            }
        }

        impl $name {
            /// The hash of keys for this filter.
            fn hasher(&self, py: Python<'_>) -> PyResult<impl Fn(&[u8]) -> u64> {
                let seed = self.seed(py)?;
                Ok(move |key: &[u8]| cbf::hash(seed, key))
            }
        }
    };
}

shared_methods!(
    Bloom,
    "Whether it holds more keys than it was made for (beyond chance: 2 * sqrt(capacity) more), so that strangers may pass \
     more often than ``fpr``.",
    "About how many different keys it holds, from the bits that are set.",
    "The keys it was made for.",
    "Bytes of its bits.",
    "42"
);
shared_methods!(
    Cuckoo,
    "Whether it is full: the next insertion is refused.",
    "How many keys it holds, copies counted.",
    "The most keys it holds.",
    "Bytes of its buckets.",
    "34"
);

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Bloom>()?;
    module.add_class::<Cuckoo>()
}
