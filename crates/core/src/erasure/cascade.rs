//! [`Cascade`]: which documents go with those that are erased.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{FieldPath, TableRef};

/// Of the two tables of a cascade, the one whose documents have the field with the ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CascadeSide {
    /// The erased documents name those that go with them.
    From,
    /// Those that go with them name the erased ones.
    To,
}

/// Documents of one table that go with erased documents of another, by a field with an id or an array of ids. Written
/// `contacts:messages.contactId` where the field is in what follows, `messages.imageIds:images` where it is in what is
/// erased. The table `_storage` stands for stored files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cascade {
    /// Whose documents are erased.
    pub from: TableRef,
    /// Whose documents go with them.
    pub to: TableRef,
    /// The field with the ids.
    pub field: FieldPath,
    /// Which of the two has the field.
    pub side: CascadeSide,
}

/// A text that is no cascade.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no cascade; expected `contacts:messages.contactId` (messages that name an erased contact) or \
     `messages.imageIds:images` (images that an erased message names); `_storage` stands for stored files"
)]
pub struct ParseCascadeError {
    text: String,
}

impl FromStr for Cascade {
    type Err = ParseCascadeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseCascadeError { text: text.chars().take(200).collect() };
        let (from, to) = text.split_once(':').ok_or_else(wrong)?;
        let side = |text: &str| -> Option<(TableRef, Option<FieldPath>)> {
            match text.trim().split_once('.') {
                Some((table, field)) => Some((table.parse().ok()?, Some(field.parse().ok()?))),
                None => Some((text.trim().parse().ok()?, None)),
            }
        };
        match (side(from).ok_or_else(wrong)?, side(to).ok_or_else(wrong)?) {
            ((from, Some(field)), (to, None)) => Ok(Self { from, to, field, side: CascadeSide::From }),
            ((from, None), (to, Some(field))) => Ok(Self { from, to, field, side: CascadeSide::To }),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Cascade {
    type Error = ParseCascadeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Cascade> for String {
    fn from(cascade: Cascade) -> Self {
        cascade.to_string()
    }
}

impl fmt::Display for Cascade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, field, side } = self;
        match side {
            CascadeSide::From => write!(f, "{from}.{field}:{to}"),
            CascadeSide::To => write!(f, "{from}:{to}.{field}"),
        }
    }
}

impl Cascade {
    /// Those of `known` that can matter where documents of `tables` are erased, in their order.
    pub fn reachable(known: &[Self], tables: impl IntoIterator<Item = TableRef>) -> Vec<Self> {
        let mut reached: std::collections::BTreeSet<TableRef> = tables.into_iter().collect();
        loop {
            let before = reached.len();
            let following = known.iter().filter(|cascade| reached.contains(&cascade.from));
            let following: Vec<TableRef> = following.map(|cascade| cascade.to.clone()).collect();
            reached.extend(following);
            if reached.len() == before {
                return known.iter().filter(|cascade| reached.contains(&cascade.from)).cloned().collect();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cascade_is_read_back_from_its_text() {
        for (text, from, to, field, side) in [
            ("contacts:messages.contactId", "contacts", "messages", "contactId", CascadeSide::To),
            ("messages.imageIds:images", "messages", "images", "imageIds", CascadeSide::From),
            ("contacts.avatar.file:_storage", "contacts", "_storage", "avatar.file", CascadeSide::From),
            ("mail/letters:mail/_storage.letter", "mail/letters", "mail/_storage", "letter", CascadeSide::To),
        ] {
            let cascade: Cascade = text.parse().unwrap();
            let parts = (cascade.from.to_string(), cascade.to.to_string(), cascade.field.to_string());
            assert_eq!(parts, (from.to_owned(), to.to_owned(), field.to_owned()));
            assert_eq!((cascade.side, cascade.to_string()), (side, text.to_owned()));
        }
        for text in ["", "a", "a:b", "a.b:c.d", "a:b.", "a.:b", "a:b.c:d", "a b:c.d", "a:b.$c"] {
            assert!(text.parse::<Cascade>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_what_can_be_reached_is_kept() {
        let parse = |text: &&str| text.parse::<Cascade>().unwrap();
        let known: Vec<Cascade> =
            ["messages.images:images", "contacts:messages.contact", "orders:items.order"]
                .iter()
                .map(parse)
                .collect();
        assert_eq!(Cascade::reachable(&known, [TableRef::new("", "contacts")]), known[..2]);
        assert_eq!(Cascade::reachable(&known, [TableRef::new("", "items")]), []);
    }
}
