//! What is sent: contacts, control messages, broadcasts.

use borsh::{BorshDeserialize, BorshSerialize};

use super::{ADDRESS_MAX, CONTROL_MAX, HOPS_MAX, IDS_MAX, MessageId, PAYLOAD_MAX, RECORDS_MAX, TOPIC_MAX};
use crate::crypto::ed25519::SigningKey;
use crate::crypto::hash::{Digest, Hasher};
use crate::crypto::remembered;
use crate::error::{Error, Result};
use crate::primitives::mutant::mutant;
use crate::primitives::wire::{self, Bytes, ENVELOPE_LEN, List, Record, Text};

/// A peer: the Ed25519 public key that the transport has authenticated.
pub type PeerId = [u8; 32];

const CONTEXT_CONTACT: &str = "city-chain v1 hvp contact";
const CONTEXT_ID: &str = "city-chain v1 hvp message id";
const CONTEXT_BROADCAST: &str = "city-chain v1 hvp broadcast";

/// Where a peer is reached, signed by it; a higher sequence replaces a lower one.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Contact {
    /// Who.
    pub id: PeerId,
    /// Rises with every start of the peer, whether or not its address changes: the number of its life.
    pub sequence: u64,
    /// What the transport dials.
    pub address: Text<ADDRESS_MAX>,
    /// The peer's signature, bound to the network.
    pub signature: [u8; 64],
}

impl Contact {
    /// A contact of the key's owner, signed for `network`. `sequence` must be higher at every start of the peer; seconds or
    /// milliseconds since 1970 will do.
    ///
    /// # Errors
    /// [`Error::Input`] if the address is empty or longer than [`ADDRESS_MAX`] bytes.
    pub fn new(key: &SigningKey, network: &Digest, address: &str, sequence: u64) -> Result<Self> {
        let mut contact = Self::unsigned(key.public(), address, sequence)?;
        contact.signature = key.sign(&contact.digest(network));
        Ok(contact)
    }

    /// A contact with no signature, for simulations ([`super::Trust::Unsigned`]).
    ///
    /// # Errors
    /// As of [`Contact::new`].
    pub fn unsigned(id: PeerId, address: &str, sequence: u64) -> Result<Self> {
        let contact = Self { id, sequence, address: Text::new("hvp contact: address", address)?, signature: [0; 64] };
        contact.check()?;
        Ok(contact)
    }

    /// What is signed.
    fn digest(&self, network: &Digest) -> Digest {
        let mut hasher = Hasher::new(CONTEXT_CONTACT);
        hasher.fixed(network).fixed(&self.id).u64(self.sequence).field(self.address.as_bytes()).finish()
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// [`Error::Verification`] if it is not the peer's for this network.
    pub fn verify(&self, network: &Digest) -> Result<()> {
        remembered::verify(&self.id, &self.digest(network), &self.signature)
            .map_err(|error| Error::verification(format!("hvp contact: {error}")))
    }
}

impl Record for Contact {
    const TAG: [u8; 4] = *b"CCpc";
    const VERSION: u16 = 1;
    const NAME: &'static str = "hvp contact";
    const LEN_MAX: usize = ENVELOPE_LEN + 32 + 8 + 4 + ADDRESS_MAX + 64;

    fn check(&self) -> Result<()> {
        if self.address.is_empty() {
            return Err(Error::input("hvp contact: the address must not be empty"));
        }
        Ok(())
    }
}

/// How much a link is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
pub enum Priority {
    /// The asker has other links: yes only if there is room.
    Low = 0,
    /// The asker has none, or a single one: room is made.
    High = 1,
    /// The asker and the asked lost each other: room is made if the asked remembers that.
    Again = 2,
}

/// An announced id with the hops that it had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Announced {
    /// The broadcast.
    pub id: MessageId,
    /// Over how many links it came to the announcer.
    pub hops: u8,
}

