//! Bindings of `ec`.

use std::collections::BTreeMap;

use pyo3::exceptions::{PyIndexError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyIterator, PyList, PyMapping, PyMemoryView, PySlice, PyString, PyTuple};

use super::buffer::Input;
use super::call::{LONG_MIN, long, short, sized};
use super::error::input;
use super::int::Int;
use super::keys::items;
use super::output::Output;
use crate::algorithms::ec;
use crate::crypto::hash::Digest;

/// What is encoded: n fragments of equal size, of which any k restore the input. Made by ``encode``; never changes.
///
/// ``encoded[i]`` is fragment ``i`` (data first, then parity) as a read-only memoryview: data fragments are views of the
/// input, parity fragments views of one ``bytes`` object. ``len(encoded)`` is n, and iterating gives all fragments.
///
/// Example:
///     >>> encoded = encode(b"hello, world", 3, 2)
///     >>> len(encoded), encoded.fragment_len, encoded[0].tobytes()
///     (5, 4, b'hell')
///     >>> decode({1: encoded[1], 3: encoded[3], 4: encoded[4]}, 3, 2, encoded.length)
///     b'hello, world'
#[pyclass(frozen, sequence, name = "Encoded", module = "city_chain.algorithms.ec")]
struct EcEncoded {
    shape: ec::Shape,
    code: ec::Code,
    hashes: Vec<Digest>,
    data: Py<PyMemoryView>,
    tail: Py<PyMemoryView>,
    parity: Py<PyMemoryView>,
}

impl EcEncoded {
    fn fragment<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some((buffer, at)) = self.shape.place(index) else { return Ok(None) };
        let view = match buffer {
            ec::Buffer::Input => &self.data,
            ec::Buffer::Tail => &self.tail,
            ec::Buffer::Parity => &self.parity,
        };
        let (start, end) = (at as isize, (at + self.shape.fragment_len()) as isize);
        view.bind(py).get_item(PySlice::new(py, start, end, 1)).map(Some)
    }
}

#[pymethods]
impl EcEncoded {
    /// All n fragments, data first.
    #[getter]
    fn fragments<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let mut all = Vec::with_capacity(self.shape.n());
        for index in 0..self.shape.n() {
            all.extend(self.fragment(py, index)?);
        }
        PyTuple::new(py, all)
    }

    /// The 32-byte hash of every fragment.
    #[getter]
    fn hashes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.hashes.iter().map(|hash| PyBytes::new(py, hash)))
    }

    /// How many data fragments there are: as many of any kind restore the input.
    #[getter]
    fn k(&self) -> usize {
        self.shape.k()
    }

    /// How many parity fragments there are: as many of any kind may be lost.
    #[getter]
    fn p(&self) -> usize {
        self.shape.p()
    }

    /// How many fragments there are.
    #[getter]
    fn n(&self) -> usize {
        self.shape.n()
    }

    /// Bytes of the input.
    #[getter]
    fn length(&self) -> usize {
        self.shape.length()
    }

    /// Bytes of every fragment.
    #[getter]
    fn fragment_len(&self) -> usize {
        self.shape.fragment_len()
    }

    /// The name of the code.
    #[getter]
    fn code(&self) -> &'static str {
        self.code.name()
    }

    /// The id of the code, as manifests carry it.
    #[getter]
    fn code_id(&self) -> u8 {
        self.code.id()
    }

    fn __len__(&self) -> usize {
        self.shape.n()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        self.fragments(py)?.try_iter()
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: Int<i64>) -> PyResult<Bound<'py, PyAny>> {
        let n = self.shape.n() as i64;
        let at = if index.0 < 0 { index.0.saturating_add(n) } else { index.0 };
        let fragment = usize::try_from(at).ok().map(|at| self.fragment(py, at)).transpose()?.flatten();
        fragment.ok_or_else(|| PyIndexError::new_err(format!("fragment {}: there are only {n}", index.0)))
    }

    fn __repr__(&self) -> String {
        let shape = &self.shape;
        format!(
            "<Encoded of {} bytes: {} data and {} parity fragments of {} bytes, {}>",
            shape.length(),
            shape.k(),
            shape.p(),
            shape.fragment_len(),
            self.code.name()
        )
    }
}

