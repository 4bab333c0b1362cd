//! `convault erase`: who is to be forgotten, clean copies of stored snapshots, and certificates.

mod certificate;
mod request;
mod rewrite;

use std::sync::Arc;

use convault_core::{DeploymentName, DestinationName};
use convault_jobs::{
    Destination, RunContext,
    erasure::{Completed, Ledger, LedgerKeys, complete_ledger},
};
use convault_settings::Settings;
use serde_json::{Value, json};

use super::{Surroundings, choose::chosen_destinations, erasures};
use crate::{
    arguments::Erase,
    exit::{Exit, ExitWith},
    print,
    progress::Progress,
    wiring,
};

/// What every deed of this verb needs.
struct Bench<'a> {
    surroundings: &'a Surroundings,
    settings: &'a Settings,
    deployment: DeploymentName,
    destinations: Vec<Destination>,
    keys: LedgerKeys,
    progress: Arc<Progress>,
}

impl Bench<'_> {
    fn context(&self) -> RunContext {
        self.surroundings.context(Arc::clone(&self.progress))
    }
}

pub(crate) async fn erase(surroundings: &Surroundings, wish: Erase) -> anyhow::Result<Exit> {
    let settings = surroundings.settings()?;
    let identities = wiring::identities(&settings, wish.identity.identity.as_deref())?;
    let keys = erasures::keys(&settings, identities.as_ref())?;
    let progress = Arc::new(Progress::new(surroundings.json));
    let destinations = chosen_destinations(&settings, None, None)?;
    if let Some(file) = &wish.verify_certificate {
        let context = surroundings.context(progress);
        return certificate::verify(surroundings, &settings, file, &destinations, &keys, &context).await;
    }
    let deployment = only_deployment(&settings, wish.deployment.as_ref())?;
    let bench = Bench { surroundings, settings: &settings, deployment, destinations, keys, progress };
    if wish.table.is_some() {
        return request::request(&bench, &wish).await;
    }
    if wish.rewrite {
        return rewrite::rewrite(&bench, &wish).await;
    }
    if let Some(file) = &wish.certificate {
        certificate::make(&bench, file, &[]).await?;
        return Ok(Exit::Done);
    }
    if wish.complete || wish.list {
        return complete(&bench, wish.list).await;
    }
    let text = "say what is to be done: --table with --id or --field, --rewrite, --certificate, --verify-certificate, \
                --complete or --list";
    Err(ExitWith(Exit::Arguments, text.to_owned()).into())
}

fn only_deployment(settings: &Settings, given: Option<&DeploymentName>) -> anyhow::Result<DeploymentName> {
    match (given, settings.deployments.as_slice()) {
        (Some(name), _) => Ok(name.clone()),
        (None, [only]) => Ok(only.name.clone()),
        (None, _) => {
            let text = "say which deployment is meant, with --deployment NAME";
            Err(ExitWith(Exit::Arguments, text.to_owned()).into())
        }
    }
}

/// Brings the ledger everywhere, or only shows it.
async fn complete(bench: &Bench<'_>, list_only: bool) -> anyhow::Result<Exit> {
    let context = bench.context();
    let holding = holding(bench).await;
    if list_only {
        let Some(first) = holding.first() else {
            print::note("no destination holds anything of that deployment");
            return Ok(Exit::NotFound);
        };
        let everywhere = &bench.destinations;
        let ledger =
            convault_jobs::erasure::read_ledger(&bench.deployment, first, everywhere, &bench.keys, &context);
        show(bench, &ledger.await?);
        return Ok(Exit::Done);
    }
    let done = complete_ledger(&bench.deployment, &holding, &bench.keys, &context).await?;
    tell_completed(bench, &done);
    Ok(if done.behind.is_empty() { Exit::Done } else { Exit::Partial })
}

/// The destinations that hold something of the deployment, or are to: those of its jobs.
async fn holding(bench: &Bench<'_>) -> Vec<Destination> {
    let wanted = wanted(bench);
    let mut holding = Vec::new();
    for destination in &bench.destinations {
        let now = convault_core::Clock::now(&convault_core::SystemClock);
        let survey = convault_jobs::survey(destination, &bench.deployment, &[], now).await;
        let holds = survey.as_ref().is_ok_and(|survey| !survey.folders.is_empty());
        if holds || wanted.contains(destination.store.destination()) {
            holding.push(destination.clone());
        }
    }
    holding
}

/// The destinations of the deployment's jobs.
fn wanted(bench: &Bench<'_>) -> std::collections::BTreeSet<DestinationName> {
    let jobs = bench.settings.jobs.iter().filter(|job| job.deployment == bench.deployment);
    jobs.flat_map(|job| job.to.iter().cloned()).collect()
}

fn tell_completed(bench: &Bench<'_>, done: &Completed) {
    if bench.surroundings.json {
        print::json(&json!({
            "deployment": bench.deployment,
            "newest": done.ledger.newest(),
            "written": done.written.iter().map(|(name, number)| json!({ "destination": name, "number": number })).collect::<Vec<_>>(),
            "behind": behind_value(&done.behind),
        }));
        return;
    }
    for (name, number) in &done.written {
        print::line(&format!("{name}: entry {number} written"));
    }
    tell_behind(&done.behind);
    print::line(&format!("the ledger of {} has {} entries", bench.deployment, done.ledger.newest()));
}

fn behind_value(behind: &[(DestinationName, String)]) -> Vec<Value> {
    behind.iter().map(|(name, why)| json!({ "destination": name, "why": why })).collect()
}

/// Said loudly: until it is there, nothing can be read from that destination.
fn tell_behind(behind: &[(DestinationName, String)]) {
    for (name, why) in behind {
        print::note(&format!(
            "WARNING: {name} does not have all of the erasure ledger ({why}); the next `erase`, backup or verify brings it, or \
             `convault erase --complete`"
        ));
    }
}

fn show(bench: &Bench<'_>, ledger: &Ledger) {
    if bench.surroundings.json {
        let entry = |one: &convault_core::LedgerEntry| {
            let entry = &one.entry;
            json!({
                "number": entry.number,
                "sha256": one.sha256,
                "at": entry.at,
                "reason": entry.reason,
                "subjects": entry.subjects.len(),
                "cascades": entry.cascades,
            })
        };
        print::json(&ledger.records().iter().map(entry).collect::<Vec<_>>());
        return;
    }
    let row = |one: &convault_core::LedgerEntry| {
        let entry = &one.entry;
        let tables: std::collections::BTreeSet<String> =
            entry.subjects.iter().map(|subject| subject.table.to_string()).collect();
        vec![
            entry.number.to_string(),
            print::time(entry.at),
            entry.subjects.len().to_string(),
            tables.into_iter().collect::<Vec<_>>().join(", "),
            entry.reason.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = ledger.records().iter().map(row).collect();
    print::table(&[">number", "written", ">subjects", "tables", "reason"], &rows);
}
