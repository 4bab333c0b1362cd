//! A card for each job.

use std::fmt::Write as _;

use convault_core::JobStatus;
use jiff::Timestamp;

use super::time;
use crate::{
    verdict::Verdict,
    words::{Escaped, count, size},
};

pub(super) fn card(job: &JobStatus, now: Timestamp) -> String {
    let Verdict { class, word } = Verdict::of_job(job, now);
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
