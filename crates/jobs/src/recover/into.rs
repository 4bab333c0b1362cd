//! [`recover_into`]: what was chosen, back in a deployment: added where it is gone, and where an import cannot add it, by a
//! rewrite of its table as it is live.

use std::collections::BTreeMap;

use bytes::Bytes;
use convault_archive::encryption::Identities;
use convault_core::{
    DocumentFormat, ImportKind, ImportMode, ImportRequest, Manifest, Store, TableRef, TargetContents,
};
use serde::Serialize;

use super::{
    choice::Chosen,
    feed::{Back, FilesFeed, Sent, TableFeed},
    patch::patched,
};
use crate::{
    Content, JobError, Rules, RunContext,
    look::{Held as HeldLines, Meeting, Merge, Side},
    restore::{Guard, Held, Prepared, SafetySnapshot, prepare},
    survey::find,
};

/// An append of no more than this is one transaction of the deployment: it leaves all of it or nothing (half of 16 MiB and
/// of 16,000 documents is where a second one begins).
const ONE_TRANSACTION: (usize, usize) = (4_000, 4 << 20);

/// How documents of a table were brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Everything was there as it is to be.
    Nothing,
    /// They were added, and nothing else was touched.
    Append,
    /// The table was replaced by itself with them in it.
    Rewrite,
}

/// What became of one table; of stored files, with the name `_storage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecoveredTable {
    /// Which.
    pub table: TableRef,
    /// How.
    pub way: Way,
    /// Documents or files that had not been there.
    pub added: u64,
    /// Documents that had been there otherwise.
    pub changed: u64,
    /// Documents or files that were there as they are to be.
    pub same: u64,
}

/// What a recovery came to.
#[derive(Debug)]
pub struct Recovered {
    /// The snapshot of what was live before; `None` where nothing was.
    pub safety: Option<SafetySnapshot>,
    /// The tables that are done.
    pub tables: Vec<RecoveredTable>,
    /// What ended it early; the tables before are done, and the one it happened at is as it was.
    pub failure: Option<JobError>,
    /// What the deployment held afterwards.
    pub contents: Option<TargetContents>,
    /// What went wrong beside it, each a sentence.
    pub problems: Vec<String>,
}

/// What cannot be brought back into a deployment, and why. Looked at before anything is asked of one.
pub fn unrecoverable(content: &Content<'_>, chosen: &Chosen) -> Option<JobError> {
    let refused =
        |what: String| Some(JobError::NotRecovered { what, place: content.manifest().id.to_string() });
    let tables = chosen.documents.keys().chain(&chosen.whole);
    for table in tables {
        if table.table == "_storage" {
            return refused("rows of stored files are brought back with their files: --file ID".to_owned());
        }
        if table.table.ends_with("_storage") {
            return refused(format!(
                "no backend imports the types of {table}, because of its name; recover it to a file, or see `restore`"
            ));
        }
    }
    let has_documents = !chosen.documents.is_empty() || chosen.whole.is_some();
    if has_documents && content.manifest().source.documents == DocumentFormat::Legacy {
        return refused(
            "it is of the old format, in which types are told beside the documents; recover to a file, or use \
             `restore --only TABLE`"
                .to_owned(),
        );
    }
    let own = |name: &str| name == "_id" || name == "_creationTime";
    match chosen.fields.iter().find(|field| own(&field.0[0])) {
        Some(field) => refused(format!("{field} of a document that is there never changes")),
        None => None,
    }
}

/// Brings what was chosen into the deployment that `guard` is for. An error means that not one write reached it.
pub async fn recover_into(
    content: &Content<'_>,
    chosen: &Chosen,
    guard: &Guard<'_>,
    identities: Option<&Identities>,
    context: &RunContext,
) -> Result<Recovered, JobError> {
    let held = Held::begin(guard, context).await?;
    let (mut tables, mut failure) = (Vec::new(), None);
    match Live::of(guard, held.safety.as_ref(), context).await {
        Err(error) => failure = Some(error),
        Ok(live) => {
            let rules = Rules::default();
            let live_content = live
                .as_ref()
                .map(|live| Content::new(live.store, &live.manifest, identities, &rules, context));
            let recovery =
                Recovery { content, chosen, guard, held: &held, live: live_content.as_ref(), context };
            if let Err(error) = recovery.perform(&mut tables).await {
                failure = Some(error);
            }
        }
    }
    let (safety, contents, problems) = held.end(failure.as_ref()).await;
    Ok(Recovered { safety, tables, failure, contents, problems })
}

/// The safety snapshot, as something to be read.
struct Live<'a> {
    store: &'a dyn Store,
    manifest: Manifest,
}