/// The input as an unchanging Python object and a flat view of it, copied only if it can change.
fn frozen<'py>(py: Python<'py>, data: &Input<'py>, object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyMemoryView>> {
    match data {
        Input::Bytes(bytes) => PyMemoryView::from(bytes.as_any()),
        Input::View(buffer) if buffer.len_bytes() > 0 && buffer.dimensions() == 1 => PyMemoryView::from(object),
        Input::View(_) | Input::Copied(_) => PyMemoryView::from(PyBytes::new(py, data).as_any()),
    }
}

/// The only hash of fragments, `"blake3"`.
struct Blake3;

impl<'a, 'py> FromPyObject<'a, 'py> for Blake3 {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let text = object.cast::<PyString>()?;
        let name = text.to_string_lossy();
        if name != "blake3" {
            let message = format!("ec: the fragment hash {name:?} is not known; \"blake3\" is");
            return Err(input(object.py(), message));
        }
        Ok(Self)
    }
}

/// See `city_chain.ec.encode`.
#[pyfunction]
#[pyo3(
    signature = (data, k, p, *, fragment_hash = Blake3),
    text_signature = "(data, k, p, *, fragment_hash='blake3')"
)]
fn ec_encode(
    py: Python<'_>,
    data: &Bound<'_, PyAny>,
    k: Int<usize>,
    p: Int<usize>,
    fragment_hash: Blake3,
) -> PyResult<EcEncoded> {
    let Blake3 = fragment_hash;
    let bytes = data.extract::<Input<'_>>()?;
    let (shape, code) = short(py, || Ok((ec::Shape::new(bytes.len() as u64, k.0, p.0)?, ec::code_for(k.0, p.0)?)))?;
    let view = frozen(py, &bytes, data)?;
    let (mut tail, mut parity) = (Output::new(py, shape.tail_len())?, Output::new(py, shape.parity_len())?);
    let (tail_space, mut parity_space) = (tail.space(), parity.space());
    let data = bytes.as_slice();
    let hashes = sized(py, shape.n() * shape.fragment_len(), || {
        let tail = tail_space.zeroed();
        shape.fill_tail(data, tail);
        shape.parity(data, tail, &mut |at, piece| parity_space.put(at, piece))?;
        Ok(shape.hashes(data, tail, parity_space.finish()?))
    })?;
    Ok(EcEncoded {
        shape,
        code,
        hashes,
        data: view.unbind(),
        tail: PyMemoryView::from(tail.publish().as_any())?.unbind(),
        parity: PyMemoryView::from(parity.publish().as_any())?.unbind(),
    })
}

/// Fragments by index, kept alive.
struct Fragments<'py>(BTreeMap<usize, Input<'py>>);

impl<'py> Fragments<'py> {
    fn extract(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        let py = object.py();
        let mut fragments = BTreeMap::new();
        let mut one = |index: &Bound<'py, PyAny>, fragment: &Bound<'py, PyAny>| -> PyResult<()> {
            let at = index.extract::<Int<usize>>().map_err(|error| named(py, "a fragment's index", error))?.0;
            let bytes = fragment.extract().map_err(|error| named(py, &format!("fragment {at}"), error))?;
            if fragments.insert(at, bytes).is_some() {
                return Err(input(py, format!("ec: fragment {at} is there twice")));
            }
            if fragments.len() > 2 * ec::COUNT_MAX {
                return Err(input(py, format!("ec: more than {} fragments, which is the most", 2 * ec::COUNT_MAX)));
            }
            Ok(())
        };
        if let Ok(dict) = object.cast_exact::<PyDict>() {
            for (index, fragment) in dict {
                one(&index, &fragment)?;
            }
        } else {
            let mapping = object.cast::<PyMapping>().map_err(|_| {
                PyTypeError::new_err("fragments: a mapping from index to bytes is needed, such as {0: b\"..\"}")
            })?;
            for item in mapping.items()? {
                let (index, fragment) = item.extract::<(Bound<'py, PyAny>, Bound<'py, PyAny>)>()?;
                one(&index, &fragment)?;
            }
        }
        Ok(Self(fragments))
    }

