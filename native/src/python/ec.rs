//! Bindings of `ec`.

use pyo3::exceptions::{PyIndexError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyInt, PyIterator, PyList, PyMapping, PyMemoryView, PyString, PyTuple};

use super::buffer::Input;
use super::call::{long, short, sized};
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
    hashes: Vec<Digest>,
    data: Data,
    made: Py<PyBytes>,
    views: PyOnceLock<[Py<PyMemoryView>; 2]>,
}

/// The input as an unchanging object; a view of `bytes` is made when a fragment is asked for.
enum Data {
    Bytes(Py<PyBytes>),
    View(Py<PyMemoryView>),
}

impl EcEncoded {
    /// The input and what was made for it, as flat views.
    fn views(&self, py: Python<'_>) -> PyResult<&[Py<PyMemoryView>; 2]> {
        self.views.get_or_try_init(py, || {
            let view = |bytes: &Py<PyBytes>| PyMemoryView::from(bytes.bind(py).as_any()).map(Bound::unbind);
            let data = match &self.data {
                Data::Bytes(bytes) => view(bytes)?,
                Data::View(view) => view.clone_ref(py),
            };
            Ok([data, view(&self.made)?])
        })
    }

    fn fragment<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(place) = self.shape.place(index) else { return Ok(None) };
        let [data, made] = self.views(py)?;
        let (view, at) = match place {
            ec::Place::Input(at) => (data, at),
            ec::Place::Made(at) => (made, at),
        };
        slice(py, view, at, self.shape.fragment_len()).map(Some)
    }
}

/// `view[at:at + len]`. Not by `PySlice::new`: in PyO3 0.30 that keeps its three numbers alive for ever.
fn slice<'py>(py: Python<'py>, view: &Py<PyMemoryView>, at: usize, len: usize) -> PyResult<Bound<'py, PyAny>> {
    let (start, stop) = (PyInt::new(py, at), PyInt::new(py, at + len));
    // SAFETY: both numbers are live objects, of which PySlice_New takes references of its own; NULL stands for no step.
    // It gives a new reference, or NULL with an exception set.
    let slice = unsafe {
        let made = ffi::PySlice_New(start.as_ptr(), stop.as_ptr(), std::ptr::null_mut());
        Bound::from_owned_ptr_or_err(py, made)?
    };
    view.bind(py).get_item(slice)
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

    /// The 32-byte hash of every fragment; none if ``fragment_hash`` was ``None``.
    #[getter]
    fn hashes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.hashes.iter().map(|hash| PyBytes::new(py, hash)))
    }

    /// All parity fragments, one after another, as one view.
    #[getter]
    fn parity<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        slice(py, &self.views(py)?[1], self.shape.tail_len(), self.shape.parity_len())
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
        self.shape.code().name()
    }

    /// The id of the code, as manifests carry it.
    #[getter]
    fn code_id(&self) -> u8 {
        self.shape.code().id()
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
            shape.code().name()
        )
    }
}

/// The input as an unchanging object, copied only if it can change.
fn frozen<'py>(py: Python<'py>, data: &Input<'py>, object: &Bound<'py, PyAny>) -> PyResult<Data> {
    Ok(match data {
        Input::Bytes(bytes) => Data::Bytes(bytes.clone().unbind()),
        Input::View(buffer) if buffer.len_bytes() > 0 && buffer.dimensions() == 1 => {
            Data::View(PyMemoryView::from(object)?.unbind())
        }
        Input::View(_) | Input::Copied(_) => Data::Bytes(PyBytes::new(py, data).unbind()),
    })
}

/// How fragments are hashed: `"blake3"`, or `None` for not at all.
struct FragmentHash(bool);

impl<'a, 'py> FromPyObject<'a, 'py> for FragmentHash {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if object.is_none() {
            return Ok(Self(false));
        }
        let text = object.cast::<PyString>()?;
        let name = text.to_string_lossy();
        if name != "blake3" {
            let message = format!("ec: the fragment hash {name:?} is not known; \"blake3\" is, and None is no hash");
            return Err(input(object.py(), message));
        }
        Ok(Self(true))
    }
}

/// A code by name or id; `None` is that of (k, p).
struct Chosen(Option<ec::Code>);

impl<'a, 'py> FromPyObject<'a, 'py> for Chosen {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if object.is_none() {
            return Ok(Self(None));
        }
        let py = object.py();
        if let Ok(name) = object.cast::<PyString>() {
            return short(py, || ec::Code::from_name(&name.to_string_lossy())).map(|code| Self(Some(code)));
        }
        if !object.is_instance_of::<PyInt>() {
            let name = object.get_type().name()?;
            return Err(PyTypeError::new_err(format!("code: a name, an id or None is needed, not {name}")));
        }
        let id = object.extract::<Int<u64>>()?.0;
        short(py, || ec::Code::from_id(id)).map(|code| Self(Some(code)))
    }
}

