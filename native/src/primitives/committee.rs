//! Who takes part in an agreement: keys with weights, and tallies of who has been counted.
//!
//! Parties are named by their place in the committee. A quorum is counted in weight (see [`crate::primitives::quorum`]): any
//! two share more than can be faulty. With the weight 1 for everybody it is the n − f of the papers.

use std::sync::Arc;

use crate::crypto::bls::{PublicKey, ShownKey};
use crate::crypto::hash::{self, Digest, Hasher, hex};
use crate::error::{Error, Result};
use crate::primitives::quorum;

/// The most members of a committee.
pub const MEMBERS_MAX: usize = 1024;

const CONTEXT_DIGEST: &str = "city-chain v1 committee";
const CONTEXT_AGGREGATES: &str = "city-chain v1 committee with aggregate keys";

/// One member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Its public signing key.
    pub key: [u8; 32],
    /// Its weight (stake).
    pub weight: u64,
}

/// The members of an agreement, in an order that all of them know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committee {
    members: Vec<Member>,
    total: u128,
    quorum: u128,
    /// A proven key of each for signatures that are summed, and the digest with them.
    aggregates: Option<(Arc<[PublicKey]>, Digest)>,
}

impl Committee {
    /// A committee of these members in this order.
    ///
    /// # Errors
    /// [`Error::Input`] if it is empty or too large, a key stands twice, or a weight is 0.
    pub fn new(members: Vec<Member>) -> Result<Self> {
        if members.is_empty() || members.len() > MEMBERS_MAX {
            return Err(Error::input(format!("committee: {} members, 1 to {MEMBERS_MAX} are allowed", members.len())));
        }
        let mut keys: Vec<&[u8; 32]> = members.iter().map(|member| &member.key).collect();
        keys.sort_unstable();
        if let Some(pair) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::input(format!("committee: the key {} stands twice", hex(pair[0]))));
        }
        if let Some(at) = members.iter().position(|member| member.weight == 0) {
            return Err(Error::input(format!("committee: member {at} has the weight 0")));
        }
        let total = quorum::sum(members.iter().map(|member| member.weight))?;
        Ok(Self { members, total, quorum: quorum::byzantine(total)?, aggregates: None })
    }

    /// The members in their order.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.members.len()
    }

    /// The member at a place, if there is one.
    pub fn get(&self, party: u16) -> Option<&Member> {
        self.members.get(usize::from(party))
    }

    /// Where a key stands.
    pub fn position(&self, key: &[u8; 32]) -> Option<u16> {
        self.members.iter().position(|member| member.key == *key).and_then(|at| u16::try_from(at).ok())
    }

    /// The weight of all.
    pub fn total(&self) -> u128 {
        self.total
    }

    /// The least weight of which any two sets share more than can be faulty: the n − f of the papers.
    pub fn quorum(&self) -> u128 {
        self.quorum
    }

    /// The least weight in which somebody is not faulty: the f + 1 of the papers.
    pub fn honest(&self) -> u128 {
        self.total - self.quorum + 1
    }

    /// The same committee with a key of each member for signatures that are summed, in the members' order. Where the key of
    /// one and its proof were checked before in this process, they are not again.
    ///
    /// # Errors
    /// [`Error::Input`] if there is not one for each, or one stands twice: whose signature it is would be open;
    /// [`Error::Verification`] for a key that is none, or whose proof of possession is wrong.
    pub fn with_aggregates(mut self, shown: &[ShownKey]) -> Result<Self> {
        if shown.len() != self.members.len() {
            let (keys, members) = (shown.len(), self.members.len());
            return Err(Error::input(format!("committee: {keys} aggregate keys for {members} members")));
        }
        let mut sorted: Vec<&[u8]> = shown.iter().map(|key| &key.public[..]).collect();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::input(format!("committee: the aggregate key {} stands twice", hex(pair[0]))));
        }
        let keys = proven(shown)?;
        let mut hasher = Hasher::new(CONTEXT_AGGREGATES);
        hasher.fixed(&self.digest());
        shown.iter().for_each(|key| {
            hasher.fixed(&key.public);
        });
        self.aggregates = Some((keys.into(), hasher.finish()));
        Ok(self)
    }

    /// The members' keys for signatures that are summed, if they have any.
    pub fn aggregates(&self) -> Option<&[PublicKey]> {
        self.aggregates.as_ref().map(|(keys, _)| &**keys)
    }

    /// Binds to exactly these members in this order, with their aggregate keys if they have any.
    pub fn digest(&self) -> Digest {
        if let Some((_, digest)) = &self.aggregates {
            return *digest;
        }
        let mut bytes = Vec::with_capacity(self.members.len() * 40);
        for member in &self.members {
            bytes.extend_from_slice(&member.key);
            bytes.extend_from_slice(&member.weight.to_le_bytes());
        }
        hash::digest(CONTEXT_DIGEST, &bytes)
    }
}

