//! Twins (Bano, Sonnino, Chursin, Perelman, Li, Ching, Malkhi, "Twins: BFT systems made robust", OPODIS 2021) for HotStuff.
//!
//! f of n validators run twice, with the same key: two honest machines that know nothing of each other are one validator that
//! equivocates, votes twice and forgets. A scenario says for each of its rounds who leads it and into which groups the
//! network is cut; a message gets through within a group only, by the round that its sender is in, until the sender has
//! waited for the round's end twice: no round holds up those after it. After the scenario's rounds the network is whole.
//!
//! A scenario is a number: the phases of a round (leader × partition of all machines into at most three groups) are
//! numbered, and rounds are the digits. If there are more than are asked for, they are drawn: of four phases three are of
//! those in which some group holds a quorum, because in the others nothing is certified.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rayon::prelude::*;

use super::hotstuff::city;
use super::rng::Rng;
use crate::algorithms::hs::message::payload_digest;
use crate::algorithms::hs::{Config, Event, Evidence, HotStuff, Keys};
use crate::crypto::hash::Digest;
use crate::error::{Error, Result};
use crate::primitives::committee::Committee;
use crate::primitives::machine::{Action, Machine};
use crate::primitives::outbox::Effect;
use crate::primitives::wire;

/// The numbers of validators that there are scenarios for.
pub const VALIDATORS: std::ops::RangeInclusive<u16> = 4..=10;

/// Rounds whose leaders and partitions a scenario fixes.
pub const ROUNDS: usize = 5;

/// The most scenarios that one can ask for.
pub const SCENARIOS_MAX: u64 = 1_000_000_000;

/// Into how many groups the network is cut at most.
const GROUPS: u8 = 3;

/// Of so many scenarios one goes on after its rounds until all honest machines have committed more.
const HEALED_EVERY: u64 = 8;

/// What a healed network must commit.
const PROGRESS: u64 = 2;

/// Rounds in a row with the same first phases: what was signed in them is verified once.
const SHARED: u64 = 32;

const CHAIN: Digest = [0x77; 32];
const EPOCH: u64 = 1;
const GENESIS: Digest = [0x67; 32];

/// What scenarios came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Scenarios that were run.
    pub scenarios: u64,
    /// Blocks that honest machines committed.
    pub commits: u64,
    /// Times that an honest machine found a validator that signed two things.
    pub evidence: u64,
    /// Scenarios after which progress was required.
    pub healed: u64,
    /// Messages that reached a machine.
    pub messages: u64,
}

impl Report {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            scenarios: self.scenarios + other.scenarios,
            commits: self.commits + other.commits,
            evidence: self.evidence + other.evidence,
            healed: self.healed + other.healed,
            messages: self.messages + other.messages,
        }
    }
}

/// One round of a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Phase {
    leader: u16,
    /// The group of each machine.
    groups: Vec<u8>,
}

/// The scenarios for some validators: which there are, and those of a seed.
pub struct Twins {
    seed: u64,
    keys: Vec<Keys>,
    committee: Committee,
    /// The validator of each machine: all of them, then the second machines of the first f.
    places: Vec<u16>,
    faulty: u16,
    /// All partitions, those in which a group holds a quorum first.
    partitions: Vec<Vec<u8>>,
    with_quorum: usize,
}

impl Twins {
    /// The scenarios of `validators` validators, f of them twins, whose certificates are lists of signatures.
    ///
    /// # Errors
    /// [`Error::Input`] for numbers outside of [`VALIDATORS`].
    pub fn new(validators: u16, seed: u64) -> Result<Self> {
        Self::with(validators, seed, false)
    }

    /// The same scenarios with certificates of one signature.
    ///
    /// # Errors
    /// As [`Twins::new`].
    pub fn with_aggregates(validators: u16, seed: u64) -> Result<Self> {
        Self::with(validators, seed, true)
    }

    fn with(validators: u16, seed: u64, aggregates: bool) -> Result<Self> {
        if !VALIDATORS.contains(&validators) {
            return Err(Error::input(format!("twins: {validators} validators, 4 to 10 are allowed")));
        }
        let faulty = (validators - 1) / 3;
        let (keys, committee) = city(validators, aggregates)?;
        let places: Vec<u16> = (0..validators).chain(0..faulty).collect();
        let mut partitions = Vec::new();
        partition(&mut vec![0; places.len()], 1, 1, &mut partitions);
        let quorum = usize::from(validators - faulty);
        let holds = |groups: &Vec<u8>| (0..GROUPS).any(|group| members_of(groups, &places, group) >= quorum);
        let (mut first, rest): (Vec<_>, Vec<_>) = partitions.into_iter().partition(holds);
        let with_quorum = first.len();
        first.extend(rest);
        Ok(Self { seed, keys, committee, places, faulty, partitions: first, with_quorum })
    }

