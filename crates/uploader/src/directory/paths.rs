//! Which file a key is, and which keys may not be.

use std::{
    io,
    path::{Path, PathBuf},
};

/// The folder below the root where unfinished files grow; never part of a listing.
pub(super) const UPLOADS: &str = ".uploads";

/// The root of a directory store.
#[derive(Debug)]
pub(super) struct Paths {
    root: PathBuf,
}

impl Paths {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The file of the object `key`. A key that would leave the root, or that only resembles another one,
    /// is refused.
    pub(super) fn object(&self, key: &str) -> io::Result<PathBuf> {
        check(key)?;
        Ok(self.root.join(key))
    }

    /// The folder that `prefix` begins in, as a key prefix that is empty or ends in `/`, and its path.
    pub(super) fn folder_of_prefix<'a>(&self, prefix: &'a str) -> io::Result<(&'a str, PathBuf)> {
        let folder = prefix.rfind('/').map_or("", |slash| &prefix[..=slash]);
        if folder.is_empty() {
            return Ok(("", self.root.clone()));
        }
        check(folder.trim_end_matches('/'))?;
        if folder.ends_with("//") {
            return Err(refused());
        }
        Ok((folder, self.root.join(folder)))
    }

    pub(super) fn uploads(&self) -> PathBuf {
        self.root.join(UPLOADS)
    }

    /// The folder of one unfinished upload. Its identifier comes back from callers, so it is checked too.
    pub(super) fn upload(&self, upload_id: &str) -> io::Result<PathBuf> {
        let made_here = !upload_id.is_empty() && upload_id.bytes().all(|byte| byte.is_ascii_hexdigit());
        if made_here { Ok(self.uploads().join(upload_id)) } else { Err(refused()) }
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.uploads().join("lock")
    }
}

fn check(key: &str) -> io::Result<()> {
    let plain = |name: &str| !matches!(name, "" | "." | "..") && !name.contains('\0');
    let first = key.split('/').next().unwrap_or_default();
    if key.split('/').all(plain) && first != UPLOADS { Ok(()) } else { Err(refused()) }
}

fn refused() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "empty, `.`, `..` and `.uploads` are not parts of a key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_cannot_leave_the_root() {
        let paths = Paths::new(PathBuf::from("/srv/shelf"));
        for bad in ["", "/a", "a/", "a//b", "..", "a/../b", "./a", "a/.", ".uploads/x", "a\0b"] {
            assert!(paths.object(bad).is_err(), "{bad:?} was taken");
        }
        assert_eq!(paths.object("a/b c+%é").unwrap(), Path::new("/srv/shelf/a/b c+%é"));
        for bad in ["/", "../", "a/../b", ".uploads/", "a//"] {
            assert!(paths.folder_of_prefix(bad).is_err(), "{bad:?} was taken");
        }
        assert_eq!(paths.folder_of_prefix("a/b/c").unwrap().0, "a/b/");
        assert_eq!(paths.folder_of_prefix("abc").unwrap().0, "");
        assert!(paths.upload("../../etc").is_err());
    }
}
