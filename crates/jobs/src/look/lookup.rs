//! Documents by their ids, in one snapshot after another.

use std::collections::BTreeMap;

use bytes::Bytes;
use convault_core::{Sha256, TableRef};

use super::{
    id::table_number,
    token::{Token, members},
};
use crate::{Content, JobError};

/// The table number of stored files, in every component.
const STORAGE: u32 = 540;
/// What is remembered at most; what is more is looked up again.
const MOST_KNOWN: usize = 10_000;

/// Looks documents up by their ids. A table that has the same SHA-256 in several snapshots is read in one of them.
#[derive(Debug, Default)]
pub struct Lookup {
    known: BTreeMap<(TableRef, Sha256, String), Option<Bytes>>,
}

impl Lookup {
    /// Nothing is known yet. What is learnt holds as long as rules are the same, but for what is erased.
    pub fn new() -> Self {
        Self::default()
    }

    /// The document of that id, or the row of the stored file.
    pub async fn document(
        &mut self,
        content: &Content<'_>,
        table: &TableRef,
        id: &str,
    ) -> Result<Option<Bytes>, JobError> {
        let erased = &content.rules().erased;
        let place = (table.component.clone(), id.to_owned());
        if erased.documents.contains(&place) || table.table == "_storage" && erased.files.contains(&place) {
            return Ok(None);
        }
        let Some(entry) = content.table_entry(table).await? else {
            // Where stored files are shared, the ZIP has no rows.
            return content.document(table, id).await;
        };
        let key = (table.clone(), entry.sha256, id.to_owned());
        if let Some(line) = self.known.get(&key) {
            return Ok(line.clone());
        }
        let line = content.document(table, id).await?;
        if self.known.len() < MOST_KNOWN {
            self.known.insert(key, line.clone());
        }
        Ok(line)
    }
}

/// The tables that a document of that id can be in: those of its number, in every component.
pub(crate) async fn tables_of(content: &Content<'_>, id: &str) -> Result<Vec<TableRef>, JobError> {
    let Some(number) = table_number(id) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for component in content.components().await? {
        if number == STORAGE {
            found.push(TableRef::new(&component, "_storage"));
            continue;
        }
        let list = TableRef::new(&component, "_tables");
        let Some(mut lines) = content.lines(&list).await? else { continue };
        while let Some(line) = lines.next().await? {
            if let Some((name, listed)) = listed(&line)
                && listed == number
            {
                found.push(TableRef::new(&component, name));
            }
        }
    }
    Ok(found)
}

/// Name and number in a line of `_tables`.
fn listed(line: &[u8]) -> Option<(String, u32)> {
    let (mut name, mut number) = (None, None);
    for (key, raw) in members(line)? {
        match (key.as_ref(), Token::of(raw.as_bytes())?) {
            ("name", Token::Text(text)) => name = Some(text.into_owned()),
            ("id", Token::Int64(text)) => number = text.parse().ok(),
            // Any JSON number will do for an import, so it does here.
            ("id", Token::Float64(text)) => {
                number = text.strip_suffix(".0").and_then(|text| text.parse().ok());
            }
            _ => {}
        }
    }
    Some((name?, number?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_tables_gives_names_and_numbers() {
        assert_eq!(listed(br#"{"name":"messages","id":10001}"#), Some(("messages".to_owned(), 10_001)));
        assert_eq!(listed(br#"{"id":10001.0,"name":"a"}"#), Some(("a".to_owned(), 10_001)));
        assert_eq!(listed(br#"{"name":"a"}"#), None);
    }
}
