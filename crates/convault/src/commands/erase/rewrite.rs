//! `convault erase --rewrite`: clean copies in place of stored snapshots.

use convault_core::{Clock as _, DestinationName, Keep, SnapshotId, SystemClock};
use convault_jobs::{
    AnewRules, Destination, JobError, OldSnapshot, PruneRules, chain,
    erasure::{Ledger, Rewrite, Rewriting, RewrittenSnapshot, read_ledger},
};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::{Bench, certificate};
use crate::{
    arguments::Erase,
    commands::{choose::chosen_destinations, erasures},
    exit::Exit,
    print,
    worker::VERSION,
};

/// What became of one snapshot.
struct Told {
    destination: DestinationName,
    id: SnapshotId,
    result: Result<Rewriting, JobError>,
}

pub(super) async fn rewrite(bench: &Bench<'_>, wish: &Erase) -> anyhow::Result<Exit> {
    let chosen = chosen_destinations(bench.settings, wish.destination.as_ref(), None)?;
    let mut all = Vec::new();
    for destination in &chosen {
        let survey = convault_jobs::survey(destination, &bench.deployment, &[], SystemClock.now()).await?;
        if survey.folders.is_empty() {
            continue;
        }
        let context = bench.context();
        let ledger =
            read_ledger(&bench.deployment, destination, &bench.destinations, &bench.keys, &context).await?;
        if ledger.is_empty() {
            print::note(&format!("{}: nobody is to be forgotten", destination.store.destination()));
            continue;
        }
        for folder in survey.folders.iter().filter(|folder| folder.snapshot().is_some()) {
            let told = one(bench, destination, &ledger, &folder.id, wish.dry_run).await;
            bench.progress.clear();
            if matches!(told.result, Err(JobError::Stopped)) {
                return Err(JobError::Stopped.into());
            }
            if !bench.surroundings.json {
                tell(&told, wish.dry_run);
            }
            all.push(told);
        }
    }
    if bench.surroundings.json {
        print::json(&all.iter().map(value).collect::<Vec<_>>());
    } else if all.iter().all(|told| matches!(told.result, Ok(Rewriting::Clean))) {
        print::line("nothing that is stored has anything to erase");
    }
    let rewritten: Vec<(DestinationName, RewrittenSnapshot)> = all
        .iter()
        .filter_map(|told| match &told.result {
            Ok(Rewriting::Rewritten(one)) => Some((told.destination.clone(), one.as_ref().clone())),
            _ => None,
        })
        .collect();
    if let Some(file) = wish.certificate.as_deref().filter(|_| !wish.dry_run) {
        certificate::make(bench, file, &rewritten).await?;
    }
    Ok(if all.iter().all(is_done) { Exit::Done } else { Exit::Partial })
}

async fn one(
    bench: &Bench<'_>,
    destination: &Destination,
    ledger: &Ledger,
    id: &SnapshotId,
    dry_run: bool,
) -> Told {
    // Each is a run of its own, whose identifier the new snapshot has.
    let context = bench.context();
    let rules = AnewRules {
        version: VERSION.to_owned(),
        upload_memory_bytes: bench.settings.daemon.upload_memory_bytes,
        stall_limit: bench.settings.daemon.stall_limit,
        keep_old: false,
        prune: PruneRules {
            clock_skew_limit: bench.settings.daemon.clock_skew_limit,
            ..PruneRules::new(Keep::default(), TimeZone::UTC)
        },
    };
    let rewrite = Rewrite {
        destination,
        ledger,
        identities: bench.keys.identities.as_ref(),
        limits: erasures::limits(bench.settings),
        rules: &rules,
    };
    let result = if dry_run {
        convault_jobs::erasure::plan_rewrite(&rewrite, &bench.deployment, id, &context).await
    } else {
        convault_jobs::erasure::rewrite(&rewrite, &bench.deployment, id, &context).await
    };
    Told { destination: destination.store.destination().clone(), id: id.clone(), result }
}

/// Whether nothing that is erased is left of a snapshot.
fn is_done(told: &Told) -> bool {
    match &told.result {
        Ok(Rewriting::Clean) => true,
        Ok(Rewriting::Rewritten(one)) => one.fate == OldSnapshot::Removed,
        Ok(Rewriting::Superseded(_, fate)) => *fate == OldSnapshot::Removed,
        Err(_) => false,
    }
}

fn tell(told: &Told, dry_run: bool) {
    let Told { destination, id, result } = told;
    match result {
        Ok(Rewriting::Clean) => {}
        Ok(Rewriting::Rewritten(one)) => {
            let what = erasures::told(&one.found).unwrap_or_default();
            let line = if dry_run {
                format!("{destination} {id}: {what} would be left out")
            } else {
                let size = print::size(one.stored_bytes);
                format!("{destination} {id}: now {}, {size}, without {what}; {}", one.id, old(&one.fate))
            };
            print::line(&line);
        }
        Ok(Rewriting::Superseded(newer, fate)) => {
            print::line(&format!("{destination} {id}: {newer} is in its place; {}", old(fate)));
        }
        Err(error) => print::note(&format!("convault: {destination} {id}: {}", chain(error))),
    }
}

fn old(fate: &OldSnapshot) -> String {
    match fate {
        OldSnapshot::Removed => "the old one is removed".to_owned(),
        OldSnapshot::Kept => "the old one is kept".to_owned(),
        OldSnapshot::Locked(until) => format!(
            "the old one is locked until {}, and holds erased data: `erase --rewrite` after that removes it",
            print::time(*until)
        ),
        OldSnapshot::HeldBack(why) => format!("the old one stays, and holds erased data: {why}"),
    }
}

fn value(told: &Told) -> Value {
    let Told { destination, id, result } = told;
    let mut value = json!({ "destination": destination, "snapshot": id });
    let more = match result {
        Ok(Rewriting::Clean) => json!({ "state": "clean" }),
        Ok(Rewriting::Rewritten(one)) => json!({
            "state": "rewritten",
            "new": one.id,
            "stored_bytes": one.stored_bytes,
            "documents": one.found.documents.iter().map(|(table, count)| (table.to_string(), json!(count)))
                .collect::<serde_json::Map<_, _>>(),
            "files": one.found.files,
            "old": fate_word(&one.fate),
            "locked_until": locked(&one.fate),
        }),
        Ok(Rewriting::Superseded(newer, fate)) => json!({
            "state": "superseded", "new": newer, "old": fate_word(fate), "locked_until": locked(fate),
        }),
        Err(error) => json!({ "state": "failed", "error": chain(error) }),
    };
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}

fn fate_word(fate: &OldSnapshot) -> &'static str {
    match fate {
        OldSnapshot::Removed => "removed",
        OldSnapshot::Kept => "kept",
        OldSnapshot::Locked(_) => "locked",
        OldSnapshot::HeldBack(_) => "held-back",
    }
}

fn locked(fate: &OldSnapshot) -> Option<jiff::Timestamp> {
    match fate {
        OldSnapshot::Locked(until) => Some(*until),
        _ => None,
    }
}
