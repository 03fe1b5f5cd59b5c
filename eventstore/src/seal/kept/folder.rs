//! The copy in a folder: one file, replaced whole.

use super::{Kept, KeptError};
use crate::seal::durable;
use std::fs;
use std::io;
use std::path::PathBuf;
use tokio::task::spawn_blocking;

/// The name of the file.
const FILE: &str = "kept-checkpoint.json";

#[derive(Debug, Clone)]
pub(in crate::seal) struct Folder(PathBuf);

impl Folder {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) async fn read(&self) -> Result<Option<Kept>, KeptError> {
        let file = self.0.join(FILE);
        let text = spawn_blocking(move || durable::read(&file));
        let text = text.await.map_err(io::Error::other)??;
        Ok(text.as_deref().map(Kept::parse).transpose()?)
    }

    pub(super) async fn write(&self, kept: &Kept) -> io::Result<()> {
        let (folder, text) = (self.0.clone(), kept.to_string());
        spawn_blocking(move || {
            fs::create_dir_all(&folder)?;
            durable::replace(&folder.join(FILE), text.as_bytes())
        })
        .await
        .map_err(io::Error::other)?
    }
}
