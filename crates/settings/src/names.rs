//! The names of one kind of table: each is given once, and references go to one that is there.

use convault_core::InvalidName;

use crate::{
    keys::Form,
    nearest::nearest,
    problem::Place,
    reading::{Reading, Refusal},
    section::Section,
};

/// The names read so far, with where they stand.
pub(crate) struct Names<N> {
    title: &'static str,
    make: fn(&str) -> Result<N, InvalidName>,
    seen: Vec<(String, Place)>,
    /// How many tables there were, those with a wrong name included.
    tables: usize,
}

impl<N> Names<N> {
    pub(crate) fn new(title: &'static str, make: fn(&str) -> Result<N, InvalidName>) -> Self {
        Self { title, make, seen: vec![], tables: 0 }
    }

    /// Reads `name` of a table, and notes it even where the rest of the table is wrong, so that references to it
    /// are not called wrong too.
    pub(crate) fn read(&mut self, section: &Section<'_>, reading: &mut Reading<'_>) -> Option<N> {
        let place = section.place_of(reading, "name");
        self.tables += 1;
        let make = self.make;
        let seen = &mut self.seen;
        let title = self.title;
        section.parsed(reading, "name", |_, text, _| {
            let name = make(text).map_err(|_| Refusal::expected(Form::Name.expected()))?;
            if let Some((_, first)) = seen.iter().find(|(other, _)| other == text) {
                return Err(Refusal::expected(format!(
                    "a name that no other {title} has; this one is at {first}"
                )));
            }
            seen.push((text.to_owned(), place));
            Ok(name)
        })
    }

    /// Takes `text` as a reference to one of the names.
    pub(crate) fn refer(&self, text: &str) -> Result<N, Refusal> {
        let known = || self.seen.iter().map(|(name, _)| name.as_str());
        let refusal = || Refusal {
            found: None,
            expected: match known().collect::<Vec<_>>().join(", ") {
                none if none.is_empty() && self.tables == 0 => {
                    format!("the name of a {}, but there is none", self.title)
                }
                none if none.is_empty() => format!("the name of a {}", self.title),
                names => format!("the name of a {}: {names}", self.title),
            },
            nearest: nearest(text, known()).map(str::to_owned),
        };
        if known().any(|name| name == text) {
            (self.make)(text).map_err(|_| refusal())
        } else {
            Err(refusal())
        }
    }
}
