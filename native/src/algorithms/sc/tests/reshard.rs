use super::*;

fn prepare(manifest: &Manifest) -> Command {
    Command::Prepare { manifest: manifest.clone(), certificates: Certificates::default() }
}

impl Shards {
    /// The next epoch's layout; shards that it adds begin to wait.
    pub(super) fn next_layout(&mut self, numbers: &[u16]) -> Layout {
        let next = self.layout.next(committees(numbers)).unwrap();
        for shard in numbers.iter().filter(|shard| !self.layout.has(**shard)) {
            let machine = Participant::join(*shard, Config::default(), self.layout.clone(), next.clone()).unwrap();
            self.shards.insert(*shard, Shard::new(machine));
        }
        self.layouts.push(next.clone());
        next
    }

    pub(super) fn boundary(&mut self, shard: u16, layout: &Layout) -> Result<()> {
        self.at(shard).order(&Command::Boundary { layout: layout.clone(), application: [3; 32] }).map(drop)
    }

    /// Brings every part to where it belongs, and the word of it back.
    pub(super) fn carry_parts(&mut self) {
        let parts: Vec<(Part, HandoverCertificate)> = self
            .shards
            .values()
            .flat_map(|shard| {
                let part = |part: &Part| (part.clone(), shard.handed_over.last().unwrap().clone());
                shard.machine.exports().map(part).collect::<Vec<_>>()
            })
            .collect();
        for (part, handover) in parts {
            let (from, to) = (part.from, part.to);
            let import = Command::Import { part, handover };
            let imported = self.at(to).order(&import).unwrap();
            let again = self.at(to).order(&import).unwrap();
            assert_eq!(imported, again, "a part that comes twice is taken over once");
            let command = Command::Delivered { certificate: imported[0].clone() };
            self.at(from).order(&command).unwrap();
        }
    }

    /// A manifest with a key of shard 1 and one of shard 2 that `next` gives to shard `to`.
    fn moving(&self, body: u8, next: &Layout, to: u16) -> Manifest {
        let moves =
            |shard: u16| (0..).map(|at| key_of(&self.layout, shard, at)).find(|key| next.shard_of(key) == to).unwrap();
        let stays = |shard: u16| {
            (0..).map(|at| key_of(&self.layout, shard, at)).find(|key| next.shard_of(key) == shard).unwrap()
        };
        let inputs = [(1, moves(1)), (1, stays(1)), (2, moves(2)), (3, stays(3))];
        let input =
            |(shard, key): (u16, Digest)| Input { shard, key, version: self.shards[&shard].machine.version(&key) };
        Manifest::new(CHAIN, self.layout.since(), [body; 32], 20, inputs.map(input).to_vec(), vec![]).unwrap()
    }
}

/// Shards 1, 2 and 3; a transaction is prepared at 1 and 2, and decided by 3 if `decided`; then shard 4 comes.
fn in_mid_transaction(decided: bool) -> (Shards, Manifest, Layout) {
    let mut shards = Shards::new(&[1, 2, 3]);
    let next = shards.next_layout(&[1, 2, 3, 4]);
    let manifest = shards.moving(1, &next, 4);
    let votes: Vec<Certificate> =
        [1, 2].into_iter().flat_map(|shard| shards.at(shard).order(&prepare(&manifest)).unwrap()).collect();
    if decided {
        let certificates = Certificates::new("certificates", votes).unwrap();
        shards.at(3).order(&Command::Prepare { manifest: manifest.clone(), certificates }).unwrap();
    }
    (shards, manifest, next)
}

