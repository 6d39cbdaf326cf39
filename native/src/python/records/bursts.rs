//! Bindings of what a burst of transactions needs of many records at once.

use std::sync::Arc;

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::dispersal::Manifest;
use super::message::Message;
use crate::crypto::hash::Digest;
use crate::proofs::poh;
use crate::proofs::poh::session::{Opened, Session};
use crate::python::buffer::Input;
use crate::python::call::{long, short, sized};
use crate::python::error::{input, to_python};
use crate::python::identity::Identity;
use crate::python::int::Int;
use crate::python::poh::{Ack, HoldRequest};
use crate::python::record::{MANY_MAX, Wrapper, check_tuple, digests, each, items};
use crate::python::session::{self, HoldSession, OpenedSessions};
use crate::python::text::Str;
use crate::records::message as message_model;
use crate::records::{FRAGMENTS_MAX, bursts as model, identity};

/// The parts of a message from Python, of which there may be at most so many bytes together.
fn read_parts<'py>(py: Python<'py>, parts: &Bound<'py, PyAny>) -> PyResult<Vec<Input<'py>>> {
    let mut size = 0usize;
    items(parts, "message: parts", message_model::PARTS_MAX, |part| {
        let part = part.extract::<Input<'_>>()?;
        size = size.saturating_add(part.len());
        if size > message_model::MESSAGE_MAX {
            let most = message_model::MESSAGE_MAX;
            return Err(input(py, format!("message: {size} bytes, at most {most} are allowed")));
        }
        Ok(part)
    })
}

/// The encoding of a message, in one step: what `Message(kind, parts).to_bytes()` gives.
///
/// Args:
///     kind: A short word of lower-case letters and underscores, 1 to 32.
///     parts: At most 65,536 byte strings, 256 MiB together.
///
/// Raises:
///     InputError: Another kind of kind, or too much.
///
/// Example:
///     >>> from city_chain.records import Message, encode_message
///     >>> encode_message("hold", [b"a", b""]) == Message("hold", [b"a", b""]).to_bytes()
///     True
#[pyfunction]
fn encode_message<'py>(py: Python<'py>, kind: Str, parts: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let parts = read_parts(py, parts)?;
    let slices: Vec<&[u8]> = parts.iter().map(Input::as_slice).collect();
    let work = slices.iter().map(|part| part.len() / 4).sum();
    let encoding = sized(py, work, || message_model::encode_parts(&kind.0, &slices))?;
    Ok(PyBytes::new(py, &encoding))
}

