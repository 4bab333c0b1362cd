//! `convault secrets`: what is stored of a deployment's secrets.

use std::{collections::BTreeMap, path::Path};

use convault_archive::{NamesKey, encryption::Identities};
use convault_core::{DeploymentName, Secret};
use convault_jobs::{
    Destination, JobError, SecretValue, SecretsOrigin, SecretsRestore, StoredSecrets, compare_secrets,
    list_secrets, plan_secrets_restore, read_secrets, restore_secrets, stored_secrets,
};
use convault_settings::Settings;
use serde_json::json;

use super::{
    Surroundings,
    choose::{Found, chosen_deployments, chosen_destinations},
};
use crate::{
    arguments::{Secrets, SecretsPlace, StoredAt},
    exit::{Exit, ExitWith},
    print, wiring,
};

/// The surrounding whose values a deployment takes back.
const ENVIRONMENT: &str = "environment";

pub(crate) async fn secrets(surroundings: &Surroundings, deed: Secrets) -> anyhow::Result<Exit> {
    let settings = surroundings.settings()?;
    match deed {
        Secrets::List { place } => {
            list(surroundings, &Shelf::find(&settings, &place, None).await?);
            Ok(Exit::Done)
        }
        Secrets::Diff { older, newer, place } => {
            diff(surroundings, &Shelf::find(&settings, &place, None).await?, &older, &newer)
        }
        Secrets::Show { name, at, place, identity } => {
            let identities = needed_identities(&settings, identity.identity.as_deref())?;
            let shelf = Shelf::find(&settings, &place, None).await?;
            show(surroundings, &shelf, &name, &at, &identities).await
        }
        Secrets::Restore { to, from, only, remove, yes, place, identity } => {
            let identities = needed_identities(&settings, identity.identity.as_deref())?;
            let shelf = Shelf::find(&settings, &place, Some(&to)).await?;
            let values = shelf.values(&from, &identities, |one| one == ENVIRONMENT).await?;
            let wanted = chosen_values(values, &only)?;
            restore(surroundings, &settings, &to, &wanted, remove, yes).await
        }
    }
}

fn not_found(text: String) -> anyhow::Error {
    ExitWith(Exit::NotFound, text).into()
}

fn needed_identities(settings: &Settings, given: Option<&Path>) -> anyhow::Result<Identities> {
    wiring::identities(settings, given)?.ok_or_else(missing_identity)
}

fn missing_identity() -> anyhow::Error {
    let text =
        "values are encrypted: give an identity with --identity FILE, or in the setting encryption.identity";
    ExitWith(Exit::Settings, text.to_owned()).into()
}

/// The secrets of one deployment in the first destination that has any.
struct Shelf {
    destination: Destination,
    deployment: DeploymentName,
    names: NamesKey,
    /// The newest first.
    all: Vec<StoredSecrets>,
}

impl Shelf {
    async fn find(
        settings: &Settings,
        place: &SecretsPlace,
        otherwise: Option<&DeploymentName>,
    ) -> anyhow::Result<Self> {
        let deployment = whose(settings, place, otherwise)?;
        let names = wiring::names_key(settings)?.ok_or_else(|| {
            let text = "names of secrets are stored under the names key: give it in the setting encryption.names_key";
            ExitWith(Exit::Settings, text.to_owned())
        })?;
        let mut failure = None;
        for destination in chosen_destinations(settings, place.destination.as_ref(), None)? {
            match stored_secrets(&destination, &deployment).await {
                Ok(all) if all.is_empty() => {}
                Ok(all) => return Ok(Self { destination, deployment, names, all }),
                Err(error) => {
                    print::note(&format!("warning: {}", convault_jobs::chain(&error)));
                    failure = Some(error);
                }
            }
        }
        Err(match failure {
            Some(error) => error.into(),
            None => not_found(format!("no secrets of {deployment} are stored")),
        })
    }

    /// The place in `all` of what is meant.
    fn position(&self, moment: &StoredAt) -> anyhow::Result<usize> {
        let is_it = |stored: &StoredSecrets| match moment {
            StoredAt::Latest => true,
            StoredAt::Id(id) => stored.id == *id,
            StoredAt::Time(time) => stored.at <= *time,
        };
        self.all.iter().position(is_it).ok_or_else(|| {
            let what = match moment {
                StoredAt::Latest => "at all".to_owned(),
                StoredAt::Id(id) => format!("with {id}"),
                StoredAt::Time(time) => format!("at or before {time}"),
            };
            let place = self.destination.store.destination();
            not_found(format!("no secrets of {} are stored in {place} {what}", self.deployment))
        })
    }

