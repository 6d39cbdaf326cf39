//! Attacks that the machines must survive, each with the rule that it is against. The mutants of the crate are killed by
//! these scenarios.

use super::net::*;
use super::*;

type Outcome = std::result::Result<(), String>;

fn ensure(holds: bool, what: &str) -> Outcome {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

/// A statement by the holder of a real key.
pub fn said(net: &Net<Abba>, by: u16, statement: Statement) -> Vec<u8> {
    let scope = INSTANCE.scope(&net.committee);
    wire::encode(&Vote::new(&key(by.into()), scope, statement).unwrap()).unwrap()
}

fn tell(net: &mut Net<Abba>, by: u16, to: u16, statement: Statement) {
    let message = said(net, by, statement);
    net.deliver(by, to, &message);
}

/// Delivers what the choice lets through, until nothing of it is left.
fn pass(net: &mut Net<Abba>, choice: impl Fn(u16, u16, Statement) -> bool) {
    let chosen = |(from, to, message): &(u16, u16, Vec<u8>)| {
        choice(*from, *to, wire::decode::<Vote>(message).unwrap().statement)
    };
    while let Some(at) = net.flying.iter().position(chosen) {
        let (from, to, message) = net.flying.remove(at);
        net.deliver(from, to, &message);
    }
}

fn e1(round: u32, bit: bool) -> Statement {
    Statement::Echo1 { round, bit }
}

fn e2(round: u32, bit: bool) -> Statement {
    Statement::Echo2 { round, bit }
}

fn e3(round: u32, bit: Option<bool>) -> Statement {
    Statement::Echo3 { round, bit }
}

fn begun(seed: u64, inputs: [bool; 3]) -> Net<Abba> {
    let mut net = Net::new(seed, &committee(4), 0..3);
    begin(&mut net, &inputs.map(Some));
    net
}

/// One round of the attack on MMR14 (Cachin and Zanolini, 2020): parties 0 and 1 are led to different second echoes and see
/// the coin; then party 2, kept back so far, is led to the other bit. Party 3 is the attacker's, and says E3 as well.
fn mmr14_round(net: &mut Net<Abba>, round: u32, held: bool) {
    let other = !held;
    let between = |from: u16, to: u16| from < 2 && to < 2;
    tell(net, 3, 0, e1(round, held));
    pass(net, |from, to, said| (from, to) == (1, 0) && said == e1(round, held));
    tell(net, 3, 1, e1(round, other));
    pass(net, |from, to, said| (from, to) == (2, 1) && said == e1(round, other));
    tell(net, 3, 0, e1(round, other));
    tell(net, 3, 1, e1(round, held));
    pass(net, |from, to, said| from < 3 && to < 2 && matches!(said, Statement::Echo1 { round: of, .. } if of == round));
    tell(net, 3, 0, e2(round, held));
    tell(net, 3, 1, e2(round, held));
    pass(net, |from, to, said| between(from, to) && matches!(said, Statement::Echo2 { round: of, .. } if of == round));
    tell(net, 3, 0, e3(round, None));
    tell(net, 3, 1, e3(round, Some(held)));
    pass(net, |from, to, said| between(from, to) && matches!(said, Statement::Echo3 { round: of, .. } if of == round));
    let against = !net.coin(0, round);
    tell(net, 3, 2, e1(round, against));
    pass(net, |from, to, said| from < 2 && to == 2 && said == e1(round, against));
    tell(net, 3, 2, e2(round, against));
    pass(net, |from, to, said| from < 2 && to == 2 && said == e2(round, against));
    tell(net, 3, 2, e3(round, Some(against)));
    pass(net, |from, to, said| from < 2 && to == 2 && said == e3(round, Some(against)));
    // Messages between parties that are not faulty arrive, if late.
    pass(net, |_, _, said| said.round().is_none_or(|of| of <= round));
}

/// The attack on MMR14: a scheduler that waits for the coin keeps parties apart for ever that take their estimate from the
/// second echoes that they have seen themselves.
pub fn mmr14_attack() -> Outcome {
    let mut ended = 0;
    for seed in 0..20 {
        let mut net = begun(seed, [false, false, true]);
        let mut held = false;
        for round in 0..40 {
            mmr14_round(&mut net, round, held);
            held = net.coin(0, round);
            if net.parties.iter().flatten().any(|party| party.decided().is_some()) {
                ended += 1;
                break;
            }
        }
        let decided: BTreeSet<bool> = net.parties.iter().flatten().filter_map(Abba::decided).collect();
        ensure(decided.len() <= 1, "two decisions")?;
    }
    ensure(ended == 20, "some run has not ended after 40 rounds of the attack")
}

/// A party in an old round needs an E1 of parties that have left it: they must go on to serve it.
pub fn a_party_behind_needs_an_old_round() -> Outcome {
    let mut runs = 0;
    for seed in 0..8 {
        let mut net = begun(seed, [false, true, true]);
        if !net.coin(0, 0) {
            continue;
        }
        runs += 1;
        let only = |net: &mut Net<Abba>, ways: &[(u16, u16)], wanted: Statement| {
            pass(net, |from, to, said| ways.contains(&(from, to)) && said == wanted);
        };
        only(&mut net, &[(0, 1)], e1(0, false));
        tell(&mut net, 3, 1, e1(0, false));
        only(&mut net, &[(1, 0)], e1(0, false));
        tell(&mut net, 3, 0, e1(0, false));
        only(&mut net, &[(0, 2), (1, 2)], e1(0, false));
        only(&mut net, &[(2, 1)], e1(0, true));
        tell(&mut net, 3, 1, e1(0, true));
        only(&mut net, &[(1, 0), (2, 0), (0, 2), (1, 2)], e2(0, false));
        only(&mut net, &[(2, 0)], e3(0, Some(false)));
        tell(&mut net, 3, 0, e3(0, Some(false)));
        only(&mut net, &[(0, 1), (2, 1)], e3(0, Some(false)));
        ensure(net.party(0).round() == Some(1) && net.party(1).round() == Some(1), "the script leads to round 1")?;
        ensure(net.party(2).round() == Some(0), "and leaves one behind")?;
        net.run();
    }
    ensure(runs > 0, "a seed whose first coin shows 1")
}

/// Whoever has heard nothing has no outcome, and asks for no coin.
pub fn no_coin_before_the_outcome() -> Outcome {
    let mut net = begun(1, [true, true, true]);
    ensure(net.asked.is_empty(), "a coin was asked for at the start of a round")?;
    pass(&mut net, |_, _, said| !matches!(said, Statement::Echo3 { .. }));
    ensure(net.asked.is_empty(), "a coin was asked for without a quorum of E3")?;
    net.run();
    ensure(!net.asked.is_empty(), "after it, it is")
}

/// A faulty party's third echoes count once, whatever they say.
pub fn third_echoes_count_once() -> Outcome {
    let mut net = begun(1, [true, true, true]);
    tell(&mut net, 3, 0, e3(0, Some(true)));
    let before = net.party(0).snapshot().unwrap();
    for bit in [Some(false), None] {
        let message = said(&net, 3, e3(0, bit));
        ensure(net.party(0).handle(3, &message, 0).is_err(), "a second E3 of one party was counted")?;
    }
    ensure(net.party(0).snapshot().unwrap() == before, "what was refused changed the state")
}

/// f + 1 decisions are enough to decide, and too few to leave: others may still need this party.
pub fn who_decides_stays() -> Outcome {
    let mut net: Net<Abba> = Net::new(1, &committee(7), [0]);
    net.party(0).input(false).unwrap();
    net.drive(0);
    (1..4).for_each(|by| tell(&mut net, by, 0, Statement::Decide { bit: true }));
    ensure(net.party(0).decided() == Some(true), "f + 1 decide")?;
    ensure(!net.party(0).halted(), "it has left with f + 1")?;
    tell(&mut net, 4, 0, Statement::Decide { bit: true });
    ensure(net.party(0).halted(), "a quorum lets it leave")
}

/// f faulty parties that flood everybody with decisions before anything has begun.
pub fn an_early_flood_of_decisions() -> Outcome {
    for seed in 0..10 {
        let mut net = begun(seed, [true, true, true]);
        (0..3).for_each(|to| tell(&mut net, 3, to, Statement::Decide { bit: false }));
        ensure(net.party(0).decided().is_none(), "one party's word was taken")?;
        net.run();
        ensure(decision(&net), "all held 1")?;
    }
    Ok(())
}

/// Parties that see both bits come to an outcome all the same.
pub fn split_inputs_end() -> Outcome {
    for seed in 0..25 {
        let mut net = agreement(seed, &[Some(false), Some(true), Some(false), Some(true)]);
        net.run();
        decision(&net);
    }
    Ok(())
}

/// An outcome is decided only if the coin shows it: another party may have ⊥ and go on with the coin.
pub fn only_what_the_coin_shows_is_decided() -> Outcome {
    let mut seen = 0;
    for seed in 0..12 {
        let mut net = begun(seed, [false; 3]);
        while net.parties.iter().flatten().all(|party| party.decided().is_none()) && net.step() {}
        let first = (0..).find(|round| !net.coin(0, *round)).unwrap();
        let asked = net.asked.keys().map(|(_, round)| *round).max().unwrap();
        ensure(asked >= first, "decided before the coin showed it")?;
        seen += u32::from(first > 0);
    }
    ensure(seen > 0, "a seed whose first coin shows the other side")
}

/// What everybody holds is what everybody decides, whatever the coin shows.
pub fn nobody_is_led_away_from_what_all_hold() -> Outcome {
    for seed in 0..16 {
        let bit = seed % 2 == 1;
        let mut net = begun(seed, [bit; 3]);
        net.run();
        ensure(decision(&net) == bit, "they decided what nobody held")?;
    }
    Ok(())
}

/// A crash between a statement and its record would let a party contradict itself.
pub fn nothing_goes_out_before_its_record() -> Outcome {
    let mut party = abba(4, 0);
    party.input(true).unwrap();
    let effects = party.drain();
    ensure(matches!(&effects[..], [Effect::Persist { .. }]), "a statement went out before its record")?;
    let Effect::Persist { ticket, .. } = &effects[0] else { return Err("no record".into()) };
    party.durable(*ticket).unwrap();
    ensure(matches!(&party.drain()[..], [Effect::Output(Action::Broadcast { .. })]), "it goes out afterwards")
}

/// The signatures of f + 1 are no certificate.
pub fn a_certificate_needs_a_quorum() -> Outcome {
    let committee = committee(4);
    let mut net: Net<Subset> = Net::new(3, &committee, 0..3);
    propose(&mut net);
    net.run();
    for at in 0..3 {
        net.party(at).confirm([9; 32]).unwrap();
        net.drive(at);
    }
    while net.step() {}
    let certificate = net.party(0).certificate().ok_or("no certificate")?;
    certificate.verify(&committee).map_err(|error| error.to_string())?;
    let two = Signatures::new(certificate.signatures.items()[..2].to_vec()).unwrap();
    let thin = Certificate { signatures: two, ..certificate };
    ensure(thin.verify(&committee).is_err(), "two of four certify")
}

pub fn propose(net: &mut Net<Subset>) {
    for at in net.honest() {
        net.party(at).input(vec![at as u8; 3 + at]).unwrap();
        net.drive(at);
    }
}

/// Makes all records durable and takes the messages.
pub fn release(party: &mut Subset) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    loop {
        let effects = party.drain();
        if effects.is_empty() {
            return messages;
        }
        for effect in effects {
            match effect {
                Effect::Persist { ticket, .. } => party.durable(ticket).unwrap(),
                Effect::Output(Action::Send { message, .. } | Action::Broadcast { message }) => messages.push(message),
                Effect::Output(_) => {}
            }
        }
    }
}

