//! The agreement on one bit, as a pure state: what was counted, and what follows from it.
//!
//! | rule | condition | what follows |
//! |---|---|---|
//! | A1 | the estimate v of a round | say `E1(v)` |
//! | A2 | f + 1 of `E1(w)` | say `E1(w)` too |
//! | A3 | a quorum of `E1(w)`, the first such w | say `E2(w)`, once |
//! | A4 | a quorum of `E2(u)` and of `E1(u)` | say `E3(u)`, if no E3 was said |
//! | A5 | quorums of `E1` for both bits | ⊥ is marked; say `E3(⊥)`, if no E3 was said |
//! | A6 | a quorum of `E3(u)` | the round's outcome is u |
//! | A7 | a quorum of E3, not all alike, and ⊥ is marked | the round's outcome is ⊥ |
//! | A8 | the outcome is set, and only then | ask for the round's coin |
//! | A9 | the coin c, outcome u | the next estimate is u; decide u if u = c |
//! | A10 | the coin c, outcome ⊥ | the next estimate is c |
//! | D1 | f + 1 of `DECIDE(b)` | decide b, say `DECIDE(b)` |
//! | D2 | a quorum of `DECIDE(b)` | halt |
//!
//! Old rounds stay until D2 and go on to serve A2–A5: whoever is behind needs them. Statements of rounds that have not been
//! entered are counted, and acted on when the round is entered.

use std::collections::BTreeMap;

use super::message::Statement;
use crate::error::{Error, Result};
use crate::primitives::committee::{Committee, Tally};
use crate::primitives::mutant::mutant;

/// How far ahead of a party's round a statement may be.
pub const ROUNDS_AHEAD_MAX: u32 = 32;

/// From this round on every round is reported: with a fair coin it is reached once in 2^120 agreements.
pub const ROUND_ALARM: u32 = 120;

/// The last round. Whoever gets here has no fair coin; it stays, and only `DECIDE` helps.
pub const ROUND_MAX: u32 = 255;

/// The most outputs that follow from one input: a coin leads into a round whose statements may all be there already.
pub(super) const OUTPUTS_MAX: usize = 16;

/// What follows from an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Tell everybody.
    Say(Statement),
    /// The coin of a round is needed.
    NeedCoin(u32),
    /// The bit is decided.
    Decided(bool),
    /// Everybody will decide without this party.
    Halted,
    /// A round of [`ROUND_ALARM`] or later is entered.
    Alarm(u32),
}

/// One round.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Round {
    echo1: [Tally; 2],
    echo2: [Tally; 2],
    /// Of 0, 1 and ⊥.
    echo3: [Tally; 3],
    said1: [bool; 2],
    said2: bool,
    said3: bool,
    estimate: bool,
    /// The outcome; `Some(None)` is ⊥.
    out: Option<Option<bool>>,
    asked: bool,
    coin: Option<bool>,
}

impl Round {
    fn echo3_weight(&self) -> u128 {
        self.echo3.iter().map(Tally::weight).sum()
    }

    fn bottom(&self, committee: &Committee) -> bool {
        !mutant!("abba.bottom_ignored") && self.echo1.iter().all(|tally| tally.is_quorum(committee))
    }

    /// A2 to A5: what is said next, if anything.
    fn next_statement(&self, committee: &Committee, round: u32) -> Option<Statement> {
        let bits = [self.estimate, !self.estimate];
        let echoed1 = |bit: &bool| self.echo1[usize::from(*bit)].is_quorum(committee);
        let amplify =
            |bit: &&bool| !self.said1[usize::from(**bit)] && self.echo1[usize::from(**bit)].has_honest(committee);
        if let Some(bit) = bits.iter().find(amplify) {
            return Some(Statement::Echo1 { round, bit: *bit });
        }
        if let (false, Some(bit)) = (self.said2, bits.iter().find(|bit| echoed1(bit))) {
            return Some(Statement::Echo2 { round, bit: *bit });
        }
        if self.said3 {
            return None;
        }
        let certain = |bit: &&bool| echoed1(bit) && self.echo2[usize::from(**bit)].is_quorum(committee);
        if let Some(bit) = bits.iter().find(certain) {
            return Some(Statement::Echo3 { round, bit: Some(*bit) });
        }
        self.bottom(committee).then_some(Statement::Echo3 { round, bit: None })
    }