fn codec(py: Python<'_>, k: Int<usize>, p: Int<usize>, code: Chosen) -> PyResult<ec::Codec> {
    short(py, || ec::Codec::new(k.0, p.0, code.0))
}

/// How long making `rows` fragments takes, as a measure for `call::sized`.
fn work(shape: &ec::Shape, rows: usize, hashed: bool) -> usize {
    let size = shape.fragment_len();
    match shape.code() {
        ec::Code::Gf8 if !hashed => shape.length() / 16 + size.saturating_mul(shape.k() * rows) / 8,
        ec::Code::Gf8 => shape.n() * size,
        ec::Code::Rs16 => shape.n() * size.max(64),
    }
}

fn encode(py: Python<'_>, codec: &ec::Codec, data: &Bound<'_, PyAny>, hash: FragmentHash) -> PyResult<EcEncoded> {
    let bytes = data.extract::<Input<'_>>()?;
    let shape = short(py, || codec.shape(bytes.len() as u64))?;
    let mut made = Output::new(py, shape.made_len())?;
    let (memory, slice) = (made.space().uninit(), bytes.as_slice());
    let hashes = sized(py, work(&shape, shape.p(), hash.0), || codec.encode_into(&shape, slice, memory, hash.0))?;
    let made = made.publish().unbind();
    Ok(EcEncoded { shape, hashes, data: frozen(py, &bytes, data)?, made, views: PyOnceLock::new() })
}

/// Fragments with their indices, kept alive.
struct Given<'py>(Vec<(usize, Input<'py>)>);

impl<'py> Given<'py> {
    fn extract(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        let py = object.py();
        let mut given = Self(Vec::new());
        if let Ok(dict) = object.cast_exact::<PyDict>() {
            // Objects that are no bytes may run code of their own when they are read, which could change the dict.
            let mut later = Vec::new();
            given.0.reserve(dict.len().min(2 * ec::COUNT_MAX));
            for (index, fragment) in dict {
                let at = position(py, &index)?;
                match fragment.cast_into::<PyBytes>() {
                    Ok(bytes) => given.push(py, at, Input::Bytes(bytes))?,
                    Err(other) => later.push((at, other.into_inner())),
                }
            }
            for (at, fragment) in later {
                given.push(py, at, bytes(py, at, &fragment)?)?;
            }
        } else {
            let mapping = object.cast::<PyMapping>().map_err(|_| {
                PyTypeError::new_err("fragments: a mapping from index to bytes is needed, such as {0: b\"..\"}")
            })?;
            for item in mapping.items()? {
                let (index, fragment) = item.extract::<(Bound<'py, PyAny>, Bound<'py, PyAny>)>()?;
                let at = position(py, &index)?;
                given.push(py, at, bytes(py, at, &fragment)?)?;
            }
        }
        Ok(given)
    }

    fn push(&mut self, py: Python<'_>, at: usize, fragment: Input<'py>) -> PyResult<()> {
        if self.0.len() == 2 * ec::COUNT_MAX {
            return Err(input(py, format!("ec: more than {} fragments, which is the most", 2 * ec::COUNT_MAX)));
        }
        self.0.push((at, fragment));
        Ok(())
    }

    fn fragments(&self, py: Python<'_>) -> PyResult<ec::Fragments<'_>> {
        let slices = self.0.iter().map(|(index, bytes)| (*index, bytes.as_slice())).collect();
        short(py, || ec::Fragments::new(slices))
    }
}

fn position(py: Python<'_>, index: &Bound<'_, PyAny>) -> PyResult<usize> {
    index.extract::<Int<usize>>().map(|index| index.0).map_err(|error| named(py, "a fragment's index", error))
}

fn bytes<'py>(py: Python<'py>, at: usize, fragment: &Bound<'py, PyAny>) -> PyResult<Input<'py>> {
    fragment.extract().map_err(|error| named(py, &format!("fragment {at}"), error))
}

/// Puts what was looked at before a `TypeError`'s message.
fn named(py: Python<'_>, what: &str, error: PyErr) -> PyErr {
    if !error.is_instance_of::<PyTypeError>(py) {
        return error;
    }
    PyTypeError::new_err(format!("{what}: {}", error.value(py)))
}

fn decode<'py>(
    py: Python<'py>,
    codec: &ec::Codec,
    fragments: &Bound<'py, PyAny>,
    length: Int<u64>,
) -> PyResult<Bound<'py, PyBytes>> {
    let given = Given::extract(fragments)?;
    let fragments = given.fragments(py)?;
    let shape = short(py, || codec.check(&fragments, length.0))?;
    let mut output = Output::new(py, shape.length())?;
    let memory = output.space().uninit();
    let erased = shape.k() - fragments.iter().take_while(|(index, _)| *index < shape.k()).count();
    sized(py, work(&shape, erased, false), || codec.decode_into(&shape, &fragments, memory))?;
    Ok(output.publish())
}

