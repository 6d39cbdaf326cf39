use proptest::prelude::*;

use super::delegate::Saying;
use super::*;
use crate::crypto::ed25519::SigningKey;
use crate::crypto::hash::Digest;
use crate::error::Error;
use crate::primitives::outbox::Effect;
use crate::primitives::wire;

const NETWORK: Digest = [1; 32];
const SEED: Digest = [2; 32];
const GENESIS: Digest = [3; 32];

fn key(at: u8) -> SigningKey {
    SigningKey::from_seed(&[at; 32])
}

fn set(stakes: &[u64]) -> ValidatorSet {
    let items = (1..).zip(stakes).map(|(at, stake)| Validator { key: key(at).public(), stake: *stake }).collect();
    ValidatorSet::new(0, items).unwrap()
}

fn slot(height: u64, attempt: u32, previous: Digest, digest: Digest) -> Slot {
    Slot { network: NETWORK, epoch: 0, height, attempt, previous, digest }
}

fn delegate(at: u8, set: &ValidatorSet) -> Delegate {
    Delegate::new(key(at), set.clone(), NETWORK, SEED, GENESIS).unwrap()
}

/// Carries out all effects as a careful caller does; what is said, and the last journal record.
fn settle(delegate: &mut Delegate) -> (Vec<Saying>, Option<Vec<u8>>) {
    let (mut said, mut journal) = (Vec::new(), None);
    loop {
        let effects = delegate.drain();
        if effects.is_empty() {
            return (said, journal);
        }
        for effect in effects {
            match effect {
                Effect::Persist { ticket, record } => {
                    journal = Some(record);
                    delegate.durable(ticket).unwrap();
                }
                Effect::Output(saying) => said.push(saying),
            }
        }
    }
}

fn leading_key(set: &ValidatorSet, height: u64, attempt: u32) -> SigningKey {
    let public = leader(set, &SEED, height, attempt).unwrap();
    (1..=16).map(key).find(|key| key.public() == public).unwrap()
}

#[test]
fn election_known_answers_and_order() {
    let stakes: Vec<Validator> =
        [5, 3, 3, 0, 2].iter().zip(1..).map(|(stake, at)| Validator { key: [at; 32], stake: *stake }).collect();
    let ballot = |voter: u8, sequence, approves: &[u8]| Ballot {
        voter: [voter; 32],
        sequence,
        approves: approves.iter().map(|a| [*a; 32]).collect(),
    };
    // Nobody votes: own stake decides, then the key.
    let plain = elect(0, &stakes, &[], 3).unwrap();
    assert_eq!(plain.items().iter().map(|v| (v.key[0], v.stake)).collect::<Vec<_>>(), [(1, 5), (2, 3), (3, 3)]);
    // 1 turns from 2 to 5 with its newest ballot, naming 5 twice: 5 has 2 + 5.
    let ballots = vec![ballot(1, 1, &[2]), ballot(1, 2, &[5, 5]), ballot(4, 1, &[3])];
    let voted = elect(0, &stakes, &ballots, 2).unwrap();
    assert_eq!(voted.items().iter().map(|v| (v.key[0], v.stake)).collect::<Vec<_>>(), [(1, 5), (5, 7)]);
    let mut reversed = (stakes.clone(), ballots.clone());
    reversed.0.reverse();
    reversed.1.reverse();
    assert_eq!(elect(0, &reversed.0, &reversed.1, 2).unwrap(), voted);
    for (ballots, seats) in [
        (vec![], 0),
        (vec![], 5),
        (vec![ballot(1, 1, &[2]), ballot(1, 1, &[3])], 2),
        (vec![ballot(9, 1, &[2])], 2),
        (vec![ballot(1, 1, &[4])], 2),
    ] {
        assert!(elect(0, &stakes, &ballots, seats).is_err(), "{ballots:?} {seats}");
    }
    assert!(elect(0, &[stakes[0], stakes[0]], &[], 1).is_err());
}

#[test]
fn leaders_are_drawn_by_stake() {
    let set = set(&[1, 2, 7]);
    let mut counts = [0u32; 3];
    for height in 0..10_000 {
        counts[set.position(&leader(&set, &SEED, height, 0).unwrap()).unwrap()] += 1;
    }
    for (validator, count) in set.items().iter().zip(counts) {
        let share = validator.stake as f64 / 10.0;
        let sigma = (10_000.0 * share * (1.0 - share)).sqrt();
        assert!((f64::from(count) - 10_000.0 * share).abs() < 5.0 * sigma, "{counts:?}");
    }
    assert!((0..20).any(|attempt| leader(&set, &SEED, 5, attempt) != leader(&set, &SEED, 5, 0)));
}

