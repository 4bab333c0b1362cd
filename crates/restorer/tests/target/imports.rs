//! Uploads, and the imports that they become: each once, whatever is lost on the way.

use bytes::Bytes;
use convault_core::{ImportKind, ImportMode, ImportRequest, ImportStatus, Target as _, TargetErrorKind};
use convault_simulator::{Fault, FaultKind};

use crate::bench::{Bench, PART_BYTES, crm_zip, exported, request};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_imported_is_exported_again_byte_for_byte() {
    let zip = crm_zip().await;
    let bench = Bench::empty(&["import-stays-uploaded=3"]).await;
    let id = bench.prepare(&zip, ImportMode::RequireEmpty).await.unwrap();
    let ImportStatus::WaitingForConfirmation { message, deletes } = bench.target.import(&id).await.unwrap()
    else {
        panic!("it does not wait");
    };
    assert!(message.lines().any(|line| line.starts_with("contacts ")), "{message}");
    assert!(!deletes);
    assert_eq!(bench.simulator.counters().writes.total(), 0);
    bench.target.confirm(&id).await.unwrap();
    bench.target.confirm(&id).await.unwrap();
    let ImportStatus::Completed { documents } = bench.ended(&id).await else { panic!("it failed") };
    assert_eq!(documents, u64::try_from(bench.simulator.snapshot().document_count()).unwrap());
    assert_eq!(bench.simulator.counters().writes.imports, 1);
    assert!(exported(&bench.simulator).await == zip, "another ZIP came back");
    bench.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_whose_fate_is_unknown_spoils_the_upload_and_is_not_sent_again() {
    let zip = crm_zip().await;
    let bench = Bench::empty(&["upload-part-503=1"]).await;
    let mut upload = bench.target.begin_upload().await.unwrap();
    let part = Bytes::copy_from_slice(&zip[..PART_BYTES]);
    let error = upload.send(part.clone()).await.unwrap_err();
    assert_eq!(error.kind, TargetErrorKind::Unknown);
    assert!(error.to_string().contains("a new upload has to be begun"), "{error}");
    assert_eq!(upload.send(part).await.unwrap_err().kind, TargetErrorKind::Unknown);
    let error = upload.finish(&request(ImportMode::RequireEmpty)).await.unwrap_err();
    assert_eq!(error.kind, TargetErrorKind::Unknown);
    assert_eq!(bench.requests("POST /api/import/upload_part"), 1);
    assert_eq!(bench.requests("POST /api/import/finish_upload"), 0);
    let id = bench.prepare(&zip, ImportMode::RequireEmpty).await.unwrap();
    bench.target.confirm(&id).await.unwrap();
    assert!(matches!(bench.ended(&id).await, ImportStatus::Completed { .. }));
    bench.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_whose_answer_was_lost_is_found_and_not_made_twice() {
    let zip = crm_zip().await;
    let bench = Bench::empty(&[]).await;
    let earlier = bench.prepare(&zip, ImportMode::RequireEmpty).await.unwrap();
    let lines = ImportRequest {
        mode: ImportMode::Append,
        kind: ImportKind::JsonLines { component: "waitlist".to_owned(), table: "entries".to_owned() },
    };
    for wanted in [request(ImportMode::RequireEmpty), lines] {
        bench.simulator.set_fault(Fault::with(FaultKind::FinishUploadLostAnswer, 1));
        let before = bench.requests("POST /api/import/finish_upload");
        let mut upload = bench.target.begin_upload().await.unwrap();
        upload.send(Bytes::copy_from_slice(&zip)).await.unwrap();
        let id = upload.finish(&wanted).await.unwrap();
        assert_ne!(id, earlier);
        assert_eq!(bench.requests("POST /api/import/finish_upload"), before + 1);
    }
    bench.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_fails_says_why_and_leaves_what_was_there() {
    let zip = crm_zip().await;
    let bench = Bench::crm(&["import-fails=1"]).await;
    let before = bench.simulator.snapshot().document_count();
    let id = bench.prepare(&zip, ImportMode::ReplaceAll).await.unwrap();
    let status = bench.target.import(&id).await.unwrap();
    assert!(matches!(status, ImportStatus::WaitingForConfirmation { deletes: true, .. }), "{status:?}");
    bench.target.confirm(&id).await.unwrap();
    let ImportStatus::Failed { message } = bench.ended(&id).await else { panic!("it did not fail") };
    assert!(message.contains("asked to fail"), "{message}");
    assert_eq!(bench.simulator.snapshot().document_count(), before);
    bench.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_deployment_refuses_before_it_is_confirmed_and_nothing_is_written() {
    let zip = crm_zip().await;
    let bench = Bench::crm(&[]).await;
    let id = bench.prepare(&zip, ImportMode::RequireEmpty).await.unwrap();
    let ImportStatus::Failed { message } = bench.target.import(&id).await.unwrap() else {
        panic!("it waits")
    };
    assert!(message.contains("already exists"), "{message}");
    assert_eq!(bench.simulator.counters().writes.total(), 0);
    bench.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_is_cancelled_and_cancelling_it_again_is_no_error() {
    let zip = crm_zip().await;
    let bench = Bench::empty(&[]).await;
    let id = bench.prepare(&zip, ImportMode::RequireEmpty).await.unwrap();
    bench.target.cancel(&id).await.unwrap();
    bench.target.cancel(&id).await.unwrap();
    let status = bench.target.import(&id).await.unwrap();
    assert!(matches!(status, ImportStatus::Failed { .. }), "{status:?}");
    assert_eq!(bench.simulator.counters().writes.total(), 0);
    bench.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_not_there_is_named() {
    let bench = Bench::empty(&[]).await;
    let id = convault_core::ImportId("kg2000820c20a1g7104gm2rc1m70y674".to_owned());
    let error = bench.target.import(&id).await.unwrap_err();
    assert!(error.to_string().contains("has no import `kg2000820c"), "{error}");
    bench.simulator.stop().await;
}
