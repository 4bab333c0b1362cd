//! [`DeploymentTarget`]: a deployment that is written to.

use std::fmt;

use async_trait::async_trait;
use convault_convex_client::{ClientError, Deployment, KeyCheck, Operation};
use convault_core::{
    ImportId, ImportStatus, ImportUpload, Target, TargetContents, TargetError, TargetErrorKind,
    TargetIdentity,
};
use serde_json::value::RawValue;
use tokio::sync::OnceCell;

use crate::connect::TargetSettings;
use crate::failure::{failed, refused};
use crate::retry::{retrying, retrying_counts, retrying_patiently, retrying_where_not_run};
use crate::upload::DeploymentUpload;

/// Ids of stored files of one request: so many that one transaction surely takes them.
const FILES_AT_ONCE: usize = 100;
/// How often the files of one request are looked for and deleted, where it is not known whether they were.
const DELETES: usize = 4;

/// A deployment that is written to, over its admin HTTP API.
///
/// Requests are repeated where that is right: what only looks, and what changes nothing more when it is done twice. A
/// part of an upload and the making of an import are neither.
pub struct DeploymentTarget {
    settings: TargetSettings,
    deployment: OnceCell<Deployment>,
}

impl fmt::Debug for DeploymentTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeploymentTarget").field("name", &self.settings.deployment).finish_non_exhaustive()
    }
}

impl DeploymentTarget {
    /// The deployment that `settings` reach. Nothing is sent.
    pub fn new(settings: TargetSettings) -> Self {
        Self { settings, deployment: OnceCell::new() }
    }

    async fn deployment(&self) -> Result<&Deployment, TargetError> {
        let connected = self.deployment.get_or_try_init(|| self.settings.connect()).await;
        connected.map_err(|error| self.failed("find it", error))
    }

    fn failed(&self, undone: &str, error: ClientError) -> TargetError {
        failed(self.name(), undone, error)
    }

    /// The id of a component, as other calls take it: `None` for the root.
    async fn component_id(&self, path: &str) -> Result<Option<String>, TargetError> {
        if path.is_empty() {
            return Ok(None);
        }
        let deployment = self.deployment().await?;
        let rows = retrying(|| deployment.components()).await;
        let rows = rows.map_err(|error| self.failed("list its components", error))?;
        let row = rows.into_iter().find(|row| row.path == path);
        let missing = || {
            let message = format!("it has no component `{path}`");
            refused(self.name(), TargetErrorKind::Refused, message)
        };
        row.map(|row| Some(row.id)).ok_or_else(missing)
    }

    /// Deletes what is there of these files, looking anew wherever it is not known whether it happened.
    async fn delete_some(&self, component: Option<&str>, ids: &[String]) -> Result<(), TargetError> {
        let deployment = self.deployment().await?;
        let undone = "delete stored files";
        let mut tries = 1;
        loop {
            let there = retrying(|| deployment.stored_among(component, ids)).await;
            let there = there.map_err(|error| self.failed("look for stored files", error))?;
            if there.is_empty() {
                return Ok(());
            }
            match deployment.delete_files(component, &there).await {
                Ok(()) => return Ok(()),
                Err(error) if tries == DELETES || error.missing_permission().is_some() => {
                    return Err(self.failed(undone, error));
                }
                Err(error) => {
                    tracing::debug!(%error, "stored files may not be deleted yet");
                    tries += 1;
                    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
                }
            }
        }
    }
}

#[async_trait]
impl Target for DeploymentTarget {
    fn name(&self) -> &str {
        self.settings.deployment.as_str()
    }

