//! What a deployment is asked: who it is, what the key may do, what it holds, and its own functions.

use convault_core::{Target as _, TargetErrorKind};

use crate::bench::{Bench, KEY, target};

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_says_who_it_is() {
    let bench = Bench::empty(&[]).await;
    let identity = bench.target.identity().await.unwrap();
    assert_eq!(identity.instance, "rainy-otter-123");
    assert_eq!((identity.number, identity.deployment_type.as_deref()), (None, None));
    assert_eq!((identity.url, identity.server_version), (bench.simulator.url(), "unknown".to_owned()));
    bench.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_of_every_component_is_counted_while_the_server_starts() {
    let bench = Bench::crm(&["counts-unavailable=2", "short-pages"]).await;
    let contents = bench.target.contents().await.unwrap();
    let held = bench.simulator.snapshot();
    for (path, component) in held.components() {
        let counted = &contents.components[path];
        let tables: Vec<(&str, u64)> =
            component.tables().map(|(name, table)| (name, table.documents.len() as u64)).collect();
        let seen: Vec<(&str, u64)> = counted.tables.iter().map(|(name, count)| (&**name, *count)).collect();
        assert_eq!(seen, tables);
        assert_eq!(counted.files, component.files().len() as u64);
    }
    assert!(contents.components[""].tables["archivedContacts"] == 0 && !contents.is_empty());
    bench.simulator.stop().await;
    let empty = Bench::empty(&[]).await;
    assert!(empty.target.contents().await.unwrap().is_empty());
    empty.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_key_may_not_do_is_named_beforehand_and_where_it_fails() {
    let bench = Bench::crm(&["limited-key=ViewBackups,ViewData"]).await;
    let lacks = bench.target.missing_permissions(true).await.unwrap();
    let expected = ["deployment:backups:import", "deployment:pause", "deployment:unpause"];
    assert!(
        lacks.len() == 3 && lacks.iter().zip(expected).all(|(lack, name)| lack.contains(name)),
        "{lacks:?}"
    );
    let error = bench.target.begin_upload().await.err().unwrap();
    assert_eq!(error.kind, TargetErrorKind::Permission);
    assert!(
        error.to_string().contains("`deployment:backups:import`; give a deploy key that has it"),
        "{error}"
    );
    let error = bench.target.delete_files("", &file_ids(&bench)[..1]).await.unwrap_err();
    assert_eq!(error.kind, TargetErrorKind::Permission);
    assert!(error.to_string().contains("`deployment:data:write`"), "{error}");
    bench.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_named_and_never_shown() {
    let bench = Bench::empty(&[]).await;
    let wrong = "rainy-otter-123|fedcba98765432100000";
    let error = target(&bench.simulator.url(), wrong).contents().await.unwrap_err();
    assert_eq!(error.kind, TargetErrorKind::Key);
    let shown = format!("{error} {error:?} {:?}", target(&bench.simulator.url(), KEY));
    assert!(!shown.contains("fedcba98") && !shown.contains("0123456789abcdef"), "{shown}");
    bench.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_paused_and_unpaused_and_twice_is_as_good_as_once() {
    let bench = Bench::empty(&[]).await;
    assert!(!bench.target.is_paused().await.unwrap());
    bench.target.pause().await.unwrap();
    bench.target.pause().await.unwrap();
    assert!(bench.target.is_paused().await.unwrap());
    bench.target.unpause().await.unwrap();
    bench.target.unpause().await.unwrap();
    assert!(!bench.target.is_paused().await.unwrap());
    assert_eq!(bench.simulator.counters().writes.pauses, 3);
    bench.simulator.stop().await;
}

fn file_ids(bench: &Bench) -> Vec<String> {
    bench.simulator.snapshot().component("").unwrap().files().keys().map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_files_are_deleted_and_those_that_are_not_there_are_passed_over() {
    let bench = Bench::crm(&["poll-503=1"]).await;
    let before = file_ids(&bench);
    assert!(before.len() > 2);
    bench.target.delete_files("", &before[..1]).await.unwrap();
    bench.target.delete_files("", &before[..2]).await.unwrap();
    assert_eq!(file_ids(&bench), before[2..]);
    assert_eq!(bench.simulator.counters().writes.mutations, 2);
    let error = bench.target.delete_files("nowhere", &before[2..]).await.unwrap_err();
    assert!(error.to_string().contains("no component `nowhere`"), "{error}");
    bench.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_own_functions_answer_as_json_and_fail_in_their_words() {
    let bench = Bench::crm(&[]).await;
    let count = bench.target.run_query("checks:count", r#"{"table":"contacts"}"#).await.unwrap();
    assert_eq!(count, "120.0");
    assert_eq!(bench.target.run_query("checks:ok", "{}").await.unwrap(), "true");
    let echo = r#"{"n":{"$integer":"BQAAAAAAAAA="}}"#;
    assert_eq!(bench.target.run_query("checks:echo", echo).await.unwrap(), echo);
    for (function, arguments, words) in [
        ("checks:fails", "{}", "always fails"),
        ("checks:absent", "{}", "Could not find function"),
        ("checks:ok", "{", ""),
    ] {
        let error = bench.target.run_query(function, arguments).await.unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(error.to_string().contains(function) && cause.contains(words), "{error}: {cause}");
        assert_eq!(error.kind, TargetErrorKind::Refused);
    }
    bench.target.pause().await.unwrap();
    let error = bench.target.run_query("checks:ok", "{}").await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("this deployment is paused"), "{cause}");
    bench.simulator.stop().await;
}