    fn at(&self, moment: &StoredAt) -> anyhow::Result<&StoredSecrets> {
        Ok(&self.all[self.position(moment)?])
    }

    /// The values of that time: of each surrounding that is wanted the newest that was stored by then.
    async fn values(
        &self,
        moment: &StoredAt,
        identities: &Identities,
        is_wanted: impl Fn(&str) -> bool,
    ) -> anyhow::Result<Vec<SecretValue>> {
        let mut values = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        for stored in &self.all[self.position(moment)?..] {
            let here = stored.record.hashes.keys().map(convault_core::SurroundingName::as_str);
            let new: Vec<&str> = here.filter(|name| is_wanted(name) && !seen.contains(name)).collect();
            if new.is_empty() {
                continue;
            }
            let read = read_secrets(&self.destination, stored, identities).await?;
            values.extend(read.into_iter().filter(|value| new.contains(&value.surrounding.as_str())));
            seen.extend(new);
        }
        Ok(values)
    }
}

/// The environment variables that were stored last by the time of a snapshot.
pub(super) async fn environment_at(
    settings: &Settings,
    found: &Found,
    identities: Option<&Identities>,
) -> anyhow::Result<BTreeMap<String, Secret>> {
    let given = identities.ok_or_else(missing_identity)?;
    let place = SecretsPlace {
        deployment: Some(found.deployment.clone()),
        destination: Some(found.destination.store.destination().clone()),
    };
    let shelf = Shelf::find(settings, &place, None).await?;
    let moment = StoredAt::Time(found.snapshot()?.manifest.verification.at);
    chosen_values(shelf.values(&moment, given, |one| one == ENVIRONMENT).await?, &[])
}

fn whose(
    settings: &Settings,
    place: &SecretsPlace,
    otherwise: Option<&DeploymentName>,
) -> anyhow::Result<DeploymentName> {
    if let Some(name) = place.deployment.as_ref().or(otherwise) {
        return Ok(name.clone());
    }
    if let [one] = chosen_deployments(settings, None).as_slice() {
        return Ok(one.clone());
    }
    let text = "there are several deployments: say whose secrets are meant, with --deployment NAME";
    Err(ExitWith(Exit::Failed, text.to_owned()).into())
}

fn list(surroundings: &Surroundings, shelf: &Shelf) {
    let listed = list_secrets(&shelf.all, &shelf.names, &shelf.deployment);
    if surroundings.json {
        print::json(&json!({
            "deployment": shelf.deployment,
            "destination": shelf.destination.store.destination(),
            "secrets": listed,
            "stored": shelf.all.iter().map(stored_value).collect::<Vec<_>>(),
        }));
        return;
    }
    let rows: Vec<Vec<String>> = listed
        .iter()
        .map(|secret| {
            let changed = match secret.not_yet {
                Some(before) => format!("after {}", print::time(before)),
                None => "before all that is stored".to_owned(),
            };
            vec![secret.name.clone(), print::time(secret.since), changed]
        })
        .collect();
    print::table(&["NAME", "AS IT IS SINCE", "CHANGED"], &rows);
    let newest = &shelf.all[0];
    print::line(&format!(
        "{} secrets of {} in {}, read {} ({})",
        listed.len(),
        shelf.deployment,
        shelf.destination.store.destination(),
        print::time(newest.at),
        newest.id
    ));
}

fn stored_value(stored: &StoredSecrets) -> serde_json::Value {
    let origin = match stored.origin {
        SecretsOrigin::Snapshot => "snapshot",
        SecretsOrigin::Set => "set",
    };
    json!({ "id": stored.id, "stored_as": origin, "at": stored.at })
}

