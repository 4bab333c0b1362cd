//! Object Lock: the retention date of an object, and what the bucket puts on every new one.

use aws_sdk_s3::{
    primitives::DateTime,
    types::{
        ChecksumAlgorithm, DefaultRetention, ObjectLockEnabled, ObjectLockRetention, ObjectLockRetentionMode,
    },
};
use convault_core::{Ability, DefaultLock, Lock, LockMode, StoreError, StoreErrorKind};

use super::{Bucket, GET_LOCK, GET_LOCKING, SET_LOCK, explain::explain, read::timestamp};
use crate::{failure::Attempt, locked, probe::Locking};

impl Bucket {
    /// What the bucket says of its locks: `None` where it may not be asked.
    pub(super) async fn locking(&self, attempt: &Attempt) -> Result<Option<Locking>, StoreError> {
        let request = self.client.get_object_lock_configuration().bucket(&self.place.bucket);
        let answer = request.send().await;
        let answer = match answer.map_err(|error| explain(error, GET_LOCKING, &self.place, attempt)) {
            Ok(answer) => answer,
            Err(error) if is_passing(&error) => return Err(error),
            Err(error) if error.kind == StoreErrorKind::Denied => return Ok(None),
            // A bucket without locks answers that there is no configuration, a server without them that it has none.
            Err(_) => return Ok(Some(Locking { locks: Ability::Refused, default_lock: None })),
        };
        let configuration = answer.object_lock_configuration;
        let enabled = configuration.as_ref().and_then(|it| it.object_lock_enabled.as_ref());
        let works = enabled == Some(&ObjectLockEnabled::Enabled);
        let default = configuration.as_ref().and_then(|it| it.rule.as_ref()?.default_retention.as_ref());
        let locks = if works { Ability::Works } else { Ability::Refused };
        Ok(Some(Locking { locks, default_lock: default.and_then(default_lock) }))
    }

    /// The lock on a version of an object: on the newest one where none is named.
    pub(super) async fn lock(
        &self,
        key: &str,
        version: Option<&str>,
        attempt: &Attempt,
    ) -> Result<Option<Lock>, StoreError> {
        let request = self.client.get_object_retention().bucket(&self.place.bucket).key(self.full_key(key));
        let answer = request.set_version_id(version.map(str::to_owned)).send().await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if has_none(error.as_service_error()) => return Ok(None),
            Err(error) => return Err(without_locks(explain(error, GET_LOCK, &self.place, attempt), attempt)),
        };
        Ok(answer.retention.and_then(|retention| {
            let until = timestamp(Some(retention.retain_until_date()?));
            Some(Lock { mode: mode(retention.mode()?)?, until })
        }))
    }

    /// Sets or extends the lock on an object's newest version. The request carries the SHA-256 of itself: Amazon wants
    /// a checksum of it. `SeaweedFS` 4.48 refuses to turn governance into compliance, also for a longer time.
    pub(super) async fn set_lock(&self, key: &str, lock: Lock) -> Result<(), StoreError> {
        let attempt = self.attempt("lock", key);
        let mode = match lock.mode {
            LockMode::Governance => ObjectLockRetentionMode::Governance,
            LockMode::Compliance => ObjectLockRetentionMode::Compliance,
        };
        let retention =
            ObjectLockRetention::builder().mode(mode).retain_until_date(whole_seconds(lock)).build();
        let request = self.client.put_object_retention().bucket(&self.place.bucket).key(self.full_key(key));
        let request = request.checksum_algorithm(ChecksumAlgorithm::Sha256).retention(retention);
        let answer = request.send().await;
        match answer.map_err(|error| explain(error, SET_LOCK, &self.place, &attempt)) {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.kind, StoreErrorKind::Denied | StoreErrorKind::Other) => {
                let present = self.lock(key, None, &attempt).await.unwrap_or(None);
                Err(weaker(error, present, lock, &attempt))
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether an error says nothing of what the store can do, only that it cannot be asked just now.
pub(super) fn is_passing(error: &StoreError) -> bool {
    error.kind == StoreErrorKind::Transient
}

/// S3 keeps whole seconds: rounded up, so that nothing is free before its time.
fn whole_seconds(lock: Lock) -> DateTime {
    let seconds = lock.until.as_second() + i64::from(lock.until.subsec_nanosecond() > 0);
    DateTime::from_secs(seconds)
}

/// Whether the answer is that the object has no lock: the first as Amazon names it, the second as `SeaweedFS` 4.48.
fn has_none<E: aws_sdk_s3::error::ProvideErrorMetadata>(error: Option<&E>) -> bool {
    error.and_then(|error| error.code()).is_some_and(|code| {
        matches!(code, "NoSuchObjectLockConfiguration" | "ObjectLockConfigurationNotFoundError")
    })
}

/// A bucket without locks answers 400 `InvalidRequest` to a question about one.
fn without_locks(error: StoreError, attempt: &Attempt) -> StoreError {
    match error.kind {
        StoreErrorKind::Other => {
            let message = "the bucket has no Object Lock, which is chosen when a bucket is made";
            match error.source {
                Some(source) if source.to_string().contains("InvalidRequest") => {
                    attempt.failed_by(StoreErrorKind::Unsupported, message, source)
                }
                source => StoreError { source, ..error },
            }
        }
        _ => error,
    }
}

/// The error for a lock that could not be set, which is either weaker than the present one or not the credentials'
/// to set.
fn weaker(error: StoreError, present: Option<Lock>, wanted: Lock, attempt: &Attempt) -> StoreError {
    match present.filter(|present| locked::weakens(*present, wanted)) {
        Some(present) => attempt.failed(StoreErrorKind::Denied, locked::only_longer(present)),
        None if present.is_some_and(|present| present.mode != wanted.mode) => {
            let message =
                "it has a lock of the other mode, which the server does not change: let it end first";
            attempt.failed(StoreErrorKind::Denied, message)
        }
        None => without_locks(error, attempt),
    }
}

fn mode(mode: &ObjectLockRetentionMode) -> Option<LockMode> {
    match mode {
        ObjectLockRetentionMode::Governance => Some(LockMode::Governance),
        ObjectLockRetentionMode::Compliance => Some(LockMode::Compliance),
        _ => None,
    }
}

fn default_lock(default: &DefaultRetention) -> Option<DefaultLock> {
    let positive = |number: Option<i32>| number.and_then(|it| u32::try_from(it).ok()).filter(|it| *it > 0);
    let years = positive(default.years()).map(|years| years.saturating_mul(365));
    Some(DefaultLock { mode: mode(default.mode()?)?, days: positive(default.days()).or(years)? })
}
