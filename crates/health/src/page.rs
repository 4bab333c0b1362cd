//! `/`: the status page, made on the server, without a script and without anything from elsewhere.

use std::{fmt::Write as _, sync::LazyLock};

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use convault_core::{DestinationStatus, JobStatus, RunOutcome, RunRecord, Sha256, Status};
use jiff::Timestamp;

use crate::{
    router::Shared,
    words::{Escaped, count, relative, size, span},
};

const STYLE: &str = include_str!("page.css");

/// Runs shown.
const RUNS_SHOWN: usize = 20;

/// How much later than its expected interval a snapshot may be before the page calls the job late: the same half
/// hour as in the alert rules, for the run itself and its jitter.
const LATE_AFTER_SECONDS: f64 = 1800.0;

/// Nothing but the one style above: no script, no image, no form, no frame around it.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = BASE64_STANDARD.encode(Sha256::of(STYLE.as_bytes()).0);
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// The page. Loads itself anew every 15 seconds.
pub(crate) async fn page(State(shared): State<Shared>) -> Response {
    let status = shared.control.status();
    let runs = shared.control.runs(RUNS_SHOWN).await.map_err(|error| error.to_string());
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY.as_str()),
    ];
    (headers, whole(&status, &runs)).into_response()
}

/// How something is to be seen: a colour and a word.
struct Verdict {
    class: &'static str,
    word: &'static str,
}

fn whole(status: &Status, runs: &Result<Vec<RunRecord>, String>) -> String {
    let cards: String = status.jobs.iter().map(|job| card(job, status.now)).collect();
    let places: String = status.destinations.iter().map(|place| place_row(place, status.now)).collect();
    let history = match runs {
        Ok(runs) if runs.is_empty() => "<p class=\"soft\">No run yet.</p>".to_owned(),
        Ok(runs) => history(runs, status.now),
        Err(error) => format!("<p class=\"note bad\">{}</p>", Escaped(error)),
    };
    format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta http-equiv=\"refresh\" content=\"15\"><style>{STYLE}</style></head><body>\
         <header><h1>Convault</h1><span class=\"soft\">{version} · started {started}</span></header><main>{banner}\
         <h2>Jobs</h2><div class=\"cards\">{cards}</div>\
         <h2>Destinations</h2><div class=\"table\"><table><tr><th>Destination</th><th>State</th>\
         <th class=\"number\">Snapshots</th><th class=\"number\">Stored</th><th>Last used</th></tr>{places}</table></div>\
         <h2>Runs</h2>{history}</main>\
         <footer>As of {now}. <a href=\"/metrics\">Metrics</a> · <a href=\"/api/v1/status\">Status as JSON</a> · \
         <a href=\"/api/v1/openapi.json\">API</a></footer></body></html>\n",
        title = Escaped(title(status)),
        version = Escaped(&status.version),
        started = relative(status.started, status.now),
        banner = banner(status),
        now = to_the_second(status.now),
    )
}

/// What is wrong comes first in a row of browser tabs.
fn title(status: &Status) -> String {
    match problems(status).len() {
        0 => "Convault".to_owned(),
        number => format!("({number}) Convault"),
    }
}

/// Everything that a person should look at, each as a sentence.
fn problems(status: &Status) -> Vec<String> {
    let jobs = status.jobs.iter().filter_map(|job| {
        let verdict = verdict(job, status.now);
        (verdict.class == "bad" || verdict.class == "warn")
            .then(|| format!("Job {}: {}.", job.job, verdict.word))
    });
    let down = status.destinations.iter().filter(|place| place.up == Some(false));
    let places = down.map(|place| format!("Destination {}: down.", place.destination));
    status.not_ready.iter().cloned().chain(jobs).chain(places).collect()
}

fn banner(status: &Status) -> String {
    let problems = problems(status);
    if problems.is_empty() {
        return "<div class=\"banner good\">All is well.</div>".to_owned();
    }
    let items: Vec<_> = problems.iter().map(|problem| format!("<li>{}</li>", Escaped(problem))).collect();
    format!("<div class=\"banner bad\">Needs attention<ul>{}</ul></div>", items.concat())
}

fn verdict(job: &JobStatus, now: Timestamp) -> Verdict {
    let age = job
        .last_success
        .as_ref()
        .and_then(|run| run.finished)
        .map(|time| now.duration_since(time).as_secs_f64());
    let late =
        age.zip(job.expected_interval_seconds).is_some_and(|(age, limit)| age > limit + LATE_AFTER_SECONDS);
    let last = job.last_attempt.as_ref().and_then(|run| run.outcome);
    let (class, word) = match last {
        Some(RunOutcome::Failed) => ("bad", "last run failed"),
        Some(RunOutcome::Suspect) => ("bad", "last snapshot is suspect"),
        Some(RunOutcome::Interrupted) => ("bad", "last run was interrupted"),
        _ if late => ("bad", "backup is late"),
        Some(RunOutcome::Partial) => ("warn", "a destination has no snapshot of the last run"),
        Some(RunOutcome::Cancelled) => ("warn", "last run was cancelled"),
        Some(RunOutcome::Good) => ("good", "good"),
        None => ("info", "no run yet"),
    };
    Verdict { class, word }
}

