//! Whether every id in a field names a document.

use std::{
    collections::{HashSet, hash_map::RandomState},
    hash::BuildHasher,
};

use convault_archive::Line;
use convault_core::{DrillFailure, DrillFindings, DrillSubject, TableRef};

use crate::{Content, JobError, RunContext};

/// Ids held in memory at once, as eight bytes each. A table with more is looked at in several passes.
const MOST_IDS: u64 = 2 << 20;
/// So many ids that name nothing are told.
const TOLD: usize = 3;

/// Looks whether every id in `field` of `table` is that of a document of `to`, which has `documents`. Both are read as
/// they are sent. Ids are compared by a keyed hash of 64 bits: that one which names nothing is overlooked is as likely as
/// one in 2^64 for each document of `to`.
pub(super) async fn check(
    outgoing: &Content<'_>,
    table: &TableRef,
    field: &str,
    to: &TableRef,
    documents: u64,
    context: &RunContext,
) -> Result<DrillFindings, JobError> {
    let mut findings = DrillFindings::default();
    let passes = documents.div_ceil(MOST_IDS).max(1);
    let hasher = RandomState::new();
    let path: Vec<&str> = field.split('.').collect();
    let (mut dangling, mut told) = (0_u64, Vec::new());
    for pass in 0..passes {
        let is_mine = |hash: u64| hash % passes == pass;
        let mut ids = HashSet::new();
        let Some(mut lines) = outgoing.lines(to).await? else {
            return Ok(missing(to));
        };
        while let Some(line) = context.or_stop(lines.next()).await?? {
            let id = Line::parse(&line).ok().and_then(|line| line.text(&["_id"]));
            ids.extend(id.map(|id| hasher.hash_one(id.as_ref())).filter(|hash| is_mine(*hash)));
        }
        let Some(mut lines) = outgoing.lines(table).await? else {
            return Ok(missing(table));
        };
        while let Some(bytes) = context.or_stop(lines.next()).await?? {
            let Ok(line) = Line::parse(&bytes) else { continue };
            let leaves = line.spans(&path).into_iter().flat_map(|span| line.leaves(span));
            for raw in leaves.map(|leaf| &bytes[leaf]).filter(|raw| *raw != b"null") {
                let id: Option<String> = serde_json::from_slice(raw).ok();
                let hash = hasher.hash_one(id.as_deref().unwrap_or_default());
                if !is_mine(hash) {
                    continue;
                }
                findings.compared += 1;
                if id.is_none() || !ids.contains(&hash) {
                    dangling += 1;
                    if told.len() < TOLD {
                        told.extend(line.text(&["_id"]).map(std::borrow::Cow::into_owned));
                    }
                }
            }
        }
    }
    if dangling > 0 {
        let what = format!("{dangling} of {} ids name no document", findings.compared);
        let failure = DrillFailure::of_table(DrillSubject::References, table, what);
        let details = format!("field `{field}` to {to}; such as in {}", told.join(", "));
        findings.fail([failure.with(details)]);
    }
    Ok(findings)
}

fn missing(table: &TableRef) -> DrillFindings {
    let mut findings = DrillFindings::default();
    let what = "there is no such table in the snapshot";
    findings.add(Some(DrillFailure::of_table(DrillSubject::References, table, what)));
    findings
}
