//! What waits to happen, in the order in which it does: by time, then as it was put in.

#[derive(Debug)]
pub(super) enum Happening {
    Start { node: u16 },
    Deliver { number: u64, from: u16, to: u16, message: Vec<u8> },
    Wake { node: u16, life: u64, at: u64 },
    Written { node: u16, life: u64 },
    Crash { node: u16, down: Option<u64>, wiped: bool, storm: bool },
}

#[derive(Debug)]
pub(super) struct Queued {
    pub at: u64,
    pub order: u64,
    pub happening: Happening,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
