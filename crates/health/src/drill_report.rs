//! One page about a drill, for whoever has to know that backups can be restored: as HTML, to be read and printed, and as
//! text. Made of the proof alone; the HTML has no script and loads nothing.

use std::fmt::Write as _;

use convault_core::{
    Comparison, DocumentFormat, DrillCheck, DrillProof, DrillRight, DrilledTable, ScratchKind,
};
use jiff::{SignedDuration, Timestamp};

use crate::words::{Escaped, count, size, span};

const STYLE: &str = include_str!("drill_report.css");

/// So many tables are listed, those with a difference first.
const TABLES_SHOWN: usize = 60;
/// So many failures are listed.
const FAILURES_SHOWN: usize = 40;

/// What a reader could take for proven.
const NOT_COVERED: &str = "Not covered: environment variables, pending scheduled functions and deployed code. A drill \
                           restores documents and stored files.";

/// The page as HTML. `place` is where the proof lies, `signed_by` the trusted key that signed it.
pub fn drill_report_html(proof: &DrillProof, place: &str, signed_by: Option<&str>) -> String {
    let (class, verdict) = verdict(proof);
    let row = |(name, value): &(&str, String)| {
        format!("<tr><th>{}</th><td>{}</td></tr>", Escaped(name), Escaped(value))
    };
    let facts = facts(proof, place, signed_by).iter().map(row).collect::<Vec<_>>().concat();
    let figure = |(value, words): &(String, String)| {
        format!("<div><b>{}</b><span>{}</span></div>", Escaped(value), Escaped(words))
    };
    let figures = figures(proof).iter().map(figure).collect::<Vec<_>>().concat();
    let mut body = String::new();
    if !proof.failures.is_empty() {
        body.push_str("<h2>What was not as it should be</h2><ul class=\"bad\">");
        for failure in failures(proof) {
            write!(body, "<li>{}</li>", Escaped(failure)).expect("writing to a String cannot fail");
        }
        body.push_str("</ul>");
    }
    body.push_str("<h2>What was checked</h2><table><thead><tr><th>Check</th><th class=\"n\">Compared</th><th class=\"n\">Wrong</th></tr></thead><tbody>");
    for check in &proof.checks {
        let wrong = if check.failed == 0 { "good" } else { "bad" };
        write!(
            body,
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n {wrong}\">{}</td></tr>",
            Escaped(check_words(check)),
            count(check.compared),
            count(check.failed)
        )
        .expect("writing to a String cannot fail");
    }
    body.push_str("</tbody></table><div class=\"two\"><div><h2>How long it took</h2><table><tbody>");
    for time in &proof.phases {
        let row = (Escaped(time.phase.as_str()), seconds(time.seconds));
        write!(body, "<tr><td>{}</td><td class=\"n\">{}</td></tr>", row.0, row.1)
            .expect("writing to a String cannot fail");
    }
    write!(
        body,
        "</tbody></table></div><div><h2>The facts</h2><table><tbody>{facts}</tbody></table></div></div>"
    )
    .expect("writing to a String cannot fail");
    body.push_str("<h2>What to know</h2><ul>");
    for note in notes(proof) {
        write!(body, "<li>{}</li>", Escaped(note)).expect("writing to a String cannot fail");
    }
    body.push_str("</ul>");
    body.push_str(&tables_html(proof));
    format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Restore drill {run}</title>\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <style>{STYLE}</style></head><body><header><h1>Restore drill of {deployment}</h1><p>{when}</p></header>\
         <div class=\"verdict {class}\">{verdict}</div><div class=\"figures\">{figures}</div>{body}\
         <footer>{footer}</footer></body></html>\n",
        run = Escaped(&proof.run),
        deployment = Escaped(&proof.deployment),
        when = Escaped(when(proof)),
        footer = Escaped(footer(proof)),
    )
}

fn tables_html(proof: &DrillProof) -> String {
    let mut rows = String::new();
    let shown = shown_tables(proof);
    for table in &shown {
        let class = if is_right(table) { "good" } else { "bad" };
        write!(
            rows,
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"{class}\">{}</td></tr>",
            Escaped(table_name(table)),
            count(table.sent),
            table.counted.map_or("–".to_owned(), count),
            Escaped(table_words(table)),
        )
        .expect("writing to a String cannot fail");
    }
    let more = more_tables(proof, shown.len());
    let more = more.map_or(String::new(), |more| format!("<p class=\"note\">{}</p>", Escaped(more)));
    format!(
        "<h2>Tables</h2><table><thead><tr><th>Table</th><th class=\"n\">Documents sent</th><th class=\"n\">Counted there</th>\
         <th>Content</th></tr></thead><tbody>{rows}</tbody></table>{more}"
    )
}

