//! Makes a manifest again from a snapshot's own ZIP and index, by reading every byte of them.

use std::time::Duration;

use convault_archive::{Findings, Options};
use convault_core::{
    AnomalyLimits, Kind, Layout, MANIFEST_FORMAT, MIN_PART_BYTES, Manifest, ObjectInfo, ObjectRole, PartPlan,
    Problem, ReadBack, RunEvent, RunId, RunStart, Sha256, Sha256Stream, SnapshotId, SourceFacts,
    StoredObject, TableNames, Verdict, Verification, examine,
};
use jiff::Timestamp;

use crate::{
    Destination, Folder, JobError, RunContext, Survey,
    analysis::Analysis,
    contents, coverage,
    fan_out::FanOut,
    keyed::Naming,
    read::{ObjectReader, check_object},
    settle::{Expected, prove},
};

/// An index that is made again is sent in parts of this size.
const INDEX_PLAN: PartPlan = PartPlan { part_bytes: MIN_PART_BYTES, parts_in_memory: 2 };

/// What a rebuilt manifest cannot be told by the data, and how to look at the rest.
pub(crate) struct Rebuild<'a> {
    pub(crate) destination: &'a Destination,
    pub(crate) survey: &'a Survey,
    pub(crate) repository: RunId,
    pub(crate) limits: &'a AnomalyLimits,
    pub(crate) version: &'a str,
    pub(crate) stall_limit: Duration,
    pub(crate) context: &'a RunContext,
}

