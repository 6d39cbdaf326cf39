//! What a burst of transactions needs of many records at once: one call for all of them, spread over the cores.
//!
//! Nothing here is a rule of its own. Each function does what the single calls named in its documentation do, in the same
//! order and with the same outcome for every item.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use rayon::prelude::*;

use super::Key;
use super::identity::Identity;
use super::manifest::Manifest;
use super::message::{self, Message};
use crate::crypto::ed25519::SigningKey;
use crate::crypto::hash::{self, Digest, hex};
use crate::error::{Error, Result};
use crate::primitives::bulk::BulkSignature;
use crate::primitives::wire::{self, Bytes};
use crate::proofs::poh::session::{Opened, Session};
use crate::proofs::poh::{self, Ack, HoldRequest};

/// Items of about 10 µs each from which on they are spread over threads: to wake one costs as much as several of them, and
/// milliseconds where the cores are busy.
const PARALLEL_MIN: usize = 64;

/// The most characters of a reason in a refusal.
const REASON_MAX: usize = 500;

/// Makes many of something, in order, on all cores if it is worth while.
pub fn make_many<I: Send + Sync, T: Send>(items: &[I], make: impl Fn(&I) -> Result<T> + Send + Sync) -> Result<Vec<T>> {
    if items.len() < PARALLEL_MIN {
        return items.iter().map(make).collect();
    }
    items.par_iter().with_min_len(PARALLEL_MIN / 4).map(make).collect()
}

/// What is asked of nodes for one manifest.
pub struct Asked<'a> {
    /// What was dispersed.
    pub manifest: &'a Manifest,
    /// Its hash.
    pub manifest_hash: Digest,
    /// The hashes of its fragments.
    pub hashes: Vec<Digest>,
    /// The secret from which the nodes' challenges come.
    pub seed: [u8; 32],
}

/// Until when acks are of use, until when fragments are to be held, and the sender's clock.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// The sender's clock.
    pub hlc: u64,
    /// Until when an ack is of use, UTC epoch milliseconds.
    pub deadline_ms: u64,
    /// Until when the fragments are to be held, UTC epoch milliseconds.
    pub hold_until_ms: u64,
}

/// What a request to `node` names as its session: the id of the one with that node; nothing if there is none.
pub fn session_with(sessions: &HashMap<Key, Digest>, node: &Key) -> Result<Bytes<{ poh::SESSION_MAX }>> {
    Bytes::new("hold request: session", sessions.get(node).map_or(Vec::new(), |id| id.to_vec()))
}

/// The ids of some sessions by node.
pub fn sessions_by_node(sessions: &[Arc<Session>]) -> HashMap<Key, Digest> {
    sessions.iter().map(|session| (*session.node(), *session.id())).collect()
}

/// Asks the first n nodes of every manifest's selection for its fragments, all with one signature
/// ([`poh::challenge`], [`poh::request_many`]); the requests of each manifest, by fragment index. The requests to a node
/// name the session with it.
pub fn request_holds(
    key: &SigningKey,
    asked: &[Asked<'_>],
    sessions: &[Arc<Session>],
    times: Times,
) -> Result<Vec<Vec<HoldRequest>>> {
    let sender = key.public();
    let sessions = sessions_by_node(sessions);
    let mut requests = Vec::new();
    for item in asked {
        let manifest = item.manifest;
        if item.hashes.len() != usize::from(manifest.n) {
            return Err(Error::input(format!("hold requests: {} hashes where n = {}", item.hashes.len(), manifest.n)));
        }
        for ((index, node), fragment_hash) in (0..).zip(manifest.selection.nodes.iter()).zip(&item.hashes) {
            requests.push(HoldRequest {
                network: manifest.network,
                sender,
                node: *node,
                tx_id: manifest.tx_id,
                manifest_hash: item.manifest_hash,
                index,
                n: manifest.n,
                fragment_hash: *fragment_hash,
                challenge: poh::challenge(&item.seed, node, index),
                hlc: times.hlc,
                deadline_ms: times.deadline_ms,
                hold_until_ms: times.hold_until_ms,
                session: session_with(&sessions, node)?,
                authorization: BulkSignature::empty(),
            });
        }
    }
    let mut signed = poh::request_many(key, requests)?.into_iter();
    let count = |item: &Asked<'_>| item.manifest.selection.nodes.len().min(usize::from(item.manifest.n));
    Ok(asked.iter().map(|item| signed.by_ref().take(count(item)).collect()).collect())
}

/// One request to hold a fragment, at the node that was asked.
pub struct Pair<'a> {
    /// What is asked.
    pub request: &'a HoldRequest,
    /// The fragment that came with it, sealed if the request names a session.
    pub fragment: &'a [u8],
    /// The sealed session that came with it; empty if none did.
    pub offered: &'a [u8],
    /// The row that the node has of that fragment.
    pub kept: Option<&'a [u8]>,
    /// Why it is refused already.
    pub refusal: Option<String>,
}

