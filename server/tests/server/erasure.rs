//! L8, end to end: a canary in everything that a person can type is found nowhere after the person
//! is erased, and stays away when an older backup comes back.

use crate::chance::PATIENCE;
use crate::instance::{Folder, Instance};
use crate::process::{Ended, Process, run, touchline};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use sqlx::PgPool;
use std::fs;
use std::path::Path;
use tokio::process::Command;
use touchline_embedded::tools::PostgresTools;
use touchline_testkit::{eventually, nats};

/// In lower case, and a word of letters, so that every kind of value takes it unchanged.
const CANARY: &str = "kanarienvogel";
/// What somebody writes who stays.
const OTHER: &str = "feldlerche";

struct Scene {
    folder: Folder,
    instance: Instance,
    client: Client,
}

impl Scene {
    async fn new() -> Self {
        let folder = Folder::new();
        let instance = Instance::start(&folder).await;
        Self {
            folder,
            instance,
            client: Client::new(),
        }
    }

    async fn call(&self, method: Method, path: &str, bearer: Option<&str>, body: Value) -> Value {
        let url = format!("{}{path}", self.instance.url);
        let mut request = self.client.request(method.clone(), url);
        if let Some(token) = bearer {
            request = request.bearer_auth(token);
        }
        if method == Method::PATCH {
            request = request.header("If-Match", "*");
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{method} {path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Signs somebody up who says `word` everywhere, with these fields of a role; their id and token.
    async fn sign_up(&self, word: &str, number: usize, role: Value) -> (String, String) {
        let email = format!("{word}{number}@{word}.example");
        let mut body = json!({
            "email": email,
            "password": "correct horse battery",
            "handle": format!("{word}{number}"),
            "display_name": format!("{word} {number}"),
            "sport": word,
            "gender": "other",
        });
        let fields = role.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(fields);
        let account = self.call(Method::POST, "/v1/accounts", None, body).await;
        let session = json!({"email": email, "password": "correct horse battery"});
        let session = self.call(Method::POST, "/v1/sessions", None, session).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&account["user_id"]), text(&session["access_token"]))
    }

    async fn command(&self, arguments: &[&str]) -> Ended {
        let data = self.folder.data();
        let options = ["--data-dir", data.to_str().unwrap()];
        run(touchline(
            self.folder.path(),
            &[arguments, &options].concat(),
        ))
        .await
    }
}

/// The whole database as text.
async fn dump(database_url: &str) -> String {
    let pg_dump = PostgresTools::find(None).unwrap().program("pg_dump");
    let mut command = Command::new(pg_dump);
    command.args(["--dbname", database_url]);
    let ended = run(command).await;
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    ended.output
}

/// The parts of a dump that belong to these schemas, told by the `COPY` that begins each.
fn rows_of(dump: &str, schema: &str) -> String {
    let start = format!("COPY {schema}.");
    let tables = dump.split("\n\\.\n");
    let tables = tables.filter_map(|table| table.split_once(&start).map(|(_, rows)| rows));
    tables.collect()
}

/// Every file below a folder in which the canary is found.
fn found_in(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = fs::read(&path).unwrap_or_default();
                let text = String::from_utf8_lossy(&bytes).to_lowercase();
                if text.contains(CANARY) {
                    found.push(path.display().to_string());
                }
            }
        }
    }
    found
}

/// What people wrote, in every field there is, also below the post of somebody who stays; their ids.
async fn write_everywhere(scene: &Scene) -> Vec<String> {
    let (_stays, token) = scene.sign_up(OTHER, 0, json!({"role": "fan"})).await;
    let post = json!({"caption": OTHER});
    let others = scene
        .call(Method::POST, "/v1/posts", Some(&token), post)
        .await;
    let others = format!("/v1/posts/{}/comments", others["post_id"].as_str().unwrap());
    let roles = [
        json!({"role": "fan"}),
        json!({"role": "player", "birth_year": 1987, "playing_role": CANARY}),
        json!({"role": "club", "location": CANARY, "contact": CANARY}),
        json!({"role": "scout", "organization": CANARY, "experience_years": 3}),
    ];
    let mut people = Vec::new();
    for (number, role) in roles.into_iter().enumerate() {
        people.push(scene.sign_up(CANARY, number, role).await);
    }
    for (_, token) in &people[..2] {
        let bearer = Some(token.as_str());
        let profile = json!({"display_name": CANARY, "bio": CANARY, "location": CANARY});
        scene
            .call(Method::PATCH, "/v1/users/me", bearer, profile)
            .await;
        let post =
            json!({"caption": CANARY, "category": CANARY, "device": CANARY, "tags": [CANARY]});
        let post = scene.call(Method::POST, "/v1/posts", bearer, post).await;
        let path = format!("/v1/posts/{}", post["post_id"].as_str().unwrap());
        let edit = json!({"caption": format!("{CANARY} edited"), "tags": [format!("{CANARY}s")]});
        scene.call(Method::PATCH, &path, bearer, edit).await;
        let comment = json!({"text": CANARY});
        for comments in [&format!("{path}/comments"), &others] {
            let comment = comment.clone();
            scene.call(Method::POST, comments, bearer, comment).await;
        }
    }
    people.into_iter().map(|(user_id, _)| user_id).collect()
}

