//! The cases. Each takes a store that is empty.

use bytes::Bytes;
use convault_core::{
    Ability, Attributes, ObjectInfo, Part, PutMode, Sha256, Sha256Stream, Store, StoreErrorKind, Stored,
    Upload,
};
use futures::{StreamExt as _, TryStreamExt as _, future::join_all, stream};

/// The smallest part that S3 takes.
const PART_BYTES: usize = 5 << 20;

/// Bytes that differ from place to place, so that a part at the wrong place shows.
fn pattern(length: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&next());
    }
    bytes.truncate(length);
    bytes.into()
}

fn part(number: u32, body: &Bytes) -> Part {
    Part { number, body: body.clone(), sha256: Sha256::of(body) }
}

async fn put(store: &dyn Store, key: &str, body: &'static str) -> Stored {
    store.put(key, Bytes::from_static(body.as_bytes()), PutMode::Overwrite).await.unwrap()
}

async fn read(store: &dyn Store, key: &str) -> Vec<u8> {
    read_range(store, key, None).await
}

async fn read_range(store: &dyn Store, key: &str, range: Option<std::ops::Range<u64>>) -> Vec<u8> {
    let chunks = store.get(key, range).await.unwrap();
    chunks
        .try_fold(Vec::new(), |mut all, chunk| async move {
            all.extend_from_slice(&chunk);
            Ok(all)
        })
        .await
        .unwrap()
}

async fn digest(store: &dyn Store, key: &str) -> Sha256 {
    let mut digest = Sha256Stream::new();
    let mut chunks = store.get(key, None).await.unwrap();
    while let Some(chunk) = chunks.next().await {
        digest.update(&chunk.unwrap());
    }
    digest.finish()
}

async fn list(store: &dyn Store, prefix: &str) -> Vec<ObjectInfo> {
    store.list(prefix).try_collect().await.unwrap()
}

async fn keys(store: &dyn Store, prefix: &str) -> Vec<String> {
    list(store, prefix).await.into_iter().map(|info| info.key).collect()
}

async fn begin(store: &dyn Store, key: &str) -> Box<dyn Upload> {
    store.upload(key, PART_BYTES as u64, PutMode::Overwrite).await.unwrap()
}

pub(crate) async fn what_was_put_is_read_back(store: &dyn Store) {
    let stored = put(store, "crm/marks/a.json", "hello").await;
    assert_eq!(stored.size_bytes, 5);
    assert_eq!(read(store, "crm/marks/a.json").await, b"hello");
    let info = store.head("crm/marks/a.json").await.unwrap();
    assert_eq!((info.key.as_str(), info.size_bytes), ("crm/marks/a.json", 5));
    assert_eq!(info.etag, stored.etag);
    let year = info.modified.to_string()[..4].parse::<u32>().unwrap();
    assert!(year >= 2025, "{}", info.modified);
    let listed = list(store, "").await;
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0].key, listed[0].size_bytes, &listed[0].etag), (&info.key, 5, &info.etag));
}

pub(crate) async fn a_second_put_replaces_the_first(store: &dyn Store) {
    let first = put(store, "a", "first").await;
    let second = put(store, "a", "the second").await;
    assert_ne!(first.etag, second.etag);
    assert_eq!(second.size_bytes, 10);
    assert_eq!(read(store, "a").await, b"the second");
    assert_eq!(keys(store, "").await, ["a"]);
}

pub(crate) async fn a_range_is_cut_to_the_object(store: &dyn Store) {
    put(store, "a", "0123456789").await;
    assert_eq!(read_range(store, "a", Some(0..4)).await, b"0123");
    assert_eq!(read_range(store, "a", Some(3..4)).await, b"3");
    assert_eq!(read_range(store, "a", Some(8..100)).await, b"89");
    assert_eq!(read_range(store, "a", Some(0..u64::MAX)).await, b"0123456789");
    assert_eq!(read_range(store, "a", Some(4..4)).await, b"");
    for past in [10..11, 50..60] {
        let error = store.get("a", Some(past)).await.err().unwrap();
        assert_eq!(error.kind, StoreErrorKind::Other, "{error}");
        assert!(error.to_string().contains("past the end"), "{error}");
    }
}

