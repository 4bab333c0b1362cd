//! The command line.

mod drill;
mod erase;
mod examples;
mod leaving;
mod look;
mod mirror;
mod restore;
mod secrets;
#[cfg(feature = "simulator")]
mod simulate;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use convault_core::{DeploymentName, DestinationName, JobName, SnapshotId};
use jiff::Timestamp;

#[cfg(feature = "simulator")]
pub(crate) use self::simulate::Simulate;
pub(crate) use self::{
    drill::{Drill, PastDrill},
    erase::{Erase, parse_value},
    leaving::Leaving,
    look::{Diff, Export, Find, Format, History, Recover},
    mirror::{Mirror, Moment, OneState},
    restore::{Restore, To},
    secrets::{Secrets, SecretsPlace, StoredAt},
};

const AFTER_HELP: &str = "\
Exit codes: 0 done · 1 failed · 2 wrong arguments · 3 stored, but not in every destination · 4 stored, but suspect \
· 5 what is stored is damaged · 6 no such snapshot or job · 7 stopped before it was done · 8 the erasure ledger is \
not whole · 9 refused, nothing was touched · 10 a drill was not passed · 69 the daemon cannot be reached · 78 the settings are wrong";

/// Off-platform, proven backups of Convex deployments.
#[derive(Debug, Parser)]
#[command(name = "convault", version, about, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Arguments {
    /// The settings file [default: `$CONVAULT_CONFIG`, else `/etc/convault/convault.toml`]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Tell more on standard error; twice for every detail
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run the daemon: schedule, backups, health and metrics
    Run,
    /// Back up now, and wait until the snapshot is stored and checked
    #[command(after_help = examples::BACKUP)]
    Backup(Backup),
    /// List snapshots
    List(Place),
    /// Show one snapshot in full
    Show(One),
    /// Compare what is stored with its manifests
    Verify(Verify),
    /// Delete what retention does not keep
    Prune(Prune),
    /// Count a suspect snapshot as good: somebody looked at it
    Accept(Accept),
    /// Keep a snapshot whatever retention says, or release it again
    Hold(Hold),
    /// Make whole what is damaged or lost its manifest
    Repair(Repair),
    /// Make a key
    Keygen {
        /// What the key is for
        #[command(subcommand)]
        kind: Keygen,
    },
    /// Give a snapshot back as a ZIP that `npx convex import` takes
    #[command(after_help = examples::DOWNLOAD)]
    Download(Download),
    /// Bring a snapshot into a deployment: the plan is shown first, and live data is stored before it is replaced
    #[command(after_help = examples::RESTORE)]
    Restore(Box<Restore>),
    /// Look for documents in snapshots, by id, field, text or time, without downloading any
    #[command(after_help = examples::FIND)]
    Find(Find),
    /// Tell what became of a document, from snapshot to snapshot
    History(History),
    /// List what differs between two snapshots
    Diff(Diff),
    /// Bring single documents, tables, stored files or fields back, to a file or into a deployment
    #[command(after_help = examples::RECOVER)]
    Recover(Recover),
    /// Hand data over in other formats
    #[command(about = "Hand data over as JSON Lines, CSV or a SQLite database")]
    Export(Export),
    /// Write snapshots anew, to the present recipients of a destination, in place of the old ones
    Reencrypt(Reencrypt),
    /// Forget somebody: held back from now on, and removed from what is stored; with a certificate
    #[command(after_help = examples::ERASE)]
    Erase(Erase),
    /// Try everything that backups, and reading them, will need
    Doctor(Doctor),
    /// Stored secrets: list and compare them by name, show one, and put environment variables back
    Secrets {
        /// What to do
        #[command(subcommand)]
        deed: Secrets,
    },
    /// Mirrors of media: bring one up to date, and see, compare and restore its states
    Mirror {
        /// What to do
        #[command(subcommand)]
        deed: Mirror,
    },
    /// Practise a restore into a scratch deployment, compare what is there then, and leave a proof
    #[command(after_help = examples::DRILL)]
    Drill(Drill),
    /// Show what the daemon knows of its jobs and destinations
    Status,
    /// Check the settings, and show what holds and where it came from
    Check,
    /// See it work: a simulated deployment, backups, an importable ZIP in ./convault-demo, a drill, a deleted record back
    #[cfg(feature = "simulator")]
    Demo(Demo),
    /// Serve a simulated Convex deployment, and an S3 server beside it
    #[cfg(feature = "simulator")]
    Simulate(Simulate),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The job, as the settings name it
    pub(crate) job: JobName,
    /// A word to find the snapshot by; may be repeated
    #[arg(long = "tag", value_name = "TAG", value_parser = parse_tag)]
    pub(crate) tags: Vec<String>,
    /// Retention may not delete the snapshot before this day (2026-12-24, in UTC) or time (2026-12-24T18:00:00Z)
    #[arg(long, value_name = "DATE", value_parser = parse_time)]
    pub(crate) keep_until: Option<Timestamp>,
}

