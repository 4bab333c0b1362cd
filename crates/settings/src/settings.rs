//! The settings as a whole, and how they are loaded.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use convault_core::{
    DeploymentName, DestinationName, DrillName, InvalidName, JobName, MirrorName, SurroundingName,
};
use toml::{Spanned, de::DeTable};

use crate::{
    across,
    daemon::{self, DaemonSettings},
    deployment::{self, DeploymentSettings},
    destination::{self, DestinationSettings, Taken},
    drill::{self, DrillSettings},
    effective::Effective,
    encryption::{self, EncryptionSettings},
    environment::Environment,
    erasure::{self, ErasureSettings},
    job::{self, JobSettings},
    keys::{self, CONFIG_VARIABLE, VARIABLE_PREFIX},
    mask::{self, MaskSettings},
    mirror::{self, MirrorSettings},
    names::Names,
    nearest::nearest,
    problem::{Place, Problem, SettingsProblems, Warning},
    reading::Reading,
    section::Section,
    signing::{self, SigningSettings},
    surrounding::{self, SurroundingSettings},
};

/// Where the settings are, unless `--config` or `CONVAULT_CONFIG` says otherwise.
const DEFAULT_FILE: &str = "/etc/convault/convault.toml";

/// A file larger than this is not a settings file.
const LARGEST_FILE_BYTES: u64 = 1 << 20;

/// Everything that was set, checked, with secrets read.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[daemon]`.
    pub daemon: DaemonSettings,
    /// `[signing]`; `None` where nothing is signed and nothing verified.
    pub signing: Option<SigningSettings>,
    /// `[encryption]`; `None` where nothing is encrypted and nothing opened.
    pub encryption: Option<EncryptionSettings>,
    /// `[erasure]`.
    pub erasure: ErasureSettings,
    /// Every `[[deployment]]`, in the order of the file.
    pub deployments: Vec<DeploymentSettings>,
    /// Every `[[destination]]`, in the order of the file.
    pub destinations: Vec<DestinationSettings>,
    /// Every `[[surrounding]]`, in the order of the file.
    pub surroundings: Vec<SurroundingSettings>,
    /// Every `[[job]]`, in the order of the file.
    pub jobs: Vec<JobSettings>,
    /// Every `[[mirror]]`, in the order of the file.
    pub mirrors: Vec<MirrorSettings>,
    /// Every `[[mask]]`, in the order of the file.
    pub masks: Vec<MaskSettings>,
    /// Every `[[drill]]`, in the order of the file.
    pub drills: Vec<DrillSettings>,
    file: PathBuf,
    effective: Vec<Effective>,
    warnings: Vec<Warning>,
}

