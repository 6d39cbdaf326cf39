//! Hybrid logical clock (Kulkarni, Demirbas, Madeppa, Avva, Leone: "Logical Physical Clocks", 2014).
//!
//! A stamp is 48 bits of Unix milliseconds and 16 bits of counter in one u64, so that stamps compare as numbers (and, big-
//! endian, as bytes). Deviations from the paper: the counter has a width, and an overflow carries into the milliseconds;
//! nothing may take the clock further than `max_drift_ms` ahead of the **local physical** clock, and what would is refused
//! with the state untouched. So e → f ⇒ stamp(e) < stamp(f), and stamp.ms − physical ≤ max_drift.

use crate::error::{Error, Result};

/// The largest millisecond value of a stamp (in the year 10889).
pub const MS_MAX: u64 = (1 << 48) - 1;

/// The largest counter of a stamp.
pub const COUNTER_MAX: u64 = 0xffff;

/// Bytes of a stamp, big-endian.
pub const STAMP_LEN: usize = 8;

/// A stamp of its parts.
pub fn pack(ms: u64, counter: u16) -> Result<u64> {
    if ms > MS_MAX {
        return Err(Error::input(format!("hlc: {ms} ms since 1970, at most {MS_MAX} fit a stamp")));
    }
    Ok(ms << 16 | u64::from(counter))
}

/// The milliseconds of a stamp.
pub fn ms(stamp: u64) -> u64 {
    stamp >> 16
}

/// The counter of a stamp.
pub fn counter(stamp: u64) -> u64 {
    stamp & COUNTER_MAX
}

/// The clock of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hlc {
    last: u64,
    max_drift_ms: u64,
}

impl Hlc {
    /// A clock that starts after `last` (0, or what [`Hlc::upper_bound`] gave before a restart).
    pub fn new(max_drift_ms: u64, last: u64) -> Result<Self> {
        if max_drift_ms == 0 || max_drift_ms > MS_MAX {
            return Err(Error::input(format!("hlc: a drift of {max_drift_ms} ms; 1 to {MS_MAX} is allowed")));
        }
        Ok(Self { last, max_drift_ms })
    }

    /// The last stamp given or taken.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// How far ahead of the physical clock the stamps may be, milliseconds.
    pub fn max_drift_ms(&self) -> u64 {
        self.max_drift_ms
    }

    /// The largest stamp that is allowed when the physical clock shows `physical_ms`.
    fn limit(&self, physical_ms: u64) -> Result<u64> {
        pack(physical_ms, 0)?;
        Ok(physical_ms.saturating_add(self.max_drift_ms).min(MS_MAX) << 16 | COUNTER_MAX)
    }

    /// A stamp for a local event or a message to send.
    pub fn now(&mut self, physical_ms: u64) -> Result<u64> {
        self.now_many(physical_ms, 1)
    }

    /// The first of `count` consecutive stamps; the others follow it without a gap.
    pub fn now_many(&mut self, physical_ms: u64, count: u32) -> Result<u64> {
        if count == 0 {
            return Err(Error::input("hlc: 0 stamps; at least 1 must be asked for"));
        }
        let limit = self.limit(physical_ms)?;
        let first = self.last.checked_add(1).map(|next| next.max(physical_ms << 16));
        let last = first.and_then(|first| first.checked_add(u64::from(count) - 1));
        let (Some(first), Some(last)) = (first, last.filter(|last| *last <= limit)) else {
            return Err(Error::protocol(format!(
                "hlc: the stamps would run {} ms ahead of the physical clock, at most {} are allowed",
                ms(last.unwrap_or(u64::MAX)).saturating_sub(physical_ms),
                self.max_drift_ms
            )));
        };
        self.last = last;
        Ok(first)
    }

    /// [`Hlc::now_many`] with the stamps written out: 8 bytes each, big-endian, so that they sort as bytes. There are as many
    /// as fit `stamps`, whose length is a multiple of 8.
    pub fn now_packed(&mut self, physical_ms: u64, stamps: &mut [u8]) -> Result<()> {
        let (places, rest) = stamps.as_chunks_mut::<STAMP_LEN>();
        let (0, Ok(count)) = (rest.len(), u32::try_from(places.len())) else {
            return Err(Error::input(format!("hlc: {} bytes hold no number of stamps", stamps.len())));
        };
        let first = self.now_many(physical_ms, count)?;
        for (stamp, place) in (first..=self.last).zip(places) {
            *place = stamp.to_be_bytes();
        }
        Ok(())
    }

