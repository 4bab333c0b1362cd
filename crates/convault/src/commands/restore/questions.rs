//! What a restore is refused for, and what a person is asked before it.

use std::io::IsTerminal as _;

use convault_core::TableRef;
use convault_jobs::{JobError, Lossy, RestorePlan, Rules, too_old};
use convault_settings::Settings;

use super::shown::{damaged, lost};
use crate::{
    arguments::Restore,
    commands::{Surroundings, target::Aimed},
    print,
};

/// Why nothing may be done, whatever anybody answers.
pub(super) async fn refusal(
    restore: &Restore,
    aimed: &Aimed,
    plan: &RestorePlan,
    settings: &Settings,
) -> anyhow::Result<()> {
    aimed.check(&restore.to, settings).await?;
    let refused = |why: String| JobError::Refused { target: aimed.name().to_string(), why };
    if let Some(why) = too_old(&aimed.identity.server_version, plan.old_format) {
        return Err(refused(why).into());
    }
    for (table, lossy) in &plan.storage_names {
        if let Some(why) = unimportable(table, lossy) {
            return Err(refused(why).into());
        }
    }
    Ok(())
}

/// Bytes and special numbers of a table with such a name are refused by every backend.
fn unimportable(table: &TableRef, lossy: &Lossy) -> Option<String> {
    let fields: Vec<&str> =
        lossy.iter().filter(|(_, lost)| lost.refused > 0).map(|(field, _)| field.as_str()).collect();
    (!fields.is_empty()).then(|| {
        format!(
            "no backend imports table {table}, because its name ends in `_storage` and its fields {} hold bytes, NaN or \
             infinities; choose the other tables with --only, and take this one from `convault export`",
            fields.join(", ")
        )
    })
}

/// One thing that is not done without a yes.
struct Question {
    text: String,
    flag: String,
    answered: bool,
}

fn questions(restore: &Restore, aimed: &Aimed, plan: &RestorePlan) -> Vec<Question> {
    let lossy = plan.storage_names.iter().filter(|(_, lossy)| !lossy.is_empty());
    let mut questions: Vec<Question> = lossy
        .map(|(table, lossy)| Question {
            text: format!(
                "no backend imports the types of table {table}, because its name ends in `_storage`: these fields would \
                 become Float64: {}. Restore it so?",
                lost(lossy)
            ),
            flag: format!("--accept-lossy {table}"),
            answered: restore.accept_lossy.contains(table),
        })
        .collect();
    if !plan.damaged.is_empty() {
        questions.push(Question {
            text: format!(
                "{} stored files are damaged in the snapshot, and each would fail the import: {}. Leave them out, with \
                 their rows?",
                plan.damaged.len(),
                damaged(plan).join("; ")
            ),
            flag: "--without-damaged".to_owned(),
            answered: restore.without_damaged,
        });
    }
    let kept: u64 = plan.keeps_files().map(|files| files.existing).sum();
    if kept > 0 {
        questions.push(Question {
            text: format!(
                "the snapshot has no stored files, so that the {kept} of the target stay beside documents that may not \
                 name them. Go on with that?"
            ),
            flag: "--keep-files".to_owned(),
            answered: restore.keep_files,
        });
    }
    questions.push(Question {
        text: format!("Write to {} ({})?", aimed.name(), aimed.identity.instance),
        flag: "--yes".to_owned(),
        answered: restore.to.yes,
    });
    questions
}

/// Asks, where a person can answer, what was not answered by arguments.
pub(super) fn agreed(
    surroundings: &Surroundings,
    restore: &Restore,
    aimed: &Aimed,
    plan: &RestorePlan,
) -> anyhow::Result<()> {
    let refused = |why: String| JobError::Refused { target: aimed.name().to_string(), why };
    let open: Vec<Question> =
        questions(restore, aimed, plan).into_iter().filter(|question| !question.answered).collect();
    let somebody_answers =
        !surroundings.json && std::io::stdin().is_terminal() && print::stderr_is_terminal();
    if !somebody_answers && !open.is_empty() {
        let missing: Vec<String> =
            open.iter().map(|question| format!("{} ({})", question.flag, question.text)).collect();
        return Err(refused(format!("nobody is here to be asked: say {}", missing.join(", "))).into());
    }
    for question in open {
        if !print::ask(&question.text) {
            return Err(refused("it was answered with no".to_owned()).into());
        }
    }
    Ok(())
}

/// What was agreed to be left out.
pub(super) fn leave_out(rules: &mut Rules, plan: &RestorePlan) {
    rules.without_schema.extend(plan.storage_names.keys().cloned());
    let damaged = plan.damaged.iter().map(|file| (file.component.clone(), file.id.clone()));
    rules.left_out_files.extend(damaged);
}
