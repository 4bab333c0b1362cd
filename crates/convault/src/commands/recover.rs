//! `convault recover ID`: single documents, tables, stored files or fields, back in a file or in a deployment.

use std::{io::IsTerminal as _, path::Path, sync::Arc};

use convault_jobs::{
    Choice, Chosen, Content, Guard, JobError, Outlet, Recovered, RecoveredTable, Way, chain, choose,
    recover_into, recover_to_file, unrecoverable,
};
use serde_json::{Value, json};

use super::{
    Surroundings,
    reading::{Reading, reading},
    several::read_of,
    target::{Aimed, aim},
};
use crate::{
    arguments::Recover,
    exit::{Exit, ExitWith},
    print,
    progress::Progress,
};

pub(crate) async fn recover(surroundings: &Surroundings, recover: Recover) -> anyhow::Result<Exit> {
    let choice = choice(&recover)?;
    let reading = reading(surroundings, &recover.one, &recover.leaving).await?;
    let progress = Arc::new(Progress::new(surroundings.json));
    let run = surroundings.context(Arc::clone(&progress));
    let manifest = &reading.found.snapshot()?.manifest;
    let store = reading.found.destination.store.as_ref();
    let content = Content::new(store, manifest, reading.identities.as_ref(), &reading.rules, &run);
    let chosen = choose(&content, &choice, &run).await?;
    for missing in &chosen.missing {
        print::note(&format!("{} has no {missing}", manifest.id));
    }
    if chosen.is_empty() {
        return Err(ExitWith(Exit::NotFound, "nothing of it is there".to_owned()).into());
    }
    if let Some(path) = &recover.to_file {
        let written = recover_to_file(&content, &chosen, outlet(path, &chosen)?, &run).await?;
        progress.clear();
        let looked = convault_jobs::Looked { read_bytes: content.read_bytes(), ..chosen.looked.clone() };
        if surroundings.json {
            print::json(&json!({
                "snapshot": manifest.id, "output": written.path, "documents": written.documents,
                "files": written.files, "missing": chosen.missing,
                "read_bytes": looked.read_bytes, "stored_bytes": looked.stored_bytes,
            }));
        } else {
            let (path, documents, files) = (written.path.display(), written.documents, written.files);
            print::line(&format!("{path}: {documents} document(s), {files} stored file(s)"));
            print::note(&read_of(&looked));
        }
        return Ok(exit(&chosen, Exit::Done));
    }
    if let Some(why) = unrecoverable(&content, &chosen) {
        return Err(why.into());
    }
    let into = Into { surroundings, recover: &recover, reading: &reading, chosen: &chosen };
    into.perform(&content, &run, &progress).await
}

/// What is asked for, or what is missing in it.
fn choice(recover: &Recover) -> anyhow::Result<Choice> {
    let wanted = recover.wanted.conditions.wanted(&recover.wanted.ids);
    let is_query = !recover.wanted.ids.is_empty() || !recover.wanted.conditions.is_empty();
    let missing = if !is_query && recover.wanted.table.is_none() && recover.files.is_empty() {
        Some(
            "say what is brought back: --id ID, --file ID, or --table TABLE, with --field or --text for a part of it",
        )
    } else if is_query && recover.wanted.table.is_none() && !wanted.is_ids_only() {
        Some("only ids are looked for in every table: say which is meant, with --table TABLE")
    } else if !is_query && !recover.fields.is_empty() {
        Some("say of which documents these fields are: --id ID, or --table TABLE with --field or --text")
    } else {
        None
    };
    if let Some(text) = missing {
        return Err(ExitWith(Exit::Failed, text.to_owned()).into());
    }
    Ok(Choice {
        table: recover.wanted.table.clone(),
        wanted: is_query.then_some(wanted),
        fields: recover.fields.clone(),
        files: recover.files.clone(),
    })
}

/// Documents of one table are a file, anything else a folder.
fn outlet(path: &Path, chosen: &Chosen) -> Result<Outlet, JobError> {
    let tables = chosen.documents.len() + usize::from(chosen.whole.is_some());
    if chosen.files.is_empty() && tables == 1 { Outlet::file(path) } else { Outlet::folder(path) }
}

/// Some of what was asked for may not be there.
fn exit(chosen: &Chosen, done: Exit) -> Exit {
    if chosen.missing.is_empty() { done } else { Exit::NotFound }
}

/// A recovery into a deployment.
struct Into<'a> {
    surroundings: &'a Surroundings,
    recover: &'a Recover,
    reading: &'a Reading,
    chosen: &'a Chosen,
}

