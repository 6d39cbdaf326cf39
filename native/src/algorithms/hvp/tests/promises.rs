//! Promises of the page on this machine that nothing else would miss.

use super::*;
use crate::algorithms::hvp::kept::{Answer, Cache};
use crate::algorithms::hvp::order::Order;

fn linked(neighbours: u64) -> Hvp {
    let mut hvp = node(0, &Config::default());
    hvp.join(0, &[]).unwrap();
    for number in 1..=neighbours {
        befriend(&mut hvp, 0, &plain(number));
    }
    hvp
}

#[test]
fn an_answer_to_a_shuffle_with_a_forged_contact_is_refused_whole() {
    let mut hvp = Hvp::new(signed(1, 1), [1; 32], Config::default(), Trust::Signed(key(1))).unwrap();
    hvp.join(0, &[]).unwrap();
    befriend(&mut hvp, 0, &signed(2, 1));
    let at = hvp.next_deadline().unwrap();
    hvp.tick(at);
    let sent = said(&hvp.drain());
    let [(_, Control::Shuffle { nonce, .. })] = sent[..] else { panic!("{} messages", sent.len()) };
    let reply = |second| {
        let records = List::new("records", vec![signed(4, 1), second]).unwrap();
        bytes(Control::ShuffleReply { nonce, records })
    };
    let sender = key(2).public();
    assert!(hvp.handle(at, &sender, &reply(Contact { sequence: 9, ..signed(5, 1) })).is_err());
    assert_eq!(hvp.passive(), Vec::<PeerId>::new());
    hvp.handle(at, &sender, &reply(signed(5, 1))).unwrap();
    assert!([4, 5].iter().all(|number| hvp.contact(&key(*number).public()).is_some()));
}

#[test]
fn a_broadcast_of_an_earlier_life_is_not_delivered_at_its_origin() {
    let mut hvp = linked(2);
    for origin in [0, 7] {
        hvp.handle(1, &id(1), &wire::encode(&gossip(origin, 9, b"x")).unwrap()).unwrap();
        let delivered = hvp.drain().iter().any(|action| matches!(action, Action::Deliver { .. }));
        assert_eq!(delivered, origin == 7);
    }
}

#[test]
fn only_who_was_lost_may_come_back_where_all_places_are_taken() {
    let again = |number| bytes(Control::Neighbor { priority: Priority::Again, contact: plain(number) });
    let mut hvp = linked(5);
    hvp.handle(100_000_000, &id(9), &again(9)).unwrap();
    assert!(!hvp.active().contains(&id(9)) && hvp.stats().evictions == 0);
    hvp.peer_down(100_000_000, &id(1));
    befriend(&mut hvp, 100_000_000, &plain(6));
    hvp.handle(110_000_000, &id(1), &again(1)).unwrap();
    assert!(hvp.active().contains(&id(1)) && hvp.stats().evictions == 1);
}

#[test]
fn a_lost_neighbour_is_asked_again_eight_times() {
    let mut hvp = linked(2);
    hvp.peer_down(0, &id(1));
    let (mut asked, mut now) = (0, 0);
    while now < 10_000_000_000 {
        now = hvp.next_deadline().unwrap();
        hvp.tick(now);
        let again = |(to, said): &(PeerId, Control)| {
            *to == id(1) && matches!(said, Control::Neighbor { priority: Priority::Again, .. })
        };
        asked += said(&hvp.drain()).iter().filter(|one| again(one)).count();
    }
    assert_eq!((asked, hvp.stats().lost), (8, 0));
}

#[test]
fn who_asks_for_a_broadcast_has_the_next_ones_pushed_and_what_is_known_is_not_awaited() {
    let mut hvp = linked(2);
    let name = hvp.broadcast(0, b"", b"x").unwrap();
    hvp.handle(0, &id(2), &bytes(Control::Prune)).unwrap();
    assert_eq!(hvp.eager(), [id(1)]);
    hvp.handle(0, &id(2), &bytes(Control::Graft { ids: List::new("ids", vec![name]).unwrap() })).unwrap();
    assert_eq!(hvp.eager(), [id(1), id(2)]);
    let announced = List::new("ids", vec![Announced { id: name, hops: 1 }]).unwrap();
    hvp.handle(0, &id(1), &bytes(Control::IHave { announced })).unwrap();
    assert_eq!(hvp.stats().awaited, 0);
}

#[test]
fn a_broadcast_is_given_to_64_peers() {
    let mut cache = Cache::default();
    cache.insert([1; 32], &vec![0; 9].into(), 0, &Config::default());
    let given = (0..100).filter(|number| matches!(cache.give(&[1; 32], (id(*number), 1)), Answer::Give(_))).count();
    assert_eq!(given, 64);
}

#[test]
fn the_order_of_4096_origins_is_known() {
    let (mut order, config, mut out) = (Order::default(), Config::default(), Vec::new());
    let mut take = |number: u64| {
        out.clear();
        let action = Action::Close { peer: id(number) };
        order.take(0, (id(number), 1, 1), action, &config, &mut out);
        out.len()
    };
    let mut take_all = |numbers: std::ops::Range<u64>| numbers.map(&mut take).sum::<usize>();
    assert_eq!(take_all(0..4096), 4096);
    assert_eq!(take_all(0..1), 0, "it was handed on before");
    assert_eq!(take_all(10_000..14_096), 4096);
    assert_eq!(take_all(0..1), 1, "it is forgotten");
}