impl Rebuild<'_> {
    /// The manifest of what lies in `folder`. An index that is missing is made again and stored; one that does not
    /// belong to the ZIP is an error, and so is a ZIP that is not whole.
    pub(crate) async fn manifest(&self, folder: &Folder, layout: &Layout) -> Result<Manifest, JobError> {
        let id = &folder.id;
        let zip = zip_of(folder).ok_or_else(|| self.hopeless(id, "there is no ZIP in its folder"))?;
        let zip_name = name_of(zip).to_owned();
        let snapshot_ts_ns =
            timestamp_of(&zip_name).ok_or_else(|| self.hopeless(id, "its ZIP has no time in its name"))?;
        let index_key = layout.object(id, Layout::INDEX_NAME);
        let index = folder.objects.iter().find(|object| object.key == index_key);
        let read = self.read(zip, index, &index_key, id).await?;
        let now = self.context.clock.now();
        let objects = vec![
            StoredObject {
                name: zip_name,
                role: ObjectRole::Snapshot,
                size_bytes: zip.size_bytes,
                sha256: read.findings.sha256,
                read_back: ReadBack::Data,
                store_tag: zip.etag.clone(),
            },
            read.index,
        ];
        let manifest =
            self.compose(id, layout, folder.start.as_ref(), snapshot_ts_ns, &read.findings, objects, now);
        Ok(self.judged(manifest))
    }

    fn hopeless(&self, id: &SnapshotId, why: &str) -> JobError {
        JobError::NotRepairable {
            id: id.clone(),
            destination: self.destination.store.destination().to_string(),
            why: format!("no other destination has it, and {why}"),
        }
    }

    async fn read(
        &self,
        zip: &ObjectInfo,
        index: Option<&ObjectInfo>,
        index_key: &str,
        id: &SnapshotId,
    ) -> Result<ReadAgain, JobError> {
        let store = &self.destination.store;
        let mut made = Sha256Stream::new();
        let mut made_bytes = 0;
        let mut sending = match index {
            Some(_) => None,
            None => Some(FanOut::begin(std::slice::from_ref(store), index_key, INDEX_PLAN, self.stall_limit)),
        };
        let read = async {
            let mut reader = ObjectReader::new(store.as_ref(), zip.key.clone(), zip.size_bytes);
            let mut analysis =
                Analysis::new(Options { announced_bytes: Some(zip.size_bytes), ..Options::default() });
            let mut done_bytes = 0;
            while let Some(chunk) = self.context.or_stop(reader.next()).await?? {
                done_bytes += chunk.len() as u64;
                self.context.tell(RunEvent::Transferred { done_bytes, total_bytes: Some(zip.size_bytes) });
                let ready = analysis.push(chunk).await?;
                made.update(&ready);
                made_bytes += ready.len() as u64;
                if let Some(sending) = &mut sending {
                    sending.write(&ready).await?;
                }
            }
            let (found, rest) = analysis.finish().await?;
            for piece in &rest {
                made.update(piece);
                made_bytes += piece.len() as u64;
                if let Some(sending) = &mut sending {
                    sending.write(piece).await?;
                }
            }
            Ok::<_, JobError>(found.findings)
        };
        let findings = match read.await {
            Ok(findings) => findings,
            Err(error) => {
                if let Some(sending) = sending {
                    sending.abort().await;
                }
                return Err(
                    self.hopeless(id, &format!("its ZIP is damaged: {}", crate::error::chain(&error)))
                );
            }
        };
        let sha256 = made.finish();
        let index = match (index, sending) {
            (Some(index), _) => self.compare_index(index, made_bytes, sha256, id).await?,
            (None, Some(sending)) => self.store_index(sending, index_key, made_bytes, sha256).await?,
            (None, None) => unreachable!("where there is no index, one is being sent"),
        };
        Ok(ReadAgain { findings, index })
    }

    /// An index made again from the same ZIP has the same bytes.
    async fn compare_index(
        &self,
        index: &ObjectInfo,
        size_bytes: u64,
        sha256: Sha256,
        id: &SnapshotId,
    ) -> Result<StoredObject, JobError> {
        let checked =
            check_object(self.destination.store.as_ref(), index.key.clone(), size_bytes, &sha256).await;
        match checked {
            Ok(()) => Ok(StoredObject {
                name: Layout::INDEX_NAME.to_owned(),
                role: ObjectRole::Index,
                size_bytes,
                sha256,
                read_back: ReadBack::Data,
                store_tag: index.etag.clone(),
            }),
            Err(JobError::Damaged { .. }) => Err(self.hopeless(
                id,
                "its index is damaged or was not made from its ZIP; if the ZIP is known to be right, remove the index \
                 and repair again",
            )),
            Err(error) => Err(error),
        }
    }

    async fn store_index(
        &self,
        sending: FanOut,
        key: &str,
        size_bytes: u64,
        sha256: Sha256,
    ) -> Result<StoredObject, JobError> {
        let mut sent = sending.close(true, &self.context.stop).await;
        let lane = sent.lanes.pop().expect("it has one destination");
        let finishing = lane.result.map_err(|error| error.into_job_error(&self.context.stop))?;
        let stored = finishing.finish().await?;
        let expected =
            Expected { name: Layout::INDEX_NAME.to_owned(), role: ObjectRole::Index, size_bytes, sha256 };
        prove(self.destination.store.as_ref(), key.to_owned(), &stored, &expected, self.context).await
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
            verification: Verification { at: now, checks },
            verdict: contents::verdict(contents::damage(findings, &[], Naming::Plain)),
            // Not that of this run: beside the first run's start record it would fence off what came in between.
            fence: start.as_ref().and_then(|start| start.fence),
            erasure: 0,
        }
    }

    /// What was suspect does not become good by losing its manifest, and what nobody had signed does not become
    /// trusted by being found here.
    fn judged(&self, mut manifest: Manifest) -> Manifest {
        let before = self.survey.good().into_iter().map(|snapshot| &snapshot.manifest);
        let before: Vec<&Manifest> =
            before.filter(|other| other.snapshot_ts_ns < manifest.snapshot_ts_ns).collect();
        let mut found = examine(&manifest, &before, self.limits).problems;
        if manifest.source.instance == "unknown" {
            found.retain(|problem| problem.kind != "instance-changed");
        }
        if self.destination.trust.is_required() {
            found.push(Problem {
                kind: "rebuilt".to_owned(),
                what: "its signed manifest was lost and no signed copy is left, so that nobody vouches for its content; \
                       look at it, then `convault accept` it"
                    .to_owned(),
                ids: Vec::new(),
            });
        }
        manifest.verdict =
            contents::with_more(std::mem::replace(&mut manifest.verdict, Verdict::Good), found);
        manifest
    }
}

struct ReadAgain {
    findings: Findings,
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

/// `snapshot_<ts>.zip` says when it was taken.
fn timestamp_of(zip_name: &str) -> Option<i64> {
    zip_name.strip_prefix("snapshot_")?.strip_suffix(".zip")?.parse().ok()
}