#[test]
fn must_survive_a_reshard_in_mid_transaction_that_is_decided() {
    let (mut shards, manifest, next) = in_mid_transaction(true);
    let moved = manifest.inputs.iter().find(|input| input.shard == 2).unwrap().key;
    for shard in [1, 2, 3] {
        shards.boundary(shard, &next).unwrap();
    }
    shards.layout = next;
    assert_eq!(shards.at(2).machine.locked_by(&moved), None, "the lock has left");
    shards.carry_parts();
    assert_eq!(shards.at(4).machine.locked_by(&moved), manifest.txid().ok(), "and has arrived");
    shards.shards.values_mut().filter(|shard| shard.machine.shard() < 4).for_each(Shard::crash);
    // Somebody else wants the key in the meantime.
    let rival = Input { shard: 4, key: moved, version: shards.at(4).machine.version(&moved) };
    let rival = Manifest::new(CHAIN, 6, [8; 32], 20, vec![rival], vec![]).unwrap();
    assert_eq!(shards.at(4).order(&prepare(&rival)).unwrap()[0].statement.verdict, Verdict::Abort);
    assert_eq!(shards.drive(&manifest, false), Some(Outcome::Committed));
    let txid = manifest.txid().unwrap();
    assert!([1, 3, 4].iter().all(|shard| shards.shards[shard].done.contains(&(txid, true))));
    assert!(shards.is_quiet());
    shards.tick(21);
    assert_eq!(shards.at(3).machine.decisions().count(), 0, "those who have the keys now have acknowledged");
}

#[test]
fn must_survive_a_reshard_in_mid_transaction_that_is_not_decided() {
    let (mut shards, manifest, next) = in_mid_transaction(false);
    for shard in [1, 2, 3] {
        shards.boundary(shard, &next).unwrap();
    }
    shards.layout = next;
    // Shard 3 has not decided under the old layout, and never will.
    shards.carry_parts();
    let word = shards.at(3).order(&prepare(&manifest)).unwrap();
    assert_eq!(word[0].statement.verdict, Verdict::Abort);
    assert!(shards.at(1).order(&prepare(&shards_manifest_of_old_layout(&manifest))).is_err());
    assert_eq!(shards.drive(&manifest, false), Some(Outcome::Aborted));
    assert!(shards.is_quiet());
    assert!(shards.at(3).done.is_empty());
}

/// Another transaction of the layout that is over.
fn shards_manifest_of_old_layout(manifest: &Manifest) -> Manifest {
    Manifest { body: [77; 32], ..manifest.clone() }
}

#[test]
fn must_survive_a_shard_without_a_block_for_a_whole_epoch() {
    let (mut shards, manifest, next) = in_mid_transaction(true);
    shards.asleep.insert(1);
    // Shard 1 stands still. The others go on: they have done their part of the transaction, and begin the epoch.
    for shard in [2, 3] {
        shards.boundary(shard, &next).unwrap();
    }
    let old = std::mem::replace(&mut shards.layout, next.clone());
    shards.carry_parts();
    shards.shards.iter_mut().filter(|(shard, _)| **shard != 1).for_each(|(_, shard)| shard.tick(30));
    assert_eq!(shards.at(4).machine.awaited().collect::<Vec<_>>(), [1]);
    let _ = shards.drive(&manifest, false);
    assert!(shards.at(3).machine.decisions().count() == 1, "shard 1 may still have locks");
    assert!(shards.at(4).machine.says(&manifest).unwrap().is_none(), "keys of shard 1 may still arrive locked");
    // The epoch after has to wait for it; and it cannot skip one.
    let later = next.next(committees(&[1, 2, 3, 4])).unwrap();
    assert!(shards.boundary(4, &later).unwrap_err().to_string().contains("waits"));
    assert!(shards.boundary(1, &later).unwrap_err().to_string().contains("comes one of the epoch after"));
    shards.asleep.clear();
    // It comes back, crosses its own boundary with the layout of its own last block, and all ends well.
    shards.boundary(1, &next).unwrap();
    assert_eq!(shards.at(1).handed_over.last().unwrap().verify(&old), Ok(()));
    shards.carry_parts();
    shards.tick(31);
    assert_eq!(shards.drive(&manifest, false), Some(Outcome::Committed));
    assert!(shards.is_quiet());
    assert_eq!(shards.at(3).machine.decisions().count(), 0);
    for shard in [1, 2, 3, 4] {
        shards.boundary(shard, &later).unwrap();
    }
}