/// The keys, whose proofs of possession are right.
fn proven(shown: &[ShownKey]) -> Result<Vec<PublicKey>> {
    #[cfg(feature = "mutants")]
    if crate::primitives::mutant::mutant!("hs.possession") {
        return shown.iter().map(PublicKey::unproven).collect();
    }
    PublicKey::proven(shown)
}

/// Who has been counted, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    seen: Vec<u64>,
    weight: u128,
}

impl Tally {
    /// Counts a member; `false` if it is none or was counted before.
    pub fn add(&mut self, committee: &Committee, party: u16) -> bool {
        let Some(member) = committee.get(party) else { return false };
        if self.has(party) {
            return false;
        }
        let (word, bit) = (usize::from(party / 64), party % 64);
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        self.seen[word] |= 1 << bit;
        self.weight += u128::from(member.weight);
        true
    }

    /// Whether a member was counted.
    pub fn has(&self, party: u16) -> bool {
        self.seen.get(usize::from(party / 64)).is_some_and(|word| word >> (party % 64) & 1 == 1)
    }

    /// The weight of who was counted.
    pub fn weight(&self) -> u128 {
        self.weight
    }

    /// Whether they are a quorum.
    pub fn is_quorum(&self, committee: &Committee) -> bool {
        self.weight >= committee.quorum()
    }

    /// Whether one of them at least is not faulty.
    pub fn has_honest(&self, committee: &Committee) -> bool {
        self.weight >= committee.honest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::bls::SecretKey;

    fn committee(weights: &[u64]) -> Result<Committee> {
        Committee::new((0u8..).zip(weights).map(|(at, &weight)| Member { key: [at; 32], weight }).collect())
    }

    #[test]
    fn quorums_of_parties_and_of_stake() {
        let four = committee(&[1; 4]).unwrap();
        assert_eq!((four.quorum(), four.honest(), four.total()), (3, 2, 4));
        let stakes = committee(&[10, 1, 1]).unwrap();
        let mut tally = Tally::default();
        assert!(tally.add(&stakes, 1) && tally.add(&stakes, 2) && !tally.has_honest(&stakes));
        assert!(!tally.add(&stakes, 2) && !tally.add(&stakes, 3), "twice, and no member");
        assert!(tally.add(&stakes, 0) && tally.is_quorum(&stakes));
        assert!(tally.has(0) && !tally.has(3) && !tally.has(u16::MAX));
    }

    #[test]
    fn what_is_no_committee_is_refused() {
        for (weights, word) in [(&[][..], "0 members"), (&[1, 0][..], "member 1"), (&[1; 200][..], "")] {
            let made = committee(weights);
            assert_eq!(made.is_err(), !word.is_empty());
            assert!(made.err().is_none_or(|error| error.to_string().contains(word)));
        }
        let twice = Committee::new(vec![Member { key: [7; 32], weight: 1 }; 2]);
        assert!(twice.unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn aggregate_keys_are_proven_distinct_and_bound_by_the_digest() {
        let keys: Vec<ShownKey> =
            (1..5).map(|seed| ShownKey::of(&SecretKey::from_seed(&[seed; 32]).unwrap())).collect();
        let four = committee(&[1; 4]).unwrap();
        assert!(four.aggregates().is_none());
        let with = |keys: &[ShownKey]| four.clone().with_aggregates(keys);
        let made = with(&keys).unwrap();
        assert_eq!(made.aggregates().unwrap().len(), 4);
        let reversed: Vec<ShownKey> = keys.iter().rev().copied().collect();
        assert!(made.digest() != four.digest() && made.digest() != with(&reversed).unwrap().digest());
        let twice = [keys[0], keys[1], keys[0], keys[3]];
        let swapped = [keys[0], ShownKey { possession: keys[0].possession, ..keys[1] }, keys[2], keys[3]];
        for (wrong, word) in [(&keys[..3], "3 aggregate keys for 4"), (&twice, "twice"), (&swapped, "keys[1]")] {
            let error = with(wrong).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn its_digest_binds_to_order_and_weight() {
        let digests: Vec<_> =
            [&[1, 2][..], &[2, 1], &[1, 2, 3]].iter().map(|w| committee(w).unwrap().digest()).collect();
        assert!(digests[0] != digests[1] && digests[0] != digests[2]);
    }
}