fn rebuild<'py>(
    py: Python<'py>,
    codec: &ec::Codec,
    fragments: &Bound<'py, PyAny>,
    missing: &Bound<'py, PyAny>,
    length: Int<u64>,
) -> PyResult<Bound<'py, PyDict>> {
    let given = Given::extract(fragments)?;
    let index = |item: &Bound<'_, PyAny>| item.extract::<Int<usize>>().map(|index| index.0);
    let mut missing = items(missing, "missing", 2 * ec::COUNT_MAX, index)?;
    missing.sort_unstable();
    missing.dedup();
    let fragments = given.fragments(py)?;
    let shape = short(py, || codec.check(&fragments, length.0))?;
    let (n, size) = (shape.n(), shape.fragment_len());
    if let Some(index) = missing.iter().find(|index| **index >= n) {
        return Err(input(py, format!("ec: fragment {index}: there are only {n}")));
    }
    let mut outputs = Vec::with_capacity(missing.len());
    for _ in &missing {
        outputs.push(Output::new(py, size)?);
    }
    let memory: Vec<_> = outputs.iter_mut().map(|output| output.space().uninit()).collect();
    sized(py, work(&shape, missing.len(), false), || codec.rebuild_into(&shape, &fragments, &missing, memory))?;
    let made = PyDict::new(py);
    for (index, output) in missing.iter().zip(outputs) {
        made.set_item(index, output.publish())?;
    }
    Ok(made)
}

/// A code for one (k, p) that keeps its tables and workspaces between calls. Threads may share it.
///
/// For many calls with the same (k, p): ``encode``, ``decode`` and ``rebuild`` give what the functions of these names give.
/// Making one builds the tables of the code, so that the first call need not (those of ``rs16`` take about 10 ms).
///
/// Args:
///     k: Data fragments, 1 to 32768.
///     p: Parity fragments, 0 to 32768.
///     code: The code by name or id; ``None`` is that of ``code_for(k, p)``.
///
/// Raises:
///     InputError: A number is out of range, or the code is not known or has not so many fragments.
///
/// Example:
///     >>> codec = Codec(6, 4)
///     >>> encoded = codec.encode(b"many payloads, one shape")
///     >>> codec.decode({i: encoded[i] for i in range(4, 10)}, encoded.length)
///     b'many payloads, one shape'
#[pyclass(frozen, name = "Codec", module = "city_chain.algorithms.ec")]
struct EcCodec(ec::Codec);

#[pymethods]
impl EcCodec {
    #[new]
    #[pyo3(signature = (k, p, *, code = Chosen(None)), text_signature = "(k, p, *, code=None)")]
    fn new(py: Python<'_>, k: Int<usize>, p: Int<usize>, code: Chosen) -> PyResult<Self> {
        let codec = codec(py, k, p, code)?;
        long(py, move || {
            codec.warm();
            Ok(Self(codec))
        })
    }

    /// How many data fragments there are.
    #[getter]
    fn k(&self) -> usize {
        self.0.k()
    }

    /// How many parity fragments there are.
    #[getter]
    fn p(&self) -> usize {
        self.0.p()
    }

    /// How many fragments there are.
    #[getter]
    fn n(&self) -> usize {
        self.0.k() + self.0.p()
    }