/// The settings file: `given` (`--config`), else `CONVAULT_CONFIG`, else [`DEFAULT_FILE`].
fn settings_file(given: Option<&Path>, environment: &Environment) -> PathBuf {
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
    /// Reads the settings file (`given`, else the one `CONVAULT_CONFIG` names, else the default), the environment and
    /// every secret, once.
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
            Some(tables) if problems.is_empty() => Ok(Self {
                daemon: tables.daemon,
                signing: tables.signing,
                encryption: tables.encryption,
                erasure: tables.erasure,
                deployments: tables.deployments,
                destinations: tables.destinations,
                surroundings: tables.surroundings,
                jobs: tables.jobs,
                mirrors: tables.mirrors,
                masks: tables.masks,
                drills: tables.drills,
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

    /// The `[[surrounding]]` of that name. One that a job names is always there.
    pub fn surrounding(&self, name: &SurroundingName) -> Option<&SurroundingSettings> {
        self.surroundings.iter().find(|surrounding| surrounding.name == *name)
    }

    /// The mirror of that name.
    pub fn mirror(&self, name: &MirrorName) -> Option<&MirrorSettings> {
        self.mirrors.iter().find(|mirror| mirror.name == *name)
    }

    /// The drill of that name.
    pub fn drill(&self, name: &DrillName) -> Option<&DrillSettings> {
        self.drills.iter().find(|drill| drill.name == *name)
    }

    /// The job of that name.
    pub fn job(&self, name: &JobName) -> Option<&JobSettings> {
        self.jobs.iter().find(|job| job.name == *name)
    }
}

/// What was read, before it is known that nothing is wrong.
pub(crate) struct Tables {
    pub(crate) daemon: DaemonSettings,
    signing: Option<SigningSettings>,
    encryption: Option<EncryptionSettings>,
    erasure: ErasureSettings,
    pub(crate) deployments: Vec<DeploymentSettings>,
    pub(crate) destinations: Vec<DestinationSettings>,
    pub(crate) surroundings: Vec<SurroundingSettings>,
    pub(crate) jobs: Vec<JobSettings>,
    pub(crate) mirrors: Vec<MirrorSettings>,
    masks: Vec<MaskSettings>,
    drills: Vec<DrillSettings>,
}

/// Tables of one kind with what was read from each; `None` where something is wrong with it.
pub(crate) type Tabled<'d, T> = Vec<(Section<'d>, Option<T>)>;

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
    let daemon_section = root.table_or_defaults(reading, "daemon");
    let (daemon, state_dir, coordinate_in) = daemon::read(&daemon_section, reading);
    let signing = root.table(reading, "signing").map(|section| signing::read(&section, reading));
    let encryption = root.table(reading, "encryption").map(|section| encryption::read(&section, reading));

    let erasure = erasure::read(&root.table_or_defaults(reading, "erasure"), reading);

    let mut deployment_names = Names::new("[[deployment]]", |text| DeploymentName::new(text));
    let deployments: Vec<Option<DeploymentSettings>> = root
        .tables(reading, "deployment")
        .iter()
        .map(|section| deployment::read(section, reading, &mut deployment_names))
        .collect();
    let mut destination_names = Names::new("[[destination]]", |text| DestinationName::new(text));
    let mut taken = Taken::default();
    let destinations = tabled(&root, reading, "destination", |section, reading| {
        destination::read(section, reading, &mut destination_names, &mut taken, state_dir.as_deref())
    });
    let mut surrounding_names = Names::new("[[surrounding]]", |text| SurroundingName::new(text));
    let surroundings = tabled(&root, reading, "surrounding", |section, reading| {
        surrounding::read(section, reading, &mut surrounding_names)
    });
    let mut job_names = Names::new("[[job]]", job_name);
    let jobs = tabled(&root, reading, "job", |section, reading| {
        let (deployments, destinations) = (&deployment_names, &destination_names);
        job::read(section, reading, &mut job_names, deployments, destinations, &surrounding_names)
    });
    let mut mirror_names = Names::new("[[mirror]]", mirror::name);
    let mirrors = tabled(&root, reading, "mirror", |section, reading| {
        mirror::read(section, reading, &mut mirror_names, &destination_names, state_dir.as_deref())
    });
    let masks =
        tabled(&root, reading, "mask", |section, reading| mask::read(section, reading, &deployment_names));
    let mut drill_names = Names::new("[[drill]]", drill::name);
    let drills = tabled(&root, reading, "drill", |section, reading| {
        drill::read(section, reading, &mut drill_names, &deployment_names, &destination_names)
    });

    if let Some(name) = &coordinate_in {
        across::refuse_a_place_without_leases(
            name,
            &daemon_section,
            &destination_names,
            &destinations,
            reading,
        );
    }
    let has_names_key = !matches!(&encryption, None | Some(Some(EncryptionSettings { names_key: None, .. })));
    across::refuse_encryption_without_names_key(has_names_key, &destinations, reading);
    let has_identity = matches!(&encryption, Some(Some(EncryptionSettings { identity: Some(_), .. })));
    drill::check(&drills, &destinations, has_identity, reading);
    mirror::check(&mirrors, &destinations, &deployments, has_names_key, reading);
    across::refuse_surroundings_in_plain(&jobs, &destinations, reading);
    across::refuse_tiers_that_are_not_kept(&jobs, &destinations, reading);
    across::refuse_a_grace_shorter_than_a_run(&jobs, &destinations, reading);
    let tables = Tables {
        daemon: daemon?,
        signing: match signing {
            Some(signing) => Some(signing?),
            None => None,
        },
        encryption: match encryption {
            Some(encryption) => Some(encryption?),
            None => None,
        },
        erasure: erasure?,
        deployments: deployments.into_iter().collect::<Option<Vec<_>>>()?,
        destinations: all(destinations)?,
        surroundings: all(surroundings)?,
        jobs: all(jobs)?,
        mirrors: all(mirrors)?,
        masks: all(masks)?,
        drills: all(drills)?,
    };
    across::check(&tables, reading);
    Some(tables)
}

/// Reads every table of an array of tables.
fn tabled<'d, T>(
    root: &Section<'d>,
    reading: &mut Reading<'_>,
    name: &str,
    mut read: impl FnMut(&Section<'d>, &mut Reading<'_>) -> Option<T>,
) -> Tabled<'d, T> {
    let sections = root.tables(reading, name).into_iter();
    sections
        .map(|section| {
            let table = read(&section, reading);
            (section, table)
        })
        .collect()
}

/// All that was read; nothing where one was refused.
fn all<T>(tables: Tabled<'_, T>) -> Option<Vec<T>> {
    tables.into_iter().map(|(_, read)| read).collect()
}

/// The name of a job of the settings: one with slashes is that of a task of the daemon's own.
fn job_name(text: &str) -> Result<JobName, InvalidName> {
    let name = JobName::new(text)?;
    if name.is_task() { Err(InvalidName { text: text.to_owned() }) } else { Ok(name) }
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
