//! The drill itself, once it is known what is restored and that it may be: imports, exports again, compares, asserts.

use std::collections::BTreeSet;

use convault_core::{
    Comparison, ContentSummary, DocumentFormat, DrillCheck, DrillFailure, DrillFindings, DrillPhase,
    DrillSubject, FilesMode, ImportKind, ImportMode, ImportRequest, ImportStatus, TableRef, TargetContents,
    compare_content, compare_counts, compare_stored,
};

use super::{
    Drill, again,
    assertions::{self, Restored},
    permit::{known_sources, refused, scratch_facts},
    reexport::{CameBack, export_again},
    run::Course,
    scratch::ScratchDeployment,
};
use crate::{Content, JobError, Outgone, Prepared, RunContext, drift, error::chain, restore::import_content};

/// So many tables that came back changed are looked at a second time.
const LOOKED_AT_AGAIN: usize = 3;

/// What was found, as far as the drill came.
#[derive(Default)]
pub(super) struct Found {
    pub(super) outgone: Outgone,
    pub(super) counted: Option<TargetContents>,
    pub(super) came_back: Option<ContentSummary>,
    pub(super) comparison: Option<Comparison>,
    /// Tables whose values differ, where values are compared.
    pub(super) other_values: BTreeSet<TableRef>,
    pub(super) checks: Vec<DrillCheck>,
    pub(super) findings: DrillFindings,
    /// What a person should know although nothing is wrong: without names of tables.
    pub(super) notes: Vec<String>,
}

impl Found {
    fn check(&mut self, subject: DrillSubject, findings: DrillFindings) {
        let (compared, failed) = (findings.compared, findings.failed());
        self.checks.push(DrillCheck { subject, number: None, says: None, compared, failed });
        self.keep(findings);
    }

    fn keep(&mut self, findings: DrillFindings) {
        self.findings.compared += findings.compared;
        self.findings.unlisted += findings.unlisted;
        self.findings.fail(findings.failures);
    }

    /// It went no further.
    fn stopped_short(&mut self, failure: DrillFailure) {
        let mut findings = DrillFindings::default();
        findings.add(Some(failure));
        self.check(DrillSubject::Restored, findings);
    }
}

/// One attempt: everything that it is made with.
pub(super) struct Attempt<'a> {
    pub(super) drill: &'a Drill<'a>,
    pub(super) content: &'a Content<'a>,
    pub(super) scratch: &'a dyn ScratchDeployment,
    pub(super) repository: &'a convault_core::RunId,
    pub(super) began: jiff::Timestamp,
    pub(super) context: &'a RunContext,
}

