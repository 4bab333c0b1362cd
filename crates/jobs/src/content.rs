//! Data on its way out: what is stored becomes an export again, or lines of one table of it, with the shared files put back
//! and the rules applied. Everything that gives content away goes through here, so that nothing leaves past a rule.

mod components;
mod documents;
mod entry;
mod every_file;
mod files;
mod forward;
mod listing;
mod outgone;
mod output;
mod plan;
mod rules;
mod sieve;
mod stored;
mod zip;

use std::sync::{Arc, OnceLock, atomic::Ordering};

use convault_archive::{EntryContent, Frame, Index, NamesKey, RangedReader, encryption::Identities};
use convault_core::{EntryKind, IndexEntry, Manifest, ObjectRole, Store, TableRef};

pub use self::{
    documents::Lines,
    entry::StoredEntry,
    files::StoredFile,
    outgone::Outgone,
    rules::{ErasedSet, RuleCounts, Rules, Selected},
};
use self::{
    forward::IndexStream,
    plan::{Facts, Plan},
    rules::Dropped,
    stored::Stored,
};
pub(crate) use crate::shared::component_prefix;
use crate::{JobError, RunContext};

type StoredIndex<'a> = Index<Arc<dyn RangedReader + 'a>>;

/// The content of a stored snapshot, as it leaves.
pub struct Content<'a> {
    stored: Stored<'a>,
    /// The directory of the index, once it was read.
    frames: OnceLock<Arc<[Frame]>>,
}

impl std::fmt::Debug for Content<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Content").field("snapshot", &self.stored.manifest.id).finish_non_exhaustive()
    }
}

impl<'a> Content<'a> {
    /// The content of the snapshot of `manifest`, which is opened with `identities` where it is encrypted. Reads nothing.
    pub fn new(
        store: &'a dyn Store,
        manifest: &'a Manifest,
        identities: Option<&'a Identities>,
        rules: &'a Rules,
        context: &'a RunContext,
    ) -> Self {
        let stored = Stored {
            store,
            manifest,
            identities,
            rules,
            dropped: Dropped::of(rules),
            mask_key: rules.mask_key.clone().unwrap_or_else(NamesKey::generate),
            context,
            read_bytes: Arc::default(),
        };
        Self { stored, frames: OnceLock::new() }
    }

    /// Whose content it is.
    pub fn manifest(&self) -> &Manifest {
        self.stored.manifest
    }

    /// What is done to it.
    pub fn rules(&self) -> &Rules {
        self.stored.rules
    }

    /// Stored bytes read so far: of the index, of the ZIP, and of shared files with their list.
    pub fn read_bytes(&self) -> u64 {
        self.stored.read_bytes.load(Ordering::Relaxed)
    }

    /// Hands over what the index says of every entry of the stored ZIP, in its order, whatever the rules say. Stored files
    /// that are shared are not among them. The index is read wholly, and is what the manifest says.
    pub async fn each_entry(
        &self,
        mut take: impl FnMut(IndexEntry) -> Result<(), JobError>,
    ) -> Result<(), JobError> {
        let mut stream =
            IndexStream::new(&self.stored, self.stored.whole(self.stored.object(ObjectRole::Index)?)?);
        while let Some(entry) = stream.next().await? {
            take(entry)?;
        }
        Ok(())
    }

    /// The index, of which the directory is read only once.
    async fn index(&self) -> Result<StoredIndex<'a>, JobError> {
        let reader = self.stored.at_random(ObjectRole::Index).await?;
        if let Some(frames) = self.frames.get() {
            return Ok(Index::known(reader, Arc::clone(frames)));
        }
        let index = self.stored.context.or_stop(Index::open(reader)).await?;
        let index = index.map_err(|error| self.stored.unread(error))?;
        self.frames.get_or_init(|| Arc::clone(index.frames()));
        Ok(index)
    }

    async fn entry_named(&self, index: &StoredIndex<'_>, name: &str) -> Result<Option<IndexEntry>, JobError> {
        let entry = self.stored.context.or_stop(index.entry(name)).await?;
        entry.map_err(|error| self.stored.unread(error))
    }

    async fn entry_content(&self, entry: &IndexEntry) -> Result<EntryContent<'a>, JobError> {
        let zip = self.stored.at_random(ObjectRole::Snapshot).await?;
        EntryContent::whole(zip, entry).map_err(|error| self.stored.unread(error))
    }

    /// What a plan for the whole ZIP has to know. The index is read to its end.
    async fn facts(&self) -> Result<Facts, JobError> {
        let (mut facts, mut lists) = (Facts::default(), Vec::new());
        self.each_entry(|entry| {
            facts.see(&entry);
            if entry.kind == EntryKind::Tables && self.stored.dropped.documents(&entry.component).is_some() {
                lists.push(entry);
            }
            Ok(())
        })
        .await?;
        for list in lists {
            self.number_tables(&list, &mut facts).await?;
        }
        Ok(facts)
    }

    /// Reads the numbers of tables from the list of them in one component.
    async fn number_tables(&self, list: &IndexEntry, facts: &mut Facts) -> Result<(), JobError> {
        let mut lines =
            Lines::of_entry(&self.stored, list, self.entry_content(list).await?, self.stored.everything());
        while let Some(line) = lines.next().await? {
            let line = convault_archive::Line::parse(&line).map_err(|problem| {
                self.stored.damaged(format!("a line of `{}` {problem}; verify the snapshot", list.name))
            })?;
            let number = line.raw(&["id"]).and_then(|raw| std::str::from_utf8(raw).ok()?.parse().ok());
            if let (Some(name), Some(number)) = (line.text(&["name"]), number) {
                facts.numbers.insert(TableRef::new(&list.component, name), number);
            }
        }
        Ok(())
    }

    /// A plan for entries of one table.
    async fn plan_for(&self, index: &StoredIndex<'_>, table: &TableRef) -> Result<Plan<'_>, JobError> {
        let mut facts = Facts::default();
        if self.stored.rules.masks.iter().any(|mask| mask.table == *table) {
            let folder = component_prefix(&table.component);
            let name = format!("{folder}{}/generated_schema.jsonl", table.table);
            if let Some(schema) = self.entry_named(index, &name).await? {
                facts.see(&schema);
            }
        }
        self.plan(facts)
    }

    fn plan(&self, facts: Facts) -> Result<Plan<'_>, JobError> {
        let plan = Plan::new(self.stored.rules, &self.stored.dropped, &self.stored.mask_key, facts);
        match plan.unmaskable() {
            None => Ok(plan),
            Some(table) => Err(JobError::NotMasked {
                table: table.clone(),
                why: "it is of an old export, in which a value's type is told beside it".to_owned(),
            }),
        }
    }
}

fn documents_name(table: &TableRef) -> String {
    format!("{}{}/documents.jsonl", component_prefix(&table.component), table.table)
}