    /// How many phases a round can have.
    pub fn phases(&self) -> u64 {
        (self.partitions.len() * self.keys.len()) as u64
    }

    /// How many scenarios there are.
    pub fn count(&self) -> u128 {
        (0..ROUNDS).fold(1, |count: u128, _| count.saturating_mul(u128::from(self.phases())))
    }

    fn phase(&self, number: u64) -> Phase {
        let (partitions, leaders) = (self.partitions.len() as u64, self.keys.len() as u64);
        let groups = self.partitions[(number / leaders % partitions) as usize].clone();
        Phase { leader: (number % leaders) as u16, groups }
    }

    fn draw(&self, rng: &mut Rng) -> Phase {
        let leaders = self.keys.len() as u64;
        let partitions = if rng.below(4) == 0 { self.partitions.len() } else { self.with_quorum };
        self.phase(rng.below(partitions as u64 * leaders))
    }

    /// The scenario of a number, of `scenarios` that are asked for.
    fn scenario(&self, number: u64, scenarios: u64) -> Vec<Phase> {
        if self.count() <= u128::from(scenarios) {
            let digit = |at: usize| u128::from(number) / u128::from(self.phases()).pow(at as u32);
            return (0..ROUNDS).map(|at| self.phase((digit(at) % u128::from(self.phases())) as u64)).collect();
        }
        let mut shared = Rng::new(self.seed, "twins: first rounds", number / SHARED);
        let mut own = Rng::new(self.seed, "twins: last rounds", number);
        (0..ROUNDS).map(|at| self.draw(if at < ROUNDS / 2 { &mut shared } else { &mut own })).collect()
    }

    /// Runs scenario `number` of `scenarios`.
    ///
    /// # Errors
    /// [`Error::Protocol`] if honest machines disagree or one is accused, or a healed network makes no progress. The message
    /// says which scenario it was.
    pub fn run(&self, number: u64, scenarios: u64) -> Result<Report> {
        let phases = self.scenario(number, scenarios);
        let outcome = World::new(self, &phases).and_then(|mut world| {
            world.go(|world| world.all_past(ROUNDS as u64), ROUNDS as u64 * 8)?;
            if number.is_multiple_of(HEALED_EVERY) {
                world.heal()?;
            }
            Ok(world.report)
        });
        outcome.map_err(|error| {
            let (validators, seed) = (self.keys.len(), self.seed);
            let replay = if self.committee.aggregates().is_some() {
                format!("sim.twins({validators}, {scenarios}, {seed}, only={number}, aggregates=True) in Python")
            } else {
                format!(
                    "city-chain lab twins --validators {validators} --scenarios {scenarios} --seed {seed} --only {number}"
                )
            };
            Error::protocol(format!("twins: {error}; {phases:?}; replay: {replay}"))
        })
    }

    /// Runs the scenarios of a range of numbers on all cores.
    ///
    /// # Errors
    /// As [`Twins::run`], for one of those that fail.
    pub fn run_all(&self, numbers: std::ops::Range<u64>, scenarios: u64) -> Result<Report> {
        let run = |number| self.run(number, scenarios);
        numbers.into_par_iter().map(run).try_reduce(Report::default, |one, other| Ok(one.and(other)))
    }
}

/// All ways to cut the machines from `at` on, those before being cut into `used` groups.
fn partition(groups: &mut Vec<u8>, at: usize, used: u8, all: &mut Vec<Vec<u8>>) {
    if at == groups.len() {
        return all.push(groups.clone());
    }
    for group in 0..(used + 1).min(GROUPS) {
        groups[at] = group;
        partition(groups, at + 1, used.max(group + 1), all);
    }
}

/// How many validators have a machine in a group.
fn members_of(groups: &[u8], places: &[u16], group: u8) -> usize {
    let mut members: Vec<u16> = places.iter().zip(groups).filter(|(_, of)| **of == group).map(|(at, _)| *at).collect();
    members.sort_unstable();
    members.dedup();
    members.len()
}

struct Instance {
    place: u16,
    honest: bool,
    machine: HotStuff,
    deadline: u64,
    /// A round, and how often it has waited for the end of that in vain.
    waited: (u64, u32),
    last: (Digest, u64),
}

