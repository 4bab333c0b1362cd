//! Proves that a stored snapshot opens with an identity: a few entries of it, or every byte.

use std::sync::Arc;

use convault_archive::{
    EntryContent, FrameKind, Index, NamesKey, Options, RandomError, RangedReader,
    encryption::{Decryptor, Identities},
};
use convault_core::{
    IndexEntry, IndexLine, Manifest, ObjectRole, RunEvent, RunPhase, Secret, Store, StoreErrorKind,
    StoredObject, TableNames,
};

use crate::{
    Access, Encryption, JobError, RunContext,
    access::{ObjectContent, at_random, is_encrypted, key_of, not_opened},
    analysis::Analysis,
    contents,
    error::chain,
    keyed::keyed_manifest,
    read::read_small,
    repository::names_key_place,
};

/// So many entries are read where not all are.
const SAMPLES: usize = 8;
/// A sample larger than this is passed over for another.
const LARGEST_SAMPLE_BYTES: u64 = 16 << 20;
const LARGEST_NAMES_KEY_BYTES: u64 = 1 << 20;

/// How much of a snapshot is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenDepth {
    /// The beginning and end of every object, all of the index, and entries that this number chooses.
    Sample(u64),
    /// Every byte of every object, and what is in the ZIP compared with the manifest.
    Full,
}

/// What was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Opened {
    /// Objects.
    pub objects: u64,
    /// Entries of the ZIP that were read to their ends and compared with the index.
    pub entries: u64,
    /// Bytes of the objects that were read whole, as stored.
    pub read_bytes: u64,
}

/// Opens a stored snapshot, or says why it does not open. `names` is the names key, where it is known: with it, tables are
/// compared with the manifest by `Full`.
pub async fn prove_opens(
    store: &dyn Store,
    manifest: &Manifest,
    identities: &Identities,
    names: Option<&NamesKey>,
    depth: OpenDepth,
    context: &RunContext,
) -> Result<Opened, JobError> {
    context.phase(RunPhase::ReadBack);
    let opening = Opening { store, manifest, identities, names, context };
    let mut opened = Opened::default();
    for object in &manifest.objects {
        opened.objects += 1;
        if depth == OpenDepth::Full {
            opened.read_bytes += opening.through(object).await?;
        } else if is_encrypted(object) {
            let reader = at_random(store, manifest, object, Some(identities)).await?;
            drop(reader);
        }
    }
    if let OpenDepth::Sample(seed) = depth {
        let index = opening.object(ObjectRole::Index)?;
        opened.read_bytes += opening.through(index).await?;
        opened.entries = opening.samples(index, seed).await?;
    }
    Ok(opened)
}

struct Opening<'a> {
    store: &'a dyn Store,
    manifest: &'a Manifest,
    identities: &'a Identities,
    names: Option<&'a NamesKey>,
    context: &'a RunContext,
}

