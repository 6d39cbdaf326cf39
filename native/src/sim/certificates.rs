//! What a quorum certificate costs, in both forms: the work of one vote, of the leader who makes a certificate of a quorum of
//! them, and of everybody else who checks it. The caller has the clock.

use super::hotstuff::{EPOCH, city};
use crate::algorithms::hs::Keys;
use crate::algorithms::hs::certificate::{Domain, Qc};
use crate::algorithms::hs::message::Vote;
use crate::crypto::bls;
use crate::crypto::hash::Digest;
use crate::error::{Error, Result};
use crate::primitives::committee::Committee;
use crate::primitives::wire;

const CHAIN: Digest = [0xce; 32];
const BLOCK: Digest = [0xb1; 32];

/// The votes of a round, and what is made of them.
pub struct Certificates {
    keys: Vec<Keys>,
    committee: Committee,
    round: u64,
    votes: Vec<Vote>,
}

impl Certificates {
    /// Validators of weight 1 each. All have voted in round 1.
    ///
    /// # Errors
    /// [`Error::Input`] for none, or too many.
    pub fn new(validators: u16, aggregates: bool) -> Result<Self> {
        let (keys, committee) = city(validators, aggregates)?;
        let mut made = Self { keys, committee, round: 0, votes: Vec::new() };
        made.next_round();
        Ok(made)
    }

    fn vote(&self, place: u16) -> Result<Vote> {
        let keys = self.keys.get(usize::from(place)).ok_or_else(|| Error::input("certificates: no such place"))?;
        Ok(Vote::cast(keys, CHAIN, EPOCH, self.round, BLOCK, place))
    }

    /// A quorum votes in the next round, in which nothing was checked yet and so nothing is remembered.
    pub fn next_round(&mut self) {
        self.round += 1;
        let quorum = u16::try_from(self.committee.quorum()).unwrap_or(u16::MAX);
        self.votes = (0..quorum).filter_map(|place| self.vote(place).ok()).collect();
    }

    /// How many a quorum are.
    pub fn signers(&self) -> usize {
        self.votes.len()
    }

    /// One validator votes; the bytes of the message.
    ///
    /// # Errors
    /// None that can happen.
    pub fn cast(&self) -> Result<usize> {
        Ok(self.vote(0)?.encode()?.len())
    }

    /// The certificate of the votes, which are not checked.
    fn sum_up(&self) -> Result<Qc> {
        if self.committee.aggregates().is_none() {
            let votes = self.votes.iter().map(|vote| (vote.voter, vote.signature)).collect();
            return Qc::new(&self.committee, self.round, BLOCK, votes);
        }
        let shares: Option<Vec<(u16, bls::Signature)>> =
            self.votes.iter().map(|vote| Some((vote.voter, vote.share_point()?))).collect();
        let shares = shares.ok_or_else(|| Error::verification("certificates: a share is none"))?;
        Qc::aggregate(&self.committee, self.round, BLOCK, &shares)
    }

    /// The leader's work: every vote is checked, and a sum once. The bytes of the certificate.
    ///
    /// # Errors
    /// [`Error::Verification`] if something is wrong, which it is not.
    pub fn make(&self) -> Result<usize> {
        self.votes.iter().try_for_each(|vote| vote.verify(&self.committee))?;
        let qc = self.sum_up()?;
        if self.committee.aggregates().is_some() {
            self.check(&qc)?;
        }
        Ok(wire::encode(&qc)?.len())
    }

    /// The leader's work, were every share checked by itself when it comes.
    ///
    /// # Errors
    /// As [`Certificates::make`].
    pub fn make_each(&self) -> Result<usize> {
        let right = |vote: &Vote| vote.share.is_none() || vote.has_right_share(&self.committee);
        if !self.votes.iter().all(|vote| vote.verify(&self.committee).is_ok() && right(vote)) {
            return Err(Error::verification("certificates: a vote is wrong"));
        }
        Ok(wire::encode(&self.sum_up()?)?.len())
    }

    /// A certificate of this round's votes as it comes over the wire: for [`Certificates::verify`].
    ///
    /// # Errors
    /// None that can happen.
    pub fn encoded(&self) -> Result<Vec<u8>> {
        wire::encode(&self.sum_up()?)
    }

    /// Everybody's work: a certificate is read and checked.
    ///
    /// # Errors
    /// [`Error::Input`] and [`Error::Verification`] with what is wrong.
    pub fn verify(&self, certificate: &[u8]) -> Result<()> {
        self.check(&wire::decode(certificate)?)
    }

    fn check(&self, qc: &Qc) -> Result<()> {
        qc.verify(Domain { committee: &self.committee, chain: &CHAIN, epoch: EPOCH, genesis: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_made_and_checked() {
        for (aggregates, bytes) in [(false, 6 + 40 + 6 + 4 + 7 * 64), (true, 6 + 40 + 6 + 4 + 48)] {
            let mut made = Certificates::new(10, aggregates).unwrap();
            for _ in 0..2 {
                assert_eq!((made.signers(), made.cast().unwrap()), (7, if aggregates { 200 } else { 152 }));
                assert_eq!((made.make().unwrap(), made.make_each().unwrap()), (bytes, bytes));
                let mut certificate = made.encoded().unwrap();
                made.verify(&certificate).unwrap();
                certificate[20] ^= 1;
                assert!(made.verify(&certificate).is_err());
                made.next_round();
            }
        }
        assert!(Certificates::new(0, true).is_err());
    }
}
