//! Every file in `config/` is taken, with made-up secrets.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like the tests")]

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use convault_core::{LockMode, NewTables, TableLimits, Tier};
use convault_settings::{DestinationPlace, Environment, S3Settings, Settings};

const CREDENTIALS: [&str; 20] = [
    "vercel-token",
    "signing-key",
    "convault-token",
    "crm-deploy-key",
    "shop-admin-key",
    "offsite-access-key",
    "offsite-secret-key",
    "r2-access-key",
    "r2-secret-key",
    "b2-access-key",
    "b2-secret-key",
    "minio-access-key",
    "minio-secret-key",
    "ceph-access-key",
    "ceph-secret-key",
    "garage-access-key",
    "garage-secret-key",
    "OFFSITE_ACCESS_KEY",
    "OFFSITE_SECRET_KEY",
    "CRM_DEPLOY_KEY",
];

fn load(path: &Path) -> Settings {
    let secrets = tempfile::tempdir().unwrap();
    for name in CREDENTIALS {
        let path = secrets.path().join(name);
        fs::write(&path, format!("made-up-value-of-{name}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    }
    let names_key = secrets.path().join("names-key");
    fs::write(&names_key, "0f".repeat(32)).unwrap();
    fs::set_permissions(&names_key, fs::Permissions::from_mode(0o400)).unwrap();
    let folder = secrets.path().to_str().unwrap();
    let variables = ["OFFSITE_ACCESS_KEY", "OFFSITE_SECRET_KEY", "CRM_DEPLOY_KEY"]
        .into_iter()
        .chain(["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
        .map(|name| (name, format!("made-up-value-of-{name}")));
    let environment = Environment::new(variables.chain([("CREDENTIALS_DIRECTORY", folder.to_owned())]));
    let text = fs::read_to_string(path).unwrap().replace("/run/secrets/", &format!("{folder}/"));
    Settings::parse(path, &text, &environment).unwrap_or_else(|problems| panic!("{problems}"))
}

fn example(name: &str) -> Settings {
    load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config").join(name))
}

#[test]
fn every_example_is_taken() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 6);
    for file in files {
        let settings = load(&file);
        let does_something =
            !settings.jobs.is_empty() || !settings.mirrors.is_empty() || !settings.masks.is_empty();
        assert!(does_something, "{}", file.display());
        let shown = format!("{settings:?} {:?}", settings.effective());
        assert!(!shown.contains("made-up-value"), "{} shows a secret", file.display());
    }
}

#[test]
fn the_examples_warn_only_of_what_they_say() {
    let warnings = |name: &str| -> Vec<String> {
        example(name).warnings().iter().map(|warning| format!("{}: {}", warning.key, warning.text)).collect()
    };
    assert_eq!(warnings("minimal.toml"), [""; 0]);
    assert_eq!(warnings("self-hosted.toml"), [""; 0]);
    assert_eq!(warnings("providers.toml"), [""; 0]);
    assert_eq!(warnings("crm-to-s3-and-disk.toml"), [""; 0]);
    assert_eq!(warnings("fleet.toml"), [""; 0]);
    assert_eq!(warnings("surroundings.toml"), [""; 0]);
    assert_eq!(warnings("encrypted.toml"), [""; 0]);
    assert_eq!(warnings("staging-copy.toml"), ["job: there is no [[job]], so nothing is backed up"]);
    assert_eq!(
        warnings("container.toml"),
        [
            "deployment.shop.url: the key and the data travel unencrypted over http; use https, or a network that nobody \
          else reads"
        ]
    );
}

#[test]
fn the_effective_settings_say_where_each_value_came_from() {
    let settings = example("minimal.toml");
    let line = |key: &str| {
        let found = settings.effective().iter().find(|effective| effective.key == key).unwrap();
        let origin = found.origin.to_string();
        let origin = origin.rsplit('/').next().unwrap().to_owned();
        format!("{} ({origin})", found.value)
    };
    assert_eq!(line("daemon.listen"), "127.0.0.1:9640 (default)");
    assert_eq!(line("deployment.crm.key"), "[redacted] (env CRM_DEPLOY_KEY)");
    assert_eq!(line("destination.shelf.directory"), "/srv/convault (minimal.toml:10)");
    assert_eq!(line("job.nightly.keep.at_least_verified"), "3 (default)");
    assert_eq!(line("job.nightly.to"), "shelf (minimal.toml:16)");

    let providers = example("providers.toml");
    let value = |key: &str| {
        let found = providers.effective().iter().find(|effective| effective.key == key).unwrap();
        format!("{} ({})", found.value, found.origin)
    };
    assert_eq!(value("destination.aws.s3.access_key"), "[redacted] (env AWS_ACCESS_KEY_ID)");
    assert_eq!(value("destination.b2.s3.endpoint"), "https://s3.eu-central-003.backblazeb2.com (default)");
    assert_eq!(value("destination.r2.s3.region"), "auto (default)");
    assert_eq!(value("destination.ceph.s3.path_style"), "true (default)");
    assert_eq!(value("destination.r2.s3.secret_key"), "[redacted] (credential r2-secret-key)");
}

#[test]
fn a_fleet_shares_signs_locks_and_divides_by_tiers() {
    let settings = example("fleet.toml");
    assert_eq!(settings.daemon.coordinate_in.as_ref().unwrap().as_str(), "offsite");
    assert_eq!(settings.daemon.lease.as_secs(), 180);
    let signing = settings.signing.as_ref().unwrap();
    assert_eq!(signing.key.as_ref().unwrap().expose(), "made-up-value-of-signing-key\n");
    assert_eq!(signing.trusted_keys.len(), 1);
    let [offsite, vault] = settings.destinations.as_slice() else { panic!("two destinations") };
    assert!(offsite.accept.is_none() && offsite.append_only);
    assert_eq!(vault.accept.as_deref(), Some(&[Tier::Weekly, Tier::Monthly][..]));
    let verify = offsite.verify.as_ref().unwrap();
    assert_eq!(verify.read_all_within.as_secs(), 30 * 86_400);
    let lock = |place: &DestinationPlace| match place {
        DestinationPlace::S3(S3Settings { object_lock, .. }) => *object_lock,
        DestinationPlace::Directory(_) => None,
    };
    assert_eq!(lock(&offsite.place), Some(LockMode::Governance));
    assert_eq!(lock(&vault.place), Some(LockMode::Compliance));
    let anomaly = &settings.deployments[0].anomaly;
    assert_eq!((anomaly.down_percent, anomaly.up_percent), (30, 300));
    assert_eq!((anomaly.new_tables, anomaly.min_documents), (NewTables::Warn, Some(1000)));
    let ignored = TableLimits { ignore: true, ..TableLimits::default() };
    assert_eq!(anomaly.tables["sessions"], ignored);
    assert_eq!(anomaly.tables["invoices"].down_percent, Some(1));

    let value = |key: &str| settings.effective().iter().find(|effective| effective.key == key).unwrap();
    assert_eq!(value("signing.key").value, "[redacted]");
    assert_eq!(value("signing.key").origin.to_string(), "credential signing-key");
    assert_eq!(value("destination.vault.accept").value, "weekly, monthly");
    assert_eq!(value("destination.vault.s3.object_lock").value, "compliance");
    assert_eq!(value("deployment.crm.anomaly.down").value, "30");
    assert_eq!(value("deployment.crm.anomaly.tables.sessions.ignore").value, "true");
    assert_eq!(value("destination.offsite.orphan_grace").value, "7d");
}

#[test]
fn without_the_new_keys_one_daemon_works_alone_and_takes_everything() {
    let settings = example("minimal.toml");
    assert!(settings.daemon.coordinate_in.is_none() && settings.signing.is_none());
    let shelf = &settings.destinations[0];
    assert!(shelf.accept.is_none() && !shelf.append_only && shelf.verify.is_none());
    assert_eq!(settings.deployments[0].anomaly, convault_core::AnomalyLimits::default());
}
