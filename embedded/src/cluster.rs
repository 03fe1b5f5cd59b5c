//! PostgreSQL's files: where a cluster lies, how it is made, and what it is configured with.

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::account::Account;
use crate::postgres::{Durability, PostgresSettings, StartPostgresError};
use crate::process::{POLL, stop_orphans};
use crate::secret::{random_digits, write_private};
use crate::tools::PostgresTools;

/// Where clusters lie whose own folder PostgreSQL's account cannot reach.
const ELSEWHERE: &str = "/var/lib/touchline";

/// How long the remains of a cluster that was not finished may resist.
const DISCARD_PATIENCE: Duration = Duration::from_secs(10);

/// The file with our settings, in the data directory.
const SETTINGS: &str = "touchline.conf";

/// The name of the superuser that owns the cluster.
pub(crate) const SUPERUSER: &str = "postgres";

/// A cluster on disk: `home` belongs to the account that runs the server, `data` lies in it.
#[derive(Debug)]
pub(crate) struct Cluster {
    home: PathBuf,
    account: Account,
}

impl Cluster {
    /// The cluster that belongs to the folder `dir`: in it, or in `/var/lib/touchline` when
    /// PostgreSQL's account cannot reach `dir` (a checkout below /root). Then the file `location`
    /// in `dir` says where; its name there is random, so that a deleted folder made again does not
    /// find the old one's data.
    pub(crate) async fn of(dir: &Path, account: Account) -> io::Result<Self> {
        let location = dir.join("location");
        let home = match fs::read_to_string(&location) {
            Ok(home) => PathBuf::from(home.trim_end_matches('\n')),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) if account.can_enter(dir).await? => dir.join("cluster"),
            Err(_) => {
                let home = Path::new(ELSEWHERE).join(random_digits()?);
                write_private(&location, &format!("{}\n", home.display()))?;
                home
            }
        };
        if let Some(parent) = home.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(parent)?;
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&home)?;
        account.own(&home)?;
        if !home.starts_with(dir) {
            // For whoever finds it there.
            fs::write(home.join("belongs-to"), format!("{}\n", dir.display()))?;
        }
        Ok(Self { home, account })
    }

    /// The data directory, as PostgreSQL calls it.
    pub(crate) fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    /// A command that runs one of PostgreSQL's programs as the cluster's account.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        // Settings of the caller's environment (PGDATA, PGOPTIONS, LANG …) must not leak into it.
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C")
            .env("TZ", "UTC");
        command.current_dir(&self.home);
        self.account.lend_to(&mut command);
        command
    }

    /// The major version that made the cluster; `None` when there is no cluster yet.
    pub(crate) fn major(&self) -> io::Result<Option<u32>> {
        match fs::read_to_string(self.data().join("PG_VERSION")) {
            Ok(version) => version.trim().parse().map(Some).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the cluster under another name, and renames it when it is whole: a process killed on
    /// the way leaves nothing that looks like one.
    pub(crate) async fn create(
        &self,
        tools: &PostgresTools,
        password: &str,
        settings: &PostgresSettings,
    ) -> Result<(), StartPostgresError> {
        let unfinished = self.home.join("data.new");
        discard(&unfinished)
            .await
            .map_err(StartPostgresError::Files)?;
        let password_file = self.home.join("initdb.password");
        write_private(&password_file, password).map_err(StartPostgresError::Files)?;
        self.account
            .own(&password_file)
            .map_err(StartPostgresError::Files)?;

        let mut initdb = self.command(&tools.program("initdb"));
        initdb
            .arg("--pgdata")
            .arg(&unfinished)
            .arg("--pwfile")
            .arg(&password_file);
        initdb.args([
            "--username",
            SUPERUSER,
            "--auth",
            "scram-sha-256",
            "--no-instructions",
        ]);
        // One byte order for text on every machine: what sorts here sorts so everywhere.
        initdb.args(["--encoding", "UTF8", "--locale", "C.UTF-8"]);
        if settings.durability == Durability::Kept {
            // Checksums find a page that the disk changed, at a few per cent of the work.
            initdb.arg("--data-checksums");
        }
        if !settings.sync_new {
            initdb.arg("--no-sync");
        }
        run(initdb, "initdb", None).await?;
        fs::remove_file(&password_file).map_err(StartPostgresError::Files)?;
        if let Some(database) = &settings.database {
            let mut single = self.command(&tools.program("postgres"));
            single
                .args(["--single", "-D"])
                .arg(&unfinished)
                .arg("postgres");
            // In this mode each line is one statement.
            let statement = format!("CREATE DATABASE \"{}\"\n", database.replace('"', "\"\""));
            run(single, "postgres --single", Some(statement)).await?;
        }
        include_settings(&unfinished).map_err(StartPostgresError::Files)?;
        fs::rename(unfinished, self.data()).map_err(StartPostgresError::Files)?;
        fs::File::open(&self.home)
            .and_then(|home| home.sync_all())
            .map_err(StartPostgresError::Files)
    }

    /// Writes the server's settings. They are ours, and written anew at each start; what an
    /// operator sets by `ALTER SYSTEM` is kept by PostgreSQL in a file of its own, and wins.
    pub(crate) fn configure(&self, settings: &PostgresSettings, port: u16) -> io::Result<()> {
        let method = match settings.durability {
            Durability::Kept => "scram-sha-256",
            Durability::Scratch => "password",
        };
        let access = format!(
            "# Written by touchline at each start. Loopback only, and only with the password.\n\
             host all all 127.0.0.1/32 {method}\nhost replication all 127.0.0.1/32 {method}\n"
        );
        self.write("pg_hba.conf", &access)?;
        self.write(SETTINGS, &server_settings(settings, port))
    }

    /// Removes the pid file when the number in it belongs to some other program by now (after a
    /// restart of the machine): PostgreSQL would take that program for an older self.
    pub(crate) fn forget_reused_pid(&self) -> io::Result<()> {
        let file = self.data().join("postmaster.pid");
        let Ok(content) = fs::read_to_string(&file) else {
            return Ok(());
        };
        let pid = content
            .lines()
            .next()
            .and_then(|line| line.trim().parse().ok());
        let words = pid.and_then(crate::procfs::arguments).unwrap_or_default();
        let is_other = words
            .first()
            .is_some_and(|word| !word.to_string_lossy().contains("postgres"));
        if is_other {
            fs::remove_file(file)
        } else {
            Ok(())
        }
    }

    /// Whether the server with this process id has written that it takes connections: the status
    /// in the last line of its pid file, which `pg_ctl` waits for too.
    pub(crate) fn is_ready(&self, pid: u32) -> bool {
        let Ok(content) = fs::read_to_string(self.data().join("postmaster.pid")) else {
            return false;
        };
        let mut lines = content.lines().map(str::trim);
        lines.next() == Some(pid.to_string().as_str()) && lines.next_back() == Some("ready")
    }

    fn write(&self, name: &str, content: &str) -> io::Result<()> {
        let path = self.data().join(name);
        let unfinished = self.data().join(format!("{name}.new"));
        fs::write(&unfinished, content)?;
        fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o600))?;
        self.account.own(&unfinished)?;
        fs::rename(unfinished, path)
    }
}

