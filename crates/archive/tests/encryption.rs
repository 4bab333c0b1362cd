//! What is encrypted comes back, whole and at random; and nothing that was altered or cut off does.

#![allow(clippy::unwrap_used, reason = "a failed test is what a panic is for")]
#![allow(clippy::cast_possible_truncation, reason = "what is cast here is small")]

mod common;

use std::{
    io::{Read as _, Write as _},
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use common::{lines, read_with, small};
use convault_archive::encryption::{
    CHUNK_BYTES, Decryptor, EncryptedReader, Encryptor, Identities, IdentityError, MAX_HEADER_BYTES,
    MAX_RECIPIENTS, OpenError, Recipient, RecipientError, Recipients, TAG_BYTES, encrypted_length, generate,
    plain_length,
};
use convault_archive::{EntryContent, Index, Options, RangedError, RangedReader};
use convault_core::{IndexLine, Secret};
use futures::executor::block_on;
use proptest::prelude::*;

// Keys for these tests only, made by OpenSSH 9.2.
const ED25519: &str = include_str!("keys/ed25519");
const ED25519_PUBLIC: &str = include_str!("keys/ed25519.pub");
const RSA: &str = include_str!("keys/rsa");
const RSA_PUBLIC: &str = include_str!("keys/rsa.pub");
const ECDSA: &str = include_str!("keys/ecdsa");
const ECDSA_PUBLIC: &str = include_str!("keys/ecdsa.pub");
const SMALL_RSA_PUBLIC: &str = include_str!("keys/small.pub");
const WITH_PASSPHRASE: &str = include_str!("keys/with_passphrase");

const CHUNK: usize = 64 << 10;
const SEALED: usize = CHUNK + 16;

/// Lengths at which the number of chunks, or of full ones, changes.
const LENGTHS: [usize; 9] =
    [0, 1, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1, (3 << 20) + 12345];

fn plain(length: usize) -> Vec<u8> {
    // Two primes, so that no two chunks are alike.
    (0..length).map(|place| (place % 251) as u8 ^ (place / 65537) as u8).collect()
}

fn pair() -> (Recipients, Identities) {
    let (public, secret) = generate();
    (Recipients::parse([public]).unwrap(), Identities::parse(&secret).unwrap())
}

fn identities(text: &str) -> Identities {
    Identities::parse(&Secret::new(text)).unwrap()
}

// An RSA key of 4096 bits has the longest stanza: base64 of 512 bytes in lines of 64, behind one of tag and id.
const _: () = assert!(MAX_RECIPIENTS * (683 + 11 + 20) < MAX_HEADER_BYTES - 1024);

fn encrypted(recipients: &Recipients, plain: &[u8]) -> Vec<u8> {
    encrypted_in(recipients, plain, &[usize::MAX]).1
}

/// Cut into pieces of these sizes, over and over.
fn pieces<'a>(mut bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for size in sizes.iter().cycle() {
        let (piece, rest) = bytes.split_at((*size).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
        if bytes.is_empty() {
            break;
        }
    }
    pieces
}

/// Encrypts in such pieces; gives the length of the header too.
fn encrypted_in(recipients: &Recipients, plain: &[u8], sizes: &[usize]) -> (u64, Vec<u8>) {
    let mut encryptor = Encryptor::new(recipients);
    let (header, mut out) = (encryptor.header_length(), BytesMut::new());
    for piece in pieces(plain, sizes) {
        encryptor.push(piece, &mut out);
    }
    encryptor.finish(&mut out);
    (header, out.to_vec())
}

fn opened(identities: &Identities, bytes: &[u8]) -> Result<Vec<u8>, OpenError> {
    opened_in(identities, bytes, &[usize::MAX])
}

fn opened_in(identities: &Identities, bytes: &[u8], sizes: &[usize]) -> Result<Vec<u8>, OpenError> {
    let (mut decryptor, mut out) = (Decryptor::new(identities), BytesMut::new());
    for piece in pieces(bytes, sizes) {
        decryptor.push(piece, &mut out)?;
    }
    decryptor.finish(&mut out)?;
    Ok(out.to_vec())
}

/// Counts what is read.
#[derive(Clone)]
struct Counting {
    bytes: Bytes,
    read: Arc<AtomicU64>,
    calls: Arc<AtomicU64>,
}

