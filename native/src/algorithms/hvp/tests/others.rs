//! Bugs of others, each as a test: iroh-gossip (n0-computer/iroh-gossip) and partisan (lasp-lang/partisan).

use super::*;

fn linked(config: &Config, neighbours: u64) -> Hvp {
    let mut hvp = node(0, config);
    hvp.join(0, &[]).unwrap();
    for number in 1..=neighbours {
        befriend(&mut hvp, 0, &plain(number));
    }
    hvp
}

/// iroh-gossip #135: announced ids were kept without a bound. A million fabricated ones, and time goes on meanwhile.
#[test]
fn iroh_gossip_135_a_million_fabricated_ids() {
    let mut hvp = linked(&Config::default(), 5);
    let (mut most, mut grafts) = (0, 0);
    for round in 0..10_000u64 {
        let announced = (0..100u64).map(|at| {
            let mut id = [0xab; 32];
            id[..8].copy_from_slice(&(round * 100 + at).to_le_bytes());
            Announced { id, hops: 1 }
        });
        let message = bytes(Control::IHave { announced: List::new("ids", announced.collect()).unwrap() });
        let now = SECOND + round * 10 * MS;
        let _ = hvp.handle(now, &id(1 + round % 5), &message);
        hvp.tick(now);
        grafts += said(&hvp.drain()).iter().filter(|(_, said)| matches!(said, Control::Graft { .. })).count();
        most = most.max(hvp.stats().awaited);
    }
    assert_eq!(most, 5 * AWAITED_PEER_MAX);
    assert!(grafts > 0 && grafts < 2000, "{grafts} GRAFTs for {most} ids at a time");
    let last = SECOND + 200 * SECOND;
    hvp.tick(last);
    assert_eq!(hvp.stats().awaited, 0, "what never comes is forgotten");
}

/// iroh-gossip #128: the cache of broadcasts was never emptied.
#[test]
fn iroh_gossip_128_the_cache_has_an_end() {
    let config = Config { cache: 10, dedup: 40, ..Config::default() };
    let mut hvp = linked(&config, 3);
    for number in 1..=1000u64 {
        hvp.handle(SECOND, &id(1), &wire::encode(&gossip(70, number, &[0; 1000])).unwrap()).unwrap();
        hvp.drain();
    }
    let held = hvp.stats();
    assert_eq!((held.cached, held.delivered), (10, 1000));
    assert!(held.seen <= 40 && held.cached_bytes < 12_000);
}

/// iroh-gossip #61: two broadcasts with one payload were taken for one.
#[test]
fn iroh_gossip_61_equal_payloads_arrive_twice() {
    let mut net = Net::new(10, &Config::default());
    net.run(20 * SECOND);
    let ids = [net.broadcast(3, b"same"), net.broadcast(3, b"same"), net.broadcast(4, b"same")];
    net.run(5 * SECOND);
    assert_eq!(ids.map(|id| net.reached(&id)), [9; 3]);
}

/// iroh-gossip #131: a broadcast that was too large vanished without an error.
#[test]
fn iroh_gossip_131_too_large_is_an_error() {
    let mut hvp = linked(&Config::default(), 3);
    assert!(hvp.broadcast(0, b"", &[0; PAYLOAD_MAX]).is_ok(), "all of the 64 KiB are the caller's");
    hvp.drain();
    let before = hvp.stats();
    let error = hvp.broadcast(0, b"", &[0; PAYLOAD_MAX + 1]).unwrap_err().to_string();
    assert!(error.contains("65537") && error.contains("65536"), "{error}");
    let error = hvp.broadcast(0, &[0; TOPIC_MAX + 1], b"").unwrap_err().to_string();
    assert!(error.contains("65") && error.contains("topic"), "{error}");
    assert_eq!(hvp.stats(), before);
}

/// iroh-gossip #47: what was not sent off piled up until nothing moved any more. Here the machine says so, takes nothing in,
/// and goes on once it is drained.
#[test]
fn iroh_gossip_47_who_does_not_drain_is_told() {
    let mut hvp = linked(&Config::default(), 5);
    let mut count = 0u32;
    let error = loop {
        match hvp.broadcast(0, b"", &[0; 1000]) {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!((1000..=OUTBOX_MAX as u32).contains(&count), "{count}");
    assert!(hvp.handle(0, &id(1), &bytes(Control::Prune)).is_err());
    assert_eq!(hvp.drain().len(), hvp.stats().outbox + count as usize * 5);
    assert!(hvp.broadcast(0, b"", b"again").is_ok() && hvp.handle(0, &id(1), &bytes(Control::Prune)).is_ok());
    let mut hvp = linked(&Config::default(), 5);
    let large = loop {
        if hvp.broadcast(0, b"", &[0; PAYLOAD_MAX]).is_err() {
            break hvp.stats().outbox * PAYLOAD_MAX;
        }
    };
    assert!(large < OUTBOX_BYTES_MAX + 6 * PAYLOAD_MAX, "{large} bytes wait");
}

/// iroh-gossip #86: when the creator had gone, newcomers over the same ticket made a network of their own beside the old one.
/// Whoever is named in the contacts brings a newcomer in, and one who finds nobody says so and goes on trying.
#[test]
fn iroh_gossip_86_newcomers_find_the_old_ones_without_the_creator() {
    let config = Config::default();
    let mut net = Net::new(10, &config);
    net.run(30 * SECOND);
    net.alive[0] = false;
    net.close();
    net.run(30 * SECOND);
    net.add(&config, &[plain(0)]);
    net.add(&config, &[plain(0), plain(4)]);
    net.run(60 * SECOND);
    assert!(net.isolated.contains(&10), "it knows only the creator, who has gone, and says so");
    assert!(!net.isolated.contains(&11));
    assert_eq!(net.parts(), [10, 1], "who knows one of the others is with them");
    net.alive[0] = true;
    net.run(180 * SECOND);
    assert_eq!(net.parts(), [12], "the creator is back: who waited for it joins, and those who lost it link again");
}

/// partisan #75: nine nodes with three links that join over one contact at once made islands.
#[test]
fn partisan_75_joining_at_once_makes_no_islands() {
    for seed in 0..20 {
        let config = Config { active: 3, ..Config::default() };
        let mut net = Net::empty(9, &config, seed);
        for at in 0..9 {
            let contacts: Vec<Contact> = if at == 0 { Vec::new() } else { vec![plain(0)] };
            net.nodes[at].join(0, &contacts).unwrap();
            net.settle(at);
        }
        net.run(120 * SECOND);
        assert_eq!(net.parts(), [9], "seed {seed}");
        net.check_symmetric();
    }
}

/// partisan #255: what was sent over a link that was being given up got lost. Broadcasts meanwhile arrive all the same.
#[test]
fn partisan_255_nothing_is_lost_with_a_link_that_is_given_up() {
    let mut net = Net::new(40, &Config::default());
    net.run(30 * SECOND);
    let mut ids = Vec::new();
    for round in 0..60usize {
        ids.push(net.broadcast(round % 40, &[round as u8]));
        let (from, to) = (round * 7 % 40, round * 11 % 40);
        net.nodes[from].join(net.now, &[plain(to as u64)]).unwrap();
        net.settle(from);
        net.run(15 * MS);
    }
    let evicted: u64 = net.nodes.iter().map(|node| node.stats().evictions).sum();
    assert!(evicted > 20, "{evicted} links were given up");
    net.run(30 * SECOND);
    for id in ids {
        assert_eq!(net.reached(&id), 39);
    }
    assert_eq!(net.twice, 0);
}