fn card(job: &JobStatus, now: Timestamp) -> String {
    let Verdict { class, word } = verdict(job, now);
    let running = job.running.as_ref().map_or("", |_| "<span class=\"pill info\">running</span> ");
    let mut rows = String::new();
    let mut row = |name: &str, value: String| {
        write!(rows, "<dt>{name}</dt><dd>{value}</dd>").expect("writing to a String cannot fail");
    };
    row("Deployment", Escaped(&job.deployment).to_string());
    let schedule = job.schedule.as_ref().map(|schedule| format!("{schedule} {}", job.time_zone));
    row("Schedule", Escaped(schedule.unwrap_or_else(|| "on request".to_owned())).to_string());
    row("Next due", job.next_due.map_or_else(|| "–".to_owned(), |due| time(due, now)));
    let success = job.last_success.as_ref();
    row(
        "Last good snapshot",
        success.and_then(|run| run.finished).map_or("never".to_owned(), |at| time(at, now)),
    );
    if let Some(run) = success {
        row("Documents", count(run.documents));
        row("Files", count(run.files));
        row("Read", size(run.read_bytes));
    }
    let destinations: Vec<_> = job.destinations.iter().map(ToString::to_string).collect();
    row("To", Escaped(destinations.join(", ")).to_string());
    let message = job
        .last_attempt
        .as_ref()
        .filter(|_| class != "good")
        .map(|run| format!("<p class=\"note {class}\">{}</p>", Escaped(&run.message)));
    format!(
        "<div class=\"card\"><div class=\"head\"><h3>{}</h3><span>{running}<span class=\"pill {class}\">{word}</span>\
         </span></div><dl>{rows}</dl>{}</div>",
        Escaped(&job.job),
        message.unwrap_or_default()
    )
}

fn place_row(place: &DestinationStatus, now: Timestamp) -> String {
    let (class, word) = match place.up {
        Some(true) => ("good", "up"),
        Some(false) => ("bad", "down"),
        None => ("info", "not used yet"),
    };
    let problem = place.problem.as_ref().filter(|_| place.up == Some(false));
    let problem =
        problem.map(|text| format!("<div class=\"note bad\">{}</div>", Escaped(text))).unwrap_or_default();
    let all = |state| place.holdings.values().map(|holding| holding.count(state)).sum::<u64>();
    let (good, suspect) = (all("good"), all("suspect"));
    let suspect = if suspect == 0 { String::new() } else { format!(" + {} suspect", count(suspect)) };
    format!(
        "<tr><td><strong>{}</strong><div class=\"soft\">{}</div></td><td><span class=\"pill {class}\">{word}</span>{problem}\
         </td><td class=\"number\">{}{suspect}</td><td class=\"number\">{}</td><td>{}</td></tr>",
        Escaped(&place.destination),
        Escaped(&place.location),
        count(good),
        size(place.holdings.values().map(|holding| holding.stored_bytes).sum()),
        place.checked.map_or("never".to_owned(), |at| time(at, now)),
    )
}

fn history(runs: &[RunRecord], now: Timestamp) -> String {
    let rows: String = runs.iter().map(|run| run_row(run, now)).collect();
    format!(
        "<div class=\"table\"><table><tr><th>Began</th><th>Job</th><th>Outcome</th><th class=\"number\">Took</th>\
         <th class=\"number\">Documents</th><th class=\"number\">Read</th><th>What happened</th></tr>{rows}</table></div>"
    )
}

fn run_row(run: &RunRecord, now: Timestamp) -> String {
    let class = match run.outcome {
        Some(RunOutcome::Good) => "good",
        Some(RunOutcome::Failed | RunOutcome::Suspect | RunOutcome::Interrupted) => "bad",
        Some(RunOutcome::Partial | RunOutcome::Cancelled) => "warn",
        None => "info",
    };
    let took = run.finished.unwrap_or(now).duration_since(run.started);
    let warnings: Vec<_> =
        run.warnings.iter().map(|text| format!("<div class=\"soft\">⚠ {}</div>", Escaped(text))).collect();
    format!(
        "<tr><td>{}</td><td>{}</td><td><span class=\"pill {class}\">{}</span></td><td class=\"number\">{}</td>\
         <td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"message\">{}{}</td></tr>",
        time(run.started, now),
        Escaped(&run.job),
        run.outcome.map_or("running", RunOutcome::as_str),
        span(took),
        count(run.documents),
        size(run.read_bytes),
        Escaped(&run.message),
        warnings.concat(),
    )
}

/// How long ago, with the time itself for who wants it.
fn time(time: Timestamp, now: Timestamp) -> String {
    let exact = to_the_second(time);
    format!("<time datetime=\"{exact}\" title=\"{exact}\">{}</time>", relative(time, now))
}

fn to_the_second(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
