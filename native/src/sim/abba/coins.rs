//! Coins of a run: shares that are shown, collected and combined.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};

use super::City;
use crate::algorithms::abba::{ROUND_MAX, ROUNDS_AHEAD_MAX};
use crate::algorithms::tes::coin::{Name, SHARE_LEN};
use crate::crypto::hash::Digest;
use crate::error::{Error, Result};
use crate::primitives::wire::{Bytes, Record};

/// A share of a coin.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Share {
    /// The slot.
    pub slot: u64,
    /// Whose proposal the agreement is about; 0 where there is one agreement only.
    pub of: u16,
    /// The round.
    pub round: u32,
    /// The share.
    pub share: Bytes<SHARE_LEN>,
}

impl Record for Share {
    const TAG: [u8; 4] = *b"CCgs";
    const VERSION: u16 = 1;
    const NAME: &'static str = "coin share of a simulation";
    const LEN_MAX: usize = SHARE_LEN + 64;
}

/// Somebody is still in this slot.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Query {
    /// The slot.
    pub slot: u64,
}

impl Record for Query {
    const TAG: [u8; 4] = *b"CCsq";
    const VERSION: u16 = 1;
    const NAME: &'static str = "query of a simulation";
    const LEN_MAX: usize = 64;
}

#[derive(Default)]
struct Toss {
    asked: bool,
    /// One of each party.
    shares: BTreeMap<u16, Vec<u8>>,
    bit: Option<bool>,
}

/// The coins of one slot.
#[derive(Default)]
pub(super) struct Coins {
    tosses: BTreeMap<(u16, u32), Toss>,
    last: u32,
}

pub(super) fn name<'a>(chain: &'a Digest, instance: &'a [u8], round: u32) -> Name<'a> {
    Name { chain, epoch: 0, instance, round: u64::from(round) }
}

pub(super) fn instance(city: &City, slot: u64, of: u16) -> Vec<u8> {
    [&city.instance(slot).name[..], &of.to_le_bytes()].concat()
}

impl Coins {
    /// The machine asks: this party's share, to be shown to all.
    pub(super) fn ask(&mut self, city: &City, me: u16, slot: u64, of: u16, round: u32) -> Result<Share> {
        let instance = instance(city, slot, of);
        let share = city.coin.share(&city.secrets[usize::from(me)], &name(&city.chain, &instance, round))?;
        let toss = self.tosses.entry((of, round)).or_default();
        toss.asked = true;
        toss.shares.insert(me, share.clone());
        self.last = self.last.max(round);
        Ok(Share { slot, of, round, share: Bytes::new("share", share)? })
    }

    /// Another party shows its share. The first counts; a wrong one is found when they are combined.
    pub(super) fn hear(&mut self, city: &City, from: u16, share: Share) -> Result<()> {
        if usize::from(share.of) >= city.committee.count()
            || share.round > (self.last + ROUNDS_AHEAD_MAX).min(ROUND_MAX)
        {
            return Err(Error::protocol("coin share: of no coin that may be tossed now"));
        }
        if share.share.first_chunk() != Some(&(from + 1).to_le_bytes()) {
            return Err(Error::protocol("coin share: of another party"));
        }
        let toss = self.tosses.entry((share.of, share.round)).or_default();
        toss.shares.entry(from).or_insert_with(|| share.share.into_vec());
        Ok(())
    }

    /// What a coin shows, if it was asked for and enough right shares are here.
    pub(super) fn toss(&mut self, city: &City, slot: u64, of: u16, round: u32) -> Option<bool> {
        let toss = self.tosses.get_mut(&(of, round)).filter(|toss| toss.asked)?;
        if toss.bit.is_none() && toss.shares.len() >= usize::from(city.threshold) {
            let shares: Vec<&[u8]> = toss.shares.values().map(Vec::as_slice).collect();
            let instance = instance(city, slot, of);
            let shown = city.coin.combine(&name(&city.chain, &instance, round), &shares);
            toss.bit = shown.ok().map(|shown| shown.bit());
        }
        toss.bit
    }

    /// This party's shares, to be shown again.
    pub(super) fn shown(&self, me: u16, slot: u64) -> Vec<Share> {
        let asked = self.tosses.iter().filter(|(_, toss)| toss.asked);
        let share = |((of, round), toss): (&(u16, u32), &Toss)| {
            let share = Bytes::new("share", toss.shares.get(&me)?.clone()).ok()?;
            Some(Share { slot, of: *of, round: *round, share })
        };
        asked.filter_map(share).collect()
    }
}