impl<'a> Live<'a> {
    async fn of(
        guard: &Guard<'a>,
        safety: Option<&SafetySnapshot>,
        context: &RunContext,
    ) -> Result<Option<Self>, JobError> {
        let (Some(taken), Some(rules)) = (safety, &guard.safety) else { return Ok(None) };
        let is_it = |destination: &&crate::Destination| *destination.store.destination() == taken.destination;
        let Some(destination) = rules.destinations.iter().find(is_it) else { return Ok(None) };
        let found = find(destination, &taken.deployment, Some(&taken.id), context.clock.now()).await?;
        let missing = || JobError::NoSuchSnapshot {
            id: taken.id.clone(),
            deployment: taken.deployment.to_string(),
            destination: taken.destination.to_string(),
        };
        let manifest = found.ok_or_else(missing)?.manifest;
        Ok(Some(Self { store: destination.store.as_ref(), manifest }))
    }
}

/// One recovery at work.
struct Recovery<'a, 'c> {
    content: &'a Content<'c>,
    chosen: &'a Chosen,
    guard: &'a Guard<'a>,
    held: &'a Held<'a>,
    live: Option<&'a Content<'a>>,
    context: &'a RunContext,
}

/// How chosen documents of a table stand to those that are live.
#[derive(Default)]
struct Standing {
    /// What has to be brought, by id.
    bring: BTreeMap<String, Bytes>,
    added: u64,
    changed: u64,
    same: u64,
}

impl Recovery<'_, '_> {
    async fn perform(&self, done: &mut Vec<RecoveredTable>) -> Result<(), JobError> {
        for (table, documents) in &self.chosen.documents {
            done.push(self.documents(table, documents).await?);
        }
        if let Some(table) = &self.chosen.whole {
            done.push(self.whole(table).await?);
        }
        if !self.chosen.files.is_empty() {
            done.extend(self.files().await?);
        }
        Ok(())
    }

    async fn documents(
        &self,
        table: &TableRef,
        documents: &BTreeMap<String, Bytes>,
    ) -> Result<RecoveredTable, JobError> {
        let standing = self.standing(table, documents).await?;
        let Standing { bring, added, changed, same } = standing;
        let told = |way| RecoveredTable { table: table.clone(), way, added, changed, same };
        if bring.is_empty() {
            return Ok(told(Way::Nothing));
        }
        let (most, most_bytes) = ONE_TRANSACTION;
        let bytes: usize = bring.values().map(Bytes::len).sum();
        if changed == 0 && bring.len() <= most && bytes <= most_bytes {
            let feed = Self::feed(table, Back::Documents(&bring), None, bytes as u64);
            let prepared = self.prepared(&feed, ImportMode::Append).await?;
            match self.held.perform(prepared, async || Ok(())).await {
                Ok(_) => return Ok(told(Way::Append)),
                Err(JobError::Import { what, .. }) if is_about_deleted(&what) => {
                    self.context.message(format!(
                        "{table}: the deployment does not add again what was deleted there; the table is replaced by itself \
                         with them in it"
                    ));
                }
                Err(error) => return Err(error),
            }
        }
        let live_bytes = self.live_bytes(table).await?;
        let feed = Self::feed(table, Back::Documents(&bring), self.live, live_bytes + bytes as u64);
        self.replace(table, &feed).await?;
        Ok(told(Way::Rewrite))
    }