#[test]
fn certificates_need_a_quorum_of_stake_and_only_right_signatures() {
    let set = set(&[1, 1, 1, 1]);
    let what = slot(1, 0, GENESIS, [9; 32]);
    let votes: Vec<Vote> = (1..=4).map(|at| Vote::new(&key(at), what)).collect();
    let made = collect(&set, &what, &votes[..3]).unwrap();
    made.certificate.verify(&set).unwrap();
    assert!(made.refused.is_empty());
    let Err(Error::Unavailable { needed: 3, had: 2, .. }) = collect(&set, &what, &votes[..2]) else { panic!() };
    // Foreign, double, other slot, forged: named and not counted.
    let mut mixed = votes.clone();
    mixed.push(Vote::new(&key(9), what));
    mixed.push(votes[0].clone());
    mixed[3] = Vote::new(&key(4), slot(1, 1, GENESIS, [9; 32]));
    mixed.push(Vote { signature: [7; 64], ..Vote::new(&key(4), what) });
    let made = collect(&set, &what, &mixed).unwrap();
    assert_eq!(made.refused.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [3, 4, 5, 6]);
    assert_eq!(made.certificate.signatures.len(), 3);
    let bytes = wire::encode(&made.certificate).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut wrong = bytes.clone();
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert!(wire::decode::<Certificate>(&wrong).and_then(|c| c.verify(&set)).is_err(), "bit {bit}");
    }
}

#[test]
fn a_vote_waits_for_its_journal_and_is_never_contradicted() {
    let set = set(&[1, 1, 1, 1]);
    let mut voter = delegate(1, &set);
    let proposal = Proposal::new(&leading_key(&set, 1, 0), slot(1, 0, GENESIS, [9; 32]), vec![]).unwrap();
    voter.propose(&proposal).unwrap();
    let effects = voter.drain();
    assert!(matches!(effects[..], [Effect::Persist { ticket: 1, .. }]), "{effects:?}");
    assert!(voter.drain().is_empty(), "no vote before the record is durable");
    voter.durable(1).unwrap();
    let [Effect::Output(Saying::Vote(vote))] = &voter.drain()[..] else { panic!() };
    // The same again gives the same vote; another batch for the same attempt none, not even after a crash.
    voter.propose(&proposal).unwrap();
    let (said, journal) = settle(&mut voter);
    assert_eq!(said, [Saying::Vote(vote.clone())]);
    let mut voter = Delegate::restore(key(1), set.clone(), NETWORK, SEED, &journal.unwrap()).unwrap();
    let other = Proposal::new(&leading_key(&set, 1, 0), slot(1, 0, GENESIS, [8; 32]), vec![]).unwrap();
    let before = voter.snapshot().unwrap();
    assert!(voter.propose(&other).is_err());
    assert_eq!(voter.snapshot().unwrap(), before);
    voter.propose(&proposal).unwrap();
}

#[test]
fn what_is_wrong_is_refused_and_changes_nothing() {
    let set = set(&[1, 1, 1, 1]);
    let mut voter = delegate(1, &set);
    let before = voter.snapshot().unwrap();
    let good = slot(1, 0, GENESIS, [9; 32]);
    let leading = leading_key(&set, 1, 0);
    let foreign = (1..=4).map(key).find(|key| key.public() != leading.public()).unwrap();
    let mut forged = Proposal::new(&leading, good, vec![]).unwrap();
    forged.signature[0] ^= 1;
    let later = leading_key(&set, 1, 1);
    let reports = |count: u8, accepted: Option<Digest>| -> Vec<Report> {
        (1..=count)
            .map(|at| {
                let mut other = delegate(at, &set);
                if let Some(digest) = accepted.filter(|_| at == 1) {
                    other.propose(&Proposal::new(&leading, slot(1, 0, GENESIS, digest), vec![]).unwrap()).unwrap();
                }
                other.prepare(1, 1).unwrap();
                let Some(Saying::Report(report)) = settle(&mut other).0.pop() else { panic!() };
                report
            })
            .collect()
    };
    let double = {
        let one = reports(2, None);
        vec![one[0].clone(), one[0].clone(), one[1].clone()]
    };
    let at_one = slot(1, 1, GENESIS, [9; 32]);
    for (why, proposal) in [
        ("height", Proposal::new(&leading_key(&set, 2, 0), slot(2, 0, GENESIS, [9; 32]), vec![]).unwrap()),
        ("tip", Proposal::new(&leading, slot(1, 0, [7; 32], [9; 32]), vec![]).unwrap()),
        ("network", Proposal::new(&leading, Slot { network: [9; 32], ..good }, vec![]).unwrap()),
        ("epoch", Proposal::new(&leading, Slot { epoch: 1, ..good }, vec![]).unwrap()),
        ("leads", Proposal::new(&foreign, good, vec![]).unwrap()),
        ("signature", forged),
        ("no reports", Proposal::new(&leading, good, reports(3, None)).unwrap()),
        ("needed", Proposal::new(&later, at_one, reports(2, None)).unwrap()),
        ("not of use", Proposal::new(&later, at_one, double).unwrap()),
        ("ask for", Proposal::new(&later, at_one, reports(3, Some([8; 32]))).unwrap()),
    ] {
        let message = voter.propose(&proposal).unwrap_err().to_string();
        assert!(message.contains(why), "{why}: {message}");
        assert_eq!(voter.snapshot().unwrap(), before, "{why}");
        assert!(voter.drain().is_empty(), "{why}");
    }
    let mut fine = delegate(2, &set);
    fine.propose(&Proposal::new(&later, slot(1, 1, GENESIS, [8; 32]), reports(3, Some([8; 32]))).unwrap()).unwrap();
    assert!(fine.prepare(1, 0).is_err() && fine.prepare(3, 2).is_err());
    fine.prepare(1, 5).unwrap();
    let stale = Proposal::new(&later, at_one, reports(3, None)).unwrap();
    assert!(fine.propose(&stale).unwrap_err().to_string().contains("promised"));
}

