//! Objects go both ways between this crate and stock age, where that is installed (Debian package `age`).

#![allow(clippy::unwrap_used, reason = "a failed test is what a panic is for")]
#![allow(clippy::cast_possible_truncation, reason = "what is cast here is small")]
#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use bytes::BytesMut;
use convault_archive::encryption::{Decryptor, Encryptor, Identities, Recipients, generate};
use convault_core::Secret;
use tempfile::TempDir;

// Keys for these tests only, made by OpenSSH 9.2.
const ED25519: &str = include_str!("keys/ed25519");
const ED25519_PUBLIC: &str = include_str!("keys/ed25519.pub");
const RSA: &str = include_str!("keys/rsa");
const RSA_PUBLIC: &str = include_str!("keys/rsa.pub");

const CHUNK: usize = 64 << 10;
const LENGTHS: [usize; 7] = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, (5 << 20) + 321];

fn is_absent() -> bool {
    let is_absent = Command::new("age").arg("--version").output().is_err();
    if is_absent {
        eprintln!("skipped: stock age is not installed (Debian package `age`)");
    }
    is_absent
}

fn plain(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place % 251) as u8 ^ (place / 65537) as u8).collect()
}

fn age(arguments: &[&str], input: &Path) -> Result<Vec<u8>, String> {
    let output = Command::new("age").args(arguments).arg(input).output().unwrap();
    if output.status.success() { Ok(output.stdout) } else { Err(String::from_utf8(output.stderr).unwrap()) }
}

fn encrypted(recipients: &[&str], plain: &[u8]) -> Vec<u8> {
    let mut encryptor = Encryptor::new(&Recipients::parse(recipients).unwrap());
    let mut out = BytesMut::new();
    for piece in plain.chunks(100_000) {
        encryptor.push(piece, &mut out);
    }
    encryptor.finish(&mut out);
    out.to_vec()
}

fn opened(identity: &str, bytes: &[u8]) -> Vec<u8> {
    let mut decryptor = Decryptor::new(&Identities::parse(&Secret::new(identity)).unwrap());
    let mut out = BytesMut::new();
    for piece in bytes.chunks(100_000) {
        decryptor.push(piece, &mut out).unwrap();
    }
    decryptor.finish(&mut out).unwrap();
    out.to_vec()
}

/// A folder in which nobody else can read, as age and SSH want it for keys.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

/// A new key of each kind: its public and its private text.
fn keys() -> [(String, String); 3] {
    let (public, secret) = generate();
    let ssh = |public: &str, secret: &str| (public.to_owned(), secret.to_owned());
    [(public, secret.expose().to_owned()), ssh(ED25519_PUBLIC, ED25519), ssh(RSA_PUBLIC, RSA)]
}

#[test]
fn stock_age_opens_what_is_encrypted_here_at_every_length() {
    if is_absent() {
        return;
    }
    let (folder, [(public, secret), ..]) = (Folder::new(), keys());
    let identity = folder.file("identity", secret);
    for length in LENGTHS {
        let object = folder.file("object.age", encrypted(&[&public], &plain(length)));
        let content = age(&["-d", "-i", identity.to_str().unwrap()], &object).unwrap();
        assert!(content == plain(length), "{length}");
    }
}

#[test]
fn what_stock_age_encrypts_opens_here_at_every_length() {
    if is_absent() {
        return;
    }
    let (folder, [(public, secret), ..]) = (Folder::new(), keys());
    for length in LENGTHS {
        let bytes = age(&["-r", &public], &folder.file("plain", plain(length))).unwrap();
        assert!(opened(&secret, &bytes) == plain(length), "{length}");
    }
}

#[test]
fn stock_age_opens_what_is_for_several_with_any_one_key() {
    if is_absent() {
        return;
    }
    let (folder, keys, plain) = (Folder::new(), keys(), plain(2 * CHUNK + 5));
    let recipients: Vec<&str> = keys.iter().map(|(public, _)| public.as_str()).collect();
    let object = folder.file("object.age", encrypted(&recipients, &plain));
    for (_, secret) in &keys {
        let identity = folder.file("identity", secret);
        assert!(age(&["-d", "-i", identity.to_str().unwrap()], &object).unwrap() == plain);
    }
    let stranger = folder.file("stranger", generate().1.expose());
    let refused = age(&["-d", "-i", stranger.to_str().unwrap()], &object).unwrap_err();
    assert!(refused.contains("no identity matched"), "{refused}");
}

#[test]
fn what_stock_age_encrypts_for_several_opens_with_any_one_key() {
    if is_absent() {
        return;
    }
    let (folder, keys, plain) = (Folder::new(), keys(), plain(2 * CHUNK + 5));
    let recipients: Vec<&str> = keys.iter().flat_map(|(public, _)| ["-r", public.trim()]).collect();
    let bytes = age(&recipients, &folder.file("plain", &plain)).unwrap();
    for (_, secret) in &keys {
        assert!(opened(secret, &bytes) == plain);
    }
}

#[test]
fn an_identity_file_made_by_age_keygen_is_read() {
    if is_absent() {
        return;
    }
    let folder = Folder::new();
    let output = Command::new("age-keygen").output().unwrap();
    let secret = String::from_utf8(output.stdout).unwrap();
    let public = secret.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
    let bytes = age(&["-r", public], &folder.file("plain", b"content")).unwrap();
    assert_eq!(opened(&secret, &bytes), b"content");
}

#[test]
fn age_keygen_finds_the_public_half_of_a_new_key() {
    if is_absent() {
        return;
    }
    let (public, secret) = generate();
    let identity = Folder::new();
    let output =
        Command::new("age-keygen").arg("-y").arg(identity.file("identity", secret.expose())).output();
    assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap().trim(), public);
}