async fn erased_in_read_models(pool: &PgPool, people: i64) {
    eventually(PATIENCE, "the read models forget", || async {
        let counts: Result<(i64, i64), _> = sqlx::query_as(
            "SELECT (SELECT count(*) FROM users.erased WHERE swept),
                    (SELECT count(*) FROM posts.erased WHERE swept)",
        )
        .fetch_one(pool)
        .await;
        counts.is_ok_and(|counts| counts == (people, people))
    })
    .await;
}

#[tokio::test]
async fn a_canary_is_found_nowhere_once_its_people_are_erased() {
    let mut scene = Scene::new().await;
    let people = write_everywhere(&scene).await;
    let pool = PgPool::connect(&scene.instance.database_url).await.unwrap();
    eventually(PATIENCE, "the read models show it", || async {
        let shown: i64 = sqlx::query_scalar("SELECT count(*) FROM posts.comments")
            .fetch_one(&pool)
            .await
            .unwrap();
        shown == 4
    })
    .await;

    // Where it may be before: in the read models, and only there.
    let before = dump(&scene.instance.database_url).await;
    assert!(rows_of(&before, "posts").contains(CANARY));
    assert!(rows_of(&before, "users").contains(CANARY));
    for schema in [
        "log",
        "keys",
        "credentials",
        "operations",
        "seals",
        "history",
    ] {
        let rows = rows_of(&before, schema).to_lowercase();
        assert!(!rows.contains(CANARY), "in {schema}");
    }
    assert!(!rows_of(&before, "log").is_empty());

    for user_id in &people {
        let ended = scene.command(&["erase", user_id]).await;
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
    }
    let again = scene.command(&["erase", &people[0]]).await;
    assert_eq!(again.code, Some(0), "{}", again.errors);
    erased_in_read_models(&pool, 4).await;

    let after = dump(&scene.instance.database_url).await;
    assert!(!after.to_lowercase().contains(CANARY), "in the dump");
    for schema in ["posts", "users"] {
        assert!(rows_of(&after, schema).contains(OTHER), "not in {schema}");
    }
    let list = scene.command(&["erasures", "export"]).await.output;
    assert_eq!(list.lines().count(), 4);

    // Whoever kept the address cannot be found by it, and nobody gets the handle.
    // A read model that stands still goes on showing them: that is told.
    let paused = scene
        .command(&["projections", "pause", "users", "--reason", "a test"])
        .await;
    assert_eq!(paused.code, Some(0), "{paused:?}");
    let told = scene.command(&["erase", &people[0]]).await;
    assert!(
        told.output.contains("The read model users stands still"),
        "{told:?}"
    );
    let resumed = scene.command(&["projections", "resume", "users"]).await;
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    let nobody = scene.command(&["erase", "nobody-of-this-name"]).await;
    assert_eq!(nobody.code, Some(2));
    assert_eq!(nobody.errors.lines().count(), 1, "{}", nobody.errors);

    stays_away_after_a_restore(&scene, &before, &list).await;
    pool.close().await;
    assert!(scene.instance.stop().await.success());
    let copies = scene.folder.data().join("nats");
    assert_eq!(found_in(&copies), Vec::<String>::new());
    let said = fs::read_to_string(scene.folder.path().join("up.output")).unwrap();
    assert!(!said.to_lowercase().contains(CANARY), "in what it said");
}

