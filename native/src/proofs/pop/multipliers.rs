//! Multipliers: what a municipality weighs, and what an event adds to it while it lasts. Integers in basis points.
//!
//! **Overlaps.** All events that are in force multiply: from the municipality's own multiplier on, for each event in the
//! order of the table `value = value × bp / 10,000`, rounded down. The table sorts its events (municipality, start, end,
//! basis points; those for everywhere first), so that the order they were given in changes nothing. An event is in force
//! from its first millisecond to before its last: at the moment one ends and the next begins there is one.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};

use super::geojson::check_name;
use super::map::NAME_MAX;
use crate::crypto::hash::{self, Digest};
use crate::error::{Error, Result};
use crate::primitives::mutant::mutant;
use crate::primitives::wire::{self, List, Record, Text};

/// One, in basis points.
pub const ONE: u64 = 10_000;

/// The most basis points of one multiplier: a hundredfold.
pub const BP_MAX: u32 = 1_000_000;

/// The most basis points that a municipality may come to at any moment.
pub const WEIGHT_MAX: u64 = 1_000_000_000;

/// The most municipalities with a multiplier of their own.
pub const CITIES_MAX: usize = 1 << 18;

/// The most events of a table.
pub const EVENTS_MAX: usize = 1024;

const ROOT_CONTEXT: &str = "city-chain v1 place multipliers";

/// An event: what multiplies the weight of a municipality, or of all, for a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    /// Where; everywhere if `None`.
    pub municipality: Option<String>,
    /// From this moment on, milliseconds since 1970 (UTC).
    pub from_ms: u64,
    /// To before this one.
    pub until_ms: u64,
    /// By how much, basis points.
    pub bp: u32,
}

impl Event {
    fn is_in_force(&self, at_ms: u64) -> bool {
        self.from_ms <= at_ms && (at_ms < self.until_ms || mutant!("pop.event_end") && at_ms == self.until_ms)
    }
}

/// A table of multipliers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Multipliers {
    cities: BTreeMap<String, u32>,
    events: Vec<Event>,
}

