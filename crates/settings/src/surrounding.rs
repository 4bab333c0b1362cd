//! `[[surrounding]]`: what else belongs to a deployment and is stored with its snapshots.

use std::{path::PathBuf, time::Duration};

use convault_core::{Secret, SurroundingName};
use url::Url;

use crate::{
    names::Names,
    nearest::nearest,
    quantity,
    reading::{Reading, Refusal},
    secret::read_secret,
    section::Section,
};

/// What a job may name without a `[[surrounding]]`: its deployment has them all.
const BUILT_IN: [(&str, JobSurrounding); 3] = [
    ("environment", JobSurrounding::Environment),
    ("scheduled-functions", JobSurrounding::ScheduledFunctions),
    ("code", JobSurrounding::Code),
];

const KINDS: [&str; 5] = ["files", "command", "repository", "vercel", "project_defaults"];
const ONE_KIND: &str = "exactly one of `files`, `command`, `repository`, `vercel` and `project_defaults`";

const COMMAND_TIME_OUT: Duration = Duration::from_mins(1);
const COMMAND_MAX_BYTES: u64 = 16 << 20;
const REPOSITORY_TIME_OUT: Duration = Duration::from_hours(1);

/// One entry of a job's `surroundings`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobSurrounding {
    /// `environment`: the deployment's environment variables.
    Environment,
    /// `scheduled-functions`: the deployment's pending scheduled functions and crons.
    ScheduledFunctions,
    /// `code`: the deployment's code and configuration.
    Code,
    /// The name of a `[[surrounding]]`, which is there.
    Named(SurroundingName),
}

/// One `[[surrounding]]`.
#[derive(Debug, Clone)]
pub struct SurroundingSettings {
    /// What it is called, and its folder among the surroundings.
    pub name: SurroundingName,
    /// Whether a snapshot without it is no good snapshot.
    pub required: bool,
    /// Where it comes from.
    pub source: SurroundingSource,
}

/// Where a `[[surrounding]]` comes from.
#[derive(Debug, Clone)]
pub enum SurroundingSource {
    /// Files of this machine: absolute paths, which may have `*`, `?` and `**` in them; at least one.
    Files(Vec<PathBuf>),
    /// What a command prints.
    Command {
        /// The program, then its arguments; at least the program.
        command: Vec<String>,
        /// How long it may take.
        time_out: Duration,
        /// How many bytes it may print.
        max_bytes: u64,
    },
    /// A commit of a git repository.
    Repository {
        /// Where the repository is.
        place: RepositoryPlace,
        /// A branch, a tag, or `HEAD`.
        reference: String,
        /// How long it may take.
        time_out: Duration,
        /// How many bytes its bundle may have; `None` for any number.
        max_bytes: Option<u64>,
    },
    /// The environment variables of a project at Vercel.
    Vercel {
        /// The project's id or name.
        project: String,
        /// The team's id (`team_…`) or slug; `None` for a personal account.
        team: Option<String>,
        /// An access token.
        token: Secret,
        /// `production`, `preview`, `development`, or the id of a custom environment; `None` for all.
        targets: Option<Vec<String>>,
        /// Where Vercel's API is.
        url: Url,
    },
    /// The default environment variables of the deployment's project.
    ProjectDefaults {
        /// An access token of the team, or of a person in it.
        token: Secret,
        /// The project's number; `None` asks the deployment which project it is in.
        project: Option<u32>,
        /// Where Convex's management API is.
        url: Url,
    },
}

/// Where a git repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepositoryPlace {
    /// A folder of this machine, absolute.
    Path(PathBuf),
    /// What `git clone` takes: `https://…`, `ssh://…` or `user@host:path`, without a password.
    Url(String),
}

/// Takes `text` as an entry of a job's `surroundings`.
pub(crate) fn refer(text: &str, names: &Names<SurroundingName>) -> Result<JobSurrounding, Refusal> {
    if let Some((_, built_in)) = BUILT_IN.iter().find(|(name, _)| *name == text) {
        return Ok(built_in.clone());
    }
    let built_in = BUILT_IN.map(|(name, _)| name);
    names.refer(text).map(JobSurrounding::Named).map_err(|refusal| Refusal {
        expected: format!("{}, or {}", built_in.join(", "), refusal.expected),
        nearest: refusal.nearest.or_else(|| nearest(text, built_in).map(str::to_owned)),
        ..refusal
    })
}

