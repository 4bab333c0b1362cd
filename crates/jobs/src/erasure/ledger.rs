//! [`Ledger`]: everybody who is to be forgotten, read from a destination and found whole.

use convault_archive::{NamesKey, encryption::Identities};
use convault_core::{DeploymentName, DestinationName, ErasureEntry, LedgerEntry, Sha256, chain_fault};

use crate::{
    Destination, JobError, RunContext,
    erasure::{
        fault::Fault,
        listing::{Listing, listing, newest_stated},
        record::{Opened, open},
    },
    error::chain,
    survey::survey,
};

/// What reading the ledger takes.
#[derive(Debug, Clone, Default)]
pub struct LedgerKeys {
    /// What opens it where it is encrypted.
    pub identities: Option<Identities>,
    /// Under which its hashes are.
    pub names: Option<NamesKey>,
}

/// The ledger of a deployment, whole.
#[derive(Debug, Clone)]
pub struct Ledger {
    deployment: DeploymentName,
    entries: Vec<LedgerEntry>,
    /// There wherever there are entries.
    names: Option<NamesKey>,
}

impl Ledger {
    /// One of these entries, which were found whole.
    pub(super) fn new(
        deployment: DeploymentName,
        entries: Vec<LedgerEntry>,
        names: Option<NamesKey>,
    ) -> Self {
        Self { deployment, entries, names }
    }

    /// A ledger in which nobody is to be forgotten.
    pub fn empty(deployment: DeploymentName) -> Self {
        Self::new(deployment, Vec::new(), None)
    }

    /// The deployment.
    pub fn deployment(&self) -> &DeploymentName {
        &self.deployment
    }

    /// Whether nobody is to be forgotten.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number of the newest entry; 0: there is none.
    pub fn newest(&self) -> u64 {
        self.entries.len() as u64
    }

    /// SHA-256 of the newest record, as it is without encryption.
    pub fn head(&self) -> Option<Sha256> {
        self.entries.last().map(|last| last.sha256)
    }

    /// Its entries in order, each with the SHA-256 of its record.
    pub fn records(&self) -> &[LedgerEntry] {
        &self.entries
    }

    /// Its entries in order.
    pub fn entries(&self) -> impl Iterator<Item = &ErasureEntry> {
        self.entries.iter().map(|one| &one.entry)
    }

    /// Its newest entry, as if there were no others: for looking at what that one alone erases.
    #[must_use]
    pub fn newest_alone(&self) -> Self {
        let newest = self.entries.last().cloned().into_iter().collect();
        Self::new(self.deployment.clone(), newest, self.names.clone())
    }

    /// The ledger as it was with its first entries alone.
    pub(super) fn up_to(&self, entries: usize) -> Self {
        let entries = self.entries.iter().take(entries).cloned().collect();
        Self::new(self.deployment.clone(), entries, self.names.clone())
    }

    pub(super) fn names(&self) -> Option<&NamesKey> {
        self.names.as_ref()
    }
}

/// The ledger of one destination, as it is listed there.
pub(super) struct Place<'a> {
    pub(super) destination: &'a Destination,
    pub(super) listing: Listing,
    /// The newest entry that a manifest there speaks of.
    pub(super) stated: u64,
}

impl<'a> Place<'a> {
    /// Looks at a destination: its ledger, and what its manifests say of it.
    pub(super) async fn look(
        destination: &'a Destination,
        deployment: &DeploymentName,
        context: &RunContext,
    ) -> Result<Self, JobError> {
        let survey = survey(destination, deployment, &[], context.clock.now()).await?;
        let listing = listing(destination, deployment).await?;
        Ok(Self { destination, listing, stated: newest_stated(&survey) })
    }

    /// The newest entry that is listed or spoken of here.
    pub(super) fn newest(&self) -> u64 {
        let listed = self.listing.last_key_value().map_or(0, |(number, _)| *number);
        listed.max(self.stated)
    }

    /// Opens the entry of a number; of several of that number, all have to be the same.
    pub(super) async fn open(&self, number: u64, keys: &LedgerKeys) -> Result<Opened, JobError> {
        let mut found: Option<Opened> = None;
        for key in self.listing.get(&number).into_iter().flatten() {
            let opened = open(self.destination, key, keys).await?;
            found = Some(match (found, opened) {
                (Some(Opened::Whole(one, _)), Opened::Whole(other, _)) if one != other => {
                    Opened::Broken("there are two of that number".to_owned())
                }
                (Some(broken @ Opened::Broken(_)), _) => broken,
                (_, opened) => opened,
            });
        }
        Ok(found.unwrap_or_else(|| Opened::Broken("it is missing".to_owned())))
    }

