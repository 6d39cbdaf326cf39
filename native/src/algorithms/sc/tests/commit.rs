use super::*;

fn prepare(manifest: &Manifest) -> Command {
    Command::Prepare { manifest: manifest.clone(), certificates: Certificates::default() }
}

#[test]
fn all_listed_shards_do_it_once() {
    let mut shards = Shards::new(&[1, 2, 3]);
    let manifest = shards.manifest(1, &[(1, 0), (2, 0), (3, 0)], &[(1, 1)]);
    let before = shards.at(1).machine.version(&key_of(&layout(&[1, 2, 3]), 1, 0));
    assert_eq!(shards.drive(&manifest, false), Some(Outcome::Committed));
    let txid = manifest.txid().unwrap();
    assert!(shards.shards.values().all(|shard| shard.done == [(txid, true)]));
    assert!(shards.is_quiet());
    assert_eq!(shards.at(3).machine.end_of(&txid), Some(End::Committed));
    assert!(shards.at(1).machine.version(&key_of(&layout(&[1, 2, 3]), 1, 0)) > before);
    assert_eq!(shards.at(3).machine.decisions().count(), 0, "all have acknowledged");
    shards.tick(11);
    assert_eq!(shards.at(1).machine.end_of(&txid), None);
}

#[test]
fn a_stale_version_aborts_everywhere() {
    let mut shards = Shards::new(&[1, 2]);
    let first = shards.manifest(1, &[(1, 0), (2, 0)], &[]);
    let stale = shards.manifest(2, &[(1, 0), (2, 1)], &[]);
    assert_eq!(shards.drive(&first, false), Some(Outcome::Committed));
    assert_eq!(shards.drive(&stale, false), Some(Outcome::Aborted));
    assert!(shards.is_quiet());
}

#[test]
fn what_has_ended_everywhere_makes_room() {
    let mut shards = Shards::new(&[1, 2]);
    let most = Config::default().open_max as usize;
    for number in 0..=most {
        let manifest = match number % 2 {
            0 => shards.manifest(1, &[(1, 0), (2, 0)], &[]),
            _ => shards.manifest(1, &[(2, 0)], &[]),
        };
        // Each attempt is driven alone: what was said about others tells nothing about it.
        let mut words = Vec::new();
        while !Coordinator::from_certificates(manifest.clone(), words.clone(), &shards.layouts)
            .unwrap()
            .is_finished(&shards.layout)
        {
            let coordinator = Coordinator::from_certificates(manifest.clone(), words.clone(), &shards.layouts).unwrap();
            for (shard, command) in coordinator.next(&shards.layout, true).unwrap() {
                words.extend(shards.at(shard).order(&command).unwrap());
            }
        }
        let coordinator = Coordinator::from_certificates(manifest.clone(), words, &shards.layouts).unwrap();
        for (shard, command) in coordinator.next(&shards.layout, true).unwrap() {
            shards.at(shard).order(&command).unwrap();
        }
        assert_eq!(coordinator.outcome(), Some(Outcome::Committed), "number {number}");
    }
    assert_eq!(shards.at(2).machine.decisions().count(), 0);
    assert!(shards.is_quiet());
}

#[test]
fn the_decider_says_of_what_has_ended_what_it_said() {
    let mut shards = Shards::new(&[1, 2]);
    let manifest = shards.manifest(1, &[(1, 0), (2, 0)], &[]);
    assert_eq!(shards.drive(&manifest, false), Some(Outcome::Committed));
    assert_eq!(shards.at(2).machine.decisions().count(), 0);
    shards.at(2).crash();
    assert_eq!(shards.at(2).order(&prepare(&manifest)).unwrap()[0].statement.verdict, Verdict::Prepared);
    let expire = Command::Expire { manifest: manifest.clone() };
    assert_eq!(shards.at(2).order(&expire).unwrap()[0].statement.verdict, Verdict::Prepared);
    let released = said(&shards, 1, &manifest, Verdict::Released);
    let acknowledge = Command::Acknowledge { manifest: manifest.clone(), certificate: released };
    assert!(shards.at(2).order(&acknowledge).unwrap().is_empty(), "told twice");
    shards.check();
}

