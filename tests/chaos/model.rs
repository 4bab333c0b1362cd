//! What must hold, whatever happens: what every place holds is compared with what was there before and with what the
//! tester knows.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use convault_core::{Layout, Manifest, MarkKind, ObjectRole, RunId, Sha256, Standing};
use convault_jobs::{FolderState, Survey, survey};
use futures::TryStreamExt as _;
use jiff::Timestamp;

use crate::daemon::{Place, crm};

/// A snapshot as the tester knows it.
#[derive(Debug, Clone)]
struct Known {
    /// The bytes of its objects, as they were when it was first seen.
    objects: BTreeMap<String, Bytes>,
    /// Whether the tester has laid hands on it since.
    tampered: bool,
}

/// What was seen of a snapshot folder.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "these are answers to questions, not a state")]
pub(crate) struct Seen {
    pub(crate) state: &'static str,
    pub(crate) manifest: Option<Manifest>,
    pub(crate) standing: Option<Standing>,
    /// Every object that the manifest names is there and has its SHA-256.
    pub(crate) intact: bool,
    pub(crate) held: bool,
    pub(crate) is_alarming: bool,
    pub(crate) accepted: bool,
    /// It was brought back, so that it may be one more than was asked for.
    repaired: bool,
}

impl Seen {
    pub(crate) fn is_good(&self) -> bool {
        self.standing == Some(Standing::Good)
    }
}

/// What a place holds.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) folders: BTreeMap<RunId, Seen>,
    pub(crate) objects: BTreeMap<String, Bytes>,
}

impl View {
    fn good(&self) -> impl Iterator<Item = (&RunId, &Seen)> {
        self.folders.iter().filter(|(_, seen)| seen.is_good())
    }

    /// Whether the newest snapshot that is not damaged is suspect.
    fn is_frozen(&self, now: Timestamp) -> bool {
        let snapshots = self.folders.values().filter(|seen| {
            let time = seen.manifest.as_ref().map(Manifest::snapshot_time);
            time.is_some_and(|time| time <= now)
                && seen.standing.is_some_and(|standing| standing != Standing::Damaged)
        });
        let newest =
            snapshots.max_by_key(|seen| seen.manifest.as_ref().map(|m| (m.snapshot_ts_ns, m.id.clone())));
        newest.is_some_and(|seen| seen.standing == Some(Standing::Suspect))
    }
}

/// What a step may do to snapshots that are there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowed {
    /// Removing, down to so many good ones; `None` where nothing may be removed.
    pub(crate) floor: Option<u32>,
    /// A prune alone, whose daemon has this time: frozen by a suspect snapshot.
    pub(crate) prune_at: Option<Timestamp>,
}

impl Allowed {
    pub(crate) const NOTHING: Self = Self { floor: None, prune_at: None };
}

/// What the tester knows of all places.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// The bytes that each run was given.
    pub(crate) exports: BTreeMap<RunId, Bytes>,
    known: Vec<BTreeMap<RunId, Known>>,
    /// Objects of snapshots whose manifests were lost: they must stay as they are.
    protected: Vec<BTreeMap<String, Bytes>>,
    pub(crate) views: Vec<View>,
}

impl Model {
    pub(crate) async fn new(places: &[Place], now: Timestamp) -> Self {
        let mut model = Self::default();
        for place in places {
            model.known.push(BTreeMap::new());
            model.protected.push(BTreeMap::new());
            model.views.push(look(place, now).await);
        }
        model
    }

    /// The snapshots of a place that the tester has not laid hands on.
    pub(crate) fn untouched(&self, place: usize) -> impl Iterator<Item = (&RunId, &Bytes)> {
        self.known[place]
            .iter()
            .filter(|(_, known)| !known.tampered)
            .filter(move |(id, _)| {
                self.views[place].folders.get(*id).is_some_and(|seen| seen.manifest.is_some())
            })
            .filter_map(|(id, _)| Some((id, self.exports.get(id)?)))
    }

    /// Looks again after a step, and says what does not hold.
    pub(crate) async fn step(&mut self, places: &[Place], allowed: Allowed, now: Timestamp) -> Vec<String> {
        let mut wrong = Vec::new();
        for (number, place) in places.iter().enumerate() {
            let after = look(place, now).await;
            let before = std::mem::replace(&mut self.views[number], after);
            let found = self.compare(number, &before, allowed);
            wrong.extend(found.into_iter().map(|what| format!("{}: {what}", place.name())));
        }
        wrong.extend(self.done_twice(places));
        wrong
    }

    /// A due time that was done twice in one place, under leases.
    fn done_twice(&self, places: &[Place]) -> Option<String> {
        for (view, place) in self.views.iter().zip(places) {
            let counting = view.folders.iter().filter(|(_, seen)| seen.standing.is_some() && !seen.repaired);
            let mut due = counting
                .filter_map(|(id, seen)| {
                    Some((seen.manifest.as_ref().filter(|one| one.fence.is_some())?.due?, id))
                })
                .collect::<Vec<_>>();
            due.sort_unstable();
            if let Some(twice) = due.windows(2).find(|two| two[0].0 == two[1].0) {
                let name = place.name();
                return Some(format!(
                    "{name}: {} was done twice: {} and {}",
                    twice[0].0, twice[0].1, twice[1].1
                ));
            }
        }
        None
    }

