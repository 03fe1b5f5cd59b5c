//! `touchline log` and `touchline admin`.

use crate::chance::PATIENCE;
use crate::instance::{Folder, Instance};
use crate::process::{Ended, run, touchline};
use serde_json::{Value, json};
use sqlx::PgPool;
use std::fs;
use touchline_testkit::eventually;

/// Runs it on the instance of the folder.
async fn on(folder: &Folder, arguments: &[&str]) -> Ended {
    let mut command = touchline(folder.path(), arguments);
    command.env("TOUCHLINE_DATA_DIR", folder.data());
    run(command).await
}

/// The same, and it must go well.
async fn output(folder: &Folder, arguments: &[&str]) -> String {
    let ended = on(folder, arguments).await;
    assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
    ended.output
}

/// Its output as lines of JSON.
async fn lines(folder: &Folder, arguments: &[&str]) -> Vec<Value> {
    let output = output(folder, arguments).await;
    let lines = output.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// It is refused with one line that has these words, and exit code 2.
async fn refused(folder: &Folder, arguments: &[&str], words: &str) {
    let ended = on(folder, arguments).await;
    assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
    assert_eq!(ended.errors.lines().count(), 1, "{arguments:?}: {ended:?}");
    assert!(ended.errors.contains(words), "{arguments:?}: {ended:?}");
}

/// The looks that are recorded, the last one last.
async fn looks(pool: &PgPool) -> Vec<Value> {
    let looks: Vec<Value> = sqlx::query_scalar(
        "SELECT payload::jsonb -> 'audit.history_read' FROM log.events
         WHERE event_type = 'audit.history_read' ORDER BY position",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    looks
}

/// An instance with the demo in it, sealed to its end.
async fn demo(folder: &Folder) -> (Instance, PgPool) {
    let instance = Instance::start(folder).await;
    let data = folder.data();
    let loaded = run(touchline(
        folder.path(),
        &["demo", "--data-dir", data.to_str().unwrap()],
    ))
    .await;
    assert_eq!(loaded.code, Some(0), "{loaded:?}");
    let pool = PgPool::connect(&instance.database_url).await.unwrap();
    eventually(PATIENCE, "everything is sealed", || async {
        let sealed: Option<bool> = sqlx::query_scalar(
            "SELECT (SELECT max(tree_size) FROM seals.checkpoints) >= (SELECT max(position) FROM log.events)",
        )
        .fetch_one(&pool)
        .await
        .unwrap();
        sealed == Some(true)
    })
    .await;
    (instance, pool)
}

#[tokio::test]
async fn history_is_read_from_the_command_line_and_every_look_is_recorded() {
    let folder = Folder::new();
    let (mut instance, pool) = demo(&folder).await;
    let published = lines(
        &folder,
        &["log", "list", "--type", "posts.", "--limit", "3", "--json"],
    )
    .await;
    assert_eq!(published.len(), 3);
    let event = &published[0]["payload"]["posts.post_published"];
    assert_eq!(event["caption"], json!({"sealed": true}));
    let post = event["post_id"].as_str().unwrap();
    let position = published[0]["position"].as_str().unwrap();
    let table = output(&folder, &["log", "list", "--limit", "2"]).await;
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(table.contains("--after 2"), "{table}");

    let show = ["log", "show", position, "--changes", "--personal", "--json"];
    let shown = lines(&folder, &show).await;
    let opened = &shown[0]["event"]["payload"]["posts.post_published"]["caption"];
    let first_match = json!("Group A: Qatar 0–2 Ecuador");
    assert_eq!(*opened, first_match);
    let changes = shown[0]["changes"].as_array().unwrap();
    let caption = json!({"path": "/published/caption", "new": first_match});
    assert!(changes.contains(&caption), "{changes:?}");
    let shown = output(&folder, &["log", "show", "post", post]).await;
    assert!(shown.contains(&format!("post {post}, event 1")), "{shown}");

    let state = ["log", "state", "post", post, "--at", position, "--json"];
    let state = lines(&folder, &state).await;
    let sealed = json!({"sealed": true});
    assert_eq!(state[0]["state"]["published"]["caption"], sealed);
    assert_eq!(state[0]["version"], 1);

    let looks = looks(&pool).await;
    let operations: Vec<_> = looks.iter().map(|look| &look["operation"]).collect();
    assert_eq!(operations, ["list", "list", "show", "show", "state"]);
    assert!(looks.iter().all(|look| look["surface"] == "cli"));
    assert!(looks.iter().all(|look| look["reader"] == Value::Null));
    let personal: Vec<_> = looks.iter().map(|look| &look["personal"]).collect();
    assert_eq!(personal, [false, false, true, false, false]);
    assert_eq!(looks[0]["slice"]["event_type"], "posts.");
    assert_eq!(looks[4]["slice"]["aggregate_id"], post);

    what_cannot_be_asked(&folder, post).await;
    assert!(instance.stop().await.success());
}

async fn what_cannot_be_asked(folder: &Folder, post: &str) {
    let nobody = "01920000-0000-7000-8000-000000000003";
    for (arguments, words) in [
        (
            &["list", "--after", "99999"][..],
            "beyond the end of the log",
        ),
        (&["list", "--until", "99999"], "beyond the end of the log"),
        (&["list", "--after", "5", "--until", "3"], "backwards"),
        (
            &[
                "list",
                "--from",
                "2022-12-18T12:00:00Z",
                "--to",
                "2022-12-18T11:00:00Z",
            ],
            "before it begins",
        ),
        (&["list", "--type", "posts.post_adored"], "no event type"),
        (&["list", "--aggregate-type", "posts"], "no aggregate type"),
        (&["list", "--actor", "ana"], "ana is no UUID"),
        (&["list", "--from", "yesterday"], "yesterday is no time"),
        (&["list", "--after", "-1"], "unexpected"),
        (&["show", "99999"], "position 99999 is beyond the end"),
        (&["show", "0"], "begin at 1"),
        (&["show", "post"], "name a position"),
        (&["show", "posts", post], "it is one of account"),
        (&["show", "post", nobody], "there is no post"),
        (&["state", "post", "7"], "7 is no UUID"),
        (&["state", "post", nobody], "there was no post"),
        (&["state", "post", post, "--at", "noon"], "noon is no time"),
        (&["state", "post", post, "--at", "99999"], "beyond the end"),
        (&["state", "post", post, "--at", "1"], "there was no post"),
    ] {
        let all: Vec<&str> = [&["log"], arguments].concat();
        if words == "unexpected" {
            // What is no option value at all is clap's to refuse, in its own words.
            assert_eq!(on(folder, &all).await.code, Some(2));
        } else {
            refused(folder, &all, words).await;
        }
    }
}

#[tokio::test]
async fn a_file_that_was_cut_anywhere_is_gone_on_with_to_the_same_bytes() {
    let folder = Folder::new();
    let (mut instance, pool) = demo(&folder).await;
    for (format, slice) in [
        ("ndjson", &[][..]),
        ("csv", &["--type", "posts.", "--until", "300"]),
    ] {
        let file = |name: &str| folder.path().join(format!("{name}.{format}"));
        let export = async |name: &str, resume: &[&str]| {
            let file = file(name);
            let file = ["--format", format, "--output", file.to_str().unwrap()];
            let all = [&["log", "export"], &file[..], slice, resume].concat();
            output(&folder, &all).await
        };
        export("whole", &[]).await;
        let whole = fs::read(file("whole")).unwrap();
        let head = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let start = if format == "csv" { head + 400 } else { head };
        for length in [start, whole.len() / 2, whole.len() - 10] {
            fs::write(file("cut"), &whole[..length]).unwrap();
            export("cut", &["--resume"]).await;
            let resumed = fs::read(file("cut")).unwrap();
            assert!(resumed == whole, "{format} cut to {length} bytes");
        }
        let again = export("cut", &["--resume"]).await;
        assert!(again.contains("whole already"), "{again}");
    }
    let looks = looks(&pool).await;
    assert_eq!(looks.len(), 8, "a file that is whole is no look");
    let whole = folder.path().join("whole.ndjson");
    let whole = whole.to_str().unwrap();
    let export = ["log", "export", "--output", whole];
    refused(&folder, &export, "is there already").await;

    let cut = folder.path().join("cut.csv");
    let bytes = fs::read(&cut).unwrap();
    fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let cut = cut.to_str().unwrap();
    let resume = ["log", "export", "--resume", "--output", cut];
    refused(&folder, &resume, "another slice").await;
    fs::write(cut, "hello\n").unwrap();
    refused(&folder, &resume, "no export").await;

    // The file alone shows that it is whole, and that nothing in it was changed.
    let key = folder.path().join("key");
    let key = key.to_str().unwrap();
    output(&folder, &["log", "key", "--output", key]).await;
    let verify = ["log", "verify", "--export", whole, "--key", key];
    assert!(instance.stop().await.success());
    let verified = output(&folder, &verify).await;
    assert!(verified.contains("none is missing"), "{verified}");
}

/// Signs in over HTTP, and says what auditors are answered.
async fn may_audit(url: &str, email: &str, password: &str) -> u16 {
    let http = reqwest::Client::new();
    let credentials = json!({"email": email, "password": password});
    let session = http.post(format!("{url}/v1/sessions")).json(&credentials);
    let session: Value = session.send().await.unwrap().json().await.unwrap();
    let token = session["access_token"].as_str().unwrap();
    let look = http
        .get(format!("{url}/v1/audit/events"))
        .bearer_auth(token);
    look.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn the_operator_makes_the_first_admin_and_says_who_is_staff() {
    let folder = Folder::new();
    let mut instance = Instance::start(&folder).await;
    let create = [
        "admin",
        "create",
        "--email",
        "ana@example.org",
        "--handle",
        "boss.ana",
        "--display-name",
        "Ana",
    ];
    let made = output(&folder, &create).await;
    let password = made
        .split_once("Its password is ")
        .and_then(|(_, rest)| rest.split(' ').next())
        .unwrap();
    let url = &instance.url;
    assert_eq!(may_audit(url, "ana@example.org", password).await, 403);
    let another = create.map(|it| it.replace("ana@", "ben@").replace("boss.ana", "boss.ben"));
    let another: Vec<&str> = another.iter().map(String::as_str).collect();
    refused(&folder, &another, "a first admin already").await;

    let granted = output(&folder, &["admin", "grant", "boss.ana", "auditor"]).await;
    assert_eq!(granted, "boss.ana may: auditor, admin\n");
    assert_eq!(may_audit(url, "ana@example.org", password).await, 200);
    let staff = lines(&folder, &["admin", "list", "--json"]).await;
    assert_eq!(staff.len(), 1);
    assert_eq!(staff[0]["is_root"], true);
    assert_eq!(staff[0]["permissions"], json!(["auditor", "admin"]));
    let id = staff[0]["user_id"].as_str().unwrap();
    let revoked = output(&folder, &["admin", "revoke", id, "auditor"]).await;
    assert_eq!(revoked, format!("{id} may: admin\n"));
    assert_eq!(may_audit(url, "ana@example.org", password).await, 403);

    refused(&folder, &["admin", "revoke", id, "admin"], "first admin").await;
    refused(&folder, &["admin", "grant", id, "emperor"], "must be").await;
    refused(
        &folder,
        &["admin", "grant", "nobody", "auditor"],
        "nobody is",
    )
    .await;
    let short = [&create[..], &["--password-stdin"]].concat();
    refused(&folder, &short, "the password").await;
    assert!(instance.stop().await.success());
}
