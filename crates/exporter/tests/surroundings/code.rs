//! Deployed code and configuration.

use convault_core::{SurroundingErrorKind, SurroundingName};
use convault_exporter::{Code, DeploymentSettings};
use convault_simulator::{Database, Module};
use serde_json::json;

use crate::taker::{Taker, collect, deployment, name};

fn module(path: &str, source: &str, source_map: Option<&str>) -> Module {
    Module {
        path: path.to_owned(),
        source: source.to_owned(),
        source_map: source_map.map(str::to_owned),
        environment: if path.starts_with("actions") { "node" } else { "isolate" }.to_owned(),
    }
}

const SOURCE: &str = "export const key = \"hunter2\";\n// é 🙂 \\ \u{1}\n";

fn database() -> Database {
    let mut database = Database::new(1);
    let deployed = database.deployed_mut("", 1.5);
    deployed.modules = vec![
        module("messages.js", SOURCE, Some("{\"version\":3,\"sources\":[\"../messages.ts\"]}")),
        module("actions/send.js", "", None),
    ];
    deployed.schema = Some(r#"{"tables":[],"schemaValidation":true}"#.to_owned());
    deployed.indexes = vec![json!({ "table": "messages", "name": "by_author", "fields": ["author"] })];
    database.deployed_mut("waitlist", 2.5).schema = Some("{}".to_owned());
    database.auth_providers = vec![("https://login.example.com".to_owned(), "convex".to_owned())];
    database
}

fn code(settings: DeploymentSettings, has_repository: bool) -> Code {
    let name: SurroundingName = name("code");
    Code::new(name, settings, has_repository)
}

async fn collected(faults: &[&str], has_repository: bool) -> Taker {
    let (_simulator, settings) = deployment(database(), faults).await;
    collect(&code(settings, has_repository)).await.unwrap()
}

#[tokio::test]
async fn modules_come_out_as_they_were_pushed_with_all_that_is_known_of_them() {
    let taken = collected(&[], true).await;
    assert_eq!(
        taken.names(),
        [
            "_components/waitlist/functions.json",
            "_components/waitlist/indexes.json",
            "_components/waitlist/schema.json",
            "auth.json",
            "components.json",
            "config.json",
            "functions.json",
            "hashes.json",
            "indexes.json",
            "modules.json",
            "modules/actions/send.js",
            "modules/messages.js",
            "modules/messages.js.map",
            "schema.json",
            "urls.json",
            "version.json",
        ]
    );
    assert_eq!(taken.text("modules/messages.js"), SOURCE);
    assert_eq!(taken.json("modules/messages.js.map")["version"], 3);
    assert_eq!(taken.text("modules/actions/send.js"), "");
    assert_eq!(
        taken.json("modules.json")[1],
        json!({ "path": "actions/send.js", "environment": "node", "entry": "modules/actions/send.js" })
    );
    assert_eq!(taken.json("config.json")["modules"], json!([]));
    assert_eq!(taken.json("config.json")["config"]["functions"], "convex/");
    assert_eq!(taken.json("schema.json")["schemaValidation"], true);
    assert_eq!(taken.json("indexes.json")["indexes"][0]["name"], "by_author");
    assert_eq!(taken.json("hashes.json")["moduleHashes"][0]["path"], "messages.js");
    assert_eq!(taken.json("auth.json")[0]["domain"], "https://login.example.com");
    assert_eq!(taken.json("components.json")[1]["path"], "waitlist");
    assert!(taken.not_covered.is_empty(), "{:?}", taken.not_covered);
}

#[tokio::test]
async fn without_a_repository_it_is_said_that_this_cannot_be_pushed_back() {
    assert_eq!(
        collected(&[], false).await.gaps(),
        [
            "code of components: the server gives the modules of the root component only",
            "code: only bundled output; cannot be pushed back",
        ]
    );
}

#[tokio::test]
async fn a_key_that_may_not_deploy_stores_the_rest_and_one_line() {
    let taken = collected(&["limited-key=ViewData"], true).await;
    assert_eq!(
        taken.gaps(),
        [
            "code: modules with source maps, configuration and hashes: cannot read the modules: the key lacks the \
          permission `deployment:deploy`; make a deploy key that has it"
        ]
    );
    assert!(taken.entries.contains_key("schema.json") && !taken.entries.contains_key("modules.json"));
}

#[tokio::test]
async fn a_key_that_may_only_deploy_stores_the_modules_and_one_line() {
    let taken = collected(&["limited-key=Deploy"], true).await;
    assert_eq!(taken.gaps().len(), 1, "{:?}", taken.gaps());
    assert!(taken.gaps()[0].contains("`deployment:data:view`"), "{:?}", taken.gaps());
    assert_eq!(taken.text("modules/messages.js"), SOURCE);
}

#[tokio::test]
async fn a_key_that_may_neither_is_a_failure() {
    let (_simulator, settings) = deployment(database(), &["limited-key=ViewBackups"]).await;
    let error = collect(&code(settings, true)).await.unwrap_err();
    assert_eq!(error.kind, SurroundingErrorKind::Permission);
}

#[tokio::test]
async fn an_old_server_leaves_out_what_it_does_not_know() {
    let taken = collected(&["old-server"], true).await;
    assert_eq!(taken.gaps().len(), 1, "{:?}", taken.gaps());
    assert!(taken.gaps()[0].starts_with("code: urls.json: it cannot be read"), "{:?}", taken.gaps());
}

#[tokio::test]
async fn many_large_modules_pass_in_pieces() {
    let mut database = Database::new(1);
    let source = "\"\\\n".repeat(400_000);
    let modules = (0..12).map(|number| module(&format!("m{number}.js"), &source, Some(&source)));
    database.deployed_mut("", 1.5).modules = modules.collect();
    let (_simulator, settings) = deployment(database, &[]).await;
    let taken = collect(&code(settings, true)).await.unwrap();
    for number in 0..12 {
        for entry in [format!("modules/m{number}.js"), format!("modules/m{number}.js.map")] {
            assert_eq!(taken.text(&entry), source);
            assert!(taken.entries[&entry].largest_write < 1 << 20);
        }
    }
}