fn diff(
    surroundings: &Surroundings,
    shelf: &Shelf,
    older: &StoredAt,
    newer: &StoredAt,
) -> anyhow::Result<Exit> {
    let (older, newer) = (shelf.at(older)?, shelf.at(newer)?);
    let changes = compare_secrets(older, newer, &shelf.names, &shelf.deployment).ok_or_else(|| {
        let text = "the two were hashed under different names keys, so that nobody can tell what changed without values";
        ExitWith(Exit::Failed, text.to_owned())
    })?;
    if surroundings.json {
        print::json(&json!({
            "deployment": shelf.deployment,
            "older": stored_value(older),
            "newer": stored_value(newer),
            "changes": changes,
        }));
        return Ok(Exit::Done);
    }
    print::line(&format!(
        "from {} ({}) to {} ({})",
        print::time(older.at),
        older.id,
        print::time(newer.at),
        newer.id
    ));
    for (sign, names) in [("+", &changes.added), ("~", &changes.changed), ("-", &changes.removed)] {
        for name in names {
            print::line(&format!("{sign} {name}"));
        }
    }
    if changes.is_empty() {
        print::line("nothing changed");
    }
    Ok(Exit::Done)
}

async fn show(
    surroundings: &Surroundings,
    shelf: &Shelf,
    name: &str,
    at: &StoredAt,
    identities: &Identities,
) -> anyhow::Result<Exit> {
    let values = shelf.values(at, identities, |_| true).await?;
    let full = |value: &SecretValue| format!("{}/{}", value.surrounding, value.name);
    let is_it = |value: &&SecretValue| value.name == name || full(value) == name;
    let found: Vec<&SecretValue> = values.iter().filter(is_it).collect();
    match found.as_slice() {
        [] => Err(not_found(format!("no secret is called {name}; `convault secrets list` shows all names"))),
        [one] => {
            if surroundings.json {
                print::json(&json!({ "name": full(one), "value": one.value.expose() }));
            } else {
                print::line(one.value.expose());
            }
            Ok(Exit::Done)
        }
        several => {
            let names: Vec<String> = several.iter().map(|value| full(value)).collect();
            Err(ExitWith(Exit::Failed, format!("several secrets are called that: {}", names.join(", ")))
                .into())
        }
    }
}

/// The variables to be put back, by name.
fn chosen_values(values: Vec<SecretValue>, only: &[String]) -> anyhow::Result<BTreeMap<String, Secret>> {
    let mut wanted: BTreeMap<String, Secret> =
        values.into_iter().map(|value| (value.name, value.value)).collect();
    if wanted.is_empty() {
        return Err(not_found("no environment variables are stored there".to_owned()));
    }
    if let Some(missing) = only.iter().find(|name| !wanted.contains_key(*name)) {
        return Err(not_found(format!("no variable {missing} is stored there")));
    }
    wanted.retain(|name, _| only.is_empty() || only.contains(name));
    Ok(wanted)
}

async fn restore(
    surroundings: &Surroundings,
    settings: &Settings,
    to: &DeploymentName,
    wanted: &BTreeMap<String, Secret>,
    remove: bool,
    yes: bool,
) -> anyhow::Result<Exit> {
    let deployment = settings
        .deployment(to)
        .ok_or_else(|| not_found(format!("the settings have no deployment named {to}")))?;
    let environment = wiring::environment(deployment);
    let current = environment.read().await.map_err(JobError::from)?;
    let plan = plan_secrets_restore(wanted, &current, remove);
    if !surroundings.json {
        show_plan(&plan);
    }
    if yes {
        restore_secrets(environment.as_ref(), &plan).await?;
    }
    let written = yes && !plan.is_done();
    if surroundings.json {
        print::json(&json!({ "deployment": to, "plan": plan, "written": written }));
    } else if plan.is_done() {
        print::line(&format!("{to} has all of it already"));
    } else if written {
        print::line(&format!("written to {to}, and read back"));
    } else {
        print::line("nothing was written; say --yes to do so");
    }
    Ok(Exit::Done)
}

fn show_plan(plan: &SecretsRestore) {
    let kinds =
        [("add", &plan.add), ("change", &plan.change), ("remove", &plan.remove), ("same", &plan.same)];
    let rows: Vec<Vec<String>> = kinds
        .into_iter()
        .flat_map(|(what, names)| names.iter().map(move |name| vec![what.to_owned(), name.clone()]))
        .collect();
    print::table(&["WHAT", "NAME"], &rows);
}
