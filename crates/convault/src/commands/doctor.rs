//! `convault doctor`: does everything work that a backup, and reading it back, will need?

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use convault_archive::encryption::Identities;
use convault_core::{
    Abilities, Ability, Clock, DeploymentName, DestinationName, JobName, Layout, MIN_PART_BYTES, Manifest,
    PutMode, SnapshotId, Source as _, SystemClock, Target as _,
};
use convault_jobs::{
    Destination, EscrowedNames, JobError, OpenDepth, RunContext, Survey, chain, escrowed_names, prove_opens,
};
use convault_restorer::{DeploymentTarget, TargetSettings, unpause_by_hand};
use convault_settings::{JobSettings, Settings};
use serde::Serialize;

use super::Surroundings;
use crate::{arguments::Doctor, exit::Exit, print, progress::Progress, wiring};

/// How late a snapshot may be beyond its schedule: a run takes its time, and is tried again.
const LATE: Duration = Duration::from_hours(1);

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    /// What was looked at: `destination offsite`.
    what: String,
    /// Whether it is as it should be.
    ok: bool,
    /// What was seen; where it is not as it should be, with what to do.
    text: String,
    /// Stored data is not what it should be.
    #[serde(skip)]
    is_damage: bool,
}

/// Collects findings, and prints each as it comes.
struct Findings {
    all: Vec<Finding>,
    json: bool,
    progress: Arc<Progress>,
}

impl Findings {
    fn ok(&mut self, what: impl Into<String>, text: impl Into<String>) {
        self.add(Finding { what: what.into(), ok: true, text: text.into(), is_damage: false });
    }

    fn wrong(&mut self, what: impl Into<String>, text: impl Into<String>) {
        self.add(Finding { what: what.into(), ok: false, text: text.into(), is_damage: false });
    }

    fn failed(&mut self, what: impl Into<String>, error: &JobError) {
        let is_damage = matches!(error, JobError::Damaged { .. });
        self.add(Finding { what: what.into(), ok: false, text: chain(error), is_damage });
    }

    fn add(&mut self, finding: Finding) {
        self.progress.clear();
        if !self.json {
            let word = if finding.ok { "ok   " } else { "WRONG" };
            print::line(&format!("{word}  {}: {}", finding.what, finding.text));
        }
        self.all.push(finding);
    }

    fn exit(&self) -> Exit {
        if self.all.iter().any(|finding| finding.is_damage) {
            Exit::Damaged
        } else if self.all.iter().any(|finding| !finding.ok) {
            Exit::Failed
        } else {
            Exit::Done
        }
    }
}

pub(crate) async fn doctor(surroundings: &Surroundings, doctor: Doctor) -> anyhow::Result<Exit> {
    let settings = surroundings.settings()?;
    let destinations = wiring::destinations(&settings)?;
    let identities = wiring::identities(&settings, doctor.identity.identity.as_deref())?;
    let progress = Arc::new(Progress::new(surroundings.json));
    let context = surroundings.context(Arc::clone(&progress));
    let mut findings = Findings { all: Vec::new(), json: surroundings.json, progress };
    findings.ok("settings", format!("{}: in order", settings.file().display()));
    for warning in settings.warnings() {
        findings.ok("settings", format!("note: {warning}"));
    }
    look_at_deployments(&settings, &mut findings, &context).await?;
    let mut surveys = BTreeMap::new();
    for named in &settings.destinations {
        let destination = &destinations[&named.name];
        look_at_destination(&settings, destination, &mut surveys, &mut findings, &context).await?;
    }
    look_at_ages(&settings, &surveys, &mut findings);
    match &identities {
        Some(identities) => {
            let depth = if doctor.full { OpenDepth::Full } else { OpenDepth::Sample(rand::random()) };
            for destination in settings.destinations.iter().map(|named| &destinations[&named.name]) {
                open(&settings, destination, &surveys, identities, depth, &mut findings, &context).await?;
            }
        }
        None if destinations.values().any(|destination| destination.encryption.is_some()) => {
            findings.ok(
                "encryption",
                "note: whether the backups open was not tried; from time to time, `convault doctor --identity FILE` \
                 does, with the identity from its safe",
            );
        }
        None => {}
    }
    if surroundings.json {
        print::json(&findings.all);
    }
    Ok(findings.exit())
}

/// Waits for `work` unless somebody asks to stop.
async fn or_stop<T>(context: &RunContext, work: impl Future<Output = T>) -> Result<T, JobError> {
    tokio::select! {
        biased;
        () = context.stop.cancelled() => Err(JobError::Stopped),
        done = work => Ok(done),
    }
}

