//! The rows of an upload, read anew from its bytes each time, since all of them may be more than memory takes.

use std::io::{BufRead, BufReader};
use std::sync::Arc;

use bytes::Bytes;

use super::archive;
use super::failure::ImportFailure;
use crate::spool::Spool;
use crate::value::Encoding;

/// Documents as JSON texts, known to be JSON and nothing more.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) source: RowSource,
    /// How many there are.
    pub(crate) count: usize,
    pub(crate) encoding: Encoding,
    /// Whether a row is without `_id`, so that one is made up for it.
    pub(crate) missing_id: bool,
}

/// Where rows are.
#[derive(Debug)]
pub(crate) enum RowSource {
    /// Each apart, in memory.
    Texts(Vec<Bytes>),
    /// The lines of the whole upload.
    Lines,
    /// The lines of the entry at this position of a ZIP.
    Entry(usize),
}

impl RowSource {
    /// Calls `take` with the number of every row, from 0, and its text, its line end included.
    pub(crate) fn each(
        &self,
        spool: &Arc<Spool>,
        mut take: impl FnMut(usize, &[u8]) -> Result<(), ImportFailure>,
    ) -> Result<(), ImportFailure> {
        match self {
            Self::Texts(texts) => texts.iter().enumerate().try_for_each(|(at, text)| take(at, text)),
            Self::Lines => each_line(BufReader::new(spool.reader()), take),
            Self::Entry(position) => {
                let mut archive = archive::open(spool)?;
                let entry = archive::entry(&mut archive, *position)?;
                each_line(BufReader::with_capacity(256 << 10, entry), take)
            }
        }
    }
}

fn each_line(
    mut lines: impl BufRead,
    mut take: impl FnMut(usize, &[u8]) -> Result<(), ImportFailure>,
) -> Result<(), ImportFailure> {
    let mut line = Vec::new();
    for at in 0.. {
        line.clear();
        if lines.read_until(b'\n', &mut line).map_err(|_| archive::invalid_zip())? == 0 {
            break;
        }
        take(at, &line)?;
    }
    Ok(())
}

impl Rows {
    /// None at all.
    pub(crate) fn none() -> Self {
        let source = RowSource::Texts(Vec::new());
        Self { source, count: 0, encoding: Encoding::Export, missing_id: false }
    }

    /// One JSON text a line. A blank line is an error, a missing last newline is not.
    pub(crate) fn json_lines(
        source: RowSource,
        spool: &Arc<Spool>,
        encoding: Encoding,
    ) -> Result<Self, ImportFailure> {
        let mut rows = Self { source, count: 0, encoding, missing_id: false };
        let (mut count, mut missing_id) = (0, false);
        rows.source.each(spool, |at, line| {
            check_text(line)?;
            let value: serde_json::Value =
                serde_json::from_slice(line).map_err(|error| ImportFailure::not_json(at + 1, error))?;
            missing_id |= value.get("_id").is_none();
            count += 1;
            Ok(())
        })?;
        (rows.count, rows.missing_id) = (count, missing_id);
        Ok(rows)
    }

    /// The first row.
    pub(crate) fn first(&self, spool: &Arc<Spool>) -> Result<Option<Bytes>, ImportFailure> {
        let mut first = None;
        // Entries are read from their beginning, so that nothing after the first row is.
        let found = self.source.each(spool, |_, text| {
            first = Some(Bytes::copy_from_slice(text));
            Err(ImportFailure::plain("found"))
        });
        if first.is_none() { found.map(|()| None) } else { Ok(first) }
    }
}

/// Fails for what is not text.
pub(crate) fn check_text(bytes: &[u8]) -> Result<(), ImportFailure> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(ImportFailure::hit(
            "UTF-8 byte order marks are not supported: remove the file's first 3 bytes",
        ));
    }
    std::str::from_utf8(bytes)
        .map(drop)
        .map_err(|_| ImportFailure::plain("Import wasn't valid UTF8: stream did not contain valid UTF-8"))
}
