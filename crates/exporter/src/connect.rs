//! Finding out where a deployment is.

use convault_convex_client::{DEFAULT_PROVISION_URL, Deployment, KeyName, Platform, Url, key_name};
use convault_core::{SourceError, SourceErrorKind};

use crate::backoff::retrying;
use crate::settings::DeploymentSettings;
use crate::teller::Teller;

/// Prepares to talk to the deployment, asking the platform for its address where the settings have none.
pub(crate) async fn connect(
    settings: &DeploymentSettings,
    teller: &Teller,
) -> Result<Deployment, SourceError> {
    let url = match &settings.url {
        Some(url) => url.clone(),
        None => url_for_key(settings, teller).await?,
    };
    Deployment::new(url, &settings.key, &settings.connection)
        .map_err(|error| teller.failed("cannot set up the connection", error))
}

async fn url_for_key(settings: &DeploymentSettings, teller: &Teller) -> Result<Url, SourceError> {
    if let Some(problem) = no_address(&key_name(&settings.key)) {
        return Err(teller.error(SourceErrorKind::Key, problem));
    }
    let provision_url = settings.provision_url.clone();
    let provision_url = provision_url.unwrap_or_else(|| {
        Url::parse(DEFAULT_PROVISION_URL).expect("the platform's own address is a constant that parses")
    });
    let undone = "cannot ask Convex for the deployment's address (`url` may be set instead)";
    let platform = Platform::new(provision_url, &settings.key, &settings.connection)
        .map_err(|error| teller.failed(undone, error))?;
    retrying(&settings.retry, || platform.url_for_key()).await.map_err(|error| teller.failed(undone, error))
}

/// Why the platform cannot know the address of a deployment with such a key.
fn no_address(name: &KeyName) -> Option<&'static str> {
    match name {
        KeyName::Cloud(_) => None,
        KeyName::SelfHosted(_) | KeyName::Unnamed => {
            Some("the key is that of a self-hosted deployment, whose address only its owner knows; set `url`")
        }
        KeyName::Project => Some(
            "the key is for a project, not for one deployment; make a deploy key in the deployment's own settings",
        ),
    }
}
