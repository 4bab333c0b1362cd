//! `convault list`: every snapshot folder, and what it is.

use convault_core::{Clock as _, Judgement, Standing, SystemClock};
use convault_jobs::{Folder, FolderState, Snapshot};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Surroundings,
    choose::{chosen_deployments, chosen_destinations},
};
use crate::{
    arguments::Place,
    exit::{Exit, ExitWith},
    print,
};

const HEADING: [&str; 8] =
    ["SNAPSHOT", "DEPLOYMENT", "DESTINATION", "TAKEN", "STATE", ">DOCUMENTS", ">FILES", ">STORED"];

/// One folder in one place.
struct Entry {
    destination: String,
    deployment: String,
    folder: Folder,
}

pub(crate) async fn list(surroundings: &Surroundings, place: Place) -> anyhow::Result<Exit> {
    let settings = surroundings.settings()?;
    let mut entries = Vec::new();
    let mut exit = Exit::Done;
    for destination in chosen_destinations(&settings, place.destination.as_ref(), place.as_of.bucket_as_of)? {
        for deployment in chosen_deployments(&settings, place.deployment.as_ref()) {
            let name = destination.store.destination();
            match convault_jobs::survey(&destination, &deployment, &[], SystemClock.now()).await {
                Ok(survey) => {
                    for why in survey.passed_over {
                        print::note(&format!("warning: {name}: a mark does not count: {why}"));
                    }
                    let make = |folder| Entry {
                        destination: name.to_string(),
                        deployment: deployment.to_string(),
                        folder,
                    };
                    entries.extend(survey.folders.into_iter().map(make));
                }
                Err(error) => {
                    print::note(&format!("convault: {}", convault_jobs::chain(&error)));
                    exit = Exit::Failed;
                }
            }
        }
    }
    entries.sort_by(|a, b| taken(&a.folder).cmp(&taken(&b.folder)).then(a.folder.id.cmp(&b.folder.id)));
    if surroundings.json {
        print::json(&entries.iter().map(value).collect::<Vec<_>>());
    } else {
        print::table(&HEADING, &entries.iter().map(row).collect::<Vec<_>>());
    }
    entries.iter().filter_map(alarm).for_each(|text| print::note(&text));
    // Of a deployment that was taken out of the settings there may be snapshots; without any, the name is a slip.
    if let Some(name) = &place.deployment
        && entries.is_empty()
        && exit == Exit::Done
        && settings.deployment(name).is_none()
    {
        let text = format!("the settings have no deployment named {name}, and nothing of it is stored");
        return Err(ExitWith(Exit::NotFound, text).into());
    }
    Ok(exit)
}

/// When the snapshot was taken by the deployment's clock, or else when its run began.
fn taken(folder: &Folder) -> Timestamp {
    folder.manifest().map_or_else(|| folder.id.time(), convault_core::Manifest::snapshot_time)
}

/// The state of a folder for people: `good, accepted, held until 2026-12-24 …`.
pub(crate) fn state(folder: &Folder) -> String {
    let mut text = folder.state.as_str().to_owned();
    if let Some(snapshot) = folder.snapshot() {
        for word in said(&snapshot.judgement) {
            text.push_str(", ");
            text.push_str(&word);
        }
    }
    text
}

fn said(judgement: &Judgement) -> Vec<String> {
    let mut words = Vec::new();
    if judgement.accepted.is_some() {
        words.push("accepted".to_owned());
    }
    if judgement.repaired {
        words.push("repaired".to_owned());
    }
    match judgement.hold.map(|hold| hold.until) {
        Some(None) => words.push("held".to_owned()),
        Some(Some(until)) => words.push(format!("held until {}", print::time(until))),
        None => {}
    }
    words
}

/// Why a folder is what it is, where that needs saying.
pub(crate) fn why(state: &FolderState) -> Option<String> {
    match state {
        FolderState::Snapshot(snapshot) => of_snapshot(snapshot),
        FolderState::Headless => Some(
            "there was a snapshot here, and its manifest is missing; `convault repair` makes it again".into(),
        ),
        FolderState::Unreadable(what) => Some(format!("its manifest cannot be used: {what}")),
        FolderState::Untrusted(what) => Some(format!("its manifest cannot be trusted: {what}")),
        FolderState::FencedOff(_) => {
            Some("it was written after its lease was lost and does not count".into())
        }
        FolderState::UnderWay | FolderState::Interrupted | FolderState::BeingRemoved => None,
    }
}

fn of_snapshot(snapshot: &Snapshot) -> Option<String> {
    match snapshot.judgement.standing {
        Standing::Good => None,
        Standing::Suspect => {
            Some("it looks wrong; `convault show` says why, `convault accept` counts it".into())
        }
        Standing::Damaged if snapshot.faults.is_empty() => {
            Some("a verify found damage; `convault repair` may make it whole".into())
        }
        Standing::Damaged => {
            let faults = snapshot.faults.iter().map(|fault| format!("{}: {}", fault.object, fault.what));
            let faults = faults.collect::<Vec<_>>().join("; ");
            Some(format!("{faults}; `convault repair` may make it whole"))
        }
    }
}

fn alarm(entry: &Entry) -> Option<String> {
    let Entry { destination, deployment, folder } = entry;
    let why = why(&folder.state).filter(|_| folder.state.is_alarming())?;
    let state = folder.state.as_str();
    Some(format!("warning: {destination}: {} of {deployment} is {state}: {why}", folder.id))
}

fn row(entry: &Entry) -> Vec<String> {
    let folder = &entry.folder;
    let count = |of: fn(&convault_core::Totals) -> u64| {
        folder.manifest().map_or_else(|| "-".to_owned(), |manifest| print::number(of(&manifest.totals)))
    };
    vec![
        folder.id.to_string(),
        entry.deployment.clone(),
        entry.destination.clone(),
        print::time(taken(folder)),
        state(folder),
        count(|totals| totals.documents),
        count(|totals| totals.files),
        print::size(
            folder.manifest().map_or_else(|| folder.stored_bytes(), convault_core::Manifest::stored_bytes),
        ),
    ]
}

fn value(entry: &Entry) -> Value {
    let folder = &entry.folder;
    let mut value = json!({
        "id": folder.id,
        "deployment": entry.deployment,
        "destination": entry.destination,
        "state": folder.state.as_str(),
        "why": why(&folder.state),
        "alarming": folder.state.is_alarming(),
        "marks": folder.marks,
        "proofs": folder.proofs,
        "stored_bytes": folder.stored_bytes(),
    });
    let Some(snapshot) = folder.snapshot() else { return value };
    let manifest = &snapshot.manifest;
    let of_snapshot = json!({
        "snapshot_time": manifest.snapshot_time(),
        "judgement": snapshot.judgement,
        "faults": snapshot.faults,
        "kind": manifest.kind,
        "tags": manifest.tags,
        "keep_until": manifest.keep_until,
        "documents": manifest.totals.documents,
        "files": manifest.totals.files,
        "stored_bytes": manifest.stored_bytes(),
    });
    if let (Value::Object(value), Value::Object(of_snapshot)) = (&mut value, of_snapshot) {
        value.extend(of_snapshot);
    }
    value
}
