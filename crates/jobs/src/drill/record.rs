//! Writes the proof of a drill, and finds those that were written.

use std::collections::BTreeMap;

use bytes::Bytes;
use convault_archive::NamesKey;
use convault_core::RunId;
use convault_core::{
    DRILL_PROOF_FORMAT, DeploymentName, DrillCheck, DrillFailure, DrillName, DrillProof, DrilledComponent,
    DrilledTable, Layout, ObjectInfo, PutMode, StoreErrorKind, TableNames, TableRef,
};
use futures::TryStreamExt as _;

use crate::{
    Destination, JobError, RunContext, error::chain, keyed::Naming, read::read_small, trust::put_own,
};

/// Ten thousand tables make a proof of a few MiB.
const LARGEST_PROOF_BYTES: u64 = 64 << 20;

/// A proof of a drill, and where it lies.
#[derive(Debug, Clone)]
pub struct DrillRecord {
    /// The object's key.
    pub key: String,
    /// What it says.
    pub proof: DrillProof,
    /// The trusted key whose signature it carries, as minisign prints a key; `None` where signatures are not asked for.
    pub signed_by: Option<String>,
}

/// Writes a proof: signed where this destination's are, with hashed names where it is encrypted. Gives its key, or why
/// it could not be written although the drill took place: credentials that may not.
pub(super) async fn write(
    destination: &Destination,
    proof: &DrillProof,
    context: &RunContext,
) -> Result<Result<String, String>, JobError> {
    let proof = match &destination.encryption {
        Some(encryption) => hidden(proof, Naming::Keyed(&encryption.names), encryption.names.id()),
        None => proof.clone(),
    };
    let key = Layout::new(proof.deployment.clone()).drill_proof(&proof.snapshot, &context.id);
    let mut bytes = serde_json::to_vec_pretty(&proof).expect("a proof has only string keys");
    bytes.push(b'\n');
    let comment = format!("convault drill {} {} {}", proof.deployment, proof.snapshot, proof.finished);
    let store = destination.store.as_ref();
    let written = async {
        destination.trust.sign(store, &key, &bytes, &comment, PutMode::IfAbsent).await?;
        put_own(store, &key, Bytes::from(bytes.clone()), PutMode::IfAbsent).await
    };
    match written.await {
        Ok(()) => Ok(Ok(key)),
        Err(JobError::Store(error)) if error.kind == StoreErrorKind::Denied => {
            Ok(Err(format!("the drill could not be proven there: {}", chain(&error))))
        }
        Err(error) => Err(error),
    }
}

/// The same proof, for a place where nobody may read a name of a table.
fn hidden(proof: &DrillProof, naming: Naming<'_>, names_key: String) -> DrillProof {
    let table = |one: &DrilledTable| DrilledTable {
        component: naming.component(&one.component),
        table: naming.table(&one.component, &one.table),
        ..one.clone()
    };
    let component = |one: &DrilledComponent| DrilledComponent {
        component: naming.component(&one.component),
        ..one.clone()
    };
    let failure = |one: &DrillFailure| DrillFailure {
        component: naming.component(&one.component),
        table: one.table.as_ref().map(|table| naming.table(&one.component, table)),
        details: None,
        ..one.clone()
    };
    let mut tables: Vec<DrilledTable> = proof.tables.iter().map(table).collect();
    // In the order of their names, they would tell something of them.
    tables.sort_by(|a, b| (&a.component, &a.table).cmp(&(&b.component, &b.table)));
    let mut components: Vec<DrilledComponent> = proof.components.iter().map(component).collect();
    components.sort_by(|a, b| a.component.cmp(&b.component));
    DrillProof {
        table_names: TableNames::Keyed,
        names_key: Some(names_key),
        tables,
        components,
        checks: proof.checks.iter().map(|check| DrillCheck { says: None, ..check.clone() }).collect(),
        failures: proof.failures.iter().map(failure).collect(),
        ..proof.clone()
    }
}

/// A proof with hashed names, with the names of `tables` in their place; hashes of others stay.
pub fn reveal_drill(proof: &DrillProof, names: &NamesKey, tables: &[TableRef]) -> DrillProof {
    if proof.names_key.as_deref() != Some(names.id().as_str()) {
        return proof.clone();
    }
    let naming = Naming::Keyed(names);
    let mut known: BTreeMap<String, &str> = BTreeMap::new();
    for table in tables {
        known.insert(naming.component(&table.component), &table.component);
        known.insert(naming.table(&table.component, &table.table), &table.table);
    }
    let shown = |hash: &String| known.get(hash).map_or_else(|| hash.clone(), |name| (*name).to_owned());
    let mut revealed = proof.clone();
    for one in &mut revealed.tables {
        (one.component, one.table) = (shown(&one.component), shown(&one.table));
    }
    revealed.components.iter_mut().for_each(|one| one.component = shown(&one.component));
    for one in &mut revealed.failures {
        (one.component, one.table) = (shown(&one.component), one.table.as_ref().map(shown));
    }
    revealed.tables.sort_by(|a, b| (&a.component, &a.table).cmp(&(&b.component, &b.table)));
    revealed
}

/// The newest proofs of a drill in one destination that can be trusted, the newest first, `most` at most.
pub async fn newest_drills(
    destination: &Destination,
    deployment: &DeploymentName,
    drill: &DrillName,
    most: usize,
) -> Result<Vec<DrillRecord>, JobError> {
    let store = destination.store.as_ref();
    let layout = Layout::new(deployment.clone());
    let listed: Vec<ObjectInfo> = store.list(&layout.proofs_prefix()).try_collect().await?;
    let mut found: Vec<(RunId, String)> =
        listed.into_iter().filter_map(|object| Some((run_of(&object.key)?, object.key))).collect();
    found.sort_by_key(|(run, _)| std::cmp::Reverse((run.time(), run.clone())));
    let mut records = Vec::new();
    for (_, key) in found {
        if records.len() == most {
            break;
        }
        let Some(bytes) = read(destination, &key).await? else { continue };
        let Ok(proof) = serde_json::from_slice::<DrillProof>(&bytes) else { continue };
        let usable =
            proof.format <= DRILL_PROOF_FORMAT && proof.deployment == *deployment && proof.drill == *drill;
        if !usable {
            continue;
        }
        if let Ok(signer) = destination.trust.signer_of(store, &key, &bytes).await? {
            records.push(DrillRecord { key, proof, signed_by: signer.map(|key| key.to_string()) });
        }
    }
    Ok(records)
}

async fn read(destination: &Destination, key: &str) -> Result<Option<Bytes>, JobError> {
    match read_small(destination.store.as_ref(), key, LARGEST_PROOF_BYTES).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(JobError::Store(error)) if error.kind == StoreErrorKind::NotFound => Ok(None),
        Err(JobError::Damaged { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The run that left the proof of a drill of this key.
fn run_of(key: &str) -> Option<RunId> {
    RunId::parse(key.rsplit('/').next()?.strip_suffix(Layout::DRILL_PROOF_SUFFIX)?).ok()
}
