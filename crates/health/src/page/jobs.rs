//! A card for each job.

use convault_core::JobStatus;
use jiff::Timestamp;

use super::{
    card::{self, Rows},
    time,
};
use crate::{
    verdict::Verdict,
    words::{Escaped, count, size},
};

pub(super) fn card(job: &JobStatus, now: Timestamp) -> String {
    let verdict = Verdict::of_job(job, now);
    let mut rows = Rows::default();
    rows.add("Deployment", Escaped(&job.deployment).to_string());
    let schedule = job.schedule.as_ref().map(|schedule| format!("{schedule} {}", job.time_zone));
    rows.add("Schedule", Escaped(schedule.unwrap_or_else(|| "on request".to_owned())).to_string());
    rows.add("Next due", job.next_due.map_or_else(|| "–".to_owned(), |due| time(due, now)));
    let success = job.last_success.as_ref();
    rows.add(
        "Last good snapshot",
        success.and_then(|run| run.finished).map_or("never".to_owned(), |at| time(at, now)),
    );
    if let Some(run) = success {
        rows.add("Documents", count(run.documents));
        rows.add("Files", count(run.files));
        rows.add("Read", size(run.read_bytes));
    }
    let destinations: Vec<_> = job.destinations.iter().map(ToString::to_string).collect();
    rows.add("To", Escaped(destinations.join(", ")).to_string());
    let message = job
        .last_attempt
        .as_ref()
        .filter(|_| verdict.class != "good")
        .map(|run| format!("<p class=\"note {}\">{}</p>", verdict.class, Escaped(&run.message)));
    card::card(&job.job, verdict, job.running.is_some(), rows, &message.unwrap_or_default())
}
