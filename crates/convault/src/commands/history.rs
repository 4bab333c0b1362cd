//! `convault history TABLE ID`: what became of one document, from snapshot to snapshot.

use std::sync::Arc;

use convault_core::Manifest;
use convault_jobs::{Content, FieldChange, Life, LifeStep};
use serde_json::{Value, json, value::RawValue};

use super::{
    Surroundings,
    several::{Snapshots, Where},
};
use crate::{arguments::History, exit::Exit, print, progress::Progress};

pub(crate) async fn history(surroundings: &Surroundings, history: History) -> anyhow::Result<Exit> {
    let progress = Arc::new(Progress::new(surroundings.json));
    let run = surroundings.context(Arc::clone(&progress));
    let place = Where {
        deployment: history.deployment.as_ref(),
        destination: history.destination.as_ref(),
        since: history.since,
        as_of: history.as_of.bucket_as_of,
    };
    let snapshots = Snapshots::all(surroundings, &place, &history.leaving).await?;
    let mut life = Life::new(history.table.clone(), &history.id);
    let (mut read_bytes, mut was_seen) = (0, false);
    for found in &snapshots.found {
        let manifest = &found.snapshot()?.manifest;
        let rules = snapshots.rules(found, &history.leaving).await?;
        let store = found.destination.store.as_ref();
        let content = Content::new(store, manifest, snapshots.identities.as_ref(), &rules, &run);
        let step = life.look(&content).await?;
        read_bytes += content.read_bytes();
        was_seen |= matches!(step, LifeStep::Appeared(_));
        tell(manifest, &step, surroundings.json);
    }
    let number = snapshots.found.len();
    let read = print::size(read_bytes);
    print::note(&format!("{number} snapshot(s) looked into, {read} read"));
    if was_seen {
        return Ok(Exit::Done);
    }
    print::note(&format!("none of them has {} in {}", history.id, history.table));
    Ok(Exit::NotFound)
}

fn tell(manifest: &Manifest, step: &LifeStep, as_json: bool) {
    let word = match step {
        LifeStep::Same | LifeStep::Absent => return,
        LifeStep::Appeared(_) => "appeared",
        LifeStep::Changed { .. } => "changed",
        LifeStep::Vanished => "vanished",
    };
    if as_json {
        return print::json(&value(manifest, step, word));
    }
    print::line(&format!("{}  {}  {word}", print::time(manifest.snapshot_time()), manifest.id));
    match step {
        LifeStep::Appeared(line) => print::line(&format!("  {}", String::from_utf8_lossy(line))),
        LifeStep::Changed { changes, .. } => {
            for change in changes {
                print::line(&format!("  {}", text(change)));
            }
        }
        LifeStep::Same | LifeStep::Absent | LifeStep::Vanished => {}
    }
}

/// `stage: "lead" → "won"`.
pub(crate) fn text(change: &FieldChange) -> String {
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".to_owned());
    format!("{}: {} → {}", change.field, shown(&change.before), shown(&change.after))
}

/// Values are texts of JSON, so that whoever reads them does not take an Int64 for a Float64.
fn value(manifest: &Manifest, step: &LifeStep, word: &str) -> Value {
    let mut value = json!({ "snapshot": manifest.id, "taken": manifest.snapshot_time(), "what": word });
    match step {
        LifeStep::Appeared(line) => value["document"] = json!(as_text(line)),
        LifeStep::Changed { line, changes } => {
            value["document"] = json!(as_text(line));
            value["changes"] = json!(changes);
        }
        LifeStep::Same | LifeStep::Absent | LifeStep::Vanished => {}
    }
    value
}

fn as_text(line: &[u8]) -> String {
    serde_json::from_slice::<&RawValue>(line).map_or_else(|_| String::new(), |raw| raw.get().to_owned())
}
