//! A commit of a git repository.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use convault_core::{SurroundingError, SurroundingErrorKind};
use convault_exporter::{Repository, RepositoryPlace, RepositorySettings};
use tempfile::TempDir;

use crate::taker::{Taker, collect, name};

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"])
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn commit(folder: &Path, text: &str) -> String {
    std::fs::write(folder.join("schema.ts"), text).unwrap();
    git(folder, &["add", "."]);
    git(folder, &["commit", "--quiet", "-m", text]);
    git(folder, &["rev-parse", "HEAD"])
}

/// A repository with two commits on `main`, an annotated tag on the first, and a branch.
fn repository() -> (TempDir, String, String) {
    let folder = tempfile::tempdir().unwrap();
    git(folder.path(), &["init", "--quiet"]);
    let first = commit(folder.path(), "one");
    git(folder.path(), &["tag", "-a", "v1", "-m", "first"]);
    git(folder.path(), &["branch", "old"]);
    let second = commit(folder.path(), "two");
    (folder, first, second)
}

fn settings(place: RepositoryPlace, reference: &str) -> RepositorySettings {
    let time_out = Duration::from_mins(1);
    RepositorySettings { place, reference: reference.to_owned(), time_out, max_bytes: None }
}

async fn collected(place: RepositoryPlace, reference: &str) -> Result<Taker, SurroundingError> {
    collect(&Repository::new(name("source"), false, settings(place, reference))).await
}

fn path(folder: &TempDir) -> RepositoryPlace {
    RepositoryPlace::Path(folder.path().to_owned())
}

/// Clones the bundle, and gives the content of its work tree's file and its commit.
fn restored(taken: &Taker, arguments: &[&str]) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("repository.bundle");
    std::fs::write(&bundle, &taken.entries["repository.bundle"].bytes).unwrap();
    let clone = [&["clone", "--quiet"], arguments, &["repository.bundle", "clone"]].concat();
    git(folder.path(), &clone);
    let clone: PathBuf = folder.path().join("clone");
    (std::fs::read_to_string(clone.join("schema.ts")).unwrap(), git(&clone, &["rev-parse", "HEAD"]))
}

#[tokio::test]
async fn a_bundle_of_head_is_a_repository_again() {
    let (folder, _, second) = repository();
    let taken = collected(path(&folder), "HEAD").await.unwrap();
    assert_eq!(taken.names(), ["commit.txt", "repository.bundle"]);
    assert_eq!(taken.text("commit.txt"), format!("{second}\n"));
    assert_eq!(restored(&taken, &[]), ("two".to_owned(), second));
    assert!(taken.values.is_empty() && taken.not_covered.is_empty());
}

#[tokio::test]
async fn a_branch_and_a_tag_are_stored_as_they_are() {
    let (folder, first, _) = repository();
    for reference in ["old", "v1"] {
        let taken = collected(path(&folder), reference).await.unwrap();
        assert_eq!(taken.text("commit.txt"), format!("{first}\n"), "{reference}");
        let (text, commit) = restored(&taken, &["--branch", reference]);
        assert_eq!((text.as_str(), commit), ("one", first.clone()));
    }
}

#[tokio::test]
async fn a_detached_head_and_a_bare_repository_are_stored_too() {
    let (folder, first, second) = repository();
    let bare = tempfile::tempdir().unwrap();
    git(bare.path(), &["clone", "--quiet", "--bare", folder.path().to_str().unwrap(), "."]);
    assert_eq!(collected(path(&bare), "HEAD").await.unwrap().text("commit.txt"), format!("{second}\n"));
    git(folder.path(), &["checkout", "--quiet", "v1"]);
    let taken = collected(path(&folder), "HEAD").await.unwrap();
    assert_eq!(taken.text("commit.txt"), format!("{first}\n"));
}

#[tokio::test]
async fn one_elsewhere_is_cloned_first() {
    let (folder, first, second) = repository();
    let url = || RepositoryPlace::Url(format!("file://{}", folder.path().display()));
    let taken = collected(url(), "HEAD").await.unwrap();
    assert_eq!(restored(&taken, &[]), ("two".to_owned(), second));
    for reference in ["old", "v1"] {
        let taken = collected(url(), reference).await.unwrap();
        assert_eq!(taken.text("commit.txt"), format!("{first}\n"), "{reference}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let (folder, ..) = repository();
    let error = collected(path(&folder), "mian").await.unwrap_err();
    assert_eq!(error.kind, SurroundingErrorKind::NotFound);
    assert!(error.message.contains("the repository has no `mian`"), "{error}");
    let nowhere = RepositoryPlace::Path("/nonexistent/app".into());
    assert_eq!(collected(nowhere, "HEAD").await.unwrap_err().kind, SurroundingErrorKind::NotFound);
    let url = RepositoryPlace::Url("file:///nonexistent/app".to_owned());
    let error = collected(url, "HEAD").await.unwrap_err();
    assert!(error.message.contains("`git` failed"), "{error}");
}

#[tokio::test]
async fn a_shallow_clone_is_refused_with_the_remedy() {
    let (folder, ..) = repository();
    let shallow = tempfile::tempdir().unwrap();
    let url = format!("file://{}", folder.path().display());
    git(shallow.path(), &["clone", "--quiet", "--depth", "1", &url, "."]);
    let error = collected(path(&shallow), "HEAD").await.unwrap_err();
    assert!(error.message.contains("git fetch --unshallow"), "{error}");
}

#[tokio::test]
async fn a_bundle_larger_than_allowed_is_an_error() {
    let (folder, ..) = repository();
    let settings = RepositorySettings { max_bytes: Some(100), ..settings(path(&folder), "HEAD") };
    let error = collect(&Repository::new(name("source"), true, settings)).await.unwrap_err();
    assert_eq!(error.kind, SurroundingErrorKind::Limit);
}