#[test]
fn a_shard_without_versions_left_locks_nothing() {
    let mut shards = Shards::new(&[1, 2]);
    let manifest = shards.manifest(1, &[], &[(1, 0), (1, 1), (2, 0)]);
    let mut snapshot = shards.at(1).machine.snapshot().unwrap();
    let counter = 6 + 2 + 20 + 16;
    snapshot[counter..counter + 8].copy_from_slice(&(u64::MAX - 1).to_le_bytes());
    let fresh = || Participant::new(1, Config::default(), layout(&[1, 2])).unwrap();
    let mut last = Shard::new(Participant::restore(fresh(), &[snapshot]).unwrap());
    let refused = last.order(&prepare(&manifest)).unwrap_err().to_string();
    assert!(refused.contains("no versions left after 18446744073709551614"), "{refused}");
    // One key has the last version there is; a state that needs one more cannot be.
    let one = shards.manifest(2, &[], &[(1, 0), (2, 0)]);
    last.order(&prepare(&one)).unwrap();
    let mut snapshot = last.machine.snapshot().unwrap();
    snapshot[counter] = 0xff;
    let refused = Participant::restore(fresh(), &[snapshot]).err().unwrap().to_string();
    assert!(refused.contains("no versions left"), "{refused}");
}

#[test]
fn a_single_shard_commits_at_once() {
    let mut shards = Shards::new(&[1, 2]);
    let manifest = shards.manifest(1, &[(2, 0)], &[]);
    assert_eq!(shards.drive(&manifest, false), Some(Outcome::Committed));
    assert_eq!(shards.at(2).done.len(), 1);
    let again = shards.at(2).order(&prepare(&manifest)).unwrap();
    assert_eq!(again[0].statement.verdict, Verdict::Prepared, "the same word again");
    assert_eq!(shards.at(2).done.len(), 1);
}

/// The certificate of a verdict that a shard gave of a transaction.
fn said(shards: &Shards, shard: u16, manifest: &Manifest, verdict: Verdict) -> Certificate {
    let txid = manifest.txid().unwrap();
    let about =
        |one: &Certificate| (one.statement.shard, one.statement.txid, one.statement.verdict) == (shard, txid, verdict);
    shards.heard().into_iter().find(about).expect("it was said")
}

/// Two shards; the first attempt is prepared at shard 1 and refused by shard 2, whose key another transaction has locked.
fn aborted_attempt(shards: &mut Shards) -> Manifest {
    let first = shards.manifest(1, &[(1, 0), (2, 0)], &[]);
    let other = shards.manifest(9, &[(2, 0), (3, 0)], &[]);
    shards.at(2).order(&prepare(&other)).unwrap();
    shards.at(1).order(&prepare(&first)).unwrap();
    shards.at(2).order(&prepare(&first)).unwrap();
    assert_eq!(shards.drive(&first, false), Some(Outcome::Aborted));
    assert_eq!(shards.drive(&other, false), Some(Outcome::Committed));
    assert!(shards.is_quiet());
    first
}

#[test]
fn must_survive_a_replayed_prepared_of_an_aborted_attempt() {
    let mut shards = Shards::new(&[1, 2, 3]);
    let first = aborted_attempt(&mut shards);
    let old = said(&shards, 1, &first, Verdict::Prepared);
    let again = shards.manifest(1, &[(1, 0), (2, 0)], &[]);
    assert_ne!(again.txid(), first.txid(), "the versions have moved on, at shard 1 by the abort");
    let certificates = Certificates::new("certificates", vec![old]).unwrap();
    // The decider is shown the old vote of shard 1, which has not voted on the new attempt.
    let replay = Command::Prepare { manifest: again.clone(), certificates: certificates.clone() };
    assert!(shards.at(2).order(&replay).unwrap_err().to_string().contains("another transaction"));
    let replay = Command::Prepare { manifest: first.clone(), certificates };
    let word = shards.at(2).order(&replay).unwrap();
    assert_eq!(word[0].statement.verdict, Verdict::Abort, "and of the old attempt it says what it said");
    assert_eq!(shards.drive(&again, false), Some(Outcome::Committed));
}

