//! Reading the refs of a snapshot, a line at a time.

use convault_archive::LineUnpacker;
use convault_core::{FileRef, Layout, Manifest, ObjectInfo, ObjectRole, Sha256, Store};

use crate::{JobError, read::ObjectReader};

/// Of several objects that are read side by side, so much is asked for at once.
const PIECE_BYTES: u64 = 128 << 10;

/// The refs of one snapshot, in ascending order of names, each name once. They may lie in several objects, each of them
/// in that order.
pub(crate) struct RefsReader<'a> {
    objects: Vec<OneObject<'a>>,
    last: Option<Sha256>,
}

struct OneObject<'a> {
    /// `None` once it was read to its end and found to be what the manifest says.
    reader: Option<ObjectReader<'a>>,
    /// What all of it should be, where that is known.
    sha256: Option<Sha256>,
    place: String,
    unpacker: LineUnpacker,
    /// The next one, once it was read.
    head: Option<FileRef>,
    last: Option<Sha256>,
}

impl<'a> RefsReader<'a> {
    /// Reads the refs of `manifest`. Damage, and a line that is none, is an error of the place where it lies.
    pub(crate) fn open(store: &'a dyn Store, manifest: &Manifest) -> Self {
        let layout = Layout::new(manifest.deployment.clone());
        let refs: Vec<_> = manifest.objects.iter().filter(|object| object.role == ObjectRole::Refs).collect();
        let is_one = refs.len() == 1;
        let objects = refs.into_iter().map(|object| {
            let key = layout.object(&manifest.id, &object.name);
            let reader = ObjectReader::new(store, key, object.size_bytes);
            let reader = if is_one { reader } else { reader.in_pieces(PIECE_BYTES) };
            OneObject::new(reader, Some(object.sha256))
        });
        Self { objects: objects.collect(), last: None }
    }

    /// Reads one object of refs as it lies there, whatever a manifest says of it.
    pub(crate) fn as_listed(store: &'a dyn Store, object: &ObjectInfo) -> Self {
        let reader = ObjectReader::new(store, object.key.clone(), object.size_bytes);
        Self { objects: vec![OneObject::new(reader, None)], last: None }
    }

    /// Whether an object of a snapshot's folder is one of refs, by its key.
    pub(crate) fn is_refs(key: &str) -> bool {
        let name = key.rsplit('/').next().unwrap_or_default();
        name.starts_with("refs") && name.strip_suffix(".zst").is_some()
    }

    /// The next one; `None` after the last. What was given before an error is not to be used either.
    pub(crate) async fn next(&mut self) -> Result<Option<FileRef>, JobError> {
        loop {
            for object in &mut self.objects {
                object.fill().await?;
            }
            let heads = self.objects.iter().enumerate();
            let least = heads.filter_map(|(at, object)| Some((object.head?.name, at))).min();
            let Some((name, at)) = least else { return Ok(None) };
            let next = self.objects[at].head.take();
            if self.last.replace(name) != Some(name) {
                return Ok(next);
            }
        }
    }
}

impl<'a> OneObject<'a> {
    fn new(reader: ObjectReader<'a>, sha256: Option<Sha256>) -> Self {
        Self {
            place: reader.place(),
            reader: Some(reader),
            sha256,
            unpacker: LineUnpacker::new(),
            head: None,
            last: None,
        }
    }

    async fn fill(&mut self) -> Result<(), JobError> {
        while self.head.is_none() {
            if let Some(line) = self.unpacker.next_text().map_err(|error| damaged(&self.place, &error))? {
                let one = FileRef::parse(line)
                    .filter(|one| self.last.is_none_or(|last| last < one.name))
                    .ok_or_else(|| damaged(&self.place, &"a line is not what it should be"))?;
                self.last = Some(one.name);
                self.head = Some(one);
                return Ok(());
            }
            let Some(reader) = &mut self.reader else { return Ok(()) };
            if let Some(bytes) = reader.next().await? {
                self.unpacker.push(&bytes);
                continue;
            }
            match (self.reader.take(), &self.sha256) {
                (Some(reader), Some(sha256)) => reader.check(sha256)?,
                (Some(reader), None) => reader.check_length()?,
                (None, _) => {}
            }
            let unpacker = std::mem::take(&mut self.unpacker);
            unpacker.finish().map_err(|error| damaged(&self.place, &error))?;
        }
        Ok(())
    }
}

fn damaged(place: &str, what: &dyn std::fmt::Display) -> JobError {
    JobError::Damaged { place: place.to_owned(), what: what.to_string() }
}
