//! Whatever fails before the safety snapshot is stored and read back: not one write reaches the target, and it serves its
//! users as before.

use convault_core::{Manifest, StoreErrorKind, Target as _, TargetErrorKind};
use convault_jobs::JobError;
use convault_simulator::{Data, Database};
use convault_uploader::{MemoryFault, MemoryOperation, MemoryStore};

use crate::{
    bench::{Deployed, Restoring, back_up, job, memory},
    failing::{Calls, FailingSource, FailingTarget, Planted, STEPS},
};

async fn live() -> (Deployed, MemoryStore, Manifest) {
    let live = Deployed::new("crm", Data::Database(Box::new(Database::crm(1))), &[]).await;
    let store = memory();
    let manifest = back_up(&job(&live.name), &live.source, &store).await;
    (live, store, manifest)
}

/// Nothing was written, and nobody is kept out.
async fn assert_untouched(live: &Deployed, what: &str) {
    assert_eq!(live.writes(), 0, "{what}");
    assert!(!live.target.is_paused().await.unwrap(), "{what}: it is still paused");
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_call_of_the_target_fails_before_the_confirmation_nothing_is_written() {
    let (live, store, manifest) = live().await;
    let run = async |calls: &Calls| {
        let target = FailingTarget { target: &live.target, calls: calls.clone() };
        let restoring =
            Restoring { target: &target, pause: true, ..Restoring::new(&store, &manifest, &live) };
        restoring.run().await
    };
    let sound = Calls::new(None);
    run(&sound).await.unwrap().imported.unwrap();
    let confirmation = sound.confirmation();
    assert!(confirmation > 6, "only {confirmation} calls up to the confirmation");
    for number in 1..=confirmation {
        for kind in [TargetErrorKind::Permission, TargetErrorKind::Unknown] {
            let before = live.writes();
            match run(&Calls::new(Some((number, Planted::Failure(kind))))).await {
                Err(error) => {
                    assert!(!matches!(error, JobError::Stopped), "{error}");
                    assert_eq!(live.writes(), before, "call {number}, {kind:?}: {error}");
                    assert!(!live.target.is_paused().await.unwrap(), "call {number}: it is still paused");
                }
                // Looking may be repeated, and an upload may begin again: such a restore goes on.
                Ok(done) => assert!(done.safety.is_some(), "call {number}, {kind:?}"),
            }
        }
    }
    live.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_step_of_the_source_fails_nothing_is_written_and_the_reason_is_told() {
    let (live, store, manifest) = live().await;
    for step in STEPS {
        let source = FailingSource { source: &live.source, step, stop: None };
        let restoring =
            Restoring { source: &source, pause: true, ..Restoring::new(&store, &manifest, &live) };
        let error = restoring.run().await.unwrap_err();
        assert!(matches!(error, JobError::Refused { .. }), "{step}: {error}");
        assert!(error.to_string().contains(&format!("{step} was asked to fail")), "{error}");
        assert_untouched(&live, step).await;
    }
    live.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_call_of_the_store_fails_during_the_safety_snapshot_nothing_is_written() {
    let (live, store, manifest) = live().await;
    let operations = [
        MemoryOperation::Put,
        MemoryOperation::Upload,
        MemoryOperation::PutPart,
        MemoryOperation::Finish,
        MemoryOperation::Get,
        MemoryOperation::Head,
        MemoryOperation::List,
    ];
    let mut failures = 0;
    for operation in operations {
        for nth in 1.. {
            let restoring = Restoring::new(&store, &manifest, &live);
            restoring.safety_store.fault(operation, nth, MemoryFault::Fail(StoreErrorKind::Other));
            let before = live.writes();
            let done = restoring.run().await;
            if restoring.safety_store.calls(operation) < nth {
                break;
            }
            match done {
                Err(error) => {
                    failures += 1;
                    assert_eq!(live.writes(), before, "{operation:?} {nth}: {error}");
                }
                // What is not needed for a proven snapshot may fail.
                Ok(done) => assert!(done.safety.is_some(), "{operation:?} {nth}"),
            }
        }
    }
    assert!(failures > 10, "only {failures} calls of the store made the restore fail");
    live.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_safety_snapshot_that_does_not_come_back_as_it_was_stored_is_none() {
    let (live, store, manifest) = live().await;
    live.simulator.set_fault("damaged-file".parse().unwrap());
    let error = Restoring::new(&store, &manifest, &live).run().await.unwrap_err();
    assert!(error.to_string().contains("it is suspect"), "{error}");
    assert_untouched(&live, "a damaged file").await;
    live.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_that_is_named_file_by_file_is_kept_as_it_is_and_stands_in_no_ones_way() {
    let (live, store, manifest) = live().await;
    live.simulator.set_fault("damaged-file".parse().unwrap());
    let error = Restoring::new(&store, &manifest, &live).run().await.unwrap_err().to_string();
    let (_, named) = error.split_once("--known-damaged ").unwrap();
    let id = named.split(';').next().unwrap().to_owned();
    let restoring = Restoring { known_damaged: vec![id.clone()], ..Restoring::new(&store, &manifest, &live) };
    let done = restoring.run().await.unwrap();
    done.imported.unwrap();
    assert_eq!(done.safety.unwrap().damaged, [id]);
    live.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_lost_most_of_its_data_is_stored_all_the_same() {
    let (live, store, manifest) = live().await;
    live.simulator.change(|database| {
        let names: Vec<String> =
            database.component("").unwrap().tables().map(|(name, _)| name.to_owned()).collect();
        for name in names.iter().skip(1) {
            database.component_mut("").unwrap().drop_table(name);
        }
    });
    // The history in the same destination makes this one look wrong, which it is: that is why it is replaced.
    let restoring = Restoring { safety_store: store.clone(), ..Restoring::new(&store, &manifest, &live) };
    let done = restoring.run().await.unwrap();
    assert!(done.safety.is_some());
    done.imported.unwrap();
    live.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_whichever_call_a_restore_is_stopped_before_the_confirmation_nothing_is_written() {
    let (live, store, manifest) = live().await;
    let restoring = || Restoring { pause: true, ..Restoring::new(&store, &manifest, &live) };
    for step in STEPS {
        let stopped = restoring();
        let stop = Some(stopped.context.stop.clone());
        let source = FailingSource { source: &live.source, step, stop };
        let done = Restoring { source: &source, ..stopped }.run().await;
        assert!(matches!(done, Err(JobError::Stopped)), "at {step}: {done:?}");
        assert_untouched(&live, &format!("stopped at {step}")).await;
    }
    let mut stops = 0;
    for number in 1.. {
        let stopped = restoring();
        let calls = Calls::new(Some((number, Planted::Stop(stopped.context.stop.clone()))));
        let target = FailingTarget { target: &live.target, calls: calls.clone() };
        let done = Restoring { target: &target, ..stopped }.run().await;
        // How often the upload's state is asked for differs, so that the confirmation has no number of its own.
        if calls.confirmation() > 0 {
            assert!(calls.confirmation() <= number, "stopped at call {number}, and confirmed later");
            break;
        }
        stops += 1;
        // With the safety snapshot stored, what it is called is told all the same.
        let error = done.map(|done| done.imported.map(|_| ())).and_then(std::convert::identity);
        assert!(matches!(error, Err(JobError::Stopped)), "at call {number}: {error:?}");
        assert_untouched(&live, &format!("stopped at call {number}")).await;
    }
    assert!(stops > 6, "only {stops} calls up to the confirmation");
    live.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_of_which_nobody_says_what_became_is_told_as_that_and_nobody_is_let_in() {
    let (live, store, manifest) = live().await;
    let calls = Calls::new(Some((0, Planted::Silence(TargetErrorKind::Permission))));
    let target = FailingTarget { target: &live.target, calls };
    let restoring = Restoring { target: &target, pause: true, ..Restoring::new(&store, &manifest, &live) };
    let done = restoring.run().await.unwrap();
    assert!(done.safety.is_some() && done.contents.is_none());
    let error = done.imported.unwrap_err();
    assert!(matches!(error, JobError::Unsettled { .. }), "{error}");
    assert!(live.target.is_paused().await.unwrap());
    assert!(done.problems[0].contains("it stays paused"), "{:?}", done.problems);
    live.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_fails_after_its_confirmation_leaves_what_was_there() {
    let (live, store, manifest) = live().await;
    live.simulator.set_fault("import-refuses-row".parse().unwrap());
    let before = live.simulator.snapshot().document_count();
    let restoring = Restoring { pause: true, ..Restoring::new(&store, &manifest, &live) };
    let done = restoring.run().await.unwrap();
    assert!(done.safety.is_some());
    let error = done.imported.unwrap_err().to_string();
    let drift = convault_jobs::drift(&error).unwrap();
    assert!(drift.table.is_some() && drift.document.is_some(), "{error}: {drift:?}");
    assert_eq!(live.simulator.snapshot().document_count(), before);
    assert!(!live.target.is_paused().await.unwrap());
    live.simulator.stop().await;
}