#[test]
fn must_survive_a_replayed_abort_of_an_aborted_attempt() {
    let mut shards = Shards::new(&[1, 2, 3]);
    let first = aborted_attempt(&mut shards);
    let certificate = said(&shards, 2, &first, Verdict::Abort);
    let again = shards.manifest(1, &[(1, 0), (2, 0)], &[]);
    let vote = shards.at(1).order(&prepare(&again)).unwrap();
    let certificates = Certificates::new("certificates", vote).unwrap();
    shards.at(2).order(&Command::Prepare { manifest: again.clone(), certificates }).unwrap();
    // Shard 2 has committed; shard 1 is shown the Abort of the earlier attempt.
    let replay = Command::Abort { manifest: again.clone(), certificate };
    assert!(shards.at(1).order(&replay).unwrap_err().to_string().contains("another transaction"));
    assert_eq!(shards.drive(&again, false), Some(Outcome::Committed));
}

#[test]
fn must_survive_a_session_that_does_not_fit() {
    let mut shards = Shards::new(&[1, 2]);
    let manifest = shards.manifest(1, &[(1, 0), (2, 0)], &[]);
    shards.at(1).order(&prepare(&manifest)).unwrap();
    let mut statement = said(&shards, 1, &manifest, Verdict::Prepared).statement;
    (statement.shard, statement.verdict, statement.session) = (2, Verdict::Abort, [9; 32]);
    let abort = Command::Abort { manifest, certificate: certify(&shards.layout, statement) };
    assert!(shards.at(1).order(&abort).unwrap_err().to_string().contains("another session"));
}

#[test]
fn must_survive_an_output_only_shard_tricked() {
    let mut shards = Shards::new(&[1, 2, 3]);
    // Shard 1 gets an output only; its key is locked by another transaction.
    let other = shards.manifest(9, &[(1, 0), (3, 0)], &[]);
    shards.at(1).order(&prepare(&other)).unwrap();
    let manifest = shards.manifest(1, &[(2, 0), (3, 1)], &[(1, 0)]);
    let vote = shards.at(2).order(&prepare(&manifest)).unwrap();
    let certificates = Certificates::new("certificates", vote).unwrap();
    // Without the word of shard 1 the decider does nothing, ...
    let without = Command::Prepare { manifest: manifest.clone(), certificates: certificates.clone() };
    assert!(shards.at(3).order(&without).unwrap_err().to_string().contains("of shard 1 there is no certificate"));
    // ... and an output-only shard that has never been asked does not commit.
    let commit = Command::Commit { manifest: manifest.clone(), certificates };
    assert!(shards.at(1).order(&commit).unwrap_err().to_string().contains("not open"));
    shards.at(1).order(&prepare(&manifest)).unwrap();
    assert_eq!(shards.drive(&manifest, false), Some(Outcome::Aborted));
    assert_eq!(shards.drive(&other, false), Some(Outcome::Committed));
    assert!(shards.is_quiet());
}

