//! `convault mirror`: brings mirrors up to date, and shows, compares and restores their states.

use std::sync::Arc;

use anyhow::Context as _;
use convault_archive::encryption::Identities;
use convault_core::{
    Clock as _, DestinationName, JobName, MirrorDetails, MirrorLayout, MirrorName, MirrorRun, MirrorVerdict,
    RunId, StartRequest, Store, SystemClock, Verb,
};
use convault_jobs::{Difference, MirrorHistory, MirrorState, RestoreTarget, Restored, RunContext};
use convault_settings::Settings;
use convault_uploader::DirectoryStore;
use serde_json::{Value, json};

use super::{
    Surroundings,
    act::act,
    backup::{exit_of, report},
};
use crate::{
    arguments::{Mirror, Moment, OneState},
    exit::{Exit, ExitWith},
    print,
    progress::Progress,
    task::MirrorTask,
    wiring,
};

/// So many lines are put in order before they are printed; more are printed as they come.
const SORTED_LINES: usize = 100_000;

pub(crate) async fn mirror(surroundings: &Surroundings, deed: Mirror) -> anyhow::Result<Exit> {
    match deed {
        Mirror::Run { mirror, release_brake } => run(surroundings, &mirror, release_brake).await,
        Mirror::Runs { mirror } => runs(surroundings, &mirror).await,
        Mirror::List { state, identity } => {
            let settings = surroundings.settings()?;
            let task = task(&settings, &state.mirror)?;
            let identities = wiring::identities(&settings, identity.identity.as_deref())?;
            list(surroundings, &task, &state, identities.as_ref()).await
        }
        Mirror::Diff { state, since, identity } => {
            let settings = surroundings.settings()?;
            let task = task(&settings, &state.mirror)?;
            let identities = wiring::identities(&settings, identity.identity.as_deref())?;
            diff(surroundings, &task, &state, since, identities.as_ref()).await
        }
        Mirror::Restore { state, to, replace, identity } => {
            let settings = surroundings.settings()?;
            let task = task(&settings, &state.mirror)?;
            let identities = wiring::identities(&settings, identity.identity.as_deref())?;
            let target = target(&settings, &task, &state, &to, replace)?;
            restore(surroundings, &task, &state, identities.as_ref(), target).await
        }
    }
}

async fn run(surroundings: &Surroundings, mirror: &MirrorName, release_brake: bool) -> anyhow::Result<Exit> {
    let request = StartRequest { release_brake, ..StartRequest::new(JobName::mirror(mirror), Verb::Mirror) };
    let record = act(surroundings, request).await?;
    report(surroundings, &record);
    Ok(exit_of(&record))
}

fn task(settings: &Settings, mirror: &MirrorName) -> anyhow::Result<MirrorTask> {
    let destinations = wiring::destinations(settings)?;
    let found =
        wiring::mirrors(settings, &destinations)?.into_iter().find(|task| task.mirror.name == *mirror);
    Ok(found.ok_or_else(|| ExitWith(Exit::NotFound, format!("there is no mirror named {mirror}")))?)
}

async fn runs(surroundings: &Surroundings, mirror: &MirrorName) -> anyhow::Result<Exit> {
    let settings = surroundings.settings()?;
    let task = task(&settings, mirror)?;
    let destination = &task.mirror.destination;
    let history = MirrorHistory::look(destination, mirror).await?;
    let mut records = Vec::new();
    for (run, verdict) in &history.runs {
        records.push(convault_jobs::read_mirror_run(destination, mirror, run, *verdict).await?);
    }
    if surroundings.json {
        print::json(&records);
    } else {
        let heading = ["RUN", "ENDED", "VERDICT", ">OBJECTS", ">NEW", ">CHANGED", ">GONE", ">FAILED"];
        print::table(&heading, &records.iter().map(row).collect::<Vec<_>>());
        for record in records.iter().rev().take_while(|record| record.verdict == MirrorVerdict::Braked) {
            print::note(&format!("{}: {}", record.run, record.why.as_deref().unwrap_or_default()));
        }
    }
    Ok(Exit::Done)
}

fn row(record: &MirrorRun) -> Vec<String> {
    let tally = &record.tally;
    let mut cells =
        vec![record.run.to_string(), print::time(record.finished), record.verdict.as_str().to_owned()];
    let numbers = [tally.objects, tally.added, tally.changed, tally.vanished, tally.failed];
    cells.extend(numbers.map(print::number));
    cells
}