    /// Takes in the stamp of a received message; returns the stamp of the reception.
    pub fn update(&mut self, remote: u64, physical_ms: u64) -> Result<u64> {
        let limit = self.limit(physical_ms)?;
        let next = self.last.max(remote).checked_add(1).map(|next| next.max(physical_ms << 16));
        let Some(next) = next.filter(|next| remote <= limit && *next <= limit) else {
            return Err(Error::protocol(format!(
                "hlc: a remote stamp of {} ms and counter {}, {} ms ahead of the physical clock; at most {} are allowed",
                ms(remote),
                counter(remote),
                ms(remote).saturating_sub(physical_ms),
                self.max_drift_ms
            )));
        };
        self.last = next;
        Ok(next)
    }

    /// A stamp that none given within the next `ahead_ms` milliseconds of physical time exceeds. Made durable before, it is
    /// where the clock starts after a restart, however far behind the physical clock is then.
    pub fn upper_bound(&self, physical_ms: u64, ahead_ms: u64) -> Result<u64> {
        self.limit(physical_ms.saturating_add(ahead_ms)).map(|limit| limit.max(self.last))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const T: u64 = 1_800_000_000_000;

    #[test]
    fn cases() {
        let mut clock = Hlc::new(500, 0).unwrap();
        assert_eq!(clock.now(T).unwrap(), T << 16);
        assert_eq!(clock.now(T).unwrap(), T << 16 | 1, "frozen clock");
        assert_eq!(clock.now(T - 9).unwrap(), T << 16 | 2, "clock going back");
        assert_eq!(clock.now(T + 1).unwrap(), (T + 1) << 16);
        let remote = pack(T + 300, 7).unwrap();
        assert_eq!(clock.update(remote, T + 2).unwrap(), remote + 1, "remote ahead");
        assert_eq!(clock.update(pack(T, 0).unwrap(), T + 2).unwrap(), remote + 2, "remote behind");
        assert_eq!(clock.update(remote + 2, T + 2).unwrap(), remote + 3, "equal");
        assert_eq!(clock.now_many(T + 400, 10).unwrap(), (T + 400) << 16);
        assert_eq!(clock.last(), (T + 400) << 16 | 9);
    }

    #[test]
    fn hostile_and_skewed_stamps_are_refused_and_change_nothing() {
        let mut clock = Hlc::new(500, 0).unwrap();
        clock.now(T).unwrap();
        let before = clock.clone();
        let year_9999 = 253_402_300_799_000u64;
        for remote in [u64::MAX, year_9999 << 16, (T + 501) << 16, (T + 500) << 16 | COUNTER_MAX, (T + 5000) << 16] {
            assert!(matches!(clock.update(remote, T), Err(Error::Protocol(_))), "{remote:x}");
            assert_eq!(clock, before);
        }
        for skew in [100, 200, 250, 499] {
            Hlc::new(500, 0).unwrap().update((T + skew) << 16, T).unwrap();
        }
        assert!(clock.now(MS_MAX + 1).is_err() && clock.now_many(T, 0).is_err());
        assert!(clock.upper_bound(MS_MAX, 1).is_err() && clock.upper_bound(T, u64::MAX).is_err());
        assert!(Hlc::new(0, 0).is_err());
    }

    #[test]
    fn after_the_last_stamp_there_is_none() {
        let mut clock = Hlc::new(500, 0).unwrap();
        assert!(clock.now_many(MS_MAX, 0x10001).is_err());
        assert_eq!(clock.now_many(MS_MAX, 0x10000).unwrap(), MS_MAX << 16);
        assert_eq!(clock.last(), u64::MAX);
        let before = clock.clone();
        assert!(matches!(clock.now(MS_MAX), Err(Error::Protocol(_))));
        assert!(matches!(clock.update(0, MS_MAX), Err(Error::Protocol(_))));
        assert!(matches!(Hlc::new(500, 0).unwrap().update(u64::MAX, MS_MAX), Err(Error::Protocol(_))));
        assert_eq!(clock, before);
    }

    #[test]
    fn packed_stamps_are_those_of_a_range() {
        for count in [1, 2, 7, 64, 1000, 0x10000] {
            let (mut one, mut packed) = (Hlc::new(500, T << 16 | 5).unwrap(), Hlc::new(500, T << 16 | 5).unwrap());
            let mut bytes = vec![0; STAMP_LEN * count];
            packed.now_packed(T, &mut bytes).unwrap();
            let first = one.now_many(T, count as u32).unwrap();
            let expected: Vec<u8> = (first..first + count as u64).flat_map(u64::to_be_bytes).collect();
            assert_eq!((bytes, packed), (expected, one));
        }
        let mut clock = Hlc::new(500, 0).unwrap();
        let before = clock.clone();
        for (length, physical) in [(0, T), (7, T), (9, T), (16, MS_MAX + 1)] {
            assert!(clock.now_packed(physical, &mut vec![0; length]).is_err());
        }
        assert_eq!(clock, before);
        let mut end = Hlc::new(500, u64::MAX - 1).unwrap();
        let mut bytes = [0; 8];
        end.now_packed(MS_MAX, &mut bytes).unwrap();
        assert_eq!(bytes, [255; 8]);
        assert!(matches!(end.now_packed(MS_MAX, &mut bytes), Err(Error::Protocol(_))));
    }

    #[test]
    fn the_counter_carries_only_within_the_drift() {
        let mut clock = Hlc::new(1, 0).unwrap();
        clock.now_many(T, 0x10000).unwrap();
        assert_eq!(clock.now(T).unwrap(), (T + 1) << 16, "carried");
        assert!(clock.now_many(T, 0x10000).is_err());
        clock.now_many(T, 0xffff).unwrap();
        assert!(matches!(clock.now(T), Err(Error::Protocol(_))));
        assert!(clock.now(T + 1).is_ok());
    }

    #[test]
    fn the_last_stamp_of_all_is_given_once() {
        let mut clock = Hlc::new(500, u64::MAX - 1).unwrap();
        assert!(clock.now_many(MS_MAX, 2).is_err());
        assert_eq!(clock.now(MS_MAX).unwrap(), u64::MAX);
        let before = clock.clone();
        assert!(clock.now(MS_MAX).is_err() && clock.update(0, MS_MAX).is_err());
        assert_eq!(clock, before);
        let mut clock = Hlc::new(500, 0).unwrap();
        assert!(clock.update(u64::MAX, MS_MAX).is_err(), "nothing comes after it");
        assert!(clock.now_many(MS_MAX, 65_537).is_err());
        assert_eq!(clock.now_many(MS_MAX, 65_536).unwrap(), MS_MAX << 16);
        assert_eq!(clock.last(), u64::MAX);
    }

    #[test]
    fn a_restart_with_the_clock_behind_does_not_go_back() {
        let mut clock = Hlc::new(500, 0).unwrap();
        let bound = clock.upper_bound(T, 1000).unwrap();
        let last = (T..T + 1000).map(|t| clock.now(t).unwrap()).max().unwrap();
        assert!(last < bound);
        let mut resumed = Hlc::new(2000, bound).unwrap();
        assert!(resumed.now(T).unwrap() > last);
    }

    #[test]
    fn the_bound_is_never_below_what_was_given() {
        let mut clock = Hlc::new(500, 0).unwrap();
        let last = clock.now(T + 10_000).unwrap();
        // The physical clock was set back by ten seconds.
        let bound = clock.upper_bound(T, 1000).unwrap();
        assert!(bound >= last);
        assert!(Hlc::new(20_000, bound).unwrap().now(T).unwrap() > last);
    }

    proptest! {
        #[test]
        fn causes_come_before_effects_and_the_drift_is_bounded(
            events in proptest::collection::vec((0usize..3, 0usize..3, 0u64..40, 0i64..500), 1..200)
        ) {
            let mut clocks = vec![Hlc::new(500, 0).unwrap(); 3];
            let mut skews = [0i64; 3];
            let mut time = T;
            for (from, to, step, skew) in events {
                time += step;
                skews[from] = skew;
                let local = |at: usize, skews: &[i64; 3]| time.saturating_add_signed(skews[at]);
                let before = clocks[from].last();
                let Ok(sent) = clocks[from].now(local(from, &skews)) else { continue };
                prop_assert!(sent > before);
                prop_assert!(ms(sent) <= local(from, &skews) + 500);
                let state = clocks[to].clone();
                match clocks[to].update(sent, local(to, &skews)) {
                    Ok(received) => {
                        prop_assert!(received > sent && received > state.last());
                        prop_assert!(ms(received) <= local(to, &skews) + 500);
                    }
                    Err(_) => prop_assert_eq!(&clocks[to], &state),
                }
            }
        }
    }
}
