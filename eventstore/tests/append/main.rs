//! The append: case by case, and against a model.
#![expect(clippy::unwrap_used, reason = "tests")]

mod cases;
mod log;
mod model;
