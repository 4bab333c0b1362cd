//! [`Tidy`]: removes the versions that a lease leaves behind in a bucket which keeps them.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use convault_core::{StoreError, StoreErrorKind};
use futures::StreamExt as _;

use super::object::LeaseObject;

/// Removes old versions until the store says that it has none or that we may not.
#[derive(Debug, Default)]
pub(super) struct Tidy {
    in_vain: AtomicBool,
}

impl Tidy {
    /// Removes every version of the lease but the newest, within `limit`. What fails is left for the next time.
    pub(super) async fn remove_old_versions(&self, object: &LeaseObject, limit: Duration) {
        if self.in_vain.load(Ordering::Relaxed) {
            return;
        }
        match tokio::time::timeout(limit, remove(object)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if matches!(error.kind, StoreErrorKind::Unsupported | StoreErrorKind::Denied) => {
                self.in_vain.store(true, Ordering::Relaxed);
                tracing::debug!(%error, "old versions of the lease stay");
            }
            Ok(Err(error)) => tracing::debug!(%error, "old versions of the lease are removed later"),
            Err(_) => tracing::debug!("old versions of the lease are removed later: the store is slow"),
        }
    }
}

async fn remove(object: &LeaseObject) -> Result<(), StoreError> {
    let mut versions = object.store().list_versions(object.key());
    while let Some(version) = versions.next().await {
        let version = version?;
        if version.key == object.key() && !version.latest {
            object.store().delete_version(&version.key, &version.version).await?;
        }
    }
    Ok(())
}
