//! Passwords that are generated once and kept in a file that only its owner can read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// 16 random hexadecimal digits (64 bits) from the operating system.
pub(crate) fn random_digits() -> io::Result<String> {
    let random = getrandom::u64().map_err(io::Error::other)?;
    Ok(format!("{random:016x}"))
}

/// Writes `content` to `path`, readable by its owner only, whole or not at all, and on the disk with
/// its folder's entry when this returns.
///
/// # Errors
/// When the file cannot be written.
pub fn write_private(path: &Path, content: &str) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs::rename(unfinished, path)?;
    sync_folder_of(path)
}

/// Waits until the disk has the entry of `path` in its folder, without which a file that is synced is
/// not found after a power cut.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// The password in the file `path`, which is made with 128 random bits when it is not there.
pub(crate) fn kept_password(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Ok(password) => Ok(password.trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let password = random_digits()? + &random_digits()?;
            write_private(path, &password)?;
            Ok(password)
        }
        Err(error) => Err(error),
    }
}
