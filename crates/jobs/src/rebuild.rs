//! Makes a manifest again from a snapshot's own ZIP and index, by reading every byte of them.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use convault_archive::{
    Findings, Options,
    encryption::{Decryptor, Identities},
};
use convault_core::{
    AnomalyLimits, Kind, Layout, MANIFEST_FORMAT, MIN_PART_BYTES, Manifest, ObjectInfo, ObjectRole, Problem,
    ReadBack, RunEvent, RunId, RunStart, Sha256, Sha256Stream, SnapshotId, SourceFacts, Store, StoredObject,
    TableNames, Verdict, Verification,
};
use jiff::Timestamp;

use crate::{
    Destination, Encryption, Folder, JobError, RunContext, Survey,
    access::not_opened,
    analysis::Analysis,
    contents, coverage,
    erasure::{newest_listed, newest_stated},
    group::{Group, Outline, Sending},
    judged::judge,
    keyed::Naming,
    read::ObjectReader,
    settle::{Expected, prove},
    shared::objects_of_files,
};

/// Memory for parts of an index that is made again.
const INDEX_BYTES: u64 = 2 * MIN_PART_BYTES;

/// What a rebuilt manifest cannot be told by the data, and how to look at the rest.
pub(crate) struct Rebuild<'a> {
    pub(crate) destination: &'a Destination,
    pub(crate) survey: &'a Survey,
    pub(crate) repository: RunId,
    pub(crate) limits: &'a AnomalyLimits,
    pub(crate) version: &'a str,
    pub(crate) stall_limit: Duration,
    /// What opens encrypted snapshots, where somebody may.
    pub(crate) identities: Option<&'a Identities>,
    pub(crate) context: &'a RunContext,
}

