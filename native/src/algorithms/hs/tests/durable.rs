//! What survives a crash, and what is said after one.

use super::super::journal::{Entry, State};
use super::rules::*;
use super::*;

pub(super) fn restore(place: u16, records: &[Vec<u8>], amnesia: bool) -> Result<HotStuff> {
    let config = Config::default();
    HotStuff::restore(CHAIN, EPOCH, committee(&[1; 4]), key(place), GENESIS, config, records, amnesia)
}

/// Drains without reporting anything durable: the records, and what came out before them.
fn drained(machine: &mut HotStuff) -> (Vec<Vec<u8>>, Vec<Action<Event>>) {
    let (mut records, mut out) = (Vec::new(), Vec::new());
    for effect in machine.drain() {
        match effect {
            Effect::Persist { record, .. } => records.push(record),
            Effect::Output(action) => out.push(action),
        }
    }
    (records, out)
}

fn messages(actions: Vec<Action<Event>>) -> Vec<Vec<u8>> {
    let message = |action| match action {
        Action::Send { message, .. } | Action::Broadcast { message } => Some(message),
        _ => None,
    };
    actions.into_iter().filter_map(message).filter(|message| !message.starts_with(b"CChs")).collect()
}

/// A vote whose record is not durable was never said; one whose record is, is said again and never contradicted.
#[test]
fn a_crash_before_and_after_the_record_of_a_vote() {
    let first = proposal(1, Qc::genesis(GENESIS), None, b"a");
    let other = proposal(1, Qc::genesis(GENESIS), None, b"b");
    let mut machine = replica();
    hear(&mut machine, &first).unwrap();
    machine.drain();
    machine.payload_result(first.id(), true, 0).unwrap();
    let (records, said) = drained(&mut machine);
    assert_eq!((records.len(), messages(said)), (1, Vec::new()), "held back");
    machine.durable(1).unwrap();
    let said = messages(flush(&mut machine));
    assert_eq!(said.len(), 1);

    let mut before = restore(0, &[], false).unwrap();
    before.start(0).unwrap();
    hear(&mut before, &other).unwrap();
    assert_eq!(votes(&mut before)[0].block, other.id(), "nothing was said, so it is free");

    let mut after = restore(0, &records, false).unwrap();
    after.start(0).unwrap();
    assert_eq!(messages(flush(&mut after)), said, "the same bytes");
    hear(&mut after, &other).unwrap();
    assert_eq!(votes(&mut after), [], "and no other vote");
    assert_eq!(after.last_voted(), 1);
}

/// malachite #864: one that restarts voted for what came in before it had read its journal, and then said the old vote too.
#[test]
fn a_restart_says_no_vote_beside_the_one_in_its_journal() {
    let (first, other) = (proposal(1, Qc::genesis(GENESIS), None, b"a"), proposal(1, Qc::genesis(GENESIS), None, b"b"));
    let mut machine = replica();
    hear(&mut machine, &first).unwrap();
    machine.drain();
    machine.payload_result(first.id(), true, 0).unwrap();
    let (records, _) = drained(&mut machine);
    machine.durable(1).unwrap();
    let said = messages(flush(&mut machine));
    assert_eq!(said.len(), 1);

    let mut again = restore(0, &records, false).unwrap();
    let _ = hear(&mut again, &other);
    assert_eq!(votes(&mut again), [], "it has not begun, and knows what it said");
    again.start(0).unwrap();
    assert_eq!(messages(flush(&mut again)), said, "the vote of the journal, and no other");
    for proposal in [&other, &first] {
        let _ = hear(&mut again, proposal);
        assert!(votes(&mut again).iter().all(|vote| vote.block == first.id()));
    }
}

#[test]
fn a_crash_after_the_record_of_a_proposal_or_a_timeout() {
    let mut leader = machine(&[1; 4], 1, &Config::default());
    leader.start(0).unwrap();
    leader.drain();
    leader.propose(b"a".to_vec(), 0).unwrap();
    let (mut records, _) = drained(&mut leader);
    leader.durable(1).unwrap();
    let said = messages(flush(&mut leader));
    assert_eq!(said.len(), 2, "a proposal and a vote");
    let mut again = restore(1, &records, false).unwrap();
    again.start(0).unwrap();
    assert!(again.propose(b"b".to_vec(), 0).is_err(), "once per round");
    assert_eq!(messages(flush(&mut again)), said);

    leader.tick(1_000_000).unwrap();
    let (more, _) = drained(&mut leader);
    records.extend(more);
    leader.durable(2).unwrap();
    let given_up = messages(flush(&mut leader));
    let mut again = restore(1, &records, false).unwrap();
    again.start(0).unwrap();
    let all = messages(flush(&mut again));
    assert!(all.ends_with(&given_up) && all.len() == 3, "proposal, vote and timeout");
    assert_eq!(again.snapshot().unwrap(), leader.snapshot().unwrap());
}

