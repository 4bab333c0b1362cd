//! The newest good snapshot, and where it is.

use crate::{Destination, JobError, RunContext, survey::Snapshot, survey::find};

use super::Drill;

/// The newest good snapshot of all destinations; of equally new ones, that of the first destination. A destination that
/// cannot be asked is told and passed over, unless none has a snapshot.
pub(super) async fn newest<'d>(
    drill: &'d Drill<'_>,
    context: &RunContext,
) -> Result<(&'d Destination, Snapshot), JobError> {
    let (mut newest, mut failure): (Option<(&Destination, Snapshot)>, _) = (None, None);
    for destination in &drill.destinations {
        match context.or_stop(find(destination, &drill.deployment, None, context.clock.now())).await? {
            Ok(Some(snapshot)) => {
                let at = snapshot.manifest.snapshot_ts_ns;
                if newest.as_ref().is_none_or(|(_, newest)| newest.manifest.snapshot_ts_ns < at) {
                    newest = Some((destination, snapshot));
                }
            }
            Ok(None) => {}
            Err(error) => {
                let name = destination.store.destination();
                context.warning(format!("{name} cannot be asked: {}", crate::error::chain(&error)));
                failure = Some(error);
            }
        }
    }
    match (newest, failure) {
        (Some(newest), _) => Ok(newest),
        (None, Some(error)) => Err(error),
        (None, None) => Err(JobError::NoGoodSnapshot { deployment: drill.deployment.clone() }),
    }
}