impl Counting {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: bytes.into(), read: Arc::default(), calls: Arc::default() }
    }

    /// Bytes and calls since it was last asked.
    fn take(&self) -> (u64, u64) {
        (self.read.swap(0, Ordering::Relaxed), self.calls.swap(0, Ordering::Relaxed))
    }
}

#[async_trait::async_trait]
impl RangedReader for Counting {
    fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    async fn read(&self, range: Range<u64>) -> Result<Bytes, RangedError> {
        self.read.fetch_add(range.end - range.start, Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.bytes.read(range).await
    }
}

fn reader(bytes: &[u8], identities: &Identities) -> Result<EncryptedReader<Bytes>, OpenError> {
    block_on(EncryptedReader::open(Bytes::copy_from_slice(bytes), identities))
}

/// Reads all of it in pieces through the random reader.
fn read_at_random(bytes: &[u8], identities: &Identities) -> Result<Vec<u8>, String> {
    let reader = reader(bytes, identities).map_err(|error| error.to_string())?;
    let mut all = Vec::new();
    for start in (0..reader.length()).step_by(40_000) {
        let end = reader.length().min(start + 40_000);
        all.extend_from_slice(&block_on(reader.read(start..end)).map_err(|error| error.to_string())?);
    }
    Ok(all)
}

#[test]
fn what_was_encrypted_comes_back_at_every_length() {
    let (recipients, identities) = pair();
    for length in LENGTHS {
        let plain = plain(length);
        let bytes = encrypted(&recipients, &plain);
        assert_eq!(opened(&identities, &bytes).unwrap(), plain, "{length}");
        assert_eq!(read_at_random(&bytes, &identities).unwrap(), plain, "{length}");
    }
}

#[test]
fn the_length_is_known_before_the_first_byte() {
    let (recipients, _) = pair();
    for length in LENGTHS {
        let (header, bytes) = encrypted_in(&recipients, &plain(length), &[usize::MAX]);
        assert_eq!(encrypted_length(header, length as u64), bytes.len() as u64, "{length}");
        assert_eq!(plain_length(header, bytes.len() as u64), Some(length as u64), "{length}");
    }
}

#[test]
fn the_age_crate_opens_what_is_encrypted_here() {
    let identity = age::x25519::Identity::generate();
    let recipients = Recipients::parse([identity.to_public().to_string()]).unwrap();
    for length in LENGTHS {
        let (bytes, mut content) = (encrypted(&recipients, &plain(length)), Vec::new());
        let decryptor = age::Decryptor::new_buffered(&bytes[..]).unwrap();
        let keys = std::iter::once(&identity as &dyn age::Identity);
        decryptor.decrypt(keys).unwrap().read_to_end(&mut content).unwrap();
        assert_eq!(content, plain(length), "{length}");
    }
}

#[test]
fn what_the_age_crate_encrypts_opens_here() {
    let (public, secret) = generate();
    let recipient: age::x25519::Recipient = public.parse().unwrap();
    for length in LENGTHS {
        let keys = std::iter::once(&recipient as &dyn age::Recipient);
        let mut bytes = Vec::new();
        let mut writer = age::Encryptor::with_recipients(keys).unwrap().wrap_output(&mut bytes).unwrap();
        writer.write_all(&plain(length)).unwrap();
        writer.finish().unwrap();
        let identities = Identities::parse(&secret).unwrap();
        assert_eq!(opened(&identities, &bytes).unwrap(), plain(length), "{length}");
    }
}

#[test]
fn any_one_identity_opens_what_is_for_several() {
    let (public, secret) = generate();
    let recipients = Recipients::parse([public.as_str(), ED25519_PUBLIC, RSA_PUBLIC, &generate().0]).unwrap();
    let bytes = encrypted(&recipients, b"content");
    for secret in [secret.expose(), ED25519, RSA] {
        assert_eq!(opened(&identities(secret), &bytes).unwrap(), b"content");
    }
    let stranger = identities(generate().1.expose());
    assert!(matches!(opened(&stranger, &bytes), Err(OpenError::NoIdentity { identities: 1 })));
    assert!(matches!(reader(&bytes, &stranger), Err(OpenError::NoIdentity { identities: 1 })));
    let several = identities(&format!("{}\n# old\n{}", generate().1.expose(), secret.expose()));
    assert_eq!(several.len(), 2);
    assert_eq!(opened(&several, &bytes).unwrap(), b"content");
}

#[test]
fn as_many_recipients_as_allowed_have_a_header_that_is_believed() {
    let (public, secret) = generate();
    let several: Vec<String> = (1..MAX_RECIPIENTS).map(|_| generate().0).chain([public]).collect();
    let bytes = encrypted(&Recipients::parse(&several).unwrap(), b"content");
    assert_eq!(opened_in(&Identities::parse(&secret).unwrap(), &bytes, &[500]).unwrap(), b"content");
    assert_eq!(read_at_random(&bytes, &Identities::parse(&secret).unwrap()).unwrap(), b"content");
    let many = several.iter().cloned().chain([generate().0]);
    assert_eq!(Recipients::parse(many).unwrap_err(), RecipientError::TooMany { count: MAX_RECIPIENTS + 1 });
}

#[test]
fn equal_sets_have_one_fingerprint_however_they_are_written() {
    let (one, two) = (generate().0, generate().0);
    let set = Recipients::parse([one.as_str(), &two, ED25519_PUBLIC]).unwrap();
    let without_comment = ED25519_PUBLIC.rsplit_once(" for").unwrap().0.to_owned() + " another comment";
    let same = Recipients::parse([
        ED25519_PUBLIC,
        &format!(" {two}\n"),
        &without_comment,
        &one.to_uppercase(),
        &one,
    ])
    .unwrap();
    assert_eq!(set.iter().len(), 3);
    assert_eq!(set, same);
    assert_eq!(set.fingerprint(), same.fingerprint());
    let texts: Vec<String> = same.iter().map(ToString::to_string).collect();
    assert_eq!(Recipients::parse(&texts).unwrap().fingerprint(), set.fingerprint());
    assert!(texts.is_sorted());
    let other = Recipients::parse([one, two]).unwrap();
    assert_ne!(set, other);
    assert_ne!(set.fingerprint(), other.fingerprint());
}

#[test]
fn a_secret_key_is_no_recipient_and_is_not_repeated() {
    let (_, secret) = generate();
    let line = secret.expose().lines().last().unwrap();
    let ssh_line = ED25519.lines().nth(1).unwrap();
    for text in [secret.expose(), line, &line.to_lowercase(), ED25519, RSA, ssh_line] {
        let error = text.parse::<Recipient>().unwrap_err();
        assert_eq!(error, RecipientError::SecretKey);
        assert!(!error.to_string().contains(&text[20..40]), "{error}");
    }
}

#[test]
fn what_is_no_recipient_is_named_with_what_was_expected() {
    let x25519 = generate().0;
    let mut slip = x25519.clone();
    slip.replace_range(10..11, if &slip[10..11] == "q" { "p" } else { "q" });
    let longer_ssh = ED25519_PUBLIC.replacen(" for", "AAAA for", 1);
    let other_kind = "age1yubikey1qg4khhnfh2jkkzlhd8wk0u2pdjh8pqnhyggtlse9qhzr9mxhfgxvqc4k8w5";
    let cases = [
        ("", "no public key of a known kind"),
        ("alice", "no public key of a known kind"),
        (&slip, "checksum"),
        (&x25519[..40], "checksum"),
        (other_kind, "no plugins"),
        (&longer_ssh, "something behind it"),
        (&ED25519_PUBLIC[..40], "damaged or incomplete"),
        (ECDSA_PUBLIC, "of this kind"),
        (SMALL_RSA_PUBLIC, "at least 2048 bits"),
    ];
    for (text, problem) in cases {
        let error = text.parse::<Recipient>().unwrap_err().to_string();
        assert!(error.contains(problem), "{text}: {error}");
        assert!(error.contains(&text[..text.len().min(20)]) && error.contains("expected an age"), "{error}");
    }
    assert_eq!(Recipients::parse([""; 0]).unwrap_err(), RecipientError::None);
}

#[test]
fn what_is_no_identity_is_refused_without_repeating_it() {
    let (public, secret) = generate();
    let refused = |text: &str| Identities::parse(&Secret::new(text)).unwrap_err();
    assert_eq!(
        refused(&format!("{}\r\n\r\n# c\r\n{public}", secret.expose().trim_end())),
        IdentityError::NotAnIdentity { line: 5 }
    );
    assert_eq!(refused("hunter2"), IdentityError::NotAnIdentity { line: 1 });
    assert_eq!(refused("# nothing\n"), IdentityError::None);
    assert_eq!(refused(WITH_PASSPHRASE), IdentityError::Passphrase);
    assert_eq!(refused("-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n"), IdentityError::Passphrase);
    assert!(matches!(refused(ECDSA), IdentityError::Ssh { .. }));
    assert!(matches!(refused(&ED25519[..200]), IdentityError::Ssh { .. }));
}

#[test]
fn nothing_secret_is_printed() {
    let (public, secret) = generate();
    let identities = Identities::parse(&secret).unwrap();
    assert_eq!(format!("{identities:?} {secret:?}"), "Identities(1) [redacted]");
    assert!(secret.expose().starts_with(&format!("# public key: {public}\nAGE-SECRET-KEY-1")));
    let recipients = Recipients::parse([&public]).unwrap();
    assert_eq!(format!("{recipients:?}"), format!("{{{public}}}"));
    let printed = format!("{:?} {:?}", Encryptor::new(&recipients), Decryptor::new(&identities));
    assert_eq!(printed, "Encryptor { chunks: 0, .. } Decryptor { length: 0, .. }");
}

#[test]
fn any_altered_byte_of_a_small_file_is_found() {
    let (recipients, identities) = pair();
    let bytes = encrypted(&recipients, b"content");
    for place in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[place] ^= 1;
        let error = opened(&identities, &altered).expect_err("an altered byte");
        assert!(!matches!(error, OpenError::Failed | OpenError::Trailing { .. }), "{place}: {error}");
        reader(&altered, &identities).expect_err("an altered byte");
    }
}