/// sui #18009: a validator whose database was wiped must not sign a second time.
#[test]
fn one_that_lost_its_journal_only_watches() {
    let blocks = chain(4);
    let mut machine = restore(0, &[], true).unwrap();
    machine.start(0).unwrap();
    let (records, _) = drained(&mut machine);
    machine.durable(1).unwrap();
    for block in &blocks {
        hear(&mut machine, block).unwrap();
    }
    assert!(machine.propose(b"a".to_vec(), 0).is_err());
    machine.tick(u64::MAX / 2).unwrap();
    assert_eq!(messages(flush(&mut machine)), Vec::<Vec<u8>>::new());
    assert_eq!((machine.last_voted(), machine.committed().0), (0, 2), "it commits all the same");
    let again = restore(0, &records, false).unwrap();
    assert!(again.is_silent(), "and its new journal says so");
}

#[test]
fn anothers_and_older_journals_are_refused() {
    let mut machine = replica();
    hear(&mut machine, &proposal(1, Qc::genesis(GENESIS), None, b"a")).unwrap();
    machine.tick(1_000_000).unwrap();
    let (records, _) = drained(&mut machine);
    assert!(restore(0, &records, false).is_ok());
    assert!(restore(1, &records, false).unwrap_err().to_string().contains("place 0"));
    let fresh = replica().snapshot().unwrap();
    let mixed = [records[0].clone(), fresh];
    assert!(restore(0, &mixed, false).unwrap_err().to_string().contains("older"));
    for end in [0, 5, 40, records[0].len() - 1] {
        assert!(restore(0, &[records[0][..end].to_vec()], false).is_err(), "cut to {end}");
    }
    let wiped =
        HotStuff::restore(CHAIN, EPOCH + 1, committee(&[1; 4]), key(0), GENESIS, Config::default(), &records, false);
    assert!(wiped.unwrap_err().to_string().contains("of epoch 5"));
}

/// Every prefix of a journal gives a machine that neither votes in a round below the last nor forgets what it was locked on.
#[test]
fn every_prefix_of_a_journal_restores() {
    let mut net = Net::new(&[1; 4], Config::default());
    net.run(150);
    let disk = net.nodes[2].disk.clone();
    let mut last = 0;
    for end in 0..=disk.len() {
        let mut machine = restore(2, &disk[..end], false).unwrap();
        assert!(machine.last_voted() >= last);
        last = machine.last_voted();
        machine.start(0).unwrap();
        assert!(machine.round() >= machine.last_voted() && machine.state.high_qc.round >= machine.state.locked);
        let snapshot = machine.snapshot().unwrap();
        let again = restore(2, std::slice::from_ref(&snapshot), false).unwrap();
        assert_eq!(again.snapshot().unwrap(), snapshot);
    }
    assert!(last > 15, "{last}");
}

/// What it takes to leave a failed round is written until the round is left, and in no record after the next certificate.
#[test]
fn a_failed_round_is_gone_from_the_journal_when_the_next_succeeds() {
    let mut net = Net::new(&[1; 4], Config::default());
    net.run(40);
    net.wire.clear();
    net.pass(net.config.timeout_us * 20);
    net.run(200);
    assert!(net.check() > 15);
    for place in 0..4 {
        let disk = &net.nodes[usize::from(place)].disk;
        let states: Vec<State> = disk.iter().map(|record| wire::decode::<Entry>(record).unwrap().state).collect();
        let left = |state: &State| state.timeout.is_some() || state.high_tc.is_some();
        let (first, last) = (states.iter().position(left).unwrap(), states.iter().rposition(left).unwrap());
        assert!(first > 5 && last - first <= 2 && last + 10 < states.len(), "{first} to {last} of {}", states.len());
        assert!(states[first..=last].iter().all(left));
        let ended = states[last].high_tc.as_ref().unwrap().round;
        assert!(ended >= states[first - 1].last_voted, "the vote after the failed round comes with what ended it");
        let again = restore(place, &disk[..=last], false).unwrap();
        assert_eq!((again.round(), again.last_voted()), (ended + 1, states[last].last_voted));
    }
}

/// A timeout certificate of a round that is over is checked, and not taken up again.
#[test]
fn an_old_timeout_certificate_is_not_kept() {
    let blocks = chain(3);
    let mut machine = replica();
    blocks.iter().for_each(|block| hear(&mut machine, block).unwrap());
    let old = tc(&[1, 2, 3], 1, &genesis());
    let answer =
        SyncResponse { chain: CHAIN, epoch: EPOCH, blocks: List::default(), qc: blocks[1].qc.clone(), tc: Some(old) };
    hear(&mut machine, &answer).unwrap();
    assert_eq!((machine.round(), &machine.state.high_tc), (3, &None));
    let failed = tc(&[1, 2, 3], 3, &blocks[2].qc);
    hear(&mut machine, &SyncResponse { tc: Some(failed.clone()), ..answer }).unwrap();
    assert_eq!((machine.round(), &machine.state.high_tc), (4, &Some(failed)));
}
