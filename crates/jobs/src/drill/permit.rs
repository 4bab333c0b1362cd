//! Asks the scratch deployment and every source who they are, so that nothing is ever restored over a source.

use std::time::Duration;

use convault_core::{
    EnvironmentChange, KnownSource, MayNotDrill, RunId, SCRATCH_VARIABLE, ScratchFacts, Secret,
    SourceIdentity, TargetIdentity, may_prepare,
};
use futures::{FutureExt as _, future::join_all};

use super::{Drill, DrillSource, scratch::ScratchDeployment};
use crate::{Destination, JobError, RunContext, error::chain, repository, survey::find};

/// How long a source may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// A deployment that is marked as a scratch deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScratchMarked {
    /// Who it says it is.
    pub identity: TargetIdentity,
    /// The repository whose drills may write to it.
    pub repository: RunId,
    /// Whether it carried the mark already.
    pub already: bool,
}

/// Marks the scratch deployment of a drill, so that it may hold something when a drill begins. Refused on anything that
/// is or may be a source. All that it holds is lost in the first drill: where that is something, `replace` is its name.
pub async fn prepare_scratch(
    drill: &Drill<'_>,
    replace: Option<&str>,
    context: &RunContext,
) -> Result<ScratchMarked, JobError> {
    let repository = repository_of(drill).await?;
    let warn = |text: String| context.warning(text);
    let scratch = drill.scratch.begin(&context.id, &[], context.clock.now(), &warn, &context.stop).await?;
    let marked = async {
        let facts = scratch_facts(scratch.as_ref()).await?;
        let sources = known_sources(drill, true, context).await;
        may_prepare(&facts, &repository, &sources, replace).map_err(|why| refused(&why))?;
        let already = facts.mark.as_deref() == Some(repository.as_str());
        if !already {
            let value = Some(Secret::new(repository.as_str().to_owned()));
            let change = EnvironmentChange { name: SCRATCH_VARIABLE.to_owned(), value };
            scratch.reached().environment.write(&[change]).await?;
        }
        Ok(ScratchMarked { identity: facts.identity, repository, already })
    };
    let marked = marked.await;
    if let Err(text) = scratch.end().await {
        context.warning(text);
    }
    marked
}

/// The repository that the first of the destinations belongs to.
async fn repository_of(drill: &Drill<'_>) -> Result<RunId, JobError> {
    for destination in &drill.destinations {
        if let Some(file) = repository::read(destination.store.as_ref()).await? {
            return Ok(file.repository);
        }
    }
    let place = drill.destinations.iter().map(|one| one.store.location()).collect::<Vec<_>>().join(", ");
    let what =
        "there is no convault.json yet, whose `repository` would be the mark; back up first".to_owned();
    Err(JobError::Repository { place, what })
}

/// A refusal, told once.
pub(super) fn refused(why: &MayNotDrill) -> JobError {
    JobError::MayNotDrill { why: why.to_string() }
}

/// Who the scratch deployment says it is, and what it holds.
pub(super) async fn scratch_facts(scratch: &dyn ScratchDeployment) -> Result<ScratchFacts, JobError> {
    let reached = scratch.reached();
    let identity = reached.target.identity().await?;
    let contents = reached.target.contents().await?;
    let mark = match reached.environment.read().await {
        Ok(variables) => variables.get(SCRATCH_VARIABLE).map(|value| value.expose().to_owned()),
        Err(error) => {
            tracing::debug!(%error, "the mark of the scratch deployment could not be read");
            None
        }
    };
    Ok(ScratchFacts { identity, made: scratch.is_made(), contents, mark })
}

/// Who every source says it is: asked now, or else as its newest manifest has it. Whether it is empty is asked where
/// `count` says so.
pub(super) async fn known_sources(drill: &Drill<'_>, count: bool, context: &RunContext) -> Vec<KnownSource> {
    join_all(drill.sources.iter().map(|source| known_source(drill, source, count, context).boxed())).await
}

async fn known_source(
    drill: &Drill<'_>,
    source: &DrillSource,
    count: bool,
    context: &RunContext,
) -> KnownSource {
    let identity = source_identity(drill, source, count, context).await;
    KnownSource { name: source.name.clone(), identity }
}

async fn source_identity(
    drill: &Drill<'_>,
    source: &DrillSource,
    count: bool,
    context: &RunContext,
) -> SourceIdentity {
    let asked = async {
        let identity = source.target.identity().await.map_err(|error| chain(&error))?;
        let variables = source.environment.read().await.map_err(|_| ());
        let mark =
            variables.map(|variables| variables.get(SCRATCH_VARIABLE).map(|value| value.expose().to_owned()));
        let is_empty = if count {
            source.target.contents().await.ok().map(|contents| contents.is_empty())
        } else {
            None
        };
        Ok(SourceIdentity::Asked { identity, mark, is_empty })
    };
    let why = match tokio::time::timeout(ANSWERS_WITHIN, asked).await {
        Ok(Ok(asked)) => return asked,
        Ok(Err(why)) => why,
        Err(_) => format!("it gave no answer for {} s", ANSWERS_WITHIN.as_secs()),
    };
    tracing::debug!(source = %source.name, %why, "a source could not be asked who it is");
    match recorded(drill.everywhere, source, context).await {
        Some(instance) => SourceIdentity::Recorded { instance },
        None => SourceIdentity::Unknown { why },
    }
}

/// What the newest manifest of a source calls it.
async fn recorded(everywhere: &[Destination], source: &DrillSource, context: &RunContext) -> Option<String> {
    let mut newest: Option<(i64, String)> = None;
    for destination in everywhere {
        let found = find(destination, &source.name, None, context.clock.now()).await;
        if let Ok(Some(snapshot)) = found {
            let (at, instance) = (snapshot.manifest.snapshot_ts_ns, snapshot.manifest.source.instance);
            if newest.as_ref().is_none_or(|(newest, _)| *newest < at) {
                newest = Some((at, instance));
            }
        }
    }
    newest.map(|(_, instance)| instance)
}
