//! Imports into a deployment whose data is made up: they can take its place as a whole, and nothing else.

use super::arguments::ImportMode;
use super::failure::ImportFailure;
use super::summary::Checkpoint;
use super::upload::{Part, Upload};
use crate::generator::Generator;

const STORAGE: &str = "_storage";

/// Refuses what would leave a part of the data that is made up.
pub(crate) fn check(generator: &Generator, upload: &Upload, mode: ImportMode) -> Result<(), ImportFailure> {
    let holds = |part: &&Part| rows(generator, part.component(), part.display_name()) > 0;
    if mode == ImportMode::RequireEmpty
        && let Some(full) = upload.parts.iter().find(holds)
    {
        return Err(ImportFailure::table_exists(full.display_name()));
    }
    let has_files =
        upload.parts.iter().any(|part| matches!(part, Part::Files(_)) && part.component().is_empty());
    if mode == ImportMode::ReplaceAll && (has_files || generator.files.count() == 0) {
        return Ok(());
    }
    Err(ImportFailure::hit(
        "the simulator imports over data that is made up only where all of it is replaced",
    ))
}

/// Adds what is deleted.
pub(crate) fn add_deleted(generator: &Generator, checkpoints: &mut Vec<Checkpoint>) {
    let paths = generator.component_paths();
    let mut places: Vec<(&str, String)> = paths
        .iter()
        .flat_map(|path| generator.tables().into_iter().map(|(name, _)| (path.as_str(), name)))
        .collect();
    places.push(("", STORAGE.to_owned()));
    for (path, name) in places {
        let existing = rows(generator, path, &name);
        let known = checkpoints.iter_mut().find(|known| known.component == path && known.table == name);
        match known {
            Some(known) => (known.existing, known.to_delete) = (existing, existing),
            None if name == STORAGE => {}
            None => checkpoints.push(Checkpoint {
                component: path.to_owned(),
                table: name,
                tablet: None,
                total: 0,
                written: 0,
                existing,
                to_delete: existing,
                missing_id: false,
            }),
        }
    }
    checkpoints.sort_by(|a, b| (&a.component, &a.table).cmp(&(&b.component, &b.table)));
}

fn rows(generator: &Generator, path: &str, table: &str) -> usize {
    let count = match table {
        STORAGE if path.is_empty() => generator.files.count(),
        _ => generator.documents_of(path, table).unwrap_or(0),
    };
    usize::try_from(count).unwrap_or(usize::MAX)
}
