//! What holds of the views whatever is sent, and of whole networks when nothing is on its way any more.

use proptest::prelude::*;

use super::*;

fn contacts() -> impl Strategy<Value = Contact> {
    (0u64..12, 0u64..3).prop_map(|(number, life)| Contact { sequence: life, ..plain(number) })
}

fn controls() -> impl Strategy<Value = Control> {
    let ids = prop::collection::vec((0u8..6).prop_map(|at| [at; 32]), 0..4);
    let announced = prop::collection::vec((0u8..6).prop_map(|at| Announced { id: [at; 32], hops: at }), 0..4);
    let records = || prop::collection::vec(contacts(), 1..8);
    prop_oneof![
        contacts().prop_map(|contact| Control::Join { contact }),
        (0u8..9, contacts()).prop_map(|(ttl, contact)| Control::ForwardJoin { ttl, contact }),
        (0u8..3, contacts()).prop_map(|(at, contact)| Control::Neighbor {
            priority: [Priority::Low, Priority::High, Priority::Again][usize::from(at)],
            contact,
        }),
        contacts().prop_map(|contact| Control::Accept { contact }),
        Just(Control::Reject),
        any::<bool>().prop_map(|leaves| Control::Disconnect { leaves }),
        (0u8..9, any::<u64>(), records()).prop_map(|(ttl, nonce, records)| Control::Shuffle {
            ttl,
            nonce,
            records: List::new("records", records).unwrap(),
        }),
        (any::<u64>(), records()).prop_map(|(nonce, records)| Control::ShuffleReply {
            nonce,
            records: List::new("records", records).unwrap(),
        }),
        announced.prop_map(|announced| Control::IHave { announced: List::new("ids", announced).unwrap() }),
        ids.prop_map(|ids| Control::Graft { ids: List::new("ids", ids).unwrap() }),
        Just(Control::Prune),
    ]
}

#[derive(Debug, Clone)]
enum Step {
    Message(u64, Control),
    /// As the contact's owner itself says it.
    Own(Control),
    Gossip(u64, u64, u64),
    Down(u64),
    Tick(u64),
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0u64..12, controls()).prop_map(|(from, said)| Step::Message(from, said)),
        4 => controls().prop_map(Step::Own),
        1 => (0u64..12, 0u64..12, 0u64..5).prop_map(|(from, origin, number)| Step::Gossip(from, origin, number)),
        1 => (0u64..12).prop_map(Step::Down),
        1 => (0u64..5 * SECOND).prop_map(Step::Tick),
    ]
}

fn speaker(said: &Control) -> PeerId {
    match said {
        Control::Join { contact } | Control::Neighbor { contact, .. } | Control::Accept { contact } => contact.id,
        _ => id(1),
    }
}

fn invariants(hvp: &Hvp) {
    let (active, passive) = (hvp.active(), hvp.passive());
    let all: BTreeSet<PeerId> = active.iter().chain(&passive).copied().collect();
    assert!(!all.contains(&hvp.me().id), "the node knows itself");
    assert_eq!(all.len(), active.len() + passive.len(), "a peer is in a view twice, or in both");
    assert!(active.len() <= hvp.config().active && passive.len() <= hvp.config().passive);
    assert!(all.iter().all(|peer| hvp.contact(peer).is_some()));
    assert!(hvp.stats().asked <= 20 && hvp.stats().lost <= LOST_MAX);
}

/// What a machine holds, as far as it can be seen.
fn look(hvp: &Hvp) -> (Vec<PeerId>, Vec<PeerId>, Vec<PeerId>, Option<u64>, Stats) {
    let stats = Stats { outbox: 0, ..hvp.stats() };
    (hvp.active(), hvp.passive(), hvp.eager(), hvp.next_deadline(), stats)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn views_stay_right_whatever_comes(steps in prop::collection::vec(steps(), 1..120)) {
        let config = Config { active: 3, passive: 4, ..Config::default() };
        let mut hvp = node(0, &config);
        hvp.join(0, &[plain(1)]).unwrap();
        let mut now = 0;
        for step in steps {
            let before = look(&hvp);
            let outcome = match step {
                Step::Message(from, said) => hvp.handle(now, &id(from), &bytes(said)),
                Step::Own(said) => hvp.handle(now, &speaker(&said), &bytes(said)),
                Step::Gossip(from, origin, number) => {
                    hvp.handle(now, &id(from), &wire::encode(&gossip(origin, number, b"x")).unwrap())
                }
                Step::Down(peer) => { hvp.peer_down(now, &id(peer)); Ok(()) }
                Step::Tick(time) => { now += time; hvp.tick(now); Ok(()) }
            };
            if outcome.is_err() {
                prop_assert_eq!(look(&hvp), before, "refused, and yet changed");
            }
            for action in hvp.drain() {
                if let Action::Send { to, message } = action {
                    prop_assert!(to != id(0), "a message to itself");
                    prop_assert!(message.len() <= CONTROL_MAX);
                }
            }
            invariants(&hvp);
        }
    }

    #[test]
    fn links_are_symmetric_when_nothing_is_on_its_way(
        seed in any::<u64>(),
        nodes in 2u64..14,
        active in 2usize..6,
        crashes in prop::collection::vec(0u64..14, 0..5),
    ) {
        let config = Config { active, passive: 6, ..Config::default() };
        let mut net = Net::empty(nodes, &config, seed);
        for at in 0..nodes {
            let contacts: Vec<Contact> = (0..at.min(2)).map(plain).collect();
            net.nodes[at as usize].join(net.now, &contacts).unwrap();
            net.settle(at as usize);
            let pause = net.below(2 * SECOND);
            net.run(pause);
        }
        for at in crashes {
            net.alive[(at % nodes) as usize] = false;
            net.close();
            let pause = net.below(3 * SECOND);
            net.run(pause);
        }
        // Retries and SHUFFLEs go on for ever: quiet is whenever nothing has been sent for the longest way of a message.
        prop_assert!(net.run_to_quiet(300 * SECOND), "never quiet");
        net.check();
        net.check_symmetric();
    }
}
