//! One destination of a run: which file objects it has, which of them this run needs, and which the run has stored.

use std::{sync::Arc, time::Duration};

use convault_archive::LinePacker;
use convault_core::{
    DestinationName, FileRef, FilesMode, Layout, MIN_PART_BYTES, Manifest, ObjectRole, PartPlan, Sha256,
    Store, StoredObject,
};

use crate::{
    Destination, JobError, RunContext,
    error::chain,
    fan_out::FanOut,
    prepare::Ready,
    settle::{Expected, prove},
    shared::{
        condemned::{Condemned, condemned},
        lock::FileLock,
        names::{Marks, Names, Seen},
        refs::RefsReader,
    },
};

/// So many new objects are held before they are written down as refs of their own.
const HELD: usize = 32_768;
/// Refs are sent in parts of this size.
const PLAN: PartPlan = PartPlan { part_bytes: MIN_PART_BYTES, parts_in_memory: 2 };
/// As many lines are packed at once.
const LINES: usize = 1000;

/// What a destination has, by the refs of the newest good snapshot in it.
pub(crate) struct Present {
    /// In the order of the refs.
    names: Names,
    manifest: Manifest,
}

/// One destination of a run.
pub(crate) struct Place {
    pub(crate) destination: Destination,
    present: Option<Arc<Present>>,
    /// Which of those that are present the new snapshot needs.
    wanted: Marks,
    /// What this run has stored and not written down yet.
    new: Vec<FileRef>,
    /// The refs that were written down.
    written: Vec<StoredObject>,
    /// The condemned lists that were there when the run began.
    condemned: Vec<Condemned>,
    /// How its file objects are locked, where they are.
    lock: Option<FileLock>,
    /// Why it takes no further part.
    pub(crate) failed: Option<String>,
}

impl Place {
    /// What `ready` has. `alike` are the places before, which may have the very same.
    pub(crate) async fn of(
        ready: &Ready,
        lock: Option<FileLock>,
        layout: &Layout,
        alike: &[Self],
        context: &RunContext,
    ) -> Result<Self, JobError> {
        let present = present(ready, alike, context).await?;
        let wanted = Marks::new(present.as_ref().map_or(0, |present| present.names.len()));
        Ok(Self {
            destination: ready.destination.clone(),
            present,
            wanted,
            new: Vec::new(),
            written: Vec::new(),
            condemned: condemned(&ready.destination, layout, &[]).await?,
            lock,
            failed: None,
        })
    }

    /// Its name in the settings.
    pub(crate) fn name(&self) -> &DestinationName {
        self.destination.store.destination()
    }

    /// Why its file objects are not locked though they should be.
    pub(crate) fn not_locked(&self) -> Option<&String> {
        self.lock.as_ref().and_then(|lock| lock.refused.as_ref())
    }

    /// Whether it has that object and vouches for it; it is needed from now on.
    pub(crate) fn wants(&mut self, name: &Sha256) -> bool {
        let Some(place) = self.present.as_ref().and_then(|present| present.names.find(name)) else {
            return false;
        };
        self.wanted.set(place);
        true
    }

    /// Whether what lies there under that name, if anything does, is about to be swept away.
    pub(crate) fn is_condemned(&self, name: &Sha256) -> bool {
        self.condemned.iter().any(|list| list.names.find(name).is_some())
    }

    /// Makes sure that nothing of what the new snapshot needs was condemned since the run began; `stored` is what the run
    /// itself has stored.
    pub(crate) async fn check_not_condemned(&self, layout: &Layout, stored: &Seen) -> Result<(), JobError> {
        let known: Vec<String> = self.condemned.iter().map(|list| list.object.key.clone()).collect();
        for list in condemned(&self.destination, layout, &known).await? {
            let is_present = |prefix| {
                let found = self.present.as_ref().and_then(|present| present.names.find_prefix(prefix));
                found.is_some_and(|place| self.wanted.is_set(place))
            };
            let number = list.names.iter().filter(|name| is_present(name) || stored.has_prefix(name)).count();
            if number > 0 {
                return Err(JobError::Condemned { destination: self.name().clone(), number });
            }
        }
        Ok(())
    }

    /// Notes an object that was stored.
    pub(crate) async fn stored(
        &mut self,
        one: FileRef,
        layout: &Layout,
        stall_limit: Duration,
        context: &RunContext,
    ) -> Result<(), JobError> {
        self.new.push(one);
        if self.new.len() < HELD {
            return Ok(());
        }
        let name = format!("refs-{}.zst", self.written.len() + 1);
        let mut writing = Writing::begin(self, &name, layout, stall_limit, context);
        let mut new = std::mem::take(&mut self.new);
        sort(&mut new);
        for one in &new {
            writing.push(*one).await?;
        }
        let (object, lock) = writing.finish().await?;
        self.written.push(object);
        self.lock = lock;
        new.clear();
        self.new = new;
        Ok(())
    }

