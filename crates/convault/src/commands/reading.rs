//! What every verb does first that gives content away: which snapshot, who opens it, and which rules apply.

use convault_archive::{NamesKey, encryption::Identities};
use convault_core::DeploymentName;
use convault_jobs::Rules;
use convault_settings::Settings;

use super::{
    Surroundings,
    choose::{Found, find_folder},
    erasures::Erasures,
};
use crate::{
    arguments::{Leaving, One},
    exit::{Exit, ExitWith},
    wiring,
};

/// A snapshot whose content leaves.
pub(crate) struct Reading {
    pub(crate) found: Found,
    /// Whoever is here to open it.
    pub(crate) identities: Option<Identities>,
    /// What is done to it on its way out.
    pub(crate) rules: Rules,
}

/// Finds the snapshot that is meant, and all that its content needs to leave.
pub(crate) async fn reading(
    surroundings: &Surroundings,
    one: &One,
    leaving: &Leaving,
) -> anyhow::Result<Reading> {
    let settings = surroundings.settings()?;
    let found = find_folder(&settings, one).await?;
    let identities = wiring::identities(&settings, leaving.identity.identity.as_deref())?;
    let rules = rules_of(&settings, &found, identities.as_ref(), leaving).await?;
    Ok(Reading { found, identities, rules })
}

/// What is done to the content of one snapshot on its way out: what was erased is held back, unless somebody typed that it
/// is not; and what the flags say.
async fn rules_of(
    settings: &Settings,
    found: &Found,
    identities: Option<&Identities>,
    leaving: &Leaving,
) -> anyhow::Result<Rules> {
    let mut rules = rules(settings, &found.deployment, leaving)?;
    let Some(snapshot) = found.folder.snapshot() else { return Ok(rules) };
    let (destination, include) = (&found.destination, leaving.include_erased);
    let erasures = Erasures::read(settings, destination, &found.deployment, identities, include).await?;
    rules.erased = erasures.of_snapshot(destination, &snapshot.manifest, identities).await?;
    Ok(rules)
}

/// What is done to content of a deployment on its way out.
pub(crate) fn rules(
    settings: &Settings,
    deployment: &DeploymentName,
    leaving: &Leaving,
) -> anyhow::Result<Rules> {
    let mut rules = Rules::default();
    if leaving.masked {
        let of_deployment = settings.masks.iter().filter(|mask| mask.deployment == *deployment);
        rules.masks = of_deployment.map(|mask| mask.mask.clone()).collect();
        refuse_nothing(rules.masks.is_empty(), "--masked", deployment, "no [[mask]] is for")?;
        let names = wiring::names_key(settings)?;
        rules.mask_key = Some(names.unwrap_or_else(NamesKey::generate));
    }
    if leaving.quiet_automations {
        let named = settings.deployments.iter().filter(|named| named.name == *deployment);
        rules.quiet = named.flat_map(|named| named.automations.iter().cloned()).collect();
        let nothing = "`automations` names no table of";
        refuse_nothing(rules.quiet.is_empty(), "--quiet-automations", deployment, nothing)?;
    }
    Ok(rules)
}

/// Whoever asks for a copy in which something is gone would take a whole one for it.
fn refuse_nothing(
    is_nothing: bool,
    flag: &str,
    deployment: &DeploymentName,
    why: &str,
) -> Result<(), ExitWith> {
    if !is_nothing {
        return Ok(());
    }
    let text = format!("{flag} would change nothing: in the settings {why} the deployment {deployment}");
    Err(ExitWith(Exit::Settings, text))
}
