//! Signatures as minisign makes and checks them, against stock minisign where it is installed.

#![allow(clippy::unwrap_used, reason = "a failed test is what a panic is for")]
#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use convault_archive::signature::{MAX_SIGNATURE_BYTES, PublicKey, SignatureError, SigningKey, TrustedKeys};
use convault_core::Secret;
use proptest::prelude::*;

const CONTENT: &[u8] = b"{\"format\": 1}\n";
const COMMENT: &str = "convault manifest crm 20261122T030056Z-4k9x2m 2026-11-22T03:01:14Z";

// A key for tests only, made by stock minisign 0.11: `minisign -G -W`, and `minisign -S -H -t` over "hi\n".
const STOCK_SECRET: &str = "untrusted comment: minisign encrypted secret key
RWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAv6USGYwxxaAw21lBKsGkZoQyAscenxoa3cebayMJZWpwvQkGaWOKNBVcDZj5eSYMg//GLg9tG6HIY5jXZrru6t2TUnsdpgyNAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
";
const STOCK_PUBLIC: &str = "untrusted comment: minisign public key A0C5318C1912A5BF
RWS/pRIZjDHFoBVcDZj5eSYMg//GLg9tG6HIY5jXZrru6t2TUnsdpgyN
";
const STOCK_SIGNATURE: &str = "untrusted comment: signature from minisign secret key
RUS/pRIZjDHFoFUYguEummBG4grJgv+MGYUanh2Zl/0xxF9707f6iAa2nioEWCleX95hRTIRBdkYdFlPBx/6bGscQZN2V8brMgk=
trusted comment: convault manifest crm x
j9znQXWf5E8k/q5Pgki2LERITKfmAykmn3GO7BOKCbwzEZBK5wJF96wzXfUvVV1jSVmgzMUYdt68i0C8/OnkBA==
";

fn trusting(keys: &[&SigningKey]) -> TrustedKeys {
    keys.iter().map(|key| key.public()).collect()
}

fn with_line(text: &str, number: usize, line: &str) -> String {
    let mut lines: Vec<_> = text.lines().collect();
    lines[number] = line;
    lines.join("\n") + "\n"
}

