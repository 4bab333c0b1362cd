//! Single entries and documents are read at random, and checked.

#![allow(clippy::unwrap_used, reason = "a failed test is what a panic is for")]

mod common;

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use common::{ZipBuilder, fixture, lines, read_with, small};
use convault_archive::{EntryContent, FrameKind, Index, Options, RandomError, RangedError, RangedReader};
use convault_core::{IndexEntry, IndexLine, Sha256};
use futures::executor::block_on;

struct Counting {
    bytes: Bytes,
    read: AtomicU64,
}

impl Counting {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: bytes.into(), read: AtomicU64::new(0) }
    }
}

#[async_trait::async_trait]
impl RangedReader for Counting {
    fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    async fn read(&self, range: std::ops::Range<u64>) -> Result<Bytes, RangedError> {
        self.read.fetch_add(range.end - range.start, Ordering::Relaxed);
        self.bytes.read(range).await
    }
}

async fn all(mut content: EntryContent<'_>) -> Result<Vec<u8>, RandomError> {
    let mut bytes = Vec::new();
    while let Some(more) = content.next().await? {
        bytes.extend_from_slice(&more);
    }
    Ok(bytes)
}

fn index_of(zip: &[u8], options: Options) -> Vec<u8> {
    read_with(zip, 64 << 10, options).unwrap().1
}

#[test]
fn every_entry_of_a_real_export_is_read_at_random() {
    let Some(zip) = fixture("small.zip") else { return };
    let index = index_of(&zip, Options::default());
    let names: Vec<String> = lines(&index)
        .into_iter()
        .filter_map(|line| if let IndexLine::Entry(entry) = line { Some(entry.name) } else { None })
        .collect();
    block_on(async {
        let index = Index::open(Bytes::from(index)).await.unwrap();
        let zip = Bytes::from(zip);
        for name in &names {
            let entry = index.entry(name).await.unwrap().unwrap();
            let content = all(EntryContent::whole(Arc::new(zip.clone()), &entry).unwrap()).await.unwrap();
            assert_eq!(Sha256::of(&content), entry.sha256, "{name}");
        }
        assert!(index.entry("nothing/documents.jsonl").await.unwrap().is_none());
    });
}

fn large_table() -> (Vec<u8>, String) {
    let mut documents = String::new();
    let mut noise = 1_u64;
    for number in 0..60_000 {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        writeln!(documents, "{{\"_id\":\"k{number:08}\",\"a\":\"{noise:x}\",\"n\":{}}}", noise >> 44)
            .unwrap();
    }
    let mut zip = ZipBuilder::new();
    zip.entry("_tables/documents.jsonl", b"{\"name\":\"big\",\"id\":10001}\n").table("big", &documents);
    (zip.finish(), documents)
}

#[test]
fn a_document_is_found_from_a_resume_point_with_little_reading() {
    let (zip, documents) = large_table();
    let index = index_of(&zip, Options { resume_every_bytes: 100_000, ..Options::default() });
    block_on(async {
        let index = Index::open(Bytes::from(index)).await.unwrap();
        let points = index.frames().iter().filter(|frame| frame.kind == FrameKind::Resume).count();
        assert!(points >= 5, "{points}");
        let length = zip.len() as u64;
        let zip = Arc::new(Counting::new(zip));
        let entry = index.entry("big/documents.jsonl").await.unwrap().unwrap();
        for wanted in ["k00000000", "k00031234", "k00059999"] {
            let point = index.resume_point(&entry.name, wanted).await.unwrap();
            zip.read.store(0, Ordering::Relaxed);
            let Some(point) = point else {
                assert_eq!(wanted, "k00000000");
                continue;
            };
            assert!(point.first_id.as_deref().unwrap() <= wanted);
            let number = usize::try_from(point.line_number).unwrap();
            let expected: String = documents.split_inclusive('\n').skip(number).collect();
            let rest = all(EntryContent::resume(zip.clone(), &entry, &point).await.unwrap()).await.unwrap();
            assert!(rest == expected.as_bytes());
            assert!(rest.starts_with(format!("{{\"_id\":\"{}\"", point.first_id.unwrap()).as_bytes()));
        }
        assert!(
            zip.read.load(Ordering::Relaxed) < length / 5,
            "the last document lies behind the last point"
        );
    });
}

