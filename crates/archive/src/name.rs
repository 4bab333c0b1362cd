//! Entry names: which are refused, and what the others stand for.

use convault_core::EntryKind;

use crate::{ArchiveError, NameProblem};

/// The longest entry name read, bytes. Convex names are at most 64 characters a level.
pub(crate) const MAX_NAME_BYTES: u16 = 4096;

/// An entry name that is safe to use as a path, and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EntryName {
    /// The whole name.
    pub(crate) full: String,
    /// What the entry is.
    pub(crate) kind: EntryKind,
    /// Component path, names joined by `/`; empty for the root.
    pub(crate) component: String,
    /// The table of a documents or schema entry, or the storage id of a file; empty otherwise.
    pub(crate) subject: String,
}

impl EntryName {
    /// Reads a name as its bytes stand in the ZIP.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ArchiveError> {
        let unsafe_name = |problem| {
            let name = String::from_utf8_lossy(bytes).escape_debug().take(200).collect();
            ArchiveError::UnsafeName { name, problem }
        };
        let full = std::str::from_utf8(bytes).map_err(|_| unsafe_name(NameProblem::NotUtf8))?;
        problem_of(full).map_or(Ok(()), |problem| Err(unsafe_name(problem)))?;
        let (component, rest) = split_component(full);
        let (kind, subject) = classify(rest);
        Ok(Self { full: full.to_owned(), kind, component, subject: subject.to_owned() })
    }

    /// Whether nothing known to write this name.
    pub(crate) fn is_unknown(&self) -> bool {
        self.kind == EntryKind::Other && self.full != "README.md"
    }
}

fn problem_of(name: &str) -> Option<NameProblem> {
    if name.is_empty() {
        Some(NameProblem::Empty)
    } else if name.contains('\\') {
        Some(NameProblem::Backslash)
    } else if name.chars().any(char::is_control) {
        Some(NameProblem::Control)
    } else if name.starts_with('/') || name.as_bytes().get(1) == Some(&b':') {
        Some(NameProblem::Absolute)
    } else if name.split('/').any(|segment| segment == ".." || segment == ".") {
        Some(NameProblem::Climbing)
    } else if name.split('/').any(str::is_empty) {
        Some(NameProblem::EmptySegment)
    } else {
        None
    }
}

fn split_component(mut rest: &str) -> (String, &str) {
    let mut component = String::new();
    while let Some((name, below)) = rest.strip_prefix("_components/").and_then(|below| below.split_once('/'))
    {
        if !component.is_empty() {
            component.push('/');
        }
        component.push_str(name);
        rest = below;
    }
    (component, rest)
}

fn classify(rest: &str) -> (EntryKind, &str) {
    let Some((folder, file)) = rest.split_once('/') else { return (EntryKind::Other, "") };
    match (folder, file) {
        ("_tables", "documents.jsonl") => (EntryKind::Tables, ""),
        ("_storage", "documents.jsonl") => (EntryKind::StorageRows, ""),
        ("_storage", file) if !file.contains('/') => {
            (EntryKind::File, file.split_once('.').map_or(file, |(id, _)| id))
        }
        (table, "documents.jsonl") if !table.starts_with('_') => (EntryKind::Documents, table),
        (table, "generated_schema.jsonl") if !table.starts_with('_') => (EntryKind::Schema, table),
        _ => (EntryKind::Other, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str) -> EntryName {
        EntryName::parse(name.as_bytes()).unwrap()
    }

    #[test]
    fn names_of_an_export_are_told_apart() {
        for (name, kind, component, subject) in [
            ("README.md", EntryKind::Other, "", ""),
            ("_tables/documents.jsonl", EntryKind::Tables, "", ""),
            ("users/documents.jsonl", EntryKind::Documents, "", "users"),
            ("users/generated_schema.jsonl", EntryKind::Schema, "", "users"),
            ("_storage/documents.jsonl", EntryKind::StorageRows, "", ""),
            ("_storage/kg2x.tar.gz", EntryKind::File, "", "kg2x"),
            ("_components/a/_components/b/notes/documents.jsonl", EntryKind::Documents, "a/b", "notes"),
            ("_components/a/_storage/kg2x", EntryKind::File, "a", "kg2x"),
            ("_scheduled_jobs/documents.jsonl", EntryKind::Other, "", ""),
            ("order_storage/generated_schema.jsonl", EntryKind::Schema, "", "order_storage"),
            ("_components/a/extra/t/documents.jsonl", EntryKind::Other, "a", ""),
        ] {
            let parsed = parse(name);
            assert_eq!(
                (parsed.kind, parsed.component.as_str(), parsed.subject.as_str()),
                (kind, component, subject)
            );
        }
    }

    #[test]
    fn names_that_could_lead_elsewhere_are_refused() {
        for (name, expected) in [
            (&b""[..], NameProblem::Empty),
            (b"/etc/passwd", NameProblem::Absolute),
            (b"C:/x", NameProblem::Absolute),
            (b"a/../../x", NameProblem::Climbing),
            (b"./x", NameProblem::Climbing),
            (b"a//x", NameProblem::EmptySegment),
            (b"folder/", NameProblem::EmptySegment),
            (b"a\\..\\x", NameProblem::Backslash),
            (b"a\0b", NameProblem::Control),
            (b"a\nb", NameProblem::Control),
            (b"a\xff", NameProblem::NotUtf8),
        ] {
            let error = EntryName::parse(name).unwrap_err();
            assert!(
                matches!(&error, ArchiveError::UnsafeName { problem, .. } if *problem == expected),
                "{name:?}: {error}"
            );
        }
    }
}
