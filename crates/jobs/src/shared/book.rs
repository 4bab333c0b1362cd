//! What a run knows of the stored files while it collects them: which destination lacks what, what was listed when.

use std::{sync::Arc, time::Duration};

use convault_core::{
    DestinationName, FileRow, Layout, MIN_PART_BYTES, ObjectRole, Sha256, Store, StoredObject,
};
use tokio::time::Instant;

use crate::{
    Encryption, JobError, RunContext,
    contents::MOST_IDS,
    group::{Group, Outline, Sending, SentObject},
    prepare::Ready,
    shared::{
        collect::{Pace, Pass},
        fetch::{Fetched, Wish},
        listing::{ListingTotals, ListingWriter},
        lock::FileLock,
        names::{Marks, Seen},
        place::Place,
    },
};

/// Memory for parts of the listing in each group.
const LISTING_BYTES: u64 = 2 * MIN_PART_BYTES;
const BETWEEN_REPORTS: Duration = Duration::from_secs(10);

/// A stored file that was listed and cannot be fetched.
#[derive(Debug, Clone)]
pub(crate) struct MissingFile {
    /// The path of its component; empty for the root.
    pub(crate) component: String,
    /// Its `_storage` id.
    pub(crate) id: String,
    /// Why not.
    pub(crate) why: String,
}

/// What was found of the stored files.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileCounts {
    pub(crate) totals: ListingTotals,
    /// Files that were fetched.
    pub(crate) fetched: u64,
    /// Their bytes.
    pub(crate) fetched_bytes: u64,
    /// Files that were stored after the snapshot's time, and are no part of it.
    pub(crate) newer: u64,
    /// Those that cannot be fetched, at most a hundred of them.
    pub(crate) missing: Vec<MissingFile>,
}

/// Everything that the snapshot's manifests and objects need to know.
pub(crate) struct Collected {
    /// The listing, as it was sent to each group.
    pub(crate) listings: Vec<(Group, SentObject)>,
    /// The objects of refs that each destination has.
    pub(crate) refs: Vec<(DestinationName, Vec<StoredObject>)>,
    pub(crate) counts: FileCounts,
    /// The destinations that have everything, each with what the run has stored for its set of recipients.
    needs: Vec<(Place, Arc<Seen>)>,
    layout: Layout,
}

impl Collected {
    /// Why file objects are not locked though they should be, by destination.
    pub(crate) fn not_locked(&self) -> impl Iterator<Item = &String> {
        self.needs.iter().filter_map(|(place, _)| place.not_locked())
    }

    /// Makes sure that no file of the snapshot was condemned while it was made.
    pub(crate) async fn check_not_condemned(&self) -> Result<(), JobError> {
        for (place, stored) in &self.needs {
            place.check_not_condemned(&self.layout, stored).await?;
        }
        Ok(())
    }
}

/// The destinations with the same recipients.
struct SharedGroup {
    group: Group,
    /// Under which the names of its objects are hashed; `None` where they are not.
    fingerprint: Option<Sha256>,
    /// Its destinations among the places.
    places: Vec<usize>,
    /// What this run has stored in all of them that lacked it.
    stored: Seen,
    listing: ListingWriter,
    sending: Sending,
}

impl SharedGroup {
    fn encryption(&self) -> Option<&Arc<Encryption>> {
        self.group.encryption.as_ref()
    }

    fn name_of(&self, sha256: &Sha256) -> Sha256 {
        match (self.encryption(), &self.fingerprint) {
            (Some(encryption), Some(fingerprint)) => {
                encryption.names.hash("file", &[&fingerprint.0, &sha256.0])
            }
            _ => *sha256,
        }
    }
}

/// The state of a collection.
pub(super) struct Book {
    pub(super) places: Vec<Place>,
    groups: Vec<SharedGroup>,
    /// What the first listing had, sorted once it is through.
    first: Vec<Listed>,
    /// Which of those the second listing had as well.
    again: Marks,
    counts: FileCounts,
    told: Instant,
}

impl Book {
    pub(super) async fn begin(
        pace: Pace,
        taking: Vec<(&Ready, Option<FileLock>)>,
        layout: &Layout,
        context: &RunContext,
    ) -> Result<Self, JobError> {
        let groups = Group::of(taking.iter().map(|(ready, _)| &ready.destination));
        let mut places: Vec<Place> = Vec::new();
        for (ready, lock) in taking {
            let place = Place::of(ready, lock, layout, &places, context).await?;
            places.push(place);
        }
        let groups = groups.into_iter().map(|group| begin_group(group, &places, pace, layout, context));
        let groups = groups.collect::<Result<_, JobError>>()?;
        Ok(Self {
            places,
            groups,
            first: Vec::new(),
            again: Marks::default(),
            counts: FileCounts::default(),
            told: Instant::now(),
        })
    }

