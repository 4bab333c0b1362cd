//! What is said about settings that are wrong: all of it at once, with its place.

mod support;

use std::path::Path;

use convault_settings::{Environment, Settings};
use support::{FILE, only_problem, settings_of};

fn environment() -> Environment {
    Environment::new([
        ("CRM_KEY", "prod:happy-animal-123|c2VjcmV0"),
        ("TOKEN", "0123456789abcdef0123456789abcdef"),
    ])
}

fn problems(text: &str) -> String {
    settings_of(text, &environment()).expect_err("these settings are wrong")
}

/// The problem of `text`, which has just one.
fn problem(text: &str) -> String {
    only_problem(&problems(text))
}

const GOOD: &str = r#"
[[deployment]]
name = "crm"
key = { env = "CRM_KEY" }

[[destination]]
name = "shelf"
directory = "/srv/convault"

[[job]]
name = "nightly"
deployment = "crm"
schedule = "0 3 * * *"
to = ["shelf"]
"#;

fn good_with(line: &str) -> String {
    format!("{GOOD}{line}\n")
}

fn replaced(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from));
    GOOD.replace(from, to)
}

#[test]
fn every_problem_is_listed_at_once() {
    let text = r#"colour = "green"

[daemon]
listen = "localhost"
stall_limit = 5
upload_memory = "1MiB"
log = "jsno"
token = "hunter2"
encrypt_to = ["age1abc"]

[[deployment]]
name = "CRM"
url = "https://user:hunter2@example.com"
key = { env = "CRM_KEY", file = "/run/key" }
export_deadline = "six hours"

[[destination]]
name = "shelf"
directory = "/var/lib/convault/backups"
encrypt_to = ["age1abc"]

[[destination]]
name = "shelf"

[[job]]
name = "nightly"
deployment = "crm"
shedule = "0 3 * * *"
time_zone = "Europe/Lundon"
files = "split"
to = ["shelf", "shelv"]
keep = { daily = -7, at_least_verified = 0 }
catch_up = "yes"
"#;
    assert_eq!(problems(text), include_str!("problems.txt").trim_end());
}