    /// Writes the refs of everything the new snapshot needs, but what was written before. Gives all objects of refs.
    pub(crate) async fn refs(
        &mut self,
        layout: &Layout,
        stall_limit: Duration,
        context: &RunContext,
    ) -> Result<Vec<StoredObject>, JobError> {
        let mut new = std::mem::take(&mut self.new);
        sort(&mut new);
        let mut new = new.into_iter().peekable();
        let mut writing = Writing::begin(self, Layout::REFS_NAME, layout, stall_limit, context);
        if let Some(present) = &self.present {
            let mut before = RefsReader::open(self.destination.store.as_ref(), &present.manifest);
            let mut place = 0;
            while let Some(one) = context.or_stop(before.next()).await?? {
                while let Some(earlier) = new.next_if(|new| new.name < one.name) {
                    writing.push(earlier).await?;
                }
                if self.wanted.is_set(place) {
                    writing.push(one).await?;
                }
                place += 1;
            }
        }
        for one in new {
            writing.push(one).await?;
        }
        let (object, lock) = writing.finish().await?;
        self.written.push(object);
        self.lock = lock;
        Ok(std::mem::take(&mut self.written))
    }
}

fn sort(refs: &mut Vec<FileRef>) {
    refs.sort_unstable_by_key(|one| one.name);
    refs.dedup_by_key(|one| one.name);
}

/// The newest good snapshot with shared files, readable by whom the destination is encrypted to now, says what is there.
/// Refs that are damaged say nothing, and the next older ones are asked.
async fn present(
    ready: &Ready,
    alike: &[Place],
    context: &RunContext,
) -> Result<Option<Arc<Present>>, JobError> {
    let recipients = ready.destination.encryption.as_ref().map(|encryption| &encryption.recipients);
    let recipients: Vec<String> =
        recipients.map(|recipients| recipients.iter().map(ToString::to_string).collect()).unwrap_or_default();
    for snapshot in ready.survey.good() {
        let manifest = &snapshot.manifest;
        if manifest.files != FilesMode::Shared || manifest.recipients != recipients {
            continue;
        }
        let known = alike.iter().filter_map(|place| place.present.as_ref());
        if let Some(same) = known.into_iter().find(|known| has_same_refs(&known.manifest, manifest)) {
            return Ok(Some(Arc::clone(same)));
        }
        match context.or_stop(read(ready, manifest)).await? {
            Ok(names) => return Ok(Some(Arc::new(Present { names, manifest: manifest.clone() }))),
            Err(error @ JobError::Damaged { .. }) => {
                context.warning(format!("{}; its files are fetched again", chain(&error)));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn has_same_refs(one: &Manifest, other: &Manifest) -> bool {
    let refs = |manifest: &Manifest| {
        let refs = manifest.objects.iter().filter(|object| object.role == ObjectRole::Refs);
        refs.map(|object| (object.name.clone(), object.sha256)).collect::<Vec<_>>()
    };
    one.id == other.id && refs(one) == refs(other)
}

async fn read(ready: &Ready, manifest: &Manifest) -> Result<Names, JobError> {
    let mut reader = RefsReader::open(ready.store().as_ref(), manifest);
    let mut names = Names::default();
    while let Some(one) = reader.next().await? {
        names.push(&one.name);
    }
    Ok(names)
}

/// An object of refs on its way to one destination.
struct Writing<'a> {
    store: Arc<dyn Store>,
    layout: &'a Layout,
    key: String,
    name: String,
    packer: LinePacker,
    /// Those that are to be locked and written down next.
    held: Vec<FileRef>,
    lock: Option<FileLock>,
    fan_out: FanOut,
    context: &'a RunContext,
}

impl<'a> Writing<'a> {
    fn begin(
        place: &Place,
        name: &str,
        layout: &'a Layout,
        stall_limit: Duration,
        context: &'a RunContext,
    ) -> Self {
        let store = Arc::clone(&place.destination.store);
        let key = layout.object(&context.id, name);
        let fan_out = FanOut::begin(std::slice::from_ref(&store), &key, PLAN, stall_limit);
        let (packer, held, lock) = (LinePacker::new(), Vec::with_capacity(LINES), place.lock.clone());
        Self { store, layout, key, name: name.to_owned(), packer, held, lock, fan_out, context }
    }

    async fn push(&mut self, one: FileRef) -> Result<(), JobError> {
        self.held.push(one);
        if self.held.len() == LINES {
            self.pack().await?;
            let ready = self.packer.take();
            self.context.or_stop(self.fan_out.write(&ready)).await??;
        }
        Ok(())
    }

    /// Locks those that are held, and packs their lines.
    async fn pack(&mut self) -> Result<(), JobError> {
        if let Some(lock) = &mut self.lock {
            lock.hold(self.store.as_ref(), self.layout, &mut self.held, self.context).await?;
        }
        let mut lines = Vec::new();
        for one in self.held.drain(..) {
            one.write(&mut lines);
        }
        self.packer.push_text(&lines);
        Ok(())
    }

    async fn finish(mut self) -> Result<(StoredObject, Option<FileLock>), JobError> {
        self.pack().await?;
        self.context.or_stop(self.fan_out.write(&self.packer.finish())).await??;
        let mut sent = self.fan_out.close(true, &self.context.stop).await;
        let lane = sent.lanes.pop().expect("refs are written to one destination at a time");
        let finishing = lane.result.map_err(|error| error.into_job_error(&self.context.stop))?;
        let stored = finishing.finish().await?;
        let expected = Expected {
            name: self.name,
            role: ObjectRole::Refs,
            size_bytes: sent.length_bytes,
            sha256: sent.sha256,
        };
        let object = prove(self.store.as_ref(), self.key, &stored, &expected, self.context).await?;
        Ok((object, self.lock))
    }
}
