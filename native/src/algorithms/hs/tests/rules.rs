//! One machine against messages made by hand: the rules, and what other implementations got wrong.

use super::*;

/// A quorum certificate by the first three of four.
pub(super) fn qc(round: u64, block: Digest) -> Qc {
    certificate(&[0, 1, 2], round, block)
}

pub(super) fn certificate(places: &[u16], round: u64, block: Digest) -> Qc {
    let message = vote_message(&CHAIN, EPOCH, round, &block);
    let votes = places.iter().map(|place| (*place, key(*place).sign(&message))).collect();
    Qc::new(&committee(&[1; 4]), round, block, votes).unwrap()
}

pub(super) fn genesis() -> Qc {
    Qc::genesis(GENESIS)
}

pub(super) fn timeout(place: u16, round: u64, high_qc: Qc, tc: Option<Tc>) -> Timeout {
    Timeout::new(&key(place), (CHAIN, EPOCH, round), high_qc, tc, place)
}

pub(super) fn tc(places: &[u16], round: u64, high_qc: &Qc) -> Tc {
    let vote = |place: &u16| {
        let signature = timeout(*place, high_qc.round + 1, high_qc.clone(), None);
        let message = super::super::message::timeout_message(&CHAIN, EPOCH, round, high_qc.round);
        TimeoutVote { voter: signature.voter, qc_round: high_qc.round, signature: key(*place).sign(&message) }
    };
    let votes = List::new("votes", places.iter().map(vote).collect()).unwrap();
    Tc { round, high_qc: high_qc.clone(), votes }
}

/// A proposal of the leader of `round` among four.
pub(super) fn proposal(round: u64, qc: Qc, tc: Option<Tc>, payload: &[u8]) -> Proposal {
    let proposer = (round % 4) as u16;
    let header = Header {
        chain: CHAIN,
        epoch: EPOCH,
        round,
        parent: qc.block,
        qc_round: qc.round,
        tc: tc.as_ref().map(|tc| tc.digest().unwrap()),
        payload: payload_digest(payload),
        proposer,
    };
    let block = Block { header, payload: Bytes::new("payload", payload.to_vec()).unwrap() };
    Proposal::new(&key(proposer), block, qc, tc)
}

pub(super) fn vote(place: u16, round: u64, block: Digest) -> Vote {
    Vote::new(&key(place), CHAIN, EPOCH, round, block, place)
}

pub(super) fn hear(machine: &mut HotStuff, message: &impl wire::Record) -> Result<()> {
    machine.handle(3, &wire::encode(message).unwrap(), 0)
}

/// Refused, with these words, and nothing has changed.
pub(super) fn refuse(machine: &mut HotStuff, message: &impl wire::Record, words: &str) {
    refuse_bytes(machine, &unchecked(message), words);
}

pub(super) fn refuse_bytes(machine: &mut HotStuff, bytes: &[u8], words: &str) {
    let before = (format!("{machine:?}"), machine.snapshot().unwrap());
    let error = machine.handle(3, bytes, 0).unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
    assert_eq!(before, (format!("{machine:?}"), machine.snapshot().unwrap()), "{words}: the state has changed");
}

/// An encoding of what `wire::encode` would not let pass.
pub(super) fn unchecked<R: wire::Record>(record: &R) -> Vec<u8> {
    let mut out = [&R::TAG[..], &R::VERSION.to_le_bytes()].concat();
    record.write_body(&mut out).unwrap();
    out
}

/// What came out, every record being durable at once.
pub(super) fn flush(machine: &mut HotStuff) -> Vec<Action<Event>> {
    let mut out = Vec::new();
    loop {
        let effects = machine.drain();
        if effects.is_empty() {
            return out;
        }
        for effect in effects {
            match effect {
                Effect::Persist { ticket, .. } => machine.durable(ticket).unwrap(),
                Effect::Output(action) => out.push(action),
            }
        }
    }
}

