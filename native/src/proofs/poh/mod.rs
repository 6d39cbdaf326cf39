//! PoH: Proof of Hold. A node's signed word that it stores fragment i of transaction T at time t until u, with a proof over
//! the bytes for a challenge that it could not know before.
//!
//! A [`HoldRequest`] asks for it, an [`Ack`] gives it. The proof is keyed BLAKE3 of the fragment under the challenge; the
//! signature covers every field, domain-separated, and one signature may serve many acks
//! ([`crate::primitives::bulk`]). Verification is Ed25519's one rule, alone and in batches alike.
//!
//! A [`session`] seals the fragments on their way. Later an [`audit`] asks for blocks at random, and [`chance`] says how
//! likely it is to catch a node that dropped some.

pub mod audit;
pub mod chance;
pub mod session;

use std::borrow::Borrow;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::crypto::ed25519::SigningKey;
use crate::crypto::hash::{self, Digest, Hasher, hex};
use crate::error::{Error, Result};
use crate::primitives::bulk::{self, BulkSignature};
use crate::primitives::wire::{self, Bytes, Record};

const CONTEXT_REQUEST: &str = "city-chain v1 poh request";
const CONTEXT_REQUEST_ROOT: &str = "city-chain v1 poh request root";
const CONTEXT_ACK: &str = "city-chain v1 poh ack";
const CONTEXT_ACK_ROOT: &str = "city-chain v1 poh ack root";
const CONTEXT_CHALLENGE: &str = "city-chain v1 poh challenge";

/// The most bytes of a session's id: one hash.
pub const SESSION_MAX: usize = 32;

/// What a sender asks of one node.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct HoldRequest {
    /// The network.
    pub network: Digest,
    /// Who asks.
    pub sender: [u8; 32],
    /// Who is asked.
    pub node: [u8; 32],
    /// The transaction.
    pub tx_id: Digest,
    /// Its manifest.
    pub manifest_hash: Digest,
    /// Which fragment.
    pub index: u16,
    /// Of how many.
    pub n: u16,
    /// The fragment's BLAKE3 hash.
    pub fragment_hash: Digest,
    /// What the node must key its proof with.
    pub challenge: [u8; 32],
    /// The sender's clock.
    pub hlc: u64,
    /// Until when an ack is of use, UTC epoch milliseconds.
    pub deadline_ms: u64,
    /// Until when the fragment is to be held, UTC epoch milliseconds.
    pub hold_until_ms: u64,
    /// The id of the session that seals the fragment on its way ([`session::Session::id`]); empty if it is not sealed.
    pub session: Bytes<SESSION_MAX>,
    /// The sender's signature.
    pub authorization: BulkSignature,
}

impl Record for HoldRequest {
    const TAG: [u8; 4] = *b"CChr";
    const VERSION: u16 = 1;
    const NAME: &'static str = "hold request";
    const LEN_MAX: usize = 2048;

    fn check(&self) -> Result<()> {
        check_index("hold request", self.index, self.n)?;
        if !matches!(self.session.len(), 0 | 32) {
            return Err(Error::input(format!(
                "hold request: the id of a session has 32 bytes, this one {}",
                self.session.len()
            )));
        }
        Ok(())
    }
}

/// A node's signed word that it holds a fragment.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Ack {
    /// The network.
    pub network: Digest,
    /// Who holds.
    pub node: [u8; 32],
    /// The transaction.
    pub tx_id: Digest,
    /// Its manifest.
    pub manifest_hash: Digest,
    /// Which fragment.
    pub index: u16,
    /// Of how many.
    pub n: u16,
    /// The fragment's BLAKE3 hash.
    pub fragment_hash: Digest,
    /// The node's clock when the fragment was stored.
    pub hlc: u64,
    /// Until when it is held, UTC epoch milliseconds.
    pub hold_until_ms: u64,
    /// What the node was challenged with.
    pub challenge: [u8; 32],
    /// Keyed BLAKE3 of the fragment under the challenge.
    pub proof: Digest,
    /// The node's signature.
    pub signature: BulkSignature,
}

