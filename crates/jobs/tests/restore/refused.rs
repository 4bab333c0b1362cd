//! Targets that are not what they must be.

use std::sync::Arc;

use convault_core::{ImportKind, ImportRequest, Target};
use convault_jobs::{Content, ErasedSet, Guard, JobError, Rules, import_content, perform_guarded};
use convault_simulator::{Data, Database};

use crate::bench::{Deployed, Restoring, back_up, context, job, memory};

fn crm() -> Data {
    Data::Database(Box::new(Database::crm(1)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_another_deployment_under_another_name_is_left_alone() {
    let (live, store) = (Deployed::new("crm", crm(), &[]).await, memory());
    let manifest = back_up(&job(&live.name), &live.source, &store).await;
    let bystander = Deployed::new("bystander", crm(), &[]).await;
    let alias = convault_restorer::DeploymentTarget::new(convault_restorer::TargetSettings {
        deployment: "production".parse().unwrap(),
        url: Some(live.simulator.url().parse().unwrap()),
        key: live.simulator.key(),
        provision_url: None,
        connection: convault_convex_client::ConnectionSettings::default(),
    });
    let others: Vec<Arc<dyn Target>> = vec![Arc::new(alias)];
    let restoring = Restoring { others, ..Restoring::new(&store, &manifest, &live) };
    let error = restoring.run().await.unwrap_err();
    assert!(matches!(error, JobError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("it is the deployment production under another name"), "{error}");
    assert_eq!(live.writes(), 0);
    let others: Vec<Arc<dyn Target>> = vec![Arc::new(bystander.target)];
    let restoring = Restoring { others, ..Restoring::new(&store, &manifest, &live) };
    restoring.run().await.unwrap().imported.unwrap();
    live.simulator.stop().await;
    bystander.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_became_another_one_or_was_filled_meanwhile_is_left_alone() {
    let (live, store) = (Deployed::new("crm", crm(), &[]).await, memory());
    let manifest = back_up(&job(&live.name), &live.source, &store).await;
    for filled in [false, true] {
        let to = Deployed::empty("other", &[]).await;
        let (restoring, run) = (Restoring::new(&store, &manifest, &to), context());
        let plan = restoring.plan().await;
        let rules = Rules::default();
        let content = Content::new(&store, &manifest, None, &rules, &run);
        let request = ImportRequest { mode: plan.mode, kind: ImportKind::Zip };
        let prepared = import_content(&content, &to.target, &request, &run).await.unwrap();
        let mut expected = to.target.identity().await.unwrap();
        if filled {
            to.simulator.change(|database| {
                database.insert("", "new", std::collections::BTreeMap::default(), 1.0);
            });
        } else {
            expected.instance = "somebody-else".to_owned();
        }
        let erased = ErasedSet::default();
        let guard = Guard {
            target: &to.target,
            expected: &expected,
            others: &[],
            pause: false,
            safety: None,
            erased: &erased,
        };
        let error = perform_guarded(&guard, prepared, &run).await.unwrap_err();
        let words = if filled { "not empty any more" } else { "was somebody-else when the plan was made" };
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(to.writes(), 0);
        to.simulator.stop().await;
    }
    live.simulator.stop().await;
}
