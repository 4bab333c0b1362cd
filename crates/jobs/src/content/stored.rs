//! [`Stored`]: the snapshot that is read, and what is done to it.

use std::sync::{Arc, atomic::AtomicU64};

use convault_archive::{NamesKey, RandomError, RangedReader, encryption::Identities};
use convault_core::{FilesMode, Manifest, ObjectRole, Store, StoredObject};

use super::{
    Rules,
    forward::Whole,
    rules::Dropped,
    sieve::{Keeps, Sieve},
};
use crate::{
    JobError, RunContext,
    access::{Access, at_random_counted, key_of},
};

/// A stored snapshot, and what is done to what leaves of it.
pub(super) struct Stored<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) manifest: &'a Manifest,
    pub(super) identities: Option<&'a Identities>,
    pub(super) rules: &'a Rules,
    pub(super) dropped: Dropped<'a>,
    pub(super) mask_key: NamesKey,
    pub(super) context: &'a RunContext,
    /// Stored bytes read so far.
    pub(super) read_bytes: Arc<AtomicU64>,
}

impl<'a> Stored<'a> {
    pub(super) fn object(&self, role: ObjectRole) -> Result<&'a StoredObject, JobError> {
        self.manifest.object(role).ok_or_else(|| {
            let role = format!("{role:?}").to_lowercase();
            let place = format!("{} manifest of {}", self.store.location(), self.manifest.id);
            JobError::Damaged { place, what: format!("it names no object that is its {role}") }
        })
    }

    pub(super) fn place(&self, role: ObjectRole) -> String {
        let object = self.manifest.object(role);
        let key = object.map_or_else(|| self.manifest.id.to_string(), |object| key_of(self.manifest, object));
        format!("{} {key}", self.store.location())
    }

    pub(super) fn damaged(&self, what: impl Into<String>) -> JobError {
        JobError::Damaged { place: self.place(ObjectRole::Snapshot), what: what.into() }
    }

    pub(super) fn unread(&self, error: RandomError) -> JobError {
        let role = match error {
            RandomError::BadIndex { .. } | RandomError::Read { object: "index", .. } => ObjectRole::Index,
            _ => ObjectRole::Snapshot,
        };
        match error {
            RandomError::Read { object, start, end, source } => JobError::Unread {
                place: self.place(role),
                what: format!("bytes {start} to {end} of the {object} could not be read"),
                source,
            },
            error => JobError::Damaged { place: self.place(role), what: error.to_string() },
        }
    }

    /// Whether no rule leaves a stored file out.
    pub(super) fn takes_file(&self, component: &str, id: &str) -> bool {
        self.rules.takes_files(component) && !self.dropped.has_file(component, id)
    }

    pub(super) fn has_shared_files(&self) -> bool {
        self.manifest.files == FilesMode::Shared
    }

    pub(super) fn whole(&self, object: &'a StoredObject) -> Result<Whole<'_>, JobError> {
        let access = Access::Opened(self.identities);
        Whole::open(self.store, self.manifest, object, access, self.context, &self.read_bytes)
    }

    pub(super) async fn at_random(&self, role: ObjectRole) -> Result<Arc<dyn RangedReader + 'a>, JobError> {
        let object = self.object(role)?;
        at_random_counted(self.store, self.manifest, object, self.identities, &self.read_bytes).await
    }

    /// What lines go through that leave as they are.
    pub(super) fn everything(&self) -> Sieve<'_> {
        Sieve::new(Keeps::All, &[], &self.mask_key)
    }

    /// What the rows of a component's stored files go through.
    pub(super) fn rows_sieve(&self, component: &str) -> Sieve<'_> {
        let keeps = self.dropped.files(component).map_or(Keeps::All, Keeps::Without);
        Sieve::new(keeps, &[], &self.mask_key)
    }

    /// Bytes that are read where everything is.
    pub(super) fn stored_bytes(&self) -> u64 {
        let object = |role| self.manifest.object(role).map_or(0, |object| object.size_bytes);
        let shared = if self.has_shared_files() { self.manifest.totals.file_bytes } else { 0 };
        object(ObjectRole::Snapshot) + shared
    }
}
