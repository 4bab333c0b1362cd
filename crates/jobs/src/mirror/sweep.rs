//! Deletes stored objects that no listing names, in two steps: first they are condemned, in a list; what is condemned
//! and still without a name after the grace is deleted. A sweep looks at a part of all names at a time, so that memory
//! does not grow with their number.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    ops::Range,
    time::Duration,
};

use convault_core::{EntryName, LEAST_BULK, MirrorEntry, MirrorRun, RunId};
use futures::TryStreamExt as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Mirror,
    history::MirrorHistory,
    lines::{LinesReader, LinesWriter},
    progress,
    tidy::Deed,
};
use crate::{JobError, RunContext, error::chain, skew};

/// A sweep reads every listing: once a day is enough.
const SWEEP_EVERY: Duration = Duration::from_hours(20);
/// About so many objects are in memory at once.
const OBJECTS_AT_ONCE: u64 = 250_000;
const SHARDS: u32 = 256;

/// A line of a list of objects that are to go.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Condemned {
    name: EntryName,
    run: RunId,
    stored_bytes: u64,
    /// Whether it was condemned long enough ago that this sweep deletes it.
    due: bool,
}

/// An object without the text of its run: the number of it in [`Runs`].
type Object = (EntryName, u32);

/// The runs that stored something, each text once.
#[derive(Debug, Default)]
struct Runs(BTreeMap<RunId, u32>);

impl Runs {
    fn number(&mut self, run: &RunId) -> u32 {
        if let Some(number) = self.0.get(run) {
            return *number;
        }
        let number = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0.insert(run.clone(), number);
        number
    }
}

/// Sweeps, if it is time to. Gives why something was not removed that should have been.
pub(super) async fn sweep(
    mirror: &Mirror,
    record: &MirrorRun,
    context: &RunContext,
) -> Result<Vec<String>, JobError> {
    let (store, layout, now) = (mirror.destination.store.as_ref(), mirror.layout(), context.clock.now());
    let lists: Vec<(RunId, u64)> = store
        .list(&layout.condemned_prefix())
        .map_ok(|info| layout.parse_condemned(&info.key).map(|run| (run, info.size_bytes)))
        .try_filter_map(|list| std::future::ready(Ok(list)))
        .try_collect()
        .await?;
    let newest = lists.iter().map(|(run, _)| run).max();
    if newest.is_some_and(|run| now.duration_since(run.time()).unsigned_abs() < SWEEP_EVERY) {
        return Ok(Vec::new());
    }
    // Every listing that is there protects what it names, also one whose record was lost.
    let listings = MirrorHistory::look(&mirror.destination, &mirror.name).await?.listings;
    let grace =
        jiff::SignedDuration::try_from(mirror.destination.orphan_grace).unwrap_or(jiff::SignedDuration::MAX);
    let due: Vec<(RunId, u64)> =
        lists.into_iter().filter(|(run, _)| now.duration_since(run.time()) > grace).collect();
    let sweep = Sweep { mirror, context, listings, due };
    match sweep.condemn(record).await {
        Ok(found) => sweep.delete(found, now).await,
        Err(error @ (JobError::Damaged { .. } | JobError::Untrusted { .. })) => {
            let why = chain(&error);
            Ok(vec![format!("no object was removed, since not every listing can be read: {why}")])
        }
        Err(error) => Err(error),
    }
}

struct Sweep<'a> {
    mirror: &'a Mirror,
    context: &'a RunContext,
    listings: Vec<(RunId, u64)>,
    /// Lists whose grace is over.
    due: Vec<(RunId, u64)>,
}

/// What condemning found.
struct FoundUnnamed {
    objects: u64,
    due: u64,
    list_bytes: u64,
    /// The runs of which something is named.
    living: BTreeSet<RunId>,
}

