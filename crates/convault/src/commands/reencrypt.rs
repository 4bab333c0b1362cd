//! `convault reencrypt`: writes snapshots anew, to the present recipients of a destination.

use std::sync::Arc;

use convault_archive::encryption::Identities;
use convault_core::{Clock as _, DeploymentName, Keep, SnapshotId, SystemClock};
use convault_jobs::{
    AnewRules, Destination, JobError, OldSnapshot, PruneRules, Reencrypted, chain, needs_reencryption,
};
use convault_settings::Settings;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::{
    Surroundings,
    choose::{chosen_deployments, chosen_destinations},
};
use crate::{
    arguments::Reencrypt,
    exit::{Exit, ExitWith},
    print,
    progress::Progress,
    worker::VERSION,
};

/// What became of one snapshot.
struct Told {
    deployment: DeploymentName,
    id: SnapshotId,
    result: Result<Reencrypted, JobError>,
}

pub(crate) async fn reencrypt(surroundings: &Surroundings, wish: Reencrypt) -> anyhow::Result<Exit> {
    let settings = surroundings.settings()?;
    let identities = crate::wiring::identities(&settings, wish.identity.identity.as_deref())?.ok_or_else(|| {
        let text = "to read what is encrypted takes an identity: --identity FILE, or the setting encryption.identity";
        ExitWith(Exit::Failed, text.to_owned())
    })?;
    let destination = chosen_destinations(&settings, Some(&wish.to), None)?.remove(0);
    let chosen = choose(&settings, &destination, &wish).await?;
    if chosen.is_empty() && wish.snapshot.is_none() {
        print::note("everything is encrypted to the present recipients already");
    }
    let progress = Arc::new(Progress::new(surroundings.json));
    let rules = rules(&settings, wish.keep_old);
    let mut all = Vec::new();
    for (deployment, id) in chosen {
        let result = one(surroundings, &destination, &deployment, &id, &identities, &rules, &progress).await;
        progress.clear();
        if matches!(result, Err(JobError::Stopped)) {
            return Err(JobError::Stopped.into());
        }
        let told = Told { deployment, id, result };
        if !surroundings.json {
            tell(&told);
        }
        all.push(told);
    }
    if surroundings.json {
        print::json(&all.iter().map(value).collect::<Vec<_>>());
    }
    Ok(exit(all))
}

/// The snapshots to be written anew, the oldest first.
async fn choose(
    settings: &Settings,
    destination: &Destination,
    wish: &Reencrypt,
) -> anyhow::Result<Vec<(DeploymentName, SnapshotId)>> {
    let mut chosen = Vec::new();
    for deployment in chosen_deployments(settings, wish.deployment.as_ref()) {
        let survey = convault_jobs::survey(destination, &deployment, &[], SystemClock.now()).await?;
        for folder in &survey.folders {
            let is_meant = match &wish.snapshot {
                Some(id) => folder.id == *id,
                None => folder.manifest().is_some_and(|manifest| needs_reencryption(destination, manifest)),
            };
            if is_meant {
                chosen.push((deployment.clone(), folder.id.clone()));
            }
        }
    }
    if let (Some(id), true) = (&wish.snapshot, chosen.is_empty()) {
        let deployments = chosen_deployments(settings, wish.deployment.as_ref());
        let names: Vec<&str> = deployments.iter().map(DeploymentName::as_str).collect();
        let destination = destination.store.destination().to_string();
        return Err(
            JobError::NoSuchSnapshot { id: id.clone(), deployment: names.join(", "), destination }.into()
        );
    }
    Ok(chosen)
}

fn rules(settings: &Settings, keep_old: bool) -> AnewRules {
    AnewRules {
        version: VERSION.to_owned(),
        upload_memory_bytes: settings.daemon.upload_memory_bytes,
        stall_limit: settings.daemon.stall_limit,
        keep_old,
        prune: PruneRules {
            clock_skew_limit: settings.daemon.clock_skew_limit,
            ..PruneRules::new(Keep::default(), TimeZone::UTC)
        },
    }
}

async fn one(
    surroundings: &Surroundings,
    destination: &Destination,
    deployment: &DeploymentName,
    id: &SnapshotId,
    identities: &Identities,
    rules: &AnewRules,
    progress: &Arc<Progress>,
) -> Result<Reencrypted, JobError> {
    // Each is a run of its own, whose identifier the new snapshot has.
    let context = surroundings.context(Arc::clone(progress));
    convault_jobs::reencrypt(destination, deployment, id, identities, rules, &context).await
}

fn tell(told: &Told) {
    let Told { deployment, id, result } = told;
    match result {
        Ok(done) => print::line(&format!(
            "{deployment} {id}: now {}, {}; {}",
            done.id,
            print::size(done.stored_bytes),
            old(&done.old)
        )),
        Err(error) => print::note(&format!("convault: {deployment} {id}: {}", chain(error))),
    }
}

fn old(old: &OldSnapshot) -> String {
    match old {
        OldSnapshot::Removed => "the old one is removed".to_owned(),
        OldSnapshot::Kept => "the old one is kept".to_owned(),
        OldSnapshot::Locked(until) => {
            format!("the old one is locked until {}, and can be read by its recipients", print::time(*until))
        }
        OldSnapshot::HeldBack(why) => format!("the old one stays: {why}"),
    }
}

fn value(told: &Told) -> Value {
    let Told { deployment, id, result } = told;
    match result {
        Ok(done) => json!({
            "deployment": deployment,
            "snapshot": id,
            "new": done.id,
            "stored_bytes": done.stored_bytes,
            "old": match &done.old {
                OldSnapshot::Removed => "removed",
                OldSnapshot::Kept => "kept",
                OldSnapshot::Locked(_) => "locked",
                OldSnapshot::HeldBack(_) => "held-back",
            },
            "locked_until": match &done.old {
                OldSnapshot::Locked(until) => Some(until),
                _ => None,
            },
            "error": null,
        }),
        Err(error) => json!({ "deployment": deployment, "snapshot": id, "new": null, "error": chain(error) }),
    }
}

fn exit(all: Vec<Told>) -> Exit {
    let (done, mut failed): (Vec<Told>, Vec<Told>) = all.into_iter().partition(|told| told.result.is_ok());
    match (done.len(), failed.pop()) {
        (_, None) => Exit::Done,
        (0, Some(Told { result: Err(error), .. })) if failed.is_empty() => {
            crate::exit::of_error(&error.into())
        }
        (0, Some(_)) => Exit::Failed,
        (_, Some(_)) => Exit::Partial,
    }
}
