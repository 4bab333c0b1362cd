//! [`Window`]: the source objects whose names lie in one range, as many as memory allows.
//!
//! Servers list in orders of their own. So a run takes the source in the order of names, which are digests: it lists the
//! source, keeps the lowest names that fit, works through them, and lists again for the next ones.

use convault_core::{EntryName, EntryVersion, MirrorEntry, ObjectInfo, Store};
use futures::TryStreamExt as _;

use super::Names;
use crate::{JobError, RunContext};

/// So many source objects are in memory at once, twice as many while they are listed: about 50 MiB with keys of usual
/// length.
pub(crate) const WINDOW_OBJECTS: usize = 100_000;

/// A source object as the listing shows it.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) name: EntryName,
    pub(crate) version: EntryVersion,
    pub(crate) info: ObjectInfo,
    /// What a run that was cut off has stored of this version.
    pub(crate) stored: Option<Box<MirrorEntry>>,
}

/// The source objects in a range of names, ascending.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    at_least: Option<EntryName>,
    below: Option<EntryName>,
    limit: usize,
    pub(crate) found: Vec<Found>,
}

impl Window {
    /// Lists the source and keeps the lowest names from `at_least` on.
    pub(crate) async fn fill(
        source: &dyn Store,
        names: Names<'_>,
        at_least: Option<EntryName>,
        limit: usize,
        context: &RunContext,
    ) -> Result<Self, JobError> {
        let mut window = Self { at_least, below: None, limit, found: Vec::new() };
        let mut listing = source.list("");
        while let Some(info) = context.or_stop(listing.try_next()).await?? {
            window.offer(names, info);
        }
        window.close();
        Ok(window)
    }

    fn offer(&mut self, names: Names<'_>, info: ObjectInfo) {
        let name = names.name(&info.key);
        if self.at_least.is_some_and(|least| name < least) || self.below.is_some_and(|below| name >= below) {
            return;
        }
        let version = names.version(&info);
        self.found.push(Found { name, version, info, stored: None });
        if self.found.len() >= self.limit * 2 {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let (_, first_left_out, _) = self.found.select_nth_unstable_by_key(self.limit, |found| found.name);
        self.below = Some(first_left_out.name);
        self.found.truncate(self.limit);
    }

    fn close(&mut self) {
        if self.found.len() > self.limit {
            self.cut();
        }
        self.found.sort_by_key(|found| found.name);
        // A listing shows an object twice that was written while it was made.
        self.found.dedup_by(|later, earlier| later.name == earlier.name);
    }

    /// Where the next window begins; `None` after the last.
    pub(crate) fn next(&self) -> Option<EntryName> {
        self.below
    }

    /// Whether a name lies in or before this window.
    pub(crate) fn reaches(&self, name: EntryName) -> bool {
        self.below.is_none_or(|below| name < below)
    }

    /// The object of that name.
    pub(crate) fn get_mut(&mut self, name: EntryName) -> Option<&mut Found> {
        let place = self.found.binary_search_by_key(&name, |found| found.name).ok()?;
        self.found.get_mut(place)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn windows_one_after_the_other_have_every_object_once_and_in_order() {
        let keys: Vec<String> = (0..1000).map(|number| format!("folder/{number}.jpg")).collect();
        let (mut at_least, mut seen) = (None, Vec::new());
        loop {
            let mut window = Window { at_least, below: None, limit: 90, found: Vec::new() };
            for key in &keys {
                let info = ObjectInfo {
                    key: key.clone(),
                    size_bytes: 1,
                    modified: Timestamp::UNIX_EPOCH,
                    etag: None,
                };
                window.offer(Names::Plain, info);
                assert!(window.found.len() < 180);
            }
            window.close();
            seen.extend(window.found.iter().map(|found| found.name));
            at_least = window.next();
            if at_least.is_none() {
                break;
            }
            assert_eq!(window.found.len(), 90);
        }
        assert_eq!(seen.len(), 1000);
        assert!(seen.is_sorted_by(|a, b| a < b));
    }
}
