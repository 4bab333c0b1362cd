//! [`Sieve`]: lines on their way out, one by one: left out, changed, or passed on as they are.

use std::{cmp::Reverse, collections::HashSet, ops::Range};

use bytes::Bytes;
use convault_archive::{Line, LineProblem, NamesKey};
use convault_core::Mask;

use super::rules::RuleCounts;

/// What masks hash for, under the names key.
const PURPOSE: &str = "mask";

/// What is done to the lines of one entry.
#[derive(Debug)]
pub(super) struct Sieve<'c> {
    keeps: Keeps<'c>,
    masks: Vec<Masking<'c>>,
    key: &'c NamesKey,
    /// What was done.
    pub(super) counts: RuleCounts,
}

/// Which lines stay.
#[derive(Debug)]
pub(super) enum Keeps<'c> {
    All,
    /// All but those with one of these ids.
    Without(&'c HashSet<&'c str>),
    /// Those with one of these names.
    Named(HashSet<&'c str>),
    /// The first, which says what the types of a table are, and of the others, which are each for one document, those
    /// that are not for one of these; without any, the first only.
    Shapes {
        seen: bool,
        dropped: Option<&'c HashSet<&'c str>>,
    },
}

#[derive(Debug)]
struct Masking<'c> {
    path: Vec<&'c str>,
    mask: &'c Mask,
}

impl<'c> Sieve<'c> {
    pub(super) fn new(keeps: Keeps<'c>, masks: &[&'c Mask], key: &'c NamesKey) -> Self {
        let masking = |mask: &&'c Mask| Masking { path: mask.field.names().collect(), mask };
        Self { keeps, masks: masks.iter().map(masking).collect(), key, counts: RuleCounts::default() }
    }

    /// What becomes of one line; `None` where it is left out.
    pub(super) fn pass(&mut self, line: Bytes) -> Result<Option<Bytes>, LineProblem> {
        if matches!(self.keeps, Keeps::All) && self.masks.is_empty() {
            return Ok(Some(line));
        }
        if !self.keeps(&line)? {
            self.counts.dropped += 1;
            return Ok(None);
        }
        if self.masks.is_empty() { Ok(Some(line)) } else { self.masked(line).map(Some) }
    }

    fn keeps(&mut self, line: &[u8]) -> Result<bool, LineProblem> {
        match &mut self.keeps {
            Keeps::All => Ok(true),
            Keeps::Without(ids) => {
                let line = Line::parse(line)?;
                let id = line.text(&["_id"]).ok_or(LineProblem::NoId)?;
                Ok(!ids.contains(id.as_ref()))
            }
            Keeps::Named(names) => {
                let line = Line::parse(line)?;
                let name = line.text(&["name"]).ok_or(LineProblem::BadField)?;
                Ok(names.contains(name.as_ref()))
            }
            Keeps::Shapes { seen, dropped } => {
                if !*seen {
                    *seen = true;
                    return Ok(true);
                }
                let Some(dropped) = dropped else { return Ok(false) };
                let line = Line::parse(line)?;
                Ok(!line.fields().any(|(id, _)| dropped.contains(id.as_ref())))
            }
        }
    }

    fn masked(&mut self, bytes: Bytes) -> Result<Bytes, LineProblem> {
        let line = Line::parse(&bytes)?;
        let mut changes: Vec<(Range<usize>, Vec<u8>)> = Vec::new();
        for Masking { path, mask } in &self.masks {
            for span in line.spans(path) {
                if let Some(whole) = mask.with.whole() {
                    changes.push((span, whole.to_vec()));
                    continue;
                }
                for leaf in line.leaves(span) {
                    let hash = |value: &[u8]| self.key.hash(PURPOSE, &[value]);
                    let replaced = mask.with.replaced(&bytes[leaf.clone()], hash);
                    changes.push((leaf, replaced));
                }
            }
        }
        keep_widest(&mut changes);
        if changes.is_empty() {
            return Ok(bytes);
        }
        self.counts.masked += changes.len() as u64;
        Ok(line.splice(&changes).into())
    }
}

