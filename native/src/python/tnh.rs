//! Bindings of `tnh`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyRange};

use super::buffer::Input;
use super::call::{LONG_MIN, long, short};
use super::error::input;
use super::int::Int;
use super::output::Output;
use crate::algorithms::tnh;
use crate::algorithms::tnh::agreement::{self, Reading};
use crate::algorithms::tnh::ntp::{self, Answer};
use crate::error::Error;

/// The most stamps that one call writes out: 128 MiB of them.
const PACKED_MAX: usize = 1 << 24;

/// A hybrid logical clock: one per node, and safe to share between threads.
///
/// A stamp is one int: Unix milliseconds (48 bits) above a counter (16 bits), so stamps compare as numbers. Stamps of one
/// clock strictly increase, a message's reception is stamped after its sending, and no stamp is further ahead of the local
/// physical clock than ``max_drift_ms``. The clock reads no time itself: ``physical_ms`` is given with every call. What is
/// refused leaves the clock as it was.
///
/// Args:
///     max_drift_ms: How far ahead of the physical clock a stamp may be, milliseconds, 1 to 2**48 - 1.
///     last: The stamp to start after: 0, or what ``upper_bound`` gave before a restart.
///
/// Raises:
///     InputError: A number is out of range.
///
/// Example:
///     >>> clock = Hlc()
///     >>> first, second = clock.now(1_800_000_000_000), clock.now(1_800_000_000_000)
///     >>> ms(second), counter(second), second > first
///     (1800000000000, 1, True)
///     >>> clock.update(pack(1_800_000_000_300, 7), 1_800_000_000_000) == pack(1_800_000_000_300, 8)
///     True
#[pyclass(frozen, name = "Hlc", module = "city_chain.algorithms.tnh")]
struct Hlc(Mutex<tnh::Hlc>);

