//! Making and deleting deployments, once each whatever is lost on the way.

use convault_convex_client::{ConnectionSettings, Url};
use convault_core::{NewDeployment, Platform as _, Secret, Target as _, TargetErrorKind};
use convault_restorer::{ManagementPlatform, PlatformSettings};
use convault_simulator::{Fault, PlatformConfig, PlatformServer, RunningPlatform};
use jiff::{SignedDuration, Timestamp};

use crate::bench::target;

const TOKEN: &str = "made-up-token-0123456789";
const PROJECT: u64 = 7;

async fn platform(faults: &[&str]) -> (RunningPlatform, ManagementPlatform) {
    let config = PlatformConfig {
        faults: faults.iter().map(|fault| fault.parse::<Fault>().unwrap()).collect(),
        ..PlatformConfig::new(Secret::new(TOKEN), PROJECT)
    };
    let server = PlatformServer::start(config).await.unwrap();
    let platform = management(&server, TOKEN, PROJECT);
    (server, platform)
}

fn management(server: &RunningPlatform, token: &str, project: u64) -> ManagementPlatform {
    ManagementPlatform::new(&PlatformSettings {
        project,
        token: Secret::new(token),
        url: Some(Url::parse(&server.url()).unwrap()),
        connection: ConnectionSettings::default(),
    })
    .unwrap()
}

fn in_an_hour() -> Timestamp {
    convault_core::Clock::now(&convault_core::SystemClock) + SignedDuration::from_hours(1)
}

fn wanted(reference: &str) -> NewDeployment {
    NewDeployment { reference: reference.to_owned(), expires: in_an_hour() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_made_used_with_a_limited_key_and_deleted() {
    let (server, platform) = platform(&[]).await;
    let made = platform.create(&wanted("drill/crm-1")).await.unwrap();
    assert_eq!(made.reference.as_deref(), Some("drill/crm-1"));
    assert_eq!(platform.list().await.unwrap(), std::slice::from_ref(&made));
    let actions = ["deployment:backups:view", "deployment:data:view"];
    let key = platform.create_key(&made.name, "drill", &actions, in_an_hour()).await.unwrap();
    assert!(key.expose().starts_with(&format!("dev:{}|", made.name)));
    let target = target(&made.url, key.expose());
    let identity = target.identity().await.unwrap();
    assert_eq!((identity.instance, identity.deployment_type.as_deref()), (made.name.clone(), Some("dev")));
    assert!(identity.number.is_some() && target.contents().await.unwrap().is_empty());
    assert_eq!(target.missing_permissions(false).await.unwrap().len(), 1);
    assert_eq!(target.begin_upload().await.err().unwrap().kind, TargetErrorKind::Permission);
    platform.delete(&made.name).await.unwrap();
    platform.delete(&made.name).await.unwrap();
    assert!(platform.list().await.unwrap().is_empty());
    assert!(target.identity().await.is_err());
    assert_eq!((server.counters().created, server.counters().deleted), (1, 1));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_whose_answer_was_lost_is_found_by_its_reference_and_not_made_twice() {
    let (server, platform) = platform(&["create-deployment-lost-answer=1"]).await;
    let made = platform.create(&wanted("drill/crm-2")).await.unwrap();
    assert_eq!((server.deployments(), server.counters().created), (vec![made.name], 1));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_was_not_made_is_asked_for_again() {
    let (server, platform) = platform(&["create-deployment-500=2"]).await;
    platform.create(&wanted("drill/crm-3")).await.unwrap();
    assert_eq!(server.counters().created, 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_answer_was_lost_is_revoked_before_another_is_made() {
    let (server, platform) = platform(&["create-deploy-key-lost-answer=1"]).await;
    let made = platform.create(&wanted("drill/crm-4")).await.unwrap();
    let actions = ["deployment:backups:import", "deployment:backups:view", "deployment:data:view"];
    let key = platform.create_key(&made.name, "drill", &actions, in_an_hour()).await.unwrap();
    assert_eq!(server.counters().keys, 2);
    let target = target(&made.url, key.expose());
    assert!(target.missing_permissions(false).await.unwrap().is_empty());
    assert!(target.begin_upload().await.is_ok());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_fails_once_is_repeated() {
    let (server, platform) = platform(&["delete-deployment-500=1"]).await;
    let made = platform.create(&wanted("drill/crm-5")).await.unwrap();
    platform.delete(&made.name).await.unwrap();
    assert!(server.deployments().is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_platform_refuses_is_refused_once_and_says_what_to_do() {
    let (server, platform) = platform(&[]).await;
    let soon = convault_core::Clock::now(&convault_core::SystemClock) + SignedDuration::from_mins(5);
    let refused =
        platform.create(&NewDeployment { reference: "drill/x".to_owned(), expires: soon }).await.unwrap_err();
    let cause = std::error::Error::source(&refused).unwrap().to_string();
    assert!(!refused.is_transient && cause.contains("30 minutes"), "{refused}: {cause}");
    let error = management(&server, "wrong-token-9876", PROJECT).list().await.unwrap_err();
    assert!(error.to_string().contains("the token is refused"), "{error}");
    assert!(!format!("{error} {error:?}").contains("wrong-token"), "{error:?}");
    let error = management(&server, TOKEN, 8).list().await.unwrap_err();
    assert!(error.to_string().contains("check the project's number"), "{error}");
    assert!(server.deployments().is_empty());
    server.stop().await;
}
