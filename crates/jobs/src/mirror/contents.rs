//! [`MirrorState`]: what a mirror has of its source as of a run, an object at a time.

use std::collections::{BTreeMap, BTreeSet};

use convault_archive::encryption::Identities;
use convault_core::{
    EntryName, MirrorDetails, MirrorEntry, MirrorLayout, MirrorName, MirrorRun, MirrorVerdict, RunId,
};
use futures::TryStreamExt as _;
use jiff::Timestamp;

use super::{
    MirrorHistory,
    history::{read_listing, read_run},
    lines::LinesReader,
    progress::DetailsLine,
};
use crate::{Destination, JobError, RunContext};

/// So many entries wait for their details at once.
const JOINED_AT_ONCE: usize = 100_000;

/// A line of a state: an object, and what it was.
#[derive(Debug, Clone)]
pub struct StateLine {
    /// What is stored of it.
    pub entry: MirrorEntry,
    /// What it was.
    pub details: MirrorDetails,
}

/// A state being read, in the order of names.
pub struct MirrorState<'a> {
    destination: &'a Destination,
    identities: Option<&'a Identities>,
    record: Option<MirrorRun>,
    reader: Option<LinesReader<'a>>,
    /// Entries whose details were found, to be given out.
    joined: std::vec::IntoIter<StateLine>,
}

impl std::fmt::Debug for MirrorState<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MirrorState").field("run", &self.record().map(|run| &run.run)).finish_non_exhaustive()
    }
}

impl<'a> MirrorState<'a> {
    /// The state before the first run: nothing.
    pub fn empty(destination: &'a Destination) -> Self {
        Self { destination, identities: None, record: None, reader: None, joined: Vec::new().into_iter() }
    }

    /// The newest state at `time`, or now. What is encrypted is opened with `identities`.
    pub async fn as_of(
        destination: &'a Destination,
        mirror: &MirrorName,
        time: Option<Timestamp>,
        identities: Option<&'a Identities>,
    ) -> Result<Self, JobError> {
        let history = MirrorHistory::look(destination, mirror).await?;
        let record = history.as_of(destination, mirror, time).await?;
        let record = record.ok_or_else(|| {
            let what = match time {
                Some(time) => {
                    format!("there is no state as of {time}; `convault mirror runs` shows which there are")
                }
                None => "it has no state yet; `convault mirror run` makes one".to_owned(),
            };
            JobError::NoSuchState { mirror: mirror.clone(), what }
        })?;
        Self::of(destination, record, identities)
    }

    /// The newest state; the empty one before the first run.
    pub async fn newest_or_empty(
        destination: &'a Destination,
        mirror: &MirrorName,
        identities: Option<&'a Identities>,
    ) -> Result<Self, JobError> {
        match Self::as_of(destination, mirror, None, identities).await {
            Err(JobError::NoSuchState { .. }) => Ok(Self::empty(destination)),
            state => state,
        }
    }

    /// The state that a run made.
    pub async fn of_run(
        destination: &'a Destination,
        mirror: &MirrorName,
        run: &RunId,
        identities: Option<&'a Identities>,
    ) -> Result<Self, JobError> {
        let history = MirrorHistory::look(destination, mirror).await?;
        if history.with(MirrorVerdict::Complete).all(|found| found != run) {
            let what =
                format!("there is no state of run {run}; `convault mirror runs` shows which there are");
            return Err(JobError::NoSuchState { mirror: mirror.clone(), what });
        }
        Self::of(destination, read_run(destination, mirror, run, MirrorVerdict::Complete).await?, identities)
    }

    /// The newest state before that of `run`; the empty one where there is none.
    pub async fn before_run(
        destination: &'a Destination,
        mirror: &MirrorName,
        run: &RunId,
        identities: Option<&'a Identities>,
    ) -> Result<Self, JobError> {
        let history = MirrorHistory::look(destination, mirror).await?;
        match history.with(MirrorVerdict::Complete).rfind(|found| *found < run) {
            Some(before) => {
                let record = read_run(destination, mirror, before, MirrorVerdict::Complete).await?;
                Self::of(destination, record, identities)
            }
            None => Ok(Self::empty(destination)),
        }
    }

