//! What is going to happen, in order: a heap of small keys beside a slab of what they stand for.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// Something that happens at a node.
#[derive(Debug, Clone)]
pub(super) enum Happening {
    /// A message arrives, or is found to be lost there.
    Message {
        /// Who sent it.
        from: u32,
        /// Whom it is for.
        to: u32,
        /// Its encoding.
        bytes: Arc<[u8]>,
    },
    /// `node` learns that `peer` does not answer.
    Failed {
        /// Who learns it.
        node: u32,
        /// Who is gone.
        peer: u32,
    },
    /// `peer` has closed the connection to `node`.
    Closed {
        /// Who learns it.
        node: u32,
        /// Who closed it.
        peer: u32,
    },
    /// A deadline of `node`.
    Wake {
        /// Whose.
        node: u32,
    },
}

/// The queue. Within a microsecond what was put in first comes out first.
#[derive(Debug, Clone, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<(u64, u64, u32)>>,
    slab: Vec<Option<Happening>>,
    free: Vec<u32>,
    next: u64,
    /// How many happenings are not wake-ups.
    moving: usize,
}

impl Queue {
    pub(super) fn push(&mut self, at: u64, happening: Happening) {
        self.moving += usize::from(!matches!(happening, Happening::Wake { .. }));
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slab[slot as usize] = Some(happening);
                slot
            }
            None => {
                self.slab.push(Some(happening));
                (self.slab.len() - 1) as u32
            }
        };
        self.heap.push(Reverse((at, self.next, slot)));
        self.next += 1;
    }

    /// When the next thing happens.
    pub(super) fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, _, _))| *at)
    }

    pub(super) fn pop(&mut self) -> Option<(u64, Happening)> {
        let Reverse((at, _, slot)) = self.heap.pop()?;
        let happening = self.slab[slot as usize].take()?;
        self.free.push(slot);
        self.moving -= usize::from(!matches!(happening, Happening::Wake { .. }));
        Some((at, happening))
    }

    /// Whether messages or failures are under way.
    pub(super) fn is_moving(&self) -> bool {
        self.moving > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_out_by_time_and_then_by_order_and_slots_are_used_again() {
        let mut queue = Queue::default();
        for round in 0..3 {
            queue.push(7, Happening::Wake { node: 1 });
            queue.push(5, Happening::Failed { node: 2, peer: 9 });
            queue.push(7, Happening::Wake { node: 3 });
            assert!(queue.is_moving());
            assert_eq!(queue.next_at(), Some(5));
            let nodes: Vec<(u64, u32)> = std::iter::from_fn(|| queue.pop())
                .map(|(at, happening)| match happening {
                    Happening::Wake { node } | Happening::Failed { node, .. } => (at, node),
                    Happening::Message { .. } | Happening::Closed { .. } => unreachable!("not queued"),
                })
                .collect();
            assert_eq!(nodes, [(5, 2), (7, 1), (7, 3)], "round {round}");
            assert!(!queue.is_moving());
            assert_eq!(queue.slab.len(), 3);
        }
    }
}
