//! The append: case by case, and against a model; and who may do what in its database.
#![expect(clippy::unwrap_used, reason = "tests")]

mod cases;
mod log;
mod model;
mod roles;
