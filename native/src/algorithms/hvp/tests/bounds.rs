//! Limits, hostile bytes, order, and what is passed from node to node.

use super::*;

#[test]
fn the_scenarios_of_the_mutants_hold() {
    attacks::run_all();
}

fn linked(config: &Config, neighbours: u64) -> Hvp {
    let mut hvp = node(0, config);
    hvp.join(0, &[]).unwrap();
    for number in 1..=neighbours {
        befriend(&mut hvp, 0, &plain(number));
    }
    hvp
}

#[test]
fn hostile_bytes_are_refused_and_change_nothing() {
    let mut hvp = linked(&Config::default(), 4);
    let records = List::new("records", vec![plain(7), plain(8)]).unwrap();
    let samples = [
        bytes(Control::Join { contact: plain(7) }),
        bytes(Control::Shuffle { ttl: 3, nonce: 1, records }),
        wire::encode(&gossip(9, 1, b"payload")).unwrap(),
    ];
    let before = (hvp.stats(), hvp.active(), hvp.passive(), hvp.next_deadline());
    let mut tried = 0;
    for sample in &samples {
        for end in 0..sample.len() {
            assert!(hvp.handle(0, &id(1), &sample[..end]).is_err());
            tried += 1;
        }
        let long = [sample.as_slice(), &[0]].concat();
        assert!(hvp.handle(0, &id(1), &long).is_err());
    }
    assert!(hvp.handle(0, &id(1), &vec![0; 1 << 20]).is_err());
    let huge = [b"CChm\x01\x00\x08".as_slice(), &[0xff; 4]].concat();
    assert!(hvp.handle(0, &id(1), &huge).is_err());
    for hops in [0, HOPS_MAX + 1, 255] {
        let mut message = samples[2].clone();
        message[message::HOPS_AT] = hops;
        let error = hvp.handle(0, &id(1), &message).unwrap_err().to_string();
        assert!(error.contains(&format!("{hops} hops")), "{error}");
    }
    assert!(tried > 200 && hvp.drain().is_empty());
    assert_eq!((hvp.stats(), hvp.active(), hvp.passive(), hvp.next_deadline()), before);
}

#[test]
fn sizes_are_those_of_the_design() {
    let longest = Contact::unsigned([9; 32], &"a".repeat(ADDRESS_MAX), u64::MAX).unwrap();
    assert!(Contact::unsigned([9; 32], &"a".repeat(ADDRESS_MAX + 1), 1).is_err());
    assert!(Contact::unsigned([9; 32], "", 1).is_err());
    let records = List::new("records", vec![longest; RECORDS_MAX]).unwrap();
    let largest = [
        bytes(Control::Shuffle { ttl: 6, nonce: u64::MAX, records }),
        bytes(Control::IHave {
            announced: List::new("ids", vec![Announced { id: [1; 32], hops: 64 }; IDS_MAX]).unwrap(),
        }),
        bytes(Control::Graft { ids: List::new("ids", vec![[1; 32]; IDS_MAX]).unwrap() }),
    ];
    assert!(largest.iter().all(|message| message.len() <= CONTROL_MAX));
    assert_eq!(largest.iter().map(Vec::len).max(), Some(3311));
    assert!(List::<Contact, RECORDS_MAX>::new("records", vec![plain(1); 9]).is_err());
}

