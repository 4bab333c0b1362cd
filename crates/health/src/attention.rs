//! [`Concern`]: what a person should look at, each with what can be done about it.

use convault_core::{
    DeploymentName, DestinationStatus, DrillStatus, HoldingStatus, JobStatus, MirrorStatus, RunOutcome,
    Status, VerifyStatus, WatchStatus,
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    intervals::Intervals,
    verdict::Verdict,
    words::{relative, span},
};

/// Reasons of a held back prune that are told one by one.
const REASONS_SHOWN: usize = 3;

/// Something that a person should look at.
pub(crate) struct Concern {
    /// Whether a backup is missing or in danger; the others can wait for the morning.
    pub(crate) urgent: bool,
    /// What is the matter, as a sentence.
    pub(crate) what: String,
    /// What can be done, as a sentence with commands in backticks; empty where the sentence above says it.
    pub(crate) remedy: String,
}

/// Everything that a person should look at, the urgent first.
pub(crate) fn concerns(status: &Status) -> Vec<Concern> {
    let intervals = Intervals::of(status);
    let mut found: Vec<_> = status.not_ready.iter().map(|why| urgent(why.clone(), "")).collect();
    found.extend(status.jobs.iter().filter_map(|job| of_job(job, status.now)));
    for place in &status.destinations {
        found.extend(of_place(place));
        for (deployment, holding) in &place.holdings {
            let here = Here { status, place, deployment, holding };
            found.extend(here.lost_to_view());
            found.extend(here.no_good());
            found.extend(here.frozen());
            found.extend(here.held_back());
            let task = verify_of(status, place, deployment);
            found.extend(task.into_iter().flat_map(|task| here.verifying(task, &intervals)));
        }
    }
    found.extend(status.drills.iter().filter_map(|drill| of_drill(drill, status)));
    found.extend(status.mirrors.iter().flat_map(|mirror| of_mirror(mirror, status.now)));
    found.extend(status.watching.iter().filter_map(|watch| of_watch(watch, status)));
    found.sort_by_key(|concern| !concern.urgent);
    found
}

/// The verify task of a deployment in a destination.
pub(crate) fn verify_of<'a>(
    status: &'a Status,
    place: &DestinationStatus,
    deployment: &DeploymentName,
) -> Option<&'a VerifyStatus> {
    let fits = |task: &&VerifyStatus| task.destination == place.destination && task.deployment == *deployment;
    status.verifying.iter().find(fits)
}

fn urgent(what: String, remedy: impl Into<String>) -> Concern {
    Concern { urgent: true, what, remedy: remedy.into() }
}

fn mild(what: String, remedy: impl Into<String>) -> Concern {
    Concern { urgent: false, what, remedy: remedy.into() }
}

fn of_job(job: &JobStatus, now: Timestamp) -> Option<Concern> {
    let Verdict { class, word } = Verdict::of_job(job, now);
    let what = format!("Job {}: {word}.", job.job);
    match class {
        "bad" => Some(urgent(what, "")),
        "warn" => Some(mild(what, "")),
        _ => None,
    }
}

fn of_mirror(mirror: &MirrorStatus, now: Timestamp) -> Vec<Concern> {
    let name = &mirror.mirror;
    let mut found = Vec::new();
    if let Some(since) = mirror.braked_since {
        let why = mirror.braked_why.as_deref().unwrap_or("too much has changed at once");
        found.push(urgent(
            format!("Mirror {name}: the brake has held since {}: {why}.", relative(since, now)),
            format!(
                "`convault mirror diff {name}` tells what vanished and changed. If it is right, `convault mirror run {name} \
                 --release-brake`; if not, `convault mirror restore {name} --to source` gives it back."
            ),
        ));
        return found;
    }
    let Verdict { class, word } = Verdict::of_mirror(mirror, now);
    let message =
        mirror.last_attempt.as_ref().map(|run| run.message.trim_end_matches('.')).unwrap_or_default();
    match class {
        "bad" => found.push(urgent(format!("Mirror {name}: {word}: {message}."), "")),
        "warn" => found.push(mild(format!("Mirror {name}: {word}: {message}."), "")),
        _ => {}
    }
    if !mirror.held_back.is_empty() {
        let reasons = mirror.held_back.join("; ");
        let what = format!("The last run of mirror {name} held back: {}.", reasons.trim_end_matches('.'));
        found.push(mild(what, ""));
    }
    found
}

