//! `convault drill NAME`: practises a restore, or tells about one of the past.

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use convault_core::{
    Clock, DrillProof, JobName, RunId, RunOutcome, RunRecord, StartRequest, SystemClock, TableNames, Verb,
};
use convault_health::{drill_report_html, drill_report_text};
use convault_jobs::{Content, Destination, DrillRecord, Rules, newest_drills, prepare_scratch, reveal_drill};
use convault_settings::{DrillSettings, Settings};
use serde_json::json;

use super::{
    Surroundings,
    act::{act, act_with},
};
use crate::{
    arguments::{Drill, PastDrill},
    exit::{Exit, ExitWith},
    print,
    progress::Progress,
    wiring,
};

/// So many proofs are looked through for the one that is meant.
const PROOFS_LOOKED_AT: usize = 1000;

pub(crate) async fn drill(surroundings: &Surroundings, drill: Drill) -> anyhow::Result<Exit> {
    if drill.prepare {
        return prepare(surroundings, &drill).await;
    }
    // Read once: it may come from standard input.
    let given = match &drill.identity.identity {
        Some(path) => {
            let mut settings = surroundings.settings()?;
            wiring::with_identity(&mut settings, path)?;
            Some(settings)
        }
        None => None,
    };
    let (exit, wanted) = if let Some(past) = &drill.past {
        (None, past.clone())
    } else {
        let request = StartRequest::new(JobName::drill(&drill.name), Verb::Drill);
        let record = match given.clone() {
            Some(settings) => act_with(surroundings, settings, request).await?,
            None => act(surroundings, request).await?,
        };
        let exit = tell(surroundings, &record, drill.report.is_empty());
        if record.snapshot.is_none() || (drill.report.is_empty() && !surroundings.json) {
            return Ok(exit);
        }
        (Some(exit), PastDrill::Run(record.id))
    };
    let settings = match given {
        Some(settings) => settings,
        None => surroundings.settings()?,
    };
    let found = found(surroundings, &settings, settings_of(&settings, &drill)?, &wanted).await?;
    for path in &drill.report {
        write_report(path, &found)?;
        print::note(&format!("{}: a page about the drill {}", path.display(), found.proof.run));
    }
    if surroundings.json {
        print::json(&json!({ "key": found.key, "signed_by": found.signed_by, "proof": found.proof }));
    } else if exit.is_none() && drill.report.is_empty() {
        let page = drill_report_text(&found.proof, &found.key, found.signed_by.as_deref());
        print::line(page.trim_end());
    }
    Ok(exit.unwrap_or(if found.proof.passed { Exit::Done } else { Exit::Drill }))
}

fn settings_of<'s>(settings: &'s Settings, drill: &Drill) -> anyhow::Result<&'s DrillSettings> {
    settings.drill(&drill.name).ok_or_else(|| {
        let text = format!("there is no drill named {}", drill.name);
        ExitWith(Exit::NotFound, text).into()
    })
}

/// Says how it went; gives the exit code.
fn tell(surroundings: &Surroundings, record: &RunRecord, alone: bool) -> Exit {
    if surroundings.json {
        // What there is to say is the proof; a drill that did not take place has left none.
        if record.snapshot.is_none() {
            print::json(record);
        }
    } else {
        let outcome = record.outcome.map_or("unknown", RunOutcome::as_str);
        print::line(&format!("{outcome}: {}", record.message));
        record.warnings.iter().for_each(|warning| print::note(&format!("warning: {warning}")));
        if alone && record.snapshot.is_some() {
            let drill = record.job.as_drill().map_or(String::new(), |drill| drill.to_string());
            print::note(&format!("`convault drill {drill} --past {}` tells all of it", record.id));
        }
    }
    match record.outcome {
        Some(RunOutcome::Failed) if record.refused => Exit::Refused,
        Some(RunOutcome::Failed) if record.snapshot.is_some() => Exit::Drill,
        Some(outcome) => outcome.into(),
        None => Exit::Failed,
    }
}

fn destinations(settings: &Settings, drill: &DrillSettings) -> anyhow::Result<Vec<Destination>> {
    let mut all = wiring::destinations(settings)?;
    if let Some(from) = &drill.from {
        all.retain(|name, _| name == from);
    }
    Ok(settings.destinations.iter().filter_map(|named| all.remove(&named.name)).collect())
}

