//! The settings as a whole, and how they are loaded.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use convault_core::{DeploymentName, DestinationName, JobName};
use toml::{Spanned, de::DeTable};

use crate::{
    daemon::{self, DaemonSettings},
    deployment::{self, DeploymentSettings},
    destination::{self, DestinationSettings, Taken},
    effective::Effective,
    environment::Environment,
    job::{self, JobSettings},
    keys::{self, CONFIG_VARIABLE, VARIABLE_PREFIX},
    names::Names,
    nearest::nearest,
    problem::{Place, Problem, SettingsProblems, Warning},
    reading::Reading,
    section::Section,
};

/// Where the settings are, unless `--config` or `CONVAULT_CONFIG` says otherwise.
pub const DEFAULT_FILE: &str = "/etc/convault/convault.toml";

/// A file larger than this is not a settings file.
const LARGEST_FILE_BYTES: u64 = 1 << 20;

/// Everything that was set, checked, with secrets read.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[daemon]`.
    pub daemon: DaemonSettings,
    /// Every `[[deployment]]`, in the order of the file.
    pub deployments: Vec<DeploymentSettings>,
    /// Every `[[destination]]`, in the order of the file.
    pub destinations: Vec<DestinationSettings>,
    /// Every `[[job]]`, in the order of the file.
    pub jobs: Vec<JobSettings>,
    file: PathBuf,
    effective: Vec<Effective>,
    warnings: Vec<Warning>,
}

/// The settings file: `given` (`--config`), else `CONVAULT_CONFIG`, else [`DEFAULT_FILE`].
pub fn settings_file(given: Option<&Path>, environment: &Environment) -> PathBuf {
    let named = || environment.get(CONFIG_VARIABLE).map(PathBuf::from);
    given.map(Path::to_owned).or_else(named).unwrap_or_else(|| DEFAULT_FILE.into())
}

/// The Unix socket of the daemon, for verbs that only talk to it: found without reading any secret, since whoever
/// asks may be allowed to use the socket but not to read those. Where the settings cannot be read or are wrong, it
/// is the variable or the default: the daemon would not have started with them.
pub fn socket_path(given: Option<&Path>, environment: &Environment) -> PathBuf {
    let file = settings_file(given, environment);
    let text = read_text(&file).unwrap_or_default();
    let mut reading = Reading::new(&file, &text, environment);
    let (table, _) = DeTable::parse_recoverable(&text);
    let socket = |reading: &mut Reading<'_>, table: &DeTable<'_>| {
        let root = Section::open(reading, String::new(), table, reading.whole_file(), &keys::ROOT);
        root.table_or_defaults(reading, "daemon").path_value(reading, "socket")
    };
    socket(&mut reading, table.get_ref())
        .or_else(|| socket(&mut reading, &DeTable::new()))
        .unwrap_or_else(|| "/run/convault/convault.sock".into())
}

impl Settings {
    /// Reads the settings file (see [`settings_file`]), the environment and every secret, once.
    ///
    /// Either everything is in order, or every problem is listed. Errors of reading the file are problems too.
    pub fn load(given: Option<&Path>, environment: &Environment) -> Result<Self, SettingsProblems> {
        let file = settings_file(given, environment);
        match read_text(&file) {
            Ok(text) => Self::parse(&file, &text, environment),
            Err(found) => {
                let mut reading = Reading::new(&file, "", environment);
                let expected = format!("a settings file, from --config, {CONFIG_VARIABLE} or {DEFAULT_FILE}");
                reading.problem(reading.whole_file(), "", found, expected);
                check_variables(&mut reading);
                Err(SettingsProblems(reading.problems))
            }
        }
    }

    /// Reads settings from `text`; `file` is where it came from, for places and relative paths.
    pub fn parse(file: &Path, text: &str, environment: &Environment) -> Result<Self, SettingsProblems> {
        let mut reading = Reading::new(file, text, environment);
        let (table, errors) = DeTable::parse_recoverable(text);
        let read = if errors.is_empty() {
            read(&table, &mut reading)
        } else {
            // What is left of a text that is not TOML would only lead to problems that are none.
            note_syntax(&mut reading, &errors);
            None
        };
        check_variables(&mut reading);
        let Reading { mut problems, warnings, effective, .. } = reading;
        match read {
            Some((daemon, deployments, destinations, jobs)) if problems.is_empty() => Ok(Self {
                daemon,
                deployments,
                destinations,
                jobs,
                file: file.to_owned(),
                effective,
                warnings,
            }),
            _ => {
                problems.sort_by(|a, b| a.place.cmp(&b.place));
                Err(SettingsProblems(problems))
            }
        }
    }

