//! A commit of a git repository, with all its history.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use convault_core::{
    Collect, EntryDetails, NotCovered, Surrounding, SurroundingError, SurroundingErrorKind, SurroundingKind,
    SurroundingName,
};
use tempfile::TempDir;

use super::child::{Child, Limits, clean_command};
use super::errors::Errors;
use super::variables::put;

/// A bundle begins with a line for each of its names; only a few are asked for.
const MAX_HEADER_BYTES: usize = 64 << 10;
/// The most that git may say in answer to a question.
const MAX_ANSWER_BYTES: u64 = 64 << 10;

/// A branch, a tag or `HEAD` of a git repository: `repository.bundle`, from which `git clone` makes the repository
/// again, and `commit.txt`, the commit that it was.
///
/// One on this machine is read where it is, and nothing is written. One elsewhere is cloned into a folder for temporary
/// files for as long as it takes: the only thing that touches the disk.
#[derive(Debug)]
pub struct Repository {
    settings: RepositorySettings,
    required: bool,
    errors: Errors,
}

/// Which repository, and what it may take.
#[derive(Debug, Clone)]
pub struct RepositorySettings {
    /// Where it is.
    pub place: RepositoryPlace,
    /// A branch, a tag, or `HEAD`.
    pub reference: String,
    /// How long git may take in all before it is killed.
    pub time_out: Duration,
    /// How many bytes the bundle may have; `None` for any number.
    pub max_bytes: Option<u64>,
}

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepositoryPlace {
    /// A folder of this machine.
    Path(PathBuf),
    /// What `git clone` takes. Without a password.
    Url(String),
}

impl Repository {
    /// The repository, called `name`. Nothing is started.
    pub fn new(name: SurroundingName, required: bool, settings: RepositorySettings) -> Self {
        Self { settings, required, errors: Errors::new(name) }
    }

    /// git in `folder`, with no settings but the repository's own and no way to ask anybody.
    fn git(
        &self,
        folder: &Path,
        arguments: &[&str],
        max_bytes: Option<u64>,
    ) -> Result<Child, SurroundingError> {
        // A repository of another user is read all the same: whoever wrote the settings named it.
        let safe = format!("safe.directory={}", folder.display());
        let mut all =
            vec!["-c", safe.as_str(), "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"];
        all.extend(arguments);
        let mut command = clean_command("git", &all, folder);
        command
            .env("HOME", "/nonexistent")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_ALLOW_PROTOCOL", "file:git:http:https:ssh")
            .env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes");
        let limits = Limits { time_out: self.settings.time_out, max_bytes };
        Child::start("git", command, limits, &self.errors)
    }

    async fn ask(&self, folder: &Path, arguments: &[&str]) -> Result<String, SurroundingError> {
        self.git(folder, arguments, Some(MAX_ANSWER_BYTES))?.text().await
    }

    async fn clone_of(&self, url: &str) -> Result<TempDir, SurroundingError> {
        let folder = tempfile::Builder::new().prefix("convault-repository-").tempdir();
        let folder = folder.map_err(|error| {
            let message = "cannot make a folder for temporary files; check the space there";
            self.errors.caused(SurroundingErrorKind::Other, message, error)
        })?;
        let mut arguments = vec!["clone", "--quiet", "--bare", "--single-branch"];
        if self.settings.reference != "HEAD" {
            arguments.extend(["--branch", &self.settings.reference]);
        }
        arguments.extend(["--", url, "."]);
        self.ask(folder.path(), &arguments).await?;
        Ok(folder)
    }

