//! Which deployment a verb writes to: who it says it is, whether it is what was meant, and what is taken of it before.

use std::{collections::BTreeMap, io::Read as _, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use convault_convex_client::{ConnectionSettings, Url};
use convault_core::{
    Clock, DeploymentName, FilesMode, JobName, Kind, Secret, Source, SystemClock, TableRef, Target,
    TargetContents, TargetIdentity,
};
use convault_exporter::DeploymentSource;
use convault_jobs::{BackupJob, Destination, JobError, Safety, SafetySnapshot};
use convault_restorer::{DeploymentEnvironment, DeploymentTarget, TargetSettings, unpause_by_hand};
use convault_settings::{DeploymentSettings, JobSettings, Settings};

use super::{Surroundings, choose::chosen_destinations};
use crate::{
    arguments::To,
    exit::{Exit, ExitWith},
    print, wiring,
    worker::VERSION,
};

/// What every self-hosted deployment is called that nobody gave a name: it tells nothing apart.
const UNNAMED: &str = "convex-self-hosted";
/// Another deployment of the settings that does not say who it is for so long is asked in another way later.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// As the settings have them for deployments that say nothing else.
const EXPORT_DEADLINE: Duration = Duration::from_hours(6);
const NO_PROGRESS_LIMIT: Duration = Duration::from_hours(1);
const LARGEST_KEY_BYTES: u64 = 16 << 10;
/// A name for a deployment that has not said yet what it is called.
const NOT_YET_NAMED: &str = "target";

/// A deployment that is to be written to. Nothing was sent to it but questions.
pub(crate) struct Aimed {
    pub(crate) target: Arc<dyn Target>,
    pub(crate) identity: TargetIdentity,
    pub(crate) contents: TargetContents,
    /// The other deployments of the settings, which it must not be.
    pub(crate) others: Vec<Arc<dyn Target>>,
    /// Whether it serves nobody already.
    is_paused: bool,
    settings: TargetSettings,
    source: Arc<dyn Source>,
    /// The arguments that lead to it again.
    arguments: Vec<String>,
    /// The safety snapshot's job and destinations; `None` where there is nothing to be lost.
    safety: Option<(BackupJob, Vec<Destination>)>,
}

impl Aimed {
    /// What it is called, and what has to be typed before it is written over.
    pub(crate) fn name(&self) -> &DeploymentName {
        &self.settings.deployment
    }

    /// How its safety snapshot is taken; `None` where it is empty.
    pub(crate) fn safety<'a>(&'a self, to: &'a To) -> Option<Safety<'a>> {
        let (job, destinations) = self.safety.as_ref()?;
        Some(Safety { job, source: self.source.as_ref(), destinations, known_damaged: &to.known_damaged })
    }

    /// Where its safety snapshot goes.
    pub(crate) fn safety_destinations(&self) -> Vec<String> {
        let destinations = self.safety.iter().flat_map(|(_, destinations)| destinations);
        destinations.map(|destination| destination.store.destination().to_string()).collect()
    }

    /// Its environment variables.
    pub(crate) fn environment(&self) -> DeploymentEnvironment {
        DeploymentEnvironment::new(self.settings.clone())
    }

    /// The command that brings a safety snapshot back, as a shell takes it: all of it, or only what `parts` say.
    pub(crate) fn bring_back(
        &self,
        safety: &SafetySnapshot,
        surroundings: &Surroundings,
        to: &To,
        parts: &[String],
        identity: Option<&Path>,
    ) -> String {
        let mut words = vec!["convault".to_owned()];
        let mut add = |flag: &str, value: String| words.extend([flag.to_owned(), value]);
        if let Some(path) = &surroundings.config {
            add("--config", path.display().to_string());
        }
        add("restore", safety.id.to_string());
        add("--deployment", safety.deployment.to_string());
        add("--destination", safety.destination.to_string());
        words.extend(self.arguments.iter().cloned());
        words.extend(["--replace".to_owned(), self.name().to_string()]);
        words.extend(parts.iter().cloned());
        if let Some(destination) = &to.safety_to {
            words.extend(["--safety-to".to_owned(), destination.to_string()]);
        }
        if let Some(identity) = identity {
            words.extend(["--identity".to_owned(), identity.display().to_string()]);
        }
        let flags = [("--without-damaged", !safety.damaged.is_empty()), ("--pause", to.pause)];
        words.extend(flags.iter().filter(|(_, is_on)| *is_on).map(|(flag, _)| (*flag).to_owned()));
        words.iter().map(|word| print::shell_word(word)).collect::<Vec<_>>().join(" ")
    }

    /// Whether it has that table; `_storage` is in every component.
    pub(crate) fn has_table(&self, table: &TableRef) -> bool {
        let component = self.contents.components.get(&table.component);
        component.is_some_and(|found| table.table == "_storage" || found.tables.contains_key(&table.table))
    }

    /// What a plan says of its pause, where it is paused or is to be.
    pub(crate) fn planned_pause(&self, to: &To) -> Option<String> {
        let how = self.unpause_by_hand();
        if self.is_paused {
            Some(format!("it serves nobody, and stays so: {how}"))
        } else {
            to.pause.then(|| format!("should this be cut off, it stays so: {how}"))
        }
    }

    /// What a person can do to let it serve again.
    fn unpause_by_hand(&self) -> String {
        unpause_by_hand(&self.identity.url)
    }

    /// Says at the end that it is paused still, where somebody else had paused it before.
    pub(crate) fn tell_pause(&self) {
        if self.is_paused {
            let (name, how) = (self.name(), self.unpause_by_hand());
            print::note(&format!("{name} is paused still, as it was before, and serves nobody: {how}"));
        }
    }

    fn refused(&self, why: impl Into<String>) -> anyhow::Error {
        JobError::Refused { target: self.name().to_string(), why: why.into() }.into()
    }

    /// Whether the deployment may be written to as it is. An error says why not.
    pub(crate) async fn check(&self, to: &To, settings: &Settings) -> anyhow::Result<()> {
        let missing = self.target.missing_permissions(to.pause).await.map_err(JobError::from)?;
        if !missing.is_empty() {
            return Err(self.refused(missing.join("; ")));
        }
        self.check_name(to)?;
        self.check_others().await?;
        self.check_history(to, settings).await?;
        if !self.contents.is_empty() && self.safety.is_none() {
            return Err(self.refused(
                "no job backs it up, so that there is no place for its safety snapshot: say one with --safety-to",
            ));
        }
        Ok(())
    }

    /// Live data goes only where the name was typed.
    fn check_name(&self, to: &To) -> anyhow::Result<()> {
        let name = self.name();
        match &to.replace {
            Some(typed) if typed != name.as_str() => {
                Err(self.refused(format!("--replace names {typed}, and the target is {name}")))
            }
            None if !self.contents.is_empty() => {
                let held = held(&self.contents);
                Err(self.refused(format!(
                    "it is not empty: it holds {held}; to write over that, say --replace {name}"
                )))
            }
            _ => Ok(()),
        }
    }

    /// Two names of the settings may lead to one deployment, of which only one was meant.
    async fn check_others(&self) -> anyhow::Result<()> {
        let ask = |other: &Arc<dyn Target>| {
            let other = Arc::clone(other);
            async move { (other.name().to_owned(), tokio::time::timeout(ANSWERS_WITHIN, other.identity()).await) }
        };
        let answers = futures::future::join_all(self.others.iter().map(ask)).await;
        for (name, answer) in answers {
            let Ok(Ok(identity)) = answer else {
                print::note(&format!(
                    "warning: {name} does not say who it is, so that it is asked again later"
                ));
                continue;
            };
            let tells = self.identity.number.is_some() && identity.number.is_some();
            if self.identity.may_be(&identity) && (tells || identity.instance != UNNAMED) {
                let instance = &identity.instance;
                return Err(self.refused(format!(
                    "it is {instance}, the deployment {name} of the settings: if that is what you mean, say --to {name}"
                )));
            }
        }
        Ok(())
    }

    /// A deployment that has been backed up is the one that its snapshots are of, or empty.
    async fn check_history(&self, to: &To, settings: &Settings) -> anyhow::Result<()> {
        if to.to.is_none() || self.contents.is_empty() {
            return Ok(());
        }
        let now = SystemClock.now();
        for destination in chosen_destinations(settings, None, None)? {
            let newest = convault_jobs::find(&destination, self.name(), None, now).await;
            let Ok(Some(newest)) = newest else { continue };
            let then = &newest.manifest.source.instance;
            if *then == self.identity.instance {
                return Ok(());
            }
            let (name, now) = (self.name(), &self.identity.instance);
            return Err(self.refused(format!(
                "the settings' {name} was {then} when it was backed up last, and is {now} now; if {now} is what you \
                 mean, say it with --to-url and --to-key-file"
            )));
        }
        Ok(())
    }
}

/// What a deployment holds, in words.
fn held(contents: &TargetContents) -> String {
    let components = contents.components.values();
    let documents: u64 = components.clone().flat_map(|component| component.tables.values()).sum();
    let files: u64 = components.map(|component| component.files).sum();
    format!("{} documents and {} stored files", print::number(documents), print::number(files))
}

/// Finds the deployment that is to be written to, and asks who it is and what it holds.
pub(crate) async fn aim(settings: &Settings, to: &To) -> anyhow::Result<Aimed> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (target_settings, source, arguments) = match (&to.to, &to.to_url, &to.to_key_file) {
        (Some(name), ..) => configured(settings, name, &clock)?,
        (None, Some(url), Some(file)) => unconfigured(url, file, &clock).await?,
        _ => anyhow::bail!("say where to: --to NAME, or --to-url URL with --to-key-file FILE"),
    };
    let name = target_settings.deployment.clone();
    let target: Arc<dyn Target> = Arc::new(DeploymentTarget::new(target_settings.clone()));
    let identity = target.identity().await.map_err(JobError::from)?;
    let contents = target.contents().await.map_err(JobError::from)?;
    // A server that does not say so is not kept from being restored.
    let is_paused = target.is_paused().await.unwrap_or(false);
    let others = settings.deployments.iter().filter(|deployment| deployment.name != name);
    let others = others.map(other).collect();
    let safety = if contents.is_empty() { None } else { safety(settings, &name, to)? };
    Ok(Aimed {
        target,
        identity,
        contents,
        others,
        is_paused,
        settings: target_settings,
        source,
        arguments,
        safety,
    })
}