pub(crate) fn read(
    section: &Section<'_>,
    reading: &mut Reading<'_>,
    names: &mut Names<SurroundingName>,
) -> Option<SurroundingSettings> {
    let name = names.read(section, reading);
    refuse_built_in_name(name.as_ref(), section, reading);
    let required = section.flag(reading, "required");
    let kind = read_kind(section, reading)?;
    let limited = matches!(kind, "command" | "repository");
    for key in ["time_out", "max_bytes"].into_iter().filter(|key| section.has(key) && !limited) {
        let found = format!("`{key}` beside `{kind}`");
        let expected = format!("`{key}` only beside `command` or `repository`");
        reading.problem(section.place_of(reading, key), &section.key_path(key), found, expected);
    }
    let source = match kind {
        "files" => read_files(section, reading),
        "command" => read_command(section, reading),
        "repository" => read_repository(section, reading),
        "vercel" => read_vercel(&section.table(reading, "vercel")?, reading),
        _ => read_project_defaults(&section.table(reading, "project_defaults")?, reading),
    };
    Some(SurroundingSettings { name: name?, required: required?, source: source? })
}

fn refuse_built_in_name(name: Option<&SurroundingName>, section: &Section<'_>, reading: &mut Reading<'_>) {
    if let Some(name) = name.filter(|name| BUILT_IN.iter().any(|(taken, _)| *taken == name.as_str())) {
        let expected = "another name: this one is what every deployment has";
        let place = section.place_of(reading, "name");
        reading.problem(place, &section.key_path("name"), format!("\"{name}\""), expected);
    }
}

fn read_kind(section: &Section<'_>, reading: &mut Reading<'_>) -> Option<&'static str> {
    let given: Vec<&'static str> = KINDS.into_iter().filter(|kind| section.has(kind)).collect();
    let found = match given.as_slice() {
        [kind] => return Some(kind),
        [] => "none of them".to_owned(),
        several => several.iter().map(|kind| format!("`{kind}`")).collect::<Vec<_>>().join(" and "),
    };
    reading.problem(section.place(), section.path(), found, ONE_KIND);
    None
}

fn read_files(section: &Section<'_>, reading: &mut Reading<'_>) -> Option<SurroundingSource> {
    let folder = reading.folder();
    let absolute = |text: &str| {
        if text.is_empty() || text.contains('\0') || text.starts_with('~') {
            return Err(Refusal::expected("a path, without `~`, which is not expanded here"));
        }
        let path = folder.join(text);
        Ok(std::path::absolute(&path).unwrap_or(path))
    };
    let files = filled(section, reading, "files", "at least one path", |reading| {
        section.list(reading, "files", absolute)
    });
    files.map(SurroundingSource::Files)
}

fn read_command(section: &Section<'_>, reading: &mut Reading<'_>) -> Option<SurroundingSource> {
    let argument = |text: &str| {
        if text.contains('\0') { Err(Refusal::expected("no NUL character")) } else { Ok(text.to_owned()) }
    };
    let command = filled(section, reading, "command", "a program, then its arguments", |reading| {
        section.repeating_list(reading, "command", argument)
    });
    let time_out = limit(section, reading, "time_out", positive_duration, COMMAND_TIME_OUT);
    let max_bytes = limit(section, reading, "max_bytes", positive_size, COMMAND_MAX_BYTES);
    let command = command?;
    if command[0].is_empty() {
        let place = section.place_of(reading, "command");
        reading.problem(place, &section.key_path("command"), "an empty program", "the name of a program");
        return None;
    }
    Some(SurroundingSource::Command { command, time_out: time_out?, max_bytes: max_bytes? })
}

fn read_repository(section: &Section<'_>, reading: &mut Reading<'_>) -> Option<SurroundingSource> {
    let table = section.table(reading, "repository")?;
    let place = match (table.has("path"), table.has("url")) {
        (true, false) => table.path_value(reading, "path").map(RepositoryPlace::Path),
        (false, true) => {
            table.parsed(reading, "url", |_, text, _| parse_repository_url(text)).map(RepositoryPlace::Url)
        }
        (both, _) => {
            let found = if both { "both" } else { "neither" };
            reading.problem(table.place(), table.path(), found, "exactly one of `path` and `url`");
            None
        }
    };
    let reference = table.parsed(reading, "ref", |_, text, _| parse_reference(text));
    let time_out = limit(section, reading, "time_out", positive_duration, REPOSITORY_TIME_OUT);
    let max_bytes = section
        .has("max_bytes")
        .then(|| limit(section, reading, "max_bytes", positive_size, COMMAND_MAX_BYTES));
    Some(SurroundingSource::Repository {
        place: place?,
        reference: reference?,
        time_out: time_out?,
        max_bytes: match max_bytes {
            Some(max_bytes) => Some(max_bytes?),
            None => None,
        },
    })
}