    fn of(
        destination: &'a Destination,
        record: MirrorRun,
        identities: Option<&'a Identities>,
    ) -> Result<Self, JobError> {
        if record.recipients.is_some() && identities.is_none() {
            return Err(JobError::Encrypted {
                place: format!("{} {}", destination.store.location(), record.run),
                why: "no identity was given".to_owned(),
                recipients: "those that the mirror is encrypted to".to_owned(),
            });
        }
        let reader = Some(read_listing(destination.store.as_ref(), &record));
        Ok(Self { destination, identities, record: Some(record), reader, joined: Vec::new().into_iter() })
    }

    /// The record of the run that made it; `None` of the empty state.
    pub fn record(&self) -> Option<&MirrorRun> {
        self.record.as_ref()
    }

    /// What opens its objects, where they are encrypted.
    pub(crate) fn identities(&self) -> Option<&'a Identities> {
        self.record.as_ref()?.recipients.as_ref()?;
        self.identities
    }

    /// The next object; `None` after the last.
    pub async fn next(&mut self, context: &RunContext) -> Result<Option<StateLine>, JobError> {
        loop {
            if let Some(line) = self.joined.next() {
                return Ok(Some(line));
            }
            let Some(reader) = &mut self.reader else { return Ok(None) };
            match context.or_stop(reader.next::<MirrorEntry>()).await?? {
                None => {
                    self.reader = None;
                    return Ok(None);
                }
                Some(mut entry) => match entry.details.take() {
                    Some(details) => return Ok(Some(StateLine { entry, details })),
                    None => self.join(entry, context).await?,
                },
            }
        }
    }

    /// Takes the next entries, as many as memory allows, and finds the details of each among what the runs that stored
    /// them wrote down.
    async fn join(&mut self, first: MirrorEntry, context: &RunContext) -> Result<(), JobError> {
        let mut waiting: BTreeMap<EntryName, (MirrorEntry, Option<MirrorDetails>)> = BTreeMap::new();
        waiting.insert(first.name, (first, None));
        while waiting.len() < JOINED_AT_ONCE
            && let Some(reader) = &mut self.reader
        {
            match context.or_stop(reader.next::<MirrorEntry>()).await?? {
                Some(entry) => drop(waiting.insert(entry.name, (entry, None))),
                None => self.reader = None,
            }
        }
        let mirror = self.record.as_ref().map(|record| record.mirror.clone());
        let layout = MirrorLayout::new(mirror.expect("an empty state has no entries"));
        let store = self.destination.store.as_ref();
        let wanted: BTreeSet<RunId> = waiting.values().map(|(entry, _)| entry.run.clone()).collect();
        let mut pieces = store.list(&layout.details_prefix());
        while let Some(piece) = pieces.try_next().await? {
            let folder = piece.key.rsplit('/').nth(1).unwrap_or_default();
            let Some(run) = RunId::parse(folder).ok().filter(|run| wanted.contains(run)) else { continue };
            let mut reader =
                LinesReader::new(store, piece.key.clone(), piece.size_bytes, None, self.identities);
            while let Some(line) = context.or_stop(reader.next::<DetailsLine>()).await?? {
                if let Some((entry, details)) = waiting.get_mut(&line.name)
                    && entry.run == run
                {
                    *details = Some(line.details);
                }
            }
        }
        let lines: Result<Vec<StateLine>, JobError> = waiting
            .into_values()
            .map(|(entry, details)| {
                let place = || format!("{} {}", store.location(), layout.object(entry.name, &entry.run));
                let details = details.ok_or_else(|| JobError::Damaged {
                    place: place(),
                    what: "what it was is not written down anywhere".to_owned(),
                })?;
                Ok(StateLine { entry, details })
            })
            .collect();
        self.joined = lines?.into_iter();
        Ok(())
    }
}
