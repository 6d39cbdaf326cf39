//! Bindings of `cbf`.

use std::sync::{PoisonError, RwLock};

use pyo3::prelude::*;
use pyo3::sync::RwLockExt;
use pyo3::types::{PyBytes, PyType};

use super::buffer::Input;
use super::call::{LONG_MIN, long, short, sized};
use super::int::Int;
use super::keys::Keys;
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

    /// Whether a key may have been inserted.
    ///
    /// Args:
    ///     key: Any bytes.
    ///
    /// Returns:
    ///     False if it certainly was not.
    fn contains(&self, py: Python<'_>, key: Input<'_>) -> PyResult<bool> {
        let key = key.as_slice();
        self.0.read(py, key.len(), |filter| Ok(filter.contains(key)))
    }

    fn __contains__(&self, py: Python<'_>, key: Input<'_>) -> PyResult<bool> {
        self.contains(py, key)
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
        let keys = Keys::extract(keys, width)?;
        let slices = keys.slices();
        self.0.write(py, keys.work(), |filter| Ok(filter.insert_many(slices)))
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
    ///     >>> seen = Bloom(10)
    ///     >>> _ = seen.insert(b"key2")
    ///     >>> seen.contains_many([b"key1", b"key2"])[0]
    ///     2
    #[pyo3(signature = (keys, *, width = None))]
    fn contains_many<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
        width: Option<Int<usize>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let keys = Keys::extract(keys, width)?;
        let slices = keys.slices();
        let bits = self.0.read(py, keys.work(), |filter| Ok(filter.contains_many(slices)))?;
        Ok(PyBytes::new(py, &bits))
    }

    /// About how many different keys it holds, from the bits that are set.
    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.0.read(py, 0, |filter| Ok(as_len(filter.len())))
    }

    /// The share of bits that are set, 0 to 1.
    #[getter]
    fn load(&self, py: Python<'_>) -> PyResult<f64> {
        self.0.read(py, 0, |filter| Ok(filter.load()))
    }

    /// The probability that a stranger passes now.
    #[getter]
    fn estimated_fpr(&self, py: Python<'_>) -> PyResult<f64> {
        self.0.read(py, 0, |filter| Ok(filter.estimated_fpr()))
    }

    /// Whether it holds more keys than it was made for (beyond chance: 2 * sqrt(capacity) more), so that strangers may pass
    /// more often than ``fpr``.
    #[getter]
    fn saturated(&self, py: Python<'_>) -> PyResult<bool> {
        self.0.read(py, 0, |filter| Ok(filter.saturated()))
    }

    /// The keys it was made for.
    #[getter]
    fn capacity(&self, py: Python<'_>) -> PyResult<u64> {
        self.0.read(py, 0, |filter| Ok(filter.capacity()))
    }

    /// The false-positive rate it was made for.
    #[getter]
    fn fpr(&self, py: Python<'_>) -> PyResult<f64> {
        self.0.read(py, 0, |filter| Ok(filter.fpr()))
    }

    /// The seed of the hash.
    #[getter]
    fn seed(&self, py: Python<'_>) -> PyResult<u64> {
        self.0.read(py, 0, |filter| Ok(filter.seed()))
    }

    /// Bytes of its bits.
    #[getter]
    fn table_len(&self, py: Python<'_>) -> PyResult<usize> {
        self.0.read(py, 0, |filter| Ok(filter.table_len()))
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

    /// The encoding: versioned, with seed and checksum.
    ///
    /// Returns:
    ///     ``table_len`` bytes and 42 more.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let work = self.table_len(py)?;
        Ok(PyBytes::new(py, &self.0.read(py, work, cbf::Bloom::to_bytes)?))
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
        sized(py, bytes.len(), || cbf::Bloom::from_bytes(bytes)).map(|filter| Self(Shared::new(filter)))
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
/// is full. It is a multiset: a key inserted twice must be removed twice, and up to 8 copies of one fit (4 if its two
/// buckets fall together). What is refused leaves it as it was, byte for byte.
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
        let keys = Keys::extract(keys, width)?;
        let slices = keys.slices();
        self.0.write(py, keys.work(), |filter| filter.insert_many(slices))
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
    #[pyo3(signature = (keys, *, width = None))]
    fn contains_many<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
        width: Option<Int<usize>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let keys = Keys::extract(keys, width)?;
        let slices = keys.slices();
        let bits = self.0.read(py, keys.work(), |filter| Ok(filter.contains_many(slices)))?;
        Ok(PyBytes::new(py, &bits))
    }

    /// How many keys it holds, copies counted.
    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.0.read(py, 0, |filter| Ok(as_len(filter.len())))
    }

    /// The share of slots that are used, 0 to 1.
    #[getter]
    fn load(&self, py: Python<'_>) -> PyResult<f64> {
        self.0.read(py, 0, |filter| Ok(filter.load()))
    }

    /// The probability that a stranger passes now.
    #[getter]
    fn estimated_fpr(&self, py: Python<'_>) -> PyResult<f64> {
        self.0.read(py, 0, |filter| Ok(filter.estimated_fpr()))
    }

    /// Whether it is full: the next insertion is refused.
    #[getter]
    fn saturated(&self, py: Python<'_>) -> PyResult<bool> {
        self.0.read(py, 0, |filter| Ok(filter.saturated()))
    }

    /// The most keys it holds.
    #[getter]
    fn capacity(&self, py: Python<'_>) -> PyResult<u64> {
        self.0.read(py, 0, |filter| Ok(filter.capacity()))
    }

    /// The seed of the hash.
    #[getter]
    fn seed(&self, py: Python<'_>) -> PyResult<u64> {
        self.0.read(py, 0, |filter| Ok(filter.seed()))
    }

    /// Bytes of its buckets.
    #[getter]
    fn table_len(&self, py: Python<'_>) -> PyResult<usize> {
        self.0.read(py, 0, |filter| Ok(filter.table_len()))
    }

    /// The encoding: versioned, with seed and checksum.
    ///
    /// Returns:
    ///     ``table_len`` bytes and 34 more.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let work = self.table_len(py)?;
        Ok(PyBytes::new(py, &self.0.read(py, work, cbf::Cuckoo::to_bytes)?))
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
        sized(py, bytes.len(), || cbf::Cuckoo::from_bytes(bytes)).map(|filter| Self(Shared::new(filter)))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        self.0.read(py, 0, |filter| Ok(format!("<Cuckoo of {} keys, room for {}>", filter.len(), filter.capacity())))
    }
}

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Bloom>()?;
    module.add_class::<Cuckoo>()
}