    fn feed<'f>(
        table: &'f TableRef,
        back: Back<'f>,
        live: Option<&'f Content<'f>>,
        largest_bytes: u64,
    ) -> TableFeed<'f> {
        TableFeed { table, live, back, largest_bytes }
    }

    async fn prepared<F: crate::restore::Feed<Made = Sent>>(
        &self,
        feed: &F,
        mode: ImportMode,
    ) -> Result<Prepared<Sent>, JobError> {
        let request = ImportRequest { mode, kind: ImportKind::Zip };
        prepare(feed, self.guard.target, &request, self.context).await
    }

    /// Puts a table in the place of itself, if it has as many documents still as its safety snapshot.
    async fn replace(&self, table: &TableRef, feed: &TableFeed<'_>) -> Result<Sent, JobError> {
        let expected = match self.live {
            Some(live) => live.table_entry(table).await?.and_then(|entry| entry.documents),
            None => None,
        };
        let prepared = self.prepared(feed, ImportMode::Replace).await?;
        let as_stored = async || {
            let contents = self.guard.target.contents().await?;
            let component = contents.components.get(&table.component);
            let now = component.and_then(|component| component.tables.get(&table.table)).copied();
            if now.unwrap_or(0) == expected.unwrap_or(0) {
                return Ok(());
            }
            let why = format!(
                "somebody wrote to {table} after the safety snapshot, which would be lost; try again, or with --pause"
            );
            Err(JobError::Refused { target: self.guard.target.name().to_owned(), why })
        };
        Ok(self.held.perform(prepared, as_stored).await?.outgone)
    }

    /// Compares the chosen documents with what is live.
    async fn standing(
        &self,
        table: &TableRef,
        documents: &BTreeMap<String, Bytes>,
    ) -> Result<Standing, JobError> {
        let live = match self.live {
            Some(live) => Side::of(live, table).await?,
            None => Side::Missing(HeldLines::new(Vec::new(), "nothing")),
        };
        let chosen = HeldLines::new(documents.values().cloned().collect(), "what is brought back");
        let (mut merge, mut standing) = (Merge::new(live, chosen), Standing::default());
        while let Some(meeting) = self.context.or_stop(merge.next()).await?? {
            let (live, stored) = match meeting {
                Meeting::First(_) => continue,
                Meeting::Second(stored) => (None, stored),
                Meeting::Both(live, stored) => (Some(live), stored),
            };
            let id = crate::look::id_of(&stored).unwrap_or_default();
            let wanted = self.wanted(table, &id, live.as_ref(), &stored)?;
            match live {
                Some(live) if live == wanted => {
                    standing.same += 1;
                    continue;
                }
                Some(_) => standing.changed += 1,
                None => standing.added += 1,
            }
            standing.bring.insert(id, Bytes::copy_from_slice(&wanted));
        }
        Ok(standing)
    }

    /// What a document is to be.
    fn wanted(
        &self,
        table: &TableRef,
        id: &str,
        live: Option<&Bytes>,
        stored: &Bytes,
    ) -> Result<Bytes, JobError> {
        if self.chosen.fields.is_empty() {
            return Ok(stored.clone());
        }
        let refused = |what: String| JobError::NotRecovered { what, place: table.to_string() };
        let live = live.ok_or_else(|| {
            refused(format!(
                "{id} is not there any more, so that it has to come back whole: leave out --fields"
            ))
        })?;
        let new = patched(live, stored, &self.chosen.fields);
        let new = new.map_err(|_| {
            refused(format!("what is an object on the way to a field is none in {id} as it is there now"))
        })?;
        Ok(Bytes::from(new))
    }

    async fn whole(&self, table: &TableRef) -> Result<RecoveredTable, JobError> {
        let entry = self.content.table_entry(table).await?;
        let size_bytes = entry.map_or(0, |entry| entry.size_bytes);
        // Masks make lines longer by little.
        let feed = self.feed_of_whole(table, size_bytes / 4 * 5);
        let sent = self.replace(table, &feed).await?;
        Ok(RecoveredTable {
            table: table.clone(),
            way: Way::Rewrite,
            added: sent.documents,
            changed: 0,
            same: 0,
        })
    }

    fn feed_of_whole<'f>(&'f self, table: &'f TableRef, largest_bytes: u64) -> TableFeed<'f> {
        TableFeed { table, live: None, back: Back::Whole(self.content), largest_bytes }
    }

    async fn live_bytes(&self, table: &TableRef) -> Result<u64, JobError> {
        match self.live {
            Some(live) => Ok(live.table_entry(table).await?.map_or(0, |entry| entry.size_bytes)),
            None => Ok(0),
        }
    }

    /// Adds stored files. What a deployment does not take back, it says; replacing all its files is no way.
    async fn files(&self) -> Result<Vec<RecoveredTable>, JobError> {
        let (mut files, mut largest_bytes) = (Vec::new(), 0);
        let mut tables: BTreeMap<TableRef, RecoveredTable> = BTreeMap::new();
        for (component, id) in &self.chosen.files {
            let rows = TableRef::new(component, "_storage");
            let told = tables.entry(rows.clone()).or_insert_with(|| RecoveredTable {
                table: rows.clone(),
                way: Way::Nothing,
                added: 0,
                changed: 0,
                same: 0,
            });
            let is_there = match self.live {
                Some(live) => live.document(&rows, id).await?.is_some(),
                None => false,
            };
            if is_there {
                told.same += 1;
                continue;
            }
            let Some(file) = self.content.file(component, id).await? else { continue };
            largest_bytes += file.size_bytes / 4 * 5;
            told.added += 1;
            told.way = Way::Append;
            files.push((component.clone(), id.clone()));
        }
        if !files.is_empty() {
            let feed = FilesFeed { content: self.content, files: &files, largest_bytes };
            let prepared = self.prepared(&feed, ImportMode::Append).await?;
            self.held.perform(prepared, async || Ok(())).await.map_err(Self::of_files)?;
        }
        Ok(tables.into_values().collect())
    }

    fn of_files(error: JobError) -> JobError {
        match error {
            JobError::Import { target, what } => JobError::Import {
                target,
                what: format!(
                    "{what}; a stored file keeps its id only where it can be added, and not one was: recover it to a file \
                     and upload it anew, or restore a whole snapshot"
                ),
            },
            error => error,
        }
    }
}

/// Whether a deployment refuses an append because what is to be added was deleted there: it keeps what was deleted for some
/// days, and takes its ids for used.
fn is_about_deleted(what: &str) -> bool {
    what.contains("was deleted") || what.contains("DocumentDeleted")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_deleted_is_told_from_other_refusals() {
        assert!(is_about_deleted("Cannot create document with _id j57 that was deleted."));
        assert!(!is_about_deleted("Document with _id j57 already exists"));
    }
}
