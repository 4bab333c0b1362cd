//! Writes stored environment variables into a deployment: first a plan that can be shown, then the deed, then a look.

use std::collections::BTreeMap;

use convault_core::{Environment, EnvironmentChange, Secret};
use serde::Serialize;

use crate::JobError;

/// What a restore of variables would do. Names only; the values are held beside them and are not printed.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SecretsRestore {
    /// Variables that the deployment has not.
    pub add: Vec<String>,
    /// Variables with another value.
    pub change: Vec<String>,
    /// Variables that are as they should be, and are not written.
    pub same: Vec<String>,
    /// Variables that the deployment has and the stored ones have not, where those are to go.
    pub remove: Vec<String>,
    #[serde(skip)]
    changes: Vec<EnvironmentChange>,
}

impl SecretsRestore {
    /// Whether the deployment is as it should be.
    pub fn is_done(&self) -> bool {
        self.changes.is_empty()
    }
}

/// Plans to make a deployment's variables, which are `current`, those in `wanted`; others go only where `remove` says so.
pub fn plan_secrets_restore(
    wanted: &BTreeMap<String, Secret>,
    current: &BTreeMap<String, Secret>,
    remove: bool,
) -> SecretsRestore {
    let mut plan = SecretsRestore::default();
    for (name, value) in wanted {
        let list = match current.get(name) {
            None => &mut plan.add,
            Some(now) if now.expose() != value.expose() => &mut plan.change,
            Some(_) => {
                plan.same.push(name.clone());
                continue;
            }
        };
        list.push(name.clone());
        plan.changes.push(EnvironmentChange { name: name.clone(), value: Some(value.clone()) });
    }
    for name in current.keys().filter(|name| remove && !wanted.contains_key(*name)) {
        plan.remove.push(name.clone());
        plan.changes.push(EnvironmentChange { name: name.clone(), value: None });
    }
    plan
}

/// Carries the plan out, and reads back whether the deployment has it all now.
pub async fn restore_secrets(environment: &dyn Environment, plan: &SecretsRestore) -> Result<(), JobError> {
    if plan.is_done() {
        return Ok(());
    }
    environment.write(&plan.changes).await?;
    let now = environment.read().await?;
    let is_so = |change: &&EnvironmentChange| {
        now.get(&change.name).map(Secret::expose) == change.value.as_ref().map(Secret::expose)
    };
    let wrong: Vec<&str> =
        plan.changes.iter().filter(|change| !is_so(change)).map(|change| change.name.as_str()).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(JobError::SecretsDiffer { deployment: environment.deployment().clone(), names: wrong.join(", ") })
}