/// The page as plain text. `place` is where the proof lies, `signed_by` the trusted key that signed it.
pub fn drill_report_text(proof: &DrillProof, place: &str, signed_by: Option<&str>) -> String {
    let mut text = String::new();
    let mut line = |words: &str| {
        // Names come from the settings and the deployment; a terminal must not take any of it for commands.
        text.extend(words.chars().map(|character| if character.is_control() { ' ' } else { character }));
        text.push('\n');
    };
    line(&format!("Restore drill of {}", proof.deployment));
    line(&when(proof));
    line("");
    line(verdict(proof).1);
    for (value, words) in figures(proof) {
        line(&format!("  {value}: {words}"));
    }
    if !proof.failures.is_empty() {
        line("");
        line("What was not as it should be:");
        for failure in failures(proof) {
            line(&format!("  - {failure}"));
        }
    }
    line("");
    line("What was checked:");
    for check in &proof.checks {
        let (compared, failed) = (count(check.compared), count(check.failed));
        line(&format!("  - {}: {compared} compared, {failed} wrong", check_words(check)));
    }
    line("");
    line("How long it took:");
    for time in &proof.phases {
        line(&format!("  {:<9} {}", time.phase.as_str(), seconds(time.seconds)));
    }
    line("");
    for (name, value) in facts(proof, place, signed_by) {
        line(&format!("{name}: {value}"));
    }
    line("");
    line("What to know:");
    for note in notes(proof) {
        line(&format!("  - {note}"));
    }
    line("");
    line("Tables (sent, counted there, content):");
    let shown = shown_tables(proof);
    for table in &shown {
        let counted = table.counted.map_or("–".to_owned(), count);
        line(&format!("  {}: {}, {counted}, {}", table_name(table), count(table.sent), table_words(table)));
    }
    if let Some(more) = more_tables(proof, shown.len()) {
        line(&format!("  {more}"));
    }
    line("");
    line(&footer(proof));
    text
}

fn verdict(proof: &DrillProof) -> (&'static str, &'static str) {
    if proof.passed {
        ("good", "Passed: what was restored is what was stored.")
    } else {
        ("bad", "Not passed: something was not as it should be.")
    }
}

fn when(proof: &DrillProof) -> String {
    format!(
        "{} to {}, drill {}, run {}",
        moment(proof.started),
        moment(proof.finished),
        proof.drill,
        proof.run
    )
}

/// What is asked first: a value, and what it is.
fn figures(proof: &DrillProof) -> Vec<(String, String)> {
    let restored = match proof.restore_seconds {
        Some(time) => (seconds(time), "until the data was there (recovery time)".to_owned()),
        None => ("–".to_owned(), "the data was never there (recovery time)".to_owned()),
    };
    vec![
        restored,
        (seconds(proof.data_age_seconds), "age of the data when it began (recovery point)".to_owned()),
        (count(proof.totals.documents), format!("documents, in {} tables", count(proof.totals.tables))),
        (count(proof.totals.files), format!("stored files, {}", size(proof.totals.file_bytes))),
    ]
}

