//! Coordination, signing, tiers, locks and the anomaly gate: what is taken, and what is refused, alone and together.

mod support;

use std::{fs, os::unix::fs::PermissionsExt as _};

use convault_settings::{Environment, Settings};
use support::{only_problem, settings_of};

const PUBLIC_KEY: &str = "RWS/pRIZjDHFoBVcDZj5eSYMg//GLg9tG6HIY5jXZrru6t2TUnsdpgyN";

fn read(text: &str) -> Result<Settings, String> {
    let environment = Environment::new([
        ("KEY", "prod:happy-animal-123|c2VjcmV0"),
        ("SIGNING_KEY", "untrusted comment: minisign secret key\nRWQAAEIy\n"),
        ("AWS_ACCESS_KEY_ID", "AKIA"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
    ]);
    settings_of(text, &environment)
}

/// The problem of `text`, which has just one.
fn problem(text: &str) -> String {
    let all = read(text).expect_err("these settings are wrong");
    only_problem(&all)
}

/// Settings with one line of each table, which begins in the same line of the file whatever stands there.
fn settings(daemon: &str, deployment: &str, vault: &str, job: &str) -> String {
    format!(
        r#"[daemon]
{daemon}
[[deployment]]
name = "crm"
key = {{ env = "KEY" }}
{deployment}
[[destination]]
name = "offsite"
s3 = {{ bucket = "acme", region = "x" }}
[[destination]]
name = "vault"
directory = "/srv/vault"
{vault}
[[job]]
name = "nightly"
deployment = "crm"
schedule = "0 3 * * *"
to = ["offsite", "vault"]
{job}
"#
    )
}

fn of_daemon(line: &str) -> String {
    settings(line, "", "", "")
}

fn of_deployment(line: &str) -> String {
    settings("", line, "", "")
}

fn of_vault(line: &str) -> String {
    settings("", "", line, "")
}

fn with_signing(lines: &str) -> String {
    format!("{}[signing]\n{lines}\n", of_daemon(""))
}

#[test]
fn leases_live_in_a_destination_that_is_there_and_is_a_bucket() {
    assert!(read(&of_daemon("coordinate_in = \"offsite\"")).is_ok());
    assert_eq!(
        problem(&of_daemon("coordinate_in = \"vault\"")),
        "FILE:2:17: daemon.coordinate_in: found \"vault\", which is a folder; expected a destination with `s3`, which \
         every daemon reaches"
    );
    assert_eq!(
        problem(&of_daemon("coordinate_in = \"offsit\"")),
        "FILE:2:17: daemon.coordinate_in: found \"offsit\"; expected the name of a [[destination]]: offsite, vault; did \
         you mean `offsite`?"
    );
    assert!(problem(&of_daemon("coordinate_in = \"Off\"")).contains("expected a name of 1 to 63 characters"));
}

#[test]
fn a_lease_is_at_least_three_minutes() {
    assert!(read(&of_daemon("lease = \"3m\"")).is_ok());
    assert_eq!(
        problem(&of_daemon("lease = \"2m59s\"")),
        "FILE:2:9: daemon.lease: found \"2m59s\"; expected a duration of 180 s or more"
    );
}

#[test]
fn a_tier_that_is_accepted_must_be_kept_by_every_job_that_stores_there() {
    let accept = "accept = [\"weekly\", \"monthly\"]";
    assert!(read(&settings("", "", accept, "keep = { weekly = 4, monthly = 6 }")).is_ok());
    assert!(read(&settings("", "", accept, "")).is_ok(), "without `keep` everything is kept");
    assert_eq!(
        problem(&settings("", "", accept, "keep = { daily = 7, weekly = 4 }")),
        "FILE:19:8: job.nightly.keep: found no `monthly`, though vault takes monthly snapshots (`accept`); expected \
         `monthly` of 1 or more, or an `accept` without \"monthly\""
    );
}

#[test]
fn only_tiers_are_accepted() {
    assert_eq!(
        problem(&of_vault("accept = [\"weekly\", \"montly\"]")),
        "FILE:13:21: destination.vault.accept[1]: found \"montly\"; expected a list of tiers such as [\"weekly\", \
         \"monthly\"]: hourly, daily, weekly, monthly, yearly; did you mean `monthly`?"
    );
    assert_eq!(
        problem(&of_vault("accept = []")),
        "FILE:13:10: destination.vault.accept: found an empty list; expected at least one tier; without `accept` every \
         snapshot is taken"
    );
}

#[test]
fn the_grace_of_orphans_is_longer_than_any_run_that_stores_there() {
    assert_eq!(
        problem(&of_vault("orphan_grace = \"12h\"")),
        "FILE:14:1: job.nightly.time_out: found 43200 s, no less than `orphan_grace` of vault (43200 s); expected less: a \
         prune there would take objects of a run that still goes on for leftovers"
    );
    assert!(read(&settings("", "", "orphan_grace = \"12h\"", "time_out = \"11h\"")).is_ok());
}

#[test]
fn only_a_bucket_has_object_lock() {
    let said = problem(&of_vault("object_lock = \"governance\""));
    assert!(said.ends_with("no such key in [[destination]]: `object_lock` belongs in s3 = { … }"), "{said}");
    let text = of_vault("").replace("region = \"x\"", "region = \"x\", object_lock = \"complience\"");
    let said = problem(&text);
    assert!(
        said.contains("expected one of \"governance\" or \"compliance\"; did you mean `compliance`?"),
        "{said}"
    );
}

#[test]
fn a_verify_has_a_schedule() {
    assert!(read(&of_vault("verify = { schedule = \"@weekly\" }")).is_ok());
    assert_eq!(
        problem(&of_vault("verify = { read_all_within = \"7d\" }")),
        "FILE:13:10: destination.vault.verify.schedule: found nothing; expected five cron fields (minute hour day month \
         weekday) such as \"0 3 * * *\", or \"@daily\""
    );
    let said = problem(&of_vault("verify = { schedule = \"@weekly\", time_zone = \"Europe/Lundon\" }"));
    assert!(said.contains("did you mean `Europe/London`?"), "{said}");
}

#[test]
fn a_job_may_not_have_the_name_of_a_task() {
    let text = of_daemon("").replace("name = \"nightly\"", "name = \"verify/vault/crm\"");
    let said = problem(&text);
    assert!(said.contains("found \"verify/vault/crm\"; expected a name of 1 to 63 characters"), "{said}");
}

#[test]
fn signing_needs_a_key_or_somebody_to_trust() {
    assert!(
        problem(&with_signing(""))
            .ends_with("signing: found neither; expected `key`, `trusted_keys`, or both")
    );
    let trusted = format!("trusted_keys = [\"{PUBLIC_KEY}\"]");
    let signing = read(&with_signing(&trusted)).unwrap().signing.unwrap();
    assert!(signing.key.is_none() && signing.trusted_keys == [PUBLIC_KEY]);
    assert!(
        problem(&with_signing("trusted_keys = []"))
            .contains("found an empty list; expected at least one key")
    );
}

#[test]
fn what_is_no_public_key_is_refused_and_not_shown() {
    let secret = "RWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAv6USGYwxxaAw21lBKsGkZoQyAscenxoa3cebayMJZWpwvQkGaWOKNBVcDZj5eSYMg//GLg9tG6HIY5jXZrru6t2TUnsdpgyNAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for bad in
        [secret, "RWS/pRIZ", "age1abcdef", "", "AAAA/pRIZjDHFoBVcDZj5eSYMg//GLg9tG6HIY5jXZrru6t2TUnsdpgyN"]
    {
        let said = problem(&with_signing(&format!("trusted_keys = [\"{bad}\"]")));
        assert!(
            said.contains("signing.trusted_keys[0]: found something that is no public key (not shown)"),
            "{said}"
        );
    }
}

#[test]
fn the_signing_key_is_a_whole_file_and_guarded_like_every_secret() {
    let key = |way: &str| with_signing(&format!("key = {way}"));
    let exposed = |text: &str| {
        let signing = read(text).unwrap().signing.unwrap();
        signing.key.unwrap().expose().to_owned()
    };
    let content = "untrusted comment: minisign secret key\nRWQAAEIy\n";
    assert_eq!(exposed(&key("{ env = \"SIGNING_KEY\" }")), content);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("convault.key");
    fs::write(&path, content).unwrap();
    let file = key(&format!("{{ file = \"{}\" }}", path.display()));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let said = problem(&file);
    assert!(said.contains("mode 0644, which lets others read or write the secret"), "{said}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(exposed(&file), content);
    fs::write(&path, "untrusted comment: x\n\u{1b}[2J").unwrap();
    assert!(problem(&file).contains("which has control characters in it"));
    fs::write(&path, "\n").unwrap();
    assert!(problem(&file).contains("which is empty"));
}

#[test]
fn limits_of_the_anomaly_gate_have_bounds() {
    for (keys, expected) in [
        ("down = 0", "anomaly.down: found 0; expected a whole number from 1 to 100"),
        ("down = 101", "anomaly.down: found 101; expected a whole number from 1 to 100"),
        ("up = 100001", "anomaly.up: found 100001; expected a whole number from 1 to 100000"),
        ("new_tables = \"wran\"", "one of \"warn\", \"suspect\" or \"ignore\"; did you mean `warn`?"),
        ("min_documents = 0", "min_documents: found 0; expected a whole number from 1"),
        ("min_bytes = 5", "min_bytes: found the number 5; expected a size such as"),
        ("unchanged_for = \"0s\"", "unchanged_for: found \"0s\"; expected a duration of 1 s or more"),
        (
            "tables = [\"users\"]",
            "anomaly.tables: found a list; expected a table tables = { \"NAME\" = { … } }",
        ),
        ("tables = { users = 30 }", "anomaly.tables.users: found the number 30; expected a table"),
        ("tables = { users = { dwon = 3 } }", "anomaly.tables.users.dwon: found an unknown key"),
        (
            "tables = { users = { down = 300 } }",
            "tables.users.down: found 300; expected a whole number from 1 to 100",
        ),
        (
            "tables = { \"a b\" = { down = 3 } }",
            "found a table of another name; expected the name of a table",
        ),
    ] {
        let said = problem(&of_deployment(&format!("anomaly = {{ {keys} }}")));
        assert!(said.contains(expected), "{keys}: {said}");
    }
    let text = of_deployment(
        "anomaly = { down = 100, up = 100000, unchanged_for = \"7d\", min_bytes = \"1MiB\", tables = { \"billing/in\" = { up = 1 } } }",
    );
    let anomaly = read(&text).unwrap().deployments.remove(0).anomaly;
    assert_eq!((anomaly.down_percent, anomaly.up_percent, anomaly.min_bytes), (100, 100_000, Some(1 << 20)));
    assert_eq!(anomaly.tables["billing/in"].up_percent, Some(1));
}

#[test]
fn every_problem_across_tables_is_listed_with_the_others() {
    let text = settings(
        "coordinate_in = \"vault\"\nlease = \"1m\"",
        "anomaly = { down = 0 }",
        "accept = [\"yearly\"]",
        "keep = { daily = 7 }\ntags = [\"a b\"]",
    );
    let said = read(&text).unwrap_err();
    for key in [
        "daemon.lease",
        "daemon.coordinate_in",
        "deployment.crm.anomaly.down",
        "job.nightly.tags[0]",
        "job.nightly.keep",
    ] {
        assert!(said.contains(key), "{key}: {said}");
    }
}
