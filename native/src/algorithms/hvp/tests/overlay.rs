//! Whole networks: views, trees, crashes, partitions.

use super::*;

#[test]
fn a_network_comes_together() {
    let mut net = Net::new(100, &Config::default());
    net.run(60 * SECOND);
    net.check();
    net.check_symmetric();
    assert_eq!(net.parts(), [100]);
    let links: usize = net.nodes.iter().map(|node| node.active().len()).sum();
    assert!(links >= 450, "{links} of at most 500");
    assert!(net.nodes.iter().all(|node| node.passive().len() >= 10));
    assert!(net.isolated.len() < 10, "{} newcomers were alone for a while", net.isolated.len());
}

#[test]
fn after_the_first_broadcasts_of_a_sender_the_others_come_once() {
    let mut net = Net::new(100, &Config::default());
    net.run(30 * SECOND);
    for round in 0..10u8 {
        let id = net.broadcast(7, &[round]);
        net.run(3 * SECOND);
        assert_eq!(net.reached(&id), 99);
    }
    let before: u64 = net.nodes.iter().map(|node| node.stats().duplicates).sum();
    let id = net.broadcast(7, b"last");
    net.run(400 * MS);
    assert_eq!(net.reached(&id), 99);
    let after: u64 = net.nodes.iter().map(|node| node.stats().duplicates).sum();
    assert!(after - before <= 2, "{} came twice", after - before);
    assert_eq!(net.twice, 0);
    let hops = net.got.iter().filter_map(|got| got.get(&id)).map(|(_, hops)| *hops).max();
    assert!(hops.is_some_and(|hops| (2..=20).contains(&hops)), "{hops:?}");
}

#[test]
fn with_closed_connections_most_may_crash() {
    let mut net = Net::new(120, &Config::default());
    net.run(60 * SECOND);
    for at in 0..96 {
        net.alive[at] = false;
    }
    net.close();
    net.run(5 * SECOND);
    let id = net.broadcast(100, b"after");
    net.run(5 * SECOND);
    assert!(net.reached(&id) >= 22, "{} of 23; parts {:?}", net.reached(&id), net.parts());
    net.run(60 * SECOND);
    net.check_symmetric();
    net.check();
}

#[test]
fn who_is_left_alone_says_so_and_joins_again() {
    let mut net = Net::new(30, &Config::default());
    let known: Vec<Contact> = (20..30).map(plain).collect();
    for at in 0..30 {
        net.nodes[at].join(net.now, &known).unwrap();
        net.settle(at);
    }
    net.run(30 * SECOND);
    for at in 1..20 {
        net.alive[at] = false;
    }
    net.side[0] = 1;
    net.close();
    net.run(60 * SECOND);
    assert!(net.isolated.contains(&0), "node 0 is alone and says so");
    assert!(net.nodes[0].next_deadline().is_some());
    net.side[0] = 0;
    net.run(120 * SECOND);
    assert_eq!(net.parts(), [11]);
}

#[test]
fn a_partition_heals_by_itself() {
    let mut net = Net::new(60, &Config::default());
    net.run(60 * SECOND);
    for at in 0..60 {
        net.side[at] = (at % 2) as u8;
    }
    net.close();
    net.run(30 * SECOND);
    assert_eq!(net.parts(), [30, 30]);
    let id = net.broadcast(0, b"in one half");
    net.run(10 * SECOND);
    assert_eq!(net.reached(&id), 29);
    net.side = vec![0; 60];
    net.run(300 * SECOND);
    assert_eq!(net.parts(), [60]);
    assert_eq!(net.reached(&id), 59, "what was sent meanwhile crosses over");
    net.check_symmetric();
}

#[test]
fn order_holds_for_each_origin() {
    let mut net = Net::new(40, &Config { ordered: true, ..Config::default() });
    net.run(30 * SECOND);
    for round in 0..20u8 {
        net.broadcast(3, &[round]);
        if round == 10 {
            net.alive[12] = false;
            net.close();
        }
        net.run(5 * MS);
    }
    net.run(20 * SECOND);
    let all: Vec<Vec<u8>> = (0..20u8).map(|round| vec![round]).collect();
    for at in (0..40).filter(|at| ![3, 12].contains(at)) {
        assert_eq!(net.order[at], all, "node {at}");
    }
}

#[test]
fn a_late_joiner_catches_up() {
    let config = Config::default();
    let mut net = Net::new(20, &config);
    net.run(30 * SECOND);
    let ids: Vec<_> = (0..300u16).map(|round| net.broadcast(usize::from(round % 20), &round.to_le_bytes())).collect();
    net.run(10 * SECOND);
    net.add(&config, &[plain(4)]);
    net.run(20 * SECOND);
    assert!(ids.iter().all(|id| net.got[20].contains_key(id)), "{} of 300", net.got[20].len());
    assert_eq!(net.twice, 0);
}

#[test]
fn the_same_seeds_give_the_same_bytes() {
    let run = || {
        let mut net = Net::new(25, &Config::default());
        net.broadcast(3, b"x");
        net.run(40 * SECOND);
        (net.sends, net.bytes, net.nodes.iter().map(Hvp::active).collect::<Vec<_>>())
    };
    assert_eq!(run(), run());
}

#[test]
fn who_leaves_is_not_asked_again() {
    let mut net = Net::new(10, &Config::default());
    net.run(30 * SECOND);
    let neighbours = net.nodes[5].active();
    assert!(!neighbours.is_empty());
    net.nodes[5].leave(net.now);
    net.settle(5);
    net.run(SECOND);
    assert_eq!((net.nodes[5].active(), net.nodes[5].next_deadline()), (vec![], None));
    assert!(net.nodes[5].broadcast(net.now, b"", b"").is_err());
    for node in net.nodes.iter().filter(|node| neighbours.contains(&node.me().id)) {
        assert!(!node.active().contains(&id(5)) && node.stats().lost == 0);
    }
}
