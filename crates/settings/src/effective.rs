//! What holds in the end, and where each value came from.

use std::{fmt, path::PathBuf};

use serde::Serialize;

/// What stands in for a secret wherever settings are shown.
pub(crate) const REDACTED: &str = "[redacted]";

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "kebab-case")]
pub enum Origin {
    /// Nothing was said: the default, or what the other keys of its table imply.
    Default,
    /// A line of the settings file.
    File {
        /// Its path.
        file: PathBuf,
        /// From 1.
        line: usize,
    },
    /// A variable of the environment.
    Environment {
        /// Its name.
        variable: String,
    },
    /// A credential handed over by systemd.
    Credential {
        /// Its name, a file in `$CREDENTIALS_DIRECTORY`.
        name: String,
    },
    /// A file that holds one secret.
    SecretFile {
        /// Its path.
        path: PathBuf,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, line } => write!(f, "{}:{line}", file.display()),
            Self::Environment { variable } => write!(f, "env {variable}"),
            Self::Credential { name } => write!(f, "credential {name}"),
            Self::SecretFile { path } => write!(f, "file {}", path.display()),
        }
    }
}

/// One value that holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Effective {
    /// The key, such as `daemon.listen` or `job.nightly.keep.daily`.
    pub key: String,
    /// The value as it would be written, without quotes; `[redacted]` for a secret.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}
