//! What the settings assert of what was restored.

use convault_archive::Line;
use convault_core::{
    Assertion, ContentSummary, DrillCheck, DrillFailure, DrillFindings, DrillSubject, TableRef,
    TargetContents,
};
use jiff::Timestamp;

use super::{Drill, attempt::without_data, references, scratch::ScratchDeployment};
use crate::{Content, JobError, RunContext, error::chain};

/// What assertions are held against.
pub(super) struct Restored<'a> {
    pub(super) content: &'a Content<'a>,
    pub(super) sent: &'a ContentSummary,
    pub(super) counted: Option<&'a TargetContents>,
    pub(super) scratch: &'a dyn ScratchDeployment,
    /// When the drill began.
    pub(super) began: Timestamp,
}

/// Holds every assertion, in order. Documents are looked at as they were sent: that they came back so was compared before.
pub(super) async fn hold(
    drill: &Drill<'_>,
    restored: &Restored<'_>,
    context: &RunContext,
) -> Result<Vec<(DrillCheck, DrillFindings)>, JobError> {
    let mut held = Vec::new();
    for (assertion, number) in drill.assertions.iter().zip(1_u32..) {
        let subject = subject(assertion);
        let mut findings = one(drill, assertion, restored, context).await?;
        findings.failures.iter_mut().for_each(|failure| failure.number = Some(number));
        let check = DrillCheck {
            subject,
            number: Some(number),
            says: Some(assertion.to_string()),
            compared: findings.compared,
            failed: findings.failed(),
        };
        held.push((check, findings));
    }
    Ok(held)
}

/// That an assertion was passed without anything to look at, which a field that is misspelt would be as well.
pub(super) fn held_nothing(check: &DrillCheck) -> Option<String> {
    let number = check.number?;
    let nothing = check.subject == DrillSubject::References && check.compared == 0 && check.failed == 0;
    nothing.then(|| {
        format!("assertion {number} was passed without looking at anything: no document of its table has an id in its field")
    })
}

fn subject(assertion: &Assertion) -> DrillSubject {
    match assertion {
        Assertion::MinDocuments { .. } => DrillSubject::MinDocuments,
        Assertion::NewestYoungerThan { .. } => DrillSubject::NewestYoungerThan,
        Assertion::References { .. } => DrillSubject::References,
        Assertion::Query { .. } => DrillSubject::Query,
        Assertion::Http { .. } => DrillSubject::Http,
    }
}

async fn one(
    drill: &Drill<'_>,
    assertion: &Assertion,
    restored: &Restored<'_>,
    context: &RunContext,
) -> Result<DrillFindings, JobError> {
    let mut findings = DrillFindings::default();
    match assertion {
        Assertion::MinDocuments { table, documents } => {
            let what = match restored.counted.map(|counted| count(counted, table)) {
                None => Some("its documents could not be counted".to_owned()),
                Some(None) => Some("there is no such table".to_owned()),
                Some(Some(counted)) if counted < *documents => {
                    Some(format!("it has {counted} documents; at least {documents} were expected"))
                }
                Some(Some(_)) => None,
            };
            findings.add(what.map(|what| DrillFailure::of_table(DrillSubject::MinDocuments, table, what)));
        }
        Assertion::NewestYoungerThan { table, age } => {
            let what = match newest(restored.content, table, context).await? {
                None => Some("there is no document in it".to_owned()),
                Some(newest) => {
                    let seconds =
                        restored.began.duration_since(Timestamp::UNIX_EPOCH).as_secs_f64() - newest / 1000.0;
                    (seconds > age.as_secs_f64()).then(|| {
                        format!("its newest document is {seconds:.0} s old; {} s are allowed", age.as_secs())
                    })
                }
            };
            let failure = |what| DrillFailure::of_table(DrillSubject::NewestYoungerThan, table, what);
            findings.add(what.map(failure));
        }
        Assertion::References { table, field, to } => {
            let documents = match to.table.as_str() {
                "_storage" => restored.sent.components.get(&to.component).map_or(0, |one| one.files),
                _ => restored.sent.tables.get(to).map_or(0, |one| one.documents),
            };
            return references::check(restored.content, table, field, to, documents, context).await;
        }
        Assertion::Query { function, arguments } => {
            let asked = restored.scratch.reached().target.run_query(function, arguments);
            let failed = context.or_stop(asked).await?.err();
            let failure = |error| {
                let said = without_data(&chain(&error));
                DrillFailure::new(DrillSubject::Query, "the query did not succeed").with(said)
            };
            findings.add(failed.map(failure));
        }
        Assertion::Http { url, status, contains } => {
            let answer = context.or_stop(drill.pages.get(url)).await?;
            findings.add(page_failure(answer, url, *status, contains.as_deref()));
        }
    }
    Ok(findings)
}

fn count(counted: &TargetContents, table: &TableRef) -> Option<u64> {
    counted.components.get(&table.component)?.tables.get(&table.table).copied()
}

fn page_failure(
    answer: Result<(u16, bytes::Bytes), String>,
    url: &str,
    status: u16,
    contains: Option<&str>,
) -> Option<DrillFailure> {
    let what = match answer {
        Err(why) => return Some(DrillFailure::new(DrillSubject::Http, "the page did not answer").with(why)),
        Ok((found, _)) if found != status => format!("the page answered with {found}, not {status}"),
        Ok((_, body)) if contains.is_some_and(|text| !has(&body, text.as_bytes())) => {
            "the page does not contain what it should".to_owned()
        }
        Ok(_) => return None,
    };
    Some(DrillFailure::new(DrillSubject::Http, what).with(url))
}

fn has(body: &[u8], text: &[u8]) -> bool {
    body.windows(text.len().max(1)).any(|window| window == text)
}

/// The latest `_creationTime` of a table, milliseconds since 1970; `None` where it has no document.
async fn newest(
    outgoing: &Content<'_>,
    table: &TableRef,
    context: &RunContext,
) -> Result<Option<f64>, JobError> {
    let Some(mut lines) = outgoing.lines(table).await? else { return Ok(None) };
    let mut newest: Option<f64> = None;
    while let Some(line) = context.or_stop(lines.next()).await?? {
        let time = Line::parse(&line)
            .ok()
            .and_then(|line| std::str::from_utf8(line.raw(&["_creationTime"])?).ok()?.parse::<f64>().ok());
        newest = newest.into_iter().chain(time).reduce(f64::max);
    }
    Ok(newest)
}
