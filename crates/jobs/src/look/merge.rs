//! Two tables side by side, as their lines come: both are in the order of their ids.

use std::{cmp::Ordering, future::Future};

use bytes::Bytes;

use super::token::id_of;
use crate::JobError;

/// Something that gives the lines of one table.
pub(crate) trait TableLines: Send {
    /// The next line, without its line feed; `None` after the last.
    fn next_line(&mut self) -> impl Future<Output = Result<Option<Bytes>, JobError>> + Send;

    /// What it is, for people.
    fn place(&self) -> String;
}

/// Lines of one id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Meeting {
    /// Only the first table has it.
    First(Bytes),
    /// Only the second one has it.
    Second(Bytes),
    /// Both have it.
    Both(Bytes, Bytes),
}

/// Two tables side by side. Holds a line of each.
pub(crate) struct Merge<A, B> {
    first: Ordered<A>,
    second: Ordered<B>,
}

impl<A: TableLines, B: TableLines> Merge<A, B> {
    pub(crate) fn new(first: A, second: B) -> Self {
        Self { first: Ordered::new(first), second: Ordered::new(second) }
    }

    /// The lines of the next id, ascending; `None` after the last. Lines that are not in the order of their ids are an
    /// error.
    pub(crate) async fn next(&mut self) -> Result<Option<Meeting>, JobError> {
        self.first.fill().await?;
        self.second.fill().await?;
        let order = match (&self.first.next, &self.second.next) {
            (None, None) => return Ok(None),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((one, _)), Some((two, _))) => one.cmp(two),
        };
        let one = if order.is_le() { self.first.take() } else { None };
        let two = if order.is_ge() { self.second.take() } else { None };
        Ok(match (one, two) {
            (Some(one), Some(two)) => Some(Meeting::Both(one, two)),
            (Some(one), None) => Some(Meeting::First(one)),
            (None, two) => two.map(Meeting::Second),
        })
    }
}

/// Lines that are made sure to ascend.
struct Ordered<S> {
    source: S,
    last: String,
    next: Option<(String, Bytes)>,
    ended: bool,
}

impl<S: TableLines> Ordered<S> {
    fn new(source: S) -> Self {
        Self { source, last: String::new(), next: None, ended: false }
    }

    async fn fill(&mut self) -> Result<(), JobError> {
        if self.next.is_some() || self.ended {
            return Ok(());
        }
        let Some(line) = self.source.next_line().await? else {
            self.ended = true;
            return Ok(());
        };
        let id = id_of(&line).ok_or_else(|| JobError::Damaged {
            place: self.source.place(),
            what: "a line of it is no document with an `_id`".to_owned(),
        })?;
        if id <= self.last {
            return Err(JobError::Disordered { place: self.source.place(), id });
        }
        self.next = Some((id, line));
        Ok(())
    }

    fn take(&mut self) -> Option<Bytes> {
        let (id, line) = self.next.take()?;
        self.last = id;
        Some(line)
    }
}

/// Lines that are in memory.
pub(crate) struct Held {
    lines: std::vec::IntoIter<Bytes>,
    place: String,
}

impl Held {
    /// Lines in the order of their ids.
    pub(crate) fn new(lines: Vec<Bytes>, place: impl Into<String>) -> Self {
        Self { lines: lines.into_iter(), place: place.into() }
    }
}

impl TableLines for Held {
    async fn next_line(&mut self) -> Result<Option<Bytes>, JobError> {
        Ok(self.lines.next())
    }

    fn place(&self) -> String {
        self.place.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn held(documents: &BTreeMap<String, u8>) -> Held {
        let line = |(id, n): (&String, &u8)| Bytes::from(format!(r#"{{"_id":"{id}","n":{n}}}"#));
        Held::new(documents.iter().map(line).collect(), "a table")
    }

    async fn all(mut merge: Merge<Held, Held>) -> Result<Vec<Meeting>, JobError> {
        let mut found = Vec::new();
        while let Some(meeting) = merge.next().await? {
            found.push(meeting);
        }
        Ok(found)
    }

    fn wait<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
    }

    proptest! {
        #[test]
        fn every_id_of_either_table_comes_once_and_in_order(
            first in prop::collection::btree_map("[a-f]{1,3}", any::<u8>(), 0..30),
            second in prop::collection::btree_map("[a-f]{1,3}", any::<u8>(), 0..30),
        ) {
            let found = wait(all(Merge::new(held(&first), held(&second)))).unwrap();
            let ids: Vec<String> = found.iter().map(|meeting| match meeting {
                Meeting::First(line) | Meeting::Second(line) | Meeting::Both(line, _) => id_of(line).unwrap(),
            }).collect();
            let mut expected: Vec<String> = first.keys().chain(second.keys()).cloned().collect();
            expected.sort();
            expected.dedup();
            prop_assert_eq!(&ids, &expected);
            for (id, meeting) in ids.iter().zip(&found) {
                let is_right = match meeting {
                    Meeting::First(_) => first.contains_key(id) && !second.contains_key(id),
                    Meeting::Second(_) => second.contains_key(id) && !first.contains_key(id),
                    Meeting::Both(one, two) => {
                        first.contains_key(id) && second.contains_key(id) && ((one == two) == (first[id] == second[id]))
                    }
                };
                prop_assert!(is_right, "{}", id);
            }
        }
    }

    #[test]
    fn lines_that_do_not_ascend_are_an_error() {
        let line = |id: &str| Bytes::from(format!(r#"{{"_id":"{id}"}}"#));
        for lines in [vec![line("b"), line("a")], vec![line("a"), line("a")]] {
            let merge = Merge::new(Held::new(lines, "here"), Held::new(Vec::new(), "there"));
            let error = wait(all(merge)).unwrap_err();
            assert!(matches!(error, JobError::Disordered { place, .. } if place == "here"));
        }
    }
}