impl Rebuild<'_> {
    /// The manifest of what lies in `folder`. An index that is missing is made again and stored; one that does not
    /// belong to the ZIP is an error, and so is a ZIP that is not whole. What is encrypted is opened with an identity.
    pub(crate) async fn manifest(&self, folder: &Folder, layout: &Layout) -> Result<Manifest, JobError> {
        let id = &folder.id;
        let zip = zip_of(folder).ok_or_else(|| self.hopeless(id, "there is no ZIP in its folder"))?;
        let zip_name = name_of(zip).to_owned();
        let snapshot_ts_ns =
            timestamp_of(&zip_name).ok_or_else(|| self.hopeless(id, "its ZIP has no time in its name"))?;
        let sealed = self.sealed(&zip_name, id)?;
        let read = Box::pin(self.read(zip, folder, layout, sealed)).await?;
        let now = self.context.clock.now();
        let mut objects = vec![
            StoredObject {
                name: zip_name,
                role: ObjectRole::Snapshot,
                size_bytes: zip.size_bytes,
                sha256: read.zip_sha256,
                read_back: ReadBack::Data,
                store_tag: zip.etag.clone(),
            },
            read.index,
        ];
        objects.extend(objects_of_files(self.destination.store.as_ref(), &folder.objects).await?);
        let manifest =
            self.compose(id, layout, folder.start.as_ref(), snapshot_ts_ns, &read.findings, objects, now);
        let erasure = newest_listed(self.destination, layout.deployment()).await?;
        let erasure = erasure.max(newest_stated(self.survey));
        Ok(self.judged(Manifest { erasure, ..manifest }, &read.findings, sealed))
    }

    fn hopeless(&self, id: &SnapshotId, why: &str) -> JobError {
        JobError::NotRepairable {
            id: id.clone(),
            destination: self.destination.store.destination().to_string(),
            why: format!("no other destination has the same bytes of it, and {why}"),
        }
    }

    /// What is needed where the ZIP is encrypted; `None` where it is not.
    fn sealed(&self, zip_name: &str, id: &SnapshotId) -> Result<Option<Sealed<'_>>, JobError> {
        if !zip_name.ends_with(Layout::ENCRYPTED_SUFFIX) {
            return Ok(None);
        }
        let identities = self.identities.ok_or_else(|| {
            self.hopeless(
                id,
                "it is encrypted: to read what is in it takes an identity, so repair it on a machine that has one \
                 (setting encryption.identity)",
            )
        })?;
        let encryption = self.destination.encryption.as_ref().ok_or_else(|| {
            self.hopeless(
                id,
                "it is encrypted, but the settings name no recipients for its destination (`encrypt_to`)",
            )
        })?;
        Ok(Some(Sealed { identities, encryption }))
    }

    async fn read(
        &self,
        zip: &ObjectInfo,
        folder: &Folder,
        layout: &Layout,
        sealed: Option<Sealed<'_>>,
    ) -> Result<ReadAgain, JobError> {
        let id = &folder.id;
        let group = Group {
            encryption: sealed.map(|sealed| Arc::clone(sealed.encryption)),
            stores: vec![Arc::clone(&self.destination.store)],
        };
        let index_key = layout.object(id, &group.object_name(Layout::INDEX_NAME));
        let index = folder.objects.iter().find(|object| object.key == index_key);
        let outline = Outline {
            layout,
            id,
            name: Layout::INDEX_NAME,
            role: ObjectRole::Index,
            length_bytes: None,
            budget_bytes: INDEX_BYTES,
            stall_limit: self.stall_limit,
        };
        let mut made = Made::default();
        let mut sending = match index {
            Some(_) => None,
            None => Some(Sending::begin(&group, &outline)?),
        };
        let read = async {
            let read = self.read_zip(zip, sealed, &mut made, &mut sending).await?;
            if let Some(sending) = &mut sending {
                sending.end().await?;
            }
            Ok::<_, JobError>(read)
        };
        let (findings, zip_sha256) = match read.await {
            Ok(read) => read,
            Err(error) => {
                if let Some(sending) = sending {
                    sending.abort().await;
                }
                return Err(
                    self.hopeless(id, &format!("its ZIP is damaged: {}", crate::error::chain(&error)))
                );
            }
        };
        let index = match (index, sending) {
            (Some(index), _) => self.compare_index(index, made, sealed, id).await?,
            (None, Some(sending)) => self.store_index(sending, index_key).await?,
            (None, None) => unreachable!("where there is no index, one is being sent"),
        };
        Ok(ReadAgain { findings, zip_sha256, index })
    }

    /// Reads the whole ZIP; gives what is in it, and the SHA-256 of what is stored.
    async fn read_zip(
        &self,
        zip: &ObjectInfo,
        sealed: Option<Sealed<'_>>,
        made: &mut Made,
        sending: &mut Option<Sending>,
    ) -> Result<(Findings, Sha256), JobError> {
        let mut reader = Opening::new(self.destination.store.as_ref(), zip, sealed);
        let announced_bytes = sealed.is_none().then_some(zip.size_bytes);
        let mut analysis = Analysis::new(Options { announced_bytes, ..Options::default() });
        let mut done_bytes = 0;
        while let Some(chunk) = self.context.or_stop(reader.next()).await?? {
            done_bytes += chunk.len() as u64;
            self.context.tell(RunEvent::Transferred { done_bytes, total_bytes: Some(zip.size_bytes) });
            let ready = analysis.push(chunk).await?;
            made.take(&ready, sending).await?;
        }
        let (found, rest) = analysis.finish().await?;
        for piece in &rest {
            made.take(piece, sending).await?;
        }
        Ok((found.findings, reader.stored.finish()))
    }

    /// An index made again from the same ZIP has the same bytes.
    async fn compare_index(
        &self,
        index: &ObjectInfo,
        made: Made,
        sealed: Option<Sealed<'_>>,
        id: &SnapshotId,
    ) -> Result<StoredObject, JobError> {
        let wrong = || {
            self.hopeless(
                id,
                "its index is damaged or was not made from its ZIP; if the ZIP is known to be right, remove the index \
                 and repair again",
            )
        };
        let mut reader = Opening::new(self.destination.store.as_ref(), index, sealed);
        let mut there = Sha256Stream::new();
        loop {
            match self.context.or_stop(reader.next()).await? {
                Ok(Some(chunk)) => there.update(&chunk),
                Ok(None) => break,
                Err(JobError::Damaged { .. } | JobError::Encrypted { .. }) => return Err(wrong()),
                Err(error) => return Err(error),
            }
        }
        if there.finish() != made.sha256.finish() {
            return Err(wrong());
        }
        Ok(StoredObject {
            name: name_of(index).to_owned(),
            role: ObjectRole::Index,
            size_bytes: index.size_bytes,
            sha256: reader.stored.finish(),
            read_back: ReadBack::Data,
            store_tag: index.etag.clone(),
        })
    }

    async fn store_index(&self, sending: Sending, key: String) -> Result<StoredObject, JobError> {
        let mut sent = sending.close(true, &self.context.stop).await;
        let expected = Expected::of(&sent);
        let lane = sent.sent.lanes.pop().expect("it has one destination");
        let finishing = lane.result.map_err(|error| error.into_job_error(&self.context.stop))?;
        let stored = finishing.finish().await?;
        prove(self.destination.store.as_ref(), key, &stored, &expected, self.context).await
    }

    #[expect(clippy::too_many_arguments, reason = "everything a manifest speaks of comes together here")]
    fn compose(
        &self,
        id: &SnapshotId,
        layout: &Layout,
        start: Option<&RunStart>,
        snapshot_ts_ns: i64,
        findings: &Findings,
        objects: Vec<StoredObject>,
        now: Timestamp,
    ) -> Manifest {
        let files = start.map_or(
            if findings.files_included {
                convault_core::FilesMode::Inline
            } else {
                convault_core::FilesMode::None
            },
            |start| start.files,
        );
        let mut tags = start.map(|start| start.tags.clone()).unwrap_or_default();
        tags.push("rebuilt".to_owned());
        let mut checks = coverage::checks(files);
        checks.push("the manifest was made again from the data".to_owned());
        let unknown = || "unknown".to_owned();
        Manifest {
            format: MANIFEST_FORMAT,
            id: id.clone(),
            deployment: layout.deployment().clone(),
            repository: self.repository.clone(),
            convault_version: self.version.to_owned(),
            kind: start.map_or(Kind::OnDemand, |start| start.kind),
            tags,
            keep_until: start.and_then(|start| start.keep_until),
            job: start.map(|start| start.job.clone()),
            due: start.and_then(|start| start.due),
            started: start.map_or_else(|| id.time(), |start| start.started),
            snapshot_ts_ns,
            source: SourceFacts {
                instance: start.map_or_else(unknown, |start| start.instance.clone()),
                server_version: start.map_or_else(unknown, |start| start.server_version.clone()),
                export_id: unknown(),
                adopted: false,
                documents: contents::document_format(findings),
            },
            files,
            objects,
            totals: contents::totals(findings),
            table_names: TableNames::Plain,
            names_key: None,
            tables: contents::tables(findings),
            not_covered: coverage::not_covered(files, &[]),
            recipients: Vec::new(),
            secrets: None,
            reencrypted_from: None,
            rewritten_from: Vec::new(),
            verification: Verification { at: now, checks },
            verdict: Verdict::Good,
            // Not that of this run: beside the first run's start record it would fence off what came in between.
            fence: start.as_ref().and_then(|start| start.fence),
            erasure: 0,
        }
    }

    /// What was suspect does not become good by losing its manifest, and what nobody had signed does not become
    /// trusted by being found here.
    fn judged(&self, manifest: Manifest, findings: &Findings, sealed: Option<Sealed<'_>>) -> Manifest {
        let before = self.survey.good().into_iter().map(|snapshot| &snapshot.manifest);
        let before: Vec<&Manifest> =
            before.filter(|other| other.snapshot_ts_ns < manifest.snapshot_ts_ns).collect();
        let names = sealed.map(|sealed| &sealed.encryption.names);
        let is_unknown = manifest.source.instance == "unknown";
        let damage = [Naming::Plain, names.map_or(Naming::Plain, Naming::Keyed)]
            .map(|naming| [contents::damage(findings, &[], naming), self.unsigned()].concat());
        let judged = judge(manifest, damage, &before, self.limits, names);
        let mut manifest = judged.manifest(sealed.map(|sealed| sealed.encryption.as_ref()));
        if let (true, Verdict::Suspect { problems }) = (is_unknown, &mut manifest.verdict) {
            problems.retain(|problem| problem.kind != "instance-changed");
            manifest.verdict = contents::verdict(std::mem::take(problems));
        }
        manifest
    }

    /// Nobody vouches for what lost its signed manifest.
    fn unsigned(&self) -> Vec<Problem> {
        if !self.destination.trust.is_required() {
            return Vec::new();
        }
        vec![Problem {
            kind: "rebuilt".to_owned(),
            what: "its signed manifest was lost and no signed copy is left, so that nobody vouches for its content; \
                   look at it, then `convault accept` it"
                .to_owned(),
            ids: Vec::new(),
        }]
    }
}

