//! Files of this machine, such as env files.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use async_trait::async_trait;
use convault_core::{
    Collect, EntryDetails, NotCovered, Sha256Stream, Surrounding, SurroundingError, SurroundingErrorKind,
    SurroundingKind, SurroundingName,
};
use jiff::Timestamp;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use super::errors::Errors;
use super::gaps::Gaps;
use super::glob;
use super::variables::put_digest;

const READ_BYTES: usize = 64 << 10;

/// Files of this machine, each an entry under its absolute path without the first `/`, with its mode, owner and time.
///
/// A link is followed: what it leads to is stored under the link's name, with the mode, owner and time of the file
/// that it leads to. Folders and everything else that is no plain file are said to be missing.
#[derive(Debug)]
pub struct Files {
    patterns: Vec<PathBuf>,
    required: bool,
    errors: Errors,
}

impl Files {
    /// The files that absolute `patterns` mean when they are collected: `*` and `?` within a name, `**` for folders.
    pub fn new(name: SurroundingName, required: bool, patterns: Vec<PathBuf>) -> Self {
        Self { patterns, required, errors: Errors::new(name) }
    }

    async fn find(
        &self,
        taker: &mut dyn Collect,
        gaps: &mut Gaps,
    ) -> Result<BTreeSet<PathBuf>, SurroundingError> {
        let mut paths = BTreeSet::new();
        for pattern in &self.patterns {
            if !glob::is_pattern(pattern) {
                paths.insert(pattern.clone());
                continue;
            }
            let found = glob::find(pattern).await;
            for (folder, error) in found.unreadable {
                self.missed(taker, gaps, &folder, &error, "the folder cannot be looked into")?;
            }
            if found.paths.is_empty() {
                let error = io::Error::new(io::ErrorKind::NotFound, "check the path");
                self.missed(taker, gaps, pattern, &error, "nothing matches")?;
            }
            paths.extend(found.paths);
        }
        Ok(paths)
    }

    fn missed(
        &self,
        taker: &mut dyn Collect,
        gaps: &mut Gaps,
        path: &Path,
        error: &io::Error,
        undone: &str,
    ) -> Result<(), SurroundingError> {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => SurroundingErrorKind::NotFound,
            io::ErrorKind::PermissionDenied => SurroundingErrorKind::Permission,
            _ => SurroundingErrorKind::Other,
        };
        let path = path.display().to_string();
        taker.unread(&path);
        let message = format!("{undone}: {path} ({error})");
        gaps.missed(format!("file {path}"), self.errors.error(kind, message))
    }

    async fn store(
        &self,
        path: &Path,
        taker: &mut dyn Collect,
        gaps: &mut Gaps,
    ) -> Result<(), SurroundingError> {
        let Some(entry) = entry_path(path) else {
            let error = io::Error::other("it is not UTF-8, or has `..`, `\\` or control characters in it");
            return self.missed(taker, gaps, path, &error, "the path cannot be stored");
        };
        let (mut file, details) = match open(path).await {
            Ok(opened) => opened,
            Err(error) => return self.missed(taker, gaps, path, &error, "the file cannot be read"),
        };
        taker.begin(&entry, details).await?;
        let mut digest = Sha256Stream::new();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match file.read(&mut buffer).await {
                Ok(0) => break,
                Ok(read) => {
                    digest.update(&buffer[..read]);
                    taker.write(&buffer[..read]).await?;
                }
                Err(error) => {
                    return self.missed(taker, gaps, path, &error, "only the beginning of the file was read");
                }
            }
        }
        put_digest(taker, &entry, digest).await
    }
}

#[async_trait]
impl Surrounding for Files {
    fn name(&self) -> &SurroundingName {
        self.errors.surrounding()
    }

    fn kind(&self) -> SurroundingKind {
        SurroundingKind::Secrets
    }

    fn is_required(&self) -> bool {
        self.required
    }

    async fn collect(&self, taker: &mut dyn Collect) -> Result<Vec<NotCovered>, SurroundingError> {
        let mut gaps = Gaps::new(self.required);
        for path in self.find(taker, &mut gaps).await? {
            self.store(&path, taker, &mut gaps).await?;
        }
        Ok(gaps.into_noted())
    }
}

/// Opens a plain file, following links. Anything else is left closed: opening a pipe could wait for ever.
async fn open(path: &Path) -> io::Result<(File, EntryDetails)> {
    let plain = |metadata: &std::fs::Metadata| match (metadata.is_file(), metadata.is_dir()) {
        (true, _) => Ok(()),
        (_, true) => Err(io::Error::other("it is a folder; name its files, with `*` if need be")),
        _ => Err(io::Error::other("it is no plain file")),
    };
    plain(&tokio::fs::metadata(path).await?)?;
    let file = File::open(path).await?;
    let metadata = file.metadata().await?;
    plain(&metadata)?;
    let details = EntryDetails {
        mode: Some(metadata.permissions().mode() & 0o7777),
        owner: Some((metadata.uid(), metadata.gid())),
        modified: metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok()),
    };
    Ok((file, details))
}

/// `path` as the path of an entry: `/srv/app/.env` is `srv/app/.env`.
fn entry_path(path: &Path) -> Option<String> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => names.push(name.to_str()?),
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    let strange = |name: &&str| name.contains('\\') || name.chars().any(char::is_control);
    (!names.is_empty() && !names.iter().any(strange)).then(|| names.join("/"))
}