/// Puts changes in order. Of two at one place the wider counts, and of equally wide ones the first: values lie in each
/// other or apart.
fn keep_widest(changes: &mut Vec<(Range<usize>, Vec<u8>)>) {
    changes.sort_by_key(|(span, _)| (span.start, Reverse(span.end)));
    let mut end = 0;
    changes.retain(|(span, _)| {
        let is_free = span.start >= end;
        end = end.max(span.end);
        is_free
    });
}

#[cfg(test)]
mod tests {
    use convault_core::{MaskWith, TableRef};

    use super::*;

    fn mask(field: &str, with: MaskWith) -> Mask {
        Mask { table: TableRef::new("", "t"), field: field.parse().unwrap(), with }
    }

    fn pass(sieve: &mut Sieve<'_>, line: &'static str) -> Option<String> {
        let line = sieve.pass(Bytes::from_static(line.as_bytes())).unwrap();
        line.map(|line| String::from_utf8(line.to_vec()).unwrap())
    }

    #[test]
    fn of_masks_on_one_value_the_wider_counts() {
        let key = NamesKey::generate();
        let masks =
            [mask("a.b", MaskWith::Fixed("1".into())), mask("a", MaskWith::Null), mask("a", MaskWith::Hash)];
        let masks: Vec<&Mask> = masks.iter().collect();
        let mut sieve = Sieve::new(Keeps::All, &masks, &key);
        assert_eq!(pass(&mut sieve, r#"{"a":{"b":2,"c":3},"z":1.0}"#).unwrap(), r#"{"a":null,"z":1.0}"#);
        assert_eq!(sieve.counts, RuleCounts { dropped: 0, masked: 1 });
    }

    #[test]
    fn equal_values_have_equal_hashes_wherever_they_are() {
        let key = NamesKey::generate();
        let masks = [mask("a", MaskWith::Hash), mask("to.mail", MaskWith::Hash)];
        let masks: Vec<&Mask> = masks.iter().collect();
        let mut sieve = Sieve::new(Keeps::All, &masks, &key);
        let line = pass(&mut sieve, r#"{"a":["x","y"],"to":[{"mail":"x"},{"mail":"z"},{}],"n":10}"#).unwrap();
        let line = Line::parse(line.as_bytes()).unwrap();
        let text = |path: &[&str], at: usize| line.splice(&[])[line.spans(path)[at].clone()].to_vec();
        let elements = line.leaves(line.span(&["a"]).unwrap());
        assert_eq!(line.splice(&[])[elements[0].clone()].to_vec(), text(&["to", "mail"], 0));
        assert_ne!(text(&["to", "mail"], 0), text(&["to", "mail"], 1));
        assert_eq!(line.raw(&["n"]).unwrap(), b"10");
        assert_eq!(sieve.counts.masked, 4);
    }

    #[test]
    fn shapes_of_left_out_documents_go_with_them() {
        let key = NamesKey::generate();
        let dropped = HashSet::from(["k1"]);
        let mut sieve = Sieve::new(Keeps::Shapes { seen: false, dropped: Some(&dropped) }, &[], &key);
        assert!(pass(&mut sieve, r#""{\"a\": int64}""#).is_some());
        assert!(pass(&mut sieve, r#"{"k1":"int64"}"#).is_none());
        assert!(pass(&mut sieve, r#"{"k2":"int64"}"#).is_some());
    }

    #[test]
    fn a_line_that_cannot_be_read_is_an_error() {
        let (key, dropped) = (NamesKey::generate(), HashSet::from(["k1"]));
        let mut sieve = Sieve::new(Keeps::Without(&dropped), &[], &key);
        assert_eq!(sieve.pass(Bytes::from_static(b"{\"_id\":\"k1\"")), Err(LineProblem::NotJson));
        assert_eq!(sieve.pass(Bytes::from_static(b"{}")), Err(LineProblem::NoId));
    }
}
