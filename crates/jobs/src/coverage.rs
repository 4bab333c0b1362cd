//! What a manifest says was checked, and what it says is missing.

use convault_core::{Coverage, FilesMode, NotCovered};

/// What no snapshot of this version has, and why.
pub(crate) fn not_covered(files: FilesMode) -> Coverage {
    let missing = |what: &str, why: &str| NotCovered { what: what.to_owned(), why: why.to_owned() };
    let mut list = vec![
        missing("environment variables", "a Convex snapshot does not have them; keep them elsewhere"),
        missing("scheduled functions", "a Convex snapshot does not have pending jobs"),
        missing("code and configuration", "a Convex snapshot does not have them; keep the repository"),
    ];
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
    if files == FilesMode::Inline {
        list.push("every stored file compared with its SHA-256");
    }
    list.into_iter().map(str::to_owned).collect()
}
