//! Holds the workspace to the rules of `docs/ARCHITECTURE.md`: which crate may use which, where the cron library
//! is named, and what every crate has.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Each crate, without the `convault-` prefix, and the crates of the workspace that it may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("settings", &["core"]),
    ("convex-client", &["core"]),
    ("exporter", &["core", "convex-client"]),
    ("restorer", &["core", "convex-client"]),
    ("archive", &["core"]),
    ("uploader", &["core"]),
    ("journal", &["core"]),
    ("jobs", &["core", "archive"]),
    ("scheduler", &["core"]),
    ("health", &["core"]),
    ("simulator", &["core"]),
    (
        "convault",
        &[
            "core",
            "settings",
            "convex-client",
            "exporter",
            "restorer",
            "archive",
            "uploader",
            "journal",
            "jobs",
            "scheduler",
            "health",
            "simulator",
        ],
    ),
];

/// What tests of any crate may use beside that: what they are tested against.
const TESTS_MAY_USE: &[&str] =
    &["simulator", "uploader", "core", "archive", "convex-client", "exporter", "restorer"];

/// Crates that do input and output, run tasks or read a clock: `core` has none of them.
const NOT_IN_CORE: &[&str] = &["tokio", "reqwest", "hyper", "axum", "aws-sdk-s3", "rusqlite", "tracing"];

/// The file in which the cron library is named.
const TRIGGER: &str = "crates/scheduler/src/trigger.rs";

struct Edge {
    from: String,
    to: String,
    for_tests: bool,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("`{key}` is not a text: {value}"))
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("`{key}` is not a list: {value}"))
}

fn short(name: &str) -> String {
    name.strip_prefix("convault-").unwrap_or(name).to_owned()
}

/// Every dependency of one crate of the workspace on another.
fn edges(metadata: &Value) -> Vec<Edge> {
    let edge = |package: &Value, dependency: &Value| Edge {
        from: short(text(package, "name")),
        to: short(text(dependency, "name")),
        for_tests: dependency["kind"] == "dev",
    };
    list(metadata, "packages")
        .iter()
        .flat_map(|package| list(package, "dependencies").iter().map(move |dependency| (package, dependency)))
        .filter(|(_, dependency)| dependency["path"].is_string())
        .map(|(package, dependency)| edge(package, dependency))
        .collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_crate_has_its_place_and_its_folder() {
    let metadata = metadata();
    let root = root();
    for package in list(&metadata, "packages") {
        let name = short(text(package, "name"));
        assert!(MAY_USE.iter().any(|(known, _)| *known == name), "{name} has no line in MAY_USE");
        let folder = root.join("crates").join(&name).join("Cargo.toml");
        assert_eq!(
            Path::new(text(package, "manifest_path")),
            folder,
            "the folder is the name without `convault-`"
        );
    }
    assert_eq!(
        list(&metadata, "packages").len(),
        MAY_USE.len(),
        "MAY_USE has a line for a crate that is not there"
    );
}

#[test]
fn crates_use_only_what_they_may() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let wrong: Vec<String> = edges(&metadata())
        .into_iter()
        .filter(|edge| {
            let to = edge.to.as_str();
            let may = allowed[edge.from.as_str()].contains(&to);
            !(may || edge.for_tests && TESTS_MAY_USE.contains(&to))
        })
        .map(|edge| {
            format!("{} uses {}{}", edge.from, edge.to, if edge.for_tests { " in tests" } else { "" })
        })
        .collect();
    assert!(wrong.is_empty(), "not allowed: {}", wrong.join(", "));
}

#[test]
fn the_document_says_what_this_test_says() {
    let document = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let mut written: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in document.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if let [name, .., may_use] = cells.as_slice() {
            let names =
                may_use.split(',').map(|name| name.trim().trim_matches('`')).filter(|name| *name != "–");
            written.insert(name.trim_matches('`').to_owned(), names.map(str::to_owned).collect());
        }
    }
    for (name, may_use) in MAY_USE {
        let line =
            written.get(*name).unwrap_or_else(|| panic!("docs/ARCHITECTURE.md has no line for {name}"));
        let expected: BTreeSet<String> = match *name {
            "convault" => BTreeSet::from(["all".to_owned()]),
            _ => may_use.iter().map(|name| (*name).to_owned()).collect(),
        };
        assert_eq!(*line, expected, "docs/ARCHITECTURE.md differs from this test for {name}");
    }
}

#[test]
fn core_does_no_input_and_output() {
    let metadata = metadata();
    let core =
        list(&metadata, "packages").iter().find(|package| text(package, "name") == "convault-core").unwrap();
    let used = list(core, "dependencies").iter().filter(|dependency| dependency["kind"].is_null());
    let wrong: Vec<&str> =
        used.map(|dependency| text(dependency, "name")).filter(|name| NOT_IN_CORE.contains(name)).collect();
    assert!(wrong.is_empty(), "core may not use {}", wrong.join(", "));
}

#[test]
fn the_cron_library_is_named_in_one_file() {
    let root = root();
    let named: Vec<PathBuf> = rust_files(&root.join("crates"))
        .into_iter()
        .filter(|file| fs::read_to_string(file).unwrap().contains("tokio_cron_scheduler"))
        .map(|file| file.strip_prefix(&root).unwrap().to_owned())
        .collect();
    assert_eq!(named, [Path::new(TRIGGER)]);
}

#[test]
fn every_crate_says_what_it_is_for_and_takes_the_lints_of_the_workspace() {
    for (name, _) in MAY_USE {
        let folder = root().join("crates").join(name);
        let library = folder.join("src/lib.rs");
        let first = if library.is_file() { library } else { folder.join("src/main.rs") };
        let source = fs::read_to_string(&first).unwrap();
        assert!(source.starts_with("//! "), "{} does not begin with what the crate is for", first.display());
        let manifest: String = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{name} does not take the lints of the workspace"
        );
    }
}
