//! `[[drill]]`: a restore that is practised into a scratch deployment.

use std::{path::PathBuf, time::Duration};

use convault_core::{
    Assertion, DeploymentName, DestinationName, DrillName, InvalidName, Schedule, Secret, TableRef,
};
use jiff::tz::TimeZone;
use url::Url;

use crate::{
    names::Names,
    reading::{Reading, Refusal},
    schedule,
    secret::read_secret,
    section::Section,
};

/// One `[[drill]]`.
#[derive(Debug, Clone)]
pub struct DrillSettings {
    /// What it is called.
    pub name: DrillName,
    /// The deployment whose newest good snapshot is restored.
    pub deployment: DeploymentName,
    /// When it is due; `None` for one that is made only on demand.
    pub schedule: Option<Schedule>,
    /// The zone of the schedule.
    pub time_zone: TimeZone,
    /// Where it is restored to.
    pub into: DrillInto,
    /// The destination it is restored from; `None`: the one that has the newest good snapshot.
    pub from: Option<DestinationName>,
    /// How long ago the last drill that was passed may be.
    pub max_age: Option<Duration>,
    /// Whether tables that make the deployment act by itself are left empty.
    pub quiet_automations: bool,
    /// What else must hold.
    pub assertions: Vec<Assertion>,
    /// How long a drill may take.
    pub time_out: Duration,
}

/// Where a drill restores to.
#[derive(Debug, Clone)]
pub enum DrillInto {
    /// A deployment that is there.
    Deployment {
        /// Its address.
        url: Url,
        /// A deploy key or admin key.
        key: Secret,
        /// Certificates to trust beside the system's, PEM, absolute.
        ca_file: Option<PathBuf>,
    },
    /// One that is made on the platform and deleted afterwards.
    Platform {
        /// An access token of the team, or of a person in it.
        token: Secret,
        /// The project's number.
        project: u32,
        /// Where the management API is.
        url: Url,
    },
    /// One that a command starts and stops.
    Command(Vec<String>),
}

const SECOND: Duration = Duration::from_secs(1);
const WAYS: [&str; 3] = ["url", "platform", "command"];
const KINDS: [&str; 5] = ["min_documents", "newest_younger_than", "references", "query", "http"];

/// The name of a drill as the settings take it.
pub(crate) fn name(text: &str) -> Result<DrillName, InvalidName> {
    DrillName::new(text)
}

pub(crate) fn read(
    section: &Section<'_>,
    reading: &mut Reading<'_>,
    names: &mut Names<DrillName>,
    deployments: &Names<DeploymentName>,
    destinations: &Names<DestinationName>,
) -> Option<DrillSettings> {
    let name = names.read(section, reading);
    let deployment = section.parsed(reading, "deployment", |_, text, _| deployments.refer(text));
    if !section.has("schedule") {
        let text = "there is no `schedule`, so this drill is made only on demand";
        reading.warn(section.place(), section.path(), text);
    }
    let (schedule, time_zone) = schedule::read(section, reading);
    let into = read_into(section, reading);
    let from =
        section.has("from").then(|| section.parsed(reading, "from", |_, text, _| destinations.refer(text)));
    let max_age = section.duration(reading, "max_age", SECOND);
    let quiet_automations = section.flag(reading, "quiet_automations");
    let assertions: Vec<Option<Assertion>> =
        section.tables(reading, "assert").iter().map(|table| read_assertion(table, reading)).collect();
    let time_out = section.duration(reading, "time_out", SECOND);
    Some(DrillSettings {
        name: name?,
        deployment: deployment?,
        schedule,
        time_zone: time_zone?,
        into: into?,
        // A destination that is wrong is not any destination.
        from: match from {
            Some(from) => Some(from?),
            None => None,
        },
        max_age,
        quiet_automations: quiet_automations?,
        assertions: assertions.into_iter().collect::<Option<Vec<_>>>()?,
        time_out: time_out?,
    })
}

/// The one of `names` that a table has.
fn one_of(
    section: &Section<'_>,
    reading: &mut Reading<'_>,
    names: &[&'static str],
    expected: &str,
) -> Option<&'static str> {
    let given: Vec<&'static str> = names.iter().copied().filter(|name| section.has(name)).collect();
    let found = match given.as_slice() {
        [one] => return Some(one),
        [] => "none of them".to_owned(),
        several => several.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and "),
    };
    reading.problem(section.place(), section.path(), found, expected);
    None
}