async fn look_at_deployments(
    settings: &Settings,
    findings: &mut Findings,
    context: &RunContext,
) -> Result<(), JobError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    for (name, source) in wiring::sources(settings, &clock) {
        let what = format!("deployment {name}");
        match or_stop(context, source.preflight()).await? {
            Ok(preflight) => {
                let text = format!(
                    "{} at {}, server {}; the key may export",
                    preflight.instance, preflight.url, preflight.server_version
                );
                findings.ok(&what, text);
                for warning in preflight.warnings {
                    findings.ok(&what, format!("note: {warning}"));
                }
                look_at_pause(settings, &name, &preflight.url, findings, context).await?;
            }
            Err(error) => findings.wrong(&what, chain(&error)),
        }
    }
    Ok(())
}

/// A restore that was cut off leaves its target paused.
async fn look_at_pause(
    settings: &Settings,
    name: &DeploymentName,
    url: &str,
    findings: &mut Findings,
    context: &RunContext,
) -> Result<(), JobError> {
    let Some(deployment) = settings.deployment(name) else { return Ok(()) };
    let target = DeploymentTarget::new(TargetSettings {
        key: deployment.key.clone(),
        ..wiring::target_settings(deployment)
    });
    // Servers that cannot be asked are none that a restore pauses.
    if let Ok(true) = or_stop(context, target.is_paused()).await? {
        let how = unpause_by_hand(url);
        findings.wrong(
            format!("deployment {name}"),
            format!(
                "it is paused and serves nobody, as a restore with --pause leaves it that was cut off: {how}"
            ),
        );
    }
    Ok(())
}

type Surveys = BTreeMap<(DestinationName, DeploymentName), Survey>;

/// Reachable, listable, writable, and able to do what the settings count on.
async fn look_at_destination(
    settings: &Settings,
    destination: &Destination,
    surveys: &mut Surveys,
    findings: &mut Findings,
    context: &RunContext,
) -> Result<(), JobError> {
    let store = &destination.store;
    let name = store.destination().clone();
    let what = format!("destination {name}");
    let before = findings.all.len();
    for deployment in deployments_in(settings, &name) {
        match or_stop(context, convault_jobs::survey(destination, &deployment, &[], SystemClock.now()))
            .await?
        {
            Ok(survey) => {
                for folder in survey.folders.iter().filter(|folder| folder.state.is_alarming()) {
                    let text = format!(
                        "{deployment} {} is {}; `convault show {}` says more, `convault repair` may help",
                        folder.id,
                        folder.state.as_str(),
                        folder.id
                    );
                    findings.wrong(&what, text);
                }
                surveys.insert((name.clone(), deployment), survey);
            }
            Err(error) => {
                findings.failed(&what, &error);
                return Ok(());
            }
        }
    }
    if let Err(error) = or_stop(context, is_writable(settings, destination)).await? {
        findings.failed(&what, &error);
        return Ok(());
    }
    match or_stop(context, store.abilities()).await? {
        Ok(abilities) => look_at_abilities(settings, destination, &abilities, &what, findings),
        Err(error) => findings.wrong(&what, chain(&error)),
    }
    if findings.all[before..].iter().all(|finding| finding.ok) {
        let recipients = destination.encryption.as_ref().map(|encryption| encryption.recipients.iter().len());
        let encrypted = match recipients {
            Some(1) => "encrypted to one recipient".to_owned(),
            Some(number) => format!("encrypted to {number} recipients"),
            None => "not encrypted".to_owned(),
        };
        findings.ok(&what, format!("{}: can be listed and written to; {encrypted}", store.location()));
    }
    Ok(())
}

fn deployments_in(settings: &Settings, destination: &DestinationName) -> Vec<DeploymentName> {
    let jobs = settings.jobs.iter().filter(|job| job.to.contains(destination));
    let mut names: Vec<DeploymentName> = jobs.map(|job| job.deployment.clone()).collect();
    names.sort();
    names.dedup();
    names
}

/// An upload that is begun and given up shows that writing is allowed, and leaves nothing behind.
async fn is_writable(settings: &Settings, destination: &Destination) -> Result<(), JobError> {
    let deployments = deployments_in(settings, destination.store.destination());
    let Some(deployment) = deployments.into_iter().next() else { return Ok(()) };
    let id = SnapshotId::new(SystemClock.now(), rand::random());
    let key = Layout::new(deployment).object(&id, "preflight");
    let upload = destination.store.upload(&key, MIN_PART_BYTES, PutMode::Overwrite).await?;
    Ok(upload.abort().await?)
}