    fn compare(&mut self, place: usize, before: &View, allowed: Allowed) -> Vec<String> {
        let mut wrong = Vec::new();
        let after = &self.views[place];
        for (id, seen) in &after.folders {
            let export = self.exports.get(id);
            let folder = Layout::new(crm()).snapshot_prefix(id);
            match self.known[place].get_mut(id) {
                None if seen.standing.is_some() => {
                    if !seen.intact || export.is_none_or(|export| zip_of(after, seen) != Some(export)) {
                        wrong.push(format!("{id} is listed and is not whole"));
                    }
                    let objects = below(after, &folder);
                    self.known[place].insert(id.clone(), Known { objects, tampered: false });
                }
                None => {}
                Some(known) if known.tampered => {
                    let whole =
                        seen.intact && export.is_some_and(|export| zip_of(after, seen) == Some(export));
                    if whole && seen.standing.is_some_and(|standing| standing != Standing::Damaged) {
                        *known = Known { objects: below(after, &folder), tampered: false };
                        self.protected[place].retain(|key, _| !key.starts_with(&folder));
                    }
                }
                Some(known) => {
                    wrong.extend(of_untouched(id, seen, known, after));
                }
            }
        }
        wrong.extend(self.of_removed(place, before, allowed));
        wrong.extend(self.of_protected(place));
        wrong
    }

    /// What of a snapshot without a manifest is not as it was, unless what the tester had damaged is as it was at first:
    /// a repair may have died in the middle. Once the manifest is back, the snapshot is one like any other, even where
    /// its data is damaged.
    fn of_protected(&mut self, place: usize) -> Vec<String> {
        let after = &self.views[place];
        let mut wrong = Vec::new();
        for (key, bytes) in &self.protected[place] {
            let now = after.objects.get(key);
            let first = self.known[place].values().find_map(|known| known.objects.get(key));
            if now != Some(bytes) && (now.is_none() || now != first) {
                wrong.push(format!("{key} has lost its manifest, and was changed or deleted"));
            }
        }
        for id in after.folders.iter().filter(|(_, seen)| seen.standing.is_some()).map(|(id, _)| id) {
            let folder = Layout::new(crm()).snapshot_prefix(id);
            self.protected[place].retain(|key, _| !key.starts_with(&folder));
        }
        wrong
    }

    /// What is gone that the tester has not laid hands on.
    fn of_removed(&self, place: usize, before: &View, allowed: Allowed) -> Vec<String> {
        let mut wrong = Vec::new();
        let after = &self.views[place];
        let is_there = |id: &RunId| after.folders.get(id).is_some_and(|seen| seen.standing.is_some());
        let removed: Vec<(&RunId, &Seen)> = before
            .folders
            .iter()
            .filter(|(id, seen)| seen.standing.is_some() && !is_there(id))
            .filter(|(id, _)| self.known[place].get(*id).is_none_or(|known| !known.tampered))
            .collect();
        if removed.is_empty() {
            return wrong;
        }
        let names: Vec<&str> = removed.iter().map(|(id, _)| id.as_str()).collect();
        let Some(floor) = allowed.floor else {
            wrong.push(format!("{names:?} are gone, and nothing should have been removed"));
            return wrong;
        };
        if let Some((id, _)) = removed.iter().find(|(_, seen)| seen.held) {
            wrong.push(format!("{id} was held, and is gone"));
        }
        if allowed.prune_at.is_some_and(|now| before.is_frozen(now)) {
            wrong.push(format!("{names:?} are gone although the newest snapshot is suspect"));
        }
        let good = before.good().count();
        let spoiled = before.good().filter(|(_, seen)| !seen.intact).count();
        let least = good.min(floor as usize).saturating_sub(spoiled);
        let left = after.good().filter(|(_, seen)| seen.intact).count();
        if removed.iter().any(|(_, seen)| seen.is_good()) && left < least {
            wrong.push(format!("of {good} good snapshots only {left} are left, and the floor is {floor}"));
        }
        wrong
    }

    /// Notes that the tester has laid hands on a snapshot, after the deed.
    pub(crate) async fn tampered(
        &mut self,
        places: &[Place],
        place: usize,
        id: &RunId,
        with_manifest: bool,
        now: Timestamp,
    ) {
        let after = look(&places[place], now).await;
        let folder = Layout::new(crm()).snapshot_prefix(id);
        if let Some(known) = self.known[place].get_mut(id) {
            known.tampered = true;
        }
        self.protected[place].retain(|key, _| !key.starts_with(&folder));
        if with_manifest
            && after.folders.get(id).is_some_and(|seen| seen.is_alarming && seen.standing.is_none())
        {
            let objects =
                below(&after, &folder).into_iter().filter(|(key, _)| !key.contains("/manifest.json"));
            self.protected[place].extend(objects);
        }
        self.views[place] = after;
    }

