//! Binary Merkle trees with inclusion proofs, shaped as RFC 6962 section 2.1 shapes them.
//!
//! A tree over `n > 1` leaves splits at the largest power of two below `n`; a leaf hash and a node hash live in different
//! domains, so a node can never be shown as a leaf. The hash is BLAKE3 in our own domains instead of SHA-256 with a prefix
//! byte (the deviation from the RFC). The number of leaves is bound into the root ([`root`] is the hash of the tree's top
//! and its size), so a path proves position and size as well as membership.

use super::hash::{Digest, Hasher, hex};
use crate::error::{Error, Result};

const LEAF: &str = "city-chain v1 merkle leaf";
const NODE: &str = "city-chain v1 merkle node";
const ROOT: &str = "city-chain v1 merkle root";

/// The most leaves a tree may have: 2²⁰, as the Proof of Hold allows in one signature.
pub const LEAVES_MAX: usize = 1 << 20;

/// The longest path that a tree of [`LEAVES_MAX`] leaves can have.
pub const PATH_MAX: usize = 20;

/// The hash of one leaf's bytes.
pub fn leaf(bytes: &[u8]) -> Digest {
    super::hash::digest(LEAF, bytes)
}

fn node(left: &Digest, right: &Digest) -> Digest {
    Hasher::new(NODE).fixed(left).fixed(right).finish()
}

fn bind(size: usize, top: &Digest) -> Digest {
    Hasher::new(ROOT).u64(size as u64).fixed(top).finish()
}

/// The whole tree over some leaf hashes, level by level, from which roots and paths are read.
#[derive(Debug, Clone)]
pub struct Tree {
    /// `levels[0]` are the leaf hashes; a lone last node of a level is carried up unchanged.
    levels: Vec<Vec<Digest>>,
}

impl Tree {
    /// Builds the tree; 1 to [`LEAVES_MAX`] leaves.
    pub fn new(leaves: Vec<Digest>) -> Result<Self> {
        if leaves.is_empty() || leaves.len() > LEAVES_MAX {
            return Err(Error::input(format!("merkle: {} leaves, 1 to {LEAVES_MAX} are allowed", leaves.len())));
        }
        let mut levels = vec![leaves];
        while let Some(below) = levels.last().filter(|level| level.len() > 1) {
            let above = below
                .chunks(2)
                .map(|pair| match pair {
                    [left, right] => node(left, right),
                    lone => lone[0],
                })
                .collect();
            levels.push(above);
        }
        Ok(Self { levels })
    }

    /// How many leaves there are.
    pub fn size(&self) -> usize {
        self.levels[0].len()
    }

    /// The root: binds the tree's top and its number of leaves.
    pub fn root(&self) -> Digest {
        bind(self.size(), &self.levels[self.levels.len() - 1][0])
    }

    /// The siblings from leaf `index` up to the top.
    pub fn path(&self, index: usize) -> Result<Vec<Digest>> {
        if index >= self.size() {
            return Err(Error::input(format!("merkle: leaf {index} of {}: there is none", self.size())));
        }
        let mut path = Vec::with_capacity(self.levels.len());
        let mut position = index;
        for level in &self.levels[..self.levels.len() - 1] {
            if let Some(sibling) = level.get(position ^ 1) {
                path.push(*sibling);
            }
            position /= 2;
        }
        Ok(path)
    }
}

/// The root over `leaves` (leaf hashes).
pub fn root(leaves: &[Digest]) -> Result<Digest> {
    Tree::new(leaves.to_vec()).map(|tree| tree.root())
}

/// The root that a tree of `size` leaves has if `leaf` is at `index` and `path` are its siblings.
pub fn root_from_path(leaf: &Digest, index: usize, size: usize, path: &[Digest]) -> Result<Digest> {
    if size == 0 || size > LEAVES_MAX || index >= size {
        return Err(Error::input(format!("merkle: leaf {index} of {size}: there is none")));
    }
    let (mut position, mut width, mut top) = (index, size, *leaf);
    let mut rest = path.iter();
    while width > 1 {
        if position ^ 1 < width {
            let Some(sibling) = rest.next() else {
                return Err(Error::verification(format!("merkle: the path has only {} hashes", path.len())));
            };
            top = if position % 2 == 0 { node(&top, sibling) } else { node(sibling, &top) };
        }
        position /= 2;
        width = width.div_ceil(2);
    }
    if rest.next().is_some() {
        return Err(Error::verification(format!("merkle: the path has {} hashes, too many", path.len())));
    }
    Ok(bind(size, &top))
}

/// Checks that `leaf` is at `index` of the tree of `size` leaves with this `root`.
pub fn verify(leaf: &Digest, index: usize, size: usize, path: &[Digest], root: &Digest) -> Result<()> {
    let found = root_from_path(leaf, index, size, path)?;
    if found != *root {
        return Err(Error::verification(format!(
            "merkle: leaf {index} of {size} leads to root {} and not to {}",
            hex(&found),
            hex(root)
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leaves(count: usize) -> Vec<Digest> {
        (0..count).map(|i| leaf(&(i as u64).to_le_bytes())).collect()
    }

    /// RFC 6962's recursive definition, slow and independent of the level-by-level build.
    fn top_by_definition(leaves: &[Digest]) -> Digest {
        if leaves.len() == 1 {
            return leaves[0];
        }
        let split = leaves.len().next_power_of_two() / 2;
        node(&top_by_definition(&leaves[..split]), &top_by_definition(&leaves[split..]))
    }

    #[test]
    fn equals_the_definition_and_every_path_proves() {
        for count in 1..=70 {
            let leaves = leaves(count);
            let tree = Tree::new(leaves.clone()).unwrap();
            assert_eq!(tree.root(), bind(count, &top_by_definition(&leaves)));
            for (index, leaf) in leaves.iter().enumerate() {
                verify(leaf, index, count, &tree.path(index).unwrap(), &tree.root()).unwrap();
            }
        }
    }

    #[test]
    fn sizes_are_bounded() {
        assert!(Tree::new(vec![]).is_err());
        assert!(Tree::new(leaves(3)).unwrap().path(3).is_err());
        assert!(root_from_path(&[0; 32], 0, 0, &[]).is_err());
        assert!(root_from_path(&[0; 32], 1, 1, &[]).is_err());
        assert!(root_from_path(&[0; 32], usize::MAX - 1, usize::MAX, &[]).is_err());
    }

    proptest! {
        #[test]
        fn a_wrong_leaf_index_size_or_path_is_refused(count in 1usize..40, at in 0usize..40, flip in 0usize..256, other in 0usize..40) {
            let at = at % count;
            let leaves = leaves(count);
            let tree = Tree::new(leaves.clone()).unwrap();
            let (path, root) = (tree.path(at).unwrap(), tree.root());
            let mut wrong = leaves[at];
            wrong[flip / 8] ^= 1 << (flip % 8);
            prop_assert!(verify(&wrong, at, count, &path, &root).is_err());
            if other % count != at {
                prop_assert!(verify(&leaves[at], other % count, count, &path, &root).is_err());
            }
            prop_assert!(verify(&leaves[at], at, count + 1, &path, &root).is_err());
            prop_assert!(verify(&leaves[at], at, count, &[path.clone(), vec![[0; 32]]].concat(), &root).is_err());
            if !path.is_empty() {
                prop_assert!(verify(&leaves[at], at, count, &path[1..], &root).is_err());
                let mut wrong = path.clone();
                wrong[flip % path.len()][flip / 8] ^= 1;
                prop_assert!(verify(&leaves[at], at, count, &wrong, &root).is_err());
            }
        }
    }
}
