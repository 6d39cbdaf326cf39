use proptest::prelude::*;

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
    let plain = elect(0, &stakes, &[], 3, Method::Approval).unwrap();
    assert_eq!(plain.items().iter().map(|v| (v.key[0], v.stake)).collect::<Vec<_>>(), [(1, 5), (2, 3), (3, 3)]);
    // 1 turns from 2 to 5 with its newest ballot, naming 5 twice: 5 has 2 + 5.
    let ballots = vec![ballot(1, 1, &[2]), ballot(1, 2, &[5, 5]), ballot(4, 1, &[3])];
    let voted = elect(0, &stakes, &ballots, 2, Method::Approval).unwrap();
    assert_eq!(voted.items().iter().map(|v| (v.key[0], v.stake)).collect::<Vec<_>>(), [(1, 5), (5, 7)]);
    let mut reversed = (stakes.clone(), ballots.clone());
    reversed.0.reverse();
    reversed.1.reverse();
    assert_eq!(elect(0, &reversed.0, &reversed.1, 2, Method::Approval).unwrap(), voted);
    // Two ballots of one number are refused wherever a newer one stands among them.
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let ballots = [ballot(1, 1, &[2]), ballot(1, 1, &[3]), ballot(1, 2, &[5])];
        let ordered: Vec<Ballot> = order.iter().map(|at: &usize| ballots[*at].clone()).collect();
        assert!(elect(0, &stakes, &ordered, 2, Method::Approval).is_err(), "{order:?}");
    }
    for (ballots, seats) in [
        (vec![], 0),
        (vec![], 5),
        (vec![ballot(1, 1, &[2]), ballot(1, 1, &[3])], 2),
        (vec![ballot(9, 1, &[2])], 2),
        (vec![ballot(1, 1, &[4])], 2),
    ] {
        assert!(elect(0, &stakes, &ballots, seats, Method::Approval).is_err(), "{ballots:?} {seats}");
    }
    assert!(elect(0, &[stakes[0], stakes[0]], &[], 1, Method::Approval).is_err());
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
        ("twice", Proposal::new(&later, at_one, double).unwrap()),
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

/// Who leads which attempt at height 1, with what signature for `digest`.
fn evidence(set: &ValidatorSet, attempt: u32, digest: Digest) -> Accepted {
    let proposal = Proposal::new(&leading_key(set, 1, attempt), slot(1, attempt, GENESIS, digest), vec![]).unwrap();
    Accepted { attempt, digest, leader_signature: proposal.signature }
}

#[test]
fn an_acceptance_that_no_leader_proposed_is_refused() {
    let set = set(&[1, 1, 1, 1]);
    let at_two = slot(1, 2, GENESIS, [8; 32]);
    let truth = evidence(&set, 0, [9; 32]);
    let report = |at: u8, accepted| Report::new(&key(at), &at_two, accepted).unwrap();
    let honest = [report(1, Some(truth)), report(2, None)];
    let leading = leading_key(&set, 1, 2);
    // A voter claims that attempt 1 accepted another batch, with every signature it could have got hold of.
    let vote = Vote::new(&key(3), slot(1, 1, GENESIS, [8; 32])).signature;
    for leader_signature in [[0; 64], truth.leader_signature, vote, evidence(&set, 1, [7; 32]).leader_signature] {
        let lie = report(3, Some(Accepted { attempt: 1, digest: [8; 32], leader_signature }));
        let reports = [&honest[..], &[lie]].concat();
        let proposal = Proposal::new(&leading, at_two, reports.clone()).unwrap();
        let mut voter = delegate(4, &set);
        let before = voter.snapshot().unwrap();
        assert!(voter.propose(&proposal).unwrap_err().to_string().contains("never proposed"));
        assert_eq!(voter.snapshot().unwrap(), before);
        let Err(Error::Unavailable { needed: 3, had: 2, .. }) = voter.weigh(2, &reports) else { panic!() };
        // An honest leader leaves the lie out and goes on with what is true.
        let weighed = voter.weigh(2, &[reports, vec![report(4, None), report(4, None)]].concat()).unwrap();
        assert_eq!(weighed.refused.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [2, 4]);
        assert_eq!((weighed.digest, weighed.reports.len()), (Some([9; 32]), 3));
        let good = Proposal::new(&leading, Slot { digest: [9; 32], ..at_two }, weighed.reports).unwrap();
        voter.propose(&good).unwrap();
    }
}

