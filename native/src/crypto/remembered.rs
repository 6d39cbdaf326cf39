//! Signatures that were found right are not checked a second time.
//!
//! In one process the same signature comes by often: an ack at the courier, at every delegate and in the receipt; a commit
//! certificate at every delegate and at the ledger. Whoever verifies asks here. What is remembered is the digest of
//! everything that the verdict depends on, public key, signature and message, in a domain of its own: bytes that differ in
//! one bit have another digest and are checked for themselves. Only right verdicts are remembered, so nobody can make a
//! wrong signature pass, nor a right one fail. The memory is a table of fixed size; what is crowded out is checked again.
//!
//! The environment variable `CITY_CHAIN_REMEMBER=0` turns it off, for measuring.

use std::ffi::OsStr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};

use super::ed25519::{self, Item};
use super::hash::Digest;
use crate::error::{Error, Result};

/// The domain of what is remembered.
const CONTEXT: &str = "city-chain v1 remembered signature";

/// The name of the environment variable that turns the memory off when it is `0`.
pub const VARIABLE: &str = "CITY_CHAIN_REMEMBER";

/// How often a busy table is tried before one goes on without it.
const TRIES: usize = 64;

/// Entries that share a place in a table.
const WAYS: usize = 4;

/// The places of a table.
type Slots<V> = Vec<Option<(Digest, V)>>;

/// A table of fixed size from digests to what was found for them. It never blocks: whoever finds it busy goes on without.
pub struct Table<V> {
    sets: usize,
    slots: Mutex<Slots<V>>,
}

impl<V: Clone> Table<V> {
    /// An empty table of `4 * sets` entries; its memory is taken with the first entry.
    pub const fn new(sets: usize) -> Self {
        Self { sets, slots: Mutex::new(Vec::new()) }
    }

    /// Never waits for long: a lock that a fork left behind would stay locked for ever.
    fn lock(&self) -> Option<MutexGuard<'_, Slots<V>>> {
        for _ in 0..TRIES {
            match self.slots.try_lock() {
                Ok(slots) => return Some(slots),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => std::hint::spin_loop(),
            }
        }
        None
    }

    /// Where the entries for `key` may be.
    fn set(&self, key: &Digest) -> std::ops::Range<usize> {
        let at = u64::from_le_bytes([key[0], key[1], key[2], key[3], key[4], key[5], key[6], key[7]]);
        let first = usize::try_from(at % self.sets as u64).unwrap_or(0) * WAYS;
        first..first + WAYS
    }

    /// What is remembered for each key.
    pub fn get_many(&self, keys: &[Digest]) -> Vec<Option<V>> {
        let found = self.lock().map(|slots| {
            let find = |key: &Digest| {
                let entries = slots.get(self.set(key))?;
                entries.iter().flatten().find(|(known, _)| known == key).map(|(_, value)| value.clone())
            };
            keys.iter().map(find).collect()
        });
        found.unwrap_or_else(|| vec![None; keys.len()])
    }

    /// Remembers values; what is crowded out is forgotten.
    pub fn put_many(&self, entries: impl IntoIterator<Item = (Digest, V)>) {
        let Some(mut slots) = self.lock() else {
            return;
        };
        if slots.is_empty() {
            slots.resize(self.sets * WAYS, None);
        }
        for (key, value) in entries {
            let set = &mut slots[self.set(&key)];
            let known = set.iter().position(|slot| slot.as_ref().is_some_and(|(known, _)| *known == key));
            let empty = || set.iter().position(Option::is_none);
            let at = known.or_else(empty).unwrap_or(usize::from(key[8]) % WAYS);
            set[at] = Some((key, value));
        }
    }

    /// Forgets everything.
    pub fn clear(&self) {
        if let Some(mut slots) = self.lock() {
            slots.clear();
        }
    }
}

/// 32,768 signatures, about 1 MiB.
static RIGHT: Table<()> = Table::new(8192);

/// 0: the environment was not asked yet; 1: on; 2: off. No lock, which a fork could leave locked.
static STATE: AtomicU8 = AtomicU8::new(0);

/// Whether right verdicts are remembered. The environment is read once.
pub fn enabled() -> bool {
    match STATE.load(Ordering::Relaxed) {
        0 => {
            let on = is_on(std::env::var_os(VARIABLE).as_deref());
            STATE.store(if on { 1 } else { 2 }, Ordering::Relaxed);
            on
        }
        state => state == 1,
    }
}

/// What the environment variable says.
fn is_on(value: Option<&OsStr>) -> bool {
    value.is_none_or(|value| value != "0")
}

/// The digest of everything that the verdict on a signature depends on. Fields of fixed length come first.
fn print_of(item: &Item<'_>, hasher: &blake3::Hasher) -> Digest {
    let mut hasher = hasher.clone();
    hasher.update(item.public).update(item.signature).update(item.message);
    *hasher.finalize().as_bytes()
}

