//! [`drill`]: a drill from its beginning to its proof.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use convault_core::{
    Clock, Comparison, DRILL_PROOF_FORMAT, DrillPhase, DrillProof, DrillTarget, DrillTotals,
    DrilledComponent, DrilledTable, FilesMode, PhaseTime, RunPhase, TableNames, TableRef, may_drill_into,
};
use jiff::Timestamp;

use super::{
    Drill, Drilled,
    attempt::{Attempt, Found},
    find::newest,
    permit::{known_sources, refused, scratch_facts},
    record::write,
    scratch::ScratchDeployment,
};
use crate::{
    Content, Destination, JobError, RestorePlan, Rules, RunContext,
    erasure::{erased, read_ledger},
    plan_restore, repository,
    survey::Snapshot,
};

/// How far a drill is, and how long each step took.
pub(super) struct Course {
    clock: Arc<dyn Clock>,
    began: Instant,
    current: Option<(DrillPhase, Instant)>,
    phases: Vec<PhaseTime>,
    restore_seconds: Option<f64>,
}

impl Course {
    fn new(clock: Arc<dyn Clock>) -> Self {
        let began = clock.instant();
        Self { clock, began, current: None, phases: Vec::new(), restore_seconds: None }
    }

    /// A step begins, and with it the one before ends.
    pub(super) fn enter(&mut self, phase: DrillPhase) {
        self.leave();
        self.current = Some((phase, self.clock.instant()));
    }

    fn leave(&mut self) {
        let Some((phase, since)) = self.current.take() else { return };
        let seconds = self.clock.instant().duration_since(since).as_secs_f64();
        match self.phases.iter_mut().find(|time| time.phase == phase) {
            Some(time) => time.seconds += seconds,
            None => self.phases.push(PhaseTime { phase, seconds }),
        }
    }

    /// The data is there: what a recovery would have taken.
    pub(super) fn restored(&mut self) {
        self.restore_seconds = Some(self.clock.instant().duration_since(self.began).as_secs_f64());
    }
}

/// Makes a drill, and leaves a proof where the snapshot was read. An error means that there was none: there is no
/// snapshot, the scratch deployment cannot be had or must not be written to ([`JobError::MayNotDrill`], and not one write
/// reached it), or the drill was stopped. What goes wrong after that is in the proof.
pub async fn drill(drill: &Drill<'_>, context: &RunContext) -> Result<Drilled, JobError> {
    context.phase(RunPhase::Preflight);
    let (mut course, started) = (Course::new(Arc::clone(&context.clock)), context.clock.now());
    course.enter(DrillPhase::Find);
    let (destination, snapshot) = newest(drill, context).await?;
    course.enter(DrillPhase::Scratch);
    let told = Mutex::new(Vec::new());
    let warn = |text: String| {
        context.warning(text.clone());
        told.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    };
    let scratch = drill.scratch.begin(&context.id, &drill.dead_runs, started, &warn, &context.stop).await?;
    let run = Run { drill, destination, snapshot: &snapshot, started, context };
    let done = Box::pin(run.make(scratch.as_ref(), course)).await;
    // Whatever came of it: what was made for the drill goes.
    let ended = scratch.end().await;
    if let Err(text) = ended {
        warn(text);
    }
    let proof = done?;
    let key = match write(destination, &proof, context).await? {
        Ok(key) => Some(key),
        Err(text) => {
            warn(text);
            None
        }
    };
    Ok(Drilled { proof, key, warnings: told.into_inner().unwrap_or_else(PoisonError::into_inner) })
}

struct Run<'a> {
    drill: &'a Drill<'a>,
    destination: &'a Destination,
    snapshot: &'a Snapshot,
    started: Timestamp,
    context: &'a RunContext,
}

