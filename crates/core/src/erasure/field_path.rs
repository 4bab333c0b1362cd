//! [`FieldPath`]: which field of a document.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A field of a document, or one inside another: `email`, `address.city`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FieldPath(Vec<String>);

/// A text that names no field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` names no field; expected `field`, or `field.field` for one inside another")]
pub struct ParseFieldPathError {
    text: String,
}

impl FieldPath {
    /// The names on the way to it, at least one.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl FromStr for FieldPath {
    type Err = ParseFieldPathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_name = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_graphic() && !b":=\"".contains(&byte))
                && !name.starts_with('$')
        };
        if text.len() > 1024 || !text.split('.').all(is_name) {
            return Err(ParseFieldPathError { text: text.chars().take(100).collect() });
        }
        Ok(Self(text.split('.').map(str::to_owned).collect()))
    }
}

impl TryFrom<String> for FieldPath {
    type Error = ParseFieldPathError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<FieldPath> for String {
    fn from(path: FieldPath) -> Self {
        path.to_string()
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}