#[test]
fn an_altered_byte_is_found_in_header_mac_nonce_and_each_chunk() {
    let (recipients, identities) = pair();
    let plain = plain(3 * CHUNK + 77);
    let (header, bytes) = encrypted_in(&recipients, &plain, &[usize::MAX]);
    let header = usize::try_from(header).unwrap();
    let with_altered = |place: usize| {
        let mut altered = bytes.clone();
        altered[place] ^= 0x40;
        altered
    };
    // The MAC, in base64, and a line feed stand before the nonce of 16 bytes.
    let mac = with_altered(header - 16 - 20);
    assert!(matches!(
        opened(&identities, &mac),
        Err(OpenError::AlteredHeader | OpenError::DamagedHeader { .. })
    ));
    assert!(matches!(opened(&identities, &with_altered(3)), Err(OpenError::NotAge)));
    let nonce = opened(&identities, &with_altered(header - 1));
    assert!(matches!(nonce, Err(OpenError::Altered { chunk: 0, .. })));
    for index in 0..4 {
        for within in [0, 50, SEALED - 1] {
            let place = (header + index * SEALED + within).min(bytes.len() - 1);
            let altered = with_altered(place);
            let start = (header + index * SEALED) as u64;
            match opened(&identities, &altered) {
                Err(OpenError::Altered { chunk, offset }) => {
                    assert_eq!((chunk, offset), (index as u64, start));
                }
                other => panic!("{index}: {other:?}"),
            }
            let error = read_at_random(&altered, &identities).unwrap_err();
            assert!(error.contains(&format!("chunk {index} ")), "{error}");
        }
    }
}

