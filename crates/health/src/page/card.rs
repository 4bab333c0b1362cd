//! A card: what is known of one thing, under its name and how it is to be seen.

use std::fmt::{self, Write as _};

use crate::{verdict::Verdict, words::Escaped};

/// The rows of a card, as HTML.
#[derive(Default)]
pub(super) struct Rows(String);

impl Rows {
    /// Adds a row; `value` is HTML.
    pub(super) fn add(&mut self, name: &str, value: impl fmt::Display) {
        write!(self.0, "<dt>{name}</dt><dd>{value}</dd>").expect("writing to a String cannot fail");
    }
}

/// One card; `note` is HTML below its rows.
pub(super) fn card(
    name: &impl fmt::Display,
    Verdict { class, word }: Verdict,
    is_running: bool,
    Rows(rows): Rows,
    note: &str,
) -> String {
    let running = if is_running { "<span class=\"pill info\">running</span> " } else { "" };
    let name = Escaped(name);
    format!(
        "<div class=\"card\"><div class=\"head\"><h3>{name}</h3><span>{running}<span class=\"pill {class}\">{word}</span>\
         </span></div><dl>{rows}</dl>{note}</div>"
    )
}

/// Cards below their heading; nothing where there are none.
pub(super) fn section(heading: &str, cards: impl Iterator<Item = String>) -> String {
    match cards.collect::<String>() {
        none if none.is_empty() => none,
        cards => format!("<h2>{heading}</h2><div class=\"cards\">{cards}</div>"),
    }
}