impl Run<'_> {
    async fn make(
        &self,
        scratch: &dyn ScratchDeployment,
        mut course: Course,
    ) -> Result<DrillProof, JobError> {
        let (drill, context, manifest) = (self.drill, self.context, &self.snapshot.manifest);
        let permitted = async {
            let facts = scratch_facts(scratch).await?;
            let sources = known_sources(drill, false, context).await;
            let right = may_drill_into(&facts, &manifest.repository, &sources);
            Ok::<_, JobError>((right.map_err(|why| refused(&why))?, facts))
        };
        let (right, facts) = context.or_stop(permitted).await??;
        let (store, identities) = (self.destination.store.as_ref(), drill.identities);
        let ledger =
            read_ledger(&drill.deployment, self.destination, drill.everywhere, &drill.ledger_keys, context);
        let ledger = ledger.await?;
        let as_stored = Rules::default();
        let stored = Content::new(store, manifest, identities, &as_stored, context);
        let mut rules = Rules {
            erased: erased(&stored, &ledger, drill.erasure_limits).await?,
            quiet: drill.quiet.clone(),
            ..Rules::default()
        };
        let mut notes = Vec::new();
        let plan = {
            let planned = Content::new(store, manifest, identities, &rules, context);
            plan_restore(&planned, &facts.contents).await?
        };
        leave_out(&plan, &mut rules, &mut notes);
        if manifest.files == FilesMode::None {
            notes.push(
                "the snapshot has no stored files (`files = \"none\"`), so that none was restored".to_owned(),
            );
        }
        let outgoing = Content::new(store, manifest, identities, &rules, context);
        let repository = &manifest.repository;
        let attempt =
            Attempt { drill, content: &outgoing, scratch, repository, began: self.started, context };
        let found = attempt.make(&mut course).await?;
        course.leave();
        let read_bytes = stored.read_bytes() + outgoing.read_bytes();
        let target = DrillTarget { kind: drill.scratch.kind(), right, identity: facts.identity };
        notes.extend(found.notes.iter().cloned());
        self.proof(found, target, course, ledger.newest(), read_bytes, notes).await
    }

    async fn proof(
        &self,
        found: Found,
        target: DrillTarget,
        course: Course,
        erasure: u64,
        read_bytes: u64,
        notes: Vec<String>,
    ) -> Result<DrillProof, JobError> {
        let (drill, manifest) = (self.drill, &self.snapshot.manifest);
        let store = self.destination.store.as_ref();
        let repository = repository::read(store)
            .await?
            .map_or_else(|| manifest.repository.clone(), |file| file.repository);
        let data_age = self.started.duration_since(manifest.snapshot_time()).as_secs_f64();
        Ok(DrillProof {
            format: DRILL_PROOF_FORMAT,
            kind: "drill".to_owned(),
            run: self.context.id.clone(),
            repository,
            drill: drill.name.clone(),
            deployment: drill.deployment.clone(),
            destination: store.destination().clone(),
            snapshot: manifest.id.clone(),
            manifest_sha256: self.snapshot.manifest_sha256,
            snapshot_time: manifest.snapshot_time(),
            started: self.started,
            finished: self.context.clock.now(),
            passed: found.findings.failed() == 0,
            target,
            restore_seconds: course.restore_seconds,
            phases: course.phases,
            data_age_seconds: data_age,
            erasure,
            documents: manifest.source.documents,
            comparison: found.comparison.unwrap_or(Comparison::Bytes),
            totals: totals(&found),
            table_names: TableNames::Plain,
            names_key: None,
            tables: tables(&found),
            components: components(&found),
            failures_unlisted: found.findings.unlisted,
            failures: found.findings.failures,
            checks: found.checks,
            read_bytes,
            notes,
            convault_version: drill.version.clone(),
        })
    }
}

/// Leaves out what no backend imports, where nothing is lost by it, and what the backup found damaged.
fn leave_out(plan: &RestorePlan, rules: &mut Rules, notes: &mut Vec<String>) {
    for (table, lossy) in &plan.storage_names {
        // No backend imports its own export of a table of such a name with its marker.
        let text = if lossy.is_empty() {
            rules.without_schema.insert(table.clone());
            "a table whose name ends in `_storage` was sent without its schema marker, and loses nothing by it"
        } else {
            "a table whose name ends in `_storage` cannot be imported without changing its numbers"
        };
        notes.push(text.to_owned());
    }
    if !plan.damaged.is_empty() {
        let left_out = plan.damaged.iter().map(|file| (file.component.clone(), file.id.clone()));
        rules.left_out_files.extend(left_out);
        let number = plan.damaged.len();
        notes.push(format!("{number} stored files that the backup found damaged were left out"));
    }
}

fn totals(found: &Found) -> DrillTotals {
    let summary = &found.outgone.summary;
    DrillTotals {
        tables: summary.tables.len() as u64,
        documents: summary.tables.values().map(|table| table.documents).sum(),
        document_bytes: summary.tables.values().map(|table| table.size_bytes).sum(),
        files: summary.components.values().map(|component| component.files).sum(),
        file_bytes: summary.components.values().map(|component| component.file_bytes).sum(),
    }
}

/// Every table that was sent, or that has documents there.
fn tables(found: &Found) -> Vec<DrilledTable> {
    let sent = &found.outgone.summary.tables;
    let mut all: BTreeSet<TableRef> = sent.keys().cloned().collect();
    for (path, component) in found.counted.iter().flat_map(|counted| &counted.components) {
        let filled = component.tables.iter().filter(|(_, documents)| **documents > 0);
        all.extend(filled.map(|(name, _)| TableRef::new(path, name)));
    }
    let table = |table: TableRef| {
        let counted = found.counted.as_ref();
        let counted =
            counted.and_then(|counted| counted.components.get(&table.component)?.tables.get(&table.table));
        let came_back = found.came_back.as_ref();
        let same = came_back.map(|back| match (sent.get(&table), back.tables.get(&table)) {
            (Some(sent), Some(back)) if found.comparison == Some(Comparison::Values) => {
                sent.documents == back.documents && !found.other_values.contains(&table)
            }
            (Some(sent), Some(back)) => {
                (sent.documents, sent.sha256) == (back.documents, back.sha256)
                    && (sent.schema.is_none() || sent.schema == back.schema)
            }
            _ => false,
        });
        DrilledTable {
            sent: sent.get(&table).map_or(0, |sent| sent.documents),
            counted: counted.copied(),
            same,
            changed_by_rule: found.outgone.changed.contains_key(&table),
            component: table.component,
            table: table.table,
        }
    };
    all.into_iter().map(table).collect()
}

fn components(found: &Found) -> Vec<DrilledComponent> {
    let component = |(path, sent): (&String, &convault_core::ComponentSummary)| {
        let counted = found.counted.as_ref().and_then(|counted| Some(counted.components.get(path)?.files));
        let back =
            found.came_back.as_ref().map(|back| back.components.get(path).copied().unwrap_or_default());
        let same = back
            .filter(|_| sent.rows.is_some())
            .map(|back| (back.files, back.digest, back.rows) == (sent.files, sent.digest, sent.rows));
        let (files, bytes) = (sent.files, sent.file_bytes);
        DrilledComponent { component: path.clone(), sent: files, sent_bytes: bytes, counted, same }
    };
    found.outgone.summary.components.iter().map(component).collect()
}
