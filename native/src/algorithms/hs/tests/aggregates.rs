//! Certificates of one signature: the form, what spoils it and what does not, and the bytes.

use super::rules::{genesis, hear, proposal, qc, refuse, refuse_bytes, vote};
use super::*;
use crate::algorithms::hs::journal::Entry;
use crate::algorithms::hs::message::{SharedVote, Signatures};
use crate::crypto::bls::{self, SecretKey, ShownKey};
use crate::crypto::hash::{hex, keyed};
use crate::primitives::wire::Record;

fn secret(place: u16) -> SecretKey {
    SecretKey::of_master(&[place as u8 + 1; 32]).unwrap()
}

fn keys(place: u16) -> Keys {
    (key(place), secret(place)).into()
}

fn shared(weights: &[u64]) -> Committee {
    let shown: Vec<ShownKey> = (0..weights.len() as u16).map(|place| ShownKey::of(&secret(place))).collect();
    committee(weights).with_aggregates(&shown).unwrap()
}

fn cast(place: u16, round: u64, block: Digest) -> Vote {
    Vote::cast(&keys(place), CHAIN, EPOCH, round, block, place)
}

/// A vote with another's share.
fn spoilt(place: u16, round: u64, block: Digest) -> Vote {
    let share = cast((place + 1) % 4, round, block).share;
    Vote::with_share(&key(place), (CHAIN, EPOCH, round, block), place, share)
}

fn sum(places: &[u16], round: u64, block: Digest) -> Qc {
    let votes: Vec<(u16, bls::Signature)> =
        places.iter().map(|place| (*place, cast(*place, round, block).share_point().unwrap())).collect();
    Qc::aggregate(&shared(&[1; 4]), round, block, &votes).unwrap()
}

/// Place 0, which leads rounds 4, 8, … and so hears the votes of rounds 3, 7, …
fn replica(weights: &[u64]) -> HotStuff {
    let config = Config::default();
    let mut machine = HotStuff::new(CHAIN, EPOCH, shared(weights), keys(0), GENESIS, config).unwrap();
    machine.start(0).unwrap();
    super::rules::flush(&mut machine);
    machine
}

fn hear_vote(machine: &mut HotStuff, vote: &Vote) {
    machine.handle(3, &vote.encode().unwrap(), 0).unwrap();
}

fn evidence(machine: &mut HotStuff) -> Vec<Evidence> {
    let actions = super::rules::flush(machine).into_iter();
    let evidence = actions.filter_map(|action| match action {
        Action::Event(Event::Evidence(bytes)) => Some(wire::decode(&bytes).unwrap()),
        _ => None,
    });
    evidence.collect()
}

fn verdict(qc: &Qc, committee: &Committee) -> Result<()> {
    let domain = super::super::certificate::Domain { committee, chain: &CHAIN, epoch: EPOCH, genesis: None };
    qc.verify(domain)
}

#[test]
fn a_committee_has_one_form_of_certificate() {
    let (block, plain, with) = ([9; 32], committee(&[1; 4]), shared(&[1; 4]));
    let (list, aggregate) = (qc(3, block), sum(&[0, 1, 2], 3, block));
    verdict(&list, &plain).unwrap();
    verdict(&aggregate, &with).unwrap();
    assert!(verdict(&list, &with).unwrap_err().to_string().contains("a list of signatures"));
    assert!(verdict(&aggregate, &plain).unwrap_err().to_string().contains("no aggregate keys"));
    assert_ne!(plain.digest(), with.digest());
}