/// A context for what only reads.
fn context(surroundings: &Surroundings) -> (Arc<Progress>, RunContext) {
    let progress = Arc::new(Progress::new(surroundings.json));
    let context = surroundings.context(Arc::clone(&progress));
    (progress, context)
}

async fn state<'a>(
    task: &'a MirrorTask,
    moment: Option<&Moment>,
    identities: Option<&'a Identities>,
) -> anyhow::Result<MirrorState<'a>> {
    let (destination, name) = (&task.mirror.destination, &task.mirror.name);
    Ok(match moment {
        None => MirrorState::as_of(destination, name, None, identities).await?,
        Some(Moment::Time(time)) => MirrorState::as_of(destination, name, Some(*time), identities).await?,
        Some(Moment::Run(run)) => MirrorState::of_run(destination, name, run, identities).await?,
    })
}

async fn list(
    surroundings: &Surroundings,
    task: &MirrorTask,
    wanted: &OneState,
    identities: Option<&Identities>,
) -> anyhow::Result<Exit> {
    let (_progress, context) = context(surroundings);
    let mut state = state(task, wanted.as_of.as_ref(), identities).await?;
    if !surroundings.json
        && let Some(record) = state.record()
    {
        print::note(&format!(
            "{}: the state of run {}, {}",
            record.mirror,
            record.run,
            print::time(record.finished)
        ));
    }
    let mut lines = Lines::new();
    while let Some(line) = state.next(&context).await? {
        if line.details.key.starts_with(&wanted.prefix) {
            let object = MirrorLayout::new(wanted.mirror.clone()).object(line.entry.name, &line.entry.run);
            let text = if surroundings.json {
                let mut value = details_value(&line.details);
                value["object"] = json!(object);
                value["sha256"] = json!(line.details.content_sha256.or(line.entry.sha256));
                value.to_string()
            } else {
                text(&line.details)
            };
            lines.add(line.details.key, text);
        }
    }
    lines.print();
    Ok(Exit::Done)
}

/// `     1.2 MiB  2026-11-22 03:00:56Z  courses/1.mp4`.
fn text(details: &MirrorDetails) -> String {
    format!("{:>10}  {}  {}", print::size(details.size_bytes), print::time(details.modified), details.key)
}

fn details_value(details: &MirrorDetails) -> Value {
    json!({
        "key": details.key,
        "size_bytes": details.size_bytes,
        "etag": details.etag,
        "modified": details.modified,
        "attributes": details.attributes,
    })
}

/// Lines that are printed in the order of keys, unless they are very many.
struct Lines(Vec<(String, String)>);

impl Lines {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn add(&mut self, key: String, text: String) {
        self.0.push((key, text));
        if self.0.len() >= SORTED_LINES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.0.sort();
        self.0.drain(..).for_each(|(_, text)| print::line(&text));
    }

    fn print(mut self) {
        self.flush();
    }
}

async fn diff(
    surroundings: &Surroundings,
    task: &MirrorTask,
    wanted: &OneState,
    since: Option<Moment>,
    identities: Option<&Identities>,
) -> anyhow::Result<Exit> {
    let (_progress, context) = context(surroundings);
    let mut lines = Lines::new();
    let mut counts = [0_u64; 3];
    let tell = |difference: Difference| {
        if !difference.key.starts_with(&wanted.prefix) {
            return;
        }
        let (place, sign, word) = match (&difference.before, &difference.after) {
            (None, _) => (0, '+', "added"),
            (Some(_), Some(_)) => (1, '*', "changed"),
            (Some(_), None) => (2, '-', "removed"),
        };
        counts[place] += 1;
        let text = if surroundings.json {
            let value = |details: Option<&MirrorDetails>| details.map(details_value);
            let (before, after) = (value(difference.before.as_ref()), value(difference.after.as_ref()));
            json!({ "what": word, "key": difference.key, "before": before, "after": after }).to_string()
        } else {
            let details = difference.after.as_ref().or(difference.before.as_ref());
            format!("{sign} {}", details.map(text).unwrap_or_default())
        };
        lines.add(difference.key, text);
    };
    let after = match (&since, &wanted.as_of) {
        (None, None) => None,
        (_, moment) => Some(state(task, moment.as_ref(), identities).await?),
    };
    match after {
        None => {
            let (destination, name) = (&task.mirror.destination, &task.mirror.name);
            let before = MirrorState::newest_or_empty(destination, name, identities).await?;
            convault_jobs::difference_to_source(&task.mirror, before, &context, tell).await?;
        }
        Some(after) => {
            let before = match &since {
                Some(moment) => state(task, Some(moment), identities).await?,
                None => before(task, &after, identities).await?,
            };
            convault_jobs::difference(before, after, &context, tell).await?;
        }
    }
    lines.print();
    let [added, changed, removed] = counts.map(print::number);
    print::note(&format!("{added} added, {changed} changed, {removed} removed"));
    Ok(Exit::Done)
}

