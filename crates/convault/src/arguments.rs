//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use convault_core::{DeploymentName, DestinationName, JobName, MirrorName, RunId, SnapshotId};
use jiff::Timestamp;

const AFTER_HELP: &str = "\
Exit codes: 0 done · 1 failed · 2 wrong arguments · 3 stored, but not in every destination · 4 stored, but suspect \
· 5 what is stored is damaged · 6 no such snapshot or job · 7 stopped before it was done · 69 the daemon cannot be \
reached · 78 the settings are wrong";

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
    Download(Download),
    /// Write snapshots anew, to the present recipients of a destination, in place of the old ones
    Reencrypt(Reencrypt),
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
    /// Show what the daemon knows of its jobs and destinations
    Status,
    /// Check the settings, and show what holds and where it came from
    Check,
    /// See it work: a simulated deployment, two backups, and an importable ZIP in ./convault-demo
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
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = parse_reason)]
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
    pub(crate) identity: IdentityFile,
    /// Give what is encrypted as it is stored, for `age -d`
    #[arg(long, conflicts_with = "identity")]
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

#[derive(Debug, Subcommand)]
pub(crate) enum Secrets {
    /// The names of the newest secrets, and when each got the value that it has; needs the names key and no identity
    List {
        #[command(flatten)]
        place: SecretsPlace,
    },
    /// Names that were added, changed and removed from one time to another; needs the names key and no identity
    Diff {
        /// A snapshot or set by its id, a time (the newest at or before it), or `latest`
        #[arg(value_parser = parse_stored_at)]
        older: StoredAt,
        /// The same
        #[arg(value_parser = parse_stored_at, default_value = "latest")]
        newer: StoredAt,
        #[command(flatten)]
        place: SecretsPlace,
    },
    /// Print one value to standard output; needs an identity
    Show {
        /// Its name, such as `STRIPE_KEY`, or in full `environment/STRIPE_KEY`
        name: String,
        /// A snapshot or set by its id, a time (the newest at or before it), or `latest`
        #[arg(long, value_parser = parse_stored_at, default_value = "latest", value_name = "ID|TIME")]
        at: StoredAt,
        #[command(flatten)]
        place: SecretsPlace,
        #[command(flatten)]
        identity: IdentityFile,
    },
    /// Put stored environment variables into a deployment: shows the plan, and writes with --yes; needs an identity
    Restore {
        /// The deployment that gets them, as the settings name it; its key needs `deployment:env:view` and `:write`
        #[arg(long)]
        to: DeploymentName,
        /// A snapshot or set by its id, a time (the newest at or before it), or `latest`
        #[arg(long, value_parser = parse_stored_at, default_value = "latest", value_name = "ID|TIME")]
        from: StoredAt,
        /// Only this variable; may be repeated
        #[arg(long, value_name = "NAME")]
        only: Vec<String>,
        /// Remove variables that are not among the stored ones
        #[arg(long, conflicts_with = "only")]
        remove: bool,
        /// Write what the plan says
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        place: SecretsPlace,
        #[command(flatten)]
        identity: IdentityFile,
    },
}

/// Whose secrets, and where they are looked for.
#[derive(Debug, Args)]
pub(crate) struct SecretsPlace {
    /// The deployment whose secrets are meant; needed where there are several
    #[arg(long)]
    pub(crate) deployment: Option<DeploymentName>,
    /// Only in this destination
    #[arg(long)]
    pub(crate) destination: Option<DestinationName>,
}

/// A time at which secrets were stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoredAt {
    Latest,
    Id(RunId),
    Time(Timestamp),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Mirror {
    /// Bring a mirror up to date now, and wait for it
    Run {
        /// The mirror, as the settings name it
        mirror: MirrorName,
        /// What has vanished or changed is right, however much it is: somebody looked at `convault mirror diff`
        #[arg(long)]
        release_brake: bool,
    },
    /// List the runs of a mirror, and what can be restored
    Runs {
        /// The mirror, as the settings name it
        mirror: MirrorName,
    },
    /// List the objects of a state
    List {
        #[command(flatten)]
        state: OneState,
        #[command(flatten)]
        identity: IdentityFile,
    },
    /// Compare the source as it is now with the newest state, or two states: what was added, changed and removed
    Diff {
        #[command(flatten)]
        state: OneState,
        /// Compare the state as of this with that of `--as-of`, or with the newest
        #[arg(long, value_name = "TIME|RUN", value_parser = parse_moment)]
        since: Option<Moment>,
        #[command(flatten)]
        identity: IdentityFile,
    },
    /// Give the objects of a state back, each checked against its SHA-256
    Restore {
        #[command(flatten)]
        state: OneState,
        /// Where to: a folder, which is made (with a slash in it, such as `./media`), the name of a destination, or
        /// `source`
        #[arg(long, value_name = "PLACE")]
        to: String,
        /// Write over objects there that are not the same; without it they are left as they are
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        identity: IdentityFile,
    },
}

