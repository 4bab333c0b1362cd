//! `convault download ID`: gives the ZIP back, re-checked.

use std::{path::PathBuf, sync::Arc};

use convault_core::ObjectRole;
use serde_json::json;

use super::{Surroundings, choose::find_folder};
use crate::{arguments::Download, exit::Exit, print, progress::Progress};

pub(crate) async fn download(surroundings: &Surroundings, download: Download) -> anyhow::Result<Exit> {
    let settings = surroundings.settings()?;
    let found = find_folder(&settings, &download.one).await?;
    let snapshot = found.snapshot()?;
    let (store, manifest) = (&found.destination.store, &snapshot.manifest);
    let progress = Arc::new(Progress::new(surroundings.json));
    let context = surroundings.context(Arc::clone(&progress));
    if !snapshot.is_good() {
        let state = snapshot.judgement.standing.as_str();
        print::note(&format!(
            "warning: {} is {state}: `convault show {}` says why",
            manifest.id, manifest.id
        ));
    }
    if download.output.as_ref().is_some_and(|path| path.as_os_str() == "-") {
        let mut stdout = tokio::io::stdout();
        convault_jobs::download(store.as_ref(), manifest, &mut stdout, "standard output", &context).await?;
        return Ok(Exit::Done);
    }
    let own_name =
        manifest.object(ObjectRole::Snapshot).map_or("snapshot.zip", |object| object.name.as_str());
    let path = match download.output {
        Some(path) if path.is_dir() => path.join(own_name),
        Some(path) => path,
        None => PathBuf::from(own_name),
    };
    let done = convault_jobs::download_to_file(store.as_ref(), manifest, &path, &context).await?;
    progress.clear();
    if surroundings.json {
        print::json(&json!({ "file": path, "size_bytes": done.size_bytes, "snapshot": manifest.id }));
    } else {
        print::line(&format!(
            "{}: {}, checked against its SHA-256",
            path.display(),
            print::size(done.size_bytes)
        ));
    }
    Ok(Exit::Done)
}
