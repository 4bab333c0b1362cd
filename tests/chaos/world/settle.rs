//! What is there once everything has settled, and whether it can be had back.

use std::sync::Arc;

use convault_jobs::{Access, PruneRules, RunContext, download};
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use super::{Broken, DAY, Held, World, broken};
use crate::{daemon::Told, model::Allowed};

impl World {
    /// Lets all grace go by, prunes without a fault, and looks at what is left.
    pub(crate) async fn settle(&mut self) -> Held {
        self.note("everything settles".to_owned());
        for clock in &self.clocks {
            clock.set_wrong_by(SignedDuration::ZERO);
        }
        for place in 0..self.places.len() {
            for _ in 0..3 {
                self.time.leap(DAY * 31);
                self.arm(0, None);
                let id = self.new_id(0);
                let rules = PruneRules {
                    accept_missing: true,
                    sweep_limit_percent: 100,
                    ..self.daemons[0].rules(&self.keep)
                };
                let told = self.daemons[0].prune(&id, place, &rules).await;
                self.tell(&format!("{told:?}"));
                if !matches!(told, Told::Ran(Ok(_))) {
                    return broken("a prune without a fault fails");
                }
                let now = Some(self.time.now());
                let floor = Some(self.keep.at_least_verified.max(1));
                self.look(Allowed { floor, prune_at: now }).await?;
            }
            let stray = self.model.without_owner(place);
            if !stray.is_empty() {
                return broken(format!("nobody owns {stray:?} in {place}"));
            }
            let uploads = self.places[place].raw.list_uploads("").await.unwrap();
            if !uploads.is_empty() {
                return broken(format!("{uploads:?} were never finished"));
            }
        }
        Ok(())
    }

    /// Downloads every snapshot that the tester has not laid hands on. Gives how many.
    pub(crate) async fn download_all(&mut self) -> Result<usize, Broken> {
        let mut number = 0;
        for (place, at) in self.places.iter().enumerate() {
            for (id, export) in self.model.untouched(place) {
                let seen = &self.model.views[place].folders[id];
                let (Some(manifest), Some(_)) = (&seen.manifest, seen.standing) else { continue };
                let mut output = Vec::new();
                let clock = Arc::new(self.clocks[0].clone());
                let context = RunContext::new(id.clone(), clock, CancellationToken::new(), Arc::new(|_| {}));
                let given = download(
                    at.raw.as_ref(),
                    manifest,
                    Access::Opened(None),
                    &mut output,
                    "memory",
                    &context,
                )
                .await;
                match given {
                    Ok(_) if output == export[..] => number += 1,
                    Ok(_) => return Err(Broken(format!("{id} is downloaded, and is not what was stored"))),
                    Err(error) => return Err(Broken(format!("{id} cannot be downloaded: {error}"))),
                }
            }
        }
        Ok(number)
    }
}
