//! Validated names: what a user writes in the settings to call a deployment, a destination or a job.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A name that may not be used: it is empty, too long or has a character that cannot be part of an object key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a name: use 1 to 63 of a-z, 0-9, `-`, `_`, starting with a letter or digit")]
pub struct InvalidName {
    /// What was written.
    pub text: String,
}

fn check(text: &str) -> Result<(), InvalidName> {
    let starts_well = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let made_well =
        text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    if starts_well && made_well && text.len() <= 63 {
        Ok(())
    } else {
        Err(InvalidName { text: text.to_owned() })
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Takes `text` as a name: 1 to 63 of `a-z 0-9 - _`, starting with a letter or digit.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidName> {
                let text = text.into();
                $check(&text)?;
                Ok(Self(text))
            }

            /// The name as it was written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// The name of a deployment: what is protected. It is the folder of its snapshots in every destination.
    DeploymentName, check
}
name! {
    /// The name of a part of the surroundings: the folder of its entries in `surroundings.zip.age`.
    SurroundingName, check
}
name! {
    /// The name of a destination: a configured place that snapshots are stored in.
    DestinationName, check
}
name! {
    /// The name of a mirror: a bucket or folder of media that is kept in a second place.
    MirrorName, check
}
name! {
    /// The name of a drill: a restore that is practised into a scratch deployment.
    DrillName, check
}
name! {
    /// The name of a job: a deployment, a schedule, and where its snapshots go. The daemon's own tasks have names that
    /// no user can give: see [`JobName::verify`].
    JobName, task
}

/// The name of the verify task of one deployment in one destination, `verify/offsite/crm`, of a mirror, `mirror/media`,
/// of the look at a job's secrets, `watch/nightly`, of a drill, `drill/weekly`, or of a restore, `restore/crm`.
fn task(text: &str) -> Result<(), InvalidName> {
    let prefixes = [MIRROR_TASK, WATCH_TASK, DRILL_TASK, RESTORE];
    if let Some(name) = prefixes.iter().find_map(|prefix| text.strip_prefix(prefix)) {
        return check(name);
    }
    let parts = text.strip_prefix(VERIFY_TASK).and_then(|rest| rest.split_once('/'));
    match parts {
        Some((destination, deployment)) => check(destination).and_then(|()| check(deployment)),
        None => check(text),
    }
}

const VERIFY_TASK: &str = "verify/";
const MIRROR_TASK: &str = "mirror/";
const WATCH_TASK: &str = "watch/";
const DRILL_TASK: &str = "drill/";
const RESTORE: &str = "restore/";

impl JobName {
    /// The daemon's task of verifying what `destination` holds of `deployment`.
    pub fn verify(destination: &DestinationName, deployment: &DeploymentName) -> Self {
        Self(format!("{VERIFY_TASK}{destination}/{deployment}"))
    }

    /// The daemon's task of bringing a mirror up to date.
    pub fn mirror(mirror: &MirrorName) -> Self {
        Self(format!("{MIRROR_TASK}{mirror}"))
    }

    /// The daemon's task of looking whether the secrets of a job's deployment changed.
    pub fn watch(job: &JobName) -> Self {
        Self(format!("{WATCH_TASK}{job}"))
    }

    /// What restores into a deployment are filed under in the history.
    pub fn restore(target: &DeploymentName) -> Self {
        Self(format!("{RESTORE}{target}"))
    }

    /// The daemon's task of a drill.
    pub fn drill(drill: &DrillName) -> Self {
        Self(format!("{DRILL_TASK}{drill}"))
    }

    /// The drill of a drill's task.
    pub fn as_drill(&self) -> Option<DrillName> {
        self.0.strip_prefix(DRILL_TASK).and_then(|name| DrillName::new(name).ok())
    }

    /// Whether this is the task of looking at a job's secrets.
    pub fn is_watch(&self) -> bool {
        self.0.starts_with(WATCH_TASK)
    }

    /// The mirror of a mirror's task.
    pub fn as_mirror(&self) -> Option<MirrorName> {
        self.0.strip_prefix(MIRROR_TASK).and_then(|name| MirrorName::new(name).ok())
    }

    /// Whether this is a task of the daemon and no job of the settings.
    pub fn is_task(&self) -> bool {
        self.0.contains('/')
    }
}

impl MirrorName {
    /// The name under which leases, the run history and the scheduler file a mirror, among those of deployments: the
    /// settings see to it that no deployment has it.
    pub fn protected(&self) -> DeploymentName {
        DeploymentName(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::{DeploymentName, DestinationName, DrillName, JobName, MirrorName};

    #[test]
    fn the_task_of_a_mirror_names_it() {
        let mirror = MirrorName::new("media").unwrap();
        let task = JobName::new("mirror/media").unwrap();
        assert_eq!((&JobName::mirror(&mirror), task.as_mirror()), (&task, Some(mirror)));
        let watch = JobName::watch(&JobName::new("nightly").unwrap());
        assert!(watch.is_watch() && JobName::new("watch/nightly") == Ok(watch));
        assert!(task.is_task() && JobName::new("mirror/").is_err() && JobName::new("mirror/a/b").is_err());
    }

    #[test]
    fn the_task_of_a_drill_names_it() {
        let drill = DrillName::new("weekly").unwrap();
        let task = JobName::new("drill/weekly").unwrap();
        assert_eq!((&JobName::drill(&drill), task.as_drill()), (&task, Some(drill)));
        assert!(task.is_task() && task.as_mirror().is_none() && JobName::new("drill/a/b").is_err());
    }

    #[test]
    fn a_task_has_a_name_that_survives_being_written() {
        let name =
            JobName::verify(&DestinationName::new("off").unwrap(), &DeploymentName::new("crm").unwrap());
        assert_eq!(name.as_str(), "verify/off/crm");
        assert_eq!(JobName::new("verify/off/crm").unwrap(), name);
        assert!(name.is_task() && !JobName::new("verify").unwrap().is_task());
        assert!(JobName::new("verify/off").is_err() && JobName::new("a/b/c").is_err());
    }

    #[test]
    fn a_name_cannot_leave_its_folder() {
        for bad in ["", "..", "a/b", "Crm", "-crm", "crm ", "é", &"a".repeat(64)] {
            assert!(DeploymentName::new(bad).is_err(), "{bad:?} was taken");
        }
        for good in ["crm", "crm-2", "0_a", &"a".repeat(63)] {
            assert!(DeploymentName::new(good).is_ok(), "{good:?} was refused");
        }
    }
}
