//! `convault download ID`: gives the ZIP back, or one entry of it, re-checked.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use convault_core::{Layout, Manifest, ObjectRole};
use convault_jobs::{Access, Downloaded, RunContext, Snapshot, StoredEntry};
use serde_json::json;

use super::{
    Surroundings,
    choose::{Found, find_folder},
};
use crate::{arguments::Download, exit::Exit, print, progress::Progress};

pub(crate) async fn download(surroundings: &Surroundings, download: Download) -> anyhow::Result<Exit> {
    let settings = surroundings.settings()?;
    let found = find_folder(&settings, &download.one).await?;
    let snapshot = found.snapshot()?;
    warn_of_state(snapshot);
    let progress = Arc::new(Progress::new(surroundings.json));
    let context = surroundings.context(Arc::clone(&progress));
    let identities = crate::wiring::identities(&settings, download.identity.identity.as_deref())?;
    let access = if download.encrypted { Access::AsStored } else { Access::Opened(identities.as_ref()) };
    let done = match &download.entry {
        Some(name) => entry(&found, snapshot, name, access, download.output.as_deref(), &context).await?,
        None => whole(&found, snapshot, access, download.output.as_deref(), &context).await?,
    };
    progress.clear();
    let Some((path, done)) = done else { return Ok(Exit::Done) };
    if surroundings.json {
        print::json(
            &json!({ "file": path, "size_bytes": done.size_bytes, "snapshot": snapshot.manifest.id }),
        );
    } else {
        print::line(&format!(
            "{}: {}, checked against its SHA-256",
            path.display(),
            print::size(done.size_bytes)
        ));
    }
    Ok(Exit::Done)
}

fn warn_of_state(snapshot: &Snapshot) {
    if !snapshot.is_good() {
        let (id, state) = (&snapshot.manifest.id, snapshot.judgement.standing.as_str());
        print::note(&format!("warning: {id} is {state}: `convault show {id}` says why"));
    }
}

/// The file that was made; nothing where it went to standard output.
type Made = Option<(PathBuf, Downloaded)>;

async fn whole(
    found: &Found,
    snapshot: &Snapshot,
    access: Access<'_>,
    output: Option<&Path>,
    context: &RunContext,
) -> anyhow::Result<Made> {
    let (store, manifest) = (found.destination.store.as_ref(), &snapshot.manifest);
    if is_stdout(output) {
        let mut stdout = tokio::io::stdout();
        convault_jobs::download(store, manifest, access, &mut stdout, "standard output", context).await?;
        return Ok(None);
    }
    let path = place(output, &own_name(manifest, access));
    let done = convault_jobs::download_to_file(store, manifest, access, &path, context).await?;
    Ok(Some((path, done)))
}

async fn entry(
    found: &Found,
    snapshot: &Snapshot,
    name: &str,
    access: Access<'_>,
    output: Option<&Path>,
    context: &RunContext,
) -> anyhow::Result<Made> {
    let identities = match access {
        Access::Opened(identities) => identities,
        Access::AsStored => None,
    };
    let store = found.destination.store.as_ref();
    let entry = StoredEntry::find(store, &snapshot.manifest, name, identities).await?;
    if is_stdout(output) {
        entry.write(&mut tokio::io::stdout(), "standard output", context).await?;
        return Ok(None);
    }
    let path = place(output, &entry_file_name(&entry.entry().name));
    let done = convault_jobs::download_entry_to_file(&entry, &path, context).await?;
    Ok(Some((path, done)))
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

fn own_name(manifest: &Manifest, access: Access<'_>) -> String {
    let name = manifest.object(ObjectRole::Snapshot).map_or("snapshot.zip", |object| object.name.as_str());
    match access {
        Access::AsStored => name.to_owned(),
        Access::Opened(_) => name.strip_suffix(Layout::ENCRYPTED_SUFFIX).unwrap_or(name).to_owned(),
    }
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
