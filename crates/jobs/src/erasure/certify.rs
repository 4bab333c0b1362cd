//! Makes a certificate: what of every stored snapshot is gone, what is held back, and what is still stored.

use std::collections::BTreeSet;

use convault_archive::{NamesKey, encryption::Identities};
use convault_core::{
    CERTIFICATE_FORMAT, CertifiedCopy, CertifiedEntry, CopyState, DeploymentName, DestinationName,
    ErasureCertificate, FilesMode, Layout, Remaining, SnapshotId, StoreErrorKind,
};
use futures::TryStreamExt as _;
use jiff::Timestamp;

use crate::{
    Destination, Folder, FolderState, JobError, RunContext, Snapshot, Survey, Trust,
    content::{Content, Rules},
    erasure::{
        ledger::{Ledger, LedgerKeys, read_ledger},
        rewrite::{RewrittenSnapshot, is_in_place_of},
        search::{ErasureLimits, Found, search_erased},
    },
    error::chain,
    prune::locked_until,
    shared::unneeded,
    survey::survey,
};

/// What the code of a certificate is for.
pub(super) const PURPOSE: &str = "erasure-certificate";

/// A certificate as files.
#[derive(Debug, Clone)]
pub struct SealedCertificate {
    /// The certificate, JSON.
    pub json: Vec<u8>,
    /// The same for people.
    pub text: String,
    /// Its signature, as minisign writes it, where somebody signs.
    pub signature: Option<String>,
}

/// Looks at every stored snapshot of a deployment in `destinations` and says what of it is gone. `rewritten` are those that
/// were written anew just now. A destination or snapshot that cannot be looked at is named among what remains; a ledger
/// that is not whole is an error.
pub async fn certify(
    deployment: &DeploymentName,
    destinations: &[Destination],
    rewritten: &[(DestinationName, RewrittenSnapshot)],
    keys: &LedgerKeys,
    limits: ErasureLimits,
    version: &str,
    context: &RunContext,
) -> Result<ErasureCertificate, JobError> {
    let mut certifying = Certifying {
        deployment,
        rewritten,
        identities: keys.identities.as_ref(),
        limits,
        context,
        copies: Vec::new(),
        remaining: Vec::new(),
    };
    let mut newest: Option<Ledger> = None;
    for destination in destinations {
        let survey = match survey(destination, deployment, &[], context.clock.now()).await {
            Ok(survey) => survey,
            Err(error) => {
                let why = format!("it cannot be looked at: {}", chain(&error));
                certifying.remains(destination, None, why, None);
                continue;
            }
        };
        if survey.folders.is_empty() {
            continue;
        }
        let ledger = read_ledger(deployment, destination, destinations, keys, context).await?;
        certifying.destination(destination, &survey, &ledger).await?;
        if newest.as_ref().is_none_or(|newest| newest.newest() < ledger.newest()) {
            newest = Some(ledger);
        }
    }
    let Certifying { copies, remaining, .. } = certifying;
    let ledger = newest.unwrap_or_else(|| Ledger::empty(deployment.clone()));
    Ok(ErasureCertificate {
        format: CERTIFICATE_FORMAT,
        run: context.id.clone(),
        convault_version: version.to_owned(),
        at: context.clock.now(),
        deployment: deployment.clone(),
        ledger: entries(&ledger),
        copies,
        remaining,
    })
}

fn entries(ledger: &Ledger) -> Vec<CertifiedEntry> {
    let entry = |one: &convault_core::LedgerEntry| CertifiedEntry {
        number: one.entry.number,
        sha256: one.sha256,
        at: one.entry.at,
        reason: one.entry.reason.clone(),
        subjects: one.entry.subjects.len() as u64,
    };
    ledger.records().iter().map(entry).collect()
}

/// Makes files of a certificate: with a keyed hash that shows a change to whoever has the names key, and signed where
/// somebody signs.
pub fn seal_certificate(
    certificate: &ErasureCertificate,
    names: &NamesKey,
    trust: &Trust,
) -> SealedCertificate {
    let json = certificate.to_bytes(|bytes| names.hash(PURPOSE, &[bytes]));
    let comment =
        format!("convault certificate {} {} {}", certificate.deployment, certificate.run, certificate.at);
    let signature = trust.signer().map(|signer| signer.sign(&json, &comment));
    SealedCertificate { json, text: certificate.to_text(), signature }
}

struct Certifying<'a> {
    deployment: &'a DeploymentName,
    rewritten: &'a [(DestinationName, RewrittenSnapshot)],
    identities: Option<&'a Identities>,
    limits: ErasureLimits,
    context: &'a RunContext,
    copies: Vec<CertifiedCopy>,
    remaining: Vec<Remaining>,
}