#[test]
fn encodings_stay_as_they_are() {
    let contact = Contact::unsigned([1; 32], "a:1", 2).unwrap();
    let announced = List::new("ids", vec![Announced { id: [3; 32], hops: 4 }]).unwrap();
    let (one, three, no) = ("01".repeat(32), "03".repeat(32), "00".repeat(64));
    let known = format!("{one}020000000000000003000000613a31{no}");
    assert_eq!(hex::encode(wire::encode(&contact).unwrap()), format!("434370630100{known}"));
    let expected = [
        (Control::ForwardJoin { ttl: 5, contact: contact.clone() }, format!("0105{known}")),
        (Control::Neighbor { priority: Priority::Again, contact }, format!("0202{known}")),
        (Control::Disconnect { leaves: true }, "0501".into()),
        (Control::IHave { announced }, format!("0801000000{three}04")),
        (Control::Prune, "0a".into()),
    ];
    for (said, body) in expected {
        assert_eq!(hex::encode(bytes(said)), format!("4343686d0100{body}"));
    }
    let message = Gossip {
        hops: 7,
        origin: [1; 32],
        life: 8,
        topic: Bytes::new("topic", b"t".to_vec()).unwrap(),
        ..gossip(0, 9, b"pp")
    };
    let body = format!("07{one}08000000000000000900000000000000{no}0100000074020000007070");
    assert_eq!(hex::encode(wire::encode(&message).unwrap()), format!("434370670100{body}"));
    assert_eq!(hex::encode(message.id()), "6b4f041449ed7c9f7194560d6d98046ad58c2de3c33b70446a9e49d1d86a266d");
}

#[test]
fn hops_stand_still_at_the_most() {
    let mut hvp = linked(&Config::default(), 2);
    let message = wire::encode(&Gossip { hops: HOPS_MAX, ..gossip(9, 1, b"far") }).unwrap();
    hvp.handle(0, &id(1), &message).unwrap();
    let actions = hvp.drain();
    let Some(Action::Send { to, message: relayed }) = actions.first() else { panic!("{actions:?}") };
    assert_eq!((*to, relayed.as_ref()), (id(2), message.as_slice()));
    assert!(actions.iter().any(|action| matches!(action, Action::Deliver { hops: HOPS_MAX, .. })));
}

#[test]
fn twice_is_pruned_and_an_announced_one_is_asked_for() {
    let config = Config::default();
    let mut hvp = linked(&config, 3);
    let first = gossip(9, 1, b"x");
    let message = wire::encode(&first).unwrap();
    hvp.handle(0, &id(1), &message).unwrap();
    hvp.drain();
    hvp.handle(0, &id(2), &message).unwrap();
    assert_eq!(said(&hvp.drain()), [(id(2), Control::Prune)]);
    assert_eq!(hvp.eager(), [id(1), id(3)]);
    hvp.handle(0, &id(3), &bytes(Control::Prune)).unwrap();
    let second = gossip(9, 2, b"y");
    let announce =
        Control::IHave { announced: List::new("ids", vec![Announced { id: second.id(), hops: 3 }]).unwrap() };
    for from in [2, 3] {
        hvp.handle(0, &id(from), &bytes(announce.clone())).unwrap();
    }
    let graft = |to| (id(to), Control::Graft { ids: List::new("ids", vec![second.id()]).unwrap() });
    hvp.tick(config.graft_us - 1);
    assert_eq!(said(&hvp.drain()), []);
    hvp.tick(config.graft_us);
    assert_eq!(said(&hvp.drain()), [graft(2)]);
    hvp.tick(config.graft_us + config.graft_again_us);
    assert_eq!(said(&hvp.drain()), [graft(3)]);
    let now = config.graft_us + config.graft_again_us;
    hvp.handle(now, &id(3), &wire::encode(&second).unwrap()).unwrap();
    assert_eq!(hvp.stats().awaited, 0);
    let to: Vec<PeerId> = hvp
        .drain()
        .iter()
        .filter_map(|action| if let Action::Send { to, .. } = action { Some(*to) } else { None })
        .collect();
    assert_eq!(to, [id(1)], "2 has announced it and 3 has sent it");
}

