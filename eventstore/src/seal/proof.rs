//! Inclusion and consistency proofs: RFC 6962, sections 2.1.1 and 2.1.2.
//!
//! What makes a proof names the subtrees that it needs ([`Plan`]); whoever keeps the tree looks them up.
//! What checks one needs nothing but the proof, and follows RFC 9162, sections 2.1.3.2 and 2.1.4.2.

use super::tree::{Subtree, fold, node_hash};
use crate::event::Digest;
use serde::Serialize;
use std::collections::HashMap;
use thiserror::Error;

/// A proof does not show what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the proof does not lead to the root")]
pub struct ProofError;

/// On which side of the hash that there is a hash of a proof stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Before it.
    Left,
    /// After it.
    Right,
}

/// The hashes of a proof, each with its side and as the complete subtrees that it is folded from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan(Vec<(Side, Vec<Subtree>)>);

impl Plan {
    /// What shows that the leaf at `index` is in the tree of `size` leaves: PATH of RFC 6962. None when
    /// it is not in it.
    #[must_use]
    pub fn inclusion(index: u64, size: u64) -> Option<Self> {
        if index >= size {
            return None;
        }
        let (mut first, mut end) = (0, size);
        let mut path = Vec::new();
        while end - first > 1 {
            let middle = first + split(end - first);
            if index < middle {
                path.push((Side::Right, Subtree::cover(middle, end).collect()));
                end = middle;
            } else {
                path.push((Side::Left, Subtree::cover(first, middle).collect()));
                first = middle;
            }
        }
        path.reverse();
        Some(Self(path))
    }

    /// What shows that the tree of `to` leaves begins with that of `from` leaves: PROOF of RFC 6962.
    /// None when `from` is 0 or larger than `to`.
    #[must_use]
    pub fn consistency(from: u64, to: u64) -> Option<Self> {
        if from == 0 || from > to {
            return None;
        }
        let (mut first, mut end) = (0, to);
        let mut path = Vec::new();
        while end != from {
            let middle = first + split(end - first);
            if from <= middle {
                path.push((Side::Right, Subtree::cover(middle, end).collect()));
                end = middle;
            } else {
                path.push((Side::Left, Subtree::cover(first, middle).collect()));
                first = middle;
            }
        }
        // Whoever checks the proof has the root of the smaller tree already.
        if first > 0 {
            path.push((Side::Right, Subtree::cover(first, end).collect()));
        }
        path.reverse();
        Some(Self(path))
    }

    /// The subtrees to look up.
    pub fn subtrees(&self) -> impl Iterator<Item = Subtree> {
        self.0.iter().flat_map(|(_, parts)| parts).copied()
    }

    /// The side of each hash, which whoever checks an inclusion proof needs.
    pub fn sides(&self) -> impl Iterator<Item = Side> {
        self.0.iter().map(|(side, _)| *side)
    }

    /// The proof. None when a subtree is missing.
    #[must_use]
    pub fn assemble(&self, hashes: &HashMap<Subtree, Digest>) -> Option<Vec<Digest>> {
        self.0
            .iter()
            .map(|(_, parts)| {
                let peaks: Option<Vec<_>> =
                    parts.iter().map(|part| hashes.get(part).copied()).collect();
                fold(peaks?.into_iter())
            })
            .collect()
    }
}

/// The largest power of two smaller than `length`, which is at least 2.
const fn split(length: u64) -> u64 {
    1 << (length - 1).ilog2()
}

