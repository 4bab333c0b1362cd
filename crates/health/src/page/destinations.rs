//! A card for each destination: what its store can do, and what it holds of each deployment.

use convault_core::{
    Abilities, Ability, DeploymentName, DestinationStatus, HoldingStatus, Status, VerifyStatus,
};
use jiff::Timestamp;

use super::time;
use crate::{
    attention::{seconds, verify_of},
    intervals::Intervals,
    words::{Escaped, STATES, ability, count, relative, size, span},
};

pub(super) fn card(place: &DestinationStatus, status: &Status, intervals: &Intervals<'_>) -> String {
    let (class, word) = match place.up {
        Some(true) => ("good", "up"),
        Some(false) => ("bad", "down"),
        None => ("info", "not used yet"),
    };
    let problem = place.problem.as_ref().filter(|_| place.up == Some(false));
    let problem =
        problem.map(|text| format!("<p class=\"note bad\">{}</p>", Escaped(text))).unwrap_or_default();
    let used = place.checked.map_or_else(String::new, |at| format!(" · used {}", time(at, status.now)));
    format!(
        "<div class=\"card place\"><div class=\"head\"><h3>{}</h3><span class=\"pill {class}\">{word}</span></div>\
         <p class=\"soft\">{}{used}</p>{problem}{}{}</div>",
        Escaped(&place.destination),
        Escaped(&place.location),
        place.abilities.as_ref().map(what_it_can).unwrap_or_default(),
        holdings(place, status, intervals),
    )
}

/// What protects what is stored, or does not. The rest of the abilities changes nothing for a person.
fn what_it_can(seen: &Abilities) -> String {
    let pills = [
        pill("versions", seen.versions),
        pill("locks", seen.locks),
        pill("conditional writes", conditional_writes(seen)),
        pill("checksums", seen.checksums),
    ];
    let lock = seen.default_lock.map(|lock| {
        format!(" <span class=\"pill warn\">locks every new object for {} d by itself</span>", lock.days)
    });
    format!("<p class=\"pills\">{}{}</p>", pills.join(" "), lock.unwrap_or_default())
}

/// The worst of them: one that is ignored makes all of them worthless.
fn conditional_writes(seen: &Abilities) -> Ability {
    let all = [seen.put_if_absent, seen.finish_if_absent, seen.replace_if_match];
    [Ability::Ignored, Ability::Refused]
        .into_iter()
        .find(|worst| all.contains(worst))
        .unwrap_or(Ability::Works)
}

fn pill(name: &str, result: Ability) -> String {
    match result {
        Ability::Works => format!("<span class=\"pill good\">{name}</span>"),
        Ability::Refused => format!("<span class=\"pill info\">no {name}</span>"),
        Ability::Ignored => format!("<span class=\"pill warn\">{name} {}</span>", ability(result)),
    }
}

fn holdings(place: &DestinationStatus, status: &Status, intervals: &Intervals<'_>) -> String {
    if place.holdings.is_empty() {
        return "<p class=\"soft\">What it holds is not known yet.</p>".to_owned();
    }
    let rows: String = place
        .holdings
        .iter()
        .map(|(deployment, holding)| {
            let task = verify_of(status, place, deployment);
            row(deployment, holding, task, status.now, intervals)
        })
        .collect();
    format!(
        "<div class=\"scroll\"><table><tr><th>Deployment</th><th>Snapshots</th><th>Newest good</th>\
         <th class=\"number\">Stored</th><th>Verified</th><th>All bytes read</th></tr>{rows}</table></div>"
    )
}

fn row(
    deployment: &DeploymentName,
    holding: &HoldingStatus,
    task: Option<&VerifyStatus>,
    now: Timestamp,
    intervals: &Intervals<'_>,
) -> String {
    let newest = holding.newest_good.map_or("never".to_owned(), |at| time(at, now));
    format!(
        "<tr><td data-name=\"Deployment\"><strong>{}</strong></td><td data-name=\"Snapshots\">{}</td>\
         <td data-name=\"Newest good\">{newest}</td><td class=\"number\" data-name=\"Stored\">{}</td>\
         <td data-name=\"Verified\">{}</td><td data-name=\"All bytes read\">{}</td></tr>",
        Escaped(deployment),
        states(holding),
        size(holding.stored_bytes),
        verified(holding, task, now, intervals),
        read(holding, task, now, intervals),
    )
}

/// The good ones always, the other states where there are any.
fn states(holding: &HoldingStatus) -> String {
    let nothing = holding.states.values().all(|number| *number == 0);
    let told = STATES.into_iter().filter_map(|state| {
        let number = holding.count(state);
        let class = match state {
            "good" if number > 0 => "good",
            "good" if nothing => "info",
            "good" | "damaged" | "headless" | "unreadable" | "untrusted" => "bad",
            "suspect" => "warn",
            _ => "info",
        };
        (number > 0 || state == "good")
            .then(|| format!("<span class=\"pill {class}\">{} {state}</span>", count(number)))
    });
    let frozen = holding.frozen_since.map(|_| "<span class=\"pill bad\">pruning frozen</span>".to_owned());
    let held_back = (!holding.held_back.is_empty())
        .then(|| "<span class=\"pill warn\">pruning held back</span>".to_owned());
    let all: Vec<_> = told.chain(frozen).chain(held_back).collect();
    format!("<span class=\"pills\">{}</span>", all.join(" "))
}

fn verified(
    holding: &HoldingStatus,
    task: Option<&VerifyStatus>,
    now: Timestamp,
    intervals: &Intervals<'_>,
) -> String {
    let last = holding.last_verified.map_or("never".to_owned(), |at| time(at, now));
    let Some(task) = task else { return format!("<div>{last}<div class=\"soft\">no schedule</div></div>") };
    let next = task.next_due.map_or_else(String::new, |due| format!(", next {}", relative(due, now)));
    format!(
        "<div>{}<div class=\"soft\">{}{next}</div></div>",
        marked(last, intervals.is_overdue(task, holding)),
        Escaped(&task.schedule)
    )
}

fn read(
    holding: &HoldingStatus,
    task: Option<&VerifyStatus>,
    now: Timestamp,
    intervals: &Intervals<'_>,
) -> String {
    let Some(oldest) = holding.oldest_read else { return "–".to_owned() };
    let within = format!("within {}", span(now.duration_since(oldest)));
    let Some(task) = task else { return within };
    format!(
        "<div>{}<div class=\"soft\">{} allowed</div></div>",
        marked(within, intervals.is_reading_overdue(task, holding)),
        span(seconds(task.read_all_within_seconds))
    )
}

fn marked(text: String, overdue: bool) -> String {
    if overdue { format!("{text} <span class=\"pill bad\">overdue</span>") } else { text }
}