impl Record for Ack {
    const TAG: [u8; 4] = *b"CCak";
    const VERSION: u16 = 1;
    const NAME: &'static str = "ack";
    const LEN_MAX: usize = 1536;

    fn check(&self) -> Result<()> {
        check_index("ack", self.index, self.n)
    }
}

fn check_index(what: &str, index: u16, n: u16) -> Result<()> {
    if index >= n {
        return Err(Error::input(format!("{what}: fragment {index} of {n}: there is none")));
    }
    Ok(())
}

/// The digest of a record without its signature, which is the last field.
fn leaf<R: Record>(context: &'static str, record: &R, signature: &BulkSignature) -> Result<Digest> {
    let encoding = wire::encode(record)?;
    let tail = 4 + 4 + 4 + signature.path.len() * 32 + 64;
    Ok(hash::digest(context, &encoding[..encoding.len() - tail]))
}

/// Signer, leaf and signature of a record.
type Leaf<'a> = (&'a [u8; 32], Digest, &'a BulkSignature);

/// One verdict each; a record that has no encoding gets the reason as its own verdict and does not harm the others.
fn verify_leaves<'a, R>(
    context: &'static str,
    records: &'a [R],
    leaf: impl Fn(&'a R) -> Result<Leaf<'a>>,
) -> Result<Vec<Result<()>>> {
    let leaves: Vec<Result<Leaf<'a>>> = records.iter().map(leaf).collect();
    let items: Vec<Leaf<'a>> = leaves.iter().filter_map(|leaf| leaf.as_ref().ok().copied()).collect();
    let mut verdicts = bulk::verify_many(context, &items)?.into_iter();
    Ok(leaves
        .into_iter()
        .map(|leaf| {
            leaf.and_then(|_| verdicts.next().unwrap_or_else(|| Err(Error::verification("signature: not checked"))))
        })
        .collect())
}

/// The challenge of one node, from one secret seed per transaction.
pub fn challenge(seed: &[u8; 32], node: &[u8; 32], index: u16) -> [u8; 32] {
    Hasher::new(CONTEXT_CHALLENGE).fixed(seed).fixed(node).u64(u64::from(index)).finish()
}

/// Signs all requests with one signature.
pub fn request_many(key: &SigningKey, mut requests: Vec<HoldRequest>) -> Result<Vec<HoldRequest>> {
    let public = key.public();
    if requests.iter().any(|request| request.sender != public) {
        return Err(Error::input("hold request: the key is not that of the sender it names"));
    }
    if requests.is_empty() {
        return Ok(requests);
    }
    let leaves: Vec<Digest> =
        requests.iter().map(|r| leaf(CONTEXT_REQUEST, r, &r.authorization)).collect::<Result<_>>()?;
    for (request, signature) in requests.iter_mut().zip(bulk::sign_many(key, CONTEXT_REQUEST_ROOT, &leaves)?) {
        request.authorization = signature;
    }
    Ok(requests)
}

/// Checks the senders' signatures, one verdict each.
pub fn verify_requests<R: Borrow<HoldRequest>>(requests: &[R]) -> Result<Vec<Result<()>>> {
    let verdicts = verify_leaves(CONTEXT_REQUEST_ROOT, requests, |request| {
        let request = request.borrow();
        let signature = &request.authorization;
        Ok((&request.sender, leaf(CONTEXT_REQUEST, request, signature)?, signature))
    })?;
    let name = |error| Error::verification(format!("hold request: {error}"));
    Ok(verdicts.into_iter().map(|verdict| verdict.map_err(name)).collect())
}

impl HoldRequest {
    /// Checks the sender's signature.
    pub fn verify(&self) -> Result<()> {
        verify_requests(std::slice::from_ref(self))?.into_iter().collect()
    }
}

