//! Pending scheduled functions and crons.

use convault_core::{Surrounding as _, SurroundingErrorKind, SurroundingKind};
use convault_exporter::ScheduledFunctions;
use convault_simulator::{Database, Value};

use crate::taker::{Taker, collect, deployment, name};

const DUE: i64 = 1_795_312_183_291_579_600;

fn database() -> Database {
    let mut database = Database::new(1);
    database.schedule(
        "",
        "messages.js:send",
        r#"[{"to":"hunter2","n":1.0,"big":9007199254740993}]"#,
        false,
        DUE,
        1.5,
    );
    database.schedule("", "messages.js:later", "[{}]", false, DUE + 2, 1.5);
    database.schedule("", "mail.js:large", r#"[{"body":"large"}]"#, true, DUE + 1, 1.5);
    database.schedule("outer/inner", "jobs.js:run", "[]", false, DUE, 2.5);
    let hourly = Value::object([("type", "interval".into()), ("seconds", Value::Int64(3600))]);
    database.add_cron("", "sweep", "messages.js:sweep", r#"[{"limit":10.0}]"#, hourly, 3.5);
    database
}

async fn collected(database: Database, faults: &[&str]) -> Taker {
    let (_simulator, settings) = deployment(database, faults).await;
    collect(&ScheduledFunctions::new(name("scheduled-functions"), settings)).await.unwrap()
}

#[tokio::test]
async fn what_is_pending_is_there_with_its_arguments_in_order_of_time() {
    let taken = collected(database(), &[]).await;
    let inner = "_components/outer/_components/inner";
    assert_eq!(
        taken.names(),
        [
            format!("{inner}/crons.jsonl"),
            format!("{inner}/pending.jsonl"),
            "_components/outer/crons.jsonl".to_owned(),
            "_components/outer/pending.jsonl".to_owned(),
            "crons.jsonl".to_owned(),
            "pending.jsonl".to_owned(),
        ]
    );
    let lines: Vec<&str> = taken.text("pending.jsonl").lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].contains(r#""args":[{"to":"hunter2","n":1.0,"big":9007199254740993}]"#), "{}", lines[0]);
    assert!(lines[0].contains(r#""nextTs":{"$integer":"#) && !lines[0].contains("udfArgs"), "{}", lines[0]);
    assert!(lines[1].contains(r#""args":[{"body":"large"}]"#) && lines[1].contains("argsId"), "{}", lines[1]);
    assert!(lines[2].contains("messages.js:later"), "{}", lines[2]);
    assert_eq!(taken.text(&format!("{inner}/pending.jsonl")).lines().count(), 1);
    assert_eq!(taken.text("_components/outer/pending.jsonl"), "");
}

#[tokio::test]
async fn crons_are_there_with_their_schedule_and_arguments() {
    let taken = collected(database(), &[]).await;
    let crons = taken.text("crons.jsonl");
    assert_eq!(crons.lines().count(), 1);
    assert!(
        crons.contains(r#""args":[{"limit":10.0}]"#) && crons.contains(r#""type":"interval""#),
        "{crons}"
    );
    assert!(taken.values.is_empty() && taken.not_covered.is_empty());
}

#[tokio::test]
async fn many_are_read_page_by_page_and_never_held_whole() {
    let mut database = Database::new(1);
    for number in 0..2500 {
        database.schedule("", "messages.js:send", &format!("[{number}.0]"), false, DUE + number, 1.5);
    }
    let taken = collected(database, &["short-pages"]).await;
    let pending = &taken.entries["pending.jsonl"];
    let lines: Vec<&str> = std::str::from_utf8(&pending.bytes).unwrap().lines().collect();
    assert_eq!(lines.len(), 2500);
    for (number, line) in lines.iter().enumerate() {
        assert!(line.contains(&format!(r#""args":[{number}.0]"#)), "{line}");
    }
    assert!(pending.largest_write < 1000);
}

#[tokio::test]
async fn a_key_that_may_not_view_data_is_told_so() {
    let (_simulator, settings) = deployment(database(), &["limited-key=ViewBackups"]).await;
    let functions = ScheduledFunctions::new(name("scheduled-functions"), settings);
    assert_eq!(functions.kind(), SurroundingKind::State);
    let error = collect(&functions).await.unwrap_err();
    assert_eq!(error.kind, SurroundingErrorKind::Permission);
    assert!(error.message.contains("the key lacks the permission `deployment:data:view`"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_busy_for_a_moment_is_asked_again() {
    let taken = collected(database(), &["poll-503=2"]).await;
    assert_eq!(taken.text("pending.jsonl").lines().count(), 3);
}
