//! Seals: the sealer at work and in trouble, proofs, and every way of tampering with a log or an
//! export.
#![expect(clippy::unwrap_used, reason = "tests")]

mod cosigning;
mod exports;
mod kept;
#[path = "../append/log.rs"]
#[expect(dead_code, reason = "the append tests need more of it")]
mod log;
mod proofs;
mod sealed;
mod sealing;
mod tampering;
