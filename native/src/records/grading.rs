//! How a verifier grades an attestation of place, and what a grade is worth.
//!
//! | grade | what is known |
//! |---|---|
//! | 0 | what the node says of itself |
//! | 1 | the node signed it for this verifier, lately |
//! | 2 | and enough witnesses signed that they saw it |
//! | 3 | and as many of them had an echo so soon that the node is near them |
//!
//! Nothing is faster than light in the vacuum, so a node whose echo took t is at most c·t/2 away: 150 m for a microsecond,
//! 150 km for a millisecond. A testimony whose time is too short for the place that is claimed contradicts the claim and
//! counts for nothing. All is computed in integers, so that everybody finds the same.

use borsh::{BorshDeserialize, BorshSerialize};

use super::attestation::{Attestation, Spot, TESTIMONIES_MAX};
use super::signed::Signed;
use super::{Key, NAME_MAX};
use crate::crypto::hash::{Digest, hex};
use crate::error::{Error, Result};
use crate::primitives::wire::{List, Record, Text};

/// How many grades there are.
pub const GRADES: usize = 4;

/// The most witnesses that rules name.
pub const WITNESSES_MAX: usize = 256;

/// The most events that rules name.
pub const EVENTS_MAX: usize = 256;

/// One, in basis points.
pub const BP_ONE: u32 = 10_000;

/// The largest multiplier: a hundredfold.
pub const BP_MAX: u32 = 100 * BP_ONE;

/// How far ahead of the verifier's clock a stamp may be.
pub const AHEAD_MS_MAX: u64 = 10_000;

/// Metres that light goes there and back in a microsecond, rounded up: c/2 is 149.9 m/µs.
const METRES_PER_US: u64 = 150;

/// The smallest radius of curvature of the WGS 84 ellipsoid (b²/a), metres: distances on it are never overestimated.
const RADIUS_M: u128 = 6_335_439;

/// Bits behind the point of sines.
const BITS: u32 = 40;

/// π in 60 bits behind the point.
const PI_Q60: i128 = 3_622_009_729_038_561_421;

/// A node whose place the verifier knows.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Witness {
    /// The node.
    pub node: Key,
    /// Where it is.
    pub spot: Spot,
}

/// A time in which a municipality's nodes count more, or less.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Event {
    /// The municipality.
    pub municipality: Text<NAME_MAX>,
    /// The multiplier in basis points.
    pub multiplier_bp: u32,
    /// When it begins, UTC epoch milliseconds.
    pub from_ms: u64,
    /// When it is over.
    pub until_ms: u64,
}

/// What a verifier goes by. It stands in the candidate list, so that whoever has the list can compute everything again.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Rules {
    /// The municipality whose nodes count as near.
    pub home: Text<NAME_MAX>,
    /// What is near counts so much more, in basis points.
    pub home_bp: u32,
    /// What each grade is worth, in basis points.
    pub grade_bp: [u32; GRADES],
    /// Nodes under this grade are not chosen.
    pub grade_min: u8,
    /// How many witnesses make grade 2, and how many near ones grade 3.
    pub needed: u8,
    /// How long an echo may take at most for a witness to count as near, microseconds.
    pub rtt_us_max: u32,
    /// How old claims and testimonies may be, milliseconds.
    pub age_ms_max: u64,
    /// The nodes whose places are known, ascending and distinct by node.
    pub witnesses: List<Witness, WITNESSES_MAX>,
    /// The events. All that are on at a time multiply, in this order.
    pub events: List<Event, EVENTS_MAX>,
}

impl Record for Rules {
    const TAG: [u8; 4] = *b"CCpu";
    const VERSION: u16 = 1;
    const NAME: &'static str = "place rules";
    const LEN_MAX: usize = 1024 + (WITNESSES_MAX + EVENTS_MAX) * (2 * NAME_MAX);

    fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::input(format!("place rules: {what}")));
        if self.home.is_empty() {
            return wrong("the home must not be empty".into());
        }
        let multipliers = self.grade_bp.iter().chain([&self.home_bp]);
        if let Some(large) =
            multipliers.chain(self.events.iter().map(|event| &event.multiplier_bp)).find(|bp| **bp > BP_MAX)
        {
            return wrong(format!("a multiplier of {large} basis points, at most {BP_MAX} are allowed"));
        }
        if !self.grade_bp.windows(2).all(|pair| pair[0] <= pair[1]) {
            return wrong(format!("the grades' multipliers {:?} must not fall with the grade", self.grade_bp));
        }
        if usize::from(self.grade_min) >= GRADES {
            return wrong(format!("grade_min = {}: 0 to {} is allowed", self.grade_min, GRADES - 1));
        }
        if self.needed == 0 || usize::from(self.needed) > TESTIMONIES_MAX {
            return wrong(format!("{} witnesses: 1 to {TESTIMONIES_MAX} may be needed", self.needed));
        }
        if !self.witnesses.windows(2).all(|pair| pair[0].node < pair[1].node) {
            return wrong("the witnesses must be ascending and distinct".into());
        }
        if let Some(event) =
            self.events.iter().find(|event| event.municipality.is_empty() || event.from_ms >= event.until_ms)
        {
            return wrong(format!(
                "an event from {} until {}: it must have a name and last",
                event.from_ms, event.until_ms
            ));
        }
        self.witnesses.iter().try_for_each(|witness| witness.spot.check())
    }
}

/// When and where an attestation is graded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The network.
    pub network: Digest,
    /// The epoch.
    pub epoch: u64,
    /// The verifier's clock, UTC epoch milliseconds.
    pub at_ms: u64,
}

/// What became of one testimony.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// It counts, and the subject is near the witness.
    Near,
    /// It counts; how near the subject is, it does not say well enough.
    Seen,
    /// The witness's place is not known.
    Unknown,
    /// Too old, or from the future.
    Stale,
    /// Not signed by the witness, or about another claim.
    Forged,
    /// The echo was there sooner than light can be from the place that is claimed.
    Contradicted,
}

impl Finding {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Seen => "seen",
            Self::Unknown => "unknown",
            Self::Stale => "stale",
            Self::Forged => "forged",
            Self::Contradicted => "contradicted",
        }
    }
}

/// A grade, and how it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graded {
    /// The grade, 0 to 3.
    pub grade: u8,
    /// What became of each testimony, in their order.
    pub findings: Vec<(Key, Finding)>,
}

impl Rules {
    /// The grade of an attestation. Whether its nonce was given to the subject, and not used before, only the verifier knows
    /// who gave it.
    ///
    /// # Errors
    /// [`Error::Verification`] if the claim is of another network or epoch, or not signed by its subject.
    pub fn grade(&self, attestation: &Attestation, moment: &Moment) -> Result<Graded> {
        attestation.check()?;
        let claim = &attestation.claim;
        if (claim.network, claim.epoch) != (moment.network, moment.epoch) {
            return Err(Error::verification(format!(
                "place claim: of epoch {} of network {}, not of epoch {} of network {}",
                claim.epoch,
                hex(&claim.network),
                moment.epoch,
                hex(&moment.network)
            )));
        }
        claim.verify()?;
        let right = attestation.right()?;
        let findings: Vec<(Key, Finding)> = (attestation.testimonies.iter().zip(right))
            .map(|(testimony, right)| {
                let fresh = self.is_fresh(testimony.hlc, moment.at_ms);
                (testimony.witness, self.finding(&claim.spot, &testimony.witness, testimony.rtt_us, right, fresh))
            })
            .collect();
        let count = |wanted: &[Finding]| findings.iter().filter(|(_, finding)| wanted.contains(finding)).count();
        let needed = usize::from(self.needed);
        let grade = if !self.is_fresh(claim.hlc, moment.at_ms) {
            0
        } else if count(&[Finding::Near]) >= needed {
            3
        } else if count(&[Finding::Near, Finding::Seen]) >= needed {
            2
        } else {
            1
        };
        Ok(Graded { grade, findings })
    }