#[test]
fn the_certificate_binds_signers_round_block_and_epoch() {
    let with = shared(&[1; 4]);
    let good = sum(&[0, 1, 2], 3, [9; 32]);
    for _ in 0..2 {
        verdict(&good, &with).unwrap();
        let signers = |bits: u8| Bytes::new("signers", vec![bits]).unwrap();
        for bits in [0b1110, 0b1111, 0b1011] {
            let error = verdict(&Qc { signers: signers(bits), ..good.clone() }, &with).unwrap_err().to_string();
            assert!(error.contains("signature of all"), "{error}");
        }
        assert!(
            verdict(&Qc { signers: signers(0b11), ..good.clone() }, &with).unwrap_err().to_string().contains("3 is")
        );
        assert!(verdict(&Qc { signers: signers(0b10111), ..good.clone() }, &with).is_err());
        assert!(verdict(&Qc { signers: Bytes::default(), ..good.clone() }, &with).is_err());
        assert!(verdict(&Qc { round: 4, ..good.clone() }, &with).is_err());
        assert!(verdict(&Qc { block: [8; 32], ..good.clone() }, &with).is_err());
        let neutral = Signatures::Aggregate(std::array::from_fn(|at| if at == 0 { 0xc0 } else { 0 }));
        assert!(verdict(&Qc { signatures: neutral, ..good.clone() }, &with).is_err());
        let domain = super::super::certificate::Domain { committee: &with, chain: &CHAIN, epoch: 9, genesis: None };
        assert!(good.verify(domain).is_err());
    }
    // Round 0 needs no votes at the genesis alone, and only in one form.
    let zero = Qc { round: 0, block: GENESIS, ..good };
    let domain =
        super::super::certificate::Domain { committee: &with, chain: &CHAIN, epoch: EPOCH, genesis: Some(&GENESIS) };
    assert!(zero.verify(domain).is_err() && genesis().verify(domain).is_ok());
}

#[test]
fn the_encoding_says_which_form_it_is() {
    let (list, aggregate) =
        (wire::encode(&qc(3, [9; 32])).unwrap(), wire::encode(&sum(&[0, 1, 2], 3, [9; 32])).unwrap());
    assert_eq!((list.len(), aggregate.len()), (6 + 40 + 5 + 4 + 3 * 64, 6 + 40 + 5 + 4 + 48));
    for bytes in [&list, &aggregate] {
        assert_eq!(wire::encode(&wire::decode::<Qc>(bytes).unwrap()).unwrap(), *bytes);
        for end in 0..bytes.len() {
            assert!(wire::decode::<Qc>(&bytes[..end]).is_err());
        }
        assert!(wire::decode::<Qc>(&[bytes, &[0][..]].concat()).is_err());
    }
    for count in [1025u32, u32::MAX - 1] {
        let mut wrong = list.clone();
        wrong[51..55].copy_from_slice(&count.to_le_bytes());
        assert!(wire::decode::<Qc>(&wrong).is_err(), "{count}");
    }
    assert!(wire::encode(&cast(1, 3, [9; 32])).unwrap_err().to_string().contains("another record"));
    assert!(wire::encode(&SharedVote(vote(1, 3, [9; 32]))).unwrap_err().to_string().contains("no share"));
}

#[test]
fn the_bytes_are_what_they_were() {
    let print = |bytes: &[u8]| format!("{} {}", bytes.len(), hex(&keyed(&[0; 32], bytes)[..8]));
    let seen = [
        print(&wire::encode(&sum(&[0, 1, 2], 3, [9; 32])).unwrap()),
        print(&cast(1, 3, [9; 32]).encode().unwrap()),
        print(&wire::encode(&Evidence::of_votes([cast(1, 3, [9; 32]), cast(1, 3, [8; 32])])).unwrap()),
        print(&wire::encode(&Evidence::WrongShare(SharedVote(spoilt(1, 3, [9; 32])))).unwrap()),
        hex(&shared(&[1; 4]).digest()[..8]),
    ];
    assert_eq!(seen, PINNED);
}

const PINNED: [&str; 5] = [
    "103 00ef6d57af8084e0",
    "200 24648445df61ed79",
    "395 3549201baffed99c",
    "201 c5953d0834feeb4e",
    "131b99abd53cd9f6",
];

