use std::collections::BTreeMap;

use super::many::{each_seed, run_seeds};
use super::*;
use crate::crypto::hash::{Digest, digest};
use crate::error::Result;

/// A toy: node 0 proposes one value after another, all persist and answer, and node 0 says when all have. Whoever has
/// persisted a value and hears that all have decides it.
struct Toy {
    broken: Broken,
    slot: u64,
    persisted: BTreeMap<u64, u8>,
    acks: Vec<u16>,
    tickets: Vec<(u64, u16)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Broken {
    No,
    /// Proposes another value to each.
    Equivocates,
    /// Decides what it cannot know after a restart.
    Forgets,
    /// Sends itself a message for ever.
    Explodes,
}

fn value(of: u8, slot: u64) -> Digest {
    digest("city-chain v1 test", &[of, slot as u8])
}

impl Toy {
    fn boxed(broken: Broken, disk: &[Vec<u8>]) -> Box<dyn Node> {
        let persisted: BTreeMap<u64, u8> = disk.iter().map(|record| (u64::from(record[0]), record[1])).collect();
        let slot = persisted.last_key_value().map_or(0, |(slot, _)| *slot);
        Box::new(Self { broken, slot, persisted, acks: Vec::new(), tickets: Vec::new() })
    }

    fn propose(&mut self, turn: &mut Turn) {
        for to in 1..turn.nodes() {
            let value = if self.broken == Broken::Equivocates { to as u8 } else { 7 };
            turn.send(to, vec![b'p', self.slot as u8, value]);
        }
        turn.step(Step::Wake { at: turn.now() + 5_000 });
    }
}

impl Node for Toy {
    fn start(&mut self, turn: &mut Turn) {
        if turn.me() == 0 {
            self.propose(turn);
        }
        if self.broken == Broken::Explodes {
            turn.send(turn.me(), b"x".to_vec());
        }
        if self.broken == Broken::Forgets && !self.persisted.is_empty() {
            turn.decide(self.slot, value(99, 0));
        }
    }

    fn receive(&mut self, from: u16, message: &[u8], turn: &mut Turn) {
        match *message {
            [b'p', slot, value] => {
                let ticket = self.tickets.len() as u64;
                self.tickets.push((u64::from(slot), from));
                self.persisted.insert(u64::from(slot), value);
                turn.step(Step::Persist { ticket, record: vec![slot, value] });
            }
            [b'a', slot] if u64::from(slot) == self.slot && !self.acks.contains(&from) => {
                self.acks.push(from);
                if self.acks.len() == usize::from(turn.nodes()) - 1 {
                    turn.broadcast(&[b'd', slot]);
                    turn.decide(self.slot, value(7, self.slot));
                    self.acks.clear();
                    self.slot += 1;
                    self.propose(turn);
                }
            }
            [b'd', slot] => {
                if let Some(of) = self.persisted.get(&u64::from(slot)) {
                    turn.decide(u64::from(slot), value(*of, u64::from(slot)));
                }
            }
            [b'x'] => turn.send(turn.me(), b"x".to_vec()),
            _ => turn.note("stale", 0, message.to_vec()),
        }
    }

    fn wake(&mut self, turn: &mut Turn) {
        self.propose(turn);
    }

    fn durable(&mut self, ticket: u64, turn: &mut Turn) {
        let (slot, from) = self.tickets[ticket as usize];
        turn.send(from, vec![b'a', slot as u8]);
    }
}

struct Toys(Broken, Option<u16>);

impl MakeNode for Toys {
    fn make(&mut self, me: u16, disk: &[Vec<u8>]) -> Result<Box<dyn Node>> {
        let broken = if me == 0 || self.0 == Broken::Forgets { self.0 } else { Broken::No };
        Ok(Toy::boxed(broken, disk))
    }

