//! Writes a stored snapshot anew without what is to be erased, and removes the old one.

use bytes::BytesMut;
use convault_archive::{Findings, Options, encryption::Identities};
use convault_core::{
    DeploymentName, FilesMode, Layout, Manifest, ObjectRole, Rewritten, Sha256, SnapshotId, Standing, Totals,
    Verdict,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    AnewRules, Destination, Folder, JobError, OldSnapshot, RunContext, Snapshot,
    analysis::Analysis,
    anew::{Anew, SMALL_BYTES, Written, recipients},
    content::{Content, Outgone, Rules},
    contents,
    erasure::{
        ledger::Ledger,
        search::{ErasureLimits, Found, search_erased},
    },
    error::chain,
    group::{Group, Outline, Sending, SentObject},
    shared::without_files,
    survey::survey,
};

/// So much of the new ZIP waits between who makes it and who sends it. Bytes.
const PIPE_BYTES: usize = 1 << 20;
const READ_BYTES: usize = 256 << 10;
/// A ZIP that is packed anew may be a little longer than the old one: only the size of parts depends on it.
const LONGER_BYTES: u64 = 64 << 20;

/// What a rewrite goes by.
#[derive(Debug)]
pub struct Rewrite<'a> {
    /// Where the snapshots lie.
    pub destination: &'a Destination,
    /// Who is to be forgotten: the ledger of that destination.
    pub ledger: &'a Ledger,
    /// What opens the snapshots, where they are encrypted.
    pub identities: Option<&'a Identities>,
    /// How much may be erased.
    pub limits: ErasureLimits,
    /// How it is written.
    pub rules: &'a AnewRules,
}

/// A snapshot that was written anew.
#[derive(Debug, Clone)]
pub struct RewrittenSnapshot {
    /// The new one.
    pub id: SnapshotId,
    /// The one in whose place it is.
    pub old: SnapshotId,
    /// SHA-256 of that one's manifest.
    pub old_manifest_sha256: Sha256,
    /// What was left out.
    pub found: Found,
    /// Bytes stored for it in all.
    pub stored_bytes: u64,
    /// What became of the old one.
    pub fate: OldSnapshot,
}

/// What became of one snapshot.
#[derive(Debug, Clone)]
pub enum Rewriting {
    /// Nothing of it is to be erased.
    Clean,
    /// It was written anew.
    Rewritten(Box<RewrittenSnapshot>),
    /// It had been written anew before, as this one, and was still there.
    Superseded(SnapshotId, OldSnapshot),
}

/// Writes the snapshot `id` anew, under the identifier of this run, if any of it is to be erased: of the same time, with
/// the same words and what was said of it. All of the new one is read back, and looked through for what was to be erased,
/// before its manifest is written; only then the old one is removed, unless it is locked. On an error nothing of the new
/// one is left, and the old one is as it was.
pub async fn rewrite(
    wish: &Rewrite<'_>,
    deployment: &DeploymentName,
    id: &SnapshotId,
    context: &RunContext,
) -> Result<Rewriting, JobError> {
    begin(wish, deployment, id, true, context).await
}

/// What [`rewrite`] would do, without doing it: old snapshots are then [`OldSnapshot::Kept`].
pub async fn plan_rewrite(
    wish: &Rewrite<'_>,
    deployment: &DeploymentName,
    id: &SnapshotId,
    context: &RunContext,
) -> Result<Rewriting, JobError> {
    begin(wish, deployment, id, false, context).await
}

async fn begin(
    wish: &Rewrite<'_>,
    deployment: &DeploymentName,
    id: &SnapshotId,
    perform: bool,
    context: &RunContext,
) -> Result<Rewriting, JobError> {
    let Rewrite { destination, ledger, identities, limits, rules } = *wish;
    let survey = survey(destination, deployment, &[], context.clock.now()).await?;
    let folder = survey.folder(id).ok_or_else(|| JobError::NoSuchSnapshot {
        id: id.clone(),
        deployment: deployment.to_string(),
        destination: destination.store.destination().to_string(),
    })?;
    let snapshot = folder.snapshot().ok_or_else(|| refused(id, "it has no manifest that can be used"))?;
    let anew = Anew { destination, snapshot, folder, identities, rules, context };
    if let Some(newer) = survey.folders.iter().find(|other| is_in_place_of(other, snapshot)) {
        let fate = if perform { anew.remove_old().await? } else { OldSnapshot::Kept };
        return Ok(Rewriting::Superseded(newer.id.clone(), fate));
    }
    if snapshot.judgement.standing == Standing::Damaged {
        return Err(refused(id, "it is damaged: `convault repair` it first"));
    }
    let nothing = Rules::default();
    let store = destination.store.as_ref();
    let stored = Content::new(store, &snapshot.manifest, identities, &nothing, context);
    let found = search_erased(&stored, ledger, limits).await?;
    if found.total() == 0 {
        return Ok(Rewriting::Clean);
    }
    if let Some(why) = why_not(destination, &snapshot.manifest) {
        return Err(refused(id, why));
    }
    let (mut stored_bytes, mut fate) = (0, OldSnapshot::Kept);
    if perform {
        let rewriting = OneRewrite { anew: &anew, ledger, limits, found: &found };
        stored_bytes = anew.write(async |group| Box::pin(rewriting.write(group)).await).await?;
        // The new one is there: what hinders the old one's removal is told, and the next rewrite goes on with it.
        fate = match anew.remove_old().await {
            Err(error @ (JobError::Stopped | JobError::LeaseLost { .. })) => return Err(error),
            Err(error) => OldSnapshot::HeldBack(chain(&error)),
            Ok(fate) => fate,
        };
    }
    Ok(Rewriting::Rewritten(Box::new(RewrittenSnapshot {
        id: context.id.clone(),
        old: id.clone(),
        old_manifest_sha256: snapshot.manifest_sha256,
        found,
        stored_bytes,
        fate,
    })))
}

