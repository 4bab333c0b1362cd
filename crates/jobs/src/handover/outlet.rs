//! [`Outlet`]: files that appear under their names only once they are whole.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::JobError;

/// A file, or a folder of files, being made. It appears under its name by [`Outlet::publish`]; without that nothing is
/// left. What is there already is left alone, and an error. Files can be read by their owner only: they hold data of
/// people.
#[derive(Debug)]
pub struct Outlet {
    target: PathBuf,
    /// Where files are made: a folder of its own, beside what it becomes.
    work: PathBuf,
    is_folder: bool,
    /// Names in `work`; those of a file that is made are put behind its name.
    made: Vec<String>,
}

impl Outlet {
    /// A file at `path`; what else is made has its name and one more ending.
    pub fn file(path: &Path) -> Result<Self, JobError> {
        Self::new(path, false)
    }

    /// A folder at `path`.
    pub fn folder(path: &Path) -> Result<Self, JobError> {
        Self::new(path, true)
    }

    fn new(path: &Path, is_folder: bool) -> Result<Self, JobError> {
        refuse_existing(path)?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.partial", std::process::id()));
        let work = path.with_file_name(name);
        let made = DirBuilder::new().mode(0o700).create(&work);
        made.map_err(failed(&work, "cannot make the folder in which it is put together"))?;
        Ok(Self { target: path.to_owned(), work, is_folder, made: Vec::new() })
    }

    /// The name it will have.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Whether it becomes a folder.
    pub fn is_folder(&self) -> bool {
        self.is_folder
    }

    /// A new file in the folder; or of a file, the file itself where `name` is empty, and otherwise one with that
    /// ending. Gives it and where it lies until it is whole.
    pub fn create(&mut self, name: &str) -> Result<(File, PathBuf), JobError> {
        if !self.is_folder {
            refuse_existing(&self.becomes(name))?;
        }
        let path = self.work.join(if name.is_empty() { "file" } else { name });
        if let Some(parent) = path.parent() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
            made.map_err(failed(parent, "cannot make the folder"))?;
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(failed(&path, "cannot make the file"))?;
        self.made.push(name.to_owned());
        Ok((file, path))
    }

    /// Sees to it that what others wrote into a file that was made is on its disk.
    pub fn settle(&mut self, name: &str) -> Result<(), JobError> {
        let path = self.work.join(if name.is_empty() { "file" } else { name });
        let settled = File::open(&path).and_then(|file| file.sync_all());
        settled.map_err(failed(&path, "cannot write"))
    }

    fn becomes(&self, name: &str) -> PathBuf {
        if name.is_empty() {
            return self.target.clone();
        }
        let mut file = self.target.file_name().unwrap_or_default().to_owned();
        file.push(format!(".{name}"));
        self.target.with_file_name(file)
    }

    /// Puts what was made in its place. The files have to be closed, and on their disk.
    pub fn publish(self) -> Result<PathBuf, JobError> {
        let in_place = "cannot put what was made in its place";
        if self.is_folder {
            refuse_existing(&self.target)?;
            std::fs::rename(&self.work, &self.target).map_err(failed(&self.target, in_place))?;
            return Ok(self.target.clone());
        }
        for name in &self.made {
            let (made, place) =
                (self.work.join(if name.is_empty() { "file" } else { name }), self.becomes(name));
            // A link, unlike a rename, refuses to replace what is there.
            std::fs::hard_link(&made, &place).map_err(failed(&place, in_place))?;
        }
        Ok(self.target.clone())
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        match std::fs::remove_dir_all(&self.work) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.work.display(), %error, "what is unfinished could not be removed");
            }
            _ => {}
        }
    }
}

fn refuse_existing(path: &Path) -> Result<(), JobError> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(path, "cannot look for it")(error)),
        Ok(_) => {
            let source =
                io::Error::new(io::ErrorKind::AlreadyExists, "it is there already, and is left alone");
            Err(failed(path, "cannot make it")(source))
        }
    }
}

/// The error of a file.
pub(crate) fn failed(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> JobError + use<> {
    let path = path.display().to_string();
    move |source| JobError::File { path, what, source }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_only_when_it_is_published() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("contacts.csv");
        let mut outlet = Outlet::file(&path).unwrap();
        outlet.create("").unwrap().0.write_all(b"x").unwrap();
        outlet.create("columns.json").unwrap();
        assert!(!path.exists());
        outlet.publish().unwrap();
        assert_eq!(names(folder.path()), ["contacts.csv", "contacts.csv.columns.json"]);
        assert_eq!(std::fs::read(&path).unwrap(), b"x");
        assert!(Outlet::file(&path).is_err());
    }

    #[test]
    fn what_is_not_published_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for outlet in [Outlet::file(&folder.path().join("a")), Outlet::folder(&folder.path().join("b"))] {
            outlet.unwrap().create("").unwrap();
        }
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn what_was_put_there_meanwhile_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut outlet = Outlet::file(&path).unwrap();
        outlet.create("").unwrap();
        std::fs::write(&path, b"other").unwrap();
        assert!(outlet.publish().is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"other");
        let inside = folder.path().join("b");
        let mut outlet = Outlet::folder(&inside).unwrap();
        outlet.create("sub/c").unwrap();
        outlet.publish().unwrap();
        assert_eq!(names(&inside), ["sub"]);
    }
}
