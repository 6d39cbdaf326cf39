//! What agreement must survive. Every scenario runs with some seeds (`CITY_CHAIN_SEEDS=20`: 20 times as many) in two modes:
//! safety, where nothing is ever quiet, and liveness, where faults stop and progress is required.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::super::many::each_seed;
use super::super::{Crash, Failure, Faults, Limits, Moment, Network, Partition, Point, Simulation, Slow, Storm};
use super::*;

mod aggregates;

/// One second, µs.
const S: u64 = 1_000_000;

type Attacks = Vec<(u16, Attack)>;

type Outcome = std::result::Result<Simulation, Failure>;

fn simulation(seed: u64, nodes: u16, network: Network, faults: Faults, attacks: Attacks) -> Simulation {
    configured(seed, nodes, network, faults, attacks, Config::default())
}

fn configured(seed: u64, nodes: u16, network: Network, faults: Faults, attacks: Attacks, config: Config) -> Simulation {
    let attacks: BTreeMap<u16, Attack> = attacks.into_iter().collect();
    let validators = Validators::new(seed, nodes, config, attacks).unwrap();
    let limits = Limits { digest: false, rows: 0, ..Limits::default() };
    Simulation::new(seed, nodes, network, faults, validators).unwrap().with_limits(limits)
}

fn storm(end: u64, at_once: u16) -> Faults {
    let storm = Storm { begin: 0, end, every: S / 8, down: S / 4, at_once };
    Faults { crashes: Vec::new(), storm: Some(storm) }
}

/// Loss, duplicates, reordering, a partition in two halves, and crashes, all the time: nothing but safety.
fn safety(seed: u64, nodes: u16, attacks: Attacks) -> Outcome {
    let halves = vec![(0..nodes / 2).collect(), (nodes / 2..nodes).collect()];
    let cut = Partition { begin: S / 2, end: S, groups: halves, holds: seed.is_multiple_of(2) };
    let network = Network { partitions: vec![cut], ..Network::hostile() };
    let mut run = simulation(seed, nodes, network, storm(2 * S, nodes / 2), attacks);
    run.run(2 * S)?;
    Ok(run)
}

/// The same for half a second; then the network is calm and everybody up, but for the adversaries: all honest nodes commit.
fn liveness(seed: u64, nodes: u16, attacks: Attacks) -> Outcome {
    let network = Network { calm: Some(S / 2), ..Network::hostile() };
    let mut run = simulation(seed, nodes, network, storm(S / 2, 1), attacks);
    run.progress(4, 60 * S)?;
    Ok(run)
}

/// Both modes with 4 and 7 nodes, of which the last one or two attack.
fn survives(seeds: u64, attack: &Attack) {
    for (nodes, faulty) in [(4, 1), (7, 2)] {
        let attacks = || (nodes - faulty..nodes).map(|node| (node, attack.clone())).collect::<Vec<_>>();
        each_seed(1, seeds, |seed| safety(seed, nodes, attacks()).map(drop)).unwrap();
        each_seed(1000, seeds, |seed| liveness(seed, nodes, attacks()).map(drop)).unwrap();
    }
}

/// How many rounds honest nodes accused each, over some seeds.
fn accused(attack: &Attack, node: u16) -> u64 {
    let run = |seed| {
        let mut run = simulation(seed, 4, Network::default(), Faults::none(), vec![(node, attack.clone())]);
        run.progress(8, 60 * S)?;
        Ok((0..4).map(|of| run.trace().notes(of, "evidence")).sum::<u64>())
    };
    each_seed(1, 4, run).unwrap().into_iter().sum()
}

