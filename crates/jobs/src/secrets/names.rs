//! Names of secrets: sealed in records, told to whoever has the names key.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use convault_archive::NamesKey;
use convault_core::{DeploymentName, HashChanges, SecretsRecord, Sha256, SurroundingName};
use serde::Serialize;

use crate::surroundings::{SEALED_NAMES, name_hash};

/// The names in a record, by their hashes.
#[derive(Debug, Clone, Default)]
pub(super) struct OpenedNames(BTreeMap<(SurroundingName, Sha256), String>);

impl OpenedNames {
    /// The names of `record`; none where it was made under another names key.
    pub(super) fn of(record: &SecretsRecord, names: &NamesKey, deployment: &DeploymentName) -> Self {
        let sealed = STANDARD.decode(&record.names).unwrap_or_default();
        let opened = names.open(SEALED_NAMES, deployment.as_str().as_bytes(), &sealed);
        let known: BTreeMap<SurroundingName, BTreeSet<String>> =
            opened.and_then(|opened| serde_json::from_slice(&opened).ok()).unwrap_or_default();
        let hashed = known.into_iter().flat_map(|(surrounding, of_it)| {
            of_it.into_iter().map(move |name| {
                let hash = name_hash(names, &surrounding, &name);
                ((surrounding.clone(), hash), name)
            })
        });
        Self(hashed.collect())
    }

    /// The name of a hash: `environment/STRIPE_KEY`.
    pub(super) fn name(&self, surrounding: &SurroundingName, hash: &Sha256) -> String {
        match self.0.get(&(surrounding.clone(), *hash)) {
            Some(name) => format!("{surrounding}/{name}"),
            None => format!("{surrounding}/(a name under another names key)"),
        }
    }

    /// Every secret: surrounding, name and the hash of the name.
    pub(super) fn all(&self) -> impl Iterator<Item = (&SurroundingName, &str, &Sha256)> {
        self.0.iter().map(|((surrounding, hash), name)| (surrounding, name.as_str(), hash))
    }
}

/// What changed between two times, by name: `environment/STRIPE_KEY`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SecretChanges {
    /// Names that came.
    pub added: Vec<String>,
    /// Names with another value.
    pub changed: Vec<String>,
    /// Names that are gone.
    pub removed: Vec<String>,
}

impl SecretChanges {
    /// What changed from `older` to `newer`. `None` where they were hashed under different names keys.
    pub(super) fn between(
        older: &SecretsRecord,
        newer: &SecretsRecord,
        names: &NamesKey,
        deployment: &DeploymentName,
    ) -> Option<Self> {
        if older.names_key != newer.names_key {
            return None;
        }
        let changes = HashChanges::between(&older.hashes, &newer.hashes);
        let (was, is) =
            (OpenedNames::of(older, names, deployment), OpenedNames::of(newer, names, deployment));
        let told = |names: &OpenedNames, hashes: &[(SurroundingName, Sha256)]| -> Vec<String> {
            let mut sorted: Vec<String> =
                hashes.iter().map(|(surrounding, hash)| names.name(surrounding, hash)).collect();
            sorted.sort();
            sorted
        };
        Some(Self {
            added: told(&is, &changes.added),
            changed: told(&is, &changes.changed),
            removed: told(&was, &changes.removed),
        })
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }

    pub(super) fn extend(&mut self, more: Self) {
        let all = [
            (&mut self.added, more.added),
            (&mut self.changed, more.changed),
            (&mut self.removed, more.removed),
        ];
        for (own, more) in all {
            own.extend(more);
            own.sort();
            own.dedup();
        }
    }
}

impl std::fmt::Display for SecretChanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds = [("added", &self.added), ("changed", &self.changed), ("removed", &self.removed)];
        let told: Vec<String> = kinds
            .into_iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(kind, names)| format!("{kind}: {}", names.join(", ")))
            .collect();
        f.write_str(if told.is_empty() { "nothing changed" } else { "" })?;
        f.write_str(&told.join("; "))
    }
}