/// A proposer that shows two proposals cannot get both certified: each party echoes one.
pub fn an_equivocating_proposer_gets_one_certificate() -> Outcome {
    let committee = committee(4);
    let scope = INSTANCE.scope(&committee);
    let mut echoes: BTreeMap<[u8; 32], BTreeSet<u16>> = BTreeMap::new();
    for at in 1..4u16 {
        let mut party = Subset::new(INSTANCE, committee.clone(), key(at.into())).unwrap();
        for payload in if at == 1 { [b"one", b"two"] } else { [b"two", b"one"] } {
            let initial = Message::initial(&key(0), &scope, payload.to_vec()).unwrap();
            let _ = party.handle(0, &Message::encode(scope, initial).unwrap(), 0);
            let _ = (release(&mut party), party.payload_result(0, true));
            for message in release(&mut party) {
                if let Body::Echo { digest, .. } = wire::decode::<Message>(&message).unwrap().body {
                    echoes.entry(digest).or_default().insert(at);
                }
            }
        }
    }
    let counts: Vec<usize> = echoes.values().map(BTreeSet::len).collect();
    ensure(counts.iter().sum::<usize>() == 3, "a party echoed two proposals of one proposer")
}

/// Nobody gives 0 before a quorum is in: the outcome has a quorum's proposals.
pub fn the_outcome_has_a_quorum_of_proposals() -> Outcome {
    for seed in 0..8 {
        let mut net: Net<Subset> = Net::new(seed, &committee(4), 0..4);
        propose(&mut net);
        // Two proposals become final late: whoever has not seen that must not give 0 because one other is in.
        let late = |(_, _, message): &(u16, u16, Vec<u8>)| {
            matches!(wire::decode::<Message>(message).unwrap().body, Body::Final { proposer: 1 | 2, .. })
        };
        while let Some(at) = net.flying.iter().position(|message| !late(message)) {
            let (from, to, message) = net.flying.remove(at);
            net.deliver(from, to, &message);
        }
        net.run();
        let accepted = net.party(0).output().ok_or("no outcome")?;
        ensure(accepted.len() >= 3, "fewer proposals than a quorum's came out")?;
        ensure(
            (1..4).all(|at| net.parties[at].as_ref().unwrap().output().as_ref() == Some(&accepted)),
            "two outcomes",
        )?;
    }
    Ok(())
}

