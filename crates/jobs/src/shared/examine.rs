//! Compares the file objects of a destination with what the refs of its snapshots say of them, each object once.

use std::collections::BTreeMap;

use convault_core::{
    FileRef, FilesMode, Layout, Manifest, ObjectInfo, ProofFault, Sha256, SnapshotId, Store, StoreErrorKind,
};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::{JobError, RunContext, read::check_object, shared::refs::RefsReader};

/// File objects that are looked at together. Each takes some fifty bytes.
const PIECE: usize = 250_000;
/// So many faults of a snapshot are named.
const MOST_FAULTS: usize = 100;
/// So many objects are read at once, in lots of so many.
const AT_ONCE: usize = 8;
const LOT: usize = 256;
/// Damage is read so often before it is believed.
const READINGS: u32 = 2;

/// Which file objects are read; of the others only the size is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    None,
    All,
    /// One of so many equal shares, by the beginnings of their names.
    Share {
        number: u32,
        of: u32,
    },
}

impl Reading {
    fn has(self, name: &Sha256) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Share { number, of } => {
                let place = u32::from_be_bytes([0, 0, name.0[0], name.0[1]]);
                place * of / (1 << 16) == number
            }
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct FileFaults {
    /// The faults of each snapshot that has any.
    pub(crate) faults: BTreeMap<SnapshotId, Vec<ProofFault>>,
    /// Everything that is wrong, by snapshot, where the caller asked for it.
    pub(crate) wrong: Vec<(SnapshotId, FileRef)>,
    /// Bytes that were read.
    pub(crate) read_bytes: u64,
}

/// One file object.
struct Stored {
    name: Sha256,
    size_bytes: u64,
    /// What reading it found; boxed, since mostly nothing is read.
    read: Option<Box<Result<Sha256, String>>>,
}

/// Goes through the file objects that the snapshots of `manifests` need. With `all_wrong`, everything that is wrong is
/// given, and not only named.
pub(crate) async fn examine_files(
    store: &dyn Store,
    layout: &Layout,
    manifests: &[&Manifest],
    reading: Reading,
    all_wrong: bool,
    context: &RunContext,
) -> Result<FileFaults, JobError> {
    let shared: Vec<&Manifest> =
        manifests.iter().copied().filter(|manifest| manifest.files == FilesMode::Shared).collect();
    let mut found = FileFaults::default();
    if shared.is_empty() {
        return Ok(found);
    }
    let examination = Examination { store, layout, shared: &shared, reading, all_wrong, context };
    let mut objects = store.list(&layout.files_prefix());
    let (mut piece, mut from) = (Vec::new(), None);
    loop {
        let next = context.or_stop(objects.try_next()).await??;
        piece.extend(next.as_ref().and_then(stored));
        if piece.len() == PIECE || next.is_none() {
            let to = next.is_some().then(|| piece.last().map(|object: &Stored| object.name)).flatten();
            examination.through(&mut piece, from, to, &mut found).await?;
            from = to;
            piece.clear();
        }
        if next.is_none() {
            return Ok(found);
        }
    }
}

fn stored(object: &ObjectInfo) -> Option<Stored> {
    let file = object.key.rsplit('/').next()?;
    let name = file.strip_suffix(Layout::ENCRYPTED_SUFFIX).unwrap_or(file).parse().ok()?;
    Some(Stored { name, size_bytes: object.size_bytes, read: None })
}

struct Examination<'a> {
    store: &'a dyn Store,
    layout: &'a Layout,
    shared: &'a [&'a Manifest],
    reading: Reading,
    all_wrong: bool,
    context: &'a RunContext,
}

