//! Comparing a state with the one before: two streams in the order of names, merged.

use std::vec;

use convault_core::{MirrorDetails, MirrorEntry, MirrorRun, MirrorTally};

use super::{
    Mirror, MirrorState, StateLine,
    history::read_listing,
    lines::LinesReader,
    window::{Found, WINDOW_OBJECTS, Window},
};
use crate::{Destination, JobError, RunContext};

/// The listing of the run before, from its first line to its last.
pub(crate) struct Before<'a> {
    reader: Option<LinesReader<'a>>,
    next: Option<MirrorEntry>,
}

impl<'a> Before<'a> {
    /// Nothing was there before.
    pub(crate) const fn nothing() -> Self {
        Self { reader: None, next: None }
    }

    pub(crate) fn open(destination: &'a Destination, record: &MirrorRun) -> Self {
        Self { reader: Some(read_listing(destination.store.as_ref(), record)), next: None }
    }

    async fn peek(&mut self) -> Result<Option<&MirrorEntry>, JobError> {
        if self.next.is_none()
            && let Some(reader) = &mut self.reader
        {
            self.next = reader.next().await?;
        }
        Ok(self.next.as_ref())
    }
}

/// What became of one source key.
#[derive(Debug)]
pub(crate) enum Step {
    /// It is as it was.
    Same(MirrorEntry),
    /// It is new, or another version than before.
    Other(Box<Found>, Option<MirrorEntry>),
    /// It is gone.
    Vanished,
}

impl Step {
    /// Counts it.
    pub(crate) fn count(&self, tally: &mut MirrorTally) {
        match self {
            // Its size is known where the source shows it.
            Self::Same(_) => {}
            Self::Other(_, None) => tally.added += 1,
            Self::Other(found, Some(old)) if found.version.has_content_of(old.version) => tally.touched += 1,
            Self::Other(_, Some(_)) => tally.changed += 1,
            Self::Vanished => tally.vanished += 1,
        }
    }
}

/// The steps of one window.
pub(crate) struct Steps {
    found: vec::IntoIter<Found>,
    waiting: Option<Found>,
    below: Option<convault_core::EntryName>,
}

impl Steps {
    pub(crate) fn of(window: Window) -> Self {
        let below = window.next();
        Self { found: window.found.into_iter(), waiting: None, below }
    }

    /// The next step; `None` at the end of the window. `tally` counts it.
    pub(crate) async fn next(
        &mut self,
        before: &mut Before<'_>,
        tally: &mut MirrorTally,
    ) -> Result<Option<Step>, JobError> {
        let found = self.waiting.take().or_else(|| self.found.next());
        let in_window = |entry: &&MirrorEntry| self.below.is_none_or(|below| entry.name < below);
        let old = before.peek().await?.filter(in_window).map(|entry| (entry.name, entry.version));
        let step = match (found, old) {
            (None, None) => return Ok(None),
            (Some(found), Some((name, _))) if name < found.name => {
                self.waiting = Some(found);
                before.next = None;
                Step::Vanished
            }
            (None, Some(_)) => {
                before.next = None;
                Step::Vanished
            }
            (Some(found), Some((name, version))) if name == found.name => {
                tally.objects += 1;
                tally.bytes += found.info.size_bytes;
                let old = before.next.take().expect("it was looked at");
                if version == found.version {
                    Step::Same(old)
                } else {
                    Step::Other(Box::new(found), Some(old))
                }
            }
            (Some(found), _) => {
                tally.objects += 1;
                tally.bytes += found.info.size_bytes;
                Step::Other(Box::new(found), None)
            }
        };
        step.count(tally);
        Ok(Some(step))
    }
}

/// One difference between two states, for people.
#[derive(Debug, Clone)]
pub struct Difference {
    /// The key, where it can be read.
    pub key: String,
    /// What it was before; `None` where it is new.
    pub before: Option<MirrorDetails>,
    /// What it is after; `None` where it is gone.
    pub after: Option<MirrorDetails>,
}

/// Compares two stored states, and hands over each difference, in no particular order. Gives how many objects there were
/// before and are after.
pub async fn difference(
    mut before: MirrorState<'_>,
    mut after: MirrorState<'_>,
    context: &RunContext,
    mut tell: impl FnMut(Difference),
) -> Result<(u64, u64), JobError> {
    let (mut old, mut new) = (before.next(context).await?, after.next(context).await?);
    let (mut olds, mut news) = (0, 0);
    loop {
        let order = match (&old, &new) {
            (None, None) => return Ok((olds, news)),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(old), Some(new)) => old.entry.name.cmp(&new.entry.name),
        };
        let gone = if order.is_le() { old.take() } else { None };
        let come = if order.is_ge() { new.take() } else { None };
        olds += u64::from(gone.is_some());
        news += u64::from(come.is_some());
        let same = matches!((&gone, &come), (Some(a), Some(b)) if a.entry.version == b.entry.version);
        let details = |line: Option<StateLine>| line.map(|line| line.details);
        if order.is_le() {
            old = before.next(context).await?;
        }
        if order.is_ge() {
            new = after.next(context).await?;
        }
        let (before, after) = (details(gone), details(come));
        let key = after.as_ref().or(before.as_ref()).map(|details| details.key.clone());
        if let (false, Some(key)) = (same, key) {
            tell(Difference { key, before, after });
        }
    }
}

/// Compares a stored state with the source as it is now: what the next run would do. Gives what it would count.
pub async fn difference_to_source(
    mirror: &Mirror,
    mut before: MirrorState<'_>,
    context: &RunContext,
    mut tell: impl FnMut(Difference),
) -> Result<MirrorTally, JobError> {
    let mut tally = MirrorTally::default();
    let mut old = before.next(context).await?;
    let mut at_least = None;
    loop {
        let window =
            Window::fill(mirror.source.as_ref(), mirror.names(), at_least, WINDOW_OBJECTS, context).await?;
        let next = window.next();
        let mut found = window.found.iter().peekable();
        loop {
            let in_window = old.as_ref().filter(|line| window.reaches(line.entry.name));
            let order = match (in_window, found.peek()) {
                (None, None) => break,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(line), Some(found)) => line.entry.name.cmp(&found.name),
            };
            let gone = if order.is_le() { old.take() } else { None };
            let come = if order.is_ge() { found.next() } else { None };
            if gone.is_some() {
                tally.before += 1;
                old = before.next(context).await?;
            }
            tally.objects += u64::from(come.is_some());
            tally.bytes += come.map_or(0, |found| found.info.size_bytes);
            match (&gone, come) {
                (Some(gone), Some(come)) if gone.entry.version == come.version => continue,
                (Some(gone), Some(come)) if gone.entry.version.has_content_of(come.version) => {
                    tally.touched += 1;
                }
                (Some(_), Some(_)) => tally.changed += 1,
                (Some(_), None) => tally.vanished += 1,
                _ => tally.added += 1,
            }
            let after = come.map(|found| MirrorDetails {
                key: found.info.key.clone(),
                size_bytes: found.info.size_bytes,
                etag: found.info.etag.clone(),
                modified: found.info.modified,
                content_sha256: None,
                attributes: convault_core::Attributes::default(),
            });
            let before = gone.map(|line| line.details);
            let key = after.as_ref().or(before.as_ref()).map(|details| details.key.clone());
            tell(Difference { key: key.unwrap_or_default(), before, after });
        }
        at_least = next;
        if at_least.is_none() {
            return Ok(tally);
        }
    }
}
