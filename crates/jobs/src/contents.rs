//! What a manifest says of a snapshot's content, from what reading its ZIP has shown.

use convault_archive::{Culprit, CulpritKind, Damage, ExportFormat, Findings};
use convault_core::{DocumentFormat, Problem, TableTotals, Totals, Verdict};

use crate::keyed::Naming;

/// At most this many ids are named in a manifest and a message. Where there are so many, there may be more.
pub(crate) const MOST_IDS: usize = 100;

pub(crate) fn document_format(findings: &Findings) -> DocumentFormat {
    match findings.format {
        ExportFormat::Uniform => DocumentFormat::Uniform,
        ExportFormat::Legacy => DocumentFormat::Legacy,
    }
}

pub(crate) fn totals(findings: &Findings) -> Totals {
    Totals {
        tables: findings.tables.len() as u64,
        documents: findings.totals.documents,
        document_bytes: findings.totals.document_bytes,
        files: findings.totals.files,
        file_bytes: findings.totals.file_bytes,
    }
}

pub(crate) fn tables(findings: &Findings) -> Vec<TableTotals> {
    let table = |table: &convault_archive::TableFindings| TableTotals {
        component: table.component.clone(),
        table: table.table.clone(),
        documents: table.documents,
        bytes: table.bytes,
        sha256: table.sha256,
        digest: table.digest,
    };
    findings.tables.iter().map(table).collect()
}

/// Damage at the source; `culprits` names the stored files it concerns.
pub(crate) fn damage(findings: &Findings, culprits: &[Culprit], naming: Naming<'_>) -> Vec<Problem> {
    let problem = |what: String, ids: Vec<String>| Problem { kind: "source-damage".to_owned(), what, ids };
    let mut problems: Vec<Problem> = findings
        .damage
        .iter()
        .map(|damage| match damage {
            Damage::StoredFiles { .. } => {
                let culprits = culprits.iter().take(MOST_IDS);
                problem(damage.to_string(), culprits.map(|culprit| describe(culprit, naming)).collect())
            }
            _ => problem(naming.damage(damage).to_string(), Vec::new()),
        })
        .collect();
    if findings.damage_unlisted > 0 {
        problems.push(problem(format!("and {} more of such problems", findings.damage_unlisted), Vec::new()));
    }
    problems
}

/// `kg2…: its content differs from its row`, with the component in front where it is not the root.
fn describe(culprit: &Culprit, naming: Naming<'_>) -> String {
    let what = match culprit.kind {
        CulpritKind::RowWithoutFile => "has a row but no file",
        CulpritKind::FileWithoutRow => "has a file but no row",
        CulpritKind::Differs { .. } => "its content is not what its row announces",
        CulpritKind::Several { .. } => "there are several of it",
    };
    let component = naming.component(&culprit.component);
    let slash = if component.is_empty() { "" } else { "/" };
    format!("{component}{slash}{}: {what}", culprit.id)
}

pub(crate) fn verdict(problems: Vec<Problem>) -> Verdict {
    if problems.is_empty() { Verdict::Good } else { Verdict::Suspect { problems } }
}

/// The verdict with what else was found.
pub(crate) fn with_more(verdict: Verdict, more: Vec<Problem>) -> Verdict {
    match verdict {
        Verdict::Good => self::verdict(more),
        Verdict::Suspect { mut problems } => {
            problems.extend(more);
            Verdict::Suspect { problems }
        }
    }
}