#[derive(Debug, Args)]
pub(crate) struct Place {
    /// Only this deployment
    pub(crate) deployment: Option<DeploymentName>,
    /// Only this destination
    #[arg(long)]
    pub(crate) destination: Option<DestinationName>,
    #[command(flatten)]
    pub(crate) as_of: AsOf,
}

#[derive(Debug, Default, Args)]
pub(crate) struct AsOf {
    /// Look at buckets as they were at this time (2026-12-24T18:00:00Z, or a day, whose beginning in UTC is meant), by
    /// the versions they keep
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) bucket_as_of: Option<Timestamp>,
}

#[derive(Debug, Args)]
pub(crate) struct One {
    /// The snapshot's id, or `latest` for the newest good one
    #[arg(value_parser = parse_which)]
    pub(crate) snapshot: Which,
    /// Only in this deployment
    #[arg(long)]
    pub(crate) deployment: Option<DeploymentName>,
    /// Only in this destination
    #[arg(long)]
    pub(crate) destination: Option<DestinationName>,
    #[command(flatten)]
    pub(crate) as_of: AsOf,
}

/// Which snapshot is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Which {
    Latest,
    Id(SnapshotId),
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Only these snapshots; all when none is named
    pub(crate) snapshots: Vec<SnapshotId>,
    /// Only this deployment
    #[arg(long)]
    pub(crate) deployment: Option<DeploymentName>,
    /// Only this destination
    #[arg(long)]
    pub(crate) destination: Option<DestinationName>,
    /// Read every stored byte, instead of comparing sizes and the store's entity tags
    #[arg(long)]
    pub(crate) read_data: bool,
    /// Write nothing: no proof of what was found, and no mark on what is damaged
    #[arg(long)]
    pub(crate) no_proof: bool,
    #[command(flatten)]
    pub(crate) as_of: AsOf,
}

#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// The job whose retention applies
    pub(crate) job: JobName,
    /// Only show what would be kept and removed, and why
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How much of what is there the sweep of objects without an owner may remove [default: 5]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) sweep_limit: Option<u32>,
    /// Snapshots that were there and are not any more are known to be gone
    #[arg(long)]
    pub(crate) accept_missing: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Accept {
    #[command(flatten)]
    pub(crate) marked: Marked,
    /// A stored file whose damage on the deployment is known, as `show` names it; may be repeated
    #[arg(long = "damaged", value_name = "ID")]
    pub(crate) damaged: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Hold {
    #[command(flatten)]
    pub(crate) marked: Marked,
    /// Only until this day (2026-12-24, in UTC) or time (2026-12-24T18:00:00Z)
    #[arg(long, value_name = "DATE", value_parser = parse_time, conflicts_with = "release")]
    pub(crate) until: Option<Timestamp>,
    /// Let retention decide again
    #[arg(long)]
    pub(crate) release: bool,
}

/// What is said of which snapshot.
#[derive(Debug, Args)]
pub(crate) struct Marked {
    /// The snapshot's id
    pub(crate) snapshot: SnapshotId,
    /// Why, for whoever looks at it later
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, value_parser = parse_reason)]
    pub(crate) reason: String,
    /// The deployment it belongs to; looked for where there are several
    #[arg(long)]
    pub(crate) deployment: Option<DeploymentName>,
    /// Only in this destination
    #[arg(long)]
    pub(crate) destination: Option<DestinationName>,
}

#[derive(Debug, Args)]
pub(crate) struct Repair {
    /// A job, for what its destinations hold; or a snapshot's id [default: everything]
    #[arg(value_name = "JOB|ID", value_parser = parse_job_or_id)]
    pub(crate) what: Option<JobOrId>,
    /// Only this snapshot of the job
    pub(crate) snapshot: Option<SnapshotId>,
    /// Only this deployment
    #[arg(long)]
    pub(crate) deployment: Option<DeploymentName>,
}

