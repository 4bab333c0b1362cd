//! The newest runs.

use convault_core::{RunOutcome, RunRecord, Verb};
use jiff::Timestamp;

use super::time;
use crate::{
    verdict::Verdict,
    words::{Escaped, count, size, span},
};

pub(super) fn history(runs: &[RunRecord], now: Timestamp) -> String {
    let rows: String = runs.iter().map(|run| row(run, now)).collect();
    format!(
        "<div class=\"table\"><table><tr><th>Began</th><th>Job</th><th>Outcome</th><th class=\"number\">Took</th>\
         <th class=\"number\">Documents</th><th class=\"number\">Read</th><th>What happened</th></tr>{rows}</table></div>"
    )
}

fn row(run: &RunRecord, now: Timestamp) -> String {
    let class = Verdict::class_of(run.outcome);
    let took = run.finished.unwrap_or(now).duration_since(run.started);
    let warnings: Vec<_> =
        run.warnings.iter().map(|text| format!("<div class=\"soft\">⚠ {}</div>", Escaped(text))).collect();
    format!(
        "<tr><td data-name=\"Began\">{}</td><td data-name=\"Job\">{}{}</td>\
         <td data-name=\"Outcome\"><span class=\"pill {class}\">{}</span></td>\
         <td class=\"number\" data-name=\"Took\">{}</td><td class=\"number\" data-name=\"Documents\">{}</td>\
         <td class=\"number\" data-name=\"Read\">{}</td><td class=\"message\"><div>{}{}</div></td></tr>",
        time(run.started, now),
        Escaped(&run.job),
        verb(run.verb),
        run.outcome.map_or("running", RunOutcome::as_str),
        span(took),
        count(run.documents),
        size(run.read_bytes),
        Escaped(&run.message),
        warnings.concat(),
    )
}

/// What is not a backup is named.
fn verb(verb: Verb) -> &'static str {
    match verb {
        Verb::Backup => "",
        Verb::Verify => " <span class=\"soft\">verify</span>",
        Verb::Prune => " <span class=\"soft\">prune</span>",
        Verb::Repair => " <span class=\"soft\">repair</span>",
        Verb::Mirror => " <span class=\"soft\">mirror</span>",
        Verb::Watch => " <span class=\"soft\">watch</span>",
        Verb::Drill => " <span class=\"soft\">drill</span>",
        Verb::Restore => " <span class=\"soft\">restore</span>",
    }
}
