//! Fragments as a caller has them.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// A fragment and its index.
pub(super) type Indexed<'a> = (usize, &'a [u8]);

/// Fragments by index, ascending, no index twice.
#[derive(Debug, Clone)]
pub struct Fragments<'a>(Vec<Indexed<'a>>);

impl<'a> Fragments<'a> {
    /// Puts them in order; an index may not be there twice.
    pub fn new(mut fragments: Vec<(usize, &'a [u8])>) -> Result<Self> {
        if !fragments.is_sorted_by_key(|(index, _)| *index) {
            fragments.sort_unstable_by_key(|(index, _)| *index);
        }
        if let Some(pair) = fragments.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Error::input(format!("ec: fragment {} is there twice", pair[0].0)));
        }
        Ok(Self(fragments))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &'a [u8])> {
        self.0.iter().copied()
    }

    /// The data fragments and the parity fragments.
    pub(super) fn split(&self, k: usize) -> (&[Indexed<'a>], &[Indexed<'a>]) {
        self.0.split_at(self.0.partition_point(|(index, _)| *index < k))
    }
}

impl<'a> From<&BTreeMap<usize, &'a [u8]>> for Fragments<'a> {
    fn from(fragments: &BTreeMap<usize, &'a [u8]>) -> Self {
        Self(fragments.iter().map(|(index, fragment)| (*index, *fragment)).collect())
    }
}
