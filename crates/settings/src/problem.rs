//! What is wrong with the settings: where, what was found there, and what was expected.

use std::{fmt, path::PathBuf};

use serde::Serialize;

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "place", rename_all = "kebab-case")]
pub enum Place {
    /// A settings file as a whole.
    File {
        /// Its path.
        file: PathBuf,
    },
    /// A position in a settings file.
    Position {
        /// The file's path.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
    },
    /// A variable of the environment.
    Environment {
        /// Its name.
        variable: String,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file } => write!(f, "{}", file.display()),
            Self::Position { file, line, column } => write!(f, "{}:{line}:{column}", file.display()),
            Self::Environment { variable } => write!(f, "environment ${variable}"),
        }
    }
}

/// One thing that is wrong with the settings. No field ever holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where it is.
    pub place: Place,
    /// The key, such as `job.nightly.schedule`; empty where the file could not be read or is not TOML.
    pub key: String,
    /// What was found, as a phrase: a quoted value, `nothing`, `an unknown key`.
    pub found: String,
    /// What was expected, as a phrase.
    pub expected: String,
    /// The nearest word that would have been right.
    pub nearest: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "found {}; expected {}", self.found, self.expected)?;
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean `{nearest}`?"),
            None => Ok(()),
        }
    }
}

/// Every problem of the settings, in the order of the file, then those of the environment. Never empty.
///
/// `Display` is one line for the number and one for each problem, without a line feed at the end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", as_lines(.0))]
pub struct SettingsProblems(pub Vec<Problem>);

fn as_lines(problems: &[Problem]) -> String {
    let number = match problems.len() {
        1 => "1 problem in the settings:".to_owned(),
        many => format!("{many} problems in the settings:"),
    };
    problems.iter().fold(number, |lines, problem| format!("{lines}\n  {problem}"))
}

/// Something that works but that a person should know: a risk the settings take on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// Where it is.
    pub place: Place,
    /// The key, such as `daemon.listen`.
    pub key: String,
    /// What, and the remedy; a sentence without a full stop.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.place, self.key, self.text)
    }
}