pub(crate) async fn what_is_not_there_is_not_found(store: &dyn Store) {
    put(store, "a/b", "x").await;
    for key in ["b", "a", "a/b/c", "a/c"] {
        assert_eq!(store.get(key, None).await.err().unwrap().kind, StoreErrorKind::NotFound, "{key}");
        assert_eq!(store.get(key, Some(0..1)).await.err().unwrap().kind, StoreErrorKind::NotFound, "{key}");
        let error = store.head(key).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::NotFound, "{key}");
        assert!(error.to_string().starts_with("destination offsite: cannot "), "{error}");
    }
    assert!(keys(store, "nothing/").await.is_empty());
    assert!(store.list_folders("nothing/").await.unwrap().is_empty());
}

pub(crate) async fn deleting_twice_succeeds(store: &dyn Store) {
    put(store, "a/b/c", "x").await;
    put(store, "a/d", "y").await;
    store.delete("a/b/c").await.unwrap();
    store.delete("a/b/c").await.unwrap();
    store.delete("never/there").await.unwrap();
    assert_eq!(keys(store, "").await, ["a/d"]);
}

pub(crate) async fn a_folder_is_gone_with_its_last_object(store: &dyn Store) {
    put(store, "a/b/c", "x").await;
    put(store, "a/d", "y").await;
    store.delete("a/b/c").await.unwrap();
    assert!(store.list_folders("a/").await.unwrap().is_empty());
}

pub(crate) async fn deleting_at_once_succeeds(store: &dyn Store) {
    let all: Vec<String> = (0..40).map(|number| format!("a/b/{}/{number}", number % 3)).collect();
    for key in &all {
        put(store, key, "x").await;
    }
    // Each key twice, so that somebody always comes too late.
    let deleted = join_all(all.iter().chain(&all).map(|key| store.delete(key))).await;
    deleted.into_iter().for_each(Result::unwrap);
    assert!(keys(store, "").await.is_empty());
}

pub(crate) async fn a_listing_is_in_the_order_of_keys(store: &dyn Store) {
    listed_in_order(store, &["B", "a/1", "a/10", "a/2/z", "a/2z", "a0", "b/c", "b/d/e/f", "z"]).await;
}

/// Where names and folders begin alike, the order of whole keys is not that of the names.
pub(crate) async fn a_listing_is_in_the_order_of_whole_keys(store: &dyn Store) {
    listed_in_order(store, &["a!x", "a-b/1", "a-b/2", "a.b", "a/1", "a/2-", "a/2/z", "a0", "b/c"]).await;
}

async fn listed_in_order(store: &dyn Store, sorted: &[&str]) {
    assert!(sorted.is_sorted());
    for key in sorted.iter().rev() {
        put(store, key, "x").await;
    }
    assert_eq!(keys(store, "").await, sorted);
}

pub(crate) async fn a_listing_has_only_its_prefix(store: &dyn Store) {
    for key in ["crm/snapshots/1/zip", "crm/snapshots/2/zip", "crm/snapshots2/x", "crm2/snapshots/1/zip"] {
        put(store, key, "x").await;
    }
    assert_eq!(keys(store, "crm/snapshots/").await, ["crm/snapshots/1/zip", "crm/snapshots/2/zip"]);
    assert_eq!(keys(store, "crm/snapshots/2").await, ["crm/snapshots/2/zip"]);
    assert_eq!(keys(store, "crm/snapshots2").await, ["crm/snapshots2/x"]);
    assert_eq!(keys(store, "crm/snapshots/1/zip").await, ["crm/snapshots/1/zip"]);
    assert_eq!(keys(store, "crm2").await, ["crm2/snapshots/1/zip"]);
    assert!(keys(store, "x").await.is_empty());
}

pub(crate) async fn a_listing_has_more_than_a_page(store: &dyn Store) {
    const OBJECTS: usize = 1100;
    let all: Vec<String> =
        (0..OBJECTS).map(|number| format!("many/{:02}/{number:05}", number / 100)).collect();
    let puts = all.iter().map(|key| store.put(key, Bytes::from_static(b"x"), PutMode::Overwrite));
    stream::iter(puts).buffer_unordered(16).try_for_each(|_| async { Ok(()) }).await.unwrap();
    assert_eq!(keys(store, "many/").await, all);
    assert_eq!(keys(store, "").await.len(), OBJECTS);
    let folders = store.list_folders("many/").await.unwrap();
    assert_eq!(folders, (0..11).map(|folder| format!("{folder:02}")).collect::<Vec<_>>());
}