/// Removes a cluster that an earlier owner, killed on the way, did not finish. The programs that
/// were at it may still be, and are ended first; children of theirs end by themselves.
async fn discard(unfinished: &Path) -> io::Result<()> {
    for program in ["initdb", "postgres"] {
        let mark = unfinished.as_os_str();
        stop_orphans(program, mark, Signal::SIGKILL, DISCARD_PATIENCE).await?;
    }
    let deadline = Instant::now() + DISCARD_PATIENCE;
    loop {
        match fs::remove_dir_all(unfinished) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if Instant::now() >= deadline => return Err(error),
            // Again also after success, until nobody is left who makes it anew.
            _ => tokio::time::sleep(POLL).await,
        }
    }
}

/// Makes PostgreSQL's own settings file, in which `initdb` wrote what it found out about this
/// machine (such as which kind of shared memory works), end with ours.
fn include_settings(data: &Path) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(data.join("postgresql.conf"))?;
    writeln!(file, "include '{SETTINGS}'")?;
    file.sync_all()
}

fn server_settings(settings: &PostgresSettings, port: u16) -> String {
    let PostgresSettings {
        shared_buffers_mb,
        connections_max,
        durability,
        ..
    } = settings;
    let durable = match durability {
        Durability::Kept => {
            "# An acknowledged append survives a power cut.\n\
             fsync = on\nsynchronous_commit = on\nfull_page_writes = on\n"
        }
        Durability::Scratch => {
            "# Scratch data of tests: nothing in it need survive a power cut.\n\
             fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n"
        }
    };
    format!(
        "# Written by touchline at each start: changes here are lost. ALTER SYSTEM keeps yours.\n\
         \n\
         # One way in: loopback TCP. No socket file, whose path would have a length limit.\n\
         listen_addresses = '127.0.0.1'\n\
         port = {port}\n\
         unix_socket_directories = ''\n\
         password_encryption = 'scram-sha-256'\n\
         \n\
         {durable}\
         \n\
         # Room for the pools of several processes (serve, work) and of an operator.\n\
         max_connections = {connections_max}\n\
         shared_buffers = {shared_buffers_mb}MB\n\
         \n\
         # Fewer checkpoints: after each, the first change of a page is logged as the whole page.\n\
         # Compressing those images trades a little CPU for much less to flush.\n\
         max_wal_size = 2GB\n\
         checkpoint_timeout = 15min\n\
         wal_compression = on\n\
         \n\
         # Short statements: compiling them costs more than it saves.\n\
         jit = off\n\
         # Solid-state disks: a random read costs about as much as a sequential one.\n\
         random_page_cost = 1.1\n\
         \n\
         # The log goes to the file that the owner gave as standard error.\n\
         logging_collector = off\n\
         log_destination = 'stderr'\n\
         log_line_prefix = '%m [%p] %q%d '\n\
         log_min_messages = warning\n\
         # Statements can carry what people typed, and stay out of the log.\n\
         log_min_error_statement = panic\n\
         log_parameter_max_length_on_error = 0\n\
         \n\
         cluster_name = 'touchline'\n\
         timezone = 'UTC'\n\
         log_timezone = 'UTC'\n\
         datestyle = 'iso, ymd'\n\
         default_text_search_config = 'pg_catalog.simple'\n"
    )
}

/// Runs one of PostgreSQL's programs to its end, with `input` on its standard input.
async fn run(
    mut command: Command,
    program: &'static str,
    input: Option<String>,
) -> Result<(), StartPostgresError> {
    let failed = |source| StartPostgresError::Spawn { program, source };
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    // Ctrl-C is for us to act on.
    command.process_group(0);
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin
            .write_all(input.unwrap_or_default().as_bytes())
            .await
            .map_err(failed)?;
    }
    let output = child.wait_with_output().await.map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    Err(StartPostgresError::Create {
        program,
        said: telling_line(&said),
    })
}

/// The line of a log that tells most: the last fatal one, else the last error, else the last.
pub(crate) fn telling_line(log: &str) -> String {
    let last_with = |word: &str| log.lines().rev().find(|line| line.contains(word));
    let line = last_with("FATAL")
        .or_else(|| last_with("rror:"))
        .or_else(|| log.lines().rev().find(|line| !line.is_empty()));
    line.unwrap_or("it said nothing").trim().to_owned()
}