/// What opens an encrypted snapshot, and encrypts what is made again of it.
#[derive(Clone, Copy)]
struct Sealed<'a> {
    identities: &'a Identities,
    encryption: &'a Arc<Encryption>,
}

/// An object being read to its end without a manifest, opened where it is encrypted.
struct Opening<'a> {
    reader: ObjectReader<'a>,
    decryptor: Option<Decryptor>,
    recipients: Vec<String>,
    /// Over the bytes as they are stored.
    stored: Sha256Stream,
}

impl<'a> Opening<'a> {
    fn new(store: &'a dyn Store, object: &ObjectInfo, sealed: Option<Sealed<'_>>) -> Self {
        let recipients = sealed.iter().flat_map(|sealed| sealed.encryption.recipients.iter());
        Self {
            reader: ObjectReader::new(store, object.key.clone(), object.size_bytes),
            decryptor: sealed.map(|sealed| Decryptor::new(sealed.identities)),
            recipients: recipients.map(ToString::to_string).collect(),
            stored: Sha256Stream::new(),
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, JobError> {
        let chunk = self.reader.next().await?;
        if let Some(chunk) = &chunk {
            self.stored.update(chunk);
        }
        let mut plain = BytesMut::new();
        let opened = match (chunk, &mut self.decryptor) {
            (chunk, None) => return Ok(chunk),
            (Some(chunk), Some(decryptor)) => decryptor.push(&chunk, &mut plain),
            (None, decryptor) => decryptor.take().expect("it was there above").finish(&mut plain),
        };
        opened.map_err(|error| not_opened(&error, self.reader.place(), &self.recipients))?;
        Ok(Some(plain.freeze()))
    }
}

/// An index as it is made again.
#[derive(Default)]
struct Made {
    sha256: Sha256Stream,
}

impl Made {
    async fn take(&mut self, piece: &[u8], sending: &mut Option<Sending>) -> Result<(), JobError> {
        self.sha256.update(piece);
        match sending {
            Some(sending) => sending.write(piece).await,
            None => Ok(()),
        }
    }
}

struct ReadAgain {
    findings: Findings,
    zip_sha256: Sha256,
    index: StoredObject,
}

/// The one ZIP of a folder.
fn zip_of(folder: &Folder) -> Option<&ObjectInfo> {
    let mut zips = folder.objects.iter().filter(|object| timestamp_of(name_of(object)).is_some());
    let zip = zips.next()?;
    zips.next().is_none().then_some(zip)
}

fn name_of(object: &ObjectInfo) -> &str {
    object.key.rsplit('/').next().unwrap_or(&object.key)
}

/// `snapshot_<ts>.zip`, with `.age` or without, says when it was taken.
fn timestamp_of(zip_name: &str) -> Option<i64> {
    let zip_name = zip_name.strip_suffix(Layout::ENCRYPTED_SUFFIX).unwrap_or(zip_name);
    zip_name.strip_prefix("snapshot_")?.strip_suffix(".zip")?.parse().ok()
}
