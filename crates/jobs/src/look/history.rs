//! [`Life`]: what became of one document, from snapshot to snapshot.

use bytes::Bytes;
use convault_core::TableRef;

use super::{
    changes::{FieldChange, changes},
    lookup::Lookup,
};
use crate::{Content, JobError};

/// What a snapshot says of a document, beside the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LifeStep {
    /// It is there, and was not before.
    Appeared(Bytes),
    /// It is there, otherwise than before.
    Changed {
        /// The whole of it.
        line: Bytes,
        /// The fields that differ.
        changes: Vec<FieldChange>,
    },
    /// It is there as before.
    Same,
    /// It is not there any more.
    Vanished,
    /// It is not there, as before.
    Absent,
}

/// The life of a document, told from the oldest snapshot to the newest.
#[derive(Debug)]
pub struct Life {
    table: TableRef,
    id: String,
    lookup: Lookup,
    last: Option<Bytes>,
}

impl Life {
    /// Of the document of that id. Of a stored file, `table` is `_storage`, and it is its row that is told of.
    pub fn new(table: TableRef, id: impl Into<String>) -> Self {
        Self { table, id: id.into(), lookup: Lookup::new(), last: None }
    }

    /// Looks into the next snapshot.
    pub async fn look(&mut self, content: &Content<'_>) -> Result<LifeStep, JobError> {
        let line = self.lookup.document(content, &self.table, &self.id).await?;
        Ok(self.tell(line))
    }

    fn tell(&mut self, line: Option<Bytes>) -> LifeStep {
        let before = std::mem::replace(&mut self.last, line.clone());
        match (before, line) {
            (None, None) => LifeStep::Absent,
            (None, Some(line)) => LifeStep::Appeared(line),
            (Some(_), None) => LifeStep::Vanished,
            (Some(before), Some(line)) if before == line => LifeStep::Same,
            (Some(before), Some(line)) => LifeStep::Changed { changes: changes(&before, &line), line },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_told_by_what_is_new_in_it() {
        let mut life = Life::new(TableRef::new("", "t"), "a");
        let one = || Some(Bytes::from_static(br#"{"_id":"a","n":1}"#));
        let two = || Some(Bytes::from_static(br#"{"_id":"a","n":2}"#));
        assert_eq!(life.tell(None), LifeStep::Absent);
        assert_eq!(life.tell(one()), LifeStep::Appeared(one().unwrap()));
        assert_eq!(life.tell(one()), LifeStep::Same);
        let LifeStep::Changed { changes, .. } = life.tell(two()) else { panic!("it changed") };
        assert_eq!(changes[0].field, "n");
        assert_eq!(life.tell(None), LifeStep::Vanished);
        assert_eq!(life.tell(None), LifeStep::Absent);
        assert_eq!(life.tell(two()), LifeStep::Appeared(two().unwrap()));
    }
}