    fn is_honest(&self, me: u16) -> bool {
        self.1 != Some(me)
    }
}

fn toy(seed: u64, network: Network, faults: Faults) -> Simulation {
    Simulation::new(seed, 4, network, faults, Toys(Broken::No, None)).unwrap()
}

fn rows(run: &Simulation, kind: &str) -> Vec<Event> {
    run.trace().rows().iter().filter(|row| row.kind == kind).cloned().collect()
}

fn storm() -> Faults {
    let storm = Storm { begin: 1_000, end: 300_000, every: 20_000, down: 15_000, at_once: 2 };
    Faults { crashes: Vec::new(), storm: Some(storm) }
}

#[test]
fn one_seed_is_one_run_byte_for_byte_and_another_is_another() {
    let run = |seed| {
        let mut run = toy(seed, Network { calm: Some(400_000), ..Network::hostile() }, storm());
        run.run(300_000).unwrap();
        (run.trace().digest().unwrap(), run.trace().rows().to_vec(), run.happenings())
    };
    let (first, again, other) = (run(1), run(1), run(2));
    assert!(first == again && first.1.len() > 300, "{}", first.1.len());
    assert_ne!(first.0, other.0);
}

#[test]
fn nothing_goes_wrong_in_a_calm_network() {
    let mut run = toy(1, Network::exact(1_000), Faults::none());
    assert_eq!(run.run(20_500), Ok(Stop::Time));
    assert_eq!((run.now(), run.agreement().count(0), run.agreement().count(3)), (20_500, 10, 9));
    // A slot: 3 proposals, 3 answers, 3 decisions; two hops until the leader knows.
    assert_eq!(run.agreement().slots()[&4].at, 10_000);
    assert_eq!(run.trace().messages().messages, 10 * 9 + 3);
    assert_eq!(run.trace().lost(), 0);
    let kinds: std::collections::BTreeSet<_> = run.trace().rows().iter().map(|row| row.kind).collect();
    assert!(kinds.iter().eq(&["decide", "deliver", "durable", "persist", "send", "start"]), "{kinds:?}");
    assert_eq!(run.trace().persisted()[&1].bytes, 20);
}

#[test]
fn losses_copies_and_overtaking_are_as_frequent_as_asked() {
    let network = Network { calm: None, ..Network::hostile() };
    let mut run = toy(3, network, Faults::none());
    run.run(20_000_000).unwrap();
    let (sent, lost) = (rows(&run, "send"), rows(&run, "loss"));
    let share = lost.len() as f64 / sent.len() as f64;
    assert!(sent.len() > 5_000 && (0.012..0.028).contains(&share), "{share} of {}", sent.len());
    let delivered = rows(&run, "deliver");
    let mut numbers: Vec<u64> = delivered.iter().map(|row| row.number).collect();
    let pairs = numbers.windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert!(pairs > delivered.len() / 20, "{pairs} of {} are overtaken", delivered.len());
    numbers.sort_unstable();
    let copies = numbers.windows(2).filter(|pair| pair[0] == pair[1]).count();
    let share = copies as f64 / delivered.len() as f64;
    assert!((0.035..0.065).contains(&share), "{share} come twice");
}

#[test]
fn a_partition_cuts_and_heals_and_may_hold_what_is_sent() {
    for holds in [false, true] {
        let cut = Partition { begin: 5_000, end: 50_000, groups: vec![vec![0, 1], vec![2, 3]], holds };
        let mut run = toy(1, Network { partitions: vec![cut], ..Network::exact(1_000) }, Faults::none());
        run.run(49_000).unwrap();
        let before = run.agreement().count(0);
        assert_eq!(rows(&run, "partition").is_empty(), holds);
        let across = |row: &Event| (row.node < 2) != (row.peer.unwrap() < 2);
        let crossing = rows(&run, "deliver").iter().filter(|row| across(row) && row.at > 6_000).count();
        assert!((before, crossing) == (2, 0), "{before} {crossing}");
        assert_eq!(run.quiet_at(), 50_000);
        run.progress(5, 60_000).unwrap();
    }
}

#[test]
fn slow_nodes_and_matrices_take_their_time() {
    let matrix = (0..4).map(|from| (0..4).map(|to| 1_000 * (1 + from + 10 * to)).collect()).collect();
    let slow = vec![Slow { node: 2, begin: 0, end: 100_000, extra: 70_000 }];
    let mut run = toy(1, Network { latency: Latency::Matrix(matrix), slow, ..Network::exact(0) }, Faults::none());
    run.run(1_000_000).unwrap();
    let first = |node| rows(&run, "deliver").iter().find(|row| row.node == node).unwrap().at;
    assert_eq!([first(1), first(2), first(3)], [11_000, 91_000, 31_000]);
    // The write of the slow node takes longer too, and its answer.
    let answered = rows(&run, "send").iter().find(|row| row.node == 2).unwrap().at;
    assert_eq!(answered, 91_000 + 70_000);
}

#[test]
fn a_crash_comes_exactly_where_it_was_asked_for() {
    let crash_at = |when| {
        let mut run = toy(1, Network { write: 500, ..Network::exact(1_000) }, Faults::crash(1, when, 7_000));
        run.run(100_000).unwrap();
        let crash = run.trace().rows().iter().position(|row| row.kind == "crash").unwrap();
        let own: Vec<&'static str> =
            run.trace().rows()[..crash].iter().filter(|row| row.node == 1).map(|row| row.kind).collect();
        assert_eq!(rows(&run, "restart")[0].at, run.trace().rows()[crash].at + 7_000);
        assert!(run.agreement().count(1) > 10, "it carries on");
        own[1..].join(" ")
    };
    assert_eq!(crash_at(Moment::Before(Point::Persist, 0)), "deliver");
    assert_eq!(crash_at(Moment::After(Point::Persist, 0)), "deliver persist");
    assert_eq!(crash_at(Moment::Before(Point::Durable, 0)), "deliver persist durable");
    assert_eq!(crash_at(Moment::Before(Point::Send, 0)), "deliver persist durable");
    assert_eq!(crash_at(Moment::After(Point::Send, 0)), "deliver persist durable send");
    assert_eq!(crash_at(Moment::After(Point::Durable, 0)), "deliver persist durable send");
    assert_eq!(crash_at(Moment::After(Point::Step, 1)), "deliver persist durable send");
    assert_eq!(crash_at(Moment::At(1_200)), "deliver persist");
    // In the middle of a broadcast: the first got it, the others never do.
    let mut run = toy(1, Network::exact(1_000), Faults::crash(0, Moment::After(Point::Send, 0), 3_000));
    run.run(2_000).unwrap();
    assert_eq!(rows(&run, "deliver").iter().map(|row| row.node).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_record_that_is_not_durable_may_or_may_not_survive_and_a_wiped_disk_keeps_nothing() {
    let mut kept = [0; 2];
    for seed in 0..64 {
        let mut run =
            toy(seed, Network { write: 500, ..Network::exact(1_000) }, Faults::crash(1, Moment::At(1_200), 50_000));
        run.run(10_000).unwrap();
        kept[run.disk(1).unwrap().len()] += 1;
        assert!(!run.is_up(1) && run.is_up(0) && !rows(&run, "down").is_empty());
    }
    assert!(kept[0] > 16 && kept[1] > 16, "{kept:?}");
    let crash = Crash { node: 1, when: Moment::At(9_100), restart: Some(500), wiped: true };
    let mut run = toy(1, Network::exact(1_000), Faults { crashes: vec![crash], storm: None });
    run.run(9_000).unwrap();
    assert_eq!(run.disk(1).unwrap().len(), 5);
    run.run(9_700).unwrap();
    assert!(run.disk(1).unwrap().is_empty() && run.is_up(1) && run.disk(4).is_none());
}

#[test]
fn a_transport_with_a_queue_delivers_after_the_restart() {
    let network = Network { holds_for_down: true, ..Network::exact(1_000) };
    let mut run = toy(1, network, Faults::crash(1, Moment::At(500), 20_000));
    run.run(30_000).unwrap();
    assert!(rows(&run, "down").is_empty());
    assert_eq!(rows(&run, "deliver").iter().find(|row| row.node == 1).unwrap().at, 20_500);
}

#[test]
fn many_seeds_of_storms_agree_and_get_on() {
    let counts = each_seed(0, 200, |seed| {
        let network = Network { calm: Some(300_000), ..Network::hostile() };
        let mut run = toy(seed, network, storm()).with_replay(format!("CITY_CHAIN_SEED={seed} cargo test many_seeds"));
        run.progress(3, 2_000_000)?;
        Ok((run.agreement().count(0), rows(&run, "crash").len()))
    })
    .unwrap();
    let crashes: usize = counts.iter().map(|(_, crashes)| crashes).sum();
    assert!(crashes > 5 * counts.len(), "{crashes}");
}

#[test]
fn checkers_notice_broken_toys_and_say_how_to_replay() {
    let broken = |broken, adversary| {
        let run = Simulation::new(77, 4, Network::default(), storm(), Toys(broken, adversary)).unwrap();
        run.with_replay("city-chain lab replay --seed 77")
    };
    let failure = broken(Broken::Equivocates, Some(0)).run(100_000).unwrap_err();
    assert!(failure.what.contains("in slot 0, where node"), "{failure}");
    assert!(failure.to_string().contains("seed 77") && failure.to_string().ends_with("lab replay --seed 77"));
    let failure = broken(Broken::Forgets, None).run(400_000).unwrap_err();
    assert!(failure.what.contains("decides"), "{failure}");
    // A failed run stays failed.
    let mut run = broken(Broken::Equivocates, Some(0));
    let first = run.run(100_000).unwrap_err();
    assert_eq!(run.step(), Err(first.clone()));
    assert_eq!(run.run(200_000), Err(first));
    // What an adversary decides is nobody's matter.
    let mut run = Simulation::new(1, 4, Network::default(), storm(), Toys(Broken::Forgets, Some(2))).unwrap();
    let failure = run.run(400_000).unwrap_err();
    assert!(!failure.what.contains("node 2"), "{failure}");
}

#[test]
fn validity_progress_and_limits_are_checked() {
    let mut run = toy(1, Network::default(), Faults::none()).with_validity(Box::new(|node, slot, _| {
        if (node, slot) == (2, 3) { Err("node 2 cannot have that".into()) } else { Ok(()) }
    }));
    assert!(run.run(100_000).unwrap_err().what.contains("cannot have"));
    let crash = Crash { node: 3, when: Moment::At(10_000), restart: None, wiped: false };
    let cut = Partition { begin: 0, end: 20_000, groups: vec![vec![0, 1], vec![2]], holds: true };
    let network = Network { partitions: vec![cut], ..Network::default() };
    let mut run = toy(1, network, Faults { crashes: vec![crash], storm: None });
    let failure = run.progress(1, 100_000).unwrap_err();
    assert!(failure.what.contains("no progress: node 0 has decided"), "{failure}");
    let mut never = toy(1, Network::hostile(), Faults::none());
    assert!(never.progress(1, 1).unwrap_err().what.contains("never becomes quiet"));
    let exploding = Simulation::new(1, 4, Network::default(), Faults::none(), Toys(Broken::Explodes, None)).unwrap();
    let mut run = exploding.with_limits(Limits { happenings: 1_000, rows: 10, ..Limits::default() });
    assert!(run.run(u64::MAX).unwrap_err().what.contains("more than 1000 happenings"));
    assert!(run.trace().rows().len() == 10 && run.trace().left_out() > 900);
    let narrow = Limits { queue: 5, digest: false, ..Limits::default() };
    let mut run = toy(1, Network::default(), Faults::none()).with_limits(narrow);
    assert!(run.run(10_000).unwrap_err().what.contains("happenings wait"));
    assert_eq!(run.trace().digest(), None);
}

/// Holds everything for node 1 until nothing else can happen, loses what node 2 says, and lets node 3 wait.
#[derive(Default)]
struct Ruler {
    seen: u64,
}

impl Scheduler for Ruler {
    fn fate(&mut self, envelope: &Envelope<'_>, _: &mut Rng) -> Fate {
        match (envelope.from, envelope.to) {
            (2, _) => Fate::Lost,
            (_, 1) => Fate::Held,
            (_, 3) => Fate::After(77),
            _ => Fate::Natural,
        }
    }

    fn saw(&mut self, _: u16, _: u64, step: &Step) {
        self.seen += u64::from(matches!(step, Step::Send { .. }));
    }

    fn release(&mut self, held: &[u64], idle: bool) -> Vec<u64> {
        if idle || self.seen > 12 { held[..1].to_vec() } else { Vec::new() }
    }
}

#[test]
fn an_adversary_may_rule_the_network() {
    let mut run = toy(1, Network::exact(1_000), Faults::none()).with_scheduler(Ruler::default());
    run.run(60_000).unwrap();
    let delivered = rows(&run, "deliver");
    assert_eq!(delivered.iter().find(|row| row.node == 3).unwrap().at, 77);
    let first = delivered.iter().find(|row| row.node == 1).unwrap();
    assert!(first.number == 0 && first.at > 5_000, "{first:?}");
    assert!(delivered.iter().all(|row| row.peer != Some(2)) && !rows(&run, "scheduler").is_empty());
}

#[test]
fn a_caller_may_inject_crash_and_step() {
    let mut run = toy(1, Network::exact(1_000), Faults::none());
    assert!(run.inject(0, 9, Vec::new()).is_err() && run.crash(9, None, false).is_err());
    run.run(500).unwrap();
    run.inject(3, 2, b"hello".to_vec()).unwrap();
    run.crash(1, Some(100), false).unwrap();
    assert!(!run.is_up(1));
    while run.now() < 1_500 && run.step().unwrap() {}
    assert!(rows(&run, "stale").iter().any(|row| (row.node, row.len, row.at) == (2, 5, 1_500)));
    assert_eq!((rows(&run, "restart").len(), run.trace().notes(2, "stale")), (1, 1));
    assert!(run.next_at().is_some() && run.is_honest(2) && !run.is_honest(4) && run.seed() == 1);
}

#[test]
fn what_does_not_fit_is_refused() {
    let new = |network, faults| Simulation::new(1, 2, network, faults, Toys(Broken::No, None)).err();
    let cut = |begin, end, groups| Network {
        partitions: vec![Partition { begin, end, groups, holds: false }],
        ..Network::default()
    };
    let bad = [
        Network { latency: Latency::Matrix(vec![vec![0; 2]]), ..Network::default() },
        Network { loss: 1_000_001, ..Network::default() },
        Network { slow: vec![Slow { node: 2, begin: 0, end: 1, extra: 1 }], ..Network::default() },
        cut(5, 4, vec![]),
        cut(0, 1, vec![vec![2]]),
        cut(0, 1, vec![vec![1], vec![1]]),
    ];
    for network in bad {
        assert!(new(network.clone(), Faults::none()).is_some(), "{network:?}");
    }
    let storm = Storm { begin: 0, end: 1, every: 0, down: 1, at_once: 1 };
    assert!(new(Network::default(), Faults { crashes: vec![], storm: Some(storm) }).is_some());
    assert!(new(Network::default(), Faults::crash(2, Moment::At(1), 1)).is_some());
    assert!(new(Network::default(), Faults::none()).is_none());
    assert!(Simulation::new(1, 0, Network::default(), Faults::none(), Toys(Broken::No, None)).is_err());
}

#[test]
fn an_error_of_a_node_or_of_its_making_ends_the_run() {
    struct Failing;
    impl Node for Failing {
        fn start(&mut self, turn: &mut Turn) {
            turn.fail("its machine refused its own record");
            turn.fail("a second one");
        }
        fn receive(&mut self, _: u16, _: &[u8], _: &mut Turn) {}
        fn wake(&mut self, _: &mut Turn) {}
        fn durable(&mut self, _: u64, _: &mut Turn) {}
    }
    let make = |_: u16, _: &[Vec<u8>]| -> Result<Box<dyn Node>> { Ok(Box::new(Failing)) };
    let mut run = Simulation::new(1, 1, Network::default(), Faults::none(), make).unwrap();
    assert!(run.run(1).unwrap_err().what.contains("node 0: its machine refused"));
    let make = |_: u16, _: &[Vec<u8>]| -> Result<Box<dyn Node>> { Err(crate::error::Error::input("no key")) };
    let mut run = Simulation::new(1, 1, Network::default(), Faults::none(), make).unwrap();
    assert!(run.run(1).unwrap_err().what.contains("node 0 does not start: no key"));
}

#[test]
fn the_smallest_failing_seed_is_named() {
    let failure = |seed| Failure { seed, at: 0, happenings: 0, what: String::new(), replay: String::new() };
    let found = run_seeds(10..100, |seed| if seed % 7 == 0 { Err(failure(seed)) } else { Ok(seed) });
    assert_eq!(found.unwrap_err().seed, 14);
    assert_eq!(run_seeds(1..4, Ok).unwrap(), [1, 2, 3]);
    let error: crate::error::Error = failure(5).into();
    assert!(matches!(error, crate::error::Error::Protocol(text) if text.contains("seed 5")));
}
