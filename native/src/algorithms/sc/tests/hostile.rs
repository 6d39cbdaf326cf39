use super::*;

#[test]
fn every_flipped_byte_of_a_certificate_is_refused() {
    let mut shards = Shards::new(&[1, 2]);
    let manifest = shards.manifest(1, &[(1, 0), (2, 0)], &[]);
    let prepare = Command::Prepare { manifest, certificates: Certificates::default() };
    let vote = shards.at(1).order(&prepare).unwrap().remove(0);
    let bytes = wire::encode(&vote).unwrap();
    let before = shards.at(1).machine.snapshot().unwrap();
    for at in 0..bytes.len() {
        let mut wrong = bytes.clone();
        wrong[at] ^= 1;
        let read = wire::decode::<Certificate>(&wrong);
        assert!(read.is_err() || read.unwrap().verify([&shards.layout]).is_err(), "byte {at}");
        let _ = shards.at(1).machine.on_certificate(&wrong);
        assert_eq!(shards.at(1).machine.snapshot().unwrap(), before, "byte {at}");
    }
    for end in 0..bytes.len() {
        assert!(shards.at(1).machine.on_certificate(&bytes[..end]).is_err());
    }
}

#[test]
fn what_breaks_a_limit_is_refused_and_changes_nothing() {
    let mut shards = Shards::new(&[1, 2]);
    let manifest = shards.manifest(1, &[(1, 0), (2, 0)], &[]);
    let foreign = Manifest { chain: [8; 32], ..manifest.clone() };
    let early = Manifest { layout: 6, ..manifest.clone() };
    let far = Manifest { expiry: 1 << 40, ..manifest.clone() };
    let elsewhere = Manifest::new(CHAIN, 5, [1; 32], 10, vec![Input { shard: 1, ..manifest.inputs[1] }], vec![]);
    for (manifest, word) in [
        (foreign, "another chain"),
        (early, "layout of epoch 6"),
        (far, "more than 10000"),
        (elsewhere.unwrap(), "belongs to shard 2"),
    ] {
        let command = Command::Prepare { manifest, certificates: Certificates::default() };
        let refused = shards.at(1).order(&command).unwrap_err().to_string();
        assert!(refused.contains(word), "{refused}");
    }
    shards.tick(5);
    assert!(shards.at(1).machine.tick_height(4).is_err());
}

#[test]
fn manifests_that_are_none_are_not_made() {
    let input = |shard, key: u8| Input { shard, key: [key; 32], version: 0 };
    let output = |shard, key: u8| Output { shard, key: [key; 32] };
    let make = |inputs, outputs| Manifest::new(CHAIN, 0, [0; 32], 1, inputs, outputs);
    assert!(make(vec![], vec![]).unwrap_err().to_string().contains("touches nothing"));
    assert!(make(vec![input(1, 1)], vec![output(2, 1)]).unwrap_err().to_string().contains("twice"));
    assert!(make((0..65).map(|key| input(1, key)).collect(), vec![]).is_err());
    assert!(make((0..17).map(|shard| input(shard, shard as u8)).collect(), vec![]).is_err());
    let mut idle = make(vec![input(1, 1), input(2, 2)], vec![]).unwrap();
    idle.shards = wire::List::new("shards", vec![1, 2, 3]).unwrap();
    assert!(wire::encode(&idle).unwrap_err().to_string().contains("no key"));
    idle.shards = wire::List::new("shards", vec![1]).unwrap();
    assert!(wire::encode(&idle).unwrap_err().to_string().contains("not listed"));
}

#[test]
fn a_shard_has_room_for_so_many_and_then_refuses() {
    let config = Config { open_max: 3, tombstones_max: 5, ..Config::default() };
    let two = layout(&[1, 2]);
    let mut shard = Shard::new(Participant::new(1, config, two.clone()).unwrap());
    let manifest = |number: usize| {
        let inputs =
            [(1, number), (2, number)].map(|(shard, at)| Input { shard, key: key_of(&two, shard, at), version: 0 });
        Manifest::new(CHAIN, 5, [number as u8; 32], 10, inputs.to_vec(), vec![]).unwrap()
    };
    let prepare = |number| Command::Prepare { manifest: manifest(number), certificates: Certificates::default() };
    for number in 0..3 {
        shard.order(&prepare(number)).unwrap();
    }
    assert!(shard.order(&prepare(3)).unwrap_err().to_string().contains("3 transactions are open"));
    assert_eq!(shard.machine.open().count(), 3);
    let wrong = Config { open_max: 0, ..Config::default() };
    assert!(Participant::new(1, wrong, two.clone()).is_err() && Participant::new(3, config, two).is_err());
}

#[test]
fn a_journal_of_another_shard_or_with_a_wrong_record_is_refused() {
    let mut shards = Shards::new(&[1, 2]);
    let manifest = shards.manifest(1, &[(1, 0), (2, 0)], &[]);
    shards.at(1).order(&Command::Prepare { manifest, certificates: Certificates::default() }).unwrap();
    let journal = shards.at(1).journal.clone();
    let fresh = |shard| Participant::new(shard, Config::default(), layout(&[1, 2])).unwrap();
    assert!(Participant::restore(fresh(2), &journal).err().unwrap().to_string().contains("shard 1"));
    // Without its snapshot the journal begins with a new machine.
    let restored = Participant::restore(fresh(1), &journal[1..]).unwrap();
    assert_eq!(restored.snapshot().unwrap(), shards.at(1).machine.snapshot().unwrap());
    for end in 0..journal[1].len() {
        let cut = [journal[0].clone(), journal[1][..end].to_vec()];
        assert!(Participant::restore(fresh(1), &cut).is_err());
    }
}
