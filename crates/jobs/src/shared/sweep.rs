//! Sweeps file objects that no snapshot needs: in two phases, without any private key, and in little memory.
//!
//! The listing of file objects is gone through a piece at a time, and beside each piece the refs of every snapshot
//! folder. What none of them names, and is older than the grace, is condemned: written down, no more. A later sweep that
//! comes a grace after that deletes it, if it is still needed by nobody and was not written anew meanwhile.

use std::time::Duration;

use convault_core::{Layout, ObjectInfo, Sha256, StoreErrorKind};
use futures::TryStreamExt as _;
use jiff::Timestamp;

use crate::{
    Destination, FolderState, JobError, RunContext, Survey,
    shared::{
        condemned::{Condemned, MOST, condemn, condemned},
        names::Marks,
        refs::RefsReader,
    },
};

/// File objects that are looked at together. Each takes some fifty bytes.
const PIECE: usize = 400_000;
/// A sweep reads all refs; one this soon after another would find little.
const BETWEEN: Duration = Duration::from_hours(20);

/// What a sweep would do.
#[derive(Debug, Default)]
pub(crate) struct FilesPlan {
    /// Objects that were condemned a grace ago and are needed by nobody.
    pub(crate) delete: Vec<ObjectInfo>,
    /// Objects that are needed by nobody, in ascending order.
    condemn: Vec<Sha256>,
    /// Lists of which nothing is left to delete.
    done: Vec<ObjectInfo>,
    /// Objects and bytes of all file objects.
    all: (u64, u64),
    /// Whether there was a look at all: not so soon after another one.
    looked: bool,
}

/// One file object.
struct Stored {
    name: Sha256,
    size_bytes: u64,
    modified: Timestamp,
    encrypted: bool,
}

/// Finds what can be condemned and deleted. An error where the refs of any folder cannot be read: then nobody knows.
pub(crate) async fn plan_files(
    destination: &Destination,
    layout: &Layout,
    survey: &Survey,
    now: Timestamp,
    context: &RunContext,
) -> Result<FilesPlan, JobError> {
    let lists = condemned(destination, layout, &[]).await?;
    let between = BETWEEN.min(destination.orphan_grace);
    let newest = lists.last().map(|list| now.duration_since(list.at()));
    if newest.is_some_and(|age| age.unsigned_abs() < between) {
        return Ok(FilesPlan::default());
    }
    let mut plan = FilesPlan { looked: true, ..FilesPlan::default() };
    let look = Look { destination, layout, refs: refs_of(survey)?, lists: &lists, now, context };
    let mut objects = destination.store.list(&layout.files_prefix());
    let mut piece = Vec::new();
    while let Some(object) = context.or_stop(objects.try_next()).await?? {
        plan.all = (plan.all.0 + 1, plan.all.1 + object.size_bytes);
        piece.extend(look.old(&object));
        if piece.len() == PIECE {
            look.through(&mut piece, &mut plan).await?;
        }
    }
    look.through(&mut piece, &mut plan).await?;
    plan.condemn.sort_unstable();
    plan.condemn.dedup();
    let grace = |list: &&Condemned| look.is_over(list);
    plan.done = lists.iter().filter(grace).map(|list| list.object.clone()).collect();
    Ok(plan)
}

/// How many file objects no snapshot needs, however young they are; no more than a list holds are counted.
pub(crate) async fn unneeded(
    destination: &Destination,
    layout: &Layout,
    survey: &Survey,
    now: Timestamp,
    context: &RunContext,
) -> Result<u64, JobError> {
    let at_once = Destination { orphan_grace: Duration::ZERO, ..destination.clone() };
    let look = Look { destination: &at_once, layout, refs: refs_of(survey)?, lists: &[], now, context };
    let mut plan = FilesPlan::default();
    let mut objects = destination.store.list(&layout.files_prefix());
    let mut piece = Vec::new();
    while let Some(object) = context.or_stop(objects.try_next()).await?? {
        piece.extend(look.old(&object));
        if piece.len() == PIECE {
            look.through(&mut piece, &mut plan).await?;
        }
    }
    look.through(&mut piece, &mut plan).await?;
    Ok(plan.condemn.len() as u64)
}

/// The objects of refs of every folder, whatever its state: what might be needed is needed.
fn refs_of(survey: &Survey) -> Result<Vec<ObjectInfo>, JobError> {
    let mut refs = Vec::new();
    for folder in &survey.folders {
        let faults = folder.snapshot().map(|snapshot| snapshot.faults.as_slice()).unwrap_or_default();
        if let Some(fault) = faults.iter().find(|fault| RefsReader::is_refs(&fault.object)) {
            let (place, what) = (format!("{}/{}", folder.id, fault.object), fault.what.clone());
            return Err(JobError::Damaged { place, what });
        }
        if matches!(folder.state, FolderState::BeingRemoved) {
            continue;
        }
        refs.extend(folder.objects.iter().filter(|object| RefsReader::is_refs(&object.key)).cloned());
    }
    Ok(refs)
}

