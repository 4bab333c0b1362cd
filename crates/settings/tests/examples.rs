//! Every file in `config/` is taken, with made-up secrets.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like the tests")]

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use convault_settings::{Environment, Settings};

const CREDENTIALS: [&str; 18] = [
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
    assert!(files.len() >= 5);
    for file in files {
        let settings = load(&file);
        assert!(!settings.jobs.is_empty(), "{}", file.display());
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
