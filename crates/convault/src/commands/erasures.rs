//! The erasure ledger, for every verb that gives content away: what it says is to be forgotten is held back.

use std::sync::Arc;

use convault_archive::encryption::Identities;
use convault_core::{Clock as _, DeploymentName, Manifest, RunEvent, SnapshotId, SystemClock};
use convault_jobs::{
    Content, Destination, ErasedSet, Rules, RunContext,
    erasure::{ErasureLimits, Found, Ledger, LedgerKeys, read_ledger, search_erased},
};
use convault_settings::Settings;
use tokio_util::sync::CancellationToken;

use super::choose::chosen_destinations;
use crate::{print, wiring};

/// Who is to be forgotten of one deployment, as content is read from one destination.
pub(crate) struct Erasures {
    /// `None`: --include-erased was typed.
    ledger: Option<Ledger>,
    limits: ErasureLimits,
}

/// How much may be erased of a snapshot.
pub(crate) fn limits(settings: &Settings) -> ErasureLimits {
    ErasureLimits { max_erased_ids: settings.erasure.max_erased_ids as usize }
}

/// What reading the ledger takes.
pub(crate) fn keys(settings: &Settings, identities: Option<&Identities>) -> anyhow::Result<LedgerKeys> {
    Ok(LedgerKeys { identities: identities.cloned(), names: wiring::names_key(settings)? })
}

impl Erasures {
    /// Reads the ledger of a deployment before anything is read in `destination`. One that is not whole is an error,
    /// unless `include_erased` was typed: then nobody asks for it.
    pub(crate) async fn read(
        settings: &Settings,
        destination: &Destination,
        deployment: &DeploymentName,
        identities: Option<&Identities>,
        include_erased: bool,
    ) -> anyhow::Result<Self> {
        let limits = limits(settings);
        if include_erased {
            print::note("warning: what was erased is not held back (--include-erased)");
            return Ok(Self { ledger: None, limits });
        }
        // As it is now, also where the content is read as it was: whoever was erased since is erased.
        let everywhere = chosen_destinations(settings, None, None)?;
        let name = destination.store.destination();
        let here = everywhere.iter().find(|one| one.store.destination() == name).unwrap_or(destination);
        let context = context();
        let keys = keys(settings, identities)?;
        let ledger = read_ledger(deployment, here, &everywhere, &keys, &context).await?;
        Ok(Self { ledger: Some(ledger), limits })
    }

    /// What is to be held back of one snapshot. Says on standard error how much that is, never what.
    pub(crate) async fn of_snapshot(
        &self,
        destination: &Destination,
        manifest: &Manifest,
        identities: Option<&Identities>,
    ) -> anyhow::Result<ErasedSet> {
        let Some(ledger) = self.ledger.as_ref().filter(|ledger| !ledger.is_empty()) else {
            return Ok(ErasedSet::default());
        };
        let context = context();
        let rules = Rules::default();
        let store = destination.store.as_ref();
        let stored = Content::new(store, manifest, identities, &rules, &context);
        let found = search_erased(&stored, ledger, self.limits).await?;
        if let Some(text) = told(&found) {
            print::note(&format!("{}: erased, and held back: {text}", manifest.id));
        }
        Ok(found.set)
    }
}

/// How much was found, in words; `None` where that is nothing.
pub(crate) fn told(found: &Found) -> Option<String> {
    let documents: u64 = found.documents.values().sum();
    let files: u64 = found.files.values().sum();
    (documents + files > 0).then(|| format!("{documents} document(s) and {files} stored file(s)"))
}

/// Reading what is to be held back writes nothing, so that a process that is stopped meanwhile just ends.
fn context() -> RunContext {
    let id = SnapshotId::new(SystemClock.now(), rand::random());
    let tell = |event| {
        if let RunEvent::Warning { text, .. } = event {
            print::note(&format!("warning: {text}"));
        }
    };
    RunContext::new(id, Arc::new(SystemClock), CancellationToken::new(), Arc::new(tell))
}
