//! A small network: any order, any loss, crashes; the coin is a hash that is told to nobody before f + 1 parties have asked
//! for it. Shared with the scenarios of the mutants, which name what they use in the module above.

use super::*;

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

pub const INSTANCE: Instance = Instance { chain: [1; 32], epoch: 2, name: [3; 32] };

pub fn key(party: usize) -> SigningKey {
    SigningKey::from_seed(&hash::digest("city-chain v1 abba test", &party.to_le_bytes()))
}

pub fn weighted(weights: &[u64]) -> Committee {
    let member = |(at, weight): (usize, &u64)| Member { key: key(at).public(), weight: *weight };
    Committee::new(weights.iter().enumerate().map(member).collect()).unwrap()
}

pub fn committee(n: usize) -> Committee {
    weighted(&vec![1; n])
}

pub fn abba(n: usize, me: usize) -> Abba {
    Abba::new(INSTANCE, committee(n), key(me)).unwrap()
}

/// What a party asks of its driver beside messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    Coin(u16, u32),
    Validate(u16),
    Done,
}

/// A machine that the network can drive.
pub trait Driven: Machine {
    fn restored(me: usize, committee: &Committee, records: &[Vec<u8>]) -> Self;
    fn coin(&mut self, of: u16, round: u32, bit: bool) -> Result<()>;
    fn good(&mut self, proposer: u16) -> Result<()>;
    fn again(&mut self) -> Result<()>;
    fn happening(event: &Self::Event) -> Option<Happening>;
    fn finished(&self) -> bool;
}

impl Driven for Abba {
    fn restored(me: usize, committee: &Committee, records: &[Vec<u8>]) -> Self {
        Self::restore(INSTANCE, committee.clone(), key(me), records).unwrap()
    }

    fn coin(&mut self, _: u16, round: u32, bit: bool) -> Result<()> {
        self.coin_result(round, bit)
    }

    fn good(&mut self, _: u16) -> Result<()> {
        Ok(())
    }

    fn again(&mut self) -> Result<()> {
        self.resend()
    }

    fn happening(event: &Event) -> Option<Happening> {
        match event {
            Event::NeedCoin { round } => Some(Happening::Coin(0, *round)),
            Event::Decided { .. } => Some(Happening::Done),
            _ => None,
        }
    }

    fn finished(&self) -> bool {
        self.halted()
    }
}

impl Driven for Subset {
    fn restored(me: usize, committee: &Committee, records: &[Vec<u8>]) -> Self {
        Self::restore(INSTANCE, committee.clone(), key(me), records).unwrap()
    }

    fn coin(&mut self, of: u16, round: u32, bit: bool) -> Result<()> {
        self.coin_result(of, round, bit)
    }

    fn good(&mut self, proposer: u16) -> Result<()> {
        self.payload_result(proposer, true)
    }

    fn again(&mut self) -> Result<()> {
        self.resend()
    }

    fn happening(event: &SubsetEvent) -> Option<Happening> {
        match event {
            SubsetEvent::NeedCoin { proposer, round } => Some(Happening::Coin(*proposer, *round)),
            SubsetEvent::ValidatePayload { proposer, .. } => Some(Happening::Validate(*proposer)),
            SubsetEvent::Output { .. } => Some(Happening::Done),
            _ => None,
        }
    }

    fn finished(&self) -> bool {
        self.output().is_some()
    }
}

/// The network: who is `None` is silent, or the test's own hand.
pub struct Net<M: Driven> {
    pub parties: Vec<Option<M>>,
    pub committee: Committee,
    pub flying: Vec<(u16, u16, Vec<u8>)>,
    pub disks: Vec<Vec<Vec<u8>>>,
    pub dice: Dice,
    /// Percent of messages that are lost, and of those that come twice.
    pub loss: usize,
    pub doubled: usize,
    pub sent: usize,
    pub asked: BTreeMap<(u16, u32), BTreeSet<u16>>,
    pub events: Vec<(u16, M::Event)>,
    salt: u64,
}

impl<M: Driven> Net<M> {
    pub fn new(seed: u64, committee: &Committee, honest: impl IntoIterator<Item = usize>) -> Self {
        let count = committee.count();
        let mut parties: Vec<Option<M>> = (0..count).map(|_| None).collect();
        for at in honest {
            parties[at] = Some(M::restored(at, committee, &[]));
        }
        Self {
            parties,
            committee: committee.clone(),
            flying: Vec::new(),
            disks: vec![Vec::new(); count],
            dice: Dice(seed),
            loss: 0,
            doubled: 0,
            sent: 0,
            asked: BTreeMap::new(),
            events: Vec::new(),
            salt: seed,
        }
    }

    pub fn party(&mut self, at: usize) -> &mut M {
        self.parties[at].as_mut().unwrap()
    }

