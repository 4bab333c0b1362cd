//! Adds an entry to the ledger.

use std::collections::BTreeSet;

use bytes::Bytes;
use convault_core::{
    Cascade, DeploymentName, DestinationName, ERASURE_FORMAT, ErasureEntry, FieldPath, KeyedHash as _,
    Layout, LedgerEntry, PutMode, Sha256, StoreErrorKind, Subject, TableRef,
};
use futures::TryStreamExt as _;

use crate::{
    Destination, JobError, RunContext,
    erasure::{
        complete::{Completed, complete_ledger},
        ledger::{Ledger, LedgerKeys},
        record::{make, seal, to_bytes},
    },
    error::chain,
    read::read_small,
};

/// So many others may add entries while this one does.
const RIVALS: usize = 20;

/// Who is to be forgotten. Lives as long as it takes to hash it.
#[derive(Clone)]
pub struct ErasureRequest {
    /// Of which deployment.
    pub deployment: DeploymentName,
    /// In which table.
    pub table: TableRef,
    /// Documents, by id.
    pub ids: Vec<String>,
    /// Documents with such a value in a field.
    pub values: Vec<(FieldPath, String)>,
    /// What goes with them, as far as it can be reached from the table.
    pub cascades: Vec<Cascade>,
    /// Why, for people.
    pub reason: String,
    /// The version of Convault.
    pub version: String,
}

impl std::fmt::Debug for ErasureRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Ids and values are what nobody is to find in a log.
        f.debug_struct("ErasureRequest").field("table", &self.table).finish_non_exhaustive()
    }
}

/// What became of a request.
#[derive(Debug, Clone)]
pub struct Added {
    /// The ledger with the new entry.
    pub ledger: Ledger,
    /// The destinations that have it.
    pub written: Vec<DestinationName>,
    /// Those that have not, and why.
    pub behind: Vec<(DestinationName, String)>,
}

impl ErasureRequest {
    /// The entry that comes after those of `ledger`.
    pub fn entry(
        &self,
        ledger: &Ledger,
        keys: &LedgerKeys,
        context: &RunContext,
    ) -> Result<ErasureEntry, JobError> {
        let names = keys.names.as_ref().ok_or(JobError::NoNamesKey)?;
        let table = &self.table;
        let ids = self.ids.iter().map(|id| (None, names.of_id(table, id)));
        let values = self.values.iter();
        let values = values.map(|(field, value)| (Some(field.clone()), names.of_value(table, field, value)));
        let subjects: BTreeSet<Subject> =
            ids.chain(values).map(|(field, hash)| Subject { table: table.clone(), field, hash }).collect();
        let first = ledger.entries().next();
        Ok(ErasureEntry {
            format: ERASURE_FORMAT,
            number: ledger.newest() + 1,
            previous: ledger.head(),
            ledger: first.map_or_else(|| context.id.clone(), |first| first.ledger.clone()),
            deployment: self.deployment.clone(),
            at: context.clock.now(),
            reason: self.reason.clone(),
            names_key: names.id(),
            // Sorted: their order would tell in which order they were named.
            subjects: subjects.into_iter().collect(),
            cascades: Cascade::reachable(&self.cascades, [table.clone()]),
            convault_version: self.version.clone(),
        })
    }

    /// The ledger as it would be with this request, for showing what it would do.
    pub fn preview(
        &self,
        ledger: &Ledger,
        keys: &LedgerKeys,
        context: &RunContext,
    ) -> Result<Ledger, JobError> {
        let entry = self.entry(ledger, keys, context)?;
        let sha256 = Sha256::of(entry.reason.as_bytes());
        let with = ledger.records().iter().cloned().chain([LedgerEntry { entry, sha256 }]);
        Ok(Ledger::new(self.deployment.clone(), with.collect(), keys.names.clone()))
    }
}