    /// A6 and A7: the outcome, if there is one by now.
    fn outcome(&self, committee: &Committee) -> Option<Option<bool>> {
        if mutant!("abba.own_aux_estimate") {
            return self.outcome_of_echo2(committee);
        }
        let uniform = |bit: &bool| self.echo3[usize::from(*bit)].is_quorum(committee);
        if let Some(bit) = [false, true].into_iter().find(uniform) {
            return Some(Some(bit));
        }
        (self.bottom(committee) && self.echo3_weight() >= committee.quorum()).then_some(None)
    }

    /// The fault that the third echo is there against: the outcome of what this party itself saw of the second.
    fn outcome_of_echo2(&self, committee: &Committee) -> Option<Option<bool>> {
        let [zeros, ones] =
            [0, 1].map(|bit| if self.echo1[bit].is_quorum(committee) { self.echo2[bit].weight() } else { 0 });
        let seen = match (zeros, ones) {
            (_, 0) => Some(false),
            (0, _) => Some(true),
            _ => None,
        };
        (zeros + ones >= committee.quorum()).then_some(seen)
    }
}

/// One agreement on one bit, of one party.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binary {
    me: u16,
    rounds: BTreeMap<u32, Round>,
    /// The round that was entered last.
    current: Option<u32>,
    decide: [Tally; 2],
    decided: Option<bool>,
    halted: bool,
}

impl Binary {
    pub(super) fn new(me: u16) -> Self {
        let (rounds, decide) = (BTreeMap::new(), <[Tally; 2]>::default());
        Self { me, rounds, current: None, decide, decided: None, halted: false }
    }

    pub(super) fn started(&self) -> bool {
        self.current.is_some()
    }

    pub(super) fn round(&self) -> Option<u32> {
        self.current
    }

    pub(super) fn decided(&self) -> Option<bool> {
        self.decided
    }

    pub(super) fn halted(&self) -> bool {
        self.halted
    }

    /// Whether a statement is new; `false` if it changes nothing.
    ///
    /// # Errors
    /// [`Error::Protocol`] if it is too far ahead, or contradicts what the sender said before.
    pub(super) fn admits(&self, sender: u16, statement: &Statement) -> Result<bool> {
        if self.halted {
            return Ok(false);
        }
        let round = statement.round().unwrap_or(0);
        let last = self.current.unwrap_or(0).saturating_add(ROUNDS_AHEAD_MAX).min(ROUND_MAX);
        if round > last {
            return Err(Error::protocol(format!(
                "abba: a statement of round {round}, {last} is the last to be heard now"
            )));
        }
        let none = Round::default();
        let known = self.rounds.get(&round).unwrap_or(&none);
        let (mine, others): (&Tally, [&Tally; 2]) = match *statement {
            Statement::Echo1 { bit, .. } => return Ok(!known.echo1[usize::from(bit)].has(sender)),
            Statement::Echo2 { bit, .. } => (&known.echo2[usize::from(bit)], [&known.echo2[usize::from(!bit)]; 2]),
            Statement::Decide { bit } => (&self.decide[usize::from(bit)], [&self.decide[usize::from(!bit)]; 2]),
            Statement::Echo3 { bit, .. } => {
                let at = echo3_place(bit);
                (&known.echo3[at], [&known.echo3[(at + 1) % 3], &known.echo3[(at + 2) % 3]])
            }
        };
        if mine.has(sender) {
            return Ok(false);
        }
        let echo3_again = matches!(statement, Statement::Echo3 { .. }) && mutant!("abba.echo3_twice");
        if others.iter().any(|tally| tally.has(sender)) && !echo3_again {
            return Err(Error::protocol(format!("abba: {statement:?} of party {sender}, which said another before")));
        }
        Ok(true)
    }

