//! Certificates of one signature.

use super::*;
use crate::crypto::bls::SecretKey;

fn forced(seed: u64, nodes: u16, network: Network, faults: Faults, attacks: Attacks) -> Simulation {
    let config = Config { aggregates: Some(true), ..Config::default() };
    configured(seed, nodes, network, faults, attacks, config)
}

fn sent(run: &Simulation, kind: [u8; 4]) -> (u64, u64) {
    let count = run.trace().messages_of(kind);
    (count.messages, count.bytes)
}

/// From the crossover on certificates are one signature without being asked for.
#[test]
fn forty_validators_agree_by_aggregates() {
    let mut run = simulation(1, 40, Network::exact(1000), Faults::none(), Vec::new());
    run.run(20_500).unwrap();
    assert!(run.agreement().slots().len() >= 7, "{}", run.agreement().slots().len());
    let ((votes, _), (shared, _)) = (sent(&run, *b"CChv"), sent(&run, *b"CChw"));
    assert!(votes == 0 && shared >= 9 * 39, "{shared}");
    let (proposals, bytes) = sent(&run, *b"CChb");
    assert!(bytes / proposals < 450, "{} bytes a proposal", bytes / proposals);
    assert_eq!(sent(&run, *b"CCht").0, 0);
}

/// Below it they are lists, in the records that they always were.
#[test]
fn ten_validators_agree_by_lists_and_forced_ones_by_aggregates() {
    let calm = |config: Config| {
        let mut run = configured(1, 10, Network::exact(1000), Faults::none(), Vec::new(), config);
        run.run(20_500).unwrap();
        (sent(&run, *b"CChv").0, sent(&run, *b"CChw").0, run.agreement().slots().clone())
    };
    let list = calm(Config::default());
    assert!(list.0 > 80 && list.1 == 0);
    let sums = calm(Config { aggregates: Some(true), ..Config::default() });
    assert_eq!((sums.0, sums.1, sums.2), (0, list.0, list.2), "the same blocks in as many messages");
}

/// Wrong shares and what is no share stop nobody, and are found out.
#[test]
fn bad_shares() {
    for (nodes, faulty) in [(4u16, 1u16), (7, 2)] {
        let liars = || (nodes - faulty..nodes).map(|node| (node, Attack::BadShares)).collect::<Vec<_>>();
        each_seed(1, 2, |seed| {
            let mut run = forced(seed, nodes, Network::hostile(), storm(2 * S, 1), liars());
            run.run(2 * S).map(drop)
        })
        .unwrap();
        each_seed(50, 3, |seed| {
            let mut run = forced(seed, nodes, Network::default(), Faults::none(), liars());
            run.progress(12, 60 * S)?;
            let accused: u64 = (0..nodes - faulty).map(|of| run.trace().notes(of, "evidence")).sum();
            assert!(accused > 0, "nobody found a wrong share");
            Ok(())
        })
        .unwrap();
    }
}

/// The other attacks, with certificates of one signature.
#[test]
fn attacks_beside_aggregates() {
    let attacks = [
        Attack::TwoProposals,
        Attack::TwoVotes,
        Attack::BadTimeoutCertificates,
        Attack::InflatedRounds,
        Attack::UnknownParents,
        Attack::VotesAfterTimeout,
        Attack::Replays,
    ];
    for attack in attacks {
        each_seed(1, 1, |seed| {
            let network = Network { calm: Some(S / 2), ..Network::hostile() };
            let mut run = forced(seed, 4, network, storm(S / 2, 1), vec![(3, attack.clone())]);
            run.progress(4, 60 * S)
        })
        .unwrap();
    }
}

#[test]
fn equivocating_voters_give_evidence_with_their_shares() {
    let found = each_seed(1, 3, |seed| {
        let mut run = forced(seed, 4, Network::default(), Faults::none(), vec![(1, Attack::TwoVotes)]);
        run.progress(8, 60 * S)?;
        Ok((0..4).map(|of| run.trace().notes(of, "evidence")).sum::<u64>())
    });
    assert!(found.unwrap().into_iter().sum::<u64>() > 0);
}

/// The votes that are said again after a crash have the same shares; nobody is accused.
#[test]
fn crashes_around_writes() {
    each_seed(0, 6, |seed| {
        let crash =
            |node, k| Crash { node, when: Moment::After(Point::Persist, k), restart: Some(20_000), wiped: false };
        let crashes = vec![crash(0, seed), crash(1, seed / 2 + 1), crash(2, seed / 3 + 2)];
        let mut run = forced(seed, 4, Network::default(), Faults { crashes, storm: None }, Vec::new());
        run.run(S)?;
        run.progress(4, 60 * S)
    })
    .unwrap();
}

/// A key made up from the others' keys cannot stand in a committee: there is no proof of possession for it.
#[test]
fn a_rogue_key_is_refused_before_it_signs() {
    let (_, committee) = city(4, false).unwrap();
    let secrets: Vec<SecretKey> = (0..4).map(|node| SecretKey::of_master(&key(node)).unwrap()).collect();
    let mut shown: Vec<ShownKey> = secrets.iter().map(ShownKey::of).collect();
    committee.clone().with_aggregates(&shown).unwrap();
    shown[3] = ShownKey { public: SecretKey::of_master(&key(9)).unwrap().public(), ..shown[3] };
    let error = committee.clone().with_aggregates(&shown).unwrap_err().to_string();
    assert!(error.contains("keys[3]") && error.contains("possession"), "{error}");
    shown[3] = shown[2];
    assert!(committee.with_aggregates(&shown).unwrap_err().to_string().contains("twice"));
}