impl Hlc {
    fn lock(&self, py: Python<'_>) -> MutexGuard<'_, tnh::Hlc> {
        self.0.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Hlc {
    #[new]
    #[pyo3(signature = (max_drift_ms = Int(500), last = Int(0)), text_signature = "(max_drift_ms=500, last=0)")]
    fn new(py: Python<'_>, max_drift_ms: Int<u64>, last: Int<u64>) -> PyResult<Self> {
        short(py, || tnh::Hlc::new(max_drift_ms.0, last.0)).map(|clock| Self(Mutex::new(clock)))
    }

    /// A stamp for a local event or a message to send.
    ///
    /// Args:
    ///     physical_ms: What the physical clock shows, Unix milliseconds.
    ///
    /// Returns:
    ///     A stamp above every earlier one.
    ///
    /// Raises:
    ///     InputError: The time is out of range.
    ///     ProtocolError: The stamp would be more than ``max_drift_ms`` ahead of ``physical_ms``.
    fn now(&self, py: Python<'_>, physical_ms: Int<u64>) -> PyResult<u64> {
        short(py, || self.lock(py).now(physical_ms.0))
    }

    /// Many stamps at once, without a gap.
    ///
    /// Args:
    ///     physical_ms: What the physical clock shows, Unix milliseconds.
    ///     n: How many, 1 to 2**32 - 1.
    ///
    /// Returns:
    ///     The stamps, rising by one.
    ///
    /// Raises:
    ///     InputError: A number is out of range.
    ///     ProtocolError: The last stamp would be more than ``max_drift_ms`` ahead of ``physical_ms``.
    ///
    /// Example:
    ///     >>> list(Hlc().now_many(1, 3)) == [pack(1, 0), pack(1, 1), pack(1, 2)]
    ///     True
    fn now_many<'py>(&self, py: Python<'py>, physical_ms: Int<u64>, n: Int<u32>) -> PyResult<Bound<'py, PyAny>> {
        let first = short(py, || self.lock(py).now_many(physical_ms.0, n.0))?;
        // Stamps do not fit a Py_ssize_t, so the range is made of Python ints; its end may be 2**64.
        py.get_type::<PyRange>().call1((first, u128::from(first) + u128::from(n.0)))
    }

    /// Many stamps at once, as bytes to store or send.
    ///
    /// Args:
    ///     physical_ms: What the physical clock shows, Unix milliseconds.
    ///     n: How many, 1 to 2**24.
    ///
    /// Returns:
    ///     The stamps that ``now_many`` would give, 8 bytes each, big-endian: they sort as bytes.
    ///
    /// Raises:
    ///     InputError: A number is out of range.
    ///     ProtocolError: The last stamp would be more than ``max_drift_ms`` ahead of ``physical_ms``.
    ///
    /// Example:
    ///     >>> Hlc().now_packed(1, 2).hex(" ", 8)
    ///     '0000000000010000 0000000000010001'
    fn now_packed<'py>(&self, py: Python<'py>, physical_ms: Int<u64>, n: Int<usize>) -> PyResult<Bound<'py, PyBytes>> {
        if !(1..=PACKED_MAX).contains(&n.0) {
            return Err(input(py, format!("hlc: {} stamps; 1 to {PACKED_MAX} may be asked for", n.0)));
        }
        let length = n.0 * tnh::STAMP_LEN;
        let mut stamps = Output::new(py, length)?;
        let space = stamps.space().zeroed();
        if length < LONG_MIN {
            short(py, || self.lock(py).now_packed(physical_ms.0, space))?;
        } else {
            long(py, || self.0.lock().unwrap_or_else(PoisonError::into_inner).now_packed(physical_ms.0, space))?;
        }
        Ok(stamps.publish())
    }

    /// Takes in the stamp of a received message.
    ///
    /// Args:
    ///     remote: The message's stamp. It is hostile until accepted: one too far ahead is refused.
    ///     physical_ms: What the local physical clock shows, Unix milliseconds.
    ///
    /// Returns:
    ///     The stamp of the reception, above ``remote`` and every earlier one.
    ///
    /// Raises:
    ///     InputError: A number is out of range.
    ///     ProtocolError: ``remote`` or the result is more than ``max_drift_ms`` ahead of ``physical_ms``.
    fn update(&self, py: Python<'_>, remote: Int<u64>, physical_ms: Int<u64>) -> PyResult<u64> {
        short(py, || self.lock(py).update(remote.0, physical_ms.0))
    }

    /// A stamp that none given within the next ``ahead_ms`` milliseconds exceeds. Made durable before stamps are used, it is
    /// the ``last`` of the clock after a restart, however far behind the physical clock is then.
    ///
    /// Args:
    ///     physical_ms: What the physical clock shows, Unix milliseconds.
    ///     ahead_ms: For how long the bound is to hold, milliseconds.
    ///
    /// Returns:
    ///     The bound.
    ///
    /// Raises:
    ///     InputError: A number is out of range.
    fn upper_bound(&self, py: Python<'_>, physical_ms: Int<u64>, ahead_ms: Int<u64>) -> PyResult<u64> {
        short(py, || self.lock(py).upper_bound(physical_ms.0, ahead_ms.0))
    }

    /// The last stamp given or taken.
    #[getter]
    fn last(&self, py: Python<'_>) -> u64 {
        self.lock(py).last()
    }

    /// How far ahead of the physical clock a stamp may be, milliseconds.
    #[getter]
    fn max_drift_ms(&self, py: Python<'_>) -> u64 {
        self.lock(py).max_drift_ms()
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let clock = self.lock(py);
        format!("Hlc(max_drift_ms={}, last={})", clock.max_drift_ms(), clock.last())
    }
}

/// See `city_chain.tnh.pack`.
#[pyfunction]
fn hlc_pack(py: Python<'_>, ms: Int<u64>, counter: Int<u16>) -> PyResult<u64> {
    short(py, || tnh::pack(ms.0, counter.0))
}

/// See `city_chain.tnh.ms`.
#[pyfunction]
fn hlc_ms(stamp: Int<u64>) -> u64 {
    tnh::ms(stamp.0)
}

/// See `city_chain.tnh.counter`.
#[pyfunction]
fn hlc_counter(stamp: Int<u64>) -> u64 {
    tnh::counter(stamp.0)
}

