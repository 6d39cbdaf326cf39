//! Runs of whole networks.

use super::*;

#[test]
fn four_agree_with_six_messages_a_block() {
    let mut net = Net::new(&[1; 4], Config { leaders: Vec::new(), ..Config::default() });
    net.run(600);
    assert!(net.check() >= 90, "{}", net.check());
    let votes = net.sent.iter().filter(|(_, _, message)| message.starts_with(b"CChv")).count();
    assert_eq!(net.sent.len(), 600);
    assert!((290..=310).contains(&votes), "{votes}");
    let size = wire::encode(&net.nodes[0].commits[3].2).unwrap().len();
    assert!(size < 1024, "{size}");
}

#[test]
fn a_silent_leader_costs_a_round_and_no_more() {
    let mut net = Net::new(&[1; 4], Config::default());
    net.nodes[3].up = false;
    for _ in 0..40 {
        net.run(200);
        net.pass(net.config.timeout_us * 20);
    }
    net.nodes[3].commits = net.nodes[0].commits.clone();
    assert!(net.check() >= 30, "{}", net.check());
}

#[test]
fn all_crash_at_once_and_go_on_without_a_fork() {
    let mut net = Net::new(&[1; 4], Config::default());
    for round in 0..6 {
        net.run(97 + round);
        net.wire.clear();
        let before: Vec<usize> = net.nodes.iter().map(|node| node.commits.len()).collect();
        (0..4).for_each(|place| net.restart(place));
        for _ in 0..5 {
            net.run(100);
            net.pass(net.config.timeout_us * 4);
        }
        net.check();
        assert!(net.nodes.iter().zip(before).all(|(node, before)| node.commits.len() > before));
    }
}