    /// The file these settings are from.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Every value that holds, with where it came from, table by table. Secrets are redacted.
    pub fn effective(&self) -> &[Effective] {
        &self.effective
    }

    /// What works but carries a risk, in the order it was read.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The deployment of that name. A job's deployment is always there.
    pub fn deployment(&self, name: &DeploymentName) -> Option<&DeploymentSettings> {
        self.deployments.iter().find(|deployment| deployment.name == *name)
    }

    /// The destination of that name. A job's destinations are always there.
    pub fn destination(&self, name: &DestinationName) -> Option<&DestinationSettings> {
        self.destinations.iter().find(|destination| destination.name == *name)
    }

    /// The job of that name.
    pub fn job(&self, name: &JobName) -> Option<&JobSettings> {
        self.jobs.iter().find(|job| job.name == *name)
    }
}

type Tables = (DaemonSettings, Vec<DeploymentSettings>, Vec<DestinationSettings>, Vec<JobSettings>);

/// The text of the settings file, or what was found instead, as a phrase.
fn read_text(file: &Path) -> Result<String, String> {
    let mut bytes = vec![];
    let read =
        fs::File::open(file).and_then(|file| file.take(LARGEST_FILE_BYTES + 1).read_to_end(&mut bytes));
    read.map_err(|error| format!("no readable file ({error})"))?;
    if bytes.len() as u64 > LARGEST_FILE_BYTES {
        return Err("a file of more than 1 MiB".into());
    }
    String::from_utf8(bytes).map_err(|_| "a file that is not UTF-8".into())
}

fn read(table: &Spanned<DeTable<'_>>, reading: &mut Reading<'_>) -> Option<Tables> {
    let root = Section::open(reading, String::new(), table.get_ref(), reading.whole_file(), &keys::ROOT);
    let (daemon, state_dir) = daemon::read(&root.table_or_defaults(reading, "daemon"), reading);

    let mut deployment_names = Names::new("[[deployment]]", |text| DeploymentName::new(text));
    let deployments: Vec<Option<DeploymentSettings>> = root
        .tables(reading, "deployment")
        .iter()
        .map(|section| deployment::read(section, reading, &mut deployment_names))
        .collect();

    let mut destination_names = Names::new("[[destination]]", |text| DestinationName::new(text));
    let mut taken = Taken::default();
    let destinations: Vec<Option<DestinationSettings>> = root
        .tables(reading, "destination")
        .iter()
        .map(|section| {
            destination::read(section, reading, &mut destination_names, &mut taken, state_dir.as_deref())
        })
        .collect();

    let mut job_names = Names::new("[[job]]", |text| JobName::new(text));
    let jobs: Vec<Option<JobSettings>> = root
        .tables(reading, "job")
        .iter()
        .map(|section| job::read(section, reading, &mut job_names, &deployment_names, &destination_names))
        .collect();

    let tables = (
        daemon?,
        deployments.into_iter().collect::<Option<Vec<_>>>()?,
        destinations.into_iter().collect::<Option<Vec<_>>>()?,
        jobs.into_iter().collect::<Option<Vec<_>>>()?,
    );
    warn_of_the_unused(&tables, reading);
    warn_of_the_contrary(&tables, reading);
    refuse_rivals(&tables.3, reading);
    refuse_little_memory(&tables, reading);
    Some(tables)
}

/// Retention looks at everything a destination holds of a deployment. Two jobs that keep differently there would each
/// delete what the other keeps.
fn refuse_rivals(jobs: &[JobSettings], reading: &mut Reading<'_>) {
    let file = reading.whole_file();
    for (number, job) in jobs.iter().enumerate() {
        let rival = jobs[..number].iter().find_map(|other| {
            let shared = job.to.iter().find(|destination| other.to.contains(destination))?;
            let alike =
                job.keep == other.keep && job.time_zone == other.time_zone && job.files == other.files;
            (job.deployment == other.deployment && !alike).then_some((other, shared))
        });
        if let Some((other, shared)) = rival {
            let found = format!("another rule than that of job {}, which stores there too", other.name);
            let expected = format!(
                "equal `keep`, `time_zone` and `files` in jobs that store one deployment in one destination \
                 ({shared}): each would delete what the other keeps"
            );
            reading.problem(file.clone(), &format!("job.{}.keep", job.name), found, expected);
        }
    }
}