#[test]
fn a_shard_that_goes_leaves_its_decisions_to_whoever_speaks_for_it() {
    let mut shards = Shards::new(&[1, 2, 3]);
    let manifest = shards.manifest(1, &[(1, 0), (2, 0), (3, 0)], &[]);
    let votes: Vec<Certificate> =
        [1, 2].into_iter().flat_map(|shard| shards.at(shard).order(&prepare(&manifest)).unwrap()).collect();
    let certificates = Certificates::new("certificates", votes).unwrap();
    shards.at(3).order(&Command::Prepare { manifest: manifest.clone(), certificates }).unwrap();
    shards.tick(11);
    let next = shards.next_layout(&[1, 2]);
    for shard in [1, 2, 3] {
        shards.boundary(shard, &next).unwrap();
    }
    shards.layout = next.clone();
    let heir = next.speaks_for(3);
    let early = shards.at(heir).order(&Command::Expire { manifest: manifest.clone() });
    assert!(early.is_err(), "it does not know yet what shard 3 has decided");
    shards.carry_parts();
    let word = shards.at(heir).order(&Command::Expire { manifest: manifest.clone() }).unwrap();
    assert_eq!((word[0].statement.shard, word[0].statement.verdict), (3, Verdict::Prepared));
    word[0].verify([&next]).unwrap();
    assert!(shards.at(3).order(&prepare(&manifest)).unwrap_err().to_string().contains("gone"));
    assert_eq!(shards.drive(&manifest, false), Some(Outcome::Committed));
    assert!([1, 2].iter().all(|shard| shards.shards[shard].machine.decisions().count() == 0), "the heir too lets go");
    shards.check();
    assert!(shards.is_quiet());
}

#[test]
fn what_a_shard_that_goes_has_not_decided_is_refused_by_whoever_speaks_for_it() {
    let mut shards = Shards::new(&[1, 2, 3]);
    let manifest = shards.manifest(1, &[(1, 0), (2, 0), (3, 0)], &[]);
    for shard in [1, 2] {
        shards.at(shard).order(&prepare(&manifest)).unwrap();
    }
    let next = shards.next_layout(&[1, 2]);
    for shard in [1, 2, 3] {
        shards.boundary(shard, &next).unwrap();
    }
    shards.layout = next.clone();
    let heir = next.speaks_for(3);
    let early = shards.at(heir).order(&prepare(&manifest)).unwrap();
    assert_eq!(early[0].statement.verdict, Verdict::Prepared, "shard 3 may have decided, for all that is known");
    shards.carry_parts();
    let word = shards.at(heir).order(&prepare(&manifest)).unwrap();
    assert_eq!((word[0].statement.shard, word[0].statement.verdict), (3, Verdict::Abort));
    word[0].verify([&next]).unwrap();
    shards.at(heir).crash();
    let again = shards.at(heir).order(&Command::Expire { manifest: manifest.clone() }).unwrap();
    assert_eq!(again[0].statement, word[0].statement);
    assert_eq!(shards.drive(&manifest, false), Some(Outcome::Aborted));
    assert!(shards.is_quiet());
}