#[test]
fn the_optimisation_by_hops_is_off_unless_asked_for() {
    for (threshold, grafts) in [(None, 0), (Some(3), 1), (Some(7), 0)] {
        let config = Config { optimize_hops: threshold, ..Config::default() };
        let mut hvp = linked(&config, 3);
        let far = Gossip { hops: 9, ..gossip(9, 1, b"x") };
        let announced = List::new("ids", vec![Announced { id: far.id(), hops: 2 }]).unwrap();
        hvp.handle(0, &id(2), &bytes(Control::IHave { announced })).unwrap();
        hvp.handle(0, &id(1), &wire::encode(&far).unwrap()).unwrap();
        let all = said(&hvp.drain());
        let graft = all.iter().filter(|(to, said)| *to == id(2) && matches!(said, Control::Graft { .. })).count();
        assert_eq!(graft, grafts, "threshold {threshold:?}");
        assert_eq!(hvp.eager().contains(&id(1)), grafts == 0);
    }
}

#[test]
fn ids_are_remembered_in_two_generations() {
    let config = Config { cache: 4, dedup: 8, ..Config::default() };
    let mut hvp = linked(&config, 1);
    let send = |hvp: &mut Hvp, number| {
        hvp.handle(0, &id(1), &wire::encode(&gossip(9, number, b"")).unwrap()).unwrap();
        hvp.drain();
        hvp.stats().delivered
    };
    for number in 1..=8 {
        assert_eq!(send(&mut hvp, number), number);
    }
    for number in 5..=8 {
        assert_eq!(send(&mut hvp, number), 8, "one of the last four comes again");
    }
    assert!(hvp.stats().seen <= 8);
    for number in 9..=20 {
        send(&mut hvp, number);
        assert!(hvp.stats().seen <= 8);
    }
    assert_eq!(send(&mut hvp, 1), 21, "what was forgotten is new: this is the limit that the guarantee names");
}

#[test]
fn a_gap_holds_back_for_a_while_and_what_is_late_is_dropped() {
    let config = Config { ordered: true, ..Config::default() };
    let mut hvp = linked(&config, 1);
    let take = |hvp: &mut Hvp, now, life, number: u64| {
        let message = Gossip { life, ..gossip(9, number, &number.to_le_bytes()) };
        hvp.handle(now, &id(1), &wire::encode(&message).unwrap()).unwrap();
        numbers(&hvp.drain())
    };
    assert_eq!(take(&mut hvp, 0, 1, 1), [1]);
    assert!(take(&mut hvp, 0, 1, 3).is_empty());
    assert!(take(&mut hvp, 0, 1, 4).is_empty());
    assert_eq!(take(&mut hvp, 0, 1, 2), [2, 3, 4]);
    assert!(take(&mut hvp, 0, 1, 7).is_empty());
    assert_eq!(hvp.stats().held, 1);
    assert!(hvp.next_deadline().is_some_and(|at| at <= config.gap_us));
    hvp.tick(config.gap_us);
    assert_eq!(numbers(&hvp.drain()), [7]);
    assert!(take(&mut hvp, config.gap_us, 1, 6).is_empty(), "after 7 there is no 6 any more");
    assert!(take(&mut hvp, config.gap_us, 1, 9).is_empty());
    assert_eq!(take(&mut hvp, config.gap_us, 2, 1), [9, 1], "the origin's next life ends the gaps of the one before");
    assert!(take(&mut hvp, config.gap_us, 1, 10).is_empty());
    assert_eq!(hvp.stats().held, 0);
}

fn numbers(actions: &[Action]) -> Vec<u64> {
    let payloads = actions.iter().filter_map(|action| match action {
        Action::Deliver { payload, .. } => payload.as_slice().try_into().ok().map(u64::from_le_bytes),
        _ => None,
    });
    payloads.collect()
}

#[test]
fn what_is_held_back_is_bounded() {
    let config = Config { ordered: true, gap_us: 3600 * SECOND, ..Config::default() };
    let mut hvp = linked(&config, 1);
    for number in 0..5000u64 {
        let message = gossip(100 + number % 50, 2 + 2 * number, b"x");
        hvp.handle(0, &id(1), &wire::encode(&message).unwrap()).unwrap();
        hvp.drain();
        assert!(hvp.stats().held <= 1024);
    }
    for origin in 0..5000u64 {
        let message = gossip(100_000 + origin, 2, b"x");
        hvp.handle(0, &id(1), &wire::encode(&message).unwrap()).unwrap();
        hvp.drain();
        assert!(hvp.stats().held <= 1024);
    }
}