impl Sweep<'_> {
    /// Writes the list of all objects without a name.
    async fn condemn(&self, record: &MirrorRun) -> Result<FoundUnnamed, JobError> {
        let (store, layout) = (self.mirror.destination.store.as_ref(), self.mirror.layout());
        let mut list = LinesWriter::begin(store, layout.condemned(&self.context.id)).await?;
        let mut found = FoundUnnamed { objects: 0, due: 0, list_bytes: 0, living: BTreeSet::new() };
        let pieces = (record.tally.objects.max(record.tally.before) * 2).div_ceil(OBJECTS_AT_ONCE);
        let pieces = u32::try_from(pieces).unwrap_or(SHARDS).clamp(1, SHARDS);
        for piece in 0..pieces {
            let shards = (SHARDS * piece / pieces)..(SHARDS * (piece + 1) / pieces);
            if let Err(error) = self.condemn_in(shards, &mut list, &mut found).await {
                list.abort().await;
                return Err(error);
            }
        }
        found.list_bytes = list.finish().await?.stored_bytes;
        Ok(found)
    }

    async fn condemn_in(
        &self,
        shards: Range<u32>,
        list: &mut LinesWriter<'_>,
        found: &mut FoundUnnamed,
    ) -> Result<(), JobError> {
        let (store, layout) = (self.mirror.destination.store.as_ref(), self.mirror.layout());
        let within = |name: EntryName| shards.contains(&u32::from(name.shard()));
        let (mut runs, mut named, mut due) = (Runs::default(), HashSet::new(), HashSet::new());
        for (run, stored_bytes) in &self.listings {
            let mut reader = LinesReader::new(store, layout.listing(run), *stored_bytes, None, None);
            while let Some(entry) = self.context.or_stop(reader.next::<MirrorEntry>()).await?? {
                if within(entry.name) {
                    let object: Object = (entry.name, runs.number(&entry.run));
                    named.insert(object);
                }
            }
        }
        found.living.extend(runs.0.keys().cloned());
        for (run, stored_bytes) in &self.due {
            let mut reader = LinesReader::new(store, layout.condemned(run), *stored_bytes, None, None);
            while let Some(line) = self.context.or_stop(reader.next::<Condemned>()).await?? {
                if within(line.name) {
                    let object: Object = (line.name, runs.number(&line.run));
                    due.insert(object);
                }
            }
        }
        for shard in shards {
            let shard = u8::try_from(shard).expect("shards are the values of a byte");
            let mut objects = store.list(&layout.shard_prefix(shard));
            while let Some(info) = self.context.or_stop(objects.try_next()).await?? {
                let Some((name, run)) = layout.parse_object(&info.key) else { continue };
                found.objects += 1;
                let object = (name, runs.number(&run));
                if named.contains(&object) || run == self.context.id {
                    continue;
                }
                let due = due.contains(&object);
                found.due += u64::from(due);
                list.push(&Condemned { name, run, stored_bytes: info.size_bytes, due }).await?;
            }
        }
        Ok(())
    }

    /// Deletes what is due, unless it is too much to be believed.
    async fn delete(&self, found: FoundUnnamed, now: Timestamp) -> Result<Vec<String>, JobError> {
        let (store, layout) = (self.mirror.destination.store.as_ref(), self.mirror.layout());
        let list = layout.condemned(&self.context.id);
        if let Some(why) = self.too_much(&found) {
            return Ok(vec![why]);
        }
        let written = skew::written_at(store, &list).await;
        if let Some(why) = skew::over_limit(now, written, self.mirror.clock_skew_limit) {
            return Ok(vec![why]);
        }
        let mut deed = Deed { mirror: self.mirror, context: self.context, held_back: Vec::new() };
        let mut reader = LinesReader::new(store, list, found.list_bytes, None, None);
        let mut deleted = 0_u64;
        while let Some(line) = self.context.or_stop(reader.next::<Condemned>()).await?? {
            if !line.due {
                continue;
            }
            if deleted.is_multiple_of(100) {
                self.context.check_lease().await?;
            }
            deleted += u64::from(deed.delete(&layout.object(line.name, &line.run)).await?);
        }
        if deleted > 0 {
            self.context.message(format!(
                "{}: removed {deleted} objects that no state names any more",
                self.mirror.name
            ));
        }
        self.delete_details(&mut deed, &found.living).await?;
        for (run, _) in &self.due {
            deed.delete(&layout.condemned(run)).await?;
        }
        Ok(deed.held_back)
    }

    fn too_much(&self, found: &FoundUnnamed) -> Option<String> {
        let percent = self.mirror.brake.percent;
        let over = u128::from(found.due) * 100 > u128::from(found.objects) * u128::from(percent);
        let braked = over && found.due >= LEAST_BULK && !self.mirror.release_brake;
        braked.then(|| {
            format!(
                "{} of {} stored objects are named by no state any more: more than {percent} %, so none is removed; \
                 `convault mirror run {} --release-brake` removes them",
                found.due, found.objects, self.mirror.name
            )
        })
    }

    /// Details of runs of which nothing is named any more.
    async fn delete_details(&self, deed: &mut Deed<'_>, living: &BTreeSet<RunId>) -> Result<(), JobError> {
        let (store, layout) = (self.mirror.destination.store.as_ref(), self.mirror.layout());
        let going_on = progress::runs(store, &layout).await?;
        let grace = self.mirror.destination.orphan_grace;
        for folder in store.list_folders(&layout.details_prefix()).await? {
            let Ok(run) = RunId::parse(&folder) else { continue };
            let age = self.context.clock.now().duration_since(run.time()).unsigned_abs();
            if living.contains(&run) || going_on.contains(&run) || run == self.context.id || age <= grace {
                continue;
            }
            let mut pieces = store.list(&format!("{}{run}/", layout.details_prefix()));
            while let Some(piece) = pieces.try_next().await? {
                deed.delete(&piece.key).await?;
            }
        }
        Ok(())
    }
}