#[test]
fn must_survive_a_refused_output_that_is_asked_again() {
    let mut shards = Shards::new(&[1, 2, 3]);
    let holder = shards.manifest(9, &[(2, 0)], &[(1, 0)]);
    shards.at(1).order(&prepare(&holder)).unwrap();
    let manifest = shards.manifest(1, &[(3, 0)], &[(1, 0)]);
    assert_eq!(shards.at(1).order(&prepare(&manifest)).unwrap()[0].statement.verdict, Verdict::Abort);
    assert_eq!(shards.drive(&holder, false), Some(Outcome::Committed));
    // The key is free, has no version in the manifest, and yet the answer stays.
    assert_eq!(shards.at(1).order(&prepare(&manifest)).unwrap()[0].statement.verdict, Verdict::Abort);
    shards.check();
    shards.tick(11);
    assert!(shards.at(1).order(&prepare(&manifest)).unwrap_err().to_string().contains("expired"));
}

#[test]
fn must_survive_a_coordinator_crash_at_every_step() {
    // The coordinator carries out so many of its commands, and is never seen again; the replicas crash too.
    for crash_after in 0..8 {
        let mut shards = Shards::new(&[1, 2, 3]);
        let manifest = shards.manifest(1, &[(1, 0), (2, 0), (3, 0)], &[(2, 1)]);
        let mut left = crash_after;
        'run: loop {
            let next = shards.coordinator(&manifest).next(&layout(&[1, 2, 3]), false).unwrap();
            if next.is_empty() {
                break;
            }
            for (shard, command) in next {
                if left == 0 {
                    break 'run;
                }
                left -= 1;
                shards.at(shard).order(&command).unwrap();
            }
        }
        shards.shards.values_mut().for_each(Shard::crash);
        let outcome = shards.drive(&manifest, false);
        assert_eq!(outcome, Some(Outcome::Committed), "after {crash_after} commands");
        assert!(shards.is_quiet());
        assert!(shards.shards.values().all(|shard| shard.done.len() == 1));
    }
}

#[test]
fn must_survive_the_loss_of_all_certificates() {
    let mut shards = Shards::new(&[1, 2, 3]);
    let manifest = shards.manifest(1, &[(1, 0), (2, 0), (3, 0)], &[]);
    let votes: Vec<Certificate> =
        [1, 2].into_iter().flat_map(|shard| shards.at(shard).order(&prepare(&manifest)).unwrap()).collect();
    let certificates = Certificates::new("certificates", votes).unwrap();
    shards.at(3).order(&Command::Prepare { manifest: manifest.clone(), certificates }).unwrap();
    shards.shards.values_mut().for_each(|shard| shard.said.clear());
    shards.tick(50);
    // The decider keeps what others need, long after the expiry.
    let kept = shards.at(3).machine.decisions().next().unwrap().1.certificates.to_vec();
    shards.at(3).machine.ask(&manifest).unwrap();
    shards.at(3).settle();
    shards.at(3).said.extend(kept);
    assert_eq!(shards.drive(&manifest, false), Some(Outcome::Committed));
    assert!(shards.is_quiet());
    assert_eq!(shards.at(3).machine.decisions().count(), 0, "all have let go");
}

#[test]
fn must_survive_expiry_racing_commit() {
    // The decider's log has the commit first, and then the expiry: nobody who is prepared lets go.
    let mut shards = Shards::new(&[1, 2, 3]);
    let manifest = shards.manifest(1, &[(1, 0), (2, 0), (3, 0)], &[]);
    let votes: Vec<Certificate> =
        [1, 2].into_iter().flat_map(|shard| shards.at(shard).order(&prepare(&manifest)).unwrap()).collect();
    let certificates = Certificates::new("certificates", votes).unwrap();
    let decide = Command::Prepare { manifest: manifest.clone(), certificates };
    shards.at(3).order(&decide).unwrap();
    shards.tick(11);
    assert!(shards.at(1).machine.locked_by(&manifest.inputs[0].key).is_some(), "the expiry alone frees no lock");
    let word = shards.at(3).order(&Command::Expire { manifest: manifest.clone() }).unwrap();
    assert_eq!(word[0].statement.verdict, Verdict::Prepared);
    assert_eq!(shards.drive(&manifest, false), Some(Outcome::Committed));
    assert!(shards.is_quiet());

    // The expiry first, and then the commit: nobody does it.
    let mut shards = Shards::new(&[1, 2, 3]);
    let manifest = shards.manifest(1, &[(1, 0), (2, 0), (3, 0)], &[]);
    [1, 2].into_iter().for_each(|shard| drop(shards.at(shard).order(&prepare(&manifest)).unwrap()));
    let early = shards.at(3).order(&Command::Expire { manifest: manifest.clone() });
    assert!(early.unwrap_err().to_string().contains("expires after height 10"));
    assert!(shards.at(1).order(&Command::Expire { manifest: manifest.clone() }).is_err(), "shard 3 decides");
    shards.tick(11);
    let word = shards.at(3).order(&Command::Expire { manifest: manifest.clone() }).unwrap();
    assert_eq!(word[0].statement.verdict, Verdict::Expired);
    let late = shards.at(3).order(&decide);
    assert!(late.is_err() || late.unwrap().is_empty());
    assert_eq!(shards.drive(&manifest, false), Some(Outcome::Aborted));
    assert!(shards.is_quiet());
    assert!(shards.at(3).done.is_empty());
}