fn refuse_little_memory((daemon, deployments, ..): &Tables, reading: &mut Reading<'_>) {
    // Runs of one deployment never go on at once.
    let runs = u64::from(daemon.runs_at_once).min(deployments.len().max(1) as u64);
    let needed = runs * daemon::LEAST_UPLOAD_MEMORY_BYTES;
    if daemon.upload_memory_bytes < needed {
        let expected = format!("{}MiB or more, for {runs} runs at once (`runs_at_once`)", needed >> 20);
        let found = format!("{} bytes", daemon.upload_memory_bytes);
        reading.problem(reading.whole_file(), "daemon.upload_memory", found, expected);
    }
}

fn warn_of_the_unused((_, deployments, destinations, jobs): &Tables, reading: &mut Reading<'_>) {
    let file = reading.whole_file();
    if jobs.is_empty() {
        reading.warn(file.clone(), "job", "there is no [[job]], so nothing is backed up");
        return;
    }
    for deployment in deployments {
        if !jobs.iter().any(|job| job.deployment == deployment.name) {
            let key = format!("deployment.{}", deployment.name);
            reading.warn(file.clone(), &key, "no [[job]] backs this deployment up");
        }
    }
    for destination in destinations {
        if !jobs.iter().any(|job| job.to.contains(&destination.name)) {
            let key = format!("destination.{}", destination.name);
            reading.warn(file.clone(), &key, "no [[job]] stores anything here");
        }
    }
}

/// Values that are right each for itself, but not together.
fn warn_of_the_contrary((_, deployments, _, jobs): &Tables, reading: &mut Reading<'_>) {
    let file = reading.whole_file();
    for (number, deployment) in deployments.iter().enumerate() {
        let same_url = |other: &&DeploymentSettings| other.url.is_some() && other.url == deployment.url;
        if let Some(other) = deployments[..number].iter().find(same_url) {
            let text = format!(
                "it has the URL of {}, so that two exports of one deployment may be asked for at once; use one \
                 [[deployment]] with several jobs",
                other.name
            );
            reading.warn(file.clone(), &format!("deployment.{}.url", deployment.name), text);
        }
        for job in jobs.iter().filter(|job| job.deployment == deployment.name) {
            if job.time_out <= deployment.export_deadline {
                let text = format!(
                    "the run is cancelled before `export_deadline` of {} is over; make it longer than that",
                    deployment.name
                );
                reading.warn(file.clone(), &format!("job.{}.time_out", job.name), text);
            }
        }
    }
}

fn note_syntax(reading: &mut Reading<'_>, errors: &[toml::de::Error]) {
    for error in errors {
        let place = error.span().map_or_else(|| reading.whole_file(), |span| reading.place(&span));
        // Only the parser's own words: the line itself may hold a secret.
        let found = format!("text that is not TOML ({})", error.message().replace('\n', ", "));
        reading.problem(place, "", found, "TOML 1.0");
    }
}

/// Notes every variable of ours that nothing reads.
fn check_variables(reading: &mut Reading<'_>) {
    let known: Vec<&str> = keys::ALL
        .iter()
        .flat_map(|keys| keys.keys)
        .filter_map(|key| key.variable)
        .chain([CONFIG_VARIABLE])
        .collect();
    let unknown: Vec<String> = reading
        .environment
        .names_with(VARIABLE_PREFIX)
        .filter(|name| !known.contains(name) && !reading.named_variables.contains(*name))
        .map(str::to_owned)
        .collect();
    for variable in unknown {
        reading.problems.push(Problem {
            key: String::new(),
            found: "an unknown variable".into(),
            expected: format!("one of {}, or one that a secret names", known.join(", ")),
            nearest: nearest(&variable, known.iter().copied()).map(str::to_owned),
            place: Place::Environment { variable },
        });
    }
}
