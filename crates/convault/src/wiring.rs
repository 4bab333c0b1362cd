//! Makes real sources and destinations out of settings.

mod drill;
mod surroundings;

use std::{
    collections::BTreeMap,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use convault_archive::{
    NamesKey,
    encryption::{Identities, Recipients},
    signature::{PublicKey, SignatureError, SigningKey, TrustedKeys},
};
use convault_convex_client::ConnectionSettings;
use convault_core::{
    Brake, Clock, DeploymentName, DestinationName, LockMode, MirrorKeep, Secret, Source, Store,
};
use convault_exporter::DeploymentSource;
use convault_jobs::{Destination, Encryption, Mirror, Trust};
use convault_settings::{
    DeploymentSettings, DestinationPlace, DestinationSettings, MirrorSettings, Settings, SigningSettings,
};
use convault_uploader::{DirectoryStore, S3Settings, S3Store, S3Timeouts};

use crate::{
    exit::{Exit, ExitWith},
    task::MirrorTask,
    worker::VERSION,
};

pub(crate) use self::drill::{DrillParts, drill};
pub(crate) use self::surroundings::{environment, surroundings, target_settings};

/// An identity file larger than this is something else.
const LARGEST_IDENTITY_FILE_BYTES: u64 = 64 << 10;

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

/// One deployment, to be read.
pub(crate) fn source(deployment: &DeploymentSettings, clock: &Arc<dyn Clock>) -> Arc<dyn Source> {
    Arc::new(DeploymentSource::new(source_settings(deployment), Arc::clone(clock)))
}

fn source_settings(deployment: &DeploymentSettings) -> convault_exporter::DeploymentSettings {
    convault_exporter::DeploymentSettings {
        expire_exports: deployment.expire_exports,
        provision_url: deployment.provision_url.clone(),
        files: convault_exporter::FileSettings {
            at_once: deployment.files_at_once as usize,
            per_second: deployment.file_rate,
        },
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
    let trust = trust_of(settings)?;
    let names = names_key(settings)?;
    let make = |named: &DestinationSettings| {
        let encryption = encryption(settings, named, names.as_ref())?;
        Ok((named.name.clone(), destination(named, trust.clone(), encryption)?))
    };
    settings.destinations.iter().map(make).collect()
}

/// A key that cannot be used is a wrong setting, like any other; it is told with its place.
fn wrong(settings: &Settings, key: &str, error: &dyn std::error::Error) -> ExitWith {
    let place = settings.effective().iter().find(|value| value.key == key);
    let place = place.map(|value| format!("{}: ", value.origin)).unwrap_or_default();
    ExitWith(Exit::Settings, format!("{place}{key}: {error}"))
}

/// The key under which names are hashed, where there is one.
pub(crate) fn names_key(settings: &Settings) -> Result<Option<NamesKey>, ExitWith> {
    let secret = settings.encryption.as_ref().and_then(|encryption| encryption.names_key.as_ref());
    let parsed = secret.map(NamesKey::parse).transpose();
    parsed.map_err(|error| wrong(settings, "encryption.names_key", &error))
}

fn encryption(
    settings: &Settings,
    destination: &DestinationSettings,
    names: Option<&NamesKey>,
) -> Result<Option<Arc<Encryption>>, ExitWith> {
    let Some(texts) = &destination.encrypt_to else { return Ok(None) };
    let key = format!("destination.{}.encrypt_to", destination.name);
    let recipients = Recipients::parse(texts).map_err(|error| wrong(settings, &key, &error))?;
    let names = names.expect("settings with `encrypt_to` have a names key").clone();
    Ok(Some(Arc::new(Encryption { recipients, names })))
}

/// The identities to open with: those in the file `given`, else those of the settings, else none.
pub(crate) fn identities(settings: &Settings, given: Option<&Path>) -> anyhow::Result<Option<Identities>> {
    if let Some(path) = given {
        let content = read_identity_file(path)?;
        let identities = Identities::parse(&content).with_context(|| path.display().to_string())?;
        return Ok(Some(identities));
    }
    let secret = settings.encryption.as_ref().and_then(|encryption| encryption.identity.as_ref());
    let parsed = secret.map(Identities::parse).transpose();
    Ok(parsed.map_err(|error| wrong(settings, "encryption.identity", &error))?)
}

/// The settings with the identity of a file that was given on the command line in the place of their own.
pub(crate) fn with_identity(settings: &mut Settings, given: &Path) -> anyhow::Result<()> {
    let content = read_identity_file(given)?;
    Identities::parse(&content).with_context(|| given.display().to_string())?;
    let none = convault_settings::EncryptionSettings { names_key: None, identity: None };
    settings.encryption.get_or_insert(none).identity = Some(content);
    Ok(())
}

/// Reads an identity file, or standard input for `-`.
fn read_identity_file(path: &Path) -> anyhow::Result<Secret> {
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().take(LARGEST_IDENTITY_FILE_BYTES).read_to_string(&mut text)
    } else {
        let file = std::fs::File::open(path);
        file.and_then(|file| file.take(LARGEST_IDENTITY_FILE_BYTES).read_to_string(&mut text))
    };
    read.with_context(|| format!("cannot read the identity file {}", path.display()))?;
    Ok(Secret::new(text))
}

/// Whose signatures count, by the settings.
pub(crate) fn trust_of(settings: &Settings) -> anyhow::Result<Trust> {
    Ok(settings.signing.as_ref().map(trust).transpose()?.unwrap_or_default())
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

fn destination(
    settings: &DestinationSettings,
    trust: Trust,
    encryption: Option<Arc<Encryption>>,
) -> anyhow::Result<Destination> {
    Ok(Destination {
        trust,
        accept: settings.accept.clone(),
        append_only: settings.append_only,
        orphan_grace: settings.orphan_grace,
        object_lock: object_lock(&settings.place),
        encryption,
        ..Destination::plain(store(settings)?)
    })
}

/// Every mirror of the settings. Connects to nothing.
pub(crate) fn mirrors(settings: &Settings, destinations: &Destinations) -> anyhow::Result<Vec<MirrorTask>> {
    let names = names_key(settings)?;
    let make = |named: &MirrorSettings| {
        let mut destination = destinations[&named.to].clone();
        if let Some(texts) = &named.encrypt_to {
            let key = format!("mirror.{}.encrypt_to", named.name);
            let recipients = Recipients::parse(texts).map_err(|error| wrong(settings, &key, &error))?;
            let names = names.clone().expect("settings with `encrypt_to` have a names key");
            destination.encryption = Some(Arc::new(Encryption { recipients, names }));
        }
        let mirror = Mirror {
            name: named.name.clone(),
            source: mirror_source(named)?,
            destination,
            brake: Brake { percent: named.brake },
            release_brake: false,
            keep: MirrorKeep {
                hold_deletions: named.hold_deletions,
                keep: named.keep.clone(),
                time_zone: named.time_zone.clone(),
            },
            upload_memory_bytes: settings.daemon.upload_memory_bytes,
            clock_skew_limit: settings.daemon.clock_skew_limit,
            dead_runs: Vec::new(),
            version: VERSION.to_owned(),
        };
        Ok(MirrorTask::new(mirror, named))
    };
    settings.mirrors.iter().map(make).collect()
}

/// What is mirrored, as a store: in errors it has the mirror's name.
fn mirror_source(named: &MirrorSettings) -> anyhow::Result<Arc<dyn Store>> {
    let name = DestinationName::new(named.name.as_str())?;
    Ok(match &named.from {
        DestinationPlace::Directory(root) => Arc::new(DirectoryStore::new(name, root)),
        DestinationPlace::S3(s3) => Arc::new(S3Store::new(name, &s3_settings(named.ca_file.as_ref(), s3))?),
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
            Arc::new(S3Store::new(destination.name.clone(), &s3_settings(destination.ca_file.as_ref(), s3))?)
        }
    })
}

fn s3_settings(ca_file: Option<&PathBuf>, s3: &convault_settings::S3Settings) -> S3Settings {
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
        ca_file: ca_file.cloned(),
        timeouts: S3Timeouts::default(),
    }
}
