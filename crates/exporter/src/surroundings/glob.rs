//! Paths with `*`, `?` and `**` in them, and the files that they mean.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Deeper than this no folder is looked into: `**` is for an application's folders, not for a whole disk.
const MAX_DEPTH: usize = 32;

/// What a pattern means now.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Files, links and folders that match, sorted.
    pub(crate) paths: BTreeSet<PathBuf>,
    /// Folders that could not be looked into.
    pub(crate) unreadable: Vec<(PathBuf, io::Error)>,
}

/// Whether `path` has characters in it that stand for others.
pub(crate) fn is_pattern(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().iter().any(|byte| matches!(byte, b'*' | b'?'))
}

/// What an absolute `pattern` means. `*` and `?` match within a name, and a leading dot only where the pattern has one
/// too; `**` as a whole name matches any folders that are not hidden, none included, and follows no links.
pub(crate) async fn find(pattern: &Path) -> Found {
    let names: Vec<&OsStr> = pattern
        .components()
        .filter_map(|component| match component {
            Component::RootDir | Component::Prefix(_) | Component::CurDir => None,
            Component::ParentDir => Some(OsStr::new("..")),
            Component::Normal(name) => Some(name),
        })
        .collect();
    let mut found = Found::default();
    let mut open = vec![(PathBuf::from("/"), 0_usize, 0_usize)];
    while let Some((folder, at, depth)) = open.pop() {
        let Some(name) = names.get(at) else {
            found.paths.insert(folder);
            continue;
        };
        if *name == OsStr::new("**") {
            open.push((folder.clone(), at + 1, depth));
            if depth < MAX_DEPTH {
                let inner = list(&folder, &mut found).await;
                let inner = inner.into_iter().filter(|(name, is_folder)| *is_folder && !is_hidden(name));
                open.extend(inner.map(|(name, _)| (folder.join(name), at, depth + 1)));
            }
        } else if is_pattern(Path::new(name)) {
            let matching = list(&folder, &mut found).await;
            let matching = matching.into_iter().filter(|(other, _)| matches_name(name, other));
            open.extend(matching.map(|(name, _)| (folder.join(name), at + 1, depth)));
        } else {
            let path = folder.join(name);
            // What is below a file, or not there, matches nothing.
            if tokio::fs::symlink_metadata(&path).await.is_ok() {
                open.push((path, at + 1, depth));
            }
        }
    }
    found
}

/// The names in a folder, and whether each is a folder itself (a link to one is none).
async fn list(folder: &Path, found: &mut Found) -> Vec<(std::ffi::OsString, bool)> {
    let mut names = Vec::new();
    let result = async {
        let mut entries = tokio::fs::read_dir(folder).await?;
        while let Some(entry) = entries.next_entry().await? {
            names.push((entry.file_name(), entry.file_type().await?.is_dir()));
        }
        Ok::<(), io::Error>(())
    };
    match result.await {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
        Err(error) => found.unreadable.push((folder.to_owned(), error)),
        Ok(()) => {}
    }
    names
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

fn matches_name(pattern: &OsStr, name: &OsStr) -> bool {
    if is_hidden(name) && !is_hidden(pattern) {
        return false;
    }
    match (pattern.to_str(), name.to_str()) {
        (Some(pattern), Some(name)) => {
            let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
            matches(&pattern, &name)
        }
        _ => false,
    }
}

/// Goes back to the last `*` only, which is enough and takes no more than one product of the lengths.
fn matches(pattern: &[char], name: &[char]) -> bool {
    let (mut at, mut star, mut in_name) = (0, None, 0);
    while in_name < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at + 1, in_name));
                at += 1;
            }
            Some(c) if *c == '?' || *c == name[in_name] => {
                at += 1;
                in_name += 1;
            }
            _ => match star {
                Some((after, from)) => {
                    star = Some((after, from + 1));
                    at = after;
                    in_name = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::matches_name;

    #[test]
    fn stars_and_question_marks_match_within_a_name() {
        for (pattern, name, expected) in [
            (".env*", ".env", true),
            (".env*", ".env.local", true),
            (".env.?", ".env.ab", false),
            ("*.env", "app.env", true),
            ("*.env", ".env", false),
            (".*", ".env", true),
            ("*", "a", true),
            ("a*b*c", "aXbXbc", true),
            ("a*b*c", "aXbX", false),
            ("?", "ä", true),
            ("**x", "aax", true),
        ] {
            assert_eq!(matches_name(OsStr::new(pattern), OsStr::new(name)), expected, "{pattern} {name}");
        }
    }
}
