//! Marks that people ask for, in every destination that has the snapshot.

use std::sync::Arc;

use convault_core::{DestinationResult, MarkWish};
use convault_jobs::{Destination, JobError, MarkRequest, RunContext};
use tokio_util::sync::CancellationToken;

use super::Worker;

impl Worker {
    /// Marks a snapshot in each destination that has it, and says what became of that. A destination that could not be
    /// asked says so; one that does not have it is left out.
    pub(crate) async fn mark(&self, wish: &MarkWish) -> Vec<DestinationResult> {
        let stop = CancellationToken::new();
        let context = RunContext::new(self.new_id(), Arc::clone(&self.clock), stop, Arc::new(|_| {}));
        let wanted = |destination: &&Destination| {
            wish.destination.as_ref().is_none_or(|name| name == destination.store.destination())
        };
        let mut results = Vec::new();
        let names: Vec<_> = self.settings.destinations.iter().map(|named| named.name.clone()).collect();
        for destination in self.destinations_named(&names).iter().filter(wanted) {
            let problem = match convault_jobs::mark(destination, &request(wish), &context).await {
                Ok(mark) => {
                    tracing::info!(
                        destination = %destination.store.destination(),
                        deployment = %wish.deployment,
                        kind = mark.kind.as_str(),
                        "marked snapshot {}", wish.id
                    );
                    None
                }
                Err(JobError::NoSuchSnapshot { .. }) => continue,
                Err(error) => Some(convault_jobs::chain(&error)),
            };
            let destination = destination.store.destination().clone();
            results.push(DestinationResult { destination, stored_bytes: 0, problem });
        }
        results
    }
}

fn request(wish: &MarkWish) -> MarkRequest {
    MarkRequest {
        deployment: wish.deployment.clone(),
        id: wish.id.clone(),
        kind: wish.kind,
        reason: wish.reason.clone(),
        names: wish.names.clone(),
        until: wish.until,
    }
}
