//! Finding the servers' binaries.
//!
//! Every error is one line that ends with the command that mends it.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::geteuid;

/// The oldest major version of PostgreSQL that Touchline runs on.
pub const POSTGRES_MAJOR_MIN: u32 = 15;

/// The oldest version (major, minor) of nats-server that Touchline runs on.
pub const NATS_VERSION_MIN: (u32, u32) = (2, 10);

/// The environment variable that names the folder of PostgreSQL's binaries.
pub const POSTGRES_VARIABLE: &str = "TOUCHLINE_POSTGRES_BIN";

/// The environment variable that names the nats-server binary.
pub const NATS_VARIABLE: &str = "TOUCHLINE_NATS_SERVER";

/// Why a server's binary cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FindToolError {
    /// No PostgreSQL server is installed.
    #[error(
        "PostgreSQL {POSTGRES_MAJOR_MIN} or newer is not installed: run `make tools`, or set {POSTGRES_VARIABLE} to the folder of its binaries"
    )]
    NoPostgres,
    /// Only too old a PostgreSQL is installed.
    #[error("PostgreSQL {found} in {} is too old, {POSTGRES_MAJOR_MIN} or newer is needed: run `make tools`, or set {POSTGRES_VARIABLE} to the folder of newer binaries", folder.display())]
    PostgresTooOld {
        /// Its major version.
        found: u32,
        /// Where it is.
        folder: PathBuf,
    },
    /// A cluster exists that another major version made.
    #[error(
        "this folder's database was made by PostgreSQL {wanted}, which is not installed: run `sudo apt-get install postgresql-{wanted}`, or set {POSTGRES_VARIABLE} to the folder of its binaries"
    )]
    NoPostgresOf {
        /// The major version that made the cluster.
        wanted: u32,
    },
    /// The folder that the environment names holds no PostgreSQL server.
    #[error("{POSTGRES_VARIABLE} is {}, where no working `postgres` and `initdb` are: set it to the folder of PostgreSQL's binaries, or unset it", folder.display())]
    NotPostgres {
        /// The folder named.
        folder: PathBuf,
    },
    /// No nats-server is installed.
    #[error("nats-server {}.{} or newer is not installed: run `make tools`, or set {NATS_VARIABLE} to the binary", NATS_VERSION_MIN.0, NATS_VERSION_MIN.1)]
    NoNats,
    /// Only too old a nats-server is installed.
    #[error("nats-server {found} at {} is too old, {}.{} or newer is needed: run `make tools`, or set {NATS_VARIABLE} to a newer binary", path.display(), NATS_VERSION_MIN.0, NATS_VERSION_MIN.1)]
    NatsTooOld {
        /// Its version.
        found: String,
        /// Where it is.
        path: PathBuf,
    },
    /// What the environment names is no nats-server.
    #[error("{NATS_VARIABLE} is {}, which is no working nats-server: set it to the binary, or unset it", path.display())]
    NotNats {
        /// The path named.
        path: PathBuf,
    },
}

/// PostgreSQL's server binaries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresTools {
    folder: PathBuf,
    major: u32,
}

impl PostgresTools {
    /// Finds PostgreSQL: in the folder that `TOUCHLINE_POSTGRES_BIN` names; else the newest of
    /// those on `PATH` and where Debian's and Red Hat's packages put them. With `major`, only that
    /// major version will do, because only it can open a cluster that it made.
    ///
    /// # Errors
    ///
    /// When none is found, or none that is new enough.
    pub fn find(major: Option<u32>) -> Result<Self, FindToolError> {
        let found = match env::var_os(POSTGRES_VARIABLE) {
            Some(folder) => {
                let folder = PathBuf::from(folder);
                vec![Self::inspect(&folder).ok_or(FindToolError::NotPostgres { folder })?]
            }
            None => postgres_folders()
                .iter()
                .filter_map(|folder| Self::inspect(folder))
                .collect(),
        };
        Self::pick(&found, major)
    }

    fn pick(found: &[Self], major: Option<u32>) -> Result<Self, FindToolError> {
        let fits = |tools: &&Self| major.is_none_or(|major| tools.major == major);
        match (
            found.iter().filter(fits).max_by_key(|tools| tools.major),
            found.first(),
            major,
        ) {
            (Some(tools), _, _) if tools.major >= POSTGRES_MAJOR_MIN => Ok(tools.clone()),
            (Some(old), _, _) => Err(FindToolError::PostgresTooOld {
                found: old.major,
                folder: old.folder.clone(),
            }),
            (None, Some(_), Some(wanted)) => Err(FindToolError::NoPostgresOf { wanted }),
            (None, _, _) => Err(FindToolError::NoPostgres),
        }
    }

    fn inspect(folder: &Path) -> Option<Self> {
        // `psql` may be alone on PATH; a server needs both of these.
        if !folder.join("initdb").is_file() {
            return None;
        }
        let said = version_of(&folder.join("postgres"), "--version")?;
        let (major, _) = numbers_in(&said)?;
        Some(Self {
            folder: folder.to_owned(),
            major,
        })
    }