    pub fn honest(&self) -> Vec<usize> {
        (0..self.parties.len()).filter(|at| self.parties[*at].is_some()).collect()
    }

    /// What the coin shows, whoever asked.
    pub fn coin(&self, of: u16, round: u32) -> bool {
        let name = [&self.salt.to_le_bytes()[..], &of.to_le_bytes(), &round.to_le_bytes()].concat();
        hash::digest("city-chain v1 abba test coin", &name)[0] & 1 == 1
    }

    /// Carries out what a party wants; every record is durable at once.
    pub fn drive(&mut self, at: usize) {
        loop {
            let effects = self.party(at).drain();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                let from = at as u16;
                match effect {
                    Effect::Persist { ticket, record } => {
                        self.disks[at].push(record);
                        self.party(at).durable(ticket).unwrap();
                    }
                    Effect::Output(Action::Send { to, message }) => self.send(from, to, message),
                    Effect::Output(Action::Broadcast { message }) => {
                        for to in (0..self.parties.len() as u16).filter(|to| *to != from) {
                            self.send(from, to, message.clone());
                        }
                    }
                    Effect::Output(Action::Deadline { .. }) => panic!("there is no time here"),
                    Effect::Output(Action::Event(event)) => self.event(at, event),
                }
            }
        }
    }

    fn send(&mut self, from: u16, to: u16, message: Vec<u8>) {
        self.sent += 1;
        if self.dice.below(100) < self.loss {
            return;
        }
        if self.dice.below(100) < self.doubled {
            self.flying.push((from, to, message.clone()));
        }
        self.flying.push((from, to, message));
    }

    fn event(&mut self, at: usize, event: M::Event) {
        match M::happening(&event) {
            Some(Happening::Coin(of, round)) => self.ask(at, of, round),
            Some(Happening::Validate(proposer)) => self.party(at).good(proposer).unwrap(),
            _ => {}
        }
        self.events.push((at as u16, event));
    }

    fn ask(&mut self, at: usize, of: u16, round: u32) {
        let bit = self.coin(of, round);
        let asked = self.asked.entry((of, round)).or_default();
        asked.insert(at as u16);
        let weight: u128 = asked.iter().map(|party| u128::from(self.committee.get(*party).unwrap().weight)).sum();
        if weight >= self.committee.honest() {
            for party in asked.clone() {
                self.parties[usize::from(party)].as_mut().unwrap().coin(of, round, bit).unwrap();
                if usize::from(party) != at {
                    self.drive(usize::from(party));
                }
            }
        }
    }

    /// Delivers one message that is on its way, any; `false` if there is none.
    pub fn step(&mut self) -> bool {
        if self.flying.is_empty() {
            return false;
        }
        let at = self.dice.below(self.flying.len());
        let (from, to, message) = self.flying.swap_remove(at);
        self.deliver(from, to, &message);
        true
    }

    pub fn deliver(&mut self, from: u16, to: u16, message: &[u8]) {
        if self.parties[usize::from(to)].is_some() {
            // What is refused is refused: honest parties' messages may come too early.
            let _ = self.party(usize::from(to)).handle(from, message, 0);
            self.drive(usize::from(to));
        }
    }

    /// Delivers all there is, and lets everybody say again what was lost, until all have finished.
    pub fn run(&mut self) {
        for turn in 0..200 {
            while self.step() {}
            if self.finished() {
                return;
            }
            assert!(turn < 199, "no end: {} parties have finished", self.honest().len());
            for at in self.honest() {
                self.party(at).again().unwrap();
                self.drive(at);
            }
        }
    }

    pub fn finished(&self) -> bool {
        self.parties.iter().flatten().all(M::finished)
    }

    /// Power off and on: what is not on the disk is gone.
    pub fn crash(&mut self, at: usize) {
        self.parties[at] = Some(M::restored(at, &self.committee, &self.disks[at]));
        self.drive(at);
    }
}

/// A run of one agreement: party i begins with `inputs[i]`; `None` is silent.
pub fn agreement(seed: u64, inputs: &[Option<bool>]) -> Net<Abba> {
    let committee = committee(inputs.len());
    let mut net = Net::new(seed, &committee, (0..inputs.len()).filter(|at| inputs[*at].is_some()));
    begin(&mut net, inputs);
    net
}

pub fn begin(net: &mut Net<Abba>, inputs: &[Option<bool>]) {
    for (at, bit) in inputs.iter().enumerate() {
        if let Some(bit) = bit {
            net.party(at).input(*bit).unwrap();
            net.drive(at);
        }
    }
}

/// The bit that all have decided.
pub fn decision(net: &Net<Abba>) -> bool {
    let decided: BTreeSet<Option<bool>> = net.parties.iter().flatten().map(Abba::decided).collect();
    assert_eq!(decided.len(), 1, "{decided:?}");
    decided.into_iter().next().unwrap().unwrap()
}
