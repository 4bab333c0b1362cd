//! `[[drill]]`: what is taken, and what is refused.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like the tests")]

mod support;

use std::time::Duration;

use convault_core::{Assertion, TableRef};
use convault_settings::{DrillInto, DrillSettings, Environment, Settings};
use support::{only_problem, settings_of};

fn read(drill: &str) -> Result<Settings, String> {
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
[[drill]]
name = "weekly"
deployment = "crm"
{drill}
"#
    );
    let environment = Environment::new([("KEY", "prod:happy-animal-123|hunter2"), ("TOKEN", "hunter2")]);
    settings_of(&text, &environment)
}

fn drill(lines: &str) -> DrillSettings {
    let settings = read(lines).unwrap();
    let shown = format!("{settings:?} {:?}", settings.effective());
    assert!(!shown.contains("hunter2"), "{shown}");
    settings.drills[0].clone()
}

/// The problem of `lines`, which have just one.
fn problem(lines: &str) -> String {
    let all = read(lines).expect_err("these settings are wrong");
    assert!(!all.contains("hunter2"), "{all}");
    only_problem(&all)
}

const THERE: &str = "into = { url = \"http://127.0.0.1:3210\", key = { env = \"TOKEN\" } }";

#[test]
fn a_drill_says_where_to_from_where_and_how_often() {
    let lines = format!("{THERE}\nschedule = \"0 5 * * 0\"\nfrom = \"offsite\"\nmax_age = \"8d\"");
    let read = drill(&lines);
    assert_eq!(read.from.unwrap().as_str(), "offsite");
    assert_eq!(read.max_age, Some(Duration::from_hours(8 * 24)));
    assert!(read.quiet_automations && read.schedule.is_some());
    assert!(matches!(read.into, DrillInto::Deployment { url, .. } if url.port() == Some(3210)));
}

#[test]
fn a_deployment_may_be_made_by_the_platform_or_by_a_command() {
    let made = drill("into = { platform = { token = { env = \"TOKEN\" }, project = 7 } }").into;
    let DrillInto::Platform { project: 7, url, .. } = made else { panic!("{made:?}") };
    assert_eq!(url.as_str(), "https://api.convex.dev/");
    let DrillInto::Command(command) = drill("into = { command = [\"up\", \"-v\", \"-v\"] }").into else {
        panic!("this is a command")
    };
    assert_eq!(command, ["up", "-v", "-v"]);
}

#[test]
fn exactly_one_way_is_taken() {
    assert!(problem("").contains("drill.weekly.into: found nothing; expected where it is restored to"));
    let expected = "expected exactly one of `url` (with `key`), `platform` and `command`";
    assert!(problem("into = {}").contains(expected));
    let both = "into = { url = \"http://127.0.0.1\", key = { env = \"TOKEN\" }, command = [\"up\"] }";
    assert!(problem(both).contains("found `url` and `command`"));
    assert!(
        problem("into = { url = \"http://127.0.0.1\" }").contains("expected a key of the scratch deployment")
    );
    let beside = "into = { command = [\"up\"], key = { env = \"TOKEN\" } }";
    assert!(problem(beside).contains("`key` only beside `url`"));
    assert!(problem("into = { command = [] }").contains("expected a program, then its arguments"));
    assert!(problem("into = { platform = { token = { env = \"TOKEN\" } } }").contains("platform.project"));
}

#[test]
fn what_is_asserted_is_read_in_order() {
    let lines = format!(
        "{THERE}\nassert = [\n  {{ min_documents = {{ table = \"contacts\", documents = 5 }} }},\n  {{ newest_younger_than = \
         {{ table = \"mail/letters\", age = \"2d\" }} }},\n  {{ references = {{ table = \"orders\", field = \"customer.id\", to = \
         \"contacts\" }} }},\n  {{ query = {{ function = \"health:check\" }} }},\n  {{ http = {{ url = \"https://staging.example.com/\", \
         contains = \"Welcome\" }} }},\n]"
    );
    let table = |component: &str, table: &str| TableRef::new(component, table);
    assert_eq!(
        drill(&lines).assertions,
        [
            Assertion::MinDocuments { table: table("", "contacts"), documents: 5 },
            Assertion::NewestYoungerThan { table: table("mail", "letters"), age: Duration::from_hours(48) },
            Assertion::References {
                table: table("", "orders"),
                field: "customer.id".to_owned(),
                to: table("", "contacts")
            },
            Assertion::Query { function: "health:check".to_owned(), arguments: "{}".to_owned() },
            Assertion::Http {
                url: "https://staging.example.com/".to_owned(),
                status: 200,
                contains: Some("Welcome".to_owned())
            },
        ]
    );
}

#[test]
fn an_assertion_that_is_wrong_is_named_by_its_place() {
    let with = |assertion: &str| problem(&format!("{THERE}\nassert = [{assertion}]"));
    assert!(with("{}").contains("drill.weekly.assert[0]: found none of them"));
    let table = with("{ min_documents = { table = \"a-b\", documents = 1 } }");
    assert!(table.contains("drill.weekly.assert[0].min_documents.table: found \"a-b\""), "{table}");
    assert!(with("{ query = { function = \"a:b\", arguments = \"[]\" } }").contains("a JSON object"));
    assert!(with("{ http = { url = \"https://user:hunter2@example.com\" } }").contains("credentials"));
}

#[test]
fn names_lead_to_what_is_there() {
    assert!(problem(&format!("{THERE}\nfrom = \"ofsite\"")).contains("did you mean `offsite`"));
    let text = read(&format!("{THERE}\n[[drill]]\nname = \"weekly\"\ndeployment = \"crm\"\n{THERE}"));
    assert!(text.unwrap_err().contains("drill.weekly.name"));
}
