//! `convault show ID`: everything a manifest says, and what was said of the snapshot since.

use convault_core::{FilesMode, Layout, Manifest, Mark, MarkKind, Rewritten, TableNames, Verdict};
use convault_jobs::{FolderState, Snapshot, is_storage_name};
use serde_json::{Value, json};

use super::{
    Surroundings,
    choose::{Found, find_folder},
    list::{state, why},
};
use crate::{arguments::One, exit::Exit, print};

/// The beginning of a table's hash that is shown; `--json` has all of it.
const HASH_DIGITS_SHOWN: usize = 12;

pub(crate) async fn show(surroundings: &Surroundings, one: One) -> anyhow::Result<Exit> {
    let settings = surroundings.settings()?;
    let found = find_folder(&settings, &one).await?;
    if surroundings.json {
        print::json(&value(&found));
    } else {
        print_folder(&found);
        if let Some(snapshot) = found.folder.snapshot() {
            print_tables(&snapshot.manifest);
        }
    }
    let is_snapshot = matches!(found.folder.state, FolderState::Snapshot(_));
    Ok(if found.folder.state.is_alarming() && !is_snapshot { Exit::Damaged } else { Exit::Done })
}

/// The manifest's fields, and beside them what is known of the folder.
fn value(found: &Found) -> Value {
    let folder = &found.folder;
    let mut value = json!({
        "id": folder.id,
        "deployment": found.deployment,
        "destination": found.destination.store.destination(),
        "state": folder.state.as_str(),
        "why": why(&folder.state),
        "marks": folder.marks,
        "proofs": folder.proofs,
        "signature": signature(found),
    });
    let manifest = folder.snapshot().and_then(|snapshot| serde_json::to_value(&snapshot.manifest).ok());
    if let (Value::Object(value), Some(Value::Object(manifest))) = (&mut value, manifest) {
        value.extend(manifest);
    }
    if let (Value::Object(value), Some(snapshot)) = (&mut value, folder.snapshot()) {
        value.insert("judgement".to_owned(), json!(snapshot.judgement));
        value.insert("faults".to_owned(), json!(snapshot.faults));
    }
    value
}

/// What there is to say of the manifest's signature.
fn signature(found: &Found) -> &'static str {
    let key = Layout::new(found.deployment.clone()).manifest(&found.folder.id);
    let key = Layout::signature_of(&key);
    let is_there = found.folder.objects.iter().any(|object| object.key == key);
    match (&found.folder.state, found.destination.trust.is_required()) {
        (FolderState::Untrusted(_), _) => "not trusted",
        (FolderState::Snapshot(_) | FolderState::FencedOff(_), true) => "by a trusted key",
        _ if is_there => "not checked, since the settings trust no key",
        _ => "none",
    }
}

fn print_folder(found: &Found) {
    let store = &found.destination.store;
    let mut lines = vec![
        ("snapshot", format!("{} ({})", found.folder.id, state(&found.folder))),
        ("why", why(&found.folder.state).unwrap_or_default()),
        ("in", format!("{}: {}", store.destination(), store.location())),
    ];
    if let Some(snapshot) = found.folder.snapshot() {
        lines.extend(of_snapshot(snapshot));
    }
    lines.push(("signature", signature(found).to_owned()));
    lines.extend(found.folder.marks.iter().map(|mark| ("mark", of_mark(mark))));
    let proofs = found.folder.proofs.iter();
    lines.extend(proofs.map(|run| ("proof", format!("{}, by {run}", print::time(run.time())))));
    for (name, text) in lines.iter().filter(|(_, text)| !text.is_empty()) {
        print::line(&format!("{name:<12} {text}"));
    }
}

