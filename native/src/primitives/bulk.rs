//! One signature over many leaves.
//!
//! A node that acknowledges a hundred fragments signs once: the Merkle root over the acks' digests. Every ack carries that
//! signature and its path. A single leaf is the root of a tree of one, with an empty path, so there is one form for both.

use std::collections::HashMap;

use borsh::{BorshDeserialize, BorshSerialize};
use rayon::prelude::*;

use super::wire::List;
use crate::crypto::ed25519::{self, PARALLEL_MIN, SigningKey};
use crate::crypto::hash::{self, Digest};
use crate::crypto::merkle::{self, PATH_MAX, Tree};
use crate::crypto::remembered;
use crate::error::{Error, Result};

/// A signature over the root of a tree, and the way from one leaf to it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BulkSignature {
    /// Where the leaf is.
    pub position: u32,
    /// How many leaves there are.
    pub count: u32,
    /// The way to the root.
    pub path: List<Digest, PATH_MAX>,
    /// The signature over the root.
    pub signature: [u8; 64],
}

impl BulkSignature {
    /// A placeholder to be replaced by signing.
    pub fn empty() -> Self {
        Self { position: 0, count: 1, path: List::default(), signature: [0; 64] }
    }

    /// The message that was signed if `leaf` is what this signature is for.
    pub fn message(&self, context: &'static str, leaf: &Digest) -> Result<Digest> {
        let root = merkle::root_from_path(&merkle::leaf(leaf), self.position as usize, self.count as usize, &self.path)
            .map_err(|error| Error::verification(format!("signature: {error}")))?;
        Ok(hash::digest(context, &root))
    }
}

/// Signs all `leaves` (digests) with one signature in the domain `context`; one [`BulkSignature`] each.
pub fn sign_many(key: &SigningKey, context: &'static str, leaves: &[Digest]) -> Result<Vec<BulkSignature>> {
    let tree = Tree::new(leaves.iter().map(|leaf| merkle::leaf(leaf)).collect())?;
    let signature = key.sign(&hash::digest(context, &tree.root()));
    let count = u32::try_from(leaves.len()).unwrap_or(u32::MAX);
    let one = |position: u32| {
        let path = List::new("signature: path", tree.path(position as usize)?)?;
        Ok(BulkSignature { position, count, path, signature })
    };
    if leaves.len() >= PARALLEL_MIN {
        (0..count).into_par_iter().map(one).collect()
    } else {
        (0..count).map(one).collect()
    }
}

