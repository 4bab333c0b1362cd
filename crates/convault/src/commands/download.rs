//! `convault download ID`: gives the ZIP back, or one entry of it, re-checked.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use convault_core::{Layout, Manifest, ObjectRole};
use convault_jobs::{Access, Content, Downloaded, ErasedSet, RunContext, Snapshot};
use serde_json::json;

use super::{
    Surroundings,
    reading::{Reading, reading},
};
use crate::{
    arguments::Download,
    exit::{Exit, ExitWith},
    print,
    progress::Progress,
};

pub(crate) async fn download(surroundings: &Surroundings, download: Download) -> anyhow::Result<Exit> {
    let reading = reading(surroundings, &download.one, &download.leaving).await?;
    let snapshot = reading.found.snapshot()?;
    warn_of_state(snapshot);
    let progress = Arc::new(Progress::new(surroundings.json));
    let context = surroundings.context(Arc::clone(&progress));
    let output = download.output.as_deref();
    let made = if download.encrypted {
        as_stored(&reading, snapshot, output, &context).await?
    } else {
        let store = reading.found.destination.store.as_ref();
        let identities = reading.identities.as_ref();
        let content = Content::new(store, &snapshot.manifest, identities, &reading.rules, &context);
        match &download.entry {
            Some(name) => entry(&content, name, output).await?,
            None => whole(&content, output).await?,
        }
    };
    progress.clear();
    if let Some(made) = made {
        report(surroundings, snapshot, &made);
    }
    Ok(Exit::Done)
}

fn warn_of_state(snapshot: &Snapshot) {
    if !snapshot.is_good() {
        let (id, state) = (&snapshot.manifest.id, snapshot.judgement.standing.as_str());
        print::note(&format!("warning: {id} is {state}: `convault show {id}` says why"));
    }
}

/// The file that was made.
struct Made {
    path: PathBuf,
    done: Downloaded,
}

fn report(surroundings: &Surroundings, snapshot: &Snapshot, made: &Made) {
    let outgone = made.done.outgone.clone().unwrap_or_default();
    let dropped: u64 = outgone.changed.values().map(|counts| counts.dropped).sum();
    let masked: u64 = outgone.changed.values().map(|counts| counts.masked).sum();
    let files: u64 = outgone.files_dropped.values().sum();
    if surroundings.json {
        print::json(&json!({
            "file": made.path,
            "size_bytes": made.done.size_bytes,
            "snapshot": snapshot.manifest.id,
            "documents_left_out": dropped,
            "files_left_out": files,
            "values_masked": masked,
        }));
        return;
    }
    print::line(&format!(
        "{}: {}, checked against its SHA-256",
        made.path.display(),
        print::size(made.done.size_bytes)
    ));
    let counts =
        [(dropped, "document(s) left out"), (files, "file(s) left out"), (masked, "value(s) masked")];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, what)| format!("{count} {what}")).collect();
    if !counts.is_empty() {
        print::line(&counts.join(", "));
    }
}

async fn as_stored(
    reading: &Reading,
    snapshot: &Snapshot,
    output: Option<&Path>,
    context: &RunContext,
) -> anyhow::Result<Option<Made>> {
    let (store, manifest) = (reading.found.destination.store.as_ref(), &snapshot.manifest);
    if reading.rules.erased != ErasedSet::default() {
        let text = "what is stored has data that was erased, which nobody can hold back from it unopened: give it with \
                    --include-erased, or without --encrypted, or after `convault erase --rewrite`";
        return Err(ExitWith(Exit::Erasures, text.to_owned()).into());
    }
    let access = Access::AsStored;
    if is_stdout(output) {
        let mut stdout = tokio::io::stdout();
        convault_jobs::download(store, manifest, access, &mut stdout, "standard output", context).await?;
        return Ok(None);
    }
    let path = place(output, stored_name(manifest));
    let done = convault_jobs::download_to_file(store, manifest, access, &path, context).await?;
    Ok(Some(Made { path, done }))
}

async fn whole(content: &Content<'_>, output: Option<&Path>) -> anyhow::Result<Option<Made>> {
    if is_stdout(output) {
        convault_jobs::download_content(content, &mut tokio::io::stdout(), "standard output").await?;
        return Ok(None);
    }
    let name = stored_name(content.manifest());
    let path = place(output, name.strip_suffix(Layout::ENCRYPTED_SUFFIX).unwrap_or(name));
    let done = convault_jobs::content_to_file(content, &path).await?;
    Ok(Some(Made { path, done }))
}

async fn entry(content: &Content<'_>, name: &str, output: Option<&Path>) -> anyhow::Result<Option<Made>> {
    let entry = content.entry(name).await?;
    if is_stdout(output) {
        entry.write(&mut tokio::io::stdout(), "standard output").await?;
        return Ok(None);
    }
    let path = place(output, &entry_file_name(entry.name()));
    let done = convault_jobs::entry_to_file(entry, &path).await?;
    Ok(Some(Made { path, done }))
}

fn is_stdout(output: Option<&Path>) -> bool {
    output.is_some_and(|path| path.as_os_str() == "-")
}

fn place(output: Option<&Path>, own_name: &str) -> PathBuf {
    match output {
        Some(path) if path.is_dir() => path.join(own_name),
        Some(path) => path.to_owned(),
        None => PathBuf::from(own_name),
    }
}

fn stored_name(manifest: &Manifest) -> &str {
    manifest.object(ObjectRole::Snapshot).map_or("snapshot.zip", |object| object.name.as_str())
}

/// `_components/mail/letters/documents.jsonl` becomes `mail.letters.jsonl`, and a stored file keeps its own name.
fn entry_file_name(entry: &str) -> String {
    let (folder, file) = entry.rsplit_once('/').unwrap_or(("", entry));
    match file.strip_prefix("documents") {
        Some(ending) => format!("{}{ending}", folder.replace("_components/", "").replace('/', ".")),
        None => file.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_becomes_a_file_of_a_telling_name() {
        for (entry, file) in [
            ("contacts/documents.jsonl", "contacts.jsonl"),
            ("_components/mail/letters/documents.jsonl", "mail.letters.jsonl"),
            ("_storage/kg2.png", "kg2.png"),
            ("README.md", "README.md"),
        ] {
            assert_eq!(entry_file_name(entry), file);
        }
    }
}