impl Attempt<'_> {
    /// Restores and proves. What goes wrong on the way is a finding; an error is only a stop, or a target that must not be
    /// written to after all.
    pub(super) async fn make(&self, course: &mut Course) -> Result<Found, JobError> {
        let mut found = Found::default();
        course.enter(DrillPhase::Upload);
        let request = ImportRequest { mode: ImportMode::ReplaceAll, kind: ImportKind::Zip };
        let target = self.scratch.reached().target.as_ref();
        let prepared = match import_content(self.content, target, &request, self.context).await {
            Ok(prepared) => prepared,
            Err(JobError::Stopped) => return Err(JobError::Stopped),
            Err(error) => {
                found.stopped_short(not_imported(&error));
                return Ok(found);
            }
        };
        let prepared = self.still_permitted(prepared).await?;
        course.enter(DrillPhase::Import);
        let imported = match prepared.perform(target, self.context).await {
            Ok(imported) => imported,
            Err(JobError::Stopped) => return Err(JobError::Stopped),
            Err(error) => {
                found.stopped_short(not_imported(&error));
                return Ok(found);
            }
        };
        course.restored();
        found.outgone = imported.outgone;
        let mut restored = DrillFindings::default();
        restored.add(None);
        found.check(DrillSubject::Restored, restored);
        self.prove(&mut found, course).await?;
        Ok(found)
    }

    /// Who the deployment is, looked at again right before anything is changed, and whether a source knows this import.
    async fn still_permitted(&self, prepared: Prepared<Outgone>) -> Result<Prepared<Outgone>, JobError> {
        let permitted = async {
            let facts = scratch_facts(self.scratch).await?;
            let sources = known_sources(self.drill, false, self.context).await;
            convault_core::may_drill_into(&facts, self.repository, &sources).map_err(|why| refused(&why))?;
            for source in &self.drill.sources {
                // Only where it was uploaded does it wait.
                if let Ok(Ok(ImportStatus::WaitingForConfirmation { .. })) =
                    tokio::time::timeout(ASKED_WITHIN, source.target.import(prepared.id())).await
                {
                    let why = format!(
                        "{} is the deployment {} of the settings: it knows the import that was uploaded, and was told to \
                         forget it. Nothing was touched; give `into` a deployment of its own",
                        facts.identity.instance, source.name
                    );
                    return Err(JobError::MayNotDrill { why });
                }
            }
            Ok(())
        };
        let permitted = match self.context.or_stop(permitted).await {
            Ok(permitted) => permitted,
            Err(stopped) => Err(stopped),
        };
        match permitted {
            Ok(()) => Ok(prepared),
            Err(error) => {
                let target = self.scratch.reached().target.as_ref();
                if let Err(left) = prepared.cancel(target).await {
                    self.context.warning(format!("the import could not be cancelled: {}", chain(&left)));
                }
                Err(error)
            }
        }
    }

    async fn prove(&self, found: &mut Found, course: &mut Course) -> Result<(), JobError> {
        course.enter(DrillPhase::Compare);
        self.compare_with_stored(found).await?;
        self.count(found).await?;
        course.enter(DrillPhase::Export);
        self.compare_with_export(found, course).await?;
        course.enter(DrillPhase::Assert);
        let restored = Restored {
            content: self.content,
            sent: &found.outgone.summary,
            counted: found.counted.as_ref(),
            scratch: self.scratch,
            began: self.began,
        };
        for (check, findings) in assertions::hold(self.drill, &restored, self.context).await? {
            found.notes.extend(assertions::held_nothing(&check));
            found.checks.push(check);
            found.keep(findings);
        }
        Ok(())
    }

    /// What no rule touched is what the index says.
    async fn compare_with_stored(&self, found: &mut Found) -> Result<(), JobError> {
        let mut stored = ContentSummary::default();
        self.content
            .each_entry(|entry| {
                stored.add(&entry);
                Ok(())
            })
            .await?;
        let outgone = &found.outgone;
        let mut changed: BTreeSet<TableRef> = outgone.changed.keys().cloned().collect();
        changed.extend(outgone.without_schema.iter().cloned());
        let dropped = outgone.files_dropped.keys().map(|component| TableRef::new(component, "_storage"));
        changed.extend(dropped);
        let with_files = self.content.manifest().files == FilesMode::Inline;
        let findings = compare_stored(&outgone.summary, &stored, &changed, with_files);
        found.check(DrillSubject::AsStored, findings);
        Ok(())
    }

    async fn count(&self, found: &mut Found) -> Result<(), JobError> {
        let contents = self.context.or_stop(self.scratch.reached().target.contents()).await?;
        let findings = match contents {
            Ok(contents) => {
                let findings = compare_counts(&found.outgone.summary, &contents);
                found.counted = Some(contents);
                findings
            }
            Err(error) => {
                unasked(DrillSubject::Counts, "the deployment could not be asked what it holds", &error)
            }
        };
        found.check(DrillSubject::Counts, findings);
        Ok(())
    }

    async fn compare_with_export(&self, found: &mut Found, course: &mut Course) -> Result<(), JobError> {
        let by_value = self.content.manifest().source.documents == DocumentFormat::Legacy;
        found.comparison = Some(if by_value { Comparison::Values } else { Comparison::Bytes });
        let source = self.scratch.reached().source.as_ref();
        let limits = (self.drill.export_deadline, self.drill.no_progress_limit);
        let back = match export_again(source, limits, by_value, self.context).await {
            Ok(back) => back,
            Err(JobError::Stopped) => return Err(JobError::Stopped),
            Err(error) => {
                let what = "what was restored could not be exported again";
                found.check(DrillSubject::Content, unasked(DrillSubject::Content, what, &error));
                return Ok(());
            }
        };
        course.enter(DrillPhase::Compare);
        let findings = self.compare_content(found, &back, by_value).await?;
        found.check(DrillSubject::Content, findings);
        drop(source.release(&back.export).await);
        found.came_back = Some(back.summary);
        Ok(())
    }

    async fn compare_content(
        &self,
        found: &mut Found,
        back: &CameBack,
        by_value: bool,
    ) -> Result<DrillFindings, JobError> {
        let sent = &found.outgone.summary;
        let tables: BTreeSet<TableRef> =
            if by_value { sent.tables.keys().cloned().collect() } else { BTreeSet::new() };
        let mut findings = compare_content(sent, &back.summary, &tables);
        for damage in &back.findings.damage {
            let failure = DrillFailure::new(DrillSubject::Content, "the new export is not whole");
            findings.fail([failure.with(damage.to_string())]);
        }
        findings.unlisted += back.findings.damage_unlisted;
        for table in &tables {
            if self.has_other_values(table, back).await? {
                found.other_values.insert(table.clone());
                let what = "documents came back with other values";
                findings.fail([DrillFailure::of_table(DrillSubject::Content, table, what)]);
            }
        }
        self.look_again(&mut findings, back, by_value).await?;
        Ok(findings)
    }

    async fn has_other_values(&self, table: &TableRef, back: &CameBack) -> Result<bool, JobError> {
        let mut digest = convault_core::TableDigest::default();
        let Some(mut lines) = self.content.lines(table).await? else { return Ok(false) };
        while let Some(line) = self.context.or_stop(lines.next()).await?? {
            if let Some(line) = super::values::digest(&line) {
                digest.add(&line);
            }
        }
        Ok(back.values.get(table).copied().unwrap_or_default() != digest)
    }

    /// Names the document where only the table is known, for the first tables that came back changed.
    async fn look_again(
        &self,
        findings: &mut DrillFindings,
        back: &CameBack,
        by_value: bool,
    ) -> Result<(), JobError> {
        // In two formats every line differs.
        if by_value {
            return Ok(());
        }
        let changed = findings.failures.iter_mut().filter(|failure| {
            failure.table.is_some() && failure.what.starts_with("documents came back changed")
        });
        for failure in changed.take(LOOKED_AT_AGAIN) {
            let table = TableRef::new(&failure.component, failure.table.clone().unwrap_or_default());
            let source = self.scratch.reached().source.as_ref();
            match again::first_difference(self.content, source, &back.export, &table, self.context).await {
                Ok(details) => failure.details = details,
                Err(JobError::Stopped) => return Err(JobError::Stopped),
                Err(error) => tracing::debug!("no second look at {table}: {}", chain(&error)),
            }
        }
        Ok(())
    }
}