fn read_into(section: &Section<'_>, reading: &mut Reading<'_>) -> Option<DrillInto> {
    let Some(table) = section.table(reading, "into") else {
        if !section.has("into") {
            let expected = "where it is restored to: `into = { url = …, key = … }`, `{ platform = … }` or `{ command = … }`";
            reading.problem(section.place(), &section.key_path("into"), "nothing", expected);
        }
        return None;
    };
    let expected = "exactly one of `url` (with `key`), `platform` and `command`";
    let way = one_of(&table, reading, &WAYS, expected)?;
    for key in ["key", "ca_file"].into_iter().filter(|key| table.has(key) && way != "url") {
        let found = format!("`{key}` beside `{way}`");
        let place = table.place_of(reading, key);
        reading.problem(place, &table.key_path(key), found, format!("`{key}` only beside `url`"));
    }
    match way {
        "url" => {
            let url = table.url(reading, "url", "the key and the data");
            if !table.has("key") {
                let expected = "a key of the scratch deployment, with `url`";
                reading.problem(table.place(), &table.key_path("key"), "nothing", expected);
            }
            let (key, ca_file) = (read_secret(&table, reading, "key"), table.ca_file(reading));
            Some(DrillInto::Deployment { url: url?, key: key?, ca_file })
        }
        "platform" => read_platform(&table.table(reading, "platform")?, reading),
        _ => read_command(&table, reading),
    }
}

fn read_platform(table: &Section<'_>, reading: &mut Reading<'_>) -> Option<DrillInto> {
    let token = read_secret(table, reading, "token");
    let project = table.count(reading, "project", 1..u32::MAX);
    let url = table.url(reading, "url", "the token and the keys");
    Some(DrillInto::Platform { token: token?, project: project?, url: url? })
}

fn read_command(table: &Section<'_>, reading: &mut Reading<'_>) -> Option<DrillInto> {
    let argument = |text: &str| {
        if text.contains('\0') { Err(Refusal::expected("no NUL character")) } else { Ok(text.to_owned()) }
    };
    let command = table.repeating_list(reading, "command", argument)?;
    if command.first().is_none_or(String::is_empty) {
        let place = table.place_of(reading, "command");
        let expected = "a program, then its arguments";
        reading.problem(place, &table.key_path("command"), "no program", expected);
        return None;
    }
    Some(DrillInto::Command(command))
}

fn read_assertion(section: &Section<'_>, reading: &mut Reading<'_>) -> Option<Assertion> {
    let expected = "exactly one of `min_documents`, `newest_younger_than`, `references`, `query` and `http`";
    let kind = one_of(section, reading, &KINDS, expected)?;
    let table = section.table(reading, kind)?;
    match kind {
        "min_documents" => {
            let (name, documents) =
                (table_name(&table, reading, "table"), table.count(reading, "documents", 0..u32::MAX));
            Some(Assertion::MinDocuments { table: name?, documents: u64::from(documents?) })
        }
        "newest_younger_than" => {
            let (name, age) = (table_name(&table, reading, "table"), table.duration(reading, "age", SECOND));
            Some(Assertion::NewestYoungerThan { table: name?, age: age? })
        }
        "references" => {
            let name = table_name(&table, reading, "table");
            let field = table.simple(reading, "field", filled);
            let to = table_name(&table, reading, "to");
            Some(Assertion::References { table: name?, field: field?, to: to? })
        }
        "query" => {
            let function = table.simple(reading, "function", filled);
            let arguments = table.parsed(reading, "arguments", |_, text, _| {
                let text = text.trim();
                let is_object = text.starts_with('{') && text.ends_with('}');
                if is_object {
                    Ok(text.to_owned())
                } else {
                    Err(Refusal::expected("a JSON object, as a string"))
                }
            });
            Some(Assertion::Query { function: function?, arguments: arguments? })
        }
        _ => {
            let url = table.url(reading, "url", "the page");
            let status = table.count(reading, "status", 100..600);
            let contains = table.simple(reading, "contains", filled);
            let status = u16::try_from(status?).unwrap_or(u16::MAX);
            Some(Assertion::Http { url: url?.into(), status, contains })
        }
    }
}

fn table_name(section: &Section<'_>, reading: &mut Reading<'_>, key: &str) -> Option<TableRef> {
    section.parsed(reading, key, |_, text, _| {
        text.parse()
            .map_err(|_| Refusal::expected("the name of a table: `contacts`, or `component/contacts`"))
    })
}

fn filled(text: &str) -> Option<String> {
    let filled = !text.is_empty() && !text.chars().any(char::is_control);
    filled.then(|| text.to_owned())
}

/// A schedule asks for what nobody is there to hand over.
pub(crate) fn check(
    drills: &[(Section<'_>, Option<DrillSettings>)],
    destinations: &[(Section<'_>, Option<crate::DestinationSettings>)],
    has_identity: bool,
    reading: &mut Reading<'_>,
) {
    for (section, drill) in drills.iter().filter_map(|(section, read)| Some((section, read.as_ref()?))) {
        let encrypted = destinations.iter().filter_map(|(_, read)| read.as_ref()).any(|destination| {
            drill.from.as_ref().is_none_or(|from| *from == destination.name)
                && destination.encrypt_to.is_some()
        });
        if encrypted && drill.schedule.is_some() && !has_identity {
            let text = "there is no `identity` in [encryption], so that a drill that is due cannot open what is encrypted";
            reading.warn(section.place(), section.path(), text);
        }
    }
}
