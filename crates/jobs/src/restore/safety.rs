//! The safety snapshot: what is live, stored and read back before anything is put in its place.

use std::time::Duration;

use convault_core::{
    DeploymentName, DestinationName, FilesMode, Kind, Manifest, RunOutcome, SnapshotId, Source,
    TargetIdentity, Verdict,
};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::{
    BackupJob, Destination, JobError, RunContext, VerifyDepth, backup::backup, contents::MOST_IDS,
    error::chain, survey::find, verify::verify,
};

/// How long it is kept at least.
const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Between now and the moment at which somebody counts the thirty days.
const SLACK: SignedDuration = SignedDuration::from_hours(24);
const TAG: &str = "before-restore";
/// What makes content itself doubtful. Anything else that looks wrong is a difference to earlier snapshots, and that is
/// why people restore.
const DAMAGE: [&str; 3] = ["source-damage", "files-missing", "rebuilt"];
/// One export at a time: somebody else's may have to end first.
const LONGEST_WAIT: Duration = Duration::from_hours(6);

/// How the safety snapshot of a deployment is taken.
#[derive(Debug, Clone, Copy)]
pub struct Safety<'a> {
    /// The job it is taken with. Its kind, its tag, how long it is kept and which tiers its destinations take are seen
    /// to here.
    pub job: &'a BackupJob,
    /// The deployment that will be written to.
    pub source: &'a dyn Source,
    /// Where it is stored; one suffices.
    pub destinations: &'a [Destination],
    /// Stored files that somebody has named as damaged on the deployment itself: `kg2…`, with the component in front
    /// where it is not the root. Others that are make it no safety snapshot.
    pub known_damaged: &'a [String],
}

/// A safety snapshot that is stored, and of which every byte was read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SafetySnapshot {
    /// Its identifier.
    pub id: SnapshotId,
    /// Under which deployment it is stored.
    pub deployment: DeploymentName,
    /// Where it was read back from.
    pub destination: DestinationName,
    /// Retention keeps it until then.
    pub keep_until: Timestamp,
    /// Documents in it.
    pub documents: u64,
    /// Stored files in it.
    pub files: u64,
    /// Those that are damaged on the deployment itself, as somebody has named them: they are in it as they were given.
    pub damaged: Vec<String>,
}

impl Safety<'_> {
    /// Takes it of the deployment that is `expected`. Any failure but a stop is [`JobError::Refused`], since then nothing
    /// may be touched.
    pub(super) async fn take(
        &self,
        target: &str,
        expected: &TargetIdentity,
        context: &RunContext,
    ) -> Result<SafetySnapshot, JobError> {
        match self.stored(expected, context).await {
            Ok(stored) => {
                let (id, place) = (&stored.id, &stored.destination);
                context.message(format!("safety snapshot {id} is in {place}, every byte of it read back"));
                Ok(stored)
            }
            Err(_) if context.stop.is_cancelled() => Err(JobError::Stopped),
            Err(why) => {
                let why = format!("there is no safety snapshot of it: {why}");
                Err(JobError::Refused { target: target.to_owned(), why })
            }
        }
    }

    async fn stored(
        &self,
        expected: &TargetIdentity,
        context: &RunContext,
    ) -> Result<SafetySnapshot, String> {
        let (job, destinations) = (self.job(context.clock.now()), self.destinations());
        let within = context.within();
        let record = Box::pin(backup(&job, self.source, &destinations, &within)).await;
        let stored =
            matches!(record.outcome, Some(RunOutcome::Good | RunOutcome::Partial | RunOutcome::Suspect));
        let Some(id) = record.snapshot.filter(|_| stored) else { return Err(record.message) };
        let mut reasons = Vec::new();
        for destination in &destinations {
            let name = destination.store.destination();
            match self.proven(destination, &id, &job, expected, &within).await {
                Ok((manifest, damaged)) => {
                    return Ok(SafetySnapshot {
                        id,
                        deployment: job.deployment,
                        destination: name.clone(),
                        keep_until: manifest.keep_until.unwrap_or_default(),
                        documents: manifest.totals.documents,
                        files: manifest.totals.files,
                        damaged,
                    });
                }
                Err(why) => reasons.push(format!("{name}: {why}")),
            }
        }
        Err(reasons.join("; "))
    }

    /// The job, so that its snapshot is taken whatever the schedule and the gate say, files and all.
    fn job(&self, now: Timestamp) -> BackupJob {
        let kept = now + KEPT + SLACK;
        let mut tags = self.job.tags.clone();
        tags.push(TAG.to_owned());
        BackupJob {
            kind: Kind::OnDemand,
            due: None,
            tags,
            keep_until: Some(self.job.keep_until.map_or(kept, |until| until.max(kept))),
            files: if self.job.files == FilesMode::None { FilesMode::Inline } else { self.job.files },
            export_deadline: self.job.export_deadline.min(LONGEST_WAIT),
            ..self.job.clone()
        }
    }

    /// The destinations, so that each takes it, and nothing is pruned meanwhile.
    fn destinations(&self) -> Vec<Destination> {
        let taking = |destination: &Destination| Destination {
            accept: None,
            append_only: true,
            ..destination.clone()
        };
        self.destinations.iter().map(taking).collect()
    }

    /// The manifest of the snapshot in one destination, if it is what was meant and every byte of it is there; and what is
    /// damaged in it, as was known.
    async fn proven(
        &self,
        destination: &Destination,
        id: &SnapshotId,
        job: &BackupJob,
        expected: &TargetIdentity,
        context: &RunContext,
    ) -> Result<(Manifest, Vec<String>), String> {
        let found = find(destination, &job.deployment, Some(id), context.clock.now()).await;
        let found = found.map_err(|error| chain(&error))?.ok_or("it is not there")?;
        let manifest = found.manifest;
        if manifest.source.instance != expected.instance {
            let instance = &manifest.source.instance;
            return Err(format!("it is of {instance}, which is another deployment"));
        }
        let damaged =
            damage(&manifest.verdict, self.known_damaged).map_err(|why| format!("it is suspect: {why}"))?;
        let report =
            verify(destination, &job.deployment, std::slice::from_ref(id), VerifyDepth::ReadData, context);
        let report = report.await.map_err(|error| chain(&error))?;
        match report.faults.first() {
            Some(fault) => {
                Err(format!("it did not come back as it was stored: {}: {}", fault.object, fault.what))
            }
            None if report.read.contains(id) => Ok((manifest, damaged)),
            None => Err("it could not be read back".to_owned()),
        }
    }
}