fn not_a_signature(text: impl AsRef<[u8]>) -> &'static str {
    let (key, _) = SigningKey::generate();
    match trusting(&[&key]).verify(CONTENT, text) {
        Err(SignatureError::NotASignature { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_key_signed_it_verifies() {
    let (key, _) = SigningKey::generate();
    let signature = key.sign(CONTENT, COMMENT);
    let verified = trusting(&[&key]).verify(CONTENT, &signature).unwrap();
    assert_eq!(verified.key, key.public().id());
    assert_eq!(verified.trusted_comment, COMMENT);
    assert!(signature.len() < 512, "{signature}");
}

#[test]
fn a_signature_by_stock_minisign_verifies() {
    let public = PublicKey::parse(STOCK_PUBLIC).unwrap();
    let trusted = TrustedKeys::new(vec![public]);
    let verified = trusted.verify(b"hi\n", STOCK_SIGNATURE).unwrap();
    assert_eq!(verified.key.to_string(), "A0C5318C1912A5BF");
    assert_eq!(verified.trusted_comment, "convault manifest crm x");
}

#[test]
fn line_ends_of_another_system_do_no_harm() {
    let trusted = TrustedKeys::new(vec![PublicKey::parse(STOCK_PUBLIC).unwrap()]);
    let text = STOCK_SIGNATURE.replace('\n', "\r\n");
    assert!(trusted.verify(b"hi\n", text).is_ok());
}

#[test]
fn a_key_of_stock_minisign_is_read_and_its_public_key_is_the_same() {
    let key = SigningKey::parse(&Secret::new(STOCK_SECRET)).unwrap();
    assert_eq!(key.public().to_file(), STOCK_PUBLIC);
    assert_eq!(key.public(), PublicKey::parse(STOCK_PUBLIC).unwrap());
}

#[test]
fn a_key_is_read_from_its_one_line_too() {
    let public = STOCK_PUBLIC.lines().nth(1).unwrap();
    assert_eq!(PublicKey::parse(public).unwrap().to_string(), public);
    let secret = STOCK_SECRET.lines().nth(1).unwrap();
    assert!(SigningKey::parse(&Secret::new(secret)).is_ok());
}

#[test]
fn a_generated_key_is_read_back() {
    let (key, text) = SigningKey::generate();
    let again = SigningKey::parse(&text).unwrap();
    assert_eq!(again.public(), key.public());
    assert_eq!(again.sign(CONTENT, COMMENT), key.sign(CONTENT, COMMENT));
}

#[test]
fn two_generated_keys_differ() {
    let (one, other) = (SigningKey::generate().0, SigningKey::generate().0);
    assert_ne!(one.public(), other.public());
    assert_ne!(one.public().id(), other.public().id());
}

#[test]
fn debug_shows_the_identifier_and_nothing_secret() {
    let key = SigningKey::parse(&Secret::new(STOCK_SECRET)).unwrap();
    assert_eq!(format!("{key:?}"), "SigningKey(A0C5318C1912A5BF)");
}

#[test]
fn after_a_rotation_the_old_key_still_counts_while_it_is_trusted() {
    let (old, new) = (SigningKey::generate().0, SigningKey::generate().0);
    let of_old = old.sign(CONTENT, COMMENT);
    let both = trusting(&[&new, &old]);
    assert_eq!(both.verify(CONTENT, &of_old).unwrap().key, old.public().id());
    assert!(both.verify(CONTENT, new.sign(CONTENT, COMMENT)).is_ok());
    let id = old.public().id();
    assert_eq!(trusting(&[&new]).verify(CONTENT, &of_old), Err(SignatureError::UntrustedKey { id }));
}

#[test]
fn an_untrusted_key_is_named() {
    let trusted = trusting(&[&SigningKey::generate().0]);
    let error = trusted.verify(b"hi\n", STOCK_SIGNATURE).unwrap_err();
    assert_eq!(error.to_string(), "signed by key A0C5318C1912A5BF, which is not among the trusted keys");
}

#[test]
fn without_keys_nothing_verifies() {
    let trusted = TrustedKeys::default();
    assert!(trusted.is_empty());
    assert!(matches!(trusted.verify(b"hi\n", STOCK_SIGNATURE), Err(SignatureError::UntrustedKey { .. })));
}

#[test]
fn a_forger_who_borrows_the_identifier_is_found() {
    let (key, _) = SigningKey::generate();
    let mut forged = BASE64.decode(key.public().to_string()).unwrap();
    let (thief, _) = SigningKey::generate();
    forged[10..].copy_from_slice(&BASE64.decode(thief.public().to_string()).unwrap()[10..]);
    let borrowed = PublicKey::parse(&BASE64.encode(forged)).unwrap();
    let id = key.public().id();
    assert_eq!(borrowed.id(), id);
    let signature = key.sign(CONTENT, COMMENT);
    let only_borrowed = TrustedKeys::new(vec![borrowed.clone()]);
    assert_eq!(only_borrowed.verify(CONTENT, &signature), Err(SignatureError::ContentAltered { id }));
    let both = TrustedKeys::new(vec![borrowed, key.public()]);
    assert!(both.verify(CONTENT, &signature).is_ok(), "whatever the order");
}

#[test]
fn altered_content_is_found() {
    let (key, _) = SigningKey::generate();
    let signature = key.sign(CONTENT, COMMENT);
    let id = key.public().id();
    for altered in [&CONTENT[..CONTENT.len() - 1], b"", b"{\"format\": 2}\n"] {
        assert_eq!(trusting(&[&key]).verify(altered, &signature), Err(SignatureError::ContentAltered { id }));
    }
}

#[test]
fn an_altered_comment_is_found() {
    let (key, _) = SigningKey::generate();
    let signature = key.sign(CONTENT, COMMENT);
    let altered = signature.replace("manifest crm", "manifest cRm");
    assert_ne!(altered, signature);
    let id = key.public().id();
    assert_eq!(trusting(&[&key]).verify(CONTENT, altered), Err(SignatureError::CommentAltered { id }));
}

#[test]
fn a_comment_borrowed_from_another_signature_is_found() {
    let (key, _) = SigningKey::generate();
    let one = key.sign(CONTENT, COMMENT);
    let other = key.sign(b"other", "convault manifest other");
    let lines: Vec<_> = other.lines().collect();
    let mixed = with_line(&with_line(&one, 2, lines[2]), 3, lines[3]);
    let id = key.public().id();
    assert_eq!(trusting(&[&key]).verify(CONTENT, mixed), Err(SignatureError::CommentAltered { id }));
}

#[test]
fn no_truncation_of_a_signature_verifies() {
    let (key, _) = SigningKey::generate();
    let signature = key.sign(CONTENT, COMMENT);
    let whole = signature.trim_end().len();
    for length in 0..whole {
        let cut = &signature[..length];
        assert!(trusting(&[&key]).verify(CONTENT, cut).is_err(), "{cut}");
    }
}

#[test]
fn what_is_no_signature_is_told_so() {
    let (key, _) = SigningKey::generate();
    let good = key.sign(CONTENT, COMMENT);
    let long = "x".repeat(MAX_SIGNATURE_BYTES + 1);
    for (text, reason) in [
        (String::new(), "it has fewer than four lines"),
        (long, "it is longer than 4 KiB"),
        (good.clone() + "more\n", "it has more than four lines"),
        (with_line(&good, 0, "comment"), "its first line is not an untrusted comment"),
        (with_line(&good, 2, "comment"), "its third line is not a trusted comment"),
        (with_line(&good, 1, "%%%"), "it is not whole base64"),
        (with_line(&good, 1, ""), "its algorithm is unknown"),
        (with_line(&good, 1, "RUQ="), "the signature of the content has not 64 bytes"),
        (with_line(&good, 3, "AAAA"), "the signature of its comment has not 64 bytes"),
    ] {
        assert_eq!(not_a_signature(&text), reason, "{text}");
    }
    assert_eq!(not_a_signature([0xff, 0xfe]), "it is not text");
}

#[test]
fn a_signature_that_is_not_prehashed_is_refused() {
    let (key, _) = SigningKey::generate();
    let good = key.sign(CONTENT, COMMENT);
    let mut head = BASE64.decode(good.lines().nth(1).unwrap()).unwrap();
    head[1] = b'd';
    let legacy = with_line(&good, 1, &BASE64.encode(head));
    assert_eq!(not_a_signature(legacy), "it is of the old kind that is not prehashed");
}

#[test]
fn a_comment_cannot_break_the_lines() {
    let (key, _) = SigningKey::generate();
    for (given, signed) in [(" a\nb\r\n ", "a b"), ("", ""), (&"é".repeat(2000), &"é".repeat(1000))] {
        let verified = trusting(&[&key]).verify(CONTENT, key.sign(CONTENT, given));
        assert_eq!(verified.unwrap().trusted_comment, signed);
    }
}

#[test]
fn a_key_under_a_password_is_refused_with_the_remedy() {
    let line = STOCK_SECRET.lines().nth(1).unwrap();
    let mut bytes = BASE64.decode(line).unwrap();
    bytes[2..4].copy_from_slice(b"Sc");
    let error = SigningKey::parse(&Secret::new(BASE64.encode(bytes))).unwrap_err();
    assert_eq!(error, SignatureError::PasswordProtected);
    assert!(error.to_string().contains("minisign -G -W"), "{error}");
}

#[test]
fn a_damaged_secret_key_is_refused_without_showing_it() {
    let refused = |text: &str| match SigningKey::parse(&Secret::new(text)) {
        Err(SignatureError::NotASecretKey { reason }) => reason,
        other => panic!("{other:?}"),
    };
    let (_, text) = SigningKey::generate();
    let line = text.expose().lines().nth(1).unwrap();
    let bytes = BASE64.decode(line).unwrap();
    let altered = |place: usize| {
        let mut bytes = bytes.clone();
        bytes[place] ^= 1;
        BASE64.encode(bytes)
    };
    assert_eq!(refused(&altered(60)), "its checksum is wrong, so it was damaged");
    assert_eq!(refused(&altered(2)), "its key derivation is unknown");
    assert_eq!(refused(&altered(0)), "it has not 158 bytes, or another structure");
    assert_eq!(refused(&BASE64.encode(&bytes[..157])), "it has not 158 bytes, or another structure");
    assert_eq!(refused(""), "it is empty");
    assert_eq!(refused("untrusted comment: x\n"), "after the comment there is no key");
    assert_eq!(refused(&format!("{line}\n{line}")), "it has too many lines");
    let mut stock = BASE64.decode(STOCK_SECRET.lines().nth(1).unwrap()).unwrap();
    stock[70] ^= 1;
    assert_eq!(refused(&BASE64.encode(stock)), "its two halves do not fit, so it was damaged");
}

#[test]
fn what_is_no_public_key_is_told_so() {
    for (text, reason) in [
        ("", "it is empty"),
        ("RWS/pRIZjDHFoBVcDZj5eSYM", "it has not 42 bytes"),
        ("age1qqqqqqqq", "it is not an Ed25519 key"),
        ("RW", "it is not whole base64"),
        (STOCK_SIGNATURE, "it has too many lines"),
        ("AAAA", "it is not an Ed25519 key"),
    ] {
        assert_eq!(PublicKey::parse(text), Err(SignatureError::NotAPublicKey { reason }), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_verifying_panic(text in "\\PC*|(untrusted comment: .*\n[A-Za-z0-9+/=]*\ntrusted comment: .*\n[A-Za-z0-9+/=]*\n)") {
        let trusted = TrustedKeys::new(vec![PublicKey::parse(STOCK_PUBLIC).unwrap()]);
        prop_assert!(trusted.verify(CONTENT, text).is_err());
    }
}

/// Runs stock minisign in `folder`; `None`, saying so, where it is not installed.
fn minisign(folder: &Path, arguments: &[&str]) -> Option<std::process::Output> {
    match Command::new("minisign").args(arguments).current_dir(folder).output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("SKIPPED: minisign is not installed");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn stock_minisign_accepts_what_we_signed_and_refuses_what_was_altered() {
    let folder = tempfile::tempdir().unwrap();
    let (key, _) = SigningKey::generate();
    let file = folder.path().join("manifest.json");
    std::fs::write(&file, CONTENT).unwrap();
    std::fs::write(folder.path().join("manifest.json.minisig"), key.sign(CONTENT, COMMENT)).unwrap();
    std::fs::write(folder.path().join("convault.pub"), key.public().to_file()).unwrap();
    let line = key.public().to_string();
    for by in [["-P", line.as_str()], ["-p", "convault.pub"]] {
        let arguments = ["-V", by[0], by[1], "-m", "manifest.json"];
        let Some(output) = minisign(folder.path(), &arguments) else { return };
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{said}");
        assert!(said.contains(COMMENT), "{said}");
    }
    std::fs::write(&file, b"other").unwrap();
    let output = minisign(folder.path(), &["-V", "-P", &line, "-m", "manifest.json"]).unwrap();
    assert!(!output.status.success());
}

#[test]
fn stock_minisign_signs_with_our_key() {
    let folder = tempfile::tempdir().unwrap();
    let (key, text) = SigningKey::generate();
    std::fs::write(folder.path().join("convault.key"), text.expose()).unwrap();
    std::fs::write(folder.path().join("manifest.json"), CONTENT).unwrap();
    let arguments = ["-S", "-H", "-s", "convault.key", "-m", "manifest.json", "-t", COMMENT];
    let Some(output) = minisign(folder.path(), &arguments) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let signature = std::fs::read(folder.path().join("manifest.json.minisig")).unwrap();
    let verified = trusting(&[&key]).verify(CONTENT, signature).unwrap();
    assert_eq!(verified.trusted_comment, COMMENT);
}

#[test]
fn we_sign_with_the_key_of_stock_minisign() {
    let folder = tempfile::tempdir().unwrap();
    let made = ["-G", "-W", "-p", "convault.pub", "-s", "convault.key"];
    let Some(output) = minisign(folder.path(), &made) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(folder.path().join("convault.key")).unwrap();
    let key = SigningKey::parse(&Secret::new(text)).unwrap();
    let public = std::fs::read_to_string(folder.path().join("convault.pub")).unwrap();
    assert_eq!(key.public().to_file(), public);
    std::fs::write(folder.path().join("manifest.json"), CONTENT).unwrap();
    std::fs::write(folder.path().join("manifest.json.minisig"), key.sign(CONTENT, COMMENT)).unwrap();
    let output = minisign(folder.path(), &["-V", "-p", "convault.pub", "-m", "manifest.json"]);
    assert!(output.unwrap().status.success());
}
