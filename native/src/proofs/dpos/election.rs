//! The election of an epoch's delegates.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::phragmen::Phragmen;
use super::validators::{VALIDATORS_MAX, Validator, ValidatorSet};
use crate::error::{Error, Result};
use crate::primitives::quorum;

/// One voter's word. Of several by one voter the newest counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ballot {
    /// Who votes, with its stake in the snapshot.
    pub voter: [u8; 32],
    /// Rises with every ballot of the voter.
    pub sequence: u64,
    /// Whom it approves of; doubles count once.
    pub approves: Vec<[u8; 32]>,
}

/// How seats are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// To those with the most stake behind them. A majority can fill every seat.
    Approval,
    /// By Phragmén's sequential rule: groups get seats by their share of the stake.
    SeqPhragmen,
}

impl Method {
    /// The method of a name.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "approval" => Ok(Self::Approval),
            "seq_phragmen" => Ok(Self::SeqPhragmen),
            _ => {
                Err(Error::input(format!("election: the method {name:?}; \"approval\" or \"seq_phragmen\" is needed")))
            }
        }
    }
}

/// The most ballots and candidates of one election.
const PARTIES_MAX: usize = 1 << 20;

/// The most approvals in all counted ballots together.
const APPROVALS_MAX: usize = 1 << 24;

/// The most approvals times seats by Phragmén's method.
const PHRAGMEN_MAX: usize = 1 << 28;

/// An election of `seats` delegates.
///
/// `stakes` is the snapshot at the epoch's boundary, and its keys with stake are the candidates. Every voter's stake counts
/// for each candidate it approves of, and a candidate's own for itself, with or without a ballot. `method` says who is
/// elected; ties go by (own stake descending, key ascending). A delegate's weight in the set is its own stake plus what was
/// approved, capped at 2⁶⁴ − 1, by either method. The result does not depend on the order of the input.
///
/// # Errors
/// No seats, fewer candidates with stake than seats, two ballots of one voter with one sequence, unknown voters or
/// candidates, a candidate twice, more than 2²⁰ stakes or ballots, or than 2²⁴ approvals; by Phragmén's method more than
/// 2²⁸ approvals times seats.
pub fn elect(
    epoch: u64,
    stakes: &[Validator],
    ballots: &[Ballot],
    seats: usize,
    method: Method,
) -> Result<ValidatorSet> {
    let cast = Cast::new(stakes, ballots)?;
    let count = cast.candidates.len();
    if seats == 0 || count < seats {
        return Err(Error::unavailable("election: candidates with stake", seats.max(1) as u64, count as u64));
    }
    if seats > VALIDATORS_MAX {
        return Err(Error::input(format!("election: {seats} seats, at most {VALIDATORS_MAX} are allowed")));
    }
    let support = cast.support();
    let elected = match method {
        Method::Approval => {
            let mut ranked: Vec<u32> = (0..count as u32).collect();
            let better = |a: &u32, b: &u32| support[*b as usize].cmp(&support[*a as usize]).then(cast.tie(*a, *b));
            ranked.sort_unstable_by(better);
            ranked.truncate(seats);
            ranked
        }
        Method::SeqPhragmen => {
            let count: usize = cast.approvals.iter().map(Vec::len).sum();
            if count.saturating_mul(seats) > PHRAGMEN_MAX {
                return Err(Error::input(format!(
                    "election: {count} approvals for {seats} seats: approvals × seats may be {PHRAGMEN_MAX} with \
                     seq_phragmen, because stakes made for it could keep a machine busy for minutes; take fewer seats"
                )));
            }
            let stakes: Vec<u64> = cast.candidates.iter().map(|candidate| candidate.stake).collect();
            let election = Phragmen { stakes: &stakes, approvals: &cast.approvals, backers: &cast.backers };
            election.elect(seats, |a, b| cast.tie(a, b))
        }
    };
    let delegate = |at: u32| Validator {
        key: cast.candidates[at as usize].key,
        stake: u64::try_from(support[at as usize]).unwrap_or(u64::MAX),
    };
    ValidatorSet::new(epoch, elected.into_iter().map(delegate).collect())
}

/// What was voted: candidates, who are the voters with stake as well, by number, ascending by key.
struct Cast {
    candidates: Vec<Validator>,
    /// Whom each of them approves of, itself first.
    approvals: Vec<Vec<u32>>,
    /// Who approves of each of them.
    backers: Vec<Vec<u32>>,
}

impl Cast {
    fn new(stakes: &[Validator], ballots: &[Ballot]) -> Result<Self> {
        if stakes.len() > PARTIES_MAX || ballots.len() > PARTIES_MAX {
            return Err(Error::input(format!("election: more than {PARTIES_MAX} stakes or ballots")));
        }
        let mut snapshot = BTreeMap::new();
        for entry in stakes {
            if snapshot.insert(entry.key, entry.stake).is_some() {
                return Err(Error::input("election: a stake is given twice"));
            }
        }
        quorum::sum(snapshot.values().copied())?;
        let mut cast: BTreeMap<([u8; 32], u64), &Ballot> = BTreeMap::new();
        for ballot in ballots {
            if !snapshot.contains_key(&ballot.voter) {
                return Err(Error::input("election: a voter has no stake in the snapshot"));
            }
            if *cast.entry((ballot.voter, ballot.sequence)).or_insert(ballot) != ballot {
                return Err(Error::input(format!("election: a voter cast two ballots numbered {}", ballot.sequence)));
            }
        }
        // Ascending by sequence within each voter: the last one in is the newest.
        let newest: BTreeMap<[u8; 32], &Ballot> =
            cast.into_iter().map(|((voter, _), ballot)| (voter, ballot)).collect();
        let candidates: Vec<Validator> = snapshot
            .iter()
            .filter(|(_, stake)| **stake > 0)
            .map(|(key, stake)| Validator { key: *key, stake: *stake })
            .collect();
        let place = |key: &[u8; 32]| candidates.binary_search_by(|candidate| candidate.key.cmp(key));
        let mut approvals: Vec<Vec<u32>> = (0..candidates.len() as u32).map(|at| vec![at]).collect();
        let mut count = candidates.len();
        for (voter, ballot) in newest {
            let own = place(&voter);
            for candidate in ballot.approves.iter().collect::<BTreeSet<_>>() {
                if *candidate == voter {
                    continue; // its own stake counts already
                }
                let Ok(at) = place(candidate) else {
                    return Err(Error::input("election: a ballot approves of somebody who has no stake"));
                };
                if let Ok(own) = own {
                    approvals[own].push(at as u32);
                    count += 1;
                }
            }
            if count > APPROVALS_MAX {
                return Err(Error::input(format!("election: more than {APPROVALS_MAX} approvals")));
            }
        }
        let mut backers: Vec<Vec<u32>> = vec![Vec::new(); candidates.len()];
        for (voter, approved) in (0u32..).zip(&approvals) {
            for at in approved {
                backers[*at as usize].push(voter);
            }
        }
        Ok(Self { candidates, approvals, backers })
    }

    /// The stake behind each candidate. No sum of 2²⁰ stakes below 2⁶⁴ overflows.
    fn support(&self) -> Vec<u128> {
        let stake = |voter: &u32| u128::from(self.candidates[*voter as usize].stake);
        self.backers.iter().map(|backers| backers.iter().map(stake).sum()).collect()
    }

    /// Who comes first of equals: own stake descending, then key ascending.
    fn tie(&self, a: u32, b: u32) -> Ordering {
        let stake = |at: u32| self.candidates[at as usize].stake;
        stake(b).cmp(&stake(a)).then(a.cmp(&b))
    }
}