/// What one burst asks of one node.
pub struct Node<'a> {
    /// The node's keys.
    pub identity: &'a Identity,
    /// The sessions that it has opened, and where it puts those that it opens now.
    pub opened: &'a Opened,
    /// The node's clock.
    pub hlc: u64,
    /// What is asked.
    pub pairs: Vec<Pair<'a>>,
}

/// What comes of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// An encoded ack, or a refusal.
    pub answer: Vec<u8>,
    /// The row that must be written before the answer may leave; `None` where it is there already.
    pub row: Option<Vec<u8>>,
}

/// A request whose fragment lies open, or why it does not.
struct Ready<'a> {
    request: &'a HoldRequest,
    fragment: Cow<'a, [u8]>,
    kept: Option<&'a [u8]>,
    answer: Option<Vec<u8>>,
}

/// The rows and answers of many nodes ([`Session::open_fragment`], [`poh::verify_fragment`], [`poh::hold_many`]). One that
/// fails takes none along. Sessions are opened for those only that are not refused already.
pub fn hold(nodes: &[Node<'_>]) -> Result<Vec<Vec<Held>>> {
    if nodes.iter().map(|node| node.pairs.len()).sum::<usize>() < 2 * PARALLEL_MIN && !nodes.iter().any(is_slow) {
        return nodes.iter().map(hold_one).collect();
    }
    nodes.par_iter().map(hold_one).collect()
}

/// Whether a node may have to open a session, which costs more than several fragments.
fn is_slow(node: &Node<'_>) -> bool {
    node.pairs.iter().any(|pair| !pair.offered.is_empty())
}

/// Acks check every fragment's hash, and nearly always all are right: only where one is not are they looked at one by one.
fn hold_one(node: &Node<'_>) -> Result<Vec<Held>> {
    let ready = open(node)?;
    hold_checked(node, &ready, false).or_else(|_| hold_checked(node, &ready, true))
}

/// Opens the fragments that came sealed.
fn open<'a>(node: &Node<'a>) -> Result<Vec<Ready<'a>>> {
    // By sender, so that nobody spoils a session for another; and a node may be told one later in the same burst.
    type Place<'a> = (&'a [u8], &'a Key, bool);
    let mut sessions: HashMap<Place<'_>, Option<Result<Arc<Session>>>> = HashMap::new();
    let public = node.identity.id();
    let mut ready = Vec::with_capacity(node.pairs.len());
    for pair in &node.pairs {
        let request = pair.request;
        let as_it_is = |answer| Ready { request, fragment: Cow::Borrowed(pair.fragment), kept: pair.kept, answer };
        if let Some(reason) = &pair.refusal {
            ready.push(as_it_is(Some(refused(reason)?)));
            continue;
        }
        if request.session.is_empty() || request.node != public {
            ready.push(as_it_is(None));
            continue;
        }
        let place: Place<'_> = (&request.session, &request.sender, pair.offered.is_empty());
        ready.push(match sessions.entry(place).or_insert_with(|| session_of(node, pair)) {
            None => as_it_is(Some(message::encode_parts("session", &[])?)),
            Some(Err(error)) => as_it_is(Some(refused(&error.to_string())?)),
            Some(Ok(session)) => match session.open_fragment(request, pair.fragment) {
                Ok(fragment) => Ready { request, fragment: Cow::Owned(fragment), kept: pair.kept, answer: None },
                Err(error) => as_it_is(Some(refused(&error.to_string())?)),
            },
        });
    }
    Ok(ready)
}