impl Examination<'_> {
    /// Compares a piece of the listing, of the names above `from` up to `to`, with the refs of every snapshot.
    async fn through(
        &self,
        piece: &mut [Stored],
        from: Option<Sha256>,
        to: Option<Sha256>,
        found: &mut FileFaults,
    ) -> Result<(), JobError> {
        // Some stores list in no order at all: as long as one piece has everything, that is no matter.
        piece.sort_unstable_by_key(|object| object.name);
        for manifest in self.shared {
            let mut refs = RefsReader::open(self.store, manifest);
            let mut lot: Vec<(FileRef, Option<usize>)> = Vec::new();
            let mut at = 0;
            loop {
                let next = match self.context.or_stop(refs.next()).await? {
                    Ok(next) => next,
                    // Its own objects were looked at, and found to be so.
                    Err(JobError::Damaged { .. }) => None,
                    Err(JobError::Store(error)) if error.kind == StoreErrorKind::NotFound => None,
                    Err(error) => return Err(error),
                };
                let next = next.filter(|one| to.is_none_or(|to| one.name <= to));
                if let Some(one) = next
                    && from.is_none_or(|from| from < one.name)
                {
                    while at < piece.len() && piece[at].name < one.name {
                        at += 1;
                    }
                    let is_there = piece.get(at).is_some_and(|object| object.name == one.name);
                    lot.push((one, is_there.then_some(at)));
                }
                if lot.len() == LOT || next.is_none() {
                    self.compare(manifest, piece, &mut lot, found).await?;
                }
                if next.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn compare(
        &self,
        manifest: &Manifest,
        piece: &mut [Stored],
        lot: &mut Vec<(FileRef, Option<usize>)>,
        found: &mut FileFaults,
    ) -> Result<(), JobError> {
        let to_read: Vec<(FileRef, usize)> = lot
            .iter()
            .filter_map(|(one, at)| {
                let at = (*at)?;
                let object = &piece[at];
                let is_known = matches!(object.read.as_deref(), Some(Ok(sha256)) if *sha256 == one.sha256);
                (object.size_bytes == one.size_bytes && self.reading.has(&one.name) && !is_known)
                    .then_some((*one, at))
            })
            .collect();
        let reads =
            to_read.into_iter().map(|(one, at)| async move { (at, one, self.read(manifest, &one).await) });
        let mut reads = futures::stream::iter(reads).buffer_unordered(AT_ONCE);
        while let Some((at, one, read)) = self.context.or_stop(reads.next()).await? {
            found.read_bytes += one.size_bytes;
            piece[at].read = Some(Box::new(read?.map(|()| one.sha256)));
        }
        drop(reads);
        for (one, at) in lot.drain(..) {
            let what = match at.map(|at| &piece[at]) {
                None => "it is missing".to_owned(),
                Some(object) if object.size_bytes != one.size_bytes => {
                    format!("it has {} bytes, not {}", object.size_bytes, one.size_bytes)
                }
                Some(object) => match object.read.as_deref() {
                    Some(Err(what)) => what.clone(),
                    _ => continue,
                },
            };
            if self.all_wrong {
                found.wrong.push((manifest.id.clone(), one));
            }
            let faults = found.faults.entry(manifest.id.clone()).or_default();
            if faults.len() < MOST_FAULTS {
                faults.push(ProofFault { object: format!("files/{one}"), what });
            }
        }
        Ok(())
    }

    /// Reads an object, a second time where it is not what it should be.
    async fn read(&self, manifest: &Manifest, one: &FileRef) -> Result<Result<(), String>, JobError> {
        let key = key_of(self.layout, manifest, one);
        for _ in 1..READINGS {
            match check_object(self.store, key.clone(), one.size_bytes, &one.sha256).await {
                Ok(()) => return Ok(Ok(())),
                Err(JobError::Damaged { .. }) => {}
                Err(JobError::Store(error)) if error.kind == StoreErrorKind::NotFound => {
                    return Ok(Err("it is missing".to_owned()));
                }
                Err(error) => return Err(error),
            }
        }
        match check_object(self.store, key, one.size_bytes, &one.sha256).await {
            Ok(()) => Ok(Ok(())),
            Err(JobError::Damaged { what, .. }) => Ok(Err(what)),
            Err(error) => Err(error),
        }
    }
}

/// The key of a file object of a snapshot.
pub(crate) fn key_of(layout: &Layout, manifest: &Manifest, one: &FileRef) -> String {
    let suffix = if manifest.recipients.is_empty() { "" } else { Layout::ENCRYPTED_SUFFIX };
    layout.file(&one.name.to_string(), suffix)
}