fn of_snapshot(snapshot: &Snapshot) -> Vec<(&'static str, String)> {
    let manifest = &snapshot.manifest;
    let (totals, source) = (&manifest.totals, &manifest.source);
    let mut lines = vec![
        (
            "deployment",
            format!("{} ({}, server {})", manifest.deployment, source.instance, source.server_version),
        ),
        ("taken", print::time(manifest.snapshot_time())),
        ("tags", manifest.tags.join(", ")),
        ("kept until", manifest.keep_until.map(print::time).unwrap_or_default()),
        (
            "documents",
            format!(
                "{} in {} tables, {}",
                print::number(totals.documents),
                totals.tables,
                print::size(totals.document_bytes)
            ),
        ),
        (
            "files",
            format!(
                "{}, {} ({})",
                print::number(totals.files),
                print::size(totals.file_bytes),
                kept(manifest.files)
            ),
        ),
        ("checked", manifest.verification.checks.join("; ")),
        (
            "written anew",
            manifest.reencrypted_from.as_ref().map(|old| format!("from {old}")).unwrap_or_default(),
        ),
        (
            "erasures",
            if manifest.erasure > 0 { format!("{} entries then", manifest.erasure) } else { String::new() },
        ),
    ];
    lines.extend(manifest.rewritten_from.iter().map(|old| {
        let Rewritten { id, reason, documents, files, .. } = old;
        let text = format!("in place of {id}, without {documents} document(s) and {files} file(s): {reason}");
        ("written anew", text)
    }));
    lines.extend(manifest.recipients.iter().map(|recipient| ("encrypted to", recipient.clone())));
    if let Verdict::Suspect { problems } = &manifest.verdict {
        for problem in problems {
            lines.push(("suspect", problem.what.clone()));
            lines.extend(problem.ids.iter().map(|id| ("", id.clone())));
        }
    }
    let missing = manifest.not_covered.iter();
    lines.extend(missing.map(|missing| ("not covered", format!("{}: {}", missing.what, missing.why))));
    lines
}

/// `hold, 2026-11-22 03:00:00 UTC, until …: before the audit`.
fn of_mark(mark: &Mark) -> String {
    let mut parts = vec![mark.kind.as_str().to_owned(), print::time(mark.at)];
    match mark.until {
        Some(until) => parts.push(format!("until {}", print::time(until))),
        None if mark.kind == MarkKind::Hold => parts.push("until it is released".to_owned()),
        None => {}
    }
    if !mark.names.is_empty() {
        parts.push(mark.names.join(" "));
    }
    let text = parts.join(", ");
    if mark.reason.is_empty() { text } else { format!("{text}: {}", mark.reason) }
}

/// As much of a hashed name as tells it from others.
fn shown_name(name: &str, names: TableNames) -> String {
    match (names, name.get(..HASH_DIGITS_SHOWN)) {
        (TableNames::Keyed, Some(beginning)) => format!("{beginning}…"),
        _ => name.to_owned(),
    }
}

fn print_tables(manifest: &Manifest) {
    let objects: Vec<Vec<String>> = manifest
        .objects
        .iter()
        .map(|object| vec![object.name.clone(), print::size(object.size_bytes), object.sha256.to_string()])
        .collect();
    print::table(&["OBJECT", ">SIZE", "SHA-256"], &objects);
    let tables: Vec<Vec<String>> = manifest
        .tables
        .iter()
        .map(|table| {
            vec![
                shown_name(&table.component, manifest.table_names),
                shown_name(&table.table, manifest.table_names),
                print::number(table.documents),
                print::size(table.bytes),
            ]
        })
        .collect();
    print::table(&["COMPONENT", "TABLE", ">DOCUMENTS", ">SIZE"], &tables);
    for table in manifest.tables.iter().filter(|table| is_storage_name(&table.table)) {
        print::note(&format!(
            "warning: no backend imports its own export of a table named like `{}`; `convault restore` knows a way",
            table.table
        ));
    }
}

/// How stored files are kept.
fn kept(files: FilesMode) -> &'static str {
    match files {
        FilesMode::Inline => "in the ZIP",
        FilesMode::Shared => "shared between snapshots",
        FilesMode::None => "left out",
    }
}
