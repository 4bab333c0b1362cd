//! The plan of a restore in words, and what became of it.

use std::collections::BTreeMap;

use convault_core::{FilesMode, ImportMode, ObjectRole};
use convault_jobs::{Counted, LostTypes, PlannedTable, RestorePlan, Snapshot};

use super::sequence::Sequence;
use crate::{
    arguments::Restore,
    commands::{choose::Found, target::Aimed},
    print,
};

/// More tables than fit onto a screen are summed up.
const TABLES_SHOWN: usize = 60;
const FILES_NAMED: usize = 20;

/// Everything that a plan shows.
pub(super) struct Shown<'a> {
    pub(super) restore: &'a Restore,
    pub(super) found: &'a Found,
    pub(super) snapshot: &'a Snapshot,
    pub(super) aimed: &'a Aimed,
    pub(super) plan: &'a RestorePlan,
    pub(super) sequence: &'a Sequence,
}

impl Shown<'_> {
    pub(super) fn print(&self) {
        self.what_and_where();
        self.tables();
        self.files();
        self.order();
        self.not_coming_back();
        self.sequence.print(self.aimed.name(), self.restore.environment);
    }

    fn what_and_where(&self) {
        let (manifest, judgement) = (&self.snapshot.manifest, &self.snapshot.judgement);
        line(
            "from",
            &format!(
                "{} of {}, taken {}, {}, in {}",
                manifest.id,
                manifest.deployment,
                print::time(manifest.snapshot_time()),
                judgement.standing.as_str(),
                self.found.destination.store.destination()
            ),
        );
        let identity = &self.aimed.identity;
        let kind = identity.deployment_type.as_deref().map(|kind| format!(" ({kind})")).unwrap_or_default();
        line(
            "to",
            &format!(
                "{}: {}{kind} at {}, server {}",
                self.aimed.name(),
                identity.instance,
                identity.url,
                identity.server_version
            ),
        );
        line(
            "does",
            match self.plan.mode {
                ImportMode::RequireEmpty => "fills what is empty; anything there would stop it",
                ImportMode::ReplaceAll => "replaces every table of every component, all or nothing",
                ImportMode::Replace => "replaces what is named below, all or nothing, and leaves the rest",
                ImportMode::Append => "adds to what is there",
            },
        );
        line(
            "takes",
            &format!(
                "about {} for {}{}",
                duration(self.plan.import_seconds),
                print::size(self.plan.incoming_bytes),
                if self.plan.onto_empty {
                    String::new()
                } else {
                    format!(", and about {} for the safety snapshot", duration(self.plan.safety_seconds))
                }
            ),
        );
    }

    fn tables(&self) {
        let count = |count: Option<u64>| count.map_or("-".to_owned(), print::number);
        let row = |table: &PlannedTable| {
            let deed = match (table.incoming, table.outgoing) {
                (None, _) => "deleted",
                (Some(_), None) => "made",
                (Some(_), Some(0)) => "filled",
                (Some(_), Some(_)) => "replaced",
            };
            vec![table.table.to_string(), deed.to_owned(), count(table.incoming), count(table.outgoing)]
        };
        let tables = &self.plan.tables;
        let mut rows: Vec<Vec<String>> = tables.iter().take(TABLES_SHOWN).map(row).collect();
        if tables.len() > TABLES_SHOWN {
            let rest = &tables[TABLES_SHOWN..];
            let sum = |of: fn(&PlannedTable) -> Option<u64>| Some(rest.iter().filter_map(of).sum());
            let (incoming, outgoing) = (sum(|table| table.incoming), sum(|table| table.outgoing));
            let name = format!("and {} more", rest.len());
            rows.push(vec![name, String::new(), count(incoming), count(outgoing)]);
        }
        print::table(&["TABLE", "IS", ">ROWS IN", ">ROWS OUT"], &rows);
    }

    fn files(&self) {
        for files in &self.plan.files {
            let place = component(&files.component);
            let existing = print::number(files.existing);
            line(
                "files",
                &match files.incoming {
                    Some(incoming) => format!("{place}: {} in, {existing} out", print::number(incoming)),
                    None => format!("{place}: the snapshot says nothing of them, so that {existing} stay"),
                },
            );
        }
        if self.plan.old_format {
            line(
                "note",
                "the archive is of before 2026-03-11; the server reads it, and guesses types as it did then",
            );
        }
    }

    fn order(&self) {
        if let Some(text) = self.aimed.planned_pause(&self.restore.to) {
            line("paused", &text);
        }
        if self.plan.onto_empty {
            line("before", "nothing is there that could be lost, so that no safety snapshot is taken");
            return;
        }
        let destinations = match self.aimed.safety_destinations() {
            none if none.is_empty() => "a destination that is still to be said (--safety-to)".to_owned(),
            some => some.join(", "),
        };
        line(
            "before",
            &format!(
                "a safety snapshot of what is live goes to {destinations}, every byte is read back, and it is kept for 30 \
                 days; without it nothing is touched"
            ),
        );
        line(
            "writes",
            if self.restore.to.pause {
                "the deployment is paused from before the safety snapshot until the end"
            } else {
                "what is written there after the safety snapshot will be lost; --pause keeps everybody out meanwhile"
            },
        );
    }

    fn not_coming_back(&self) {
        let manifest = &self.snapshot.manifest;
        let environment = if self.restore.environment { "" } else { "environment variables, " };
        line(
            "without",
            &format!("{environment}pending scheduled functions, crons and code: no import brings them back"),
        );
        if manifest.files == FilesMode::None {
            line("without", "stored files: the snapshot was taken without them");
        }
        if manifest.object(ObjectRole::Surroundings).is_none() {
            line("without", "surroundings: none are stored with this snapshot");
        }
    }
}

fn line(name: &str, text: &str) {
    print::line(&format!("{name:<8} {text}"));
}

fn component(path: &str) -> String {
    if path.is_empty() { "stored files".to_owned() } else { format!("stored files of {path}") }
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..=90 => format!("{seconds} s"),
        91..=5_400 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3600)),
    }
}

/// What would be lost of a table's types, in words.
pub(super) fn lost(fields: &BTreeMap<String, LostTypes>) -> String {
    let field =
        |(name, lost): (&String, &LostTypes)| format!("{name} ({} Int64)", print::number(lost.integers));
    fields.iter().filter(|(_, lost)| lost.integers > 0).map(field).collect::<Vec<_>>().join(", ")
}

/// Names damaged files, a screen of them at most.
pub(super) fn damaged(plan: &RestorePlan) -> Vec<String> {
    let named = plan.damaged.iter().take(FILES_NAMED).map(|file| {
        let slash = if file.component.is_empty() { "" } else { "/" };
        format!("{}{slash}{}: {}", file.component, file.id, file.why)
    });
    let more = plan.damaged.len().saturating_sub(FILES_NAMED);
    let rest = (more > 0).then(|| format!("and {more} more"));
    named.chain(rest).collect()
}

/// Says what was compared, and what came of it.
pub(super) fn counted(counted: &Counted) {
    print::line(&format!(
        "compared   documents of {} tables ({}), and {} stored files, by number, with what was sent: {}",
        counted.tables,
        print::number(counted.documents),
        print::number(counted.files),
        if counted.differences.is_empty() { "all equal" } else { "NOT EQUAL" }
    ));
    for one in &counted.differences {
        print::line(&format!("  {}: {} were sent, {} are there", one.what, one.expected, one.found));
    }
}