/// Checks many, one verdict each: (signer, leaf, signature). A signature that serves many leaves is checked once.
pub fn verify_many(context: &'static str, items: &[(&[u8; 32], Digest, &BulkSignature)]) -> Result<Vec<Result<()>>> {
    let message = |(_, leaf, signature): &(&[u8; 32], Digest, &BulkSignature)| signature.message(context, leaf);
    let messages: Vec<Result<Digest>> = if items.len() >= PARALLEL_MIN {
        items.par_iter().map(message).collect()
    } else {
        items.iter().map(message).collect()
    };
    let mut distinct = Vec::with_capacity(items.len());
    let mut seen = HashMap::with_capacity(items.len());
    let places: Vec<Option<usize>> = items
        .iter()
        .zip(&messages)
        .map(|((public, _, bulk), message)| {
            let message = message.as_ref().ok()?;
            Some(*seen.entry((*public, message, &bulk.signature)).or_insert_with(|| {
                distinct.push(ed25519::Item { public, message, signature: &bulk.signature });
                distinct.len() - 1
            }))
        })
        .collect();
    let good = remembered::verify_many(&distinct)?;
    Ok(messages
        .into_iter()
        .zip(places)
        .map(|(message, place)| {
            message?;
            if place.is_some_and(|place| good[place]) {
                Ok(())
            } else {
                Err(Error::verification("signature: it does not fit key and message"))
            }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: &str = "city-chain v1 test";

    #[test]
    fn every_leaf_of_every_size_verifies_and_nothing_else_does() {
        let key = SigningKey::from_seed(&[1; 32]);
        let (public, other) = (key.public(), SigningKey::from_seed(&[2; 32]).public());
        for count in 1..20u8 {
            let leaves: Vec<Digest> = (0..count).map(|i| [i; 32]).collect();
            let signatures = sign_many(&key, CONTEXT, &leaves).unwrap();
            let items: Vec<_> = leaves.iter().zip(&signatures).map(|(leaf, s)| (&public, *leaf, s)).collect();
            assert!(verify_many(CONTEXT, &items).unwrap().iter().all(Result::is_ok));
            assert!(verify_many("city-chain v1 other", &items).unwrap().iter().all(Result::is_err));
            let mut wrong = items.clone();
            wrong[0].1 = [99; 32];
            let verdicts = verify_many(CONTEXT, &wrong).unwrap();
            assert!(verdicts[0].is_err() && verdicts[1..].iter().all(Result::is_ok));
            wrong = items.clone();
            wrong[count as usize - 1].0 = &other;
            assert!(verify_many(CONTEXT, &wrong).unwrap()[count as usize - 1].is_err());
        }
        assert!(sign_many(&key, CONTEXT, &[]).is_err());
    }

    fn numbered(count: u32) -> Vec<Digest> {
        (0..count)
            .map(|at| {
                let mut leaf = [0x5a; 32];
                leaf[..4].copy_from_slice(&at.to_le_bytes());
                leaf
            })
            .collect()
    }

    #[test]
    fn one_signature_serves_65536_leaves_and_one_too_many_is_refused() {
        let key = SigningKey::from_seed(&[3; 32]);
        let public = key.public();
        let leaves = numbered(1 << 16);
        let mut signatures = sign_many(&key, CONTEXT, &leaves).unwrap();
        assert!(signatures.iter().all(|one| one.path.len() == 16 && one.signature == signatures[0].signature));
        let tampered = [0, 1, 255, 40_000, (1 << 16) - 1];
        for (nth, at) in tampered.into_iter().enumerate() {
            let mut path = std::mem::take(&mut signatures[at].path).into_vec();
            path[nth * 3][nth] ^= 1;
            signatures[at].path = List::new("path", path).unwrap();
        }
        let items: Vec<_> = leaves.iter().zip(&signatures).map(|(leaf, one)| (&public, *leaf, one)).collect();
        for (at, verdict) in verify_many(CONTEXT, &items).unwrap().iter().enumerate() {
            assert_eq!(verdict.is_ok(), !tampered.contains(&at), "leaf {at}");
        }
        assert!(sign_many(&key, CONTEXT, &vec![[0; 32]; (1 << 20) + 1]).is_err());
    }

    #[test]
    fn the_largest_tree_has_paths_of_twenty() {
        let key = SigningKey::from_seed(&[4; 32]);
        let public = key.public();
        let leaves = numbered(1 << 20);
        let tree = Tree::new(leaves.iter().map(|leaf| merkle::leaf(leaf)).collect()).unwrap();
        let signature = key.sign(&hash::digest(CONTEXT, &tree.root()));
        for position in [0, 1, 77_777, (1 << 20) - 1] {
            let path = tree.path(position as usize).unwrap();
            assert_eq!(path.len(), PATH_MAX);
            let one =
                BulkSignature { position, count: 1 << 20, path: List::new("path", path.clone()).unwrap(), signature };
            let leaf = leaves[position as usize];
            let good = |one: &BulkSignature| verify_many(CONTEXT, &[(&public, leaf, one)]).unwrap()[0].is_ok();
            assert!(good(&one));
            assert!(!good(&BulkSignature { position: position ^ 1, ..one.clone() }));
            assert!(!good(&BulkSignature { count: (1 << 20) - 1, ..one.clone() }));
            assert!(!good(&BulkSignature { path: List::new("path", path[1..].to_vec()).unwrap(), ..one.clone() }));
            for step in 0..PATH_MAX {
                let mut wrong = path.clone();
                wrong[step][31] ^= 0x80;
                assert!(
                    !good(&BulkSignature { path: List::new("path", wrong).unwrap(), ..one.clone() }),
                    "step {step}"
                );
            }
        }
    }
}
