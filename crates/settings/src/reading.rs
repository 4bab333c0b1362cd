//! One reading of the settings: the file's text with its lines, the environment, and everything that turned up.

use std::{
    collections::BTreeSet,
    ops::Range,
    path::{Path, PathBuf},
};

use crate::{
    effective::{Effective, Origin},
    environment::Environment,
    problem::{Place, Problem, Warning},
};

/// Why a value is not taken.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// What to say was found; the quoted value where `None`. Given where the value must not be shown.
    pub(crate) found: Option<String>,
    pub(crate) expected: String,
    pub(crate) nearest: Option<String>,
}

impl Refusal {
    pub(crate) fn expected(expected: impl Into<String>) -> Self {
        Self { found: None, expected: expected.into(), nearest: None }
    }

    pub(crate) fn unshown(found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { found: Some(found.into()), expected: expected.into(), nearest: None }
    }
}

pub(crate) struct Reading<'r> {
    file: &'r Path,
    text: &'r str,
    pub(crate) environment: &'r Environment,
    /// Variables that the file names for a secret: they are known, whatever they are called.
    pub(crate) named_variables: BTreeSet<String>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Warning>,
    pub(crate) effective: Vec<Effective>,
}

impl<'r> Reading<'r> {
    pub(crate) fn new(file: &'r Path, text: &'r str, environment: &'r Environment) -> Self {
        Self {
            file,
            text,
            environment,
            named_variables: BTreeSet::new(),
            problems: vec![],
            warnings: vec![],
            effective: vec![],
        }
    }

    /// The place of the first byte of `span`.
    pub(crate) fn place(&self, span: &Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Place::Position {
            file: self.file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// The place that stands for the whole file.
    pub(crate) fn whole_file(&self) -> Place {
        Place::File { file: self.file.to_owned() }
    }

    pub(crate) fn problem(
        &mut self,
        place: Place,
        key: &str,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) {
        self.refuse(place, key, Refusal::unshown(found, expected), "");
    }

    /// Notes that `value` was refused.
    pub(crate) fn refuse(&mut self, place: Place, key: &str, refusal: Refusal, value: &str) {
        self.problems.push(Problem {
            place,
            key: key.to_owned(),
            found: refusal.found.unwrap_or_else(|| quoted(value)),
            expected: refusal.expected,
            nearest: refusal.nearest,
        });
    }

    pub(crate) fn warn(&mut self, place: Place, key: &str, text: impl Into<String>) {
        self.warnings.push(Warning { place, key: key.to_owned(), text: text.into() });
    }

    pub(crate) fn holds(&mut self, key: &str, value: impl Into<String>, origin: Origin) {
        self.effective.push(Effective { key: key.to_owned(), value: value.into(), origin });
    }

    /// The folder of the settings file, which paths in it are relative to.
    pub(crate) fn folder(&self) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).to_owned()
    }

    /// A path of the file is relative to the file's folder, any other to the working directory.
    pub(crate) fn resolve(&self, path: &str, origin: &Origin) -> PathBuf {
        let base = match origin {
            Origin::File { .. } => self.folder(),
            _ => PathBuf::new(),
        };
        let joined = base.join(path);
        std::path::absolute(&joined).unwrap_or(joined)
    }
}

/// A value for a person: quoted, its control characters escaped, and cut after 80 characters.
pub(crate) fn quoted(value: &str) -> String {
    let mut shown: String = value.chars().take(80).flat_map(char::escape_debug).collect();
    if value.chars().count() > 80 {
        shown.push('…');
    }
    format!("\"{}\"", shown.replace("\\'", "'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_lines_and_characters_from_one() {
        let environment = Environment::default();
        let reading = Reading::new(Path::new("a.toml"), "ä = 1\nöü = 2\n", &environment);
        let at = |start: usize| reading.place(&(start..start)).to_string();
        assert_eq!(at(0), "a.toml:1:1");
        assert_eq!(at(7), "a.toml:2:1");
        assert_eq!(at(14), "a.toml:2:6");
        assert_eq!(at(999), "a.toml:3:1");
    }

    #[test]
    fn a_path_of_the_file_is_relative_to_the_files_folder() {
        let environment = Environment::default();
        let reading = Reading::new(Path::new("/etc/convault/convault.toml"), "", &environment);
        let of_file = Origin::File { file: "x".into(), line: 1 };
        assert_eq!(reading.resolve("ca.pem", &of_file), Path::new("/etc/convault/ca.pem"));
        assert_eq!(reading.resolve("/srv/x", &of_file), Path::new("/srv/x"));
        assert!(!reading.resolve("ca.pem", &Origin::Default).starts_with("/etc/convault"));
    }
}
