//! The machine's frame.

use super::*;

/// A node of the overlay: bytes and time in, [`Action`]s out.
pub struct Hvp {
    me: Contact,
    seed: [u8; 32],
    config: Config,
    trust: Trust,
    outbox: Vec<Action>,
}

impl Hvp {
    /// A node that knows nobody yet.
    ///
    /// # Errors
    /// [`Error::Input`] for a configuration out of its limits or a contact that is not the key's,
    /// [`Error::Verification`] for one that is not signed for the network.
    pub fn new(me: Contact, seed: [u8; 32], config: Config, trust: Trust) -> Result<Self> {
        config.check()?;
        if let Trust::Signed(key) = &trust {
            if key.public() != me.id {
                return Err(Error::input("hvp: the contact is not that of the key"));
            }
            me.verify(&config.network)?;
        }
        Ok(Self { me, seed, config, trust, outbox: Vec::new() })
    }

    /// Remembers contacts and joins over them. Called once at the start, with none by the first node; again at any time.
    ///
    /// # Errors
    /// [`Error::Input`] for too many contacts, [`Error::Verification`] for one that is not signed for the network.
    pub fn join(&mut self, _now: u64, contacts: &[Contact]) -> Result<()> {
        if let Trust::Signed(_) = self.trust {
            contacts.iter().try_for_each(|contact| contact.verify(&self.config.network))?;
        }
        Ok(())
    }

    /// Takes a message of an authenticated peer.
    ///
    /// # Errors
    /// What is wrong with it; the state is as it was.
    pub fn handle(&mut self, _now: u64, _sender: &PeerId, message: &[u8]) -> Result<()> {
        let message: message::Message = crate::primitives::wire::decode(message)?;
        Err(Error::protocol(format!("hvp: {message:?} of a stranger")))
    }

    /// The connection to a peer has closed, or could not be made.
    pub fn peer_down(&mut self, _now: u64, _peer: &PeerId) {}

    /// The time is `now`.
    pub fn tick(&mut self, _now: u64) {}

    /// Sends a broadcast to all; returns its id. It is not delivered here.
    ///
    /// # Errors
    /// [`Error::Input`] for a payload above [`PAYLOAD_MAX`] or a topic above [`TOPIC_MAX`] bytes,
    /// [`Error::Unavailable`] if too many actions wait to be drained.
    pub fn broadcast(&mut self, _now: u64, topic: &[u8], payload: &[u8]) -> Result<MessageId> {
        let mut gossip = message::Gossip {
            hops: 1,
            origin: self.me.id,
            life: self.me.sequence,
            number: 1,
            signature: self.seed_signature(),
            topic: crate::primitives::wire::Bytes::new("hvp broadcast: topic", topic.to_vec())?,
            payload: crate::primitives::wire::Bytes::new("hvp broadcast: payload", payload.to_vec())?,
        };
        if let Trust::Signed(key) = &self.trust {
            gossip.sign(key, &self.config.network);
        }
        Ok(gossip.id())
    }

    fn seed_signature(&self) -> [u8; 64] {
        [self.seed[0]; 64]
    }

    /// Says goodbye to all neighbours; nothing is sent after that.
    pub fn leave(&mut self, _now: u64) {}

    /// When [`Hvp::tick`] is to be called, µs.
    pub fn next_deadline(&self) -> Option<u64> {
        None
    }

    /// Takes the actions, in the order in which they are to be done.
    pub fn drain(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.outbox)
    }

    /// The peers of the active view.
    pub fn active(&self) -> Vec<PeerId> {
        Vec::new()
    }

    /// Those of them that broadcasts are pushed to.
    pub fn eager(&self) -> Vec<PeerId> {
        Vec::new()
    }

    /// The peers of the passive view.
    pub fn passive(&self) -> Vec<PeerId> {
        Vec::new()
    }

    /// What is known of where a peer is reached. Known for everybody whom a drained action sends to, right after the drain.
    pub fn contact(&self, _peer: &PeerId) -> Option<&Contact> {
        None
    }

    /// This node's own contact.
    pub fn me(&self) -> &Contact {
        &self.me
    }

    /// What is held.
    pub fn stats(&self) -> Stats {
        Stats { outbox: self.outbox.len(), ..Stats::default() }
    }
}