#[test]
fn parts_are_what_the_old_quorum_signed_and_nothing_else() {
    let (mut shards, _, next) = in_mid_transaction(true);
    shards.boundary(1, &next).unwrap();
    shards.boundary(2, &next).unwrap();
    let part = shards.at(1).machine.exports().next().unwrap().clone();
    let right = shards.at(1).handed_over[0].clone();
    let of_two = shards.at(2).handed_over[0].clone();
    let mut unlocked = part.clone();
    unlocked.open = wire::List::default();
    let mut few = right.clone();
    few.signatures = Signatures::new("signatures", right.signatures[..2].to_vec()).unwrap();
    for (part, handover, word) in [
        (unlocked, right.clone(), "not what the old quorum"),
        (part.clone(), of_two, "not what the old quorum"),
        (part.clone(), few, "a weight of 2"),
    ] {
        let refused = shards.at(4).order(&Command::Import { part, handover }).unwrap_err().to_string();
        assert!(refused.contains(word), "{refused}");
    }
    let refused = shards.at(2).order(&Command::Import { part: part.clone(), handover: right.clone() });
    assert!(refused.unwrap_err().to_string().contains("not waited for"));
    // The next committee of shard 1 takes the snapshot over, and no other.
    let snapshot = shards.at(1).machine.snapshot().unwrap();
    let old = layout(&[1, 2, 3]);
    let taken = Participant::take_over(&snapshot, &right, &old).unwrap();
    assert_eq!(taken.snapshot().unwrap(), snapshot);
    shards.at(1).tick(3);
    let later = shards.at(1).machine.snapshot().unwrap();
    assert!(Participant::take_over(&later, &right, &old).is_err());
}

#[test]
fn no_version_comes_back_when_a_key_comes_back() {
    let mut shards = Shards::new(&[1, 2]);
    let first = shards.layout.clone();
    let next = shards.next_layout(&[1, 2, 3]);
    let key = (0..).map(|at| key_of(&first, 1, at)).find(|key| next.shard_of(key) == 3).unwrap();
    let use_it = |shards: &mut Shards, shard: u16| {
        let version = shards.at(shard).machine.version(&key);
        let input = Input { shard, key, version };
        let manifest = Manifest::new(CHAIN, shards.layout.since(), [1; 32], 20, vec![input], vec![]).unwrap();
        shards.at(shard).order(&prepare(&manifest)).unwrap();
        version
    };
    let mut versions = vec![use_it(&mut shards, 1)];
    for shard in [1, 2] {
        shards.boundary(shard, &next).unwrap();
    }
    shards.layout = next;
    shards.carry_parts();
    versions.push(use_it(&mut shards, 3));
    let back = shards.next_layout(&[1, 2]);
    for shard in [1, 2, 3] {
        shards.boundary(shard, &back).unwrap();
    }
    shards.layout = back;
    shards.carry_parts();
    versions.push(use_it(&mut shards, 1));
    assert!(versions.windows(2).all(|pair| pair[0] < pair[1]), "{versions:?}");
}

/// Shards 1 and 2, the first with so many keys that a part does not hold them, and what 1 hands over when 3 comes.
fn with_many_keys() -> (Shards, Layout, BTreeMap<Digest, u64>) {
    let mut shards = Shards::new(&[1, 2]);
    let next = shards.next_layout(&[1, 2, 3]);
    let keys = (0..60_000u32).map(|at| hash::digest("city-chain v1 test name", &at.to_le_bytes()));
    let own: Vec<Digest> = keys.filter(|key| shards.layout.shard_of(key) == 1).collect();
    shards.at(1).machine.fill(&own);
    let moving = own.iter().filter(|key| next.shard_of(key) == 3);
    let versions = moving.map(|key| (*key, shards.shards[&1].machine.version(key))).collect();
    for shard in [1, 2] {
        shards.boundary(shard, &next).unwrap();
    }
    (shards, next, versions)
}

