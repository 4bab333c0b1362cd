//! `[[job]]`: what is backed up when, where to, and what is kept.

use std::time::Duration;

use convault_core::{DeploymentName, DestinationName, FilesMode, JobName, Keep, Schedule, SurroundingName};
use jiff::tz::TimeZone;

use crate::{
    keys::{FILES_MODES, Form, quoted_list},
    names::Names,
    nearest::nearest,
    quantity,
    reading::{Reading, Refusal},
    schedule,
    section::Section,
    surrounding::{self, JobSurrounding},
};

/// One `[[job]]`.
#[derive(Debug, Clone)]
pub struct JobSettings {
    /// What it is called.
    pub name: JobName,
    /// What it backs up.
    pub deployment: DeploymentName,
    /// When it is due; `None` for a job that runs only on demand.
    pub schedule: Option<Schedule>,
    /// The zone of the schedule and of the days, weeks and months of `keep`.
    pub time_zone: TimeZone,
    /// Each run starts up to this long after its due time.
    pub jitter: Duration,
    /// How stored files are kept.
    pub files: FilesMode,
    /// Which surroundings are stored with each snapshot, in this order.
    pub surroundings: Vec<JobSurrounding>,
    /// When secrets among them are looked at between snapshots; `None` where they are not.
    pub watch: Option<Schedule>,
    /// Where to, in this order; at least one.
    pub to: Vec<DestinationName>,
    /// What is kept; everything where nothing was said.
    pub keep: Keep,
    /// Whether a due time missed while the daemon was down is made up for.
    pub catch_up: bool,
    /// What is done about a scheduled run that failed.
    pub retry: RetrySettings,
    /// How long a run may take.
    pub time_out: Duration,
    /// Tags of every snapshot it makes.
    pub tags: Vec<String>,
}

/// `retry = { … }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetrySettings {
    /// Attempts in all, the first included; at least 1.
    pub attempts: u32,
    /// The wait before the second attempt; each further wait is twice as long.
    pub first: Duration,
    /// The longest wait.
    pub max: Duration,
}

const SECOND: Duration = Duration::from_secs(1);
const MOST_ATTEMPTS: u32 = 100;
/// More than anyone keeps, and far from overflow.
const MOST_KEPT: u32 = 100_000;

pub(crate) fn read(
    section: &Section<'_>,
    reading: &mut Reading<'_>,
    names: &mut Names<JobName>,
    deployments: &Names<DeploymentName>,
    destinations: &Names<DestinationName>,
    surroundings: &Names<SurroundingName>,
) -> Option<JobSettings> {
    let name = names.read(section, reading);
    let deployment = section.parsed(reading, "deployment", |_, text, _| deployments.refer(text));
    if !section.has("schedule") {
        let text = "there is no `schedule`, so this job runs only on demand";
        reading.warn(section.place(), section.path(), text);
    }
    let (schedule, time_zone) = schedule::read(section, reading);
    let jitter = section.duration(reading, "jitter", Duration::ZERO);
    let files = section.parsed(reading, "files", |_, text, _| parse_files(text));
    let surroundings = section.list(reading, "surroundings", |text| surrounding::refer(text, surroundings));
    let watch = section.table(reading, "watch").map(|table| read_watch(section, &table, reading));
    let to = read_destinations(section, reading, destinations);
    let keep = read_keep(&section.table_or_defaults(reading, "keep"), reading);
    let catch_up = section.flag(reading, "catch_up");
    let retry = read_retry(&section.table_or_defaults(reading, "retry"), reading);
    let time_out = section.duration(reading, "time_out", SECOND);
    let tags = section.list(reading, "tags", parse_tag);
    Some(JobSettings {
        name: name?,
        deployment: deployment?,
        schedule,
        time_zone: time_zone?,
        jitter: jitter?,
        files: files?,
        surroundings: surroundings.unwrap_or_default(),
        // A watch that is wrong is no job without one.
        watch: match watch {
            Some(watch) => Some(watch?),
            None => None,
        },
        to: to?,
        keep: keep?,
        catch_up: catch_up?,
        retry: retry?,
        time_out: time_out?,
        tags: tags.unwrap_or_default(),
    })
}

/// `watch = { … }`.
fn read_watch(section: &Section<'_>, table: &Section<'_>, reading: &mut Reading<'_>) -> Option<Schedule> {
    if !section.has("surroundings") {
        let expected = "`surroundings` beside it: it looks whether secrets among those changed";
        reading.problem(section.place_of(reading, "watch"), table.path(), "no `surroundings`", expected);
    }
    schedule::read(table, reading).0
}

fn parse_files(text: &str) -> Result<FilesMode, Refusal> {
    match text {
        "inline" => Ok(FilesMode::Inline),
        "none" => Ok(FilesMode::None),
        "shared" => Ok(FilesMode::Shared),
        other => Err(Refusal {
            found: None,
            expected: format!("one of {}", quoted_list(FILES_MODES)),
            nearest: nearest(other, FILES_MODES.iter().copied()).map(str::to_owned),
        }),
    }
}

fn read_destinations(
    section: &Section<'_>,
    reading: &mut Reading<'_>,
    destinations: &Names<DestinationName>,
) -> Option<Vec<DestinationName>> {
    let before = reading.problems.len();
    let to = section.list(reading, "to", |text| destinations.refer(text))?;
    if to.is_empty() && reading.problems.len() == before {
        let place = section.place_of(reading, "to");
        reading.problem(place, &section.key_path("to"), "an empty list", "at least one destination");
    }
    Some(to)
}

/// `keep = { … }`, which jobs and mirrors have.
pub(crate) fn read_keep(section: &Section<'_>, reading: &mut Reading<'_>) -> Option<Keep> {
    let mut count = |name: &str, least: u32| section.count(reading, name, least..MOST_KEPT + 1);
    let (last, hourly, daily) = (count("last", 0), count("hourly", 0), count("daily", 0));
    let (weekly, monthly, yearly) = (count("weekly", 0), count("monthly", 0), count("yearly", 0));
    let at_least_verified = count("at_least_verified", 1);
    let within = section.duration(reading, "within", SECOND);
    Some(Keep {
        last: last?,
        hourly: hourly?,
        daily: daily?,
        weekly: weekly?,
        monthly: monthly?,
        yearly: yearly?,
        within,
        at_least_verified: at_least_verified?,
    })
}

fn read_retry(section: &Section<'_>, reading: &mut Reading<'_>) -> Option<RetrySettings> {
    let attempts = section.count(reading, "attempts", 1..MOST_ATTEMPTS + 1);
    let first = section.duration(reading, "first", Duration::ZERO);
    let max = section.parsed(reading, "max", |_, text, _| {
        let max = quantity::duration(text).ok_or_else(|| Refusal::expected(Form::Duration.expected()))?;
        match first {
            Some(first) if max < first => {
                Err(Refusal::expected("a duration that is not shorter than `first`"))
            }
            _ => Ok(max),
        }
    });
    Some(RetrySettings { attempts: attempts?, first: first?, max: max? })
}

fn parse_tag(text: &str) -> Result<String, Refusal> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.=:/".contains(c);
    if (1..=63).contains(&text.len()) && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    Err(Refusal::expected("1 to 63 characters a-z, A-Z, 0-9, `-`, `_`, `.`, `=`, `:`, `/`"))
}
