//! What kinds of messages there are, told by their first bytes: to count them is all that the network looks into them for.

use crate::algorithms::hvp::message::Gossip;
use crate::primitives::wire::{ENVELOPE_LEN, Record};

/// A kind of message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the protocol's messages")]
pub enum Kind {
    Join,
    ForwardJoin,
    Neighbor,
    Accept,
    Reject,
    Disconnect,
    Shuffle,
    ShuffleReply,
    IHave,
    Graft,
    Prune,
    Gossip,
    Other,
}

/// All of them, in the order of the control messages' numbers.
const KINDS: [Kind; 13] = [
    Kind::Join,
    Kind::ForwardJoin,
    Kind::Neighbor,
    Kind::Accept,
    Kind::Reject,
    Kind::Disconnect,
    Kind::Shuffle,
    Kind::ShuffleReply,
    Kind::IHave,
    Kind::Graft,
    Kind::Prune,
    Kind::Gossip,
    Kind::Other,
];

impl Kind {
    /// Of an encoding.
    pub fn of(bytes: &[u8]) -> Self {
        if bytes.starts_with(&Gossip::TAG) {
            return Self::Gossip;
        }
        let number = bytes.get(ENVELOPE_LEN).map_or(usize::MAX, |number| usize::from(*number));
        KINDS.get(number).filter(|_| number < Self::Gossip as usize).copied().unwrap_or(Self::Other)
    }
}

/// How many messages of each kind were sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent([u64; KINDS.len()]);

impl Sent {
    pub(super) fn add(&mut self, kind: Kind) {
        self.0[kind as usize] += 1;
    }

    /// Of one kind.
    pub fn of(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }

    /// What keeps the views: everything up to SHUFFLE's answer.
    pub fn membership(&self) -> u64 {
        self.0[..=Kind::ShuffleReply as usize].iter().sum()
    }

    /// IHAVE, GRAFT and PRUNE: what broadcasts cost beside themselves.
    pub fn control(&self) -> u64 {
        self.of(Kind::IHave) + self.of(Kind::Graft) + self.of(Kind::Prune)
    }

    /// Broadcasts, and copies of them.
    pub fn payloads(&self) -> u64 {
        self.of(Kind::Gossip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithms::hvp::message::{Control, control};
    use crate::primitives::wire::List;

    #[test]
    fn kinds_are_told_by_the_encodings_of_the_protocol() {
        let ids = List::new("ids", Vec::new()).unwrap();
        let announced = List::new("ids", Vec::new()).unwrap();
        let samples = [
            (Control::Reject, Kind::Reject),
            (Control::Disconnect { leaves: false }, Kind::Disconnect),
            (Control::IHave { announced }, Kind::IHave),
            (Control::Graft { ids }, Kind::Graft),
            (Control::Prune, Kind::Prune),
        ];
        let mut sent = Sent::default();
        for (message, kind) in samples {
            let seen = Kind::of(&control(message).unwrap());
            assert_eq!(seen, kind);
            sent.add(seen);
        }
        assert_eq!((sent.membership(), sent.control(), sent.payloads()), (2, 3, 0));
        assert_eq!([Kind::of(b""), Kind::of(&[11; 40])], [Kind::Other; 2]);
    }
}