#[test]
fn an_honest_city_commits_in_five_hops_with_two_messages_a_validator() {
    for nodes in [4u16, 7] {
        let mut run = simulation(1, nodes, Network::exact(1000), Faults::none(), Vec::new());
        run.run(100_500).unwrap();
        let decided = run.agreement().slots();
        // Proposal, vote, proposal, vote, proposal: the block of round r, proposed at 2(r − 1) ms, is committed 5 ms later.
        let first = run.agreement().of_node(1).unwrap().get(&1).copied();
        assert!(first.is_some_and(|at| (4000..=5000).contains(&at)), "{first:?}");
        assert!(decided.len() >= 46, "{}", decided.len());
        let count = |kind| run.trace().messages_of(kind).messages;
        let blocks = count(*b"CChb") / u64::from(nodes - 1);
        assert_eq!(count(*b"CChb"), blocks * u64::from(nodes - 1));
        assert!(count(*b"CChv").abs_diff(blocks * u64::from(nodes - 1)) <= u64::from(nodes));
        assert_eq!(count(*b"CCht") + count(*b"CChs") + count(*b"CCha"), 0);
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let digest = |seed| {
        let validators = Validators::new(1, 4, Config::default(), BTreeMap::from([(3, Attack::TwoProposals)])).unwrap();
        let mut run = Simulation::new(seed, 4, Network::hostile(), storm(S, 2), validators).unwrap();
        run.run(S).unwrap();
        run.trace().digest().unwrap()
    };
    assert_eq!(digest(5), digest(5));
    assert_ne!(digest(5), digest(6));
}

#[test]
fn crashes_loss_duplicates_reordering_and_a_partition() {
    for nodes in [1, 2, 4, 7, 10] {
        each_seed(1, 3, |seed| safety(seed, nodes, Vec::new()).map(drop)).unwrap();
        each_seed(1, 3, |seed| liveness(seed, nodes, Vec::new()).map(drop)).unwrap();
    }
}

/// flow-go #105: two proposals of a leader crash nobody.
#[test]
fn an_equivocating_leader() {
    survives(3, &Attack::TwoProposals);
    assert!(accused(&Attack::TwoProposals, 2) > 0, "somebody saw both");
}

#[test]
fn equivocating_voters() {
    survives(3, &Attack::TwoVotes);
    assert!(accused(&Attack::TwoVotes, 1) > 0);
}

#[test]
fn two_timeouts_of_one_author() {
    survives(3, &Attack::TwoTimeouts);
}

#[test]
fn silent_leaders_in_a_row() {
    survives(3, &Attack::Silent(None));
    let silent = (1..4).map(|node| (node, Attack::Silent(None))).collect::<Vec<_>>();
    each_seed(1, 8, |seed| liveness(seed, 10, silent.clone()).map(drop)).unwrap();
}

/// malachite #956: a lock that one replica alone has, again and again, must not stop the others.
#[test]
fn a_certificate_shown_to_one_replica() {
    survives(3, &Attack::Withholds);
}

#[test]
fn stale_oversized_mixed_epoch_and_lying_timeout_certificates() {
    survives(3, &Attack::BadTimeoutCertificates);
}

#[test]
fn inflated_rounds_on_old_certificates() {
    survives(3, &Attack::InflatedRounds);
}

#[test]
fn unknown_parents() {
    survives(3, &Attack::UnknownParents);
}

#[test]
fn votes_after_timeouts() {
    survives(3, &Attack::VotesAfterTimeout);
}

#[test]
fn replays_from_round_0() {
    survives(3, &Attack::Replays);
}

#[test]
fn replays_from_another_chain_and_another_epoch() {
    let recording = Recording::default();
    let listener = vec![(3, Attack::Silent(Some(Arc::clone(&recording))))];
    simulation(77, 4, Network::hostile(), Faults::none(), listener).run(3 * S).unwrap();
    let mut foreign = lock(&recording).clone();
    assert!(foreign.len() > 50, "{}", foreign.len());
    // The same validators, chain and payloads in another epoch.
    for message in foreign.clone() {
        foreign.extend(of_epoch(&message, EPOCH + 1));
    }
    for seed in 1..6 {
        let attacks = vec![(3, Attack::Foreign(Arc::new(Mutex::new(foreign.clone()))))];
        safety(seed, 4, attacks.clone()).unwrap();
        liveness(seed, 4, attacks).unwrap();
    }
}

/// A message of the chain of seed 1, signed again by its author for another epoch.
fn of_epoch(message: &[u8], epoch: u64) -> Option<Vec<u8>> {
    use crate::algorithms::hs::message::{Message, Timeout, Vote};
    let shared = Validators::new(1, 4, Config::default(), BTreeMap::new()).unwrap().shared;
    let key = |place: u16| shared.keys[usize::from(place)].signing.clone();
    match Message::decode(message).unwrap() {
        Message::Vote(vote) => {
            let made = Vote::new(&key(vote.voter), shared.chain, epoch, vote.round, vote.block, vote.voter);
            wire::encode(&Vote { epoch: EPOCH, ..made }).ok()
        }
        Message::Timeout(timeout) => {
            let at = (shared.chain, epoch, timeout.round);
            let made = Timeout::new(&key(timeout.voter), at, timeout.high_qc, timeout.tc, timeout.voter);
            wire::encode(&Timeout { epoch: EPOCH, ..made }).ok()
        }
        _ => None,
    }
}

#[test]
fn two_halves_then_healed() {
    for holds in [false, true] {
        each_seed(1, 12, |seed| {
            let cut = Partition { begin: S / 4, end: 3 * S, groups: vec![vec![0, 1], vec![2, 3]], holds };
            let network = Network { partitions: vec![cut], ..Network::default() };
            let mut run = simulation(seed, 4, network, Faults::none(), Vec::new());
            run.run(S / 2)?;
            let before = run.agreement().slots().len();
            run.run(3 * S)?;
            assert_eq!(run.agreement().slots().len(), before, "two of four commit nothing");
            run.progress(10, 60 * S)
        })
        .unwrap();
    }
}

#[test]
fn a_crash_at_every_point_around_every_write() {
    let points = [Point::Persist, Point::Durable, Point::Send, Point::Step];
    let groups = [0, 17, 34, 51].map(|first| points.map(|point| (first, point)));
    for (first, point) in groups.concat() {
        each_seed(first, 3, |seed| {
            let (node, k) = ((seed % 4) as u16, seed / 2);
            for when in [Moment::Before(point, k), Moment::After(point, k)] {
                let writes = matches!(point, Point::Persist | Point::Durable);
                let network = if writes { Network::default() } else { Network { calm: Some(S), ..Network::hostile() } };
                let mut run = simulation(seed, 4, network, Faults::crash(node, when, 30_000), Vec::new());
                run.run(S)?;
                run.progress(4, 60 * S)?;
            }
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn a_crash_around_every_write_beside_an_equivocating_leader() {
    each_seed(0, 40, |seed| {
        let crash =
            |node, k| Crash { node, when: Moment::After(Point::Persist, k), restart: Some(20_000), wiped: false };
        let crashes = vec![crash(0, seed), crash(1, seed / 2), crash(2, seed / 3)];
        let attacks = vec![(3, Attack::TwoProposals)];
        let mut run = simulation(seed, 4, Network::default(), Faults { crashes, storm: None }, attacks);
        run.run(2 * S)?;
        run.progress(4, 60 * S)
    })
    .unwrap();
}

/// sui #18009: who lost the journal signs nothing.
#[test]
fn a_lost_journal_makes_an_observer() {
    each_seed(1, 20, |seed| {
        let wiped = Crash { node: 2, when: Moment::At(S / 20 + seed * 1000), restart: Some(10_000), wiped: true };
        let faults = Faults { crashes: vec![wiped], storm: None };
        let mut run = simulation(seed, 4, Network::default(), faults, Vec::new());
        run.run(S / 10)?;
        let signed = |run: &Simulation| {
            let of = |kind: &[u8; 4]| run.trace().sent().get(&(2, *kind)).map_or(0, |count| count.messages);
            of(b"CChb") + of(b"CChv") + of(b"CCht")
        };
        let before = signed(&run);
        run.progress(20, 60 * S)?;
        assert_eq!(signed(&run), before, "it watches: what it has signed before it does not know");
        Ok(())
    })
    .unwrap();
}

#[test]
fn all_restart_at_once() {
    each_seed(1, 20, |seed| {
        let crash = |node| Crash { node, when: Moment::At(S / 2 + seed * 311), restart: Some(50_000), wiped: false };
        let faults = Faults { crashes: (0..4).map(crash).collect(), storm: None };
        let mut run = simulation(seed, 4, Network::default(), faults, Vec::new());
        run.run(S / 2)?;
        assert!(!run.agreement().slots().is_empty());
        run.progress(10, 60 * S)
    })
    .unwrap();
}

#[test]
fn one_is_slow_and_one_comes_back_late() {
    each_seed(1, 10, |seed| {
        let slow = Slow { node: 1, begin: 0, end: 2 * S, extra: 150_000 };
        let network = Network { slow: vec![slow], ..Network::default() };
        let crash = Crash { node: 0, when: Moment::At(S / 4), restart: Some(3 * S), wiped: false };
        let mut run = simulation(seed, 4, network, Faults { crashes: vec![crash], storm: None }, Vec::new());
        run.progress(10, 60 * S)
    })
    .unwrap();
}
