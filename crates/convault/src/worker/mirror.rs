//! A mirror as a run.

use convault_core::{DestinationResult, MirrorVerdict, RunOutcome, RunRecord};
use convault_jobs::{Mirror, Mirrored, RunContext};

use super::{Worker, failed, why_stopped};
use crate::{
    print,
    task::{MirrorTask, Order},
};

impl Worker {
    pub(super) async fn mirror(
        &self,
        task: &MirrorTask,
        order: &Order<'_>,
        running: RunRecord,
        context: &RunContext,
    ) -> RunRecord {
        let mirror = Mirror {
            release_brake: order.request.release_brake,
            upload_memory_bytes: self.upload_memory_bytes(),
            dead_runs: self.dead_runs.clone(),
            ..task.mirror.clone()
        };
        match convault_jobs::mirror(&mirror, context).await {
            Ok(done) => record(task, &done, running, context),
            Err(error) => failed(running, &why_stopped(error, context), context),
        }
    }
}

fn record(task: &MirrorTask, done: &Mirrored, running: RunRecord, context: &RunContext) -> RunRecord {
    let (outcome, message) = verdict(done);
    let destination = task.settings.to.clone();
    let tally = &done.run.tally;
    // A warning about a destination begins with its name: by that what was held back is told from the rest.
    let held_back = done.held_back.iter().map(|why| format!("{destination}: {why}"));
    let warnings = done.warnings.iter().chain(&done.failures).cloned().chain(held_back).collect();
    let stored_bytes = tally.read_bytes + tally.server_copied_bytes;
    RunRecord {
        finished: Some(context.clock.now()),
        outcome: Some(outcome),
        message,
        destinations: vec![DestinationResult { destination, stored_bytes, problem: None }],
        read_bytes: tally.read_bytes,
        files: tally.objects,
        warnings,
        ..running
    }
}

fn verdict(done: &Mirrored) -> (RunOutcome, String) {
    let (tally, name) = (&done.run.tally, &done.run.mirror);
    match done.run.verdict {
        MirrorVerdict::Braked => {
            let why = done.run.why.as_deref().unwrap_or("too much has changed");
            let text = format!(
                "{why}; nothing was propagated. `convault mirror diff {name}` shows what; if it is right, `convault mirror \
                 run {name} --release-brake`"
            );
            (RunOutcome::Suspect, text)
        }
        MirrorVerdict::Unchanged => {
            let text = format!("{} objects, nothing has changed", print::number(tally.objects));
            (RunOutcome::Good, text)
        }
        MirrorVerdict::Complete => {
            let copied = format!(
                "{} objects: {} new, {} changed, {} gone; {} copied",
                print::number(tally.objects),
                print::number(tally.added),
                print::number(tally.changed),
                print::number(tally.vanished),
                print::size(tally.read_bytes + tally.server_copied_bytes)
            );
            let touched = (tally.touched > 0)
                .then(|| format!("{} written again as they were", print::number(tally.touched)));
            let failed = (tally.failed > 0).then(|| match done.failures.first() {
                Some(first) => {
                    format!("{} could not be copied, the first: {first}", print::number(tally.failed))
                }
                None => format!("{} could not be copied", print::number(tally.failed)),
            });
            let outcome = if failed.is_some() { RunOutcome::Partial } else { RunOutcome::Good };
            let parts: Vec<String> = [Some(copied), touched, failed].into_iter().flatten().collect();
            (outcome, parts.join("; "))
        }
    }
}