/// The votes that came out, after every payload was found good.
pub(super) fn votes(machine: &mut HotStuff) -> Vec<Vote> {
    let mut out = Vec::new();
    for action in flush(machine) {
        match action {
            Action::Event(Event::ValidatePayload { block, .. }) => machine.payload_result(block, true, 0).unwrap(),
            Action::Send { message, .. } => out.extend(wire::decode::<Vote>(&message)),
            _ => {}
        }
    }
    let more = flush(machine).into_iter().filter_map(|action| match action {
        Action::Send { message, .. } => wire::decode::<Vote>(&message).ok(),
        _ => None,
    });
    out.extend(more);
    out
}

pub(super) fn commits(actions: &[Action<Event>]) -> Vec<Digest> {
    let commit = |action: &Action<Event>| match action {
        Action::Event(Event::Commit { block, .. }) => Some(*block),
        _ => None,
    };
    actions.iter().filter_map(commit).collect()
}

/// Place 0 of four, which leads rounds 4, 8, …
pub(super) fn replica() -> HotStuff {
    let mut machine = machine(&[1; 4], 0, &Config::default());
    machine.start(0).unwrap();
    flush(&mut machine);
    machine
}

/// A chain of blocks of rounds 1 to `count`, each with the certificate of the one before.
pub(super) fn chain(count: u64) -> Vec<Proposal> {
    let mut chain: Vec<Proposal> = Vec::new();
    for round in 1..=count {
        let qc = chain.last().map_or_else(genesis, |last| qc(last.round(), last.id()));
        chain.push(proposal(round, qc, None, &round.to_le_bytes()));
    }
    chain
}

/// libhotstuff #21: the certificate within a proposal is verified when the proposal comes.
#[test]
fn rule_1_a_proposal_is_of_its_leader_and_follows_a_certificate() {
    let mut machine = replica();
    let good = proposal(1, genesis(), None, b"a");
    let mut wrong = good.clone();
    wrong.block.header.proposer = 2;
    refuse(&mut machine, &wrong, "place 1 leads round 1");
    wrong = good.clone();
    wrong.signature = key(2).sign(&good.block.header.message());
    refuse(&mut machine, &wrong, "signature of place 1");
    refuse(&mut machine, &proposal(2, genesis(), None, b"a"), "does not follow round 0");
    refuse(
        &mut machine,
        &proposal(5, genesis(), Some(tc(&[0, 1, 2], 3, &genesis())), b"a"),
        "does not follow the timeout",
    );
    refuse(&mut machine, &proposal(2, certificate(&[0, 1], 1, [1; 32]), None, b"a"), "3 is needed");
    wrong = good.clone();
    wrong.block.payload = Bytes::new("payload", b"b".to_vec()).unwrap();
    refuse(&mut machine, &wrong, "payload is not the one");
    wrong = proposal(2, genesis(), Some(tc(&[0, 1, 2], 1, &genesis())), b"a");
    wrong.tc = Some(tc(&[1, 2, 3], 1, &genesis()));
    refuse(&mut machine, &wrong, "timeout certificate is not the one");
    hear(&mut machine, &good).unwrap();
    assert_eq!(votes(&mut machine).len(), 1);
}

/// relab #289: a certificate that claims another round than its block has.
#[test]
fn a_certificates_round_is_its_blocks_round() {
    let mut machine = replica();
    let first = proposal(1, genesis(), None, b"a");
    hear(&mut machine, &first).unwrap();
    // A faulty quorum signs the block of round 1 as one of round 4.
    let lie = qc(4, first.id());
    refuse(&mut machine, &proposal(5, lie.clone(), None, b"b"), "which is of round 1");
    refuse(&mut machine, &timeout(1, 5, lie.clone(), None), "which is of round 1");
    let answer = SyncResponse { chain: CHAIN, epoch: EPOCH, blocks: List::default(), qc: lie, tc: None };
    refuse(&mut machine, &answer, "which is of round 1");
    // An honest certificate with the round inflated is forged.
    let mut inflated = qc(1, first.id());
    inflated.round = 8;
    refuse(&mut machine, &proposal(9, inflated, None, b"b"), "which is of round 1");
    let mut apart = proposal(2, qc(1, first.id()), None, b"b");
    apart.block.header.qc_round = 0;
    refuse(&mut machine, &apart, "and certifies");
}