/// Asks the first n nodes of every manifest's selection for its fragments, with one signature over all requests.
///
/// Args:
///     identity: Who asks.
///     asked: (manifest, the n fragments' hashes, 32 secret bytes from which the nodes' challenges come) each.
///     sessions: The sessions with the nodes; a request to a node without one names none.
///     hlc: The sender's hybrid logical clock.
///     deadline_ms: Until when an ack is of use, UTC epoch milliseconds.
///     hold_until_ms: Until when the fragments are to be held, UTC epoch milliseconds.
///
/// Returns:
///     The requests of every manifest, by fragment index (fewer than n where the selection has fewer nodes).
///
/// Raises:
///     InputError: A wrong length, hashes that are not n, more than 1,048,576 manifests.
///
/// Example:
///     >>> from city_chain.records import request_holds
///     >>> [asked] = request_holds(identity, [(manifest, hashes, bytes(32))], hlc=1, deadline_ms=1000, hold_until_ms=2000)
///     >>> [(request.index, request.node == selection.nodes[request.index]) for request in asked]
///     [(0, True), (1, True), (2, True), (3, True)]
#[pyfunction]
#[pyo3(signature = (identity, asked, sessions = None, *, hlc, deadline_ms, hold_until_ms))]
#[allow(clippy::too_many_arguments, reason = "they are Python's keyword arguments")]
fn request_holds(
    py: Python<'_>,
    identity: &Identity,
    asked: &Bound<'_, PyAny>,
    sessions: Option<&Bound<'_, PyAny>>,
    hlc: Int<u64>,
    deadline_ms: Int<u64>,
    hold_until_ms: Int<u64>,
) -> PyResult<Vec<Vec<HoldRequest>>> {
    let asked = items(asked, "hold requests", MANY_MAX, |item| {
        check_tuple(item, 3, "hold requests")?;
        let (manifest, hashes, seed): (Bound<'_, Manifest>, Bound<'_, PyAny>, Input<'_>) = item.extract()?;
        let hashes = digests(&hashes, "hold requests: fragment hash", FRAGMENTS_MAX)?;
        let manifest = manifest.get();
        let manifest_hash = short(py, || manifest.id())?;
        Ok((manifest.shared(), manifest_hash, hashes, seed.digest(py, "hold requests: seed")?))
    })?;
    let asked: Vec<model::Asked<'_>> = asked
        .iter()
        .map(|(manifest, manifest_hash, hashes, seed)| model::Asked {
            manifest,
            manifest_hash: *manifest_hash,
            hashes: hashes.clone(),
            seed: *seed,
        })
        .collect();
    let sessions = session::read(sessions)?;
    let times = model::Times { hlc: hlc.0, deadline_ms: deadline_ms.0, hold_until_ms: hold_until_ms.0 };
    let key = identity.shared();
    let work = asked.iter().map(|item| item.hashes.len() * 1024).sum();
    sized(py, work, || {
        let requests = model::request_holds(key.signing(), &asked, &sessions, times)?;
        requests.into_iter().map(|some| some.into_iter().map(HoldRequest::wrap).collect()).collect()
    })
}

/// The sealed session, the requests and the fragments of a message that asks to hold them.
///
/// Args:
///     message: A message whose parts are a sealed session (or nothing), then a request and a fragment each.
///
/// Returns:
///     The sealed session, empty if there is none; the requests; and the fragments as they came.
///
/// Raises:
///     ProtocolError: There is no request, or one without a fragment.
///     InputError: A request is not well-formed.
///
/// Example:
///     >>> from city_chain.records import Message, read_holds
///     >>> pairs = [requests[0].to_bytes(), fragments[0], requests[1].to_bytes(), fragments[1]]
///     >>> read_holds(Message("hold", [b"", *pairs])) == (b"", requests[:2], fragments[:2])
///     True
#[pyfunction]
#[allow(clippy::type_complexity, reason = "it is the tuple that Python sees")]
fn read_holds<'py>(
    py: Python<'py>,
    message: &Message,
) -> PyResult<(Bound<'py, PyBytes>, Vec<HoldRequest>, Vec<Bound<'py, PyBytes>>)> {
    let core = message.core();
    let requests = sized(py, core.parts.len() * 512, || {
        model::read_holds(core)?.into_iter().map(HoldRequest::wrap).collect::<crate::error::Result<Vec<_>>>()
    })?;
    let bytes = |part: &[u8]| PyBytes::new(py, part);
    let session = core.parts.first().map_or_else(|| bytes(&[]), |part| bytes(part));
    let fragments = core.parts.iter().skip(2).step_by(2).map(|part| bytes(part)).collect();
    Ok((session, requests, fragments))
}

/// Sorts hold requests by what decides whether they are let in.
///
/// Args:
///     requests: At most 1,048,576.
///
/// Returns:
///     (network, sender, deadline_ms, hold_until_ms, the positions of the requests that have them) for each distinct four,
///     in the order in which they come first.
///
/// Example:
///     >>> from city_chain.records import hold_terms
///     >>> [(network == epoch.network, sender == identity.id, until, at) for network, sender, _, until, at
///     ...  in hold_terms(requests)]
///     [(True, True, 2000, [0, 1, 2])]
#[pyfunction]
#[allow(clippy::type_complexity, reason = "it is the tuple that Python sees")]
fn hold_terms(py: Python<'_>, requests: &Bound<'_, PyAny>) -> PyResult<Vec<(Digest, Digest, u64, u64, Vec<usize>)>> {
    let requests = each(requests, "hold requests", MANY_MAX, HoldRequest::shared)?;
    short(py, || {
        let mut places = std::collections::HashMap::new();
        let mut terms: Vec<(Digest, Digest, u64, u64, Vec<usize>)> = Vec::new();
        for (at, request) in requests.iter().enumerate() {
            let (network, sender) = (request.network, request.sender);
            let (deadline, until) = (request.deadline_ms, request.hold_until_ms);
            let place = *places.entry((network, sender, deadline, until)).or_insert_with(|| {
                terms.push((network, sender, deadline, until, Vec::new()));
                terms.len() - 1
            });
            terms[place].4.push(at);
        }
        Ok(terms)
    })
}

/// A list as long as another argument, read one by one.
fn same_length<'py, T>(
    list: &Bound<'py, PyAny>,
    what: &str,
    length: usize,
    read: impl FnMut(&Bound<'py, PyAny>) -> PyResult<T>,
) -> PyResult<Vec<T>> {
    let found = items(list, what, MANY_MAX, read)?;
    if found.len() != length {
        return Err(input(list.py(), format!("{what}: {} for {length} requests", found.len())));
    }
    Ok(found)
}

