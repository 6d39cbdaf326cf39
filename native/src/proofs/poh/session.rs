//! Sessions: what a sender and a node share, so that fragments travel sealed to the node.
//!
//! The sender encapsulates a secret to the node's KEM key once ([`Session::seal`]) and uses it for a while; the node opens
//! the session ([`Session::open`]) and remembers it ([`Opened`]). KEM-DEM after Cramer and Shoup (2003): every request has a
//! key of its own, derived from the session and from all that names the fragment, its hash among it, so no key ever seals
//! two different plaintexts, whatever is sent again.
//!
//! ```text
//! sealed session = type of the key (2) ‖ KEM ciphertext ‖ confirmation (32)
//! id             = H(network, sender, node, sealed session): in every request, under the sender's signature
//! ```
//!
//! The confirmation is a MAC over the parties and the ciphertext under the session's secret. A KEM gives some secret for any
//! ciphertext (implicit rejection); by the confirmation a node tells a session that was not sealed to it, or not by this
//! sender, from a fragment that was changed on its way.
//!
//! There is no forward secrecy: who learns a node's master seed can open the sessions that it recorded.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::HoldRequest;
use crate::crypto::dem;
use crate::crypto::hash::{Digest, Hasher, hex};
use crate::crypto::kem::{self, Suite};
use crate::crypto::typed::{Kind, PREFIX_LEN};
use crate::error::{Error, Result};

const CONTEXT_ID: &str = "city-chain v1 hold session id";
const CONTEXT_PARTIES: &str = "city-chain v1 hold session parties";
const CONTEXT_CONFIRM: &str = "city-chain v1 hold session confirmation";
const CONTEXT_FRAGMENTS: &str = "city-chain v1 hold session fragments";

/// Bytes of the confirmation.
const CONFIRM_LEN: usize = 32;

/// A secret of one sender and one node. Wiped when it is dropped; never shown.
pub struct Session {
    id: Digest,
    network: Digest,
    sender: [u8; 32],
    node: [u8; 32],
    sealed: Vec<u8>,
    key: Zeroizing<[u8; 32]>,
}

/// What a session is between, and the ciphertext that carries its secret.
struct Terms<'a> {
    network: &'a Digest,
    sender: &'a [u8; 32],
    node: &'a [u8; 32],
    ciphertext: &'a [u8],
}

impl Terms<'_> {
    /// The MAC and the key that follow from the secret.
    fn derive(&self, secret: &[u8; 32]) -> (Zeroizing<[u8; CONFIRM_LEN]>, Zeroizing<[u8; 32]>) {
        let mut parties = Hasher::new(CONTEXT_PARTIES);
        parties.fixed(self.network).fixed(self.sender).fixed(self.node).field(self.ciphertext);
        let parties = parties.finish();
        let derive = |context| {
            let mut hasher = blake3::Hasher::new_derive_key(context);
            hasher.update(secret).update(&parties);
            let key = Zeroizing::new(*hasher.finalize().as_bytes());
            hasher.zeroize();
            key
        };
        (derive(CONTEXT_CONFIRM), derive(CONTEXT_FRAGMENTS))
    }
}

fn id_of(network: &Digest, sender: &[u8; 32], node: &[u8; 32], sealed: &[u8]) -> Digest {
    Hasher::new(CONTEXT_ID).fixed(network).fixed(sender).fixed(node).field(sealed).finish()
}

impl Session {
    /// A fresh session of `sender` with the `node` whose KEM key is `public`.
    ///
    /// # Errors
    /// [`Error::Input`] if the operating system gives no randomness.
    pub fn seal(network: &Digest, sender: &[u8; 32], node: &[u8; 32], public: &kem::PublicKey) -> Result<Self> {
        let (ciphertext, secret) = public.encapsulate()?;
        let mut sealed = public.as_bytes()[..PREFIX_LEN].to_vec();
        sealed.extend_from_slice(&ciphertext);
        let (confirmation, key) = Terms { network, sender, node, ciphertext: &sealed }.derive(&secret);
        sealed.extend_from_slice(&*confirmation);
        let id = id_of(network, sender, node, &sealed);
        Ok(Self { id, network: *network, sender: *sender, node: *node, sealed, key })
    }