/// The same lie told before the block is here: it commits nothing, for nobody could prove the commit.
#[test]
fn a_certificate_of_a_wrong_round_that_comes_before_its_block_commits_nothing() {
    let mut machine = replica();
    let blocks = chain(2);
    hear(&mut machine, &blocks[0]).unwrap();
    hear(&mut machine, &timeout(1, 8, qc(7, blocks[1].id()), None)).unwrap();
    hear(&mut machine, &blocks[1]).unwrap();
    assert_eq!((commits(&flush(&mut machine)), machine.committed().0), (Vec::new(), 0));
}

/// relab #285: a certificate of a block that is not here.
#[test]
fn a_certificate_of_an_unknown_block_is_asked_for_and_not_voted_on() {
    let mut machine = replica();
    let chain = chain(3);
    hear(&mut machine, &chain[2]).unwrap();
    assert!(machine.is_behind() && machine.round() == 3);
    let actions = flush(&mut machine);
    let request = actions.iter().find_map(|action| match action {
        Action::Send { to: 3, message } => wire::decode::<SyncRequest>(message).ok(),
        _ => None,
    });
    assert_eq!(request.unwrap().tip, (0, GENESIS));
    assert_eq!(machine.last_voted(), 0);
    let blocks = List::new("blocks", chain[..2].to_vec()).unwrap();
    let response = SyncResponse { chain: CHAIN, epoch: EPOCH, blocks, qc: chain[2].qc.clone(), tc: None };
    hear(&mut machine, &response).unwrap();
    assert!(!machine.is_behind());
    assert_eq!(votes(&mut machine), [], "place 0 leads the next round: its vote is for itself");
    assert_eq!(machine.state.vote.unwrap().block, chain[2].id(), "the proposal that waited is voted for");
    assert_eq!(machine.committed().0, 1);
}

/// flow-go #105: a second proposal of a round is evidence, and stops nothing.
#[test]
fn rule_2_one_vote_a_round_and_never_backwards() {
    let mut machine = replica();
    let chain = chain(3);
    hear(&mut machine, &chain[0]).unwrap();
    let first = votes(&mut machine);
    assert_eq!((first.len(), first[0].round), (1, 1));
    hear(&mut machine, &chain[0]).unwrap();
    assert_eq!(votes(&mut machine), first, "the same again gets the same bytes");
    let other = proposal(1, genesis(), None, b"other");
    hear(&mut machine, &other).unwrap();
    let actions = flush(&mut machine);
    assert!(matches!(&actions[..], [Action::Event(Event::Evidence(_))]), "{actions:?}");
    hear(&mut machine, &chain[1]).unwrap();
    hear(&mut machine, &chain[2]).unwrap();
    assert_eq!(votes(&mut machine), [], "the vote of round 3 is for itself");
    assert_eq!(machine.state.vote.unwrap().round, 3);
    refuse(&mut machine, &chain[0], "this is round 3");
}

#[test]
fn a_payload_that_the_driver_refuses_is_not_voted_for() {
    let mut machine = replica();
    let first = proposal(1, genesis(), None, b"a");
    hear(&mut machine, &first).unwrap();
    machine.payload_result(first.id(), false, 0).unwrap();
    machine.payload_result(first.id(), true, 0).unwrap();
    machine.payload_result([9; 32], true, 0).unwrap();
    assert_eq!(machine.last_voted(), 0);
}

#[test]
fn rule_3_no_vote_in_a_round_that_was_given_up() {
    let mut machine = replica();
    let first = proposal(1, genesis(), None, b"a");
    hear(&mut machine, &first).unwrap();
    machine.tick(1_000_000).unwrap();
    assert_eq!(machine.last_voted(), 1);
    machine.payload_result(first.id(), true, 0).unwrap();
    let sent = |machine: &mut HotStuff| -> Vec<Vec<u8>> {
        let message = |action| match action {
            Action::Send { message, .. } | Action::Broadcast { message } => Some(message),
            _ => None,
        };
        flush(machine).into_iter().filter_map(message).collect()
    };
    let said = sent(&mut machine);
    assert_eq!(said.len(), 1);
    let given_up: Timeout = wire::decode(&said[0]).unwrap();
    assert_eq!((given_up.round, given_up.high_qc), (1, genesis()));
    machine.tick(2_000_000).unwrap();
    assert_eq!(sent(&mut machine), said, "said again in the same bytes");
}