/// A drill that was not passed tells that there may be no way back.
fn of_drill(drill: &DrillStatus, status: &Status) -> Option<Concern> {
    let name = &drill.drill;
    let Verdict { class, word } = Verdict::of_drill(drill, status.started, status.now);
    let run = drill.last_attempt.as_ref();
    let message = run.map(|run| run.message.trim_end_matches('.')).unwrap_or_default();
    let failed = run.is_some_and(|run| run.outcome == Some(RunOutcome::Failed));
    let what = match (failed, drill.last_passed) {
        (true, _) => format!("Drill {name}: {word}: {message}."),
        (false, Some(passed)) if class == "bad" => {
            format!("Drill {name}: {word}, {}.", relative(passed, status.now))
        }
        (false, None) if class == "bad" => {
            format!("Drill {name}: {word}, and the daemon runs for longer than its max_age.")
        }
        _ => format!("Drill {name}: {word}."),
    };
    match class {
        "bad" if run.is_none() => Some(urgent(what, format!("`convault drill {name}` makes one."))),
        "bad" => Some(urgent(what, format!("`convault drill {name} --past` tells about the newest one."))),
        "warn" => Some(mild(what, "")),
        _ => None,
    }
}

/// A change of secrets that nobody looks for is missed until the next backup.
fn of_watch(watch: &WatchStatus, status: &Status) -> Option<Concern> {
    let Verdict { class, word } = Verdict::of_watch(watch, status.started, status.now);
    let run = watch.last_attempt.as_ref().filter(|run| run.outcome != Some(RunOutcome::Good));
    let message = run.map(|run| format!(": {}", run.message.trim_end_matches('.'))).unwrap_or_default();
    let what = format!("Secrets of job {}: {word}{message}.", watch.job);
    match class {
        "bad" => Some(urgent(what, "")),
        "warn" => Some(mild(what, "")),
        _ => None,
    }
}

fn of_place(place: &DestinationStatus) -> impl Iterator<Item = Concern> {
    let name = &place.destination;
    let down = (place.up == Some(false)).then(|| urgent(format!("Destination {name}: down."), ""));
    let lock = place.abilities.as_ref().and_then(|seen| seen.default_lock).map(|lock| {
        let days = lock.days;
        mild(
            format!("The bucket of {name} locks every new object by itself, for {days} d."),
            "What a run leaves unfinished stays that long. Take the default lock off the bucket: with `object_lock` \
             in the settings, Convault locks what it has checked.",
        )
    });
    down.into_iter().chain(lock)
}

/// What one destination holds of one deployment.
struct Here<'a> {
    status: &'a Status,
    place: &'a DestinationStatus,
    deployment: &'a DeploymentName,
    holding: &'a HoldingStatus,
}

