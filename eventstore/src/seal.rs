//! Seals: the log as a Merkle tree with signed checkpoints (L9, ADR-0014).
//!
//! - [`tree`]: the tree of RFC 6962, extended leaf by leaf.
//! - [`proof`]: that an event is in the tree, and that a tree begins with a smaller one.
//! - [`note`]: keys, signed notes, and the checkpoints in them.

pub mod note;
pub mod proof;
pub mod tree;