#[test]
fn nothing_of_an_altered_chunk_comes_out_and_nothing_after_it() {
    let (recipients, identities) = pair();
    let plain = plain(3 * CHUNK);
    let (header, mut bytes) = encrypted_in(&recipients, &plain, &[usize::MAX]);
    bytes[usize::try_from(header).unwrap() + SEALED + 5] ^= 1;
    let (mut decryptor, mut out) = (Decryptor::new(&identities), BytesMut::new());
    assert!(matches!(decryptor.push(&bytes, &mut out), Err(OpenError::Altered { chunk: 1, .. })));
    assert_eq!(out, plain[..CHUNK]);
    assert!(matches!(decryptor.push(b"more", &mut out), Err(OpenError::Failed)));
    assert!(matches!(decryptor.finish(&mut out), Err(OpenError::Failed)));
    assert_eq!(out.len(), CHUNK);
}

#[test]
fn a_file_cut_off_anywhere_does_not_open() {
    let (recipients, identities) = pair();
    for length in [0, 10, CHUNK, 3 * CHUNK, 3 * CHUNK + 9] {
        let (header, bytes) = encrypted_in(&recipients, &plain(length), &[usize::MAX]);
        let header = usize::try_from(header).unwrap();
        let boundaries = (0..4).map(|index| header + index * SEALED);
        let near = boundaries.flat_map(|place| [place - 1, place, place + 1, place + 16, place + 17]);
        for end in near.chain([0, 1, 30, header - 16, bytes.len() - 1]).filter(|end| *end < bytes.len()) {
            let error = opened(&identities, &bytes[..end]).expect_err("a part");
            let is_named = match error {
                OpenError::Truncated { length } => length == end as u64,
                // Sixteen bytes may be the chunk of the empty file.
                OpenError::Altered { .. } => (end - header) % SEALED > 16 || end - header == 16,
                _ => false,
            };
            assert!(is_named, "{length} cut to {end}: {error:?}");
            reader(&bytes[..end], &identities).expect_err("a part");
        }
    }
}

