//! Makes a certificate: what of every stored snapshot is gone, what is held back, and what is still stored.

use std::collections::BTreeMap;

use convault_archive::{NamesKey, encryption::Identities};
use convault_core::{
    CERTIFICATE_FORMAT, CertifiedCopy, CertifiedEntry, CopyState, DeploymentName, DestinationName,
    ErasureCertificate, Layout, ObjectRole, ObjectVersion, Remaining, SnapshotId, StoreErrorKind,
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
        with_surroundings: 0,
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
        // What was pruned may have left something, also where it was the last.
        certifying.versions(destination, &survey).await?;
        certifying.shared(destination, &survey).await?;
        if survey.folders.is_empty() {
            continue;
        }
        let ledger = read_ledger(deployment, destination, destinations, keys, context).await?;
        certifying.destination(destination, &survey, &ledger).await?;
        if newest.as_ref().is_none_or(|newest| newest.newest() < ledger.newest()) {
            newest = Some(ledger);
        }
    }
    let not_looked_through = certifying.not_looked_through();
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
        not_looked_through,
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
    with_surroundings: u64,
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
        Ok(())
    }

    fn not_looked_through(&self) -> Vec<String> {
        let number = self.with_surroundings;
        let what = format!(
            "the surroundings of {number} snapshot(s): the arguments of what was scheduled, where that is stored, may name \
             somebody"
        );
        if number > 0 { vec![what] } else { Vec::new() }
    }

    async fn snapshot(
        &mut self,
        destination: &Destination,
        survey: &Survey,
        snapshot: &Snapshot,
        ledger: &Ledger,
    ) -> Result<(), JobError> {
        let manifest = &snapshot.manifest;
        self.with_surroundings += u64::from(manifest.object(ObjectRole::Surroundings).is_some());
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

    /// What a bucket with versions keeps of what is gone: of snapshots, however they went, and of shared files.
    async fn versions(&mut self, destination: &Destination, survey: &Survey) -> Result<(), JobError> {
        let layout = Layout::new(self.deployment.clone());
        let prefix = layout.snapshots_prefix();
        let mut gone: BTreeMap<SnapshotId, u64> = BTreeMap::new();
        let looked = self.each_version(destination, &prefix, |version| {
            let folder = version.key.strip_prefix(&prefix).and_then(|rest| rest.split('/').next());
            let id = folder.and_then(|folder| SnapshotId::parse(folder).ok());
            if let Some(id) = id.filter(|id| survey.folder(id).is_none()) {
                *gone.entry(id).or_default() += 1;
            }
        });
        let mut faults: Vec<String> = looked.await?.into_iter().collect();
        let (mut files, prefix) = (0_u64, layout.files_prefix());
        let looked = self.each_version(destination, &prefix, |version| files += u64::from(!version.latest));
        faults.extend(looked.await?);
        for (id, number) in gone {
            let why = format!("the bucket keeps {number} older version(s) of its objects");
            self.remains(destination, Some(&id), why, None);
        }
        if files > 0 {
            let why = format!("the bucket keeps {files} older version(s) of stored files");
            self.remains(destination, None, why, None);
        }
        if let Some(fault) = faults.into_iter().next() {
            let why = format!("whether the bucket keeps older versions cannot be told: {fault}");
            self.remains(destination, None, why, None);
        }
        Ok(())
    }

    /// Hands over every version that has content; gives why that could not be done. A store without versions has none.
    async fn each_version(
        &self,
        destination: &Destination,
        prefix: &str,
        mut take: impl FnMut(&ObjectVersion),
    ) -> Result<Option<String>, JobError> {
        let mut versions = destination.store.list_versions(prefix);
        loop {
            match self.context.or_stop(versions.try_next()).await? {
                Ok(Some(version)) if version.deletion => {}
                Ok(Some(version)) => take(&version),
                Ok(None) => return Ok(None),
                Err(error) if error.kind == StoreErrorKind::Unsupported => return Ok(None),
                Err(error) => return Ok(Some(chain(&error))),
            }
        }
    }

    /// Shared files are removed by prunes, a grace after nothing needs them any more, whatever became of the snapshots
    /// that did.
    async fn shared(&mut self, destination: &Destination, survey: &Survey) -> Result<(), JobError> {
        let layout = Layout::new(self.deployment.clone());
        let now = self.context.clock.now();
        let why = match unneeded(destination, &layout, survey, now, self.context).await {
            Ok(0) => return Ok(()),
            Ok(number) => format!(
                "{number} stored file(s) that no snapshot needs: a prune condemns them, and another removes them {} h \
                 later (`orphan_grace`)",
                destination.orphan_grace.as_secs() / 3600
            ),
            Err(JobError::Stopped) => return Err(JobError::Stopped),
            Err(error) => {
                format!(
                    "whether there are stored files that no snapshot needs cannot be told: {}",
                    chain(&error)
                )
            }
        };
        self.remains(destination, None, why, None);
        Ok(())
    }
}
