//! [`TableRef`]: which table of which component.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A table of a component. Written `table`, or `component/table`, or `outer/inner/table`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TableRef {
    /// The component's path, names joined by `/`; empty for the root.
    pub component: String,
    /// The table's name, `_storage` for the rows of stored files.
    pub table: String,
}

/// A text that names no table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` names no table; expected `table` or `component/table`, of letters, digits and `_`")]
pub struct ParseTableRefError {
    text: String,
}

impl TableRef {
    /// The table of that name in a component.
    pub fn new(component: impl Into<String>, table: impl Into<String>) -> Self {
        Self { component: component.into(), table: table.into() }
    }
}

impl FromStr for TableRef {
    type Err = ParseTableRefError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_name = |name: &str| {
            !name.is_empty()
                && name.len() <= 64
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        if !text.split('/').all(is_name) {
            return Err(ParseTableRefError { text: text.to_owned() });
        }
        let (component, table) = text.rsplit_once('/').unwrap_or(("", text));
        Ok(Self::new(component, table))
    }
}

impl TryFrom<String> for TableRef {
    type Error = ParseTableRefError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TableRef> for String {
    fn from(table: TableRef) -> Self {
        table.to_string()
    }
}

impl fmt::Display for TableRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.component.is_empty() {
            f.write_str(&self.table)
        } else {
            write!(f, "{}/{}", self.component, self.table)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_back_from_its_text() {
        for (text, component, table) in [
            ("contacts", "", "contacts"),
            ("mail/letters", "mail", "letters"),
            ("a/b/_storage", "a/b", "_storage"),
        ] {
            let parsed: TableRef = text.parse().unwrap();
            assert_eq!(parsed, TableRef::new(component, table));
            assert_eq!(parsed.to_string(), text);
        }
        for text in ["", "/", "a/", "a b", "a-b", "../x"] {
            assert!(text.parse::<TableRef>().is_err(), "{text}");
        }
    }
}