#[test]
fn must_survive_two_transactions_that_lock_each_others_keys() {
    // Of two shards one decides for both, and locks nothing before it decides: whoever is first at the other one wins.
    let mut shards = Shards::new(&[1, 2]);
    let one = shards.manifest(1, &[(1, 0), (2, 0)], &[]);
    let other = shards.manifest(2, &[(1, 0), (2, 0)], &[]);
    shards.at(1).order(&prepare(&one)).unwrap();
    shards.at(1).order(&prepare(&other)).unwrap();
    let ends = [shards.drive(&other, false), shards.drive(&one, false)];
    assert_eq!(ends, [Some(Outcome::Aborted), Some(Outcome::Committed)]);
    assert!(shards.is_quiet());

    // Of three, each gets one key first: in the worst case both are refused, and nothing hangs.
    let mut shards = Shards::new(&[1, 2, 3]);
    let one = shards.manifest(1, &[(1, 0), (2, 0), (3, 0)], &[]);
    let other = shards.manifest(2, &[(1, 0), (2, 0), (3, 0)], &[]);
    for (shard, manifest) in [(1, &one), (2, &other), (1, &other), (2, &one)] {
        shards.at(shard).order(&prepare(manifest)).unwrap();
    }
    assert_eq!(shards.drive(&one, false), Some(Outcome::Aborted));
    assert_eq!(shards.drive(&other, false), Some(Outcome::Aborted));
    assert!(shards.is_quiet());

    // Asked in order, one of them wins whatever the order of their steps is.
    for schedule in 0u32..64 {
        let mut shards = Shards::new(&[1, 2, 3]);
        let rivals: Vec<Manifest> = (0..2).map(|body| shards.manifest(body, &[(1, 0), (2, 0), (3, 0)], &[])).collect();
        for step in 0..6 {
            let manifest = &rivals[(schedule >> step & 1) as usize];
            let next = shards.coordinator(manifest).next(&layout(&[1, 2, 3]), true).unwrap();
            next.iter().for_each(|(shard, command)| drop(shards.at(*shard).order(command)));
        }
        let ends: Vec<Option<Outcome>> = rivals.iter().map(|manifest| shards.drive(manifest, true)).collect();
        let won = ends.iter().filter(|end| **end == Some(Outcome::Committed)).count();
        assert_eq!((won, shards.is_quiet()), (1, true), "{schedule}: {ends:?}");
    }
}