#[test]
fn a_leader_of_two_proposals_halts_and_does_not_fork() {
    let set = set(&[1, 1, 1, 1]);
    let what = slot(1, 1, GENESIS, [9; 32]);
    let report = |at: u8, accepted| Report::new(&key(at), &what, accepted).unwrap();
    let [one, two] = [[9; 32], [8; 32]].map(|digest| Some(evidence(&set, 0, digest)));
    let voter = delegate(4, &set);
    let reports = [report(1, one), report(2, two), report(3, None)];
    for reports in [reports.to_vec(), reports.iter().rev().cloned().collect()] {
        assert!(voter.weigh(1, &reports).unwrap_err().to_string().contains("two proposals"));
        for digest in [[9; 32], [8; 32], [7; 32]] {
            let proposal = Proposal::new(&leading_key(&set, 1, 1), Slot { digest, ..what }, reports.clone()).unwrap();
            let error = delegate(4, &set).propose(&proposal).unwrap_err();
            assert!(error.to_string().contains("two proposals"), "{error}");
        }
    }
    // Where a later attempt decides, the leader of the earlier one does no harm.
    let later = Slot { attempt: 2, ..what };
    let report = |at: u8, accepted| Report::new(&key(at), &later, accepted).unwrap();
    let decided = Some(evidence(&set, 1, [6; 32]));
    assert_eq!(voter.weigh(2, &[report(1, one), report(2, two), report(3, decided)]).unwrap().digest, Some([6; 32]));
}

#[test]
fn a_leader_proposes_once_even_after_a_crash() {
    let set = set(&[1, 1, 1, 1]);
    let at = (1..=4).find(|at| key(*at).public() == leading_key(&set, 1, 0).public()).unwrap();
    let mut leading = delegate(at, &set);
    assert!(delegate(1 + at % 4, &set).lead(0, [9; 32], vec![]).unwrap_err().to_string().contains("leads"));
    leading.lead(0, [9; 32], vec![]).unwrap();
    assert!(matches!(leading.drain()[..], [Effect::Persist { ticket: 1, .. }]), "nothing before the record is durable");
    leading.durable(1).unwrap();
    let effects = leading.drain();
    let [Effect::Output(Saying::Proposal(proposal)), Effect::Output(Saying::Vote(vote))] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(vote.slot, proposal.slot);
    delegate(1 + at % 4, &set).propose(proposal).unwrap();
    let journal = leading.snapshot().unwrap();
    let mut leading = Delegate::restore(key(at), set.clone(), NETWORK, SEED, &journal).unwrap();
    assert!(leading.lead(0, [8; 32], vec![]).unwrap_err().to_string().contains("already proposed"));
    assert_eq!(leading.snapshot().unwrap(), journal);
    leading.lead(0, [9; 32], vec![]).unwrap();
    assert_eq!(settle(&mut leading).0[0], Saying::Proposal(proposal.clone()));
}

#[test]
fn a_journal_record_that_makes_no_sense_is_refused() {
    let set = set(&[1, 1, 1, 1]);
    let voter = delegate(1, &set);
    let good = voter.snapshot().unwrap();
    // Envelope 6, network 32, epoch 8, voter 32, height 8, tip 32, promised 4, no acceptance 1.
    assert_eq!(good.len(), 123);
    let restore = |bytes: &[u8]| Delegate::restore(key(1), set.clone(), NETWORK, SEED, bytes);
    restore(&good).unwrap();
    let mut last = good.clone();
    last[78..86].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(restore(&last).err().unwrap().to_string().contains("there is none"));
    last[78] -= 1;
    let mut voter = restore(&last).unwrap();
    assert!(voter.leader(0).is_ok() && voter.prepare(u64::MAX, 1).is_ok());
    let mut early = good[..122].to_vec();
    early.extend([1, 7, 0, 0, 0].into_iter().chain([0; 96]));
    assert!(restore(&early).err().unwrap().to_string().contains("promised"));
}

/// One action of the explored schedules.
#[derive(Debug, Clone)]
enum Action {
    /// The leader of an attempt prepares, if it must, and proposes to those in the mask; votes of the mask come back. The
    /// faulty voter reports what `lie` picks from all that any leader ever signed, or something it made up.
    Lead { attempt: u32, prepare: u8, propose: u8, votes: u8, lie: usize },
    /// A delegate loses everything that is not durable.
    Crash(u8),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let lead = (0u32..4, any::<u8>(), any::<u8>(), any::<u8>(), any::<usize>())
        .prop_map(|(attempt, prepare, propose, votes, lie)| Action::Lead { attempt, prepare, propose, votes, lie });
    proptest::collection::vec(prop_oneof![4 => lead, 1 => (0u8..4).prop_map(Action::Crash)], 1..14)
}

/// Four delegates of equal stake, one of them perhaps faulty, and everything that was ever said.
struct World {
    set: ValidatorSet,
    delegates: Vec<Delegate>,
    journals: Vec<Vec<u8>>,
    /// The faulty one: reports lies, and votes for everything.
    faulty: Option<usize>,
    /// Whether leaders stay with one batch per attempt.
    steady: bool,
    proposed: std::collections::BTreeMap<u32, Digest>,
    signed: Vec<Accepted>,
    certified: Vec<Digest>,
}