/// The state before another one.
async fn before<'a>(
    task: &'a MirrorTask,
    after: &MirrorState<'_>,
    identities: Option<&'a Identities>,
) -> anyhow::Result<MirrorState<'a>> {
    let (destination, name) = (&task.mirror.destination, &task.mirror.name);
    Ok(match after.record() {
        Some(record) => MirrorState::before_run(destination, name, &record.run, identities).await?,
        None => MirrorState::empty(destination),
    })
}

fn target(
    settings: &Settings,
    task: &MirrorTask,
    wanted: &OneState,
    to: &str,
    replace: bool,
) -> anyhow::Result<RestoreTarget> {
    let (store, key_prefix): (Arc<dyn Store>, String) = if to == "source" {
        (Arc::clone(&task.mirror.source), String::new())
    } else if to.contains('/') {
        std::fs::create_dir_all(to).with_context(|| format!("cannot make the folder {to}"))?;
        (Arc::new(DirectoryStore::new(DestinationName::new("restore")?, to)), String::new())
    } else {
        let known = || settings.destinations.iter().map(|named| named.name.as_str()).collect::<Vec<_>>();
        let name = DestinationName::new(to).ok().filter(|name| settings.destination(name).is_some());
        let name = name.ok_or_else(|| {
            let text = format!(
                "`{to}` is neither `source`, nor a destination ({}), nor a folder (write ./{to})",
                known().join(", ")
            );
            ExitWith(Exit::NotFound, text)
        })?;
        let destination = wiring::destinations(settings)?.remove(&name).expect("the settings have it");
        let id = RunId::new(SystemClock.now(), rand::random());
        (destination.store, MirrorLayout::new(wanted.mirror.clone()).restored_prefix(&id))
    };
    Ok(RestoreTarget {
        store,
        key_prefix,
        only: wanted.prefix.clone(),
        replace,
        memory_bytes: settings.daemon.upload_memory_bytes,
    })
}

async fn restore(
    surroundings: &Surroundings,
    task: &MirrorTask,
    wanted: &OneState,
    identities: Option<&Identities>,
    target: RestoreTarget,
) -> anyhow::Result<Exit> {
    let (progress, context) = context(surroundings);
    let state = state(task, wanted.as_of.as_ref(), identities).await?;
    let run = state.record().map(|record| record.run.clone());
    let stored_in = &task.mirror.destination.store;
    let done = convault_jobs::restore_mirror(&task.mirror.name, state, stored_in, &target, &context).await?;
    progress.clear();
    tell(surroundings, &target, run.as_ref(), &done);
    Ok(match (done.failed, done.left) {
        (0, 0) => Exit::Done,
        (0, _) => Exit::Partial,
        _ => Exit::Damaged,
    })
}

fn tell(surroundings: &Surroundings, target: &RestoreTarget, run: Option<&RunId>, done: &Restored) {
    let place = format!("{} {}", target.store.location(), target.key_prefix);
    if surroundings.json {
        print::json(&json!({
            "run": run,
            "to": place.trim_end(),
            "restored": done.restored,
            "restored_bytes": done.restored_bytes,
            "already": done.already,
            "left": done.left,
            "in_the_way": done.in_the_way,
            "failed": done.failed,
            "failures": done.failures,
            "unproven": done.unproven,
        }));
        return;
    }
    print::line(&format!(
        "{}: {} objects restored ({}), {} were there already",
        place.trim_end(),
        print::number(done.restored),
        print::size(done.restored_bytes),
        print::number(done.already)
    ));
    for key in &done.in_the_way {
        print::note(&format!("left as it is, since it is another one: {key}"));
    }
    if done.left > 0 {
        let text =
            format!("{} objects there are others; --replace writes over them", print::number(done.left));
        print::note(&text);
    }
    for failure in &done.failures {
        print::note(&format!("NOT RESTORED {failure}"));
    }
    if done.failed > 0 {
        print::note(&format!("{} objects could not be restored", print::number(done.failed)));
    }
    if done.unproven > 0 {
        print::note(&format!(
            "{} objects were copied by the server itself, which told no SHA-256: their size was compared",
            print::number(done.unproven)
        ));
    }
}
