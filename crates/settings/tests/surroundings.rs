//! `[[surrounding]]` and a job's `surroundings`: what is taken, and what is refused.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like the tests")]

mod support;

use std::{path::Path, time::Duration};

use convault_settings::{Environment, RepositoryPlace, Settings, SurroundingSettings, SurroundingSource};
use support::{only_problem, settings_of};

fn read(surroundings: &str, job: &str) -> Result<Settings, String> {
    let text = format!(
        r#"[[deployment]]
name = "crm"
key = {{ env = "KEY" }}
[[destination]]
name = "offsite"
directory = "/srv/vault"
[[job]]
name = "nightly"
deployment = "crm"
schedule = "0 3 * * *"
to = ["offsite"]
{job}
{surroundings}
"#
    );
    let environment = Environment::new([("KEY", "prod:happy-animal-123|hunter2"), ("TOKEN", "hunter2")]);
    settings_of(&text, &environment)
}

fn surrounding(lines: &str) -> Result<SurroundingSettings, String> {
    let settings = read(&format!("[[surrounding]]\nname = \"thing\"\n{lines}"), "")?;
    let shown = format!("{settings:?} {:?}", settings.effective());
    assert!(!shown.contains("hunter2"), "{shown}");
    Ok(settings.surroundings[0].clone())
}

fn source(lines: &str) -> SurroundingSource {
    surrounding(lines).unwrap().source
}

/// The problem of `lines`, which have just one.
fn problem(lines: &str) -> String {
    let all = surrounding(lines).expect_err("these settings are wrong");
    assert!(!all.contains("hunter2"), "{all}");
    only_problem(&all)
}