    /// Counts a statement that [`Self::admits`].
    pub(super) fn hear(&mut self, committee: &Committee, sender: u16, statement: Statement) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        if self.admits(sender, &statement).is_ok_and(|new| new) {
            self.count(committee, sender, statement);
            self.follow(committee, statement.round(), &mut outcomes);
        }
        outcomes
    }

    /// Starts with an estimate.
    pub(super) fn start(&mut self, committee: &Committee, bit: bool) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        if !self.started() && !self.halted {
            self.enter(committee, 0, bit, &mut outcomes);
        }
        outcomes
    }

    /// Checks that a coin was asked for and has not shown the other side.
    ///
    /// # Errors
    /// [`Error::Input`] if not. `false` if it is known, or of no use any more.
    pub(super) fn admits_coin(&self, round: u32, bit: bool) -> Result<bool> {
        if self.halted {
            return Ok(false);
        }
        match self.rounds.get(&round) {
            Some(Round { coin: Some(known), .. }) if *known != bit => {
                Err(Error::input(format!("abba: the coin of round {round} was told as {}", u8::from(*known))))
            }
            Some(Round { coin: Some(_), .. }) => Ok(false),
            Some(Round { asked: true, .. }) => Ok(true),
            _ => Err(Error::input(format!("abba: the coin of round {round} was not asked for"))),
        }
    }

    /// A9 and A10: the coin of a round that [`Self::admits_coin`].
    pub(super) fn coin(&mut self, committee: &Committee, round: u32, bit: bool) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        if !self.admits_coin(round, bit).is_ok_and(|new| new) {
            return outcomes;
        }
        if let Some(known) = self.rounds.get_mut(&round) {
            known.coin = Some(bit);
        }
        self.use_coin(committee, round, &mut outcomes);
        outcomes
    }

    fn use_coin(&mut self, committee: &Committee, round: u32, outcomes: &mut Vec<Outcome>) {
        let known = self.rounds.get(&round).map(|known| (known.out, known.coin));
        let Some((Some(out), Some(coin))) = known else { return };
        if out == Some(coin) || (out.is_some() && mutant!("abba.decide_without_coin")) {
            self.decide(committee, out.unwrap_or(coin), outcomes);
        }
        let estimate = if mutant!("abba.wrong_branch") { coin } else { out.unwrap_or(coin) };
        if !self.halted && round < ROUND_MAX {
            self.enter(committee, round + 1, estimate, outcomes);
        }
    }

    /// Everything that this party has said and somebody may still need; once it has halted, its decision.
    pub(super) fn said(&self) -> Vec<Statement> {
        let mut said = Vec::new();
        for (&round, known) in &self.rounds {
            let bits = [false, true].into_iter();
            said.extend(
                bits.clone().filter(|bit| known.said1[usize::from(*bit)]).map(|bit| Statement::Echo1 { round, bit }),
            );
            let second = bits.clone().find(|bit| known.echo2[usize::from(*bit)].has(self.me));
            said.extend(second.map(|bit| Statement::Echo2 { round, bit }));
            let third =
                [Some(false), Some(true), None].into_iter().find(|bit| known.echo3[echo3_place(*bit)].has(self.me));
            said.extend(third.map(|bit| Statement::Echo3 { round, bit }));
        }
        said.extend(self.decided.map(|bit| Statement::Decide { bit }));
        said
    }

    /// The rounds whose coin has been asked for, unless it is of no use any more.
    pub(super) fn asked(&self) -> impl Iterator<Item = u32> {
        self.rounds.iter().filter(|(_, known)| known.asked).map(|(round, _)| *round)
    }

    fn count(&mut self, committee: &Committee, sender: u16, statement: Statement) {
        let tally = match statement {
            Statement::Decide { bit } => &mut self.decide[usize::from(bit)],
            Statement::Echo1 { round, bit } => &mut self.rounds.entry(round).or_default().echo1[usize::from(bit)],
            Statement::Echo2 { round, bit } => &mut self.rounds.entry(round).or_default().echo2[usize::from(bit)],
            Statement::Echo3 { round, bit } => &mut self.rounds.entry(round).or_default().echo3[echo3_place(bit)],
        };
        tally.add(committee, sender);
    }

    fn say(&mut self, committee: &Committee, statement: Statement, outcomes: &mut Vec<Outcome>) {
        if let Some(round) = statement.round() {
            let known = self.rounds.entry(round).or_default();
            match statement {
                Statement::Echo1 { bit, .. } => known.said1[usize::from(bit)] = true,
                Statement::Echo2 { .. } => known.said2 = true,
                Statement::Echo3 { .. } => known.said3 = true,
                Statement::Decide { .. } => {}
            }
        }
        self.count(committee, self.me, statement);
        outcomes.push(Outcome::Say(statement));
    }

    fn enter(&mut self, committee: &Committee, round: u32, estimate: bool, outcomes: &mut Vec<Outcome>) {
        self.current = Some(round);
        let known = self.rounds.entry(round).or_default();
        known.estimate = estimate;
        if mutant!("abba.coin_early") {
            known.asked = true;
            outcomes.push(Outcome::NeedCoin(round));
        }
        if round >= ROUND_ALARM {
            outcomes.push(Outcome::Alarm(round));
        }
        self.say(committee, Statement::Echo1 { round, bit: estimate }, outcomes);
        self.follow(committee, Some(round), outcomes);
    }

    /// What follows from something new in a round, or from a new `DECIDE`.
    fn follow(&mut self, committee: &Committee, round: Option<u32>, outcomes: &mut Vec<Outcome>) {
        let Some(round) = round else { return self.follow_decide(committee, outcomes) };
        let Some(current) = self.current.filter(|current| round <= *current) else { return };
        if round < current && mutant!("abba.old_rounds_dropped") {
            return;
        }
        while let Some(statement) = self.rounds.get(&round).and_then(|known| known.next_statement(committee, round)) {
            self.say(committee, statement, outcomes);
        }
        let Some(known) = self.rounds.get_mut(&round).filter(|known| known.out.is_none()) else { return };
        known.out = known.outcome(committee);
        if known.out.is_some() && !known.asked {
            known.asked = true;
            outcomes.push(Outcome::NeedCoin(round));
        }
        if known.out.is_some() && known.coin.is_some() {
            self.use_coin(committee, round, outcomes);
        }
    }

    fn decide(&mut self, committee: &Committee, bit: bool, outcomes: &mut Vec<Outcome>) {
        if self.decided.is_some() {
            return;
        }
        self.decided = Some(bit);
        outcomes.push(Outcome::Decided(bit));
        self.say(committee, Statement::Decide { bit }, outcomes);
        self.follow_decide(committee, outcomes);
    }

    /// D1 and D2.
    fn follow_decide(&mut self, committee: &Committee, outcomes: &mut Vec<Outcome>) {
        for bit in [false, true] {
            let tally = &self.decide[usize::from(bit)];
            let enough = tally.has_honest(committee) || (tally.weight() > 0 && mutant!("abba.decide_on_one"));
            let quorum = tally.is_quorum(committee) || (enough && mutant!("abba.decide_f1_halts"));
            if enough {
                self.decide(committee, bit, outcomes);
            }
            if quorum && !self.halted {
                self.halted = true;
                self.rounds.clear();
                outcomes.push(Outcome::Halted);
            }
        }
    }
}

/// Where an E3 is counted.
fn echo3_place(bit: Option<bool>) -> usize {
    bit.map_or(2, usize::from)
}
