//! Writing objects of a directory store: a file grows aside, is synced, and is then moved to its place.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use convault_core::{PutMode, Stored};
use tracing::warn;

use super::{
    paths::Paths,
    read::{absent, etag},
};

/// How often a folder is made again that somebody's delete removed because it was still empty.
const FOLDER_TRIES: u32 = 16;

/// A file that is being written, under `.uploads/<upload id>/<key>`: the key can be read off the path, and
/// removing the one folder removes the upload.
#[derive(Debug)]
pub(super) struct Temporary {
    pub(super) upload_id: String,
    path: PathBuf,
    file: File,
}

impl Temporary {
    /// A new empty file for the object `key`.
    pub(super) fn create(paths: &Paths, key: &str) -> io::Result<Self> {
        paths.object(key)?;
        if !paths.root().is_dir() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let upload_id = format!("{:032x}", rand::random::<u128>());
        let path = paths.upload(&upload_id)?.join(key);
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        Ok(Self { upload_id, path, file })
    }

    pub(super) fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    /// Syncs the file and makes it the object `key`. It stays what it is where the mode forbids that.
    pub(super) fn publish(&self, paths: &Paths, key: &str, mode: &PutMode) -> io::Result<Stored> {
        self.file.sync_all()?;
        let object = paths.object(key)?;
        match mode {
            PutMode::IfAbsent => self.link(paths, &object)?,
            PutMode::Overwrite => move_under_lock(paths, &self.path, &object, |_| true)?,
            PutMode::IfMatch(wanted) => {
                move_under_lock(paths, &self.path, &object, |found| found == Some(wanted.as_str()))?;
            }
        }
        sync_folder_of(&object)?;
        let metadata = fs::metadata(&object)?;
        Ok(Stored { size_bytes: metadata.len(), checksum_confirmed: false, etag: Some(etag(&metadata)) })
    }

    /// A hard link is the one move that never replaces. Not every file system has it.
    fn link(&self, paths: &Paths, object: &Path) -> io::Result<()> {
        match in_folder_of(paths, object, || fs::hard_link(&self.path, object)) {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) =>
            {
                move_under_lock(paths, &self.path, object, |found| found.is_none())
            }
            done => done,
        }
    }
}

pub(super) fn put(paths: &Paths, key: &str, body: &[u8], mode: &PutMode) -> io::Result<Stored> {
    let temporary = Temporary::create(paths, key)?;
    let stored = temporary.write_at(body, 0).and_then(|()| temporary.publish(paths, key, mode));
    tidy(paths, &temporary.upload_id);
    stored
}

/// Removes what is left of an upload whose outcome is known, which a failure here does not change: what stays
/// is found by `list_uploads`.
pub(super) fn tidy(paths: &Paths, upload_id: &str) {
    if let Err(error) = remove_temporary(paths, upload_id) {
        warn!(%upload_id, %error, "the folder of an upload could not be removed and stays");
    }
}

/// Removes what an upload left. Harmless when it is gone.
pub(super) fn remove_temporary(paths: &Paths, upload_id: &str) -> io::Result<()> {
    gone_is_fine(fs::remove_dir_all(paths.upload(upload_id)?))
}

/// Removes an object, and the folders that have nothing else in them.
pub(super) fn delete(paths: &Paths, key: &str) -> io::Result<()> {
    let object = paths.object(key)?;
    let is_file = match fs::symlink_metadata(&object).map_err(absent) {
        Ok(metadata) => !metadata.is_dir(),
        Err(error) if error.kind() == io::ErrorKind::NotFound && paths.root().is_dir() => false,
        Err(error) => return Err(error),
    };
    if is_file {
        gone_is_fine(fs::remove_file(&object))?;
        gone_is_fine(sync_folder_of(&object))?;
        remove_empty_folders(paths, &object);
    }
    Ok(())
}

/// Somebody else who deletes at the same time may have been quicker, with the file or with its folder.
fn gone_is_fine(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn remove_empty_folders(paths: &Paths, object: &Path) {
    let folders = object.ancestors().skip(1).take_while(|folder| *folder != paths.root());
    // A folder with something in it refuses, which ends the way up.
    for folder in folders {
        if fs::remove_dir(folder).is_err() {
            break;
        }
    }
}

/// Moves `file` over `object` if `allows` says so, given the entity tag of what is there. The lock lets only
/// one Convault at a time look and move.
fn move_under_lock(
    paths: &Paths,
    file: &Path,
    object: &Path,
    allows: impl Fn(Option<&str>) -> bool,
) -> io::Result<()> {
    let lock = OpenOptions::new().write(true).create(true).truncate(false).open(paths.lock())?;
    lock.lock()?;
    let present = match fs::metadata(object).map_err(absent) {
        Ok(metadata) => Some(etag(&metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if !allows(present.as_deref()) {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    in_folder_of(paths, object, || fs::rename(file, object))
}

/// Does `work` after making the folder of `object`. A delete may remove that folder in between.
fn in_folder_of(paths: &Paths, object: &Path, work: impl Fn() -> io::Result<()>) -> io::Result<()> {
    let mut tries = FOLDER_TRIES;
    loop {
        tries -= 1;
        match make_folder_of(paths, object).and_then(|()| work()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries > 0 && paths.root().is_dir() => {}
            done => return done,
        }
    }
}

/// Makes the folders down to `object`, each one synced into the one above it.
fn make_folder_of(paths: &Paths, object: &Path) -> io::Result<()> {
    let missing = object.ancestors().skip(1).take_while(|folder| *folder != paths.root() && !folder.is_dir());
    for folder in missing.collect::<Vec<_>>().into_iter().rev() {
        match fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Err(_) if !folder.is_dir() => return Err(io::ErrorKind::NotADirectory.into()),
            _ => sync_folder_of(folder)?,
        }
    }
    Ok(())
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_hard_links_a_move_under_the_lock_leaves_what_is_there() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path().to_owned());
        put(&paths, "a/b", b"first", &PutMode::Overwrite).unwrap();
        let second = Temporary::create(&paths, "a/b").unwrap();
        let object = paths.object("a/b").unwrap();
        let refused = move_under_lock(&paths, &second.path, &object, |found| found.is_none()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&object).unwrap(), b"first");
        fs::remove_file(&object).unwrap();
        move_under_lock(&paths, &second.path, &object, |found| found.is_none()).unwrap();
        assert_eq!(fs::read(&object).unwrap(), b"");
    }

    #[test]
    fn an_object_cannot_be_made_below_another_object() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path().to_owned());
        put(&paths, "a", b"first", &PutMode::Overwrite).unwrap();
        assert!(put(&paths, "a/b", b"second", &PutMode::IfAbsent).is_err());
        assert_eq!(fs::read(root.path().join("a")).unwrap(), b"first");
    }
}