/// The session that a request names: one that is known, or the one that came with it; `None` if it is neither.
fn session_of(node: &Node<'_>, pair: &Pair<'_>) -> Option<Result<Arc<Session>>> {
    let request = pair.request;
    let id: Digest = (*request.session).try_into().ok()?;
    if let Some(known) = node.opened.get(&id) {
        return Some(Ok(known));
    }
    if pair.offered.is_empty() {
        return None;
    }
    let identity = node.identity;
    let open =
        || Session::open(&request.network, &request.sender, &identity.id(), pair.offered, |suite| identity.kem(suite));
    Some(open().map(|session| {
        let session = Arc::new(session);
        // A session under another id is of no use, and is refused where the request is held against it.
        if *session.id() == id {
            node.opened.put(Arc::clone(&session));
        }
        session
    }))
}

fn hold_checked(node: &Node<'_>, ready: &[Ready<'_>], one_by_one: bool) -> Result<Vec<Held>> {
    let key = node.identity.signing();
    let public = key.public();
    let mut rows: HashMap<(Digest, u16), Vec<u8>> = HashMap::new();
    let mut good = Vec::with_capacity(ready.len());
    let mut held: Vec<Held> = Vec::with_capacity(ready.len());
    for (at, pair) in ready.iter().enumerate() {
        if let Some(answer) = &pair.answer {
            held.push(Held { answer: answer.clone(), row: None });
            continue;
        }
        let place = (pair.request.tx_id, pair.request.index);
        let kept = rows.get(&place).map(Vec::as_slice).or(pair.kept);
        if let Some(reason) = refusal(&public, pair, kept, one_by_one) {
            held.push(Held { answer: refused(&reason)?, row: None });
            continue;
        }
        let row = message::encode_parts("held", &[&wire::encode(pair.request)?, &pair.fragment])?;
        let is_new = kept != Some(row.as_slice());
        good.push(at);
        held.push(Held { answer: Vec::new(), row: is_new.then(|| row.clone()) });
        if is_new {
            rows.insert(place, row);
        }
    }
    let pairs: Vec<(&HoldRequest, &[u8])> = good.iter().map(|at| (ready[*at].request, &*ready[*at].fragment)).collect();
    for (at, ack) in good.into_iter().zip(poh::hold_many(key, &pairs, node.hlc)?) {
        held[at].answer = wire::encode(&ack)?;
    }
    Ok(held)
}

/// Why a node does not hold what it is asked to; the fragment's hash is looked at if `one_by_one`.
fn refusal(public: &Key, pair: &Ready<'_>, kept: Option<&[u8]>, one_by_one: bool) -> Option<String> {
    let request = pair.request;
    if request.node != *public {
        return Some(format!("hold request: for node {}, not for this one", hex(&request.node[..8])));
    }
    if one_by_one && let Err(error) = poh::verify_fragment(&request.fragment_hash, &pair.fragment, request.index) {
        return Some(error.to_string());
    }
    // What has rotted stands in nobody's way.
    let (known, fragment) = read_row(kept?)?;
    let is_other = known.fragment_hash != request.fragment_hash && known.fragment_hash == hash::fragment(&fragment);
    is_other.then(|| format!("hold request: another fragment {} of the transaction is held here", request.index))
}

/// A row's request and fragment, if it is whole.
fn read_row(row: &[u8]) -> Option<(HoldRequest, Vec<u8>)> {
    let found: Message = wire::decode(row).ok()?;
    let [request, fragment] = &found.parts[..] else {
        return None;
    };
    (&*found.kind == "held").then_some(())?;
    Some((wire::decode(request).ok()?, fragment.to_vec()))
}

fn refused(reason: &str) -> Result<Vec<u8>> {
    let cut: String = reason.chars().take(REASON_MAX).collect();
    message::encode_parts("refused", &[cut.as_bytes()])
}

/// An ack as it came in, and what it must answer.
pub struct Answer<'a> {
    /// The encoding.
    pub part: &'a [u8],
    /// What was asked.
    pub request: &'a HoldRequest,
    /// The fragment that was sent with it.
    pub fragment: &'a [u8],
}

