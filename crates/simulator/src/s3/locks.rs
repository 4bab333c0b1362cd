//! Object Lock: what may not be deleted yet, and what each new object is locked with.

use convault_core::{DefaultLock, LockMode};
use s3s::{
    S3Error, S3Request, S3Response, S3Result,
    dto::{
        BucketVersioningStatus, DefaultRetention, GetBucketVersioningInput, GetBucketVersioningOutput,
        GetObjectLockConfigurationInput, GetObjectLockConfigurationOutput, GetObjectRetentionInput,
        GetObjectRetentionOutput, ObjectLockConfiguration, ObjectLockEnabled, ObjectLockRetention,
        ObjectLockRetentionMode, ObjectLockRule, PutObjectRetentionInput, PutObjectRetentionOutput,
        Timestamp,
    },
    s3_error,
};
use serde::{Deserialize, Serialize};

use super::{service::Service, state::State};

/// The retention of one version. Seconds since 1970, as S3 keeps them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Retention {
    mode: LockMode,
    until: Timestamp,
}

/// How the server's buckets keep what is overwritten and deleted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Keeping {
    pub(super) versions: bool,
    pub(super) locks: bool,
    pub(super) default_lock: Option<DefaultLock>,
}

impl Keeping {
    /// What a new object is locked with.
    pub(super) fn retention(&self, now: u64) -> Option<Retention> {
        let lock = self.default_lock?;
        let until = super::state::timestamp(now + u64::from(lock.days) * 24 * 60 * 60);
        Some(Retention { mode: lock.mode, until })
    }
}

impl Retention {
    /// Refuses what a lock forbids, unless it has ended or is bypassed, which compliance does not allow to anyone.
    pub(super) fn check(&self, now: &Timestamp, bypass: bool) -> S3Result<()> {
        if self.until <= *now || (bypass && self.mode == LockMode::Governance) {
            return Ok(());
        }
        Err(s3_error!(AccessDenied, "Access Denied because object protected by object lock."))
    }

    /// Whether `wanted` takes nothing away from this.
    fn allows(&self, wanted: &Self) -> bool {
        wanted.until >= self.until
            && (self.mode == LockMode::Governance || wanted.mode == LockMode::Compliance)
    }
}

impl Service {
    pub(super) async fn versioning(
        &self,
        _input: GetBucketVersioningInput,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        self.state.enter_settings("GetBucketVersioning").await?;
        let enabled = BucketVersioningStatus::from_static(BucketVersioningStatus::ENABLED);
        let status = self.state.keeping.versions.then_some(enabled);
        Ok(S3Response::new(GetBucketVersioningOutput { status, ..GetBucketVersioningOutput::default() }))
    }

    pub(super) async fn lock_configuration(
        &self,
        _input: GetObjectLockConfigurationInput,
    ) -> S3Result<S3Response<GetObjectLockConfigurationOutput>> {
        self.state.enter_settings("GetObjectLockConfiguration").await?;
        let keeping = self.state.keeping;
        if !keeping.locks {
            return Err(s3_error!(
                ObjectLockConfigurationNotFoundError,
                "Object Lock configuration does not exist for this bucket"
            ));
        }
        let rule = keeping.default_lock.map(|lock| ObjectLockRule {
            default_retention: Some(DefaultRetention {
                mode: Some(mode(lock.mode)),
                days: i32::try_from(lock.days).ok(),
                years: None,
            }),
        });
        let enabled = ObjectLockEnabled::from_static(ObjectLockEnabled::ENABLED);
        let configuration = ObjectLockConfiguration { object_lock_enabled: Some(enabled), rule };
        Ok(S3Response::new(GetObjectLockConfigurationOutput {
            object_lock_configuration: Some(configuration),
        }))
    }

    pub(super) async fn retention(
        &self,
        input: GetObjectRetentionInput,
    ) -> S3Result<S3Response<GetObjectRetentionOutput>> {
        self.state.enter("GetObjectRetention").await?;
        self.wants_locks()?;
        let mut held = self.state.held();
        let object = held.object_mut(&input.bucket, &input.key, input.version_id.as_deref())?;
        let retention = object.retention.as_ref().ok_or_else(|| {
            s3_error!(NoSuchObjectLockConfiguration, "the object does not have an ObjectLock configuration")
        })?;
        let retention = ObjectLockRetention {
            mode: Some(mode(retention.mode)),
            retain_until_date: Some(retention.until.clone()),
        };
        Ok(S3Response::new(GetObjectRetentionOutput { retention: Some(retention) }))
    }

    pub(super) async fn set_retention(
        &self,
        req: S3Request<PutObjectRetentionInput>,
    ) -> S3Result<S3Response<PutObjectRetentionOutput>> {
        self.state.enter("PutObjectRetention").await?;
        self.wants_locks()?;
        let checked = |name: &str| name == "content-md5" || name.starts_with("x-amz-checksum-");
        if !req.headers.keys().any(|name| checked(name.as_str())) {
            return Err(s3_error!(InvalidRequest, "Missing required header for this request: Content-MD5"));
        }
        let input = req.input;
        let now = self.state.timestamp_now();
        let wanted = wanted(input.retention, &now)?;
        let mut held = self.state.held();
        let object = held.object_mut(&input.bucket, &input.key, input.version_id.as_deref())?;
        if let Some(present) = &object.retention
            && !present.allows(&wanted)
        {
            present.check(&now, input.bypass_governance_retention.unwrap_or(false))?;
        }
        object.retention = Some(wanted);
        Ok(S3Response::new(PutObjectRetentionOutput::default()))
    }

    fn wants_locks(&self) -> S3Result<()> {
        if self.state.keeping.locks { Ok(()) } else { Err(no_locks()) }
    }
}

impl State {
    /// Refuses to create an object with a lock of its own, which is not offered, and one without a checksum in a
    /// bucket that locks by default, as Amazon does.
    pub(super) fn check_lock_at_create(&self, asks_for_one: bool, has_checksum: bool) -> S3Result<()> {
        if asks_for_one {
            return Err(s3_error!(NotImplemented, "a lock can only be set on an object that is there"));
        }
        if self.keeping.default_lock.is_some() && !has_checksum {
            return Err(s3_error!(
                InvalidRequest,
                "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock \
                 parameters"
            ));
        }
        Ok(())
    }
}

fn no_locks() -> S3Error {
    s3_error!(InvalidRequest, "Bucket is missing Object Lock Configuration")
}

fn wanted(retention: Option<ObjectLockRetention>, now: &Timestamp) -> S3Result<Retention> {
    let invalid = || s3_error!(MalformedXML, "a retention has a mode and a date");
    let ObjectLockRetention { mode, retain_until_date } = retention.ok_or_else(invalid)?;
    let mode = match mode.ok_or_else(invalid)?.as_str() {
        ObjectLockRetentionMode::GOVERNANCE => LockMode::Governance,
        ObjectLockRetentionMode::COMPLIANCE => LockMode::Compliance,
        _ => return Err(invalid()),
    };
    let until = retain_until_date.ok_or_else(invalid)?;
    if until <= *now {
        return Err(s3_error!(InvalidArgument, "The retain until date must be in the future!"));
    }
    Ok(Retention { mode, until })
}

fn mode(mode: LockMode) -> ObjectLockRetentionMode {
    ObjectLockRetentionMode::from_static(match mode {
        LockMode::Governance => ObjectLockRetentionMode::GOVERNANCE,
        LockMode::Compliance => ObjectLockRetentionMode::COMPLIANCE,
    })
}