/// A scenario.
#[allow(dead_code, reason = "for the mutants")]
pub type Scenario = fn() -> Outcome;

/// The scenarios by the mutant that each must kill.
#[allow(dead_code, reason = "for the mutants")]
pub const SCENARIOS: &[(&str, Scenario)] = &[
    ("abba.own_aux_estimate", mmr14_attack),
    ("abba.old_rounds_dropped", a_party_behind_needs_an_old_round),
    ("abba.coin_early", no_coin_before_the_outcome),
    ("abba.echo3_twice", third_echoes_count_once),
    ("abba.decide_f1_halts", who_decides_stays),
    ("abba.decide_on_one", an_early_flood_of_decisions),
    ("abba.bottom_ignored", split_inputs_end),
    ("abba.decide_without_coin", only_what_the_coin_shows_is_decided),
    ("abba.wrong_branch", nobody_is_led_away_from_what_all_hold),
    ("abba.journal_late", nothing_goes_out_before_its_record),
    ("abba.thin_certificate", a_certificate_needs_a_quorum),
    ("abba.echo_twice", an_equivocating_proposer_gets_one_certificate),
    ("abba.zeros_early", the_outcome_has_a_quorum_of_proposals),
];

macro_rules! scenario_tests {
    ($($name:ident = $scenario:ident;)*) => { $(
        #[test]
        fn $name() {
            $scenario().unwrap();
        }
    )* };
}

#[cfg(test)]
mod each {
    use super::*;

    scenario_tests! {
        the_mmr14_attack_ends = mmr14_attack;
        a_party_behind_is_served = a_party_behind_needs_an_old_round;
        a_coin_is_not_asked_for_early = no_coin_before_the_outcome;
        a_third_echo_counts_once = third_echoes_count_once;
        a_decided_party_stays = who_decides_stays;
        an_early_decide_flood = an_early_flood_of_decisions;
        split_inputs = split_inputs_end;
        the_coin_decides = only_what_the_coin_shows_is_decided;
        validity = nobody_is_led_away_from_what_all_hold;
        persist_before_send = nothing_goes_out_before_its_record;
        a_thin_certificate = a_certificate_needs_a_quorum;
        an_equivocating_proposer = an_equivocating_proposer_gets_one_certificate;
        a_quorum_comes_out = the_outcome_has_a_quorum_of_proposals;
    }
}
