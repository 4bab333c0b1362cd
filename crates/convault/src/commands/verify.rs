//! `convault verify`: is what is stored what the manifests say?

use std::sync::Arc;

use convault_core::{DeploymentName, StoreErrorKind};
use convault_jobs::{Destination, JobError, RunContext, VerifyDepth, VerifyReport};
use serde_json::json;

use super::{
    Surroundings,
    choose::{chosen_deployments, chosen_destinations},
};
use crate::{
    arguments::Verify,
    exit::{Exit, ExitWith},
    print,
    progress::Progress,
    worker::VERSION,
};

/// What was found of one deployment in one destination.
struct Seen {
    title: String,
    report: VerifyReport,
    /// How many proofs were written; `None` where none should or could be.
    proofs: Option<usize>,
}

pub(crate) async fn verify(surroundings: &Surroundings, verify: Verify) -> anyhow::Result<Exit> {
    let settings = surroundings.settings()?;
    let depth = if verify.read_data { VerifyDepth::ReadData } else { VerifyDepth::Cheap };
    let progress = Arc::new(Progress::new(surroundings.json));
    let proving = !verify.no_proof && verify.as_of.bucket_as_of.is_none();
    let (mut all, mut failed) = (Vec::new(), false);
    for destination in chosen_destinations(&settings, verify.destination.as_ref(), verify.as_of.bucket_as_of)?
    {
        for deployment in chosen_deployments(&settings, verify.deployment.as_ref()) {
            let context = surroundings.context(Arc::clone(&progress));
            let title = format!("{}, {deployment}", destination.store.destination());
            match convault_jobs::verify(&destination, &deployment, &verify.snapshots, depth, &context).await {
                Ok(report) => {
                    let proven = if proving {
                        prove(&destination, &deployment, &report, &context).await
                    } else {
                        Ok(None)
                    };
                    failed |= proven.is_err();
                    all.push(Seen { title, report, proofs: proven.unwrap_or_default() });
                }
                Err(JobError::Stopped) => return Err(JobError::Stopped.into()),
                Err(error) => {
                    print::note(&format!("convault: {title}: {}", convault_jobs::chain(&error)));
                    failed = true;
                }
            }
        }
    }
    if proving {
        let everywhere = chosen_destinations(&settings, None, None)?;
        for deployment in chosen_deployments(&settings, verify.deployment.as_ref()) {
            for text in convault_jobs::erasure::tend_ledger(&deployment, &everywhere).await {
                print::note(&format!("warning: {text}"));
            }
        }
    }
    progress.clear();
    tell(surroundings, &all);
    exit(&verify, &all, failed)
}

/// Writes down what was found. Credentials that may not are a warning; any other failure was told.
async fn prove(
    destination: &Destination,
    deployment: &DeploymentName,
    report: &VerifyReport,
    context: &RunContext,
) -> Result<Option<usize>, ()> {
    let name = destination.store.destination();
    // Where nothing was looked at there is nothing to prove, and perhaps no repository.
    if report.sound.is_empty() && report.faults.iter().all(|fault| fault.missing) {
        return Ok(None);
    }
    match convault_jobs::record_proofs(destination, deployment, report, VERSION, context).await {
        Ok(proofs) => Ok(Some(proofs)),
        Err(JobError::Store(error)) if error.kind == StoreErrorKind::Denied => {
            print::note(&format!(
                "warning: {name}: what was found could not be proven there: {}",
                convault_jobs::chain(&error)
            ));
            Ok(None)
        }
        Err(error) => {
            let text = convault_jobs::chain(&error);
            print::note(&format!("convault: {name}: no proof of {deployment} was written: {text}"));
            Err(())
        }
    }
}

fn exit(verify: &Verify, all: &[Seen], failed: bool) -> anyhow::Result<Exit> {
    // A snapshot that was named may lie in one destination and not in another: it is missing only if it is nowhere.
    let sound = |id| all.iter().any(|seen| seen.report.sound.contains(id));
    let named = |id| verify.snapshots.contains(id) && verify.destination.is_none();
    let mut faults = all.iter().flat_map(|seen| &seen.report.faults);
    let damaged = faults.any(|fault| !(fault.missing && named(&fault.id) && sound(&fault.id)));
    if damaged {
        return Ok(Exit::Damaged);
    }
    if failed {
        return Ok(Exit::Failed);
    }
    if all.iter().all(|seen| seen.report.sound.is_empty()) {
        return Err(ExitWith(Exit::NotFound, "there is no snapshot to verify".to_owned()).into());
    }
    Ok(Exit::Done)
}

fn tell(surroundings: &Surroundings, all: &[Seen]) {
    if surroundings.json {
        print::json(&all.iter().map(value).collect::<Vec<_>>());
    } else {
        all.iter().for_each(show);
    }
}

fn show(seen: &Seen) {
    let report = &seen.report;
    let read = if report.read_bytes > 0 {
        format!(", {} read whole ({})", report.read.len(), print::size(report.read_bytes))
    } else {
        String::new()
    };
    print::line(&format!(
        "{}: {} sound{read}, {} faults",
        seen.title,
        report.sound.len(),
        report.faults.len()
    ));
    for fault in &report.faults {
        print::line(&format!("  DAMAGED {} {}: {}", fault.id, fault.object, fault.what));
    }
    for id in &report.not_snapshots {
        print::line(&format!("  not a snapshot (a run that goes on or was cut off, or being removed): {id}"));
    }
}

fn value(seen: &Seen) -> serde_json::Value {
    let report = &seen.report;
    let faults: Vec<_> = report
        .faults
        .iter()
        .map(|fault| {
            json!({ "id": fault.id, "object": fault.object, "what": fault.what, "missing": fault.missing })
        })
        .collect();
    json!({
        "place": seen.title,
        "sound": report.sound,
        "read": report.read,
        "faults": faults,
        "not_snapshots": report.not_snapshots,
        "read_bytes": report.read_bytes,
        "proofs": seen.proofs,
    })
}
