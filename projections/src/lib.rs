//! Read models: folds of the log into tables that answer queries.
//!
//! # Map
//! - [`projection`]: what a read model is to the runner; [`users`], [`posts`], [`history`]: the read
//!   models, each with `schema.sql`, `project` (events to rows) and `query` (rows to answers).
//! - [`registry`]: all of them, to prepare and to start together.
//! - [`runner`]: leads a projection: takes the lease, follows the log, and steps down when fenced.
//! - `batch`: one transaction of rows and checkpoint; finds the event that spoils it and parks the
//!   tail of its aggregate.
//! - `checkpoint`: how far a projection is, and what it parked, as rows.
//! - `maintenance`: works off what is asked of a read model beside following the log: [`rebuild`]
//!   (tables beside the serving ones, and the swap), [`verify`] (comparing with the log, once and all
//!   the time); `fill` fills tables for both.
//! - [`sweep`]: bounded steps that remove what one event took away in any number of rows.
//! - [`pause`], [`parked`], [`overview`]: what operators do and see.
//! - [`status`], [`freshness`]: what is known of a projection in memory, and waiting until it has
//!   seen a position.
//! - `erased`: how a read model forgets a person.
//! - [`page`], `relation`: pages cut by keys; relations that begin and end.
//!
//! # Invariants
//! - L7: rows and checkpoint move in one transaction, by compare-and-set, fenced by the epoch of the
//!   lease. The rows do not depend on where the log is cut into batches.
//! - L10: a projector reaches nothing but a database connection. No port is a dependency of this
//!   crate, and nothing here appends.
//! - Queries read, and only the schema of their own read model.
//! - Whatever changes a read model beside its runner holds the checkpoint meanwhile, and tells the
//!   runner by the checkpoint's generation.

mod batch;
mod checkpoint;
mod erased;
mod fill;
pub mod freshness;
pub mod history;
mod maintenance;
pub mod overview;
pub mod page;
pub mod parked;
pub mod pause;
pub mod posts;
pub mod projection;
pub mod rebuild;
pub mod registry;
mod relation;
pub mod runner;
pub mod status;
pub mod sweep;
pub mod users;
pub mod verify;

pub use freshness::{Behind, Freshness};
pub use maintenance::Maintenance;
pub use page::Page;
pub use projection::{Derived, Origin, ProjectError, Projection, ReadModel, SampledTable};
pub use registry::Projections;
pub use runner::Runner;
pub use status::{ProjectionState, ProjectionStatus};