#[test]
fn four_agree_and_come_back_from_their_journals() {
    let mut net = Net::with(&[1; 4], Config::default(), shared(&[1; 4]), keys);
    net.run(300);
    assert!(net.check() >= 40, "{}", net.check());
    assert!(net.sent.iter().all(|(_, _, message)| !message.starts_with(b"CChv")));
    for place in 0..4 {
        net.restart(place);
    }
    for _ in 0..5 {
        net.run(100);
        net.pass(net.config.timeout_us * 4);
    }
    assert!(net.check() >= 50, "{}", net.check());
    assert!(net.nodes.iter().all(|node| node.evidence.is_empty()));
    let entry: Entry = wire::decode(&net.nodes[1].disk[4]).unwrap();
    assert!(entry.state.vote.is_some_and(|vote| vote.share.is_some()), "the share is in the journal");
}

#[test]
fn keys_must_be_the_committees() {
    let make = |committee: Committee, keys: Keys| {
        HotStuff::new(CHAIN, EPOCH, committee, keys, GENESIS, Config::default()).err().map(|error| error.to_string())
    };
    assert_eq!(make(shared(&[1; 4]), keys(2)), None);
    let said = |committee, keys, word: &str| make(committee, keys).is_some_and(|error| error.contains(word));
    assert!(said(shared(&[1; 4]), key(2).into(), "and this validator none"));
    assert!(said(committee(&[1; 4]), keys(2), "the committee has none"));
    assert!(said(shared(&[1; 4]), (key(2), secret(1)).into(), "not that of place 2"));
}

#[test]
fn a_wrong_share_spoils_no_certificate_and_is_evidence() {
    let mut machine = replica(&[1; 4]);
    let block = [7; 32];
    hear_vote(&mut machine, &cast(1, 3, block));
    hear_vote(&mut machine, &spoilt(2, 3, block));
    assert!(evidence(&mut machine).is_empty(), "nobody looked yet");
    hear_vote(&mut machine, &cast(3, 3, block));
    assert_eq!(machine.round(), 1, "two right shares of three are no quorum");
    let [found] = &evidence(&mut machine)[..] else { panic!("one is found") };
    let bytes = wire::encode(found).unwrap();
    assert_eq!(wire::decode::<Evidence>(&bytes).unwrap().verify(&shared(&[1; 4]), &CHAIN, EPOCH).unwrap(), 2);
    // A right share afterwards is a second vote in nothing but its share; the first counts.
    hear_vote(&mut machine, &cast(2, 3, block));
    assert!(machine.round() == 1 && evidence(&mut machine).is_empty());
    hear_vote(&mut machine, &cast(0, 3, block));
    assert_eq!(machine.round(), 4);
    verdict(machine.high_qc(), &shared(&[1; 4])).unwrap();
    assert_eq!(machine.high_qc().places(), [0, 1, 3]);
}

#[test]
fn who_spoiled_one_certificate_spoils_no_other() {
    let mut machine = replica(&[1; 4]);
    for round in [3, 7, 11] {
        hear_vote(&mut machine, &spoilt(2, round, [7; 32]));
        for place in [0, 1, 3] {
            hear_vote(&mut machine, &cast(place, round, [7; 32]));
        }
        assert_eq!(machine.round(), round + 1);
        assert_eq!(evidence(&mut machine).len(), usize::from(round == 3), "once");
    }
    // A right one counts again.
    for place in [0, 1, 2] {
        hear_vote(&mut machine, &cast(place, 15, [7; 32]));
    }
    assert_eq!((machine.round(), machine.high_qc().places()), (16, vec![0, 1, 2]));
}

