//! Seals on the command line: the page on the formats as it is pasted, and what is refused.

use crate::chance::PATIENCE;
use crate::instance::{Folder, Instance};
use crate::process::{Ended, run, touchline};
use sqlx::PgPool;
use std::fs;
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;
use touchline_testkit::eventually;

/// The page, from which every block of commands is run.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/formats/log.md");

/// An instance with the demo in it, all of it sealed.
async fn demo(folder: &Folder) -> (Instance, PgPool) {
    let instance = Instance::start(folder).await;
    let loaded = on(folder, &["demo"]).await;
    assert_eq!(loaded.code, Some(0), "{loaded:?}");
    let pool = PgPool::connect(&instance.database_url).await.unwrap();
    eventually(PATIENCE, "the demo is sealed", || async {
        sqlx::query_scalar(
            "SELECT (SELECT max(tree_size) FROM seals.checkpoints) = (SELECT max(position) FROM log.events)",
        )
        .fetch_one(&pool)
        .await
        .unwrap_or_default()
    })
    .await;
    (instance, pool)
}

/// Runs it on the instance of the folder.
async fn on(folder: &Folder, arguments: &[&str]) -> Ended {
    let mut command = touchline(folder.path(), arguments);
    command.env("TOUCHLINE_DATA_DIR", folder.data());
    run(command).await
}

/// Asserts that it ends with one line that says this, and exit code 2.
#[track_caller]
fn refused(ended: &Ended, line: &str) {
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert_eq!(ended.errors.lines().count(), 1, "{ended:?}");
    assert!(ended.errors.contains(line), "{line}: {ended:?}");
}

/// Asserts that it tells of damage, first with this line, and ends with exit code 1.
#[track_caller]
fn damaged(ended: &Ended, line: &str) {
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(ended.output.lines().next(), Some(line), "{ended:?}");
    assert!(ended.errors.contains("is damaged"), "{ended:?}");
}

fn commands() -> String {
    let page = fs::read_to_string(PAGE).unwrap();
    let blocks = page.split("```bash\n").skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap())
        .collect()
}

/// `bash` in the folder, with the binary on its path.
fn bash(folder: &Folder, script: &str) -> Command {
    let binary = Path::new(env!("CARGO_BIN_EXE_touchline")).parent().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let template = touchline(folder.path(), &[]);
    let mut command = Command::new("bash");
    command
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(folder.path())
        .env("PATH", format!("{}:{path}", binary.display()))
        .env("TOUCHLINE_DATA_DIR", folder.data())
        .kill_on_drop(true);
    for (name, value) in template.as_std().get_envs() {
        if value.is_none() && name != "TOUCHLINE_DATA_DIR" {
            command.env_remove(name);
        }
    }
    command
}

#[tokio::test]
async fn the_page_on_the_formats_works_as_pasted() {
    let folder = Folder::new();
    let (mut instance, _pool) = demo(&folder).await;
    let ended = run(bash(&folder, &commands())).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let said: Vec<_> = ended.output.lines().collect();
    let [
        ..,
        computed,
        stored,
        proved,
        signed,
        tree,
        old,
        new,
        kept,
        openssl,
    ] = said.as_slice()
    else {
        panic!("{ended:?}");
    };
    assert_eq!(computed.trim_end_matches(" -").trim(), *stored);
    assert_eq!(proved, signed);
    assert!(tree.ends_with(&format!("root {signed}")), "{ended:?}");
    for roots in [old, new] {
        let (made, told) = roots.split_once(' ').unwrap();
        assert_eq!(made, told, "{ended:?}");
    }
    assert_eq!(*kept, "the log goes on from it");
    assert_eq!(*openssl, "Signature Verified Successfully");
    assert!(instance.stop().await.success());
}

#[tokio::test]
async fn what_cannot_be_checked_is_refused_in_one_line() {
    let folder = Folder::new();
    refused(&on(&folder, &["log", "verify"]).await, "no instance runs");
    let (mut instance, _pool) = demo(&folder).await;
    let on = |arguments: &'static [&'static str]| on(&folder, arguments);
    let file = |name: &str| folder.path().join(name);
    assert_eq!(
        on(&["log", "key", "--output", "log.key"]).await.code,
        Some(0)
    );
    let exported = on(&["log", "export", "--output", "log.ndjson"]).await;
    assert_eq!(exported.code, Some(0), "{exported:?}");
    let note = on(&["log", "checkpoint"]).await.output;
    fs::write(file("note"), &note).unwrap();
    fs::write(file("forged"), note.replacen("\n3", "\n2", 1)).unwrap();
    fs::write(file("hello"), "hello\n").unwrap();
    let other = "touchline/00000000-0000-0000-0000-000000000000+d8d6a4c1+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    fs::write(file("other.key"), other_key(other)).unwrap();

    let verify = |arguments: &[&'static str]| {
        let all = [&["log", "verify"], arguments].concat();
        let mut command = touchline(folder.path(), &all);
        command.env("TOUCHLINE_DATA_DIR", folder.data());
        run(command)
    };
    let key = ["--key", "log.key"];
    let good = verify(&["--export", "log.ndjson", "--key", "log.key"]).await;
    assert_eq!(good.code, Some(0), "{good:?}");
    let kept = verify(&["--checkpoint", "note"]).await;
    assert_eq!(kept.code, Some(0), "{kept:?}");
    refused(&verify(&["--export", "log.ndjson"]).await, "--key");
    refused(
        &verify(&[&["--export", "hello"], &key[..]].concat()).await,
        "this is no export",
    );
    refused(
        &verify(&[&["--export", "absent"], &key[..]].concat()).await,
        "cannot be read",
    );
    refused(
        &verify(&[&["--export", "."], &key[..]].concat()).await,
        "cannot be read",
    );
    refused(
        &verify(&["--key", "hello"]).await,
        "a verifier key has the form",
    );
    refused(
        &verify(&["--key", "other.key"]).await,
        "the key is of touchline/00000000",
    );
    refused(
        &verify(&["--export", "log.ndjson", "--key", "other.key"]).await,
        "the key is of touchline/00000000",
    );
    refused(
        &verify(&["--checkpoint", "forged"]).await,
        "cannot be believed",
    );
    refused(
        &verify(&["--checkpoint", "hello"]).await,
        "cannot be believed",
    );

    let inclusion = |position| on_proof(&folder, ["inclusion", "--position", position]);
    refused(&inclusion("999999").await, "beyond the last checkpoint");
    refused(&inclusion("0").await, "begin at 1");
    refused(&inclusion("x").await, "no position");
    let backwards = on(&["log", "proof", "consistency", "--from", "9", "--to", "3"]).await;
    refused(
        &backwards,
        "the range is backwards: a log of 9 events is no beginning of one of 3",
    );
    assert!(instance.stop().await.success());
}