pub(crate) async fn folders_are_the_names_with_something_below(store: &dyn Store) {
    for key in ["crm/a/1", "crm/a/2", "crm/a-b/1/2/3", "crm/c", "erp/x/1", "top"] {
        put(store, key, "x").await;
    }
    assert_eq!(store.list_folders("").await.unwrap(), ["crm", "erp"]);
    assert_eq!(store.list_folders("crm/").await.unwrap(), ["a", "a-b"]);
    assert_eq!(store.list_folders("crm/a-b/").await.unwrap(), ["1"]);
    assert!(store.list_folders("crm/a/").await.unwrap().is_empty());
}

pub(crate) async fn put_if_absent_leaves_what_is_there(store: &dyn Store) {
    let body = |text: &'static str| Bytes::from_static(text.as_bytes());
    store.put("a/b", body("first"), PutMode::IfAbsent).await.unwrap();
    let error = store.put("a/b", body("second"), PutMode::IfAbsent).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::AlreadyExists, "{error}");
    assert_eq!(read(store, "a/b").await, b"first");
    assert!(store.list_uploads("").await.unwrap().is_empty());
}

pub(crate) async fn put_if_absent_has_one_winner(store: &dyn Store) {
    let put = |number: u8| store.put("lease", Bytes::from(vec![number]), PutMode::IfAbsent);
    let outcomes = join_all((0..12).map(put)).await;
    let winners: Vec<u8> = (0..12).filter(|number| outcomes[usize::from(*number)].is_ok()).collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    assert_eq!(read(store, "lease").await, winners);
}

pub(crate) async fn replace_if_match_wants_the_object_it_saw(store: &dyn Store) {
    let body = |text: &'static str| Bytes::from_static(text.as_bytes());
    let first = put(store, "lease", "first").await.etag.unwrap();
    let second = store.put("lease", body("second"), PutMode::IfMatch(first.clone())).await.unwrap();
    let error = store.put("lease", body("third"), PutMode::IfMatch(first.clone())).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::AlreadyExists, "{error}");
    assert_eq!(read(store, "lease").await, b"second");
    assert_eq!(store.head("lease").await.unwrap().etag, second.etag);
    let error = store.put("nothing", body("x"), PutMode::IfMatch(first)).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::AlreadyExists, "{error}");
    assert_eq!(keys(store, "").await, ["lease"]);
}

pub(crate) async fn replace_if_match_has_one_winner(store: &dyn Store) {
    let etag = put(store, "lease", "first").await.etag.unwrap();
    let replace = |number: u8| store.put("lease", vec![number].into(), PutMode::IfMatch(etag.clone()));
    let outcomes = join_all((0..8).map(replace)).await;
    let winners: Vec<usize> = outcomes.iter().enumerate().filter(|it| it.1.is_ok()).map(|it| it.0).collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    assert_eq!(read(store, "lease").await, [u8::try_from(winners[0]).unwrap()]);
}

pub(crate) async fn finish_if_absent_has_one_winner(store: &dyn Store) {
    let upload = async |number: u8| {
        let upload = store.upload("a", PART_BYTES as u64, PutMode::IfAbsent).await.unwrap();
        upload.put_part(part(1, &vec![number; 100].into())).await.unwrap();
        upload
    };
    let uploads = join_all((0..6).map(upload)).await;
    let outcomes = join_all(uploads.iter().map(|upload| upload.finish())).await;
    let winners: Vec<usize> = outcomes.iter().enumerate().filter(|it| it.1.is_ok()).map(|it| it.0).collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    assert_eq!(read(store, "a").await, [u8::try_from(winners[0]).unwrap(); 100]);
    join_all(uploads.iter().map(|upload| upload.abort())).await.into_iter().for_each(Result::unwrap);
}

