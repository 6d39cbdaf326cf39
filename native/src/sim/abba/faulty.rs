//! Parties of common subsets that break the rules, with real keys.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::City;
use super::coins::{self, Share};
use crate::algorithms::abba::{Body, Endorsement, Message, Signatures, Statement, payload_digest};
use crate::algorithms::tes::coin::Name;
use crate::crypto::hash::Digest;
use crate::error::Result;
use crate::primitives::wire::{self, Bytes};
use crate::sim::node::{Node, Turn};

/// What a faulty party does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It says nothing.
    Silent,
    /// It proposes one thing to half of the others and another to the rest, shows the certificate of the one that gets one
    /// to a single party, a made-up one to all, and answers nobody who asks for the proposal.
    Proposals,
    /// It echoes proposals that nobody made, shows certificates without a quorum, and delivers other payloads than were
    /// certified.
    Echoes,
    /// It says everything and its opposite in every round of every agreement, to each party in another order.
    Statements,
    /// It shows its shares of coins rounds before they are asked for, and shares of other coins.
    Coins,
    /// All of these but silence.
    Everything,
}

impl Fault {
    fn is(self, fault: Self) -> bool {
        self == fault || self == Self::Everything
    }
}

/// What a faulty party keeps of one slot.
struct Slot {
    scope: Digest,
    payloads: [Vec<u8>; 2],
    echoes: [BTreeMap<u16, [u8; 64]>; 2],
    shown: bool,
    /// Agreements and rounds in which it has spoken.
    spoken: BTreeSet<(u16, u32)>,
}

/// A party that breaks the rules.
pub(super) struct Faulty {
    me: u16,
    city: Arc<City>,
    fault: Fault,
    batch: usize,
    slots: BTreeMap<u64, Slot>,
}

impl Faulty {
    pub(super) fn new(me: u16, city: Arc<City>, fault: Fault, batch: usize) -> Self {
        Self { me, city, fault, batch, slots: BTreeMap::new() }
    }

    fn others(&self) -> impl Iterator<Item = u16> + use<> {
        let me = self.me;
        (0..self.city.keys.len() as u16).filter(move |to| *to != me)
    }

    fn tell(&self, to: u16, scope: Digest, body: Body, turn: &mut Turn) -> Result<()> {
        turn.send(to, Message::encode(scope, body)?);
        Ok(())
    }

    /// A proposal that looks right, and is another for another `which`.
    fn payload(&self, slot: u64, which: u8) -> Vec<u8> {
        let mut payload = vec![which; self.batch];
        payload[..8].copy_from_slice(&slot.to_le_bytes());
        payload[8..10].copy_from_slice(&self.me.to_le_bytes());
        payload
    }

    fn begin(&mut self, at: u64, turn: &mut Turn) -> Result<()> {
        let scope = self.city.instance(at).scope(&self.city.committee);
        let payloads = [self.payload(at, 1), self.payload(at, 2)];
        let key = &self.city.keys[usize::from(self.me)];
        for to in self.others() {
            let which = if self.fault.is(Fault::Proposals) { usize::from(to % 2) } else { 0 };
            self.tell(to, scope, Message::initial(key, &scope, payloads[which].clone())?, turn)?;
        }
        let mine = |payload: &Vec<u8>| match Message::echo(key, &scope, self.me, payload_digest(payload)) {
            Body::Echo { signature, .. } => BTreeMap::from([(self.me, signature)]),
            _ => BTreeMap::new(),
        };
        let echoes = payloads.each_ref().map(mine);
        self.slots.insert(at, Slot { scope, payloads, echoes, shown: false, spoken: BTreeSet::new() });
        Ok(())
    }

    /// Somebody proposed: an echo of it and one of what it is not, and a certificate that a single party signed.
    fn echo(&mut self, at: u64, from: u16, payload: &[u8], turn: &mut Turn) -> Result<()> {
        let Some(slot) = self.slots.get(&at) else { return Ok(()) };
        let (scope, key) = (slot.scope, &self.city.keys[usize::from(self.me)]);
        if !self.fault.is(Fault::Echoes) {
            return self.tell(from, scope, Message::echo(key, &scope, from, payload_digest(payload)), turn);
        }
        let digest = payload_digest(b"what nobody proposed");
        let Body::Echo { signature, .. } = Message::echo(key, &scope, from, digest) else { return Ok(()) };
        let alone = Signatures::new(vec![Endorsement { party: self.me, signature }])?;
        for to in self.others() {
            self.tell(to, scope, Message::echo(key, &scope, from, digest), turn)?;
            self.tell(to, scope, Body::Final { proposer: from, digest, signatures: alone.clone() }, turn)?;
            let payload = Bytes::new("payload", b"what nobody proposed".to_vec())?;
            self.tell(to, scope, Body::Delivery { proposer: from, payload, signatures: alone.clone() }, turn)?;
        }
        Ok(())
    }