/// [`ed25519::verify`], which is not done again for what was found right before.
pub fn verify(public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Result<()> {
    if !enabled() {
        return ed25519::verify(public, message, signature);
    }
    let print = print_of(&Item { public, message, signature }, &blake3::Hasher::new_derive_key(CONTEXT));
    if RIGHT.get_many(&[print]) == [Some(())] {
        return Ok(());
    }
    ed25519::verify(public, message, signature)?;
    RIGHT.put_many([(print, ())]);
    Ok(())
}

/// [`ed25519::verify_many`], which is not done again for those that were found right before.
pub fn verify_many(items: &[Item<'_>]) -> Result<Vec<bool>> {
    if !enabled() || items.is_empty() {
        return ed25519::verify_many(items);
    }
    let hasher = blake3::Hasher::new_derive_key(CONTEXT);
    let prints: Vec<Digest> = items.iter().map(|item| print_of(item, &hasher)).collect();
    let mut verdicts: Vec<bool> = RIGHT.get_many(&prints).iter().map(Option::is_some).collect();
    let open: Vec<usize> = (0..items.len()).filter(|at| !verdicts[*at]).collect();
    if open.is_empty() {
        return Ok(verdicts);
    }
    let asked: Vec<Item<'_>> = open.iter().map(|at| items[*at]).collect();
    let found = ed25519::verify_many(&asked)?;
    if found.len() != open.len() {
        return Err(Error::input(format!("signature: {} verdicts on {} signatures", found.len(), open.len())));
    }
    RIGHT.put_many(open.iter().zip(&found).filter(|(_, right)| **right).map(|(at, _)| (prints[*at], ())));
    for (at, right) in open.into_iter().zip(found) {
        verdicts[at] = right;
    }
    Ok(verdicts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::ed25519::SigningKey;

    fn signed(seed: u8, message: &[u8]) -> ([u8; 32], [u8; 64]) {
        let key = SigningKey::from_seed(&[seed; 32]);
        (key.public(), key.sign(message))
    }

    fn is_remembered(public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        let print = print_of(&Item { public, message, signature }, &blake3::Hasher::new_derive_key(CONTEXT));
        RIGHT.get_many(&[print])[0].is_some()
    }

    #[test]
    fn after_the_right_one_was_remembered_every_flipped_bit_is_still_refused() {
        let message = *b"a message of the tests of memory";
        let (public, signature) = signed(101, &message);
        verify(&public, &message, &signature).unwrap();
        assert!(is_remembered(&public, &message, &signature));
        for bit in 0..(32 + 64 + message.len()) * 8 {
            let (mut public, mut signature, mut message) = (public, signature, message);
            let flip = 1 << (bit % 8);
            match bit / 8 {
                at @ 0..32 => public[at] ^= flip,
                at @ 32..96 => signature[at - 32] ^= flip,
                at => message[at - 96] ^= flip,
            }
            for _ in 0..2 {
                assert!(verify(&public, &message, &signature).is_err(), "bit {bit}");
                let item = Item { public: &public, message: &message, signature: &signature };
                assert_eq!(verify_many(&[item]).unwrap(), [false], "bit {bit}");
                assert!(!is_remembered(&public, &message, &signature), "bit {bit}");
            }
        }
        verify(&public, &message, &signature).unwrap();
    }

    #[test]
    fn the_environment_turns_it_off() {
        assert!(!is_on(Some(OsStr::new("0"))));
        assert!(is_on(None) && is_on(Some(OsStr::new("1"))) && is_on(Some(OsStr::new(""))));
    }

    #[test]
    fn bytes_moved_between_the_fields_are_another_signature() {
        let (public, signature) = signed(102, b"moved");
        verify(&public, b"moved", &signature).unwrap();
        assert!(verify(&public, b"move", &signature).is_err());
        assert!(verify(&public, b"moved\0", &signature).is_err());
        assert!(verify(&public, b"", &signature).is_err());
    }

    #[test]
    fn batches_agree_with_ed25519_whatever_is_remembered() {
        let messages: Vec<Vec<u8>> = (0..40u8).map(|at| vec![at; usize::from(at) * 7]).collect();
        let mut made: Vec<([u8; 32], [u8; 64])> =
            (103..).zip(&messages).map(|(seed, message)| signed(seed, message)).collect();
        for (at, (_, signature)) in made.iter_mut().enumerate() {
            if at % 3 == 1 {
                signature[at] ^= 4;
            }
        }
        let items: Vec<Item<'_>> = made
            .iter()
            .zip(&messages)
            .map(|((public, signature), message)| Item { public, message, signature })
            .collect();
        let expected = ed25519::verify_many(&items).unwrap();
        assert_eq!(expected, (0..40).map(|at| at % 3 != 1).collect::<Vec<_>>());
        for known in [0, 13, 40, 40] {
            assert_eq!(verify_many(&items[..known]).unwrap(), expected[..known]);
            assert_eq!(verify_many(&items).unwrap(), expected);
        }
        for (item, right) in items.iter().zip(expected) {
            assert_eq!(is_remembered(item.public, item.message, item.signature), right);
            assert_eq!(verify(item.public, item.message, item.signature).is_ok(), right);
        }
    }

    #[test]
    fn a_table_keeps_its_size_and_forgets_what_is_crowded_out() {
        let table: Table<u32> = Table::new(2);
        assert_eq!(table.get_many(&[[0; 32]]), [None]);
        for round in 0..100u8 {
            table.put_many([([round; 32], u32::from(round))]);
            assert_eq!(table.get_many(&[[round; 32]]), [Some(u32::from(round))]);
        }
        let kept = (0..100u8).filter(|at| table.get_many(&[[*at; 32]])[0].is_some()).count();
        assert!((2..=8).contains(&kept), "{kept}");
        assert_eq!(table.slots.lock().unwrap().len(), 8);
        table.put_many([([99; 32], 1)]);
        assert_eq!(table.get_many(&[[99; 32], [98; 32]])[0], Some(1));
        let busy = table.lock().unwrap();
        assert_eq!(table.get_many(&[[99; 32]]), [None], "nobody waits");
        table.put_many([([99; 32], 2)]);
        drop(busy);
        assert_eq!(table.get_many(&[[99; 32]]), [Some(1)]);
        table.clear();
        assert_eq!(table.get_many(&[[99; 32]]), [None]);
    }
}