fn refused(id: &SnapshotId, why: &str) -> JobError {
    JobError::NotRewritten { id: id.clone(), why: why.to_owned() }
}

/// Whether `newer` is whole and was made in place of a snapshot.
pub(super) fn is_in_place_of(newer: &Folder, old: &Snapshot) -> bool {
    let Some(newer) = newer.snapshot() else { return false };
    let is_it = |one: &Rewritten| one.id == old.manifest.id && one.manifest_sha256 == old.manifest_sha256;
    newer.judgement.standing != Standing::Damaged && newer.manifest.rewritten_from.iter().any(is_it)
}

fn why_not(destination: &Destination, manifest: &Manifest) -> Option<&'static str> {
    let encryption = destination.encryption.as_deref();
    if encryption.is_none() && !manifest.recipients.is_empty() {
        return Some(
            "it is encrypted, and the settings name no recipients for its destination (`encrypt_to`)",
        );
    }
    let others = recipients(encryption) != manifest.recipients;
    let shared = "its files are shared with other snapshots, and are encrypted to other recipients than its destination \
                  has now (`encrypt_to`)";
    (manifest.files == FilesMode::Shared && others).then_some(shared)
}

/// One snapshot on its way.
struct OneRewrite<'a> {
    anew: &'a Anew<'a>,
    ledger: &'a Ledger,
    limits: ErasureLimits,
    found: &'a Found,
}