impl World {
    fn new(faulty: Option<usize>, steady: bool) -> Self {
        let set = set(&[1, 1, 1, 1]);
        let delegates: Vec<Delegate> = (1..=4).map(|at| delegate(at, &set)).collect();
        let journals = delegates.iter().map(|d| d.snapshot().unwrap()).collect();
        let (proposed, signed, certified) = Default::default();
        Self { set, delegates, journals, faulty, steady, proposed, signed, certified }
    }

    fn said(&mut self, at: usize) -> Vec<Saying> {
        let (said, journal) = settle(&mut self.delegates[at]);
        self.journals[at] = journal.unwrap_or_else(|| self.journals[at].clone());
        said
    }

    fn crash(&mut self, at: usize) {
        self.delegates[at] =
            Delegate::restore(key(at as u8 + 1), self.set.clone(), NETWORK, SEED, &self.journals[at]).unwrap();
    }

    fn reports(&mut self, attempt: u32, mask: u8, lie: usize) -> Vec<Report> {
        let mut reports = Vec::new();
        for at in (0..4).filter(|at| mask >> at & 1 == 1) {
            if self.faulty == Some(at) {
                let made_up = Accepted { attempt: attempt - 1, digest: [lie as u8; 32], leader_signature: [1; 64] };
                let earlier = self.signed.iter().filter(|accepted| accepted.attempt < attempt);
                let choices: Vec<Option<Accepted>> = earlier.map(|a| Some(*a)).chain([Some(made_up), None]).collect();
                let what = slot(1, attempt, GENESIS, [0; 32]);
                reports.push(Report::new(&key(at as u8 + 1), &what, choices[lie % choices.len()]).unwrap());
            } else if self.delegates[at].prepare(1, attempt).is_ok() {
                reports.extend(self.said(at).into_iter().filter_map(|said| match said {
                    Saying::Report(report) => Some(report),
                    _ => None,
                }));
            }
        }
        reports
    }

    fn lead(&mut self, own: Digest, (attempt, prepare, propose, votes, lie): (u32, u8, u8, u8, usize)) {
        let (mut reports, mut asked) = (Vec::new(), None);
        if attempt > 0 {
            let all = self.reports(attempt, prepare, lie);
            let Ok(weighed) = self.delegates[0].weigh(attempt, &all) else { return };
            (reports, asked) = (weighed.reports, weighed.digest);
        }
        let free = asked.unwrap_or(own);
        let digest = if self.steady { *self.proposed.entry(attempt).or_insert(free) } else { free };
        if asked.is_some_and(|asked| asked != digest) {
            return; // a leader who proposed before does not sign against its reports
        }
        let what = slot(1, attempt, GENESIS, digest);
        let proposal = Proposal::new(&leading_key(&self.set, 1, attempt), what, reports).unwrap();
        self.signed.push(Accepted { attempt, digest, leader_signature: proposal.signature });
        let mut cast: Vec<Vote> = self.faulty.map(|at| Vote::new(&key(at as u8 + 1), what)).into_iter().collect();
        let faulty = self.faulty;
        for at in (0..4).filter(|at| propose >> at & 1 == 1 && faulty != Some(*at)) {
            if self.delegates[at].propose(&proposal).is_ok() {
                cast.extend(self.said(at).into_iter().filter_map(|said| match said {
                    Saying::Vote(vote) if votes >> at & 1 == 1 => Some(vote),
                    _ => None,
                }));
            }
        }
        if let Ok(made) = collect(&self.set, &what, &cast) {
            made.certificate.verify(&self.set).unwrap();
            self.certified.push(made.certificate.slot.digest);
        }
    }

    fn run(&mut self, actions: Vec<Action>) {
        for (round, action) in actions.into_iter().enumerate() {
            match action {
                Action::Crash(at) => self.crash(usize::from(at)),
                Action::Lead { attempt, prepare, propose, votes, lie } => {
                    self.lead([round as u8 + 10; 32], (attempt, prepare, propose, votes, lie));
                }
            }
        }
        self.certified.dedup();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Loss, crashes, several leaders, a lying and double-voting delegate, leaders who change their mind: whatever happens,
    /// one height has one batch.
    #[test]
    fn no_two_batches_are_certified_at_one_height(
        actions in actions(), faulty in proptest::option::of(0usize..4), steady: bool
    ) {
        let mut world = World::new(faulty, steady);
        world.run(actions);
        prop_assert!(world.certified.len() <= 1, "{:?}", world.certified);
    }
}
