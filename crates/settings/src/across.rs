//! What is right each for itself, but not together.

use std::collections::BTreeSet;

use convault_core::DestinationName;

use crate::{
    daemon,
    deployment::DeploymentSettings,
    destination::{DestinationPlace, DestinationSettings},
    job::JobSettings,
    names::Names,
    reading::Reading,
    section::Section,
    settings::{Tabled, Tables},
    surrounding::JobSurrounding,
};

/// The checks that need every table to have been read.
pub(crate) fn check(tables: &Tables, reading: &mut Reading<'_>) {
    warn_of_the_unused(tables, reading);
    warn_of_unused_surroundings(tables, reading);
    warn_of_the_contrary(tables, reading);
    refuse_rivals(&tables.jobs, reading);
    refuse_little_memory(tables, reading);
}

/// Leases live in a bucket: a folder is seen by one machine, or is a share whose locks nobody has tried.
pub(crate) fn refuse_a_place_without_leases(
    name: &DestinationName,
    daemon: &Section<'_>,
    known: &Names<DestinationName>,
    destinations: &Tabled<'_, DestinationSettings>,
    reading: &mut Reading<'_>,
) {
    let (place, key) = (daemon.place_of(reading, "coordinate_in"), daemon.key_path("coordinate_in"));
    if let Err(refusal) = known.refer(name.as_str()) {
        reading.refuse(place, &key, refusal, name.as_str());
        return;
    }
    let named = destinations.iter().filter_map(|(_, read)| read.as_ref()).find(|read| read.name == *name);
    if named.is_some_and(|read| matches!(read.place, DestinationPlace::Directory(_))) {
        let found = format!("\"{name}\", which is a folder");
        reading.problem(place, &key, found, "a destination with `s3`, which every daemon reaches");
    }
}

/// A snapshot that was taken for a tier of which none are kept would be removed by the next prune.
pub(crate) fn refuse_tiers_that_are_not_kept(
    jobs: &Tabled<'_, JobSettings>,
    destinations: &Tabled<'_, DestinationSettings>,
    reading: &mut Reading<'_>,
) {
    for (section, job, destination) in pairs(jobs, destinations) {
        let unkept =
            destination.accept.iter().flatten().filter(|tier| job.keep.of(**tier) == 0).collect::<Vec<_>>();
        if job.keep.keeps_everything() {
            continue;
        }
        for tier in unkept {
            let found = format!("no `{tier}`, though {} takes {tier} snapshots (`accept`)", destination.name);
            let expected = format!("`{tier}` of 1 or more, or an `accept` without \"{tier}\"");
            reading.problem(section.place_of(reading, "keep"), &section.key_path("keep"), found, expected);
        }
    }
}

/// Names are hashed wherever anything is encrypted.
pub(crate) fn refuse_encryption_without_names_key(
    has_names_key: bool,
    destinations: &Tabled<'_, DestinationSettings>,
    reading: &mut Reading<'_>,
) {
    let encrypted = |read: &&DestinationSettings| read.encrypt_to.is_some();
    for (section, _) in
        destinations.iter().filter(|(_, read)| read.as_ref().is_some_and(|read| encrypted(&read)))
    {
        if !has_names_key {
            let expected = "`names_key` in [encryption] as well, under which the names of tables are hashed there: \
                            `convault keygen names` makes one";
            let place = section.place_of(reading, "encrypt_to");
            reading.problem(place, &section.key_path("encrypt_to"), "no names key", expected);
        }
    }
}

/// Surroundings are secrets for the most part.
pub(crate) fn refuse_surroundings_in_plain(
    jobs: &Tabled<'_, JobSettings>,
    destinations: &Tabled<'_, DestinationSettings>,
    reading: &mut Reading<'_>,
) {
    for (section, job, destination) in pairs(jobs, destinations) {
        if !job.surroundings.is_empty() && destination.encrypt_to.is_none() {
            let found = format!("surroundings, and destination {}, which is not encrypted", destination.name);
            let expected = format!(
                "`encrypt_to` in destination {}: surroundings are secrets, and are only stored encrypted",
                destination.name
            );
            let place = section.place_of(reading, "surroundings");
            reading.problem(place, &section.key_path("surroundings"), found, expected);
        }
    }
}

/// What a run that still goes on has written belongs to nothing yet.
pub(crate) fn refuse_a_grace_shorter_than_a_run(
    jobs: &Tabled<'_, JobSettings>,
    destinations: &Tabled<'_, DestinationSettings>,
    reading: &mut Reading<'_>,
) {
    for (section, job, destination) in pairs(jobs, destinations) {
        if destination.orphan_grace <= job.time_out {
            let found = format!(
                "{} s, no less than `orphan_grace` of {} ({} s)",
                job.time_out.as_secs(),
                destination.name,
                destination.orphan_grace.as_secs()
            );
            let expected = "less: a prune there would take objects of a run that still goes on for leftovers";
            let place = section.place_of(reading, "time_out");
            reading.problem(place, &section.key_path("time_out"), found, expected);
        }
    }
}

/// Every job with each destination that it stores in, as far as both are right.
fn pairs<'t, 'd>(
    jobs: &'t Tabled<'d, JobSettings>,
    destinations: &'t Tabled<'d, DestinationSettings>,
) -> impl Iterator<Item = (&'t Section<'d>, &'t JobSettings, &'t DestinationSettings)> {
    let read_jobs = jobs.iter().filter_map(|(section, job)| Some((section, job.as_ref()?)));
    read_jobs.flat_map(move |(section, job)| {
        let read = destinations.iter().filter_map(|(_, read)| read.as_ref());
        let used = read.filter(|destination| job.to.contains(&destination.name));
        used.map(move |destination| (section, job, destination))
    })
}

