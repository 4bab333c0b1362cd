//! The job that tests run.

use std::{collections::BTreeMap, time::Duration};

use convault_core::{AnomalyLimits, DeploymentName, FilesMode, JobName, Keep, Kind};
use convault_jobs::{BackupJob, LEAST_UPLOAD_MEMORY_BYTES};
use jiff::tz::TimeZone;

/// On demand; it keeps everything, has the least memory, and waits for nothing longer than a minute.
pub(crate) fn job(deployment: &DeploymentName) -> BackupJob {
    BackupJob {
        job: JobName::new("nightly").unwrap(),
        deployment: deployment.clone(),
        kind: Kind::OnDemand,
        due: None,
        tags: Vec::new(),
        keep_until: None,
        files: FilesMode::Inline,
        surroundings: Vec::new(),
        anomaly: AnomalyLimits::default(),
        expected_interval: None,
        clock_skew_limit: Duration::from_mins(5),
        known: BTreeMap::new(),
        keep: Keep::default(),
        time_zone: TimeZone::UTC,
        export_deadline: Duration::from_mins(1),
        no_progress_limit: Duration::from_mins(1),
        upload_memory_bytes: LEAST_UPLOAD_MEMORY_BYTES,
        stall_limit: Duration::from_mins(1),
        version: "0.0.0".to_owned(),
        dead_runs: Vec::new(),
    }
}