#[test]
fn a_shard_with_many_keys_gives_them_in_parts_that_fit() {
    let (mut shards, next, versions) = with_many_keys();
    let parts: Vec<Part> = shards.at(1).machine.exports().cloned().collect();
    assert!(parts.len() > 1, "{} keys fit into one part", versions.len());
    assert!(parts.iter().all(|part| wire::encode(part).unwrap().len() < PART_LEN + 1024));
    assert!(parts.iter().all(|part| usize::from(part.count) == parts.len()));
    let handover = shards.at(1).handed_over[0].clone();
    let import = |part: &Part| Command::Import { part: part.clone(), handover: handover.clone() };
    for (at, part) in parts.iter().enumerate().rev() {
        let rest = shards.at(3).machine.awaited().collect::<Vec<_>>();
        assert_eq!(rest, [1, 2], "all parts of a shard are waited for, {at} are not there");
        let key = part.versions[0].0;
        let input = Input { shard: 3, key, version: 0 };
        let early = Manifest::new(CHAIN, next.since(), [9; 32], 20, vec![input], vec![]).unwrap();
        let refused = shards.at(3).order(&prepare(&early)).unwrap_err().to_string();
        assert!(refused.contains("has not arrived"), "{refused}");
        let imported = shards.at(3).order(&import(part)).unwrap();
        assert_eq!(shards.at(3).order(&import(part)).unwrap(), imported, "a part that comes twice is taken over once");
        let delivered = Command::Delivered { certificate: imported[0].clone() };
        shards.at(1).order(&delivered).unwrap();
        shards.at(1).order(&delivered).unwrap();
        assert_eq!(shards.at(1).machine.exports().count(), at);
        shards.at(3).crash();
    }
    assert_eq!(shards.at(3).machine.awaited().collect::<Vec<_>>(), [2]);
    shards.layout = next;
    shards.carry_parts();
    assert_eq!(shards.at(3).machine.keys(), versions.len());
    assert!(versions.iter().all(|(key, version)| shards.shards[&3].machine.version(key) == *version));
    assert!(versions.keys().all(|key| shards.shards[&1].machine.version(key) == 0), "no key is at both");
}

#[test]
fn a_part_is_not_taken_for_another_of_its_shard() {
    let (mut shards, _, _) = with_many_keys();
    let parts: Vec<Part> = shards.at(1).machine.exports().cloned().collect();
    let handover = shards.at(1).handed_over[0].clone();
    let (mut renumbered, mut alone) = (parts[1].clone(), parts[0].clone());
    renumbered.number = 0;
    alone.count = 1;
    for part in [renumbered, alone] {
        let refused = shards.at(3).order(&Command::Import { part, handover: handover.clone() }).unwrap_err();
        assert!(refused.to_string().contains("not what the old quorum"), "{refused}");
    }
    let mut none = parts[0].clone();
    none.number = none.count;
    assert!(wire::encode(&none).unwrap_err().to_string().contains("number"));
    let imported = shards.at(3).order(&Command::Import { part: parts[0].clone(), handover }).unwrap();
    let mut of_another = imported[0].clone();
    of_another.statement.txid = [1; 32];
    let refused = shards.at(1).order(&Command::Delivered { certificate: of_another }).unwrap_err();
    assert!(refused.to_string().contains("not about a part"), "{refused}");
    assert_eq!(shards.at(1).machine.exports().count(), parts.len());
}

#[test]
fn a_new_shard_gets_its_share_of_the_keys_and_nothing_else_moves() {
    const KEYS: usize = 20_000;
    for shards in 2..8u16 {
        let numbers: Vec<u16> = (1..=shards).collect();
        let before = layout(&numbers);
        let after = before.next(committees(&[numbers, vec![shards + 1]].concat())).unwrap();
        let keys = (0..KEYS as u32).map(|at| hash::digest("city-chain v1 test name", &at.to_le_bytes()));
        let moved = keys.filter(|key| before.shard_of(key) != after.shard_of(key)).collect::<Vec<_>>();
        assert!(moved.iter().all(|key| after.shard_of(key) == shards + 1));
        // One of shards + 1 keys, within five standard deviations of a binomial draw.
        let share = 1.0 / f64::from(shards + 1);
        let tolerance = 5.0 * (share * (1.0 - share) / KEYS as f64).sqrt();
        let had = moved.len() as f64 / KEYS as f64;
        assert!((had - share).abs() < tolerance, "{shards} shards: {had} moved, {share} ± {tolerance} expected");
    }
}