impl Instance {
    /// Its time is up once more.
    fn waits(&mut self) {
        let round = self.machine.round();
        self.waited = if self.waited.0 == round { (round, self.waited.1 + 1) } else { (round, 1) };
    }
}

/// A message on its way: from and to which machine.
type Letter = (usize, usize, Arc<Vec<u8>>);

struct World<'a> {
    twins: &'a Twins,
    phases: &'a [Phase],
    instances: Vec<Instance>,
    queue: VecDeque<Letter>,
    now: u64,
    heights: BTreeMap<u64, Digest>,
    report: Report,
}

impl<'a> World<'a> {
    fn new(twins: &'a Twins, phases: &'a [Phase]) -> Result<Self> {
        let count = twins.keys.len() as u16;
        let leaders = std::iter::once(0).chain(phases.iter().map(|phase| phase.leader));
        let config = Config {
            timeout_us: 1000,
            timeout_max_us: 1000,
            leaders: leaders.chain((0..8).flat_map(|_| (0..count).rev())).collect(),
            ..Config::default()
        };
        let instance = |place: &u16| {
            let (key, committee) = (twins.keys[usize::from(*place)].clone(), twins.committee.clone());
            let machine = HotStuff::new(CHAIN, EPOCH, committee, key, GENESIS, config.clone())?;
            let honest = *place >= twins.faulty;
            Ok(Instance { place: *place, honest, machine, deadline: u64::MAX, waited: (0, 0), last: (GENESIS, 0) })
        };
        let instances = twins.places.iter().map(instance).collect::<Result<Vec<_>>>()?;
        let report = Report { scenarios: 1, ..Report::default() };
        let (queue, heights) = (VecDeque::new(), BTreeMap::new());
        let mut world = Self { twins, phases, instances, queue, now: 0, heights, report };
        for at in 0..world.instances.len() {
            world.instances[at].machine.start(0)?;
            world.settle(at)?;
        }
        Ok(world)
    }

    fn honest(&self) -> impl Iterator<Item = &Instance> {
        self.instances.iter().filter(|instance| instance.honest)
    }

    fn all_past(&self, round: u64) -> bool {
        self.honest().all(|instance| instance.machine.round() > round)
    }

    /// Delivers messages, and lets time pass whenever there are none, until `done` or time has passed `passes` times.
    fn go(&mut self, done: impl Fn(&Self) -> bool, passes: u64) -> Result<()> {
        for _ in 0..passes {
            while let Some((from, to, message)) = self.queue.pop_front() {
                self.report.messages += 1;
                let (place, now) = (self.instances[from].place, self.now);
                // What is refused here is what honest machines refuse from twins.
                let _ = self.instances[to].machine.handle(place, &message, now);
                self.settle(to)?;
                if done(self) {
                    return Ok(());
                }
            }
            let next = self.instances.iter().map(|instance| instance.deadline).min();
            self.now = next.unwrap_or(self.now).max(self.now + 1);
            for at in 0..self.instances.len() {
                if self.instances[at].deadline <= self.now {
                    self.instances[at].waits();
                    self.instances[at].machine.tick(self.now)?;
                    self.settle(at)?;
                }
            }
        }
        Ok(())
    }

    /// After the scenario's rounds the network is whole: every honest machine commits more.
    fn heal(&mut self) -> Result<()> {
        self.phases = &[];
        let goals: Vec<u64> = self.honest().map(|instance| instance.last.1 + PROGRESS).collect();
        let done = |world: &Self| world.honest().zip(&goals).all(|(instance, goal)| instance.last.1 >= *goal);
        self.go(done, 400)?;
        if !done(self) {
            let rounds: Vec<u64> = self.instances.iter().map(|instance| instance.machine.round()).collect();
            return Err(Error::protocol(format!("no progress in a network that is whole again, in rounds {rounds:?}")));
        }
        self.report.healed += 1;
        Ok(())
    }

    /// Carries out what a machine asks for.
    fn settle(&mut self, at: usize) -> Result<()> {
        loop {
            let effects = self.instances[at].machine.drain();
            if effects.is_empty() {
                return Ok(());
            }
            for effect in effects {
                match effect {
                    Effect::Persist { ticket, .. } => self.instances[at].machine.durable(ticket)?,
                    Effect::Output(Action::Send { to, message }) => self.post(at, Some(to), message),
                    Effect::Output(Action::Broadcast { message }) => self.post(at, None, message),
                    Effect::Output(Action::Deadline { at: deadline }) => self.instances[at].deadline = deadline,
                    Effect::Output(Action::Event(event)) => self.happened(at, event)?,
                }
            }
        }
    }

