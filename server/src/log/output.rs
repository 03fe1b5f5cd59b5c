//! Writing to standard output, in lines.

use serde::Serialize;
use std::io::{self, BufWriter, StdoutLock, Write as _};

/// Standard output, written when it is full and at the end.
pub(super) struct Output(BufWriter<StdoutLock<'static>>);

impl Output {
    pub(super) fn new() -> Self {
        Self(BufWriter::new(io::stdout().lock()))
    }

    pub(super) fn line(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.0, "{line}")
    }

    pub(super) fn json(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        serde_json::to_writer(&mut self.0, value)?;
        self.0.write_all(b"\n")?;
        Ok(())
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    pub(super) fn end(mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Whoever reads only the beginning, as `head` does, has got what they wanted.
pub(super) fn unless_closed(done: anyhow::Result<()>) -> anyhow::Result<()> {
    let is_closed = |error: &anyhow::Error| {
        error.chain().any(|cause| {
            let by_pipe = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
            cause.downcast_ref::<io::Error>().is_some_and(by_pipe)
                || cause
                    .downcast_ref::<serde_json::Error>()
                    .is_some_and(|error| error.io_error_kind() == Some(io::ErrorKind::BrokenPipe))
        })
    };
    match done {
        Err(error) if is_closed(&error) => Ok(()),
        done => done,
    }
}
