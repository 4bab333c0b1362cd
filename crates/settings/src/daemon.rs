//! `[daemon]`: how the daemon itself runs.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use convault_core::{DestinationName, MIN_PART_BYTES, Secret};

use crate::{
    effective::Origin,
    keys::Form,
    problem::Place,
    quantity,
    reading::{Reading, Refusal},
    secret::read_secret,
    section::Section,
};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, journald where standard error is connected to it, else JSON.
    Auto,
    /// One readable line per event, with its time.
    Text,
    /// One JSON object per line.
    Json,
    /// One line per event without a time, with the level as systemd's `<N>` prefix.
    Journald,
}

/// `[daemon]`.
#[derive(Debug, Clone)]
pub struct DaemonSettings {
    /// Where health, metrics and status are served.
    pub listen: SocketAddr,
    /// The folder of the run history, absolute.
    pub state_dir: PathBuf,
    /// The Unix socket that acting verbs use, absolute.
    pub socket: PathBuf,
    /// Who shows this may act over HTTP; without it nobody may.
    pub token: Option<Secret>,
    /// How log lines look.
    pub log: LogFormat,
    /// A level, or several with targets (`info,convault_uploader=debug`).
    pub log_level: String,
    /// The most that part buffers of all uploads together may take, bytes; at least 20 MiB for each run at once.
    pub upload_memory_bytes: u64,
    /// How long a destination may take nothing before it is dropped from the stream.
    pub stall_limit: Duration,
    /// How many runs may go on at once.
    pub runs_at_once: u32,
    /// How long running jobs are waited for at stop.
    pub stop_grace: Duration,
    /// The S3 destination where leases live; `None` for a daemon that works alone.
    pub coordinate_in: Option<DestinationName>,
    /// How long a lease holds without being renewed; renewed after a third of it.
    pub lease: Duration,
    /// The most that this clock may differ from a destination's before nothing is deleted there any more.
    pub clock_skew_limit: Duration,
}

/// Two parts for a snapshot and two for its index.
pub(crate) const LEAST_UPLOAD_MEMORY_BYTES: u64 = 4 * MIN_PART_BYTES;
const SECOND: Duration = Duration::from_secs(1);
/// A third of it, the heartbeat, is then a minute: a slow answer or two do not lose the lease.
const SHORTEST_LEASE: Duration = Duration::from_mins(3);
/// More runs than this at once would only wait for each other.
const MOST_RUNS_AT_ONCE: u32 = 64;
/// `sun_path` of unix(7) holds 108 bytes, the last of which is zero.
const LONGEST_SOCKET_PATH_BYTES: usize = 107;
/// A shorter token can be guessed over the network.
const SHORTEST_TOKEN: usize = 16;

/// Reads `[daemon]`; `state_dir` and `coordinate_in` come out even where the rest is wrong, since destinations are
/// checked by the one and the other by destinations.
pub(crate) fn read(
    section: &Section<'_>,
    reading: &mut Reading<'_>,
) -> (Option<DaemonSettings>, Option<PathBuf>, Option<DestinationName>) {
    let state_dir = section.path_value(reading, "state_dir");
    let coordinate_in = section.simple(reading, "coordinate_in", |text| DestinationName::new(text).ok());
    let settings = read_with(section, reading, state_dir.clone(), coordinate_in.clone());
    (settings, state_dir, coordinate_in)
}

