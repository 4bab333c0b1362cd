//! [`perform_guarded`]: what has to happen around an import so that nothing that is live is ever lost.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use convault_core::{ImportStatus, Target, TargetContents, TargetError, TargetIdentity};

use super::{
    prepared::{Imported, Prepared},
    safety::{Safety, SafetySnapshot},
};
use crate::{ErasedSet, JobError, RunContext, error::chain};

/// How long another deployment may take to say whether it knows an import.
const OTHER_ANSWERS_WITHIN: Duration = Duration::from_secs(20);

/// What an import may do, and what has to be done around it.
#[derive(Debug, Clone, Copy)]
pub struct Guard<'a> {
    /// Where the import was prepared.
    pub target: &'a dyn Target,
    /// Who that was when the plan was made.
    pub expected: &'a TargetIdentity,
    /// Deployments that it must not be although it may be called otherwise.
    pub others: &'a [Arc<dyn Target>],
    /// Whether it serves nobody while it is written to.
    pub pause: bool,
    /// The snapshot of what is live. `None` only where nothing is there that could be lost: then the target has to be
    /// empty still.
    pub safety: Option<Safety<'a>>,
    /// What must not be there afterwards: stored files that were erased are removed.
    pub erased: &'a ErasedSet,
}

/// What became of an import, once it had been told to go on.
#[derive(Debug)]
pub struct Guarded<S> {
    /// The snapshot of what was live before.
    pub safety: Option<SafetySnapshot>,
    /// The import itself. An error leaves what was there, except of an append, and unless it is
    /// [`JobError::Unsettled`].
    pub imported: Result<Imported<S>, JobError>,
    /// What the deployment held right after it, before it served anybody again.
    pub contents: Option<TargetContents>,
    /// What went wrong beside it, each a sentence.
    pub problems: Vec<String>,
}

/// Performs an import: the target is paused if that is wanted, what is live is stored and read back, and who the target is
/// is looked at once more; only then is the import confirmed. Afterwards erased files that had stayed are removed, what is
/// there is counted, and the target serves its users again, unless nobody knows what became of the import.
///
/// An error means that not one write reached the target: the import was cancelled, and the target serves as it did.
pub async fn perform_guarded<S: Send>(
    guard: &Guard<'_>,
    prepared: Prepared<S>,
    context: &RunContext,
) -> Result<Guarded<S>, JobError> {
    let mut pause = Pause { target: guard.target, context, was_set: false };
    let safety = match before(guard, &prepared, &mut pause, context).await {
        Ok(safety) => safety,
        Err(error) => {
            if let Err(error) = prepared.cancel(guard.target).await {
                context.warning(format!("the import waits there unconfirmed: {}", chain(&error)));
            }
            if let Some(problem) = pause.end().await {
                context.warning(problem);
            }
            return Err(error);
        }
    };
    let imported = prepared.perform(guard.target, context).await;
    let mut problems = Vec::new();
    let contents = match &imported {
        Ok(_) => counted(guard, &mut problems).await,
        Err(_) => None,
    };
    problems.extend(pause.end_after(imported.as_ref().err()).await);
    Ok(Guarded { safety, imported, contents, problems })
}

/// Everything up to the confirmation. Nothing is written.
async fn before<S>(
    guard: &Guard<'_>,
    prepared: &Prepared<S>,
    pause: &mut Pause<'_>,
    context: &RunContext,
) -> Result<Option<SafetySnapshot>, JobError> {
    not_another(guard, prepared, context).await?;
    if guard.pause {
        context.or_stop(pause.begin()).await??;
    }
    let safety = match &guard.safety {
        Some(safety) => Some(safety.take(guard.target.name(), guard.expected, context).await?),
        None => None,
    };
    context.or_stop(still_as_planned(guard, prepared, false)).await??;
    Ok(safety)
}

