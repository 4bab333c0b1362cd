//! `convault export ID`: a snapshot, tables of it, or what is found in them, for whoever has no Convault.

use std::{path::Path, sync::Arc};

use convault_core::{DocumentFormat, TableRef};
use convault_jobs::{Content, Csv, HandedOver, JsonLines, Outlet, Receiver};
use serde_json::json;

use super::{Surroundings, reading::reading};
use crate::{
    arguments::{Export, Format},
    exit::{Exit, ExitWith},
    print,
    progress::Progress,
    sqlite::Sqlite,
};

pub(crate) async fn export(surroundings: &Surroundings, export: Export) -> anyhow::Result<Exit> {
    let reading = reading(surroundings, &export.one, &export.leaving).await?;
    let progress = Arc::new(Progress::new(surroundings.json));
    let run = surroundings.context(Arc::clone(&progress));
    let manifest = &reading.found.snapshot()?.manifest;
    let store = reading.found.destination.store.as_ref();
    let content = Content::new(store, manifest, reading.identities.as_ref(), &reading.rules, &run);
    let tables = tables(&content, &export).await?;
    let wanted = export.conditions.wanted(&export.ids);
    let receiver = receiver(&export, &content, &tables)?;
    // Both places are looked at before anything is read.
    let files = export.files.as_deref().map(Outlet::folder).transpose()?;
    let handed = convault_jobs::hand_over(&content, &tables, &wanted, receiver, &run).await?;
    let files = match files {
        Some(outlet) => Some(convault_jobs::files_to_folder(&content, outlet, &run).await?),
        None => None,
    };
    progress.clear();
    if manifest.source.documents == DocumentFormat::Legacy {
        print::note(
            "warning: the snapshot is of the old format, in which numbers have no types: every number is as it is \
             written there",
        );
    }
    tell(surroundings, &handed, files, content.read_bytes());
    Ok(Exit::Done)
}

/// The tables that are meant, in their order; all of them where none is named.
async fn tables(content: &Content<'_>, export: &Export) -> anyhow::Result<Vec<TableRef>> {
    let is_query = !export.ids.is_empty() || !export.conditions.is_empty();
    if is_query && export.tables.is_empty() {
        let text = "say in which table is looked, with --table TABLE".to_owned();
        return Err(ExitWith(Exit::Failed, text).into());
    }
    let mut all = content.tables().await?;
    all.extend(content.row_tables().await?);
    if let Some(missing) = export.tables.iter().find(|table| !all.contains(table)) {
        return Err(not_there(&format!("table {missing}")));
    }
    let has = |path: &String| all.iter().any(|table| table.component == *path);
    if let Some(missing) = export.components.iter().find(|path| !has(path)) {
        return Err(not_there(&format!("table of the component {missing}")));
    }
    let everything = export.tables.is_empty() && export.components.is_empty();
    all.retain(|table| {
        everything || export.tables.contains(table) || export.components.contains(&table.component)
    });
    Ok(all)
}

fn not_there(what: &str) -> anyhow::Error {
    ExitWith(Exit::NotFound, format!("the snapshot has no {what}; `convault show` names those it has")).into()
}

fn receiver(
    export: &Export,
    content: &Content<'_>,
    tables: &[TableRef],
) -> anyhow::Result<Box<dyn Receiver>> {
    let path: &Path = &export.output;
    // What one table of was asked for is a file.
    let outlet = || {
        if export.tables.len() == 1 && tables.len() == 1 { Outlet::file(path) } else { Outlet::folder(path) }
    };
    Ok(match export.format {
        Format::Jsonl => Box::new(JsonLines::new(outlet()?)),
        Format::Csv => Box::new(Csv::new(outlet()?, export.guard_formulas)),
        Format::Sqlite => {
            let manifest = content.manifest();
            let about = [
                ("snapshot", manifest.id.to_string()),
                ("deployment", manifest.deployment.to_string()),
                ("taken", manifest.snapshot_time().to_string()),
            ];
            Box::new(Sqlite::new(Outlet::file(path)?, &about)?)
        }
    })
}

fn tell(
    surroundings: &Surroundings,
    handed: &HandedOver,
    files: Option<convault_jobs::Written>,
    read_bytes: u64,
) {
    let documents: u64 = handed.tables.iter().map(|(_, documents)| documents).sum();
    if surroundings.json {
        let tables: Vec<_> = handed
            .tables
            .iter()
            .map(|(table, documents)| json!({ "table": table, "documents": documents }))
            .collect();
        print::json(&json!({
            "output": handed.made.path,
            "tables": tables,
            "documents": documents,
            "files": files.map(|files| json!({ "output": files.path, "files": files.files })),
            "notes": handed.made.notes,
            "read_bytes": read_bytes,
        }));
        return;
    }
    print::line(&format!(
        "{}: {} document(s) of {} table(s)",
        handed.made.path.display(),
        print::number(documents),
        handed.tables.len()
    ));
    if let Some(files) = files {
        print::line(&format!("{}: {} stored file(s)", files.path.display(), print::number(files.files)));
    }
    handed.made.notes.iter().for_each(|note| print::note(&format!("note: {note}")));
}