impl Opening<'_> {
    fn object(&self, role: ObjectRole) -> Result<&StoredObject, JobError> {
        self.manifest.object(role).ok_or_else(|| JobError::Damaged {
            place: format!("{} manifest of {}", self.store.location(), self.manifest.id),
            what: "it does not name every object".to_owned(),
        })
    }

    fn place(&self, object: &StoredObject) -> String {
        format!("{} {}", self.store.location(), key_of(self.manifest, object))
    }

    /// Reads one object from its first byte to its last; gives its size as stored.
    async fn through(&self, object: &StoredObject) -> Result<u64, JobError> {
        let access = Access::Opened(Some(self.identities));
        let mut content = ObjectContent::open(self.store, self.manifest, object, access)?;
        let mut analysis = (object.role == ObjectRole::Snapshot).then(|| Analysis::new(Options::default()));
        while let Some(chunk) = self.context.or_stop(content.next()).await?? {
            if let Some(analysis) = &mut analysis {
                analysis.push(chunk).await?;
            }
            let (done_bytes, total_bytes) = (content.read_bytes, Some(object.size_bytes));
            self.context.tell(RunEvent::Transferred { done_bytes, total_bytes });
        }
        let read_bytes = content.read_bytes;
        content.check()?;
        if let Some(analysis) = analysis {
            let found = analysis.finish().await?.0.findings;
            self.compare(object, contents::totals(&found), contents::tables(&found))?;
        }
        Ok(read_bytes)
    }

    /// What is in the ZIP is what the manifest says.
    fn compare(
        &self,
        object: &StoredObject,
        totals: convault_core::Totals,
        tables: Vec<convault_core::TableTotals>,
    ) -> Result<(), JobError> {
        let differs = |what: &str| JobError::Damaged {
            place: self.place(object),
            what: format!("{what} are not those that its manifest names"),
        };
        let sums = |totals: convault_core::Totals| (totals.tables, totals.documents, totals.document_bytes);
        if sums(totals) != sums(self.manifest.totals) {
            return Err(differs("the documents in it"));
        }
        let plain =
            Manifest { tables, table_names: TableNames::Plain, names_key: None, ..self.manifest.clone() };
        let found = match (self.manifest.table_names, self.names) {
            (TableNames::Plain, _) => plain,
            (TableNames::Keyed, Some(names)) => keyed_manifest(&plain, names),
            (TableNames::Keyed, None) => return Ok(()),
        };
        // Another names key is told elsewhere.
        if found.names_tables_like(self.manifest) && found.tables != self.manifest.tables {
            return Err(differs("the tables in it"));
        }
        Ok(())
    }

    /// Reads entries here and there; gives how many.
    async fn samples(&self, index: &StoredObject, seed: u64) -> Result<u64, JobError> {
        let zip_object = self.object(ObjectRole::Snapshot)?;
        let unread =
            |error: RandomError| JobError::Damaged { place: self.place(zip_object), what: chain(&error) };
        let reader = at_random(self.store, self.manifest, index, Some(self.identities)).await?;
        let index = Index::open(reader).await.map_err(unread)?;
        let zip = at_random(self.store, self.manifest, zip_object, Some(self.identities)).await?;
        let frames: Vec<_> = index.frames().iter().filter(|frame| frame.kind == FrameKind::Entries).collect();
        let mut random = Random(seed);
        let mut read = Vec::new();
        for _ in 0..SAMPLES * 4 {
            if frames.is_empty() || read.len() == SAMPLES {
                break;
            }
            let lines = index.lines(frames[random.below(frames.len())]).await.map_err(unread)?;
            let entries: Vec<IndexEntry> = lines.into_iter().filter_map(entry_of).collect();
            if entries.is_empty() {
                continue;
            }
            let entry = &entries[random.below(entries.len())];
            if entry.compressed_bytes > LARGEST_SAMPLE_BYTES || read.contains(&entry.name) {
                continue;
            }
            self.context.or_stop(read_entry(Arc::clone(&zip), entry)).await?.map_err(unread)?;
            read.push(entry.name.clone());
        }
        Ok(read.len() as u64)
    }
}

fn entry_of(line: IndexLine) -> Option<IndexEntry> {
    match line {
        IndexLine::Entry(entry) => Some(entry),
        _ => None,
    }
}

async fn read_entry(zip: Arc<dyn RangedReader + '_>, entry: &IndexEntry) -> Result<(), RandomError> {
    let mut content = EntryContent::whole(zip, entry)?;
    while content.next().await?.is_some() {}
    Ok(())
}

/// Numbers for choosing samples (splitmix64): the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).expect("it is below a usize")
    }
}

/// What a destination holds of the names key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EscrowedNames {
    /// The key of the settings.
    Same,
    /// None for these recipients: the next backup puts it there.
    Missing,
    /// Something else.
    Other,
}

/// Opens the names key that lies in a destination, and compares it with that of the settings.
pub async fn escrowed_names(
    store: &dyn Store,
    encryption: &Encryption,
    identities: &Identities,
) -> Result<EscrowedNames, JobError> {
    let key = names_key_place(encryption);
    let sealed = match read_small(store, &key, LARGEST_NAMES_KEY_BYTES).await {
        Ok(sealed) => sealed,
        Err(JobError::Store(error)) if error.kind == StoreErrorKind::NotFound => {
            return Ok(EscrowedNames::Missing);
        }
        Err(error) => return Err(error),
    };
    let recipients: Vec<String> = encryption.recipients.iter().map(ToString::to_string).collect();
    let mut plain = bytes::BytesMut::new();
    let mut decryptor = Decryptor::new(identities);
    let opened = decryptor.push(&sealed, &mut plain).and_then(|()| decryptor.finish(&mut plain));
    opened.map_err(|error| not_opened(&error, format!("{} {key}", store.location()), &recipients))?;
    let text = Secret::new(String::from_utf8_lossy(&plain).into_owned());
    let is_same = NamesKey::parse(&text)
        .is_ok_and(|names| names.secret().expose() == encryption.names.secret().expose());
    Ok(if is_same { EscrowedNames::Same } else { EscrowedNames::Other })
}
