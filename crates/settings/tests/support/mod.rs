//! Reading settings, and what is said about them.

use std::path::Path;

use convault_settings::{Environment, Settings};

/// Where the settings are said to be.
pub(crate) const FILE: &str = "/etc/convault/convault.toml";

/// What is made of `text`; a problem calls its file `FILE`.
pub(crate) fn settings_of(text: &str, environment: &Environment) -> Result<Settings, String> {
    Settings::parse(Path::new(FILE), text, environment)
        .map_err(|problems| problems.to_string().replace(FILE, "FILE"))
}

/// What is said about settings in which just one thing is wrong.
pub(crate) fn only_problem(all: &str) -> String {
    all.strip_prefix("1 problem in the settings:\n  ").unwrap_or_else(|| panic!("{all}")).to_owned()
}