    /// Opens what [`Session::seal`] made for `node`; `secret` gives the node's key of a suite.
    ///
    /// # Errors
    /// [`Error::Verification`] if it was not sealed to this node by this sender in this network; [`Error::Input`] if the
    /// bytes are no sealed session.
    pub fn open<'a>(
        network: &Digest,
        sender: &[u8; 32],
        node: &[u8; 32],
        sealed: &[u8],
        secret: impl FnOnce(Suite) -> Result<&'a kem::SecretKey>,
    ) -> Result<Self> {
        let suite = match Kind::of(sealed) {
            Some(Kind::XWingPublic) => Suite::XWing,
            Some(Kind::SntrupPublic) => Suite::Sntrup761X25519,
            _ => {
                return Err(Error::input("session: its type is not known; it is sealed by X-Wing or sntrup761-X25519"));
            }
        };
        let needed = PREFIX_LEN + kem::ciphertext_len(suite) + CONFIRM_LEN;
        let (true, Some((ciphertext, found))) = (sealed.len() == needed, sealed.split_last_chunk::<CONFIRM_LEN>())
        else {
            let (name, had) = (suite.name(), sealed.len());
            return Err(Error::input(format!("session: {had} bytes, one sealed by {name} has {needed}")));
        };
        let shared = secret(suite)?.decapsulate(&ciphertext[PREFIX_LEN..])?;
        let (confirmation, key) = Terms { network, sender, node, ciphertext }.derive(&shared);
        if !bool::from(confirmation.ct_eq(found)) {
            return Err(Error::verification(format!(
                "session: it was not sealed to node {} by sender {}",
                hex(&node[..8]),
                hex(&sender[..8])
            )));
        }
        let id = id_of(network, sender, node, sealed);
        Ok(Self { id, network: *network, sender: *sender, node: *node, sealed: Vec::new(), key })
    }

    /// What requests name it by.
    pub fn id(&self) -> &Digest {
        &self.id
    }

    /// Whose session it is.
    pub fn sender(&self) -> &[u8; 32] {
        &self.sender
    }

    /// With whom.
    pub fn node(&self) -> &[u8; 32] {
        &self.node
    }

    /// What is sent to the node; empty at the node itself.
    pub fn sealed(&self) -> &[u8] {
        &self.sealed
    }

    /// Checks that a request was made under this session.
    fn check(&self, request: &HoldRequest) -> Result<()> {
        if (self.network, self.sender, self.node) != (request.network, request.sender, request.node) {
            return Err(Error::verification(format!(
                "session: of sender {} with node {}, the request is of sender {} to node {}",
                hex(&self.sender[..8]),
                hex(&self.node[..8]),
                hex(&request.sender[..8]),
                hex(&request.node[..8])
            )));
        }
        if *request.session != self.id {
            return Err(Error::verification(format!(
                "session: its id is {}, the request names {:?}",
                hex(&self.id),
                hex(&request.session)
            )));
        }
        Ok(())
    }

    /// The key that seals the fragment of one request: a function of all that tells what the plaintext is.
    fn request_key(&self, request: &HoldRequest) -> Zeroizing<[u8; 32]> {
        let mut named = [0; 130];
        for (place, part) in named.chunks_exact_mut(32).zip([
            &request.challenge,
            &request.tx_id,
            &request.manifest_hash,
            &request.fragment_hash,
        ]) {
            place.copy_from_slice(part);
        }
        named[128..].copy_from_slice(&request.index.to_le_bytes());
        Zeroizing::new(*blake3::keyed_hash(&self.key, &named).as_bytes())
    }

    /// Seals the fragment that a request is about.
    ///
    /// # Errors
    /// [`Error::Verification`] if the request was not made under this session.
    pub fn seal_fragment(&self, request: &HoldRequest, fragment: &[u8]) -> Result<Vec<u8>> {
        self.check(request)?;
        Ok(dem::seal(&self.request_key(request), &self.id, fragment))
    }

    /// Opens what [`Session::seal_fragment`] gave.
    ///
    /// # Errors
    /// [`Error::Verification`] if the request was not made under this session, or the bytes are not what was sealed.
    pub fn open_fragment(&self, request: &HoldRequest, sealed: &[u8]) -> Result<Vec<u8>> {
        self.check(request)?;
        dem::open(&self.request_key(request), &self.id, sealed).map_err(|_| {
            Error::verification(format!(
                "fragment {}: it is not what was sealed for this request under session {}",
                request.index,
                hex(&self.id[..8])
            ))
        })
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({}… with node {}…)", hex(&self.id[..4]), hex(&self.node[..4]))
    }
}

/// Makes sessions with many nodes, one outcome each, spread over the cores.
pub fn seal_many(network: &Digest, sender: &[u8; 32], nodes: &[([u8; 32], &[u8])]) -> Vec<Result<Session>> {
    let make = |(node, public): &([u8; 32], &[u8])| {
        kem::PublicKey::from_bytes(public).and_then(|public| Session::seal(network, sender, node, &public))
    };
    if nodes.len() < 4 {
        return nodes.iter().map(make).collect();
    }
    nodes.par_iter().map(make).collect()
}

/// The sessions that a node has opened, by id: the newest of them, up to a bound.
pub struct Opened {
    known: Mutex<Known>,
    most: usize,
}

#[derive(Default)]
struct Known {
    by_id: HashMap<Digest, Arc<Session>>,
    order: VecDeque<Digest>,
}

impl Opened {
    /// Room for `most` sessions, at least one.
    pub fn new(most: usize) -> Self {
        Self { known: Mutex::default(), most: most.max(1) }
    }

    /// The session of an id.
    pub fn get(&self, id: &Digest) -> Option<Arc<Session>> {
        self.lock().by_id.get(id).cloned()
    }

    /// Remembers a session; the oldest goes if there are too many.
    pub fn put(&self, session: Arc<Session>) {
        let mut known = self.lock();
        let id = *session.id();
        if known.by_id.insert(id, session).is_none() {
            known.order.push_back(id);
        }
        while known.order.len() > self.most {
            if let Some(oldest) = known.order.pop_front() {
                known.by_id.remove(&oldest);
            }
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().order.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