/// A credential in a URL would end up on git's command line, which every user of the machine can see.
fn parse_repository_url(text: &str) -> Result<String, Refusal> {
    let expected = "an https:// or ssh:// URL, or user@host:path, without a password";
    let refusal = |found: &str| Refusal::unshown(found, expected);
    if text.starts_with('-') || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(refusal("a string that is no URL"));
    }
    let Ok(url) = Url::parse(text) else {
        let is_scp = text.split_once(':').is_some_and(|(host, path)| !host.is_empty() && !path.is_empty());
        return if is_scp { Ok(text.to_owned()) } else { Err(refusal("a string that is no URL")) };
    };
    let has_credential = url.password().is_some() || (url.scheme() != "ssh" && !url.username().is_empty());
    match url.scheme() {
        _ if has_credential => Err(refusal("a URL with credentials in it")),
        "https" | "http" | "ssh" | "git" | "file" => Ok(text.to_owned()),
        _ if !text.contains("://") => Ok(text.to_owned()),
        _ => Err(refusal("a URL of another scheme")),
    }
}

/// Only names: a bundle holds names, so that a bare commit could not be found in it again.
fn parse_reference(text: &str) -> Result<String, Refusal> {
    let strange = |c: char| c.is_whitespace() || c.is_control() || "~^:?*[\\".contains(c);
    let wrong = text.is_empty() || text.starts_with('-') || text.contains("..") || text.contains(strange);
    let is_hash = text.len() >= 40 && text.chars().all(|c| c.is_ascii_hexdigit());
    if wrong || is_hash {
        return Err(Refusal::expected("the name of a branch or tag, or `HEAD`"));
    }
    Ok(text.to_owned())
}

fn read_vercel(table: &Section<'_>, reading: &mut Reading<'_>) -> Option<SurroundingSource> {
    let project = table.simple(reading, "project", plain_text);
    let team = table.simple(reading, "team", plain_text);
    let token = read_secret(table, reading, "token");
    let target =
        |text: &str| plain_text(text).ok_or_else(|| Refusal::expected("a target such as \"production\""));
    let targets = table.has("targets").then(|| {
        filled(table, reading, "targets", "at least one target", |reading| {
            table.list(reading, "targets", target)
        })
    });
    let url = table.url(reading, "url", "the token and the variables");
    let targets = match targets {
        Some(targets) => Some(targets?),
        None => None,
    };
    Some(SurroundingSource::Vercel { project: project?, team, token: token?, targets, url: url? })
}

fn read_project_defaults(table: &Section<'_>, reading: &mut Reading<'_>) -> Option<SurroundingSource> {
    let token = read_secret(table, reading, "token");
    let project = table.has("project").then(|| table.count(reading, "project", 1..u32::MAX));
    let url = table.url(reading, "url", "the token and the variables");
    let project = match project {
        Some(project) => Some(project?),
        None => None,
    };
    Some(SurroundingSource::ProjectDefaults { token: token?, project, url: url? })
}

fn plain_text(text: &str) -> Option<String> {
    let plain = !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    plain.then(|| text.to_owned())
}

/// The list that `read` reads, which must not be empty. One of which each entry was refused is not called empty too.
fn filled<T>(
    section: &Section<'_>,
    reading: &mut Reading<'_>,
    key: &str,
    expected: &str,
    read: impl FnOnce(&mut Reading<'_>) -> Option<Vec<T>>,
) -> Option<Vec<T>> {
    let before = reading.problems.len();
    let list = read(reading)?;
    if list.is_empty() && reading.problems.len() == before {
        let place = section.place_of(reading, key);
        reading.problem(place, &section.key_path(key), "an empty list", expected);
    }
    (!list.is_empty()).then_some(list)
}

/// A limit that the table gives, else the one of its kind.
fn limit<T>(
    section: &Section<'_>,
    reading: &mut Reading<'_>,
    key: &str,
    parse: impl FnOnce(&str) -> Option<T>,
    default: T,
) -> Option<T> {
    if section.has(key) { section.simple(reading, key, parse) } else { Some(default) }
}

fn positive_duration(text: &str) -> Option<Duration> {
    quantity::duration(text).filter(|duration| !duration.is_zero())
}

fn positive_size(text: &str) -> Option<u64> {
    quantity::size_bytes(text).filter(|size| *size > 0)
}