/// One action of the explored schedules.
#[derive(Debug, Clone)]
enum Action {
    /// The leader of an attempt prepares, if it must, and proposes to those in the mask; votes of the mask come back.
    Lead { attempt: u32, prepare: u8, propose: u8, votes: u8 },
    /// A delegate loses everything that is not durable.
    Crash(u8),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let lead = (0u32..4, any::<u8>(), any::<u8>(), any::<u8>())
        .prop_map(|(attempt, prepare, propose, votes)| Action::Lead { attempt, prepare, propose, votes });
    proptest::collection::vec(prop_oneof![4 => lead, 1 => (0u8..4).prop_map(Action::Crash)], 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Loss, crashes and several leaders: whatever happens, one height has one batch.
    #[test]
    fn no_two_batches_are_certified_at_one_height(actions in actions()) {
        let set = set(&[1, 1, 1, 1]);
        let mut delegates: Vec<Delegate> = (1..=4).map(|at| delegate(at, &set)).collect();
        let mut journals: Vec<Vec<u8>> = delegates.iter().map(|d| d.snapshot().unwrap()).collect();
        let mut certified: Vec<Digest> = Vec::new();
        let mut proposed = std::collections::BTreeMap::new();
        for (round, action) in actions.into_iter().enumerate() {
            match action {
                Action::Crash(at) => {
                    let at = usize::from(at);
                    let journal = journals[at].clone();
                    delegates[at] =
                        Delegate::restore(key(at as u8 + 1), set.clone(), NETWORK, SEED, &journal).unwrap();
                }
                Action::Lead { attempt, prepare, propose, votes } => {
                    let mut reports = Vec::new();
                    if attempt > 0 {
                        for at in (0..4).filter(|at| prepare >> at & 1 == 1) {
                            if delegates[at].prepare(1, attempt).is_ok() {
                                let (said, journal) = settle(&mut delegates[at]);
                                journals[at] = journal.unwrap_or_else(|| journals[at].clone());
                                reports.extend(said.into_iter().filter_map(|s| match s {
                                    Saying::Report(report) => Some(report),
                                    Saying::Vote(_) => None,
                                }));
                            }
                        }
                    }
                    // An honest leader: one proposal per attempt, what the reports ask for, else something of its own.
                    let own = [round as u8 + 10; 32];
                    let digest = *proposed.entry(attempt).or_insert(choose(&reports).unwrap_or(own));
                    let what = slot(1, attempt, GENESIS, digest);
                    let proposal = Proposal::new(&leading_key(&set, 1, attempt), what, reports).unwrap();
                    let mut cast = Vec::new();
                    for at in (0..4).filter(|at| propose >> at & 1 == 1) {
                        if delegates[at].propose(&proposal).is_ok() {
                            let (said, journal) = settle(&mut delegates[at]);
                            journals[at] = journal.unwrap_or_else(|| journals[at].clone());
                            cast.extend(said.into_iter().filter_map(|s| match s {
                                Saying::Vote(vote) if votes >> at & 1 == 1 => Some(vote),
                                _ => None,
                            }));
                        }
                    }
                    if let Ok(made) = collect(&set, &what, &cast) {
                        made.certificate.verify(&set).unwrap();
                        certified.push(made.certificate.slot.digest);
                    }
                }
            }
        }
        certified.dedup();
        prop_assert!(certified.len() <= 1, "{certified:?}");
    }
}
