//! A deployment's environment variables, read and changed.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like the tests")]

use std::error::Error;

use convault_convex_client::{ConnectionSettings, Url};
use convault_core::{DeploymentName, Environment, EnvironmentChange, Secret, SurroundingErrorKind};
use convault_restorer::{DeploymentEnvironment, TargetSettings};
use convault_simulator::{Data, Database, Fault, RunningSimulator, Simulator, SimulatorConfig};

const KEY: &str = "rainy-otter-123|0123456789abcdef0123";

async fn deployment(faults: &[&str]) -> (RunningSimulator, DeploymentEnvironment) {
    let mut database = Database::new(1);
    database.set_environment_variable("OLD", Some("hunter2-old".to_owned()), 1.5);
    database.set_environment_variable("KEPT", Some("hunter2\nkept".to_owned()), 1.5);
    let config = SimulatorConfig {
        data: Data::Database(Box::new(database)),
        faults: faults.iter().map(|fault| fault.parse::<Fault>().unwrap()).collect(),
        ..SimulatorConfig::new(Secret::new(KEY))
    };
    let simulator = Simulator::start(config).await.unwrap();
    let environment = environment(&simulator.url());
    (simulator, environment)
}

fn environment(url: &str) -> DeploymentEnvironment {
    DeploymentEnvironment::new(TargetSettings {
        deployment: DeploymentName::new("crm").unwrap(),
        url: Some(Url::parse(url).unwrap()),
        key: Secret::new(KEY),
        provision_url: None,
        connection: ConnectionSettings::default(),
    })
}

fn change(name: &str, value: Option<&str>) -> EnvironmentChange {
    EnvironmentChange { name: name.to_owned(), value: value.map(Secret::new) }
}

async fn values(environment: &DeploymentEnvironment) -> Vec<(String, String)> {
    let variables = environment.read().await.unwrap();
    assert!(!format!("{variables:?} {environment:?}").contains("hunter2"));
    variables.into_iter().map(|(name, value)| (name, value.expose().to_owned())).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn changes_are_made_and_read_back() {
    let (_simulator, environment) = deployment(&[]).await;
    assert_eq!(environment.deployment().as_str(), "crm");
    assert_eq!(values(&environment).await, pairs(&[("KEPT", "hunter2\nkept"), ("OLD", "hunter2-old")]));
    let changes = [change("OLD", None), change("NEW", Some("hunter2 \"$x\"\n漢字"))];
    environment.write(&changes).await.unwrap();
    environment.write(&changes).await.unwrap();
    let expected = [("KEPT", "hunter2\nkept"), ("NEW", "hunter2 \"$x\"\n漢字")];
    assert_eq!(values(&environment).await, pairs(&expected));
}

#[tokio::test]
async fn one_change_that_is_refused_leaves_all_as_it_was() {
    let (_simulator, environment) = deployment(&[]).await;
    let too_long = "hunter2".repeat(2000);
    let changes = [change("NEW", Some("hunter2")), change("LONG", Some(&too_long))];
    let error = environment.write(&changes).await.unwrap_err();
    assert_eq!(error.kind, SurroundingErrorKind::Other);
    let words = format!("{error} {error:?} {}", error.source().unwrap());
    assert!(words.contains("EnvironmentVariableValueTooLarge") && !words.contains("hunter2"), "{words}");
    assert_eq!(values(&environment).await.len(), 2);
}

#[tokio::test]
async fn a_key_that_may_not_is_told_the_permission() {
    let (_simulator, environment) = deployment(&["limited-key=ViewEnvironmentVariables"]).await;
    assert_eq!(values(&environment).await.len(), 2);
    let error = environment.write(&[change("NEW", Some("hunter2"))]).await.unwrap_err();
    assert_eq!(error.kind, SurroundingErrorKind::Permission);
    assert!(error.message.contains("`deployment:env:write`") && error.message.contains("of crm"), "{error}");
    let (_simulator, environment) = deployment(&["limited-key=ViewData"]).await;
    let error = environment.read().await.unwrap_err();
    assert!(error.message.contains("`deployment:env:view`"), "{error}");
}

#[tokio::test]
async fn a_deployment_that_is_busy_for_a_moment_is_asked_again() {
    let (_simulator, environment) = deployment(&["poll-503=1"]).await;
    assert_eq!(values(&environment).await.len(), 2);
}

#[tokio::test]
async fn an_old_server_is_reached_without_the_newer_routes() {
    let (_simulator, environment) = deployment(&["old-server"]).await;
    environment.write(&[change("NEW", Some("hunter2"))]).await.unwrap();
    assert_eq!(values(&environment).await.len(), 3);
}

#[tokio::test]
async fn a_refused_key_shows_nowhere() {
    let (_simulator, environment) = deployment(&["bad-key"]).await;
    let error = environment.read().await.unwrap_err();
    assert_eq!(error.kind, SurroundingErrorKind::Permission);
    assert!(!format!("{error:?}").contains("0123456789abcdef0123"));
}
