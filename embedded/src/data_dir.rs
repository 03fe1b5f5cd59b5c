//! The folder of one instance.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::secret::sync_folder_of;

/// Why a folder could not be opened for an instance.
#[derive(Debug, thiserror::Error)]
pub enum OpenDataDirError {
    /// The folder cannot be made, or nothing can be written in it.
    #[error("the folder {} cannot be written: give this user the right to, or choose another with --data-dir", path.display())]
    NotWritable {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process holds the folder.
    #[error("an instance already runs on the folder {} (process {holder}): stop it, or choose another with --data-dir", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The process that holds it, as it wrote it down.
        holder: String,
    },
}

/// The folder of one instance, held by this process until it is dropped (or the process ends: the
/// kernel lets go of the lock then).
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the folder when it is not there, and takes the exclusive lock on it.
    ///
    /// # Errors
    ///
    /// When it cannot be written, or another process holds it.
    pub fn open(path: &Path) -> Result<Self, OpenDataDirError> {
        let not_writable = |source| OpenDataDirError::NotWritable {
            path: path.to_owned(),
            source,
        };
        // PostgreSQL runs as another user when we are root, and must pass through this folder; what
        // is secret in it lies in files and folders that are themselves closed.
        let mode = if geteuid().is_root() { 0o711 } else { 0o700 };
        let is_new = !path.exists();
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(path)
            .map_err(not_writable)?;
        let path = fs::canonicalize(path).map_err(not_writable)?;
        if is_new {
            // The cluster may lie elsewhere: it must not outlive the folder with the master key.
            sync_folder_of(&path).map_err(not_writable)?;
        }
        let not_writable = |source| OpenDataDirError::NotWritable {
            path: path.clone(),
            source,
        };
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(not_writable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let read = lock.read_to_string(&mut holder);
                let holder =
                    read.map_or_else(|_| "unknown".to_owned(), |_| holder.trim().to_owned());
                return Err(OpenDataDirError::InUse { path, holder });
            }
            Err(TryLockError::Error(source)) => return Err(not_writable(source)),
        }
        write_holder(&mut lock).map_err(not_writable)?;
        Ok(Self { path, _lock: lock })
    }

    /// The folder, as an absolute path without symbolic links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the PostgreSQL server of this instance lives, for [`Postgres::start`](crate::Postgres::start).
    #[must_use]
    pub fn postgres(&self) -> PathBuf {
        self.path.join("postgres")
    }

    /// Where the NATS server of this instance lives, for [`Nats::start`](crate::Nats::start).
    #[must_use]
    pub fn nats(&self) -> PathBuf {
        self.path.join("nats")
    }
}

fn write_holder(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_folder_is_held_by_one_owner_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let held = DataDir::open(&path).unwrap();
        let refused = DataDir::open(&path).unwrap_err();
        assert!(
            matches!(&refused, OpenDataDirError::InUse { holder, .. } if *holder == std::process::id().to_string())
        );
        assert_eq!(refused.to_string().lines().count(), 1);
        drop(held);
        // A process that another test starts just now holds a copy of the lock until its exec.
        let deadline = Instant::now() + Duration::from_secs(10);
        while let Err(refused) = DataDir::open(&path) {
            assert!(Instant::now() < deadline, "{refused}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_one_clear_line() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        let refused = DataDir::open(&file.join("below")).unwrap_err();
        assert!(matches!(refused, OpenDataDirError::NotWritable { .. }));
        assert!(refused.to_string().contains("--data-dir"));
    }
}