#[test]
fn no_problem_shows_a_secret() {
    for line in [
        "key = \"prod:a|hunter2\"",
        "key = { file = \"prod:a|hunter2\" }",
        "key = { env = \"prod:a|hunter2\" }",
        "key = { env = \"hunter2\" }",
        "key = { credential = \"prod:a|hunter2\" }",
        "key = [\"hunter2\"]",
        "key = { env = [\"hunter2\"] }",
        "key = { value = \"hunter2\" }",
        "kee = \"hunter2\"",
        "url = \"https://hunter2@example.com\"",
        "url = \"https://example.com/?key=hunter2\"",
        "url = \"hunter2\"",
        "key = \"hunter2",
        "key = hunter2",
    ] {
        let text = format!("[[deployment]]\nname = \"crm\"\n{line}\n");
        let said = problems(&text);
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn a_text_that_is_not_toml_names_every_line_that_is_not() {
    let said = problems("[daemon]\nlisten = 127.0.0.1\n\n[[job]\nname = \"a\"\n");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert!(lines[1].starts_with("  FILE:2:15: found text that is not TOML ("), "{said}");
    assert!(lines[2].starts_with("  FILE:4:7: found text that is not TOML (unclosed array table"), "{said}");
    assert!(said.ends_with("; expected TOML 1.0"), "{said}");
    assert!(problem("a = 1\na = 2\n").starts_with("FILE:2:1: found text that is not TOML (duplicate key)"));
}

#[test]
fn unknown_keys_say_where_they_belong() {
    assert_eq!(
        problem(&good_with("url = \"https://example.com\"")),
        "FILE:15:1: job.nightly.url: found an unknown key; expected no such key in [[job]]: `url` belongs in \
         [[deployment]] or repository = { … } or vercel = { … } or project_defaults = { … } or into = { … } or \
         platform = { … } or http = { … }"
    );
    assert_eq!(
        problem(&good_with("encrypt_to = [\"age1abc\"]")),
        "FILE:15:1: job.nightly.encrypt_to: found an unknown key; expected no such key in [[job]]: `encrypt_to` belongs \
         in [[destination]] or [[mirror]]"
    );
    assert_eq!(
        problem(&good_with("[jobs]")),
        "FILE:15:2: jobs: found an unknown key; expected a key of the top level: daemon, signing, encryption, erasure, \
         deployment, destination, surrounding, job, mirror, mask, drill; did you mean `job`?"
    );
}

#[test]
fn a_table_of_the_wrong_kind_says_how_it_is_written() {
    assert_eq!(
        problem("[deployment]\nname = \"crm\"\n"),
        "FILE:1:1: deployment: found a single table; expected tables [[deployment]]"
    );
    assert_eq!(
        problem("[[daemon]]\n"),
        "FILE:1:1: daemon: found a list of tables; expected a table [daemon]"
    );
}

#[test]
fn unknown_variables_of_ours_are_problems_and_named_ones_are_not() {
    let with = |name: &'static str| {
        Environment::new([("CRM_KEY", "prod:a|b"), ("CONVAULT_CRM_KEY", "prod:a|b"), (name, "x")])
    };
    let text = replaced("CRM_KEY", "CONVAULT_CRM_KEY");
    assert!(settings_of(&text, &with("OTHER")).is_ok());
    assert_eq!(
        settings_of(&text, &with("CONVAULT_LOGLEVEL")).unwrap_err(),
        "1 problem in the settings:\n  environment $CONVAULT_LOGLEVEL: found an unknown variable; expected one of \
         CONVAULT_LISTEN, CONVAULT_STATE_DIR, CONVAULT_SOCKET, CONVAULT_LOG, CONVAULT_LOG_LEVEL, CONVAULT_CONFIG, or \
         one that a secret names; did you mean `CONVAULT_LOG_LEVEL`?"
    );
}

#[test]
fn variables_go_before_the_file_and_are_checked_like_it() {
    let with = |listen: &str| {
        Environment::new([
            ("CRM_KEY", "prod:a|b"),
            ("CONVAULT_LISTEN", listen),
            ("CONVAULT_STATE_DIR", "/tmp/state"),
        ])
    };
    let text = format!("[daemon]\nlisten = \"127.0.0.1:1\"\n{GOOD}");
    let settings = settings_of(&text, &with("127.0.0.1:2")).unwrap();
    assert_eq!(settings.daemon.listen.to_string(), "127.0.0.1:2");
    assert_eq!(settings.daemon.state_dir, Path::new("/tmp/state"));
    assert_eq!(settings.effective()[1].origin.to_string(), "env CONVAULT_LISTEN");
    assert_eq!(
        settings_of(&text, &with("")).unwrap_err(),
        "1 problem in the settings:\n  environment $CONVAULT_LISTEN: daemon.listen: found \"\"; expected an IP address \
         and a port such as \"127.0.0.1:9640\" or \"[::1]:9640\""
    );
}

#[test]
fn a_missing_file_and_an_unknown_variable_come_out_together() {
    let environment = Environment::new([("CONVAULT_CONFIG", "/nowhere/convault.toml"), ("CONVAULT_X", "")]);
    let said = Settings::load(None, &environment).unwrap_err().to_string();
    assert!(
        said.starts_with("2 problems in the settings:\n  /nowhere/convault.toml: found no readable file ("),
        "{said}"
    );
    assert!(
        said.contains(
            "expected a settings file, from --config, CONVAULT_CONFIG or /etc/convault/convault.toml"
        )
    );
    assert!(said.contains("environment $CONVAULT_X: found an unknown variable"));
}

#[test]
fn references_and_lists_are_checked() {
    assert_eq!(
        problem(&replaced("to = [\"shelf\"]", "to = []")),
        "FILE:14:6: job.nightly.to: found an empty list; expected at least one destination"
    );
    assert_eq!(
        problem(&replaced("to = [\"shelf\"]", "to = [\"shelf\", \"shelf\"]")),
        "FILE:14:16: job.nightly.to[1]: found \"shelf\" a second time; expected each once"
    );
    assert_eq!(
        problem(&replaced("deployment = \"crm\"", "deployment = \"crn\"")),
        "FILE:12:14: job.nightly.deployment: found \"crn\"; expected the name of a [[deployment]]: crm; did you mean \
         `crm`?"
    );
    assert_eq!(
        problem(&replaced("to = [\"shelf\"]", "to = \"shelf\"")),
        "FILE:14:6: job.nightly.to: found a string; expected a list of names such as [\"offsite\"]"
    );
}

#[test]
fn a_table_that_is_wrong_does_not_make_references_to_it_wrong() {
    let said = problem(&replaced("directory = \"/srv/convault\"", ""));
    assert_eq!(
        said,
        "FILE:6:1: destination.shelf: found neither; expected either `s3 = { bucket = \"…\", … }` or `directory = \"…\"`"
    );
}

#[test]
fn destinations_do_not_share_a_place() {
    let other = "[[destination]]\nname = \"other\"\ndirectory = \"/srv/convault/crm\"";
    assert_eq!(
        problem(&good_with(other)),
        "FILE:17:13: destination.other.directory: found a place that another destination has; expected a place that is \
         not the same as, inside or around that of destination.shelf"
    );
    let environment = Environment::new([
        ("CRM_KEY", "prod:a|b"),
        ("AWS_ACCESS_KEY_ID", "AKIA"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
    ]);
    let bucket = |name: &str, prefix: &str| {
        format!(
            "[[destination]]\nname = \"{name}\"\ns3 = {{ bucket = \"acme\", region = \"x\", prefix = \"{prefix}\" }}"
        )
    };
    let two =
        |one: &str, other: &str| good_with(&format!("{}\n{}", bucket("one", one), bucket("other", other)));
    assert!(settings_of(&two("a", "b"), &environment).is_ok());
    assert!(
        settings_of(&two("a", "a/b"), &environment)
            .unwrap_err()
            .contains("destination.other.s3: found a place")
    );
    assert!(settings_of(&two("", "b"), &environment).is_err());
}

#[test]
fn a_bucket_says_what_its_provider_needs() {
    let with = |keys: &str| {
        replaced("directory = \"/srv/convault\"", &format!("s3 = {{ bucket = \"acme\", {keys} }}"))
    };
    let pair = "access_key = { env = \"TOKEN\" }, secret_key = { env = \"TOKEN\" }";
    let at = "FILE:8:6: destination.shelf.s3";
    assert_eq!(
        problem(&with(pair)),
        format!("{at}.region: found nothing; expected the region of the bucket, such as \"eu-central-1\"")
    );
    assert_eq!(
        problem(&with(&format!("profile = \"r2\", {pair}"))),
        format!(
            "{at}.endpoint: found nothing; expected where the service is, such as \
             \"https://ACCOUNT.r2.cloudflarestorage.com\""
        )
    );
    assert_eq!(
        problem(&with("region = \"x\", access_key = { env = \"TOKEN\" }")),
        format!("{at}.secret_key: found nothing, beside `access_key`; expected both of the pair, or neither")
    );
    let said =
        problem(&with(&format!("profile = \"minio\", endpoint = \"https://s3.example.com/acme\", {pair}")));
    assert!(
        said.contains("s3.endpoint: found a URL with the path \"/acme\"; expected an endpoint without"),
        "{said}"
    );
    let none = problems(&with("region = \"x\""));
    assert!(
        none.contains("access_key: found nothing, and no variable AWS_ACCESS_KEY_ID in the environment"),
        "{none}"
    );
    assert!(
        none.contains("secret_key: found nothing, and no variable AWS_SECRET_ACCESS_KEY in the environment")
    );
    for prefix in ["/a", "a/", "a//b", "a/../b", "a b"] {
        let said = problem(&with(&format!("region = \"x\", prefix = \"{prefix}\", {pair}")));
        assert!(said.contains("destination.shelf.s3.prefix: found"), "{said}");
    }
    let said = problem(&with(&format!("region = \"x\", ca_file = \"/nowhere/ca.pem\", {pair}")));
    assert!(said.contains("`ca_file` belongs in [[deployment]] or [[destination]]"), "{said}");
}

#[test]
fn schedules_are_read_as_the_scheduler_will() {
    for bad in ["0 3 * *", "0 3 * * * *", "61 3 * * *", "0 0 30 2 *", "soon", "@sometimes", ""] {
        let said = problem(&replaced("0 3 * * *", bad));
        assert!(said.contains("job.nightly.schedule: found \""), "{bad}: {said}");
    }
    for good in ["@daily", "*/15 * * * *", "0 3 * * MON", "0 0 L * *"] {
        assert!(settings_of(&replaced("0 3 * * *", good), &environment()).is_ok(), "{good}");
    }
}

#[test]
fn values_out_of_bounds_say_the_bounds() {
    for (line, expected) in [
        ("retry = { attempts = 0 }", "retry.attempts: found 0; expected a whole number from 1 to 100"),
        ("retry = { first = \"1h\", max = \"1m\" }", "a duration that is not shorter than `first`"),
        ("time_out = \"0s\"", "expected a duration of 1 s or more"),
        ("jitter = \"15000000000d\"", "expected a duration of 36500d or less"),
        ("time_out = 3600", "found the number 3600; expected a duration such as \"90s\""),
        ("keep = { daily = 0.5 }", "found the number 0.5; expected a whole number from 0 to 100000"),
        ("keep = { daily = 99999999999 }", "found 99999999999; expected a whole number from 0 to 100000"),
        ("keep = { at_least_verified = 0 }", "found 0; expected a whole number from 1 to 100000"),
        ("tags = [\"a b\"]", "job.nightly.tags[0]: found \"a b\"; expected 1 to 63 characters"),
    ] {
        let said = problem(&good_with(line));
        assert!(said.contains(expected), "{line}: {said}");
    }
}

#[test]
fn what_is_risky_is_warned_of() {
    let warnings = |text: &str| -> Vec<String> {
        let settings = settings_of(text, &environment()).unwrap();
        settings.warnings().iter().map(|warning| warning.to_string().replace(FILE, "FILE")).collect()
    };
    assert_eq!(
        warnings(&format!("[daemon]\nlisten = \"0.0.0.0:9640\"\n{GOOD}")),
        [
            "FILE:2:10: daemon.listen: 0.0.0.0:9640 can be reached from other machines, and without `token` anyone who \
          reaches it can read the status; nobody can act over HTTP"
        ]
    );
    assert_eq!(
        warnings(&format!("[daemon]\nlisten = \"0.0.0.0:9640\"\ntoken = {{ env = \"TOKEN\" }}\n{GOOD}")),
        [""; 0]
    );
    let url = |url: &str| replaced("key = {", &format!("url = \"{url}\"\nkey = {{"));
    assert_eq!(warnings(&url("http://127.0.0.1:3210")), [""; 0]);
    assert_eq!(warnings(&url("http://localhost:3210")), [""; 0]);
    assert!(
        warnings(&url("http://backend:3210"))[0].contains("deployment.crm.url: the key and the data travel")
    );
    assert_eq!(warnings(""), ["FILE: job: there is no [[job]], so nothing is backed up"]);
    let twice = "[[deployment]]\nname = \"crm2\"\nurl = \"https://example.com\"\nkey = { env = \"CRM_KEY\" }";
    let said = warnings(&format!("{}{twice}", url("https://example.com")));
    assert!(said.iter().any(|line| line.contains("deployment.crm2.url: it has the URL of crm,")), "{said:?}");
    assert!(
        warnings(&good_with("time_out = \"6h\""))[0]
            .contains("job.nightly.time_out: the run is cancelled before")
    );
    let spare = good_with("[[destination]]\nname = \"spare\"\ndirectory = \"/srv/spare\"");
    assert_eq!(warnings(&spare), ["FILE: destination.spare: no [[job]] or [[mirror]] stores anything here"]);
}

#[test]
fn no_damage_to_the_text_makes_the_reader_panic() {
    let text = include_str!("../../../config/crm-to-s3-and-disk.toml");
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let text = lines.join("\n");
    for at in (0..text.len()).filter(|at| text.is_char_boundary(*at) && text.is_char_boundary(at + 1)) {
        for with in ["", "\"", "[", "}", "=", ".", "\n", "0", "é"] {
            let damaged = format!("{}{with}{}", &text[..at], &text[at + 1..]);
            drop(settings_of(&damaged, &environment()));
        }
    }
    for at in 0..text.len() {
        drop(settings_of(&text[at..], &environment()));
        drop(settings_of(&text[..at], &environment()));
    }
}

#[test]
fn a_ca_file_is_looked_at() {
    let with = |path: &str| replaced("[[destination]]", &format!("ca_file = \"{path}\"\n[[destination]]"));
    assert!(
        problem(&with("/nowhere/ca.pem"))
            .contains("deployment.crm.ca_file: found `/nowhere/ca.pem` (No such file")
    );
    assert!(problem(&with("/dev/null")).contains("holds no `-----BEGIN CERTIFICATE-----`"));
}

#[test]
fn a_socket_has_a_path_that_the_system_takes() {
    let long = format!("[daemon]\nsocket = \"/{}\"\n", "s".repeat(107));
    let expected = "FILE:2:10: daemon.socket: found a path of 108 bytes; expected at most 107 bytes";
    assert!(problem(&long).starts_with(expected));
}

#[test]
fn jobs_that_would_delete_each_others_snapshots_are_refused() {
    let text = r#"
[[deployment]]
name = "crm"
url = "https://crm.example.com"
key = { env = "KEY" }
[[destination]]
name = "shelf"
directory = "/srv/convault"
[[job]]
name = "nightly"
deployment = "crm"
schedule = "0 3 * * *"
to = ["shelf"]
keep = { daily = 7 }
[[job]]
name = "hourly"
deployment = "crm"
schedule = "0 * * * *"
to = ["shelf"]
keep = { hourly = 24 }
"#;
    let environment = Environment::new([("KEY", "prod:crm|secret")]);
    let read = |text: &str| settings_of(text, &environment);
    let problems = read(text).unwrap_err();
    assert!(problems.contains("job.hourly.keep"), "{problems}");
    assert!(problems.contains("each would delete what the other keeps"), "{problems}");
    read(&text.replace("hourly = 24", "daily = 7")).unwrap();
    let little = format!("[daemon]\nupload_memory = \"20MiB\"\n{}", text.replace("hourly = 24", "daily = 7"));
    read(&little).unwrap();
    let two = format!("{little}[[deployment]]\nname = \"b\"\nkey = {{ env = \"KEY\" }}\n");
    assert!(read(&two).unwrap_err().contains("40MiB or more"));
}