#[test]
fn a_file_cut_off_between_chunks_is_known_as_such() {
    let (recipients, identities) = pair();
    let (header, bytes) = encrypted_in(&recipients, &plain(3 * CHUNK), &[usize::MAX]);
    for chunks in 1..3 {
        let part = &bytes[..usize::try_from(header).unwrap() + chunks * SEALED];
        assert!(matches!(opened(&identities, part), Err(OpenError::Truncated { .. })));
        assert!(matches!(reader(part, &identities), Err(OpenError::Truncated { .. })));
    }
}

#[test]
fn what_stands_behind_the_end_is_found() {
    let (recipients, identities) = pair();
    for length in [0, 10, CHUNK, 2 * CHUNK, 2 * CHUNK + 9] {
        let bytes = encrypted(&recipients, &plain(length));
        for more in [1, 16, 17, SEALED + 5] {
            let mut longer = bytes.clone();
            longer.resize(bytes.len() + more, 0);
            let error = opened(&identities, &longer).expect_err("something behind the end");
            match error {
                OpenError::Trailing { end } => assert_eq!(end, bytes.len() as u64),
                // Only behind a full chunk is there a place where the file could end.
                OpenError::Altered { .. } => assert!(length % CHUNK != 0 || length == 0),
                other => panic!("{other:?}"),
            }
            reader(&longer, &identities).expect_err("something behind the end");
        }
    }
}

#[test]
fn a_last_chunk_without_content_is_refused() {
    // A last chunk of sixteen bytes would have no content, which only that of the empty file may.
    let (recipients, identities) = pair();
    let (header, bytes) = encrypted_in(&recipients, &plain(CHUNK + 1), &[usize::MAX]);
    let cut = &bytes[..bytes.len() - 1];
    assert!(matches!(opened(&identities, cut), Err(OpenError::Truncated { .. })));
    assert_eq!(plain_length(header, cut.len() as u64), None);
}

#[test]
fn what_is_no_age_file_is_said_to_be_none() {
    let (_, identities) = pair();
    for text in
        ["PK\u{3}\u{4}", "{\"format\": 1}", "-----BEGIN AGE ENCRYPTED FILE-----\n", "age-encryption.org/v2\n"]
    {
        assert!(matches!(opened(&identities, text.as_bytes()), Err(OpenError::NotAge)), "{text}");
        assert!(matches!(reader(text.as_bytes(), &identities), Err(OpenError::NotAge)), "{text}");
    }
    assert!(matches!(opened(&identities, b""), Err(OpenError::Truncated { length: 0 })));
    let endless = format!("age-encryption.org/v1\n{}", "-> X\n".repeat(MAX_HEADER_BYTES / 5));
    assert!(matches!(opened(&identities, endless.as_bytes()), Err(OpenError::DamagedHeader { .. })));
    let broken = "age-encryption.org/v1\nnothing\n--- x\n0123456789abcdef";
    assert!(matches!(opened(&identities, broken.as_bytes()), Err(OpenError::DamagedHeader { .. })));
}

#[test]
fn reading_at_random_reads_the_chunks_needed_and_no_others() {
    let (recipients, identities) = pair();
    let plain = plain(40 * CHUNK + 500);
    let stored = Counting::new(encrypted(&recipients, &plain));
    let reader = block_on(EncryptedReader::open(stored.clone(), &identities)).unwrap();
    let sealed = CHUNK_BYTES + TAG_BYTES;
    assert_eq!(reader.length(), plain.len() as u64);
    assert_eq!(stored.take(), (2048 + 500 + TAG_BYTES, 2), "the header and the last chunk");
    // A range, the chunks it takes, and the calls.
    let chunk = CHUNK_BYTES;
    let cases = [
        (5 * chunk + 10..5 * chunk + 20, 1, 1),
        (5 * chunk + 20..5 * chunk + 90, 0, 0),
        (5 * chunk + 90..7 * chunk, 1, 1),
        (7 * chunk - 1..7 * chunk + 1, 1, 1),
        (10 * chunk..26 * chunk, 16, 1),
        (26 * chunk - 1..26 * chunk, 0, 0),
        (30 * chunk - 1..31 * chunk + 1, 3, 1),
        (39 * chunk..40 * chunk + 500, 1, 1),
        (40 * chunk + 3..40 * chunk + 500, 0, 0),
        (3..3, 0, 0),
        (0..1, 1, 1),
    ];
    for (range, chunks, calls) in cases {
        let bytes = block_on(reader.read(range.clone())).unwrap();
        assert_eq!(stored.take(), (chunks * sealed, calls), "{range:?}");
        let expected = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        assert_eq!(bytes, plain[expected], "{range:?}");
    }
    let outside = block_on(reader.read(3..plain.len() as u64 + 1)).unwrap_err().to_string();
    assert!(outside.contains("is not within"), "{outside}");
}