/// Acknowledges fragments that are stored: one signature over all acks, in the order of the requests.
///
/// Refuses a request for another node and a fragment whose hash is not the one requested.
pub fn hold_many(key: &SigningKey, held: &[(&HoldRequest, &[u8])], hlc: u64) -> Result<Vec<Ack>> {
    let node = key.public();
    let mut acks = Vec::with_capacity(held.len());
    for (request, fragment) in held {
        request.check()?;
        if request.node != node {
            return Err(Error::verification(format!(
                "hold request: for node {}, not for {}",
                hex(&request.node),
                hex(&node)
            )));
        }
        verify_fragment(&request.fragment_hash, fragment, request.index)?;
        acks.push(Ack {
            network: request.network,
            node,
            tx_id: request.tx_id,
            manifest_hash: request.manifest_hash,
            index: request.index,
            n: request.n,
            fragment_hash: request.fragment_hash,
            hlc,
            hold_until_ms: request.hold_until_ms,
            challenge: request.challenge,
            proof: hash::keyed(&request.challenge, fragment),
            signature: BulkSignature::empty(),
        });
    }
    if acks.is_empty() {
        return Ok(acks);
    }
    let leaves: Vec<Digest> = acks.iter().map(|a| leaf(CONTEXT_ACK, a, &a.signature)).collect::<Result<_>>()?;
    for (ack, signature) in acks.iter_mut().zip(bulk::sign_many(key, CONTEXT_ACK_ROOT, &leaves)?) {
        ack.signature = signature;
    }
    Ok(acks)
}

/// Checks that `fragment` has the hash it should have.
pub fn verify_fragment(fragment_hash: &Digest, fragment: &[u8], index: u16) -> Result<()> {
    let found = hash::fragment(fragment);
    if found != *fragment_hash {
        return Err(Error::verification(format!(
            "fragment {index}: its hash is {}, not {}",
            hex(&found),
            hex(fragment_hash)
        )));
    }
    Ok(())
}

/// Checks many acks' signatures, one verdict each; a signature that serves many acks is checked once.
pub fn verify_acks<A: Borrow<Ack>>(acks: &[A]) -> Result<Vec<Result<()>>> {
    let verdicts = verify_leaves(CONTEXT_ACK_ROOT, acks, |ack| {
        let ack = ack.borrow();
        Ok((&ack.node, leaf(CONTEXT_ACK, ack, &ack.signature)?, &ack.signature))
    })?;
    Ok(verdicts
        .into_iter()
        .zip(acks)
        .map(|(verdict, ack)| {
            verdict.map_err(|error| Error::verification(format!("ack of fragment {}: {error}", ack.borrow().index)))
        })
        .collect())
}

impl Ack {
    /// What stands for the ack: the digest of everything but its signature.
    pub fn digest(&self) -> Result<Digest> {
        leaf(CONTEXT_ACK, self, &self.signature)
    }

    /// Checks the signature.
    pub fn verify(&self) -> Result<()> {
        verify_acks(std::slice::from_ref(self))?.into_iter().collect()
    }

    /// Checks that the ack answers `request` in every field.
    pub fn verify_answers(&self, request: &HoldRequest) -> Result<()> {
        let mine = (self.network, self.node, self.tx_id, self.manifest_hash, self.index, self.n);
        let asked = (request.network, request.node, request.tx_id, request.manifest_hash, request.index, request.n);
        let terms = (self.fragment_hash, self.hold_until_ms, self.challenge);
        if mine != asked || terms != (request.fragment_hash, request.hold_until_ms, request.challenge) {
            return Err(Error::verification(format!(
                "ack: of node {} for fragment {}: it answers another request",
                hex(&self.node),
                self.index
            )));
        }
        Ok(())
    }

    /// Checks the proof over the bytes, which only those who have the fragment can.
    pub fn verify_held(&self, fragment: &[u8]) -> Result<()> {
        verify_fragment(&self.fragment_hash, fragment, self.index)?;
        if hash::keyed(&self.challenge, fragment) != self.proof {
            return Err(Error::verification(format!(
                "ack: of node {} for fragment {}: the proof is not over the fragment's bytes",
                hex(&self.node),
                self.index
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod audit_tests;
#[cfg(test)]
mod tests;
