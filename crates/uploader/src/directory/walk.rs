//! Listing a directory store in the order of whole keys, which is not the order of its folders' names:
//! `a-b` comes before `a/b`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    vec,
};

use convault_core::{ObjectInfo, UnfinishedUpload};

use super::{
    paths::{Paths, UPLOADS},
    read::{absent, info, modified},
};

const PAGE_OBJECTS: usize = 1000;

/// A listing under way: the entries not yet visited, of each folder on the way down.
#[derive(Debug)]
pub(super) struct Walk {
    prefix: String,
    levels: Option<Vec<vec::IntoIter<Entry>>>,
}

/// A file, or a folder (whose key ends in `/`, so that keys sort as those of the objects below it do).
#[derive(Debug)]
struct Entry {
    key: String,
    path: PathBuf,
}

impl Entry {
    fn is_folder(&self) -> bool {
        self.key.ends_with('/')
    }
}

impl Walk {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), levels: None }
    }

    /// The next objects; none at the end. What disappears while the walk comes by is left out.
    pub(super) fn next_page(&mut self, paths: &Paths) -> io::Result<Vec<ObjectInfo>> {
        let mut levels = match self.levels.take() {
            Some(levels) => levels,
            None => vec![first_level(paths, &self.prefix)?.into_iter()],
        };
        let mut page = Vec::new();
        while page.len() < PAGE_OBJECTS
            && let Some(level) = levels.last_mut()
        {
            match level.next() {
                None => drop(levels.pop()),
                Some(folder) if folder.is_folder() => {
                    levels.push(read_folder(&folder.key, &folder.path)?.into_iter());
                }
                Some(file) => {
                    page.extend(present(fs::metadata(&file.path))?.map(|found| info(&file.key, &found)));
                }
            }
        }
        self.levels = Some(levels);
        Ok(page)
    }
}

/// The entries below which keys with this prefix are. A prefix that names no folder has none; a root that is
/// not there is an error, not an empty listing.
fn first_level(paths: &Paths, prefix: &str) -> io::Result<Vec<Entry>> {
    let (folder, path) = paths.folder_of_prefix(prefix)?;
    if !paths.root().is_dir() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let mut entries = read_folder(folder, &path)?;
    let unfinished = format!("{UPLOADS}/");
    entries.retain(|entry| entry.key.starts_with(prefix) && entry.key != unfinished);
    Ok(entries)
}

/// What is in a folder, in the order of keys. Names that are not UTF-8 and things that are neither file nor
/// folder were not put here by a store and are left out; so are symbolic links, which could lead in circles.
fn read_folder(key: &str, path: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in present(fs::read_dir(path))?.into_iter().flatten() {
        let entry = entry?;
        let (Ok(name), Some(kind)) = (entry.file_name().into_string(), present(entry.file_type())?) else {
            continue;
        };
        if kind.is_dir() {
            entries.push(Entry { key: format!("{key}{name}/"), path: entry.path() });
        } else if kind.is_file() {
            entries.push(Entry { key: format!("{key}{name}"), path: entry.path() });
        }
    }
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(entries)
}

fn present<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found.map_err(absent) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The folders directly below `prefix` that have an object somewhere below them.
pub(super) fn folders(paths: &Paths, prefix: &str) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in first_level(paths, prefix)? {
        if entry.is_folder() && has_objects(&entry)? {
            let name = entry.key.trim_end_matches('/');
            names.push(name[name.rfind('/').map_or(0, |slash| slash + 1)..].to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn has_objects(folder: &Entry) -> io::Result<bool> {
    for entry in read_folder(&folder.key, &folder.path)? {
        if !entry.is_folder() || has_objects(&entry)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Every unfinished upload of a key with this prefix.
pub(super) fn uploads(paths: &Paths, prefix: &str) -> io::Result<Vec<UnfinishedUpload>> {
    if !paths.root().is_dir() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let mut uploads = Vec::new();
    for folder in read_folder("", &paths.uploads())?.iter().filter(|entry| entry.is_folder()) {
        let upload_id = folder.key.trim_end_matches('/');
        let mut waiting = read_folder("", &folder.path)?;
        while let Some(entry) = waiting.pop() {
            if entry.is_folder() {
                waiting.extend(read_folder(&entry.key, &entry.path)?);
            } else if entry.key.starts_with(prefix)
                && let Some(metadata) = present(fs::metadata(&folder.path))?
            {
                let started = modified(&metadata);
                uploads.push(UnfinishedUpload { key: entry.key, upload_id: upload_id.to_owned(), started });
            }
        }
    }
    uploads.sort_by(|a, b| (&a.key, &a.upload_id).cmp(&(&b.key, &b.upload_id)));
    Ok(uploads)
}
