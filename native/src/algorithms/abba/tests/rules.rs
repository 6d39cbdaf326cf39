//! The rules of one agreement, each by itself, and runs in any order.

use super::*;
use crate::algorithms::abba::binary::{Binary, Outcome};

fn e1(round: u32, bit: bool) -> Statement {
    Statement::Echo1 { round, bit }
}

fn e2(round: u32, bit: bool) -> Statement {
    Statement::Echo2 { round, bit }
}

fn e3(round: u32, bit: Option<bool>) -> Statement {
    Statement::Echo3 { round, bit }
}

fn decide(bit: bool) -> Statement {
    Statement::Decide { bit }
}

/// Party 0 of four, told what others say.
struct One(Binary, Committee);

impl One {
    fn of(n: usize) -> Self {
        Self(Binary::new(0), committee(n))
    }

    fn begun(bit: bool) -> Self {
        let mut one = Self::of(4);
        assert_eq!(one.0.start(&one.1, bit), [Outcome::Say(e1(0, bit))]);
        one
    }

    fn hear(&mut self, sender: u16, statement: Statement) -> Vec<Outcome> {
        assert_eq!(self.0.admits(sender, &statement), Ok(true));
        self.0.hear(&self.1, sender, statement)
    }

    fn coin(&mut self, round: u32, bit: bool) -> Vec<Outcome> {
        assert_eq!(self.0.admits_coin(round, bit), Ok(true));
        self.0.coin(&self.1, round, bit)
    }
}

use Outcome::Say;

#[test]
fn a_bit_that_f_plus_1_hold_is_said_too() {
    let mut one = One::begun(false);
    assert_eq!(one.hear(1, e1(0, true)), []);
    assert_eq!(one.hear(2, e1(0, true)), [Say(e1(0, true)), Say(e2(0, true))], "its own makes the quorum");
}

#[test]
fn the_second_echo_is_said_once() {
    let mut one = One::begun(false);
    assert_eq!(one.hear(1, e1(0, false)), []);
    assert_eq!(one.hear(2, e1(0, false)), [Say(e2(0, false))]);
    assert_eq!(one.hear(1, e1(0, true)), []);
    let both = one.hear(2, e1(0, true));
    assert_eq!(both, [Say(e1(0, true)), Say(e3(0, None))], "both bits have a quorum: ⊥, and no second E2");
}

#[test]
fn the_third_echo_needs_both_quorums_and_is_said_once() {
    let mut one = One::begun(false);
    assert_eq!(one.hear(1, e2(0, true)), []);
    assert_eq!(one.hear(2, e2(0, true)), []);
    assert_eq!(one.hear(3, e2(0, true)), [], "a quorum of E2, but no quorum of E1 for it");
    assert_eq!(one.hear(1, e1(0, true)), []);
    let third = one.hear(2, e1(0, true));
    assert_eq!(third, [Say(e1(0, true)), Say(e2(0, true)), Say(e3(0, Some(true)))]);
    assert_eq!(one.hear(1, e1(0, false)), []);
    assert_eq!(one.hear(2, e1(0, false)), [], "⊥ now, and no second E3");
}

/// Party 0 with E1 and E2 for 0 of all honest parties, before any other E3.
fn before_third() -> One {
    let mut one = One::begun(false);
    one.hear(1, e1(0, false));
    one.hear(2, e1(0, false));
    one.hear(1, e2(0, false));
    assert_eq!(one.hear(2, e2(0, false)), [Say(e3(0, Some(false)))]);
    one
}

#[test]
fn the_coin_is_asked_for_only_after_the_outcome() {
    let mut one = before_third();
    assert!(one.0.admits_coin(0, true).is_err(), "not asked for");
    assert_eq!(one.hear(1, e3(0, Some(false))), []);
    assert_eq!(one.hear(2, e3(0, Some(false))), [Outcome::NeedCoin(0)]);
    assert_eq!(one.coin(0, true), [Say(e1(1, false))], "the estimate stays, and nothing is decided");
    assert_eq!(one.0.admits_coin(0, true), Ok(false));
    assert!(one.0.admits_coin(0, false).unwrap_err().to_string().contains("told as 1"));
}

#[test]
fn an_outcome_that_the_coin_shows_is_decided() {
    let mut one = before_third();
    one.hear(1, e3(0, Some(false)));
    one.hear(2, e3(0, Some(false)));
    assert_eq!(one.coin(0, false), [Outcome::Decided(false), Say(decide(false)), Say(e1(1, false))]);
}

#[test]
fn without_bottom_marked_mixed_third_echoes_are_no_outcome() {
    let mut one = before_third();
    assert_eq!(one.hear(3, e3(0, None)), []);
    assert_eq!(one.hear(1, e3(0, Some(false))), [], "three, but not alike, and ⊥ is not marked");
    assert_eq!(one.hear(2, e3(0, Some(false))), [Outcome::NeedCoin(0)], "looked at again: three alike");
}

