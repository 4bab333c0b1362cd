//! `convault find`: documents, wherever in the snapshots they are, without downloading any.

use std::{collections::HashSet, io::Write as _, sync::Arc};

use bytes::Bytes;
use convault_core::{Manifest, Sha256, TableRef};
use convault_jobs::{Content, JobError, Looked, Lookup, Rules, RunContext, Wanted, find_documents};
use serde::Serialize;
use serde_json::{json, value::RawValue};

use super::{
    Surroundings,
    choose::Found,
    reading::reading,
    several::{Snapshots, Where, read_of},
};
use crate::{
    arguments::{Find, One},
    exit::{Exit, ExitWith},
    print,
    progress::Progress,
};

/// Of so many lines it is known that they were printed.
const MOST_SEEN: usize = 1_000_000;

pub(crate) async fn find(surroundings: &Surroundings, find: Find) -> anyhow::Result<Exit> {
    let wanted = find.wanted.conditions.wanted(&find.wanted.ids);
    let table = find.wanted.table.as_ref();
    if find.wanted.ids.is_empty() && find.wanted.conditions.is_empty() {
        return usage("say what is looked for: --id ID, or --table TABLE with --field, --text or a time");
    }
    if table.is_none() && !wanted.is_ids_only() {
        return usage("only ids are looked for in every table: say which is meant, with --table TABLE");
    }
    let progress = Arc::new(Progress::new(surroundings.json));
    let context = surroundings.context(Arc::clone(&progress));
    let mut search = Search {
        surroundings,
        table,
        wanted,
        lookup: Lookup::new(),
        printed: Printed::default(),
        documents: 0,
        context: &context,
    };
    if let Some(snapshot) = find.several.snapshot {
        let one = One {
            snapshot,
            deployment: find.several.deployment,
            destination: find.several.destination,
            as_of: find.several.as_of,
        };
        let reading = reading(surroundings, &one, &find.leaving).await?;
        search.look(&reading.found, reading.identities.as_ref(), &reading.rules).await?;
    } else {
        let place = Where {
            deployment: find.several.deployment.as_ref(),
            destination: find.several.destination.as_ref(),
            since: find.several.since,
            as_of: find.several.as_of.bucket_as_of,
        };
        let snapshots = Snapshots::all(surroundings, &place, &find.leaving).await?;
        for found in &snapshots.found {
            let rules = snapshots.rules(found, &find.leaving).await?;
            search.look(found, snapshots.identities.as_ref(), &rules).await?;
        }
    }
    if search.documents > 0 {
        return Ok(Exit::Done);
    }
    print::note("no document was found");
    Ok(Exit::NotFound)
}

fn usage(text: &str) -> anyhow::Result<Exit> {
    Err(ExitWith(Exit::Failed, text.to_owned()).into())
}

struct Search<'a> {
    surroundings: &'a Surroundings,
    table: Option<&'a TableRef>,
    wanted: Wanted,
    lookup: Lookup,
    printed: Printed,
    documents: u64,
    context: &'a RunContext,
}

impl Search<'_> {
    /// Looks into one snapshot and tells what it found.
    async fn look(
        &mut self,
        found: &Found,
        identities: Option<&convault_archive::encryption::Identities>,
        rules: &Rules,
    ) -> anyhow::Result<()> {
        let manifest = &found.snapshot()?.manifest;
        let store = found.destination.store.as_ref();
        let content = Content::new(store, manifest, identities, rules, self.context);
        let (printed, as_json) = (&mut self.printed, self.surroundings.json);
        let take = |table: &TableRef, line: Bytes| {
            printed.document(manifest, table, &line, as_json);
            Ok::<(), JobError>(())
        };
        let looked =
            find_documents(&content, self.table, &self.wanted, &mut self.lookup, self.context, take).await;
        // Of several snapshots the older ones may have no such table yet.
        let looked = match looked {
            Err(error @ JobError::NoSuchEntry { .. }) => {
                print::note(&format!("{}: {error}", manifest.id));
                return Ok(());
            }
            looked => looked?,
        };
        self.documents += looked.documents;
        tell(manifest, &looked, as_json);
        Ok(())
    }
}

/// What is told of one snapshot, beside the documents themselves.
fn tell(manifest: &Manifest, looked: &Looked, as_json: bool) {
    if as_json {
        print::json(&json!({
            "snapshot": manifest.id,
            "taken": manifest.snapshot_time(),
            "tables": looked.tables,
            "documents": looked.documents,
            "read_bytes": looked.read_bytes,
            "stored_bytes": looked.stored_bytes,
        }));
        return;
    }
    let tables: Vec<String> = looked.tables.iter().map(ToString::to_string).collect();
    let tables = if tables.is_empty() { "no table has such an id".to_owned() } else { tables.join(", ") };
    print::note(&format!(
        "{} ({}): {} found in {tables}; {}",
        manifest.id,
        print::time(manifest.snapshot_time()),
        print::number(looked.documents),
        read_of(looked)
    ));
}

/// Prints documents: as text each state once, as JSON each with its snapshot.
#[derive(Default)]
struct Printed {
    seen: HashSet<Sha256>,
}

#[derive(Serialize)]
struct FoundDocument<'a> {
    snapshot: &'a convault_core::SnapshotId,
    table: &'a TableRef,
    document: &'a RawValue,
}

impl Printed {
    fn document(&mut self, manifest: &Manifest, table: &TableRef, line: &[u8], as_json: bool) {
        if as_json {
            // What was stored was checked to be JSON; its bytes stay as they are.
            if let Ok(document) = serde_json::from_slice(line) {
                print::json(&FoundDocument { snapshot: &manifest.id, table, document });
            }
            return;
        }
        if self.seen.len() < MOST_SEEN && !self.seen.insert(Sha256::of(line)) {
            return;
        }
        write_line(line);
    }
}

/// Prints a line byte for byte.
pub(crate) fn write_line(line: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    // A reader that went away is no reason to fail.
    drop(stdout.write_all(line).and_then(|()| stdout.write_all(b"\n")));
}