#[test]
fn resume_points_come_before_the_line_of_their_entry() {
    let (zip, _) = large_table();
    let index = index_of(&zip, Options { resume_every_bytes: 100_000, ..Options::default() });
    let lines = lines(&index);
    assert!(matches!(lines.first(), Some(IndexLine::Header(_))));
    assert!(matches!(lines.last(), Some(IndexLine::Totals(totals)) if totals.documents == 60_000));
    let after_points = lines.iter().skip_while(|line| !matches!(line, IndexLine::Resume(_)));
    let next = after_points.into_iter().find(|line| !matches!(line, IndexLine::Resume(_)));
    assert!(matches!(next, Some(IndexLine::Entry(entry)) if entry.name == "big/documents.jsonl"), "{next:?}");
}

#[test]
fn an_index_of_many_files_is_searched_by_frames() {
    let mut zip = small();
    let count = 5000;
    for n in 0..count {
        zip.entry(&format!("_storage/g{n:06}"), b"x");
    }
    let index = index_of(&zip.finish(), Options::default());
    block_on(async {
        let length = index.len() as u64;
        let index = Index::open(Counting::new(index)).await.unwrap();
        assert!(index.frames().iter().filter(|frame| frame.kind == FrameKind::Entries).count() > 3);
        assert!(index.entry("_storage/g003333").await.unwrap().is_some());
        assert!(length > 0);
    });
}

fn damaged(zip: &[u8], entry: &IndexEntry, change: impl FnOnce(&mut Vec<u8>, &mut IndexEntry)) -> String {
    let (mut zip, mut entry) = (zip.to_vec(), entry.clone());
    change(&mut zip, &mut entry);
    let zip = Bytes::from(zip);
    let error =
        block_on(async { all(EntryContent::whole(Arc::new(zip.clone()), &entry)?).await }).unwrap_err();
    assert!(matches!(error, RandomError::Differs { .. } | RandomError::Read { .. }), "{error:?}");
    error.to_string()
}

#[test]
fn content_that_is_not_what_the_index_says_is_refused() {
    let zip = small().finish();
    let index = index_of(&zip, Options::default());
    let entry = block_on(async {
        let index = Index::open(Bytes::from(index)).await.unwrap();
        index.entry("users/documents.jsonl").await.unwrap().unwrap()
    });
    let middle = usize::try_from(entry.data_offset + entry.compressed_bytes / 2).unwrap();
    damaged(&zip, &entry, |zip, _| zip[middle] ^= 4);
    assert!(damaged(&zip, &entry, |_, entry| entry.sha256 = Sha256([0; 32])).contains("SHA-256"));
    assert!(damaged(&zip, &entry, |_, entry| entry.crc32 = 0).contains("CRC-32"));
    assert!(damaged(&zip, &entry, |_, entry| entry.size_bytes -= 1).contains("longer"));
    assert!(damaged(&zip, &entry, |_, entry| entry.size_bytes += 1).contains("shorter"));
    assert!(damaged(&zip, &entry, |_, entry| entry.compressed_bytes += 1).contains("ends early"));
    assert!(damaged(&zip, &entry, |_, entry| entry.compressed_bytes -= 1).contains("damaged"));
    assert!(damaged(&zip, &entry, |_, entry| entry.data_offset += 1 << 40).contains("ZIP"));
}

#[test]
fn a_damaged_index_is_refused() {
    let index = index_of(&small().finish(), Options::default());
    for length in 0..index.len() {
        let opened = block_on(Index::open(Bytes::copy_from_slice(&index[..length])));
        assert!(matches!(opened, Err(RandomError::BadIndex { .. })), "cut to {length} bytes");
    }
    let mut changed = index.clone();
    changed[20] ^= 0x40;
    block_on(async {
        let index = Index::open(Bytes::from(changed)).await.unwrap();
        let frame = index.frames()[0].clone();
        assert!(matches!(index.lines(&frame).await, Err(RandomError::BadIndex { .. })));
    });
}