/// What an answer is.
#[allow(clippy::large_enum_variant, reason = "nearly all of them are acks")]
pub enum Accepted {
    /// A right ack.
    Ack(Ack),
    /// An ack that is wrong.
    Wrong(Error),
    /// No ack at all.
    Other,
}

/// Reads acks and checks that they answer their requests, hold the fragments and are signed
/// ([`Ack::verify_answers`], [`Ack::verify_held`], [`poh::verify_acks`]); one outcome each.
pub fn accept_acks(answers: &[Answer<'_>]) -> Result<Vec<Accepted>> {
    let read = |answer: &Answer<'_>| -> Result<Accepted> {
        let Ok(ack) = wire::decode::<Ack>(answer.part) else {
            return Ok(Accepted::Other);
        };
        let checked = ack.verify_answers(answer.request).and_then(|()| ack.verify_held(answer.fragment));
        Ok(match checked {
            Ok(()) => Accepted::Ack(ack),
            Err(error) => Accepted::Wrong(error),
        })
    };
    let mut found = if answers.len() < 4 * PARALLEL_MIN {
        answers.iter().map(read).collect::<Result<Vec<_>>>()?
    } else {
        make_many(answers, read)?
    };
    let acks: Vec<&Ack> = found
        .iter()
        .filter_map(|accepted| match accepted {
            Accepted::Ack(ack) => Some(ack),
            _ => None,
        })
        .collect();
    let mut verdicts = poh::verify_acks(&acks)?.into_iter();
    for accepted in &mut found {
        if matches!(accepted, Accepted::Ack(_))
            && let Some(Err(error)) = verdicts.next()
        {
            *accepted = Accepted::Wrong(error);
        }
    }
    Ok(found)
}

/// What one message to a node carries.
pub struct Run<'a> {
    /// The session that seals its fragments; `None` where they are not sealed.
    pub session: Option<&'a Session>,
    /// Whether the node is told the session: it needs to be once.
    pub is_told: bool,
    /// What is asked, and the fragments.
    pub pairs: Vec<(&'a HoldRequest, &'a [u8])>,
}

/// The messages that carry requests with their fragments to nodes, one for each run: the sealed session or nothing, then
/// request and fragment in turn.
///
/// # Errors
/// [`Error::Verification`] if a request was not made under the run's session; [`Error::Input`] if one that names a session
/// is to go out unsealed, or there is too much for one message.
pub fn hold_messages(runs: &[Run<'_>]) -> Result<Vec<Vec<u8>>> {
    if runs.iter().map(|run| run.pairs.len()).sum::<usize>() < 2 * PARALLEL_MIN {
        return runs.iter().map(hold_message).collect();
    }
    runs.par_iter().map(hold_message).collect()
}

fn hold_message(run: &Run<'_>) -> Result<Vec<u8>> {
    let mut parts: Vec<Cow<'_, [u8]>> = Vec::with_capacity(1 + 2 * run.pairs.len());
    parts.push(Cow::Borrowed(run.session.filter(|_| run.is_told).map_or(&[], Session::sealed)));
    for (request, fragment) in &run.pairs {
        parts.push(Cow::Owned(wire::encode(*request)?));
        parts.push(match run.session {
            Some(session) => Cow::Owned(session.seal_fragment(request, fragment)?),
            None if request.session.is_empty() => Cow::Borrowed(*fragment),
            None => return Err(Error::input("hold: the request names a session, and its fragment would go unsealed")),
        });
    }
    let parts: Vec<&[u8]> = parts.iter().map(|part| &**part).collect();
    message::encode_parts("hold", &parts)
}

/// The requests of a message; its first part is the sealed session, and each request's fragment comes after it.
pub fn read_holds(message: &Message) -> Result<Vec<HoldRequest>> {
    let parts = &message.parts;
    if parts.len() < 3 || parts.len().is_multiple_of(2) {
        return Err(Error::protocol(format!(
            "hold: {} parts, a session and then a request and a fragment each are needed",
            parts.len()
        )));
    }
    parts.iter().skip(1).step_by(2).map(|part| wire::decode(part)).collect()
}