#[test]
fn bottom_takes_the_coin() {
    let mut one = before_third();
    one.hear(3, e3(0, None));
    one.hear(1, e3(0, Some(false)));
    one.hear(1, e1(0, true));
    assert_eq!(one.hear(3, e1(0, true)), [Say(e1(0, true)), Outcome::NeedCoin(0)], "⊥ is marked now");
    assert_eq!(one.coin(0, true), [Say(e1(1, true))], "the coin is the estimate, and nothing is decided");
}

#[test]
fn decisions_of_others() {
    let mut one = One::of(7);
    assert_eq!(one.hear(1, decide(true)), []);
    assert_eq!(one.hear(2, decide(true)), [], "f of them say nothing");
    assert_eq!(one.hear(3, decide(true)), [Outcome::Decided(true), Say(decide(true))], "before it has begun");
    assert!(!one.0.halted());
    assert_eq!(one.hear(4, decide(true)), [Outcome::Halted], "five of seven");
    assert_eq!(one.0.said(), [decide(true)]);
    assert_eq!(one.0.start(&one.1, false), []);
    assert_eq!(one.0.admits(5, &e1(0, false)), Ok(false), "it needs nothing any more");
}

#[test]
fn no_kind_counts_twice() {
    let mut one = One::begun(false);
    for (first, second) in [
        (e2(0, true), e2(0, false)),
        (e3(0, Some(true)), e3(0, Some(false))),
        (e3(1, None), e3(1, Some(false))),
        (decide(true), decide(false)),
    ] {
        one.hear(1, first);
        assert_eq!(one.0.admits(1, &first), Ok(false), "{first:?}");
        assert!(one.0.admits(1, &second).unwrap_err().to_string().contains("said another"), "{second:?}");
    }
    one.hear(1, e1(0, false));
    assert_eq!(one.0.admits(1, &e1(0, true)), Ok(true), "of E1 there is one for each bit");
}

#[test]
fn rounds_have_a_window() {
    let mut one = One::begun(false);
    one.hear(1, e1(ROUNDS_AHEAD_MAX, true));
    let error = one.0.admits(1, &e1(ROUNDS_AHEAD_MAX + 1, true)).unwrap_err();
    assert!(error.to_string().contains("32 is the last"), "{error}");
    assert!(one.0.admits(1, &e1(u32::MAX, true)).is_err());
}

/// Lets party 0 of one go from round to round with a coin that always shows the other side.
fn rounds_without_end(one: &mut One, rounds: u32) -> Vec<u32> {
    let mut alarms = Vec::new();
    for round in 0..rounds {
        let mut outcomes = Vec::new();
        for statement in [e1(round, false), e2(round, false), e3(round, Some(false))] {
            for sender in 1..3 {
                outcomes.extend(one.hear(sender, statement));
            }
        }
        assert!(outcomes.contains(&Outcome::NeedCoin(round)), "{outcomes:?}");
        let next = one.coin(round, true);
        alarms.extend(next.iter().filter_map(|outcome| match outcome {
            Outcome::Alarm(round) => Some(*round),
            _ => None,
        }));
    }
    alarms
}

#[test]
fn alarm_at_round_120_and_an_end_at_255() {
    let mut one = One::begun(false);
    assert_eq!(rounds_without_end(&mut one, ROUND_MAX + 1), (ROUND_ALARM..=ROUND_MAX).collect::<Vec<_>>());
    assert_eq!(one.0.round(), Some(ROUND_MAX));
    assert!(one.0.admits(1, &e1(ROUND_MAX + 1, false)).is_err());
    one.hear(1, decide(false));
    assert!(one.hear(2, decide(false)).contains(&Outcome::Halted), "a decision helps even here");
}

#[test]
fn everybody_decides_what_everybody_holds() {
    for seed in 0..40 {
        let bit = seed % 2 == 0;
        let mut net = agreement(seed, &[Some(bit); 4]);
        net.run();
        assert_eq!(decision(&net), bit, "seed {seed}");
    }
}

#[test]
fn any_schedule_with_silent_parties_loss_and_doubles() {
    for seed in 0..120 {
        let n = [4, 4, 7][seed as usize % 3];
        let mut inputs: Vec<Option<bool>> = (0..n).map(|at| Some((seed >> at) & 1 == 1)).collect();
        (0..(n - 1) / 3).for_each(|at| inputs[(seed as usize + at * 2) % n] = None);
        let mut net = agreement(seed, &inputs);
        (net.loss, net.doubled) = (seed as usize % 4 * 10, seed as usize % 3 * 20);
        net.run();
        decision(&net);
    }
}

