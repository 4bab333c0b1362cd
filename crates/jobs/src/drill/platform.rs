//! [`PlatformScratch`]: a deployment of the platform that is made for one drill and deleted after it.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use convault_core::{DRILL_REFERENCE, DrillName, NewDeployment, Platform, RunId, ScratchKind};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::scratch::{Connect, Reached, Scratch, ScratchDeployment};
use crate::{JobError, error::chain};

/// What the deploy key of a scratch deployment may do, and nothing else.
const SCRATCH_KEY_ACTIONS: [&str; 8] = [
    "deployment:backups:create",
    "deployment:backups:view",
    "deployment:backups:download",
    "deployment:backups:import",
    "deployment:backups:delete",
    "deployment:data:view",
    "deployment:env:view",
    "deployment:functions:runInternalQueries",
];

/// As much of a drill's name stands in a reference, which has 100 characters.
const NAME_IN_REFERENCE: usize = 40;
/// The platform takes no expiry that is nearer than half an hour.
const LEAST_LIFE: Duration = Duration::from_hours(1);
/// So often a deletion is tried before the platform's own expiry is left to do it.
const DELETES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Deployments of one project of the platform, made for one drill each.
pub struct PlatformScratch {
    platform: Arc<dyn Platform>,
    drill: DrillName,
    connect: Connect,
    life: Duration,
}

impl PlatformScratch {
    /// Deployments for `drill`, which takes `time_out` at most: after that and an hour more the platform deletes them by
    /// itself.
    pub fn new(platform: Arc<dyn Platform>, drill: DrillName, connect: Connect, time_out: Duration) -> Self {
        Self { platform, drill, connect, life: time_out + LEAST_LIFE }
    }

    /// What a deployment of this run is found by: of `a-z`, `0-9` and `-`.
    fn reference(&self, run: &RunId) -> String {
        let name: String = self.drill.as_str().chars().take(NAME_IN_REFERENCE).collect();
        format!("{DRILL_REFERENCE}{name}-{run}").to_lowercase().replace('_', "-")
    }

    async fn remove_leftovers(
        &self,
        dead: &[RunId],
        now: Timestamp,
        warn: &(dyn Fn(String) + Send + Sync),
    ) -> Result<(), JobError> {
        let all = self.platform.list().await.map_err(|error| failed(&error))?;
        for left in all {
            let Some(run) = left.reference.as_deref().and_then(run_of) else { continue };
            let age = now.duration_since(run.time());
            let is_old = !age.is_negative() && age.unsigned_abs() > self.life;
            if !is_old && !dead.contains(&run) {
                continue;
            }
            match self.platform.delete(&left.name).await {
                Ok(()) => {
                    warn(format!("deleted {}, which the drill {run} had left on the platform", left.name));
                }
                Err(error) => {
                    let name = &left.name;
                    warn(format!(
                        "{name}, which the drill {run} has left on the platform, is still there: {}",
                        chain(&error)
                    ));
                }
            }
        }
        Ok(())
    }
}

/// The run whose deployment has this reference.
fn run_of(reference: &str) -> Option<RunId> {
    let rest = reference.strip_prefix(DRILL_REFERENCE)?;
    let mut parts = rest.rsplitn(3, '-');
    let (random, time) = (parts.next()?, parts.next()?);
    RunId::parse(&format!("{}-{random}", time.to_uppercase())).ok()
}

fn failed(error: &convault_core::PlatformError) -> JobError {
    JobError::Scratch { what: chain(error), is_transient: error.is_transient }
}

impl fmt::Debug for PlatformScratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlatformScratch").field("platform", &self.platform).finish_non_exhaustive()
    }
}

#[async_trait]
impl Scratch for PlatformScratch {
    fn kind(&self) -> ScratchKind {
        ScratchKind::Platform
    }

    async fn begin(
        &self,
        run: &RunId,
        dead: &[RunId],
        now: Timestamp,
        warn: &(dyn Fn(String) + Send + Sync),
        _: &CancellationToken,
    ) -> Result<Box<dyn ScratchDeployment>, JobError> {
        self.remove_leftovers(dead, now, warn).await?;
        let expires = now + self.life;
        let wanted = NewDeployment { reference: self.reference(run), expires };
        let made = self.platform.create(&wanted).await.map_err(|error| failed(&error))?;
        let name = made.name.clone();
        let reached = async {
            let key = self.platform.create_key(&name, "convault drill", &SCRATCH_KEY_ACTIONS, expires).await;
            let key = key.map_err(|error| failed(&error))?;
            let reached = (self.connect)(&made.url, &key);
            reached.map_err(|what| JobError::Scratch { what, is_transient: false })
        };
        match reached.await {
            Ok(reached) => Ok(Box::new(Made { platform: Arc::clone(&self.platform), name, reached })),
            Err(error) => {
                if let Err(text) = delete(self.platform.as_ref(), &name).await {
                    warn(text);
                }
                Err(error)
            }
        }
    }
}

#[derive(Debug)]
struct Made {
    platform: Arc<dyn Platform>,
    name: String,
    reached: Reached,
}

#[async_trait]
impl ScratchDeployment for Made {
    fn reached(&self) -> &Reached {
        &self.reached
    }

    fn is_made(&self) -> bool {
        true
    }

    async fn end(self: Box<Self>) -> Result<(), String> {
        delete(self.platform.as_ref(), &self.name).await
    }
}

async fn delete(platform: &dyn Platform, name: &str) -> Result<(), String> {
    let mut pause = FIRST_PAUSE;
    let mut tries = 1;
    loop {
        match platform.delete(name).await {
            Ok(()) => return Ok(()),
            Err(error) if error.is_transient && tries < DELETES => {
                tokio::time::sleep(pause).await;
                pause *= 2;
                tries += 1;
            }
            Err(error) => {
                return Err(format!(
                    "the scratch deployment {name} is still on the platform, with all that was restored into it; it expires \
                     by itself, and the next drill deletes it: {}",
                    chain(&error)
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Nowhere;
    #[async_trait]
    impl Platform for Nowhere {
        async fn create(
            &self,
            _: &NewDeployment,
        ) -> Result<convault_core::MadeDeployment, convault_core::PlatformError> {
            unreachable!("nothing is made")
        }
        async fn create_key(
            &self,
            _: &str,
            _: &str,
            _: &[&str],
            _: Timestamp,
        ) -> Result<convault_core::Secret, convault_core::PlatformError> {
            unreachable!("nothing is made")
        }
        async fn list(&self) -> Result<Vec<convault_core::MadeDeployment>, convault_core::PlatformError> {
            Ok(Vec::new())
        }
        async fn delete(&self, _: &str) -> Result<(), convault_core::PlatformError> {
            Ok(())
        }
    }

    #[test]
    fn a_reference_tells_its_run() {
        let run = RunId::parse("20261122T030056Z-4k9x2m").unwrap();
        let name = DrillName::new("every_week-at-5").unwrap();
        let connect: Connect = Arc::new(|_, _| Err(String::new()));
        let scratch = PlatformScratch::new(Arc::new(Nowhere), name, connect, Duration::from_hours(1));
        let reference = scratch.reference(&run);
        assert_eq!(reference, "convault-drill-every-week-at-5-20261122t030056z-4k9x2m");
        assert_eq!(run_of(&reference), Some(run));
        assert_eq!(run_of("convault-drill-mine"), None);
        assert_eq!(run_of("production"), None);
    }
}
