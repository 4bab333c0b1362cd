//! `[[destination]]`: a place that snapshots are stored in.

use std::{
    path::{Component, Path, PathBuf},
    time::Duration,
};

use convault_core::{DestinationName, Schedule, Tier};

use crate::{
    encryption,
    keys::Form,
    names::Names,
    nearest::nearest,
    problem::Place as At,
    reading::{Reading, Refusal},
    s3::{self, S3Settings},
    schedule,
    section::Section,
};

/// One `[[destination]]`.
#[derive(Debug, Clone)]
pub struct DestinationSettings {
    /// What it is called here.
    pub name: DestinationName,
    /// Where it is.
    pub place: DestinationPlace,
    /// Certificates to trust beside the system's, PEM, absolute; only with S3.
    pub ca_file: Option<PathBuf>,
    /// The public keys that what is stored is encrypted to, as they were written and at least one; `None` encrypts
    /// nothing. Whether each is whole is not known yet.
    pub encrypt_to: Option<Vec<String>>,
    /// The tiers it takes snapshots for, each once and at least one; `None` takes every snapshot.
    pub accept: Option<Vec<Tier>>,
    /// Whether the credentials here only add: pruning then belongs to others, and is left out here.
    pub append_only: bool,
    /// How old an object that belongs to nothing must be before it is removed; longer than any run takes.
    pub orphan_grace: Duration,
    /// When what is stored is read again; `None` where only `convault verify` does.
    pub verify: Option<VerifySettings>,
}

/// `verify = { … }`.
#[derive(Debug, Clone)]
pub struct VerifySettings {
    /// When it is due.
    pub schedule: Schedule,
    /// Each run reads as much as is needed for every stored byte to be read again within this.
    pub read_all_within: Duration,
}

const HOUR: Duration = Duration::from_hours(1);

/// Where a destination is.
#[derive(Debug, Clone)]
pub enum DestinationPlace {
    /// A bucket.
    S3(S3Settings),
    /// A folder, absolute. It need not be there when the settings are read, but it is never made: a mount that is
    /// missing must not be taken for an empty destination.
    Directory(PathBuf),
}

/// The destinations read so far, so that no two share a place.
#[derive(Default)]
pub(crate) struct Taken {
    places: Vec<(DestinationPlace, String)>,
}

pub(crate) fn read(
    section: &Section<'_>,
    reading: &mut Reading<'_>,
    names: &mut Names<DestinationName>,
    taken: &mut Taken,
    state_dir: Option<&Path>,
) -> Option<DestinationSettings> {
    let name = names.read(section, reading);
    let place = read_place(section, reading, state_dir);
    let ca_file = section.ca_file(reading);
    if section.has("ca_file") && section.has("directory") {
        let at = section.place_of(reading, "ca_file");
        reading.problem(
            at,
            &section.key_path("ca_file"),
            "`ca_file` beside `directory`",
            "`ca_file` only beside `s3`",
        );
    }
    let encrypt_to = encryption::read_recipients(section, reading);
    let accept = read_accept(section, reading);
    let append_only = section.flag(reading, "append_only");
    let orphan_grace = section.duration(reading, "orphan_grace", HOUR);
    let verify = section.table(reading, "verify").map(|table| read_verify(&table, reading));
    let place = place?;
    if let Some((_, other)) = taken.places.iter().find(|(other, _)| overlap(other, &place)) {
        let (key, at) = key_and_place(section, reading, &place);
        let expected = format!("a place that is not the same as, inside or around that of {other}");
        reading.problem(at, &key, "a place that another destination has", expected);
    }
    taken.places.push((place.clone(), section.path().to_owned()));
    Some(DestinationSettings {
        name: name?,
        place,
        ca_file,
        encrypt_to,
        accept,
        append_only: append_only?,
        orphan_grace: orphan_grace?,
        // A verify that is wrong is no destination without one.
        verify: match verify {
            Some(verify) => Some(verify?),
            None => None,
        },
    })
}