/// What a server's answer says about the local clock.
///
/// It is made by ``NtpClient.on_packet``. All times are nanoseconds; ``received_ns`` is on the local clock, ``dispersion_ns`` the
/// granule of the server's clock and the drift during the round trip. ``stratum`` is
/// how many servers stand between this one and a reference clock (1 to 15), ``leap`` 0, or 1 or 2 before a minute of 61 or
/// 59 seconds, ``reference`` the four bytes that name what the server follows.
///
/// Example:
///     >>> from city_chain.algorithms import tnh
///     >>> tnh.NtpSample.__name__
///     'NtpSample'
#[pyclass(frozen, eq, get_all, name = "NtpSample", module = "city_chain.algorithms.tnh")]
#[derive(PartialEq)]
struct NtpSample {
    /// What to add to the local clock to have the server's, nanoseconds.
    offset_ns: i64,
    /// The round trip without the server's own time, nanoseconds.
    delay_ns: u64,
    /// The server's round trip to its reference, nanoseconds.
    root_delay_ns: u64,
    /// How far the server may be from its reference, nanoseconds.
    root_dispersion_ns: u64,
    /// How far the measurement itself may be off, nanoseconds.
    dispersion_ns: u64,
    /// When the answer came, on the local clock, nanoseconds.
    received_ns: u64,
    /// How many servers stand between this one and a reference clock, 1 to 15.
    stratum: u8,
    /// 0; 1 or 2 before a minute of 61 or 59 seconds.
    leap: u8,
    /// What the server follows, 4 bytes.
    reference: [u8; 4],
}

impl From<ntp::Sample> for NtpSample {
    fn from(of: ntp::Sample) -> Self {
        Self {
            offset_ns: of.offset_ns,
            delay_ns: of.delay_ns,
            root_delay_ns: of.root_delay_ns,
            root_dispersion_ns: of.root_dispersion_ns,
            dispersion_ns: of.dispersion_ns,
            received_ns: of.received_ns,
            stratum: of.stratum,
            leap: of.leap,
            reference: of.reference,
        }
    }
}

#[pymethods]
impl NtpSample {
    /// How far the true offset may be from ``offset_ns``: half of both round trips, the server's and the measurement's dispersion,
    /// and a drift of 15 ppm since the answer came.
    ///
    /// Args:
    ///     now_ns: The instant on the local clock, nanoseconds, 0 to 2**64 - 1.
    ///
    /// Returns:
    ///     Nanoseconds.
    ///
    /// Raises:
    ///     InputError: The instant is out of range.
    fn uncertainty_ns(&self, now_ns: Int<u64>) -> u64 {
        let sample = ntp::Sample {
            offset_ns: self.offset_ns,
            delay_ns: self.delay_ns,
            root_delay_ns: self.root_delay_ns,
            root_dispersion_ns: self.root_dispersion_ns,
            dispersion_ns: self.dispersion_ns,
            received_ns: self.received_ns,
            stratum: self.stratum,
            leap: self.leap,
            reference: self.reference,
        };
        sample.uncertainty_ns(now_ns.0)
    }

    fn __repr__(&self) -> String {
        format!(
            "NtpSample(offset_ns={}, delay_ns={}, root_delay_ns={}, root_dispersion_ns={}, \
             dispersion_ns={}, received_ns={}, stratum={}, leap={}, reference=0x{})",
            self.offset_ns,
            self.delay_ns,
            self.root_delay_ns,
            self.root_dispersion_ns,
            self.dispersion_ns,
            self.received_ns,
            self.stratum,
            self.leap,
            crate::crypto::hash::hex(&self.reference)
        )
    }
}

/// The client of one NTP server, without sockets: it makes requests and reads answers (RFC 5905, version 4).
///
/// A request carries nothing but 64 random bits; a packet that does not echo those of the outstanding request is refused
/// before anything else in it is looked at, and the outstanding request stays.
///
/// Example:
///     >>> client = NtpClient()
///     >>> request = client.request()
///     >>> len(request), request[0] >> 3 & 7, client.waits
///     (48, 4, True)
#[pyclass(frozen, name = "NtpClient", module = "city_chain.algorithms.tnh")]
#[derive(Default)]
struct NtpClient(Mutex<ntp::Client>);

