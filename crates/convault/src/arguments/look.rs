//! `convault find`, `history`, `diff`, `export` and `recover`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use convault_core::{DeploymentName, DestinationName, TableRef};
use convault_jobs::{FieldPath, FieldValue, Wanted};
use jiff::Timestamp;

use super::{AsOf, Leaving, One, To, Which, parse_time, parse_which};

#[derive(Debug, Args)]
pub(crate) struct Find {
    #[command(flatten)]
    pub(crate) several: Several,
    #[command(flatten)]
    pub(crate) wanted: WantedArguments,
    #[command(flatten)]
    pub(crate) leaving: Leaving,
}

/// Which snapshots are looked into.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct Several {
    /// The snapshot's id, or `latest` for the newest good one
    #[arg(value_parser = parse_which, required_unless_present_any = ["all", "since"], conflicts_with_all = ["all", "since"])]
    pub(crate) snapshot: Option<Which>,
    /// Look into every snapshot, the oldest first
    #[arg(long)]
    pub(crate) all: bool,
    /// Look into every snapshot that was taken at this time or later
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) since: Option<Timestamp>,
    /// Only of this deployment
    #[arg(long)]
    pub(crate) deployment: Option<DeploymentName>,
    /// Only in this destination
    #[arg(long)]
    pub(crate) destination: Option<DestinationName>,
    #[command(flatten)]
    pub(crate) as_of: AsOf,
}

/// What a document has to be in order to be meant: all of it together.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct WantedArguments {
    /// Its `_id`; may be repeated. By ids alone a document is looked up, and the table is found by itself
    #[arg(long = "id", value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// The table (`contacts`, `component/contacts`; `_storage` for the rows of stored files)
    #[arg(long, value_name = "TABLE")]
    pub(crate) table: Option<TableRef>,
    #[command(flatten)]
    pub(crate) conditions: Conditions,
}

/// What makes it necessary to read a whole table.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct Conditions {
    /// A field and its value (`stage=won`, `address.city=Oslo`); may be repeated. Of an array one element has to be it
    #[arg(long = "field", value_name = "FIELD=VALUE")]
    pub(crate) field_values: Vec<FieldValue>,
    /// Words that occur in its texts, in whatever case and order
    #[arg(long, value_name = "WORDS")]
    pub(crate) text: Option<String>,
    /// It was made at this time or later
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) created_after: Option<Timestamp>,
    /// It was made before this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) created_before: Option<Timestamp>,
}

impl Conditions {
    /// What is wanted, with these ids.
    pub(crate) fn wanted(&self, ids: &[String]) -> Wanted {
        let mut wanted = Wanted {
            ids: ids.iter().cloned().collect(),
            fields: self.field_values.clone(),
            words: Vec::new(),
            created_from: self.created_after,
            created_before: self.created_before,
        };
        wanted.add_words(self.text.as_deref().unwrap_or_default());
        wanted
    }

    /// Whether nothing was said.
    pub(crate) fn is_empty(&self) -> bool {
        self.field_values.is_empty()
            && self.text.is_none()
            && self.created_after.is_none()
            && self.created_before.is_none()
    }
}

#[derive(Debug, Args)]
pub(crate) struct History {
    /// The document's table (`contacts`, `component/contacts`; `_storage` for a stored file)
    pub(crate) table: TableRef,
    /// Its `_id`
    pub(crate) id: String,
    /// Only snapshots that were taken at this time or later
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) since: Option<Timestamp>,
    /// Only of this deployment
    #[arg(long)]
    pub(crate) deployment: Option<DeploymentName>,
    /// Only in this destination
    #[arg(long)]
    pub(crate) destination: Option<DestinationName>,
    #[command(flatten)]
    pub(crate) as_of: AsOf,
    #[command(flatten)]
    pub(crate) leaving: Leaving,
}

#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The earlier snapshot's id, or `latest`
    #[arg(value_parser = parse_which)]
    pub(crate) before: Which,
    /// The later snapshot's id, or `latest`
    #[arg(value_parser = parse_which)]
    pub(crate) after: Which,
    /// Only this table (`contacts`, `component/contacts`; `_storage` for the rows of stored files)
    #[arg(long, value_name = "TABLE")]
    pub(crate) table: Option<TableRef>,
    /// Only how many documents differ, not which
    #[arg(long)]
    pub(crate) summary: bool,
    /// Only in this deployment
    #[arg(long)]
    pub(crate) deployment: Option<DeploymentName>,
    /// Only in this destination
    #[arg(long)]
    pub(crate) destination: Option<DestinationName>,
    #[command(flatten)]
    pub(crate) leaving: Leaving,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) one: One,
    /// What to write
    #[arg(long, value_enum)]
    pub(crate) format: Format,
    /// The file to make, or the folder where there are several tables. What is there already is left alone
    #[arg(long, short, value_name = "PATH")]
    pub(crate) output: PathBuf,
    /// Only this table (`contacts`, `component/contacts`; `_storage` for the rows of stored files); may be repeated
    #[arg(long = "table", value_name = "TABLE")]
    pub(crate) tables: Vec<TableRef>,
    /// Only the tables of this component; may be repeated
    #[arg(long = "component", value_name = "PATH")]
    pub(crate) components: Vec<String>,
    /// Only the document of this `_id`; may be repeated
    #[arg(long = "id", value_name = "ID")]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) conditions: Conditions,
    /// Write the stored files too, into a folder that is made
    #[arg(long, value_name = "DIR")]
    pub(crate) files: Option<PathBuf>,
    /// In CSV, put an apostrophe before what a spreadsheet would take for a formula
    #[arg(long)]
    pub(crate) guard_formulas: bool,
    #[command(flatten)]
    pub(crate) leaving: Leaving,
}

/// What an export is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// JSON Lines, byte for byte as they were exported: a file a table
    Jsonl,
    /// CSV: a file a table, with a note of its columns beside it
    Csv,
    /// One database
    #[value(help = "One SQLite database")]
    Sqlite,
}

#[derive(Debug, Args)]
pub(crate) struct Recover {
    #[command(flatten)]
    pub(crate) one: One,
    #[command(flatten)]
    pub(crate) wanted: WantedArguments,
    /// Only these fields of the documents (`stage`, `address.city`), with commas between
    #[arg(long, value_name = "FIELDS", value_delimiter = ',')]
    pub(crate) fields: Vec<FieldPath>,
    /// A stored file, by its id; may be repeated
    #[arg(long = "file", value_name = "ID")]
    pub(crate) files: Vec<String>,
    /// Write what is found to this file, or this folder where there are several tables or stored files
    #[arg(long, value_name = "PATH", conflicts_with_all = ["to", "to_url"])]
    pub(crate) to_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) to: To,
    /// Only show what would be done
    #[arg(long, conflicts_with = "to_file")]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) leaving: Leaving,
}