#[test]
fn a_header_longer_than_the_first_fetch_is_read_whole() {
    let (public, secret) = generate();
    let several = (1..60).map(|_| generate().0).chain([public]);
    let stored = Counting::new(encrypted(&Recipients::parse(several).unwrap(), &plain(5)));
    let reader = block_on(EncryptedReader::open(stored.clone(), &Identities::parse(&secret).unwrap()));
    assert_eq!(block_on(reader.unwrap().read(0..5)).unwrap(), plain(5));
    assert!(stored.take().0 <= stored.length() + 5 + TAG_BYTES);
}

#[test]
fn every_entry_of_an_encrypted_zip_is_read_at_random() {
    let (recipients, identities) = pair();
    let zip = small().finish();
    let (_, index) = read_with(&zip, 1000, Options::default()).unwrap();
    let zip = Arc::new(reader(&encrypted(&recipients, &zip), &identities).unwrap());
    let stored_index = reader(&encrypted(&recipients, &index), &identities).unwrap();
    let opened_index = block_on(Index::open(stored_index)).unwrap();
    let mut entries = 0;
    for line in lines(&index) {
        let IndexLine::Entry(entry) = line else { continue };
        let found = block_on(opened_index.entry(&entry.name)).unwrap().unwrap();
        let mut content = EntryContent::whole(zip.clone(), &found).unwrap();
        // Its CRC-32 and SHA-256 are checked at its end.
        while block_on(content.next()).unwrap().is_some() {}
        entries += 1;
    }
    assert!(entries > 3, "{entries}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_sizes_of_the_pieces_do_not_matter(
        length in 0..5 * CHUNK,
        pushes in prop::collection::vec(1..100_000_usize, 1..6),
        pulls in prop::collection::vec(1..100_000_usize, 1..6),
    ) {
        let (recipients, identities) = pair();
        let plain = plain(length);
        let (header, bytes) = encrypted_in(&recipients, &plain, &pushes);
        prop_assert_eq!(encrypted_length(header, length as u64), bytes.len() as u64);
        prop_assert!(opened_in(&identities, &bytes, &pulls).unwrap() == plain);
    }

    #[test]
    fn any_range_equals_that_part_of_the_plaintext(
        length in 1..5 * CHUNK,
        ranges in prop::collection::vec((any::<usize>(), any::<usize>()), 1..12),
    ) {
        let (recipients, identities) = pair();
        let plain = plain(length);
        let reader = reader(&encrypted(&recipients, &plain), &identities).unwrap();
        for (one, two) in ranges {
            let (one, two) = (one % (length + 1), two % (length + 1));
            let (start, end) = (one.min(two), one.max(two));
            let bytes = block_on(reader.read(start as u64..end as u64)).unwrap();
            prop_assert!(bytes == plain[start..end], "{}..{}", start, end);
        }
    }

    #[test]
    fn a_possible_length_has_one_plaintext_length(header in 100..10_000_u64, length in 0..1_u64 << 50) {
        let stored = encrypted_length(header, length);
        prop_assert_eq!(plain_length(header, stored), Some(length));
    }

    #[test]
    fn junk_is_refused_without_a_panic(junk in prop::collection::vec(any::<u8>(), 0..2000)) {
        let (_, identities) = pair();
        prop_assert!(opened(&identities, &junk).is_err());
        let behind = [b"age-encryption.org/v1\n".as_slice(), &junk].concat();
        prop_assert!(opened(&identities, &behind).is_err());
        prop_assert!(reader(&behind, &identities).is_err());
    }
}
