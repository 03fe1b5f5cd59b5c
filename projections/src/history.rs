//! The read model `history`: which events there are, for whoever looks at history.
//!
//! The log itself has no index on who did what and when: each would be paid for with every append.
//! They are here, one row per event with nothing but its metadata, and what a slice finds is then
//! read from the log by position.

mod export;
mod project;
mod query;
mod reader;

pub use export::{Export, ExportHistoryError, ExportSettings};
pub use project::HistoryProjection;
pub use reader::{
    AggregateState, AsOf, ChangedBy, HistoryReader, PAGE_EVENTS_MAX, ReadHistoryError, Walk,
};
