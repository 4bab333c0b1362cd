//! `[[deployment]]`: what is protected, and how it is reached.

use std::{path::PathBuf, time::Duration};

use convault_core::{AnomalyLimits, Cascade, DeploymentName, Secret, TableRef};
use url::Url;

use crate::{anomaly, erasure, mask, names::Names, reading::Reading, secret::read_secret, section::Section};

/// One `[[deployment]]`.
#[derive(Debug, Clone)]
pub struct DeploymentSettings {
    /// What it is called here, and its folder in every destination.
    pub name: DeploymentName,
    /// Where it is; asked for with the key where `None`.
    pub url: Option<Url>,
    /// The deploy key or admin key.
    pub key: Secret,
    /// The key that it is written to with; `key` where there is none.
    pub restore_key: Option<Secret>,
    /// Certificates to trust beside the system's, PEM, absolute.
    pub ca_file: Option<PathBuf>,
    /// Whether our exports are set to expire on the deployment once stored.
    pub expire_exports: bool,
    /// How long a run waits for an export, somebody else's before it included.
    pub export_deadline: Duration,
    /// How long our export may show no progress.
    pub no_progress_limit: Duration,
    /// Where the URL is asked for, instead of Convex's own service.
    pub provision_url: Option<Url>,
    /// So many stored files are fetched at a time, where snapshots share them.
    pub files_at_once: u32,
    /// So many of them are begun in a second.
    pub file_rate: u32,
    /// Tables that make it act by itself: left empty where a copy is to send nothing.
    pub automations: Vec<TableRef>,
    /// What goes with documents that are erased.
    pub cascades: Vec<Cascade>,
    /// When a snapshot is suspect.
    pub anomaly: AnomalyLimits,
}

const SECOND: Duration = Duration::from_secs(1);
/// More than any deployment serves.
const MOST_FILES: u32 = 100_000;

pub(crate) fn read(
    section: &Section<'_>,
    reading: &mut Reading<'_>,
    names: &mut Names<DeploymentName>,
) -> Option<DeploymentSettings> {
    let name = names.read(section, reading);
    let url = section.url(reading, "url", "the key and the data");
    let key = read_secret(section, reading, "key");
    let restore_key = read_secret(section, reading, "restore_key");
    let ca_file = section.ca_file(reading);
    let expire_exports = section.flag(reading, "expire_exports");
    let export_deadline = section.duration(reading, "export_deadline", SECOND);
    let no_progress_limit = section.duration(reading, "no_progress_limit", SECOND);
    let provision_url = section.url(reading, "provision_url", "the key and the answer");
    let files_at_once = section.count(reading, "files_at_once", 1..MOST_FILES + 1);
    let file_rate = section.count(reading, "file_rate", 1..MOST_FILES + 1);
    let automations = section.list(reading, "automations", mask::user_table);
    let cascades = section.list(reading, "cascades", erasure::cascade);
    let anomaly = anomaly::read(&section.table_or_defaults(reading, "anomaly"), reading);
    Some(DeploymentSettings {
        name: name?,
        url,
        key: key?,
        restore_key,
        ca_file,
        expire_exports: expire_exports?,
        export_deadline: export_deadline?,
        no_progress_limit: no_progress_limit?,
        provision_url,
        files_at_once: files_at_once?,
        file_rate: file_rate?,
        automations: automations.unwrap_or_default(),
        cascades: cascades.unwrap_or_default(),
        anomaly: anomaly?,
    })
}