impl Into<'_> {
    async fn perform(
        &self,
        content: &Content<'_>,
        run: &convault_jobs::RunContext,
        progress: &Progress,
    ) -> anyhow::Result<Exit> {
        let settings = self.surroundings.settings()?;
        let aimed = aim(&settings, &self.recover.to).await?;
        let mut told = self.plan(content, &aimed);
        aimed.check(&self.recover.to, &settings).await?;
        if self.recover.dry_run {
            if self.surroundings.json {
                print::json(&told);
            }
            return Ok(exit(self.chosen, Exit::Done));
        }
        self.agreed(&aimed)?;
        let guard = Guard {
            target: aimed.target.as_ref(),
            expected: &aimed.identity,
            others: &aimed.others,
            pause: self.recover.to.pause,
            safety: aimed.safety(&self.recover.to),
            erased: &self.reading.rules.erased,
        };
        let identities = self.reading.identities.as_ref();
        let recovered = recover_into(content, self.chosen, &guard, identities, run).await?;
        progress.clear();
        let done = self.report(&recovered, &aimed, &mut told);
        if self.surroundings.json {
            print::json(&told);
        }
        Ok(exit(self.chosen, done))
    }

    /// Says what will be done, before anything is.
    fn plan(&self, content: &Content<'_>, aimed: &Aimed) -> Value {
        let (id, name) = (&content.manifest().id, aimed.name());
        let documents: Vec<_> = self
            .chosen
            .documents
            .iter()
            .map(|(table, documents)| json!({ "table": table, "documents": documents.keys().collect::<Vec<_>>() }))
            .collect();
        self.say(&format!("recover    from {id} into {name} ({})", aimed.identity.instance));
        for (table, documents) in &self.chosen.documents {
            self.say(&format!(
                "documents  {} of {table}: added where they are gone; where the deployment does not add",
                documents.len()
            ));
            self.say("             them again, or has them otherwise, the table is replaced by itself with them in it");
        }
        if !self.chosen.fields.is_empty() {
            let fields: Vec<String> = self.chosen.fields.iter().map(ToString::to_string).collect();
            self.say(&format!(
                "fields     only {}; everything else of the documents stays as it is there",
                fields.join(", ")
            ));
        }
        if let Some(table) = &self.chosen.whole {
            self.say(&format!("table      {table} is replaced as a whole by what it was"));
        }
        if !self.chosen.files.is_empty() {
            self.say(&format!(
                "files      {} stored file(s), added with their ids, where they are gone",
                self.chosen.files.len()
            ));
        }
        if let Some(text) = aimed.planned_pause(&self.recover.to) {
            self.say(&format!("paused     {text}"));
        }
        if aimed.safety(&self.recover.to).is_some() {
            let places = aimed.safety_destinations().join(", ");
            self.say(&format!(
                "safety     a snapshot of what is live goes to {places} first, and is read back"
            ));
            if !self.recover.to.pause {
                self.say("           what is written to a replaced table after it will be lost (--pause prevents that)");
            }
        }
        json!({
            "snapshot": id, "target": name, "identity": aimed.identity, "documents": documents,
            "whole": self.chosen.whole, "files": self.chosen.files, "missing": self.chosen.missing,
            "pause": self.recover.to.pause,
        })
    }

    /// Nothing is written without a yes.
    fn agreed(&self, aimed: &Aimed) -> anyhow::Result<()> {
        if self.recover.to.yes {
            return Ok(());
        }
        let refused = |why: &str| JobError::Refused { target: aimed.name().to_string(), why: why.to_owned() };
        let somebody_answers =
            !self.surroundings.json && std::io::stdin().is_terminal() && print::stderr_is_terminal();
        if !somebody_answers {
            return Err(refused("nobody is here to be asked: say --yes").into());
        }
        let question = format!("Write to {} ({})?", aimed.name(), aimed.identity.instance);
        if print::ask(&question) { Ok(()) } else { Err(refused("it was answered with no").into()) }
    }

    fn report(&self, recovered: &Recovered, aimed: &Aimed, told: &mut Value) -> Exit {
        if let Some(safety) = &recovered.safety {
            let identity = self.recover.leaving.identity.identity.as_deref();
            let (to, parts) = (&self.recover.to, parts(recovered, aimed));
            let command = aimed.bring_back(safety, self.surroundings, to, &parts, identity);
            told["safety"] = json!({ "snapshot": safety, "bring_back": command });
            let (id, place, until) = (&safety.id, &safety.destination, print::time(safety.keep_until));
            self.say(&format!("safety     {id} in {place}, kept until {until}; it comes back with"));
            self.say(&format!("             {command}"));
        }
        recovered.tables.iter().for_each(|table| self.say(&words(table)));
        for problem in &recovered.problems {
            print::note(&format!("convault: {}: {problem}", aimed.name()));
        }
        told["tables"] = json!(recovered.tables);
        told["problems"] = json!(recovered.problems);
        aimed.tell_pause();
        let Some(error) = &recovered.failure else {
            return if recovered.problems.is_empty() { Exit::Done } else { Exit::Failed };
        };
        told["failed"] = json!(chain(error));
        print::note(&format!("convault: {}", chain(error)));
        print::note(match error {
            JobError::Unsettled { .. } => {
                "what is neither named above nor was to be brought back is as it was"
            }
            _ => "what is not named above is as it was",
        });
        match error {
            JobError::Stopped => Exit::Stopped,
            JobError::Refused { .. } => Exit::Refused,
            _ => Exit::Failed,
        }
    }

    fn say(&self, text: &str) {
        if !self.surroundings.json {
            print::line(text);
        }
    }
}

/// The arguments that name the tables that were changed, so that nothing else is put back. What the deployment had not,
/// and what nobody knows the fate of, cannot be named: then all of it is.
fn parts(recovered: &Recovered, aimed: &Aimed) -> Vec<String> {
    let changed = recovered.tables.iter().filter(|told| told.way != Way::Nothing).map(|told| &told.table);
    let is_unsettled = matches!(recovered.failure, Some(JobError::Unsettled { .. }));
    if is_unsettled || !changed.clone().all(|table| aimed.has_table(table)) {
        return Vec::new();
    }
    changed.flat_map(|table| ["--only".to_owned(), table.to_string()]).collect()
}

/// `contacts   1 added, 0 changed, 2 as they were: added to what was there`.
fn words(table: &RecoveredTable) -> String {
    let how = match table.way {
        Way::Nothing => "nothing had to be done",
        Way::Append => "added to what was there",
        Way::Rewrite => "the table was replaced by itself with them in it",
    };
    let (added, changed, same) = (table.added, table.changed, table.same);
    format!("{:<10} {added} added, {changed} changed, {same} as they were: {how}", table.table.to_string())
}
