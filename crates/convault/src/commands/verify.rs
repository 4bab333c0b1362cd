//! `convault verify`: is what is stored what the manifests say?

use std::sync::Arc;

use convault_jobs::{VerifyDepth, VerifyReport};
use serde_json::json;

use super::{Surroundings, chosen_deployments, chosen_stores};
use crate::{
    arguments::Verify,
    exit::{Exit, ExitWith},
    print,
    progress::Progress,
};

pub(crate) async fn verify(surroundings: &Surroundings, verify: Verify) -> anyhow::Result<Exit> {
    let settings = surroundings.settings()?;
    let depth = if verify.read_data { VerifyDepth::ReadData } else { VerifyDepth::Cheap };
    let progress = Arc::new(Progress::new(surroundings.json));
    let context = surroundings.context(Arc::clone(&progress));
    let mut reports = Vec::new();
    for store in chosen_stores(&settings, verify.destination.as_ref())? {
        for deployment in chosen_deployments(&settings, verify.deployment.as_ref()) {
            let report =
                convault_jobs::verify(store.as_ref(), &deployment, &verify.snapshots, depth, &context)
                    .await?;
            reports.push((format!("{}, {deployment}", store.destination()), report));
        }
    }
    progress.clear();
    // A snapshot that was named may lie in one destination and not in another: it is missing only if it is nowhere.
    let sound = |id| reports.iter().any(|(_, report): &(String, VerifyReport)| report.sound.contains(id));
    let named = |id| verify.snapshots.contains(id) && verify.destination.is_none();
    let mut damaged = false;
    for (_, report) in &reports {
        damaged |= report.faults.iter().any(|fault| !(fault.missing && named(&fault.id) && sound(&fault.id)));
    }
    let nothing = reports.iter().all(|(_, report)| report.sound.is_empty() && report.faults.is_empty());
    if surroundings.json {
        print::json(&reports.iter().map(|(title, report)| value(title, report)).collect::<Vec<_>>());
    } else {
        for (title, report) in &reports {
            show(title, report);
        }
    }
    if nothing {
        return Err(ExitWith(Exit::NotFound, "there is no snapshot to verify".to_owned()).into());
    }
    Ok(if damaged { Exit::Damaged } else { Exit::Done })
}

fn show(title: &str, report: &VerifyReport) {
    let read = if report.read_bytes > 0 {
        format!(", {} read", print::size(report.read_bytes))
    } else {
        String::new()
    };
    print::line(&format!("{title}: {} sound, {} faults{read}", report.sound.len(), report.faults.len()));
    for fault in &report.faults {
        print::line(&format!("  DAMAGED {} {}: {}", fault.id, fault.object, fault.what));
    }
    for id in &report.without_manifest {
        print::line(&format!("  not a snapshot, has no manifest: {id}"));
    }
}

fn value(title: &str, report: &VerifyReport) -> serde_json::Value {
    let faults: Vec<_> = report
        .faults
        .iter()
        .map(|fault| json!({ "id": fault.id, "object": fault.object, "what": fault.what }))
        .collect();
    json!({
        "place": title,
        "sound": report.sound,
        "faults": faults,
        "without_manifest": report.without_manifest,
        "read_bytes": report.read_bytes,
    })
}