async fn on_proof(folder: &Folder, arguments: [&str; 3]) -> Ended {
    on(folder, &[&["log", "proof"], &arguments[..]].concat()).await
}

/// A key with the hash that its name and key have.
fn other_key(like: &str) -> String {
    use base64::Engine as _;
    use touchline_eventstore::seal::VerifierKey;
    let mut parts = like.splitn(3, '+');
    let (name, key) = (parts.next().unwrap(), parts.nth(1).unwrap());
    let key = base64::prelude::BASE64_STANDARD.decode(key).unwrap();
    let public = key[1..].try_into().unwrap();
    VerifierKey::new(name, public).unwrap().to_string()
}

#[tokio::test]
async fn damage_is_told_with_its_position() {
    let folder = Folder::new();
    let (mut instance, pool) = demo(&folder).await;
    for arguments in [
        &["log", "key", "--output", "log.key"][..],
        &["log", "export", "--output", "log.ndjson"],
    ] {
        assert_eq!(on(&folder, arguments).await.code, Some(0));
    }
    let whole = fs::read_to_string(folder.path().join("log.ndjson")).unwrap();
    fs::write(folder.path().join("cut"), &whole[..whole.len() / 2]).unwrap();
    let changed = whole.replacen("\"sequence\":1", "\"sequence\":2", 1);
    fs::write(folder.path().join("changed"), changed).unwrap();
    let verify = async |file| {
        on(
            &folder,
            &["log", "verify", "--export", file, "--key", "log.key"],
        )
        .await
    };
    let cut = verify("cut").await;
    assert!(
        cut.output.starts_with("the file is cut after position "),
        "{cut:?}"
    );
    assert_eq!(cut.code, Some(1));
    let fields = "position 1: the stored fields do not give the stored digest";
    damaged(&verify("changed").await, fields);

    sqlx::raw_sql(
        "BEGIN; SET LOCAL session_replication_role = replica;
         UPDATE log.events SET event_version = '9' WHERE position = 17; COMMIT",
    )
    .execute(&pool)
    .await
    .unwrap();
    let fields = "position 17: the stored fields do not give the stored digest";
    damaged(&on(&folder, &["log", "verify"]).await, fields);
    let json = on(&folder, &["log", "verify", "--json"]).await;
    let verdict: serde_json::Value = serde_json::from_str(&json.output).unwrap();
    assert_eq!(verdict["findings"][0]["position"], "17");
    assert_eq!(verdict["findings_total"], 1);
    tokio::time::timeout(Duration::from_mins(1), instance.stop())
        .await
        .unwrap();
}

/// The attack of somebody who has the database and nothing else: nothing is signed, and only an operator
/// goes on.
#[tokio::test]
async fn a_rewritten_history_is_not_signed_and_an_operator_says_when_it_goes_on() {
    let folder = Folder::new();
    let (mut instance, pool) = demo(&folder).await;
    let nothing = on(&folder, &["log", "begin-anew", "--abandon", "1"]).await;
    refused(&nothing, "there is nothing to acknowledge");
    let size: i64 = sqlx::query_scalar("SELECT max(tree_size) FROM seals.checkpoints")
        .fetch_one(&pool)
        .await
        .unwrap();
    sqlx::raw_sql(
        "BEGIN; SET LOCAL session_replication_role = replica;
         DELETE FROM seals.checkpoints; DELETE FROM seals.hashes; COMMIT",
    )
    .execute(&pool)
    .await
    .unwrap();
    eventually(PATIENCE, "it refuses", || async {
        sqlx::query_scalar("SELECT refusal IS NOT NULL FROM operations.sealing")
            .fetch_one(&pool)
            .await
            .unwrap_or_default()
    })
    .await;
    let asked = on(&folder, &["log", "begin-anew"]).await;
    refused(&asked, &format!("say --abandon {size}"));
    let abandon = size.to_string();
    let begun = on(&folder, &["log", "begin-anew", "--abandon", &abandon]).await;
    assert_eq!(begun.code, Some(0), "{begun:?}");
    assert!(begun.output.contains("New beginning 1"), "{begun:?}");
    eventually(PATIENCE, "it goes on", || async {
        sqlx::query_scalar("SELECT count(*) > 0 FROM seals.checkpoints")
            .fetch_one(&pool)
            .await
            .unwrap_or_default()
    })
    .await;
    let verified = on(&folder, &["log", "verify"]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
    assert!(verified.output.contains("New beginning 1"), "{verified:?}");
    let told = on(&folder, &["log", "list", "--type", "audit.log_begun_anew"]).await;
    assert!(told.output.contains("audit.log_begun_anew"), "{told:?}");
    assert!(instance.stop().await.success());
}
