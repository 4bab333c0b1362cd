//! Records of the objects, so that a server with a root still has them after a restart.
//!
//! Below the root, `bytes/` holds what arrived and `objects/` one small JSON file for each object. An upload that
//! was not completed does not outlive the server.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use serde::{Deserialize, Serialize};

use super::state::{Held, Object};

#[derive(Serialize, Deserialize)]
struct Record {
    bucket: String,
    key: String,
    object: Object,
}

#[derive(Debug, Default)]
pub(super) struct Records {
    folder: Option<PathBuf>,
    last: AtomicU64,
}

/// The folder for bytes below the root, which is made.
pub(super) fn bytes_folder(root: &Path) -> io::Result<PathBuf> {
    let folder = root.join("bytes");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

impl Records {
    /// Reads what an earlier server left below the root, and removes bytes that belong to nothing.
    pub(super) fn open(root: &Path) -> io::Result<(Self, Held)> {
        let folder = root.join("objects");
        fs::create_dir_all(&folder)?;
        let (mut held, mut used, mut last) = (Held::default(), BTreeSet::new(), 0);
        for entry in fs::read_dir(&folder)? {
            let record: Record = serde_json::from_slice(&fs::read(entry?.path())?)?;
            last = last.max(record.object.record);
            used.extend(
                record.object.pieces.iter().filter_map(|piece| piece.file_name()).map(OsString::from),
            );
            let objects = held.buckets.entry(record.bucket).or_default();
            // Two records of one key are left where a server was killed between writing and removing.
            let newer = objects.get(&record.key).is_none_or(|other| other.record < record.object.record);
            if newer {
                objects.insert(record.key, record.object);
            }
        }
        for entry in fs::read_dir(bytes_folder(root)?)? {
            let entry = entry?;
            if !used.contains(&entry.file_name()) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok((Self { folder: Some(folder), last: AtomicU64::new(last) }, held))
    }

    /// Records an object and gives the record's number.
    pub(super) fn write(&self, bucket: &str, key: &str, object: &Object) -> io::Result<u64> {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(path) = self.path(number) {
            let object = Object { record: number, ..object.clone() };
            let record = Record { bucket: bucket.to_owned(), key: key.to_owned(), object };
            fs::write(path, serde_json::to_vec(&record)?)?;
        }
        Ok(number)
    }

    pub(super) fn remove(&self, number: u64) {
        if let Some(path) = self.path(number)
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::warn!(path = %path.display(), %error, "a record of the S3 server could not be removed");
        }
    }

    fn path(&self, number: u64) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(format!("{number:020}.json")))
    }
}
