//! `convault prune JOB`: deletes what retention does not keep, or shows what it would do.

use convault_core::{CalendarDay, Clock as _, StartRequest, SystemClock, Verb};
use convault_jobs::PrunePlan;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

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

/// So many leftovers are named on a terminal; JSON has all.
const LEFTOVERS_NAMED: usize = 20;

pub(crate) async fn prune(surroundings: &Surroundings, prune: Prune) -> anyhow::Result<Exit> {
    let dry_run = prune.dry_run;
    let request = StartRequest {
        sweep_limit_percent: prune.sweep_limit,
        accept_missing: prune.accept_missing,
        ..StartRequest::new(prune.job, Verb::Prune)
    };
    if dry_run {
        return plan_only(surroundings, &request).await;
    }
    let record = act(surroundings, request).await?;
    report(surroundings, &record);
    Ok(exit_of(&record))
}

async fn plan_only(surroundings: &Surroundings, request: &StartRequest) -> anyhow::Result<Exit> {
    let settings = surroundings.settings()?;
    let Some(job) = settings.job(&request.job) else {
        return Err(ExitWith(Exit::NotFound, format!("there is no job named {}", request.job)).into());
    };
    let destinations = crate::wiring::destinations(&settings)?;
    let rules = crate::worker::prune_rules(&settings, job, request);
    let now = SystemClock.now();
    let mut plans = Vec::new();
    for name in &job.to {
        let plan = convault_jobs::plan_prune(&destinations[name], &job.deployment, &rules, now).await?;
        if surroundings.json {
            plans.push(value(name.as_str(), &plan, &job.time_zone));
        } else {
            show(&format!("{name}, {}", job.deployment), &plan, &job.time_zone);
        }
    }
    if surroundings.json {
        print::json(&plans);
    }
    Ok(Exit::Done)
}

fn value(destination: &str, plan: &PrunePlan, time_zone: &TimeZone) -> Value {
    let left_alone = plan.left_alone.iter().map(|(id, what)| json!({ "id": id, "what": what }));
    let locked = plan.locked.iter().map(|(id, until)| json!({ "id": id, "until": until }));
    let keys = |objects: &[convault_core::ObjectInfo]| {
        let value = |object: &convault_core::ObjectInfo| json!({ "key": object.key, "size_bytes": object.size_bytes, "modified": object.modified });
        objects.iter().map(value).collect::<Vec<_>>()
    };
    json!({
        "destination": destination,
        "deployment": plan.deployment,
        "frozen": plan.retention.frozen,
        "blocked": plan.blocked,
        "sweep_blocked": plan.sweep_blocked,
        "freed_bytes": plan.freed_bytes(),
        "leftover_bytes": plan.leftover_bytes(),
        "removals": plan.removals.iter().map(|manifest| &manifest.id).collect::<Vec<_>>(),
        "locked": locked.collect::<Vec<_>>(),
        "left_alone": left_alone.collect::<Vec<_>>(),
        "leftovers": keys(&plan.leftovers),
        "unfinished": keys(&plan.unfinished),
        "decisions": plan.retention.decisions,
        "calendar": plan.retention.calendar(time_zone),
    })
}

/// Prints a plan: every snapshot with its reasons, newest first, the calendar, and what else there is.
fn show(title: &str, plan: &PrunePlan, time_zone: &TimeZone) {
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
    show_calendar(&plan.retention.calendar(time_zone));
    show_the_rest(plan);
}

/// A line for each day: `2026-11-22 Sun  keep (last, daily) · REMOVE (not kept)`.
fn show_calendar(days: &[CalendarDay]) {
    let row = |day: &CalendarDay| {
        let entries = day.entries.iter().map(|entry| {
            let deed = if entry.keep { "keep" } else { "REMOVE" };
            format!("{deed} ({})", entry.reasons.join(", "))
        });
        vec![day.date.strftime("%Y-%m-%d %a").to_string(), entries.collect::<Vec<_>>().join(" · ")]
    };
    print::table(&["DAY", "SNAPSHOTS"], &days.iter().map(row).collect::<Vec<_>>());
}

fn show_the_rest(plan: &PrunePlan) {
    for (id, what) in &plan.left_alone {
        print::line(&format!("left alone: {id}: {what}"));
    }
    for (id, until) in &plan.locked {
        print::line(&format!("locked until {}: {id}", print::time(*until)));
    }
    for object in plan.leftovers.iter().take(LEFTOVERS_NAMED) {
        print::line(&format!("leftover: {} ({})", object.key, print::size(object.size_bytes)));
    }
    if let Some(more) = plan.leftovers.len().checked_sub(LEFTOVERS_NAMED + 1) {
        print::line(&format!("and {} more leftovers", more + 1));
    }
    if !plan.unfinished.is_empty() {
        print::line(&format!("{} objects are left of earlier prunes", plan.unfinished.len()));
    }
    if plan.retention.frozen {
        print::line(
            "frozen: the newest snapshot is suspect; nothing is removed until it is accepted or a good one follows",
        );
    }
    for why in &plan.blocked {
        print::line(&format!("nothing is removed: {why}"));
    }
    if let Some(why) = plan.sweep_blocked.as_ref().filter(|_| !plan.leftovers.is_empty()) {
        print::line(&format!("no leftover is removed: {why}"));
    }
    print::line(&format!(
        "{} to remove, {} to free; {} leftovers, {}",
        plan.removals.len(),
        print::size(plan.freed_bytes()),
        plan.leftovers.len(),
        print::size(plan.leftover_bytes())
    ));
}
