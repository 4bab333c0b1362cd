//! `s3 = { … }`: a bucket, and what its provider is known to want.

use convault_core::{LockMode, Secret};

use crate::{
    effective::Origin,
    problem::Place,
    reading::{Reading, Refusal, quoted},
    secret::{default_variable, read_secret},
    section::Section,
};

/// A provider of S3, for what differs between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum S3Profile {
    /// Amazon S3.
    Aws,
    /// Cloudflare R2.
    R2,
    /// Backblaze B2.
    B2,
    /// `MinIO`, and servers that behave like it.
    Minio,
    /// Ceph's gateway.
    Ceph,
    /// Garage.
    Garage,
}

impl S3Profile {
    fn named(name: &str) -> Self {
        match name {
            "r2" => Self::R2,
            "b2" => Self::B2,
            "minio" => Self::Minio,
            "ceph" => Self::Ceph,
            "garage" => Self::Garage,
            _ => Self::Aws,
        }
    }

    /// The region to sign for where none is given; `None` where a bucket has one of several.
    fn region(self) -> Option<&'static str> {
        match self {
            Self::Aws | Self::B2 => None,
            Self::R2 => Some("auto"),
            Self::Minio => Some("us-east-1"),
            Self::Ceph => Some("default"),
            Self::Garage => Some("garage"),
        }
    }

    /// What a region of this provider looks like.
    fn region_form(self) -> &'static str {
        if self == Self::B2 { "eu-central-003" } else { "eu-central-1" }
    }

    /// Whether the bucket goes into the path: only Amazon wants it in the host name.
    fn path_style(self) -> bool {
        self != Self::Aws
    }

    /// Whether SHA-256 checksums are sent along: B2 has answered requests that carry them with an error.
    fn sends_checksums(self) -> bool {
        self != Self::B2
    }

    /// What an endpoint of this provider looks like, for those that cannot be worked out.
    fn endpoint_form(self) -> &'static str {
        match self {
            Self::R2 => "\"https://ACCOUNT.r2.cloudflarestorage.com\"",
            Self::Garage => "\"http://127.0.0.1:3900\"",
            Self::Ceph => "\"https://rgw.example.com\"",
            _ => "\"https://minio.example.com:9000\"",
        }
    }
}

/// `s3 = { … }`.
#[derive(Debug, Clone)]
pub struct S3Settings {
    /// The bucket, which must exist.
    pub bucket: String,
    /// The region to sign for.
    pub region: String,
    /// Where the service is, `https://host[:port]` without a slash at the end; `None` only for Amazon's own.
    pub endpoint: Option<String>,
    /// What every key begins with, without slash at either end; empty for the root of the bucket.
    pub prefix: String,
    /// Whether the bucket goes into the path instead of the host name.
    pub path_style: bool,
    /// Whether SHA-256 checksums are sent along with the bytes.
    pub sends_checksums: bool,
    /// The identifier of the key pair.
    pub access_key: Secret,
    /// The secret of the key pair.
    pub secret_key: Secret,
    /// How snapshots are locked until retention lets them go; `None` locks nothing.
    pub object_lock: Option<LockMode>,
}

const ACCESS_KEY_VARIABLE: &str = "AWS_ACCESS_KEY_ID";
const SECRET_KEY_VARIABLE: &str = "AWS_SECRET_ACCESS_KEY";
const SESSION_TOKEN_VARIABLE: &str = "AWS_SESSION_TOKEN";

pub(crate) fn read(section: &Section<'_>, reading: &mut Reading<'_>) -> Option<S3Settings> {
    let profile = section.one_of(reading, "profile").map(S3Profile::named);
    let bucket = section.parsed(reading, "bucket", |_, text, _| parse_bucket(text));
    let prefix = section.parsed(reading, "prefix", |_, text, _| parse_prefix(text));
    let region = read_region(section, reading, profile);
    let endpoint = read_endpoint(section, reading, profile, region.as_deref());
    let path_style = read_path_style(section, reading, profile);
    let (access_key, secret_key) = read_key_pair(section, reading);
    let object_lock = section.one_of(reading, "object_lock").map(lock_mode);
    Some(S3Settings {
        bucket: bucket?,
        region: region?,
        endpoint,
        prefix: prefix?,
        path_style: path_style?,
        sends_checksums: profile?.sends_checksums(),
        access_key: access_key?,
        secret_key: secret_key?,
        object_lock,
    })
}

fn lock_mode(word: &str) -> LockMode {
    match word {
        "compliance" => LockMode::Compliance,
        _ => LockMode::Governance,
    }
}

fn read_region(
    section: &Section<'_>,
    reading: &mut Reading<'_>,
    profile: Option<S3Profile>,
) -> Option<String> {
    let key = section.key_path("region");
    if section.has("region") {
        return section.simple(reading, "region", |text| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            (!text.is_empty() && text.chars().all(plain)).then(|| text.to_owned())
        });
    }
    let profile = profile?;
    let region = profile.region();
    if let Some(region) = region {
        reading.holds(&key, region, Origin::Default);
    } else {
        let expected = format!("the region of the bucket, such as \"{}\"", profile.region_form());
        reading.problem(section.place(), &key, "nothing", expected);
    }
    region.map(str::to_owned)
}