    /// Every object that nobody owns, once all grace is over and all has been pruned.
    pub(crate) fn without_owner(&self, place: usize) -> Vec<String> {
        let view = &self.views[place];
        let owned: BTreeSet<String> = view
            .folders
            .iter()
            .filter_map(|(id, seen)| Some(owned(id, seen.manifest.as_ref()?)))
            .flatten()
            .collect();
        let is_owned = |key: &str| {
            let mut parts = key.split('/');
            match (parts.next(), parts.next(), parts.next()) {
                (Some("convault.json" | "leases" | "keys"), ..)
                | (Some("crm"), Some("prunes"), _)
                | (Some("crm"), Some("proofs"), Some("runs")) => true,
                (Some("crm"), Some("marks" | "proofs"), Some(id)) => {
                    RunId::parse(id).is_ok_and(|id| view.folders.contains_key(&id))
                }
                (Some("crm"), Some("snapshots"), Some(id)) => {
                    let state = RunId::parse(id).ok().and_then(|id| view.folders.get(&id));
                    owned.contains(key)
                        || state.is_some_and(|seen| seen.standing.is_none() && seen.is_alarming)
                }
                _ => false,
            }
        };
        view.objects.keys().filter(|key| !is_owned(key)).cloned().collect()
    }
}

/// What must hold of a snapshot that the tester has not laid hands on.
fn of_untouched(id: &RunId, seen: &Seen, known: &Known, view: &View) -> Vec<String> {
    let mut wrong = Vec::new();
    if seen.is_alarming {
        wrong.push(format!("{id} is {} though nobody but the program has touched it", seen.state));
    }
    if let Some(manifest) = seen.manifest.as_ref().filter(|_| seen.standing.is_some()) {
        let layout = Layout::new(crm());
        for object in &manifest.objects {
            let key = layout.object(id, &object.name);
            if view.objects.get(&key) != known.objects.get(&key) {
                wrong.push(format!("{key}, which a snapshot needs, was changed or deleted"));
            }
        }
    }
    if seen.state == "fenced-off" {
        wrong.push(format!("{id} counted, and does not any more"));
    }
    wrong
}

fn owned(id: &RunId, manifest: &Manifest) -> Vec<String> {
    let layout = Layout::new(crm());
    let key = layout.manifest(id);
    let mut keys: Vec<String> =
        manifest.objects.iter().map(|object| layout.object(id, &object.name)).collect();
    let start = layout.run_start(id);
    keys.extend([Layout::signature_of(&key), key, Layout::signature_of(&start), start]);
    keys
}

fn zip_of<'a>(view: &'a View, seen: &Seen) -> Option<&'a Bytes> {
    let manifest = seen.manifest.as_ref()?;
    let zip = manifest.object(ObjectRole::Snapshot)?;
    view.objects.get(&Layout::new(crm()).object(&manifest.id, &zip.name))
}

fn below(view: &View, prefix: &str) -> BTreeMap<String, Bytes> {
    let all = view.objects.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
    all.map(|(key, bytes)| (key.clone(), bytes.clone())).collect()
}

/// Looks at everything that a place holds.
pub(crate) async fn look(place: &Place, now: Timestamp) -> View {
    let survey: Survey = survey(&place.destination(), &crm(), &[], now).await.unwrap();
    let objects = contents(place).await;
    let layout = Layout::new(crm());
    let mut view = View { folders: BTreeMap::new(), objects };
    for folder in &survey.folders {
        let snapshot = folder.snapshot();
        let manifest = match &folder.state {
            FolderState::FencedOff(_) => None,
            _ => snapshot.map(|snapshot| snapshot.manifest.clone()),
        };
        let is_whole = |manifest: &Manifest| {
            manifest.objects.iter().all(|object| {
                let bytes = view.objects.get(&layout.object(&manifest.id, &object.name));
                bytes.is_some_and(|bytes| Sha256::of(bytes) == object.sha256)
            })
        };
        let seen = Seen {
            state: folder.state.as_str(),
            standing: snapshot.map(|snapshot| snapshot.judgement.standing),
            intact: manifest.as_ref().is_some_and(is_whole),
            manifest,
            held: snapshot.is_some_and(|one| one.judgement.hold.is_some_and(|hold| hold.until.is_none())),
            is_alarming: folder.state.is_alarming(),
            accepted: snapshot.is_some_and(|one| one.judgement.accepted.is_some()),
            repaired: folder.marks.iter().any(|mark| mark.kind == MarkKind::Repaired),
        };
        view.folders.insert(folder.id.clone(), seen);
    }
    view
}

/// Every object of a place.
async fn contents(place: &Place) -> BTreeMap<String, Bytes> {
    if let Some(memory) = &place.memory {
        let keys = memory.keys().into_iter();
        return keys.filter_map(|key| memory.contents(&key).map(|bytes| (key, bytes))).collect();
    }
    let mut all = BTreeMap::new();
    let infos: Vec<_> = place.raw.list("").try_collect().await.unwrap();
    for info in infos {
        let stream = place.raw.get(&info.key, None).await.unwrap();
        let bytes: Vec<Bytes> = stream.try_collect().await.unwrap();
        all.insert(info.key, bytes.concat().into());
    }
    all
}