impl Certifying<'_> {
    fn remains(
        &mut self,
        destination: &Destination,
        snapshot: Option<&SnapshotId>,
        why: impl Into<String>,
        until: Option<Timestamp>,
    ) {
        let destination = destination.store.destination().clone();
        self.remaining.push(Remaining { destination, snapshot: snapshot.cloned(), why: why.into(), until });
    }

    async fn destination(
        &mut self,
        destination: &Destination,
        survey: &Survey,
        ledger: &Ledger,
    ) -> Result<(), JobError> {
        for folder in &survey.folders {
            match &folder.state {
                FolderState::Snapshot(snapshot) => {
                    self.snapshot(destination, survey, snapshot, ledger).await?;
                }
                state => {
                    let why = format!("its folder is {}, so that it was not looked through", state.as_str());
                    self.remains(destination, Some(&folder.id), why, None);
                }
            }
        }
        self.versions(destination, survey).await;
        self.shared(destination, survey).await
    }

    async fn snapshot(
        &mut self,
        destination: &Destination,
        survey: &Survey,
        snapshot: &Snapshot,
        ledger: &Ledger,
    ) -> Result<(), JobError> {
        let manifest = &snapshot.manifest;
        let rules = Rules::default();
        let store = destination.store.as_ref();
        let stored = Content::new(store, manifest, self.identities, &rules, self.context);
        let found = match search_erased(&stored, ledger, self.limits).await {
            Ok(found) => found,
            Err(error @ (JobError::Stopped | JobError::TooManyErased { .. })) => return Err(error),
            Err(error) => {
                let why = format!("it could not be looked through: {}", chain(&error));
                self.remains(destination, Some(&manifest.id), why, None);
                return Ok(());
            }
        };
        let state = match (found.total(), manifest.rewritten_from.is_empty()) {
            (0, true) => CopyState::Clean,
            (0, false) => CopyState::Rewritten,
            _ => CopyState::HeldBack,
        };
        if state == CopyState::HeldBack {
            let newer = survey.folders.iter().find(|folder| is_in_place_of(folder, snapshot));
            self.held_back(destination, snapshot, newer).await?;
        }
        let own = |(name, one): &&(DestinationName, RewrittenSnapshot)| {
            *name == *destination.store.destination() && one.id == manifest.id
        };
        let just_now = self.rewritten.iter().find(own).map(|(_, one)| &one.found);
        let told: &Found = if state == CopyState::Rewritten { just_now.unwrap_or(&found) } else { &found };
        let removed = manifest.rewritten_from.iter();
        let removed =
            removed.fold((0, 0), |(documents, files), one| (documents + one.documents, files + one.files));
        self.copies.push(CertifiedCopy {
            destination: destination.store.destination().clone(),
            snapshot: manifest.id.clone(),
            manifest_sha256: snapshot.manifest_sha256,
            snapshot_time: manifest.snapshot_time(),
            state,
            in_place_of: manifest.rewritten_from.last().map(|one| (one.id.clone(), one.manifest_sha256)),
            removed,
            documents: told.documents.clone(),
            files: told.files.clone(),
        });
        Ok(())
    }

    async fn held_back(
        &mut self,
        destination: &Destination,
        snapshot: &Snapshot,
        newer: Option<&Folder>,
    ) -> Result<(), JobError> {
        let locked = locked_until(destination, &snapshot.manifest).await?;
        let locked = locked.filter(|until| *until > self.context.clock.now());
        let why = match (newer, locked) {
            (Some(newer), Some(_)) => format!("locked against deletion; {} is in its place", newer.id),
            (Some(newer), None) => format!("{} is in its place; `erase --rewrite` removes it", newer.id),
            (None, Some(_)) => "locked against deletion, and not written anew yet".to_owned(),
            (None, None) => "not written anew yet: `erase --rewrite`".to_owned(),
        };
        self.remains(destination, Some(&snapshot.manifest.id), why, locked);
        Ok(())
    }

    /// What a bucket with versions keeps of snapshots that are gone.
    async fn versions(&mut self, destination: &Destination, survey: &Survey) {
        let gone: BTreeSet<SnapshotId> = survey
            .snapshots()
            .flat_map(|snapshot| snapshot.manifest.rewritten_from.iter().map(|one| one.id.clone()))
            .filter(|id| survey.folder(id).is_none())
            .collect();
        let layout = Layout::new(self.deployment.clone());
        for id in gone {
            let versions = destination.store.list_versions(&layout.snapshot_prefix(&id));
            let versions = versions.try_filter(|version| std::future::ready(!version.deletion));
            let kept = versions.try_fold(0_u64, |number, _| async move { Ok(number + 1) }).await;
            match kept {
                Ok(0) => {}
                Ok(number) => {
                    let why = format!("the bucket keeps {number} older version(s) of its objects");
                    self.remains(destination, Some(&id), why, None);
                }
                Err(error) if error.kind == StoreErrorKind::Unsupported => {}
                Err(error) => {
                    let why =
                        format!("whether the bucket keeps older versions cannot be told: {}", chain(&error));
                    self.remains(destination, Some(&id), why, None);
                }
            }
        }
    }

    /// Shared files are removed by prunes, a grace after nothing needs them any more.
    async fn shared(&mut self, destination: &Destination, survey: &Survey) -> Result<(), JobError> {
        let was_rewritten = |snapshot: &Snapshot| {
            snapshot.manifest.files == FilesMode::Shared && !snapshot.manifest.rewritten_from.is_empty()
        };
        if !survey.snapshots().any(was_rewritten) {
            return Ok(());
        }
        let layout = Layout::new(self.deployment.clone());
        let now = self.context.clock.now();
        let number = unneeded(destination, &layout, survey, now, self.context).await?;
        if number > 0 {
            let why = format!(
                "{number} stored file(s) that no snapshot needs: a prune condemns them, and another removes them {} h \
                 later (`orphan_grace`)",
                destination.orphan_grace.as_secs() / 3600
            );
            self.remains(destination, None, why, None);
        }
        Ok(())
    }
}
