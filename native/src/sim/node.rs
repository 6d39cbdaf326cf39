//! What runs in a simulation: nodes, honest or not, and what they do when it is their turn.

use crate::crypto::hash::Digest;
use crate::error::Result;
use crate::primitives::machine::{Action, Machine};
use crate::primitives::outbox::Effect;

/// One thing that a node does in its turn, in the order in which it does it. A crash can come before any of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send to a node.
    Send {
        /// Its number.
        to: u16,
        /// The bytes.
        message: Vec<u8>,
    },
    /// Append a record to the node's own disk; [`Node::durable`] is called when it is there.
    Persist {
        /// Names the record.
        ticket: u64,
        /// The record.
        record: Vec<u8>,
    },
    /// Wake up at that time, µs; replaces what was set before.
    Wake {
        /// When.
        at: u64,
    },
    /// The node holds this to be decided, for ever: what checkers compare between nodes.
    Decide {
        /// The place that is decided (a height, an instance).
        slot: u64,
        /// What was decided there.
        value: Digest,
    },
    /// Something for the table of events and for checkers of the protocol.
    Note {
        /// What, a word.
        kind: &'static str,
        /// A number that belongs to it (a round).
        number: u64,
        /// What else belongs to it.
        bytes: Vec<u8>,
    },
}

/// One turn of a node.
#[derive(Debug)]
pub struct Turn {
    me: u16,
    nodes: u16,
    now: u64,
    steps: Vec<Step>,
    failure: Option<String>,
}

impl Turn {
    /// A turn of node `me` of `nodes` at the time `now`, µs.
    pub fn new(me: u16, nodes: u16, now: u64) -> Self {
        Self { me, nodes, now, steps: Vec::new(), failure: None }
    }

    /// Whose turn it is.
    pub fn me(&self) -> u16 {
        self.me
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> u16 {
        self.nodes
    }

    /// The time, µs.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Does something.
    pub fn step(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// Sends to one node.
    pub fn send(&mut self, to: u16, message: Vec<u8>) {
        self.step(Step::Send { to, message });
    }

    /// Sends to every other node.
    pub fn broadcast(&mut self, message: &[u8]) {
        let (me, nodes) = (self.me, self.nodes);
        for to in (0..nodes).filter(|to| *to != me) {
            self.step(Step::Send { to, message: message.to_vec() });
        }
    }

    /// Decides, for ever.
    pub fn decide(&mut self, slot: u64, value: Digest) {
        self.step(Step::Decide { slot, value });
    }

    /// Puts something into the table of events.
    pub fn note(&mut self, kind: &'static str, number: u64, bytes: Vec<u8>) {
        self.step(Step::Note { kind, number, bytes });
    }

    /// Ends the run as failed, after what was done in this turn: something happened that must not (a driver's own error, a
    /// rule of the protocol that only the node can see).
    pub fn fail(&mut self, what: impl Into<String>) {
        self.failure.get_or_insert(what.into());
    }

    /// Carries out what a machine asks for; its events are for `on_event`, which gets the turn to act in.
    pub fn carry_out<M: Machine>(&mut self, machine: &mut M, mut on_event: impl FnMut(&mut M, &mut Self, M::Event)) {
        loop {
            let effects = machine.drain();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Persist { ticket, record } => self.step(Step::Persist { ticket, record }),
                    Effect::Output(Action::Send { to, message }) => self.send(to, message),
                    Effect::Output(Action::Broadcast { message }) => self.broadcast(&message),
                    Effect::Output(Action::Deadline { at }) => self.step(Step::Wake { at }),
                    Effect::Output(Action::Event(event)) => on_event(machine, self, event),
                }
            }
        }
    }

    pub(super) fn into_parts(self) -> (Vec<Step>, Option<String>) {
        (self.steps, self.failure)
    }
}

/// A node of a simulation. What it keeps beside its disk is lost when it crashes.
pub trait Node: Send {
    /// The first turn: after the start of the run, or after a restart.
    fn start(&mut self, turn: &mut Turn);

    /// A message has arrived. Whatever is wrong with it is for the node to refuse.
    fn receive(&mut self, from: u16, message: &[u8], turn: &mut Turn);

    /// The time that was asked for has come.
    fn wake(&mut self, turn: &mut Turn);

    /// All records up to that ticket are on the disk.
    fn durable(&mut self, ticket: u64, turn: &mut Turn);
}

/// Makes the nodes of a run: at the start, and again, from what is on its disk, after a crash.
pub trait MakeNode: Send {
    /// Node `me`; `disk` holds the records that were durable, in order, and is empty at the start of the run.
    ///
    /// # Errors
    /// What is on the disk cannot be read.
    fn make(&mut self, me: u16, disk: &[Vec<u8>]) -> Result<Box<dyn Node>>;

    /// Whether a node is honest. What the others decide is not looked at by checkers.
    fn is_honest(&self, _me: u16) -> bool {
        true
    }

    /// Whether a node decides slots. Of one that only drives others no progress is asked.
    fn decides(&self, _me: u16) -> bool {
        true
    }
}

/// A function makes honest nodes.
impl<F: FnMut(u16, &[Vec<u8>]) -> Result<Box<dyn Node>> + Send> MakeNode for F {
    fn make(&mut self, me: u16, disk: &[Vec<u8>]) -> Result<Box<dyn Node>> {
        self(me, disk)
    }
}

impl MakeNode for Box<dyn MakeNode> {
    fn make(&mut self, me: u16, disk: &[Vec<u8>]) -> Result<Box<dyn Node>> {
        self.as_mut().make(me, disk)
    }

    fn is_honest(&self, me: u16) -> bool {
        self.as_ref().is_honest(me)
    }

    fn decides(&self, me: u16) -> bool {
        self.as_ref().decides(me)
    }
}