fn look_at_abilities(
    settings: &Settings,
    destination: &Destination,
    abilities: &Abilities,
    what: &str,
    findings: &mut Findings,
) {
    if destination.object_lock.is_some() && abilities.locks != Ability::Works {
        let text = "the settings lock objects (`object_lock`), but the bucket has no Object Lock: it is enabled when a \
                    bucket is made";
        findings.wrong(what, text);
    }
    if settings.daemon.coordinate_in.as_ref() == Some(destination.store.destination())
        && let Some(why) = abilities.why_no_leases()
    {
        findings.wrong(what, format!("it cannot hold leases (`coordinate_in`): {why}"));
    }
    let notes = [
        (
            abilities.checksums,
            "it gives no checksums back, so that every object is read back after it is written",
        ),
        (abilities.put_if_absent, "it does not keep objects from being written over"),
        (abilities.versions, "it keeps no versions, so that what is deleted is gone"),
    ];
    for (_, text) in notes.iter().filter(|(ability, _)| *ability != Ability::Works) {
        findings.ok(what, format!("note: {text}"));
    }
}

/// The newest good snapshot of each job, in each of its destinations, is not older than the schedule says.
fn look_at_ages(settings: &Settings, surveys: &Surveys, findings: &mut Findings) {
    let now = SystemClock.now();
    for (job, destination) in settings.jobs.iter().flat_map(|job| job.to.iter().map(move |to| (job, to))) {
        let Some(survey) = surveys.get(&(destination.clone(), job.deployment.clone())) else { continue };
        let what = format!("job {}, {destination}", job.name);
        let Some(newest) = newest_good(survey, &job.name) else {
            findings
                .wrong(&what, format!("there is no good snapshot; `convault backup {}` makes one", job.name));
            continue;
        };
        let age = now.duration_since(newest.snapshot_time());
        let text = format!(
            "{}, the newest good one, is {} old",
            newest.id,
            print::distance(newest.snapshot_time(), now)
        );
        let takes_all = settings.destination(destination).is_some_and(|settings| settings.accept.is_none());
        match limit(job, now).filter(|_| takes_all) {
            Some(limit) if !age.is_negative() && age.unsigned_abs() > limit => {
                findings
                    .wrong(&what, format!("{text}: older than its schedule allows; is the daemon running?"));
            }
            _ => findings.ok(&what, text),
        }
    }
}

/// How old the newest snapshot of a job may be.
fn limit(job: &JobSettings, now: jiff::Timestamp) -> Option<Duration> {
    let interval = job.schedule.as_ref()?.expected_interval_seconds(now)?;
    Some(Duration::from_secs_f64(interval) + job.jitter + LATE)
}

fn newest_good<'a>(survey: &'a Survey, job: &JobName) -> Option<&'a Manifest> {
    let mut good = survey.good().into_iter().map(|snapshot| &snapshot.manifest);
    good.find(|manifest| manifest.job.as_ref() == Some(job))
}

/// With an identity: the newest good snapshot of each job opens, and the names key that lies there is ours.
async fn open(
    settings: &Settings,
    destination: &Destination,
    surveys: &Surveys,
    identities: &Identities,
    depth: OpenDepth,
    findings: &mut Findings,
    context: &RunContext,
) -> Result<(), JobError> {
    let store = destination.store.as_ref();
    let name = store.destination().clone();
    let names = destination.encryption.as_ref().map(|encryption| &encryption.names);
    for job in settings.jobs.iter().filter(|job| job.to.contains(&name)) {
        let survey = surveys.get(&(name.clone(), job.deployment.clone()));
        let newest = survey.and_then(|survey| newest_good(survey, &job.name));
        let Some(manifest) = newest.filter(|manifest| !manifest.recipients.is_empty()) else { continue };
        let what = format!("identity, job {}, {name}", job.name);
        match prove_opens(store, manifest, identities, names, depth, context).await {
            Ok(opened) => {
                let how = match depth {
                    OpenDepth::Full => "every byte was read".to_owned(),
                    OpenDepth::Sample(_) => {
                        format!("its index and {} of its entries were read", opened.entries)
                    }
                };
                findings.ok(&what, format!("{} opens; {how}", manifest.id));
            }
            Err(JobError::Stopped) => return Err(JobError::Stopped),
            Err(error) => findings.failed(&what, &error),
        }
    }
    if let Some(encryption) = &destination.encryption {
        let what = format!("identity, names key, {name}");
        match or_stop(context, escrowed_names(store, encryption, identities)).await? {
            Ok(EscrowedNames::Same) => findings.ok(&what, "the copy there opens and is that of the settings"),
            Ok(EscrowedNames::Missing) => {
                findings.ok(&what, "note: there is no copy of it yet; the next backup puts it there");
            }
            Ok(EscrowedNames::Other) => findings.wrong(
                &what,
                "the copy there is not that of the settings, though it should be; see who wrote it",
            ),
            Err(error) => findings.failed(&what, &error),
        }
    }
    Ok(())
}
