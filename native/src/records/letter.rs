//! A letter: bytes from one party to another, so signed that nobody else can say them, to nobody else, or once more.
//!
//! For connections that authenticate nobody. The receiver gives out a challenge: 32 random bytes of its own, which are
//! new whenever it has forgotten which letters it has had. A letter names its network, its two parties, the receiver's
//! challenge and a number; a receiver takes each number of a sender once. The answer to a letter is a letter as well,
//! which names the same challenge and number: it shows that the receiver, and nobody in its place, has had the letter.

use borsh::{BorshDeserialize, BorshSerialize};

use super::Key;
use super::signed::{SIGNATURE_LEN, signed};
use crate::crypto::hash::Digest;
use crate::primitives::wire::{Bytes, List, Record};

/// The most bodies of a letter.
pub const BODIES_MAX: usize = 256;

/// The most bytes of one body.
pub const BODY_MAX: usize = 128 << 10;

/// The most bytes of a letter.
pub const LETTER_MAX: usize = 1 << 20;

/// Bytes from one party to another.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Letter {
    /// The network.
    pub network: Digest,
    /// Who says it.
    pub sender: Key,
    /// To whom.
    pub receiver: Key,
    /// The challenge of who had to be asked: the receiver's, and in an answer the sender's.
    pub challenge: Digest,
    /// Which of the letters under that challenge it is, or is the answer to.
    pub number: u64,
    /// Whether it is an answer.
    pub answer: bool,
    /// What is said.
    pub bodies: List<Bytes<BODY_MAX>, BODIES_MAX>,
    /// The sender's signature.
    pub signature: [u8; SIGNATURE_LEN],
}

impl Record for Letter {
    const TAG: [u8; 4] = *b"CCle";
    const VERSION: u16 = 1;
    const NAME: &'static str = "letter";
    const LEN_MAX: usize = LETTER_MAX;
}

signed!(Letter, sender, "city-chain v1 letter");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::wire;
    use crate::records::identity::Identity;
    use crate::records::signed::Signed;

    fn letter(identity: &Identity, bodies: Vec<Vec<u8>>) -> Letter {
        let bodies = bodies.into_iter().map(|body| Bytes::new("body", body).unwrap()).collect();
        Letter {
            network: [1; 32],
            sender: identity.id(),
            receiver: [2; 32],
            challenge: [3; 32],
            number: 4,
            answer: false,
            bodies: List::new("bodies", bodies).unwrap(),
            signature: [0; SIGNATURE_LEN],
        }
    }

    #[test]
    fn nothing_of_a_letter_can_be_changed() {
        let identity = Identity::from_master(&[1; 32]);
        let signed = letter(&identity, vec![b"hello".to_vec()]).sign(identity.signing()).unwrap();
        signed.verify().unwrap();
        let changes: [fn(&mut Letter); 7] = [
            |letter| letter.network[0] ^= 1,
            |letter| letter.sender = Identity::from_master(&[2; 32]).id(),
            |letter| letter.receiver[0] ^= 1,
            |letter| letter.challenge[0] ^= 1,
            |letter| letter.number += 1,
            |letter| letter.answer = true,
            |letter| letter.bodies = List::default(),
        ];
        for change in changes {
            let mut changed = signed.clone();
            change(&mut changed);
            assert!(changed.verify().is_err(), "{changed:?}");
        }
    }

    #[test]
    fn a_letter_is_of_bounded_length() {
        let identity = Identity::from_master(&[1; 32]);
        let whole = letter(&identity, vec![vec![7; BODY_MAX]; 7]);
        assert_eq!(wire::decode::<Letter>(&wire::encode(&whole).unwrap()).unwrap(), whole);
        assert!(wire::encode(&letter(&identity, vec![vec![7; BODY_MAX]; 8])).is_err());
        assert!(Bytes::<BODY_MAX>::new("body", vec![0; BODY_MAX + 1]).is_err());
    }
}