/// How long a source may take to say whether it knows an import.
const ASKED_WITHIN: std::time::Duration = std::time::Duration::from_secs(20);

fn unasked(subject: DrillSubject, what: &str, error: &dyn std::error::Error) -> DrillFindings {
    let mut findings = DrillFindings::default();
    findings.add(Some(DrillFailure::new(subject, what).with(chain(error))));
    findings
}

/// As much of a deployment's words is kept, characters.
const MOST_WORDS: usize = 400;

/// The words of a deployment without the document that they may quote: a proof stays when data has to go.
pub(super) fn without_data(said: &str) -> String {
    let words = said.split('{').next().unwrap_or_default();
    let kept: String = words.chars().take(MOST_WORDS).collect();
    let kept = kept.trim_end().trim_end_matches("Object:").trim_end();
    if kept.len() < said.trim_end().len() { format!("{kept} …") } else { kept.to_owned() }
}

/// Why the content is not there.
fn not_imported(error: &JobError) -> DrillFailure {
    let said = chain(error);
    let failure = match (drift(&said), error) {
        (Some(drift), _) => {
            let what = "the schema of the scratch deployment's code refuses a document of the snapshot";
            match drift.table.as_deref().map(str::parse::<TableRef>) {
                Some(Ok(table)) => DrillFailure::of_table(DrillSubject::Restored, &table, what),
                _ => DrillFailure::new(DrillSubject::Restored, what),
            }
        }
        (None, JobError::Import { .. }) => {
            DrillFailure::new(DrillSubject::Restored, "the deployment did not import the content")
        }
        (None, JobError::Target(_) | JobError::Unsettled { .. }) => {
            DrillFailure::new(DrillSubject::Restored, "the scratch deployment could not be written to")
        }
        _ => DrillFailure::new(DrillSubject::Restored, "the stored content could not be read"),
    };
    failure.with(without_data(&said))
}

#[cfg(test)]
mod tests {
    use super::without_data;

    #[test]
    fn words_that_quote_a_document_end_before_it() {
        let said = "does not match the schema: Object is missing the required field `a`. Object: {b: \"Anna\"} Validator: v";
        assert_eq!(
            without_data(said),
            "does not match the schema: Object is missing the required field `a`. …"
        );
        assert_eq!(without_data("Import canceled"), "Import canceled");
    }
}