/// The stored files whose content is damaged, if each is known to be. An error is what is wrong beside that, with the
/// remedy.
fn damage(verdict: &Verdict, known: &[String]) -> Result<Vec<String>, String> {
    let Verdict::Suspect { problems } = verdict else { return Ok(Vec::new()) };
    let mut damaged = Vec::new();
    for problem in problems.iter().filter(|problem| DAMAGE.contains(&problem.kind.as_str())) {
        // `kg2…: its content is not what its row announces`
        let ids = problem.ids.iter().map(|text| text.split(':').next().unwrap_or(text));
        let unknown: Vec<&str> = ids.clone().filter(|id| !known.iter().any(|known| known == id)).collect();
        let what = &problem.what;
        if problem.ids.is_empty() || problem.ids.len() >= MOST_IDS {
            return Err(format!("{what}; repair that on the deployment, or restore into another one"));
        }
        if !unknown.is_empty() {
            return Err(format!(
                "{what}; repair these on the deployment, or, if there is nothing better of them to be had, name each as \
                 known, so that it is kept as it is: --known-damaged {}",
                unknown.join(" --known-damaged ")
            ));
        }
        damaged.extend(ids.map(str::to_owned));
    }
    Ok(damaged)
}

#[cfg(test)]
mod tests {
    use convault_core::Problem;

    use super::*;

    fn told(kind: &str, ids: &[&str]) -> Verdict {
        let ids = ids.iter().map(|id| format!("{id}: it is not whole")).collect();
        let problem = Problem { kind: kind.to_owned(), what: "something is wrong".to_owned(), ids };
        Verdict::Suspect { problems: vec![problem] }
    }

    #[test]
    fn only_stored_files_that_are_all_named_may_be_damaged() {
        let known = ["kg1".to_owned(), "shop/kg2".to_owned()];
        let verdict = told("source-damage", &["kg1", "shop/kg2"]);
        assert_eq!(damage(&verdict, &known).unwrap(), known);
        let why = damage(&verdict, &known[..1]).unwrap_err();
        assert!(why.ends_with("--known-damaged shop/kg2"), "{why}");
        assert!(damage(&told("source-damage", &[]), &known).unwrap_err().contains("into another one"));
        let many: Vec<String> = (0..MOST_IDS).map(|id| format!("kg{id}")).collect();
        let ids: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(damage(&told("files-missing", &ids), &many).is_err(), "there may be more than are named");
    }

    #[test]
    fn what_differs_from_earlier_snapshots_is_no_damage() {
        assert_eq!(damage(&told("table-vanished", &[]), &[]).unwrap(), Vec::<String>::new());
        assert_eq!(damage(&Verdict::Good, &[]).unwrap(), Vec::<String>::new());
    }
}
