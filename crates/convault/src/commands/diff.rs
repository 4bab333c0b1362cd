//! `convault diff A B`: which documents differ between two snapshots, table by table.

use std::sync::Arc;

use convault_core::TableRef;
use convault_jobs::{Content, DocumentDifference, TableDifference, changes};
use serde_json::json;

use super::{
    Surroundings,
    history::text,
    reading::{Reading, reading},
};
use crate::{
    arguments::{AsOf, Diff, One, Which},
    exit::Exit,
    print,
    progress::Progress,
};

pub(crate) async fn diff(surroundings: &Surroundings, diff: Diff) -> anyhow::Result<Exit> {
    let (before, after) =
        (side(surroundings, &diff, &diff.before).await?, side(surroundings, &diff, &diff.after).await?);
    let progress = Arc::new(Progress::new(surroundings.json));
    let context = surroundings.context(Arc::clone(&progress));
    let (old, new) = (&before.found.snapshot()?.manifest, &after.found.snapshot()?.manifest);
    let (old_store, new_store) =
        (before.found.destination.store.as_ref(), after.found.destination.store.as_ref());
    let old = Content::new(old_store, old, before.identities.as_ref(), &before.rules, &context);
    let new = Content::new(new_store, new, after.identities.as_ref(), &after.rules, &context);
    let take = |table: &TableRef, difference: DocumentDifference| {
        if !diff.summary {
            tell(table, &difference, surroundings.json);
        }
    };
    let tables = convault_jobs::diff(&old, &new, diff.table.as_ref(), &context, take).await?;
    summary(&tables, surroundings.json);
    let read = print::size(old.read_bytes() + new.read_bytes());
    let unread = tables.iter().filter(|table| !table.was_read).count();
    print::note(&format!("{read} read; {unread} of {} table(s) are equal by their digests", tables.len()));
    Ok(Exit::Done)
}

async fn side(surroundings: &Surroundings, diff: &Diff, which: &Which) -> anyhow::Result<Reading> {
    let one = One {
        snapshot: which.clone(),
        deployment: diff.deployment.clone(),
        destination: diff.destination.clone(),
        as_of: AsOf::default(),
    };
    reading(surroundings, &one, &diff.leaving).await
}

fn tell(table: &TableRef, difference: &DocumentDifference, as_json: bool) {
    let shown = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
    match difference {
        _ if as_json => print::json(&value(table, difference)),
        DocumentDifference::Added(line) => print::line(&format!("+ {table} {}", shown(line))),
        DocumentDifference::Removed(line) => print::line(&format!("- {table} {}", shown(line))),
        DocumentDifference::Changed { before, after } => {
            let id = convault_jobs::members(after).unwrap_or_default().into_iter();
            let id = id.filter(|(name, _)| name == "_id").map(|(_, raw)| raw.trim_matches('"')).next();
            print::line(&format!("~ {table} {}", id.unwrap_or_default()));
            for change in changes(before, after) {
                print::line(&format!("    {}", text(&change)));
            }
        }
    }
}

/// Documents are texts of JSON, so that whoever reads them does not take an Int64 for a Float64.
fn value(table: &TableRef, difference: &DocumentDifference) -> serde_json::Value {
    let shown = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
    match difference {
        DocumentDifference::Added(line) => json!({ "table": table, "what": "added", "after": shown(line) }),
        DocumentDifference::Removed(line) => {
            json!({ "table": table, "what": "removed", "before": shown(line) })
        }
        DocumentDifference::Changed { before, after } => json!({
            "table": table, "what": "changed", "before": shown(before), "after": shown(after),
            "changes": changes(before, after),
        }),
    }
}

fn summary(tables: &[TableDifference], as_json: bool) {
    if as_json {
        for table in tables {
            print::json(&json!({
                "table": table.table, "added": table.added, "removed": table.removed, "changed": table.changed,
                "was_there": table.was_there, "is_there": table.is_there, "was_read": table.was_read,
            }));
        }
        return;
    }
    let rows: Vec<Vec<String>> = tables
        .iter()
        .filter(|table| table.differs())
        .map(|table| {
            let note = match (table.was_there, table.is_there) {
                (false, _) => "new",
                (_, false) => "gone",
                _ => "",
            };
            let [added, removed, changed] = [table.added, table.removed, table.changed].map(print::number);
            vec![table.table.to_string(), added, removed, changed, note.to_owned()]
        })
        .collect();
    if rows.is_empty() {
        print::line("no document differs");
    } else {
        print::table(&["TABLE", ">ADDED", ">REMOVED", ">CHANGED", ""], &rows);
    }
}