#[test]
fn contacts_are_the_peers_own_and_of_the_network() {
    let config = Config { network: [5; 32], ..Config::default() };
    let contact = |number| Contact::new(&key(number), &[5; 32], "host:1", 1).unwrap();
    let other = Contact::new(&key(1), &[6; 32], "host:1", 1).unwrap();
    assert!(Hvp::new(other, [1; 32], config.clone(), Trust::Signed(key(1))).is_err(), "of another network");
    assert!(Hvp::new(contact(2), [1; 32], config.clone(), Trust::Signed(key(1))).is_err(), "of another key");
    let mut hvp = Hvp::new(contact(1), [1; 32], config, Trust::Signed(key(1))).unwrap();
    let foreign = Contact::new(&key(3), &[6; 32], "host:1", 1).unwrap();
    assert!(hvp.join(0, std::slice::from_ref(&foreign)).is_err() && hvp.drain().is_empty());
    hvp.join(0, &[]).unwrap();
    for (sender, contact) in [(2, contact(3)), (3, foreign), (2, Contact { sequence: 2, ..contact(2) })] {
        let ask = bytes(Control::Neighbor { priority: Priority::High, contact });
        assert!(hvp.handle(0, &key(sender).public(), &ask).is_err());
    }
    assert_eq!((hvp.active(), hvp.passive()), (vec![], vec![]));
    befriend(&mut hvp, 0, &contact(2));
    let records = List::new("records", vec![contact(4), Contact { sequence: 9, ..contact(5) }]).unwrap();
    let shuffle = bytes(Control::Shuffle { ttl: 1, nonce: 1, records });
    assert!(hvp.handle(0, &key(2).public(), &shuffle).is_err(), "one of the contacts is forged");
    assert_eq!(hvp.passive(), Vec::<PeerId>::new());
}

#[test]
fn settings_out_of_their_limits_are_refused() {
    let wrong = [
        Config { active: 0, ..Config::default() },
        Config { active: 65, ..Config::default() },
        Config { passive: 0, ..Config::default() },
        Config { arwl: 7, ..Config::default() },
        Config { shuffle_ttl: 7, ..Config::default() },
        Config { shuffle_active: 4, ..Config::default() },
        Config { cache: 1025, ..Config::default() },
        Config { cache: 100, dedup: 100, ..Config::default() },
        Config { dedup: 65_537, ..Config::default() },
        Config { catch_up: 1001, ..Config::default() },
        Config { joins_per_s: 0, ..Config::default() },
        Config { shuffle_us: 0, ..Config::default() },
        Config { gap_us: u64::MAX, ..Config::default() },
    ];
    for config in wrong {
        assert!(Hvp::new(plain(0), [1; 32], config.clone(), Trust::Unsigned).is_err(), "{config:?}");
    }
    let mut hvp = node(0, &Config::default());
    let many: Vec<Contact> = (1..=33).map(plain).collect();
    assert!(hvp.join(0, &many).is_err() && hvp.join(0, &many[..32]).is_ok());
}

#[test]
fn a_join_flood_is_answered_but_not_forwarded_without_end() {
    let mut hvp = linked(&Config::default(), 5);
    for number in 0..1000 {
        hvp.handle(10 * SECOND, &id(100 + number), &bytes(Control::Join { contact: plain(100 + number) })).unwrap();
    }
    let all = said(&hvp.drain());
    let walks = all.iter().filter(|(_, said)| matches!(said, Control::ForwardJoin { .. })).count();
    assert_eq!(walks, 499, "of a hundred JOINs, to five others each; the first was taken in and is one of them");
    assert_eq!((hvp.active().len(), hvp.stats().passive), (5, 30));
}
