//! [`MirrorHistory`]: which runs of a mirror there are, by listing, and reading and writing their records.

use bytes::Bytes;
use convault_core::{
    Layout, MIRROR_FORMAT, MirrorLayout, MirrorName, MirrorRun, MirrorVerdict, PutMode, RunId, Store,
};
use futures::TryStreamExt as _;
use jiff::Timestamp;

use crate::{Destination, JobError, read::read_small, trust::put_own};

use super::lines::LinesReader;

const LARGEST_RECORD_BYTES: u64 = 4 << 20;

/// The runs of a mirror that a destination has.
#[derive(Debug, Clone, Default)]
pub struct MirrorHistory {
    /// Every run, oldest first.
    pub runs: Vec<(RunId, MirrorVerdict)>,
    /// Every listing, with its stored size, oldest first.
    pub(crate) listings: Vec<(RunId, u64)>,
}

impl MirrorHistory {
    /// Looks at what is there. Reads no record.
    pub async fn look(destination: &Destination, mirror: &MirrorName) -> Result<Self, JobError> {
        let (store, layout) = (destination.store.as_ref(), MirrorLayout::new(mirror.clone()));
        let mut history = Self::default();
        let mut keys = store.list(&layout.runs_prefix());
        while let Some(info) = keys.try_next().await? {
            history.runs.extend(layout.parse_run(&info.key));
        }
        let mut keys = store.list(&layout.listings_prefix());
        while let Some(info) = keys.try_next().await? {
            history.listings.extend(layout.parse_listing(&info.key).map(|run| (run, info.size_bytes)));
        }
        history.runs.sort();
        history.listings.sort();
        Ok(history)
    }

    /// The runs of that verdict, oldest first.
    pub fn with(&self, verdict: MirrorVerdict) -> impl DoubleEndedIterator<Item = &RunId> {
        self.runs.iter().filter(move |(_, found)| *found == verdict).map(|(run, _)| run)
    }

    /// The newest run whose listing is the state at `time`: it had ended by then. Reads records from the newest on.
    pub(crate) async fn as_of(
        &self,
        destination: &Destination,
        mirror: &MirrorName,
        time: Option<Timestamp>,
    ) -> Result<Option<MirrorRun>, JobError> {
        for run in self.with(MirrorVerdict::Complete).rev() {
            if time.is_some_and(|time| run.time() > time) {
                continue;
            }
            let record = read_run(destination, mirror, run, MirrorVerdict::Complete).await?;
            if time.is_none_or(|time| record.finished <= time) {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// The record of the newest run of any of these verdicts.
    pub async fn newest(
        &self,
        destination: &Destination,
        mirror: &MirrorName,
        verdicts: &[MirrorVerdict],
    ) -> Result<Option<MirrorRun>, JobError> {
        match self.runs.iter().rev().find(|(_, verdict)| verdicts.contains(verdict)) {
            Some((run, verdict)) => Ok(Some(read_run(destination, mirror, run, *verdict).await?)),
            None => Ok(None),
        }
    }
}

/// Reads the record of a run, and makes sure that it may be believed.
pub async fn read_run(
    destination: &Destination,
    mirror: &MirrorName,
    run: &RunId,
    verdict: MirrorVerdict,
) -> Result<MirrorRun, JobError> {
    let store = destination.store.as_ref();
    let key = MirrorLayout::new(mirror.clone()).run(run, verdict);
    let place = || format!("{} {key}", store.location());
    let bytes = read_small(store, &key, LARGEST_RECORD_BYTES).await?;
    if let Some(what) = destination.trust.why_not(store, &key, &bytes).await? {
        return Err(JobError::Untrusted { place: place(), what });
    }
    let damaged = |what: String| JobError::Damaged { place: place(), what };
    let record: MirrorRun = serde_json::from_slice(&bytes)
        .map_err(|error| damaged(format!("it is not the record of a mirror's run ({error})")))?;
    if record.format > MIRROR_FORMAT {
        return Err(damaged(format!("it has format {}; use a newer convault", record.format)));
    }
    let is_it = record.run == *run && record.mirror == *mirror && record.verdict == verdict;
    let fits = is_it && (record.listing.is_some() == (verdict == MirrorVerdict::Complete));
    if fits { Ok(record) } else { Err(damaged("it is the record of another run".to_owned())) }
}

/// Writes the record of a run, with which it exists.
pub(crate) async fn write_run(destination: &Destination, record: &MirrorRun) -> Result<(), JobError> {
    let store = destination.store.as_ref();
    let key = MirrorLayout::new(record.mirror.clone()).run(&record.run, record.verdict);
    let mut bytes = serde_json::to_vec_pretty(record).expect("a run record has only string keys");
    bytes.push(b'\n');
    let what = format!("convault mirror {} {} {}", record.mirror, record.run, record.finished);
    destination.trust.sign(store, &key, &bytes, &what, PutMode::IfAbsent).await?;
    put_own(store, &key, Bytes::from(bytes), PutMode::IfAbsent).await
}

/// The keys of a run's record, the record first.
pub(crate) fn record_keys(layout: &MirrorLayout, run: &RunId, verdict: MirrorVerdict) -> [String; 2] {
    let key = layout.run(run, verdict);
    let signature = Layout::signature_of(&key);
    [key, signature]
}

/// Reads the listing of a complete run.
pub(crate) fn read_listing<'a>(store: &'a dyn Store, record: &MirrorRun) -> LinesReader<'a> {
    let key = MirrorLayout::new(record.mirror.clone()).listing(&record.run);
    let (stored_bytes, sha256) =
        record.listing.map_or((0, None), |listing| (listing.stored_bytes, Some(listing.sha256)));
    LinesReader::new(store, key, stored_bytes, sha256, None)
}
