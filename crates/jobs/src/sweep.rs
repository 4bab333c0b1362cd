//! Aborts uploads that a run of ours began and never finished, so that nothing is billed for their parts.

use std::time::Duration;

use convault_core::{DeploymentName, Layout, RunId, Store, StoreErrorKind, UnfinishedUpload};
use jiff::Timestamp;

use crate::{JobError, RunContext};

/// Longer than any run may take: older uploads belong to nobody.
const NOBODYS_AFTER: Duration = Duration::from_hours(48);

/// Aborts unfinished uploads of a deployment that belong to `dead_runs`, or to a run that began more than two days
/// ago, and those of shared files that were begun so long ago. An upload whose key we did not make is left alone. Gives the number aborted.
pub(crate) async fn sweep(
    store: &dyn Store,
    deployment: &DeploymentName,
    dead_runs: &[RunId],
    context: &RunContext,
) -> Result<usize, JobError> {
    let layout = Layout::new(deployment.clone());
    let now = context.clock.now();
    let mut aborted = 0;
    for prefix in [layout.snapshots_prefix(), layout.surroundings_prefix()] {
        let is_dead = |upload: &UnfinishedUpload| is_dead(upload, &prefix, dead_runs, now);
        aborted += sweep_below(store, &prefix, is_dead, context).await?;
    }
    // A shared file's key tells its content and no run.
    let is_old = |upload: &UnfinishedUpload| is_nobodys(upload.started, now);
    Ok(aborted + sweep_below(store, &layout.files_prefix(), is_old, context).await?)
}

/// Aborts what is unfinished below a prefix and belongs to nobody any more.
async fn sweep_below(
    store: &dyn Store,
    prefix: &str,
    is_dead: impl Fn(&UnfinishedUpload) -> bool,
    context: &RunContext,
) -> Result<usize, JobError> {
    let unfinished = match store.list_uploads(prefix).await {
        Ok(unfinished) => unfinished,
        Err(error) if error.kind == StoreErrorKind::Unsupported => return Ok(0),
        Err(error) => return Err(error.into()),
    };
    let mut aborted = 0;
    for upload in unfinished.iter().filter(|upload| is_dead(upload)) {
        store.abort_upload(upload).await?;
        aborted += 1;
    }
    if aborted > 0 {
        context.message(format!(
            "{}: aborted {aborted} unfinished upload(s) of runs that ended early",
            store.destination()
        ));
    }
    Ok(aborted)
}

fn is_dead(upload: &UnfinishedUpload, prefix: &str, dead_runs: &[RunId], now: Timestamp) -> bool {
    let folder = upload.key.strip_prefix(prefix).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let Ok(run) = RunId::parse(folder) else { return false };
    dead_runs.contains(&run) || is_nobodys(run.time(), now)
}

/// Whether what began then belongs to no run that can still go on. What begins in the future is left alone.
fn is_nobodys(begun: Timestamp, now: Timestamp) -> bool {
    let age = now.duration_since(begun);
    !age.is_negative() && age.unsigned_abs() > NOBODYS_AFTER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_uploads_of_dead_or_long_gone_runs_are_aborted() {
        let run = RunId::parse("20261122T030056Z-700000").unwrap();
        let upload = |key: &str| UnfinishedUpload {
            key: key.to_owned(),
            upload_id: "u".to_owned(),
            started: run.time(),
        };
        let ours = upload("crm/snapshots/20261122T030056Z-700000/x.zip");
        let soon = run.time() + jiff::SignedDuration::from_mins(5);
        let late = run.time() + jiff::SignedDuration::from_hours(49);
        assert!(!is_dead(&ours, "crm/snapshots/", &[], soon));
        assert!(is_dead(&ours, "crm/snapshots/", std::slice::from_ref(&run), soon));
        assert!(is_dead(&ours, "crm/snapshots/", &[], late));
        assert!(!is_dead(&upload("crm/snapshots/holiday/x.zip"), "crm/snapshots/", &[], late));
        assert!(!is_dead(&upload("other/20261122T030056Z-700000/x.zip"), "crm/snapshots/", &[run], late));
    }
}
