//! What the tester does behind everybody's back.

use std::sync::Arc;

use bytes::Bytes;
use convault_core::{Layout, Manifest, ObjectRole, PutMode, RunId, Verdict};
use rand::{Rng as _, seq::IndexedRandom as _};

use super::{Held, World};
use crate::{daemon::crm, model::Allowed};

impl World {
    /// Lays hands on a snapshot, behind everybody's back.
    pub(super) async fn damage(&mut self) -> Held {
        let place = self.any_place();
        let Some((id, manifest)) = self.any_snapshot(place) else { return Ok(()) };
        let (layout, raw) = (Layout::new(crm()), Arc::clone(&self.places[place].raw));
        let manifest_key = layout.manifest(&id);
        let object = manifest.objects.choose(&mut self.random).unwrap().clone();
        let key = layout.object(&id, &object.name);
        let other = self.any_snapshot(place).filter(|(other, _)| *other != id);
        let is_signed = self.places[place].trust.is_required();
        let mut touched = vec![(id.clone(), false)];
        let what = match self.random.random_range(0..12) {
            0 | 1 => {
                self.flip(place, &key).await;
                format!("a bit of {key} flips")
            }
            2 => {
                if let Some(bytes) = self.bytes(place, &key) {
                    self.write(place, &key, bytes.slice(..bytes.len() / 2)).await;
                }
                format!("{key} is truncated")
            }
            3 | 4 => {
                raw.delete(&key).await.unwrap();
                format!("{key} is deleted")
            }
            5 => {
                let Some((other, theirs)) = other else { return Ok(()) };
                let zip = |manifest: &Manifest| {
                    layout.object(&manifest.id, &manifest.object(ObjectRole::Snapshot).unwrap().name)
                };
                let keys = (zip(&manifest), zip(&theirs));
                let (Some(one), Some(two)) = (self.bytes(place, &keys.0), self.bytes(place, &keys.1)) else {
                    return Ok(());
                };
                self.write(place, &keys.0, two).await;
                self.write(place, &keys.1, one).await;
                touched.push((other.clone(), false));
                format!("the data of {id} and {other} are swapped")
            }
            6 | 7 => {
                raw.delete(&manifest_key).await.unwrap();
                touched[0].1 = true;
                format!("{manifest_key} is deleted")
            }
            8 => {
                self.write(place, &manifest_key, Bytes::from_static(b"{ \"format\": 1, half of a mani"))
                    .await;
                touched[0].1 = true;
                format!("{manifest_key} is garbage")
            }
            9 => {
                let Some((_, theirs)) = other else { return Ok(()) };
                self.write(place, &manifest_key, theirs.to_bytes().into()).await;
                touched[0].1 = true;
                format!("{manifest_key} is that of {}", theirs.id)
            }
            10 if is_signed => {
                let forged = Manifest { objects: Vec::new(), verdict: Verdict::Good, ..manifest };
                self.write(place, &manifest_key, forged.to_bytes().into()).await;
                touched[0].1 = true;
                format!("{manifest_key} is forged")
            }
            11 if is_signed => {
                let planted = RunId::new(self.time.now(), self.random.random());
                let snapshot_ts_ns = manifest.snapshot_ts_ns + 1;
                let forged = Manifest { id: planted.clone(), snapshot_ts_ns, ..manifest };
                self.write(place, &layout.manifest(&planted), forged.to_bytes().into()).await;
                touched.clear();
                format!("a manifest is planted: {planted}")
            }
            _ => {
                raw.delete(&layout.run_start(&id)).await.unwrap();
                touched.clear();
                format!("the start record of {id} is deleted")
            }
        };
        self.note(format!("in {place}: {what}"));
        let now = self.time.now();
        for (id, with_manifest) in touched {
            self.model.tampered(&self.places, place, &id, with_manifest, now).await;
        }
        self.look(Allowed::NOTHING).await
    }

    fn bytes(&self, place: usize, key: &str) -> Option<Bytes> {
        self.model.views[place].objects.get(key).cloned()
    }

    async fn write(&self, place: usize, key: &str, body: Bytes) {
        self.places[place].raw.put(key, body, PutMode::Overwrite).await.unwrap();
    }

    /// Flips a bit; in memory so that the entity tag does not show it, or so that it does.
    async fn flip(&mut self, place: usize, key: &str) {
        let Some(bytes) = self.bytes(place, key) else { return };
        let mut bytes = bytes.to_vec();
        let at = self.random.random_range(0..bytes.len());
        bytes[at] ^= 1 << self.random.random_range(0..8);
        match &self.places[place].memory {
            Some(memory) if self.random.random_bool(0.5) => memory.tamper(key, bytes.into()),
            _ => self.write(place, key, bytes.into()).await,
        }
    }
}