/// relab #224 and #227: timeouts that nobody checked.
#[test]
fn rule_4_timeouts_are_checked_before_they_count() {
    let mut machine = replica();
    let mut forged = timeout(1, 1, genesis(), None);
    forged.voter = 2;
    refuse(&mut machine, &forged, "signature of place 2");
    forged = timeout(1, 1, genesis(), None);
    forged.signature[0] ^= 1;
    refuse(&mut machine, &forged, "signature of place 1");
    refuse(&mut machine, &timeout(1, 7, genesis(), None), "does not follow");
    refuse(&mut machine, &timeout(1, 3, certificate(&[0, 1], 2, [7; 32]), None), "3 is needed");
    refuse(&mut machine, &timeout(9, 1, genesis(), None), "place 9");
    let short = tc(&[0, 1], 4, &genesis());
    refuse(&mut machine, &timeout(1, 5, genesis(), Some(short)), "3 is needed");
    let mut twice = tc(&[0, 1, 2], 4, &genesis());
    twice.votes = List::new("votes", [0, 0, 1].map(|at| twice.votes[at]).to_vec()).unwrap();
    refuse(&mut machine, &timeout(1, 5, genesis(), Some(twice)), "places do not rise");
    let mut higher = tc(&[0, 1, 2], 4, &qc(2, [7; 32]));
    higher.high_qc = genesis();
    refuse(&mut machine, &timeout(1, 5, genesis(), Some(higher)), "but 2 was the highest");
    let late = tc(&[0, 1, 2], 4, &qc(4, [7; 32]));
    refuse(&mut machine, &timeout(1, 5, genesis(), Some(late)), "had round 4 certified");
    hear(&mut machine, &timeout(1, 5, genesis(), Some(tc(&[0, 1, 2], 4, &genesis())))).unwrap();
    assert_eq!(machine.round(), 5);
}

/// relab #249 and malachite's gap commits: only a direct parent of the round before commits.
#[test]
fn rule_5_commits_need_consecutive_rounds_and_go_oldest_first() {
    let mut machine = replica();
    let one = proposal(1, genesis(), None, b"1");
    hear(&mut machine, &one).unwrap();
    // Round 2 fails; round 3 follows round 1: certified, and commits nothing.
    let gap = tc(&[0, 1, 2], 2, &qc(1, one.id()));
    let three = proposal(3, qc(1, one.id()), Some(gap), b"3");
    hear(&mut machine, &three).unwrap();
    let late = tc(&[0, 1, 2], 4, &qc(3, three.id()));
    let five = proposal(5, qc(3, three.id()), Some(late), b"5");
    hear(&mut machine, &five).unwrap();
    assert_eq!(commits(&flush(&mut machine)), [] as [Digest; 0]);
    let six = proposal(6, qc(5, five.id()), None, b"6");
    hear(&mut machine, &six).unwrap();
    assert_eq!(commits(&flush(&mut machine)), [] as [Digest; 0]);
    let seven = proposal(7, qc(6, six.id()), None, b"7");
    hear(&mut machine, &seven).unwrap();
    let actions = flush(&mut machine);
    assert_eq!(commits(&actions), [one.id(), three.id(), five.id()]);
    assert_eq!(machine.committed(), (5, five.id()));
    hear(&mut machine, &seven).unwrap();
    assert_eq!(commits(&flush(&mut machine)), [] as [Digest; 0], "each once");
    for action in actions {
        if let Action::Event(Event::Commit { block, payload, proof }) = action {
            assert_eq!(proof.verify(&committee(&[1; 4]), &CHAIN, EPOCH).unwrap(), payload_digest(&payload));
            assert_eq!(proof.header().unwrap().id(), block);
        }
    }
}

