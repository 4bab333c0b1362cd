//! Several snapshots of one deployment, and what is told of having looked into one.

use std::collections::BTreeMap;

use convault_archive::encryption::Identities;
use convault_core::{Clock as _, DeploymentName, DestinationName, SystemClock};
use convault_jobs::{FolderState, Looked, Rules};
use convault_settings::Settings;
use jiff::Timestamp;

use super::{
    Surroundings,
    choose::{Found, chosen_deployments, chosen_destinations},
    erasures::Erasures,
    reading::rules,
};
use crate::{
    arguments::Leaving,
    exit::{Exit, ExitWith},
    print, wiring,
};

/// Snapshots of one deployment, each once, in the destination that has it best; the oldest first.
pub(crate) struct Snapshots {
    settings: Settings,
    /// Who is to be forgotten, by the ledger of each destination that one of them lies in: read once.
    erasures: BTreeMap<DestinationName, Erasures>,
    /// Whoever is here to open them.
    pub(crate) identities: Option<Identities>,
    pub(crate) found: Vec<Found>,
}

/// Where snapshots are looked for.
pub(crate) struct Where<'a> {
    pub(crate) deployment: Option<&'a DeploymentName>,
    pub(crate) destination: Option<&'a DestinationName>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) as_of: Option<Timestamp>,
}

impl Snapshots {
    /// Every snapshot that is there.
    pub(crate) async fn all(
        surroundings: &Surroundings,
        place: &Where<'_>,
        leaving: &Leaving,
    ) -> anyhow::Result<Self> {
        let settings = surroundings.settings()?;
        let identities = wiring::identities(&settings, leaving.identity.identity.as_deref())?;
        let deployments = chosen_deployments(&settings, place.deployment);
        let [deployment] = deployments.as_slice() else {
            let text = "there are several deployments: say which one is meant, with --deployment NAME";
            return Err(ExitWith(Exit::Failed, text.to_owned()).into());
        };
        let mut found: Vec<Found> = Vec::new();
        for destination in chosen_destinations(&settings, place.destination, place.as_of)? {
            let survey = convault_jobs::survey(&destination, deployment, &[], SystemClock.now()).await?;
            for folder in survey.folders {
                let FolderState::Snapshot(snapshot) = &folder.state else { continue };
                if place.since.is_some_and(|since| snapshot.manifest.snapshot_time() < since) {
                    continue;
                }
                let one = Found { destination: destination.clone(), deployment: deployment.clone(), folder };
                match found.iter_mut().find(|known| known.folder.id == one.folder.id) {
                    Some(known) if one.rank() > known.rank() => *known = one,
                    Some(_) => {}
                    None => found.push(one),
                }
            }
        }
        if found.is_empty() {
            let text = format!("there is no snapshot of {deployment} that is meant");
            return Err(ExitWith(Exit::NotFound, text).into());
        }
        found.sort_by_key(|found| found.folder.snapshot().map(|snapshot| snapshot.manifest.snapshot_ts_ns));
        let mut erasures = BTreeMap::new();
        for one in &found {
            let name = one.destination.store.destination();
            if !erasures.contains_key(name) {
                let (there, include) = (&one.destination, leaving.include_erased);
                let read = Erasures::read(&settings, there, deployment, identities.as_ref(), include).await?;
                erasures.insert(name.clone(), read);
            }
        }
        Ok(Self { settings, erasures, identities, found })
    }

    /// What is done to the content of one of them on its way out.
    pub(crate) async fn rules(&self, found: &Found, leaving: &Leaving) -> anyhow::Result<Rules> {
        let mut rules = rules(&self.settings, &found.deployment, leaving)?;
        let erasures = self.erasures.get(found.destination.store.destination());
        if let (Some(erasures), Some(snapshot)) = (erasures, found.folder.snapshot()) {
            let identities = self.identities.as_ref();
            rules.erased = erasures.of_snapshot(&found.destination, &snapshot.manifest, identities).await?;
        }
        Ok(rules)
    }
}

/// `read 1.2 MiB of 5.0 GiB (0.02 %)`.
pub(crate) fn read_of(looked: &Looked) -> String {
    let (read, stored) = (looked.read_bytes, looked.stored_bytes);
    let hundredths = u128::from(read) * 10_000 / u128::from(stored.max(1));
    let percent = format!("{}.{:02}", hundredths / 100, hundredths % 100);
    format!("read {} of {} ({percent} %)", print::size(read), print::size(stored))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_much_was_read_is_told_in_hundredths_of_a_percent() {
        let looked = |read_bytes, stored_bytes| {
            read_of(&Looked { tables: Vec::new(), documents: 0, read_bytes, stored_bytes })
        };
        assert_eq!(looked(1 << 20, 5 << 30), "read 1.0 MiB of 5.0 GiB (0.01 %)");
        assert_eq!(looked(0, 0), "read 0 B of 0 B (0.00 %)");
        assert_eq!(looked(3, 3), "read 3 B of 3 B (100.00 %)");
    }
}