    pub(super) fn name(&self) -> &DestinationName {
        self.destination.store.destination()
    }
}

/// Reads the ledger of `deployment` in `here`, where content is to be read, and makes sure that it is whole: every entry
/// is there and can be read, each names the one before it, all are signed where signatures count, and there are as many
/// as any manifest speaks of, here or in `everywhere`. A destination of those that cannot be asked is told and passed
/// over. That it is not whole is [`JobError::LedgerNotWhole`]: nothing of the content may be read then.
pub async fn read_ledger(
    deployment: &DeploymentName,
    here: &Destination,
    everywhere: &[Destination],
    keys: &LedgerKeys,
    context: &RunContext,
) -> Result<Ledger, JobError> {
    let place = Place::look(here, deployment, context).await?;
    let others = look_around(deployment, here, everywhere, context).await;
    let newest = others.iter().map(Place::newest).max().unwrap_or(0).max(place.newest());
    if newest == 0 {
        return Ok(Ledger::empty(deployment.clone()));
    }
    match read_place(&place, deployment, newest, keys).await? {
        Ok(entries) => Ok(Ledger::new(deployment.clone(), entries, keys.names.clone())),
        Err(mut fault) => {
            let elsewhere = have_it(&others, &fault, keys).await;
            if elsewhere.is_empty() {
                fault.what.push_str(&beyond(std::iter::once(&place).chain(&others), fault.number));
            }
            Err(fault.refusal(deployment, &here.store.location(), &elsewhere))
        }
    }
}

/// The other destinations, as far as they can be asked.
async fn look_around<'a>(
    deployment: &DeploymentName,
    here: &Destination,
    everywhere: &'a [Destination],
    context: &RunContext,
) -> Vec<Place<'a>> {
    let mut others = Vec::new();
    for other in everywhere.iter().filter(|other| other.store.destination() != here.store.destination()) {
        match Place::look(other, deployment, context).await {
            Ok(place) => others.push(place),
            Err(error) => context.warning(format!(
                "{}: whether its erasure ledger has newer entries cannot be told: {}",
                other.store.destination(),
                chain(&error)
            )),
        }
    }
    others
}

/// All entries of a place up to `newest`, or the first thing that is wrong.
pub(super) async fn read_place(
    place: &Place<'_>,
    deployment: &DeploymentName,
    newest: u64,
    keys: &LedgerKeys,
) -> Result<Result<Vec<LedgerEntry>, Fault>, JobError> {
    let mut entries = Vec::new();
    for number in 1..=newest {
        match place.open(number, keys).await? {
            Opened::Whole(entry, _) => entries.push(*entry),
            Opened::Broken(what) => return Ok(Err(Fault::new(number, what))),
        }
        // Each is looked at as it comes: a ledger that says it has very many entries ends at the first that is wrong.
        if let Some((number, what)) = chain_fault(&entries, deployment, 0) {
            return Ok(Err(Fault { number, what }));
        }
    }
    Ok(Ok(entries))
}

/// Where no place lists the entry of a number: what to say of one that lists one beyond it; otherwise nothing.
pub(super) fn beyond<'a>(places: impl IntoIterator<Item = &'a Place<'a>> + Clone, number: u64) -> String {
    if places.clone().into_iter().any(|place| place.listing.contains_key(&number)) {
        return String::new();
    }
    let mut found = places.into_iter().filter_map(|place| {
        let (_, keys) = place.listing.range(number + 1..).next()?;
        Some(format!("{} {}", place.destination.store.location(), keys.first()?))
    });
    found.next().map_or(String::new(), |key| {
        format!(" (and {key} lies beyond it: where nobody has ever erased so many, remove that)")
    })
}

/// The destinations that have the entry whole which is not.
async fn have_it(others: &[Place<'_>], fault: &Fault, keys: &LedgerKeys) -> Vec<DestinationName> {
    let mut names = Vec::new();
    for other in others {
        if let Ok(Opened::Whole(entry, _)) = other.open(fault.number, keys).await
            && entry.entry.number == fault.number
        {
            names.push(other.name().clone());
        }
    }
    names
}
