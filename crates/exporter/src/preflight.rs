//! What can be known before anything is asked of a deployment.

use convault_convex_client::{ClientError, Deployment, KeyCheck, Operation, key_name};
use convault_core::{Preflight, SourceError, SourceErrorKind};

use crate::backoff::retrying;
use crate::settings::DeploymentSettings;
use crate::teller::Teller;

/// Without these there is no backup.
const NEEDED: [Operation; 3] = [Operation::CreateBackups, Operation::ViewBackups, Operation::DownloadBackups];

/// Checks the key, its permissions and the server, without changing anything.
pub(crate) async fn preflight(
    deployment: &Deployment,
    settings: &DeploymentSettings,
    teller: &Teller,
) -> Result<Preflight, SourceError> {
    let check = Check { deployment, settings, teller };
    let key = check.key().await?;
    check.permissions(&key)?;
    let (instance, mut warnings) = check.instance().await;
    warnings.extend(missing_comforts(&key, settings.expire_exports));
    check.exports_can_be_seen().await?;
    warnings.extend(check.age().await);
    Ok(Preflight {
        instance,
        server_version: check.version().await,
        url: deployment.url().to_string(),
        warnings,
    })
}

struct Check<'a> {
    deployment: &'a Deployment,
    settings: &'a DeploymentSettings,
    teller: &'a Teller,
}

impl Check<'_> {
    async fn key(&self) -> Result<KeyCheck, SourceError> {
        match retrying(&self.settings.retry, || self.deployment.check_admin_key()).await {
            Ok(check) => Ok(check),
            Err(error) if error.status() == Some(401) => Err(self.refused_key(error).await),
            Err(error) => Err(self.teller.failed("cannot check the key", error)),
        }
    }

    /// The commonest mistake with a key is to give it to another deployment, and both have names that show it.
    async fn refused_key(&self, error: ClientError) -> SourceError {
        let name = key_name(&self.settings.key);
        match (name.instance(), self.deployment.instance_name().await) {
            (Some(named), Ok(instance)) if named != instance => {
                let url = self.deployment.url();
                let message = format!(
                    "the key is refused: it is a key of `{named}`, and the deployment at {url} is `{instance}`; \
                     change `key` or `url`"
                );
                self.teller.caused(SourceErrorKind::Key, message, error)
            }
            _ => self.teller.failed("cannot check the key", error),
        }
    }

    fn permissions(&self, key: &KeyCheck) -> Result<(), SourceError> {
        let permissions = NEEDED.map(Operation::permission).join("`, `");
        if key.is_read_only {
            let message = format!(
                "the key is read-only, and a read-only key cannot ask for an export; make a deploy key that has \
                 `{permissions}`"
            );
            return Err(self.teller.error(SourceErrorKind::Permission, message));
        }
        let missing: Vec<_> = NEEDED
            .into_iter()
            .filter(|operation| !key.allows(*operation))
            .map(Operation::permission)
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let message =
            format!("the key lacks `{}`; make a deploy key that has `{permissions}`", missing.join("`, `"));
        Err(self.teller.error(SourceErrorKind::Permission, message))
    }

    /// The instance's name, and a warning where the key says another one.
    async fn instance(&self) -> (String, Vec<String>) {
        let key_name = key_name(&self.settings.key);
        let named = key_name.instance();
        match (retrying(&self.settings.retry, || self.deployment.instance_name()).await, named) {
            (Ok(instance), Some(named)) if named != instance => {
                let warning =
                    format!("the key names `{named}`, but the deployment calls itself `{instance}`");
                (instance, vec![warning])
            }
            (Ok(instance), _) => (instance, Vec::new()),
            (Err(error), named) => {
                tracing::debug!(%error, "the deployment does not say its name");
                (named.unwrap_or("unknown").to_owned(), Vec::new())
            }
        }
    }

    async fn version(&self) -> String {
        self.deployment.version().await.unwrap_or_else(|error| {
            tracing::debug!(%error, "the deployment does not say its version");
            "unknown".to_owned()
        })
    }

    async fn exports_can_be_seen(&self) -> Result<(), SourceError> {
        let seen = retrying(&self.settings.retry, || self.deployment.latest_export()).await;
        seen.map(drop).map_err(|error| self.teller.failed("cannot look at the exports", error))
    }

    /// A warning for a server that can neither cancel nor expire an export. The cloud is never that old.
    async fn age(&self) -> Option<String> {
        match self.deployment.can_cancel_exports().await {
            Ok(false) if !self.is_cloud().await => Some(
                "the server is older than 2025-05-12: an export that is stuck cannot be cancelled, and a stored one \
                 stays on its disk until its own expiry; update it"
                    .to_owned(),
            ),
            Ok(_) => None,
            Err(error) => {
                tracing::debug!(%error, "cannot tell whether the server can cancel exports");
                None
            }
        }
    }

    async fn is_cloud(&self) -> bool {
        self.deployment.deployment_info().await.is_ok_and(|info| info.kind == "cloud")
    }
}

/// What will be less than it could be with this key.
fn missing_comforts(key: &KeyCheck, expire_exports: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if expire_exports && !key.allows(Operation::DeleteBackups) {
        warnings.push(format!(
            "the key lacks `{}`: stored exports stay on the deployment for weeks; add it, or set `expire_exports = \
             false`",
            Operation::DeleteBackups.permission()
        ));
    }
    if !key.allows(Operation::ImportBackups) {
        warnings.push(format!(
            "the key lacks `{}`, as a nightly key should: an export that is stuck must be cancelled by hand",
            Operation::ImportBackups.permission()
        ));
    }
    warnings
}