/// A deployment in which this very import waits is the one it was prepared in, whatever it is called.
pub(super) async fn not_another<S>(
    guard: &Guard<'_>,
    prepared: &Prepared<S>,
    context: &RunContext,
) -> Result<(), JobError> {
    for other in guard.others {
        let known = tokio::time::timeout(OTHER_ANSWERS_WITHIN, other.import(prepared.id()));
        if let Ok(Ok(ImportStatus::WaitingForConfirmation { .. })) = context.or_stop(known).await? {
            let why = format!("it is the deployment {} under another name; say so: --to {0}", other.name());
            return Err(guard.refused(why));
        }
    }
    Ok(())
}

/// Right before the confirmation: the target is still who it was, and still empty where it has to be. Where an earlier
/// import of ours has filled it, nothing may be deleted.
pub(super) async fn still_as_planned<S>(
    guard: &Guard<'_>,
    prepared: &Prepared<S>,
    filled_by_us: bool,
) -> Result<(), JobError> {
    let now = guard.target.identity().await?;
    if (&now.instance, now.number) != (&guard.expected.instance, guard.expected.number) {
        let (now, then) = (&now.instance, &guard.expected.instance);
        let why = format!("it was {then} when the plan was made, and is {now} now");
        return Err(guard.refused(why));
    }
    if guard.safety.is_some() {
        return Ok(());
    }
    if prepared.deletes || !(filled_by_us || guard.target.contents().await?.is_empty()) {
        return Err(guard.refused("it is not empty any more; make the plan again".to_owned()));
    }
    Ok(())
}

/// Counts what is there, once stored files of erased people that the import left where they were are gone.
pub(super) async fn counted(guard: &Guard<'_>, problems: &mut Vec<String>) -> Option<TargetContents> {
    let uncounted = |error: &TargetError| format!("what is there now was not counted: {}", chain(error));
    let mut contents =
        guard.target.contents().await.map_err(|error| problems.push(uncounted(&error))).ok()?;
    let mut erased: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (component, id) in &guard.erased.files {
        if contents.components.get(component).is_some_and(|there| there.files > 0) {
            erased.entry(component).or_default().push(id.clone());
        }
    }
    for (component, ids) in &erased {
        if let Err(error) = guard.target.delete_files(component, ids).await {
            problems.push(format!("erased files may still be there: {}", chain(&error)));
        }
    }
    if !erased.is_empty() {
        contents = guard.target.contents().await.map_err(|error| problems.push(uncounted(&error))).ok()?;
    }
    Some(contents)
}

impl Guard<'_> {
    fn refused(&self, why: String) -> JobError {
        JobError::Refused { target: self.target.name().to_owned(), why }
    }
}

/// The pause of a target, which is ended wherever it was begun.
pub(super) struct Pause<'a> {
    pub(super) target: &'a dyn Target,
    pub(super) context: &'a RunContext,
    pub(super) was_set: bool,
}

impl Pause<'_> {
    /// Pauses the target, unless somebody else has.
    pub(super) async fn begin(&mut self) -> Result<(), JobError> {
        if self.target.is_paused().await? {
            self.context.message("the deployment is paused already, and stays so");
            return Ok(());
        }
        // An answer that is lost, or not waited for, leaves it paused.
        self.was_set = true;
        self.target.pause().await?;
        self.context.message("the deployment is paused; if this is cut off, unpause it in its dashboard");
        Ok(())
    }

    /// The same once imports were told to go on, of which this is the error: what its users wrote while one may go on
    /// would be lost.
    pub(super) async fn end_after(&mut self, error: Option<&JobError>) -> Option<String> {
        if self.was_set && matches!(error, Some(JobError::Unsettled { .. })) {
            self.was_set = false;
            let told = "it stays paused, since an import may go on there; once that is settled, unpause it in its dashboard";
            return Some(told.to_owned());
        }
        self.end().await
    }

    /// Lets the target serve its users again, if that is for us to say. Gives what went wrong.
    pub(super) async fn end(&mut self) -> Option<String> {
        if !std::mem::take(&mut self.was_set) {
            return None;
        }
        let error = self.target.unpause().await.err()?;
        Some(format!("it is still paused, unpause it in its dashboard: {}", chain(&error)))
    }
}
