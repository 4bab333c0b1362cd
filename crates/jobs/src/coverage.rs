//! What a manifest says was checked, and what it says is missing.

use convault_core::{Coverage, FilesMode, NotCovered, SurroundingName};

/// What a Convex snapshot leaves out, by the surrounding that would have it, and why it does.
const LEFT_OUT: [(&str, &str, &str); 3] = [
    ("environment", "environment variables", "a Convex snapshot does not have them; keep them elsewhere"),
    ("scheduled-functions", "scheduled functions", "a Convex snapshot does not have pending jobs"),
    ("code", "code and configuration", "a Convex snapshot does not have them; keep the repository"),
];

/// What a snapshot has not, and why, where these surroundings were asked for: what became of those is said elsewhere.
pub(crate) fn not_covered(files: FilesMode, surroundings: &[SurroundingName]) -> Coverage {
    let missing = |what: &str, why: &str| NotCovered { what: what.to_owned(), why: why.to_owned() };
    let is_asked_for = |name: &str| surroundings.iter().any(|surrounding| surrounding.as_str() == name);
    let left_out = LEFT_OUT.iter().filter(|(name, ..)| !is_asked_for(name));
    let mut list: Coverage = left_out.map(|(_, what, why)| missing(what, why)).collect();
    if files == FilesMode::None {
        list.push(missing("stored files", "the job leaves them out (files = \"none\")"));
    }
    list
}

/// The checks every byte of a snapshot has passed before its manifest is written.
pub(crate) fn checks(files: FilesMode) -> Vec<String> {
    let mut list = vec![
        "length as announced",
        "CRC-32 of every entry",
        "central directory equal to what was read",
        "every line a JSON object with an id",
        "every listed table present",
    ];
    match files {
        FilesMode::Inline => list.push("every stored file compared with its SHA-256"),
        FilesMode::Shared => list.push("every stored file that was fetched compared with its SHA-256"),
        FilesMode::None => {}
    }
    list.into_iter().map(str::to_owned).collect()
}
