//! Says where an answer of the simulator differs from the recorded one in more than what differs every time.

use serde_json::Value;

use crate::transcript::{Answer, Body};
use crate::wire::{Received, header};

/// Headers that a client can act on: present in both answers with the same value, or in neither.
const HEADERS: &[&str] = &[
    "accept-ranges",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "digest",
    "etag",
    "retry-after",
];

/// Fields whose value is a matter of timing, of the server's own names, or (the size of a ZIP) of its compressor; only
/// their type is compared.
const FREE_FIELDS: &[&str] =
    &["$integer", "fq_object_key", "progress_message", "size", "tablet_id", "uploadToken"];

/// Fields that the simulator answers beside the recorded ones: those recordings were made with a stand-in that gave
/// bare rows, and the real function behind `components:list` names these two as well.
const FURTHER_FIELDS: &[&str] = &["id", "path"];

/// Every difference, in words; empty where the two answers are alike.
pub(crate) fn differences(recorded: &Answer, received: &Received) -> Vec<String> {
    let mut found = Vec::new();
    if recorded.status != received.status {
        let body = String::from_utf8_lossy(&received.body);
        found.push(format!("status {} instead of {}: {body:.300}", received.status, recorded.status));
        return found;
    }
    compare_headers(recorded, received, &mut found);
    compare_bodies(recorded, received, &mut found);
    found
}

fn compare_headers(recorded: &Answer, received: &Received, found: &mut Vec<String>) {
    for name in HEADERS {
        let expected = header(&recorded.headers, name).map(normal);
        let actual = received.header(name).map(normal);
        // The length of JSON changes with the digits in it; that it is announced does not.
        let same = if *name == "content-length" {
            expected.is_some() == actual.is_some()
        } else {
            expected == actual
        };
        if !same {
            found.push(format!("header {name}: {actual:?} instead of {expected:?}"));
        }
    }
}

fn compare_bodies(recorded: &Answer, received: &Received, found: &mut Vec<String>) {
    let text = match &recorded.body {
        Body::Text(text) => text,
        Body::Described { first_hex, .. } => return compare_start(first_hex, &received.body, found),
    };
    match serde_json::from_str::<Value>(text) {
        Ok(expected) => match serde_json::from_slice::<Value>(&received.body) {
            Ok(actual) => compare_values("$", &expected, &actual, found),
            Err(error) => found.push(format!("the body is not JSON: {error}")),
        },
        Err(_) if text.as_bytes() == received.body => {}
        Err(_) => {
            found.push(format!("body {:?} instead of {text:?}", String::from_utf8_lossy(&received.body)));
        }
    }
}

fn compare_start(first_hex: &str, body: &[u8], found: &mut Vec<String>) {
    let start = body.iter().take(first_hex.len() / 2);
    let actual = start.map(|byte| format!("{byte:02x}")).collect::<Vec<String>>().concat();
    if actual != first_hex {
        found.push(format!("body starts with {actual} instead of {first_hex}"));
    }
}

fn compare_values(path: &str, expected: &Value, actual: &Value, found: &mut Vec<String>) {
    let is_free = FREE_FIELDS.iter().any(|field| path.ends_with(&format!(".{field}")));
    if is_free && !expected.is_object() {
        let may_be_null =
            expected.is_null() || path.ends_with("progress_message") || path.ends_with("tablet_id");
        if !(actual.is_string() || actual.is_null() && may_be_null) {
            found.push(format!("{path}: {actual} instead of {expected}"));
        }
        return;
    }
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => {
            for (name, value) in expected {
                match actual.get(name) {
                    Some(other) => compare_values(&format!("{path}.{name}"), value, other, found),
                    None => found.push(format!("{path}.{name} is missing")),
                }
            }
            let known = |name: &str| expected.contains_key(name) || FURTHER_FIELDS.contains(&name);
            for name in actual.keys().filter(|name| !known(name)) {
                found.push(format!("{path}.{name} is not in the recorded answer"));
            }
        }
        (Value::Array(expected), Value::Array(actual)) => {
            // How far an import has come when it is polled is a matter of timing.
            if expected.len() != actual.len() && !path.ends_with(".checkpoint_messages") {
                found.push(format!("{path}: {} elements instead of {}", actual.len(), expected.len()));
            }
            for (at, (value, other)) in expected.iter().zip(actual).enumerate() {
                compare_values(&format!("{path}[{at}]"), value, other, found);
            }
        }
        (Value::String(expected), Value::String(actual)) => {
            if normal(expected) != normal(actual) {
                found.push(format!("{path}: {actual:?} instead of {expected:?}"));
            }
        }
        (Value::Number(expected), Value::Number(actual)) => {
            if expected.is_f64() != actual.is_f64() && !path.ends_with("_creationTime") {
                found.push(format!("{path}: {actual} instead of {expected}"));
            }
        }
        _ if expected == actual => {}
        _ => found.push(format!("{path}: {actual} instead of {expected}")),
    }
}

/// A text with everything replaced that is new each time: ids, UUIDs, times, request ids.
pub(crate) fn normal(text: &str) -> String {
    let mut normal = String::new();
    let mut word = String::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let is_digits = word.len() >= 13 && word.bytes().all(|byte| byte.is_ascii_digit());
        let is_point = letter == '.' && is_digits && letters.peek().is_some_and(char::is_ascii_digit);
        if letter.is_ascii_alphanumeric() || letter == '-' || is_point {
            word.push(letter);
            continue;
        }
        normal.push_str(&normal_word(&word));
        normal.push(letter);
        word.clear();
    }
    normal.push_str(&normal_word(&word));
    normal
}

fn normal_word(word: &str) -> String {
    let lower = word.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit());
    let digits = word.chars().all(|letter| letter.is_ascii_digit() || letter == '.');
    let hex = word.chars().all(|letter| letter.is_ascii_hexdigit() || letter == '-');
    match word.len() {
        13.. if digits => "<time>".to_owned(),
        31..=37 if lower => "<id>".to_owned(),
        36 if hex && word.matches('-').count() == 4 => "<uuid>".to_owned(),
        16 if hex => "<request id>".to_owned(),
        _ => word.to_owned(),
    }
}
