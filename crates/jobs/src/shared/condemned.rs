//! Condemned lists: file objects that no snapshot needs any more, written down a grace before they are deleted
//! (`docs/format.md`, "Shared files").

use std::io::Write as _;

use bytes::Bytes;
use convault_archive::{LinePacker, LineUnpacker};
use convault_core::{Layout, ObjectInfo, PutMode, Sha256, StoreErrorKind};
use futures::TryStreamExt as _;
use jiff::Timestamp;

use crate::{Destination, JobError, RunContext, read::read_small, shared::names::Names, trust::put_own};

/// A list has no more names, so that it is small.
pub(super) const MOST: usize = 100_000;
const LARGEST_BYTES: u64 = 16 << 20;

/// One list.
#[derive(Debug)]
pub(super) struct Condemned {
    /// The object, by which its names were condemned by the store's clock.
    pub(super) object: ObjectInfo,
    pub(super) names: Names,
}

impl Condemned {
    /// When its names were condemned.
    pub(super) fn at(&self) -> Timestamp {
        self.object.modified
    }
}

/// Every list of a deployment that can be read and trusted, the oldest first. Those among `known` are not read again.
pub(super) async fn condemned(
    destination: &Destination,
    layout: &Layout,
    known: &[String],
) -> Result<Vec<Condemned>, JobError> {
    let store = destination.store.as_ref();
    let objects: Vec<ObjectInfo> = store.list(&layout.condemned_prefix()).try_collect().await?;
    let mut lists = Vec::new();
    for object in objects.into_iter().filter(|object| object.key.strip_suffix(".zst").is_some()) {
        if known.contains(&object.key) {
            continue;
        }
        let bytes = match read_small(store, &object.key, LARGEST_BYTES).await {
            Ok(bytes) => bytes,
            Err(JobError::Store(error)) if error.kind == StoreErrorKind::NotFound => continue,
            Err(JobError::Damaged { .. }) => continue,
            Err(error) => return Err(error),
        };
        if destination.trust.why_not(store, &object.key, &bytes).await?.is_some() {
            continue;
        }
        if let Some(names) = parse(&bytes) {
            lists.push(Condemned { object, names });
        }
    }
    lists.sort_by_key(Condemned::at);
    Ok(lists)
}

/// A list that cannot be read condemns nothing.
fn parse(bytes: &[u8]) -> Option<Names> {
    let mut unpacker = LineUnpacker::new();
    unpacker.push(bytes);
    let (mut names, mut last) = (Names::default(), None);
    while let Some(line) = unpacker.next_text().ok()? {
        let name: Sha256 = std::str::from_utf8(line).ok()?.parse().ok()?;
        if last.replace(name).is_some_and(|last| last >= name) {
            return None;
        }
        names.push(&name);
    }
    unpacker.finish().ok()?;
    Some(names)
}

/// Writes a list of names, which must be in ascending order.
pub(super) async fn condemn(
    destination: &Destination,
    layout: &Layout,
    names: &[Sha256],
    context: &RunContext,
) -> Result<(), JobError> {
    let mut packer = LinePacker::new();
    for name in names {
        let mut line = Vec::new();
        writeln!(line, "{name}").expect("memory takes whatever is written");
        packer.push_text(&line);
    }
    let bytes = packer.finish();
    let key = layout.condemned(&context.id);
    let what = format!("convault condemned {} {} {}", layout.deployment(), context.id, context.clock.now());
    let store = destination.store.as_ref();
    context.check_lease().await?;
    destination.trust.sign(store, &key, &bytes, &what, PutMode::IfAbsent).await?;
    put_own(store, &key, Bytes::from(bytes), PutMode::IfAbsent).await
}
