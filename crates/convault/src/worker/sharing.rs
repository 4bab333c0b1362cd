//! The sharing of work with other daemons: leases in the destination that `daemon.coordinate_in` names.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use convault_core::{Abilities, Clock, CoordinationStatus, DeploymentName, DestinationName, Holder};
use convault_jobs::{Destination, JobError, Leases};
use convault_settings::Settings;
use tokio::sync::OnceCell;

use crate::wiring::Destinations;

/// The leases of this process, and what became of them.
#[derive(Debug)]
pub(crate) struct Sharing {
    destination: Destination,
    leases: Leases,
    abilities: OnceCell<Abilities>,
    tally: Mutex<Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    held: BTreeMap<DeploymentName, u64>,
    left_to_others: u64,
    lost: u64,
}

impl Sharing {
    /// The leases that the settings ask for; `None` where this daemon works alone.
    pub(super) fn new(
        settings: &Settings,
        destinations: &Destinations,
        clock: &Arc<dyn Clock>,
    ) -> Option<Self> {
        let destination = destinations.get(settings.daemon.coordinate_in.as_ref()?)?.clone();
        let holder = Holder { instance: format!("{:016x}", rand::random::<u64>()), host: host_name() };
        let store = Arc::clone(&destination.store);
        let leases = Leases::new(store, holder, settings.daemon.lease, Arc::clone(clock));
        Some(Self { destination, leases, abilities: OnceCell::new(), tally: Mutex::default() })
    }

    /// The destination that holds the leases.
    pub(crate) fn destination(&self) -> &DestinationName {
        self.destination.store.destination()
    }

    /// What the store can do, tried out once; where that did not work, again the next time.
    pub(crate) async fn abilities(&self) -> Result<&Abilities, JobError> {
        let store = self.destination.store.as_ref();
        self.abilities.get_or_try_init(|| async { Ok(store.abilities().await?) }).await
    }

    /// The leases, once the store was seen to be fit for them.
    pub(crate) async fn leases(&self) -> Result<&Leases, JobError> {
        Leases::check_store(self.destination.store.as_ref(), self.abilities().await?)?;
        Ok(&self.leases)
    }

    /// What is known of the sharing.
    pub(crate) fn status(&self) -> CoordinationStatus {
        let tally = self.tally();
        CoordinationStatus {
            destination: self.destination().clone(),
            instance: self.leases.holder().instance.clone(),
            held: tally.held.clone(),
            left_to_others: tally.left_to_others,
            lost: tally.lost,
        }
    }

    pub(super) fn took(&self, deployment: &DeploymentName, fence: u64) {
        self.tally().held.insert(deployment.clone(), fence);
    }

    pub(super) fn gave_back(&self, deployment: &DeploymentName) {
        self.tally().held.remove(deployment);
    }

    pub(super) fn lost(&self) {
        self.tally().lost += 1;
    }

    pub(super) fn left_to_others(&self) {
        self.tally().left_to_others += 1;
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For people who wonder where the work is done.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "unknown".to_owned() } else { name.to_owned() }
}
