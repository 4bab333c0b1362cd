//! Stored files of a snapshot that are not what their rows announce: one of them fails a whole import.

use std::{
    collections::{BTreeSet, HashMap},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use convault_archive::Line;
use convault_core::{EntryKind, FilesMode, Manifest, Problem, Sha256, TableRef, Verdict};
use serde::Serialize;

use crate::{Content, JobError};

/// So many files are compared at a time; more are compared in several passes over the index.
const FILES_AT_ONCE: u64 = 200_000;
const KINDS: [&str; 2] = ["source-damage", "files-missing"];

/// A stored file that cannot be imported.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct DamagedFile {
    /// The path of its component, empty for the root.
    pub component: String,
    /// Its id.
    pub id: String,
    /// What is wrong with it.
    pub why: String,
}

/// Every stored file that an import would fail on or lose without a word. Nothing is read where the backup found nothing.
pub(super) async fn damaged_files(
    content: &Content<'_>,
    components: &BTreeSet<String>,
) -> Result<Vec<DamagedFile>, JobError> {
    let manifest = content.manifest();
    let problems = problems(manifest);
    if problems.is_empty() {
        return Ok(Vec::new());
    }
    if manifest.files == FilesMode::Shared {
        return Ok(named_in(&problems, components));
    }
    let passes = manifest.totals.files / FILES_AT_ONCE + 1;
    let mut damaged = Vec::new();
    for pass in 0..passes {
        compare(content, components, |id| hashed(id) % passes == pass, &mut damaged).await?;
    }
    damaged.sort();
    Ok(damaged)
}

fn problems(manifest: &Manifest) -> Vec<&Problem> {
    let Verdict::Suspect { problems } = &manifest.verdict else { return Vec::new() };
    problems.iter().filter(|problem| KINDS.contains(&problem.kind.as_str())).collect()
}

/// Files that never were in the destination are known by what the manifest says of them. Where it hashes the names of
/// components, the component is not known: ids are unique enough to be looked for in all.
fn named_in(problems: &[&Problem], components: &BTreeSet<String>) -> Vec<DamagedFile> {
    let mut damaged = Vec::new();
    for text in problems.iter().flat_map(|problem| &problem.ids) {
        let Some((place, why)) = text.split_once(": ") else { continue };
        let (component, id) = place.rsplit_once('/').unwrap_or(("", place));
        let one = |component: &str| DamagedFile {
            component: component.to_owned(),
            id: id.to_owned(),
            why: why.to_owned(),
        };
        if components.contains(component) {
            damaged.push(one(component));
        } else {
            damaged.extend(components.iter().map(|component| one(component)));
        }
    }
    damaged
}

fn hashed(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

/// Compares the rows of the files that are `wanted` with what the index says of their contents.
async fn compare(
    content: &Content<'_>,
    components: &BTreeSet<String>,
    wanted: impl Fn(&str) -> bool + Send + Sync,
    damaged: &mut Vec<DamagedFile>,
) -> Result<(), JobError> {
    let mut files: HashMap<(String, String), Sha256> = HashMap::new();
    let take = |entry: convault_core::IndexEntry| {
        if entry.kind == EntryKind::File {
            let file = entry.name.rsplit('/').next().unwrap_or_default();
            let id = file.split('.').next().unwrap_or_default();
            if wanted(id) {
                files.insert((entry.component, id.to_owned()), entry.sha256);
            }
        }
        Ok(())
    };
    content.each_entry(take).await?;
    for component in components {
        let Some(mut rows) = content.lines(&TableRef::new(component, "_storage")).await? else { continue };
        while let Some(row) = rows.next().await? {
            let Some((id, announced)) = row_of(&row) else { continue };
            if !wanted(&id) {
                continue;
            }
            let key = (component.clone(), id);
            let why = match files.get(&key) {
                None => "it has a row but no content",
                Some(found) if announced.is_some_and(|announced| announced != *found) => {
                    "its content is not what its row announces"
                }
                Some(_) => continue,
            };
            let (component, id) = key;
            damaged.push(DamagedFile { component, id, why: why.to_owned() });
        }
    }
    Ok(())
}

/// Id and announced digest of a row of a stored file.
fn row_of(row: &[u8]) -> Option<(String, Option<Sha256>)> {
    let line = Line::parse(row).ok()?;
    let digest = line.text(&["sha256"]).and_then(|text| STANDARD.decode(text.as_bytes()).ok());
    let digest = digest.and_then(|bytes| Some(Sha256(bytes.try_into().ok()?)));
    Some((line.text(&["_id"])?.into_owned(), digest))
}
