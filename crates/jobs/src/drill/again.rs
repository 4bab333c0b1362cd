//! A second look at a table that came back changed: which document, and which of its fields.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::{Arc, Mutex, PoisonError},
};

use convault_archive::Line;
use convault_core::{ContentSummary, Export, Source, TableRef};

use super::{reexport::stream, values};
use crate::{Content, JobError, RunContext, changes};

/// So many documents of a table are looked at, each by eight bytes that are held in memory.
const MOST_LINES: usize = 2 << 20;
/// So many fields are named.
const FIELDS_NAMED: usize = 5;

/// The first document that came back otherwise.
#[derive(Default)]
struct Found {
    hasher: RandomState,
    sent: Vec<u64>,
    next: usize,
    first: Option<(usize, Vec<u8>)>,
}

impl Found {
    fn see(&mut self, line: &[u8]) {
        let same = self.sent.get(self.next).is_some_and(|sent| *sent == self.hasher.hash_one(line));
        if !same && self.first.is_none() && self.next < self.sent.len() {
            self.first = Some((self.next, line.to_vec()));
        }
        self.next += 1;
    }
}

/// Names the first document of `table` that came back otherwise than it was sent, and its fields: never a value, since
/// proofs stay when data has to go. `None` where it is not among the first ones.
pub(super) async fn first_difference(
    outgoing: &Content<'_>,
    source: &dyn Source,
    export: &Export,
    table: &TableRef,
    context: &RunContext,
) -> Result<Option<String>, JobError> {
    let mut found = Found::default();
    let Some(mut lines) = outgoing.lines(table).await? else { return Ok(None) };
    while let Some(line) = context.or_stop(lines.next()).await?? {
        if found.sent.len() == MOST_LINES {
            break;
        }
        let hash = found.hasher.hash_one(line.as_ref());
        found.sent.push(hash);
    }
    let found = Arc::new(Mutex::new(found));
    let (seen, wanted) = (Arc::clone(&found), table.clone());
    let take = move |component: &str, name: &str, line: &[u8]| {
        if component == wanted.component && name == wanted.table {
            seen.lock().unwrap_or_else(PoisonError::into_inner).see(line);
        }
    };
    let mut ignored = ContentSummary::default();
    stream(source, export, |reader| reader.with_lines(take), &mut ignored, context).await?;
    let first = found.lock().unwrap_or_else(PoisonError::into_inner).first.take();
    let Some((number, came_back)) = first else { return Ok(None) };
    let Some(mut lines) = outgoing.lines(table).await? else { return Ok(None) };
    let mut sent = None;
    for _ in 0..=number {
        sent = context.or_stop(lines.next()).await??;
    }
    Ok(sent.map(|sent| words(&sent, &came_back)))
}

/// What differs between a document as it was sent and as it came back.
fn words(sent: &[u8], came_back: &[u8]) -> String {
    let id = |line: &[u8]| Some(Line::parse(line).ok()?.text(&["_id"])?.into_owned());
    let (Some(sent_id), came_back_id) = (id(sent), id(came_back)) else {
        return "the first of them has no _id".to_owned();
    };
    if came_back_id.as_ref() != Some(&sent_id) {
        return format!("the first: document {sent_id} did not come back in its place");
    }
    let types_only = values::digest(sent) == values::digest(came_back);
    let fields: Vec<String> = changes(sent, came_back).into_iter().map(|change| change.field).collect();
    let more = match fields.len().saturating_sub(FIELDS_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named =
        fields.iter().take(FIELDS_NAMED).map(|field| format!("`{field}`")).collect::<Vec<_>>().join(", ");
    let what = match types_only {
        _ if fields.is_empty() => "the same values, written otherwise".to_owned(),
        true => format!(
            "the same value, of another type, in {named}{more}: Int64 and Float64 are told apart no more"
        ),
        false => format!("another value in {named}{more}"),
    };
    format!("the first: document {sent_id}: {what}")
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn a_changed_token_and_a_lost_type_are_told_apart_and_no_value_is_told() {
        let sent = br#"{"_id":"k1","a":{"b":12345},"c":1}"#;
        let lost = words(sent, br#"{"_id":"k1","a":{"b":12345.0},"c":1.0}"#);
        assert!(lost.contains("document k1: the same value, of another type, in `a.b`, `c`"), "{lost}");
        let changed = words(sent, br#"{"_id":"k1","a":{"b":12346},"c":1}"#);
        assert!(changed.ends_with("document k1: another value in `a.b`"), "{changed}");
        assert!(!changed.contains("1234"), "{changed}");
        let gone = words(sent, br#"{"_id":"k2","a":1}"#);
        assert!(gone.contains("document k1 did not come back"), "{gone}");
    }
}
