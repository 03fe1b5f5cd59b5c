//! Small files that are replaced whole, and are on the disk before anybody hears of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Puts `content` in the place of the file, which only its owner may read. After a crash, at any
/// moment, the file is the old one or the new one, whole; when this returns it is the new one.
///
/// # Errors
/// When the folder cannot be written.
pub(super) fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    let unfinished = file.with_extension("new");
    let mut output = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)?;
    output.write_all(content)?;
    output.sync_all()?;
    fs::rename(&unfinished, file)?;
    // The name is on the disk when the folder is.
    file.parent()
        .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// The content of the file; none when it is not there.
///
/// # Errors
/// When it is there and cannot be read.
pub(super) fn read(file: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(file) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
