//! `convault restore ID --to NAME`: brings a snapshot into a deployment; the plan comes first.

mod history;
mod questions;
mod sequence;
mod shown;
mod work;

use std::{collections::BTreeSet, sync::Arc};

use convault_core::{Manifest, StoreError, StoreErrorKind, TableRef};
use convault_jobs::{Content, JobError, Rules, Selected, plan_restore};
use serde_json::{Value, json};

use self::{
    history::History,
    questions::{agreed, leave_out, refusal},
    sequence::Sequence,
    shown::Shown,
    work::Work,
};
use super::{
    Surroundings,
    reading::{Reading, reading},
    secrets::environment_at,
    target::aim,
};
use crate::{
    arguments::Restore,
    exit::{Exit, ExitWith},
    print,
    progress::Progress,
};

pub(crate) async fn restore(surroundings: &Surroundings, restore: Restore) -> anyhow::Result<Exit> {
    let settings = surroundings.settings()?;
    let Reading { found, identities, mut rules } =
        reading(surroundings, &restore.one, &restore.leaving).await?;
    let snapshot = found.snapshot()?;
    let (store, manifest) = (found.destination.store.as_ref(), &snapshot.manifest);
    let progress = Arc::new(Progress::new(surroundings.json));
    let run = surroundings.context(Arc::clone(&progress));
    rules.only = selection(&restore);
    let aimed = aim(&settings, &restore.to).await?;
    let plan = {
        let content = Content::new(store, manifest, identities.as_ref(), &rules, &run);
        check_selection(&content, &rules).await?;
        plan_restore(&content, &aimed.contents).await?
    };
    let sequence = Sequence::of(store, manifest, identities.as_ref(), &settings).await;
    progress.clear();
    let mut told = json!({
        "snapshot": manifest.id,
        "destination": found.destination.store.destination(),
        "target": aimed.name(),
        "identity": aimed.identity,
        "plan": plan,
        "emergency": sequence,
    });
    if !surroundings.json {
        let (restore, found, aimed, plan) = (&restore, &found, &aimed, &plan);
        Shown { restore, found, snapshot, aimed, plan, sequence: &sequence }.print();
    }
    let refusal = refusal(&restore, &aimed, &plan, &settings).await;
    if restore.dry_run {
        return dry(surroundings, told, refusal);
    }
    refusal?;
    agreed(surroundings, &restore, &aimed, &plan)?;
    leave_out(&mut rules, &plan);
    let environment = if restore.environment {
        Some(environment_at(&settings, &found, identities.as_ref()).await?)
    } else {
        None
    };
    let content = Content::new(store, manifest, identities.as_ref(), &rules, &run);
    let work = Work { surroundings, restore: &restore, aimed: &aimed, plan: &plan, context: &run };
    let history = History::begin(&settings, aimed.name(), manifest, &run);
    let guarded = work.perform(&content, &rules.erased).await.map_err(|error| vanished(error, manifest));
    progress.clear();
    history.end(&guarded, &run).await;
    let mut exit = work.report(&guarded?, &mut told);
    if let Some(wanted) = environment {
        if exit == Exit::Done {
            exit = work.write_environment(&wanted, &mut told).await?;
        } else {
            let (target, id) = (aimed.name(), &manifest.id);
            print::note(&format!(
                "the environment variables were not written, since the data is not all as planned; when it is: convault \
                 secrets restore --to {target} --from {id} --yes"
            ));
        }
    }
    if surroundings.json {
        print::json(&told);
    }
    Ok(exit)
}

/// Another machine's prune may remove what is being read. Content that is missing ends a restore before anything is written.
fn vanished(error: anyhow::Error, manifest: &Manifest) -> anyhow::Error {
    let is_missing = |cause: &(dyn std::error::Error + 'static)| {
        let of_job = cause.downcast_ref::<JobError>().and_then(|error| match error {
            JobError::Store(error) => Some(error),
            _ => None,
        });
        of_job
            .or_else(|| cause.downcast_ref::<StoreError>())
            .is_some_and(|error| error.kind == StoreErrorKind::NotFound)
    };
    if !error.chain().any(is_missing) {
        return error;
    }
    let id = &manifest.id;
    error.context(format!(
        "{id} went away while it was read, as when a prune removes it, and nothing was written: choose another one, or keep \
         it meanwhile (`convault hold {id} --reason restoring`)"
    ))
}

/// Only the plan was asked for; where nothing would be done, it says so as the restore would.
fn dry(surroundings: &Surroundings, mut told: Value, refusal: anyhow::Result<()>) -> anyhow::Result<Exit> {
    if surroundings.json {
        told["refused"] = json!(refusal.as_ref().err().map(|error| format!("{error:#}")));
        print::json(&told);
    }
    refusal.map(|()| Exit::Done)
}

/// What was chosen of the snapshot; `None` means all of it.
fn selection(restore: &Restore) -> Option<BTreeSet<Selected>> {
    let tables = restore.only.iter().cloned().map(Selected::Table);
    let components = restore.components.iter().cloned().map(Selected::Component);
    let selected: BTreeSet<Selected> = tables.chain(components).collect();
    (!selected.is_empty()).then_some(selected)
}

/// A slip of the pen must not restore a part of what was meant.
async fn check_selection(content: &Content<'_>, rules: &Rules) -> anyhow::Result<()> {
    let Some(only) = &rules.only else { return Ok(()) };
    let (tables, components) = (content.tables().await?, content.components().await?);
    let is_there = |selected: &&Selected| match selected {
        Selected::Component(path) => components.contains(path),
        Selected::Table(TableRef { component, table }) if table == "_storage" => {
            components.contains(component)
        }
        Selected::Table(table) => tables.contains(table),
    };
    if let Some(missing) = only.iter().find(|selected| !is_there(selected)) {
        let what = match missing {
            Selected::Component(path) => format!("component `{path}`"),
            Selected::Table(table) => format!("table `{table}`"),
        };
        let text = format!("{} has no {what}; `convault show` names what it has", content.manifest().id);
        return Err(ExitWith(Exit::NotFound, text).into());
    }
    Ok(())
}