    async fn identity(&self) -> Result<TargetIdentity, TargetError> {
        let deployment = self.deployment().await?;
        let undone = "ask who it is";
        let instance = retrying(|| deployment.instance_name()).await;
        let instance = instance.map_err(|error| self.failed(undone, error))?;
        let version = retrying(|| deployment.version()).await.map_err(|error| self.failed(undone, error))?;
        let info = match retrying(|| deployment.deployment_info()).await {
            Ok(info) => Some(info),
            // Servers from before 2026 do not know the question.
            Err(error) if error.status() == Some(404) => None,
            Err(error) => return Err(self.failed(undone, error)),
        };
        Ok(TargetIdentity {
            instance,
            number: info.as_ref().and_then(|info| info.id),
            deployment_type: info.and_then(|info| info.deployment_type),
            url: deployment.url().as_str().trim_end_matches('/').to_owned(),
            server_version: version,
        })
    }

    async fn missing_permissions(&self, may_pause: bool) -> Result<Vec<String>, TargetError> {
        let deployment = self.deployment().await?;
        let check = retrying(|| deployment.check_admin_key()).await;
        let check = check.map_err(|error| self.failed("ask what the key may do", error))?;
        Ok(missing(&check, may_pause))
    }

    async fn contents(&self) -> Result<TargetContents, TargetError> {
        let deployment = self.deployment().await?;
        let undone = "count its tables";
        let components = retrying(|| deployment.components()).await;
        let mut contents = TargetContents::default();
        for row in components.map_err(|error| self.failed(undone, error))? {
            let component = (!row.path.is_empty()).then_some(row.id.as_str());
            let names = retrying_counts(|| deployment.table_names(component)).await;
            let Some(names) = names.map_err(|error| self.failed(undone, error))? else {
                let message = format!("component `{}` has more tables than it lists", row.path);
                return Err(refused(self.name(), TargetErrorKind::Unsupported, message));
            };
            let counts = retrying_counts(|| deployment.counts(component, &names)).await;
            contents.components.insert(row.path, counts.map_err(|error| self.failed(undone, error))?);
        }
        Ok(contents)
    }

    async fn begin_upload(&self) -> Result<Box<dyn ImportUpload>, TargetError> {
        let deployment = self.deployment().await?.clone();
        Ok(Box::new(DeploymentUpload::begin(self.name(), deployment).await?))
    }

    async fn import(&self, id: &ImportId) -> Result<ImportStatus, TargetError> {
        let deployment = self.deployment().await?;
        let row = retrying_patiently(|| deployment.import(id)).await;
        let row = row.map_err(|error| self.failed("ask how far the import is", error))?;
        let gone = || {
            let message = format!("it has no import `{}`, or no longer", id.0);
            refused(self.name(), TargetErrorKind::Other, message)
        };
        row.map(|row| row.status).ok_or_else(gone)
    }

    async fn confirm(&self, id: &ImportId) -> Result<(), TargetError> {
        let deployment = self.deployment().await?;
        let done = retrying_patiently(|| deployment.perform_import(id)).await;
        done.map_err(|error| self.failed("confirm the import", error))
    }

    async fn cancel(&self, id: &ImportId) -> Result<(), TargetError> {
        let deployment = self.deployment().await?;
        match retrying(|| deployment.cancel_import(id)).await {
            Err(error) if error.code() == "CannotCancelImport" => Ok(()),
            done => done.map_err(|error| self.failed("cancel the import", error)),
        }
    }

    async fn is_paused(&self) -> Result<bool, TargetError> {
        let deployment = self.deployment().await?;
        let paused = retrying(|| deployment.is_paused()).await;
        paused.map_err(|error| self.failed("ask whether it is paused", error))
    }

    async fn pause(&self) -> Result<(), TargetError> {
        let deployment = self.deployment().await?;
        retrying(|| deployment.pause()).await.map_err(|error| self.failed("pause it", error))
    }

    async fn unpause(&self) -> Result<(), TargetError> {
        let deployment = self.deployment().await?;
        match retrying_patiently(|| deployment.unpause()).await {
            // One that serves its users already is refused, as is the second try where the answer to the first was lost.
            Err(error) if error.code() == "UnpauseDeploymentFailed" => {
                if self.is_paused().await? {
                    Err(self.failed("unpause it", error))
                } else {
                    Ok(())
                }
            }
            done => done.map_err(|error| self.failed("unpause it", error)),
        }
    }