struct Look<'a> {
    destination: &'a Destination,
    layout: &'a Layout,
    refs: Vec<ObjectInfo>,
    lists: &'a [Condemned],
    now: Timestamp,
    context: &'a RunContext,
}

impl Look<'_> {
    /// An object that is ours and older than the grace: a younger one may belong to a run that goes on.
    fn old(&self, object: &ObjectInfo) -> Option<Stored> {
        let file = object.key.rsplit('/').next()?;
        let bare = file.strip_suffix(Layout::ENCRYPTED_SUFFIX);
        let name: Sha256 = bare.unwrap_or(file).parse().ok()?;
        let encrypted = bare.is_some();
        let is_ours = object.key == self.layout.file(&name.to_string(), suffix(encrypted));
        let age = self.now.duration_since(object.modified);
        let is_old = !age.is_negative() && age.unsigned_abs() > self.destination.orphan_grace;
        let (size_bytes, modified) = (object.size_bytes, object.modified);
        (is_ours && is_old).then_some(Stored { name, size_bytes, modified, encrypted })
    }

    fn is_over(&self, list: &Condemned) -> bool {
        let age = self.now.duration_since(list.at());
        !age.is_negative() && age.unsigned_abs() > self.destination.orphan_grace
    }

    /// Adds to `plan` what nobody needs of a piece of the listing, and empties it.
    async fn through(&self, piece: &mut Vec<Stored>, plan: &mut FilesPlan) -> Result<(), JobError> {
        // Some stores list in no order at all, and what is passed over would count as needed by nobody.
        piece.sort_unstable_by_key(|object| object.name);
        let needed = self.needed(piece).await?;
        for (at, object) in piece.drain(..).enumerate() {
            if needed.is_set(at) {
                continue;
            }
            let mut lists = self.lists.iter().filter(|list| list.names.find(&object.name).is_some());
            // What was written anew after it was condemned belongs to a run that needed it.
            match lists.next_back() {
                Some(list) if object.modified >= list.at() => {}
                Some(list) if self.is_over(list) => plan.delete.push(ObjectInfo {
                    key: self.layout.file(&object.name.to_string(), suffix(object.encrypted)),
                    size_bytes: object.size_bytes,
                    modified: object.modified,
                    etag: None,
                }),
                None if plan.condemn.len() < MOST => plan.condemn.push(object.name),
                _ => {}
            }
        }
        Ok(())
    }

    /// Which of a piece any refs name.
    async fn needed(&self, piece: &[Stored]) -> Result<Marks, JobError> {
        let mut needed = Marks::new(piece.len());
        let Some(last) = piece.last().map(|object| object.name) else { return Ok(needed) };
        for refs in &self.refs {
            let mut refs = RefsReader::as_listed(self.destination.store.as_ref(), refs);
            let mut at = 0;
            while let Some(one) = self.context.or_stop(refs.next()).await?? {
                while at < piece.len() && piece[at].name < one.name {
                    at += 1;
                }
                // A name may be there encrypted and as it is.
                let same = piece[at..].iter().take_while(|object| object.name == one.name).count();
                (at..at + same).for_each(|at| {
                    needed.set(at);
                });
                if one.name > last {
                    break;
                }
            }
        }
        Ok(needed)
    }
}

fn suffix(encrypted: bool) -> &'static str {
    if encrypted { Layout::ENCRYPTED_SUFFIX } else { "" }
}

impl FilesPlan {
    /// Why so much is not believed to be needed by nobody.
    pub(crate) fn too_much(&self, limit_percent: u32) -> Option<String> {
        let number = self.delete.len() as u64;
        let bytes: u64 = self.delete.iter().map(|object| object.size_bytes).sum();
        let over =
            |part: u64, whole: u64| u128::from(part) * 100 > u128::from(whole) * u128::from(limit_percent);
        (over(number, self.all.0) || over(bytes, self.all.1)).then(|| {
            format!(
                "{number} of {} stored files, {bytes} of {} bytes, are needed by no snapshot: more than {limit_percent} \
                 %, so none is removed; allow more with `--sweep-limit PERCENT`",
                self.all.0, self.all.1
            )
        })
    }

    /// Writes down what is condemned, also where that is nothing: it says when the last look was.
    pub(crate) async fn condemn(
        &self,
        destination: &Destination,
        layout: &Layout,
        context: &RunContext,
    ) -> Result<(), JobError> {
        if !self.looked || self.all.0 == 0 {
            return Ok(());
        }
        condemn(destination, layout, &self.condemn, context).await
    }

    /// Lists that are done with, once everything of `delete` is gone.
    pub(crate) fn done(&self) -> &[ObjectInfo] {
        &self.done
    }
}

/// Whether an object is still the one that was condemned.
pub(crate) async fn is_unchanged(destination: &Destination, object: &ObjectInfo) -> Result<bool, JobError> {
    match destination.store.head(&object.key).await {
        Ok(found) => Ok(found.modified <= object.modified && found.size_bytes == object.size_bytes),
        Err(error) if error.kind == StoreErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}
