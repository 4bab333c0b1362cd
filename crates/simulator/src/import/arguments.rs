//! What an import is asked to do.

use serde::Deserialize;

/// The arguments of an import, in the query of `/api/import` or the body of `/api/import/finish_upload`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImportArguments {
    pub(crate) table_name: Option<String>,
    pub(crate) component_path: Option<String>,
    #[serde(default)]
    pub(crate) mode: ImportMode,
    pub(crate) format: ImportFormat,
}

/// What happens to what is there already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ImportMode {
    Append,
    Replace,
    ReplaceAll,
    #[default]
    RequireEmpty,
}

/// What the uploaded bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ImportFormat {
    Csv,
    JsonLines,
    JsonArray,
    Zip,
}

/// Arguments that are refused at once: an error code and its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RefusedArguments {
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl ImportMode {
    /// The spelling in rows, which is not the one in requests.
    pub(crate) fn row_text(self) -> &'static str {
        match self {
            Self::Append => "Append",
            Self::Replace => "Replace",
            Self::ReplaceAll => "ReplaceAll",
            Self::RequireEmpty => "RequireEmpty",
        }
    }

    /// Whether the rows of a table of the file are deleted first.
    pub(crate) fn replaces(self) -> bool {
        matches!(self, Self::Replace | Self::ReplaceAll)
    }
}

impl ImportFormat {
    /// The spelling in rows, which is not the one in requests.
    pub(crate) fn row_text(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::JsonLines => "jsonl",
            Self::JsonArray => "json_array",
            Self::Zip => "zip",
        }
    }

    fn display_name(self) -> &'static str {
        match self {
            Self::Csv => "CSV",
            Self::JsonLines => "JSONL",
            Self::JsonArray => "JSON",
            Self::Zip => "ZIP",
        }
    }
}

impl ImportArguments {
    /// Refuses what the backend refuses before it looks at the uploaded bytes.
    pub(crate) fn check(&self) -> Result<(), RefusedArguments> {
        let refused = |code, message| Err(RefusedArguments { code, message });
        match (&self.table_name, self.format) {
            (Some(_), ImportFormat::Zip) => {
                refused("InvalidName", "ZIP import cannot have table name".to_owned())
            }
            (None, ImportFormat::Zip) => Ok(()),
            (None, format) => {
                refused("InvalidName", format!("{} import requires table name", format.display_name()))
            }
            (Some(name), _) => check_identifier(name).or_else(|reason| {
                refused("ImportInvalidName", format!("invalid table name {name}: {reason}"))
            }),
        }
    }

    /// The component that everything in the file is relative to; empty for the root.
    pub(crate) fn base_component(&self) -> &str {
        self.component_path.as_deref().unwrap_or("")
    }
}

const MAX_IDENTIFIER: usize = 64;

/// Says what is wrong with the name of a table or component (protocol notes, "Names and sizes").
pub(crate) fn check_identifier(name: &str) -> Result<(), String> {
    let Some(first) = name.chars().next() else { return Err("Identifier cannot be empty".to_owned()) };
    if !(first.is_ascii_alphabetic() || first == '_') {
        return Err(format!(
            "Identifier {name} has invalid first character '{first}': Identifiers must start with an alphabetic \
             character or underscore"
        ));
    }
    if let Some(wrong) = name.chars().find(|letter| !(letter.is_ascii_alphanumeric() || *letter == '_')) {
        return Err(format!(
            "Identifier {name} has invalid character '{wrong}': Identifiers can only contain alphanumeric characters \
             or underscores"
        ));
    }
    if name.len() > MAX_IDENTIFIER {
        return Err(format!("Identifier is too long ({} > maximum {MAX_IDENTIFIER})", name.len()));
    }
    if name.chars().all(|letter| letter == '_') {
        return Err(format!("Identifier {name} cannot have only underscores"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{ImportArguments, check_identifier};

    #[test]
    fn a_table_name_is_needed_except_for_a_zip() {
        let code =
            |json: &str| serde_json::from_str::<ImportArguments>(json).unwrap().check().unwrap_err().code;
        assert_eq!(code(r#"{"format":"jsonLines"}"#), "InvalidName");
        assert_eq!(code(r#"{"format":"zip","tableName":"x"}"#), "InvalidName");
        assert_eq!(code(r#"{"format":"csv","tableName":"bad name"}"#), "ImportInvalidName");
    }

    #[test]
    fn identifiers_are_letters_digits_and_underscores() {
        assert!(check_identifier("a_1").is_ok());
        for wrong in ["", "1a", "a b", "__", &"a".repeat(65)] {
            assert!(check_identifier(wrong).is_err(), "{wrong}");
        }
    }
}