pub(crate) async fn odd_keys_are_kept_to_the_letter(store: &dyn Store) {
    let odd = [
        "odd/a b",
        "odd/a+b",
        "odd/a%20b",
        "odd/100%",
        "odd/é/ü",
        "odd/日本語",
        "odd/🦀",
        "odd/a&b=c?d#e",
        "odd/'\"<x>",
        "odd/~*(!)",
        "odd/..a",
        "odd/a..",
        "odd/a:b;c,d@e$",
    ];
    for key in odd {
        put(store, key, "x").await;
    }
    let mut sorted = odd.to_vec();
    sorted.sort_unstable();
    assert_eq!(keys(store, "odd/").await, sorted);
    assert_eq!(keys(store, "odd/a+").await, ["odd/a+b"]);
    assert_eq!(store.list_folders("odd/").await.unwrap(), ["é"]);
    for key in odd {
        assert_eq!(store.head(key).await.unwrap().key, key);
        assert_eq!(read(store, key).await, b"x", "{key}");
    }
    let upload = begin(store, "odd/up load+%é").await;
    upload.put_part(part(1, &pattern(10, 1))).await.unwrap();
    let uploads = store.list_uploads("odd/up l").await.unwrap();
    assert_eq!(uploads.iter().map(|upload| &upload.key).collect::<Vec<_>>(), ["odd/up load+%é"]);
    upload.finish().await.unwrap();
    assert_eq!(read(store, "odd/up load+%é").await, pattern(10, 1));
    for key in odd {
        store.delete(key).await.unwrap();
    }
    assert_eq!(keys(store, "").await, ["odd/up load+%é"]);
}

pub(crate) async fn a_backslash_is_no_slash(store: &dyn Store) {
    put(store, r"odd/a\b", "x").await;
    assert_eq!(keys(store, "odd/").await, [r"odd/a\b"]);
}

pub(crate) async fn an_empty_object_is_an_object(store: &dyn Store) {
    assert_eq!(put(store, "empty", "").await.size_bytes, 0);
    assert_eq!(store.head("empty").await.unwrap().size_bytes, 0);
    assert_eq!(read(store, "empty").await, b"");
    assert_eq!(read_range(store, "empty", Some(0..0)).await, b"");
    assert_eq!(keys(store, "").await, ["empty"]);
}

pub(crate) async fn an_upload_without_parts_is_an_empty_object(store: &dyn Store) {
    let stored = begin(store, "empty").await.finish().await.unwrap();
    assert_eq!(stored.size_bytes, 0);
    assert_eq!(read(store, "empty").await, b"");
    assert!(store.list_uploads("").await.unwrap().is_empty());
}

pub(crate) async fn uploads_of_one_to_three_parts_are_whole(store: &dyn Store) {
    for (number, length) in
        [1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES, 3 * PART_BYTES - 7].into_iter().enumerate()
    {
        let (key, body) = (format!("big/{number}"), pattern(length, number as u64));
        let upload = begin(store, &key).await;
        for (number, chunk) in (1..).zip(body.chunks(PART_BYTES)) {
            upload.put_part(part(number, &body.slice_ref(chunk))).await.unwrap();
        }
        let stored = upload.finish().await.unwrap();
        assert_eq!(stored.size_bytes, length as u64);
        assert_eq!(store.head(&key).await.unwrap().etag, stored.etag);
        assert_eq!(digest(store, &key).await, Sha256::of(&body), "{length} bytes");
        if length > PART_BYTES {
            let around = PART_BYTES - 2..PART_BYTES + 1;
            let range = around.start as u64..around.end as u64;
            assert_eq!(read_range(store, &key, Some(range)).await, body[around]);
        }
    }
}

pub(crate) async fn parts_come_in_any_order_and_at_once(store: &dyn Store) {
    let body = pattern(3 * PART_BYTES + 100, 7);
    let upload = begin(store, "big").await;
    let upload = &*upload;
    let parts: Vec<Part> = (1..)
        .zip(body.chunks(PART_BYTES))
        .map(|(number, chunk)| part(number, &body.slice_ref(chunk)))
        .collect();
    let sent = join_all(parts.into_iter().rev().map(|part| upload.put_part(part))).await;
    sent.into_iter().for_each(Result::unwrap);
    upload.finish().await.unwrap();
    assert_eq!(digest(store, "big").await, Sha256::of(&body));
}

