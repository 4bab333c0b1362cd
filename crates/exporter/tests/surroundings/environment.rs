//! Environment variables of a deployment.

use convault_core::{Surrounding as _, SurroundingErrorKind, SurroundingKind};
use convault_exporter::EnvironmentVariables;
use convault_simulator::Database;

use crate::taker::{collect, deployment, name};

const PEM: &str = "-----BEGIN KEY-----\nhunter2$HOME \"quoted\" \\n 'single'\n-----END KEY-----\n";

fn database() -> Database {
    let mut database = Database::new(1);
    for (name, value) in
        [("PEM", PEM), ("STRIPE_KEY", "hunter2-live"), ("EMPTY", ""), ("UNI", "hunter2 漢字 🙂")]
    {
        database.set_environment_variable(name, Some(value.to_owned()), 1.5);
    }
    database.ensure_component("waitlist", 2.5);
    database
}

#[tokio::test]
async fn every_variable_is_there_exactly_in_both_forms_and_as_a_value() {
    let (_simulator, settings) = deployment(database(), &[]).await;
    let environment = EnvironmentVariables::new(name("environment"), settings);
    assert_eq!(environment.kind(), SurroundingKind::Secrets);
    let taken = collect(&environment).await.unwrap();
    assert_eq!(taken.names(), ["components.json", "variables.env", "variables.json"]);
    let json = taken.json("variables.json");
    assert_eq!(json["PEM"], PEM);
    assert_eq!(json["UNI"], "hunter2 漢字 🙂");
    assert_eq!(json.as_object().unwrap().len(), 4);
    assert_eq!(
        taken.text("variables.env"),
        format!("EMPTY=''\nPEM=`{PEM}`\nSTRIPE_KEY='hunter2-live'\nUNI='hunter2 漢字 🙂'\n")
    );
    assert_eq!(taken.values["PEM"], PEM);
    assert_eq!(taken.values.len(), 4);
    assert_eq!(taken.json("components.json")[1]["path"], "waitlist");
    assert!(taken.not_covered.is_empty(), "{:?}", taken.not_covered);
}

#[tokio::test]
async fn a_key_that_may_not_read_them_is_told_the_permission() {
    let (_simulator, settings) = deployment(database(), &["limited-key=ViewData"]).await;
    let error = collect(&EnvironmentVariables::new(name("environment"), settings)).await.unwrap_err();
    assert_eq!(error.kind, SurroundingErrorKind::Permission);
    assert_eq!(
        error.to_string(),
        "surroundings `environment`: cannot read the environment variables: the key lacks the permission \
         `deployment:env:view`; make a deploy key that has it"
    );
}

#[tokio::test]
async fn a_key_that_may_not_list_components_reads_the_variables_all_the_same() {
    let (_simulator, settings) = deployment(database(), &["limited-key=ViewEnvironmentVariables"]).await;
    let taken = collect(&EnvironmentVariables::new(name("environment"), settings)).await.unwrap();
    assert_eq!(taken.values.len(), 4);
    assert_eq!(
        taken.gaps(),
        [
            "which environment variables each component is given: cannot list the components: the key lacks the permission \
          `deployment:data:view`; make a deploy key that has it"
        ]
    );
}

#[tokio::test]
async fn an_old_server_is_asked_without_the_newer_routes() {
    let (_simulator, settings) = deployment(database(), &["old-server"]).await;
    let taken = collect(&EnvironmentVariables::new(name("environment"), settings)).await.unwrap();
    assert_eq!(taken.values.len(), 4);
}

#[tokio::test]
async fn a_deployment_that_says_nothing_is_not_waited_for_for_ever() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = crate::taker::settings(&format!("http://{}", listener.local_addr().unwrap()));
    settings.connection.request_timeout = std::time::Duration::from_millis(100);
    let error = collect(&EnvironmentVariables::new(name("environment"), settings)).await.unwrap_err();
    assert_eq!(error.kind, SurroundingErrorKind::Transient);
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("was silent for 0.1 s"), "{cause}");
}

#[tokio::test]
async fn a_deployment_that_is_not_there_is_a_transient_failure() {
    let settings = crate::taker::settings("http://127.0.0.1:1");
    let error = collect(&EnvironmentVariables::new(name("environment"), settings)).await.unwrap_err();
    assert_eq!(error.kind, SurroundingErrorKind::Transient);
}

const AWKWARD: [&str; 16] = [
    " spaces around ",
    "two\nlines",
    "it's",
    "say \"it's\"",
    "\"quoted\"",
    "'quoted'",
    "it's \"all\"\nquotes\n'",
    "$HOME ${PATH} $(date)",
    "back\\slash \\n stays",
    "C:\\\\share\\",
    "ends in a backslash\\",
    "# no comment",
    "a # b",
    "it's windows\r\nlines",
    "{\"it's\":\"json\\n\"}",
    "üñí 漢字 🙂 \u{feff}",
];

/// Reads `path` with npm's dotenv; `None` where that is not installed.
fn read_by_npm(path: &std::path::Path) -> Option<serde_json::Value> {
    let script = "const dotenv = require('dotenv');\
                  const text = require('fs').readFileSync(process.argv[1]);\
                  console.log(JSON.stringify(dotenv.parse(text)));";
    let output = std::process::Command::new("node").args(["-e", script]).arg(path).output().ok()?;
    output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
}

#[tokio::test]
async fn a_stock_parser_reads_back_what_was_written() {
    let mut database = database();
    for (number, value) in AWKWARD.into_iter().enumerate() {
        database.set_environment_variable(&format!("AWKWARD_{number}"), Some(value.to_owned()), 1.5);
    }
    let (_simulator, settings) = deployment(database, &[]).await;
    let taken = collect(&EnvironmentVariables::new(name("environment"), settings)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("variables.env");
    std::fs::write(&path, &taken.entries["variables.env"].bytes).unwrap();
    if let Some(read) = read_by_npm(&path) {
        assert_eq!(read, taken.json("variables.json"));
    }
}