/// hotstuff_rs #16 and #28: a commit must not throw away what a second child of the committed block is judged by.
#[test]
fn another_child_of_the_last_committed_block_can_be_voted_for() {
    let mut machine = replica();
    let blocks = chain(3);
    blocks.iter().for_each(|block| hear(&mut machine, block).unwrap());
    flush(&mut machine);
    assert_eq!(machine.committed(), (1, blocks[0].id()));
    // A quorum that knew no certificate of round 2 gave rounds 3 and 4 up.
    let known = qc(1, blocks[0].id());
    let other = proposal(5, known.clone(), Some(tc(&[1, 2, 3], 4, &known)), b"other");
    hear(&mut machine, &other).unwrap();
    assert_eq!(votes(&mut machine), [vote(0, 5, other.id())]);
    assert_eq!(machine.committed(), (1, blocks[0].id()));
}

#[test]
fn the_three_chain_waits_for_one_more() {
    let blocks = chain(6);
    for (rule, committed) in [(2, 4), (3, 3)] {
        let mut machine = machine(&[1; 4], 0, &Config { commit_rule: rule, ..Config::default() });
        machine.start(0).unwrap();
        for block in &blocks {
            hear(&mut machine, block).unwrap();
        }
        assert_eq!(machine.committed().0, committed);
    }
}

/// hotstuff_rs #24: rounds come together by messages, not by clocks alone.
#[test]
fn rule_6_who_is_not_faulty_alone_is_followed() {
    let mut machine = replica();
    hear(&mut machine, &timeout(1, 1, genesis(), None)).unwrap();
    assert_eq!(machine.last_voted(), 0, "one may be faulty");
    hear(&mut machine, &timeout(1, 1, genesis(), None)).unwrap();
    assert_eq!(machine.last_voted(), 0, "and counts once");
    hear(&mut machine, &timeout(2, 1, genesis(), None)).unwrap();
    assert_eq!(machine.last_voted(), 1, "two are followed");
    assert_eq!(machine.round(), 1, "its own is not durable yet");
    flush(&mut machine);
    assert_eq!(machine.round(), 2);
}

#[test]
fn backoff_grows_in_integers_up_to_its_most() {
    let config = Config { timeout_us: 1000, timeout_max_us: 5000, ..Config::default() };
    let mut machine = machine(&[1; 4], 0, &config);
    machine.start(0).unwrap();
    let mut deadlines = Vec::new();
    for round in 1..8 {
        for place in 1..4 {
            let before = (round > 1).then(|| tc(&[1, 2, 3], round - 1, &genesis()));
            let _ = hear(&mut machine, &timeout(place, round, genesis(), before));
        }
        flush(&mut machine);
        deadlines.push(machine.deadline);
    }
    assert_eq!(deadlines, [1500, 2250, 3375, 5000, 5000, 5000, 5000]);
}

/// tari-ootle #2459: votes are counted for a block, not for its round: a stray signature never gets into a certificate.
/// tari-ootle #2649: the first vote of an author stays, and the second is evidence.
#[test]
fn rule_7_votes_count_by_block_and_author() {
    // Place 0 leads round 4 and makes the certificate of round 3.
    let mut machine = replica();
    let blocks = chain(3);
    blocks.iter().for_each(|block| hear(&mut machine, block).unwrap());
    flush(&mut machine);
    let (id, other) = (blocks[2].id(), [9; 32]);
    refuse(&mut machine, &vote(1, 2, id), "for another to certify");
    let mut forged = vote(1, 3, id);
    forged.voter = 2;
    refuse(&mut machine, &forged, "signature of place 2");
    hear(&mut machine, &vote(1, 3, id)).unwrap();
    for _ in 0..3 {
        hear(&mut machine, &vote(1, 3, id)).unwrap();
    }
    hear(&mut machine, &vote(2, 3, other)).unwrap();
    hear(&mut machine, &vote(2, 3, id)).unwrap();
    let evidence: Vec<Evidence> = flush(&mut machine)
        .into_iter()
        .filter_map(
            |action| if let Action::Event(Event::Evidence(bytes)) = action { wire::decode(&bytes).ok() } else { None },
        )
        .collect();
    assert_eq!(evidence, [Evidence::Votes([vote(2, 3, other), vote(2, 3, id)])]);
    assert_eq!(evidence[0].verify(&committee(&[1; 4]), &CHAIN, EPOCH).unwrap(), 2);
    hear(&mut machine, &vote(2, 3, id)).unwrap();
    assert_eq!(flush(&mut machine), [], "evidence comes once");
    assert_eq!(machine.high_qc().round, 2, "the second vote of place 2 does not count");
    hear(&mut machine, &vote(3, 3, id)).unwrap();
    assert_eq!(machine.high_qc().round, 2);
    hear(&mut machine, &vote(0, 3, id)).unwrap();
    assert_eq!((machine.high_qc().round, machine.high_qc().places()), (3, vec![0, 1, 3]));
    refuse(&mut machine, &vote(2, 3, id), "certified already");
}