    /// Somebody echoed a proposal of this party: as soon as there is a certificate, it is shown to one party if this one
    /// made two proposals, else to all; and with echoes of both proposals, as many as a quorum needs, another to all.
    fn certify(&mut self, at: u64, from: u16, digest: Digest, signature: [u8; 64], turn: &mut Turn) -> Result<()> {
        let Some(slot) = self.slots.get_mut(&at) else { return Ok(()) };
        let Some(which) = (0..2).find(|which| payload_digest(&slot.payloads[*which]) == digest) else {
            return Ok(());
        };
        slot.echoes[which].insert(from, signature);
        let enough = |count: usize| count as u128 >= self.city.committee.quorum();
        let mixed: BTreeMap<u16, [u8; 64]> = slot.echoes.iter().flatten().map(|(at, of)| (*at, *of)).collect();
        if slot.shown || !enough(slot.echoes[which].len()) && !enough(mixed.len()) {
            return Ok(());
        }
        slot.shown = enough(slot.echoes[which].len());
        let (scope, right, shown) = (slot.scope, slot.echoes[which].clone(), slot.shown);
        let two = self.fault.is(Fault::Proposals);
        for to in self.others() {
            if two {
                let signatures = signatures(&mixed)?;
                self.tell(to, scope, Body::Final { proposer: self.me, digest, signatures }, turn)?;
            }
            if shown && (!two || to == (self.me + 1) % self.city.keys.len() as u16) {
                let signatures = signatures(&right)?;
                self.tell(to, scope, Body::Final { proposer: self.me, digest, signatures }, turn)?;
            }
        }
        Ok(())
    }

    /// Somebody speaks in a round of an agreement: this party says everything there, to each in another order.
    fn contradict(&mut self, at: u64, of: u16, round: u32, turn: &mut Turn) -> Result<()> {
        let Some(slot) = self.slots.get_mut(&at) else { return Ok(()) };
        if !slot.spoken.insert((of, round)) {
            return Ok(());
        }
        let scope = slot.scope;
        if self.fault.is(Fault::Statements) {
            let key = &self.city.keys[usize::from(self.me)];
            for to in self.others() {
                let bit = (u32::from(to) + u32::from(of) + round).is_multiple_of(2);
                let third = if round % 3 == 2 { None } else { Some(bit) };
                for [first, second, last] in [[bit, bit, true], [!bit, !bit, false]] {
                    let echo3 = if last { third } else { third.map_or(Some(bit), |_| None) };
                    let said = vec![
                        (of, Statement::Echo1 { round, bit: first }),
                        (of, Statement::Echo2 { round, bit: second }),
                        (of, Statement::Echo3 { round, bit: echo3 }),
                        (of, Statement::Decide { bit: first }),
                    ];
                    self.tell(to, scope, Message::statements(key, &scope, said)?, turn)?;
                }
            }
        }
        if self.fault.is(Fault::Coins) { self.show(at, of, round, turn) } else { Ok(()) }
    }

    /// The share of a coin that nobody may ask for yet, and for the round that is now, one of another coin.
    fn show(&self, at: u64, of: u16, round: u32, turn: &mut Turn) -> Result<()> {
        let (secret, instance) = (&self.city.secrets[usize::from(self.me)], coins::instance(&self.city, at, of));
        let early = round + 2;
        let share = self.city.coin.share(secret, &coins::name(&self.city.chain, &instance, early))?;
        turn.broadcast(&wire::encode(&Share { slot: at, of, round: early, share: Bytes::new("share", share)? })?);
        let another = Name { chain: b"another", epoch: 0, instance: b"another", round: 0 };
        let share = self.city.coin.share(secret, &another)?;
        turn.broadcast(&wire::encode(&Share { slot: at, of, round, share: Bytes::new("share", share)? })?);
        Ok(())
    }

    fn hear(&mut self, from: u16, message: &[u8], turn: &mut Turn) -> Result<()> {
        let message: Message = wire::decode(message)?;
        let known = self.slots.iter().find(|(_, slot)| slot.scope == message.scope).map(|(at, _)| *at);
        let next = self.slots.keys().next_back().map_or(0, |last| last + 1);
        let at = match known {
            Some(at) => at,
            None if self.city.instance(next).scope(&self.city.committee) == message.scope => {
                self.begin(next, turn)?;
                next
            }
            None => return Ok(()),
        };
        match message.body {
            Body::Initial { payload, .. } => self.echo(at, from, &payload, turn),
            Body::Echo { proposer, digest, signature } if proposer == self.me => {
                self.certify(at, from, digest, signature, turn)
            }
            Body::Statements { statements, .. } => {
                let said: BTreeSet<(u16, u32)> =
                    statements.iter().filter_map(|(of, statement)| Some((*of, statement.round()?))).collect();
                said.into_iter().try_for_each(|(of, round)| self.contradict(at, of, round, turn))
            }
            _ => Ok(()),
        }
    }
}

fn signatures(of: &BTreeMap<u16, [u8; 64]>) -> Result<Signatures> {
    Signatures::new(of.iter().map(|(party, signature)| Endorsement { party: *party, signature: *signature }).collect())
}

impl Node for Faulty {
    fn start(&mut self, turn: &mut Turn) {
        if self.fault != Fault::Silent
            && let Err(error) = self.begin(0, turn)
        {
            turn.fail(error.to_string());
        }
    }

    fn receive(&mut self, from: u16, message: &[u8], turn: &mut Turn) {
        if self.fault != Fault::Silent {
            // What it cannot read is no message of a subset, and nothing to lie about.
            let _ = self.hear(from, message, turn);
        }
    }

    fn wake(&mut self, _: &mut Turn) {}

    fn durable(&mut self, _: u64, _: &mut Turn) {}
}
