//! Writes down what a verify found: proofs, and marks on what is damaged or whole again.

use std::collections::BTreeMap;

use bytes::Bytes;
use convault_core::{
    DeploymentName, Layout, MarkKind, PROOF_FORMAT, Proof, ProofDepth, ProofResult, PutMode, RunId,
    StoreErrorKind,
};
use jiff::Timestamp;

use crate::{
    Destination, Folder, JobError, MarkRequest, RunContext, VerifyReport,
    mark::{About, write_mark},
    read::read_small,
    repository,
    survey::{Snapshot, survey},
    trust::put_own,
    verify::Examined,
};

const LARGEST_PROOF_BYTES: u64 = 16 << 20;

/// Writes the proofs of a verify: one for each snapshot that was read whole or is damaged, and one for all the others
/// together. Marks what is newly damaged, and what a mark calls damaged though every byte of it is right. `version`
/// is that of Convault. Gives the number of proofs.
pub async fn record_proofs(
    destination: &Destination,
    deployment: &DeploymentName,
    report: &VerifyReport,
    version: &str,
    context: &RunContext,
) -> Result<usize, JobError> {
    let store = destination.store.as_ref();
    let repository = repository::read(store).await?.ok_or_else(|| JobError::Repository {
        place: store.location(),
        what: "there is no convault.json; is the prefix right?".to_owned(),
    })?;
    let proof = |results: Vec<ProofResult>| Proof {
        format: PROOF_FORMAT,
        kind: "verify".to_owned(),
        run: context.id.clone(),
        repository: repository.repository.clone(),
        deployment: deployment.clone(),
        destination: store.destination().clone(),
        started: report.started.unwrap_or_else(|| context.clock.now()),
        finished: context.clock.now(),
        results,
        read_bytes: report.read_bytes,
        convault_version: version.to_owned(),
    };
    let layout = Layout::new(deployment.clone());
    let (single, rest): (Vec<&Examined>, Vec<&Examined>) = report.examined.iter().partition(|examined| {
        examined.manifest_sha256.is_some()
            && (examined.depth == ProofDepth::Data || !examined.faults.is_empty())
    });
    mark_changes(destination, deployment, &single, context).await?;
    for examined in &single {
        let key = layout.snapshot_proof(&examined.id, &context.id);
        write(destination, &key, &proof(vec![result(examined)]), examined.id.as_str()).await?;
    }
    if !rest.is_empty() {
        let results = rest.iter().map(|examined| result(examined)).collect();
        write(destination, &layout.run_proof(&context.id), &proof(results), context.id.as_str()).await?;
    }
    Ok(single.len() + usize::from(!rest.is_empty()))
}

fn result(examined: &Examined) -> ProofResult {
    ProofResult {
        id: examined.id.clone(),
        depth: examined.depth,
        manifest_sha256: examined.manifest_sha256,
        faults: examined.faults.clone(),
    }
}

async fn write(destination: &Destination, key: &str, proof: &Proof, what: &str) -> Result<(), JobError> {
    let store = destination.store.as_ref();
    let bytes = serde_json::to_vec_pretty(proof).expect("a proof has only string keys");
    let comment = format!("convault proof {} {what} {}", proof.deployment, proof.finished);
    destination.trust.sign(store, key, &bytes, &comment, PutMode::IfAbsent).await?;
    put_own(store, key, Bytes::from(bytes), PutMode::IfAbsent).await
}

/// A snapshot is marked damaged once, and whole again once.
async fn mark_changes(
    destination: &Destination,
    deployment: &DeploymentName,
    examined: &[&Examined],
    context: &RunContext,
) -> Result<(), JobError> {
    let kind_of = |examined: &Examined| {
        let damaged = !examined.faults.is_empty();
        match (damaged, examined.marked_damaged) {
            (true, false) => Some(MarkKind::Damaged),
            (false, true) if examined.depth == ProofDepth::Data => Some(MarkKind::Repaired),
            _ => None,
        }
    };
    let changed: Vec<(&Examined, MarkKind)> =
        examined.iter().filter_map(|examined| Some((*examined, kind_of(examined)?))).collect();
    if changed.is_empty() {
        return Ok(());
    }
    let survey = survey(destination, deployment, &[], context.clock.now()).await?;
    for (examined, kind) in changed {
        let Some(folder) = survey.folder(&examined.id) else { continue };
        // What the listing shows needs no mark, and what was marked before needs no second one.
        let known = folder
            .marks
            .iter()
            .rev()
            .find(|mark| matches!(mark.kind, MarkKind::Damaged | MarkKind::Repaired));
        if known.is_some_and(|mark| mark.kind == kind) {
            continue;
        }
        let reason = match kind {
            MarkKind::Damaged => "a verify found it so, twice",
            _ => "a verify read every byte, and all are right",
        };
        let names = examined.faults.iter().map(|fault| fault.object.clone()).collect();
        let request =
            MarkRequest { names, ..MarkRequest::new(deployment.clone(), examined.id.clone(), kind, reason) };
        let manifest_sha256 = examined.manifest_sha256;
        let about = About { id: &examined.id, manifest_sha256, marks: &folder.marks };
        write_mark(destination, &about, &request, BTreeMap::new(), context).await?;
    }
    Ok(())
}

/// When a proof that can be trusted says that every byte of a snapshot was read and right; else when it was written.
pub(crate) async fn last_proven(
    destination: &Destination,
    folder: &Folder,
    snapshot: &Snapshot,
) -> Result<Timestamp, JobError> {
    for run in folder.proofs.iter().rev() {
        if let Some(at) = read_at(destination, folder, snapshot, run).await? {
            return Ok(at);
        }
    }
    Ok(snapshot.manifest.verification.at)
}

async fn read_at(
    destination: &Destination,
    folder: &Folder,
    snapshot: &Snapshot,
    run: &RunId,
) -> Result<Option<Timestamp>, JobError> {
    let store = destination.store.as_ref();
    let key = Layout::new(snapshot.manifest.deployment.clone()).snapshot_proof(&folder.id, run);
    let bytes = match read_small(store, &key, LARGEST_PROOF_BYTES).await {
        Ok(bytes) => bytes,
        Err(JobError::Store(error)) if error.kind == StoreErrorKind::NotFound => return Ok(None),
        Err(JobError::Damaged { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Ok(proof) = serde_json::from_slice::<Proof>(&bytes) else { return Ok(None) };
    let read = proof.results.iter().any(|result| {
        result.id == folder.id
            && result.depth == ProofDepth::Data
            && result.faults.is_empty()
            && result.manifest_sha256 == Some(snapshot.manifest_sha256)
    });
    let trusted = read && destination.trust.why_not(store, &key, &bytes).await?.is_none();
    Ok(trusted.then_some(proof.finished))
}
