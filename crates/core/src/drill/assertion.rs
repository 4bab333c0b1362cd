//! [`Assertion`]: what else must hold of what was restored, in the user's words.

use std::{fmt, time::Duration};

use crate::TableRef;

/// What must hold after a drill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assertion {
    /// A table has at least so many documents, by the scratch deployment's own count.
    MinDocuments {
        /// Which table.
        table: TableRef,
        /// How many.
        documents: u64,
    },
    /// The newest document of a table, by its `_creationTime`, was made no longer than this before the drill began.
    NewestYoungerThan {
        /// Which table.
        table: TableRef,
        /// How long ago at most.
        age: Duration,
    },
    /// Every id in a field names a document of another table. A field that is missing or `null` refers to nothing; one
    /// that is a list refers to each of its ids.
    References {
        /// Which table.
        table: TableRef,
        /// The field, `a.b` for one inside another.
        field: String,
        /// The table that the ids are of; `_storage` for stored files.
        to: TableRef,
    },
    /// A query function of the scratch deployment's own code succeeds.
    Query {
        /// `dir/file:name`.
        function: String,
        /// Its arguments, a JSON object.
        arguments: String,
    },
    /// A page answers as it should.
    Http {
        /// Its address, without credentials.
        url: String,
        /// The status it answers with.
        status: u16,
        /// What its first MiB contains.
        contains: Option<String>,
    },
}

impl fmt::Display for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MinDocuments { table, documents } => {
                write!(f, "{table} has at least {documents} documents")
            }
            Self::NewestYoungerThan { table, age } => {
                write!(f, "the newest document of {table} is younger than {}", length(*age))
            }
            Self::References { table, field, to } => {
                write!(f, "every id in {field} of {table} is that of a document of {to}")
            }
            Self::Query { function, .. } => write!(f, "the query {function} succeeds"),
            Self::Http { url, status, contains: None } => write!(f, "{url} answers with {status}"),
            Self::Http { url, status, contains: Some(text) } => {
                write!(f, "{url} answers with {status} and `{text}`")
            }
        }
    }
}

/// A length of time in the largest unit that tells all of it.
fn length(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "min")];
    let whole = units.into_iter().find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{seconds} s"), |(unit, name)| format!("{} {name}", seconds / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_as_a_person_wrote_it() {
        let says = |seconds| {
            let age = Duration::from_secs(seconds);
            Assertion::NewestYoungerThan { table: TableRef::new("", "contacts"), age }.to_string()
        };
        assert_eq!(says(2 * 86_400), "the newest document of contacts is younger than 2 d");
        assert_eq!(says(36 * 3600), "the newest document of contacts is younger than 36 h");
        assert!(says(90).ends_with("younger than 90 s") && says(600).ends_with("younger than 10 min"));
    }
}
