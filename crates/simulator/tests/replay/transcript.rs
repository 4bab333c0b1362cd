//! Reads the recorded exchanges of a real backend: `### title`, a request as it went over the wire, its answer.

use std::fs;
use std::path::{Path, PathBuf};

/// One request and the answer that a real backend gave to it.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) title: String,
    pub(crate) request: Request,
    pub(crate) answer: Answer,
}

#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Body,
}

#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Body,
}

/// A body as recorded: the text itself, or only what is known of a long or binary one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    Text(String),
    Described { bytes: usize, first_hex: String },
}

#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
/// Where the recordings are, or `None` (and a line on standard output) where they are absent.
pub(crate) fn fixtures() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "tests are told in the environment where the fixtures are")]
    let told = std::env::var_os("CONVAULT_FIXTURES").map(PathBuf::from);
    let folder =
        told.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/convex"));
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no recorded exchanges at {}", folder.display());
    None
}

/// Every exchange of the recording whose file name starts with `number`.
pub(crate) fn read(fixtures: &Path, number: &str) -> Vec<Exchange> {
    let path = fs::read_dir(fixtures.join("transcripts"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().unwrap().to_string_lossy().starts_with(number))
        .unwrap_or_else(|| panic!("there is no recording {number}"));
    parse(&fs::read_to_string(path).unwrap())
}

fn parse(text: &str) -> Vec<Exchange> {
    let text = format!("\n{text}");
    text.split("\n### ").skip(1).map(parse_exchange).collect()
}

fn parse_exchange(text: &str) -> Exchange {
    let (title, rest) = text.split_once('\n').unwrap();
    let (first, headers, rest) = parse_head(rest);
    let mut words = first.split(' ');
    let method = words.next().unwrap().to_owned();
    let target = words.next().unwrap().to_owned();
    let answer_at = rest.find("HTTP/1.1 ").unwrap();
    let body = parse_body(&headers, &rest[..answer_at]);
    let request = Request { method, target, headers, body };

    let (first, headers, rest) = parse_head(&rest[answer_at..]);
    let status = first.split(' ').nth(1).unwrap().parse().unwrap();
    let body = parse_body(&headers, rest);
    Exchange { title: title.to_owned(), request, answer: Answer { status, headers, body } }
}

type Head<'a> = (&'a str, Vec<(String, String)>, &'a str);

fn parse_head(text: &str) -> Head<'_> {
    let (head, rest) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let first = lines.next().unwrap();
    let headers = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    (first, headers, rest)
}

fn parse_body(headers: &[(String, String)], text: &str) -> Body {
    if let Some(description) = text.strip_prefix('<').filter(|rest| rest.contains(" bytes, sha256 ")) {
        let bytes = description.split(' ').next().unwrap().parse().unwrap();
        let first_hex = description.split("hex ").nth(1).unwrap().split('>').next().unwrap();
        return Body::Described { bytes, first_hex: first_hex.to_owned() };
    }
    let announced = headers.iter().find(|(name, _)| name == "content-length");
    let length = announced.map_or(0, |(_, value)| value.parse().unwrap());
    // A length may be off where a folder name was replaced in the recording, but only in a JSON body.
    let body = if text.starts_with(['{', '[']) && !text.contains("\n{") {
        text.trim_end_matches('\n').to_owned()
    } else {
        text.get(..length).unwrap_or_else(|| text.trim_end_matches('\n')).to_owned()
    };
    Body::Text(body)
}
