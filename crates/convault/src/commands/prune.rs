//! `convault prune JOB`: deletes what retention does not keep, or shows what it would do.

use convault_core::{Clock as _, StartRequest, SystemClock, Verb};
use convault_jobs::PrunePlan;
use serde_json::json;

use super::{
    Surroundings,
    act::act,
    backup::{exit_of, report},
};
use crate::{
    arguments::Prune,
    exit::{Exit, ExitWith},
    print,
};

pub(crate) async fn prune(surroundings: &Surroundings, prune: Prune) -> anyhow::Result<Exit> {
    if prune.dry_run {
        return dry_run(surroundings, &prune).await;
    }
    let request = StartRequest { job: prune.job, verb: Verb::Prune, tags: Vec::new(), keep_until: None };
    let record = act(surroundings, request).await?;
    report(surroundings, &record);
    Ok(exit_of(&record))
}

async fn dry_run(surroundings: &Surroundings, prune: &Prune) -> anyhow::Result<Exit> {
    let settings = surroundings.settings()?;
    let Some(job) = settings.job(&prune.job) else {
        return Err(ExitWith(Exit::NotFound, format!("there is no job named {}", prune.job)).into());
    };
    let stores = crate::wiring::stores(&settings)?;
    let now = SystemClock.now();
    let mut plans = Vec::new();
    for name in &job.to {
        let store = stores[name].as_ref();
        let plan = convault_jobs::plan_prune(store, &job.deployment, &job.keep, &job.time_zone, now).await?;
        if surroundings.json {
            plans.push(json!({
                "destination": name,
                "deployment": job.deployment,
                "frozen": plan.retention.frozen,
                "freed_bytes": plan.freed_bytes(),
                "left_alone": plan.left_alone,
                "decisions": plan.retention.decisions,
            }));
        } else {
            show(&format!("{name}, {}", job.deployment), &plan);
        }
    }
    if surroundings.json {
        print::json(&plans);
    }
    Ok(Exit::Done)
}

/// Prints a plan, newest snapshot first.
pub(crate) fn show(title: &str, plan: &PrunePlan) {
    print::line(title);
    let rows: Vec<Vec<String>> = plan
        .retention
        .decisions
        .iter()
        .map(|decision| {
            let reasons: Vec<String> = decision.reasons.iter().map(ToString::to_string).collect();
            let deed = if decision.keep { "keep" } else { "remove" };
            vec![deed.to_owned(), decision.id.to_string(), print::time(decision.time), reasons.join("; ")]
        })
        .collect();
    print::table(&["", "SNAPSHOT", "TAKEN", "WHY"], &rows);
    for id in &plan.left_alone {
        print::line(&format!("left alone, since it has no usable manifest: {id}"));
    }
    print::line(&format!("{} to remove, {} to free", plan.removals.len(), print::size(plan.freed_bytes())));
}
