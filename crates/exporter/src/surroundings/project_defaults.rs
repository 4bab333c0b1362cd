//! The default environment variables of a project, which its new deployments begin with.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use convault_convex_client::{DefaultVariable, Platform, Url};
use convault_core::{
    Collect, NotCovered, Secret, Surrounding, SurroundingError, SurroundingErrorKind, SurroundingKind,
    SurroundingName,
};

use super::errors::Errors;
use super::variables::put_variables;
use crate::backoff::retrying;
use crate::settings::DeploymentSettings;

/// A page that leads nowhere new must not be followed for ever.
const MAX_PAGES: usize = 1_000;

/// The default environment variables of a deployment's project, below the type of deployment that gets them: `prod`,
/// `dev`, `preview`, `custom`.
#[derive(Debug)]
pub struct ProjectDefaults {
    settings: ProjectDefaultsSettings,
    deployment: DeploymentSettings,
    required: bool,
    errors: Errors,
}

/// Which project, and how it is reached.
#[derive(Debug, Clone)]
pub struct ProjectDefaultsSettings {
    /// An access token of the team, or of a person in it.
    pub token: Secret,
    /// The project's number; `None` asks the deployment.
    pub project: Option<u64>,
    /// Where Convex's management API is, without `/v1`.
    pub url: Url,
}

impl ProjectDefaults {
    /// Those of the project that `deployment` is in, called `name`. Nothing is sent.
    pub fn new(
        name: SurroundingName,
        required: bool,
        settings: ProjectDefaultsSettings,
        deployment: DeploymentSettings,
    ) -> Self {
        Self { settings, deployment, required, errors: Errors::new(name) }
    }

    async fn project(&self) -> Result<u64, SurroundingError> {
        if let Some(project) = self.settings.project {
            return Ok(project);
        }
        let deployment = self.errors.connected(&self.deployment).await?;
        let info = retrying(&self.deployment.retry, || deployment.deployment_info()).await;
        let info = info.map_err(|error| {
            self.errors
                .failed("cannot ask the deployment for its project (`project` may be set instead)", error)
        })?;
        info.project_id.ok_or_else(|| {
            let message = "a self-hosted deployment is in no project; leave this out";
            self.errors.error(SurroundingErrorKind::NotFound, message)
        })
    }

    async fn variables(&self, project: u64) -> Result<Vec<DefaultVariable>, SurroundingError> {
        let undone = "cannot read the project's default variables";
        let platform =
            Platform::new(self.settings.url.clone(), &self.settings.token, &self.deployment.connection)
                .map_err(|error| self.errors.failed(undone, error))?;
        let mut variables = Vec::new();
        let mut cursor: Option<String> = None;
        for _page in 0..MAX_PAGES {
            let page =
                retrying(&self.deployment.retry, || platform.project_defaults(project, cursor.as_deref()));
            let page = page.await.map_err(|error| self.errors.failed(undone, error))?;
            variables.extend(page.variables);
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(variables),
            }
        }
        Err(self.errors.error(SurroundingErrorKind::Limit, format!("{undone}: the pages do not end")))
    }
}

#[async_trait]
impl Surrounding for ProjectDefaults {
    fn name(&self) -> &SurroundingName {
        self.errors.surrounding()
    }

    fn kind(&self) -> SurroundingKind {
        SurroundingKind::Secrets
    }

    fn is_required(&self) -> bool {
        self.required
    }

    async fn collect(&self, taker: &mut dyn Collect) -> Result<Vec<NotCovered>, SurroundingError> {
        let variables = self.variables(self.project().await?).await?;
        let types: BTreeSet<&str> =
            variables.iter().flat_map(|variable| &variable.deployment_types).map(String::as_str).collect();
        for deployment_type in types {
            let of_type =
                variables.iter().filter(|one| one.deployment_types.iter().any(|own| own == deployment_type));
            let set: BTreeMap<String, Secret> =
                of_type.map(|variable| (variable.name.clone(), variable.value.clone())).collect();
            put_variables(taker, &format!("{}/", plain(deployment_type)), &set).await?;
        }
        Ok(Vec::new())
    }
}

/// A word of a server as the name of a folder, no two words the same: what is no letter or digit is percent-encoded.
pub(crate) fn plain(word: &str) -> String {
    let keep = |byte: u8| match byte {
        b'-' | b'_' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    let name: String = word.bytes().map(keep).collect();
    if name.is_empty() { "%".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn no_word_leads_out_of_its_folder_or_into_another_ones() {
        assert_eq!(plain("preview"), "preview");
        assert_eq!(plain("feature/a.b"), "feature%2Fa%2Eb");
        assert_eq!((plain("..").as_str(), plain("").as_str()), ("%2E%2E", "%"));
    }
}
