//! Makes real sources and destinations out of settings.

use std::{collections::BTreeMap, sync::Arc};

use convault_archive::signature::{PublicKey, SignatureError, SigningKey, TrustedKeys};
use convault_convex_client::ConnectionSettings;
use convault_core::{Clock, DeploymentName, DestinationName, LockMode, Store};
use convault_exporter::DeploymentSource;
use convault_jobs::{Destination, Trust};
use convault_settings::{
    DeploymentSettings, DestinationPlace, DestinationSettings, Settings, SigningSettings,
};
use convault_uploader::{DirectoryStore, S3Settings, S3Store, S3Timeouts};

use crate::exit::{Exit, ExitWith};

/// Every deployment by name.
pub(crate) type Sources = BTreeMap<DeploymentName, Arc<DeploymentSource>>;
/// Every destination by name.
pub(crate) type Destinations = BTreeMap<DestinationName, Destination>;

/// Every deployment of the settings. Connects to none.
pub(crate) fn sources(settings: &Settings, clock: &Arc<dyn Clock>) -> Sources {
    let make = |deployment: &DeploymentSettings| {
        let source = Arc::new(DeploymentSource::new(source_settings(deployment), Arc::clone(clock)));
        (deployment.name.clone(), source)
    };
    settings.deployments.iter().map(make).collect()
}

fn source_settings(deployment: &DeploymentSettings) -> convault_exporter::DeploymentSettings {
    convault_exporter::DeploymentSettings {
        expire_exports: deployment.expire_exports,
        provision_url: deployment.provision_url.clone(),
        connection: ConnectionSettings {
            ca_file: deployment.ca_file.clone(),
            ..ConnectionSettings::default()
        },
        ..convault_exporter::DeploymentSettings::new(
            deployment.name.clone(),
            deployment.url.clone(),
            deployment.key.clone(),
        )
    }
}

/// Every destination of the settings. Connects to none.
pub(crate) fn destinations(settings: &Settings) -> anyhow::Result<Destinations> {
    let trust = settings.signing.as_ref().map(trust).transpose()?.unwrap_or_default();
    let make = |named: &DestinationSettings| Ok((named.name.clone(), destination(named, trust.clone())?));
    settings.destinations.iter().map(make).collect()
}

/// Whose signatures count. A key that cannot be used is a wrong setting, like any other.
fn trust(signing: &SigningSettings) -> Result<Trust, ExitWith> {
    let wrong = |key: &str, error: &SignatureError| ExitWith(Exit::Settings, format!("{key}: {error}"));
    let signer = signing.key.as_ref().map(SigningKey::parse).transpose();
    let signer = signer.map_err(|error| wrong("signing.key", &error))?;
    let keys = signing.trusted_keys.iter().map(|text| PublicKey::parse(text)).collect::<Result<_, _>>();
    let keys = TrustedKeys::new(keys.map_err(|error| wrong("signing.trusted_keys", &error))?);
    Ok(Trust::new(signer, &keys))
}

fn destination(settings: &DestinationSettings, trust: Trust) -> anyhow::Result<Destination> {
    Ok(Destination {
        trust,
        accept: settings.accept.clone(),
        append_only: settings.append_only,
        orphan_grace: settings.orphan_grace,
        object_lock: object_lock(&settings.place),
        encryption: None,
        ..Destination::plain(store(settings)?)
    })
}

fn object_lock(place: &DestinationPlace) -> Option<LockMode> {
    match place {
        DestinationPlace::Directory(_) => None,
        DestinationPlace::S3(s3) => s3.object_lock,
    }
}

fn store(destination: &DestinationSettings) -> anyhow::Result<Arc<dyn Store>> {
    Ok(match &destination.place {
        DestinationPlace::Directory(root) => Arc::new(DirectoryStore::new(destination.name.clone(), root)),
        DestinationPlace::S3(s3) => {
            Arc::new(S3Store::new(destination.name.clone(), &s3_settings(destination, s3))?)
        }
    })
}

fn s3_settings(destination: &DestinationSettings, s3: &convault_settings::S3Settings) -> S3Settings {
    S3Settings {
        bucket: s3.bucket.clone(),
        prefix: s3.prefix.clone(),
        region: s3.region.clone(),
        endpoint: s3.endpoint.as_ref().map(|url| url.as_str().trim_end_matches('/').to_owned()),
        path_style: s3.path_style,
        sends_checksums: s3.sends_checksums,
        access_key: s3.access_key.clone(),
        secret_key: s3.secret_key.clone(),
        session_token: None,
        ca_file: destination.ca_file.clone(),
        timeouts: S3Timeouts::default(),
    }
}