#[test]
fn parties_have_weights() {
    let committee = weighted(&[10, 10, 10, 1, 1]);
    for seed in 0..20 {
        let mut net: Net<Abba> = Net::new(seed, &committee, [0, 1, 2]);
        begin(&mut net, &[Some(true), Some(false), Some(seed % 2 == 0)]);
        net.run();
        decision(&net);
    }
}

#[test]
fn alone() {
    let mut net = agreement(1, &[Some(true)]);
    net.run();
    assert!(decision(&net));
}

#[test]
fn a_party_far_behind_catches_up() {
    // n = 7, f = 2: one party hears nothing for f + 2 rounds and more, then everything, its oldest messages last.
    let mut caught = 0;
    for seed in 0..30 {
        let inputs: Vec<Option<bool>> = (0..7).map(|at| Some(at % 2 == 0)).collect();
        let mut net = agreement(seed, &inputs);
        let mut late = Vec::new();
        while !net.flying.is_empty() {
            let at = net.dice.below(net.flying.len());
            let (from, to, message) = net.flying.swap_remove(at);
            if to == 6 {
                late.push((from, to, message));
            } else {
                net.deliver(from, to, &message);
            }
        }
        let ahead = net.parties[..6].iter().flatten().filter_map(Abba::round).max().unwrap();
        caught += u32::from(ahead >= 4);
        late.reverse();
        for (from, to, message) in late {
            net.deliver(from, to, &message);
        }
        net.run();
        decision(&net);
    }
    assert!(caught > 0, "some run was four rounds ahead");
}

#[test]
fn crashes_anywhere_change_nothing() {
    for seed in 0..40 {
        let inputs: Vec<Option<bool>> = (0..4).map(|at| Some((seed >> at) & 1 == 1)).collect();
        let mut net = agreement(seed, &inputs);
        for _ in 0..60 {
            for _ in 0..net.dice.below(6) {
                net.step();
            }
            let at = net.dice.below(4);
            let (decided, said) = (net.party(at).decided(), net.party(at).round());
            net.crash(at);
            assert_eq!((net.party(at).decided(), net.party(at).round()), (decided, said), "seed {seed}");
            if net.disks[at].is_empty() {
                net.party(at).input(inputs[at].unwrap()).unwrap();
                net.drive(at);
            }
        }
        net.run();
        decision(&net);
    }
}

#[test]
fn a_snapshot_stands_for_all_records() {
    let mut net = agreement(5, &[Some(true), Some(false), Some(true), Some(false)]);
    while net.disks[0].len() < 4 {
        net.step();
    }
    let snapshot = net.party(0).snapshot().unwrap();
    let mut other = Abba::restored(0, &committee(4), &[net.disks[0][0].clone(), snapshot.clone()]);
    assert_eq!(other.snapshot().unwrap(), snapshot);
    assert_eq!((other.round(), other.decided()), (net.party(0).round(), net.party(0).decided()));
    other.resend().unwrap();
    let all = net.disks[0].clone();
    let missing = Abba::restore(INSTANCE, committee(4), key(0), &[&all[..1], &all[2..]].concat());
    assert!(missing.err().unwrap().to_string().contains("goes on after"));
    let foreign = Abba::restore(INSTANCE, committee(4), key(1), &all);
    assert!(foreign.err().unwrap().to_string().contains("another agreement or party"));
    let elsewhere = Instance { epoch: 9, ..INSTANCE };
    assert!(Abba::restore(elsewhere, committee(4), key(0), &all).is_err());
}

#[test]
fn nothing_goes_out_before_its_record() {
    let mut party = abba(4, 0);
    party.input(true).unwrap();
    let [Effect::Persist { ticket, .. }] = &party.drain()[..] else { panic!("a record, and nothing else") };
    party.resend().unwrap();
    assert!(party.drain().iter().all(|effect| matches!(effect, Effect::Persist { .. })), "not said again either");
    party.durable(*ticket).unwrap();
    assert!(matches!(&party.drain()[..], [Effect::Output(Action::Broadcast { .. })]));
    assert!(party.input(true).is_err(), "a party has one input");
}

#[test]
fn what_was_asked_is_asked_again_after_a_crash() {
    let mut net = agreement(3, &[Some(true), Some(false), Some(true), Some(false)]);
    while net.asked.is_empty() {
        net.step();
    }
    let ((_, round), parties) = net.asked.iter().next().unwrap();
    let (round, at) = (*round, usize::from(*parties.iter().next().unwrap()));
    let mut again = Abba::restored(at, &committee(4), &net.disks[at]);
    assert!(again.drain().contains(&Effect::Output(Action::Event(Event::NeedCoin { round }))));
}
