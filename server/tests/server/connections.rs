//! How many connections are let in, and what becomes of those beyond.

use crate::chance::PATIENCE;
use crate::instance::{Folder, Instance};
use crate::process::{living, run, touchline};
use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::Command;
use tokio::time::timeout;
use touchline_testkit::eventually;

const FIRST: [u8; 4] = [127, 0, 0, 1];
const SECOND: [u8; 4] = [127, 0, 0, 2];
const THIRD: [u8; 4] = [127, 0, 0, 3];

/// Connects from one of this machine's addresses.
async fn connect(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((IpAddr::from(from), 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// Asks something on an open connection. False when the server closes it instead of answering.
async fn is_answered(stream: &mut TcpStream) -> bool {
    let request = b"GET /livez HTTP/1.1\r\nhost: touchline\r\n\r\n";
    let mut answer = [0; 15];
    let asked = async {
        stream.write_all(request).await?;
        stream.read_exact(&mut answer).await?;
        let mut rest = [0; 4096];
        stream.read(&mut rest).await
    };
    let asked = timeout(PATIENCE, asked).await.expect("open and silent");
    asked.is_ok() && &answer == b"HTTP/1.1 200 OK"
}

/// Opens a connection from there, and says whether it is let in; if so, it stays open in `open`.
async fn is_let_in(from: [u8; 4], to: SocketAddr, open: &mut Vec<TcpStream>) -> bool {
    let mut stream = connect(from, to).await;
    let is_let_in = is_answered(&mut stream).await;
    if is_let_in {
        open.push(stream);
    }
    is_let_in
}

#[tokio::test]
async fn connections_are_let_in_up_to_the_limits_and_no_further() {
    let folder = Folder::new();
    let limits = [
        "--connections-max=5",
        "--connections-per-address-max=3",
        "--listen=127.0.0.1:0",
    ];
    let mut instance = Instance::start_with(&folder, &limits).await;
    let to: SocketAddr = instance.url["http://".len()..].parse().unwrap();
    let mut open = Vec::new();
    for n in 1..=3 {
        assert!(is_let_in(FIRST, to, &mut open).await, "connection {n}");
    }
    assert!(!is_let_in(FIRST, to, &mut open).await, "one more of FIRST");
    for n in 4..=5 {
        assert!(is_let_in(SECOND, to, &mut open).await, "connection {n}");
    }
    assert!(!is_let_in(THIRD, to, &mut open).await, "one more in all");
    for stream in &mut open {
        assert!(is_answered(stream).await, "who is in stays in");
    }
    assert!(
        instance
            .process
            .said()
            .contains("connections beyond the limits refused"),
        "{}",
        instance.process.said()
    );
    open.remove(0);
    eventually(PATIENCE, "a place is given back", || async {
        is_answered(&mut connect(FIRST, to).await).await
    })
    .await;
    drop(open);
    assert!(instance.stop().await.success());
}

#[tokio::test]
async fn an_instance_that_may_open_too_few_files_does_not_start() {
    let folder = Folder::new();
    let mut command = limited("ulimit -n 300", &folder);
    command.arg("up").stdin(Stdio::null());
    let ended = run(command).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert_eq!(ended.errors.lines().count(), 1, "{ended:?}");
    for words in ["4096 connections", "ulimit -n", "--connections-max"] {
        assert!(ended.errors.contains(words), "{ended:?}");
    }
    assert_eq!(living(folder.path()), Vec::<String>::new());
}

/// The binary with its limit of open files set by a line of shell.
fn limited(line: &str, folder: &Folder) -> Command {
    let mut command = Command::new("sh");
    let binary = touchline(folder.path(), &[]);
    command
        .arg("-c")
        .arg(format!("{line}; exec \"$0\" \"$@\""))
        .arg(binary.as_std().get_program())
        .current_dir(folder.path())
        .env("TOUCHLINE_DATA_DIR", folder.data())
        .env_remove("TOUCHLINE_CONNECTIONS_MAX")
        .kill_on_drop(true);
    command
}