/// `None` for Amazon's own, and where something was wrong.
fn read_endpoint(
    section: &Section<'_>,
    reading: &mut Reading<'_>,
    profile: Option<S3Profile>,
    region: Option<&str>,
) -> Option<String> {
    let key = section.key_path("endpoint");
    if section.has("endpoint") {
        let url = section.url(reading, "endpoint", "the data")?;
        if url.path() != "/" {
            let place = section.place_of(reading, "endpoint");
            let expected = "an endpoint without a path: the bucket and the prefix have keys of their own";
            reading.problem(place, &key, format!("a URL with the path {}", quoted(url.path())), expected);
        }
        return Some(url.origin().ascii_serialization());
    }
    match profile? {
        S3Profile::Aws => {}
        S3Profile::B2 => {
            let endpoint = format!("https://s3.{}.backblazeb2.com", region?);
            reading.holds(&key, endpoint.as_str(), Origin::Default);
            return Some(endpoint);
        }
        other => {
            let expected = format!("where the service is, such as {}", other.endpoint_form());
            reading.problem(section.place(), &key, "nothing", expected);
        }
    }
    None
}

fn read_path_style(
    section: &Section<'_>,
    reading: &mut Reading<'_>,
    profile: Option<S3Profile>,
) -> Option<bool> {
    if section.has("path_style") {
        return section.flag(reading, "path_style");
    }
    let path_style = profile?.path_style();
    reading.holds(&section.key_path("path_style"), path_style.to_string(), Origin::Default);
    Some(path_style)
}

/// Both of the pair from the settings, or else both from the variables that every S3 tool knows.
fn read_key_pair(section: &Section<'_>, reading: &mut Reading<'_>) -> (Option<Secret>, Option<Secret>) {
    let (access, secret) = ("access_key", "secret_key");
    match (section.has(access), section.has(secret)) {
        (true, true) => (read_secret(section, reading, access), read_secret(section, reading, secret)),
        (true, false) => lone(section, reading, access, secret),
        (false, true) => lone(section, reading, secret, access),
        (false, false) => {
            warn_of_session_token(section, reading);
            (
                variable_or_problem(section, reading, access, ACCESS_KEY_VARIABLE),
                variable_or_problem(section, reading, secret, SECRET_KEY_VARIABLE),
            )
        }
    }
}

fn lone(
    section: &Section<'_>,
    reading: &mut Reading<'_>,
    given: &str,
    missing: &str,
) -> (Option<Secret>, Option<Secret>) {
    let found = format!("nothing, beside `{given}`");
    reading.problem(section.place(), &section.key_path(missing), found, "both of the pair, or neither");
    // Read all the same, for its own problems.
    drop(read_secret(section, reading, given));
    (None, None)
}

fn variable_or_problem(
    section: &Section<'_>,
    reading: &mut Reading<'_>,
    name: &str,
    variable: &str,
) -> Option<Secret> {
    if reading.environment.get(variable).is_none() {
        let found = format!("nothing, and no variable {variable} in the environment");
        let expected =
            "{ credential = \"NAME\" }, { file = \"PATH\" } or { env = \"NAME\" }, or that variable";
        reading.problem(section.place(), &section.key_path(name), found, expected);
        return None;
    }
    default_variable(section, reading, name, variable)
}

fn warn_of_session_token(section: &Section<'_>, reading: &mut Reading<'_>) {
    if reading.environment.get(SESSION_TOKEN_VARIABLE).is_some() {
        let place = Place::Environment { variable: SESSION_TOKEN_VARIABLE.to_owned() };
        let text = "a session token is not used, and its key pair does not work without it; give a key pair of its own \
                    to the destination";
        reading.warn(place, section.path(), text);
    }
}

fn parse_bucket(text: &str) -> Result<String, Refusal> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if (3..=63).contains(&text.len())
        && text.chars().all(plain)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
    {
        return Ok(text.to_owned());
    }
    Err(Refusal::expected("the name of a bucket: 3 to 63 of a-z, 0-9, `-`, `.`, without a path"))
}

/// Keys are the prefix, a slash and the rest: a prefix with slashes or dots at odd places would make keys that a
/// listing or a gateway reads as others.
fn parse_prefix(text: &str) -> Result<String, Refusal> {
    let clean = |part: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.=+@".contains(c);
        !part.is_empty() && part != "." && part != ".." && part.chars().all(plain)
    };
    if text.len() <= 200 && (text.is_empty() || text.split('/').all(clean)) {
        return Ok(text.to_owned());
    }
    Err(Refusal::expected(
        "up to 200 characters without `/` at either end, `//`, `.` or `..` as a part, or spaces, such as \"convault\"",
    ))
}
