//! The environment, read once and handed in, so that tests need none of the process's.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt,
};

use convault_core::Secret;

/// The variables the settings may use. `Debug` prints names only, since values may be secrets.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
}

impl Environment {
    /// An environment of these names and values; of a name given twice the last one counts.
    pub fn new<N: Into<OsString>, V: Into<OsString>>(variables: impl IntoIterator<Item = (N, V)>) -> Self {
        Self { variables: variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect() }
    }

    /// The environment of this process. The only place that reads it.
    pub fn of_process() -> Self {
        Self::new(std::env::vars_os())
    }

    /// The key pair that tools for S3 read from `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`; `None` unless both
    /// are set and Unicode.
    pub fn aws_key_pair(&self) -> Option<(String, Secret)> {
        let text = |name| self.get(name).and_then(OsStr::to_str).map(str::to_owned);
        Some((text("AWS_ACCESS_KEY_ID")?, Secret::new(text("AWS_SECRET_ACCESS_KEY")?)))
    }

    /// Whether standard error goes to the journal: systemd sets `JOURNAL_STREAM` for its services.
    pub fn has_journal(&self) -> bool {
        self.get("JOURNAL_STREAM").is_some()
    }

    /// The value of a variable, of any encoding.
    pub(crate) fn get(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// The names that begin with `prefix`, sorted. Names that are not Unicode cannot be ours.
    pub(crate) fn names_with(&self, prefix: &str) -> impl Iterator<Item = &str> {
        self.variables.keys().filter_map(|name| name.to_str()).filter(move |name| name.starts_with(prefix))
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::Environment;

    #[test]
    fn an_environment_prints_no_values() {
        let environment = Environment::new([("KEY", "hunter2")]);
        assert_eq!(format!("{environment:?}"), r#"{"KEY"}"#);
    }
}