impl OneRewrite<'_> {
    async fn write(&self, group: &Group) -> Result<Written, JobError> {
        let (anew, old) = (self.anew, self.anew.old());
        let rules = Rules {
            erased: self.found.set.clone(),
            // What is shared is listed beside the ZIP.
            without_files: old.files == FilesMode::Shared,
            ..Rules::default()
        };
        let (zip, index, findings, outgone) = Box::pin(self.send_zip(group, &rules)).await?;
        let mut objects = vec![anew.finish(zip).await?];
        for object in old.objects.iter().filter(|object| object.role == ObjectRole::Surroundings) {
            let (sent, _) = anew.send(group, object).await?;
            objects.push(anew.finish(sent).await?);
        }
        let mut totals = contents::totals(&findings);
        let mut files_left_out = outgone.files_dropped.clone();
        if old.files == FilesMode::Shared {
            let files = without_files(anew, group, &self.found.set.files).await?;
            totals = Totals { files: files.totals.files, file_bytes: files.totals.file_bytes, ..totals };
            files_left_out = files.left_out;
            for sent in files.sent {
                objects.push(anew.finish(sent).await?);
            }
        }
        // As at a backup, the index comes last.
        objects.push(anew.finish(index).await?);
        self.check(&findings, &outgone, &files_left_out)?;
        let manifest = Manifest { totals, ..self.manifest(&findings).await? };
        self.look_again(&Manifest { objects: objects.clone(), ..manifest.clone() }).await?;
        Ok(Written { objects, manifest })
    }

    /// Makes the ZIP without what is erased, and its index, as they are sent.
    async fn send_zip(
        &self,
        group: &Group,
        rules: &Rules,
    ) -> Result<(SentObject, SentObject, Findings, Outgone), JobError> {
        let (anew, old) = (self.anew, self.anew.old());
        let layout = anew.layout();
        let name = Layout::zip_name(old.snapshot_ts_ns);
        let length = old.object(ObjectRole::Snapshot).map_or(0, |object| object.size_bytes);
        let index = anew.small(&layout, Layout::INDEX_NAME, ObjectRole::Index);
        let zip = Outline {
            name: &name,
            role: ObjectRole::Snapshot,
            length_bytes: Some(length + length / 4 + LONGER_BYTES),
            budget_bytes: anew.rules.upload_memory_bytes.saturating_sub(SMALL_BYTES),
            ..index
        };
        let (mut zip, mut index) = (Sending::begin(group, &zip)?, Sending::begin(group, &index)?);
        match Box::pin(self.pass_through(&mut zip, &mut index, rules)).await {
            Ok((findings, outgone)) => {
                let stop = &anew.context.stop;
                Ok((zip.close(false, stop).await, index.close(false, stop).await, findings, outgone))
            }
            Err(error) => {
                zip.abort().await;
                index.abort().await;
                Err(error)
            }
        }
    }

    async fn pass_through(
        &self,
        zip: &mut Sending,
        index: &mut Sending,
        rules: &Rules,
    ) -> Result<(Findings, Outgone), JobError> {
        let anew = self.anew;
        let store = anew.destination.store.as_ref();
        let stored = Content::new(store, anew.old(), anew.identities, rules, anew.context);
        let (mut from, mut to) = tokio::io::duplex(PIPE_BYTES);
        let making = async move {
            let outgone = stored.write_zip(&mut to, "the new snapshot").await?;
            to.shutdown().await.map_err(piped)?;
            Ok(outgone)
        };
        let sending = async {
            let mut analysis = Analysis::new(Options::default());
            loop {
                let mut chunk = BytesMut::with_capacity(READ_BYTES);
                if from.read_buf(&mut chunk).await.map_err(piped)? == 0 {
                    break;
                }
                let chunk = chunk.freeze();
                let ready = analysis.push(chunk.clone()).await?;
                zip.write(&chunk).await?;
                index.write(&ready).await?;
            }
            let (finished, rest) = analysis.finish().await?;
            for piece in rest {
                index.write(&piece).await?;
            }
            zip.end().await?;
            index.end().await?;
            Ok::<_, JobError>(finished.findings)
        };
        let (outgone, findings) =
            anew.context.or_stop(Box::pin(async { tokio::try_join!(making, sending) })).await??;
        Ok((findings, outgone))
    }

    /// What was left out is what was to be erased, no less and no more, and nothing else was changed or lost.
    fn check(
        &self,
        findings: &Findings,
        outgone: &Outgone,
        files: &std::collections::BTreeMap<String, u64>,
    ) -> Result<(), JobError> {
        let old = self.anew.old();
        let wrong = |what: &str| Err(refused(&old.id, &format!("{what}; the old one is as it was")));
        let dropped = outgone.changed.iter().filter(|(_, counts)| counts.dropped > 0);
        let dropped: Vec<_> = dropped.map(|(table, counts)| (table.clone(), counts.dropped)).collect();
        if dropped != self.found.documents.clone().into_iter().collect::<Vec<_>>() {
            return wrong("the documents that were left out are not those that were to be erased");
        }
        let erased: u64 = self.found.documents.values().sum();
        if findings.totals.documents + erased != old.totals.documents {
            return wrong("more, or fewer, documents were left out than were to be erased");
        }
        // A row may have lost its file before: such a one is erased with its row alone.
        if files
            .iter()
            .any(|(component, count)| self.found.files.get(component).is_none_or(|all| all < count))
        {
            return wrong("more stored files were left out than were to be erased");
        }
        if old.is_good() && !findings.damage.is_empty() {
            return wrong("the new one would be damaged");
        }
        Ok(())
    }

    async fn manifest(&self, findings: &Findings) -> Result<Manifest, JobError> {
        let (anew, old) = (self.anew, self.anew.old());
        let check = "written anew without what was erased, read back, and looked through for it";
        let mut manifest = anew.manifest(findings, check).await?;
        manifest.erasure = manifest.erasure.max(self.ledger.newest());
        manifest.rewritten_from.push(Rewritten {
            id: old.id.clone(),
            manifest_sha256: anew.snapshot.manifest_sha256,
            reason: format!("erasure, by the ledger up to entry {}", self.ledger.newest()),
            documents: self.found.documents.values().sum(),
            files: self.found.files.values().sum(),
        });
        if let Verdict::Suspect { problems } = &mut manifest.verdict {
            // `kg2…: what is wrong with it`, of a file that is not there any more.
            let is_erased = |text: &String| {
                let id = text.split(':').next().unwrap_or(text);
                let id = id.rsplit('/').next().unwrap_or(id);
                self.found.set.files.iter().any(|(_, erased)| erased == id)
            };
            for problem in problems {
                problem.ids.retain(|text| !is_erased(text));
            }
        }
        Ok(manifest)
    }

    /// The objects are there: nothing of what was to be erased is found in them.
    async fn look_again(&self, manifest: &Manifest) -> Result<(), JobError> {
        let anew = self.anew;
        let rules = Rules::default();
        let store = anew.destination.store.as_ref();
        let stored = Content::new(store, manifest, anew.identities, &rules, anew.context);
        let left = search_erased(&stored, self.ledger, self.limits).await?;
        if left.total() == 0 {
            return Ok(());
        }
        Err(refused(
            &anew.old().id,
            "something that is erased was found in the new one; the old one is as it was",
        ))
    }
}

fn piped(source: std::io::Error) -> JobError {
    JobError::File { path: "the new snapshot".to_owned(), what: "cannot be passed on", source }
}
