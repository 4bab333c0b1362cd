//! `convault show ID`: everything a manifest says.

use convault_core::{Manifest, Store, Verdict};

use super::{Surroundings, find_snapshot, list::state};
use crate::{arguments::One, exit::Exit, print};

pub(crate) async fn show(surroundings: &Surroundings, one: One) -> anyhow::Result<Exit> {
    let settings = surroundings.settings()?;
    let (store, manifest) = find_snapshot(&settings, &one).await?;
    if surroundings.json {
        print::json(&manifest);
    } else {
        print_manifest(&manifest, store.as_ref());
    }
    Ok(Exit::Done)
}

fn print_manifest(manifest: &Manifest, store: &dyn Store) {
    let totals = &manifest.totals;
    let mut lines = vec![
        ("snapshot", format!("{} ({})", manifest.id, state(manifest))),
        (
            "deployment",
            format!(
                "{} ({}, server {})",
                manifest.deployment, manifest.source.instance, manifest.source.server_version
            ),
        ),
        ("in", format!("{}: {}", store.destination(), store.location())),
        ("taken", print::time(manifest.snapshot_time())),
        ("tags", manifest.tags.join(", ")),
        ("kept until", manifest.keep_until.map(print::time).unwrap_or_default()),
        (
            "documents",
            format!(
                "{} in {} tables, {}",
                print::number(totals.documents),
                totals.tables,
                print::size(totals.document_bytes)
            ),
        ),
        ("files", format!("{}, {}", print::number(totals.files), print::size(totals.file_bytes))),
        ("checked", manifest.verification.checks.join("; ")),
    ];
    if let Verdict::Suspect { problems } = &manifest.verdict {
        for problem in problems {
            lines.push(("suspect", problem.what.clone()));
            lines.extend(problem.ids.iter().map(|id| ("", id.clone())));
        }
    }
    lines.extend(
        manifest
            .not_covered
            .iter()
            .map(|missing| ("not covered", format!("{}: {}", missing.what, missing.why))),
    );
    for (name, text) in lines.iter().filter(|(_, text)| !text.is_empty()) {
        print::line(&format!("{name:<12} {text}"));
    }
    let objects: Vec<Vec<String>> = manifest
        .objects
        .iter()
        .map(|object| vec![object.name.clone(), print::size(object.size_bytes), object.sha256.to_string()])
        .collect();
    print::table(&["OBJECT", ">SIZE", "SHA-256"], &objects);
    let tables: Vec<Vec<String>> = manifest
        .tables
        .iter()
        .map(|table| {
            vec![
                table.component.clone(),
                table.table.clone(),
                print::number(table.documents),
                print::size(table.bytes),
            ]
        })
        .collect();
    print::table(&["COMPONENT", "TABLE", ">DOCUMENTS", ">SIZE"], &tables);
}