impl Here<'_> {
    fn name(&self) -> String {
        format!("{} in {}", self.deployment, self.place.destination)
    }

    /// Snapshots that were stored and do not count.
    fn lost_to_view(&self) -> impl Iterator<Item = Concern> {
        let told = [
            (
                "damaged",
                "what is stored is not what the manifest says",
                "`convault list` tells which. `convault repair` makes them whole from another destination.",
            ),
            (
                "headless",
                "the manifest is gone, the objects are kept",
                "`convault list` tells which. `convault repair` makes the manifest again.",
            ),
            (
                "unreadable",
                "the manifest cannot be used, the objects are kept",
                "`convault list` tells which, and why. `convault repair` makes the manifest again.",
            ),
            (
                "untrusted",
                "no trusted key has signed the manifest",
                "`convault list` tells which. If the key is yours, add it to `signing.trusted_keys`; if not, somebody \
                 else writes there.",
            ),
        ];
        told.into_iter().filter_map(|(state, meaning, remedy)| {
            let what = match self.holding.count(state) {
                0 => return None,
                1 => format!("1 snapshot of {} is {state}: {meaning}.", self.name()),
                number => format!("{number} snapshots of {} are {state}: {meaning}.", self.name()),
            };
            Some(urgent(what, remedy))
        })
    }

    /// Nothing good where there should be something: other folders are there, or a job has stored a snapshot here.
    fn no_good(&self) -> Option<Concern> {
        let stores_here = |job: &&JobStatus| {
            job.deployment == *self.deployment && job.destinations.contains(&self.place.destination)
        };
        let job = self.status.jobs.iter().find(stores_here);
        let expected = self.holding.states.values().any(|number| *number > 0)
            || job.is_some_and(|job| job.last_success.is_some());
        (expected && self.holding.count("good") == 0).then(|| {
            let what = format!("There is no good snapshot of {}.", self.name());
            urgent(what, job.map_or(String::new(), |job| format!("`convault backup {}` makes one.", job.job)))
        })
    }

    fn frozen(&self) -> Option<Concern> {
        let since = self.holding.frozen_since?;
        let what = format!(
            "Pruning of {} is frozen: the newest snapshot, of {}, is suspect.",
            self.name(),
            relative(since, self.status.now)
        );
        let id = self.suspect_id(since).unwrap_or_else(|| "ID".to_owned());
        let remedy = format!(
            "`convault show {id}` tells why. If it is right as it is, `convault accept {id}`; a good snapshot ends the \
             freeze as well."
        );
        Some(urgent(what, remedy))
    }

    /// The snapshot of that time, where a job's newest run made it.
    fn suspect_id(&self, time: Timestamp) -> Option<String> {
        let mut runs = self.status.jobs.iter().filter_map(|job| job.last_attempt.as_ref());
        let made = runs.find(|run| {
            run.deployment == *self.deployment
                && run.outcome == Some(RunOutcome::Suspect)
                && run.snapshot_time == Some(time)
        })?;
        made.snapshot.as_ref().map(ToString::to_string)
    }

    fn held_back(&self) -> Option<Concern> {
        let (shown, more) = self.holding.held_back.split_at(self.holding.held_back.len().min(REASONS_SHOWN));
        let mut reasons = shown.join("; ");
        if !more.is_empty() {
            reasons = format!("{reasons}; and {} more", more.len());
        }
        let what = format!("The last prune of {} held back: {}.", self.name(), reasons.trim_end_matches('.'));
        let job = self.status.jobs.iter().find(|job| job.deployment == *self.deployment);
        let remedy = job
            .map_or(String::new(), |job| format!("`convault prune {} --dry-run` shows the plan.", job.job));
        (!shown.is_empty()).then(|| mild(what, remedy))
    }

    fn verifying(&self, task: &VerifyStatus, intervals: &Intervals<'_>) -> Vec<Concern> {
        let mut found = Vec::new();
        let by_hand = format!(
            "convault verify --deployment {} --destination {}",
            self.deployment, self.place.destination
        );
        if intervals.is_overdue(task, self.holding) {
            let last = self.holding.last_verified.map_or_else(
                || "it has never found everything sound".to_owned(),
                |time| format!("it last found everything sound {}", relative(time, self.status.now)),
            );
            let what = format!("Verify of {} is overdue: {last}.", self.name());
            found.push(urgent(what, format!("`{by_hand}` does it now and tells what is wrong.")));
        }
        if let Some(read) =
            self.holding.oldest_read.filter(|_| intervals.is_reading_overdue(task, self.holding))
        {
            let what = format!(
                "Something of {} was last read {}; {} are allowed.",
                self.name(),
                relative(read, self.status.now),
                span(seconds(task.read_all_within_seconds))
            );
            found.push(urgent(what, format!("`{by_hand} --read-data` reads it all now.")));
        }
        let failed = task.last_attempt.as_ref().filter(|run| {
            matches!(run.outcome, Some(RunOutcome::Failed | RunOutcome::Interrupted | RunOutcome::Suspect))
        });
        if let Some(run) = failed {
            let outcome = run.outcome.map_or("", RunOutcome::as_str);
            let message = run.message.trim_end_matches('.');
            found.push(urgent(
                format!("The last verify of {} ended as {outcome}: {message}.", self.name()),
                "",
            ));
        }
        found
    }
}

/// A length of time from the settings, which are nowhere near the limit.
pub(crate) fn seconds(value: f64) -> SignedDuration {
    SignedDuration::try_from_secs_f64(value).unwrap_or(SignedDuration::MAX)
}