#[test]
fn rule_8_one_proposal_a_round_behind_its_record() {
    let mut machine = machine(&[1; 4], 1, &Config::default());
    machine.start(0).unwrap();
    machine.drain();
    machine.propose(b"a".to_vec(), 0).unwrap();
    assert!(machine.propose(b"b".to_vec(), 0).unwrap_err().to_string().contains("no payload is asked for"));
    let effects = machine.drain();
    assert!(matches!(&effects[..], [Effect::Persist { ticket: 1, .. }]), "{effects:?}");
    machine.durable(1).unwrap();
    assert!(matches!(
        &machine.drain()[..],
        [Effect::Output(Action::Broadcast { .. }), Effect::Output(Action::Send { to: 2, .. })]
    ));
    let long = machine.propose(vec![0; PAYLOAD_MAX + 1], 0).unwrap_err().to_string();
    assert!(long.contains("at most 1048576"), "{long}");
}

#[test]
fn other_chains_and_epochs_are_refused() {
    let mut machine = replica();
    for (chain, epoch) in [([1; 32], EPOCH), (CHAIN, EPOCH + 1)] {
        let foreign = Vote::new(&key(1), chain, epoch, 3, [9; 32], 1);
        refuse(&mut machine, &foreign, "but this is epoch 5");
        let mut replayed = foreign;
        (replayed.chain, replayed.epoch) = (CHAIN, EPOCH);
        refuse(&mut machine, &replayed, "signature of place 1");
        // A certificate of the other epoch's votes within a message of this one.
        let message = vote_message(&chain, epoch, 1, &[9; 32]);
        let signed = [0, 1, 2].map(|place| (place, key(place).sign(&message))).to_vec();
        let foreign = Qc::new(&committee(&[1; 4]), 1, [9; 32], signed).unwrap();
        refuse(&mut machine, &timeout(1, 2, foreign, None), "signature of place 0");
    }
}

#[test]
fn rounds_near_the_last_are_refused_without_a_panic() {
    let mut machine = replica();
    let far = u64::MAX - 1;
    let block = proposal(far, qc(far - 1, [7; 32]), None, b"a");
    hear(&mut machine, &block).unwrap();
    assert_eq!(machine.round(), far);
    machine.tick(u64::MAX).unwrap();
    flush(&mut machine);
    refuse(&mut machine, &proposal(u64::MAX, qc(far, [7; 32]), None, b"a"), "there is none");
    refuse(&mut machine, &timeout(1, u64::MAX, qc(far, [7; 32]), None), "does not follow");
    refuse(&mut machine, &vote(1, u64::MAX, [7; 32]), "for another");
    for place in 1..4 {
        let _ = hear(&mut machine, &timeout(place, far, qc(far - 1, [7; 32]), None));
    }
    flush(&mut machine);
    machine.tick(u64::MAX).unwrap();
    assert_eq!(machine.round(), u64::MAX);
}

#[test]
fn stakes_decide_and_not_heads() {
    let weights = [10, 1, 1, 1];
    let votes = |places: &[u16]| {
        let message = vote_message(&CHAIN, EPOCH, 1, &[7; 32]);
        let votes = places.iter().map(|place| (*place, key(*place).sign(&message))).collect();
        let committee = committee(&weights);
        let qc = Qc::new(&committee, 1, [7; 32], votes).unwrap();
        qc.verify(certificate::Domain { committee: &committee, chain: &CHAIN, epoch: EPOCH, genesis: None })
    };
    assert!(votes(&[1, 2, 3]).is_err());
    assert!(votes(&[0]).is_ok());
}
