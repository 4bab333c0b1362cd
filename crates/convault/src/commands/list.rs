//! `convault list`: the snapshots there are.

use convault_core::Manifest;
use convault_jobs::{Listed, ListedState};
use serde_json::{Value, json};

use super::{Surroundings, chosen_deployments, chosen_stores};
use crate::{arguments::Place, exit::Exit, print};

const HEADING: [&str; 8] =
    ["SNAPSHOT", "DEPLOYMENT", "DESTINATION", "TAKEN", "STATE", ">DOCUMENTS", ">FILES", ">STORED"];

pub(crate) async fn list(surroundings: &Surroundings, place: Place) -> anyhow::Result<Exit> {
    let settings = surroundings.settings()?;
    let mut rows = Vec::new();
    let mut values = Vec::new();
    let mut exit = Exit::Done;
    for store in chosen_stores(&settings, place.destination.as_ref())? {
        for deployment in chosen_deployments(&settings, place.deployment.as_ref()) {
            let listed = match convault_jobs::list(store.as_ref(), &deployment).await {
                Ok(listed) => listed,
                Err(error) => {
                    print::note(&format!("convault: {}", convault_jobs::chain(&error)));
                    exit = Exit::Failed;
                    continue;
                }
            };
            let destination = store.destination().as_str();
            for one in &listed {
                match &one.state {
                    ListedState::Snapshot(manifest) => {
                        rows.push(row(manifest, destination));
                        values.push(value(manifest, destination));
                    }
                    ListedState::Unreadable(error) => {
                        let text = convault_jobs::chain(error);
                        print::note(&format!("warning: {destination}: {} of {deployment}: {text}", one.id));
                    }
                    ListedState::NoManifest => {}
                }
            }
            note_unfinished(&listed, destination, deployment.as_str());
        }
    }
    if surroundings.json {
        print::json(&values);
    } else {
        rows.sort_by(|a, b| (&a[3], &a[0]).cmp(&(&b[3], &b[0])));
        print::table(&HEADING, &rows);
    }
    Ok(exit)
}

fn note_unfinished(listed: &[Listed], destination: &str, deployment: &str) {
    let unfinished = listed.iter().filter(|one| matches!(one.state, ListedState::NoManifest)).count();
    if unfinished > 0 {
        print::note(&format!(
            "{destination}: {unfinished} folder(s) of {deployment} without a manifest: not snapshots (a run that goes \
             on, or one that was cut off)"
        ));
    }
}

pub(crate) fn state(manifest: &Manifest) -> &'static str {
    if manifest.is_good() { "good" } else { "suspect" }
}

fn row(manifest: &Manifest, destination: &str) -> Vec<String> {
    vec![
        manifest.id.to_string(),
        manifest.deployment.to_string(),
        destination.to_owned(),
        print::time(manifest.snapshot_time()),
        state(manifest).to_owned(),
        print::number(manifest.totals.documents),
        print::number(manifest.totals.files),
        print::size(manifest.stored_bytes()),
    ]
}

fn value(manifest: &Manifest, destination: &str) -> Value {
    json!({
        "id": manifest.id,
        "deployment": manifest.deployment,
        "destination": destination,
        "snapshot_time": manifest.snapshot_time(),
        "state": state(manifest),
        "kind": manifest.kind,
        "tags": manifest.tags,
        "keep_until": manifest.keep_until,
        "documents": manifest.totals.documents,
        "files": manifest.totals.files,
        "stored_bytes": manifest.stored_bytes(),
    })
}
