//! A new export of the scratch deployment, read as it streams.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use convault_archive::{Findings, LineUnpacker, Options, Reader};
use convault_core::{
    ContentSummary, Export, ExportRequest, IndexLine, Source, SourceErrorKind, TableDigest, TableRef,
};
use futures::StreamExt as _;

use super::values;
use crate::{JobError, RunContext, analysis::Analysis, error::chain};

/// A download that is cut short is begun again so often.
const ATTEMPTS: u32 = 3;

/// What came back.
pub(super) struct CameBack {
    pub(super) export: Export,
    pub(super) summary: ContentSummary,
    pub(super) findings: Findings,
    /// Digests of the values of every table, where they were asked for.
    pub(super) values: BTreeMap<TableRef, TableDigest>,
}

/// Asks the deployment for an export, files and all, and reads it.
pub(super) async fn export_again(
    source: &dyn Source,
    (deadline, no_progress_limit): (Duration, Duration),
    with_values: bool,
    context: &RunContext,
) -> Result<CameBack, JobError> {
    let request = ExportRequest {
        include_files: true,
        run_started: context.clock.now(),
        may_adopt: false,
        deadline,
        no_progress_limit,
    };
    let export = context.or_stop(source.export(request, &|_| {})).await??;
    let mut attempt = 1;
    loop {
        match read(source, &export, with_values, context).await {
            Err(error) if attempt < ATTEMPTS && is_worth_another(&error) => {
                context.message(format!("the new export is downloaded again: {}", chain(&error)));
                context.or_stop(tokio::time::sleep(context.download_pause)).await?;
                attempt += 1;
            }
            result => return result,
        }
    }
}

fn is_worth_another(error: &JobError) -> bool {
    match error {
        JobError::Source(error) => {
            matches!(error.kind, SourceErrorKind::Transit | SourceErrorKind::Transient)
        }
        _ => false,
    }
}

async fn read(
    source: &dyn Source,
    export: &Export,
    with_values: bool,
    context: &RunContext,
) -> Result<CameBack, JobError> {
    let values: Arc<Mutex<BTreeMap<TableRef, TableDigest>>> = Arc::default();
    let taken = Arc::clone(&values);
    let take = move |component: &str, table: &str, line: &[u8]| {
        let mut values = taken.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = values.entry(TableRef::new(component, table)).or_default();
        // A line that is no JSON is damage, which the reader tells.
        if let Some(line) = values::digest(line) {
            digest.add(&line);
        }
    };
    let mut summary = ContentSummary::default();
    let findings = if with_values {
        stream(source, export, |reader| reader.with_lines(take), &mut summary, context).await?
    } else {
        stream(source, export, |reader| reader, &mut summary, context).await?
    };
    let values = std::mem::take(&mut *values.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(CameBack { export: export.clone(), summary, findings, values })
}

/// Downloads an export and reads it to its end, adding to `summary` what its index says.
pub(super) async fn stream(
    source: &dyn Source,
    export: &Export,
    reader: impl FnOnce(Reader) -> Reader,
    summary: &mut ContentSummary,
    context: &RunContext,
) -> Result<Findings, JobError> {
    let mut stream = context.or_stop(source.open(export)).await??;
    let options = Options { announced_bytes: Some(stream.length_bytes), ..Options::default() };
    let mut analysis = Analysis::of(reader(Reader::new(options)));
    let mut index = Index { lines: LineUnpacker::new(), summary };
    while let Some(chunk) = context.or_stop(stream.bytes.next()).await? {
        index.take(&analysis.push(chunk?).await?)?;
    }
    let (finished, rest) = analysis.finish().await?;
    rest.iter().try_for_each(|bytes| index.take(bytes))?;
    Ok(finished.findings)
}

/// The index as it is made, unpacked at once.
struct Index<'s> {
    lines: LineUnpacker,
    summary: &'s mut ContentSummary,
}

impl Index<'_> {
    fn take(&mut self, packed: &[u8]) -> Result<(), JobError> {
        self.lines.push(packed);
        let bug = |error| JobError::Bug(format!("the index of the new export: {}", chain(&error)));
        while let Some(line) = self.lines.next_line::<IndexLine>().map_err(bug)? {
            if let IndexLine::Entry(entry) = line {
                self.summary.add(&entry);
            }
        }
        Ok(())
    }
}