    fn slices(&self) -> BTreeMap<usize, &[u8]> {
        self.0.iter().map(|(index, bytes)| (*index, bytes.as_slice())).collect()
    }
}

/// Puts what was looked at before a `TypeError`'s message.
fn named(py: Python<'_>, what: &str, error: PyErr) -> PyErr {
    if !error.is_instance_of::<PyTypeError>(py) {
        return error;
    }
    PyTypeError::new_err(format!("{what}: {}", error.value(py)))
}

/// See `city_chain.ec.decode`.
#[pyfunction]
fn ec_decode<'py>(
    py: Python<'py>,
    fragments: &Bound<'py, PyAny>,
    k: Int<usize>,
    p: Int<usize>,
    length: Int<u64>,
) -> PyResult<Bound<'py, PyBytes>> {
    let fragments = Fragments::extract(fragments)?;
    let slices = fragments.slices();
    let shape = short(py, || ec::check(&slices, k.0, p.0, length.0))?;
    let mut output = Output::new(py, shape.length())?;
    let mut space = output.space();
    // Copying alone is quick; the code takes 150 µs and more at any size.
    let whole = (0..shape.k()).all(|index| slices.contains_key(&index));
    sized(py, if whole { shape.length() } else { LONG_MIN }, || {
        ec::decode_with(&slices, &shape, &mut |at, piece| space.put(at, piece))?;
        space.finish().map(drop)
    })?;
    Ok(output.publish())
}

/// See `city_chain.ec.rebuild`.
#[pyfunction]
fn ec_rebuild<'py>(
    py: Python<'py>,
    fragments: &Bound<'py, PyAny>,
    missing: &Bound<'py, PyAny>,
    k: Int<usize>,
    p: Int<usize>,
    length: Int<u64>,
) -> PyResult<Bound<'py, PyDict>> {
    let fragments = Fragments::extract(fragments)?;
    let index = |item: &Bound<'_, PyAny>| item.extract::<Int<usize>>().map(|index| index.0);
    let mut missing = items(missing, "missing", 2 * ec::COUNT_MAX, index)?;
    missing.sort_unstable();
    missing.dedup();
    let slices = fragments.slices();
    let shape = short(py, || ec::check(&slices, k.0, p.0, length.0))?;
    let (n, size) = (shape.n(), shape.fragment_len());
    if let Some(index) = missing.iter().find(|index| **index >= n) {
        return Err(input(py, format!("ec: fragment {index}: there are only {n}")));
    }
    let mut outputs = Vec::with_capacity(missing.len());
    for _ in &missing {
        outputs.push(Output::new(py, size)?);
    }
    let mut spaces: Vec<_> = outputs.iter_mut().map(Output::space).collect();
    long(py, || {
        let mut next = spaces.iter_mut();
        ec::rebuild_with(&slices, &missing, k.0, p.0, length.0, &mut |_, fragment| {
            if let Some(space) = next.next() {
                space.put(0, fragment);
            }
        })?;
        spaces.into_iter().try_for_each(|space| space.finish().map(drop))
    })?;
    let made = PyDict::new(py);
    for (index, output) in missing.iter().zip(outputs) {
        made.set_item(index, output.publish())?;
    }
    Ok(made)
}

/// See `city_chain.ec.fragment_len`.
#[pyfunction]
fn ec_fragment_len(py: Python<'_>, length: Int<u64>, k: Int<usize>) -> PyResult<usize> {
    short(py, || ec::fragment_len(length.0, k.0))
}

/// See `city_chain.ec.code_for`.
#[pyfunction]
fn ec_code_for(py: Python<'_>, k: Int<usize>, p: Int<usize>) -> PyResult<(&'static str, u8)> {
    short(py, || ec::code_for(k.0, p.0)).map(|code| (code.name(), code.id()))
}

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("EcEncoded", module.py().get_type::<EcEncoded>())?;
    module.add_function(wrap_pyfunction!(ec_encode, module)?)?;
    module.add_function(wrap_pyfunction!(ec_decode, module)?)?;
    module.add_function(wrap_pyfunction!(ec_rebuild, module)?)?;
    module.add_function(wrap_pyfunction!(ec_fragment_len, module)?)?;
    module.add_function(wrap_pyfunction!(ec_code_for, module)?)
}