    /// Stores what `folder` has under the name of the settings.
    async fn store(&self, folder: &Path, taker: &mut dyn Collect) -> Result<(), SurroundingError> {
        if self.ask(folder, &["rev-parse", "--is-shallow-repository"]).await? == "true" {
            let message =
                "the repository is a shallow clone, which has no history; run `git fetch --unshallow` in it";
            return Err(self.errors.error(SurroundingErrorKind::Other, message));
        }
        let names = self.names(folder).await?;
        let mut arguments = vec!["bundle", "create", "--quiet", "-"];
        arguments.extend(names.iter().map(String::as_str));
        let mut child = self.git(folder, &arguments, self.settings.max_bytes)?;
        taker.begin("repository.bundle", EntryDetails::default()).await?;
        let mut header = Header::default();
        while let Some(bytes) = child.read().await? {
            header.feed(&bytes);
            taker.write(&bytes).await?;
        }
        child.finish().await?;
        let tip = header.tip(&names[0]).ok_or_else(|| {
            let message = "git gave a bundle without the name that was asked for; check its version";
            self.errors.error(SurroundingErrorKind::Other, message)
        })?;
        // The bundle's own header says what is in it, even where the branch has moved on meanwhile.
        let commit = format!("{tip}^{{commit}}");
        let commit = self.ask(folder, &["rev-parse", "--verify", "--end-of-options", &commit]).await?;
        put(taker, "commit.txt", format!("{commit}\n").as_bytes()).await
    }

    /// The full names to bundle: that of the reference first; beside `HEAD` its branch, so that a clone has one.
    async fn names(&self, folder: &Path) -> Result<Vec<String>, SurroundingError> {
        let reference = self.settings.reference.as_str();
        let asked =
            ["rev-parse", "--symbolic-full-name", "--verify", "--quiet", "--end-of-options", reference];
        let full = self.ask(folder, &asked).await.map_err(|error| match error.kind {
            SurroundingErrorKind::Other => self.errors.error(
                SurroundingErrorKind::NotFound,
                format!("the repository has no `{reference}`, or is none; check `path` and `ref`"),
            ),
            _ => error,
        })?;
        Ok(match (reference, full.as_str()) {
            ("HEAD", "HEAD" | "") => vec!["HEAD".to_owned()],
            ("HEAD", branch) => vec!["HEAD".to_owned(), branch.to_owned()],
            (_, "") => vec![reference.to_owned()],
            (_, full) => vec![full.to_owned()],
        })
    }
}

#[async_trait]
impl Surrounding for Repository {
    fn name(&self) -> &SurroundingName {
        self.errors.surrounding()
    }

    fn kind(&self) -> SurroundingKind {
        SurroundingKind::State
    }

    fn is_required(&self) -> bool {
        self.required
    }

    async fn collect(&self, taker: &mut dyn Collect) -> Result<Vec<NotCovered>, SurroundingError> {
        match &self.settings.place {
            RepositoryPlace::Path(folder) => {
                if !folder.is_dir() {
                    let message = format!("there is no folder {}; check `path`", folder.display());
                    return Err(self.errors.error(SurroundingErrorKind::NotFound, message));
                }
                self.store(folder, taker).await?;
            }
            RepositoryPlace::Url(url) => {
                let folder = self.clone_of(url).await?;
                self.store(folder.path(), taker).await?;
            }
        }
        Ok(Vec::new())
    }
}

/// The beginning of a bundle, up to its empty line: what it has under which name.
#[derive(Debug, Default)]
struct Header(Vec<u8>);

impl Header {
    fn feed(&mut self, bytes: &Bytes) {
        let room = MAX_HEADER_BYTES - self.0.len();
        self.0.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// The object that the bundle has under `name`.
    fn tip(&self, name: &str) -> Option<String> {
        let end = self.0.windows(2).position(|pair| pair == b"\n\n")?;
        let header = std::str::from_utf8(&self.0[..end]).ok()?;
        let mut tips = header.lines().filter_map(|line| line.split_once(' '));
        let tip = tips.find(|(_, of)| *of == name)?.0;
        tip.chars().all(|c| c.is_ascii_hexdigit()).then(|| tip.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::Header;

    #[test]
    fn the_tip_is_read_from_the_beginning_of_a_bundle() {
        let mut header = Header::default();
        header.feed(&Bytes::from_static(b"# v2 git bundle\n5f0d1c HEAD\n5f0d1d refs/heads/ma"));
        assert_eq!(header.tip("HEAD"), None, "not all of it is there");
        header.feed(&Bytes::from_static(b"in\n\nPACK\n\n00 refs/heads/other\n"));
        assert_eq!(header.tip("HEAD").as_deref(), Some("5f0d1c"));
        assert_eq!(header.tip("refs/heads/main").as_deref(), Some("5f0d1d"));
        assert_eq!(header.tip("refs/heads/other"), None);
    }
}