type Reached = (TargetSettings, Arc<dyn Source>, Vec<String>);

fn configured(settings: &Settings, name: &DeploymentName, clock: &Arc<dyn Clock>) -> anyhow::Result<Reached> {
    let deployment = settings
        .deployment(name)
        .ok_or_else(|| ExitWith(Exit::NotFound, format!("the settings have no deployment named {name}")))?;
    let source = wiring::source(deployment, clock);
    Ok((wiring::target_settings(deployment), source, vec!["--to".to_owned(), name.to_string()]))
}

/// A deployment of which only its address and a key are known: it is called what it calls itself.
async fn unconfigured(url: &str, file: &Path, clock: &Arc<dyn Clock>) -> anyhow::Result<Reached> {
    let url: Url = url.parse().with_context(|| format!("--to-url {url}"))?;
    let arguments =
        ["--to-url", url.as_str(), "--to-key-file", &file.display().to_string()].map(str::to_owned);
    let unnamed = TargetSettings {
        deployment: DeploymentName::new(NOT_YET_NAMED)?,
        url: Some(url.clone()),
        key: read_key(file)?,
        provision_url: None,
        connection: ConnectionSettings::default(),
    };
    let identity = DeploymentTarget::new(unnamed.clone()).identity().await.map_err(JobError::from)?;
    let plain = |byte: char| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { '-' };
    let name = DeploymentName::new(identity.instance.chars().map(plain).collect::<String>())?;
    let settings = TargetSettings { deployment: name.clone(), ..unnamed };
    let source = convault_exporter::DeploymentSettings::new(name, Some(url), settings.key.clone());
    Ok((settings, Arc::new(DeploymentSource::new(source, Arc::clone(clock))), arguments.to_vec()))
}