/// Restores the dump from before the erasures into a database of its own, and replays the list.
async fn stays_away_after_a_restore(scene: &Scene, before: &str, list: &str) {
    let admin = PgPool::connect(&scene.instance.database_url).await.unwrap();
    sqlx::query("CREATE DATABASE restored")
        .execute(&admin)
        .await
        .unwrap();
    let url = scene
        .instance
        .database_url
        .replace("/touchline", "/restored");
    assert_ne!(url, scene.instance.database_url);
    let folder = scene.folder.path();
    fs::write(folder.join("before.sql"), before).unwrap();
    let psql = PostgresTools::find(None).unwrap().program("psql");
    let mut restore = Command::new(psql);
    restore.current_dir(folder).args([
        "--quiet",
        "--no-psqlrc",
        "--set=ON_ERROR_STOP=1",
        "--file=before.sql",
        "--dbname",
        &url,
    ]);
    let restored = run(restore).await;
    assert_eq!(restored.code, Some(0), "{}", restored.errors);
    fs::remove_file(folder.join("before.sql")).unwrap();
    fs::write(folder.join("erasures"), list).unwrap();

    let nats = nats().await;
    let command = |arguments: &[&str]| {
        let mut command = touchline(folder, arguments);
        command
            .env("TOUCHLINE_DATABASE_URL", &url)
            .env("TOUCHLINE_NATS_URL", nats.url())
            .env(
                "TOUCHLINE_MASTER_KEY_FILE",
                scene.folder.data().join("master.key"),
            );
        command
    };
    let bad = run(command(&["erasures", "apply", "before.sql"])).await;
    assert_eq!(
        (bad.code, bad.errors.lines().count()),
        (Some(2), 1),
        "{bad:?}"
    );
    // The dump named the role of the database that it is from.
    let early = run(command(&["erasures", "apply", "erasures"])).await;
    assert_eq!(early.code, Some(2), "{early:?}");
    assert!(early.errors.contains("touchline migrate"), "{early:?}");
    let migrated = run(command(&["migrate"])).await;
    assert_eq!(migrated.code, Some(0), "{}", migrated.errors);
    let applied = run(command(&["erasures", "apply", "erasures"])).await;
    assert_eq!(applied.code, Some(0), "{}", applied.errors);
    assert!(
        applied.output.contains("4 had to be carried out again"),
        "{}",
        applied.output
    );

    let mut worker = Process::start(folder, "work", command(&["work"]));
    let pool = PgPool::connect(&url).await.unwrap();
    erased_in_read_models(&pool, 4).await;
    pool.close().await;
    worker.stop(nix::sys::signal::Signal::SIGTERM).await;
    let after = dump(&url).await.to_lowercase();
    assert!(
        !after.contains(CANARY),
        "in the dump of the restored database"
    );
}

#[tokio::test]
async fn the_master_key_is_made_once_for_its_owner_only_and_refused_when_it_does_not_fit() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut scene = Scene::new().await;
    let file = scene.folder.data().join("master.key");
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let first_key = fs::read_to_string(&file).unwrap();
    let (user_id, _) = scene.sign_up(CANARY, 1, json!({"role": "fan"})).await;

    let generated = scene.command(&["keys", "generate"]).await;
    assert_eq!(generated.code, Some(2), "it takes no folder");
    let generated = run(touchline(scene.folder.path(), &["keys", "generate"])).await;
    assert_eq!(generated.output.trim().len(), 64);
    let serve = |file: Option<&Path>| {
        let mut command = touchline(scene.folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
        command
            .env("TOUCHLINE_DATABASE_URL", &scene.instance.database_url)
            .env("TOUCHLINE_NATS_URL", &scene.instance.nats_url);
        if let Some(file) = file {
            command.env("TOUCHLINE_MASTER_KEY_FILE", file);
        }
        command
    };
    let strange = scene.folder.path().join("strange.key");
    fs::write(&strange, &generated.output).unwrap();
    let damaged = scene.folder.path().join("damaged.key");
    fs::write(&damaged, "not a key").unwrap();
    let absent = scene.folder.path().join("absent.key");
    for (file, says) in [
        (None, "TOUCHLINE_MASTER_KEY_FILE is not set"),
        (Some(strange.as_path()), "does not hold"),
        (Some(damaged.as_path()), "line 1"),
        (Some(absent.as_path()), "cannot be read"),
    ] {
        let refused = run(serve(file)).await;
        assert_eq!(refused.code, Some(2), "{}", refused.errors);
        assert_eq!(refused.errors.lines().count(), 1, "{}", refused.errors);
        assert!(refused.errors.contains(says), "{}", refused.errors);
    }

    // A new key on top of the file takes over, and then the old one may go.
    let both = format!("{}\n{first_key}", generated.output.trim());
    fs::write(&file, &both).unwrap();
    let rewrapped = scene.command(&["keys", "rewrap"]).await;
    assert!(
        rewrapped.output.contains("4 keys rewrapped"),
        "{rewrapped:?}"
    );
    fs::write(&file, &generated.output).unwrap();
    assert!(scene.instance.stop().await.success());
    scene.instance = Instance::start(&scene.folder).await;
    let shown = scene
        .call(
            Method::GET,
            &format!("/v1/users/{user_id}"),
            None,
            Value::Null,
        )
        .await;
    assert_eq!(shown["handle"], format!("{CANARY}1"));
    let log: i64 = {
        let pool = PgPool::connect(&scene.instance.database_url).await.unwrap();
        sqlx::query_scalar("SELECT count(*) FROM log.events")
            .fetch_one(&pool)
            .await
            .unwrap()
    };
    assert_eq!(log, 1, "the log is not touched");
}
