//! What else it takes to be up again after an emergency, in order.

use convault_archive::encryption::Identities;
use convault_core::{DeploymentName, Manifest, ObjectRole, Store};
use convault_jobs::{chain, read_surrounding};
use convault_settings::{Settings, SurroundingSource};
use serde::{Deserialize, Serialize};

use crate::print;

/// What a snapshot's surroundings tell of code and crons.
#[derive(Debug, Default, Serialize)]
pub(super) struct Sequence {
    snapshot: String,
    /// The surrounding with the bundle of a repository, and the commit that it was.
    code: Option<(String, String)>,
    /// Functions that crons call, which begin again when the code is pushed.
    crons: Vec<String>,
    has_surroundings: bool,
}

#[derive(Deserialize)]
struct Cron {
    name: Option<String>,
}

impl Sequence {
    /// Looks into the surroundings of a snapshot. What cannot be read is left out with a warning: data comes first.
    pub(super) async fn of(
        store: &dyn Store,
        manifest: &Manifest,
        identities: Option<&Identities>,
        settings: &Settings,
    ) -> Self {
        let has_surroundings = manifest.object(ObjectRole::Surroundings).is_some();
        let mut sequence = Self { snapshot: manifest.id.to_string(), has_surroundings, ..Self::default() };
        if !has_surroundings {
            return sequence;
        }
        let read = async |name: String| match read_surrounding(store, manifest, identities, &name).await {
            Ok(found) => found.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) => {
                print::note(&format!("warning: {}", chain(&error)));
                None
            }
        };
        let is_repository =
            |source: &SurroundingSource| matches!(source, SurroundingSource::Repository { .. });
        for surrounding in settings.surroundings.iter().filter(|one| is_repository(&one.source)) {
            if let Some(commit) = read(format!("{}/commit.txt", surrounding.name)).await {
                sequence.code = Some((surrounding.name.to_string(), commit.trim().to_owned()));
                break;
            }
        }
        let crons = read("scheduled-functions/crons.jsonl".to_owned()).await.unwrap_or_default();
        let crons = crons.lines().filter_map(|line| serde_json::from_str::<Cron>(line).ok()?.name);
        sequence.crons = crons.collect();
        sequence
    }

    /// The steps, for people.
    pub(super) fn print(&self, target: &DeploymentName, with_environment: bool) {
        print::line("in an emergency, in this order:");
        print::line("  1 data         this restore");
        print::line(&match &self.code {
            Some((name, commit)) => format!(
                "  2 code         commit {commit}, in {name}/repository.bundle of the surroundings; push it with `npx \
                 convex deploy`"
            ),
            None => "  2 code         from your repository, the commit that ran then; push it with `npx convex deploy`"
                .to_owned(),
        });
        print::line(&if with_environment {
            "  3 environment  by this restore, after the data".to_owned()
        } else if self.has_surroundings {
            format!("  3 environment  convault secrets restore --to {target} --from {} --yes", self.snapshot)
        } else {
            "  3 environment  by hand: no variables are stored with this snapshot".to_owned()
        });
        print::line(&if self.crons.is_empty() {
            "  4 crons        they begin when the code is pushed: take out those that must not run yet"
                .to_owned()
        } else {
            format!(
                "  4 crons        they begin when the code is pushed: take out those that must not run yet ({})",
                self.crons.join(", ")
            )
        });
    }
}
