//! The election of an epoch's delegates.

use std::collections::{BTreeMap, BTreeSet};

use super::validators::{Validator, ValidatorSet};
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

/// The most ballots and candidates of one election.
const PARTIES_MAX: usize = 1 << 20;

/// Approval election: every voter's stake counts for each candidate it approves of; the `seats` best are elected, ties by
/// (own stake descending, key ascending). A candidate without a single approval counts with its own stake only.
///
/// `stakes` is the snapshot at the epoch's boundary, and its keys are the candidates. A delegate's weight in the set is its
/// own stake plus what was approved, capped at 2⁶⁴ − 1. The result does not depend on the order of the input.
///
/// # Errors
/// No seats, fewer candidates with stake than seats, two ballots of one voter with one sequence, unknown voters or
/// candidates, a candidate twice.
pub fn elect(epoch: u64, stakes: &[Validator], ballots: &[Ballot], seats: usize) -> Result<ValidatorSet> {
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
    let newest: BTreeMap<[u8; 32], &Ballot> = cast.into_iter().map(|((voter, _), ballot)| (voter, ballot)).collect();
    let mut support: BTreeMap<[u8; 32], u128> =
        snapshot.iter().filter(|(_, stake)| **stake > 0).map(|(key, stake)| (*key, u128::from(*stake))).collect();
    for (voter, ballot) in newest {
        let stake = u128::from(snapshot[&voter]);
        for candidate in ballot.approves.iter().collect::<BTreeSet<_>>() {
            if *candidate == voter {
                continue; // its own stake counts already
            }
            let Some(sum) = support.get_mut(candidate) else {
                return Err(Error::input("election: a ballot approves of somebody who has no stake"));
            };
            *sum = sum.checked_add(stake).ok_or_else(|| Error::input("election: the stakes overflow"))?;
        }
    }
    if seats == 0 || support.len() < seats {
        return Err(Error::unavailable("election: candidates with stake", seats.max(1) as u64, support.len() as u64));
    }
    let mut ranked: Vec<([u8; 32], u128)> = support.into_iter().collect();
    ranked.sort_by(|(a, for_a), (b, for_b)| for_b.cmp(for_a).then(snapshot[b].cmp(&snapshot[a])).then(a.cmp(b)));
    ranked.truncate(seats);
    let items =
        ranked.into_iter().map(|(key, sum)| Validator { key, stake: u64::try_from(sum).unwrap_or(u64::MAX) }).collect();
    ValidatorSet::new(epoch, items)
}