    fn finding(&self, claimed: &Spot, witness: &Key, rtt_us: u32, right: bool, fresh: bool) -> Finding {
        if !right {
            return Finding::Forged;
        }
        let Ok(at) = self.witnesses.binary_search_by(|known| known.node.cmp(witness)) else {
            return Finding::Unknown;
        };
        if !fresh {
            return Finding::Stale;
        }
        match rtt_us {
            0 => Finding::Seen,
            rtt if distance_m(claimed, &self.witnesses[at].spot) > reach_m(rtt) => Finding::Contradicted,
            rtt if rtt <= self.rtt_us_max => Finding::Near,
            _ => Finding::Seen,
        }
    }

    fn is_fresh(&self, hlc: u64, at_ms: u64) -> bool {
        let ms = hlc >> 16;
        ms <= at_ms.saturating_add(AHEAD_MS_MAX) && at_ms <= ms.saturating_add(self.age_ms_max)
    }

    /// The weight of a node: its capacity times what its grade is worth, and, from grade 2 on, times what its municipality
    /// is at that time. What only the node itself says of its place earns it nothing.
    ///
    /// # Errors
    /// [`Error::Input`] if the grade is none, or the weight does not fit into 32 bits.
    pub fn weight(&self, capacity: u32, municipality: &str, grade: u8, at_ms: u64) -> Result<u32> {
        let Some(worth) = self.grade_bp.get(usize::from(grade)) else {
            return Err(Error::input(format!("place: grade {grade}, 0 to {} are there", GRADES - 1)));
        };
        if grade < self.grade_min {
            return Ok(0);
        }
        let mut factors = vec![*worth];
        if grade >= 2 {
            factors.extend((municipality == &*self.home).then_some(self.home_bp));
            let on = |event: &&Event| {
                *event.municipality == *municipality && (event.from_ms..event.until_ms).contains(&at_ms)
            };
            factors.extend(self.events.iter().filter(on).map(|event| event.multiplier_bp));
        }
        let too_large =
            || Error::input(format!("place: the weight of a node in {municipality:?} does not fit into 32 bits"));
        let mut weight = u128::from(capacity);
        for bp in factors {
            weight = weight.checked_mul(bp.into()).ok_or_else(too_large)? / u128::from(BP_ONE);
        }
        u32::try_from(weight).map_err(|_| too_large())
    }
}

/// How far a node is at most whose echo took so long, metres.
pub fn reach_m(rtt_us: u32) -> u64 {
    METRES_PER_US * u64::from(rtt_us)
}

/// The distance of two places through the ground, metres; never more than it is, and less by at most 1.2 %.
pub fn distance_m(one: &Spot, other: &Spot) -> u64 {
    let (one, other) = (direction(one), direction(other));
    let square: i128 = one.iter().zip(other).map(|(a, b)| (a - b) * (a - b)).sum();
    let metres = (square.unsigned_abs().isqrt() * RADIUS_M) >> BITS;
    u64::try_from(metres).unwrap_or(u64::MAX)
}

/// The direction from the centre, each coordinate in [`BITS`] behind the point.
fn direction(spot: &Spot) -> [i128; 3] {
    let (lat, lon) = (i64::from(spot.lat_e7), i64::from(spot.lon_e7));
    let out = sine(900_000_000 - lat.abs());
    let far = if lon.abs() > 900_000_000 { sine(1_800_000_000 - lon.abs()) } else { sine(lon.abs()) };
    let (east, north) = (sine(900_000_000 - lon.abs()), far * i128::from(lon.signum()));
    [(out * east) >> BITS, (out * north) >> BITS, sine(lat)]
}

/// The sine of at most ±90°, given in 1e-7 degrees, by its series; wrong by less than 2⁻³⁶.
fn sine(angle_e7: i64) -> i128 {
    let x = (i128::from(angle_e7) * PI_Q60 / 1_800_000_000) >> (60 - BITS);
    let square = (x * x) >> BITS;
    let (mut term, mut sum) = (x, x);
    for at in 1..=10 {
        term = -((term * square) >> BITS) / (2 * at * (2 * at + 1));
        sum += term;
    }
    sum
}

#[cfg(test)]
#[path = "grading_tests.rs"]
mod tests;
