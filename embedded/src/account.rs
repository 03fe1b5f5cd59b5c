//! The operating system's account that PostgreSQL runs as.

use std::io;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Stdio;

use nix::unistd::{User, geteuid};
use tokio::process::Command;

/// Who runs PostgreSQL. It refuses to run as root, so root lends it an unprivileged account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Account {
    /// We are not root: the server runs as we do.
    Own,
    /// We are root: the server runs as this user and group.
    Lent { uid: u32, gid: u32 },
}

impl Account {
    /// The account to use on this machine: our own, or when we are root that of `postgres`, or of
    /// `nobody` where PostgreSQL was not installed by a package.
    pub(crate) fn choose() -> io::Result<Self> {
        if !geteuid().is_root() {
            return Ok(Self::Own);
        }
        for name in ["postgres", "nobody"] {
            if let Some(user) = User::from_name(name)? {
                return Ok(Self::Lent {
                    uid: user.uid.as_raw(),
                    gid: user.gid.as_raw(),
                });
            }
        }
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            "neither the user postgres nor nobody exists",
        ))
    }

    /// Makes `command` run as this account.
    pub(crate) fn lend_to(self, command: &mut Command) {
        if let Self::Lent { uid, gid } = self {
            command.uid(uid).gid(gid);
        }
    }

    /// Gives `path` to this account.
    pub(crate) fn own(self, path: &Path) -> io::Result<()> {
        match self {
            Self::Own => Ok(()),
            Self::Lent { uid, gid } => chown(path, Some(uid), Some(gid)),
        }
    }

    /// Whether this account can enter `dir`. It asks the system by trying, since permission bits
    /// alone do not tell (access control lists, mount options).
    pub(crate) async fn can_enter(self, dir: &Path) -> io::Result<bool> {
        if self == Self::Own {
            return Ok(true);
        }
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", r#"cd -- "$1""#, "sh"])
            .arg(dir)
            .current_dir("/");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.lend_to(&mut command);
        Ok(command.status().await?.success())
    }
}