#[pymethods]
impl NtpClient {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// The next request; one that has no answer yet is given up.
    ///
    /// Args:
    ///     nonce: 8 bytes that nobody can predict; None: from the operating system.
    ///
    /// Returns:
    ///     48 bytes to send to UDP port 123 of the server.
    ///
    /// Raises:
    ///     InputError: The nonce has another length, is zero, or was that of the request before.
    ///     UnavailableError: The operating system has no random bytes.
    #[pyo3(signature = (nonce = None), text_signature = "($self, nonce=None)")]
    fn request<'py>(&self, py: Python<'py>, nonce: Option<Input<'py>>) -> PyResult<Bound<'py, PyBytes>> {
        let mut bytes = [0; 8];
        if let Some(nonce) = nonce {
            if nonce.len() != bytes.len() {
                return Err(input(py, format!("ntp: a nonce of {} bytes, not {}", nonce.len(), bytes.len())));
            }
            bytes.copy_from_slice(&nonce);
        } else {
            let filled = getrandom::fill(&mut bytes);
            short(py, || {
                filled.map_err(|error| Error::unavailable(format!("random bytes of the system ({error})"), 8, 0))
            })?;
        }
        Ok(PyBytes::new(py, &short(py, || self.lock(py).request(bytes))?))
    }

    /// Reads a packet.
    ///
    /// Args:
    ///     packet: What came, hostile until accepted.
    ///     sent_ns: When the request left, on the local clock, nanoseconds since 1970.
    ///     received_ns: When the packet came, on the same clock.
    ///
    /// Returns:
    ///     The measurement; or, when the server asks to be left alone (a kiss of death), its reason: ``"DENY"``,
    ///     ``"RSTR"`` or ``"RATE"``.
    ///
    /// Raises:
    ///     ProtocolError: The packet answers no outstanding request, or says nothing that can be used.
    ///     InputError: The instants are out of range or out of order.
    fn on_packet(
        &self,
        py: Python<'_>,
        packet: Input<'_>,
        sent_ns: Int<u64>,
        received_ns: Int<u64>,
    ) -> PyResult<Py<PyAny>> {
        match short(py, || self.lock(py).on_packet(&packet, sent_ns.0, received_ns.0))? {
            Answer::Sample(sample) => Ok(Bound::new(py, NtpSample::from(sample))?.into_any().unbind()),
            Answer::Kiss(code) => {
                let code: String = code.iter().copied().map(char::from).collect();
                Ok(code.into_pyobject(py)?.into_any().unbind())
            }
        }
    }

    /// Whether a request waits for its answer.
    #[getter]
    fn waits(&self, py: Python<'_>) -> bool {
        self.lock(py).waits()
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        format!("NtpClient(waits={})", if self.lock(py).waits() { "True" } else { "False" })
    }
}

impl NtpClient {
    fn lock(&self, py: Python<'_>) -> MutexGuard<'_, ntp::Client> {
        self.0.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }
}

/// See `city_chain.tnh.intersect`: earliest, latest, the places that can be right, those that are wrong.
#[pyfunction]
fn tnh_intersect(
    py: Python<'_>,
    readings: Vec<(Int<i64>, Int<u64>)>,
    total: Int<usize>,
) -> PyResult<(i64, i64, Vec<usize>, Vec<usize>)> {
    let readings: Vec<Reading> = readings
        .into_iter()
        .map(|(offset, uncertainty)| Reading { offset_ns: offset.0, uncertainty_ns: uncertainty.0 })
        .collect();
    let found = short(py, || agreement::intersect(&readings, total.0))?;
    Ok((found.earliest_ns, found.latest_ns, found.right, found.wrong))
}

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Hlc>()?;
    module.add_class::<NtpClient>()?;
    module.add_class::<NtpSample>()?;
    module.add_function(wrap_pyfunction!(tnh_intersect, module)?)?;
    module.add_function(wrap_pyfunction!(hlc_pack, module)?)?;
    module.add_function(wrap_pyfunction!(hlc_ms, module)?)?;
    module.add_function(wrap_pyfunction!(hlc_counter, module)?)
}
