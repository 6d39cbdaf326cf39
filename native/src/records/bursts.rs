//! What a burst of transactions needs of many records at once: one call for all of them, spread over the cores.
//!
//! Nothing here is a rule of its own. Each function does what the single calls named in its documentation do, in the same
//! order and with the same outcome for every item.

use std::collections::HashMap;

use rayon::prelude::*;

use super::Key;
use super::manifest::Manifest;
use super::message::{self, Message};
use crate::crypto::ed25519::SigningKey;
use crate::crypto::hash::{self, Digest, hex};
use crate::error::{Error, Result};
use crate::primitives::bulk::BulkSignature;
use crate::primitives::wire::{self, Bytes};
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

/// Asks the first n nodes of every manifest's selection for its fragments, all with one signature
/// ([`poh::challenge`], [`poh::request_many`]); the requests of each manifest, by fragment index.
pub fn request_holds(key: &SigningKey, asked: &[Asked<'_>], times: Times) -> Result<Vec<Vec<HoldRequest>>> {
    let sender = key.public();
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
                session: Bytes::default(),
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
    /// The fragment that came with it.
    pub fragment: &'a [u8],
    /// The row that the node has of that fragment.
    pub kept: Option<&'a [u8]>,
    /// Why it is refused already.
    pub refusal: Option<String>,
}

/// What one burst asks of one node.
pub struct Node<'a> {
    /// The node's key.
    pub key: &'a SigningKey,
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

/// The rows and answers of many nodes ([`poh::verify_fragment`], [`poh::hold_many`]). One that fails takes none along.
pub fn hold(nodes: &[Node<'_>]) -> Result<Vec<Vec<Held>>> {
    if nodes.iter().map(|node| node.pairs.len()).sum::<usize>() < 2 * PARALLEL_MIN {
        return nodes.iter().map(hold_one).collect();
    }
    nodes.par_iter().map(hold_one).collect()
}

/// Acks check every fragment's hash, and nearly always all are right: only where one is not are they looked at one by one.
fn hold_one(node: &Node<'_>) -> Result<Vec<Held>> {
    hold_checked(node, false).or_else(|_| hold_checked(node, true))
}

fn hold_checked(node: &Node<'_>, one_by_one: bool) -> Result<Vec<Held>> {
    let public = node.key.public();
    let mut rows: HashMap<(Digest, u16), Vec<u8>> = HashMap::new();
    let mut good = Vec::with_capacity(node.pairs.len());
    let mut held: Vec<Held> = Vec::with_capacity(node.pairs.len());
    for (at, pair) in node.pairs.iter().enumerate() {
        let place = (pair.request.tx_id, pair.request.index);
        let kept = rows.get(&place).map(Vec::as_slice).or(pair.kept);
        let refusal = pair.refusal.clone().or_else(|| refusal(&public, pair, kept, one_by_one));
        if let Some(reason) = refusal {
            held.push(Held { answer: refused(&reason)?, row: None });
            continue;
        }
        let row = message::encode_parts("held", &[&wire::encode(pair.request)?, pair.fragment])?;
        let is_new = kept != Some(row.as_slice());
        good.push(at);
        held.push(Held { answer: Vec::new(), row: is_new.then(|| row.clone()) });
        if is_new {
            rows.insert(place, row);
        }
    }
    let pairs: Vec<(&HoldRequest, &[u8])> =
        good.iter().map(|at| (node.pairs[*at].request, node.pairs[*at].fragment)).collect();
    for (at, ack) in good.into_iter().zip(poh::hold_many(node.key, &pairs, node.hlc)?) {
        held[at].answer = wire::encode(&ack)?;
    }
    Ok(held)
}

/// Why a node does not hold what it is asked to; the fragment's hash is looked at if `one_by_one`.
fn refusal(public: &Key, pair: &Pair<'_>, kept: Option<&[u8]>, one_by_one: bool) -> Option<String> {
    let request = pair.request;
    if request.node != *public {
        return Some(format!("hold request: for node {}, not for this one", hex(&request.node[..8])));
    }
    if one_by_one && let Err(error) = poh::verify_fragment(&request.fragment_hash, pair.fragment, request.index) {
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

/// The messages that carry requests with their fragments to nodes, one for each run.
pub fn hold_messages(runs: &[Vec<(&HoldRequest, &[u8])>]) -> Result<Vec<Vec<u8>>> {
    let make = |run: &Vec<(&HoldRequest, &[u8])>| {
        let requests: Vec<Vec<u8>> = run.iter().map(|(request, _)| wire::encode(*request)).collect::<Result<_>>()?;
        let parts: Vec<&[u8]> =
            requests.iter().zip(run).flat_map(|(request, (_, fragment))| [request.as_slice(), *fragment]).collect();
        message::encode_parts("hold", &parts)
    };
    runs.iter().map(make).collect()
}

/// The requests of a message, and where in its parts their fragments are.
pub fn read_holds(message: &Message) -> Result<Vec<HoldRequest>> {
    let parts = &message.parts;
    if parts.is_empty() || !parts.len().is_multiple_of(2) {
        return Err(Error::protocol(format!("hold: {} parts, a request and a fragment each are needed", parts.len())));
    }
    parts.iter().step_by(2).map(|part| wire::decode(part)).collect()
}