/// What control messages say; the order is that of the encoding.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Control {
    /// A newcomer asks for a link and to be made known.
    Join {
        /// The newcomer.
        contact: Contact,
    },
    /// A newcomer is made known along a random walk.
    ForwardJoin {
        /// The steps left.
        ttl: u8,
        /// The newcomer.
        contact: Contact,
    },
    /// Asks for a link.
    Neighbor {
        /// How much it is wanted.
        priority: Priority,
        /// The asker.
        contact: Contact,
    },
    /// The answer to JOIN and NEIGHBOR: the link is there, as of now.
    Accept {
        /// The answerer.
        contact: Contact,
    },
    /// The answer to JOIN and NEIGHBOR: no link.
    Reject,
    /// The link is no more.
    Disconnect {
        /// Whether the peer leaves for good.
        leaves: bool,
    },
    /// Contacts, to be exchanged for others at the end of a random walk.
    Shuffle {
        /// The steps left.
        ttl: u8,
        /// To be repeated by the answer.
        nonce: u64,
        /// The asker's contact first, then others.
        records: List<Contact, RECORDS_MAX>,
    },
    /// Contacts in exchange.
    ShuffleReply {
        /// That of the SHUFFLE.
        nonce: u64,
        /// Contacts.
        records: List<Contact, RECORDS_MAX>,
    },
    /// Ids of broadcasts that the sender has.
    IHave {
        /// Which.
        announced: List<Announced, IDS_MAX>,
    },
    /// Asks for broadcasts, and for the next ones to be pushed; with no ids only for the latter.
    Graft {
        /// Which.
        ids: List<MessageId, IDS_MAX>,
    },
    /// Asks for broadcasts no longer to be pushed.
    Prune,
}

/// A control message: everything but broadcasts.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Message(pub Control);

impl Record for Message {
    const TAG: [u8; 4] = *b"CChm";
    const VERSION: u16 = 1;
    const NAME: &'static str = "hvp message";
    const LEN_MAX: usize = CONTROL_MAX;

    fn check(&self) -> Result<()> {
        match &self.0 {
            Control::Join { contact }
            | Control::ForwardJoin { contact, .. }
            | Control::Neighbor { contact, .. }
            | Control::Accept { contact } => contact.check(),
            Control::Shuffle { records, .. } if records.is_empty() => {
                Err(Error::input("hvp message: a SHUFFLE names its asker first, this one names nobody"))
            }
            Control::Shuffle { records, .. } | Control::ShuffleReply { records, .. } => {
                records.iter().try_for_each(Contact::check)
            }
            _ => Ok(()),
        }
    }
}

/// Where the steps left stand in a SHUFFLE or FORWARD_JOIN: after the envelope and the kind.
pub const TTL_AT: usize = ENVELOPE_LEN + 1;

/// Where the hops stand in a broadcast: first, so that a relay copies the rest as it is.
pub const HOPS_AT: usize = ENVELOPE_LEN;

/// A broadcast on its way.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Gossip {
    /// Over how many links it will have come when it is received; stands still at [`HOPS_MAX`].
    pub hops: u8,
    /// Who has sent it.
    pub origin: PeerId,
    /// The origin's contact sequence when it was sent: its life.
    pub life: u64,
    /// Which broadcast of that life, from 1.
    pub number: u64,
    /// The origin's signature.
    pub signature: [u8; 64],
    /// What it is about.
    pub topic: Bytes<TOPIC_MAX>,
    /// What it carries.
    pub payload: Bytes<PAYLOAD_MAX>,
}

impl Gossip {
    /// Its id.
    pub fn id(&self) -> MessageId {
        let mut hasher = Hasher::new(CONTEXT_ID);
        hasher.fixed(&self.origin).u64(self.life).u64(if mutant!("hvp.sequence") { 0 } else { self.number });
        hasher.field(&self.topic).field(&self.payload).finish()
    }

    /// What the origin signs: the id, for one network.
    fn digest(id: &MessageId, network: &Digest) -> Digest {
        Hasher::new(CONTEXT_BROADCAST).fixed(network).fixed(id).finish()
    }

    /// Signs it; `id` is its own.
    pub fn sign(&mut self, key: &SigningKey, id: &MessageId, network: &Digest) {
        self.signature = key.sign(&Self::digest(id, network));
    }

    /// Checks that the origin has signed what has this id.
    pub fn verify(&self, id: &MessageId, network: &Digest) -> Result<()> {
        remembered::verify(&self.origin, &Self::digest(id, network), &self.signature)
            .map_err(|error| Error::verification(format!("hvp broadcast: {error}")))
    }
}

impl Record for Gossip {
    const TAG: [u8; 4] = *b"CCpg";
    const VERSION: u16 = 1;
    const NAME: &'static str = "hvp broadcast";
    const LEN_MAX: usize = ENVELOPE_LEN + 1 + 32 + 8 + 8 + 64 + 4 + TOPIC_MAX + 4 + PAYLOAD_MAX;

    fn check(&self) -> Result<()> {
        if self.hops == 0 || self.hops > HOPS_MAX {
            return Err(Error::input(format!("hvp broadcast: {} hops, 1 to {HOPS_MAX} are right", self.hops)));
        }
        Ok(())
    }
}

/// Encodes a control message.
pub fn control(control: Control) -> Result<Vec<u8>> {
    wire::encode(&Message(control))
}