    /// The name of the code.
    #[getter]
    fn code(&self) -> &'static str {
        self.0.code().name()
    }

    /// The id of the code, as manifests carry it.
    #[getter]
    fn code_id(&self) -> u8 {
        self.0.code().id()
    }

    /// As the function ``encode``.
    ///
    /// Args:
    ///     data: The bytes.
    ///     fragment_hash: ``"blake3"``, or ``None`` for no hashes.
    ///
    /// Raises:
    ///     InputError: The hash is not known, or the fragments would need too much memory.
    #[pyo3(
        signature = (data, *, fragment_hash = FragmentHash(true)),
        text_signature = "($self, data, *, fragment_hash='blake3')"
    )]
    fn encode(&self, py: Python<'_>, data: &Bound<'_, PyAny>, fragment_hash: FragmentHash) -> PyResult<EcEncoded> {
        encode(py, &self.0, data, fragment_hash)
    }

    /// As the function ``decode``.
    ///
    /// Args:
    ///     fragments: Fragments by index, whose hashes the caller has checked.
    ///     length: Bytes of the input, as encoded.
    ///
    /// Raises:
    ///     InputError: An index or a size does not fit.
    ///     UnavailableError: There are fewer than k fragments.
    fn decode<'py>(
        &self,
        py: Python<'py>,
        fragments: &Bound<'py, PyAny>,
        length: Int<u64>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        decode(py, &self.0, fragments, length)
    }

    /// As the function ``rebuild``.
    ///
    /// Args:
    ///     fragments: As in ``decode``.
    ///     missing: The indices to make.
    ///     length: Bytes of the input, as encoded.
    ///
    /// Raises:
    ///     InputError: As in ``decode``, or an index in ``missing`` is out of range.
    ///     UnavailableError: There are fewer than k fragments.
    fn rebuild<'py>(
        &self,
        py: Python<'py>,
        fragments: &Bound<'py, PyAny>,
        missing: &Bound<'py, PyAny>,
        length: Int<u64>,
    ) -> PyResult<Bound<'py, PyDict>> {
        rebuild(py, &self.0, fragments, missing, length)
    }

    /// Bytes of every fragment of an input of ``length`` bytes.
    ///
    /// Args:
    ///     length: Bytes of the input, 0 to 16 GiB.
    ///
    /// Raises:
    ///     InputError: The length is out of range.
    fn fragment_len(&self, py: Python<'_>, length: Int<u64>) -> PyResult<usize> {
        short(py, || self.0.code().fragment_len(length.0, self.0.k()))
    }

    fn __repr__(&self) -> String {
        format!("<Codec {}: {} data and {} parity fragments>", self.0.code().name(), self.0.k(), self.0.p())
    }
}

/// See `city_chain.ec.encode`.
#[pyfunction]
#[pyo3(signature = (data, k, p, fragment_hash = FragmentHash(true), code = Chosen(None)), text_signature = "(data, k, p, fragment_hash='blake3', code=None)")]
fn ec_encode(
    py: Python<'_>,
    data: &Bound<'_, PyAny>,
    k: Int<usize>,
    p: Int<usize>,
    fragment_hash: FragmentHash,
    code: Chosen,
) -> PyResult<EcEncoded> {
    encode(py, &codec(py, k, p, code)?, data, fragment_hash)
}

/// See `city_chain.ec.decode`.
#[pyfunction]
#[pyo3(signature = (fragments, k, p, length, code = Chosen(None)), text_signature = "(fragments, k, p, length, code=None)")]
fn ec_decode<'py>(
    py: Python<'py>,
    fragments: &Bound<'py, PyAny>,
    k: Int<usize>,
    p: Int<usize>,
    length: Int<u64>,
    code: Chosen,
) -> PyResult<Bound<'py, PyBytes>> {
    decode(py, &codec(py, k, p, code)?, fragments, length)
}

/// See `city_chain.ec.rebuild`.
#[pyfunction]
#[pyo3(signature = (fragments, missing, k, p, length, code = Chosen(None)), text_signature = "(fragments, missing, k, p, length, code=None)")]
fn ec_rebuild<'py>(
    py: Python<'py>,
    fragments: &Bound<'py, PyAny>,
    missing: &Bound<'py, PyAny>,
    k: Int<usize>,
    p: Int<usize>,
    length: Int<u64>,
    code: Chosen,
) -> PyResult<Bound<'py, PyDict>> {
    rebuild(py, &codec(py, k, p, code)?, fragments, missing, length)
}

/// See `city_chain.ec.fragment_len`.
#[pyfunction]
#[pyo3(signature = (length, k, p, code = Chosen(None)), text_signature = "(length, k, p, code=None)")]
fn ec_fragment_len(py: Python<'_>, length: Int<u64>, k: Int<usize>, p: Int<usize>, code: Chosen) -> PyResult<usize> {
    short(py, || {
        let code = code.0.map_or_else(|| ec::code_for(k.0, p.0), Ok)?;
        code.check(k.0, p.0)?;
        code.fragment_len(length.0, k.0)
    })
}

/// See `city_chain.ec.code_for`.
#[pyfunction]
fn ec_code_for(py: Python<'_>, k: Int<usize>, p: Int<usize>) -> PyResult<(&'static str, u8)> {
    short(py, || ec::code_for(k.0, p.0)).map(|code| (code.name(), code.id()))
}

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("EcEncoded", module.py().get_type::<EcEncoded>())?;
    module.add("EcCodec", module.py().get_type::<EcCodec>())?;
    module.add_function(wrap_pyfunction!(ec_encode, module)?)?;
    module.add_function(wrap_pyfunction!(ec_decode, module)?)?;
    module.add_function(wrap_pyfunction!(ec_rebuild, module)?)?;
    module.add_function(wrap_pyfunction!(ec_fragment_len, module)?)?;
    module.add_function(wrap_pyfunction!(ec_code_for, module)?)
}