/// The proof that is meant, with names of tables where they can be known here.
async fn found(
    surroundings: &Surroundings,
    settings: &Settings,
    drill: &DrillSettings,
    wanted: &PastDrill,
) -> anyhow::Result<DrillRecord> {
    let mut newest: Option<(Destination, DrillRecord)> = None;
    for destination in destinations(settings, drill)? {
        let most = if *wanted == PastDrill::Latest { 1 } else { PROOFS_LOOKED_AT };
        let records = newest_drills(&destination, &drill.deployment, &drill.name, most).await?;
        let meant = |record: &&DrillRecord| match wanted {
            PastDrill::Latest => true,
            PastDrill::Run(run) => record.proof.run == *run,
        };
        if let Some(record) = records.iter().find(meant)
            && newest.as_ref().is_none_or(|(_, newest)| newest.proof.finished < record.proof.finished)
        {
            newest = Some((destination, record.clone()));
        }
    }
    let Some((destination, record)) = newest else {
        let text = match wanted {
            PastDrill::Latest => format!("no drill {} has left a proof yet", drill.name),
            PastDrill::Run(run) => format!("there is no proof of a drill {} of run {run}", drill.name),
        };
        return Err(ExitWith(Exit::NotFound, text).into());
    };
    let proof = revealed(surroundings, settings, &destination, &record.proof).await;
    Ok(DrillRecord { key: format!("{} {}", destination.store.location(), record.key), proof, ..record })
}

/// Where names are hashed, the index of the snapshot has them, as long as it is there and can be opened.
async fn revealed(
    surroundings: &Surroundings,
    settings: &Settings,
    destination: &Destination,
    proof: &DrillProof,
) -> DrillProof {
    if proof.table_names == TableNames::Plain {
        return proof.clone();
    }
    let tables = async {
        let (names, identities) = (wiring::names_key(settings)?, wiring::identities(settings, None)?);
        let context = surroundings.context(Arc::new(Progress::new(true)));
        let now = SystemClock.now();
        let snapshot =
            convault_jobs::find(destination, &proof.deployment, Some(&proof.snapshot), now).await?;
        let snapshot = snapshot.context("its snapshot is gone")?;
        let rules = Rules::default();
        let store = destination.store.as_ref();
        let stored = Content::new(store, &snapshot.manifest, identities.as_ref(), &rules, &context);
        Ok::<_, anyhow::Error>((names.context("there is no names key")?, stored.tables().await?))
    };
    match tables.await {
        Ok((names, tables)) => reveal_drill(proof, &names, &tables),
        Err(error) => {
            print::note(&format!("names of tables stay hashed: {error:#}"));
            proof.clone()
        }
    }
}

fn write_report(path: &Path, found: &DrillRecord) -> anyhow::Result<()> {
    let is_html = path.extension().is_some_and(|ending| ending == "html");
    let page = if is_html { drill_report_html } else { drill_report_text };
    let page = page(&found.proof, &found.key, found.signed_by.as_deref());
    std::fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))
}

async fn prepare(surroundings: &Surroundings, arguments: &Drill) -> anyhow::Result<Exit> {
    let settings = surroundings.settings()?;
    let drill = settings_of(&settings, arguments)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let everywhere: Vec<Destination> = wiring::destinations(&settings)?.into_values().collect();
    let parts = wiring::DrillParts {
        settings: &settings,
        from: destinations(&settings, drill)?,
        everywhere: &everywhere,
        identities: None,
        dead_runs: &[] as &[RunId],
        clock: &clock,
    };
    let made = !matches!(drill.into, convault_settings::DrillInto::Deployment { .. });
    if made {
        let text = "this drill makes its scratch deployment itself: there is nothing to prepare".to_owned();
        return Err(ExitWith(Exit::Failed, text).into());
    }
    let ready = wiring::drill(drill, parts)?;
    let context = surroundings.context(Arc::new(Progress::new(surroundings.json)));
    let marked = prepare_scratch(&ready, arguments.replace.as_deref(), &context).await?;
    if surroundings.json {
        print::json(&json!({
            "instance": marked.identity.instance,
            "url": marked.identity.url,
            "repository": marked.repository,
            "already": marked.already,
        }));
    } else {
        let how = if marked.already { "carries" } else { "carries now" };
        print::line(&format!(
            "{} ({}) {how} {}={}: the drill {} may replace all that it holds",
            marked.identity.instance,
            marked.identity.url,
            convault_core::SCRATCH_VARIABLE,
            marked.repository,
            drill.name
        ));
    }
    Ok(Exit::Done)
}
