//! Attacks that the machine must survive, each with the rule that it is against. The mutants of the crate are killed by these
//! scenarios.

use super::net::*;
use super::*;

type Outcome = std::result::Result<(), String>;
type Scenario = fn() -> Outcome;

fn ensure(holds: bool, what: &str) -> Outcome {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

/// Each mutant and the scenario that kills it.
pub const SCENARIOS: &[(&str, Scenario)] = &[
    ("hvp.youngest", a_crowd_of_newcomers_has_one_place),
    ("hvp.eviction-pause", at_most_one_link_is_dropped_in_a_second),
    ("hvp.walk-answer", a_newcomer_is_no_neighbour_before_it_answers),
    ("hvp.ttl", a_walk_goes_no_further_than_six),
    ("hvp.disconnect-stranger", who_is_no_neighbour_cannot_disconnect),
    ("hvp.forget", what_a_lost_neighbour_announced_is_forgotten),
    ("hvp.nonce", an_answer_needs_the_nonce),
    ("hvp.shuffle-share", a_neighbour_has_its_share_of_shuffles),
    ("hvp.ihave-stranger", strangers_announce_nothing),
    ("hvp.awaited-bound", announcements_are_bounded),
    ("hvp.graft-once", a_broadcast_is_given_once_to_each),
    ("hvp.cache-bound", the_cache_drops_the_oldest),
    ("hvp.origin", nobody_speaks_for_another),
    ("hvp.sequence", equal_payloads_are_two_broadcasts),
];

/// A node with neighbours 1 to `count`, in this order.
fn among(count: u64) -> Hvp {
    let mut hvp = node(0, &Config::default());
    hvp.join(0, &[]).unwrap();
    for number in 1..=count {
        befriend(&mut hvp, 0, &plain(number));
    }
    hvp
}

fn high(number: u64) -> Vec<u8> {
    bytes(Control::Neighbor { priority: Priority::High, contact: plain(number) })
}

/// Refused, and nothing is held that was not held before.
fn refused(hvp: &mut Hvp, sender: u64, message: &[u8]) -> Outcome {
    let before = hvp.stats();
    let views = (hvp.active(), hvp.passive(), hvp.eager());
    let said = hvp.handle(SECOND, &id(sender), message);
    hvp.drain();
    ensure(said.is_err(), "it is taken")?;
    ensure((hvp.active(), hvp.passive(), hvp.eager()) == views, "the views have changed")?;
    ensure(hvp.stats() == before, "what is held has changed")
}

fn a_crowd_of_newcomers_has_one_place() -> Outcome {
    let mut hvp = among(5);
    for round in 1..=40 {
        hvp.handle((100 + 2 * round) * SECOND, &id(100 + round), &high(100 + round))
            .map_err(|error| error.to_string())?;
        hvp.drain();
    }
    let old = |hvp: &Hvp| (1..=5).filter(|number| hvp.active().contains(&id(*number))).count();
    ensure(old(&hvp) == 4, "more than one old link was dropped for newcomers")?;
    ensure(hvp.active()[4] == id(140) && hvp.stats().evictions == 40, "the guest was not")?;
    // Nor do those have another place who come, go and come again when all that is there has settled.
    for round in 1..=10 {
        let now = (200 + 100 * round) * SECOND;
        let last = hvp.active()[4];
        hvp.handle(now, &last, &bytes(Control::Disconnect { leaves: true })).map_err(|error| error.to_string())?;
        hvp.handle(now, &id(200 + round), &high(200 + round)).map_err(|error| error.to_string())?;
        hvp.drain();
    }
    ensure(old(&hvp) == 4, "those who come and go have another place")
}

fn at_most_one_link_is_dropped_in_a_second() -> Outcome {
    let mut hvp = among(5);
    for number in 0..50 {
        hvp.handle(10 * SECOND + number, &id(100 + number), &high(100 + number)).map_err(|error| error.to_string())?;
    }
    let rejected = said(&hvp.drain()).iter().filter(|(_, said)| *said == Control::Reject).count();
    ensure((hvp.stats().evictions, rejected) == (1, 49), "more than one link was dropped at once")
}

fn a_newcomer_is_no_neighbour_before_it_answers() -> Outcome {
    let mut hvp = among(2);
    let walk = bytes(Control::ForwardJoin { ttl: 0, contact: plain(9) });
    hvp.handle(SECOND, &id(1), &walk).map_err(|error| error.to_string())?;
    ensure(!hvp.active().contains(&id(9)), "it is a neighbour already")?;
    let asked = said(&hvp.drain());
    ensure(matches!(asked[..], [(to, Control::Neighbor { .. })] if to == id(9)), "it was not asked")?;
    hvp.handle(SECOND, &id(9), &bytes(Control::Accept { contact: plain(9) })).map_err(|error| error.to_string())?;
    ensure(hvp.active().contains(&id(9)), "it has answered and is no neighbour")
}

fn a_walk_goes_no_further_than_six() -> Outcome {
    let mut hvp = among(3);
    let walk = bytes(Control::ForwardJoin { ttl: 255, contact: plain(9) });
    hvp.handle(SECOND, &id(1), &walk).map_err(|error| error.to_string())?;
    let sent = said(&hvp.drain());
    ensure(
        matches!(sent[..], [(_, Control::ForwardJoin { ttl: 5, .. })]),
        "the walk goes on with more than 5 steps left",
    )
}

fn who_is_no_neighbour_cannot_disconnect() -> Outcome {
    let mut hvp = among(3);
    let walk = bytes(Control::ForwardJoin { ttl: 3, contact: plain(9) });
    hvp.handle(SECOND, &id(1), &walk).map_err(|error| error.to_string())?;
    hvp.drain();
    ensure(hvp.passive() == [id(9)] || hvp.stats().asked == 1, "the newcomer is not noted")?;
    for stranger in [9, 77] {
        refused(&mut hvp, stranger, &bytes(Control::Disconnect { leaves: true }))?;
    }
    Ok(())
}

fn fabricated(from: u64, count: u64) -> Vec<u8> {
    let one = |number: u64| {
        let mut id = [0xee; 32];
        id[..8].copy_from_slice(&number.to_le_bytes());
        Announced { id, hops: 1 }
    };
    bytes(Control::IHave { announced: List::new("ids", (from..from + count).map(one).collect()).unwrap() })
}

fn what_a_lost_neighbour_announced_is_forgotten() -> Outcome {
    let mut hvp = among(3);
    hvp.handle(SECOND, &id(1), &fabricated(0, 100)).map_err(|error| error.to_string())?;
    hvp.handle(SECOND, &id(2), &fabricated(50, 100)).map_err(|error| error.to_string())?;
    ensure(hvp.stats().awaited == 200, "not all are awaited")?;
    hvp.peer_down(SECOND, &id(1));
    ensure(hvp.stats().awaited == 100, "what it announced is still awaited")
}

fn an_answer_needs_the_nonce() -> Outcome {
    let mut hvp = among(3);
    let reply = |nonce| {
        let records = List::new("records", vec![plain(50), plain(51)]).unwrap();
        bytes(Control::ShuffleReply { nonce, records })
    };
    refused(&mut hvp, 1, &reply(7))?;
    let at = hvp.next_deadline().ok_or("no SHUFFLE is due")?;
    hvp.tick(at);
    let sent = said(&hvp.drain());
    let [(_, Control::Shuffle { nonce, .. })] = sent[..] else { return Err("no SHUFFLE was sent".into()) };
    refused(&mut hvp, 1, &reply(nonce.wrapping_add(1)))?;
    hvp.handle(at, &id(40), &reply(nonce)).map_err(|error| error.to_string())?;
    let known = |hvp: &Hvp| [50, 51].iter().all(|number| hvp.contact(&id(*number)).is_some());
    ensure(known(&hvp), "the answer is not taken")?;
    hvp.drain();
    refused(&mut hvp, 40, &reply(nonce))
}

fn a_neighbour_has_its_share_of_shuffles() -> Outcome {
    let mut hvp = among(3);
    let mut taken = 0;
    for number in 0..50 {
        let records = List::new("records", vec![plain(100 + number)]).unwrap();
        let shuffle = bytes(Control::Shuffle { ttl: 1, nonce: number, records });
        taken += u64::from(hvp.handle(SECOND, &id(1), &shuffle).is_ok());
    }
    ensure(taken == 4, "one neighbour alone fills the passive view")
}

fn strangers_announce_nothing() -> Outcome {
    let mut hvp = among(3);
    refused(&mut hvp, 77, &fabricated(0, 100))
}

fn announcements_are_bounded() -> Outcome {
    let mut hvp = among(5);
    for round in 0..200 {
        let _ = hvp.handle(SECOND, &id(1 + round % 5), &fabricated(1000 + round * 100, 100));
        hvp.drain();
    }
    ensure(hvp.stats().awaited == 5 * AWAITED_PEER_MAX, "more than 1,000 ids of a neighbour are awaited")?;
    refused(&mut hvp, 1, &fabricated(1 << 40, 1))
}

fn a_broadcast_is_given_once_to_each() -> Outcome {
    let mut hvp = among(3);
    let name = hvp.broadcast(SECOND, b"", b"x").unwrap();
    hvp.drain();
    let graft = bytes(Control::Graft { ids: List::new("ids", vec![name, name]).unwrap() });
    hvp.handle(SECOND, &id(2), &graft).map_err(|error| error.to_string())?;
    ensure(hvp.drain().len() == 1, "it is given more than once")?;
    refused(&mut hvp, 2, &graft)?;
    let unknown = bytes(Control::Graft { ids: List::new("ids", vec![[9; 32]]).unwrap() });
    refused(&mut hvp, 2, &unknown)?;
    hvp.handle(SECOND, &id(3), &graft).map_err(|error| error.to_string())
}

fn the_cache_drops_the_oldest() -> Outcome {
    let mut hvp = among(1);
    for round in 0..300u64 {
        hvp.broadcast(SECOND, b"", &vec![round as u8; PAYLOAD_MAX]).unwrap();
        hvp.drain();
    }
    let held = hvp.stats();
    ensure(held.cached_bytes <= 16 << 20 && held.cached < 256, "the cache has more than 16 MiB")?;
    for round in 0..3000u64 {
        hvp.broadcast(SECOND, b"", &round.to_le_bytes()).unwrap();
        hvp.drain();
    }
    ensure(hvp.stats().cached == 1024, "the cache has more than 1,024 broadcasts")
}

fn nobody_speaks_for_another() -> Outcome {
    let config = Config::default();
    let mut hvp = Hvp::new(signed(1, 1), [1; 32], config.clone(), Trust::Signed(key(1))).unwrap();
    hvp.join(0, &[]).unwrap();
    befriend(&mut hvp, 0, &signed(2, 1));
    let relayer = key(2).public();
    let mut forged = gossip(0, 1, b"pay the relayer");
    forged.origin = key(3).public();
    forged.sign(&key(2), &forged.id(), &config.network);
    let before = hvp.stats();
    let outcome = hvp.handle(SECOND, &relayer, &wire::encode(&forged).unwrap());
    ensure(outcome.is_err() && hvp.stats() == before && hvp.drain().is_empty(), "a forged broadcast is taken")?;
    forged.sign(&key(3), &forged.id(), &[9; 32]);
    ensure(hvp.handle(SECOND, &relayer, &wire::encode(&forged).unwrap()).is_err(), "one of another network is taken")?;
    forged.sign(&key(3), &forged.id(), &config.network);
    let right = wire::encode(&forged).unwrap();
    hvp.handle(SECOND, &relayer, &right).map_err(|error| error.to_string())?;
    let delivered = hvp
        .drain()
        .into_iter()
        .any(|action| matches!(action, Action::Deliver { origin, .. } if origin == key(3).public()));
    ensure(delivered, "a right one is not")
}

fn equal_payloads_are_two_broadcasts() -> Outcome {
    let mut hvp = among(1);
    let (one, two) = (hvp.broadcast(0, b"t", b"same").unwrap(), hvp.broadcast(0, b"t", b"same").unwrap());
    ensure(one != two, "equal payloads have one id")?;
    let restarted = |life| {
        let me = Contact::unsigned(id(0), "x", life).unwrap();
        let mut hvp = Hvp::new(me, [1; 32], Config::default(), Trust::Unsigned).unwrap();
        hvp.join(0, &[]).unwrap();
        hvp.broadcast(0, b"t", b"same").unwrap()
    };
    ensure(restarted(1) == one && restarted(2) != one, "a restarted node repeats an id")?;
    let mut receiver = among(1);
    for number in 1..=2 {
        receiver.handle(0, &id(1), &wire::encode(&gossip(1, number, b"same")).unwrap()).unwrap();
    }
    ensure(receiver.stats().delivered == 2, "the second is taken for the first")
}

/// Runs them all.
#[allow(dead_code, reason = "the mutants run them one by one")]
pub fn run_all() {
    for (name, scenario) in SCENARIOS {
        assert_eq!(scenario(), Ok(()), "{name}");
    }
}
