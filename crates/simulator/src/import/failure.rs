//! Why an import fails, in the words of the backend.

use std::fmt::Display;

/// The text that ends up as `error_message` of an import, or as the message of `ImportFailed`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ImportFailure {
    message: String,
}

impl ImportFailure {
    /// A failure whose text the backend shows as it is.
    pub(crate) fn plain(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }

    /// A failure that the backend introduces with its fixed first line.
    pub(crate) fn hit(message: impl Display) -> Self {
        Self { message: format!("Hit an error while importing:\n{message}") }
    }

    /// Row `row`, counted from 1, is not JSON.
    pub(crate) fn not_json(row: usize, reason: impl Display) -> Self {
        Self::plain(format!("Row {row} wasn't valid JSON: {reason}"))
    }

    /// Row `row`, counted from 1, is JSON and not a document.
    pub(crate) fn not_a_value(row: usize, reason: impl Display) -> Self {
        Self::plain(format!("Row {row} wasn't a valid Convex value: {reason}"))
    }

    /// The table is not empty, and the mode wants it to be.
    pub(crate) fn table_exists(table: &str) -> Self {
        Self::plain(format!(
            "Table {table} already exists. Please choose a new table name or use replace/append modes."
        ))
    }

    /// The IDs of `table` carry the number of `other`, which stays.
    pub(crate) fn number_taken(table: &str, other: &str) -> Self {
        Self::hit(format!(
            "New table `{table}` has IDs that conflict with existing table `{other}`. To delete all existing tables, \
             import with `npx convex import --replace-all`."
        ))
    }

    /// A document has an ID that another one has.
    pub(crate) fn document_exists(id: &str) -> Self {
        Self::hit(format!(
            "Cannot create document with _id {id} that already exists. Try to update it with `db.patch` or \
             `db.replace`."
        ))
    }
}
