//! An upload, and the import that it becomes: each exactly once.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use convault_convex_client::{ClientError, Deployment};
use convault_core::{ImportId, ImportRequest, ImportUpload, TargetError, TargetErrorKind};

use crate::failure::{failed, refused, unknown, was_not_done};
use crate::retry::{retrying, retrying_patiently, retrying_unsent};

/// The server takes no more (protocol §4.2).
const MAX_PARTS: usize = 9_999;
/// How often an upload is asked to become an import, where it did not become one.
const ASKS: usize = 3;
/// An answer may be lost while the server still works: when its imports are looked through after that.
const LOOKS: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(500), Duration::from_millis(1500), Duration::from_secs(5)];

#[derive(Debug)]
pub(crate) struct DeploymentUpload {
    target: String,
    deployment: Deployment,
    token: String,
    part_tokens: Vec<String>,
    /// Whether a part may have arrived that was not answered.
    is_spent: bool,
}

impl DeploymentUpload {
    pub(crate) async fn begin(target: &str, deployment: Deployment) -> Result<Self, TargetError> {
        // One that nobody finishes becomes nothing, so that beginning twice does no harm.
        let token = retrying(|| deployment.start_upload()).await;
        let token = token.map_err(|error| failed(target, "begin an upload", error))?;
        let target = target.to_owned();
        Ok(Self { target, deployment, token, part_tokens: Vec::new(), is_spent: false })
    }

    /// The imports that are new since `known` was read and may be what `request` became. Looks until there is one, or
    /// as long as one might still appear.
    async fn look(
        &self,
        known: &BTreeSet<ImportId>,
        request: &ImportRequest,
        looks: &[Duration],
    ) -> Result<Vec<ImportId>, ClientError> {
        let mut new = Vec::new();
        for pause in looks {
            tokio::time::sleep(*pause).await;
            let rows = retrying(|| self.deployment.imports()).await?;
            let rows = rows.into_iter().filter(|row| !known.contains(&row.id) && row.is_of(request));
            new = rows.map(|row| row.id).collect();
            if !new.is_empty() {
                break;
            }
        }
        Ok(new)
    }
}

#[async_trait]
impl ImportUpload for DeploymentUpload {
    async fn send(&mut self, part: Bytes) -> Result<(), TargetError> {
        let again = "a part of the upload may or may not have arrived; a new upload has to be begun";
        if self.is_spent {
            return Err(refused(&self.target, TargetErrorKind::Unknown, again));
        }
        if self.part_tokens.len() == MAX_PARTS {
            let message = "an upload has at most 9,999 parts; make them larger";
            return Err(refused(&self.target, TargetErrorKind::Refused, message));
        }
        let number = u32::try_from(self.part_tokens.len() + 1).unwrap_or(u32::MAX);
        let (deployment, token) = (&self.deployment, &self.token);
        let sent = retrying_unsent(|| deployment.upload_part(token, number, part.clone())).await;
        match sent {
            Ok(token) => {
                self.part_tokens.push(token);
                Ok(())
            }
            Err(error) if was_not_done(&error) => Err(failed(&self.target, "upload a part", error)),
            Err(error) => {
                self.is_spent = true;
                Err(unknown(&self.target, again, error))
            }
        }
    }

    async fn finish(self: Box<Self>, request: &ImportRequest) -> Result<ImportId, TargetError> {
        let undone = "make an import of the upload";
        if self.is_spent {
            let message = "a part of the upload may be in it twice; a new upload has to be begun";
            return Err(refused(&self.target, TargetErrorKind::Unknown, message));
        }
        let rows = retrying_patiently(|| self.deployment.imports()).await;
        let rows = rows.map_err(|error| failed(&self.target, "list the imports", error))?;
        let known: BTreeSet<ImportId> = rows.into_iter().map(|row| row.id).collect();
        let lost = "the upload may or may not have become an import; nothing changes until one is confirmed, but \
                    cancel what waits for it in the dashboard";
        let mut asked = 1;
        loop {
            let (deployment, token, parts) = (&self.deployment, &self.token, &self.part_tokens);
            let error = match retrying_unsent(|| deployment.finish_upload(request, token, parts)).await {
                Ok(id) => return Ok(id),
                Err(error) => error,
            };
            let is_refused = was_not_done(&error);
            let looks = if is_refused { &LOOKS[..1] } else { &LOOKS[..] };
            match self.look(&known, request, looks).await {
                Ok(found) => match (&found[..], is_refused) {
                    ([id], _) => {
                        tracing::info!(import = %id.0, "an answer was lost; its import was found by looking for it");
                        return Ok(id.clone());
                    }
                    ([], true) => return Err(failed(&self.target, undone, error)),
                    ([], false) if asked < ASKS => asked += 1,
                    // Of several, each may be somebody else's.
                    _ => return Err(unknown(&self.target, lost, error)),
                },
                Err(error) => return Err(unknown(&self.target, lost, error)),
            }
        }
    }
}
