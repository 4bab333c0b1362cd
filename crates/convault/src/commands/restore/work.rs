//! Does what was planned, and says what became of it.

use std::collections::BTreeMap;

use convault_core::{Environment as _, ImportKind, ImportRequest, Secret};
use convault_jobs::{
    Content, Counted, ErasedSet, Guard, Guarded, JobError, Outgone, RestorePlan, RunContext, chain,
    compare_counts, drift, import_content, perform_guarded, plan_secrets_restore, restore_secrets,
};
use serde_json::{Value, json};

use super::shown;
use crate::{
    arguments::Restore,
    commands::{Surroundings, target::Aimed},
    exit::Exit,
    print,
};

pub(super) struct Work<'a> {
    pub(super) surroundings: &'a Surroundings,
    pub(super) restore: &'a Restore,
    pub(super) aimed: &'a Aimed,
    pub(super) plan: &'a RestorePlan,
    pub(super) context: &'a RunContext,
}

impl Work<'_> {
    /// Sends the content, and puts it in place once nothing can be lost.
    pub(super) async fn perform(
        &self,
        stored: &Content<'_>,
        erased: &ErasedSet,
    ) -> anyhow::Result<Guarded<Outgone>> {
        let target = self.aimed.target.as_ref();
        let request = ImportRequest { mode: self.plan.mode, kind: ImportKind::Zip };
        let prepared = import_content(stored, target, &request, self.context).await?;
        self.context.message(prepared.message.clone());
        let guard = Guard {
            target,
            expected: &self.aimed.identity,
            others: &self.aimed.others,
            pause: self.restore.to.pause,
            safety: self.aimed.safety(&self.restore.to),
            erased,
        };
        Ok(perform_guarded(&guard, prepared, self.context).await?)
    }

    /// Says what became of it: first how to undo it.
    pub(super) fn report(&self, guarded: &Guarded<Outgone>, told: &mut Value) -> Exit {
        if let Some(safety) = &guarded.safety {
            let identity = self.restore.leaving.identity.identity.as_deref();
            let (to, parts) = (&self.restore.to, self.parts());
            let command = self.aimed.bring_back(safety, self.surroundings, to, &parts, identity);
            told["safety"] = json!({ "snapshot": safety, "bring_back": command });
            self.say(&format!(
                "safety     {} in {}, kept until {}; it comes back with",
                safety.id,
                safety.destination,
                print::time(safety.keep_until)
            ));
            self.say(&format!("             {command}"));
        }
        for problem in &guarded.problems {
            print::note(&format!("convault: {}: {problem}", self.aimed.name()));
        }
        told["problems"] = json!(guarded.problems);
        self.aimed.tell_pause();
        match &guarded.imported {
            Err(error) => failed(error, told),
            Ok(imported) => {
                let sent = &imported.outgone;
                told["imported"] = json!({ "documents": imported.documents, "bytes": sent.size_bytes });
                let contents = guarded.contents.as_ref();
                let counted = contents.map(|found| compare_counts(&sent.summary, self.plan.mode, found));
                self.compared(counted.as_ref(), told);
                let is_equal = counted.is_some_and(|counted| counted.differences.is_empty());
                if is_equal && guarded.problems.is_empty() { Exit::Done } else { Exit::Failed }
            }
        }
    }

    /// The arguments that name what was replaced, so that nothing else is put back. What the target had not cannot be
    /// named: then all of it is.
    fn parts(&self) -> Vec<String> {
        let (tables, components) = (&self.restore.only, &self.restore.components);
        let has_component = |path: &String| self.aimed.contents.components.contains_key(path);
        if !tables.iter().all(|table| self.aimed.has_table(table)) || !components.iter().all(has_component) {
            return Vec::new();
        }
        let tables = tables.iter().flat_map(|table| ["--only".to_owned(), table.to_string()]);
        let components = components.iter().flat_map(|path| ["--component".to_owned(), path.clone()]);
        tables.chain(components).collect()
    }

    fn compared(&self, counted: Option<&Counted>, told: &mut Value) {
        told["compared"] = json!(counted);
        if let (Some(counted), false) = (counted, self.surroundings.json) {
            shown::counted(counted);
            if !self.restore.to.pause && !counted.differences.is_empty() {
                print::note("the deployment was not paused: its users may have written meanwhile");
            }
        }
    }

    /// Writes environment variables, as `convault secrets restore` does.
    pub(super) async fn write_environment(
        &self,
        wanted: &BTreeMap<String, Secret>,
        told: &mut Value,
    ) -> anyhow::Result<Exit> {
        let environment = self.aimed.environment();
        let current = environment.read().await.map_err(JobError::from)?;
        let plan = plan_secrets_restore(wanted, &current, false);
        restore_secrets(&environment, &plan).await?;
        told["environment"] = json!(plan);
        self.say(&format!(
            "variables  {} added, {} changed, {} as they were, read back",
            plan.add.len(),
            plan.change.len(),
            plan.same.len()
        ));
        Ok(Exit::Done)
    }

    fn say(&self, text: &str) {
        if !self.surroundings.json {
            print::line(text);
        }
    }
}

/// The import came to nothing after it was confirmed: what was there is there still, unless nobody knows.
fn failed(error: &JobError, told: &mut Value) -> Exit {
    let text = chain(error);
    print::note(&format!("convault: {text}"));
    print::note(match error {
        JobError::Unsettled { .. } => {
            "such an import is all or nothing: there is either what was, or what was restored"
        }
        _ => "what was there is as it was: such an import is all or nothing",
    });
    let drift = drift(&text);
    told["failed"] = json!(text);
    told["drift"] = json!(drift);
    if let Some(drift) = drift {
        let table = drift.table.as_deref().unwrap_or("a table");
        let document = drift.document.map(|id| format!(", first document {id}")).unwrap_or_default();
        print::note(&format!(
            "drift: the schema of the code there refuses {table}{document}; push the code of that time first, or turn \
             its schema validation off meanwhile"
        ));
    }
    if text.contains("generated_schema") || text.contains("enerated schema") {
        print::note("the server seems too old to read exports of today; upgrade it first");
    }
    match error {
        JobError::Stopped => Exit::Stopped,
        _ => Exit::Failed,
    }
}