#[test]
fn what_is_no_share_is_evidence_at_once() {
    let mut machine = replica(&[1; 4]);
    let of = (CHAIN, EPOCH, 3, [7; 32]);
    hear_vote(&mut machine, &Vote::with_share(&key(2), of, 2, Some([0xff; 48])));
    let [found] = &evidence(&mut machine)[..] else { panic!("one is found") };
    assert_eq!(found.verify(&shared(&[1; 4]), &CHAIN, EPOCH).unwrap(), 2);
    assert!(found.verify(&committee(&[1; 4]), &CHAIN, EPOCH).is_err(), "no aggregate keys to check it with");
}

/// With weights the rest of a quorum may be one without the wrong share.
#[test]
fn the_rest_is_summed_up_if_it_is_a_quorum() {
    let mut machine = replica(&[1, 1, 1, 5]);
    hear_vote(&mut machine, &cast(0, 3, [7; 32]));
    hear_vote(&mut machine, &spoilt(1, 3, [7; 32]));
    hear_vote(&mut machine, &cast(3, 3, [7; 32]));
    assert_eq!((machine.round(), machine.high_qc().places()), (4, vec![0, 3]));
}

#[test]
fn a_share_is_the_voters_who_signed_for_it() {
    let mut machine = replica(&[1; 4]);
    let good = cast(1, 3, [7; 32]);
    let replaced = Vote { share: cast(2, 3, [7; 32]).share, ..good };
    refuse_bytes(&mut machine, &replaced.encode().unwrap(), "place 1 is wrong");
    refuse(&mut machine, &vote(1, 3, [7; 32]), "without a share");
    let mut plain = super::rules::replica();
    refuse_bytes(&mut plain, &good.encode().unwrap(), "no aggregate keys");
    // What is refused as evidence: a right share, a foreign chain, a vote that another signed.
    let verify = |vote: Vote| Evidence::WrongShare(SharedVote(vote)).verify(&shared(&[1; 4]), &CHAIN, EPOCH);
    assert!(verify(good).unwrap_err().to_string().contains("share is right"));
    assert!(verify(replaced).is_err() && verify(Vote { epoch: 9, ..spoilt(1, 3, [7; 32]) }).is_err());
    assert!(verify(Vote { voter: 9, ..spoilt(1, 3, [7; 32]) }).is_err());
    assert_eq!(verify(spoilt(1, 3, [7; 32])).unwrap(), 1);
}

#[test]
fn two_votes_with_shares_are_evidence() {
    let mut machine = replica(&[1; 4]);
    hear_vote(&mut machine, &cast(1, 3, [7; 32]));
    hear_vote(&mut machine, &cast(1, 3, [8; 32]));
    let [found] = &evidence(&mut machine)[..] else { panic!("one is found") };
    assert!(matches!(found, Evidence::SharedVotes(_)));
    assert_eq!(found.verify(&shared(&[1; 4]), &CHAIN, EPOCH).unwrap(), 1);
    assert!(found.verify(&shared(&[1; 4]), &CHAIN, EPOCH + 1).is_err());
}

#[test]
fn a_proposal_with_the_other_form_is_refused() {
    let mut machine = replica(&[1; 4]);
    let one = proposal(1, genesis(), None, b"1");
    hear(&mut machine, &one).unwrap();
    refuse(&mut machine, &proposal(2, qc(1, one.id()), None, b"2"), "a list of signatures");
    hear(&mut machine, &proposal(2, sum(&[1, 2, 3], 1, one.id()), None, b"2")).unwrap();
    assert_eq!(machine.round(), 2);
}

#[test]
fn every_changed_byte_of_a_shared_vote_is_refused_and_every_cut() {
    let bytes = cast(1, 3, [7; 32]).encode().unwrap();
    assert!(bytes.starts_with(&SharedVote::TAG) && bytes.len() == 200);
    let mut machine = replica(&[1; 4]);
    for end in (0..bytes.len()).step_by(3) {
        refuse_bytes(&mut machine, &bytes[..end], "");
    }
    for at in 0..bytes.len() {
        let mut wrong = bytes.clone();
        wrong[at] ^= 1 << (at % 8);
        refuse_bytes(&mut machine, &wrong, "");
    }
}