fn facts(proof: &DrillProof, place: &str, signed_by: Option<&str>) -> Vec<(&'static str, String)> {
    let target = &proof.target;
    let kind = match target.kind {
        ScratchKind::Deployment => "kept for drills",
        ScratchKind::Platform => "made on the platform for this drill, and deleted after it",
        ScratchKind::Command => "started by a command for this drill, and stopped after it",
    };
    let right = match target.right {
        DrillRight::Made => "made by this drill",
        DrillRight::Empty => "wholly empty before",
        DrillRight::Marked => "marked as a scratch deployment",
    };
    let comparison = match proof.comparison {
        Comparison::Bytes => "every entry of a new export, byte for byte",
        Comparison::Values => "values of documents; types of numbers cannot be compared in the old format",
    };
    vec![
        ("Snapshot", format!("{} of {}", proof.snapshot, moment(proof.snapshot_time))),
        ("Read from", format!("{}, {} read", proof.destination, size(proof.read_bytes))),
        ("Manifest SHA-256", proof.manifest_sha256.to_string()),
        ("Restored into", format!("{} ({}), {kind}; {right}", target.identity.instance, target.identity.url)),
        ("Its server", target.identity.server_version.clone()),
        ("Compared by", comparison.to_owned()),
        (
            "Erasures applied",
            match proof.erasure {
                0 => "there are none".to_owned(),
                number => format!("entries 1 to {number} of the ledger"),
            },
        ),
        ("Proof", place.to_owned()),
        (
            "Signed by",
            match signed_by {
                Some(key) => format!("the trusted key {key}, as was checked for this page"),
                None => "nobody: these settings ask for no signatures".to_owned(),
            },
        ),
    ]
}

fn notes(proof: &DrillProof) -> Vec<String> {
    let mut notes = vec![NOT_COVERED.to_owned()];
    notes.extend(proof.notes.iter().map(|note| sentence(note)));
    if proof.documents == DocumentFormat::Legacy {
        let text = "The snapshot has the old format of documents, of servers before 2026-03-11. It was compared by values, in \
                    which an Int64, a Float64 and a text of the same digits are one, and so are bytes and a text like them.";
        notes.push(text.to_owned());
    }
    if proof.tables.iter().any(|table| table.changed_by_rule) {
        let text = "Tables marked as changed by a rule were sent with what is erased, masked or to be quiet left out; what came \
                    back was compared with what was sent.";
        notes.push(text.to_owned());
    }
    notes
}

fn footer(proof: &DrillProof) -> String {
    format!(
        "Made by Convault {} from the proof above, which was written once{} and is not changed. Repository {}.",
        proof.convault_version,
        if proof.names_key.is_some() { ", with hashed names of tables," } else { "" },
        proof.repository
    )
}

fn failures(proof: &DrillProof) -> Vec<String> {
    let mut shown: Vec<String> =
        proof.failures.iter().take(FAILURES_SHOWN).map(convault_core::DrillFailure::line).collect();
    let more = (proof.failures.len() - shown.len()) as u64 + proof.failures_unlisted;
    if more > 0 {
        shown.push(format!("and {} more", count(more)));
    }
    shown
}

fn check_words(check: &DrillCheck) -> String {
    let words = check.subject.words();
    match (check.number, &check.says) {
        (Some(number), Some(says)) => format!("Assertion {number}: {says}"),
        (Some(number), None) => format!("Assertion {number}: {words}"),
        _ => capitalised(words),
    }
}

fn capitalised(words: &str) -> String {
    let mut characters = words.chars();
    let first: String = characters.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{first}{}", characters.as_str())
}

fn sentence(note: &str) -> String {
    format!("{}.", capitalised(note.trim_end_matches('.')))
}

/// Those with a difference first.
fn shown_tables(proof: &DrillProof) -> Vec<&DrilledTable> {
    let mut tables: Vec<&DrilledTable> = proof.tables.iter().collect();
    tables.sort_by_key(|table| is_right(table));
    tables.truncate(TABLES_SHOWN);
    tables
}

fn more_tables(proof: &DrillProof, shown: usize) -> Option<String> {
    let rest = proof.tables.len() - shown;
    (rest > 0).then(|| format!("And {} more tables, which the proof has.", count(rest as u64)))
}

fn is_right(table: &DrilledTable) -> bool {
    table.same != Some(false) && table.counted.is_none_or(|counted| counted == table.sent)
}

fn table_name(table: &DrilledTable) -> String {
    match table.component.as_str() {
        "" => table.table.clone(),
        component => format!("{component}/{}", table.table),
    }
}

fn table_words(table: &DrilledTable) -> &'static str {
    match (table.same, table.changed_by_rule) {
        (Some(true), false) => "as it was stored",
        (Some(true), true) => "as it was sent, changed by a rule",
        (Some(false), _) => "another one",
        (None, _) => "not compared",
    }
}

fn seconds(value: f64) -> String {
    let length = SignedDuration::try_from_secs_f64(value).unwrap_or_default();
    if value < 10.0 { format!("{value:.1} s") } else { span(length) }
}

fn moment(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