/// Adds an entry to the ledger, in every destination of `destinations` that holds anything of the deployment or is among
/// `wanted`; entries that one of them lacks are brought there first. The first that can be reached decides over the
/// number: where somebody else took it meanwhile, the next one is. A destination that cannot be reached is
/// [`Added::behind`]; it gets the entry from the next `erase`, backup or verify.
pub async fn add_erasure(
    request: &ErasureRequest,
    destinations: &[Destination],
    wanted: &BTreeSet<DestinationName>,
    keys: &LedgerKeys,
    context: &RunContext,
) -> Result<Added, JobError> {
    let (holding, mut behind) = holding(request, destinations, wanted).await;
    for _ in 0..RIVALS {
        let Completed { ledger, behind: late, .. } =
            complete_ledger(&request.deployment, &holding, keys, context).await?;
        let entry = request.entry(&ledger, keys, context)?;
        let trust = holding.first().map(|first| first.trust.clone()).unwrap_or_default();
        let names = keys.names.as_ref().expect("there is an entry only where there is one");
        let record = to_bytes(&make(&entry, names, &trust), entry.subjects.len() as u64)?;
        let mut written: Vec<DestinationName> = Vec::new();
        behind.retain(|(name, _)| late.iter().all(|(other, _)| other != name));
        behind.extend(late);
        let mut taken = false;
        for destination in &holding {
            let name = destination.store.destination();
            if behind.iter().any(|(other, _)| other == name) {
                continue;
            }
            context.check_lease().await?;
            match put(destination, &request.deployment, entry.number, &record).await {
                Ok(true) => written.push(name.clone()),
                Ok(false) if written.is_empty() => {
                    taken = true;
                    break;
                }
                Ok(false) => {
                    behind.push((name.clone(), "somebody else has written that number there".to_owned()));
                }
                Err(error) => behind.push((name.clone(), chain(&error))),
            }
        }
        if taken {
            context.message(format!(
                "somebody else has written entry {} meanwhile; taking the next",
                entry.number
            ));
            continue;
        }
        if written.is_empty() {
            let whys: Vec<String> = behind.iter().map(|(name, why)| format!("{name}: {why}")).collect();
            return Err(JobError::LedgerNotWritten { what: whys.join("; ") });
        }
        let records = ledger.records().iter().cloned();
        let records = records.chain([LedgerEntry { entry, sha256: Sha256::of(&record) }]).collect();
        let ledger = Ledger::new(request.deployment.clone(), records, keys.names.clone());
        return Ok(Added { ledger, written, behind });
    }
    Err(JobError::LedgerNotWritten { what: "others have written every number that was tried".to_owned() })
}

type Late = Vec<(DestinationName, String)>;

/// The destinations that are to have the ledger, and those of which that cannot be told.
async fn holding(
    request: &ErasureRequest,
    destinations: &[Destination],
    wanted: &BTreeSet<DestinationName>,
) -> (Vec<Destination>, Late) {
    let prefix = Layout::new(request.deployment.clone()).deployment_prefix();
    let (mut holding, mut behind) = (Vec::new(), Vec::new());
    for destination in destinations {
        let name = destination.store.destination();
        match destination.store.list(&prefix).try_next().await {
            Ok(Some(_)) => holding.push(destination.clone()),
            Ok(None) if wanted.contains(name) => holding.push(destination.clone()),
            Ok(None) => {}
            Err(error) => behind.push((name.clone(), chain(&error))),
        }
    }
    (holding, behind)
}

/// Writes an entry where there is none of its number; `false` where somebody else did.
async fn put(
    destination: &Destination,
    deployment: &DeploymentName,
    number: u64,
    record: &[u8],
) -> Result<bool, JobError> {
    let store = destination.store.as_ref();
    let (sealed, suffix) = seal(record, destination.encryption.as_deref());
    let key = Layout::new(deployment.clone()).erasure(number, suffix);
    let put = store.put(&key, sealed.clone(), PutMode::IfAbsent).await;
    let found: Result<Bytes, JobError> = read_small(store, &key, sealed.len() as u64 + (1 << 20)).await;
    match (put, found) {
        // Its answer may have been lost: what is there is what counts.
        (_, Ok(found)) if found == sealed => Ok(true),
        (Ok(_), Ok(_)) => Ok(false),
        (Err(error), Ok(_)) if error.kind == StoreErrorKind::AlreadyExists => Ok(false),
        (Err(error), _) => Err(error.into()),
        (Ok(_), Err(error)) => Err(error),
    }
}