/// A job or a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JobOrId {
    Job(JobName),
    Id(SnapshotId),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Keygen {
    /// A key that signs manifests, marks and proofs, in minisign's format
    Signing {
        /// The file to make; one that is there already is left alone
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
    },
    /// A pair that opens what is encrypted to its public half, in age's format
    Encryption {
        /// The file to make for the identity; one that is there already is left alone [default: standard output]
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// The key under which the names of tables are hashed where a destination is encrypted
    Names {
        /// The file to make; one that is there already is left alone [default: standard output]
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Download {
    #[command(flatten)]
    pub(crate) one: One,
    /// The file to make, or `-` for standard output [default: the snapshot's own name, here]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Only this: a table (`contacts`, `component/contacts`), a stored file by its id, or an entry by its full name
    #[arg(long, value_name = "NAME", conflicts_with = "encrypted")]
    pub(crate) entry: Option<String>,
    #[command(flatten)]
    pub(crate) leaving: Leaving,
    /// Give what is encrypted as it is stored, for `age -d`
    #[arg(long, conflicts_with_all = ["masked", "quiet_automations"])]
    pub(crate) encrypted: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Reencrypt {
    /// The snapshot's id
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) snapshot: Option<SnapshotId>,
    /// Every snapshot that is encrypted to others, or not at all
    #[arg(long)]
    pub(crate) all: bool,
    /// The destination: its snapshots are written anew to the recipients that the settings name now
    #[arg(long, value_name = "DESTINATION")]
    pub(crate) to: DestinationName,
    /// Only of this deployment
    #[arg(long)]
    pub(crate) deployment: Option<DeploymentName>,
    /// Keep the old snapshots as well
    #[arg(long)]
    pub(crate) keep_old: bool,
    #[command(flatten)]
    pub(crate) identity: IdentityFile,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) identity: IdentityFile,
    /// Read every byte of the newest backups, not only some of it
    #[arg(long)]
    pub(crate) full: bool,
}

/// What opens what is encrypted.
#[derive(Debug, Args, Default)]
pub(crate) struct IdentityFile {
    /// An age identity file or an OpenSSH private key, or `-` for standard input [default: encryption.identity in the
    /// settings]
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
}

#[cfg(feature = "simulator")]
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Leave the daemon and its status page up until Ctrl-C
    #[arg(long)]
    pub(crate) serve: bool,
    /// Where to keep what the demo makes
    #[arg(long, default_value = "convault-demo", value_name = "DIR")]
    pub(crate) directory: PathBuf,
}

fn parse_which(text: &str) -> Result<Which, String> {
    if text == "latest" {
        return Ok(Which::Latest);
    }
    SnapshotId::parse(text).map(Which::Id).map_err(|error| format!("{error}, or `latest`"))
}

fn parse_job_or_id(text: &str) -> Result<JobOrId, String> {
    if let Ok(id) = SnapshotId::parse(text) {
        return Ok(JobOrId::Id(id));
    }
    let job = JobName::new(text).map_err(|error| format!("{error}, or the id of a snapshot"))?;
    Ok(JobOrId::Job(job))
}

fn parse_reason(text: &str) -> Result<String, String> {
    let good = text.len() <= 1000 && !text.chars().any(char::is_control);
    if good { Ok(text.to_owned()) } else { Err("a reason is one line of at most 1000 bytes".to_owned()) }
}

fn parse_tag(text: &str) -> Result<String, String> {
    let good =
        !text.is_empty() && text.len() <= 64 && text.chars().all(|c| !c.is_control() && !c.is_whitespace());
    if good { Ok(text.to_owned()) } else { Err("a tag has 1 to 64 characters and no spaces".to_owned()) }
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let day: jiff::civil::Date =
        text.parse().map_err(|_| "expected 2026-12-24 or 2026-12-24T18:00:00Z".to_owned())?;
    let midnight = day.to_zoned(jiff::tz::TimeZone::UTC).map_err(|error| error.to_string())?;
    Ok(midnight.timestamp())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_is_to_be_repaired_is_a_job_or_a_snapshot() {
        let id = SnapshotId::parse("20261122T030056Z-700000").unwrap();
        assert_eq!(parse_job_or_id("20261122T030056Z-700000"), Ok(JobOrId::Id(id)));
        assert_eq!(parse_job_or_id("nightly"), Ok(JobOrId::Job(JobName::new("nightly").unwrap())));
        assert!(parse_job_or_id("Nightly!").is_err());
    }

    #[test]
    fn a_day_is_its_first_moment_in_utc() {
        assert_eq!(parse_time("2026-12-24").unwrap().to_string(), "2026-12-24T00:00:00Z");
        assert_eq!(parse_time("2026-12-24T18:00:00+01:00").unwrap().to_string(), "2026-12-24T17:00:00Z");
        assert!(parse_time("tomorrow").is_err());
    }
}