    /// Sends to both machines of a validator, or of all others, as far as they are in the sender's group.
    fn post(&mut self, from: usize, to: Option<u16>, message: Vec<u8>) {
        let round = self.instances[from].machine.round();
        let cut = self.instances[from].waited < (round, 2);
        let phase = round.checked_sub(1).filter(|_| cut).and_then(|at| self.phases.get(usize::try_from(at).ok()?));
        let (message, me) = (Arc::new(message), self.instances[from].place);
        for (at, other) in self.instances.iter().enumerate() {
            let addressed = to.map_or(other.place != me, |to| to == other.place);
            if addressed && phase.is_none_or(|phase| phase.groups[from] == phase.groups[at]) {
                self.queue.push_back((from, at, Arc::clone(&message)));
            }
        }
    }

    fn happened(&mut self, at: usize, event: Event) -> Result<()> {
        let now = self.now;
        let instance = &mut self.instances[at];
        match event {
            Event::NeedPayload { round, .. } => {
                // Each machine of a twin proposes something else.
                let payload = [&round.to_le_bytes()[..], &[at as u8]].concat();
                // Several may be asked for before the first is answered; then only the last is still open.
                let _ = instance.machine.propose(payload, now);
                Ok(())
            }
            Event::ValidatePayload { block, .. } => instance.machine.payload_result(block, true, now),
            Event::Evidence(bytes) if instance.honest => {
                let evidence: Evidence = wire::decode(&bytes)?;
                let guilty = evidence.verify(&self.twins.committee, &CHAIN, EPOCH)?;
                self.report.evidence += 1;
                if guilty < self.twins.faulty {
                    return Ok(());
                }
                Err(Error::protocol(format!("validator {guilty} is honest and accused")))
            }
            Event::Commit { block, payload, proof } if instance.honest => {
                let proven = proof.verify(&self.twins.committee, &CHAIN, EPOCH)?;
                let parent = proof.header().map(|header| header.parent);
                if parent != Some(instance.last.0) || proven != payload_digest(&payload) {
                    return Err(Error::protocol(
                        "a commit that does not follow the one before, or is of something else",
                    ));
                }
                instance.last = (block, instance.last.1 + 1);
                self.report.commits += 1;
                if *self.heights.entry(instance.last.1).or_insert(block) != block {
                    let (height, place) = (instance.last.1, instance.place);
                    return Err(Error::protocol(format!("fork at height {height}, seen by validator {place}")));
                }
                Ok(())
            }
            Event::Evidence(_) | Event::Commit { .. } | Event::EnteredRound { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_partitions_are_there_once() {
        for (validators, count, quorum) in [(4, 41, 11), (7, 3281, 0)] {
            let twins = Twins::new(validators, 1).unwrap();
            assert_eq!(twins.partitions.len(), count, "S(m, 1) + S(m, 2) + S(m, 3)");
            let mut sorted = twins.partitions.clone();
            sorted.sort();
            sorted.dedup();
            assert_eq!(sorted.len(), count);
            assert!(twins.with_quorum > quorum && twins.with_quorum < count);
            assert_eq!(twins.phases(), count as u64 * u64::from(validators));
        }
        assert!(Twins::new(3, 1).is_err() && Twins::new(11, 1).is_err());
    }

    #[test]
    fn a_number_is_a_scenario() {
        let twins = Twins::new(4, 9).unwrap();
        assert_eq!(twins.scenario(5, 100), twins.scenario(5, 100));
        assert_ne!(twins.scenario(5, 100), twins.scenario(6, 100));
        let all = |number| twins.scenario(number, u64::MAX);
        assert_eq!(all(0)[0], twins.phase(0));
        assert_eq!(all(twins.phases() + 3)[..2], [twins.phase(3), twins.phase(1)]);
    }

    #[test]
    fn honest_machines_agree_beside_twins() {
        for (validators, scenarios) in [(4, 300), (7, 60)] {
            let report = Twins::new(validators, 1).unwrap().run_all(0..scenarios, scenarios).unwrap();
            assert_eq!((report.scenarios, report.healed), (scenarios, scenarios.div_ceil(HEALED_EVERY)));
            assert!(report.commits > scenarios && report.evidence > 0, "{report:?}");
        }
    }

    #[test]
    fn the_form_of_certificates_changes_nothing_of_what_is_agreed() {
        let list = Twins::new(4, 1).unwrap().run_all(0..120, 120).unwrap();
        assert_eq!(Twins::with_aggregates(4, 1).unwrap().run_all(0..120, 120).unwrap(), list);
    }
}
