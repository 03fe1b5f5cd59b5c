//! Seals: the log as a Merkle tree with signed checkpoints (L9, ADR-0014).
//!
//! - [`tree`]: the tree of RFC 6962, extended leaf by leaf.
//! - [`proof`]: that an event is in the tree, and that a tree begins with a smaller one.
//! - [`record`]: what has been sealed, and proofs from it.
//! - `kept`: copies of what was signed last, outside PostgreSQL; `beginning`: going on without them.
//! - [`sealer`]: the role that follows the log and signs.
//! - [`verify`]: a whole log, or an export of it, checked.
//! - [`note`]: keys, signed notes, and the checkpoints in them.

mod beginning;
mod durable;
mod kept;
mod key;
pub mod note;
pub mod proof;
pub mod record;
pub mod sealer;
pub mod tree;
pub mod verify;

pub use beginning::{Abandoned, BeginError, Beginning, Pending};
pub use kept::{
    BadCopy, Contradiction, Keeping, Kept, KeptError, NAME as STREAM_NAME, Place, Recalled,
};
pub use key::SealKeyError;
pub use note::{Checkpoint, SigningKey, VerifierKey};
pub use record::{ConsistencyProof, InclusionProof, ProveError, Seals, SignedCheckpoint};
pub use sealer::{Sealer, SealerStatus};