    /// Memory that the listings' parts take.
    pub(super) fn reserved_bytes(&self) -> u64 {
        LISTING_BYTES * self.groups.len() as u64
    }

    /// Whether nothing is to be done about a file: the first listing had it, or it is younger than the snapshot.
    pub(super) fn passes_over(&mut self, pass: Pass, row: &FileRow) -> bool {
        let Pass::Second { snapshot_us } = pass else { return false };
        let found = self.first.binary_search_by_key(&fingerprint(row), |listed| listed.fingerprint);
        if let Ok(at) = found {
            self.again.set(at);
            return true;
        }
        let is_newer = row.created_us().is_some_and(|created| created > snapshot_us);
        self.counts.newer += u64::from(is_newer);
        is_newer
    }

    /// Where a file has to be stored; what is there already is needed from now on.
    pub(super) fn wishes(&mut self, row: &FileRow) -> Vec<Wish> {
        let mut wishes = Vec::new();
        for group in &self.groups {
            let name = group.name_of(&row.sha256);
            if group.stored.has(&name) {
                continue;
            }
            let mut stores: Vec<(usize, Arc<dyn Store>)> = Vec::new();
            let mut condemned = false;
            for at in &group.places {
                let place = &mut self.places[*at];
                if place.failed.is_none() && !place.wants(&name) {
                    condemned |= place.is_condemned(&name);
                    stores.push((*at, Arc::clone(&place.destination.store)));
                }
            }
            if !stores.is_empty() {
                let encryption = group.encryption().map(Arc::clone);
                wishes.push(Wish { encryption, name, stores, condemned });
            }
        }
        wishes
    }

    /// Takes down what became of a file.
    pub(super) async fn settle(
        &mut self,
        pass: Pass,
        row: &FileRow,
        fetched: Fetched,
        layout: &Layout,
        stall_limit: Duration,
        context: &RunContext,
    ) -> Result<(), JobError> {
        let is_stored = match fetched {
            Fetched::Stored(results) => {
                if !results.is_empty() {
                    self.counts.fetched += 1;
                    self.counts.fetched_bytes += row.size_bytes;
                    for group in &mut self.groups {
                        let name = group.name_of(&row.sha256);
                        group.stored.add(&name);
                    }
                }
                for (at, result) in results {
                    match result {
                        Ok(one) => self.places[at].stored(one, layout, stall_limit, context).await?,
                        Err(why) => self.places[at].failed = Some(why),
                    }
                }
                true
            }
            // It may have been deleted since; the second listing tells.
            Fetched::Missing(_) if pass == Pass::First => return Ok(()),
            Fetched::Missing(why) => {
                if self.counts.missing.len() < MOST_IDS {
                    let (component, id) = (row.component.clone(), row.id.clone());
                    self.counts.missing.push(MissingFile { component, id, why });
                }
                false
            }
        };
        self.none_left()?;
        let mut line = 0;
        for group in &mut self.groups {
            let name = is_stored.then(|| group.name_of(&row.sha256));
            line = group.listing.file(row, name.as_ref());
            let ready = group.listing.take();
            if !ready.is_empty() {
                // That no destination of a group is left shows where the listing is closed.
                let written = context.or_stop(group.sending.write(&ready)).await?;
                written.or_else(|error| match error {
                    JobError::AllDestinationsFailed(_) => Ok(()),
                    error => Err(error),
                })?;
            }
        }
        if pass == Pass::First {
            let line = u32::try_from(line).unwrap_or(u32::MAX);
            self.first.push(Listed { fingerprint: fingerprint(row), line });
        }
        self.report(context);
        Ok(())
    }

    fn none_left(&self) -> Result<(), JobError> {
        if self.places.iter().any(|place| place.failed.is_none()) {
            return Ok(());
        }
        let why =
            |place: &Place| format!("{}: {}", place.name(), place.failed.as_deref().unwrap_or_default());
        let all: Vec<String> = self.places.iter().map(why).collect();
        Err(JobError::AllDestinationsFailed(all.join("; ")))
    }

