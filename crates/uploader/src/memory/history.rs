//! What a bucket in memory holds: the versions of each key.

use std::collections::BTreeMap;

use bytes::Bytes;
use convault_core::{
    Attributes, DefaultLock, Lock, ObjectInfo, ObjectVersion, PutMode, StoreError, StoreErrorKind,
};
use jiff::{SignedDuration, Timestamp};

use crate::failure::Attempt;

/// One version of an object.
#[derive(Debug, Clone)]
pub(super) struct Version {
    id: String,
    /// None for a deletion.
    pub(super) body: Option<Bytes>,
    /// Whether it does not have its checksum any more.
    pub(super) rotten: bool,
    pub(super) attributes: Attributes,
    etag: String,
    modified: Timestamp,
    lock: Option<Lock>,
}

/// Everything that is held, and how the bucket was set up.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The versions of each key, the newest last. Without versions there is one at most.
    keys: BTreeMap<String, Vec<Version>>,
    pub(super) versioned: bool,
    pub(super) locks: bool,
    pub(super) default_lock: Option<DefaultLock>,
    serial: u64,
}

impl History {
    /// What a plain read finds.
    pub(super) fn newest(&self, key: &str) -> Option<&Version> {
        self.keys.get(key)?.last().filter(|version| version.body.is_some())
    }

    pub(super) fn newest_mut(&mut self, key: &str) -> Option<&mut Version> {
        self.keys.get_mut(key)?.last_mut().filter(|version| version.body.is_some())
    }

    pub(super) fn version(&self, key: &str, id: &str) -> Option<&Version> {
        self.keys.get(key)?.iter().find(|version| version.id == id)
    }

    /// Writes an object if the condition allows it, and gives its entity tag.
    pub(super) fn write(
        &mut self,
        key: &str,
        body: (Bytes, Attributes),
        mode: &PutMode,
        now: Timestamp,
        attempt: &Attempt,
    ) -> Result<String, StoreError> {
        let present = self.newest(key).map(|version| &version.etag);
        match mode {
            PutMode::IfAbsent if present.is_some() => {
                return Err(attempt.failed(StoreErrorKind::AlreadyExists, "there is an object of this key"));
            }
            PutMode::IfMatch(etag) if present != Some(etag) => {
                return Err(attempt.failed(
                    StoreErrorKind::AlreadyExists,
                    "the object there is not the one to be replaced",
                ));
            }
            _ => {}
        }
        let lock =
            self.default_lock.map(|default| Lock { mode: default.mode, until: after(now, default.days) });
        Ok(self.add(key, Some(body), lock, now))
    }

    /// Deletes an object; where versions are kept, by a deletion on top of them.
    pub(super) fn delete(&mut self, key: &str, now: Timestamp) {
        if self.versioned {
            self.add(key, None, None, now);
        } else {
            self.keys.remove(key);
        }
    }

    fn add(
        &mut self,
        key: &str,
        body: Option<(Bytes, Attributes)>,
        lock: Option<Lock>,
        now: Timestamp,
    ) -> String {
        self.serial += 1;
        let (id, etag) = (format!("v{}", self.serial), format!("\"{}\"", self.serial));
        let (body, attributes) = body.unzip();
        let attributes = attributes.unwrap_or_default();
        let version =
            Version { id, body, rotten: false, attributes, etag: etag.clone(), modified: now, lock };
        let versions = self.keys.entry(key.to_owned()).or_default();
        if !self.versioned {
            versions.clear();
        }
        versions.push(version);
        etag
    }

    /// Deletes a version for good, unless it is locked.
    pub(super) fn delete_version(
        &mut self,
        key: &str,
        id: &str,
        now: Timestamp,
        attempt: &Attempt,
    ) -> Result<(), StoreError> {
        if let Some(lock) = self.version(key, id).and_then(|version| version.lock)
            && lock.until > now
        {
            return Err(attempt.failed(StoreErrorKind::Denied, crate::locked::until(lock)));
        }
        if let Some(versions) = self.keys.get_mut(key) {
            versions.retain(|version| version.id != id);
            if versions.is_empty() {
                self.keys.remove(key);
            }
        }
        Ok(())
    }

    /// Sets or extends the lock of what a plain read finds.
    pub(super) fn set_lock(&mut self, key: &str, lock: Lock, attempt: &Attempt) -> Result<(), StoreError> {
        let Some(version) = self.newest_mut(key) else {
            return Err(attempt.failed(StoreErrorKind::NotFound, "there is no such object"));
        };
        if let Some(present) = version.lock
            && crate::locked::weakens(present, lock)
        {
            return Err(attempt.failed(StoreErrorKind::Denied, crate::locked::only_longer(present)));
        }
        version.lock = Some(lock);
        Ok(())
    }

    /// Every key that a plain listing shows, ascending.
    pub(super) fn infos(&self, prefix: &str) -> Vec<ObjectInfo> {
        let below = self.below(prefix);
        below.filter_map(|(key, _)| Some(self.newest(key)?.info(key))).collect()
    }

    /// Every version, in the order of keys, the newest of a key first.
    pub(super) fn versions(&self, prefix: &str) -> Vec<ObjectVersion> {
        let all = self.below(prefix).flat_map(|(key, versions)| {
            let newest_first = versions.iter().rev().enumerate();
            newest_first.map(move |(place, version)| version.describe(key, place == 0))
        });
        all.collect()
    }

    fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a String, &'a Vec<Version>)> {
        self.keys.range(prefix.to_owned()..).take_while(move |(key, _)| key.starts_with(prefix))
    }
}

impl Version {
    pub(super) fn lock(&self) -> Option<Lock> {
        self.lock
    }

    fn size_bytes(&self) -> u64 {
        self.body.as_ref().map_or(0, |body| body.len() as u64)
    }

    pub(super) fn info(&self, key: &str) -> ObjectInfo {
        ObjectInfo {
            key: key.to_owned(),
            size_bytes: self.size_bytes(),
            modified: self.modified,
            etag: Some(self.etag.clone()),
        }
    }

    fn describe(&self, key: &str, latest: bool) -> ObjectVersion {
        let deletion = self.body.is_none();
        ObjectVersion {
            key: key.to_owned(),
            version: self.id.clone(),
            size_bytes: self.size_bytes(),
            modified: self.modified,
            etag: (!deletion).then(|| self.etag.clone()),
            latest,
            deletion,
        }
    }
}

fn after(now: Timestamp, days: u32) -> Timestamp {
    now.checked_add(SignedDuration::from_hours(24 * i64::from(days))).unwrap_or(Timestamp::MAX)
}
