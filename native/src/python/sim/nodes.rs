//! Nodes written in Python, and who makes the nodes of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::error::{Error, Result};
use crate::python::buffer::Input;
use crate::python::error::input;
use crate::python::int::Int;
use crate::python::text::Str;
use crate::sim::{MakeNode, Node, Step, Turn};

/// The most actions of one turn.
const ACTIONS_MAX: usize = 1 << 16;
/// The most kinds of notes in a process, and the length of a kind.
const KINDS_MAX: usize = 1024;
const KIND_LEN_MAX: usize = 64;

/// The first exception that a node raised: it ends the run and is raised there.
#[derive(Clone, Default)]
pub(super) struct Raised(Arc<Mutex<Option<PyErr>>>);

impl Raised {
    fn put(&self, error: PyErr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    pub(super) fn take(&self) -> Option<PyErr> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Makes nodes of a protocol, and those that Python makes.
pub(super) struct Maker {
    pub(super) protocol: Option<Box<dyn MakeNode>>,
    pub(super) own: BTreeMap<u16, Py<PyAny>>,
    pub(super) adversaries: BTreeSet<u16>,
    pub(super) raised: Raised,
}

impl MakeNode for Maker {
    fn make(&mut self, me: u16, disk: &[Vec<u8>]) -> Result<Box<dyn Node>> {
        let Some(factory) = self.own.get(&me) else {
            let Some(protocol) = self.protocol.as_mut() else {
                return Err(Error::input("there is neither a protocol nor a node of one's own"));
            };
            return protocol.make(me, disk);
        };
        Python::attach(|py| {
            let disk: Vec<Bound<'_, PyBytes>> = disk.iter().map(|record| PyBytes::new(py, record)).collect();
            match factory.call1(py, (me, disk)) {
                Ok(object) => Ok(Box::new(PyNode { object, raised: self.raised.clone() }) as Box<dyn Node>),
                Err(error) => {
                    let what = error.to_string();
                    self.raised.put(error);
                    Err(Error::input(what))
                }
            }
        })
    }

    fn is_honest(&self, me: u16) -> bool {
        !self.adversaries.contains(&me) && self.protocol.as_ref().is_none_or(|protocol| protocol.is_honest(me))
    }

    fn decides(&self, me: u16) -> bool {
        self.protocol.as_ref().is_none_or(|protocol| protocol.decides(me))
    }
}

/// A node whose turns are methods of a Python object; each returns the actions of its turn, or None.
struct PyNode {
    object: Py<PyAny>,
    raised: Raised,
}

impl PyNode {
    fn turn(&self, turn: &mut Turn, call: impl for<'py> FnOnce(&Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>) {
        Python::attach(|py| {
            if let Err(error) = call(self.object.bind(py)).and_then(|actions| act(&actions, turn)) {
                turn.fail(format!("it raised {error}"));
                self.raised.put(error);
            }
        });
    }
}

impl Node for PyNode {
    fn start(&mut self, turn: &mut Turn) {
        let now = turn.now();
        self.turn(turn, |node| node.call_method1("start", (now,)));
    }

    fn receive(&mut self, from: u16, message: &[u8], turn: &mut Turn) {
        let now = turn.now();
        self.turn(turn, |node| node.call_method1("receive", (from, PyBytes::new(node.py(), message), now)));
    }

    fn wake(&mut self, turn: &mut Turn) {
        let now = turn.now();
        self.turn(turn, |node| node.call_method1("wake", (now,)));
    }

    fn durable(&mut self, ticket: u64, turn: &mut Turn) {
        let now = turn.now();
        self.turn(turn, |node| node.call_method1("durable", (ticket, now)));
    }
}

/// Does what a node returned.
fn act(actions: &Bound<'_, PyAny>, turn: &mut Turn) -> PyResult<()> {
    if actions.is_none() {
        return Ok(());
    }
    for (at, action) in actions.try_iter()?.enumerate() {
        if at == ACTIONS_MAX {
            return Err(input(actions.py(), format!("actions: more than {ACTIONS_MAX} in one turn")));
        }
        let action = action?;
        let action = action.cast::<PyTuple>()?;
        let kind: Str = action.get_item(0).map_err(|_| input(actions.py(), "action: an empty tuple"))?.extract()?;
        one(&kind.0, action, turn)?;
    }
    Ok(())
}

fn one(kind: &str, action: &Bound<'_, PyTuple>, turn: &mut Turn) -> PyResult<()> {
    let py = action.py();
    match (kind, action.len()) {
        ("send", 3) => {
            let (_, to, message): (Str, Int<u16>, Input<'_>) = action.extract()?;
            turn.send(to.0, message.to_vec());
        }
        ("broadcast", 2) => {
            let (_, message): (Str, Input<'_>) = action.extract()?;
            turn.broadcast(&message);
        }
        ("persist", 3) => {
            let (_, ticket, record): (Str, Int<u64>, Input<'_>) = action.extract()?;
            turn.step(Step::Persist { ticket: ticket.0, record: record.to_vec() });
        }
        ("wake", 2) => {
            let (_, at): (Str, Int<u64>) = action.extract()?;
            turn.step(Step::Wake { at: at.0 });
        }
        ("decide", 3) => {
            let (_, slot, value): (Str, Int<u64>, Input<'_>) = action.extract()?;
            turn.decide(slot.0, value.digest(py, "decide: value")?);
        }
        ("note", 4) => {
            let (_, kind, number, bytes): (Str, Str, Int<u64>, Input<'_>) = action.extract()?;
            turn.note(lasting(py, &kind.0)?, number.0, bytes.to_vec());
        }
        (_, length) => {
            return Err(input(
                py,
                format!("action: {kind:?} with {length} items; send, broadcast, persist, wake, decide, note are known"),
            ));
        }
    }
    Ok(())
}

static KINDS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// The kind of a note as a text that lasts as long as the process; there are few of them.
fn lasting(py: Python<'_>, kind: &str) -> PyResult<&'static str> {
    let mut kinds = KINDS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = kinds.get(kind) {
        return Ok(known);
    }
    if kind.len() > KIND_LEN_MAX || kinds.len() >= KINDS_MAX {
        let most = format!("note: kinds have at most {KIND_LEN_MAX} bytes, and a process at most {KINDS_MAX} of them");
        return Err(input(py, most));
    }
    let lasting: &'static str = Box::leak(kind.to_owned().into_boxed_str());
    kinds.insert(lasting);
    Ok(lasting)
}
