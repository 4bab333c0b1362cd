//! `[[mirror]]`: a bucket or folder of media that is kept in a second place.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use convault_core::{DestinationName, InvalidName, Keep, MIRRORS_FOLDER, MirrorName, Schedule};
use jiff::tz::TimeZone;

use crate::{
    deployment::DeploymentSettings,
    destination::{self, DestinationPlace, DestinationSettings},
    encryption, job,
    names::Names,
    reading::Reading,
    schedule,
    section::Section,
    settings::Tabled,
};

/// One `[[mirror]]`.
#[derive(Debug, Clone)]
pub struct MirrorSettings {
    /// What it is called.
    pub name: MirrorName,
    /// What is mirrored.
    pub from: DestinationPlace,
    /// Certificates to trust beside the system's, PEM, absolute; only with S3.
    pub ca_file: Option<PathBuf>,
    /// Where to.
    pub to: DestinationName,
    /// The public keys that it is encrypted to, in place of those of the destination.
    pub encrypt_to: Option<Vec<String>>,
    /// When it is due; `None` for a mirror that is brought up to date only on demand.
    pub schedule: Option<Schedule>,
    /// The zone of the schedule and of the days, weeks and months of `keep`.
    pub time_zone: TimeZone,
    /// How much may vanish or change from one run to the next, percent of the objects.
    pub brake: u32,
    /// What vanished or changed can be restored for at least this long.
    pub hold_deletions: Duration,
    /// Which states stay longer than that.
    pub keep: Option<Keep>,
    /// How long a run may take.
    pub time_out: Duration,
}

const SECOND: Duration = Duration::from_secs(1);

/// The name of a mirror as the settings take it.
pub(crate) fn name(text: &str) -> Result<MirrorName, InvalidName> {
    MirrorName::new(text)
}

pub(crate) fn read(
    section: &Section<'_>,
    reading: &mut Reading<'_>,
    names: &mut Names<MirrorName>,
    destinations: &Names<DestinationName>,
    state_dir: Option<&Path>,
) -> Option<MirrorSettings> {
    let name = names.read(section, reading);
    let from = read_from(section, reading, state_dir);
    let to = section.parsed(reading, "to", |_, text, _| destinations.refer(text));
    let encrypt_to = encryption::read_recipients(section, reading);
    if !section.has("schedule") {
        let text = "there is no `schedule`, so this mirror is brought up to date only on demand";
        reading.warn(section.place(), section.path(), text);
    }
    let (schedule, time_zone) = schedule::read(section, reading);
    let brake = section.count(reading, "brake", 0..101);
    let hold_deletions = section.duration(reading, "hold_deletions", Duration::ZERO);
    let keep = section.table(reading, "keep").map(|table| job::read_keep(&table, reading));
    let time_out = section.duration(reading, "time_out", SECOND);
    let (from, ca_file) = from?;
    Some(MirrorSettings {
        name: name?,
        from,
        ca_file,
        to: to?,
        encrypt_to,
        schedule,
        time_zone: time_zone?,
        brake: brake?,
        hold_deletions: hold_deletions?,
        // A rule that is wrong is no mirror without one.
        keep: match keep {
            Some(keep) => Some(keep?),
            None => None,
        },
        time_out: time_out?,
    })
}

fn read_from(
    section: &Section<'_>,
    reading: &mut Reading<'_>,
    state_dir: Option<&Path>,
) -> Option<(DestinationPlace, Option<PathBuf>)> {
    let Some(table) = section.table(reading, "from") else {
        if !section.has("from") {
            let expected = "what is mirrored: `from = { s3 = { … } }` or `from = { directory = \"…\" }`";
            reading.problem(section.place(), &section.key_path("from"), "nothing", expected);
        }
        return None;
    };
    let place = destination::read_place(&table, reading, state_dir);
    let ca_file = table.ca_file(reading);
    Some((place?, ca_file))
}

/// What needs the other tables to have been read.
pub(crate) fn check(
    mirrors: &Tabled<'_, MirrorSettings>,
    destinations: &Tabled<'_, DestinationSettings>,
    deployments: &[Option<DeploymentSettings>],
    has_names_key: bool,
    reading: &mut Reading<'_>,
) {
    for (section, mirror) in mirrors.iter().filter_map(|(section, read)| Some((section, read.as_ref()?))) {
        refuse_a_source_that_is_a_destination(section, mirror, destinations, reading);
        refuse_the_name_of_a_deployment(section, mirror, deployments, reading);
        if mirror.encrypt_to.is_some() && !has_names_key {
            let expected = "`names_key` in [encryption] as well, under which the names of objects are hashed";
            let place = section.place_of(reading, "encrypt_to");
            reading.problem(place, &section.key_path("encrypt_to"), "no names key", expected);
        }
        let place = destinations.iter().filter_map(|(_, read)| read.as_ref());
        let grace = place.filter(|read| read.name == mirror.to).map(|read| read.orphan_grace).next();
        if let Some(grace) = grace.filter(|grace| *grace <= mirror.time_out) {
            let found = format!("{} s, no less than `orphan_grace` there", mirror.time_out.as_secs());
            let expected = format!(
                "less than {} s: a prune would take objects of a run that still goes on for leftovers",
                grace.as_secs()
            );
            let place = section.place_of(reading, "time_out");
            reading.problem(place, &section.key_path("time_out"), found, expected);
        }
    }
}

/// What is stored would be mirrored in turn, without end.
fn refuse_a_source_that_is_a_destination(
    section: &Section<'_>,
    mirror: &MirrorSettings,
    destinations: &Tabled<'_, DestinationSettings>,
    reading: &mut Reading<'_>,
) {
    let read = destinations.iter().filter_map(|(_, read)| read.as_ref());
    for destination in read.filter(|read| destination::overlap(&read.place, &mirror.from)) {
        let expected =
            format!("a place that is not the same as, inside or around that of {}", destination.name);
        let place = section.place_of(reading, "from");
        reading.problem(place, &section.key_path("from"), "a place that a destination has", expected);
    }
}

/// Leases and the run history file a mirror under its name, among those of deployments.
fn refuse_the_name_of_a_deployment(
    section: &Section<'_>,
    mirror: &MirrorSettings,
    deployments: &[Option<DeploymentSettings>],
    reading: &mut Reading<'_>,
) {
    let place = section.place_of(reading, "name");
    for deployment in deployments.iter().flatten() {
        let name = deployment.name.as_str();
        if name == mirror.name.as_str() {
            let expected = "a name that no [[deployment]] has";
            reading.problem(place.clone(), &section.key_path("name"), format!("`{name}`"), expected);
        }
        if name == MIRRORS_FOLDER {
            let found = format!("a [[deployment]] called `{name}`, whose folder is that of mirrors");
            let expected = "a deployment of another name, where there are mirrors";
            reading.problem(place.clone(), section.path(), found, expected);
        }
    }
}