    fn report(&mut self, context: &RunContext) {
        if self.told.elapsed() >= BETWEEN_REPORTS {
            self.told = Instant::now();
            let listed = self.groups.first().map_or(0, |group| group.listing.totals.files);
            context.message(format!("{listed} stored files listed, {} of them fetched", self.counts.fetched));
        }
    }

    /// The first listing is through.
    pub(super) fn end_first(&mut self) {
        self.first.sort_unstable();
        self.again = Marks::new(self.first.len());
    }

    /// Closes the listing in every group and writes the refs in every destination.
    pub(super) async fn close(
        self,
        layout: &Layout,
        stall_limit: Duration,
        context: &RunContext,
    ) -> Result<Collected, JobError> {
        let Self { places, groups, first, again, mut counts, .. } = self;
        let gone = first.iter().enumerate().filter(|(at, _)| !again.is_set(*at));
        let mut uncertain: Vec<u32> = gone.map(|(_, listed)| listed.line).collect();
        uncertain.sort_unstable();
        drop(first);
        let mut listings = Vec::new();
        let mut stored: Vec<(Vec<usize>, Arc<Seen>)> = Vec::new();
        for group in groups {
            stored.push((group.places, Arc::new(group.stored)));
            let (rest, totals) = group.listing.finish(&uncertain);
            counts.totals = totals;
            let mut sending = group.sending;
            let written = async {
                sending.write(&rest).await?;
                sending.end().await
            };
            match context.or_stop(written).await? {
                Ok(()) | Err(JobError::AllDestinationsFailed(_)) => {}
                Err(error) => return Err(error),
            }
            let mut sent = sending.close(true, &context.stop).await;
            // What has its ZIP has to have its listing, and the other way round.
            let failed: Vec<&DestinationName> =
                places.iter().filter(|place| place.failed.is_some()).map(Place::name).collect();
            let lanes = std::mem::take(&mut sent.sent.lanes);
            for lane in lanes {
                match lane.result {
                    Ok(finishing) if failed.contains(&lane.store.destination()) => finishing.abort().await,
                    _ if failed.contains(&lane.store.destination()) => {}
                    _ => sent.sent.lanes.push(lane),
                }
            }
            listings.push((group.group, sent));
        }
        let mut refs = Vec::new();
        let mut needs = Vec::new();
        for (at, mut place) in places.into_iter().enumerate() {
            if place.failed.is_some() {
                continue;
            }
            refs.push((place.name().clone(), place.refs(layout, stall_limit, context).await?));
            let of_group = stored.iter().find(|(places, _)| places.contains(&at));
            let seen = of_group.map(|(_, seen)| Arc::clone(seen)).unwrap_or_default();
            needs.push((place, seen));
        }
        Ok(Collected { listings, refs, counts, needs, layout: layout.clone() })
    }

    pub(super) async fn abort(self) {
        futures::future::join_all(self.groups.into_iter().map(|group| group.sending.abort())).await;
    }
}

fn begin_group(
    group: Group,
    places: &[Place],
    pace: Pace,
    layout: &Layout,
    context: &RunContext,
) -> Result<SharedGroup, JobError> {
    let outline = Outline {
        layout,
        id: &context.id,
        name: Layout::FILES_NAME,
        role: ObjectRole::Files,
        length_bytes: None,
        budget_bytes: LISTING_BYTES,
        stall_limit: pace.stall_limit,
    };
    let sending = Sending::begin(&group, &outline)?;
    let is_in = |place: &Place| group.stores.iter().any(|store| store.destination() == place.name());
    let places = places.iter().enumerate().filter(|(_, place)| is_in(place)).map(|(at, _)| at).collect();
    let fingerprint = group.encryption.as_ref().map(|encryption| encryption.recipients.fingerprint());
    Ok(SharedGroup {
        group,
        fingerprint,
        places,
        stored: Seen::default(),
        listing: ListingWriter::new(),
        sending,
    })
}

/// What tells a file from every other one, in eight bytes: a hash of its component and id.
type Fingerprint = [u8; 8];

fn fingerprint(row: &FileRow) -> Fingerprint {
    let digest = Sha256::of(format!("{}\n{}", row.component, row.id).as_bytes());
    std::array::from_fn(|at| digest.0[at])
}

/// A file of the first listing, in twelve bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Listed {
    fingerprint: Fingerprint,
    /// Its place among the lines of files.
    line: u32,
}
