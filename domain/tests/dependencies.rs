//! Dependencies point inward, and the domain reaches nothing outside the process. These tests read
//! the dependency graph of the workspace and refuse the rest.
//!
//! Only normal dependencies count for what a crate can reach; a test may also use the testkit.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may stop where it stands"
)]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// What each crate may depend on within the workspace. `server` and `bench` wire everything.
const EDGES: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("eventstore", &["domain"]),
    ("commands", &["domain", "eventstore"]),
    ("projections", &["domain", "eventstore"]),
    ("api", &["domain", "eventstore", "commands", "projections"]),
    (
        "server",
        &[
            "domain",
            "eventstore",
            "commands",
            "projections",
            "api",
            "embedded",
        ],
    ),
    ("embedded", &[]),
    ("testkit", &["domain", "embedded"]),
    (
        "bench",
        &[
            "domain",
            "eventstore",
            "commands",
            "projections",
            "api",
            "server",
            "embedded",
            "testkit",
        ],
    ),
];

/// Crates that do I/O, none of which the domain may reach by any way. `tokio` is not among them:
/// cqrs-es brings it for its event sink.
const IO: &[&str] = &[
    "async-nats",
    "axum",
    "hyper",
    "lettre",
    "postgres-es",
    "reqwest",
    "sqlx",
    "sqlx-core",
    "tokio-postgres",
];

/// What a projection could have an effect with (L10): the commands, and what ports are made of.
const EFFECTS: &[&str] = &["argon2", "axum", "lettre", "reqwest", "touchline-commands"];

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "cargo {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Per crate of the workspace, the crates of the workspace that it names: `(normal, dev)`.
fn workspace_edges() -> BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)> {
    let metadata = cargo(&["metadata", "--format-version", "1", "--no-deps"]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let short = |name: &Value| {
        let name = name.as_str().unwrap();
        name.strip_prefix("touchline-").unwrap_or(name).to_owned()
    };
    let mut edges = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let (mut normal, mut dev) = (BTreeSet::new(), BTreeSet::new());
        for dependency in package["dependencies"].as_array().unwrap() {
            if dependency["path"].is_null() {
                continue;
            }
            let kind = if dependency["kind"] == "dev" {
                &mut dev
            } else {
                &mut normal
            };
            kind.insert(short(&dependency["name"]));
        }
        // The server's package is the binary `touchline`, whatever its own name.
        let folder = package["manifest_path"].as_str().unwrap();
        let folder = folder.rsplit('/').nth(1).unwrap().to_owned();
        edges.insert(folder, (normal, dev));
    }
    edges
}

/// Everything that a crate reaches by normal dependencies, on this platform.
fn reach(package: &str) -> BTreeSet<String> {
    let tree = cargo(&[
        "tree",
        "--package",
        package,
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}",
        "--offline",
        "--locked",
    ]);
    tree.lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != package)
        .map(str::to_owned)
        .collect()
}

fn refuse(package: &str, forbidden: &[&str]) {
    let reached = reach(package);
    assert!(!reached.is_empty(), "the tree of {package} was not read");
    let found: Vec<_> = forbidden
        .iter()
        .filter(|name| reached.contains(**name))
        .collect();
    assert!(found.is_empty(), "{package} reaches {found:?}");
}

#[test]
fn workspace_dependencies_point_inward() {
    let edges = workspace_edges();
    let known: BTreeSet<&str> = EDGES.iter().map(|(name, _)| *name).collect();
    let members: BTreeSet<&str> = edges.keys().map(String::as_str).collect();
    assert_eq!(
        members, known,
        "a crate of the workspace is missing in EDGES"
    );
    for (name, allowed) in EDGES {
        let (normal, dev) = &edges[*name];
        let unexpected: Vec<_> = normal
            .iter()
            .filter(|to| !allowed.contains(&to.as_str()))
            .collect();
        assert!(
            unexpected.is_empty(),
            "{name} may not depend on {unexpected:?}"
        );
        let unexpected: Vec<_> = dev
            .iter()
            .filter(|to| *to != "testkit" && !allowed.contains(&to.as_str()))
            .collect();
        assert!(
            unexpected.is_empty(),
            "tests of {name} may not depend on {unexpected:?}"
        );
    }
}

#[test]
fn the_domain_reaches_no_io() {
    refuse("touchline-domain", IO);
}

#[test]
fn projections_reach_nothing_with_an_effect() {
    refuse("touchline-projections", EFFECTS);
}
