//! Ten million stamps of hybrid logical clocks whose physical clocks are wrong in every way that a nemesis of Jepsen makes
//! them: set ahead and back by 100, 200, 250, 500 ms and 5 s, strobing, frozen, behind after a restart; hostile stamps.

use city_chain_native::algorithms::tnh::{self, COUNTER_MAX, Hlc};

use crate::fuzzing::Noise;

const START_MS: u64 = 1_800_000_000_000;
const DRIFT_MS: u64 = 500;
const NODES: usize = 5;
const STAMPS: u64 = 10_000_000;
/// Ticks from one fault to the next.
const FAULT_EVERY: u64 = 1000;
const SKEWS_MS: [i64; 11] = [0, 100, -100, 200, -200, 250, -250, 500, -500, 5_000, -5_000];
/// For how long a durable bound reaches.
const REACH_MS: u64 = 50;

#[derive(Clone, Copy)]
enum Wall {
    Off(i64),
    Strobing(i64),
    Frozen(u64),
}

struct Node {
    clock: Hlc,
    wall: Wall,
    ticks: u64,
    /// What was made durable, and until which physical time it holds.
    bound: (u64, u64),
}

impl Node {
    fn physical(&mut self, true_ms: u64) -> u64 {
        self.ticks += 1;
        match self.wall {
            Wall::Off(skew) => true_ms.saturating_add_signed(skew),
            Wall::Strobing(skew) if self.ticks.is_multiple_of(2) => true_ms.saturating_add_signed(skew),
            Wall::Strobing(_) => true_ms,
            Wall::Frozen(at) => at,
        }
    }

    /// Makes a higher bound durable where the last one does not reach.
    fn secure(&mut self, physical: u64) {
        if physical > self.bound.1 || self.clock.last() >= self.bound.0 {
            let bound = self.clock.upper_bound(physical, REACH_MS).expect("a time of our days");
            self.bound = (bound, physical + REACH_MS);
        }
    }
}

#[derive(Default, Debug)]
struct Seen {
    stamps: u64,
    received: u64,
    refused: u64,
    hostile: u64,
    went_back: u64,
    carried: u64,
    restarts_behind: u64,
}

#[test]
fn ten_million_stamps_under_every_fault_of_a_clock() {
    let mut noise = Noise(8);
    let fresh = || Node { clock: Hlc::new(DRIFT_MS, 0).unwrap(), wall: Wall::Off(0), ticks: 0, bound: (0, 0) };
    let mut nodes: [Node; NODES] = std::array::from_fn(|_| fresh());
    let (mut seen, mut tick, mut passed_ms) = (Seen::default(), 0u64, 0);
    while seen.stamps < STAMPS {
        tick += 1;
        assert!(tick < 2 * STAMPS, "most stamps are refused: {seen:?}");
        let true_ms = START_MS + passed_ms + tick / 50;
        if tick.is_multiple_of(FAULT_EVERY) {
            passed_ms += noise.below(2_000) as u64;
            fault(&mut nodes[noise.below(NODES)], &mut noise, true_ms, &mut seen);
        }
        let (at, from) = (noise.below(NODES), noise.below(NODES));
        let message = nodes[from].clock.last();
        event(&mut nodes[at], message, true_ms, noise.below(100), &mut seen);
    }
    let Seen { received, refused, hostile, went_back, carried, restarts_behind, .. } = seen;
    let rarest = [received, refused, hostile, went_back, carried, restarts_behind].into_iter().min();
    assert!(rarest > Some(100), "{seen:?}");
}

/// A stamp of one's own, one of a reception, a run of many, or a hostile one that is refused.
fn event(node: &mut Node, message: u64, true_ms: u64, kind: usize, seen: &mut Seen) {
    let physical = node.physical(true_ms);
    node.secure(physical);
    let (before, last) = (node.clock.clone(), node.clock.last());
    seen.went_back += u64::from(physical < tnh::ms(last));
    let stamp = match kind {
        0 => {
            let far = [u64::MAX, (physical + DRIFT_MS + 1) << 16, (physical + DRIFT_MS) << 16 | COUNTER_MAX];
            assert!(far.iter().all(|remote| node.clock.update(*remote, physical).is_err()));
            seen.hostile += 1;
            assert_eq!(node.clock, before);
            return;
        }
        1 => node.clock.now_many(physical, 70_000),
        2..50 => node.clock.update(message, physical).inspect(|stamp| {
            assert!(*stamp > message, "the effect is stamped before its cause");
            seen.received += 1;
        }),
        _ => node.clock.now(physical),
    };
    let Ok(stamp) = stamp else {
        seen.refused += 1;
        assert_eq!(node.clock, before, "what is refused changes the clock");
        return;
    };
    assert!(stamp > last && node.clock.last() >= stamp, "{stamp} after {last}");
    assert!(tnh::ms(node.clock.last()) <= physical + DRIFT_MS, "{seen:?}");
    seen.carried += u64::from(tnh::ms(node.clock.last()) > physical.max(tnh::ms(last).max(tnh::ms(message))));
    seen.stamps += 1;
}

fn fault(node: &mut Node, noise: &mut Noise, true_ms: u64, seen: &mut Seen) {
    let skew = SKEWS_MS[noise.below(SKEWS_MS.len())];
    match noise.below(5) {
        0 => node.wall = Wall::Frozen(true_ms.saturating_add_signed(skew)),
        1 => node.wall = Wall::Strobing(skew),
        2 => {
            // Killed, and back with a clock that may be behind: it begins after what was made durable.
            let given = node.clock.last();
            assert!(node.bound.0 >= given, "a stamp was given above the bound");
            node.clock = Hlc::new(DRIFT_MS, node.bound.0).unwrap();
            node.wall = Wall::Off(skew);
            seen.restarts_behind += u64::from(true_ms.saturating_add_signed(skew) < tnh::ms(given));
        }
        _ => node.wall = Wall::Off(skew),
    }
}