/// One node's part of `hold_burst`, read from Python.
struct NodeInput<'py> {
    identity: Arc<identity::Identity>,
    opened: Arc<Opened>,
    hlc: u64,
    requests: Vec<Arc<poh::HoldRequest>>,
    fragments: Vec<Input<'py>>,
    offered: Vec<Input<'py>>,
    kept: Vec<Option<Input<'py>>>,
    refusals: Vec<Option<String>>,
}

impl<'py> NodeInput<'py> {
    fn read(item: &Bound<'py, PyAny>) -> PyResult<Self> {
        check_tuple(item, 8, "hold burst")?;
        type Given<'py> = (
            Bound<'py, Identity>,
            Bound<'py, OpenedSessions>,
            Int<u64>,
            Bound<'py, PyAny>,
            Bound<'py, PyAny>,
            Bound<'py, PyAny>,
            Bound<'py, PyAny>,
            Bound<'py, PyAny>,
        );
        let (identity, opened, hlc, requests, fragments, offered, kept, refusals): Given<'py> = item.extract()?;
        let requests = each(&requests, "hold burst: requests", MANY_MAX, HoldRequest::shared)?;
        let count = requests.len();
        Ok(Self {
            identity: identity.get().shared(),
            opened: opened.get().shared(),
            hlc: hlc.0,
            fragments: same_length(&fragments, "hold burst: fragments", count, |part| part.extract())?,
            offered: same_length(&offered, "hold burst: sessions", count, |part| part.extract())?,
            kept: same_length(&kept, "hold burst: rows", count, |row| row.extract())?,
            refusals: same_length(&refusals, "hold burst: refusals", count, |reason| {
                Ok(reason.extract::<Option<Str>>()?.map(|reason| reason.0))
            })?,
            requests,
        })
    }

    fn core(&self) -> model::Node<'_> {
        let parts = self.fragments.iter().zip(&self.offered);
        let pairs = self.requests.iter().zip(parts).zip(self.kept.iter().zip(&self.refusals));
        model::Node {
            identity: &self.identity,
            opened: &self.opened,
            hlc: self.hlc,
            pairs: pairs
                .map(|((request, (fragment, offered)), (kept, refusal))| model::Pair {
                    request,
                    fragment: fragment.as_slice(),
                    offered: offered.as_slice(),
                    kept: kept.as_ref().map(Input::as_slice),
                    refusal: refusal.clone(),
                })
                .collect(),
        }
    }
}

/// What nodes store and answer when they are asked to hold fragments; one signature for each node's acks.
///
/// The answers must not leave before the rows are durable. A request for another node, a fragment that does not open under
/// the session named in its request or whose hash is not the one requested, and one whose place is taken by another
/// fragment are refused; each costs itself only. What is refused already opens no session.
///
/// Args:
///     asked: (identity, opened, hlc, requests, fragments, sessions, rows, refusals) for each node: its keys, the sessions
///         that it has opened, its clock; what is asked of it, the sealed session that came with each request or `b""`;
///         the rows that it has of these fragments, or None; and why a request is refused already, or None.
///
/// Returns:
///     (answers, rows) for each node: an encoded ack or refusal for each request, or a message ``session`` where its
///     session is not known here any more and should be told again; the row to write, or None where the request is not
///     granted or its row is there already.
///
/// Raises:
///     InputError: Lists of different lengths.
///
/// Example:
///     >>> from city_chain.records import hold_burst
///     >>> opened = poh.OpenedSessions()
///     >>> [(answers, rows)] = hold_burst([(holders[0], opened, 2, requests[:1], fragments[:1], [b""], [None], [None])])
///     >>> poh.Ack.from_bytes(answers[0]).verify_answers(requests[0])
///     >>> again = (holders[0], opened, 2, requests[:1], fragments[:1], [b""], rows, [None])
///     >>> hold_burst([again]) == [(answers, [None])]
///     True
#[pyfunction]
#[allow(clippy::type_complexity, reason = "it is the list that Python sees")]
fn hold_burst<'py>(
    py: Python<'py>,
    asked: &Bound<'py, PyAny>,
) -> PyResult<Vec<(Vec<Bound<'py, PyBytes>>, Vec<Option<Bound<'py, PyBytes>>>)>> {
    let nodes = items(asked, "hold burst", MANY_MAX, NodeInput::read)?;
    let cores: Vec<model::Node<'_>> = nodes.iter().map(NodeInput::core).collect();
    let found = long(py, || model::hold(&cores))?;
    Ok(found
        .into_iter()
        .map(|held| {
            held.iter()
                .map(|held| (PyBytes::new(py, &held.answer), held.row.as_ref().map(|row| PyBytes::new(py, row))))
                .unzip()
        })
        .collect())
}

