//! Public keys that came before: their points, and tables for those that come again and again.
//!
//! Bounded: two generations of [`GENERATION`] keys, at most 8 MiB in all. A full young one becomes the old one, and a key found there moves to
//! the young. Nothing waits for a lock: whoever would have to does without. What is kept are public values alone, and a
//! verdict never depends on it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, OnceLock, RwLock};

use super::multiply::Table;
use super::point::Point;

/// The most keys of a generation.
const GENERATION: usize = 256;

/// From this use on a key has a table, which costs about as much to make as two checks without one.
const USES_MIN: u32 = 3;

/// A public key: a canonical point, not of small order.
pub(super) struct Key {
    /// The point.
    pub(super) point: Point,
    uses: AtomicU32,
    table: OnceLock<Table>,
}

impl Key {
    fn new(bytes: &[u8; 32]) -> Result<Self, &'static str> {
        let point = Point::decode(bytes).ok_or("signature: the public key is not a canonical point")?;
        if point.is_small_order() {
            return Err("signature: the public key is of small order");
        }
        Ok(Self { point, uses: AtomicU32::new(0), table: OnceLock::new() })
    }

    /// Its table, if it is used often enough.
    pub(super) fn table(&self) -> Option<&Table> {
        if self.uses.load(Ordering::Relaxed) < USES_MIN {
            return None;
        }
        if let Some(table) = self.table.get() {
            return Some(table);
        }
        // Made before it is put in place, so that nobody waits for whoever makes one: a process forked meanwhile would for
        // ever.
        let made = Table::new(&self.point);
        Some(self.table.get_or_init(move || made))
    }

    fn used(&self) {
        if self.uses.load(Ordering::Relaxed) < USES_MIN {
            self.uses.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[derive(Default)]
struct Known {
    young: HashMap<[u8; 32], Arc<Key>>,
    old: HashMap<[u8; 32], Arc<Key>>,
}

impl Known {
    fn keep(&mut self, bytes: &[u8; 32], key: &Arc<Key>) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(*bytes, Arc::clone(key));
    }
}

static KNOWN: LazyLock<RwLock<Known>> = LazyLock::new(RwLock::default);

/// The key of `bytes`, or what is wrong with it; this is one use of it.
pub(super) fn find(bytes: &[u8; 32]) -> Result<Arc<Key>, &'static str> {
    let mut found = None;
    if let Ok(known) = KNOWN.try_read() {
        if let Some(key) = known.young.get(bytes) {
            key.used();
            return Ok(Arc::clone(key));
        }
        found = known.old.get(bytes).cloned();
    }
    let key = match found {
        Some(key) => key,
        None => Arc::new(Key::new(bytes)?),
    };
    key.used();
    if let Ok(mut known) = KNOWN.try_write() {
        known.keep(bytes, &key);
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::ed25519::SigningKey;

    #[test]
    fn what_is_kept_is_bounded_and_what_comes_often_gets_a_table() {
        let bytes = |at: u32| {
            let mut seed = [0xc3; 32];
            seed[..4].copy_from_slice(&at.to_le_bytes());
            SigningKey::from_seed(&seed).public()
        };
        let mut known = Known::default();
        let first = Arc::new(Key::new(&bytes(0)).unwrap());
        for at in 0..3 * GENERATION as u32 {
            let mut name = [0; 32];
            name[..4].copy_from_slice(&at.to_le_bytes());
            known.keep(&name, &first);
            assert!(known.young.len() <= GENERATION && known.old.len() <= GENERATION);
        }
        assert!(!known.young.contains_key(&[0; 32]) && !known.old.contains_key(&[0; 32]));
        assert!(first.table().is_none());
        for _ in 0..USES_MIN {
            assert!(first.table().is_none());
            first.used();
        }
        assert!(first.table().is_some());
        let mut one = [0; 32];
        one[0] = 1;
        assert_eq!(find(&one).err(), Some("signature: the public key is of small order"));
        assert_eq!(find(&[0xff; 32]).err(), Some("signature: the public key is not a canonical point"));
    }
}