/// Checks that the leaf with the hash `leaf` stands at `index` in the tree of `size` leaves with this
/// root.
///
/// # Errors
/// [`ProofError`] when the path does not show it.
pub fn verify_inclusion(
    leaf: Digest,
    index: u64,
    size: u64,
    path: &[Digest],
    root: &Digest,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError);
    }
    let (mut node, mut last, mut hash) = (index, size - 1, leaf);
    for step in path {
        if last == 0 {
            return Err(ProofError);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(step, &hash);
            if node & 1 == 0 {
                let up = node.trailing_zeros();
                (node, last) = (shifted(node, up), shifted(last, up));
            }
        } else {
            hash = node_hash(&hash, step);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    check(last == 0 && hash == *root)
}

/// Checks that the tree of `to` leaves with the root `to_root` begins with the tree of `from` leaves
/// with the root `from_root`.
///
/// # Errors
/// [`ProofError`] when the path does not show it.
pub fn verify_consistency(
    from: u64,
    to: u64,
    path: &[Digest],
    from_root: &Digest,
    to_root: &Digest,
) -> Result<(), ProofError> {
    if from == 0 || from > to {
        return Err(ProofError);
    }
    if from == to {
        return check(path.is_empty() && from_root == to_root);
    }
    let (mut node, mut last) = (from - 1, to - 1);
    let up = node.trailing_ones();
    (node, last) = (shifted(node, up), shifted(last, up));
    let mut steps = path.iter();
    let seed = if from.is_power_of_two() {
        Some(from_root)
    } else {
        steps.next()
    };
    let mut smaller = *seed.ok_or(ProofError)?;
    let mut larger = smaller;
    for step in steps {
        if last == 0 {
            return Err(ProofError);
        }
        if node & 1 == 1 || node == last {
            smaller = node_hash(step, &smaller);
            larger = node_hash(step, &larger);
            if node & 1 == 0 {
                let up = node.trailing_zeros();
                (node, last) = (shifted(node, up), shifted(last, up));
            }
        } else {
            larger = node_hash(&larger, step);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    check(last == 0 && smaller == *from_root && larger == *to_root)
}

/// `number >> by`, which is 0 when nothing is left of it.
const fn shifted(number: u64, by: u32) -> u64 {
    match number.checked_shr(by) {
        Some(rest) => rest,
        None => 0,
    }
}

const fn check(holds: bool) -> Result<(), ProofError> {
    if holds { Ok(()) } else { Err(ProofError) }
}

#[cfg(test)]
mod tests {
    use super::super::tree::tests::{
        LEAVES, naive_root, naive_split, numbered_leaves, published_leaves,
    };
    use super::super::tree::{Frontier, leaf_hash};
    use super::*;
    use ct_merkle::mem_backed_tree::MemoryBackedTree;
    use proptest::prelude::*;
    use sha2::Sha256;

    /// Every complete subtree over these leaves.
    fn subtrees(leaves: &[Digest]) -> HashMap<Subtree, Digest> {
        let mut all = HashMap::new();
        let mut frontier = Frontier::new();
        for leaf in leaves {
            frontier.push(0, *leaf, |node| all.extend([node]));
        }
        all
    }

    fn inclusion(leaves: &[Digest], index: u64) -> Vec<Digest> {
        let size = u64::try_from(leaves.len()).unwrap();
        let plan = Plan::inclusion(index, size).unwrap();
        plan.assemble(&subtrees(leaves)).unwrap()
    }

    fn consistency(leaves: &[Digest], from: u64) -> Vec<Digest> {
        let to = u64::try_from(leaves.len()).unwrap();
        let plan = Plan::consistency(from, to).unwrap();
        plan.assemble(&subtrees(leaves)).unwrap()
    }

    fn texts(path: &[Digest]) -> Vec<String> {
        path.iter().map(ToString::to_string).collect()
    }

    /// PATH of RFC 6962, section 2.1.1, word for word.
    fn naive_path(m: usize, leaves: &[Digest]) -> Vec<Digest> {
        if leaves.len() < 2 {
            return Vec::new();
        }
        let k = naive_split(leaves.len());
        let (left, right) = leaves.split_at(k);
        let (mut path, sibling) = if m < k {
            (naive_path(m, left), naive_root(right))
        } else {
            (naive_path(m - k, right), naive_root(left))
        };
        path.push(sibling);
        path
    }

    /// SUBPROOF of RFC 6962, section 2.1.2, word for word.
    fn naive_subproof(m: usize, leaves: &[Digest], known: bool) -> Vec<Digest> {
        if m == leaves.len() {
            return if known {
                Vec::new()
            } else {
                vec![naive_root(leaves)]
            };
        }
        let k = naive_split(leaves.len());
        let (left, right) = leaves.split_at(k);
        let (mut path, sibling) = if m <= k {
            (naive_subproof(m, left, known), naive_root(right))
        } else {
            (naive_subproof(m - k, right, false), naive_root(left))
        };
        path.push(sibling);
        path
    }

    #[test]
    fn the_proofs_are_the_published_ones() {
        let leaves = published_leaves();
        assert_eq!(
            texts(&inclusion(&leaves, 0)),
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ]
        );
        assert_eq!(
            texts(&inclusion(&leaves, 5)),
            [
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ]
        );
        assert_eq!(
            texts(&consistency(&leaves, 6)),
            [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ]
        );
        assert_eq!(
            texts(&consistency(&leaves[..5], 2)),
            [
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ]
        );
        assert_eq!(Plan::inclusion(8, 8), None);
        assert_eq!(Plan::consistency(0, 8), None);
        assert_eq!(Plan::consistency(9, 8), None);
    }

    /// A crate of others, of which nothing else is used, makes the same proofs.
    #[test]
    fn the_proofs_are_those_of_another_implementation() {
        let leaves = LEAVES.iter().map(|leaf| hex::decode(leaf).unwrap());
        let mut theirs = MemoryBackedTree::<Sha256, Vec<u8>>::new();
        let mut ours = Vec::new();
        for (leaf, number) in leaves.cycle().take(300).zip(0_u64..) {
            let leaf = [leaf, number.to_be_bytes().to_vec()].concat();
            ours.push(leaf_hash(&leaf));
            theirs.push(leaf);
        }
        assert_eq!(
            theirs.root().as_bytes().as_slice(),
            naive_root(&ours).as_bytes()
        );
        for index in 0..ours.len() {
            let path = inclusion(&ours, u64::try_from(index).unwrap());
            let bytes: Vec<u8> = path.iter().flat_map(|hash| *hash.as_bytes()).collect();
            assert_eq!(theirs.prove_inclusion(index).as_bytes(), bytes);
            if index > 0 {
                let added = ours.len() - index;
                let path = consistency(&ours, u64::try_from(index).unwrap());
                let bytes: Vec<u8> = path.iter().flat_map(|hash| *hash.as_bytes()).collect();
                assert_eq!(theirs.prove_consistency(added).as_bytes(), bytes);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn proofs_are_those_of_the_definition_and_hold(size in 1_u64..400, other in any::<u64>()) {
            let leaves = numbered_leaves(size);
            let (index, from) = (other % size, other % size + 1);
            let (at, smaller) = (usize::try_from(index).unwrap(), usize::try_from(from).unwrap());
            let root = naive_root(&leaves);

            let path = inclusion(&leaves, index);
            prop_assert_eq!(&path, &naive_path(at, &leaves));
            prop_assert_eq!(verify_inclusion(leaves[at], index, size, &path, &root), Ok(()));

            let from_root = naive_root(&leaves[..smaller]);
            let path = consistency(&leaves, from);
            prop_assert_eq!(&path, &naive_subproof(smaller, &leaves, true));
            prop_assert_eq!(verify_consistency(from, size, &path, &from_root, &root), Ok(()));
        }

        #[test]
        fn a_proof_holds_for_nothing_else(
            size in 2_u64..200,
            other in any::<u64>(),
            wrong in any::<usize>(),
        ) {
            let leaves = numbered_leaves(size);
            let (index, root) = (other % size, naive_root(&leaves));
            let leaf = leaves[usize::try_from(index).unwrap()];
            let path = inclusion(&leaves, index);
            let another = leaf_hash(b"another");
            let refused = |leaf, index, size, path: &[Digest], root| {
                verify_inclusion(leaf, index, size, path, root) == Err(ProofError)
            };
            prop_assert!(refused(another, index, size, &path, &root));
            prop_assert!(refused(leaf, (index + 1) % size, size, &path, &root));
            prop_assert!(refused(leaf, index, index, &path, &root));
            prop_assert!(refused(leaf, index, size, &path, &another));
            prop_assert!(refused(leaf, index, size, &path[1..], &root));
            let mut longer = path.clone();
            longer.push(root);
            prop_assert!(refused(leaf, index, size, &longer, &root));
            let mut changed = path.clone();
            let at = wrong % changed.len();
            changed[at] = another;
            prop_assert!(refused(leaf, index, size, &changed, &root));

            let from = other % (size - 1) + 1;
            let from_root = naive_root(&leaves[..usize::try_from(from).unwrap()]);
            let path = consistency(&leaves, from);
            let refused = |path: &[Digest], from_root, root| {
                verify_consistency(from, size, path, from_root, root) == Err(ProofError)
            };
            prop_assert!(refused(&path, &another, &root));
            prop_assert!(refused(&path, &from_root, &another));
            prop_assert!(refused(&path[1..], &from_root, &root));
            let mut changed = path.clone();
            let at = wrong % changed.len();
            changed[at] = another;
            prop_assert!(refused(&changed, &from_root, &root));
        }
    }
}