/// The messages that carry requests with their fragments to nodes.
///
/// Args:
///     runs: (session, whether to tell it, (request, fragment) pairs) for each message, at most 32,767 pairs in one. The
///         session seals the fragments and is the one that the requests name; None sends the fragments as they are, for
///         requests that name none. A node must be told a session once.
///
/// Returns:
///     The encoding of one message `"hold"` for each run.
///
/// Raises:
///     InputError: Too much for one message, or a request names a session and none is given.
///     VerificationError: A request names another session, or is of other parties.
///
/// Example:
///     >>> from city_chain.records import Message, hold_messages
///     >>> [body] = hold_messages([(None, False, [(requests[0], fragments[0])])])
///     >>> Message.from_bytes(body).parts == [b"", requests[0].to_bytes(), fragments[0]]
///     True
#[pyfunction]
fn hold_messages<'py>(py: Python<'py>, runs: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyBytes>>> {
    type Pair<'py> = (Arc<poh::HoldRequest>, Input<'py>);
    type Run<'py> = (Option<Arc<Session>>, bool, Vec<Pair<'py>>);
    let runs: Vec<Run<'py>> = items(runs, "hold messages", MANY_MAX, |run| {
        check_tuple(run, 3, "hold messages")?;
        let (session, is_told, pairs): (Option<Bound<'py, HoldSession>>, bool, Bound<'py, PyAny>) = run.extract()?;
        let pairs = items(&pairs, "hold messages: pairs", message_model::PARTS_MAX / 2 - 1, |item| {
            check_tuple(item, 2, "hold messages")?;
            let (request, fragment): (Bound<'_, HoldRequest>, Input<'_>) = item.extract()?;
            Ok((request.get().shared(), fragment))
        })?;
        Ok((session.map(|session| session.get().shared()), is_told, pairs))
    })?;
    let cores: Vec<model::Run<'_>> = runs
        .iter()
        .map(|(session, is_told, pairs)| model::Run {
            session: session.as_deref(),
            is_told: *is_told,
            pairs: pairs.iter().map(|(request, part)| (&**request, part.as_slice())).collect(),
        })
        .collect();
    let work = cores.iter().flat_map(|run| &run.pairs).map(|(_, part)| 2048 + part.len()).sum();
    let found = sized(py, work, || model::hold_messages(&cores))?;
    Ok(found.iter().map(|body| PyBytes::new(py, body)).collect())
}

/// Reads acks and checks each: that it answers its request, that its proof is over the fragment, and its signature.
///
/// Args:
///     answers: (encoding of an ack, the request that it must answer, the fragment that was sent) each.
///
/// Returns:
///     For each: the ack; or a VerificationError (not raised) that says what is wrong with it; or None where the bytes are
///     no ack at all.
///
/// Example:
///     >>> from city_chain.records import accept_acks
///     >>> answers = [(acks[0].to_bytes(), requests[0], fragments[0]), (b"", requests[1], fragments[1])]
///     >>> accept_acks(answers) == [acks[0], None]
///     True
#[pyfunction]
fn accept_acks<'py>(py: Python<'py>, answers: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
    type Given<'py> = (Input<'py>, Arc<poh::HoldRequest>, Input<'py>);
    let answers: Vec<Given<'py>> = items(answers, "acks", MANY_MAX, |item| {
        check_tuple(item, 3, "acks")?;
        let (part, request, fragment): (Input<'_>, Bound<'_, HoldRequest>, Input<'_>) = item.extract()?;
        Ok((part, request.get().shared(), fragment))
    })?;
    let slices: Vec<model::Answer<'_>> = answers
        .iter()
        .map(|(part, request, fragment)| model::Answer {
            part: part.as_slice(),
            request,
            fragment: fragment.as_slice(),
        })
        .collect();
    let found = PyList::empty(py);
    for accepted in long(py, || model::accept_acks(&slices))? {
        match accepted {
            model::Accepted::Ack(ack) => found.append(Bound::new(py, short(py, || Ack::wrap(ack))?)?)?,
            model::Accepted::Wrong(error) => {
                let wrong: Py<PyBaseException> = to_python(py, error).into_value(py);
                found.append(wrong)?;
            }
            model::Accepted::Other => found.append(py.None())?,
        }
    }
    Ok(found)
}

/// Adds this file's functions to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(encode_message, module)?)?;
    module.add_function(wrap_pyfunction!(request_holds, module)?)?;
    module.add_function(wrap_pyfunction!(read_holds, module)?)?;
    module.add_function(wrap_pyfunction!(hold_terms, module)?)?;
    module.add_function(wrap_pyfunction!(hold_burst, module)?)?;
    module.add_function(wrap_pyfunction!(hold_messages, module)?)?;
    module.add_function(wrap_pyfunction!(accept_acks, module)?)
}
