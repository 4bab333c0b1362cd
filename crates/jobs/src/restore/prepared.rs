//! An import that is ready, and changes nothing until its owner says so.

use convault_core::{ImportId, ImportMode, ImportRequest, RunPhase, Target};

use super::{
    progress::{Followed, cancel},
    upload::{Feed, upload},
};
use crate::{JobError, Outgone, RunContext};

/// Content that a deployment has, and has read through. Nothing of it is in place, until [`Prepared::perform`]; where
/// that does not come, [`Prepared::cancel`] has to. Dropped without either it waits there for ever and changes nothing.
#[derive(Debug)]
#[must_use = "an import that is neither performed nor cancelled waits for ever"]
pub struct Prepared<S = Outgone> {
    /// What was uploaded.
    pub outgone: S,
    /// What the server says will be made and deleted; text for people.
    pub message: String,
    /// Whether something that is there will be deleted.
    pub deletes: bool,
    id: ImportId,
    mode: ImportMode,
}

/// Content that is in place.
#[derive(Debug)]
pub struct Imported<S = Outgone> {
    /// What was imported.
    pub outgone: S,
    /// Documents written, as the deployment counts them: stored files are not among them.
    pub documents: u64,
}

impl<S> Prepared<S> {
    /// What the deployment knows it by.
    pub(crate) fn id(&self) -> &ImportId {
        &self.id
    }
}

impl<S: Send> Prepared<S> {
    /// Puts the content in place and waits for the end of it. Stopped meanwhile, an import that is all or nothing is
    /// cancelled, which leaves what was there.
    pub async fn perform(self, target: &dyn Target, context: &RunContext) -> Result<Imported<S>, JobError> {
        let followed = Followed { target, id: &self.id, mode: self.mode, context };
        let documents = followed.to_its_end().await?;
        Ok(Imported { outgone: self.outgone, documents })
    }

    /// Gives the import up. Nothing was changed.
    pub async fn cancel(self, target: &dyn Target) -> Result<(), JobError> {
        cancel(target, &self.id).await
    }
}

/// Uploads, and waits for what the deployment says of it.
pub(crate) async fn prepare<F: Feed>(
    feed: &F,
    target: &dyn Target,
    request: &ImportRequest,
    context: &RunContext,
) -> Result<Prepared<F::Made>, JobError> {
    context.phase(RunPhase::Import);
    let (outgone, id) = upload(feed, target, request, context).await?;
    let followed = Followed { target, id: &id, mode: request.mode, context };
    let asked = followed.until_confirmable().await?;
    Ok(Prepared { outgone, message: asked.message, deletes: asked.deletes, id, mode: request.mode })
}