/// One state of a mirror, and which of its objects.
#[derive(Debug, Args)]
pub(crate) struct OneState {
    /// The mirror, as the settings name it
    pub(crate) mirror: MirrorName,
    /// As of this time (2026-12-24T18:00:00Z, or a day, whose beginning in UTC is meant), or of this run; else the newest
    #[arg(long, value_name = "TIME|RUN", value_parser = parse_moment)]
    pub(crate) as_of: Option<Moment>,
    /// Only objects whose keys begin with this
    #[arg(long, default_value = "", value_name = "PREFIX")]
    pub(crate) prefix: String,
}

/// A point in the history of a mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Moment {
    Time(Timestamp),
    Run(RunId),
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

#[cfg(feature = "simulator")]
#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:3210")]
    pub(crate) listen: std::net::SocketAddr,
    /// The admin key to accept; a made-up one, since arguments can be seen by others on this machine
    #[arg(long)]
    pub(crate) key: String,
    /// The seed of generated data
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Tables to generate; without any of these numbers the deployment is empty
    #[arg(long)]
    pub(crate) tables: Option<u32>,
    /// Documents in each table
    #[arg(long)]
    pub(crate) documents: Option<u64>,
    /// Bytes of each document, about
    #[arg(long)]
    pub(crate) document_bytes: Option<u32>,
    /// Stored files
    #[arg(long)]
    pub(crate) files: Option<u64>,
    /// Bytes of each stored file
    #[arg(long)]
    pub(crate) file_bytes: Option<u64>,
    /// Have about so many percent of the stored files replaced by others since a server with the same numbers
    #[arg(long, value_name = "PERCENT", default_value_t = 0)]
    pub(crate) changed_files: u64,
    /// Components beside the root
    #[arg(long)]
    pub(crate) components: Option<u32>,
    /// Put this text into environment variables, scheduled functions, crons and code, for finding out where it goes
    #[arg(long, value_name = "TEXT")]
    pub(crate) plant: Option<String>,
    /// A fault to show, NAME or NAME=VALUE; may be repeated; `--fault list` names them all
    #[arg(long = "fault", value_name = "NAME[=VALUE]")]
    pub(crate) faults: Vec<String>,
    /// Serve S3 there too; its key pair is `$AWS_ACCESS_KEY_ID` and `$AWS_SECRET_ACCESS_KEY`, else `convault`
    /// and `convault-secret`
    #[arg(long, value_name = "ADDR")]
    pub(crate) s3_listen: Option<std::net::SocketAddr>,
    /// Keep S3 objects there instead of in memory
    #[arg(long, value_name = "DIR", requires = "s3_listen")]
    pub(crate) s3_root: Option<PathBuf>,
    /// Keep old versions of S3 objects
    #[arg(long, requires = "s3_listen", conflicts_with = "s3_root")]
    pub(crate) s3_versions: bool,
    /// Have Object Lock in all buckets, and versions with it
    #[arg(long, requires = "s3_listen", conflicts_with = "s3_root")]
    pub(crate) s3_lock: bool,
    /// Have every new S3 object locked by default for so many days (governance)
    #[arg(long, value_name = "DAYS", requires = "s3_lock")]
    pub(crate) s3_default_lock: Option<u32>,
}

fn parse_stored_at(text: &str) -> Result<StoredAt, String> {
    if text == "latest" {
        return Ok(StoredAt::Latest);
    }
    if let Ok(id) = RunId::parse(text) {
        return Ok(StoredAt::Id(id));
    }
    let time = parse_time(text).map(StoredAt::Time);
    time.map_err(|error| format!("{error}, the id of a snapshot or set, or `latest`"))
}

fn parse_which(text: &str) -> Result<Which, String> {
    if text == "latest" {
        return Ok(Which::Latest);
    }
    SnapshotId::parse(text).map(Which::Id).map_err(|error| format!("{error}, or `latest`"))
}

fn parse_moment(text: &str) -> Result<Moment, String> {
    if let Ok(run) = RunId::parse(text) {
        return Ok(Moment::Run(run));
    }
    parse_time(text).map(Moment::Time).map_err(|error| format!("{error}, or the id of a run"))
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