fn read_key(path: &Path) -> anyhow::Result<Secret> {
    let mut text = String::new();
    let file = std::fs::File::open(path);
    let read = file.and_then(|file| file.take(LARGEST_KEY_BYTES).read_to_string(&mut text));
    read.with_context(|| format!("cannot read the key in {}", path.display()))?;
    Ok(Secret::new(text.trim().to_owned()))
}

/// Another deployment of the settings, to be asked and never to be written to.
fn other(deployment: &DeploymentSettings) -> Arc<dyn Target> {
    Arc::new(DeploymentTarget::new(TargetSettings {
        key: deployment.key.clone(),
        ..wiring::target_settings(deployment)
    }))
}

/// The job that a safety snapshot is taken with, and where it goes; `None` where neither a job nor an argument tells.
fn safety(
    settings: &Settings,
    name: &DeploymentName,
    to: &To,
) -> anyhow::Result<Option<(BackupJob, Vec<Destination>)>> {
    let mut jobs = settings.jobs.iter().filter(|job| job.deployment == *name);
    let job = jobs.clone().find(|job| job.schedule.is_some()).or_else(|| jobs.next());
    let chosen = match (&to.safety_to, job) {
        (Some(destination), _) => std::slice::from_ref(destination),
        (None, Some(job)) => job.to.as_slice(),
        (None, None) => return Ok(None),
    };
    let mut destinations = Vec::new();
    for destination in chosen {
        destinations.extend(chosen_destinations(settings, Some(destination), None)?);
    }
    Ok(Some((safety_job(settings, name, job)?, destinations)))
}

fn safety_job(
    settings: &Settings,
    name: &DeploymentName,
    job: Option<&JobSettings>,
) -> anyhow::Result<BackupJob> {
    let deployment = settings.deployment(name);
    Ok(BackupJob {
        job: job.map_or_else(|| JobName::new("safety"), |job| Ok(job.name.clone()))?,
        deployment: name.clone(),
        kind: Kind::OnDemand,
        due: None,
        tags: Vec::new(),
        keep_until: None,
        files: job.map_or(FilesMode::Inline, |job| job.files),
        surroundings: Vec::new(),
        anomaly: deployment.map(|deployment| deployment.anomaly.clone()).unwrap_or_default(),
        expected_interval: None,
        clock_skew_limit: settings.daemon.clock_skew_limit,
        known: BTreeMap::new(),
        keep: job.map(|job| job.keep.clone()).unwrap_or_default(),
        time_zone: job.map_or(jiff::tz::TimeZone::UTC, |job| job.time_zone.clone()),
        export_deadline: deployment.map_or(EXPORT_DEADLINE, |deployment| deployment.export_deadline),
        no_progress_limit: deployment.map_or(NO_PROGRESS_LIMIT, |deployment| deployment.no_progress_limit),
        upload_memory_bytes: settings.daemon.upload_memory_bytes,
        stall_limit: settings.daemon.stall_limit,
        version: VERSION.to_owned(),
        dead_runs: Vec::new(),
    })
}
