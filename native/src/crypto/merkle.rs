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
        Ok(Self { levels: levels(leaves, node) })
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

/// All levels of the tree over `leaves`, which are not empty.
fn levels(leaves: Vec<Digest>, node: fn(&Digest, &Digest) -> Digest) -> Vec<Vec<Digest>> {
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
    levels
}

/// The root over `leaves` (leaf hashes).
pub fn root(leaves: &[Digest]) -> Result<Digest> {
    Tree::new(leaves.to_vec()).map(|tree| tree.root())
}

/// The root that a tree of `size` leaves has if `leaf` is at `index` and `path` are its siblings.
pub fn root_from_path(leaf: &Digest, index: usize, size: usize, path: &[Digest]) -> Result<Digest> {
    climb(leaf, index, size, path, node).map(|top| bind(size, &top))
}

/// The top that `path` leads to (RFC 9162, section 2.1.3.2).
fn climb(
    leaf: &Digest,
    index: usize,
    size: usize,
    path: &[Digest],
    node: fn(&Digest, &Digest) -> Digest,
) -> Result<Digest> {
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
    Ok(top)
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
    use sha2::{Digest as _, Sha256};

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

    /// RFC 6962's own hash, with which the official cases are made; ours differs in nothing but this.
    fn rfc_node(left: &Digest, right: &Digest) -> Digest {
        Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
    }

    fn base64(text: &str) -> Vec<u8> {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let sextet = |byte: u8| ALPHABET.iter().position(|letter| *letter == byte).unwrap() as u32;
        let (mut out, mut bits, mut held) = (Vec::new(), 0u32, 0);
        for byte in text.bytes().filter(|byte| *byte != b'=') {
            bits = bits << 6 | sextet(byte);
            held += 6;
            if held >= 8 {
                held -= 8;
                out.push((bits >> held) as u8);
            }
        }
        out
    }

    #[test]
    fn official_cases_of_rfc_6962() {
        let Ok(folder) = std::env::var("CITY_CHAIN_VECTORS") else {
            eprintln!("skipped: CITY_CHAIN_VECTORS is not set");
            return;
        };
        let text = std::fs::read_to_string(format!("{folder}/rfc6962_merkle_proofs.json")).unwrap();
        let file: serde_json::Value = serde_json::from_str(&text).unwrap();
        let cases = file["inclusion"].as_array().unwrap();
        assert_eq!(cases.len(), 98);
        for case in cases {
            // A root, leaf hash or sibling that has not 32 bytes is none: our types have no room for it.
            let digest = |value: &serde_json::Value| Digest::try_from(base64(value.as_str().unwrap())).ok();
            let number = |name: &str| usize::try_from(case[name].as_u64().unwrap()).unwrap();
            let path: Option<Vec<Digest>> = case["proof"].as_array().into_iter().flatten().map(digest).collect();
            let accepted = match (digest(&case["root"]), digest(&case["leafHash"]), path) {
                (Some(root), Some(leaf), Some(path)) => {
                    climb(&leaf, number("leafIdx"), number("treeSize"), &path, rfc_node) == Ok(root)
                }
                _ => false,
            };
            assert_eq!(accepted, !case["wantErr"].as_bool().unwrap(), "{}", case["name"]);
        }
        let texts = |name: &str| -> Vec<Vec<u8>> {
            let list = file["tree"][name].as_array().unwrap();
            list.iter().map(|text| hex::decode(text.as_str().unwrap()).unwrap()).collect()
        };
        let leaves: Vec<Digest> = texts("leaves_hex")
            .iter()
            .map(|leaf| Sha256::new().chain_update([0]).chain_update(leaf).finalize().into())
            .collect();
        for (size, root) in texts("roots_hex_by_size").iter().enumerate().skip(1) {
            assert_eq!(levels(leaves[..size].to_vec(), rfc_node).pop().unwrap()[0].as_slice(), root, "{size} leaves");
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