pub(crate) async fn a_part_may_be_sent_again(store: &dyn Store) {
    let body = pattern(100, 3);
    let upload = begin(store, "again").await;
    upload.put_part(part(1, &body)).await.unwrap();
    upload.put_part(part(1, &body)).await.unwrap();
    assert_eq!(upload.finish().await.unwrap().size_bytes, 100);
    assert_eq!(read(store, "again").await, body);
}

pub(crate) async fn a_missing_part_stops_the_finish(store: &dyn Store) {
    let upload = begin(store, "gap").await;
    upload.put_part(part(2, &pattern(10, 1))).await.unwrap();
    let error = upload.finish().await.unwrap_err();
    assert!(error.to_string().contains("part 1 was never sent"), "{error}");
    upload.abort().await.unwrap();
    assert!(keys(store, "").await.is_empty());
}

pub(crate) async fn a_finish_if_absent_leaves_what_is_there(store: &dyn Store) {
    let upload = store.upload("a/b", PART_BYTES as u64, PutMode::IfAbsent).await.unwrap();
    upload.put_part(part(1, &pattern(100, 1))).await.unwrap();
    put(store, "a/b", "was quicker").await;
    let error = upload.finish().await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::AlreadyExists, "{error}");
    assert_eq!(read(store, "a/b").await, b"was quicker");
    upload.abort().await.unwrap();
    assert!(store.list_uploads("").await.unwrap().is_empty());

    let upload = store.upload("a/c", PART_BYTES as u64, PutMode::IfAbsent).await.unwrap();
    upload.put_part(part(1, &pattern(100, 1))).await.unwrap();
    upload.finish().await.unwrap();
    assert_eq!(read(store, "a/c").await, pattern(100, 1));
}

pub(crate) async fn nothing_is_seen_of_an_unfinished_upload(store: &dyn Store) {
    let upload = begin(store, "crm/big").await;
    upload.put_part(part(1, &pattern(PART_BYTES, 1))).await.unwrap();
    assert!(keys(store, "").await.is_empty());
    assert!(store.list_folders("").await.unwrap().is_empty());
    assert_eq!(store.head("crm/big").await.unwrap_err().kind, StoreErrorKind::NotFound);
    assert_eq!(store.get("crm/big", None).await.err().unwrap().kind, StoreErrorKind::NotFound);
    upload.finish().await.unwrap();
    assert_eq!(keys(store, "").await, ["crm/big"]);
}

pub(crate) async fn an_aborted_upload_leaves_nothing(store: &dyn Store) {
    let upload = begin(store, "big").await;
    upload.put_part(part(1, &pattern(100, 1))).await.unwrap();
    upload.abort().await.unwrap();
    upload.abort().await.unwrap();
    assert!(upload.finish().await.is_err());
    assert!(keys(store, "").await.is_empty());
    assert!(store.list_uploads("").await.unwrap().is_empty());

    let upload = begin(store, "kept").await;
    upload.put_part(part(1, &pattern(100, 1))).await.unwrap();
    upload.finish().await.unwrap();
    upload.abort().await.unwrap();
    assert_eq!(read(store, "kept").await, pattern(100, 1));
}

pub(crate) async fn an_unfinished_upload_is_listed_and_aborted(store: &dyn Store) {
    for key in ["crm/2", "crm/1", "erp/1"] {
        begin(store, key).await.put_part(part(1, &pattern(100, 1))).await.unwrap();
    }
    let uploads = store.list_uploads("crm/").await.unwrap();
    assert_eq!(uploads.iter().map(|upload| upload.key.as_str()).collect::<Vec<_>>(), ["crm/1", "crm/2"]);
    assert!(uploads[0].started.to_string().as_str() > "2025");
    for upload in &uploads {
        store.abort_upload(upload).await.unwrap();
        store.abort_upload(upload).await.unwrap();
    }
    let left = store.list_uploads("").await.unwrap();
    assert_eq!(left.iter().map(|upload| upload.key.as_str()).collect::<Vec<_>>(), ["erp/1"]);
    store.abort_upload(&left[0]).await.unwrap();
}

