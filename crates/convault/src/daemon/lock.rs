//! The exclusive use of the state directory.

use std::{
    fs::{File, TryLockError},
    path::Path,
};

use anyhow::{Context as _, bail};

/// The exclusive use of the state directory. Given up when dropped, also by `kill -9`.
#[derive(Debug)]
pub(crate) struct StateLock {
    _file: File,
}

impl StateLock {
    /// Takes the state directory, making it where it is missing; fails when another process has it.
    pub(crate) fn take(state_dir: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(state_dir)
            .with_context(|| format!("cannot make {} (setting daemon.state_dir)", state_dir.display()))?;
        let path = state_dir.join("lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file =
            file.with_context(|| format!("cannot open {} (setting daemon.state_dir)", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => bail!(
                "another convault process uses {}; if it is the daemon, its socket (setting daemon.socket) is not \
                 where this one looks for it",
                state_dir.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }
}
