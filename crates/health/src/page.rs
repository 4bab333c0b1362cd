//! `/`: the status page, made on the server, without a script and without anything from elsewhere.

mod card;
mod destinations;
mod drills;
mod history;
mod jobs;
mod mirrors;
mod watching;

use std::{collections::BTreeSet, sync::LazyLock};

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use convault_core::{CoordinationStatus, DeploymentName, RunRecord, Sha256, Status};
use jiff::Timestamp;

use crate::{
    attention::{Concern, concerns},
    intervals::Intervals,
    router::Shared,
    words::{Escaped, count, relative, with_code},
};

const STYLE: &str = include_str!("page.css");

/// Runs shown.
const RUNS_SHOWN: usize = 20;

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

fn whole(status: &Status, runs: &Result<Vec<RunRecord>, String>) -> String {
    let concerns = concerns(status);
    let intervals = Intervals::of(status);
    let cards: String = status.jobs.iter().map(|job| jobs::card(job, status.now)).collect();
    let places: String =
        status.destinations.iter().map(|place| destinations::card(place, status, &intervals)).collect();
    let history = match runs {
        Ok(runs) if runs.is_empty() => "<p class=\"soft\">No run yet.</p>".to_owned(),
        Ok(runs) => history::history(runs, status.now),
        Err(error) => format!("<p class=\"note bad\">{}</p>", Escaped(error)),
    };
    format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta http-equiv=\"refresh\" content=\"15\"><style>{STYLE}</style></head><body>\
         <header><h1>Convault</h1><span class=\"soft\">{version} · started {started}</span></header><main>{banner}\
         <h2>Jobs</h2><div class=\"cards\">{cards}</div>\
         <h2>Destinations</h2><div class=\"places\">{places}</div>{mirrors}{drills}{watching}{sharing}\
         <h2>Runs</h2>{history}</main>\
         <footer>As of {now}. <a href=\"/metrics\">Metrics</a> · <a href=\"/api/v1/status\">Status as JSON</a> · \
         <a href=\"/api/v1/openapi.json\">API</a></footer></body></html>\n",
        title = title(concerns.len()),
        version = Escaped(&status.version),
        started = relative(status.started, status.now),
        banner = banner(&concerns, status),
        mirrors = mirrors::cards(&status.mirrors, status.now),
        drills = drills::cards(status),
        watching = watching::cards(status),
        sharing = status.coordination.as_ref().map(sharing).unwrap_or_default(),
        now = to_the_second(status.now),
    )
}

/// What is wrong comes first in a row of browser tabs.
fn title(concerns: usize) -> String {
    match concerns {
        0 => "Convault".to_owned(),
        number => format!("({number}) Convault"),
    }
}

fn banner(concerns: &[Concern], status: &Status) -> String {
    let Some(worst) = concerns.first() else {
        let waiting = without_a_snapshot(status);
        if waiting.is_empty() {
            return "<div class=\"banner good\">All is well.</div>".to_owned();
        }
        let names = Escaped(waiting.join(", "));
        return format!(
            "<div class=\"banner info\">Nothing is wrong, but there is no snapshot yet of {names}.</div>"
        );
    };
    let class = if worst.urgent { "bad" } else { "warn" };
    let items: Vec<_> = concerns.iter().map(item).collect();
    format!("<div class=\"banner {class}\">Needs attention<ul>{}</ul></div>", items.concat())
}

/// Deployments that a job protects and of which no good snapshot is known: nothing is well before there is one.
fn without_a_snapshot(status: &Status) -> Vec<&str> {
    let has_one = |name: &DeploymentName| {
        let mut held = status.destinations.iter().filter_map(|place| place.holdings.get(name));
        held.any(|holding| holding.count("good") > 0)
            || status.jobs.iter().any(|job| job.deployment == *name && job.last_success.is_some())
    };
    let names: BTreeSet<&DeploymentName> = status.jobs.iter().map(|job| &job.deployment).collect();
    names.into_iter().filter(|name| !has_one(name)).map(DeploymentName::as_str).collect()
}

fn item(concern: &Concern) -> String {
    let what = Escaped(&concern.what);
    let class = if concern.urgent { "urgent" } else { "mild" };
    let remedy = with_code(&concern.remedy);
    let remedy = if remedy.is_empty() { remedy } else { format!("<div class=\"remedy\">{remedy}</div>") };
    format!("<li class=\"{class}\">{what}{remedy}</li>")
}

/// How the work is shared with other daemons.
fn sharing(shared: &CoordinationStatus) -> String {
    let held: Vec<_> = shared.held.keys().map(ToString::to_string).collect();
    let held = if held.is_empty() { "nothing".to_owned() } else { held.join(", ") };
    let lost = if shared.lost == 0 { "good" } else { "warn" };
    format!(
        "<h2>Shared work</h2><div class=\"cards\"><div class=\"card\"><dl><dt>This daemon</dt><dd>{}</dd><dt>Leases are in</dt><dd>{}</dd>\
         <dt>It holds now</dt><dd>{}</dd><dt>Runs left to others</dt><dd>{}</dd>\
         <dt>Leases lost</dt><dd><span class=\"pill {lost}\">{}</span></dd></dl></div></div>",
        Escaped(&shared.instance),
        Escaped(&shared.destination),
        Escaped(held),
        count(shared.left_to_others),
        count(shared.lost),
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