#[test]
fn a_certificate_of_another_shard_is_not_taken_for_one() {
    let mut shards = Shards::new(&[1, 2, 3]);
    let manifest = shards.manifest(1, &[(1, 0), (2, 0), (3, 0)], &[]);
    let vote = shards.at(1).order(&prepare(&manifest)).unwrap();
    let twice = Certificates::new("certificates", vec![vote[0].clone(), vote[0].clone()]).unwrap();
    let decide = Command::Prepare { manifest: manifest.clone(), certificates: twice };
    assert!(shards.at(3).order(&decide).unwrap_err().to_string().contains("of shard 2 there is no certificate"));
    // An Abort of a shard that is not listed ends nothing, nor does Expired of one that does not decide.
    let small = shards.manifest(2, &[(1, 1), (2, 1)], &[]);
    shards.at(1).order(&prepare(&small)).unwrap();
    let mut statement = said(&shards, 1, &small, Verdict::Prepared).statement;
    for (shard, verdict) in [(3, Verdict::Abort), (1, Verdict::Expired), (2, Verdict::Released)] {
        (statement.shard, statement.verdict) = (shard, verdict);
        let abort = Command::Abort { manifest: small.clone(), certificate: certify(&shards.layout, statement) };
        assert!(shards.at(1).order(&abort).unwrap_err().to_string().contains("ends nothing"));
    }
}

#[test]
fn certificates_alone_drive_a_shard_on() {
    let mut shards = Shards::new(&[1, 2, 3]);
    let manifest = shards.manifest(1, &[(1, 0), (2, 0), (3, 0)], &[]);
    let votes: Vec<Certificate> =
        [1, 2].into_iter().flat_map(|shard| shards.at(shard).order(&prepare(&manifest)).unwrap()).collect();
    let certificates = Certificates::new("certificates", votes).unwrap();
    shards.at(3).order(&Command::Prepare { manifest: manifest.clone(), certificates }).unwrap();
    for certificate in shards.heard() {
        shards.at(1).machine.on_certificate(&wire::encode(&certificate).unwrap()).unwrap();
    }
    shards.at(1).settle();
    let proposed = shards.at(1).proposals.pop_front().unwrap();
    assert!(matches!(proposed, Command::Commit { .. }));
    let released = shards.at(1).order(&proposed).unwrap();
    shards.at(3).machine.on_certificate(&wire::encode(&released[0]).unwrap()).unwrap();
    shards.at(3).settle();
    assert!(matches!(shards.at(3).proposals.pop_front(), Some(Command::Acknowledge { .. })));
}

#[test]
fn nothing_is_said_before_it_is_durable() {
    let mut shards = Shards::new(&[1, 2]);
    let manifest = shards.manifest(1, &[(1, 0), (2, 0)], &[]);
    let machine = &mut shards.at(1).machine;
    machine.on_local_commit(&prepare(&manifest)).unwrap();
    // Asked again, and asked for its word, before anything is durable.
    machine.on_local_commit(&prepare(&manifest)).unwrap();
    machine.ask(&manifest).unwrap();
    machine.restate().unwrap();
    let effects = machine.drain();
    assert!(effects.iter().all(|effect| matches!(effect, Effect::Persist { .. })), "{effects:?}");
    machine.durable(4).unwrap();
    assert_eq!(machine.drain().len(), 4);
}

#[test]
fn keys_that_were_forgotten_share_the_latest_version() {
    let config = Config { keys_max: 2, ..Config::default() };
    let one = layout(&[1]);
    let mut shard = Shard::new(Participant::new(1, config, one.clone()).unwrap());
    let mut seen = Vec::new();
    for number in 0..5 {
        let key = key_of(&one, 1, number);
        let version = shard.machine.version(&key);
        let input = Input { shard: 1, key, version };
        let manifest = Manifest::new(CHAIN, 5, [0; 32], 10, vec![input], vec![]).unwrap();
        shard.order(&prepare(&manifest)).unwrap();
        assert!(shard.machine.version(&key) > version);
        seen.push((key, shard.machine.version(&key)));
    }
    assert!(seen.iter().all(|(key, version)| shard.machine.version(key) >= *version), "no version comes back");
    assert_eq!(shard.machine.version(&seen[0].0), seen[2].1);
}