    async fn delete_files(&self, component: &str, ids: &[String]) -> Result<(), TargetError> {
        if ids.is_empty() {
            return Ok(());
        }
        let component = self.component_id(component).await?;
        for some in ids.chunks(FILES_AT_ONCE) {
            self.delete_some(component.as_deref(), some).await?;
        }
        Ok(())
    }

    async fn run_query(&self, function: &str, arguments: &str) -> Result<String, TargetError> {
        let deployment = self.deployment().await?;
        let Ok(arguments) = RawValue::from_string(arguments.to_owned()) else {
            let message = format!("the arguments of `{function}` are not JSON");
            return Err(refused(self.name(), TargetErrorKind::Refused, message));
        };
        // Nothing there stops a function that writes, so it is not run twice for an answer that was lost.
        let result = retrying_where_not_run(|| deployment.run_function(function, &arguments)).await;
        match result {
            Ok(value) => Ok(value.get().to_owned()),
            Err(error @ ClientError::Function { .. }) if error.missing_permission().is_none() => {
                let target = self.name().to_owned();
                let message = format!("its function `{function}` failed");
                let kind = TargetErrorKind::Refused;
                Err(TargetError { kind, target, message, source: Some(Box::new(error)) })
            }
            Err(error) => Err(self.failed(&format!("run its function `{function}`"), error)),
        }
    }
}

/// What a person can do to let a paused deployment at `url` serve its users again. The key comes from a variable and
/// through a pipe, so that it shows in no list of processes.
pub fn unpause_by_hand(url: &str) -> String {
    format!(
        "unpause it in its dashboard, or, with a key that has `{}` in CONVEX_KEY: \
         printf 'Authorization: Convex %s' \"$CONVEX_KEY\" | curl --fail-with-body -X POST -H @- '{}'",
        Operation::UnpauseDeployment.permission(),
        convault_convex_client::unpause_url(url),
    )
}

/// What a key may not do although a restore needs it, each a sentence.
fn missing(check: &KeyCheck, may_pause: bool) -> Vec<String> {
    let needed = [
        (Operation::ImportBackups, "nothing can be imported"),
        (Operation::ViewBackups, "it cannot be seen how an import goes"),
        (Operation::ViewData, "what is there cannot be counted"),
    ];
    let for_pausing = [
        (Operation::PauseDeployment, "it cannot be paused"),
        (Operation::UnpauseDeployment, "it cannot be unpaused again"),
    ];
    let for_pausing = for_pausing.into_iter().filter(|_| may_pause);
    needed
        .into_iter()
        .chain(for_pausing)
        .filter(|(operation, _)| !check.allows(*operation) || (check.is_read_only && writes(*operation)))
        .map(|(operation, lack)| {
            format!("the key lacks the permission `{}`, without which {lack}", operation.permission())
        })
        .collect()
}

/// A read-only key of an old server names no operations.
fn writes(operation: Operation) -> bool {
    !matches!(operation, Operation::ViewBackups | Operation::ViewData)
}

#[cfg(test)]
mod tests {
    use convault_convex_client::KeyCheck;

    use super::missing;

    fn key(operations: &[&str], is_read_only: bool) -> KeyCheck {
        let allowed_ops = operations.iter().map(|name| (*name).to_owned()).collect();
        KeyCheck { allowed_ops, is_read_only }
    }

    #[test]
    fn what_a_key_lacks_is_named_by_its_permission() {
        assert!(missing(&key(&[], false), true).is_empty());
        let enough = ["ImportBackups", "ViewBackups", "deployment:data:view"];
        assert!(missing(&key(&enough, false), false).is_empty());
        let lacks = missing(&key(&enough, false), true);
        assert_eq!(lacks.len(), 2);
        assert!(lacks[1].contains("`deployment:unpause`"), "{lacks:?}");
        let lacks = missing(&key(&[], true), false);
        assert!(lacks.len() == 1 && lacks[0].contains("`deployment:backups:import`"), "{lacks:?}");
    }
}