pub(crate) async fn the_probe_finds_every_ability_and_leaves_nothing(store: &dyn Store) {
    let abilities = store.abilities().await.unwrap();
    let given_back = if store.location().starts_with('/') { Ability::Refused } else { Ability::Works };
    assert_eq!(abilities.put_if_absent, Ability::Works);
    assert_eq!(abilities.finish_if_absent, Ability::Works);
    assert_eq!(abilities.replace_if_match, Ability::Works);
    assert_eq!(abilities.list_uploads, Ability::Works);
    assert_eq!(abilities.checksums, given_back);
    assert!(keys(store, "").await.is_empty());
    assert!(store.list_uploads("").await.unwrap().is_empty());
}

/// What is kept beside the bytes comes back with them, whether they were put at once or in parts; a store without a
/// place for it says so by giving nothing.
pub(crate) async fn what_is_kept_beside_an_object_comes_back(store: &dyn Store) {
    let attributes = Attributes {
        content_type: Some("video/mp4".to_owned()),
        cache_control: Some("max-age=60".to_owned()),
        content_disposition: Some("attachment; filename=\"a b.mp4\"".to_owned()),
        metadata: [("lesson".to_owned(), "12".to_owned())].into(),
        ..Attributes::default()
    };
    let body = pattern(PART_BYTES + 1, 7);
    store.put_with("at-once", body.clone(), PutMode::Overwrite, &attributes).await.unwrap();
    let upload =
        store.upload_with("parts", PART_BYTES as u64, PutMode::Overwrite, &attributes).await.unwrap();
    for (number, bytes) in [(1, body.slice(..PART_BYTES)), (2, body.slice(PART_BYTES..))] {
        upload.put_part(part(number, &bytes)).await.unwrap();
    }
    upload.finish().await.unwrap();
    for key in ["at-once", "parts"] {
        let head = store.head(key).await.unwrap();
        let fetched = store.fetch(key, None, head.etag.as_deref()).await.unwrap();
        assert_eq!((fetched.info.size_bytes, &fetched.info.etag), (body.len() as u64, &head.etag));
        assert!(fetched.attributes == attributes || fetched.attributes == Attributes::default());
        let chunks: Vec<Bytes> = fetched.stream.try_collect().await.unwrap();
        assert!(chunks.concat() == body);
        let end = store.fetch(key, Some(PART_BYTES as u64..u64::MAX), None).await.unwrap();
        assert_eq!(end.info.size_bytes, body.len() as u64, "the whole size, also of a range");
        let chunks: Vec<Bytes> = end.stream.try_collect().await.unwrap();
        assert_eq!(chunks.concat(), body[PART_BYTES..]);
    }
}

pub(crate) async fn a_fetch_wants_the_object_it_saw(store: &dyn Store) {
    put(store, "k", "first").await;
    let seen = store.head("k").await.unwrap().etag;
    put(store, "k", "second").await;
    let refused = store.fetch("k", None, seen.as_deref()).await.unwrap_err();
    assert_eq!(refused.kind, StoreErrorKind::AlreadyExists);
    let missing = store.fetch("nothing", None, None).await.unwrap_err();
    assert_eq!(missing.kind, StoreErrorKind::NotFound);
}

/// Where a store says that its server copies, it does, with everything that is kept beside the bytes.
pub(crate) async fn a_server_copies_what_it_was_shown(store: &dyn Store) {
    let Some(origin) = store.origin() else { return };
    let attributes = Attributes { content_type: Some("image/png".to_owned()), ..Attributes::default() };
    let body = Bytes::from_static(b"pixels");
    store.put_with("from/a b+é.png", body.clone(), PutMode::Overwrite, &attributes).await.unwrap();
    let from = store.head("from/a b+é.png").await.unwrap();
    let copied = store.copy_from(&origin, &from, "to").await.unwrap();
    assert_eq!((&copied.info.etag, &copied.attributes), (&from.etag, &attributes));
    assert!(copied.sha256.is_none_or(|sha256| sha256 == Sha256::of(&body)));
    assert_eq!(read(store, "to").await, body);
    assert_eq!(store.fetch("to", None, None).await.unwrap().attributes, attributes);
    put(store, "from/a b+é.png", "other pixels").await;
    let refused = store.copy_from(&origin, &from, "again").await.unwrap_err();
    assert_eq!(refused.kind, StoreErrorKind::AlreadyExists);
}
