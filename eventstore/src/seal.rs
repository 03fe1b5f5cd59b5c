//! Seals: the log as a Merkle tree with signed checkpoints (L9, ADR-0014).
//!
//! - [`tree`]: the tree of RFC 6962, extended leaf by leaf.
//! - [`proof`]: that an event is in the tree, and that a tree begins with a smaller one.
//! - [`record`]: what has been sealed, and proofs from it.
//! - `kept`: copies of what was signed last, outside PostgreSQL; `beginning`: going on without them.
//! - [`sealer`]: the role that follows the log and signs.
//! - [`verify`]: a whole log, or an export of it, checked.
//! - [`note`]: keys, signed notes, and the checkpoints in them.
//! - [`witness`]: what a witness checks and cosigns; [`cosignature`]: what it says; [`policy`]: whose
//!   cosignatures are demanded; [`cosigning`]: the role that has checkpoints cosigned.

mod beginning;
pub mod cosignature;
pub mod cosigning;
mod durable;
mod kept;
mod key;
pub mod note;
pub mod policy;
pub mod proof;
pub mod record;
pub mod sealer;
pub mod tree;
pub mod verify;
pub mod witness;

pub use beginning::{Abandoned, BeginError, Beginning, Pending};
pub use cosignature::{Cosigner, WitnessKey};
pub use cosigning::{AskWitness, Cosigning};
pub use kept::{
    BadCopy, Contradiction, Keeping, Kept, KeptError, NAME as STREAM_NAME, Place, Recalled,
};
pub use key::SealKeyError;
pub use note::{Checkpoint, SigningKey, VerifierKey};
pub use policy::Policy;
pub use record::{ConsistencyProof, InclusionProof, ProveError, Seals, SignedCheckpoint};
pub use sealer::{Sealer, SealerStatus};