#[test]
fn files_are_absolute_or_beside_the_settings() {
    let SurroundingSource::Files(files) = source(r#"files = ["/srv/app/.env*", "app.env"]"#) else {
        panic!("these are files");
    };
    assert_eq!(files, [Path::new("/srv/app/.env*"), Path::new("/etc/convault/app.env")]);
    assert_eq!(
        problem("files = []"),
        "FILE:15:9: surrounding.thing.files: found an empty list; expected at least one path"
    );
    assert_eq!(
        problem(r#"files = ["~/.env"]"#),
        "FILE:15:10: surrounding.thing.files[0]: found \"~/.env\"; expected a path, without `~`, which is not expanded here"
    );
}

#[test]
fn a_command_has_limits_and_may_repeat_an_argument() {
    let lines = "command = [\"dump\", \"-v\", \"-v\"]\ntime_out = \"30s\"\nmax_bytes = \"1MiB\"";
    let SurroundingSource::Command { command, time_out, max_bytes } = source(lines) else {
        panic!("this is a command");
    };
    assert_eq!(command, ["dump", "-v", "-v"]);
    assert_eq!((time_out, max_bytes), (Duration::from_secs(30), 1 << 20));
    let defaults = source("command = [\"dump\"]");
    let SurroundingSource::Command { time_out, max_bytes, .. } = defaults else {
        panic!("this is a command")
    };
    assert_eq!((time_out, max_bytes), (Duration::from_mins(1), 16 << 20));
    assert!(problem("command = []").contains("found an empty list; expected a program"));
    assert!(problem("command = [\"\"]").contains("found an empty program"));
    assert!(problem("command = [\"a\"]\ntime_out = \"0s\"").contains("expected a duration"));
    assert_eq!(
        problem("files = [\"/a\"]\nmax_bytes = \"1MiB\""),
        "FILE:16:13: surrounding.thing.max_bytes: found `max_bytes` beside `files`; expected `max_bytes` only beside \
         `command` or `repository`"
    );
}

#[test]
fn a_repository_is_a_folder_or_an_address_without_a_password() {
    let place = |lines: &str| match source(lines) {
        SurroundingSource::Repository { place, reference, .. } => (place, reference),
        other => panic!("{other:?}"),
    };
    let (path, head) = place(r#"repository = { path = "/srv/app" }"#);
    assert_eq!((path, head.as_str()), (RepositoryPlace::Path("/srv/app".into()), "HEAD"));
    for url in ["https://example.com/app.git", "ssh://git@example.com/app", "git@example.com:acme/app.git"] {
        let (place, reference) = place(&format!("repository = {{ url = \"{url}\", ref = \"main\" }}"));
        assert_eq!((place, reference.as_str()), (RepositoryPlace::Url(url.to_owned()), "main"));
    }
    for url in
        ["https://me:hunter2@example.com/app", "https://hunter2@example.com/app", "ssh://me:hunter2@x/a"]
    {
        assert!(
            problem(&format!("repository = {{ url = \"{url}\" }}")).contains("a URL with credentials in it")
        );
    }
    for url in ["--upload-pack=hunter2", "ext::sh -c hunter2", "app", "s3://bucket/app"] {
        assert!(
            problem(&format!("repository = {{ url = \"{url}\" }}"))
                .contains("expected an https:// or ssh://")
        );
    }
    for reference in ["--all", "main~1", "a b", "5f0d1c6a3b2e4f8a9c7d6e5f4a3b2c1d0e9f8a7b", "a..b"] {
        let said = problem(&format!("repository = {{ path = \"/a\", ref = \"{reference}\" }}"));
        assert!(said.ends_with("expected the name of a branch or tag, or `HEAD`"), "{said}");
    }
    assert!(
        problem("repository = { ref = \"main\" }").contains("found neither; expected exactly one of `path`")
    );
}

#[test]
fn vercel_and_project_defaults_have_tokens_and_addresses() {
    let lines = r#"vercel = { project = "crm-web", team = "acme", token = { env = "TOKEN" }, targets = ["production"] }"#;
    let SurroundingSource::Vercel { project, team, token, targets, url } = source(lines) else {
        panic!("this is Vercel");
    };
    assert_eq!((project.as_str(), team.as_deref(), token.expose()), ("crm-web", Some("acme"), "hunter2"));
    assert_eq!((targets.unwrap(), url.as_str()), (vec!["production".to_owned()], "https://api.vercel.com/"));
    let lines =
        r#"project_defaults = { token = { env = "TOKEN" }, project = 12, url = "http://127.0.0.1:1" }"#;
    let SurroundingSource::ProjectDefaults { project, url, .. } = source(lines) else {
        panic!("these are project defaults");
    };
    assert_eq!((project, url.as_str()), (Some(12), "http://127.0.0.1:1/"));
    assert!(
        problem("vercel = { project = \"a\" }").contains("surrounding.thing.vercel.token: found nothing")
    );
    assert!(problem("project_defaults = { token = \"hunter2\" }").contains("a plain string"));
}

#[test]
fn one_that_no_job_names_is_warned_of() {
    let settings = read("[[surrounding]]\nname = \"thing\"\nfiles = [\"/a\"]", "").unwrap();
    let warnings: Vec<String> = settings.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "/etc/convault/convault.toml: surrounding.thing: no [[job]] names this in its `surroundings`, so it is not stored"
        ]
    );
}

#[test]
fn there_is_exactly_one_kind() {
    assert_eq!(
        problem("required = true"),
        "FILE:13:1: surrounding.thing: found none of them; expected exactly one of `files`, `command`, `repository`, \
         `vercel` and `project_defaults`"
    );
    assert!(problem("files = [\"/a\"]\ncommand = [\"b\"]").contains("found `files` and `command`"));
    assert!(surrounding("files = [\"/a\"]\nrequired = true").unwrap().required);
}

#[test]
fn a_job_names_surroundings_that_are_there() {
    let thing = "[[surrounding]]\nname = \"thing\"\nfiles = [\"/a\"]";
    let problem = read(thing, r#"surroundings = ["environment", "thing", "coed"]"#).unwrap_err();
    assert!(
        problem.contains(
            "\n  FILE:12:41: job.nightly.surroundings[2]: found \"coed\"; expected environment, \
             scheduled-functions, code, or the name of a [[surrounding]]: thing; did you mean `code`?"
        ),
        "{problem}"
    );
    let problem = read("[[surrounding]]\nname = \"code\"\nfiles = [\"/a\"]", "").unwrap_err();
    assert!(problem.contains("surrounding.code.name: found \"code\"; expected another name"), "{problem}");
}