fn read_with(
    section: &Section<'_>,
    reading: &mut Reading<'_>,
    state_dir: Option<PathBuf>,
    coordinate_in: Option<DestinationName>,
) -> Option<DaemonSettings> {
    let listen = section.simple(reading, "listen", |text| text.parse().ok());
    let socket = read_socket(section, reading);
    let token = read_token(section, reading, listen);
    let log = section.one_of(reading, "log");
    let log_level = section.parsed(reading, "log_level", |_, text, _| parse_log_level(text));
    let upload_memory = section.parsed(reading, "upload_memory", |_, text, _| parse_upload_memory(text));
    let stall_limit = section.duration(reading, "stall_limit", SECOND);
    let runs_at_once = section.count(reading, "runs_at_once", 1..MOST_RUNS_AT_ONCE + 1);
    let stop_grace = section.duration(reading, "stop_grace", SECOND);
    let lease = section.duration(reading, "lease", SHORTEST_LEASE);
    let clock_skew_limit = section.duration(reading, "clock_skew_limit", SECOND);
    Some(DaemonSettings {
        listen: listen?,
        state_dir: state_dir?,
        socket: socket?,
        token,
        log: match log? {
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            "journald" => LogFormat::Journald,
            _ => LogFormat::Auto,
        },
        log_level: log_level?,
        upload_memory_bytes: upload_memory?,
        stall_limit: stall_limit?,
        runs_at_once: runs_at_once?,
        stop_grace: stop_grace?,
        coordinate_in,
        lease: lease?,
        clock_skew_limit: clock_skew_limit?,
    })
}

fn read_socket(section: &Section<'_>, reading: &mut Reading<'_>) -> Option<PathBuf> {
    let socket = section.path_value(reading, "socket")?;
    let length = socket.as_os_str().len();
    if length <= LONGEST_SOCKET_PATH_BYTES {
        return Some(socket);
    }
    let place = section.place_of(reading, "socket");
    let expected = format!("at most {LONGEST_SOCKET_PATH_BYTES} bytes, the longest path of a socket");
    reading.problem(place, &section.key_path("socket"), format!("a path of {length} bytes"), expected);
    None
}

fn read_token(
    section: &Section<'_>,
    reading: &mut Reading<'_>,
    listen: Option<SocketAddr>,
) -> Option<Secret> {
    let place = section.place_of(reading, "token");
    let token = read_secret(section, reading, "token");
    if let Some(token) = &token {
        let sendable = token.expose().bytes().all(|byte| byte.is_ascii_graphic());
        if token.expose().len() < SHORTEST_TOKEN || !sendable {
            let key = section.key_path("token");
            let expected = "16 or more letters, digits or signs, such as `openssl rand -hex 32` makes";
            reading.problem(place, &key, "a token that is too short or cannot be sent in a header", expected);
        }
    } else if let Some(address) = listen.filter(|address| !address.ip().is_loopback())
        && !section.has("token")
    {
        let place = listen_place(section, reading);
        let text = format!(
            "{address} can be reached from other machines, and without `token` anyone who reaches it can read the \
             status; nobody can act over HTTP"
        );
        reading.warn(place, &section.key_path("listen"), text);
    }
    token
}

fn listen_place(section: &Section<'_>, reading: &mut Reading<'_>) -> Place {
    let key = section.key_path("listen");
    match reading.effective.iter().find(|effective| effective.key == key).map(|effective| &effective.origin) {
        Some(Origin::Environment { variable }) => Place::Environment { variable: variable.clone() },
        _ => section.place_of(reading, "listen"),
    }
}

fn parse_upload_memory(text: &str) -> Result<u64, Refusal> {
    let bytes = quantity::size_bytes(text).ok_or_else(|| Refusal::expected(Form::Size.expected()))?;
    if bytes < LEAST_UPLOAD_MEMORY_BYTES {
        return Err(Refusal::expected(
            "20MiB or more: two parts of 5 MiB, the smallest that S3 takes, for a snapshot and two for its index",
        ));
    }
    Ok(bytes)
}

/// A level, or a comma-separated list of `level` and `target=level`, as `tracing` reads it.
fn parse_log_level(text: &str) -> Result<String, Refusal> {
    let is_level = |word: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&word);
    let is_target =
        |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "_:".contains(c));
    let is_directive = |part: &str| match part.split_once('=') {
        Some((target, level)) => is_target(target) && is_level(level),
        None => is_level(part),
    };
    if text.split(',').all(is_directive) {
        return Ok(text.to_owned());
    }
    Err(Refusal::expected(Form::LogLevel.expected()))
}