/// Retention looks at everything a destination holds of a deployment. Two jobs that keep differently there would each
/// delete what the other keeps.
fn refuse_rivals(jobs: &[JobSettings], reading: &mut Reading<'_>) {
    let file = reading.whole_file();
    for (number, job) in jobs.iter().enumerate() {
        let rival = jobs[..number].iter().find_map(|other| {
            let shared = job.to.iter().find(|destination| other.to.contains(destination))?;
            let alike =
                job.keep == other.keep && job.time_zone == other.time_zone && job.files == other.files;
            (job.deployment == other.deployment && !alike).then_some((other, shared))
        });
        if let Some((other, shared)) = rival {
            let found = format!("another rule than that of job {}, which stores there too", other.name);
            let expected = format!(
                "equal `keep`, `time_zone` and `files` in jobs that store one deployment in one destination \
                 ({shared}): each would delete what the other keeps"
            );
            reading.problem(file.clone(), &format!("job.{}.keep", job.name), found, expected);
        }
    }
}

fn refuse_little_memory(tables: &Tables, reading: &mut Reading<'_>) {
    let Tables { daemon, deployments, .. } = tables;
    // Runs of one deployment never go on at once.
    let runs = u64::from(daemon.runs_at_once).min(deployments.len().max(1) as u64);
    let sets = most_recipient_sets(tables);
    let needed = runs * sets * daemon::LEAST_UPLOAD_MEMORY_BYTES;
    if daemon.upload_memory_bytes < needed {
        let each =
            if sets > 1 { format!(", each to {sets} different sets of recipients") } else { String::new() };
        let expected = format!("{}MiB or more, for {runs} runs at once (`runs_at_once`){each}", needed >> 20);
        let found = format!("{} bytes", daemon.upload_memory_bytes);
        reading.problem(reading.whole_file(), "daemon.upload_memory", found, expected);
    }
}

/// How many different sets of recipients a job has at most; to store as it is counts as one. Each is a stream of its own.
fn most_recipient_sets(Tables { destinations, jobs, .. }: &Tables) -> u64 {
    let sets = |job: &JobSettings| {
        let used = destinations.iter().filter(|destination| job.to.contains(&destination.name));
        let set = |destination: &DestinationSettings| {
            destination.encrypt_to.iter().flatten().map(|text| without_comment(text)).collect::<BTreeSet<_>>()
        };
        used.map(set).collect::<BTreeSet<_>>().len() as u64
    };
    jobs.iter().map(sets).max().unwrap_or(1).max(1)
}

/// An SSH key is the same with another comment behind it.
fn without_comment(recipient: &str) -> String {
    recipient.split_ascii_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

fn warn_of_the_unused(tables: &Tables, reading: &mut Reading<'_>) {
    let Tables { deployments, destinations, jobs, mirrors, .. } = tables;
    let file = reading.whole_file();
    if jobs.is_empty() && (mirrors.is_empty() || !deployments.is_empty()) {
        reading.warn(file.clone(), "job", "there is no [[job]], so nothing is backed up");
        return;
    }
    for deployment in deployments {
        if !jobs.iter().any(|job| job.deployment == deployment.name) {
            let key = format!("deployment.{}", deployment.name);
            reading.warn(file.clone(), &key, "no [[job]] backs this deployment up");
        }
    }
    for destination in destinations {
        let by_job = jobs.iter().any(|job| job.to.contains(&destination.name));
        if !by_job && !mirrors.iter().any(|mirror| mirror.to == destination.name) {
            let key = format!("destination.{}", destination.name);
            reading.warn(file.clone(), &key, "no [[job]] or [[mirror]] stores anything here");
        }
    }
}

/// What no job stores is missed by whoever wrote it down.
fn warn_of_unused_surroundings(Tables { surroundings, jobs, .. }: &Tables, reading: &mut Reading<'_>) {
    let file = reading.whole_file();
    for surrounding in surroundings {
        let named = JobSurrounding::Named(surrounding.name.clone());
        if !jobs.iter().any(|job| job.surroundings.contains(&named)) {
            let key = format!("surrounding.{}", surrounding.name);
            reading.warn(
                file.clone(),
                &key,
                "no [[job]] names this in its `surroundings`, so it is not stored",
            );
        }
    }
}

/// Values that are right each for itself, but not together.
fn warn_of_the_contrary(Tables { deployments, destinations, jobs, .. }: &Tables, reading: &mut Reading<'_>) {
    let file = reading.whole_file();
    for destination in destinations {
        if destination.encrypt_to.as_ref().is_some_and(|recipients| recipients.len() == 1) {
            let text = "there is one recipient: with its identity everything here is lost; add a second one, whose \
                        identity is kept in another place";
            reading.warn(file.clone(), &format!("destination.{}.encrypt_to", destination.name), text);
        }
    }
    for (number, deployment) in deployments.iter().enumerate() {
        let same_url = |other: &&DeploymentSettings| other.url.is_some() && other.url == deployment.url;
        if let Some(other) = deployments[..number].iter().find(same_url) {
            let text = format!(
                "it has the URL of {}, so that two exports of one deployment may be asked for at once; use one \
                 [[deployment]] with several jobs",
                other.name
            );
            reading.warn(file.clone(), &format!("deployment.{}.url", deployment.name), text);
        }
        for job in jobs.iter().filter(|job| job.deployment == deployment.name) {
            if job.time_out <= deployment.export_deadline {
                let text = format!(
                    "the run is cancelled before `export_deadline` of {} is over; make it longer than that",
                    deployment.name
                );
                reading.warn(file.clone(), &format!("job.{}.time_out", job.name), text);
            }
        }
    }
}