fn read_accept(section: &Section<'_>, reading: &mut Reading<'_>) -> Option<Vec<Tier>> {
    let before = reading.problems.len();
    let accept = section.list(reading, "accept", parse_tier)?;
    if accept.is_empty() && reading.problems.len() == before {
        let at = section.place_of(reading, "accept");
        let expected = "at least one tier; without `accept` every snapshot is taken";
        reading.problem(at, &section.key_path("accept"), "an empty list", expected);
    }
    Some(accept)
}

fn parse_tier(text: &str) -> Result<Tier, Refusal> {
    let known = || Tier::ALL.into_iter().map(Tier::as_str);
    Tier::ALL.into_iter().find(|tier| tier.as_str() == text).ok_or_else(|| Refusal {
        found: None,
        expected: Form::Tiers.expected(),
        nearest: nearest(text, known()).map(str::to_owned),
    })
}

fn read_verify(section: &Section<'_>, reading: &mut Reading<'_>) -> Option<VerifySettings> {
    let (schedule, _) = schedule::read(section, reading);
    let read_all_within = section.duration(reading, "read_all_within", HOUR);
    Some(VerifySettings { schedule: schedule?, read_all_within: read_all_within? })
}

/// Reads `s3` or `directory`: one of the two.
pub(crate) fn read_place(
    section: &Section<'_>,
    reading: &mut Reading<'_>,
    state_dir: Option<&Path>,
) -> Option<DestinationPlace> {
    let found = match (section.has("s3"), section.has("directory")) {
        (true, false) => {
            let table = section.table(reading, "s3")?;
            return s3::read(&table, reading).map(DestinationPlace::S3);
        }
        (false, true) => return read_directory(section, reading, state_dir).map(DestinationPlace::Directory),
        (true, true) => "both",
        (false, false) => "neither",
    };
    reading.problem(
        section.place(),
        section.path(),
        found,
        "either `s3 = { bucket = \"…\", … }` or `directory = \"…\"`",
    );
    None
}

fn read_directory(
    section: &Section<'_>,
    reading: &mut Reading<'_>,
    state_dir: Option<&Path>,
) -> Option<PathBuf> {
    let directory = section.path_value(reading, "directory")?;
    if let Some(state_dir) = state_dir.filter(|state_dir| paths_overlap(state_dir, &directory)) {
        let at = section.place_of(reading, "directory");
        let expected = format!(
            "a folder that is neither inside nor around `daemon.state_dir` ({}), which may be deleted at any time",
            state_dir.display()
        );
        reading.problem(at, &section.key_path("directory"), format!("`{}`", directory.display()), expected);
    }
    Some(directory)
}

fn key_and_place(section: &Section<'_>, reading: &Reading<'_>, place: &DestinationPlace) -> (String, At) {
    let name = if matches!(place, DestinationPlace::S3(_)) { "s3" } else { "directory" };
    (section.key_path(name), section.place_of(reading, name))
}

/// Whether one place is the other, or inside it.
pub(crate) fn overlap(one: &DestinationPlace, other: &DestinationPlace) -> bool {
    match (one, other) {
        (DestinationPlace::Directory(one), DestinationPlace::Directory(other)) => paths_overlap(one, other),
        (DestinationPlace::S3(one), DestinationPlace::S3(other)) => {
            one.endpoint == other.endpoint
                && one.bucket == other.bucket
                && paths_overlap(Path::new(&one.prefix), Path::new(&other.prefix))
        }
        _ => false,
    }
}

/// Whether one path is the other or inside it, as they are written: `.` and `..` are followed, links are not.
fn paths_overlap(one: &Path, other: &Path) -> bool {
    let (one, other) = (plain(one), plain(other));
    one.starts_with(&other) || other.starts_with(&one)
}

fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_paths_are_seen_through_dots() {
        let overlap = |one: &str, other: &str| paths_overlap(Path::new(one), Path::new(other));
        assert!(overlap("/srv/a", "/srv/a"));
        assert!(overlap("/srv/a", "/srv/a/b"));
        assert!(overlap("/srv/x/../a/b", "/srv/./a"));
        assert!(!overlap("/srv/a", "/srv/ab"));
        assert!(overlap("", "convex"), "the root of a bucket is around everything in it");
    }
}
