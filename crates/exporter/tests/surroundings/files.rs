//! Files of this machine.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use convault_core::SurroundingErrorKind;
use convault_exporter::Files;

use crate::taker::{Taker, collect, name};

fn put(folder: &Path, path: &str, text: &str, mode: u32) -> PathBuf {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

async fn collected(folder: &Path, patterns: &[&str]) -> Taker {
    let patterns = patterns.iter().map(|pattern| folder.join(pattern)).collect();
    collect(&Files::new(name("env-files"), false, patterns)).await.unwrap()
}

/// The entries below `folder`.
fn below(taken: &Taker, folder: &Path) -> Vec<String> {
    let prefix = format!("{}/", folder.strip_prefix("/").unwrap().display());
    taken.names().iter().map(|name| name.strip_prefix(&prefix).unwrap().to_owned()).collect()
}

#[tokio::test]
async fn files_are_found_by_path_and_by_pattern() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for path in ["app/.env", "app/.env.local", "app/notes.txt", "web/a/.env", "web/a/b/.env", ".hidden/.env"]
    {
        put(folder, path, "A=hunter2\n", 0o600);
    }
    let taken = collected(folder, &["app/.env*", "web/**/.env", "app/.env"]).await;
    assert_eq!(below(&taken, folder), ["app/.env", "app/.env.local", "web/a/.env", "web/a/b/.env"]);
    assert!(taken.not_covered.is_empty(), "{:?}", taken.not_covered);
    let everywhere = collected(folder, &["**/.env"]).await;
    assert_eq!(below(&everywhere, folder), ["app/.env", "web/a/.env", "web/a/b/.env"]);
}

#[tokio::test]
async fn mode_owner_and_time_are_kept_and_a_change_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), ".env", "A=hunter2\n", 0o640);
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    let taken = collected(folder.path(), &[".env"]).await;
    let (entry_name, entry) = taken.entries.first_key_value().unwrap();
    assert_eq!(entry.bytes, b"A=hunter2\n");
    assert_eq!(entry.details.mode, Some(0o640));
    assert_eq!(entry.details.modified.unwrap().as_second(), 1_700_000_000);
    let me = fs::metadata(&path).unwrap();
    assert_eq!(entry.details.owner, Some((me.uid(), me.gid())));
    let before = taken.values[entry_name].clone();
    fs::write(&path, "A=hunter3\n").unwrap();
    assert_ne!(collected(folder.path(), &[".env"]).await.values[entry_name], before);
}

#[tokio::test]
async fn a_link_is_stored_as_what_it_leads_to_under_its_own_name() {
    let folder = tempfile::tempdir().unwrap();
    let target = put(folder.path(), "releases/7/env", "A=hunter2\n", 0o400);
    symlink(&target, folder.path().join(".env")).unwrap();
    symlink(folder.path().join("releases"), folder.path().join("current")).unwrap();
    let taken = collected(folder.path(), &[".env", "**/env"]).await;
    assert_eq!(
        below(&taken, folder.path()),
        [".env", "releases/7/env"],
        "a linked folder is not looked into"
    );
    let link = taken.entries.values().next().unwrap();
    assert_eq!((link.bytes.as_slice(), link.details.mode), (&b"A=hunter2\n"[..], Some(0o400)));
}

#[tokio::test]
async fn what_cannot_be_read_is_told_and_the_rest_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    put(folder, "good", "A=hunter2\n", 0o600);
    symlink(folder.join("nowhere"), folder.join("dangling")).unwrap();
    fs::create_dir(folder.join("inner")).unwrap();
    let taken = collected(folder, &["good", "missing", "dangling", "inner", "*.env"]).await;
    assert_eq!(below(&taken, folder), ["good"]);
    let gaps = taken.gaps().join("\n");
    assert_eq!(taken.gaps().len(), 4, "{gaps}");
    assert!(taken.unread.contains(folder.join("missing").to_str().unwrap()));
    for words in
        ["missing: the file cannot be read", "dangling: the file", "it is a folder", "nothing matches"]
    {
        assert!(gaps.contains(words), "{gaps}");
    }
}

#[tokio::test]
async fn a_required_file_that_is_missing_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::new(name("env-files"), true, vec![folder.path().join("missing")]);
    let error = collect(&files).await.unwrap_err();
    assert_eq!(error.kind, SurroundingErrorKind::NotFound);
    assert!(error.message.contains("missing"), "{error}");
}

#[tokio::test]
async fn a_large_file_comes_in_pieces_and_a_pipe_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "large", &"x".repeat(1 << 20), 0o600);
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let taken = collected(folder.path(), &["large", "pipe"]).await;
    let large = taken.entries.values().next().unwrap();
    assert_eq!(large.bytes.len(), 1 << 20);
    assert!(large.largest_write <= 64 << 10);
    assert!(taken.gaps()[0].contains("it is no plain file"), "{:?}", taken.gaps());
}