    /// The major version, such as 15.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The path of one of PostgreSQL's programs, such as `initdb`.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Finds nats-server: the binary that `TOUCHLINE_NATS_SERVER` names; else `.tools/bin/nats-server`
/// in the working folder, in that of this program, or in one above either (there `make tools` puts
/// it); else on `PATH`.
///
/// # Errors
///
/// When none is found, or none that is new enough.
pub fn find_nats_server() -> Result<PathBuf, FindToolError> {
    if let Some(path) = env::var_os(NATS_VARIABLE).map(PathBuf::from) {
        let version =
            version_of(&path, "--version").ok_or(FindToolError::NotNats { path: path.clone() })?;
        return if is_new_nats(&version) {
            Ok(path)
        } else {
            Err(too_old_nats(path, &version))
        };
    }
    let mut too_old = None;
    for path in nats_candidates() {
        match version_of(&path, "--version") {
            Some(version) if is_new_nats(&version) => return Ok(path),
            Some(version) => too_old = too_old.or(Some(too_old_nats(path, &version))),
            None => {}
        }
    }
    Err(too_old.unwrap_or(FindToolError::NoNats))
}

fn too_old_nats(path: PathBuf, version: &str) -> FindToolError {
    FindToolError::NatsTooOld {
        found: version
            .trim()
            .trim_start_matches("nats-server: ")
            .to_owned(),
        path,
    }
}

fn is_new_nats(version: &str) -> bool {
    numbers_in(version).is_some_and(|found| found >= NATS_VERSION_MIN)
}

fn nats_candidates() -> Vec<PathBuf> {
    let own = env::current_exe()
        .ok()
        .into_iter()
        .chain(env::current_dir().ok());
    let projects = own.flat_map(|start| start.ancestors().map(Path::to_owned).collect::<Vec<_>>());
    let in_projects = projects
        .map(|folder| folder.join(".tools/bin/nats-server"))
        .filter(|path| is_trusted(path));
    in_projects
        .chain(
            path_folders()
                .into_iter()
                .map(|folder| folder.join("nats-server")),
        )
        .collect()
}

/// Whether root or we ourselves own the file: in a folder such as `/tmp`, anyone may have put a
/// `.tools` above us.
fn is_trusted(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|file| file.is_file() && (file.uid() == 0 || file.uid() == geteuid().as_raw()))
}

fn path_folders() -> Vec<PathBuf> {
    env::var_os("PATH")
        .map(|path| env::split_paths(&path).collect())
        .unwrap_or_default()
}

fn postgres_folders() -> Vec<PathBuf> {
    let mut folders = path_folders();
    for (parent, prefix) in [("/usr/lib/postgresql", ""), ("/usr", "pgsql-")] {
        let Ok(entries) = std::fs::read_dir(parent) else {
            continue;
        };
        let versions = entries.filter_map(io::Result::ok).filter(|entry| {
            let name = entry.file_name();
            let version = name.to_str().and_then(|name| name.strip_prefix(prefix));
            version.is_some_and(|version| version.parse::<u32>().is_ok())
        });
        folders.extend(versions.map(|entry| entry.path().join("bin")));
    }
    // A link such as /usr/local/bin/postgres finds the rest of the installation by itself.
    folders.retain(|folder| folder.join("postgres").is_file());
    folders
}

fn version_of(program: &Path, argument: &str) -> Option<String> {
    let mut command = Command::new(program);
    command
        .arg(argument)
        .env("LC_ALL", OsStr::new("C"))
        .stdin(Stdio::null());
    let output = command.output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The first two numbers in what a program says of its version; the second is 0 when there is none,
/// as in "16beta1".
fn numbers_in(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said
        .split(|symbol: char| !symbol.is_ascii_digit())
        .filter(|digits| !digits.is_empty());
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers
        .next()
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0);
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools(major: u32) -> PostgresTools {
        PostgresTools {
            folder: PathBuf::from(format!("/pg/{major}")),
            major,
        }
    }

    #[test]
    fn versions_are_read_as_the_programs_print_them() {
        assert_eq!(
            numbers_in("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"),
            Some((15, 18))
        );
        assert_eq!(numbers_in("postgres (PostgreSQL) 18beta1"), Some((18, 1)));
        assert_eq!(numbers_in("nats-server: v2.15.1"), Some((2, 15)));
        assert_eq!(numbers_in("nothing"), None);
        assert!(!is_new_nats("nats-server: v2.9.10"));
        assert!(is_new_nats("nats-server: v2.10.0"));
        assert!(is_new_nats("nats-server: v3.0.0"));
    }

    #[test]
    fn the_newest_postgres_is_picked_unless_a_cluster_wants_another() {
        let found = || vec![tools(14), tools(17), tools(15)];
        assert_eq!(PostgresTools::pick(&found(), None).unwrap().major(), 17);
        assert_eq!(PostgresTools::pick(&found(), Some(15)).unwrap().major(), 15);
        assert!(matches!(
            PostgresTools::pick(&found(), Some(16)),
            Err(FindToolError::NoPostgresOf { wanted: 16 })
        ));
        assert!(matches!(
            PostgresTools::pick(&[tools(13)], None),
            Err(FindToolError::PostgresTooOld { found: 13, .. })
        ));
        assert!(matches!(
            PostgresTools::pick(&[], None),
            Err(FindToolError::NoPostgres)
        ));
    }

    #[test]
    fn each_error_is_one_line_that_names_the_remedy() {
        let path = PathBuf::from("/somewhere");
        let errors = [
            FindToolError::NoPostgres,
            FindToolError::PostgresTooOld {
                found: 13,
                folder: path.clone(),
            },
            FindToolError::NoPostgresOf { wanted: 16 },
            FindToolError::NotPostgres {
                folder: path.clone(),
            },
            FindToolError::NoNats,
            FindToolError::NatsTooOld {
                found: "v2.9.10".to_owned(),
                path: path.clone(),
            },
            FindToolError::NotNats { path },
        ];
        for error in errors {
            let line = error.to_string();
            assert!(
                !line.contains('\n') && (line.contains("run `") || line.contains("set it to")),
                "{line}"
            );
        }
    }
}
