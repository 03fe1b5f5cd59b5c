//! The Merkle tree of RFC 6962, section 2.1, over the digests of the log.
//!
//! The leaf at index *i* is the event at position *i* + 1; its data is the 32 bytes of the event's
//! digest. A tree is only ever extended to the right, so that a subtree that is complete never changes
//! again: [`Frontier`] keeps the few roots of complete subtrees from which all the rest follows.

use crate::event::Digest;
use sha2::{Digest as _, Sha256};

/// The hash of a leaf with this data: SHA-256 of a zero byte and the data.
#[must_use]
pub fn leaf_hash(data: &[u8]) -> Digest {
    hash(&[&[0], data])
}

/// The hash of a node over two others: SHA-256 of a byte 1, the left and the right one.
#[must_use]
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    hash(&[&[1], left.as_bytes(), right.as_bytes()])
}

/// The root of a tree without leaves: SHA-256 of nothing.
#[must_use]
pub fn empty_root() -> Digest {
    hash(&[])
}

fn hash(parts: &[&[u8]]) -> Digest {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    Digest::new(hash.finalize().into())
}

/// The root of a complete subtree over these leaf hashes, whose number is a power of two. None for
/// any other number.
#[must_use]
pub fn subtree_root(leaves: &[Digest]) -> Option<Digest> {
    let mut frontier = Frontier::new();
    for leaf in leaves {
        frontier.push(0, *leaf, |_| ());
    }
    match frontier.peaks.as_slice() {
        [(_, root)] => Some(*root),
        _ => None,
    }
}

/// A complete subtree: the leaves from `index << level` on, `1 << level` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subtree {
    /// The height; a leaf has 0.
    pub level: u8,
    /// Its number among those of its height, from the left, from 0.
    pub index: u64,
}

impl Subtree {
    /// The first of its leaves.
    #[must_use]
    pub const fn first_leaf(self) -> u64 {
        self.index << self.level
    }

    /// The complete subtrees, from left to right, that the leaves from `first` up to `end`, itself not
    /// among them, consist of. `first` is the first leaf of a subtree at least as large as the range, or
    /// 0: as it is for every range in the proofs of RFC 6962.
    #[must_use]
    pub fn cover(first: u64, end: u64) -> impl DoubleEndedIterator<Item = Self> {
        let length = end.saturating_sub(first);
        (0..64_u8)
            .rev()
            .filter(move |level| length >> level & 1 == 1)
            .map(move |level| Self {
                level,
                index: ((first + length) >> level) - 1,
            })
    }
}

/// The roots of the complete subtrees that a tree of some size consists of, from left to right. It is
/// all that is needed to extend the tree, and to say its root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    peaks: Vec<(u8, Digest)>,
}

impl Frontier {
    /// The tree without leaves.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The tree of this size, from the roots of the subtrees that [`Subtree::cover`] names. None when
    /// there are more or fewer.
    #[must_use]
    pub fn of(size: u64, peaks: &[Digest]) -> Option<Self> {
        let levels: Vec<_> = Subtree::cover(0, size)
            .map(|subtree| subtree.level)
            .collect();
        (levels.len() == peaks.len()).then(|| Self {
            size,
            peaks: levels.into_iter().zip(peaks.iter().copied()).collect(),
        })
    }

    /// How many leaves the tree has.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds a complete subtree to the right: a leaf's hash at level 0, or the root of `1 << level`
    /// leaves where the tree has room for them in one piece. `completed` is told of each subtree that
    /// this completes, itself included.
    pub fn push(&mut self, level: u8, hash: Digest, mut completed: impl FnMut((Subtree, Digest))) {
        self.size += 1 << level;
        let (mut level, mut hash) = (level, hash);
        loop {
            let index = (self.size >> level) - 1;
            completed((Subtree { level, index }, hash));
            match self.peaks.pop_if(|(last, _)| *last == level) {
                Some((_, left)) => hash = node_hash(&left, &hash),
                None => break,
            }
            level += 1;
        }
        self.peaks.push((level, hash));
    }

    /// The root of the tree.
    #[must_use]
    pub fn root(&self) -> Digest {
        fold(self.peaks.iter().map(|(_, peak)| *peak)).unwrap_or_else(empty_root)
    }
}

/// The root over adjoining subtrees, each smaller than the one before.
pub(super) fn fold(peaks: impl DoubleEndedIterator<Item = Digest>) -> Option<Digest> {
    peaks.rev().reduce(|right, left| node_hash(&left, &right))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The eight leaves that Certificate Transparency's implementations are tested with, and the roots
    /// of the trees over the first 1, 2, … of them.
    pub(crate) const LEAVES: [&str; 8] = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    pub(crate) const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    pub(crate) fn published_leaves() -> Vec<Digest> {
        LEAVES
            .iter()
            .map(|leaf| leaf_hash(&hex::decode(leaf).unwrap()))
            .collect()
    }

    /// MTH of RFC 6962, section 2.1, word for word.
    pub(crate) fn naive_root(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(naive_split(leaves.len()));
                node_hash(&naive_root(left), &naive_root(right))
            }
        }
    }

    /// The largest power of two smaller than `n`.
    pub(crate) fn naive_split(n: usize) -> usize {
        let mut k = 1;
        while k * 2 < n {
            k *= 2;
        }
        k
    }

    pub(crate) fn numbered_leaves(count: u64) -> Vec<Digest> {
        (0..count)
            .map(|number| leaf_hash(&number.to_be_bytes()))
            .collect()
    }

    #[test]
    fn the_roots_are_the_published_ones() {
        assert_eq!(
            empty_root().to_string(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        let mut frontier = Frontier::new();
        assert_eq!(frontier.root(), empty_root());
        for (leaf, root) in published_leaves().into_iter().zip(ROOTS) {
            frontier.push(0, leaf, |_| ());
            assert_eq!(frontier.root().to_string(), root);
        }
    }

    proptest! {
        #[test]
        fn a_frontier_has_the_root_of_the_definition(size in 0_u64..600) {
            let leaves = numbered_leaves(size);
            let mut frontier = Frontier::new();
            let mut complete = std::collections::HashMap::new();
            for leaf in &leaves {
                frontier.push(0, *leaf, |node| complete.extend([node]));
            }
            prop_assert_eq!(frontier.root(), naive_root(&leaves));
            for (subtree, hash) in &complete {
                let first = usize::try_from(subtree.first_leaf()).unwrap();
                let end = first + (1 << subtree.level);
                prop_assert_eq!(*hash, naive_root(&leaves[first..end]));
            }
            let peaks: Vec<_> = Subtree::cover(0, size).map(|subtree| complete[&subtree]).collect();
            prop_assert_eq!(Frontier::of(size, &peaks), Some(frontier));
        }

        #[test]
        fn whole_subtrees_may_be_pushed_at_once(blocks in 0_u64..20, rest in 0_u64..8) {
            let leaves = numbered_leaves(blocks * 8 + rest);
            let mut frontier = Frontier::new();
            for block in leaves.chunks(8) {
                if let (8, Some(root)) = (block.len(), subtree_root(block)) {
                    frontier.push(3, root, |_| ());
                } else {
                    for leaf in block {
                        frontier.push(0, *leaf, |_| ());
                    }
                }
            }
            prop_assert_eq!(frontier.root(), naive_root(&leaves));
        }
    }
}