impl Multipliers {
    /// A table; those of municipalities that are not named are one.
    ///
    /// Refuses multipliers above [`BP_MAX`], windows of no time, events that come twice, and a table by which a
    /// municipality passes [`WEIGHT_MAX`] at any moment.
    pub fn new(cities: impl IntoIterator<Item = (String, u32)>, events: Vec<Event>) -> Result<Self> {
        let mut table = Self { cities: BTreeMap::new(), events };
        for (name, bp) in cities {
            check(&name, bp)?;
            if table.cities.contains_key(&name) {
                return Err(wrong(format!("{name:?} comes twice")));
            }
            table.cities.insert(name, bp);
            if table.cities.len() > CITIES_MAX {
                return Err(wrong(format!("more than {CITIES_MAX} municipalities, which is the most")));
            }
        }
        table.check_events()?;
        table.events.sort_unstable();
        if let Some(pair) = table.events.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(wrong(format!("the event {:?} comes twice", pair[0])));
        }
        table.check_weights()?;
        Ok(table)
    }

    fn check_events(&self) -> Result<()> {
        if self.events.len() > EVENTS_MAX {
            return Err(wrong(format!("{} events, at most {EVENTS_MAX} are allowed", self.events.len())));
        }
        for event in &self.events {
            check(event.municipality.as_deref().unwrap_or("everywhere"), event.bp)?;
            if event.from_ms >= event.until_ms {
                let (from, until) = (event.from_ms, event.until_ms);
                return Err(wrong(format!("an event from {from} to before {until} ms, which is no time at all")));
            }
        }
        Ok(())
    }

    /// Weights grow only where an event begins, so these moments are enough.
    fn check_weights(&self) -> Result<()> {
        let moments: BTreeSet<u64> = self.events.iter().map(|event| event.from_ms).collect();
        let named = self.events.iter().filter_map(|event| event.municipality.as_deref());
        // Those without events of their own weigh at most what the heaviest of them does.
        let with_events: BTreeSet<&str> = named.collect();
        let others = self.cities.iter().filter(|(name, _)| !with_events.contains(name.as_str()));
        let heaviest = others.max_by_key(|(_, bp)| **bp).map(|(name, _)| name.as_str());
        for name in with_events.iter().copied().chain(heaviest).chain(["\u{0}"]) {
            let here: Vec<&Event> = self.events_of(name).collect();
            for moment in &moments {
                self.product(name, *moment, here.iter().copied())?;
            }
        }
        Ok(())
    }

    fn events_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Event> {
        self.events.iter().filter(move |event| event.municipality.as_deref().is_none_or(|place| place == name))
    }

    fn product<'a>(&self, name: &str, at_ms: u64, events: impl Iterator<Item = &'a Event>) -> Result<u64> {
        let own = self.cities.get(name).map_or(ONE, |bp| u64::from(*bp));
        events.filter(|event| event.is_in_force(at_ms)).try_fold(own, |value, event| {
            let value = scaled(value, u64::from(event.bp))?;
            if value > WEIGHT_MAX {
                return Err(wrong(format!("{name:?} comes to more than {WEIGHT_MAX} basis points at {at_ms} ms")));
            }
            Ok(value)
        })
    }

    /// What a municipality weighs at a moment, basis points.
    pub fn weight(&self, municipality: &str, at_ms: u64) -> Result<u64> {
        self.product(municipality, at_ms, self.events_of(municipality))
    }

    /// A weight times what its municipality weighs, rounded down.
    pub fn apply(&self, weight: u64, municipality: &str, at_ms: u64) -> Result<u64> {
        scaled(weight, self.weight(municipality, at_ms)?)
    }

    /// The multipliers of municipalities, by name.
    pub fn cities(&self) -> &BTreeMap<String, u32> {
        &self.cities
    }

    /// The events in the order in which they multiply.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let cities = self.cities.iter().map(|(name, bp)| Ok((Text::new("name", name.as_str())?, *bp)));
        let event = |event: &Event| {
            let place = event.municipality.as_deref().map(|name| Text::new("name", name)).transpose()?;
            Ok(EncodedEvent { place, from_ms: event.from_ms, until_ms: event.until_ms, bp: event.bp })
        };
        wire::encode(&Encoded {
            cities: List::new("cities", cities.collect::<Result<Vec<_>>>()?)?,
            events: List::new("events", self.events.iter().map(event).collect::<Result<Vec<_>>>()?)?,
        })
    }

    /// The table of its bytes; there is one encoding of each.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let encoded: Encoded = wire::decode(bytes)?;
        let cities = encoded.cities.into_vec().into_iter().map(|(name, bp)| (name.to_string(), bp));
        let events = encoded.events.into_vec().into_iter().map(|event| Event {
            municipality: event.place.map(|name| name.to_string()),
            from_ms: event.from_ms,
            until_ms: event.until_ms,
            bp: event.bp,
        });
        let table = Self::new(cities, events.collect())?;
        if table.to_bytes()? != bytes {
            return Err(wrong("its bytes are not in their canonical form".into()));
        }
        Ok(table)
    }

    /// What stands for the table.
    pub fn root(&self) -> Result<Digest> {
        Ok(hash::digest(ROOT_CONTEXT, &self.to_bytes()?))
    }
}

fn wrong(what: String) -> Error {
    Error::input(format!("multipliers: {what}"))
}

fn check(name: &str, bp: u32) -> Result<()> {
    check_name(name).map_err(wrong)?;
    if bp > BP_MAX {
        return Err(wrong(format!("{bp} basis points for {name:?}, at most {BP_MAX} are allowed")));
    }
    Ok(())
}

/// A value times basis points, rounded down.
fn scaled(value: u64, bp: u64) -> Result<u64> {
    let scaled = u128::from(value) * u128::from(bp) / u128::from(ONE);
    u64::try_from(scaled).map_err(|_| wrong(format!("{value} times {bp} basis points is more than 2^64 - 1")))
}

/// The encoding of a table.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Encoded {
    cities: List<(Text<NAME_MAX>, u32), CITIES_MAX>,
    events: List<EncodedEvent, EVENTS_MAX>,
}

#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct EncodedEvent {
    place: Option<Text<NAME_MAX>>,
    from_ms: u64,
    until_ms: u64,
    bp: u32,
}

impl Record for Encoded {
    const TAG: [u8; 4] = *b"CCpm";
    const VERSION: u16 = 1;
    const NAME: &'static str = "multipliers";
    const LEN_MAX: usize = 1 << 25;
}
